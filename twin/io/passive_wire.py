"""One TCP connection seen from beside: handshake and WebSocket bytes, as the items that the addon hands over.

What cannot be read is told apart and counted: TLS, other protocols, and connections that were open before
anybody listened, until something shows that OCPP is spoken on them.
"""

from typing import Any

from twin.io.handover import CSMS, STATION
from twin.io.passive_http import Head, handshake, looks_like_http, read_head
from twin.io.passive_site import (
    LATE_START,
    NOT_CAPTURED,
    TLS,
    WHY_UNREAD,
    Endpoint,
    Phase,
    Site,
    is_tls_record,
    speaks_ocpp,
)
from twin.io.passive_tcp import Half, Piece, Stamp
from twin.model import Side

_MAX_EARLY_BYTES = 1 << 20  # what a client sends before the answer to its request
_MAX_EXCHANGES = 32  # requests on one connection before its upgrade: challenges, not a web site


class Wire:
    """One connection. ``client`` is known from its SYN, its request, or what its frames look like."""

    def __init__(self, site: Site, ends: tuple[Endpoint, Endpoint], client: Endpoint | None) -> None:
        self.site = site
        self.halves = {end: Half(site.budget) for end in ends}
        self.client = client
        self.phase = Phase.REQUEST if client else Phase.LATE
        self.first_gone: Endpoint | None = None  # whose FIN or RST came first
        self.how = ""
        self.fins: set[Endpoint] = set()
        self.began_with: int | None = None  # the number of its SYN, if that was seen
        self.first_segment = self.segments = 0  # the first one's place among all that were read, and how many
        self.name = ""
        self._request: Head | None = None
        self._head = bytearray()  # of the request or the answer, as far as it has come
        self._early: list[Piece] = []  # the client's, while the answer is not there
        self._early_bytes = 0
        self._kept_bytes = 0  # of both, as the budget knows it
        self._body_left = 0
        self._exchanges = 0
        self._before = {end: [0, 0] for end in ends}  # chunks and bytes before anything was decided

    @property
    def reassembled(self) -> bool:
        """Whether the order of its bytes matters to anybody."""
        return self.phase not in (Phase.TLS, Phase.OTHER)

    @property
    def unread(self) -> str:
        """Why nothing of what passed here became part of the recording, "" where something did."""
        if self.phase in WHY_UNREAD:
            return WHY_UNREAD[self.phase]
        return "" if self.name else "no WebSocket was asked for"

    @property
    def gone(self) -> bool:
        """Both sides have closed, and everything before that was given out or will never be."""
        if len(self.fins) < len(self.halves):
            return False
        return not self.reassembled or all(half.finished or half.farewell for half in self.halves.values())

    def side(self, end: Endpoint) -> str:
        """``"station"`` or ``"csms"``, "unknown" of a connection that is late."""
        if self.client is None:
            return "unknown"
        return STATION if end == self.client else CSMS

    def passed_over(self, end: Endpoint, size: int) -> None:
        """Bytes that are not read."""
        self._before[end][0] += 1
        self._before[end][1] += size
        if self.phase is Phase.TLS:
            self.site.books.tls_bytes += size
        else:
            self.site.books.other_bytes += size

    def take(self, end: Endpoint, pieces: list[Piece]) -> None:
        """What came next from one end, in order."""
        for piece in pieces:
            if not self.reassembled:
                self.passed_over(end, len(piece.data) + piece.lost)
            elif self.phase is Phase.FRAMES:
                self._frames(end, piece)
            elif self.phase is Phase.LATE:
                self._late(end, piece)
            elif end == self.client:
                self._from_client(end, piece)
            else:
                self._from_server(end, piece)
            if self._head or self._early or self._kept_bytes:
                self._account(piece.stamp)

    def _account(self, stamp: Stamp) -> None:
        kept = len(self._head) + self._early_bytes
        self.site.budget.used += kept - self._kept_bytes
        self._kept_bytes = kept
        if kept and self.site.budget.spent:
            self._is_other(stamp)

    def end(self, stamp: Stamp, facts: dict[str, Any] | None = None) -> None:
        """The connection is over, or nobody looks any more: then ``facts`` say so."""
        books = self.site.books
        self.site.budget.used -= self._kept_bytes
        if self.phase is Phase.FRAMES:
            by = self.side(self.first_gone) if self.first_gone else "unknown"
            said = facts or ({"by": by} | ({"how": self.how} if self.how else {}))
            self._say("end", said, stamp)
        elif self.phase is Phase.TLS:
            (_, sent), (_, received) = self._before.values()
            chunks = sum(count for count, _ in self._before.values())
            gap = {"reason": TLS, "chunks": chunks, "bytes": sent + received}
            self._say("gap", gap, stamp)
        elif self.phase is Phase.ANSWER and self._request is not None and self._request.upgrades:
            self._refused({"by": "unknown", "why": self.how or "no answer was seen"}, stamp)
        elif self.phase is Phase.LATE and any(size for _, size in self._before.values()):
            books.undecided += 1
            books.undecided_bytes += sum(size for _, size in self._before.values())

    def refused_connection(self, stamp: Stamp) -> None:
        """A SYN that a CSMS answered with RST."""
        self._refused({"by": CSMS, "why": "TCP connection refused"}, stamp)

    # ---- handshake

    def _from_client(self, end: Endpoint, piece: Piece) -> None:
        if self.phase is not Phase.REQUEST:
            self._early.append(piece)
            self._early_bytes += len(piece.data)
            if self._early_bytes > _MAX_EARLY_BYTES:
                self._is_other(piece.stamp)
            return
        if piece.lost:
            self._attach_late(end, piece)
            return
        self._head += piece.data
        if b"\x16\x03".startswith(self._head[:2]):  # a TLS handshake record (RFC 8446 §5.1)
            if len(self._head) > 1:
                self._is_tls()
            return
        if not looks_like_http(bytes(self._head[:17])):
            self._is_other(piece.stamp)
            return
        head = self._read_head(piece.stamp)
        if head is None:
            return
        if not head.path or head.body_bytes is None or (head.body_bytes and head.upgrades):
            self._is_other(piece.stamp)
            return
        self._request, self.phase = head, Phase.ANSWER
        rest = bytes(self._head[head.size + head.body_bytes :])
        self._head = bytearray()
        if rest:
            self._early, self._early_bytes = [Piece(rest, 0, piece.stamp)], len(rest)

    def _from_server(self, end: Endpoint, piece: Piece) -> None:
        wanted = self._request is not None and self._request.upgrades
        if piece.lost and self.phase is Phase.ANSWER and wanted:
            self._open(handshake(self._request, None) | {"late": True}, piece.stamp)
            self.take(end, [piece])
            self._take_early()
        elif piece.lost or self.phase is Phase.REQUEST:
            self._attach_late(end, piece)
        elif self.phase is Phase.BODY:
            self._skip_body(end, piece)
        else:
            self._head += piece.data
            self._answered(end, piece.stamp)

    def _answered(self, end: Endpoint, stamp: Stamp) -> None:
        """The answer to the request, once its head is whole; interim answers before it are passed over."""
        head = self._read_head(stamp)
        while head is not None and 100 <= head.status < 200 and head.status != 101:
            del self._head[: head.size]
            head = self._read_head(stamp)
        if head is None or self._request is None:
            return
        rest = Piece(bytes(self._head[head.size :]), 0, stamp)
        self._head = bytearray()
        if head.status == 101 and self._request.upgrades:
            self.site.knows(end)
            self._open(handshake(self._request, head), stamp)
            self.take(end, [rest])
            self._take_early()
            return
        if self._request.upgrades:
            self._refused({"status": head.status, "by": CSMS}, stamp, head)
        self._request = None
        self._exchanges += 1
        if head.body_bytes is None or not head.status or self._exchanges > _MAX_EXCHANGES:
            self._is_other(stamp)  # a body without a length ends with the connection
            return
        self._body_left, self.phase = head.body_bytes, Phase.BODY
        self.take(end, [rest])

    def _skip_body(self, end: Endpoint, piece: Piece) -> None:
        skipped = min(self._body_left, len(piece.data))
        self._body_left -= skipped
        if not self._body_left:
            self.phase = Phase.REQUEST
            self._take_early()
            if len(piece.data) > skipped:
                self.take(end, [Piece(piece.data[skipped:], 0, piece.stamp)])

    def _read_head(self, stamp: Stamp) -> Head | None:
        try:
            return read_head(self._head)
        except ValueError:
            self._is_other(stamp)
            return None

    def _take_early(self) -> None:
        early, self._early, self._early_bytes = self._early, [], 0
        if self.client is not None:
            self.take(self.client, early)

    # ---- late

    def _attach_late(self, end: Endpoint, piece: Piece) -> None:
        """Its beginning was not captured whole: what it speaks must show in what follows."""
        self.phase, self._head = Phase.LATE, bytearray()
        self.take(end, [piece])

    def _late(self, end: Endpoint, piece: Piece) -> None:
        """Decide what a connection speaks whose beginning nobody saw."""
        other = next(one for one in self.halves if one != end)
        if piece.data[:4] == b"GET " and looks_like_http(piece.data):
            self.client, self.phase = end, Phase.REQUEST  # its SYN only was missed
            self.take(end, [piece])
            return
        known = self.site.servers & {end, other}
        client = self.client or (None if not known else other if end in known else end)
        if client in (None, end) and speaks_ocpp(piece.data, Side.STATION, deflate=bool(known)):
            self.client = end
            self._decided(end, piece)
        elif client in (None, other) and speaks_ocpp(piece.data, Side.CSMS, deflate=bool(known)):
            self.client = other
            self._decided(end, piece)
        elif is_tls_record(piece.data):
            self._is_tls()
            self.passed_over(end, len(piece.data))
        else:
            self._before[end][0] += 1
            self._before[end][1] += len(piece.data) + piece.lost

    def _decided(self, end: Endpoint, piece: Piece) -> None:
        self._open(handshake(self._request, None) | {"late": True}, piece.stamp)
        for one, (chunks, size) in self._before.items():
            if size:
                self._lost(one, LATE_START, chunks, size, piece.stamp)
        self.take(end, [piece])

    # ---- what is handed over

    def _frames(self, end: Endpoint, piece: Piece) -> None:
        if piece.lost:
            self._lost(end, NOT_CAPTURED, 1, piece.lost, piece.stamp)
        if piece.data:
            books, stamp = self.site.books, piece.stamp
            books.seen_chunks += 1
            books.seen_bytes += len(piece.data)
            item = ("data", self.name, self.side(end), piece.data, stamp.wall_ns, stamp.mono_ns)
            self.site.items.append(item)

    def _lost(self, end: Endpoint, reason: str, chunks: int, size: int, stamp: Stamp) -> None:
        books, at = self.site.books, (stamp.mono_ns, stamp.wall_ns, stamp.mono_ns)
        books.seen_chunks += chunks
        books.seen_bytes += size
        self.site.items.append(("lost", self.name, self.side(end), reason, chunks, size, *at))

    def _open(self, facts: dict[str, Any], stamp: Stamp) -> None:
        self.phase = Phase.FRAMES
        self._say("open", facts, stamp)

    def _refused(self, facts: dict[str, Any], stamp: Stamp, response: Head | None = None) -> None:
        self._say("refused", handshake(self._request, response) | facts, stamp)

    def _say(self, what: str, facts: dict[str, Any], stamp: Stamp) -> None:
        self.name = self.name or self.site.name()
        self.site.items.append((what, self.name, facts, stamp.wall_ns, stamp.mono_ns))

    def _is_tls(self) -> None:
        self.phase = Phase.TLS
        self.site.books.tls += 1
        self._pass_over_head()
        self.site.say("a TLS connection (wss://) cannot be read from beside; it is counted, not recorded")

    def _is_other(self, stamp: Stamp) -> None:
        if self.phase is Phase.ANSWER and self._request is not None and self._request.upgrades:
            self._refused({"by": "unknown", "why": "its answer is no HTTP/1.1"}, stamp)
        self.phase = Phase.OTHER
        self.site.books.other += 1
        self._pass_over_head()

    def _pass_over_head(self) -> None:
        held = len(self._head) + self._early_bytes
        self._head, self._early, self._early_bytes = bytearray(), [], 0
        self.site.budget.used -= self._kept_bytes
        self._kept_bytes = 0
        for half in self.halves.values():
            half.forget()
        if self.client is not None and held:
            self.passed_over(self.client, held)
