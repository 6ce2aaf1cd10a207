"""A few lines of a sealed segment, proven without the rest: lines, audit paths and the seal in one file."""

from collections.abc import Collection
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from twin.io.integrity import Verdict
from twin.io.manifest import seal_of, segments_of
from twin.io.seal import Seal, audit_paths, root_by_path
from twin.io.seal import decoded as decoded_seal
from twin.io.segment_lines import lines_of

FORMAT = "octoflex-twin-extract"
_MOST_BYTES = 256 << 20


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """One line as it was written (without LF), its place in the segment from 0, and its way to the root."""

    place: int
    line: str
    path: tuple[str, ...]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of one segment and its seal."""

    seal: Seal
    lines: tuple[Proof, ...]


class Extract(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of one capture, by segment."""

    parts: tuple[Part, ...]
    format: str = FORMAT
    version: int = 1


class _Line(msgspec.Struct):
    seq: int = 0
    meta: dict[str, Any] = {}


_decode = msgspec.json.Decoder(_Line).decode


def extract(capture: Path, first_seq: int, last_seq: int) -> Extract:
    """The lines from ``first_seq`` to ``last_seq`` with their proofs.

    Raises ``ValueError`` where one of them is not there, not sealed or not whole, and ``OSError``.
    """
    parts = []
    wanted = first_seq  # every seq before it is in a part
    for segment in segments_of(capture):
        leaves: list[bytes] = []
        chosen: dict[int, bytes] = {}
        for place, line in enumerate(lines_of(segment)):
            seq = _seq_of(line)
            if not seq or not line.endswith(b"\n"):
                raise ValueError(
                    f"{segment.name} is damaged in line {place + 1}: nothing of it can be proven"
                )
            leaves.append(sha256(line[:-1]).digest())
            if seq == wanted <= last_seq:
                chosen[place] = line[:-1]
                wanted += 1
        if chosen:
            parts.append(_part(segment, leaves, chosen))
        if wanted > last_seq:
            return Extract(parts=tuple(parts))
    raise ValueError(f"seq {wanted} is not in the capture")


def _part(segment: Path, leaves: list[bytes], chosen: dict[int, bytes]) -> Part:
    if not seal_of(segment).exists():
        raise ValueError(f"{segment.name} is not sealed yet: nothing of it can be proven")
    seal = decoded_seal(seal_of(segment).read_bytes())
    proofs = tuple(
        Proof(place=place, line=line.decode(), path=tuple(step.hex() for step in path))
        for (place, line), path in zip(chosen.items(), audit_paths(leaves, chosen), strict=True)
    )
    if not all(_proven(proof, seal.statement.lines, seal.statement.root) for proof in proofs):
        raise ValueError(f"{segment.name} is not what its seal says: nothing of it can be proven")
    return Part(seal=seal, lines=proofs)


def encoded(held: Extract) -> bytes:
    return msgspec.json.format(msgspec.json.encode(held), indent=1) + b"\n"


def is_extract(path: Path) -> bool:
    """Whether a file says of itself that it is one."""
    with path.open("rb") as file:
        head = file.read(4096)
    return FORMAT.encode() in head or b'"parts"' in head[:64]


def verify_extract(path: Path, pinned: Collection[str] = ()) -> Verdict:
    """Whether every line of an extract is proven by its seal."""
    verdict = Verdict()
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES)
    try:
        held = msgspec.json.decode(data, type=Extract)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        verdict.bad(path.name, "is no extract")
        return verdict
    for part in held.parts:
        _verify_part(part, pinned, verdict)
    if not verdict.lines and not verdict.problems:
        verdict.bad(path.name, "holds no line")
    return verdict


def _verify_part(part: Part, pinned: Collection[str], verdict: Verdict) -> None:
    said = part.seal.statement
    name = said.segment
    verdict.segments += 1
    if not part.seal.holds():
        verdict.bad(name, "its seal was changed, or was not made with the key it names")
    if pinned and said.public_key not in pinned:
        verdict.bad(name, "is sealed with a key that was not named")
    if said.public_key not in verdict.keys:
        verdict.keys.append(said.public_key)
    for proof in part.lines:
        seq = _seq_of(proof.line.encode(errors="surrogatepass"))
        verdict.lines += 1
        verdict.last_seq = max(verdict.last_seq, seq)
        if not _proven(proof, said.lines, said.root):
            verdict.bad(name, "is not a line of the sealed segment", proof.place + 1, seq)
        else:
            verdict.sealed_to_seq = max(verdict.sealed_to_seq, seq)


def _proven(proof: Proof, lines: int, root: str) -> bool:
    leaf = sha256(proof.line.encode(errors="surrogatepass")).digest()
    try:
        path = [bytes.fromhex(step) for step in proof.path]
    except ValueError:
        return False
    found = root_by_path(leaf, proof.place, lines, path) if len(path) <= 64 else None
    return found is not None and found.hex() == root


def _seq_of(line: bytes) -> int:
    try:
        held = _decode(line)
        return held.seq or int(held.meta.get("seq", 0))
    except (msgspec.MsgspecError, RecursionError, TypeError, ValueError, UnicodeDecodeError):
        return 0
