"""One direction of a TCP connection: segments in any order in, bytes in order and counted losses out.

Pure: told the time, free of sockets. Every byte between the first one wanted and the end is given out exactly
once, as bytes or as a number of bytes that passed and were not captured. Places are sequence numbers without
their wrap at 2^32; more than 2^31 bytes lost in one piece cannot be told from a retransmission.
"""

from bisect import bisect_left

import msgspec

ACKED_NS = 1_000_000_000  # acknowledged and not captured: an interface with several queues may still deliver
UNACKED_NS = 60_000_000_000  # one-sided captures show no acknowledgement; longer than most retransmissions
MAX_HELD_BYTES = 4 << 20
MAX_HELD_PIECES = 4_096
MAX_KEPT_BYTES = 64 << 20  # by all connections together
_PIECE_BYTES = 256  # what a piece costs beyond its bytes
_FAR = 1 << 24  # a RST this far from its stream does not say where the stream ended


class Stamp(msgspec.Struct, frozen=True):
    """When a packet was captured: its wall clock, and the same as a clock that does not go back."""

    wall_ns: int
    mono_ns: int


class Piece(msgspec.Struct, frozen=True):
    """What comes next in a direction: ``data``, or ``lost`` bytes that nobody captured."""

    data: bytes
    lost: int
    stamp: Stamp


class Budget(msgspec.Struct):
    """What all connections together keep of what cannot be given out yet."""

    used: int = 0

    @property
    def spent(self) -> bool:
        return self.used > MAX_KEPT_BYTES


class _Held(msgspec.Struct, frozen=True):
    """Bytes that came before those in front of them."""

    start: int
    data: bytes
    stamp: Stamp

    @property
    def end(self) -> int:
        return self.start + len(self.data)


def _start(held: _Held) -> int:
    return held.start


class Half:
    """One direction. ``begin`` with its SYN if that was seen; else it starts with the first segment."""

    def __init__(self, budget: Budget | None = None) -> None:
        self._budget = budget or Budget()
        self.wanted: int | None = None  # the place of the next byte to give out
        self._ends: int | None = None  # the place of its FIN or RST
        self._acked = 0  # the other side says that it has everything before this place
        self._missed_ns: int | None = None  # since when something acknowledged is missing
        self._held: list[_Held] = []
        self._held_bytes = 0
        self._latest: Stamp | None = None  # of the bytes given out

    @property
    def finished(self) -> bool:
        """Everything up to its FIN was given out."""
        return self._ends is not None and self.wanted is not None and self.wanted >= self._ends

    @property
    def farewell(self) -> bool:
        """The other side has acknowledged its FIN, so nothing more will come."""
        return self._ends is not None and self._acked > self._ends

    @property
    def waiting(self) -> bool:
        """Something is missing that may still come, so ``expire`` is worth asking."""
        return bool(self._held) or self._missed_ns is not None

    def begin(self, seq: int) -> None:
        """Its SYN: the first byte has the number after it."""
        self.wanted = seq + 1

    def add(self, seq: int, data: bytes, stamp: Stamp) -> list[Piece]:
        """One segment; gives what is in order now."""
        if self.wanted is None:
            self.wanted = seq
        if not data:
            return []
        start = self._place(seq)
        if start == self.wanted and not self._held:
            self.wanted += len(data)
            self._caught_up()
            return [self._piece(data, stamp)]
        if start + len(data) <= self.wanted:
            return []  # sent again
        if start < self.wanted:
            start, data = self.wanted, data[self.wanted - start :]
        self._hold(start, data, stamp)
        pieces = self._in_order()
        while self._held and self._too_much():
            pieces += self._give_up(stamp)
        return pieces

    def ended(self, seq: int, size: int, *, reset: bool = False) -> None:
        """Its FIN, or its RST, in a segment of ``size`` bytes."""
        if self.wanted is None:
            self.wanted = seq
        ends = self._place(seq) + size
        if not reset or 0 <= ends - self.wanted < _FAR:
            self._ends = ends

    def acknowledged(self, ack: int, stamp: Stamp) -> None:
        """The other side has everything before ``ack``."""
        if self.wanted is None:
            self.wanted = ack
        self._acked = max(self._acked, self._place(ack))
        if self._missing_acked() and self._missed_ns is None:
            self._missed_ns = stamp.mono_ns

    def expire(self, stamp: Stamp) -> list[Piece]:
        """Time went on: what is missing for too long is lost."""
        pieces: list[Piece] = []
        if self._missed_ns is not None and stamp.mono_ns - self._missed_ns >= ACKED_NS:
            while self._missing_acked():
                pieces += self._give_up(stamp, upto=self._acked)
            self._missed_ns = None
        while self._held and stamp.mono_ns - self._held[0].stamp.mono_ns >= UNACKED_NS:
            pieces += self._give_up(stamp)
        return pieces

    def finish(self, stamp: Stamp) -> list[Piece]:
        """Nothing more will come: what is missing is lost, up to the FIN or the last acknowledgement."""
        pieces: list[Piece] = []
        while self._held:
            pieces += self._give_up(stamp)
        end = self._acked_end() if self._ends is None else self._ends
        if self.wanted is not None and end > self.wanted:
            pieces.append(Piece(b"", end - self.wanted, stamp))
            self.wanted = end
        return pieces

    def forget(self) -> None:
        """Nobody wants its bytes any more."""
        self._budget.used -= self._held_bytes + len(self._held) * _PIECE_BYTES
        self._held, self._held_bytes = [], 0

    def _too_much(self) -> bool:
        mine = self._held_bytes > MAX_HELD_BYTES or len(self._held) > MAX_HELD_PIECES
        return mine or self._budget.spent

    def _place(self, seq: int) -> int:
        """A 32-bit number as the place nearest to the byte wanted (RFC 9293 §3.4)."""
        assert self.wanted is not None
        return self.wanted + ((seq - self.wanted + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)

    def _acked_end(self) -> int:
        """Where the acknowledged bytes end. An acknowledged FIN counts as one more: if it was not captured,
        a single byte too many is its."""
        if self._ends is not None:
            return min(self._acked, self._ends)
        assert self.wanted is not None or not self._acked
        alone = not self._held and self.wanted is not None and self._acked == self.wanted + 1
        return self._acked - 1 if alone else self._acked

    def _missing_acked(self) -> bool:
        return self.wanted is not None and self._acked_end() > self.wanted

    def _hold(self, start: int, data: bytes, stamp: Stamp) -> None:
        """Keep what is not held yet; of two versions of a byte the first one stays."""
        end, at = start + len(data), start
        place = bisect_left(self._held, start, key=_start)
        if place and self._held[place - 1].end > start:
            at = self._held[place - 1].end
        while at < end:
            following = self._held[place] if place < len(self._held) else None
            stop = min(end, following.start) if following else end
            if stop > at:
                self._held.insert(place, _Held(at, data[at - start : stop - start], stamp))
                self._held_bytes += stop - at
                self._budget.used += stop - at + _PIECE_BYTES
                place += 1
            if following is None:
                return
            at = max(at, following.end)
            place += 1

    def _in_order(self) -> list[Piece]:
        pieces: list[Piece] = []
        while self._held and self._held[0].start == self.wanted:
            held = self._held.pop(0)
            self._held_bytes -= len(held.data)
            self._budget.used -= len(held.data) + _PIECE_BYTES
            self.wanted = held.end
            pieces.append(self._piece(held.data, held.stamp))
        self._caught_up()
        return pieces

    def _caught_up(self) -> None:
        if self._missed_ns is not None and not self._missing_acked():
            self._missed_ns = None

    def _give_up(self, stamp: Stamp, upto: int | None = None) -> list[Piece]:
        """What stands before the bytes held (or before ``upto``) is lost."""
        assert self.wanted is not None
        stop = self._held[0].start if self._held else self._acked_end()
        stop = stop if upto is None else min(stop, max(upto, self.wanted))
        lost = stop - self.wanted
        self.wanted = stop
        return [*([Piece(b"", lost, stamp)] if lost > 0 else []), *self._in_order()]

    def _piece(self, data: bytes, stamp: Stamp) -> Piece:
        """Bytes can be read once all before them are there: never earlier than those."""
        if self._latest is None or stamp.mono_ns > self._latest.mono_ns:
            self._latest = stamp
        return Piece(data, 0, self._latest)
