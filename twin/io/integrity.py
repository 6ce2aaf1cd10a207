"""Whether a capture is what was written: chain, order, trees, seals, manifest; of any bytes at all."""

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec

from twin.io.manifest import (
    FORMAT_NAME,
    MANIFEST,
    chain_start,
    read_manifest,
    segment_name,
    segment_number,
    segments_of,
    told_segments,
)
from twin.io.seal import Seal, Tree, key_id, signature_holds
from twin.io.seal import decoded as decoded_seal
from twin.io.segment_lines import lines_of, open_regular

NOT_PROVEN = (
    "that the operator recorded everything, or told the truth before recording",
    "that the clock was right when a line was stamped",
    "that a capture made for billing fulfils calibration law (no Eichrecht proof)",
    "that nothing was cut off behind the last line of a segment without a seal",
)
TORN, DAMAGED, BROKEN = "torn line", "damaged line", "does not follow from the line before it"
NOT_AS_TOLD, LEFT_OUT, MISSING = "is not what the manifest says", "seq ", "is missing"
UNTOLD = "says that the capture is closed, and not how its last segment ended"  # as our first ones did
_LONGEST_SEAL = 1 << 16
_MOST_PROBLEMS = 1_000


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it was written. ``line`` counts from 1 in its segment; 0: no line of it."""

    segment: str
    what: str
    line: int = 0
    seq: int | None = None


class Verdict(msgspec.Struct, kw_only=True):
    """What a look at a capture gave; sound if there is no problem. ``notes`` say what could not be judged."""

    problems: list[Problem] = msgspec.field(default_factory=list)
    notes: list[str] = msgspec.field(default_factory=list)
    lines: int = 0
    segments: int = 0
    sealed_to_seq: int = 0
    last_seq: int = 0
    keys: list[str] = msgspec.field(default_factory=list)
    not_proven: tuple[str, ...] = NOT_PROVEN

    @property
    def altered(self) -> Problem | None:
        """The first thing that is not as it was written. What was only cut off, or never ended, is not all
        there: a torn line, and what the manifest said of its segment; no manifest; numbers left out."""
        torn = {one.segment for one in self.problems if one.what == TORN}
        for one in self.problems:
            cut = one.what == TORN or (one.segment in torn and one.what.startswith(NOT_AS_TOLD))
            unended = one.segment == MANIFEST and one.what in (MISSING, UNTOLD)
            if not (cut or unended or one.what.startswith(LEFT_OUT)):
                return one
        return None

    def bad(self, segment: str, what: str, line: int = 0, seq: int | None = None) -> None:
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(Problem(segment=segment, what=what, line=line, seq=seq))


class _Line(msgspec.Struct):
    seq: int = 0
    prev: str = ""
    meta: dict[str, Any] = {}


_decode = msgspec.json.Decoder(_Line).decode


class _Seen(msgspec.Struct):
    """One segment as it is on the disk."""

    first_seq: int = 0
    last_seq: int = 0
    lines: int = 0
    bytes: int = 0
    root: str = ""
    first_prev: str = ""
    last_hash: str = ""


class _Walk(msgspec.Struct):
    """How far the look has come: what the next line must follow from, and the seals so far."""

    prev: str = ""  # "" where nothing is known to follow from
    seq: int = 0
    previous_seal: str = ""
    epoch: int = 0
    key: str = ""
    bridge: bool = False  # a removed segment lies between


def verify(path: Path, pinned: Collection[str] = ()) -> Verdict:
    """Look at a capture directory or a bare file of its lines; ``pinned``: public keys (hex) that may seal.

    Raises ``OSError`` for what cannot be opened, never for what stands in it.
    """
    verdict = Verdict()
    if not path.is_dir():
        _lines_of_segment(path, path.name, _Walk(), verdict)
        verdict.notes.append("a bare file: no manifest and no seal to hold it against")
        return verdict
    manifest = _manifest(path, pinned, verdict)
    told = {segment_number(Path(str(entry.get("name")))): entry for entry in told_segments(manifest)}
    held = {segment_number(file): file for file in segments_of(path) if segment_number(file)}
    seals = {int(file.stem[8:]): file for file in path.glob("segment-*.seal") if file.stem[8:].isdecimal()}
    walk = _Walk(prev=chain_start(manifest) if manifest else "")
    for number in sorted({*told, *held, *seals} - {0}):
        _segment(number, held.get(number), told.get(number, {}), seals.get(number), walk, pinned, verdict)
    if manifest.get("closed") and held and not told.get(max(held), {}).get("root"):
        verdict.bad(MANIFEST, UNTOLD)
    if verdict.last_seq > verdict.sealed_to_seq:
        verdict.notes.append(
            f"unsealed from seq {verdict.sealed_to_seq + 1}, ends at seq {verdict.last_seq}: "
            "lines missing at the end, or lines and all their hashes made anew, would not show"
        )
    if manifest and manifest.get("closed") is None:
        verdict.notes.append("not closed: segments missing at the end would not show")
    return verdict


def _manifest(path: Path, pinned: Collection[str], verdict: Verdict) -> dict[str, Any]:
    name = "manifest.json"
    try:
        manifest = read_manifest(path)
    except FileNotFoundError:
        verdict.bad(name, MISSING)
        return {}
    except (OSError, ValueError) as error:
        verdict.bad(name, f"cannot be read: {error}")
        return {}
    if manifest.get("format") != FORMAT_NAME:
        verdict.bad(name, "is no manifest of a capture")
    signature = manifest.get("signature")
    if signature is None and pinned:
        verdict.bad(name, "is not signed, and a key was named")
        return manifest
    if signature is None:
        verdict.notes.append("the manifest is not signed")
        return manifest
    said = {key: value for key, value in manifest.items() if key != "signature"}
    held = signature if isinstance(signature, dict) else {}
    key, value = str(held.get("public_key", "")), str(held.get("value", ""))
    try:
        signed = signature_holds(key, value, said)
    except (TypeError, RecursionError):
        signed = False
    if not signed or held.get("key_id") != key_id(key):
        verdict.bad(name, "was changed after it was signed")
    elif pinned and key not in pinned:
        verdict.bad(name, "is signed with a key that was not named")
    return manifest


def _segment(
    number: int,
    file: Path | None,
    told: Mapping[str, Any],
    seal_file: Path | None,
    walk: _Walk,
    pinned: Collection[str],
    verdict: Verdict,
) -> None:
    name = segment_name(number)
    verdict.segments += 1
    seal = _seal(seal_file, name, verdict) if seal_file is not None else None
    if file is None:
        _absent(name, told, seal, walk, pinned, verdict)
        return
    seen = _lines_of_segment(file, name, walk, verdict)
    if told.get("removed"):  # a kill came before the removal
        verdict.notes.append(f"{name} is there, and the manifest says that it was to be removed")
    if "root" in told:
        for field in ("first_seq", "last_seq", "lines", "bytes", "root", "first_prev", "last_hash"):
            if told.get(field) != getattr(seen, field):
                verdict.bad(name, f"{NOT_AS_TOLD}: {field}")
                break
    if seal is not None:
        _judge_seal(name, seal, msgspec.to_builtins(seen), walk, pinned, verdict)
        verdict.sealed_to_seq = max(verdict.sealed_to_seq, seen.last_seq)
    elif told.get("sealed"):
        verdict.bad(name, "was sealed, and its seal is missing")


def _absent(
    name: str,
    told: Mapping[str, Any],
    seal: Seal | None,
    walk: _Walk,
    pinned: Collection[str],
    verdict: Verdict,
) -> None:
    """A segment that is not there: removed on purpose and told of, or missing."""
    if told and "root" not in told and seal is None:
        verdict.notes.append(f"{name} was begun and is not there: it was empty, or an end is missing")
        return
    if told.get("removed") != "quota":
        verdict.bad(name, MISSING)
        walk.prev, walk.seq = "", 0
    else:
        verdict.notes.append(f"{name} was removed for the quota ({told.get('lines')} lines)")
        if walk.prev and told.get("first_prev") != walk.prev:
            verdict.bad(name, "was removed, and does not follow from the line before it")
        walk.prev, walk.seq = str(told.get("last_hash") or ""), _whole(told.get("last_seq"))
    if seal is not None:
        said = {field: told.get(field) for field in _Seen.__struct_fields__}
        _judge_seal(name, seal, said if told else {}, walk, pinned, verdict)


def _seal(file: Path, name: str, verdict: Verdict) -> Seal | None:
    try:
        with open_regular(file) as held:
            return decoded_seal(held.read(_LONGEST_SEAL))
    except (OSError, ValueError, RecursionError):
        verdict.bad(name, "its seal cannot be read")
        return None


def _judge_seal(
    name: str, seal: Seal, seen: Mapping[str, Any], walk: _Walk, pinned: Collection[str], verdict: Verdict
) -> None:
    said = seal.statement
    if not seal.holds():
        verdict.bad(name, "its seal was changed, or was not made with the key it names")
    elif said.segment != name:
        verdict.bad(name, f"carries the seal of {said.segment}")
    elif differing := [field for field, value in seen.items() if getattr(said, field) != value]:
        verdict.bad(name, f"is not what its seal says: {differing[0]}")
    if said.previous != walk.previous_seal or said.epoch != walk.epoch + 1:
        verdict.bad(name, "its seal does not follow from the seal before it")
    if pinned and said.public_key not in pinned:
        verdict.bad(name, "is sealed with a key that was not named")
    elif walk.key and said.public_key != walk.key and not pinned:
        verdict.bad(name, "is sealed with another key than the segment before it; name both if that is right")
    if said.public_key not in verdict.keys:
        verdict.keys.append(said.public_key)
    walk.previous_seal, walk.epoch, walk.key = seal.hash(), said.epoch, said.public_key


def _lines_of_segment(file: Path, name: str, walk: _Walk, verdict: Verdict) -> _Seen:
    """Walk over the lines of one segment, and say what is wrong with each."""
    seen, tree = _Seen(), Tree()
    for number, line in enumerate(lines_of(file), start=1):
        whole = line[:-1] if line.endswith(b"\n") else line
        digest = hashlib.sha256(whole).digest()
        seen.bytes += len(line)
        tree.add(digest)
        try:
            held = _decode(line)
            seq, prev = held.seq or int(held.meta["seq"]), held.prev or str(held.meta["prev"])
        except (msgspec.MsgspecError, RecursionError, KeyError, TypeError, ValueError):
            verdict.bad(name, TORN if whole is line else DAMAGED, number, walk.seq + 1)
            walk.prev, walk.seq = "", walk.seq + 1
            continue
        if whole is line:
            verdict.bad(name, TORN, number, seq)
        elif walk.prev and prev != walk.prev:
            verdict.bad(name, BROKEN, number, seq)
        elif walk.seq and seq != walk.seq + 1:
            verdict.bad(name, f"{LEFT_OUT}{seq} after {walk.seq}", number, seq)
        seen.first_seq, seen.last_seq = seen.first_seq or seq, seq
        seen.first_prev = seen.first_prev or prev
        walk.prev = seen.last_hash = digest.hex()
        walk.seq = seq
        verdict.lines += 1
    seen.lines, seen.root = tree.leaves, tree.root().hex()
    if not seen.lines:
        seen.first_prev = seen.last_hash = walk.prev
    verdict.last_seq = max(verdict.last_seq, seen.last_seq)
    return seen


def _whole(value: Any) -> int:
    return value if type(value) is int else 0
