"""What sits at one end of a link, told the time and free of sockets: the contract, and what it may ask for.

A machine has ``connected(now_us)``, ``receive(text, now_us)``, ``disconnected(now_us)``, ``next_timer()``,
``handle_timer(now_us)`` and ``take()``. There is nothing to inherit; Player and Csms are two of them.
"""

from typing import Protocol

import msgspec


class Send(msgspec.Struct, frozen=True):
    """Send this text."""

    text: str


class Connect(msgspec.Struct, frozen=True):
    """Open the next connection."""


class Close(msgspec.Struct, frozen=True):
    """End the connection with a Close frame, or (``abrupt``) without one."""

    code: int = 1000
    reason: str = ""
    abrupt: bool = False


type Command = Send | Connect | Close


class Machine(Protocol):
    """The shape of anything that sits at one end of a link. Times are UTC microseconds."""

    def connected(self, now_us: int) -> None: ...

    def receive(self, text: str, now_us: int) -> None: ...

    def disconnected(self, now_us: int) -> None: ...

    def next_timer(self) -> int | None: ...

    def handle_timer(self, now_us: int) -> None: ...

    def take(self) -> list[Command]: ...
