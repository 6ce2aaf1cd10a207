"""Reading our own capture back: whole lines, whatever became of the rest (docs/capture-format.md)."""

import base64
import binascii
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from twin.io.lines import DIRECTIONS
from twin.io.manifest import MANIFEST, VERSION, read_manifest, segments_of, told_segments
from twin.io.reading import CaptureError, Format, ImportReport, Reading, ReadOptions, WriteReport
from twin.io.segment_lines import lines_of
from twin.io.segments import write_capture
from twin.model import Frame, Kind
from twin.protocol.timestamps import parse_stamp

__all__ = ["FORMAT", "frames_of_lines", "write_capture"]

_SENDERS = {text: side for side, text in DIRECTIONS.items()}
# Names with a meaning of their own; every other name on a line is a fact.
_RESERVED = frozenset(
    {"kind", "seq", "conn", "timestamp", "t_mono_ns", "direction", "station", "raw", "base64", "prev"}
)
_META_RESERVED = frozenset(
    {"seq", "conn", "t_mono_ns", "prev", "conn_seq", "peer_seen", "answers", "sender_unknown"}
)


class _Line(msgspec.Struct):
    """What is read of a line; the payload of a record is derived from ``raw`` and left alone."""

    timestamp: str
    kind: str = ""
    chargePointId: str = ""  # noqa: N815  # the format's own spelling
    direction: str | None = None
    messageType: str = ""  # noqa: N815  # the format's own spelling
    raw: str | None = None
    meta: dict[str, Any] = {}


_UNKNOWN = "unknown"  # the direction of a text in somebody else's log
_decode_line = msgspec.json.Decoder(_Line).decode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def frames_of_lines(lines: Iterable[bytes], report: ImportReport) -> Iterator[Frame]:
    """Every frame of our own lines. A torn or damaged line becomes an UNDECODABLE frame and is reported."""
    last: Frame | None = None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        report.lines += 1
        frame = _frame_of(line)
        if isinstance(frame, str):
            report.unused_line(number, line[:200].decode(errors="replace"), frame)
            last = _damaged(line, number, frame, last)
        else:
            report.used += 1
            last = frame
        yield last
    if report.lines and report.unusable == report.lines:
        raise CaptureError("not one line of it is a line of a capture")


def _damaged(line: bytes, number: int, why: str, last: Frame | None) -> Frame:
    return Frame(
        seq=last.seq + 1 if last else 1,
        at_us=last.at_us if last else 0,
        link=last.link if last else "",
        station=last.station if last else "",
        kind=Kind.UNDECODABLE,
        data=line[:4096],
        facts={"why": why, "line": number},
    )


def _frame_of(line: bytes) -> Frame | str:
    """The frame of one line, or why there is none."""
    try:
        known = _decode_line(line)
        return _kind_frame(known, _decode(line)) if known.kind else _record_frame(known)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return "damaged line" if line.endswith(b"\n") else "torn line"
    except (KeyError, TypeError, ValueError, binascii.Error):
        return "line without the fields of a capture"


def _record_frame(line: _Line) -> Frame:
    meta = line.meta
    if line.raw is None or line.direction is None:
        raise ValueError("no record")
    return Frame(
        seq=int(meta["seq"]),
        at_us=_stamp_us(line.timestamp),
        mono_ns=_clock(meta.get("t_mono_ns")),
        link=str(meta["conn"]),
        station=line.chargePointId,
        kind=Kind.TEXT,
        sender=_SENDERS[line.direction],
        text=line.raw,
        facts={key: value for key, value in meta.items() if key not in _META_RESERVED},
    )


def _kind_frame(line: _Line, values: dict[str, Any]) -> Frame:
    data = values.get("base64")
    return Frame(
        seq=int(values["seq"]),
        at_us=_stamp_us(line.timestamp),
        mono_ns=_clock(values.get("t_mono_ns")),
        link=str(values["conn"]),
        station=_word(values.get("station", "")),
        kind=Kind(line.kind),
        sender=_SENDERS[line.direction] if line.direction not in (None, _UNKNOWN) else None,
        text=line.raw,
        data=base64.b64decode(data, validate=True) if isinstance(data, str) else None,
        facts={key: value for key, value in values.items() if key not in _RESERVED}
        | ({"direction": _UNKNOWN} if line.direction == _UNKNOWN else {}),
    )


def _clock(value: Any) -> int | None:
    if value is not None and type(value) is not int:
        raise TypeError("t_mono_ns is no integer")
    return value


def _word(value: Any) -> str:
    if type(value) is not str:
        raise TypeError("no text")
    return value


def _stamp_us(text: str) -> int:
    stamp = parse_stamp(text)
    if stamp is None:
        raise ValueError(f"no time: {text!r}")
    return stamp.at_us


def _read(path: Path, options: ReadOptions) -> Reading:
    segments = segments_of(path)
    if not segments:
        raise CaptureError(f"{path} holds no segment-*.jsonl: no capture directory")
    report = ImportReport()
    manifest: dict[str, Any] = {}
    if path.is_dir():
        try:
            manifest = read_manifest(path)
        except FileNotFoundError:
            report.notes.append("manifest.json is missing; the segments were listed")
        except ValueError:
            report.notes.append("manifest.json is damaged; the segments were listed")
        report.notes += [
            f"{entry.get('name')} was removed ({entry['removed']})"
            for entry in told_segments(manifest)
            if "removed" in entry
        ]
        if manifest.get("version", VERSION) > VERSION:
            raise CaptureError(f"{path} has format version {manifest['version']}, this twin reads {VERSION}")
    lines = chain.from_iterable(map(lines_of, segments))
    return Reading(format="capture", frames=frames_of_lines(lines, report), report=report, manifest=manifest)


def _sniff(path: Path, head: bytes) -> float:
    if path.is_dir():
        return 1.0 if (path / MANIFEST).exists() or segments_of(path) else 0.0
    return 0.95 if b'"prev":"' in head and (b'"conn":' in head) and head.startswith(b"{") else 0.0


def _write(frames: Iterable[Frame], path: Path) -> WriteReport:
    return WriteReport(written=write_capture(frames, path, vantage="import").lines)


FORMAT = Format(name="capture", title="our own capture directory", sniff=_sniff, read=_read, write=_write)
