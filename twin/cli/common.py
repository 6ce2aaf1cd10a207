"""What every verb shares: opening a capture, saying things on stderr, ending with the right exit code."""

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import typer

from twin.io.formats import CaptureError, Reading, ReadOptions, open_capture
from twin.model import Frame, Side
from twin.report.words import plain_lines

_held: list[object] = []  # files that live as long as the program
CLEAN, FINDINGS, USAGE, UNREADABLE, REFUSED, INTERNAL = 0, 1, 2, 3, 4, 70
LONGEST_S = 7 * 86_400  # that an option may name in seconds


def note(text: str) -> None:
    """A line for the person at the terminal; standard output stays free for results."""
    sys.stderr.write(f"{plain_lines(text)}\n")
    sys.stderr.flush()


def say(text: str) -> None:
    """A line of the result."""
    sys.stdout.write(f"{plain_lines(text)}\n")


def say_json(value: Any) -> None:
    """One JSON object as the result."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def fail(text: str, code: int) -> typer.Exit:
    """Say what is wrong and what to do; ``raise fail(...)`` ends with ``code``."""
    note(f"twin: {text}")
    return typer.Exit(code)


def opened(
    path: Path,
    *,
    format: str | None = None,  # noqa: A002  # the option's own name
    log_timezone: str | None = None,
    logged_by: str | None = None,
) -> Reading:
    """Open a capture of any format (``-``: standard input), or end with exit 3 and one clear line."""
    path = source(path)
    options = ReadOptions(log_timezone=log_timezone, logged_by=Side(logged_by) if logged_by else None)
    try:
        return open_capture(path, options, format)
    except CaptureError as error:
        raise fail(str(error), UNREADABLE) from error


def source(path: Path) -> Path:
    """The path itself, or for ``-`` what is piped in or pasted as a file that goes with us.

    Formats look at a file's beginning first.
    """
    if str(path) != "-":
        return path
    if sys.stdin.isatty():
        note("reading standard input; paste, then Ctrl-D")
    file = tempfile.NamedTemporaryFile(prefix="standard-input-")  # noqa: SIM115  # it lives until we end
    shutil.copyfileobj(sys.stdin.buffer, file)
    file.flush()
    if not file.tell():
        raise fail("standard input is empty", UNREADABLE)
    _held.append(file)
    return Path(file.name)


def frames_of(reading: Reading) -> list[Frame]:
    """All frames; a source that turns out unreadable half-way ends with exit 3."""
    try:
        return list(reading.frames)
    except CaptureError as error:
        raise fail(str(error), UNREADABLE) from error
