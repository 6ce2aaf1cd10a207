"""Lines and JSON records of a source file, each accounted for in the report, whatever bytes it holds."""

import codecs
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from twin.io.reading import MAX_TEXT, UTF16_MARKS, CaptureError, ImportReport

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # a pair is one character of a Python text


def numbered_lines(path: Path, report: ImportReport, *, exact: bool = False) -> Iterator[tuple[int, bytes]]:
    """The non-blank lines of a file without their line ends, numbered from 1 and counted in ``report.lines``.

    With ``exact`` also the blank ones, and nothing but the LF is taken from any.

    Only LF ends a line. One above ``MAX_TEXT`` bytes is passed over piece by piece and reported. A file in
    UTF-16 with its mark, as PowerShell writes, gives the same text in UTF-8. A file that cannot be opened or
    read is a ``CaptureError``.
    """
    try:
        with path.open("rb") as raw:
            file = _in_utf8(raw)
            number = 0
            while line := file.readline(MAX_TEXT + 1):
                number += 1
                if len(line) > MAX_TEXT:
                    rest = line
                    while rest and not rest.endswith(b"\n"):
                        rest = file.readline(MAX_TEXT)
                    report.lines += 1
                    report.unused_line(number, shown(line), "longer than 16 MiB")
                elif exact or not line.isspace():
                    report.lines += 1
                    yield number, line.removesuffix(b"\n") if exact else line.rstrip(b"\r\n")
    except OSError as error:
        raise CaptureError(f"{path}: {error.strerror or error}") from error


class _Recoded:
    """Lines of a UTF-16 file in UTF-8; each call gives at most so many characters."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._text = io.TextIOWrapper(raw, encoding="utf-16", errors="replace", newline="\n")

    def readline(self, most: int) -> bytes:
        return self._text.readline(most).encode(errors="replace")


def _in_utf8(raw: IO[bytes]) -> IO[bytes] | _Recoded:
    marked = raw.read(len(codecs.BOM_UTF16)) in UTF16_MARKS
    raw.seek(0)
    return _Recoded(raw) if marked else raw


def numbered_records(path: Path, report: ImportReport) -> Iterator[tuple[int, bytes, dict[str, Any]]]:
    """The JSON objects of a file with one on each line; every other line is reported as unusable."""
    for number, line in numbered_lines(path, report):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            report.unused_line(number, shown(line), "not JSON")
            continue
        if isinstance(record, dict):
            yield number, line, record
        else:
            report.unused_line(number, shown(line), "not a JSON object")


def shown(line: bytes) -> str:
    """The beginning of a line for the report."""
    return line[:200].decode(errors="replace")


def mended[T](value: T) -> T:
    """The same JSON value with U+FFFD for every lone surrogate, which JSON can spell and no file can hold."""
    text = json.dumps(value, ensure_ascii=False)
    if is_unicode(text):
        return value
    mended_value: T = json.loads(_LONE_SURROGATE.sub("\ufffd", text))
    return mended_value


def is_unicode(text: str) -> bool:
    """Whether a text could have been on the wire: a lone surrogate, which JSON can spell, could not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
