"""Packets that somebody else captured to the items of a recording: nothing of ours stands in the path.

The same items as the proxy's addon hands over (``twin.io.handover.ITEMS``), so one recorder serves both. A
packet has one clock, the wall clock of the host that captured it; the monotonic stamps are derived from it.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from twin.io import clock, recorder_process
from twin.io.books import Summary
from twin.io.handover import Item
from twin.io.passive_site import Endpoint, Phase, Site
from twin.io.passive_tcp import Stamp
from twin.io.passive_wire import Wire
from twin.io.recorder import Recorder

LIMITS_OF_TRUTH = (
    "only ws:// can be read; wss:// is counted and said",
    "stamps are those of the capturing host and have one clock: a forward step of it looks like silence",
    "bytes that were not captured are counted by their TCP sequence numbers; in silence nobody can tell",
    "a ring that is overwritten before it was read is a gap",
)
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
_BACK_NS = 1_000_000_000  # a capture clock this far behind was set back; less is packets out of order
_LINGER_NS = 60_000_000_000  # packets of a connection that may still arrive after its end
_MAX_OPEN, _MAX_REST, _MAX_ENDED = 10_000, 10_000, 4_096
_SWEEP_NS = 500_000_000
_MAX_WALL_NS = 253_402_300_799 * 10**9  # the year 9999


class Packet(msgspec.Struct, frozen=True):
    """One TCP segment. ``size`` is what it carried, ``data`` what was captured of that."""

    wall_ns: int
    source: Endpoint
    target: Endpoint
    seq: int
    ack: int
    flags: int
    size: int
    data: bytes


class Clock:
    """A monotonic clock made of the wall clock of packets; ``now`` is this host's, at the first packet."""

    def __init__(self, now: clock.Now) -> None:
        self._now = now
        self._offset_ns: int | None = None
        self._latest_ns = 0

    def stamp(self, wall_ns: int) -> Stamp:
        wall_ns = min(max(wall_ns, 0), _MAX_WALL_NS)
        if self._offset_ns is None:
            # this host's own clock for a live ring; never negative, and not ahead of it for a foreign one
            ours = self._now.mono_ns - max(self._now.wall_ns, wall_ns)
            self._offset_ns = max(ours, -wall_ns)
            self._latest_ns = wall_ns + self._offset_ns
        mono_ns = wall_ns + self._offset_ns
        if self._latest_ns - mono_ns > _BACK_NS:
            self._offset_ns += self._latest_ns - mono_ns
            mono_ns = self._latest_ns
        self._latest_ns = max(self._latest_ns, mono_ns)
        return Stamp(wall_ns, mono_ns)


class Listener:
    """Every TCP connection in a stream of packets. Memory is bounded: the longest silent ones go first."""

    def __init__(
        self,
        now: clock.Now,
        say: Callable[[str], None] = lambda text: None,
        ended: Callable[[Wire], None] = lambda wire: None,
    ) -> None:
        self.site = Site(say=say)
        self._ended_wire = ended
        self.strays = 0  # segments without data of no connection that we know
        self.forgotten = 0
        self.packets = 0
        self._clock = Clock(now)
        self._open: OrderedDict[frozenset[Endpoint], Wire] = OrderedDict()  # that speak WebSocket
        self._rest: OrderedDict[frozenset[Endpoint], Wire] = OrderedDict()
        self._ended: OrderedDict[frozenset[Endpoint], int] = OrderedDict()
        self._told_packets = 0
        self._swept_ns = 0
        self.latest = Stamp(now.wall_ns, now.mono_ns)

    def take(self) -> list[Item]:
        """The items since the last call, and a tick if there were packets."""
        items, self.site.items = self.site.items, []
        books = self.site.books
        if self.packets != self._told_packets:
            self._told_packets = self.packets
            counters: dict[str, Any] = {"seen_chunks": books.seen_chunks, "seen_bytes": books.seen_bytes}
            counters |= {"dropped_chunks": {}, "dropped_bytes": {}}
            items.append(("tick", self.latest.wall_ns, self.latest.mono_ns, counters))
        return items

    def gap(self, facts: dict[str, Any]) -> None:
        """Something was not read, and nobody knows what it held."""
        facts = {**facts, "seen": None}
        self.site.items.append(("gap", "", facts, self.latest.wall_ns, self.latest.mono_ns))

    def packet(self, packet: Packet) -> None:
        """The next packet of the ring."""
        self.packets += 1
        self.latest = stamp = self._clock.stamp(packet.wall_ns)
        if stamp.mono_ns - self._swept_ns >= _SWEEP_NS:
            self._swept_ns = stamp.mono_ns
            self._sweep(stamp)
        if packet.source == packet.target:
            self.strays += 1
            return
        key = frozenset((packet.source, packet.target))
        wire = self._wire(key, packet, stamp)
        if wire is None:
            self.strays += 1
            return
        wire.first_segment = wire.first_segment or self.packets
        wire.segments += 1
        self._segment(wire, packet, stamp)
        if wire.phase is Phase.FRAMES and key in self._rest:
            self._open[key] = self._rest.pop(key)
            self._bound(self._open, _MAX_OPEN, stamp)
        if packet.flags & RST or wire.gone:
            self._end(key, stamp)

    def close(self) -> None:
        """Nothing more will be read; connections still open are so, and their capture ends here."""
        stamp = self.latest
        said = {"abrupt": False, "by": "proxy", "how": "the recording ended, the connection did not"}
        for key, wire in [*self._open.items(), *self._rest.items()]:
            self._end(key, stamp, None if wire.first_gone else said)

    def _wire(self, key: frozenset[Endpoint], packet: Packet, stamp: Stamp) -> Wire | None:
        """The connection of a packet, a new one where it begins one."""
        held = self._open if key in self._open else self._rest
        wire = held.get(key)
        begins = packet.flags & (SYN | ACK) == SYN
        if wire is not None:
            held.move_to_end(key)
            if not begins or wire.began_with == packet.seq:
                return wire
            wire.how = "a new connection from the same port"
            self._end(key, stamp)
        elif not begins:
            ended_ns = self._ended.get(key)
            if not packet.size or (ended_ns is not None and stamp.mono_ns - ended_ns < _LINGER_NS):
                return None
        client = packet.source if begins else packet.target if packet.flags & SYN else None
        wire = self._rest[key] = Wire(self.site, (packet.source, packet.target), client)
        wire.began_with = packet.seq if begins else None
        self._bound(self._rest, _MAX_REST, stamp)
        return wire

    def _segment(self, wire: Wire, packet: Packet, stamp: Stamp) -> None:
        half, other = wire.halves[packet.source], wire.halves[packet.target]
        if packet.flags & (FIN | RST) and wire.first_gone is None:
            wire.first_gone, wire.how = packet.source, "RST" if packet.flags & RST else "FIN"
        if packet.flags & FIN:
            wire.fins.add(packet.source)
        if not wire.reassembled:
            if packet.size:
                wire.passed_over(packet.source, packet.size)
            return
        if packet.flags & SYN:
            half.begin(packet.seq)
        seq = packet.seq + bool(packet.flags & SYN)
        wire.take(packet.source, half.add(seq, packet.data, stamp))
        if packet.flags & (FIN | RST):
            half.ended(seq, packet.size, reset=bool(packet.flags & RST))
        if packet.flags & ACK and not packet.flags & RST:
            other.acknowledged(packet.ack, stamp)
        for end, one in wire.halves.items():
            if one.waiting:
                wire.take(end, one.expire(stamp))

    def _end(self, key: frozenset[Endpoint], stamp: Stamp, facts: dict[str, Any] | None = None) -> None:
        wire = self._open.pop(key, None) or self._rest.pop(key)
        if wire.reassembled:
            for end, half in wire.halves.items():
                wire.take(end, half.finish(stamp))
        if wire.how == "RST" and wire.phase is Phase.REQUEST and wire.first_gone in self.site.servers:
            wire.refused_connection(stamp)
        wire.end(stamp, facts)
        self._ended_wire(wire)
        self._ended[key] = stamp.mono_ns
        if len(self._ended) > _MAX_ENDED:
            self._ended.popitem(last=False)

    def _bound(self, wires: OrderedDict[frozenset[Endpoint], Wire], most: int, stamp: Stamp) -> None:
        if len(wires) > most:
            key, wire = next(iter(wires.items()))
            wire.how = "forgotten: too many connections at once"
            self.forgotten += 1
            self._end(key, stamp)

    def _sweep(self, stamp: Stamp) -> None:
        """What is overdue on connections that say nothing more."""
        for key, wire in [*self._open.items(), *self._rest.items()]:
            for end, half in wire.halves.items():
                if half.waiting:
                    wire.take(end, half.expire(stamp))
            if wire.gone:
                self._end(key, stamp)


def record(batches: Iterable[list[Item]], listener: Listener, recorder: Recorder) -> Summary:
    """Record until the batches end; the capture then ends with its last packet, not with today."""
    for batch in batches:
        for item in batch:
            recorder_process.deliver(item, recorder)
        recorder.commit(clock.now().mono_ns)
        recorder.judge.judge()
    listener.close()
    for item in listener.take():
        recorder_process.deliver(item, recorder)
    return recorder.finish(listener.latest.wall_ns, listener.latest.mono_ns)
