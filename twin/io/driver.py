"""Joins machines to real sockets and a real clock: one ``Live`` a machine, callbacks and no waiting."""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twin.engine.machine import Close, Connect, Machine, Ping, Send, Stimulate
from twin.engine.station import Persist
from twin.io import clock, websocket
from twin.io.websocket import Socket
from twin.model import Frame, Kind, Side
from twin.protocol.timestamps import SECOND_US

type Dial = Callable[[websocket.Peer], Any]

_NO_CLOSE = 1006


class Pace:
    """UTC microseconds: the wall clock once, and from there ``speed`` times as fast as the monotonic one.

    A wall clock that is set moves no timer.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed
        self._began = clock.now()

    def now_us(self) -> int:
        passed_us = (clock.now().mono_ns - self._began.mono_ns) // 1000
        return self._began.wall_us + int(passed_us * self._speed)

    def wait_s(self, due_us: int) -> float:
        return max(0.0, (due_us - self.now_us()) / SECOND_US / self._speed)


class FrameLog:
    """Frames as one end sees them, in order and stamped; ``seq`` from 1. ``keep`` is told each one."""

    def __init__(self, keep: Callable[[Frame], None] | None = None, now_us: Callable[[], int] | None = None):
        self.frames: list[Frame] = []
        self._keep = keep or self.frames.append
        self._now_us = now_us or (lambda: clock.now().wall_us)
        self._seq = itertools.count(1)
        self._at_us = 0

    def add(
        self,
        kind: Kind,
        link: str,
        station: str,
        sender: Side | None = None,
        text: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self._at_us = max(self._at_us, self._now_us())
        self._keep(
            Frame(
                seq=next(self._seq),
                at_us=self._at_us,
                mono_ns=clock.now().mono_ns,
                link=link,
                station=station,
                kind=kind,
                sender=sender,
                text=text,
                facts=facts or {},
            )
        )


class Live:
    """One machine at one end of a socket.

    ``dial`` opens the next connection of a machine that asks for one. ``store`` writes what a station
    persists, before anything that follows goes out; where it raises, ``broken`` is told and all is over.
    ``failed`` is told why a connection could not be made, ``idle`` that the machine wants no further one,
    ``stimulate`` what the other side is to be made to send, ``after`` that the machine has been obeyed.
    """

    def __init__(
        self,
        machine: Machine,
        side: Side,
        station: str,
        *,
        pace: Pace,
        log: FrameLog | None = None,
        dial: Dial | None = None,
        store: Callable[[list[Persist]], None] | None = None,
        failed: Callable[[websocket.LinkError], None] = lambda error: None,
        idle: Callable[[], None] = lambda: None,
        stimulate: Callable[[Stimulate], None] = lambda stimulus: None,
        after: Callable[[], None] = lambda: None,
        broken: Callable[[Exception], None] = lambda error: None,
        links: Iterable[str] | None = None,
    ) -> None:
        self.machine = machine
        self.pace = pace
        self.station = station
        self._side = side
        self._log = log
        self._dial = dial
        self._store = store
        self._failed = failed
        self._idle = idle
        self._stimulate = stimulate
        self._after = after
        self._broken = broken
        self._links = iter(links or (f"{station}-{number}" for number in itertools.count(1)))
        self._link = ""
        self._socket: Socket | None = None
        self._closing = False  # we said Close, or left without one
        self._wanted = False  # the next connection, once this one is closed
        self._stopped = False
        self._dialling: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due_us: int | None = None

    @property
    def connected(self) -> bool:
        return self._socket is not None

    # --- a Peer ---------------------------------------------------------------------------------------------

    def opened(self, socket: Socket, facts: dict[str, Any]) -> None:
        if (left := self._socket) is not None:  # a station that comes again has given up the old one
            self.closed(left, _NO_CLOSE, "")
            left.abort()
        self._link = next(self._links)
        self._socket, self._closing, self._dialling = socket, False, None
        self._note(Kind.OPEN, facts=facts)
        self.machine.connected(self.pace.now_us())
        self.obey()

    def received(self, text: str) -> None:
        self._note(Kind.TEXT, self._side.other, text)
        if self._closing:  # it was said, and nobody answers any more
            return
        self.machine.receive(text, self.pace.now_us())
        self.obey()

    def closed(self, socket: Socket, code: int, reason: str) -> None:
        if socket is not self._socket:
            return
        self._socket = None
        if not self._closing and code != _NO_CLOSE:
            self._note(Kind.CLOSE, self._side.other, facts={"code": code, "reason": reason})
        by = self._side if self._closing else self._side.other
        self._note(Kind.END, facts={"abrupt": code == _NO_CLOSE, "by": by.value})
        if self._stopped:
            return
        if self._wanted:
            self._wanted = False
            self._do(Connect())
            return
        self.machine.disconnected(self.pace.now_us())
        self.obey()
        if self._dialling is None and self.machine.next_timer() is None:
            self._idle()

    def refused(self, status: int) -> None:
        """The other side came and was not let in."""
        self._link = next(self._links)
        self._note(Kind.REFUSED, facts={"status": status})

    def dial(self) -> None:
        """Open the first connection."""
        self._do(Connect())

    # --- commands -------------------------------------------------------------------------------------------

    def obey(self) -> None:
        """Do what the machine asks for, and see to its next timer."""
        if self._stopped:
            return
        kept: list[Persist] = []
        for command in self.machine.take():
            if isinstance(command, Persist):
                kept.append(command)
                continue
            if kept and not self._keep(kept):
                return
            kept = []
            self._do(command)
        if not kept or self._keep(kept):
            self._set_timer()
            self._after()

    def _keep(self, commands: list[Persist]) -> bool:
        """Store what must outlive us. A station that cannot is no station any more: it leaves."""
        try:
            if self._store is not None:
                self._store(commands)
        except Exception as error:
            self.stop()
            self._broken(error)
            return False
        return True

    def _do(self, command: Any) -> None:
        if isinstance(command, Send):
            if self._socket is not None and not self._closing:
                self._note(Kind.TEXT, self._side, command.text, command.facts)
                self._socket.send(command.text)
        elif isinstance(command, Ping):
            if self._socket is not None and not self._closing:
                self._note(Kind.PING, self._side)
                self._socket.ping(command.data)
        elif isinstance(command, Stimulate):
            self._stimulate(command)
        elif isinstance(command, Close):
            if self._socket is not None and not self._closing:
                self._closing = True
                if command.abrupt:
                    self._socket.abort()
                else:
                    facts = {"code": command.code, "reason": command.reason}
                    self._note(Kind.CLOSE, self._side, facts=facts)
                    self._socket.close(command.code, command.reason)
        elif isinstance(command, Connect) and self._dial is not None and self._dialling is None:
            self._wanted = self._socket is not None
            if not self._wanted:
                self._dialling = asyncio.get_running_loop().create_task(self._call(self._dial))

    async def _call(self, dial: Dial) -> None:
        try:
            await dial(self)
        except Exception as error:
            self._dialling = None
            if (status := getattr(error, "status", None)) is not None:
                self._link = next(self._links)
                self._note(Kind.REFUSED, facts={"status": status})
            if isinstance(error, websocket.LinkError):
                self._failed(error)
            else:
                self._failed(websocket.LinkError(f"{type(error).__name__}: {error}"))
            self.machine.disconnected(self.pace.now_us())
            self.obey()

    def stop(self) -> None:
        """Leave: no timer, no further connection, and the socket closed as one does who goes away."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._dialling is not None:
            self._dialling.cancel()
        if self._socket is not None and not self._closing:
            self._closing = True
            facts = {"code": 1001, "reason": "going away"}
            self._note(Kind.CLOSE, self._side, facts=facts)
            self._socket.close(1001, "going away")

    def _set_timer(self) -> None:
        due_us = self.machine.next_timer()
        if due_us == self._due_us and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due_us = due_us
        if due_us is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self.pace.wait_s(due_us), self._ring)

    def _ring(self) -> None:
        self._timer, self._due_us = None, None
        self.machine.handle_timer(self.pace.now_us())
        self.obey()

    def _note(
        self,
        kind: Kind,
        sender: Side | None = None,
        text: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        if self._log is not None:
            self._log.add(kind, self._link, self.station, sender, text, facts)
