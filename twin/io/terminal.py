"""Standard output and error of a process that must not wait for whoever reads them.

A terminal that is held (Ctrl-S) or asleep behind ssh lets a write wait for ever, and with it the event loop.
``O_NONBLOCK`` is no way out: it would hold for the shell too, which shares the description.
"""

import atexit
import io
import os
import sys
import threading
from collections import deque

_MOST_BYTES = 1 << 18  # held for a reader; what comes on top is not shown
_END_S = 1.0  # for the last words, where somebody reads


class Unhurried(io.TextIOBase):
    """Text for the descriptor ``fd``, written by a thread; ``write`` never waits and never raises.

    Whole writes are left out while more than ``_MOST_BYTES`` wait; the next that is written says how many.
    """

    encoding = "utf-8"

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._left_out = 0
        self._gone = False
        self._changed = threading.Condition()
        threading.Thread(target=self._forward, name=f"terminal-{fd}", daemon=True).start()

    def write(self, text: str) -> int:
        data = text.encode(errors="backslashreplace")
        with self._changed:
            if self._gone:
                return len(text)
            if self._bytes + len(data) > _MOST_BYTES:
                self._left_out += 1
                return len(text)
            if self._left_out:
                data = f"({self._left_out} lines or pictures were not shown)\n".encode() + data
                self._left_out = 0
            self._waiting.append(data)
            self._bytes += len(data)
            self._changed.notify_all()
        return len(text)

    def _forward(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                data = self._waiting[0]
            try:
                while data:
                    data = data[os.write(self._fd, data) :]
            except OSError:  # it is gone, and will not come back
                with self._changed:
                    self._gone = True
                    self._waiting.clear()
                    self._bytes = 0
                    self._changed.notify_all()
                return
            with self._changed:
                self._bytes -= len(self._waiting.popleft())
                self._changed.notify_all()

    def drain(self, timeout_s: float = _END_S) -> bool:
        """Whether everything was written within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, timeout_s)

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def fileno(self) -> int:
        return self._fd

    def writable(self) -> bool:
        return True


def unhurried() -> None:
    """From here on nothing that is printed can hold this process; its last words get a second."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            stream.flush()
            ours = Unhurried(stream.fileno())
        except (OSError, ValueError, AttributeError):  # closed, or none at all
            continue
        setattr(sys, name, ours)
        atexit.register(ours.drain)
