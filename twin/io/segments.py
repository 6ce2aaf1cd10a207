"""Writing our own capture: a directory of append-only JSON lines and a manifest (docs/capture-format.md).

A text message that parses as OCPP-J is an open-ocpp-trace v1.1 record; everything else has a ``kind``. Every
line carries the hash of the line before it. Facts only: no finding ever stands in a capture.
"""

import base64
import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from twin import __version__
from twin.model import Call, CallError, Event, Frame, Kind, Parsed, Side
from twin.protocol import codec
from twin.protocol.fold import integer
from twin.protocol.session import UNPARSED, Rpc
from twin.protocol.timestamps import format_us

FORMAT_NAME = "octoflex-twin-capture"
VERSION = 1
MANIFEST = "manifest.json"
COMMIT_NS = 250_000_000  # group commit: a kill loses at most this much
_COMMIT_BYTES = 1 << 20
DIRECTIONS = {Side.STATION: "cp-to-csms", Side.CSMS: "csms-to-cp"}
_DAMAGED = ("truncated", "abbreviated")  # kept as text, never as a record

_encode = msgspec.json.Encoder().encode


class Record(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One open-ocpp-trace v1.1 record, in the order in which it is written."""

    schemaVersion: str = msgspec.field(default="")  # noqa: N815  # the format's own spelling
    timestamp: str
    ocppVersion: str = ""  # noqa: N815  # the format's own spelling
    transport: str = ""
    chargePointId: str = ""  # noqa: N815  # the format's own spelling
    connectorId: int | None = None  # noqa: N815  # the format's own spelling
    direction: str
    messageType: str  # noqa: N815  # the format's own spelling
    messageId: str = ""  # noqa: N815  # the format's own spelling
    action: str = ""
    payload: Any = msgspec.UNSET
    error: Any = msgspec.UNSET
    raw: str = ""
    meta: dict[str, Any] = {}


def record_of(frame: Frame, parsed: Parsed, action: str, meta: dict[str, Any]) -> Record | None:
    """A frame as an open-ocpp-trace record, ``None`` where it is no OCPP-J message of a known sender.

    ``action`` is the effective one, also for answers ("" where the CALL is unknown). ``payload`` is the slice
    of the text itself, so ``4321.10`` keeps its zero and long integers stay intact.
    """
    message, sender, text = parsed.message, frame.sender, frame.text
    if message is None or sender is None or text is None or any(map(frame.facts.get, _DAMAGED)):
        return None
    try:
        elements = msgspec.json.decode(text, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError):  # a byte order mark; nesting beyond what others can read
        return None
    record = Record(
        schemaVersion="1.1",
        timestamp=format_us(frame.at_us),
        ocppVersion="1.6",
        transport="json",
        chargePointId=frame.station,
        direction=DIRECTIONS[sender],
        messageType="CALL",
        messageId=message.message_id,
        action=action,
        raw=text,
        meta=meta,
    )
    if isinstance(message, CallError):
        record.messageType = "CALLERROR"
        record.error = {
            "code": str(message.code),
            "description": str(message.description or ""),
            "details": _on_one_line(elements, 4) if len(elements) > 4 else {},
        }
        return record
    if isinstance(message, Call):
        record.payload = _on_one_line(elements, 3)
        if isinstance(message.payload, dict):
            connector_id = integer(message.payload.get("connectorId"))
            if connector_id is not None and 0 <= connector_id < 1 << 31:
                record.connectorId = connector_id
        return record
    record.messageType = "CALLRESULT"
    record.payload = _on_one_line(elements, 2)
    return record


def _on_one_line(elements: list[msgspec.Raw], place: int) -> Any:
    """One element of an OCPP-J array as it was written, ``UNSET`` if it is not there."""
    if place >= len(elements):
        return msgspec.UNSET
    # a line break of valid JSON stands between its tokens, never inside one
    return msgspec.Raw(bytes(elements[place]).replace(b"\n", b" ").replace(b"\r", b" "))


def chain_start(manifest: Mapping[str, Any]) -> str:
    """What the first line's ``prev`` must be: the hash of the fixed part of the manifest."""
    fixed = {key: value for key, value in manifest.items() if key not in ("closed", "segments", "totals")}
    return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()


class CaptureWriter:
    """Appends frames to a new capture directory. Whole lines only; the caller says when to commit.

    ``head`` adds to the manifest's fixed part (vantage, mode, ...). Raises ``FileExistsError`` if the
    directory exists and is not empty: a capture is never appended to.
    """

    def __init__(
        self, directory: Path, *, created_us: int, vantage: str, head: Mapping[str, Any] = {}
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(directory.iterdir()):
            raise FileExistsError(f"{directory} is not empty; a capture is never appended to")
        self.directory = directory
        self.lines = 0
        self.bytes = 0
        self._head = {
            "format": FORMAT_NAME,
            "version": VERSION,
            "capture_id": str(uuid.uuid4()),
            "created": format_us(created_us),
            "vantage": vantage,
            "tool": {"twin": __version__},
            **head,
        }
        self._prev = chain_start(self._head)
        self._segment = "segment-00001.jsonl"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(directory / self._segment, flags, 0o600)
        self._buffer = bytearray()
        self._committed_ns = 0
        self._links: dict[str, _Link] = {}
        self._first_seq: int | None = None
        self._last_seq: int | None = None
        self._sha = hashlib.sha256()
        self._write_manifest(closed_us=None, totals={})
        self.recovered: Any = None
        self.problem = ""

    @property
    def segment(self) -> str:
        return self._segment

    def free_bytes(self) -> int | None:
        return None

    def rotate(self, mono_ns: int) -> None:
        pass

    def write(self, frame: Frame) -> bool:
        """Append one frame. It reaches the disk with the next commit."""
        line = self._line(frame)
        self._prev = hashlib.sha256(line).hexdigest()
        line += b"\n"
        self._sha.update(line)
        self._buffer += line
        self.lines += 1
        self.bytes += len(line)
        if self._first_seq is None:
            self._first_seq = frame.seq
        self._last_seq = frame.seq
        if len(self._buffer) >= _COMMIT_BYTES:
            self._flush()
        return True

    def commit(self, mono_ns: int) -> bool:
        """Write and sync what is buffered, at most every 250 ms of ``mono_ns``; whether it did."""
        if not self._buffer or mono_ns - self._committed_ns < COMMIT_NS:
            return False
        self._flush()
        os.fdatasync(self._fd)
        self._committed_ns = mono_ns
        return True

    def close(self, closed_us: int, totals: Mapping[str, Any] = {}) -> list[Frame]:
        """Sync everything and finish the manifest."""
        if self._fd < 0:
            return []
        self._flush()
        os.fdatasync(self._fd)
        os.close(self._fd)
        self._fd = -1
        self._write_manifest(closed_us=closed_us, totals=totals)
        return []

    def _flush(self) -> None:
        view = memoryview(self._buffer)
        while view:
            view = view[os.write(self._fd, view) :]
        self._buffer = bytearray()

    def _line(self, frame: Frame) -> bytes:
        link = self._links.get(frame.link)
        if link is None:
            link = self._links[frame.link] = _Link(frame.link)
        event, parsed = link.follow(frame)
        if frame.kind is Kind.TEXT:
            record = record_of(frame, parsed, event.action if event else "", self._meta(frame, link, event))
            if record is not None:
                return _encode(record)
        if frame.kind in (Kind.END, Kind.REFUSED):
            del self._links[frame.link]
        return _encode(self._kind_line(frame))

    def _meta(self, frame: Frame, link: "_Link", event: Event | None) -> dict[str, Any]:
        meta: dict[str, Any] = {"seq": frame.seq, "conn": frame.link, "conn_seq": link.frames}
        if frame.sender is not None:
            meta["peer_seen"] = link.sent[frame.sender.other]
        if frame.mono_ns is not None:
            meta["t_mono_ns"] = frame.mono_ns
        if event and event.asked and event.frame is not event.asked.frame:
            meta["answers"] = event.asked.frame.seq
        return {**meta, **frame.facts, "prev": self._prev}

    def _kind_line(self, frame: Frame) -> dict[str, Any]:
        line: dict[str, Any] = {"kind": frame.kind.value, "seq": frame.seq, "conn": frame.link}
        line["timestamp"] = format_us(frame.at_us)
        if frame.mono_ns is not None:
            line["t_mono_ns"] = frame.mono_ns
        if frame.station:
            line["station"] = frame.station
        if frame.sender is not None:
            line["direction"] = DIRECTIONS[frame.sender]
        if frame.text is not None:
            line["raw"] = frame.text
        if frame.data is not None:
            line["base64"] = base64.b64encode(frame.data).decode()
        return {**line, **frame.facts, "prev": self._prev}

    def _write_manifest(self, *, closed_us: int | None, totals: Mapping[str, Any]) -> None:
        segment = {
            "name": self._segment,
            "first_seq": self._first_seq,
            "last_seq": self._last_seq,
            "lines": self.lines,
            "bytes": self.bytes,
            "last_hash": self._prev,
        }
        if closed_us is not None:
            segment["sha256"] = self._sha.hexdigest()
            segment["closed_by"] = "stopped"
        manifest = {
            **self._head,
            "closed": format_us(closed_us) if closed_us is not None else None,
            "segments": [segment],
            "totals": dict(totals),
        }
        place, fresh = self.directory / MANIFEST, self.directory / f".{MANIFEST}.new"
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(json.dumps(manifest, indent=2, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(place)
        directory_fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory_fd)
        finally:
            os.close(directory_fd)


class _Link:
    """What a line says beyond its frame: the answered CALL, and how much had passed before."""

    def __init__(self, link: str) -> None:
        self.rpc = Rpc(link)
        self.frames = 0
        self.sent = dict.fromkeys(Side, 0)
        self._counted: tuple[Side, int] | None = None

    def follow(self, frame: Frame) -> tuple[Event | None, Parsed]:
        if self._counted:
            self.sent[self._counted[0]] += 1
        self._counted = (frame.sender, 1) if frame.kind is Kind.TEXT and frame.sender else None
        self.frames += 1
        parsed = codec.parse(frame.text) if frame.text is not None else UNPARSED
        self.rpc.handle_timer(frame.at_us)
        events = self.rpc.receive(frame, parsed)
        return (events[-1] if events else None), parsed


def check_directory(directory: Path) -> None:
    """Raise ``FileExistsError`` unless a new capture can be made there: one is never appended to."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FileExistsError("it exists and is not empty; a capture is never appended to")


def next_connection(directory: Path) -> int:
    """The number of the next connection in this capture: above every one in it (there is a line for each)."""
    return 1


def write_capture(
    frames: Iterable[Frame], directory: Path, *, vantage: str, head: Mapping[str, Any] = {}
) -> CaptureWriter:
    """Write all frames as a new, closed capture. Its dates are those of its frames."""
    writer: CaptureWriter | None = None
    last_us = 0
    for frame in frames:
        if writer is None:
            writer = CaptureWriter(directory, created_us=frame.at_us, vantage=vantage, head=head)
        writer.write(frame)
        last_us = max(last_us, frame.at_us)
    if writer is None:
        writer = CaptureWriter(directory, created_us=0, vantage=vantage, head=head)
    writer.close(last_us, {"lines": writer.lines})
    return writer
