"""Follows a ring of capture files until its end or until told to stop; gives what its packets mean."""

import time
from collections.abc import Iterator

from twin.io import clock
from twin.io.handover import Item
from twin.io.passive import Listener
from twin.io.passive_ring import Ring, Tail
from twin.io.passive_tshark import Dissector

POLL_S = 0.1
_CHUNK_BYTES = 1 << 18
_STUCK_NS = 60_000_000_000
_FAREWELL_NS = 1_500_000_000  # after a signal, for what already stands in the ring
RING, FILE = "ring", "capture_file"  # reasons of gaps


class Follower:
    """One run over a ring. ``once`` ends with what is there; ``ask_to_stop`` makes any run do so, soon."""

    def __init__(self, ring: Ring, listener: Listener, tshark: str, *, once: bool) -> None:
        self.ring = ring
        self.files = 0
        self.bad_files: list[str] = []
        self.unread_bytes = 0
        self._listener = listener
        self._tshark = tshark
        self._once = once
        self._deadline_ns: int | None = None
        self._overwritten = 0

    def ask_to_stop(self) -> None:
        """Read what is there and end; called from a signal's handler."""
        self._once = True
        if self._deadline_ns is None:
            self._deadline_ns = clock.now().mono_ns + _FAREWELL_NS

    def batches(self) -> Iterator[list[Item]]:
        """What the packets mean, as they come; an empty batch now and then when nothing comes."""
        while not self._late():
            self._look()
            tail = self.ring.take()
            if tail is None:
                if self._once:
                    return
                yield self._listener.take()
                time.sleep(POLL_S)
                continue
            self.files += 1
            with tail, Dissector(self._tshark) as dissector:
                yield from self._file(tail, dissector)
                self._file_ended(tail, dissector)
            yield self._listener.take()

    def _late(self) -> bool:
        return self._deadline_ns is not None and clock.now().mono_ns > self._deadline_ns

    def _look(self) -> None:
        self.ring.look()
        if more := self.ring.overwritten - self._overwritten:
            self._overwritten = self.ring.overwritten
            self._listener.gap({"reason": RING, "what": "overwritten before it was read", "files": more})

    def _file(self, tail: Tail, dissector: Dissector) -> Iterator[list[Item]]:
        """One file until it is whole: a newer one has begun, or there is nobody to wait for."""
        given = False
        moved, moved_ns = -1, 0
        while not dissector.ended and not self._late():
            waiting = False
            if dissector.hungry and not given:
                given, waiting = self._feed(tail, dissector)
            for packet in dissector.pump(POLL_S):
                self._listener.packet(packet)
            if dissector.moved != moved or waiting:
                moved, moved_ns = dissector.moved, clock.now().mono_ns
            elif clock.now().mono_ns - moved_ns > _STUCK_NS:
                dissector.stop("tshark stands still")
            yield self._listener.take()
        for packet in dissector.pump(0):
            self._listener.packet(packet)

    def _feed(self, tail: Tail, dissector: Dissector) -> tuple[bool, bool]:
        """Give what has come; whether the file is whole now, and whether there is more to wait for."""
        data = tail.read(_CHUNK_BYTES)
        if data == b"":
            whole = self._once
            if not whole:
                self._look()
                whole = bool(self.ring.waiting)
            # what was written before the newer file began is there by now
            data = tail.read(_CHUNK_BYTES) if whole else data
            if not data:
                if whole:
                    dissector.finish()
                return whole, not whole
        if data is None:
            self.ring.began_anew(tail.found)
            self._listener.gap({"reason": RING, "what": "begun anew before it was read to its end"})
            dissector.finish()
            return True, False
        dissector.give(data)
        return False, False

    def _file_ended(self, tail: Tail, dissector: Dissector) -> None:
        left = tail.left_bytes
        if self._late():
            self.unread_bytes += left
        if dissector.unreadable and not dissector.why:
            dissector.why = f"{dissector.unreadable} packets that tshark did not explain"
        if dissector.why:
            name = tail.found.path.name
            self.bad_files.append(f"{name}: {dissector.why}")
            self._listener.gap({"reason": FILE, "why": dissector.why, "unread_bytes": left})
