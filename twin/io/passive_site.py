"""What the connections of a passive recording share, and what tells their protocols apart."""

from collections.abc import Callable
from enum import StrEnum

import msgspec

from twin.io.handover import Item
from twin.io.passive_tcp import Budget
from twin.model import Side
from twin.protocol.wsheader import plausible_start

type Endpoint = tuple[str, int]  # address and port

NOT_CAPTURED, LATE_START, TLS = "not_captured", "late_start", "tls"
_TEXT, _DEFLATED_TEXT = b"\x81", b"\xc1"  # FIN, text
_MOST_TEXT_BYTES = 16 << 20
_MAX_SERVERS = 10_000


class Phase(StrEnum):
    """How far a connection has come."""

    REQUEST = "request"  # its client's request is being read
    ANSWER = "answer"  # the answer to it is being read
    BODY = "body"  # the body of an answer that was no 101
    FRAMES = "frames"  # the 101 has passed, or the connection is late and speaks OCPP
    LATE = "late"  # open before anybody listened; what it speaks is not known
    TLS = "tls"
    OTHER = "other"  # neither WebSocket nor TLS: no business of ours


WHY_UNREAD = {
    Phase.TLS: "TLS, not readable",
    Phase.LATE: "open before the capture began, no OCPP seen",
    Phase.OTHER: "neither WebSocket nor TLS",
}


class Books(msgspec.Struct):
    """What passed so far, over all connections. ``seen`` is recorded or dropped, with its reason."""

    seen_chunks: int = 0
    seen_bytes: int = 0
    connections: int = 0  # that have a name in the capture
    tls: int = 0
    tls_bytes: int = 0
    other: int = 0
    other_bytes: int = 0
    undecided: int = 0
    undecided_bytes: int = 0

    def passed_by(self) -> list[tuple[int, int, str]]:
        """Connections and bytes that were not read, and why; what did not occur is left out."""
        rows = (
            (self.tls, self.tls_bytes, WHY_UNREAD[Phase.TLS]),
            (self.undecided, self.undecided_bytes, WHY_UNREAD[Phase.LATE]),
            (self.other, self.other_bytes, WHY_UNREAD[Phase.OTHER]),
        )
        return [row for row in rows if row[0]]


class Site(msgspec.Struct):
    """What all connections share: items to be handed over, books, and which endpoints are known as a CSMS."""

    items: list[Item] = []
    books: Books = msgspec.field(default_factory=Books)
    servers: set[Endpoint] = set()
    say: Callable[[str], None] = lambda text: None
    budget: Budget = msgspec.field(default_factory=Budget)

    def knows(self, server: Endpoint) -> None:
        """That a WebSocket was opened there."""
        if len(self.servers) < _MAX_SERVERS:
            self.servers.add(server)

    def name(self) -> str:
        """The next connection's."""
        self.books.connections += 1
        return f"c{self.books.connections}"


def speaks_ocpp(data: bytes, sender: Side, *, deflate: bool) -> bool:
    """Only a text that begins like OCPP is evidence: any other bytes may be anything."""
    text = data[:1] == _TEXT or (deflate and data[:1] == _DEFLATED_TEXT)
    return text and plausible_start(data, sender, deflate=deflate, max_bytes=_MOST_TEXT_BYTES)


def is_tls_record(data: bytes) -> bool:
    """A TLS record's header: a known type, version 3.x, a length that fits (RFC 8446 §5.1)."""
    return len(data) >= 5 and 20 <= data[0] <= 23 and data[1] == 3 and data[2] <= 4 and data[3] <= 0x48
