"""A Frame is a fact: one thing seen at one place on the wire, never edited and never re-encoded."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec


class Side(StrEnum):
    """Who sent a frame. The field says *station* and *CSMS*; never "rx", "tx" or "cs"."""

    STATION = "station"
    CSMS = "csms"

    @property
    def other(self) -> "Side":
        return Side.CSMS if self is Side.STATION else Side.STATION


class Kind(StrEnum):
    """What a frame is. The first five travel on the wire, the rest is said by whoever recorded it."""

    TEXT = "text"
    BINARY = "binary"
    PING = "ping"
    PONG = "pong"
    CLOSE = "close"
    OPEN = "open"  # the handshake ended with 101
    REFUSED = "refused"  # the handshake ended without 101
    END = "end"  # the socket is gone
    UNDECODABLE = "undecodable"  # bytes that could not be framed, inflated or read as UTF-8
    GAP = "gap"  # something was seen and not recorded: a reset point for every opinion
    CLOCK_STEP = "clock_step"
    STATS = "stats"
    FAULT = "fault"  # a bug or a breaker of ours


class Frame(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One whole WebSocket message, control frame, connection event or remark of the recorder.

    ``seq`` rises by one over a capture, from 1. ``at_us`` is UTC in microseconds since 1970 and never
    decreases inside a capture; ``mono_ns`` is the recorder's monotonic clock, ``None`` where the source
    had none (imported logs). ``link`` names one WebSocket connection, ``station`` the identity in its
    path ("" if unknown). ``text`` is verbatim; ``data`` holds the bytes of a frame that has no text.
    ``facts`` carries what else was seen, by the field names of the capture format (docs/capture-format.md):
    ``path``, ``subprotocol``, ``code``, ``reason``, ``wire.violations``, ``truncated`` and so on.
    """

    seq: int
    at_us: int
    link: str
    kind: Kind
    sender: Side | None = None
    mono_ns: int | None = None
    station: str = ""
    text: str | None = None
    data: bytes | None = None
    facts: Mapping[str, Any] = {}

    def __str__(self) -> str:
        """One line for the log reader."""
        arrow = {Side.STATION: "->", Side.CSMS: "<-", None: "--"}[self.sender]
        body = self.text if self.text is not None else f"{len(self.data or b'')} bytes"
        if len(body) > 120:
            body = f"{body[:119]}…"
        return f"#{self.seq} {self.link} {arrow} {self.kind} {body}"
