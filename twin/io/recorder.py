"""Behind the addon: bytes to frames, redacted, stamped, written (1) and only then judged (2).

Told the time and free of transport, so a test can be the proxy. A fault of ours in any stage becomes a FAULT
frame and recording goes on; nothing is ever written that redaction has not seen.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec

from twin.io.books import Direction, Summary, Totals, balance, by_sender
from twin.io.judging import Judge
from twin.io.recovery import Recovered
from twin.io.redact import Redactor
from twin.io.segments import CaptureWriter
from twin.io.watching import Status
from twin.model import Frame, Kind, Side
from twin.protocol.tap import Stamp, Tap, TapOptions, parse_extensions

STATS_NS = 10_000_000_000
_STEP_NS = 500_000_000  # wall minus monotonic clock: more than slewing can do between two items
MOST_KEPT_BYTES = 2 << 20  # of one message; the rest is counted. On a line it may be six times as much
_MOST_OWED = 10_000  # connection events kept while the disk is out
_TOTALS = ("lines", "recorded_chunks", "recorded_bytes", "dropped_chunks", "dropped_bytes")
_KINDS = {"text": Kind.TEXT, "binary": Kind.BINARY, "close": Kind.CLOSE}


class Connection(msgspec.Struct):
    """One socket pair: its decoder, who speaks on it, its books, and whether each side said goodbye."""

    tap: Tap
    station: str
    books: dict[Side, Direction]
    closed_by: list[Side] = msgspec.field(default_factory=list)
    said: bool = True  # its OPEN stands in the capture


class Recorder:
    """Turns what the addon hands over into a capture: ``writer`` takes the facts, ``judge`` what is written.

    Every method is told both clocks in nanoseconds.
    """

    def __init__(self, writer: CaptureWriter, redactor: Redactor, judge: Judge) -> None:
        self._writer = writer
        self._redactor = redactor
        self.judge = judge
        self._connections: dict[str, Connection] = {}
        found = writer.recovered
        self._seq = found.last_seq if found else 0
        self._at_us = found.last_at_us if found else 0
        self._wall_us = 0
        self._first_ns: int | None = None
        self._last_ns = 0
        self._stats_ns = 0
        self._offset_ns: int | None = None
        self._told: dict[str, Any] = {}
        self._said: dict[str, Any] = {}
        self._owed: dict[tuple[str, Side, str], list[int]] = {}
        self._owed_events: deque[tuple[Kind, str, str, dict[str, Any]]] = deque(maxlen=_MOST_OWED)
        self._base = [0, 0]  # chunks and bytes seen before this run of the proxy
        self._segment = ""
        self._highest = found.highest_conn if found else 0
        self._uncommitted: dict[int, tuple[int, int]] = {}
        self._faults = 0
        self._collisions = 0
        self.totals = Totals()
        self.connections = 0
        self.stations: set[str] = set()
        self.clock_steps = 0
        self.restarts = 0
        self.lag_s = 0.0  # behind the proxy; told by whoever reads its clock
        self.closes: Counter[str] = Counter()

    @property
    def problem(self) -> str:
        """Why nothing is stored now, "" if all is well."""
        return self._writer.problem

    @property
    def faults(self) -> int:
        """Bugs and breakers of ours so far, in the addon, here and in the rules."""
        return self._faults + self.judge.faults

    # ---- what the addon says

    def hello(
        self,
        restarts: int,
        wires: Sequence[tuple[str, Mapping[str, Any], bool, list[int]]],
        wall_ns: int,
        mono_ns: int,
    ) -> None:
        """A recorder begins: a new capture, one that a proxy left (``restarts`` 0), or after a lost recorder.

        ``wires``: what the proxy knows of every connection (name, handshake, ended, chunks and bytes by
        station and CSMS). What passed on them and is not on the disk is gone, and is said so.
        """
        self.restarts = restarts
        found = self._writer.recovered
        if found is not None:
            self.totals = Totals(
                found.recorded_chunks,
                found.recorded_bytes,
                Counter(found.dropped_chunks),
                Counter(found.dropped_bytes),
            )
            before = found.stats.get("base", [0, 0]) if restarts else self._all_seen()
            self._base = [int(before[0]), int(before[1])]
            what = "recorder" if restarts else "proxy"
            gap = {"reason": "restart", "what": what, "seen": None}
            self._frame(Kind.GAP, "", wall_ns, mono_ns, facts=gap)
        for name, facts, ended, seen in sorted(wires, key=lambda wire: _number(wire[0])):
            self._resume(name, facts, ended, by_sender(seen), wall_ns, mono_ns)
        for name in found.streams if found is not None else ():
            if name not in self._connections and name not in {wire[0] for wire in wires}:
                lost = {"by": "proxy", "abrupt": True, "how": "the proxy ended"}
                self._frame(Kind.END, name, wall_ns, mono_ns, facts=lost)
        self._stats(wall_ns, mono_ns)

    def opened(self, conn: str, facts: Mapping[str, Any], wall_ns: int, mono_ns: int) -> None:
        """The handshake ended with 101, or (``late``) bytes came of a socket nobody saw open."""
        connection = self._connect(conn, facts, late=bool(facts.get("late", False)))
        said = _handshake(facts, connection.station)
        connection.said = self._frame(
            Kind.OPEN, conn, wall_ns, mono_ns, station=connection.station, facts=said
        )

    def refused(self, conn: str, facts: Mapping[str, Any], wall_ns: int, mono_ns: int) -> None:
        """The handshake ended without 101."""
        station = station_of(str(facts.get("path", "")))
        self.closes["refused"] += 1
        self._event(Kind.REFUSED, conn, station, _handshake(facts, station), wall_ns, mono_ns)

    def chunk(self, conn: str, sender: Side, data: bytes, wall_ns: int, mono_ns: int) -> None:
        """One read of the socket, as it passed."""
        connection = self._connection(conn, wall_ns, mono_ns)
        books = connection.books[sender]
        books.fed_chunks += 1
        books.fed_bytes += len(data)
        for item in connection.tap.feed(sender, data, Stamp(wall_ns, mono_ns)):
            self._item(conn, connection, item)

    def message(
        self,
        conn: str,
        sender: Side,
        kind: str,
        data: bytes,
        facts: Mapping[str, Any],
        wall_ns: int,
        mono_ns: int,
    ) -> None:
        """One whole message of WebSocket mode, in which the bytes on the wire are not known."""
        connection = self._connection(conn, wall_ns, mono_ns)
        books = connection.books[sender]
        books.fed_chunks += 1
        books.fed_bytes += len(data)
        chunks, size = books.settle(len(data))
        text = None
        if kind == "text":
            text = data.decode(errors="replace")
        said = {"wire": {"bytes": len(data), "stream": books.stream}, **facts}
        if kind == "close":
            connection.closed_by.append(sender)
        self._settled(
            self._frame(
                _KINDS[kind],
                conn,
                wall_ns,
                mono_ns,
                sender=sender,
                station=connection.station,
                text=text,
                data=None if kind != "binary" else data,
                facts=said,
            ),
            (conn, sender),
            chunks,
            size,
        )

    def lost(
        self, conn: str, sender: Side, reason: str, chunks: int, size: int, wall_ns: int, mono_ns: int
    ) -> None:
        """So much passed and was not handed over: a gap, and a reset point for every opinion."""
        connection = self._connection(conn, wall_ns, mono_ns)
        books = connection.books[sender]
        books.lost_chunks += chunks
        books.lost_bytes += size
        self.totals.drop(reason, chunks, size)
        self._gap(conn, sender, reason, chunks, size, wall_ns, mono_ns)
        for item in connection.tap.lost(sender, size, Stamp(wall_ns, mono_ns)):
            self._item(conn, connection, item)

    def unread(self, conn: str, facts: Mapping[str, Any], wall_ns: int, mono_ns: int) -> None:
        """Something passed outside every book: a capture file that was overwritten, a connection of TLS."""
        self._frame(Kind.GAP, conn, wall_ns, mono_ns, facts=facts)

    def ended(self, conn: str, facts: Mapping[str, Any], wall_ns: int, mono_ns: int) -> None:
        """The socket is gone. Without a Close frame it ended abruptly; who went first may be unknown."""
        connection = self._connections.pop(conn, None)
        if connection is None:
            return
        for item in connection.tap.finish(Stamp(wall_ns, mono_ns)):
            self._item(conn, connection, item)
        for books in connection.books.values():
            # chunks without a byte: no item speaks of them
            self.totals.record(books.fed_chunks - books.settled_chunks, books.fed_bytes - books.settled_bytes)
        closed_by = connection.closed_by
        said = {"abrupt": not closed_by, **facts}
        if closed_by:
            said["by"] = closed_by[0].value
        said.setdefault("by", "unknown")
        self.closes[f"abrupt by {said['by']}" if said["abrupt"] else f"closed by {said['by']}"] += 1
        self._event(Kind.END, conn, connection.station, said, wall_ns, mono_ns)

    def faulted(self, where: str, what: str, count: int, wall_ns: int, mono_ns: int) -> None:
        """A fault of ours, in the addon or here: counted, written down, survived."""
        self._faults += count
        facts = {"where": where, "what": what, "count": count}
        self._frame(Kind.FAULT, "", wall_ns, mono_ns, facts=facts)

    def rotate(self, wall_ns: int, mono_ns: int) -> None:
        """Seal this segment and begin the next."""
        self._writer.rotate(mono_ns)
        self._stats(wall_ns, mono_ns)

    def tick(self, wall_ns: int, mono_ns: int, counters: Mapping[str, Any]) -> None:
        """The addon is alive: fire what is due, commit, and every 10 s of traffic write the counters."""
        self._told = dict(counters)
        self._clock(wall_ns, mono_ns)
        self.judge.wake(self._wall_us)
        fresh = self._segment != self._writer.segment
        if fresh or (mono_ns - self._stats_ns >= STATS_NS and self._told != self._said):
            self._stats(wall_ns, mono_ns)
        self._settle_owed(wall_ns, mono_ns)
        self.commit(mono_ns)
        self.judge.told(self.status(wall_ns, mono_ns))

    def commit(self, mono_ns: int) -> None:
        """Write down and sync what is buffered, if the last time was long enough ago."""
        if self._writer.commit(mono_ns):
            self._uncommitted.clear()

    def status(self, wall_ns: int, mono_ns: int) -> Status:
        """The books as they stand."""
        return Status(
            wall_ns=wall_ns,
            mono_ns=mono_ns,
            seen_chunks=self._told.get("seen_chunks", 0),
            recorded_chunks=self.totals.recorded_chunks,
            dropped_chunks=dict(self.totals.dropped_chunks),
            lines=self._writer.lines,
            stored_bytes=self._writer.bytes,
            sockets=len(self._connections),
            lag_s=self.lag_s,
            disk_free_bytes=self._writer.free_bytes(),
            problem=self.problem,
            faults=self.faults,
        )

    def finish(self, wall_ns: int, mono_ns: int) -> Summary:
        """End the recording: sockets still open end with the proxy; close the capture."""
        for conn in list(self._connections):
            self.ended(conn, {"by": "proxy", "abrupt": True}, wall_ns, mono_ns)
        self._settle_owed(wall_ns, mono_ns)
        self._stats(wall_ns, mono_ns)
        self.judge.judge()
        left = self._writer.close(self._at_us, msgspec.to_builtins(self._summary()))
        for frame in left:  # accepted, and then the disk was out to the end
            chunks, size = self._uncommitted.get(frame.seq, (0, 0))
            self.totals.record(-chunks, -size)
            self.totals.drop("disk", chunks, size)
        self.judge.close()
        return self._summary()

    # ---- within

    def _summary(self) -> Summary:
        seen_chunks, seen_bytes, full = balance(self.totals, self._since_base())
        return Summary(
            lines=self._writer.lines,
            connections=self.connections,
            stations=len(self.stations),
            lasted_s=(self._last_ns - (self._first_ns or self._last_ns)) / 1e9,
            seen_chunks=seen_chunks,
            seen_bytes=seen_bytes,
            recorded_chunks=full.recorded_chunks,
            recorded_bytes=full.recorded_bytes,
            dropped_chunks=dict(full.dropped_chunks),
            dropped_bytes=dict(full.dropped_bytes),
            faults=self.faults,
            findings=dict(self.judge.severities),
            clock_steps=self.clock_steps,
            restarts=self.restarts,
            closes=dict(self.closes),
        )

    def _since_base(self) -> dict[str, Any]:
        """The proxy's last word, over all its runs."""
        told = dict(self._told)
        told["seen_chunks"] = self._base[0] + told.get("seen_chunks", 0)
        told["seen_bytes"] = self._base[1] + told.get("seen_bytes", 0)
        return told

    def _all_seen(self) -> tuple[int, int]:
        seen_chunks, seen_bytes, _ = balance(self.totals, {})
        return seen_chunks, seen_bytes

    def _connect(self, conn: str, facts: Mapping[str, Any], *, late: bool) -> Connection:
        station = station_of(str(facts.get("path", "")))
        deflate = parse_extensions(facts.get("extensions"))
        tap = Tap(TapOptions(deflate=deflate, max_message_bytes=MOST_KEPT_BYTES, late=late))
        connection = Connection(tap, station, {side: Direction() for side in Side})
        self._connections[conn] = connection
        self._highest = max(self._highest, _number(conn))
        self.connections += 1
        self.stations.add(station)
        return connection

    def _connection(self, conn: str, wall_ns: int, mono_ns: int) -> Connection:
        if conn not in self._connections:
            self.opened(conn, {"late": True}, wall_ns, mono_ns)
        return self._connections[conn]

    def _resume(
        self,
        conn: str,
        facts: Mapping[str, Any],
        ended: bool,
        seen: Mapping[Side, tuple[int, int]],
        wall_ns: int,
        mono_ns: int,
    ) -> None:
        """What became of a connection while there was no recorder."""
        found = self._writer.recovered or Recovered()  # its predecessor may not have written a line
        held = found.streams.get(conn)
        if held is None and ended and _number(conn) <= found.highest_conn:
            return  # it ended on the disk
        missing = {
            side: (chunks - stored[0], size - stored[1])
            for side, (chunks, size) in seen.items()
            for stored in ((held or {}).get(side.value, (0, 0)),)
        }
        whole = not any(size for _, size in missing.values()) and not facts.get("extensions")
        connection = self._connect(conn, facts, late=not whole)
        for side, (chunks, size) in seen.items():
            connection.books[side].lost_chunks, connection.books[side].lost_bytes = chunks, size
        if held is None:
            said = {**_handshake(facts, connection.station), "late": True}
            self._frame(Kind.OPEN, conn, wall_ns, mono_ns, station=connection.station, facts=said)
        for side, (chunks, size) in missing.items():
            if chunks or size:
                self.totals.drop("recorder_down", chunks, size)
                self._gap(conn, side, "recorder_down", chunks, size, wall_ns, mono_ns)
        if ended:
            self.ended(conn, {"how": "while there was no recorder"}, wall_ns, mono_ns)

    def _item(self, conn: str, connection: Connection, item: Any) -> None:
        if item.kind is Kind.CLOSE:
            connection.closed_by.append(item.sender)
        if not connection.said:
            connection.said = self._frame(
                Kind.OPEN,
                conn,
                item.stamp.wall_ns,
                item.stamp.mono_ns,
                station=connection.station,
                facts={"late": True},
            )
        books = connection.books[item.sender]
        wire = item.facts["wire"]
        chunks, size = books.settle(wire["bytes"] - wire.get("lost", 0))
        wire["stream"] = books.stream
        stored = self._frame(
            item.kind,
            conn,
            item.stamp.wall_ns,
            item.stamp.mono_ns,
            sender=item.sender,
            station=connection.station,
            text=item.text,
            data=item.data,
            facts=item.facts,
        )
        self._settled(stored, (conn, item.sender), chunks, size)

    def _settled(self, stored: bool, place: tuple[str, Side], chunks: int, size: int) -> None:
        """Book what one item answered for; what the store did not take is owed a gap."""
        if stored:
            self.totals.record(chunks, size)
            self._uncommitted[self._seq] = (chunks, size)
            return
        reason = self._refusal()
        self.totals.drop(reason, chunks, size)
        owed = self._owed.setdefault((*place, reason), [0, 0])
        owed[0] += chunks
        owed[1] += size

    def _refusal(self) -> str:
        return "quota" if self._writer.problem.startswith("quota") else "disk"

    def _event(
        self, kind: Kind, conn: str, station: str, facts: dict[str, Any], wall_ns: int, mono_ns: int
    ) -> None:
        """An END or REFUSED; one that the store does not take now is written when it does again."""
        if not self._frame(kind, conn, wall_ns, mono_ns, station=station, facts=facts):
            self._owed_events.append((kind, conn, station, facts))

    def _gap(
        self, conn: str, sender: Side, reason: str, chunks: int, size: int, wall_ns: int, mono_ns: int
    ) -> None:
        connection = self._connections.get(conn)
        facts: dict[str, Any] = {"reason": reason, "chunks": chunks, "bytes": size}
        if connection is not None:
            facts["stream"] = connection.books[sender].stream
        station = connection.station if connection else ""
        if not self._frame(Kind.GAP, conn, wall_ns, mono_ns, sender=sender, station=station, facts=facts):
            owed = self._owed.setdefault((conn, sender, reason), [0, 0])
            owed[0] += chunks
            owed[1] += size

    def _settle_owed(self, wall_ns: int, mono_ns: int) -> None:
        """Write down what could not be written while the disk was out, as soon as it is back."""
        if not (self._owed or self._owed_events) or self._writer.problem:
            return
        owed, self._owed = self._owed, {}
        for (conn, sender, reason), (chunks, size) in owed.items():
            self._gap(conn, sender, reason, chunks, size, wall_ns, mono_ns)
        events = list(self._owed_events)
        self._owed_events.clear()
        for kind, conn, station, facts in events:
            self._event(kind, conn, station, facts, wall_ns, mono_ns)

    def _stats(self, wall_ns: int, mono_ns: int) -> None:
        """The counters, and for whoever recovers this segment alone: where every open connection stands."""
        self._stats_ns, self._said = mono_ns, dict(self._told)
        self._segment = self._writer.segment
        streams = {
            conn: {side.value: books.stream for side, books in connection.books.items()}
            for conn, connection in self._connections.items()
        }
        facts = {
            **self._told,
            "lines": self._writer.lines,
            "recorded_chunks": self.totals.recorded_chunks,
            "recorded_bytes": self.totals.recorded_bytes,
            "dropped_chunks": dict(self.totals.dropped_chunks),
            "dropped_bytes": dict(self.totals.dropped_bytes),
            "base": self._base,
            "highest_conn": self._highest,
            "streams": streams,
        }
        self._writer.tell({name: facts[name] for name in _TOTALS})
        self._frame(Kind.STATS, "", wall_ns, mono_ns, facts=facts)

    def _frame(
        self,
        kind: Kind,
        conn: str,
        wall_ns: int,
        mono_ns: int | None,
        *,
        sender: Side | None = None,
        station: str = "",
        text: str | None = None,
        data: bytes | None = None,
        facts: Mapping[str, Any] = {},
    ) -> bool:
        """Stamp, redact, write; whether the store took it. What it does not take is not judged either."""
        self._clock(wall_ns, mono_ns)
        frame = Frame(
            seq=self._seq + 1,
            at_us=self._stamp_us(wall_ns),
            mono_ns=mono_ns,
            link=conn,
            kind=kind,
            sender=sender,
            station=station,
            text=text,
            data=data,
            facts={**facts, "t_wall_ns": wall_ns},
        )
        frame = self._redacted(frame)
        if not self._writer.write(frame):
            return False
        self._seq, self._at_us = frame.seq, frame.at_us
        self.judge.give(frame)
        return True

    def _stamp_us(self, wall_ns: int) -> int:
        """The third decision: never earlier than the last frame or the last wake-up the analyzer is given."""
        return max(wall_ns // 1000, self._at_us, self.judge.woken_us)

    def _redacted(self, frame: Frame) -> Frame:
        """The frame as it may be stored; bytes that cannot be read cannot be redacted, so only counted."""
        try:
            unread = frame.data is not None and frame.kind is not Kind.TEXT
            if unread and not self._redactor.keep_id_tags:
                hidden = {"bytes": len(frame.data or b""), **frame.facts, "hidden": True}
                frame = msgspec.structs.replace(frame, data=None, facts=hidden)
            redacted = self._redactor.frame(frame)
            if self._redactor.collisions > self._collisions:
                self._collisions = self._redactor.collisions
                facts = {**redacted.facts, "collision": "two values of this recording have one pseudonym"}
                redacted = msgspec.structs.replace(redacted, facts=facts)
            return redacted
        except Exception as error:  # a bug of ours must not stop the recording, nor leak
            self._faults += 1
            facts = {"where": "redact", "what": type(error).__name__, "count": 1}
            return msgspec.structs.replace(frame, kind=Kind.FAULT, text=None, data=None, facts=facts)

    def _clock(self, wall_ns: int, mono_ns: int | None) -> None:
        self._wall_us = max(self._wall_us, wall_ns // 1000)
        if mono_ns is None:
            return
        self._first_ns = mono_ns if self._first_ns is None else self._first_ns
        self._last_ns = max(self._last_ns, mono_ns)
        offset_ns = wall_ns - mono_ns
        known_ns, self._offset_ns = self._offset_ns, offset_ns
        if known_ns is not None and abs(offset_ns - known_ns) > _STEP_NS:
            self.clock_steps += 1
            step_ms = round((offset_ns - known_ns) / 1e6)
            self._frame(Kind.CLOCK_STEP, "", wall_ns, mono_ns, facts={"step_ms": step_ms})


def station_of(path: str) -> str:
    """The identity in a handshake's path: its last segment, percent-decoded (OCPP-J 1.6 §3.1.1)."""
    segments = [part for part in path.partition("?")[0].split("/") if part]
    return unquote(segments[-1]) if segments else ""


def _number(conn: str) -> int:
    """The number in a connection's name; they rise in the order in which connections were first spoken of."""
    digits = conn.lstrip("c")
    return int(digits) if digits.isascii() and digits.isdecimal() else 0


def _handshake(facts: Mapping[str, Any], station: str) -> dict[str, Any]:
    """The facts of a handshake; of the Basic user only whether it is the identity."""
    said = dict(facts)
    if (user := said.pop("basic_user", None)) is not None:
        said["auth"] = {"scheme": "Basic", "user_is_identity": user == station}
    return said
