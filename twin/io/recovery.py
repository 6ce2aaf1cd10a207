"""What a writer left: where it ended, what it had accounted for, and what of it is damaged.

A torn tail goes to ``quarantine/`` and is cut off; anything else that is damaged stays where it is and is
told of. Sealed segments are never touched.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from twin.io.files import Files, publish
from twin.io.manifest import (
    CHANGING,
    QUARANTINE,
    chain_start,
    read_manifest,
    seal_of,
    segment_number,
    segments_of,
    told_segments,
)
from twin.io.seal import Tree
from twin.io.seal import decoded as decoded_seal
from twin.io.segment_lines import lines_of
from twin.protocol.timestamps import parse_stamp

_STREAM_SENDERS = {"cp-to-csms": "station", "csms-to-cp": "csms"}


_LOOKED_AT = 3  # segments at the end: a recorder writes its counters into each of them


class Recovered(msgspec.Struct, kw_only=True):
    """The end of what a writer left.

    ``streams``: chunks and bytes accounted for, by connection and sender, of connections not ended on the
    disk; ``highest_conn``: the number of the youngest connection known; ``stats``: the last counters written.
    """

    head: dict[str, Any] = msgspec.field(default_factory=dict)
    entries: list[dict[str, Any]] = msgspec.field(default_factory=list)
    runs: list[str] = msgspec.field(default_factory=list)
    notes: list[str] = msgspec.field(default_factory=list)
    last_number: int = 0
    last_seq: int = 0
    last_at_us: int = 0
    last_hash: str = ""
    previous_seal: str = ""
    epoch: int = 0
    torn_bytes: int = 0
    streams: dict[str, dict[str, list[int]]] = msgspec.field(default_factory=dict)
    highest_conn: int = 0
    stats: dict[str, Any] = msgspec.field(default_factory=dict)
    recorded_chunks: int = 0
    recorded_bytes: int = 0
    dropped_chunks: Counter[str] = msgspec.field(default_factory=Counter)
    dropped_bytes: Counter[str] = msgspec.field(default_factory=Counter)


class _Line(msgspec.Struct):
    """What recovery reads of a line."""

    timestamp: str
    kind: str = ""
    direction: str = ""
    conn: str = ""
    seq: int = 0
    prev: str = ""
    reason: str = ""
    chunks: int = 0
    bytes: int = 0
    stream: list[int] = []
    wire: dict[str, Any] = {}
    meta: dict[str, Any] = {}


_Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class _Entry(msgspec.Struct):
    """What the manifest must say of a closed segment to be believed without a look."""

    name: str
    first_seq: _Count
    last_seq: _Count
    lines: _Count
    bytes: _Count
    stored_bytes: _Count
    root: str
    first_prev: str
    last_hash: str
    sealed: str = ""
    removed: str = ""


_decode = msgspec.json.Decoder(_Line).decode
_decode_any = msgspec.json.Decoder(dict[str, Any]).decode


def recover(directory: Path, files: Files) -> Recovered | None:
    """What an earlier writer left in ``directory``, made ready to go on behind it; ``None`` if nothing.

    May raise ``OSError``.
    """
    for unpublished in directory.glob(".*.new"):
        files.unlink(unpublished)
    segments = [path for path in segments_of(directory) if segment_number(path)]
    manifest: dict[str, Any] = {}
    notes = []
    try:
        manifest = read_manifest(directory)
    except FileNotFoundError:
        if not segments:
            return None
        notes.append("manifest.json is missing")
    except ValueError:
        notes.append("manifest.json is damaged")
    found = Recovered(notes=notes, head=_head_of(manifest), runs=_runs_of(manifest))
    told = {segment_number(Path(entry["name"])): entry for entry in filter(_closed, told_segments(manifest))}
    for number in sorted({*told, *map(segment_number, segments)} - {0}):
        path = next((path for path in segments if segment_number(path) == number), None)
        entry = told.get(number, {})
        if path is None:  # removed, or gone without a word
            found.entries.append(entry if "removed" in entry else entry | {"removed": "missing"})
            continue
        if entry.get("removed") == "quota":  # it was about to be
            files.unlink(path)
            found.entries.append(entry)
            continue
        _keep_one(path, files)
        whole = entry and (path.suffix == ".zst" or path.stat().st_size == entry["bytes"])
        if not whole or entry["name"] != path.name:
            entry = _taken_over(path, files, found)
            if not entry["lines"] and not entry.get("damaged"):
                files.unlink(path)  # begun, and nothing in it
                continue
        found.entries.append(entry)
    _follow(directory, found)
    return found


def _closed(entry: dict[str, Any]) -> bool:
    try:
        msgspec.convert(entry, _Entry)
    except msgspec.ValidationError:
        return False
    return True


def _keep_one(path: Path, files: Files) -> None:
    """A kill while a segment was packed leaves both; the plain one is whole for sure."""
    packed = path.with_name(f"{path.name}.zst")
    if path.suffix == ".jsonl" and packed.exists():
        files.unlink(packed)


def last_seq(directory: Path) -> int:
    """The highest ``seq`` in a capture directory, 0 if there is none; cheap, and never raises."""
    try:
        return max((_last_of(path) for path in segments_of(directory)[-2:]), default=0)
    except OSError:
        return 0


def _last_of(path: Path) -> int:
    last = 0
    for line in lines_of(path):
        try:
            held = _decode(line)
            last = max(last, held.seq or int(held.meta.get("seq", 0)))
        except (RecursionError, TypeError, ValueError):
            continue
    return last


def _head_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in manifest.items() if key not in CHANGING}


def _runs_of(manifest: Mapping[str, Any]) -> list[str]:
    told = manifest.get("runs")
    return [str(run) for run in told] if isinstance(told, list) else []


def _taken_over(path: Path, files: Files, found: Recovered) -> dict[str, Any]:
    """The entry of a segment that no manifest closed: its torn tail is cut, the rest is counted."""
    sealed = seal_of(path).exists()
    tree, size, first, last = Tree(), 0, 0, 0
    first_prev = hash_before = ""
    damaged = False
    tail = 0
    for line in lines_of(path):
        held = _whole(line)
        if held is None:
            tail += len(line)
            continue
        if tail:  # what was damaged is followed by a whole line: damage, not a torn tail
            size, tail, damaged = size + tail, 0, True
            found.notes.append(f"{path.name}: damaged before seq {held[0]}")
        seq, prev = held
        damaged |= bool(hash_before) and prev != hash_before
        first, last, first_prev = first or seq, seq, first_prev or prev
        digest = hashlib.sha256(line[:-1]).digest()
        hash_before = digest.hex()
        tree.add(digest)
        size += len(line)
    torn = tail
    entry = {
        "name": path.name,
        "first_seq": first,
        "last_seq": last,
        "lines": tree.leaves,
        "bytes": size,
        "stored_bytes": path.stat().st_size - (torn if path.suffix == ".jsonl" else 0),
        "root": tree.root().hex(),
        "first_prev": first_prev,
        "last_hash": hash_before,
        "closed_by": "recovered",
    }
    if torn and not sealed and path.suffix == ".jsonl":
        _quarantine(path, size, files)
        found.torn_bytes += torn
        torn = 0
    if damaged or torn:
        entry["damaged"] = True
        found.notes.append(f"{path.name} is damaged; it stays as it is")
    return entry


def _whole(line: bytes) -> tuple[int, str] | None:
    """``seq`` and ``prev`` of a whole line of ours."""
    if not line.endswith(b"\n"):
        return None
    try:
        held = _decode(line)
        seq, prev = held.seq or int(held.meta["seq"]), held.prev or str(held.meta["prev"])
    except (RecursionError, KeyError, TypeError, ValueError):
        return None
    return seq, prev


def _quarantine(path: Path, size: int, files: Files) -> None:
    """Keep the torn tail, then cut it off."""
    place = path.parent / QUARANTINE
    files.make_directory(place)
    with path.open("rb") as file:
        file.seek(size)
        torn = file.read()
    publish(files, place / f"{path.name}.from-{size}", torn)
    files.cut(path, size)


def _follow(directory: Path, found: Recovered) -> None:
    """Where everything stood at the end: from the last counters that were written to the last line."""
    lines: list[tuple[_Line, bytes]] = []
    held = [entry for entry in found.entries if "removed" not in entry]
    for entry in held[: -_LOOKED_AT - 1 : -1]:
        lines = [*_lines_since_stats(directory / entry["name"]), *lines]
        if lines and lines[0][0].kind == "stats":
            break
    found.last_number = max((segment_number(Path(entry["name"])) for entry in found.entries), default=0)
    hashes = [str(entry["last_hash"]) for entry in found.entries if entry.get("last_hash")]
    found.last_hash = hashes[-1] if hashes else chain_start(found.head)
    found.last_seq = max((int(entry.get("last_seq", 0)) for entry in found.entries), default=0)
    for entry in found.entries:  # the seal of a removed segment stays
        if entry.get("sealed") or seal_of(directory / entry["name"]).exists():
            _follow_seal(directory / entry["name"], entry, found)
    for line, raw in lines:
        stamp = parse_stamp(line.timestamp)
        found.last_at_us = max(found.last_at_us, stamp.at_us if stamp else 0)
        try:
            _account(line, raw, found)
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
            found.notes.append("a line with impossible counters was passed over")


def _follow_seal(path: Path, entry: dict[str, Any], found: Recovered) -> None:
    try:
        seal = decoded_seal(seal_of(path).read_bytes()[: 1 << 16])
    except (OSError, ValueError, RecursionError):
        return
    entry["sealed"] = found.previous_seal = seal.hash()
    found.epoch = seal.statement.epoch


def _lines_since_stats(path: Path) -> list[tuple[_Line, bytes]]:
    lines: list[tuple[_Line, bytes]] = []
    for raw in lines_of(path):
        try:
            line = _decode(raw)
        except (ValueError, RecursionError):  # UnicodeDecodeError too
            continue
        if line.kind == "stats":
            lines.clear()
        lines.append((line, raw))
    return lines


def _account(line: _Line, raw: bytes, found: Recovered) -> None:
    """One line's part in the books (twin/io/books.py writes them)."""
    conn = line.conn or str(line.meta.get("conn", ""))
    number = conn.removeprefix("c")
    if number.isdecimal():
        found.highest_conn = max(found.highest_conn, int(number))
    if line.kind == "stats":
        _take_stats(_decode_any(raw), found)
    elif line.kind == "open":
        found.streams[conn] = {"station": [0, 0], "csms": [0, 0]}
    elif line.kind in ("end", "refused"):
        found.streams.pop(conn, None)
    elif line.kind == "gap":
        found.dropped_chunks[line.reason] += line.chunks
        found.dropped_bytes[line.reason] += line.bytes
        _move(found, conn, line.direction, line.stream)
    else:
        wire = line.wire or line.meta.get("wire") or {}
        stream = wire.get("stream")
        if isinstance(stream, list) and len(stream) == 2:
            found.recorded_chunks += _move(found, conn, line.direction, stream)
            found.recorded_bytes += int(wire.get("bytes", 0)) - int(wire.get("lost", 0))


def _take_stats(stats: dict[str, Any], found: Recovered) -> None:
    found.stats = stats
    found.recorded_chunks = int(stats.get("recorded_chunks", 0))
    found.recorded_bytes = int(stats.get("recorded_bytes", 0))
    found.dropped_chunks = Counter(stats.get("dropped_chunks", {}))
    found.dropped_bytes = Counter(stats.get("dropped_bytes", {}))
    found.highest_conn = max(found.highest_conn, int(stats.get("highest_conn", 0)))
    found.streams = {
        str(conn): {sender: list(place) for sender, place in streams.items()}
        for conn, streams in dict(stats.get("streams", {})).items()
    }


def _move(found: Recovered, conn: str, direction: str, stream: list[int]) -> int:
    """Note how far a direction has come; the chunks since the last time."""
    if len(stream) != 2:
        return 0
    place = found.streams.setdefault(conn, {"station": [0, 0], "csms": [0, 0]})
    sender = _STREAM_SENDERS.get(direction, "station")
    before, place[sender] = place[sender], list(stream)
    return stream[0] - before[0]
