"""Behind the addon: bytes to frames, redacted, stamped, written (1) and only then judged (2).

Told the time and free of transport, so a test can be the proxy. A fault of ours in any stage becomes a FAULT
frame and recording goes on; nothing is ever written that redaction has not seen.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec

from twin.engine.analyzer import Analyzer
from twin.io.redact import Redactor, redacted_headers
from twin.io.segments import CaptureWriter
from twin.model import Finding, Frame, Kind, Severity, Side
from twin.protocol.tap import Stamp, Tap, TapOptions, parse_extensions

_encode = msgspec.json.Encoder().encode
STATS_NS = 10_000_000_000


class Connection(msgspec.Struct):
    """One socket pair: its decoder, who speaks on it, and whether each side said goodbye."""

    tap: Tap
    station: str
    closed_by: list[Side] = msgspec.field(default_factory=list)


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a recording holds, for the exit line. ``seen`` and ``dropped`` count chunks and bytes."""

    lines: int
    connections: int
    stations: int
    lasted_s: float
    seen_chunks: int
    seen_bytes: int
    recorded_chunks: int
    recorded_bytes: int
    dropped_chunks: Mapping[str, int]
    dropped_bytes: Mapping[str, int]
    faults: int
    findings: Mapping[str, int]

    @property
    def exact(self) -> bool:
        """``seen = recorded + dropped``; a breach is a bug of ours."""
        return self.seen_chunks == self.recorded_chunks + sum(
            self.dropped_chunks.values()
        ) and self.seen_bytes == self.recorded_bytes + sum(self.dropped_bytes.values())

    def text(self, name: str) -> str:
        """The exit summary of the capture ``name``: what was seen, recorded and dropped, exactly."""
        minutes, seconds = divmod(int(self.lasted_s), 60)
        hours, minutes = divmod(minutes, 60)
        findings = "  ".join(f"{severity} {self.findings.get(severity, 0)}" for severity in Severity)
        reasons = "  ".join(f"{reason} {count}" for reason, count in sorted(self.dropped_chunks.items()))
        dropped_chunks, dropped_bytes = sum(self.dropped_chunks.values()), sum(self.dropped_bytes.values())
        rows = (
            f"{name}  {hours} h {minutes:02} min {seconds:02} s, {self.stations} stations, "
            f"{self.connections} connections",
            f"seen      {self.seen_chunks:>10,} chunks {self.seen_bytes:>14,} bytes",
            f"recorded  {self.recorded_chunks:>10,} chunks {self.recorded_bytes:>14,} bytes"
            f"  {self.lines:,} lines",
            f"dropped   {dropped_chunks:>10,} chunks {dropped_bytes:>14,} bytes  {reasons}".rstrip(),
            f"own faults {self.faults}",
            f"findings  {findings}",
        )
        return "\n".join(rows)


class Recorder:
    """Turns what the addon hands over into a capture and its findings.

    ``writer`` takes the facts, ``findings_path`` the opinions (one JSON object a line, made anew), ``tell``
    is called with every finding. Every method is told both clocks in nanoseconds.
    """

    def __init__(
        self,
        writer: CaptureWriter,
        analyzer: Analyzer,
        redactor: Redactor,
        *,
        findings_path: Path | None = None,
        tell: Callable[[Finding], None] = lambda finding: None,
    ) -> None:
        self._writer = writer
        self._analyzer = analyzer
        self._redactor = redactor
        self._tell = tell
        self._findings = findings_path.open("wb") if findings_path else None
        self._connections: dict[str, Connection] = {}
        self._seq = 0
        self._at_us = 0
        self._first_ns: int | None = None
        self._last_ns = 0
        self._wall_us = 0
        self._stats_ns = 0
        self._told: dict[str, Any] = {}
        self._said: dict[str, Any] = {}
        self.connections = 0
        self.stations: set[str] = set()
        self.recorded_chunks = 0
        self.recorded_bytes = 0
        self.lost_chunks: Counter[str] = Counter()
        self.lost_bytes: Counter[str] = Counter()
        self.faults = 0
        self.severities: Counter[str] = Counter()

    def opened(self, conn: str, facts: Mapping[str, Any], wall_ns: int, mono_ns: int) -> None:
        """The handshake ended with 101, or (``late``) bytes came of a socket nobody saw open."""
        station = station_of(str(facts.get("path", "")))
        options = TapOptions(
            deflate=parse_extensions(facts.get("extensions")), late=bool(facts.get("late", False))
        )
        self._connections[conn] = Connection(Tap(options), station)
        self.connections += 1
        self.stations.add(station)
        self._frame(Kind.OPEN, conn, wall_ns, mono_ns, station=station, facts=_handshake(facts, station))

    def refused(self, conn: str, facts: Mapping[str, Any], wall_ns: int, mono_ns: int) -> None:
        """The handshake ended without 101."""
        station = station_of(str(facts.get("path", "")))
        self._frame(Kind.REFUSED, conn, wall_ns, mono_ns, station=station, facts=_handshake(facts, station))

    def chunk(self, conn: str, sender: Side, data: bytes, wall_ns: int, mono_ns: int) -> None:
        """One read of the socket, as it passed."""
        connection = self._connection(conn, wall_ns, mono_ns)
        self.recorded_chunks += 1
        self.recorded_bytes += len(data)
        for item in connection.tap.feed(sender, data, Stamp(wall_ns, mono_ns)):
            self._item(conn, connection, item)

    def lost(
        self, conn: str, sender: Side, reason: str, chunks: int, size: int, wall_ns: int, mono_ns: int
    ) -> None:
        """So much passed and was not handed over: a gap, and a reset point for every opinion."""
        connection = self._connection(conn, wall_ns, mono_ns)
        self.lost_chunks[reason] += chunks
        self.lost_bytes[reason] += size
        facts = {"reason": reason, "chunks": chunks, "bytes": size}
        self._frame(Kind.GAP, conn, wall_ns, mono_ns, sender=sender, station=connection.station, facts=facts)
        for item in connection.tap.lost(sender, size, Stamp(wall_ns, mono_ns)):
            self._item(conn, connection, item)

    def ended(self, conn: str, facts: Mapping[str, Any], wall_ns: int, mono_ns: int) -> None:
        """The socket is gone. Without a Close frame it ended abruptly; who went first is then unknown."""
        connection = self._connections.pop(conn, None)
        if connection is None:
            return
        for item in connection.tap.finish(Stamp(wall_ns, mono_ns)):
            self._item(conn, connection, item)
        first = connection.closed_by[0].value if connection.closed_by else "unknown"
        said = {"abrupt": not connection.closed_by, "by": first, **facts}
        self._frame(Kind.END, conn, wall_ns, mono_ns, station=connection.station, facts=said)

    def faulted(self, where: str, what: str, count: int, wall_ns: int, mono_ns: int) -> None:
        """A fault of ours, in the addon or here: counted, written down, survived."""
        self.faults += count
        facts = {"where": where, "what": what, "count": count}
        self._frame(Kind.FAULT, "", wall_ns, mono_ns, facts=facts)

    def tick(self, wall_ns: int, mono_ns: int, counters: Mapping[str, Any]) -> None:
        """The addon is alive: fire what is due, commit, and every 10 s of traffic write the counters."""
        self._told = dict(counters)
        self._clock(wall_ns, mono_ns)
        self._judge(lambda: self._analyzer.handle_timer(self._wall_us))
        if mono_ns - self._stats_ns >= STATS_NS and self._told != self._said:
            self._stats_ns, self._said = mono_ns, dict(self._told)
            self._frame(Kind.STATS, "", wall_ns, mono_ns, facts={**self._told, "lines": self._writer.lines})
        self._writer.commit(mono_ns)

    def commit(self, mono_ns: int) -> None:
        """Write down and sync what is buffered, if the last time was long enough ago."""
        self._writer.commit(mono_ns)

    def finish(self, wall_ns: int, mono_ns: int) -> Summary:
        """End the recording: sockets still open end with the proxy; close the capture."""
        for conn in list(self._connections):
            self.ended(conn, {"by": "proxy", "abrupt": True}, wall_ns, mono_ns)
        self._judge(self._analyzer.finish)
        summary = self._summary()
        self._writer.close(self._at_us, msgspec.to_builtins(summary))
        if self._findings:
            self._findings.close()
        return summary

    def _summary(self) -> Summary:
        told = self._told
        lost_chunks, lost_bytes = Counter(self.lost_chunks), Counter(self.lost_bytes)
        lost_chunks |= Counter(told.get("dropped_chunks", {}))
        lost_bytes |= Counter(told.get("dropped_bytes", {}))
        # the proxy's own count, or ours where its last words did not arrive
        seen_chunks = max(told.get("seen_chunks", 0), self.recorded_chunks + lost_chunks.total())
        seen_bytes = max(told.get("seen_bytes", 0), self.recorded_bytes + lost_bytes.total())
        if missing := seen_chunks - self.recorded_chunks - lost_chunks.total():
            lost_chunks["recorder_down"] += missing
            lost_bytes["recorder_down"] += seen_bytes - self.recorded_bytes - lost_bytes.total()
        return Summary(
            lines=self._writer.lines,
            connections=self.connections,
            stations=len(self.stations),
            lasted_s=(self._last_ns - (self._first_ns or self._last_ns)) / 1e9,
            seen_chunks=seen_chunks,
            seen_bytes=seen_bytes,
            recorded_chunks=self.recorded_chunks,
            recorded_bytes=self.recorded_bytes,
            dropped_chunks=dict(lost_chunks),
            dropped_bytes=dict(lost_bytes),
            faults=self.faults,
            findings=dict(self.severities),
        )

    def _connection(self, conn: str, wall_ns: int, mono_ns: int) -> Connection:
        if conn not in self._connections:
            self.opened(conn, {"late": True}, wall_ns, mono_ns)
        return self._connections[conn]

    def _item(self, conn: str, connection: Connection, item: Any) -> None:
        if item.kind is Kind.CLOSE:
            connection.closed_by.append(item.sender)
        self._frame(
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
    ) -> None:
        self._clock(wall_ns, mono_ns)
        self._at_us = self._stamp_us(wall_ns)
        self._seq += 1
        frame = Frame(
            seq=self._seq,
            at_us=self._at_us,
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
        self._writer.write(frame)
        self._judge(lambda: self._analyzer.receive(frame))

    def _stamp_us(self, wall_ns: int) -> int:
        """The third decision: never earlier than the last frame or the last wake-up the analyzer saw."""
        return max(wall_ns // 1000, self._at_us, self._analyzer.seen_us)

    def _redacted(self, frame: Frame) -> Frame:
        """The frame as it may be stored; bytes that cannot be read cannot be redacted, so only counted."""
        try:
            unread = frame.data is not None and frame.kind is not Kind.TEXT
            if unread and not self._redactor.keep_id_tags:
                hidden = {"bytes": len(frame.data or b""), **frame.facts, "hidden": True}
                frame = msgspec.structs.replace(frame, data=None, facts=hidden)
            return self._redactor.frame(frame)
        except Exception as error:  # a bug of ours must not stop the recording, nor leak
            self.faults += 1
            facts = {"where": "redact", "what": type(error).__name__, "count": 1}
            return msgspec.structs.replace(frame, kind=Kind.FAULT, text=None, data=None, facts=facts)

    def _judge(self, ask: Callable[[], list[Finding]]) -> None:
        try:
            findings = ask()
        except Exception as error:  # record first: the capture goes on without the opinion
            self.faults += 1
            line = {"internal_error": type(error).__name__, "seq": self._seq}
            if self._findings:
                self._findings.write(_encode(line) + b"\n")
            return
        for finding in findings:
            self.severities[finding.severity] += 1
            if self._findings:
                self._findings.write(_encode(finding) + b"\n")
            self._tell(finding)
        if findings and self._findings:
            self._findings.flush()

    def _clock(self, wall_ns: int, mono_ns: int | None) -> None:
        self._wall_us = max(self._wall_us, wall_ns // 1000)
        if mono_ns is not None:
            self._first_ns = mono_ns if self._first_ns is None else self._first_ns
            self._last_ns = max(self._last_ns, mono_ns)


def station_of(path: str) -> str:
    """The identity in a handshake's path: its last segment, percent-decoded (OCPP-J 1.6 §3.1.1)."""
    segments = [part for part in path.partition("?")[0].split("/") if part]
    return unquote(segments[-1]) if segments else ""


def _handshake(facts: Mapping[str, Any], station: str) -> dict[str, Any]:
    """The facts of a handshake without its secrets; whether the Basic user is the identity is said first."""
    said = dict(facts)
    if "request_headers" in said:
        said["request_headers"] = redacted_headers(said["request_headers"])
    if (user := said.pop("basic_user", None)) is not None:
        said["auth"] = {"scheme": "Basic", "user_is_identity": user == station}
    return said
