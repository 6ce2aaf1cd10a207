"""A ring of capture files as dumpcap and tcpdump write it: which file is next, and what was overwritten.

``dumpcap -b`` deletes its oldest file and makes one of another name; ``tcpdump -C -W`` begins an old one anew
in place. Files are taken in the order of their first packets, so a copy of a ring is read in order too.
"""

import contextlib
import os
import stat
import struct
from pathlib import Path
from typing import Self

import msgspec

_PCAP = {  # magic: byte order, nanoseconds to one unit of the fraction
    b"\xd4\xc3\xb2\xa1": ("<", 1_000),
    b"\xa1\xb2\xc3\xd4": (">", 1_000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
_PCAPNG = b"\x0a\x0d\x0d\x0a"
_INTERFACE, _PACKET, _IF_TSRESOL = 1, 6, 9
_LOOK_BYTES = 64 * 1024  # in which a pcapng file has its first packet
_HEAD_BYTES = 64  # of a pcap file, with the time of its first packet: another one is another file
_NEVER = 1 << 80
_MOST_IGNORED = 1_000


def is_capture(head: bytes) -> bool:
    """Whether a file that begins so is pcap or pcapng."""
    return head[:4] in _PCAP or head[:4] == _PCAPNG


def first_time_ns(head: bytes) -> int | None:
    """When the first packet was captured; ``None`` if there is none yet, or none that says so."""
    if head[:4] in _PCAP:
        order, unit_ns = _PCAP[head[:4]]
        if len(head) < 32:
            return None
        seconds, fraction = struct.unpack_from(f"{order}II", head, 24)
        return int(seconds) * 10**9 + int(fraction) * unit_ns
    if head[:4] == _PCAPNG:
        with contextlib.suppress(struct.error):
            return _first_of_pcapng(head)
    return None


def _first_of_pcapng(head: bytes) -> int | None:
    order = "<" if head[8:12] == b"\x4d\x3c\x2b\x1a" else ">"
    units: list[int] = []  # in a second, by interface
    at = 0
    while at + 12 <= len(head):
        kind, length = struct.unpack_from(f"{order}II", head, at)
        if kind == _INTERFACE:
            units.append(_units(head[at + 16 : at + length - 4], order))
        if kind == _PACKET:
            interface, high, low = struct.unpack_from(f"{order}III", head, at + 8)
            if interface >= len(units):
                return None
            at_units = int(high) << 32 | int(low)
            return at_units * 10**9 // units[int(interface)]
        if length < 12:
            return None
        at += length
    return None


def _units(options: bytes, order: str) -> int:
    """Units of time in a second, by the option if_tsresol; microseconds without it."""
    at = 0
    while at + 5 <= len(options):
        code, length = struct.unpack_from(f"{order}HH", options, at)
        if code == _IF_TSRESOL:
            value = options[at + 4]
            return 1 << (value & 0x7F) if value & 0x80 else 10 ** min(value, 18)
        at += 4 + (length + 3) // 4 * 4
    return 10**6


class Found(msgspec.Struct, frozen=True):
    """A file of the ring as it was when last looked at."""

    path: Path
    inode: int
    first_ns: int | None
    mtime_ns: int

    @property
    def place(self) -> tuple[str, int]:
        return self.path.name, self.inode

    @property
    def order(self) -> tuple[int, int, str]:
        return _NEVER if self.first_ns is None else self.first_ns, self.mtime_ns, self.path.name


class Tail:
    """One file, read from its beginning while it grows. It stays readable when it is deleted."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self.read_bytes = 0
        self._head = b""
        self._fd = os.open(found.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._fd)

    def read(self, most: int) -> bytes | None:
        """What has come since, at most so much; ``None`` once the file was begun anew in place."""
        data = os.pread(self._fd, most, self.read_bytes)
        # looked at after the read: what was read before the file began anew is what it was
        if os.pread(self._fd, len(self._head), 0) != self._head:
            return None
        if len(self._head) < _HEAD_BYTES and self.read_bytes < _HEAD_BYTES:
            self._head += data[: _HEAD_BYTES - len(self._head)]
        self.read_bytes += len(data)
        return data

    @property
    def left_bytes(self) -> int:
        """What stands in the file and was not read."""
        return max(0, os.fstat(self._fd).st_size - self.read_bytes)


class Ring:
    """The files of a directory, or a single file. ``overwritten`` counts those gone before they were read."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.overwritten = 0
        self.waiting: list[Found] = []
        self.ignored: set[str] = set()  # names of files that are no captures
        self._taken: dict[
            tuple[str, int], int | None
        ] = {}  # the first packet's time of files that were begun

    def look(self) -> None:
        """See what is there now."""
        known = {found.place: found for found in self.waiting}
        found = sorted(self._files(), key=lambda one: one.order)
        places = {one.place for one in found}
        self.waiting = []
        for one in found:
            if one.place in self._taken and self._taken[one.place] in (None, one.first_ns):
                self._taken[one.place] = one.first_ns
                continue
            self.waiting.append(one)
            before = known.get(one.place)
            if before is not None and before.first_ns not in (None, one.first_ns):
                self.overwritten += 1
        self.overwritten += len(known.keys() - places)
        self._taken = {place: first for place, first in self._taken.items() if place in places}

    def take(self) -> Tail | None:
        """Begin the oldest file that was not begun yet."""
        while self.waiting:
            found = self.waiting.pop(0)
            try:
                tail = Tail(found)
            except OSError:
                self.overwritten += 1
                continue
            self._taken[found.place] = found.first_ns
            return tail
        return None

    def began_anew(self, found: Found) -> None:
        """A file that was taken holds other packets now, and is to be read again."""
        self._taken.pop(found.place, None)

    def _files(self) -> list[Found]:
        if not self.source.is_dir():
            found = _found(self.source)
            return [found] if found else []
        files: list[Found] = []
        with os.scandir(self.source) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                found = _found(Path(entry.path))
                if found is not None:
                    files.append(found)
                    self.ignored.discard(entry.name)
                elif len(self.ignored) < _MOST_IGNORED:
                    self.ignored.add(entry.name)
        return files


def _found(path: Path) -> Found | None:
    """A file as it is now; ``None`` where there is no capture, or not yet."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return None
        head = os.pread(fd, _HEAD_BYTES, 0)
        if not is_capture(head):
            return None
        if head[:4] == _PCAPNG:
            head = os.pread(fd, _LOOK_BYTES, 0)
        return Found(path, status.st_ino, first_time_ns(head), status.st_mtime_ns)
    finally:
        os.close(fd)
