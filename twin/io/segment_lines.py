"""The lines of a segment, plain or compressed, without ever holding more than one of them."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard

LONGEST_LINE = 128 << 20  # a text of MAX_TEXT (twin/io/reading.py) all of whose characters are escaped fits
_WINDOW_BYTES = 64 << 20  # what a decompressor may ask for


def lines_of(path: Path) -> Iterator[bytes]:
    """Every line with its LF; the last may have none. Damaged compression ends the lines where it is."""
    with path.open("rb") as file:
        yield from _lines(_plain(file) if path.suffix == ".zst" else file)


def _plain(file: BinaryIO) -> BinaryIO:
    reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES).stream_reader(
        file, read_across_frames=True
    )
    return io.BufferedReader(reader, 1 << 20)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    try:
        while line := file.readline(LONGEST_LINE):
            yield line
    except (zstandard.ZstdError, OSError):
        yield b"\x00"  # what follows cannot be read: a damaged line, so that nobody takes this for the end
