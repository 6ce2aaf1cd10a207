"""Files that fail on the n-th call, kill the process there, or forget at a power cut what was not synced."""

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twin.io.files import Files

CALLS = (
    "make_directory", "open_new", "write", "datasync", "truncate", "close", "rename", "unlink",
    "sync_directory", "cut", "is_at",
)  # fmt: skip


class Scripted(Files):
    """Before (or after) each call ``at`` is asked with its number, from 1, and its name; it may raise."""

    def __init__(self, at: Callable[[int, str], None], *, after: bool = False) -> None:
        self.calls = 0
        self._at = at
        self._after = after
        for name in CALLS:
            setattr(self, name, self._asked(name, getattr(super(), name)))

    def _asked(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*arguments: Any) -> Any:
            self.calls += 1
            number = self.calls
            if not self._after:
                self._at(number, name)
            result = call(*arguments)
            if self._after:
                self._at(number, name)
            return result

        return asked


def fails(first: int, last: float, code: int = errno.EIO) -> Callable[[int, str], None]:
    """The calls from ``first`` to ``last`` fail."""

    def at(number: int, name: str) -> None:
        if first <= number <= last:
            raise OSError(code, os.strerror(code))

    return at


def dies(when: int) -> Callable[[int, str], None]:
    """The process is killed at call ``when``."""

    def at(number: int, name: str) -> None:
        if number == when:
            os.kill(os.getpid(), signal.SIGKILL)

    return at


class PowerCut(Files):
    """Knows of every file what was synced; :meth:`cut_power` leaves no more than that."""

    def __init__(self, *, syncs: bool = True) -> None:
        self._syncs = syncs
        self._paths: dict[int, Path] = {}
        self._synced: dict[Path, int] = {}

    def open_new(self, path: Path) -> int:
        fd = super().open_new(path)
        self._paths[fd], self._synced[path] = path, 0
        return fd

    def datasync(self, fd: int) -> None:
        if self._syncs:
            super().datasync(fd)
            self._synced[self._paths[fd]] = os.fstat(fd).st_size

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        self._synced[new] = self._synced.pop(old, 0)

    def cut_power(self) -> None:
        for path, size in self._synced.items():
            if path.exists():
                os.truncate(path, size)
