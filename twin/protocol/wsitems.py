"""What the tap says: one record per message, control frame or undecodable run, and how it is made."""

import codecs
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec

from twin.model import Kind, Side
from twin.protocol.wsdeflate import Inflater
from twin.protocol.wsheader import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Breach, Header, may_be_sent

_CONTROL_KINDS = {PING: Kind.PING, PONG: Kind.PONG}
_MAX_FRAGMENTS_LISTED = 1024


class Why(StrEnum):
    """Why an item is UNDECODABLE; these words stand in ``why``."""

    UTF8 = "utf8"  # a text that is not UTF-8
    OPCODE = "opcode"  # a reserved opcode, or a continuation of nothing
    OUT_OF_STEP = "out of step"  # bytes after a loss, before the next frame that could be found
    INFLATE = "inflate"  # broken deflate, or its window was lost
    CUT_OFF = "cut off"  # the socket, or another message, ended it
    LOST_BYTES = "lost bytes"  # a recorder missed bytes in which a frame began or ended
    DECODER_FAULT = "decoder fault"  # a bug of ours


class Stamp(msgspec.Struct, frozen=True):
    """The two clocks at one chunk; ``mono_ns`` is ``None`` for a stored stream."""

    wall_ns: int
    mono_ns: int | None


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One message, control frame or run of undecodable bytes, stamped by the chunk that completed it.

    ``text`` is set for TEXT, ``data`` for the other kinds (for CLOSE only where code and reason do not say
    all; of an UNDECODABLE frame its unmasked payload, else the bytes themselves). ``facts``:

    - ``wire``: ``bytes`` with headers, ``fragments`` (payload sizes on the wire, the first 1024, then with
      ``fragment_count``), ``deflate``; where it applies ``violations``, ``lost`` (bytes nobody saw, included
      in ``bytes``) and ``first_mono_ns`` (the item began in an earlier chunk)
    - ``truncated``: only a head was kept; then ``bytes`` is the full length, absent where unknown
    - CLOSE: ``code`` (``None`` if there is none) and ``reason``
    - UNDECODABLE: ``why``; of a frame also ``opcode``; of an unfinished one ``declared``, the length
      by its latest header; decoder fault: ``what``, the exception's name
    """

    kind: Kind
    sender: Side
    stamp: Stamp
    text: str | None = None
    data: bytes | None = None
    facts: dict[str, Any]


class Body:
    """What is gathered of one message, or of one frame that is a message by itself; it grows."""

    __slots__ = (
        "begun_chunk", "begun_mono_ns", "breaches", "declared", "deflate", "fragment_count", "fragments",
        "lost", "opcode", "raw", "seen", "wire_bytes",
    )  # fmt: skip

    def __init__(self, opcode: int, begun_chunk: int, begun_mono_ns: int | None, *, deflate: bool) -> None:
        self.opcode = opcode
        self.begun_chunk = begun_chunk
        self.begun_mono_ns = begun_mono_ns
        self.deflate = deflate
        self.raw = bytearray()  # unmasked payload, not inflated, up to the cap or the first lost byte
        self.declared = 0  # payload bytes by the latest header
        self.seen = 0  # payload bytes that passed, lost ones included
        self.lost = 0
        self.wire_bytes = 0
        self.fragments: list[int] = []
        self.fragment_count = 0
        self.breaches: list[Breach] = []

    def begin_frame(self, header: Header, breaches: Iterable[Breach]) -> None:
        self.declared = header.length
        self.wire_bytes += header.size
        self.fragment_count += 1
        if self.fragment_count <= _MAX_FRAGMENTS_LISTED:
            self.fragments.append(header.length)
        for breach in breaches:
            self.add_breach(breach)

    def add_breach(self, breach: Breach) -> None:
        if breach not in self.breaches:
            self.breaches.append(breach)

    def cut(self) -> dict[str, Any]:
        """The facts that say how much of the payload is not in ``raw``."""
        return {"truncated": True, "bytes": self.seen} if len(self.raw) < self.seen else {}

    def wire(self, chunk: int) -> dict[str, Any]:
        """The fact ``wire``, said at the chunk of this number."""
        wire = wire_fact(self.wire_bytes, self.fragments, deflate=self.deflate, lost=self.lost)
        if self.fragment_count > _MAX_FRAGMENTS_LISTED:
            wire["fragment_count"] = self.fragment_count
        if self.breaches:
            wire["violations"] = [breach.value for breach in self.breaches]
        if self.begun_chunk != chunk and self.begun_mono_ns is not None:
            wire["first_mono_ns"] = self.begun_mono_ns
        return wire


def wire_fact(
    n_bytes: int, fragments: Iterable[int] = (), *, deflate: bool = False, lost: int = 0
) -> dict[str, Any]:
    """``wire`` of ``n_bytes``, of which ``lost`` were never seen."""
    wire: dict[str, Any] = {"bytes": n_bytes, "fragments": list(fragments), "deflate": deflate}
    if lost:
        wire["lost"] = lost
    return wire


def undecodable(sender: Side, stamp: Stamp, why: Why, data: bytes, **facts: Any) -> Item:
    """Bytes without a meaning, and why."""
    return Item(
        kind=Kind.UNDECODABLE, sender=sender, stamp=stamp, data=data, facts={"why": why.value, **facts}
    )


def unfinished(body: Body, why: Why, sender: Side, stamp: Stamp, chunk: int) -> Item:
    """What there is of a message whose end never came."""
    facts = body.cut() | {"opcode": body.opcode, "declared": body.declared, "wire": body.wire(chunk)}
    return undecodable(sender, stamp, why, bytes(body.raw), **facts)


def finished(body: Body, inflater: Inflater | None, sender: Side, stamp: Stamp, chunk: int) -> Item:
    """The item of a whole message or frame, completed by the chunk of this number."""
    if body.opcode in (TEXT, BINARY):
        return _data_message(body, inflater, sender, stamp, chunk)
    if body.opcode == CLOSE:
        return _close(body, sender, stamp, chunk)
    facts = body.cut() | {"wire": body.wire(chunk)}
    kind = _CONTROL_KINDS.get(body.opcode)
    if kind is not None:
        return Item(kind=kind, sender=sender, stamp=stamp, data=bytes(body.raw), facts=facts)
    # A continuation that is no breach goes on with a message whose start was lost.
    start_unseen = body.opcode == CONTINUATION and Breach.CONTINUATION_WITHOUT_START not in body.breaches
    why = Why.LOST_BYTES if start_unseen else Why.OPCODE
    return undecodable(sender, stamp, why, bytes(body.raw), opcode=body.opcode, **facts)


def _data_message(body: Body, inflater: Inflater | None, sender: Side, stamp: Stamp, chunk: int) -> Item:
    facts = body.cut()
    data = bytes(body.raw)
    if body.deflate and inflater is not None:
        inflated = inflater.inflate(data, whole=not facts)
        if inflated is None:
            facts |= {"opcode": body.opcode, "wire": body.wire(chunk)}
            return undecodable(sender, stamp, Why.INFLATE, data, **facts)
        data = inflated.head
        facts = {} if inflated.length == len(data) else {"truncated": True}
        if facts and inflated.length is not None:
            facts["bytes"] = inflated.length
    if body.opcode == BINARY:
        facts["wire"] = body.wire(chunk)
        return Item(kind=Kind.BINARY, sender=sender, stamp=stamp, data=data, facts=facts)
    try:
        text, _ = codecs.utf_8_decode(data, "strict", not facts)  # a head may end inside a character
    except UnicodeDecodeError:
        body.add_breach(Breach.INVALID_UTF8)
        facts |= {"opcode": TEXT, "wire": body.wire(chunk)}
        return undecodable(sender, stamp, Why.UTF8, data, **facts)
    facts["wire"] = body.wire(chunk)
    return Item(kind=Kind.TEXT, sender=sender, stamp=stamp, text=text, facts=facts)


def _close(body: Body, sender: Side, stamp: Stamp, chunk: int) -> Item:
    """RFC 6455 §5.5.1: nothing at all, or two bytes of code and a reason in UTF-8."""
    facts = body.cut()
    raw, data = bytes(body.raw), None
    code = int.from_bytes(raw[:2]) if len(raw) >= 2 else None
    try:
        reason, _ = codecs.utf_8_decode(raw[2:], "strict", not facts)
    except UnicodeDecodeError:
        body.add_breach(Breach.INVALID_UTF8)
        reason, data = raw[2:].decode(errors="replace"), raw
    if body.declared == 1:
        body.add_breach(Breach.ONE_BYTE_CLOSE)
        data = raw
    if code is not None and not may_be_sent(code):
        body.add_breach(Breach.RESERVED_CLOSE_CODE)
    facts |= {"code": code, "reason": reason, "wire": body.wire(chunk)}
    return Item(kind=Kind.CLOSE, sender=sender, stamp=stamp, data=data, facts=facts)
