"""permessage-deflate of one connection: what the 101 agreed, and an inflater that no bomb can blow up."""

import zlib
from typing import NamedTuple

import msgspec

from twin.model import Side

_FLUSH_TAIL = b"\x00\x00\xff\xff"  # RFC 7692 §7.2.1: cut off by the sender, put back by the receiver
_AFTER_FINAL_BLOCK = (_FLUSH_TAIL, b"\x00" + _FLUSH_TAIL)  # RFC 7692 §7.2.3.4
_SKIPPED_PER_KEPT = 16  # bytes inflated only to keep the window, per byte that may be kept


class DeflateOptions(msgspec.Struct, frozen=True, kw_only=True):
    """permessage-deflate as the 101 agreed it (RFC 7692 §7.1); client is the station, server the CSMS."""

    client_max_window_bits: int = 15
    server_max_window_bits: int = 15
    client_no_context_takeover: bool = False
    server_no_context_takeover: bool = False


def parse_extensions(header: str | None) -> DeflateOptions | None:
    """Read Sec-WebSocket-Extensions of the 101; ``None`` where no permessage-deflate was agreed.

    Parameters with an impossible value count as absent: what follows on the wire will show.
    """
    for extension in (header or "").split(","):
        name, *pairs = (part.strip() for part in extension.split(";"))
        if name.lower() != "permessage-deflate":
            continue
        values = (pair.partition("=") for pair in pairs)
        parameters = {key.strip().lower(): value.strip(' \t"') for key, _, value in values}
        return DeflateOptions(
            client_max_window_bits=_window_bits(parameters.get("client_max_window_bits", "")),
            server_max_window_bits=_window_bits(parameters.get("server_max_window_bits", "")),
            client_no_context_takeover="client_no_context_takeover" in parameters,
            server_no_context_takeover="server_no_context_takeover" in parameters,
        )
    return None


def _window_bits(text: str) -> int:
    return {str(bits): bits for bits in range(8, 16)}.get(text, 15)


class Inflated(NamedTuple):
    """``head`` is at most the cap; ``length`` is the whole message in bytes, ``None`` where nobody knows."""

    head: bytes
    length: int | None


class Inflater:
    """One direction's decompressor. Output never exceeds the cap, whatever the input claims."""

    def __init__(self, options: DeflateOptions, sender: Side, max_bytes: int) -> None:
        if sender is Side.STATION:
            self._bits, fresh = options.client_max_window_bits, options.client_no_context_takeover
        else:
            self._bits, fresh = options.server_max_window_bits, options.server_no_context_takeover
        self._takeover = not fresh
        self._max_bytes = max(max_bytes, 1)  # to zlib 0 means "no limit"
        self._engine: zlib._Decompress | None = None
        self._lost = False

    def forget(self) -> None:
        """Bytes of a compressed message were missed: with context takeover nothing later can be inflated."""
        self._lost = self._takeover
        self._engine = None

    def inflate(self, raw: bytes, *, whole: bool) -> Inflated | None:
        """Inflate one message, or (``whole=False``) the head that is left of one; ``None`` if impossible."""
        if self._lost:
            return None
        engine = self._engine or zlib.decompressobj(-self._bits)
        try:
            head = engine.decompress(raw + _FLUSH_TAIL if whole else raw, self._max_bytes)
            length = self._skip_rest(engine, len(head))
        except zlib.error:
            self.forget()
            return None
        if not whole or length is None:
            self.forget()
            return Inflated(head, None)
        if engine.eof and engine.unused_data not in _AFTER_FINAL_BLOCK:
            self.forget()
            return None
        self._engine = engine if self._takeover and not engine.eof else None
        return Inflated(head, length)

    def _skip_rest(self, engine: "zlib._Decompress", length: int) -> int | None:
        """Inflate and throw away what is over the cap, so that the window stays right; a bomb is given up."""
        piece = length
        while piece == self._max_bytes:  # also where all input is taken: output may still be pending
            if length > _SKIPPED_PER_KEPT * self._max_bytes:
                return None
            piece = len(engine.decompress(engine.unconsumed_tail, self._max_bytes))
            length += piece
        return length
