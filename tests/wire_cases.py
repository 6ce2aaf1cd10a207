"""Frames built by hand, and the sixteen ways to break RFC 6455 that a witness must relay and record."""

from typing import NamedTuple

from twin.model import Kind, Side
from twin.protocol.tap import Item

MASK = b"\x37\xfa\x21\x3d"  # RFC 6455 §5.7
CALL = b'[2,"1","Heartbeat",{}]'


def frame(
    opcode: int,
    payload: bytes,
    *,
    mask: bytes | None,
    fin: bool = True,
    rsv: int = 0,
    width: int | None = None,
    declared: int | None = None,
) -> bytes:
    """One frame on the wire. ``rsv``: three bits, RSV1 is 4. ``width``: bytes of extended length (0, 2, 8),
    else the fewest. ``declared``: the length the header claims, else the true one."""
    length = len(payload) if declared is None else declared
    if width is None:
        width = 0 if length < 126 else 2 if length < 1 << 16 else 8
    short = {0: length, 2: 126, 8: 127}[width]
    head = bytes([fin << 7 | rsv << 4 | opcode, (0x80 if mask else 0) | short])
    head += length.to_bytes(width) if width else b""
    if not mask:
        return head + payload
    return head + mask + bytes(byte ^ mask[place & 3] for place, byte in enumerate(payload))


def mask_of(sender: Side) -> bytes | None:
    """The mask that this side must use."""
    return MASK if sender is Side.STATION else None


class Said(NamedTuple):
    """What an item says, without clocks: ``word`` is the text, the code of a Close or why it is undecodable;
    for other kinds the length of the data."""

    kind: Kind
    word: str | int | None
    violations: tuple[str, ...] = ()


def said(item: Item) -> Said:
    word: str | int | None = len(item.data or b"")
    if item.kind is Kind.TEXT:
        word = item.text
    elif item.kind is Kind.CLOSE:
        word = item.facts["code"]
    elif item.kind is Kind.UNDECODABLE:
        word = item.facts["why"]
    return Said(item.kind, word, tuple(item.facts["wire"].get("violations", ())))


class Case(NamedTuple):
    """``wire`` is all that ``sender`` sends after the 101; ``says`` is what the tap then tells."""

    name: str
    sender: Side
    wire: bytes
    says: tuple[Said, ...]


def _cases(sender: Side) -> tuple[Case, ...]:
    mask = mask_of(sender)
    wrong_mask = None if mask else MASK
    unmasked = "unmasked client frame" if mask else "masked server frame"
    call = frame(0x1, CALL, mask=mask)
    text = Said(Kind.TEXT, CALL.decode())

    def case(name: str, wire: bytes, *says: Said) -> Case:
        return Case(name, sender, wire, says)

    def bad(why: str, *violations: str) -> Said:
        return Said(Kind.UNDECODABLE, why, violations)

    return (
        case("invalid UTF-8", frame(0x1, b"[\xff]", mask=mask) + call, bad("utf8", "invalid UTF-8"), text),
        case("surrogate", frame(0x1, b"\xed\xa0\x80", mask=mask) + call, bad("utf8", "invalid UTF-8"), text),
        case(
            "RSV bit",
            frame(0x1, CALL, mask=mask, rsv=2) + call,
            text._replace(violations=("reserved bits",)),
            text,
        ),
        case("unknown opcode", frame(0x3, b"?", mask=mask) + call, bad("opcode", "reserved opcode"), text),
        case(
            "wrong mask bit",
            frame(0x1, CALL, mask=wrong_mask) + call,
            text._replace(violations=(unmasked,)),
            text,
        ),
        case(
            "ping over 125 bytes",
            frame(0x9, bytes(126), mask=mask) + call,
            Said(Kind.PING, 126, ("control frame over 125 bytes",)),
            text,
        ),
        case(
            "fragmented control",
            frame(0x9, b"a", mask=mask, fin=False) + call,
            Said(Kind.PING, 1, ("fragmented control frame",)),
            text,
        ),
        case(
            "continuation without start",
            frame(0x0, CALL, mask=mask) + call,
            bad("opcode", "continuation without start"),
            text,
        ),
        case(
            "new message inside a message",
            frame(0x1, CALL[:9], mask=mask, fin=False) + call,
            bad("cut off"),
            text._replace(violations=("new message inside a message",)),
        ),
        case(
            "close 1006",
            frame(0x8, b"\x03\xee", mask=mask),
            Said(Kind.CLOSE, 1006, ("reserved close code",)),
        ),
        case(
            "close of one byte",
            frame(0x8, b"\x03", mask=mask),
            Said(Kind.CLOSE, None, ("close of one byte",)),
        ),
        case(
            "non-minimal length",
            frame(0x1, CALL, mask=mask, width=8) + call,
            text._replace(violations=("non-minimal length",)),
            text,
        ),
        case(
            "data after close",
            frame(0x8, b"\x03\xe8", mask=mask) + call,
            Said(Kind.CLOSE, 1000),
            text._replace(violations=("data after close",)),
        ),
        case("close 4001", frame(0x8, b"\x0f\xa1mine", mask=mask), Said(Kind.CLOSE, 4001)),
        case("cut off", call + call[:-3], text, bad("cut off")),
        case(
            "huge declared length",
            call + frame(0x1, CALL, mask=mask, width=8, declared=1 << 62),
            text,
            bad("cut off"),
        ),
    )


CASES = tuple(case for sender in Side for case in _cases(sender))
