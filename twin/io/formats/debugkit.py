"""Reader of OCPP DebugKit's own traces: an object with events, one event a line, or a bare array of messages.

The format is that of @ocpp-debugkit/toolkit 0.4: ``{"metadata": {"stationId"}, "events": [{"timestamp",
"direction", "message"}]}``, timestamps as ISO 8601 or epoch (seconds or milliseconds) or missing.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twin.io.formats.jsonlines import is_unicode, mended, numbered_records, shown
from twin.io.formats.senders import Senders
from twin.io.reading import MOST_WHOLE_BYTES, CaptureError, Format, ImportReport, Reading, ReadOptions
from twin.model import Frame, Kind, Side
from twin.protocol.timestamps import parse_stamp

_DIRECTIONS = {"CS_TO_CSMS": Side.STATION, "CSMS_TO_CS": Side.CSMS}  # "CS" is the station here
_MILLISECONDS_FROM = 1e11  # a number below is seconds since 1970
_TYPES = (2, 3, 4)


def sniff(path: Path, head: bytes) -> float:
    """Certain where an event stands in the first 64 KiB, half so for a bare array of messages."""
    start = head.lstrip()
    if start.startswith(b"[") and start[1:].lstrip().startswith(b"["):
        return 0.7 if _is_message(_first_of(start)) else 0.0
    if not start.startswith(b"{"):
        return 0.0
    if b'"events"' in start and b'"message"' in start:
        return 0.9
    try:
        event = json.loads(start.partition(b"\n")[0])
    except (ValueError, RecursionError):
        return 0.0
    return 0.9 if isinstance(event, dict) and _is_message(event.get("message")) else 0.0


def _first_of(array: bytes) -> Any:
    """The first element of an array of which only the beginning is there."""
    try:
        return json.JSONDecoder().raw_decode(array.decode("utf-8", "replace")[1:].lstrip())[0]
    except (ValueError, RecursionError):
        return None


def _is_message(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) >= 3
        and type(value[0]) is int
        and value[0] in _TYPES
        and isinstance(value[1], str)
    )


def read(path: Path, options: ReadOptions) -> Reading:
    """Frames in the order of the events; messages are spelt anew, for the trace holds parsed ones."""
    report = ImportReport()
    return Reading(format="debugkit", frames=_frames(path, report), report=report)


def _frames(path: Path, report: ImportReport) -> Iterator[Frame]:
    senders, seq, last_us = Senders(), 0, 0
    for number, event, station in _events(path, report):
        message = event.get("message")
        text = json.dumps(message, separators=(",", ":"), ensure_ascii=False) if _is_message(message) else ""
        if not text or not is_unicode(text):
            report.unused_line(number, shown(repr(event).encode(errors="replace")), "no OCPP-J message")
            continue
        at_us = _at_us(event.get("timestamp"))
        facts: dict[str, Any] = {"source": {"line": number}, "reconstructed": True}
        if at_us is None:
            facts["interpolated"] = True
        sender = senders.of(text, station, _DIRECTIONS.get(str(event.get("direction"))))
        if sender is None:
            facts["direction"] = "unknown"
        seq, last_us = seq + 1, max(last_us, at_us or last_us)
        report.used += 1
        report.marked["reconstructed"] += 1
        yield Frame(
            seq=seq,
            at_us=last_us,
            link=station or "trace",
            kind=Kind.TEXT,
            sender=sender,
            station=station,
            text=text,
            facts=facts,
        )
    report.settle()


def _events(path: Path, report: ImportReport) -> Iterator[tuple[int, dict[str, Any], str]]:
    """Every event with its number and station: of one JSON value where the file is one, else a line each."""
    whole = _whole(path)
    if whole is None:
        for number, _, event in numbered_records(path, report):
            yield number, event, ""
        return
    station = ""
    events: Any = whole
    if isinstance(whole, dict):
        events = whole.get("events")
        metadata = whole.get("metadata")
        station = metadata.get("stationId", "") if isinstance(metadata, dict) else ""
        station = mended(station) if isinstance(station, str) else ""
    if not isinstance(events, list):
        raise CaptureError(f"{path}: no events in it")
    for number, event in enumerate(events, 1):
        report.lines += 1
        if isinstance(event, dict):
            yield number, event, station
        elif isinstance(whole, list):
            yield number, {"message": event}, station
        else:
            report.unused_line(number, shown(repr(event).encode(errors="replace")), "not an event")


def _whole(path: Path) -> Any:
    """The file as one JSON value; ``None`` where it is lines."""
    try:
        if path.stat().st_size > MOST_WHOLE_BYTES:  # its own tools stop at 10 MiB
            return None
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    except OSError as error:
        raise CaptureError(f"{path}: {error.strerror or error}") from error


def _at_us(said: Any) -> int | None:
    if isinstance(said, str):
        stamp = parse_stamp(said.strip())
        return stamp.at_us if stamp is not None else None
    if isinstance(said, int | float) and not isinstance(said, bool) and 0 < said < 1e14:
        return round(said * (1000 if said >= _MILLISECONDS_FROM else 1_000_000))
    return None


FORMAT = Format(name="debugkit", title="OCPP DebugKit trace", sniff=sniff, read=read)
