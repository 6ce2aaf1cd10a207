"""The visible table of formats: every verb opens every one, sniffed or named; some are written too."""

from pathlib import Path

from twin.io import capture
from twin.io.formats import (
    cmstable,
    debugkit,
    fragment,
    har,
    mitmflow,
    opentrace,
    pcap,
    peersession,
    table,
    textlog,
)
from twin.io.reading import UTF16_MARKS, CaptureError, Format, ImportReport, Reading, ReadOptions

__all__ = [
    "FORMATS",
    "WRITTEN",
    "CaptureError",
    "Format",
    "ImportReport",
    "ReadOptions",
    "Reading",
    "open_capture",
]

FORMATS: tuple[Format, ...] = (
    capture.FORMAT,
    opentrace.FORMAT,
    peersession.FORMAT,
    debugkit.FORMAT,
    mitmflow.FORMAT,
    har.FORMAT,
    pcap.FORMAT,
    table.CSV,
    table.PARQUET,
    cmstable.FORMAT,
    fragment.FORMAT,
    textlog.FORMAT,
)
WRITTEN: tuple[Format, ...] = tuple(row for row in FORMATS if row.write is not None)

_HEAD_BYTES = 65_536


def open_capture(path: Path, options: ReadOptions = ReadOptions(), format: str | None = None) -> Reading:  # noqa: A002, B008  # the option's own name; frozen
    """Open a capture of any format: the one named, else the one that fits best.

    Raises ``CaptureError`` with a sentence that says what to do.
    """
    try:
        head = b"" if path.is_dir() else _head(path)
    except OSError as error:
        raise CaptureError(f"{path}: {error.strerror or error}") from error
    if format is not None:
        chosen = next((row for row in FORMATS if row.name == format), None)
        if chosen is None:
            raise CaptureError(f"no format {format!r}; there are {', '.join(row.name for row in FORMATS)}")
        return chosen.read(path, options)
    if not path.is_dir() and not head.strip():
        raise CaptureError(f"{path} is empty")
    score, _, best = max((row.sniff(path, head), -place, row) for place, row in enumerate(FORMATS))
    if score <= 0:
        names = ", ".join(row.name for row in FORMATS)
        raise CaptureError(f"{path} looks like none of {names}; --format insists on one")
    return best.read(path, options)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return head.decode("utf-16", "replace").encode() if head.startswith(UTF16_MARKS) else head
