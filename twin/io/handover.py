"""From the proxy to the recorder: a bounded queue that never waits, and batches of items on a pipe.

The proxy's side only stamps and appends; a thread moves items into the pipe, starts the recorder behind it,
and starts another when one is gone. When the pipe is full the queue fills, and when the queue is full the
newest item is dropped and counted. An item is a tuple whose first element names it (``ITEMS``); a batch of
them travels as one MessagePack array behind a 4-byte length.
"""

import contextlib
import os
import queue
import select
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from twin.io import clock
from twin.io.patience import FAREWELL_S, HUNG_S, QUIET_S, SETTLE_S, Patience

# Every item: its name and what follows. Clocks are nanoseconds; ``sender`` is "station" or "csms".
ITEMS = {
    "hello": ("restarts", "wires", "wall_ns", "mono_ns"),
    "open": ("conn", "facts", "wall_ns", "mono_ns"),
    "refused": ("conn", "facts", "wall_ns", "mono_ns"),
    "data": ("conn", "sender", "data", "wall_ns", "mono_ns"),
    "message": ("conn", "sender", "kind", "data", "facts", "wall_ns", "mono_ns"),
    "lost": ("conn", "sender", "reason", "chunks", "bytes", "from_mono_ns", "wall_ns", "mono_ns"),
    "end": ("conn", "facts", "wall_ns", "mono_ns"),
    "gap": ("conn", "facts", "wall_ns", "mono_ns"),
    "tick": ("wall_ns", "mono_ns", "counters"),
    "fault": ("where", "what", "count", "wall_ns", "mono_ns"),
    "rotate": ("wall_ns", "mono_ns"),
}
STATION, CSMS = "station", "csms"
MAX_ITEMS = 50_000
MAX_BYTES = 32 << 20
TICK_S = 0.25  # also how long the recorder may sit on what it has not committed
_LINGER_S = 0.02  # a sender woken for every single item would take the interpreter from the event loop
_RESERVE = 1_000  # items for open and end when data has filled the queue
_LONGEST_BATCH = 128 << 20
_BATCH_BYTES = 1 << 18
_BATCH_ITEMS = 4_096
_BACK_OFF_S = (0.1, 0.5, 1.0, 2.0, 5.0)
_ENDED_KEPT = 4_096  # ended connections that a new recorder is told of, should the old one have died on them
USAGE = 2  # a recorder that ends so at its first start was asked for the impossible

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode

type Item = tuple[Any, ...]


class Wire(msgspec.Struct):
    """One connection as the proxy knows it: its name, its handshake, and what passed so far.

    ``seen`` is chunks and bytes by the station, then by the CSMS; ``untold`` what was dropped of it and the
    recorder has not heard of: (sender, reason) to chunks, bytes and the monotonic clock of the first.
    """

    name: str
    facts: dict[str, Any] = {}
    opened: bool = False
    ended: bool = False
    seen: list[int] = msgspec.field(default_factory=lambda: [0, 0, 0, 0])
    untold: dict[tuple[str, str], list[int]] = {}
    last_mono_ns: int = 0


class Counters(msgspec.Struct):
    """What the proxy saw and what it could not hand over, in chunks and bytes; dropped by reason."""

    seen_chunks: int = 0
    seen_bytes: int = 0
    dropped_chunks: Counter[str] = msgspec.field(default_factory=Counter)
    dropped_bytes: Counter[str] = msgspec.field(default_factory=Counter)


class Channel(msgspec.Struct, frozen=True):
    """The way to one recorder: our end of its pipe, and how to look after the process (none in a test).

    ``wait`` is True once it has ended, ``poll`` then its exit code; ``hurry`` tells it that traffic is over,
    ``used_s`` is the CPU time it has had.
    """

    fd: int
    poll: Callable[[], int | None] = lambda: None
    kill: Callable[[], None] = lambda: None
    wait: Callable[[float | None], bool] = lambda timeout_s: True
    hurry: Callable[[], None] = lambda: None
    used_s: Callable[[], float] = lambda: 0.0


class Handover:
    """The proxy's end. Everything but the thread runs on the event loop and never blocks or raises.

    ``connect`` starts a recorder; it is called by the thread, again after each recorder that is gone, with a
    growing pause. ``gave_up`` is called (by the thread) when the very first recorder refuses its orders.
    """

    def __init__(
        self,
        connect: Callable[[], Channel],
        *,
        max_items: int = MAX_ITEMS,
        max_bytes: int = MAX_BYTES,
        hung_s: float = HUNG_S,
        quiet_s: float = QUIET_S,
        gave_up: Callable[[], None] = lambda: None,
    ) -> None:
        self.counters = Counters()
        self.restarts = -1
        self.exit_code: int | None = None  # of the last recorder
        self._connect = connect
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._hung_s = hung_s
        self._quiet_s = quiet_s
        self._gave_up = gave_up
        self._queue: queue.SimpleQueue[tuple[Item | None, int]] = queue.SimpleQueue()
        self._put_items = self._put_bytes = 0  # written by the event loop only
        self._taken_items = self._taken_bytes = 0  # written by the sender only
        self._down = True  # no recorder: nothing is queued
        self._wanted = True  # a recorder waits for ``hello``; set by the sender, cleared by the event loop
        self._wires: dict[str, Wire] = {}
        self._ended: deque[Wire] = deque(maxlen=_ENDED_KEPT)
        self._untold: set[str] = set()
        self._ending = threading.Event()
        now = clock.now()
        self._greet(now.wall_ns, now.mono_ns)
        self._thread = threading.Thread(target=self._send_all, name="handover", daemon=True)
        self._thread.start()

    def wire(self, name: str) -> Wire:
        """The books of a new connection."""
        wire = self._wires[name] = Wire(name, {}, False, False, [0, 0, 0, 0], {})
        return wire

    def data(self, wire: Wire, from_station: bool, data: bytes, wall_ns: int, mono_ns: int) -> None:
        """Hand over one chunk, or count it as dropped."""
        sender = STATION if from_station else CSMS
        self._hand(wire, from_station, len(data), ("data", wire.name, sender, data, wall_ns, mono_ns))

    def message(
        self,
        wire: Wire,
        from_station: bool,
        kind: str,
        data: bytes,
        facts: dict[str, Any],
        wall_ns: int,
        mono_ns: int,
    ) -> None:
        """Hand over one whole message (WebSocket mode), or count it as dropped."""
        sender = STATION if from_station else CSMS
        item = ("message", wire.name, sender, kind, data, facts, wall_ns, mono_ns)
        self._hand(wire, from_station, len(data), item)

    def drop(self, wire: Wire, from_station: bool, reason: str, size: int, mono_ns: int) -> None:
        """Count one chunk that passed and is not recorded; the recorder hears of it with the next item."""
        self._count(wire, from_station, size, mono_ns)
        self.counters.dropped_chunks[reason] += 1
        self.counters.dropped_bytes[reason] += size
        lost = wire.untold.setdefault((STATION if from_station else CSMS, reason), [0, 0, mono_ns])
        lost[0] += 1
        lost[1] += size
        self._untold.add(wire.name)

    def opened(self, wire: Wire, facts: dict[str, Any], wall_ns: int, mono_ns: int) -> None:
        """The handshake of this connection ended with 101, or (``late``) nobody saw it."""
        wire.facts, wire.opened, wire.last_mono_ns = facts, True, mono_ns
        self.say(("open", wire.name, facts, wall_ns, mono_ns))

    def ended(self, wire: Wire, facts: dict[str, Any], wall_ns: int, mono_ns: int) -> None:
        """The connection is gone."""
        self._wires.pop(wire.name, None)
        if not wire.opened or wire.ended:
            return
        wire.ended = True
        self._ended.append(wire)
        self.say(("end", wire.name, facts, wall_ns, mono_ns))

    def forget(self, wire: Wire) -> None:
        """A connection without a 101 is gone."""
        self._wires.pop(wire.name, None)

    def say(self, item: Item) -> None:
        """Hand over anything but data; it has a reserve in the queue."""
        if self._wanted:
            self._greet(item[-2], item[-1])
        if self._down or self._put_items - self._taken_items >= self._max_items + _RESERVE:
            return
        if self._untold and item[0] == "end":
            self._tell_all(item[-2], item[-1])
        self._put(item, 0)

    def tick(self, wall_ns: int, mono_ns: int) -> None:
        """Once a second: a new recorder is greeted and drops are told although nothing passes."""
        if self._wanted:
            self._greet(wall_ns, mono_ns)
        if self._untold and not self._down:
            self._tell_all(wall_ns, mono_ns)

    def close(self, timeout_s: float = FAREWELL_S + SETTLE_S) -> int | None:
        """Send what is queued, close the pipe, wait for the recorder; its exit code if it has one."""
        if not self._ending.is_set():
            now = clock.now()
            if self._wanted:
                self._greet(now.wall_ns, now.mono_ns)
            self._end(now)
            self._ending.set()
        self._thread.join(timeout_s)
        return self.exit_code

    # ---- on the event loop

    def _hand(self, wire: Wire, from_station: bool, size: int, item: Item) -> None:
        if self._wanted:
            self._greet(item[-2], item[-1])
        if (
            self._down
            or self._put_items - self._taken_items >= self._max_items
            or self._put_bytes - self._taken_bytes + size > self._max_bytes
        ):
            reason = "recorder_down" if self._down else "queue_full"
            self.drop(wire, from_station, reason, size, item[-1])
            return
        if wire.untold:
            self._tell(wire, item[-2], item[-1])
        self._count(wire, from_station, size, item[-1])
        self._put(item, size)

    def _count(self, wire: Wire, from_station: bool, size: int, mono_ns: int) -> None:
        place = 0 if from_station else 2
        wire.seen[place] += 1
        wire.seen[place + 1] += size
        wire.last_mono_ns = mono_ns
        self.counters.seen_chunks += 1
        self.counters.seen_bytes += size

    def _put(self, item: Item, size: int) -> None:
        self._put_items += 1
        self._put_bytes += size
        self._queue.put((item, size))

    def _greet(self, wall_ns: int, mono_ns: int) -> None:
        """Tell a new recorder of every connection it may have missed, with all that passed on it."""
        self._wanted = False
        self.restarts += 1
        wires = []
        for wire in (*self._ended, *self._wires.values()) if self.restarts else ():
            if not wire.opened:
                continue
            # drops for want of a recorder are told by the difference to what the disk holds
            wire.untold = {key: lost for key, lost in wire.untold.items() if key[1] != "recorder_down"}
            seen = list(wire.seen)
            for (sender, _), (chunks, size, _) in wire.untold.items():
                place = 0 if sender == STATION else 2
                seen[place] -= chunks
                seen[place + 1] -= size
            wires.append((wire.name, wire.facts, wire.ended, seen))
        self._down = False
        self._put(("hello", self.restarts, wires, wall_ns, mono_ns), 0)

    def _end(self, now: clock.Now) -> None:
        if not self._down:
            self._tell_all(now.wall_ns, now.mono_ns)
            self._put(("tick", now.wall_ns, now.mono_ns, self._snapshot()), 0)
        self._queue.put((None, 0))

    def _tell(self, wire: Wire, wall_ns: int, mono_ns: int) -> None:
        self._untold.discard(wire.name)
        untold, wire.untold = wire.untold, {}
        for (sender, reason), (chunks, size, from_mono_ns) in untold.items():
            self._put(("lost", wire.name, sender, reason, chunks, size, from_mono_ns, wall_ns, mono_ns), 0)

    def _tell_all(self, wall_ns: int, mono_ns: int) -> None:
        for name in list(self._untold):
            wire = self._wires.get(name) or next((w for w in self._ended if w.name == name), None)
            self._untold.discard(name)
            if wire is not None:
                self._tell(wire, wall_ns, mono_ns)

    def _snapshot(self) -> dict[str, Any]:
        counters = self.counters
        return {
            "seen_chunks": counters.seen_chunks,
            "seen_bytes": counters.seen_bytes,
            "dropped_chunks": dict(counters.dropped_chunks),
            "dropped_bytes": dict(counters.dropped_bytes),
            "queue": self._put_items - self._taken_items,
        }

    # ---- on the thread

    def _send_all(self) -> None:
        """One recorder after the other until the proxy ends, and one more if none is left to settle."""
        last = False
        while True:
            try:
                channel: Channel | None = self._connect()
            except Exception:  # no process to be had: the relay goes on without
                channel = None
            with contextlib.suppress(OSError):
                if channel is not None and self._serve(channel, SETTLE_S if last else FAREWELL_S):
                    return
            self._down = True
            if self.exit_code == USAGE and self.restarts == 0:
                self._gave_up()
                return
            if last:
                return
            last = self._ending.wait(_BACK_OFF_S[min(self.restarts, len(_BACK_OFF_S) - 1)])
            self._discard()
            if last:  # the event loop waits in close(): the queue is ours
                now = clock.now()
                self._greet(now.wall_ns, now.mono_ns)
                self._end(now)
            else:
                self._wanted = True

    def _serve(self, channel: Channel, farewell_s: float) -> bool:
        """Move items to one recorder; True once it ended with all that was said, False when it is lost."""
        patience = Patience(channel.used_s, self._hung_s, self._quiet_s, farewell_s)
        next_tick_ns = 0
        ended = alive = False
        try:
            os.set_blocking(channel.fd, False)
            while not ended:
                items, ended = self._next_batch()
                now = clock.now()
                if now.mono_ns >= next_tick_ns:
                    next_tick_ns = now.mono_ns + int(TICK_S * 1e9)
                    items.append(("tick", now.wall_ns, now.mono_ns, self._snapshot()))
                alive = not items or self._write(channel, patience, framed(items))
                if not alive:
                    break
                self._ending.wait(_LINGER_S)
        finally:
            self._down = True
            with contextlib.suppress(OSError):
                os.close(channel.fd)
            if not (alive and self._gone(channel, patience)):
                channel.kill()
                channel.wait(None)
            self.exit_code = channel.poll()
        # one that was killed on its last work, by us or by another, has left things unsaid
        return alive and (self.exit_code is None or self.exit_code >= 0)

    def _gone(self, channel: Channel, patience: Patience) -> bool:
        """Whether a recorder that was told everything has ended by itself."""
        if patience.ending():
            channel.hurry()
        while not channel.wait(TICK_S):
            if patience.over():
                return False
        return True

    def _next_batch(self) -> tuple[list[Item], bool]:
        items: list[Item] = []
        size = 0
        with contextlib.suppress(queue.Empty):
            item, item_bytes = self._queue.get(timeout=TICK_S)
            while item is not None:
                self._taken_items += 1
                self._taken_bytes += item_bytes
                items.append(item)
                size += item_bytes
                if size >= _BATCH_BYTES or len(items) >= _BATCH_ITEMS:
                    return items, False
                item, item_bytes = self._queue.get_nowait()
            return items, True
        return items, False

    def _write(self, channel: Channel, patience: Patience, data: bytes) -> bool:
        """Whether the recorder took it all; one that shows no life for so long is as good as dead."""
        view = memoryview(data)
        writable = select.poll()
        writable.register(channel.fd, select.POLLOUT)
        patience.took()  # all that it was given so far
        while view:
            if self._ending.is_set() and patience.ending():
                channel.hurry()
            try:
                view = view[os.write(channel.fd, view) :]
                patience.took()
                continue
            except BlockingIOError:
                pass
            except OSError:
                return False
            writable.poll(TICK_S * 1000)
            if channel.poll() is not None or patience.over():
                return False
        return True

    def _discard(self) -> None:
        """What a recorder that is gone did not take is lost; the next one finds out how much it was."""
        with contextlib.suppress(queue.Empty):
            while True:
                item, size = self._queue.get_nowait()
                self._taken_items += item is not None
                self._taken_bytes += size


def items_of(fd: int) -> Iterator[list[Item]]:
    """The recorder's end: batches of items until the pipe closes. ``ValueError`` for what is no item."""
    with os.fdopen(fd, "rb", buffering=1 << 20, closefd=True) as pipe:
        while len(prefix := pipe.read(4)) == 4:
            length = int.from_bytes(prefix)
            if length > _LONGEST_BATCH:
                raise ValueError(f"batch of {length} bytes on the recorder's pipe")
            body = pipe.read(length)
            if len(body) < length:
                return
            batch = _decode(body)
            if not isinstance(batch, list):
                raise ValueError("no batch on the recorder's pipe")
            yield [_item(one) for one in batch]


def _item(said: Any) -> Item:
    item = tuple(said) if isinstance(said, list) else ()
    if not item or item[0] not in ITEMS or len(item) != 1 + len(ITEMS[item[0]]):
        raise ValueError("not an item on the recorder's pipe")
    return item


def framed(items: list[Item]) -> bytes:
    """A batch as it travels."""
    try:
        body = _encode(items)
    except Exception:  # facts are the proxy's; whatever they hold, the sender must live
        body = _encode([item if _travels(item) else _cannot_travel(item) for item in items])
    return len(body).to_bytes(4) + body


def _travels(item: Item) -> bool:
    try:
        _encode(item)
    except Exception:
        return False
    return True


def _cannot_travel(item: Item) -> Item:
    now = clock.now()
    return ("fault", f"handover of {item[0]}", "cannot be encoded", 1, now.wall_ns, now.mono_ns)
