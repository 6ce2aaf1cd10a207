"""twin convert: any format to our capture or to open-ocpp-trace."""

from pathlib import Path
from typing import Any

from twin.cli.common import UNREADABLE, USAGE, fail, note, opened, plain, say_json
from twin.io.formats import CaptureError, ImportReport, opentrace
from twin.io.reading import UnusedLine

_TARGETS = ("capture", "open-ocpp-trace")
_LISTED = 20


def convert(
    path: Path,
    output: Path,
    *,
    to: str | None,
    format: str | None,  # noqa: A002  # the option's own name
    log_timezone: str | None,
    logged_by: str | None,
    as_json: bool,
) -> None:
    """Convert, and report every line that could not be used."""
    from twin.io.capture import write_capture

    target = to or ("open-ocpp-trace" if output.suffix == ".jsonl" else "capture")
    if target not in _TARGETS:
        raise fail(f"--to {target}: expected {' or '.join(_TARGETS)}", USAGE)
    reading = opened(path, format=format, log_timezone=log_timezone, logged_by=logged_by)
    left_out: dict[str, int] = {}
    try:
        if target == "capture":
            head = {"imported": {"from": path.name, "format": reading.format}}
            written = write_capture(reading.frames, output, vantage="import", head=head).lines
        else:
            if output.exists():
                raise FileExistsError(f"{output} exists")
            report = opentrace.write(reading.frames, output)
            written, left_out = report.written, dict(report.left_out)
    except FileExistsError as error:
        raise fail(str(error), USAGE) from error
    except OSError as error:
        raise fail(f"{output}: {error.strerror or error}", USAGE) from error
    except CaptureError as error:
        raise fail(str(error), UNREADABLE) from error
    if as_json:
        say_json(_json(reading.report, written, left_out))
        return
    _tell(path, output, reading.report, written, left_out)


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


def _json(report: ImportReport, written: int, left_out: dict[str, int]) -> dict[str, Any]:
    return {
        "written": written,
        "left_out": left_out,
        "lines": report.lines,
        "unusable_lines": report.unusable,
        "unusable_by_reason": dict(report.unusable_by_reason),
        "unused": [{"line": u.number, "why": u.why, "text": u.text} for u in report.unused],
        "marked": dict(report.marked),
        "duplicates": report.duplicates,
        "notes": report.notes,
    }


def _tell(path: Path, output: Path, report: ImportReport, written: int, left_out: dict[str, int]) -> None:
    note(f"{path.name}: {report.lines:,} lines, {written:,} written to {output.name}")
    for mark, count in sorted(report.marked.items()):
        note(f"  kept with a mark: {count:,} {mark}")
    if report.duplicates:
        note(f"  dropped: {report.duplicates:,} duplicates of a second logger")
    for kind, count in sorted(left_out.items()):
        note(f"  left out: {count:,} {kind}")
    for why, count in sorted(report.unusable_by_reason.items()):
        note(f"  unusable: {count:,} {why}")
    for unused in report.unused[:_LISTED]:
        note(_line(unused))
    if len(report.unused) > _LISTED:
        note(f"    … {report.unusable - _LISTED:,} more; --json lists the first {len(report.unused):,}")
    for text in report.notes:
        note(f"  {plain(text)}")


def _line(unused: UnusedLine) -> str:
    return f"    line {unused.number}: {plain(unused.text[:100])}"
