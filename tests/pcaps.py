"""Capture files made by hand: TCP segments over IPv4 and IPv6, in VLANs or cooked, as pcap and as pcapng."""

import ipaddress
import struct
from collections.abc import Iterable

import msgspec

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
ETHERNET, RAW, COOKED = 1, 101, 113
STATION, CSMS = ("10.0.0.1", 50_000), ("10.0.0.2", 9_000)
START_US = 1_790_000_000_000_000


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """One TCP segment and when it was captured."""

    at_us: int = START_US
    source: tuple[str, int] = STATION
    target: tuple[str, int] = CSMS
    seq: int = 0
    ack: int = 0
    flags: int = ACK
    data: bytes = b""

    def packet(self) -> bytes:
        """From the IP header on; checksums are nobody's business here."""
        number = self.seq & 0xFFFFFFFF, self.ack & 0xFFFFFFFF
        ports = self.source[1], self.target[1]
        tcp = struct.pack(">HHIIBBHHH", *ports, *number, 0x50, self.flags, 65_535, 0, 0) + self.data
        source, target = (ipaddress.ip_address(end[0]).packed for end in (self.source, self.target))
        if len(source) == 16:
            return struct.pack(">IHBB", 6 << 28, len(tcp), 6, 64) + source + target + tcp
        return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + source + target + tcp

    def frame(self, link: int = ETHERNET, vlans: tuple[int, ...] = ()) -> bytes:
        """With the header of its link, and VLAN tags (IEEE 802.1Q)."""
        packet = self.packet()
        kind = 0x86DD if packet[0] >> 4 == 6 else 0x0800
        if link == RAW:
            return packet
        if link == COOKED:
            return struct.pack(">HHH8sH", 0, 1, 6, bytes(8), kind) + packet
        tags = b"".join(struct.pack(">HH", 0x8100, vlan) for vlan in vlans)
        return bytes(12) + tags + struct.pack(">H", kind) + packet


def pcap(
    segments: Iterable[Segment],
    *,
    link: int = ETHERNET,
    vlans: tuple[int, ...] = (),
    order: str = "<",
    nanoseconds: bool = False,
    snaplen: int = 262_144,
) -> bytes:
    """A pcap file."""
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    file = bytearray(struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, snaplen, link))
    for one in segments:
        frame = one.frame(link, vlans)
        seconds, us = divmod(one.at_us, 10**6)
        kept = frame[:snaplen]
        fraction = us * 1000 if nanoseconds else us
        file += struct.pack(f"{order}IIII", seconds, fraction, len(kept), len(frame)) + kept
    return bytes(file)


def pcapng(segments: Iterable[Segment], *, order: str = "<", tsresol: int = 6) -> bytes:
    """A pcapng file with one interface."""

    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        length = struct.pack(f"{order}I", 12 + len(body))
        return struct.pack(f"{order}I", kind) + length + body + length

    file = bytearray(block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1)))
    option = struct.pack(f"{order}HHB3x", 9, 1, tsresol) + bytes(4)
    file += block(1, struct.pack(f"{order}HHI", ETHERNET, 0, 0) + option)
    for one in segments:
        units = one.at_us * 10 ** (tsresol - 6)
        frame = one.frame()
        head = struct.pack(f"{order}IIIII", 0, units >> 32, units & 0xFFFFFFFF, len(frame), len(frame))
        file += block(6, head + frame)
    return bytes(file)


class Talk:
    """Both ends of one TCP connection, writing down what they send."""

    def __init__(
        self,
        station: tuple[str, int] = STATION,
        csms: tuple[str, int] = CSMS,
        *,
        at_us: int = START_US,
        numbers: tuple[int, int] = (1_000, 2_000),
    ) -> None:
        self.at_us = at_us
        self.segments: list[Segment] = []
        self._ends = (station, csms)
        self._next = list(numbers)

    def station(self, data: bytes = b"", flags: int = ACK | PSH, after_us: int = 1_000) -> None:
        self._send(0, data, flags, after_us)

    def csms(self, data: bytes = b"", flags: int = ACK | PSH, after_us: int = 1_000) -> None:
        self._send(1, data, flags, after_us)

    def connect(self) -> None:
        self.station(flags=SYN)
        self.csms(flags=SYN | ACK)
        self.station(flags=ACK)

    def upgrade(self, path: str = "/ocpp/CP7", more: str = "", answer: str = "") -> None:
        self.connect()
        self.station(request(path, more))
        self.csms(ANSWER.replace("\r\n\r\n", f"\r\n{answer}\r\n").encode() if answer else ANSWER.encode())

    def goodbye(self) -> None:
        self.station(flags=FIN | ACK)
        self.csms(flags=FIN | ACK)
        self.station(flags=ACK)

    def _send(self, end: int, data: bytes, flags: int, after_us: int) -> None:
        self.at_us += after_us
        self.segments.append(
            Segment(
                at_us=self.at_us,
                source=self._ends[end],
                target=self._ends[1 - end],
                seq=self._next[end],
                ack=self._next[1 - end] if flags & ACK else 0,
                flags=flags,
                data=data,
            )
        )
        self._next[end] += len(data) + bool(flags & (SYN | FIN))


def request(path: str, more: str = "") -> bytes:
    """A station's handshake."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: csms.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: ocpp1.6\r\n{more}\r\n"
    ).encode()


ANSWER = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Protocol: ocpp1.6\r\n\r\n"
)
