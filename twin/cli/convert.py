"""twin convert: any format to any that is written, and what became of every line."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twin.cli.common import FINDINGS, UNREADABLE, USAGE, fail, note, opened, say_json
from twin.io.formats import WRITTEN, CaptureError, Format, ImportReport, Reading
from twin.io.reading import FRAME_START, UnusedLine, WriteReport
from twin.report.words import plain

_LISTED = 20
_FOREIGN = frozenset(
    (".txt", ".log", ".json", ".har", ".pcap", ".pcapng", ".mitm", ".flow", ".html", ".xlsx", ".zip", ".gz")
)  # fmt: skip
_FRAMES = "frames"


def convert(
    path: Path,
    output: Path,
    *,
    to: str | None,
    table: str,
    format: str | None,  # noqa: A002  # the option's own name
    log_timezone: str | None,
    logged_by: str | None,
    as_json: bool,
) -> int:
    """Convert, and report every line that could not be used; the exit code (1: some looked like frames)."""
    target = _target(to, output)
    if output.exists():
        raise fail(f"{output} exists: nothing is ever written over", USAGE)
    reading = opened(path, format=format, log_timezone=log_timezone, logged_by=logged_by)
    try:
        report = _written(reading, output, target, table, path.name)
    except FileExistsError as error:
        raise fail(str(error), USAGE) from error
    except OSError as error:
        raise fail(f"{output}: {error.strerror or error}", USAGE) from error
    except CaptureError as error:
        raise fail(str(error), UNREADABLE) from error
    if as_json:
        say_json(_json(reading.report, report))
    else:
        _tell(path, output, reading.report, report)
    if not report.written:
        _remove(output)  # ours, and nothing is in it
        return UNREADABLE
    return FINDINGS if reading.report.looked_like_frames else 0


def _remove(output: Path) -> None:
    if output.is_dir():
        shutil.rmtree(output)
    else:
        output.unlink(missing_ok=True)


def _target(to: str | None, output: Path) -> Format:
    for row in WRITTEN:
        if to == row.name or (to is None and output.suffix in row.suffixes):
            return row
    if to is not None:
        raise fail(f"--to {to}: expected {', '.join(row.name for row in WRITTEN)}", USAGE)
    if output.suffix.lower() in _FOREIGN:
        raise fail(
            f"-o {output}: no such format is written; .jsonl, .csv, .parquet are, a capture is a directory, "
            "and --to names a format whatever the suffix",
            USAGE,
        )
    return next(row for row in WRITTEN if row.name == "capture")


def _written(reading: Reading, output: Path, target: Format, table: str, name: str) -> WriteReport:
    if table != _FRAMES:
        return _table(reading, output, target, table)
    if target.name == "capture":
        from twin.io.capture import write_capture

        head = {"imported": {"from": name, "format": reading.format}}
        report = reading.report
        written = write_capture(
            reading.frames, output, vantage="import", head=head, totals=lambda: {"imported": report.account()}
        )
        return WriteReport(written=written.lines)
    assert target.write is not None
    return target.write(reading.frames, output)


def _table(reading: Reading, output: Path, target: Format, table: str) -> WriteReport:
    """A tidy table of the analysis in place of the frames: samples, calls, transactions and more."""
    from twin.analysis import COLUMNS, tables
    from twin.io.formats.table import guarded

    names = [name for name in COLUMNS if name != _FRAMES]
    if table not in names or target.name not in ("csv", "parquet"):
        raise fail(f"--table {table}: expected {', '.join((_FRAMES, *names))}, as csv or parquet", USAGE)
    rows = getattr(tables(reading.frames), table)
    if target.name == "csv":
        texts = rows.select_dtypes(include=["object", "string", "category"]).columns
        rows = rows.assign(**{name: rows[name].map(lambda cell: _cell(cell, guarded)) for name in texts})
        rows.to_csv(output, index=False)
    else:
        rows.to_parquet(output, index=False)
    return WriteReport(written=len(rows))


def _cell(cell: Any, guarded: Callable[[str], str]) -> Any:
    return guarded(cell) if isinstance(cell, str) else cell


def prove(path: Path, output: Path, wanted: str) -> None:
    """Write some lines of a sealed capture so that they can be proven without the rest."""
    from twin.io import extract

    first, _, last = wanted.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal() and 0 < int(first) <= int(last or first)):
        raise fail(f"--proof {wanted}: expected FROM-TO, two seq of the capture", USAGE)
    try:
        held = extract.extract(path, int(first), int(last or first))
        with output.open("xb") as file:
            file.write(extract.encoded(held))
    except FileExistsError as error:
        raise fail(f"{output} exists", USAGE) from error
    except OSError as error:
        raise fail(f"{error.filename or output}: {error.strerror or error}", USAGE) from error
    except ValueError as error:
        raise fail(f"{path}: {error}", UNREADABLE) from error
    count = sum(len(part.lines) for part in held.parts)
    note(f"{output}: {count:,} lines with their proofs; twin check --integrity {output} verifies them")


def _json(report: ImportReport, written: WriteReport) -> dict[str, Any]:
    return {
        "written": written.written,
        "left_out": dict(written.left_out),
        **report.account(),
        "unused": [{"line": u.number, "why": u.why, "text": u.text} for u in report.unused],
    }


def _tell(path: Path, output: Path, report: ImportReport, written: WriteReport) -> None:
    note(f"{path.name}: {report.lines:,} lines, {written.written:,} written to {output.name}")
    for name, count in report.shapes.most_common():
        note(f"  {count:,} {name}")
    for mark, count in sorted(report.marked.items()):
        note(f"  kept with a mark: {count:,} {mark}")
    if report.duplicates:
        note(f"  dropped: {report.duplicates:,} duplicates of a second logger")
    for kind, count in sorted(written.left_out.items()):
        note(f"  left out: {count:,} {kind}")
    for why, count in sorted(report.unusable_by_reason.items()):
        note(f"  unusable: {count:,} {why}")
    if count := report.looked_like_frames:
        note(f"  looked like a frame, not read: {count:,}")
    for unused in sorted(report.unused, key=lambda line: not FRAME_START.search(line.text))[:_LISTED]:
        note(_line(unused))
    if len(report.unused) > _LISTED:
        note(f"    … {report.unusable - _LISTED:,} more; --json lists the first {len(report.unused):,}")
    for text in report.notes:
        note(f"  {plain(text)}")


def _line(unused: UnusedLine) -> str:
    return f"    line {unused.number}: {plain(unused.text[:100])}"
