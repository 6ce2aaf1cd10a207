"""The tap: bytes of one connection after the 101 in, whole messages and control frames out, nothing raised.

A peer's violation is a fact on the item, never a stop: other parsers close where this one must go on seeing.
Every byte fed or lost is counted in exactly one item, in ``wire.bytes``.
"""

from collections.abc import Callable

import msgspec

from twin.model import Kind, Side
from twin.protocol.wsdeflate import DeflateOptions, Inflater, parse_extensions
from twin.protocol.wsheader import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MAX_HEADER_BYTES,
    RSV1,
    TEXT,
    Breach,
    Header,
    header_breaches,
    parse_header,
    plausible_start,
    unmask,
)
from twin.protocol.wsitems import Body, Item, Stamp, Why, finished, undecodable, unfinished, wire_fact

__all__ = ["Breach", "DeflateOptions", "Item", "Stamp", "Tap", "TapOptions", "Why", "parse_extensions"]

_WHOLE_TEXT = 0x80 | TEXT  # FIN and no reserved bit


class TapOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the handshake agreed and what may be kept.

    ``max_message_bytes`` caps what is kept of one message, compressed and inflated each; the rest is counted.
    ``late``: the connection was open before anybody listened, so both directions start out of step.
    """

    deflate: DeflateOptions | None = None
    max_message_bytes: int = 16 * 1024 * 1024
    late: bool = False


class Tap:
    """Both directions of one connection. Memory is bounded by a few ``max_message_bytes`` per direction."""

    def __init__(self, options: TapOptions) -> None:
        self._decoders = {side: _Decoder(side, options) for side in Side}

    def feed(self, sender: Side, chunk: bytes, stamp: Stamp) -> list[Item]:
        """Bytes of ``sender``, in order; gives what they completed."""
        return self._decoders[sender].feed(chunk, stamp)

    def lost(self, sender: Side, n_bytes: int, stamp: Stamp) -> list[Item]:
        """``n_bytes`` of ``sender`` passed unseen between the last chunk and the next."""
        return self._decoders[sender].lost(n_bytes, stamp)

    def finish(self, stamp: Stamp) -> list[Item]:
        """The socket is gone: what was begun is cut off."""
        return [item for decoder in self._decoders.values() for item in decoder.finish(stamp)]


class _Decoder:
    """One direction: where in a frame we are, the message in progress, and whether we are in step at all."""

    def __init__(self, sender: Side, options: TapOptions) -> None:
        self._sender = sender
        self._max_bytes = options.max_message_bytes
        self._inflater: Inflater | None = None
        if options.deflate is not None:
            self._inflater = Inflater(options.deflate, sender, options.max_message_bytes)
        self._mask_bit = 0x80 if sender is Side.STATION else 0
        self._head = b""  # of a header that is not complete yet
        self._header: Header | None = None  # of the frame in progress
        self._body: Body | None = None  # where its payload goes
        self._left = 0  # bytes of its payload still to come
        self._message: Body | None = None  # the message in progress, perhaps between two frames
        self._chunks = 0
        self._begun_chunk = 0  # in which the frame in progress began
        self._begun_mono_ns: int | None = None
        self._unsaid = 0  # bytes fed or lost that no item has counted yet
        self._closed = False
        self._faulted = False
        self._in_step = True
        self._start_unseen = False  # a message in progress may have begun in bytes that nobody saw
        if options.late:
            self._fall_out_of_step()

    def feed(self, chunk: bytes, stamp: Stamp) -> list[Item]:
        return self._guarded(self._take, chunk, len(chunk), stamp)

    def lost(self, n_bytes: int, stamp: Stamp) -> list[Item]:
        return self._guarded(self._miss, n_bytes, n_bytes, stamp) if n_bytes > 0 else []

    def finish(self, stamp: Stamp) -> list[Item]:
        return self._guarded(self._abandon, Why.CUT_OFF, 0, stamp)

    def _guarded[T](
        self, step: Callable[[T, Stamp, list[Item]], None], what: T, n_bytes: int, stamp: Stamp
    ) -> list[Item]:
        """Take one step. A bug of ours costs this direction its decoder, but no byte and not the other."""
        self._chunks += 1
        self._unsaid += n_bytes
        items: list[Item] = []
        error = None
        if not self._faulted:
            try:
                step(what, stamp, items)
            except Exception as fault:
                self._faulted = True
                error = type(fault).__name__
        for item in items:
            self._unsaid -= item.facts["wire"]["bytes"]
        if self._faulted and (error or self._unsaid):
            lost = what if isinstance(what, int) else 0
            data = what[-self._unsaid :] if isinstance(what, bytes) and self._unsaid > 0 else b""
            facts = {"wire": wire_fact(self._unsaid, lost=lost)} | ({"what": error} if error else {})
            items.append(undecodable(self._sender, stamp, Why.DECODER_FAULT, data, **facts))
            self._unsaid = 0
        return items

    # ---- bytes

    def _take(self, chunk: bytes, stamp: Stamp, items: list[Item]) -> None:
        if not self._in_step:
            self._in_step = plausible_start(
                chunk, self._sender, deflate=self._inflater is not None, max_bytes=self._max_bytes
            )
            if not self._in_step:
                if chunk:
                    wire = wire_fact(len(chunk))
                    items.append(undecodable(self._sender, stamp, Why.OUT_OF_STEP, chunk, wire=wire))
                return
        if self._body is None and self._message is None and not self._head and not self._closed:
            item = self._whole_text(chunk, stamp)
            if item is not None:
                items.append(item)
                return
        at = 0
        while at < len(chunk):
            if self._body is None:
                at = self._read_header(chunk, at, stamp, items)
            if self._header is not None and self._body is not None:
                at = self._read_payload(self._header, self._body, chunk, at)
                if not self._left:
                    self._end_frame(self._header, self._body, stamp, items)

    def _whole_text(self, chunk: bytes, stamp: Stamp) -> Item | None:
        """The everyday case at once: the chunk is one whole text frame without a flaw; else ``None``."""
        if len(chunk) < 6 or chunk[0] != _WHOLE_TEXT or chunk[1] & 0x80 != self._mask_bit:
            return None
        length, start = chunk[1] & 0x7F, 2
        if length == 126:
            length, start = int.from_bytes(chunk[2:4]), 4
            if length < 126:
                return None
        payload = start + 4 if self._mask_bit else start
        if payload + length != len(chunk) or length > self._max_bytes:
            return None
        data = unmask(chunk[payload:], chunk[start:payload]) if self._mask_bit else chunk[payload:]
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return None
        self._start_unseen = False
        facts = {"wire": {"bytes": len(chunk), "fragments": [length], "deflate": False}}
        return Item(kind=Kind.TEXT, sender=self._sender, stamp=stamp, text=text, facts=facts)

    def _read_header(self, chunk: bytes, at: int, stamp: Stamp, items: list[Item]) -> int:
        """Begin a frame, or keep the part of its header that is there; gives the place behind it."""
        known = len(self._head)
        if not known:
            self._begun_chunk, self._begun_mono_ns = self._chunks, stamp.mono_ns
            header = parse_header(chunk, at)
        else:
            header = parse_header(self._head + chunk[at : at + MAX_HEADER_BYTES])
        if header is None:
            self._head += chunk[at:]
            return len(chunk)
        self._head = b""
        self._begin_frame(header, stamp, items)
        return at + header.size - known

    def _begin_frame(self, header: Header, stamp: Stamp, items: list[Item]) -> None:
        breaches = header_breaches(header, self._sender, deflate=self._inflater is not None)
        if self._closed:
            breaches.append(Breach.AFTER_CLOSE)
        if header.opcode == CONTINUATION and self._message is not None:
            body = self._message
        else:
            starts = header.opcode in (TEXT, BINARY)
            if starts and self._message is not None:
                breaches.append(Breach.START_INSIDE_MESSAGE)
                self._abandon_message(self._message, Why.CUT_OFF, stamp, items)
            if header.opcode == CONTINUATION and not self._start_unseen:
                breaches.append(Breach.CONTINUATION_WITHOUT_START)
            deflate = starts and self._inflater is not None and bool(header.rsv & RSV1)
            body = Body(header.opcode, self._begun_chunk, self._begun_mono_ns, deflate=deflate)
            if starts:
                self._message = body
                self._start_unseen = False
        body.begin_frame(header, breaches)
        self._header, self._body, self._left = header, body, header.length

    def _read_payload(self, header: Header, body: Body, chunk: bytes, at: int) -> int:
        """Gather what the chunk has of the payload; keep it only up to the cap and the first lost byte."""
        size = min(self._left, len(chunk) - at)
        room = 0 if body.lost else self._max_bytes - len(body.raw)
        if size and room > 0:
            piece = chunk[at : at + min(size, room)]
            body.raw += unmask(piece, header.mask, header.length - self._left) if header.mask else piece
        self._pass(body, size)
        return at + size

    def _pass(self, body: Body, size: int) -> None:
        body.seen += size
        body.wire_bytes += size
        self._left -= size

    def _end_frame(self, header: Header, body: Body, stamp: Stamp, items: list[Item]) -> None:
        self._header = self._body = None
        if body is self._message:
            if not header.fin:
                return
            self._message = None
        if body.opcode == CLOSE:
            self._closed = True
        items.append(finished(body, self._inflater, self._sender, stamp, self._chunks))

    # ---- loss and end

    def _miss(self, n_bytes: int, stamp: Stamp, items: list[Item]) -> None:
        """Inside a payload the lost bytes are skipped; over a header nobody knows where we are."""
        if self._header is not None and self._body is not None:
            inside = min(n_bytes, self._left)
            self._body.lost += inside
            self._pass(self._body, inside)
            n_bytes -= inside
            if not self._left:
                self._end_frame(self._header, self._body, stamp, items)
        if not n_bytes:
            return
        if self._message is not None:
            self._abandon_message(self._message, Why.LOST_BYTES, stamp, items)
        head, self._head = self._head, b""
        wire = wire_fact(len(head) + n_bytes, lost=n_bytes)
        items.append(undecodable(self._sender, stamp, Why.LOST_BYTES, head, wire=wire))
        self._fall_out_of_step()

    def _fall_out_of_step(self) -> None:
        self._in_step = False
        self._start_unseen = True
        if self._inflater is not None:
            self._inflater.forget()

    def _abandon(self, why: Why, stamp: Stamp, items: list[Item]) -> None:
        """End whatever was begun: a message, a control frame inside it, a header."""
        if self._message is not None:
            self._abandon_message(self._message, why, stamp, items)
        if self._body is not None:
            items.append(unfinished(self._body, why, self._sender, stamp, self._chunks))
            self._header = self._body = None
        if self._head:
            wire = wire_fact(len(self._head))
            items.append(undecodable(self._sender, stamp, why, self._head, wire=wire))
            self._head = b""

    def _abandon_message(self, body: Body, why: Why, stamp: Stamp, items: list[Item]) -> None:
        self._message = None
        if body is self._body:
            self._header = self._body = None
        if body.deflate and self._inflater is not None:
            self._inflater.forget()
        items.append(unfinished(body, why, self._sender, stamp, self._chunks))
