"""Reader of HAR files: the WebSocket messages that browsers and proxies keep in ``_webSocketMessages``.

Whoever made the file is the client: ``send`` is the station's. ``time`` is in seconds since 1970, ``opcode``
as in RFC 6455 §5.2, ``data`` a text, or base64 where the opcode is binary.
"""

import base64
import binascii
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec.structs import replace

from twin.io.formats.jsonlines import is_unicode, shown
from twin.io.formats.peersession import station_of
from twin.io.reading import CaptureError, Format, ImportReport, Reading, ReadOptions, refuse_larger
from twin.model import Frame, Kind, Side
from twin.protocol.timestamps import parse_stamp

_SENDERS = {"send": Side.STATION, "receive": Side.CSMS}
_KINDS = {1: Kind.TEXT, 2: Kind.BINARY, 8: Kind.CLOSE, 9: Kind.PING, 10: Kind.PONG}


def sniff(path: Path, head: bytes) -> float:
    """Certain for a JSON object whose ``log`` has a version and a creator."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start.startswith(b"{") or b'"log"' not in start[:200]:
        return 0.0
    return 0.95 if b'"creator"' in start or b'"entries"' in start else 0.3


def read(path: Path, options: ReadOptions) -> Reading:
    """Frames of all WebSocket entries, by time; a link each."""
    report = ImportReport()
    return Reading(format="har", frames=_frames(path, report), report=report)


def _frames(path: Path, report: ImportReport) -> Iterator[Frame]:
    frames: list[Frame] = []
    for number, entry in enumerate(_entries(path), 1):
        messages = entry.get("_webSocketMessages") if isinstance(entry, dict) else None
        if not isinstance(messages, list):
            report.lines += 1
            report.unused_line(
                number, shown(repr(entry)[:300].encode(errors="replace")), "no WebSocket messages"
            )
            continue
        frames += _link(number, entry, messages, report)
    frames.sort(key=lambda frame: frame.at_us)
    report.settle()
    for seq, frame in enumerate(frames, 1):
        yield replace(frame, seq=seq)


def _entries(path: Path) -> list[Any]:
    try:
        refuse_larger(path, "export fewer entries, without the bodies of answers")
        document = json.loads(path.read_bytes().decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError) as error:
        raise CaptureError(f"{path} is no whole JSON document: {error}; export it again") from error
    except OSError as error:
        raise CaptureError(f"{path}: {error.strerror or error}") from error
    log = document.get("log") if isinstance(document, dict) else None
    entries = log.get("entries") if isinstance(log, dict) else None
    if not isinstance(entries, list):
        raise CaptureError(f"{path}: no entries in its log: is it a HAR file?")
    return entries


def _link(number: int, entry: dict[str, Any], messages: list[Any], report: ImportReport) -> Iterator[Frame]:
    request = entry.get("request")
    url = request.get("url") if isinstance(request, dict) else None
    path = urlsplit(url).path if isinstance(url, str) and is_unicode(url) else ""
    station, link = station_of(path), f"h{number}"
    began = parse_stamp(entry["startedDateTime"]) if isinstance(entry.get("startedDateTime"), str) else None
    if began is not None:
        yield Frame(
            seq=0, at_us=began.at_us, link=link, kind=Kind.OPEN, station=station, facts={"path": path}
        )
    for message in messages:
        report.lines += 1
        frame = _frame(message, link, station) if isinstance(message, dict) else "not a message"
        if isinstance(frame, str):
            report.unused_line(report.lines, shown(repr(message)[:300].encode(errors="replace")), frame)
            continue
        report.used += 1
        yield frame


def _frame(message: dict[str, Any], link: str, station: str) -> Frame | str:
    sender, kind = _SENDERS.get(str(message.get("type"))), _KINDS.get(message.get("opcode", 1))
    time, data = message.get("time"), message.get("data")
    if sender is None or kind is None:
        return "neither sent nor received, or an unknown opcode"
    if not isinstance(time, int | float) or isinstance(time, bool) or not 0 < time < 1e11:
        return "time is no number of seconds"
    if not isinstance(data, str) or not is_unicode(data):
        return "data is no text"
    held = None
    if kind is not Kind.TEXT:
        try:
            held = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            held = data.encode()
    return Frame(
        seq=0,
        at_us=round(time * 1_000_000),
        link=link,
        kind=kind,
        sender=sender,
        station=station,
        text=data if kind is Kind.TEXT else None,
        data=held,
    )


FORMAT = Format(name="har", title="HAR with WebSocket messages", sniff=sniff, read=read)
