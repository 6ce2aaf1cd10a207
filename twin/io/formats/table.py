"""Frames as a table, CSV or Parquet: one row a frame, for spreadsheets and data frames, and back.

A cell of a CSV that a spreadsheet would take for a formula (it begins with ``=``, ``+``, ``-``, ``@`` or a
control character) stands behind an apostrophe, which is taken away again on reading. Cells may be parted by
semicolons or tabs instead of commas, as spreadsheets of other countries write them.
"""

import base64
import binascii
import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from twin.io.formats.jsonlines import is_unicode, mended, numbered_lines, shown
from twin.io.reading import MAX_TEXT, CaptureError, Format, ImportReport, Reading, ReadOptions, WriteReport
from twin.model import Call, Frame, Kind, Side
from twin.protocol.codec import parse
from twin.protocol.timestamps import format_us, parse_stamp

COLUMNS = (
    "seq",
    "at",
    "link",
    "station",
    "kind",
    "sender",
    "action",
    "message_id",
    "text",
    "data",
    "mono_ns",
    "facts",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_ROWS = 20_000  # of one row group
_MAGIC = b"PAR1"


def guarded(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith((*_FORMULA, "'")) else cell


def unguarded(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith((*_FORMULA, "'")) else cell


def rows_of(frames: Iterable[Frame]) -> Iterator[dict[str, Any]]:
    """A row a frame. ``at`` is UTC with microseconds, ``data`` base64, ``facts`` JSON."""
    for frame in frames:
        message = parse(frame.text).message if frame.text is not None else None
        yield {
            "seq": frame.seq,
            "at": format_us(frame.at_us),
            "link": frame.link,
            "station": frame.station,
            "kind": frame.kind.value,
            "sender": frame.sender.value if frame.sender is not None else None,
            "action": message.action if isinstance(message, Call) else None,
            "message_id": message.message_id if message is not None else None,
            "text": frame.text,
            "data": base64.b64encode(frame.data).decode() if frame.data is not None else None,
            "mono_ns": frame.mono_ns,
            "facts": json.dumps(dict(frame.facts), ensure_ascii=False) if frame.facts else None,
        }


def frame_of(row: Mapping[str, Any], seq: int, last_us: int) -> Frame | str:
    """The frame of a row, or why it is none; an empty cell is an absent value."""
    stamp = parse_stamp(str(row.get("at") or ""))
    kind, sender = row.get("kind") or "text", row.get("sender")
    if stamp is None:
        return "at is not a time"
    if kind not in list(Kind) or (sender and sender not in list(Side)):
        return "unknown kind or sender"
    text = row.get("text")
    if kind == Kind.TEXT and (not isinstance(text, str) or not is_unicode(text)):
        return "no text"
    try:
        facts = json.loads(row["facts"]) if row.get("facts") else {}
        data = base64.b64decode(row["data"], validate=True) if row.get("data") else None
        mono_ns = int(row["mono_ns"]) if row.get("mono_ns") not in (None, "") else None
    except (ValueError, TypeError, RecursionError, binascii.Error):
        return "facts, data or mono_ns cannot be read"
    return Frame(
        seq=seq,
        at_us=max(stamp.at_us, last_us) if seq > 1 else stamp.at_us,
        link=mended(str(row.get("link") or "table")),
        kind=Kind(kind),
        sender=Side(sender) if sender else None,
        mono_ns=mono_ns,
        station=mended(str(row.get("station") or "")),
        text=text if isinstance(text, str) and kind == Kind.TEXT else None,
        data=data if kind != Kind.TEXT else None,
        facts=mended(facts) if isinstance(facts, dict) else {},
    )


# --- CSV ----------------------------------------------------------------------------------------------------


_ROW = re.compile(r"\d{1,18}([,;\t])\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")  # how every row of ours begins
_DELIMITERS = (",", ";", "\t")
_NO_END = "a quoted cell that does not end"


def sniff_csv(path: Path, head: bytes) -> float:
    """Certain by the header line."""
    first = head.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0].decode("utf-8", "replace").strip()
    return 1.0 if first in (delimiter.join(COLUMNS) for delimiter in _DELIMITERS) else 0.0


def read_csv(path: Path, options: ReadOptions) -> Reading:
    report = ImportReport()
    return Reading(format="csv", frames=_frames(_csv_rows(path, report), report), report=report)


def write_csv(frames: Iterable[Frame], path: Path) -> WriteReport:
    """Write every frame as a row."""
    report = WriteReport()
    with path.open("x", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        out.writeheader()
        for row in rows_of(frames):
            out.writerow({key: guarded(str(value)) for key, value in row.items() if value is not None})
            report.written += 1
    return report


def _csv_rows(path: Path, report: ImportReport) -> Iterator[tuple[int, dict[str, Any] | str, str]]:
    """Rows, each with the line on which it ends, or begins if it does not; a text may hold line breaks."""
    csv.field_size_limit(MAX_TEXT)
    held: list[str] = []
    first = size = quotes = 0
    delimiter = ","
    for number, line in numbered_lines(path, report, exact=True):
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", "replace")
        if held and _ROW.match(text):  # a cell that never ended costs its own row
            report.lines += 1
            yield first, _NO_END, "\n".join(held)
            held, size, quotes = [], 0, 0
        first = first if held else number
        if number == 1 or (not held and not text.strip()):
            report.lines -= 1
            if number == 1:
                delimiter = next((one for one in _DELIMITERS if one in text), delimiter)
            continue
        held.append(text)
        size += len(text)
        quotes += text.count('"')
        if quotes % 2 and size < MAX_TEXT:  # a quoted cell goes on
            report.lines -= 1
            continue
        whole, held, size, quotes = "\n".join(held), [], 0, 0
        try:
            cells = next(csv.reader(io.StringIO(whole), delimiter=delimiter, strict=True))
        except (csv.Error, StopIteration) as error:
            yield number, str(error), whole
            continue
        if len(cells) != len(COLUMNS):
            yield number, f"{len(cells)} cells instead of {len(COLUMNS)}", whole
        else:
            yield number, dict(zip(COLUMNS, map(unguarded, cells), strict=True)), whole
    if held:
        report.lines += 1
        yield first, _NO_END, "\n".join(held)


def _frames(rows: Iterable[tuple[int, dict[str, Any] | str, str]], report: ImportReport) -> Iterator[Frame]:
    seq, last_us = 0, 0
    for number, row, told in rows:
        frame = row if isinstance(row, str) else frame_of(row, seq + 1, last_us)
        if isinstance(frame, str):
            report.unused_line(number, shown(told.replace('""', '"').encode(errors="replace")), frame)
            continue
        seq, last_us = frame.seq, frame.at_us
        report.used += 1
        yield frame
    report.settle()


# --- Parquet ------------------------------------------------------------------------------------------------


def sniff_parquet(path: Path, head: bytes) -> float:
    """Certain by the magic number."""
    return 1.0 if head.startswith(_MAGIC) else 0.0


def read_parquet(path: Path, options: ReadOptions) -> Reading:
    report = ImportReport()
    return Reading(format="parquet", frames=_frames(_parquet_rows(path, report), report), report=report)


def write_parquet(frames: Iterable[Frame], path: Path) -> WriteReport:
    """Write every frame as a row, in groups. Raises ``CaptureError`` without pyarrow."""
    arrow, parquet = _pyarrow(path)
    texts = {name: arrow.string() for name in COLUMNS}
    schema = arrow.schema({**texts, "seq": arrow.int64(), "mono_ns": arrow.int64()})
    report = WriteReport()
    if path.exists():
        raise FileExistsError(f"{path} exists")
    with parquet.ParquetWriter(path, schema) as out:
        held: list[dict[str, Any]] = []
        for row in rows_of(frames):
            held.append(row)
            report.written += 1
            if len(held) == _ROWS:
                out.write_table(arrow.Table.from_pylist(held, schema))
                held = []
        out.write_table(arrow.Table.from_pylist(held, schema))
    return report


def _parquet_rows(path: Path, report: ImportReport) -> Iterator[tuple[int, dict[str, Any] | str, str]]:
    arrow, parquet = _pyarrow(path)
    try:
        with parquet.ParquetFile(path) as file:
            if missing := {"at", "text"} - set(file.schema_arrow.names):
                raise CaptureError(f"{path} has no column {min(missing)}: it is no table of frames")
            for batch in file.iter_batches(_ROWS):
                for row in batch.to_pylist():
                    report.lines += 1
                    yield report.lines, row, repr(row)[:200]
    except (arrow.ArrowException, OSError) as error:
        raise CaptureError(f"{path}: {error}") from error


def _pyarrow(path: Path) -> tuple[Any, Any]:
    try:
        import pyarrow  # type: ignore[import-untyped]  # pyarrow ships no types
        import pyarrow.parquet  # type: ignore[import-untyped]  # nor here
    except ImportError as error:
        raise CaptureError(f"{path}: Parquet needs pyarrow: pip install pyarrow") from error
    return pyarrow, pyarrow.parquet


CSV = Format(
    name="csv",
    title="CSV, a row a frame",
    sniff=sniff_csv,
    read=read_csv,
    write=write_csv,
    suffixes=(".csv",),
)
PARQUET = Format(
    name="parquet",
    title="Parquet, a row a frame",
    sniff=sniff_parquet,
    read=read_parquet,
    write=write_parquet,
    suffixes=(".parquet",),
)
