"""The WebSocket frame header, the mask, and a name for everything that breaks RFC 6455."""

from enum import StrEnum
from typing import NamedTuple

from twin.model import Side

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA  # RFC 6455 §5.2
KNOWN_OPCODES = frozenset({CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})
MAX_HEADER_BYTES = 14
MAX_CONTROL_BYTES = 125  # RFC 6455 §5.5
RSV1 = 0b100  # RFC 7692 §6: the message is compressed

_EXTENDED_BYTES = {126: 2, 127: 8}  # RFC 6455 §5.2: bytes of length that follow
_SMALLEST = {0: 0, 2: 126, 8: 1 << 16}  # the first length that needs so many bytes
_XOR = [bytes(byte ^ key for byte in range(256)) for key in range(256)]
_ONE_INTEGER_BYTES = 2048  # up to here one long integer is the fastest way to unmask


class Breach(StrEnum):
    """What a peer did against the RFC; these words stand in ``wire.violations``."""

    UNMASKED = "unmasked client frame"  # RFC 6455 §5.1
    MASKED = "masked server frame"  # RFC 6455 §5.1
    RESERVED_BITS = "reserved bits"  # RFC 6455 §5.2, RFC 7692 §6.1
    RESERVED_OPCODE = "reserved opcode"  # RFC 6455 §5.2
    NON_MINIMAL_LENGTH = "non-minimal length"  # RFC 6455 §5.2
    LENGTH_OVER_63_BITS = "length over 63 bits"  # RFC 6455 §5.2
    CONTINUATION_WITHOUT_START = "continuation without start"  # RFC 6455 §5.4
    START_INSIDE_MESSAGE = "new message inside a message"  # RFC 6455 §5.4
    FRAGMENTED_CONTROL = "fragmented control frame"  # RFC 6455 §5.5
    LONG_CONTROL = "control frame over 125 bytes"  # RFC 6455 §5.5
    ONE_BYTE_CLOSE = "close of one byte"  # RFC 6455 §5.5.1
    AFTER_CLOSE = "data after close"  # RFC 6455 §5.5.1
    RESERVED_CLOSE_CODE = "reserved close code"  # RFC 6455 §7.4
    INVALID_UTF8 = "invalid UTF-8"  # RFC 6455 §8.1


class Header(NamedTuple):
    """A frame header. ``rsv`` has RSV1 as the highest of its three bits, ``mask`` is empty where there is
    none, ``size`` is the header itself in bytes, ``extended`` the part of it that is extended length."""

    fin: bool
    rsv: int
    opcode: int
    mask: bytes
    length: int
    size: int
    extended: int


def parse_header(data: bytes, at: int = 0) -> Header | None:
    """The header that starts at ``at``; ``None`` where more bytes are needed (RFC 6455 §5.2)."""
    have = len(data) - at
    if have < 2:
        return None
    first, second = data[at], data[at + 1]
    length = second & 0x7F
    extended = _EXTENDED_BYTES.get(length, 0)
    size = 2 + extended + (4 if second & 0x80 else 0)
    if have < size:
        return None
    if extended:
        length = int.from_bytes(data[at + 2 : at + 2 + extended])
    mask = data[at + size - 4 : at + size] if second & 0x80 else b""
    return Header(first >= 0x80, first >> 4 & 0b111, first & 0xF, mask, length, size, extended)


def header_breaches(header: Header, sender: Side, *, deflate: bool) -> list[Breach]:
    """What is wrong with a header by itself. ``deflate``: permessage-deflate was agreed."""
    found: list[Breach] = []
    if bool(header.mask) != (sender is Side.STATION):
        found.append(Breach.UNMASKED if sender is Side.STATION else Breach.MASKED)
    if header.rsv and not (deflate and header.rsv == RSV1 and header.opcode in (TEXT, BINARY)):
        found.append(Breach.RESERVED_BITS)
    if header.opcode not in KNOWN_OPCODES:
        found.append(Breach.RESERVED_OPCODE)
    if header.length < _SMALLEST[header.extended]:
        found.append(Breach.NON_MINIMAL_LENGTH)
    if header.length >> 63:
        found.append(Breach.LENGTH_OVER_63_BITS)
    if header.opcode >= CLOSE:
        if not header.fin:
            found.append(Breach.FRAGMENTED_CONTROL)
        if header.length > MAX_CONTROL_BYTES:
            found.append(Breach.LONG_CONTROL)
    return found


def may_be_sent(close_code: int) -> bool:
    """Whether RFC 6455 §7.4 and its registry let this code stand in a Close frame."""
    return 1000 <= close_code <= 1003 or 1007 <= close_code <= 1014 or 3000 <= close_code <= 4999


def unmask(data: bytes, mask: bytes, position: int = 0) -> bytes:
    """Undo the mask of bytes that start at ``position`` of their frame's payload (RFC 6455 §5.3)."""
    size = len(data)
    if position & 3:
        mask = mask[position & 3 :] + mask[: position & 3]
    if size <= _ONE_INTEGER_BYTES:
        key = int.from_bytes((mask * ((size + 3) >> 2))[:size])
        return (int.from_bytes(data) ^ key).to_bytes(size)
    out = bytearray(size)
    for lane in range(4):
        out[lane::4] = data[lane::4].translate(_XOR[mask[lane]])
    return bytes(out)


def plausible_start(chunk: bytes, sender: Side, *, deflate: bool, max_bytes: int) -> bool:
    """Whether bytes of unknown place look like the start of a frame of ``sender``.

    A text must start with ``[`` (OCPP-J 1.6 §4.2) and may go on in later chunks. Any other frame says too
    little about itself, so it must end in this chunk, and what follows it must look like a frame as well.
    """
    at = 0
    while at < len(chunk):
        header = parse_header(chunk, at)
        if header is None or header_breaches(header, sender, deflate=deflate):
            return False
        if header.opcode == CONTINUATION and at == 0:
            return False
        payload = at + header.size
        if header.opcode == TEXT and not header.rsv:
            bracket = unmask(b"[", header.mask) if header.mask else b"["
            return header.length <= max_bytes and chunk[payload : payload + 1] == bracket
        at = payload + header.length
    return 0 < at == len(chunk)
