"""What sits at one end of a link, told the time and free of sockets: the contract, and what it may ask for.

A machine has ``connected(now_us)``, ``receive(text, now_us)``, ``disconnected(now_us)``, ``next_timer()``,
``handle_timer(now_us)`` and ``take()``. There is nothing to inherit; Player and Csms are two of them.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec


class Send(msgspec.Struct, frozen=True):
    """Send this text. ``facts`` go on its frame: who made it up, where no recording has it."""

    text: str
    facts: Mapping[str, Any] = {}


class Ping(msgspec.Struct, frozen=True):
    """Send a ping (RFC 6455 §5.5.2)."""

    data: bytes = b""


class Stimulate(msgspec.Struct, frozen=True):
    """Make the other side send this CALL: by its own interface, by whoever can. The machine goes on.

    ``seq`` is the recorded CALL, ``payload`` what it said with the live values.
    """

    seq: int
    action: str
    payload: Any


class Connect(msgspec.Struct, frozen=True):
    """Open the next connection."""


class Close(msgspec.Struct, frozen=True):
    """End the connection with a Close frame, or (``abrupt``) without one."""

    code: int = 1000
    reason: str = ""
    abrupt: bool = False


type Command = Send | Connect | Close | Ping | Stimulate


class Machine(Protocol):
    """The shape of anything that sits at one end of a link. Times are UTC microseconds."""

    def connected(self, now_us: int) -> None: ...

    def receive(self, text: str, now_us: int) -> None: ...

    def disconnected(self, now_us: int) -> None: ...

    def next_timer(self) -> int | None: ...

    def handle_timer(self, now_us: int) -> None: ...

    def take(self) -> list[Command]: ...
