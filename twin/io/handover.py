"""From the proxy to the recorder: a bounded queue that never waits, and length-prefixed items on a pipe.

The proxy's side only stamps and appends; a thread moves items into the pipe. When the pipe is full the queue
fills, and when the queue is full the newest item is dropped and counted. An item is a tuple whose first
element names it (``ITEMS``); it travels as MessagePack behind a 4-byte length.
"""

import contextlib
import os
import queue
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from twin.io import clock

# Every item: its name and what follows. Clocks are nanoseconds; ``sender`` is "station" or "csms".
ITEMS = {
    "listening": ("host", "port"),
    "open": ("conn", "facts", "wall_ns", "mono_ns"),
    "refused": ("conn", "facts", "wall_ns", "mono_ns"),
    "data": ("conn", "sender", "data", "wall_ns", "mono_ns"),
    "lost": ("conn", "sender", "reason", "chunks", "bytes", "from_mono_ns", "wall_ns", "mono_ns"),
    "end": ("conn", "facts", "wall_ns", "mono_ns"),
    "tick": ("wall_ns", "mono_ns", "counters"),
    "fault": ("where", "what", "count", "wall_ns", "mono_ns"),
}
MAX_ITEMS = 50_000
MAX_BYTES = 64 << 20
TICK_S = 0.25  # also how long the recorder may sit on what it has not committed
_LINGER_S = 0.02  # a sender woken for every single item would take the interpreter from the event loop
_RESERVE = 1_000  # items for open and end when data has filled the queue
_LONGEST_ITEM = 64 << 20
_BATCH_BYTES = 1 << 18

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode

type Item = tuple[Any, ...]


class Counters(msgspec.Struct):
    """What the proxy saw and what it could not hand over, in chunks and bytes; dropped by reason."""

    seen_chunks: int = 0
    seen_bytes: int = 0
    dropped_chunks: Counter[str] = msgspec.field(default_factory=Counter)
    dropped_bytes: Counter[str] = msgspec.field(default_factory=Counter)


class Handover:
    """The proxy's end. ``data`` is called from one thread (the event loop) and never blocks or raises."""

    def __init__(self, fd: int, *, max_items: int = MAX_ITEMS, max_bytes: int = MAX_BYTES) -> None:
        self.counters = Counters()
        self._fd = fd
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._queue: queue.SimpleQueue[tuple[Item | None, int]] = queue.SimpleQueue()
        self._put_items = self._put_bytes = 0  # written by the event loop only
        self._taken_items = self._taken_bytes = 0  # written by the sender only
        self._down = False
        self._lost: dict[tuple[str, str, str], list[int]] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._send_all, name="handover", daemon=True)
        self._thread.start()

    def data(self, conn: str, sender: str, data: bytes, wall_ns: int, mono_ns: int) -> None:
        """Hand over one chunk, or count it as dropped."""
        if reason := self._full_for(len(data)):
            self.drop(conn, sender, reason, len(data), mono_ns)
            return
        if self._lost:
            self._tell_lost(conn, wall_ns, mono_ns)
        self._put(("data", conn, sender, data, wall_ns, mono_ns), len(data))
        self.counters.seen_chunks += 1
        self.counters.seen_bytes += len(data)

    def drop(self, conn: str, sender: str, reason: str, size: int, mono_ns: int) -> None:
        """Count one chunk that passed and is not recorded; the recorder hears of it with the next item."""
        counters = self.counters
        counters.seen_chunks += 1
        counters.seen_bytes += size
        counters.dropped_chunks[reason] += 1
        counters.dropped_bytes[reason] += size
        lost = self._lost.setdefault((conn, sender, reason), [0, 0, mono_ns])
        lost[0] += 1
        lost[1] += size

    def say(self, item: Item) -> None:
        """Hand over anything but data; it has a reserve in the queue."""
        if self._put_items - self._taken_items < self._max_items + _RESERVE:
            if self._lost and item[0] == "end":
                self._tell_lost(item[1], item[-2], item[-1])
            self._put(item, 0)

    def close(self, timeout_s: float = 5.0) -> None:
        """Send what is queued, then close the pipe."""
        now = clock.now()
        for conn in {key[0] for key in self._lost}:
            self._tell_lost(conn, now.wall_ns, now.mono_ns)
        self._put(("tick", now.wall_ns, now.mono_ns, self._snapshot()), 0)
        self._queue.put((None, 0))
        self._ending.set()
        self._thread.join(timeout_s)

    def _full_for(self, size: int) -> str:
        if self._down:
            return "recorder_down"
        full = (
            self._put_items - self._taken_items >= self._max_items
            or self._put_bytes - self._taken_bytes + size > self._max_bytes
        )
        return "queue_full" if full else ""

    def _put(self, item: Item, size: int) -> None:
        self._put_items += 1
        self._put_bytes += size
        self._queue.put((item, size))

    def _tell_lost(self, conn: str, wall_ns: int, mono_ns: int) -> None:
        for key in [key for key in self._lost if key[0] == conn]:
            chunks, size, from_mono_ns = self._lost.pop(key)
            self._put(("lost", *key, chunks, size, from_mono_ns, wall_ns, mono_ns), 0)

    def _snapshot(self) -> dict[str, Any]:
        counters = self.counters
        return {
            "seen_chunks": counters.seen_chunks,
            "seen_bytes": counters.seen_bytes,
            "dropped_chunks": dict(counters.dropped_chunks),
            "dropped_bytes": dict(counters.dropped_bytes),
        }

    def _send_all(self) -> None:
        next_tick_ns = 0
        while True:
            batch, ended = self._next_batch()
            now = clock.now()
            if now.mono_ns >= next_tick_ns:
                next_tick_ns = now.mono_ns + int(TICK_S * 1e9)
                batch += _framed(("tick", now.wall_ns, now.mono_ns, self._snapshot()))
            if batch and not self._down:
                try:
                    _write_all(self._fd, batch)
                except OSError:
                    self._down = True  # the recorder is gone; traffic goes on, every chunk is counted
                self._ending.wait(_LINGER_S)
            if ended:
                with contextlib.suppress(OSError):
                    os.close(self._fd)
                return

    def _next_batch(self) -> tuple[bytearray, bool]:
        batch = bytearray()
        with contextlib.suppress(queue.Empty):
            item, size = self._queue.get(timeout=TICK_S)
            while item is not None:
                self._taken_items += 1
                self._taken_bytes += size
                batch += _framed(item)
                if len(batch) >= _BATCH_BYTES:
                    return batch, False
                item, size = self._queue.get_nowait()
            return batch, True
        return batch, False


def items_of(fd: int) -> Iterator[Item]:
    """The recorder's end: every item until the pipe closes. Raises ``ValueError`` for what is no item."""
    with os.fdopen(fd, "rb", buffering=1 << 20, closefd=True) as pipe:
        while len(prefix := pipe.read(4)) == 4:
            length = int.from_bytes(prefix)
            if length > _LONGEST_ITEM:
                raise ValueError(f"item of {length} bytes on the recorder's pipe")
            body = pipe.read(length)
            if len(body) < length:
                return
            item = tuple(_decode(body) or ())
            if not item or item[0] not in ITEMS or len(item) != 1 + len(ITEMS[item[0]]):
                raise ValueError("not an item on the recorder's pipe")
            yield item


def _framed(item: Item) -> bytes:
    try:
        body = _encode(item)
    except Exception as error:  # facts are the proxy's; whatever they hold, the sender must live
        now = clock.now()
        body = _encode(("fault", f"handover of {item[0]}", type(error).__name__, 1, now.wall_ns, now.mono_ns))
    return len(body).to_bytes(4) + body


def _write_all(fd: int, data: bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
