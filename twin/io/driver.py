"""Joins a machine to a real WebSocket and a real clock; every frame that passes goes into a log of frames."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from twin.engine.machine import Close, Connect, Machine, Send
from twin.io import clock
from twin.io.recorder import station_of
from twin.model import Frame, Kind, Side

SUBPROTOCOL = "ocpp1.6"
_CLOSE_TIMEOUT_S = 5.0

type Socket = ClientConnection | ServerConnection


class FrameLog:
    """Frames as one end sees them, stamped by both clocks; ``seq`` from 1."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self._at_us = 0

    def add(
        self,
        kind: Kind,
        link: str,
        station: str,
        sender: Side | None = None,
        text: str | None = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        now = clock.now()
        self._at_us = max(self._at_us, now.wall_us)
        self.frames.append(
            Frame(
                seq=len(self.frames) + 1,
                at_us=self._at_us,
                mono_ns=now.mono_ns,
                link=link,
                station=station,
                kind=kind,
                sender=sender,
                text=text,
                facts=facts or {},
            )
        )


class LinkError(Exception):
    """The other side cannot be reached or refuses the handshake; the text says which and why."""


async def play_station(
    machine: Machine, url: str, log: FrameLog, progress: Callable[[int], None] = lambda frames: None
) -> None:
    """Connect ``machine`` to ``url`` as a station, again for every recorded connection, until it is done.

    Raises ``LinkError`` where a connection cannot be made.
    """
    station = station_of(url)
    for number in itertools.count(1):
        link = f"r{number}"
        try:
            socket = await connect(
                url,
                subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]  # a NewType of str
                compression=None,
                proxy=None,  # none from the environment
                ping_interval=None,
                max_size=None,
                close_timeout=_CLOSE_TIMEOUT_S,
            )
        except (OSError, InvalidHandshake, InvalidURI, TimeoutError) as error:
            raise LinkError(f"{url}: {error}") from error
        facts = {
            "path": socket.request.path if socket.request else "",
            "subprotocols_offered": [SUBPROTOCOL],
            "subprotocol": socket.subprotocol or "",
        }
        log.add(Kind.OPEN, link, station, facts=facts)
        if not await _talk(machine, socket, Side.STATION, link, station, log, progress):
            return


async def serve_station(
    machine: Machine, host: str, port: int, log: FrameLog, listening: Callable[[str], None]
) -> None:
    """Be the CSMS of one station until cancelled; it may reconnect."""
    numbers = itertools.count(1)

    async def handle(socket: ServerConnection) -> None:
        path = socket.request.path if socket.request else ""
        link, station = f"s{next(numbers)}", station_of(path)
        facts = {"path": path, "subprotocol": socket.subprotocol or ""}
        log.add(Kind.OPEN, link, station, facts=facts)
        await _talk(machine, socket, Side.CSMS, link, station, log, lambda frames: None)

    server = await serve(
        handle,
        host,
        port,
        subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]  # a NewType of str
        compression=None,
        ping_interval=None,
        max_size=None,
        close_timeout=_CLOSE_TIMEOUT_S,
    )
    async with server:
        name, number = server.sockets[0].getsockname()[:2]
        listening(f"ws://{name}:{number}")
        await asyncio.get_running_loop().create_future()  # until cancelled


async def _talk(
    machine: Machine,
    socket: Socket,
    side: Side,
    link: str,
    station: str,
    log: FrameLog,
    progress: Callable[[int], None],
) -> bool:
    """One connection from open to end; whether the machine wants another one."""
    closed_by_us = False
    machine.connected(clock.now().wall_us)
    reading = asyncio.ensure_future(socket.recv(decode=True))
    try:
        while not closed_by_us:
            closed_by_us = await _obey(machine, socket, side, link, station, log)
            progress(len(log.frames))
            if closed_by_us:
                break
            due_us = machine.next_timer()
            wait_s = None if due_us is None else max(0.0, (due_us - clock.now().wall_us) / 1e6)
            done, _ = await asyncio.wait({reading}, timeout=wait_s)
            if done:
                text = _text(reading.result())
                log.add(Kind.TEXT, link, station, side.other, text)
                machine.receive(text, clock.now().wall_us)
                reading = asyncio.ensure_future(socket.recv(decode=True))
            else:
                machine.handle_timer(clock.now().wall_us)
    except ConnectionClosed:
        pass
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    code = socket.close_code
    if not closed_by_us and code not in (None, 1006):
        log.add(Kind.CLOSE, link, station, side.other, facts={"code": code, "reason": socket.close_reason})
    by = side.value if closed_by_us else side.other.value
    log.add(Kind.END, link, station, facts={"abrupt": code in (None, 1006), "by": by})
    machine.disconnected(clock.now().wall_us)
    return any(isinstance(command, Connect) for command in machine.take())


async def _obey(machine: Machine, socket: Socket, side: Side, link: str, station: str, log: FrameLog) -> bool:
    """Do what the machine asks for; whether it ended the connection."""
    for command in machine.take():
        if isinstance(command, Send):
            log.add(Kind.TEXT, link, station, side, command.text)
            await socket.send(command.text)
        elif isinstance(command, Close):
            if command.abrupt:
                socket.transport.abort()
            else:
                facts = {"code": command.code, "reason": command.reason}
                log.add(Kind.CLOSE, link, station, side, facts=facts)
                await socket.close(command.code, command.reason)
            return True
    return False


def _text(data: str | bytes) -> str:
    return data if isinstance(data, str) else data.decode(errors="replace")
