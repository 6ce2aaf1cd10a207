"""Reader of tables that a CSMS shows: a line an exchange, request and answer in it, mostly newest first.

Cells stand between tabs, bars, semicolons or commas; the frames are found by their brackets, whatever the
cells are called, and the time is whatever in the line can be read as one, US order included.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from twin.io.formats.jsonlines import numbered_lines, shown
from twin.io.formats.jsonscan import Scanner
from twin.io.formats.senders import Senders
from twin.io.formats.textlog_heads import no_station
from twin.io.formats.textlog_times import LogTime, Zone, asked_zone, modal_zone, payload_times
from twin.io.reading import (
    FRAME_START,
    Format,
    ImportReport,
    Reading,
    ReadOptions,
    refuse_larger,
)
from twin.model import Call, Frame, Kind
from twin.protocol.codec import parse
from twin.protocol.timestamps import parse_stamp

_US = re.compile(r"\b(\d{1,2})/(\d{1,2})/(\d{4}),? (\d{1,2}):(\d\d)(?::(\d\d))? ?([AaPp]\.?[Mm]\.?)?")
_ISO = re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?")
_CELLS = re.compile(r"\s*[|\t;,]\s*")
_NAMED = re.compile(r"[\w.:-]{1,60}")
_ROWS_SEEN = 200  # of the head


class _Row(msgspec.Struct):
    number: int
    texts: list[str]
    time: LogTime | None
    station: str


def sniff(path: Path, head: bytes) -> float:
    """Certain where most lines with a frame hold a CALL, its answer under the same id, and a time outside."""
    rows = others = 0
    for line in head.decode("utf-8", "replace").splitlines()[:_ROWS_SEEN]:
        texts, rest = _texts(line)
        if len(texts) == 2 and _pairs(texts) and (_US.search(rest) or _ISO.search(rest)):
            rows += 1
        else:
            others += bool(texts)
    return 0.93 if rows > others else 0.0


def read(path: Path, options: ReadOptions) -> Reading:
    """Frames oldest first; an unknown time zone is a CaptureError."""
    zone = asked_zone(options.log_timezone) if options.log_timezone else None
    refuse_larger(path, "export a shorter time")  # all rows are held, for the last one may be the first
    report = ImportReport()
    return Reading(format="cmstable", frames=_frames(path, zone, report), report=report)


def _frames(path: Path, asked: Zone | None, report: ImportReport) -> Iterator[Frame]:
    rows = list(_rows(path, report))
    times = [row.time.local_us for row in rows if row.time is not None]
    if len(times) > 1 and times[0] > times[-1]:
        rows.reverse()
        report.notes.append("newest first: the rows were turned round")
    zone = asked or modal_zone(_clock_pairs(rows))
    report.notes += [zone.note, "a row has one time for its request and its answer"]
    senders, seq, last_us = Senders(), 0, 0
    for row in rows:
        for text in row.texts:
            at_us = max(zone.utc_us(row.time), last_us) if row.time is not None else last_us
            facts = {"source": {"line": row.number, "shape": "CMS table"}}
            link = row.station or "table"
            seq, last_us = seq + 1, at_us
            yield Frame(
                seq=seq,
                at_us=at_us,
                link=link,
                kind=Kind.TEXT,
                sender=senders.of(text, link),
                station=row.station,
                text=text,
                facts=facts,
            )
    report.shapes["CMS table"] += seq
    report.settle()


def _rows(path: Path, report: ImportReport) -> Iterator[_Row]:
    for number, line in numbered_lines(path, report):
        decoded = line.decode("utf-8", "replace")
        texts, rest = _texts(decoded)
        if not texts:
            report.unused_line(number, shown(line), "no frame in it")
            continue
        report.used += 1
        yield _Row(
            number, sorted(texts, key=lambda text: not _is_call(text)), _time(rest), _station(rest, texts)
        )


def _texts(line: str) -> tuple[list[str], str]:
    """The frames of a line, and the line without them. A CSV doubles the quotes inside a quoted cell."""
    if '""' in line:
        line = line.replace('"[', "[").replace(']"', "]").replace('""', '"')
    texts: list[str] = []
    rest: list[str] = []
    place = 0
    while (match := FRAME_START.search(line, place)) is not None:
        end = Scanner().feed(line, match.start())
        rest.append(line[place : match.start()])
        if end is None:
            break
        texts.append(line[match.start() : end])
        place = end
    rest.append(line[place:])
    return texts, " | ".join(rest)


def _pairs(texts: list[str]) -> bool:
    messages = [parse(text).message for text in texts]
    ids = {message.message_id for message in messages if message is not None}
    return len(ids) == 1 and sum(isinstance(message, Call) for message in messages) == 1


def _is_call(text: str) -> bool:
    return isinstance(parse(text).message, Call)


def _time(rest: str) -> LogTime | None:
    if (match := _ISO.search(rest)) is not None:
        stamp = parse_stamp(match[0].replace(" ", "T"))
        return LogTime(match[0], stamp.at_us, bool(stamp.zone)) if stamp is not None else None
    if (match := _US.search(rest)) is None:
        return None
    month, day, year, hour, minute, second, half = match.groups()
    hours = int(hour) % 12 + 12 * half.lower().startswith("p") if half else int(hour)
    try:
        moment = datetime(int(year), int(month), int(day), hours, int(minute), int(second or 0), tzinfo=UTC)
    except ValueError:
        return None
    return LogTime(match[0], int(moment.timestamp()) * 1_000_000, zoned=False)


def _clock_pairs(rows: list[_Row]) -> Iterator[tuple[int, int]]:
    """The table's time and the first one of the payloads, for rows that have both."""
    for row in rows:
        times = [at_us for text in row.texts for at_us in payload_times(text)]
        if row.time is not None and not row.time.zoned and times:
            yield row.time.local_us, times[0]


def _station(rest: str, texts: list[str]) -> str:
    """The first cell that is a name and neither the action nor a time."""
    message = parse(texts[0]).message
    action = getattr(message, "action", "")
    for cell in _CELLS.split(rest):
        if (
            cell != action
            and not no_station(cell)
            and _NAMED.fullmatch(cell)
            and not _US.match(cell)
            and not cell.isdecimal()
        ):
            return cell
    return ""


FORMAT = Format(name="cmstable", title="table of a CSMS", sniff=sniff, read=read)
