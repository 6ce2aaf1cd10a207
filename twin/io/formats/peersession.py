"""Reader of the peer sessions: JSON lines of the plain relay that stood between two independent programs."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from twin.io.formats.jsonlines import is_unicode, mended, numbered_records, shown
from twin.io.reading import Format, ImportReport, Reading, ReadOptions
from twin.model import Frame, Kind, Side
from twin.protocol.timestamps import parse_stamp

SENDERS = {"cp->cs": Side.STATION, "cs->cp": Side.CSMS}  # here "cs" is the central system
CLOSERS = {"cp": Side.STATION, "cs": Side.CSMS}
SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
REDACTED = "[redacted]"
_NO_CLOSE_FRAME = 1006  # RFC 6455 §7.4.1: never on the wire; the socket ended without a Close frame
_NO_CODE = 1005  # RFC 6455 §7.4.1: a Close frame without a body


def sniff(path: Path, head: bytes) -> float:
    """Certain when the first line has the relay's own three fields."""
    first = head.lstrip().partition(b"\n")[0]
    try:
        record = json.loads(first)
    except (ValueError, RecursionError):
        return 0.0
    return 1.0 if isinstance(record, dict) and {"t", "conn", "dir"} <= record.keys() else 0.0


def read(path: Path, options: ReadOptions) -> Reading:
    """Frames in file order; the log's own clocks, so ``options`` have nothing to say."""
    report = ImportReport()
    return Reading(format="peersession", frames=_frames(path, report), report=report)


def _frames(path: Path, report: ImportReport) -> Iterator[Frame]:
    stations: dict[str, str] = {}
    first_closer: dict[
        str, tuple[Side, bool]
    ] = {}  # link: who closed first, and whether the socket just ended
    seq, last_us = 0, 0
    for number, line, record in numbered_records(path, report):
        record |= mended({key: value for key, value in record.items() if key != "raw"})
        link = f"c{record.get('conn')}"
        parts = _parts(record, link, first_closer)
        stamp = parse_stamp(record["t"]) if isinstance(record.get("t"), str) else None
        if stamp is None and not isinstance(parts, str):
            parts = "t is not a time"
        if isinstance(parts, str) or stamp is None:
            report.unused_line(number, shown(line), str(parts))
            continue
        if isinstance(path_fact := parts.get("facts", {}).get("path"), str):
            stations[link] = station_of(path_fact)
        seq, last_us = seq + 1, max(last_us, stamp.at_us) if seq else stamp.at_us
        mono_ns = record.get("mono_ns")
        report.used += 1
        yield Frame(
            seq=seq,
            at_us=last_us,
            link=link,
            station=stations.get(link, ""),
            mono_ns=mono_ns if type(mono_ns) is int else None,
            **parts,
        )
    report.settle()


def station_of(path: str) -> str:
    """The station's identity: the last segment of the path, percent-decoded (OCPP-J 1.6 §3.1.1)."""
    return unquote(path.partition("?")[0].rstrip("/").rpartition("/")[2])


def _parts(
    record: Mapping[str, Any], link: str, first_closer: dict[str, tuple[Side, bool]]
) -> dict[str, Any] | str:
    """What one record adds to a Frame, or why it is none."""
    if (sender := SENDERS.get(str(record.get("dir")))) is not None:
        text = record.get("raw")
        if not isinstance(text, str) or not is_unicode(text):
            return "raw is not a text"
        return {"kind": Kind.TEXT, "sender": sender, "text": text}
    match record.get("event"):
        case "open":
            first_closer.pop(link, None)
            return {"kind": Kind.OPEN, "facts": _opened(record)}
        case "upstream_refused":
            why = {"by": Side.CSMS.value, "error": str(record.get("error", ""))}
            return {"kind": Kind.REFUSED, "facts": _handshake(record) | why}
        case "closed" if (side := CLOSERS.get(str(record.get("side")))) is not None:
            return _closed(record, side, link, first_closer)
    return "unknown event"


def _handshake(record: Mapping[str, Any]) -> dict[str, Any]:
    path, headers = record.get("path"), record.get("headers")
    pairs = headers.items() if isinstance(headers, Mapping) else ()
    return {
        "path": path if isinstance(path, str) else "",
        "station": station_of(path) if isinstance(path, str) else "",
        "request_headers": [
            [name, REDACTED if name.lower() in SECRET_HEADERS else str(value)] for name, value in pairs
        ],
    }


def _opened(record: Mapping[str, Any]) -> dict[str, Any]:
    return _handshake(record) | {
        "subprotocols_offered": record.get("offered"),
        "subprotocol": record.get("accepted"),
        "peers": {"station": record.get("station"), "csms": record.get("csms")},
    }


def _closed(
    record: Mapping[str, Any], side: Side, link: str, first_closer: dict[str, tuple[Side, bool]]
) -> dict[str, Any] | str:
    """The relay logs two sockets a link: the first ending is the peer's, the second its own doing."""
    code, reason = record.get("code"), str(record.get("reason") or "")
    if link not in first_closer:
        first_closer[link] = side, code == _NO_CLOSE_FRAME
        if code == _NO_CLOSE_FRAME:
            facts = {"abrupt": True, "by": side.value, "how": "no close frame"}
            return {"kind": Kind.END, "facts": facts}
        told = {"code": None if code == _NO_CODE else code, "reason": reason, "first": True}
        return {"kind": Kind.CLOSE, "sender": side, "facts": told}
    closer, ended = first_closer[link]
    if ended:
        return "the relay's own close of the other socket"
    first_closer[link] = closer, True
    return {"kind": Kind.END, "facts": {"abrupt": False, "by": closer.value, "how": "after the close frame"}}


FORMAT = Format(name="peersession", title="session recorded by the plain relay", sniff=sniff, read=read)
