"""The lines of a segment, plain or compressed, without ever holding more than one of them."""

import errno
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard

LONGEST_LINE = 128 << 20  # a text of MAX_TEXT (twin/io/reading.py) all of whose characters are escaped fits
_WINDOW_BYTES = 64 << 20  # what a decompressor may ask for
_MOST_EXPANSION = 1_000  # a line of ours holds a hash, so that it packs by 20 at the most


def open_regular(path: Path) -> BinaryIO:
    """A file to read; ``OSError`` for a pipe or a device, which might never answer."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "no regular file", str(path))
    return os.fdopen(fd, "rb")


def lines_of(path: Path) -> Iterator[bytes]:
    """Every line with its LF; the last may have none. Damaged compression ends the lines where it is."""
    with open_regular(path) as file:
        if path.suffix != ".zst":
            yield from _lines(file, None)
            return
        yield from _lines(_plain(file), (path.stat().st_size + 1024) * _MOST_EXPANSION)


def _plain(file: BinaryIO) -> BinaryIO:
    reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES).stream_reader(
        file, read_across_frames=True
    )
    return io.BufferedReader(reader, 1 << 20)


def _lines(file: BinaryIO, left: int | None) -> Iterator[bytes]:
    try:
        while line := file.readline(LONGEST_LINE):
            if left is not None and (left := left - len(line)) < 0:
                yield b"\x00"  # a bomb
                return
            yield line
    except (zstandard.ZstdError, OSError):
        yield b"\x00"  # what follows cannot be read: a damaged line, so that nobody takes this for the end
