"""Two machines on a virtual clock: no socket, no sleeping, the same frames every time."""

import heapq
from collections.abc import Callable, Mapping

import msgspec

from twin.engine.machine import Close, Connect, Machine, Ping, Send, Stimulate
from twin.model import Frame, Kind, Side

HOP_US = 1_000  # one way between the two
_MOST_EVENTS = 10_000_000


class _Happening(msgspec.Struct, frozen=True, order=True):
    at_us: int
    order: int
    side: Side = msgspec.field(default=Side.STATION)
    what: str = "text"
    text: str = ""


def converse(
    station: Machine,
    csms: Machine,
    *,
    station_id: str,
    start_us: int,
    until_us: int | None = None,
    connected: bool = True,
    hop_us: int = HOP_US,
    done: Callable[[], bool] = lambda: False,
    refusal: Callable[[], int | None] = lambda: None,
    stimulate: Callable[[Stimulate], None] = lambda stimulus: None,
) -> list[Frame]:
    """Let the two talk until both are silent for good, until ``until_us``, or until it is ``done``.

    The frames are those that a proxy between them would see. ``connected``: the first connection is there;
    else the station asks for it. ``hop_us`` is the way from one to the other. ``refusal`` gives the HTTP
    status with which an attempt to connect is refused; ``stimulate`` is told what the CSMS is to be made to
    send.
    """
    held = {Side.STATION: station, Side.CSMS: csms}
    talk = _Conversation(held, station_id, start_us, hop_us, refusal, stimulate)
    return talk.run(until_us, connected, done)


class _Conversation:
    def __init__(
        self,
        machines: dict[Side, Machine],
        station_id: str,
        start_us: int,
        hop_us: int,
        refusal: Callable[[], int | None],
        stimulate: Callable[[Stimulate], None],
    ) -> None:
        self.refusal = refusal
        self.stimulate = stimulate
        self.machines = machines
        self.station_id = station_id
        self.now_us = start_us
        self.hop_us = hop_us
        self.frames: list[Frame] = []
        self.queue: list[_Happening] = []
        self.order = 0
        self.link = 0
        self.up = False
        self.draining: Side | None = None  # who still gets what was sent before the end

    def run(self, until_us: int | None, connected: bool, done: Callable[[], bool]) -> list[Frame]:
        if connected:
            self._connect()
        else:
            self._collect()
        for _ in range(_MOST_EVENTS):
            if done():
                return self.frames
            happening = heapq.heappop(self.queue) if self.queue else None
            timers = [
                (due_us, side) for side in Side if (due_us := self.machines[side].next_timer()) is not None
            ]
            due = min(timers, default=None)
            next_us = min(happening.at_us if happening else due[0], due[0]) if due else None
            if until_us is not None and (next_us or (happening.at_us if happening else 0)) > until_us:
                return self.frames
            if due is not None and (happening is None or due[0] < happening.at_us):
                if happening is not None:
                    heapq.heappush(self.queue, happening)
                self.now_us = max(self.now_us, due[0])
                self.machines[due[1]].handle_timer(self.now_us)
                self._collect()
            elif happening is not None:
                self.now_us = max(self.now_us, happening.at_us)
                self._happen(happening)
            else:
                return self.frames
        raise RuntimeError("two machines that never fall silent")

    def _happen(self, happening: _Happening) -> None:
        if happening.what == "text":
            if self.up or happening.side is self.draining:
                self.machines[happening.side].receive(happening.text, self.now_us)
        elif happening.what == "down":
            self.draining = None
            for side in Side:
                self.machines[side].disconnected(self.now_us)
        else:
            self._connect()
        self._collect()

    def _connect(self) -> None:
        self.link += 1
        status = self.refusal()
        if status is not None:
            self._frame(Kind.REFUSED, None, facts={"path": f"/{self.station_id}", "status": status})
            self.machines[Side.STATION].disconnected(self.now_us)
            self._collect()
            return
        self.up = True
        facts = {"path": f"/{self.station_id}", "subprotocols_offered": ["ocpp1.6"], "subprotocol": "ocpp1.6"}
        self._frame(Kind.OPEN, None, facts=facts)
        for side in (Side.CSMS, Side.STATION):
            self.machines[side].connected(self.now_us)
        self._collect()

    def _collect(self) -> None:
        for side in Side:
            for command in self.machines[side].take():
                if isinstance(command, Send):
                    if self.up:
                        self._frame(Kind.TEXT, side, text=command.text, facts=command.facts)
                        self._later(side.other, "text", command.text)
                elif isinstance(command, Close) and self.up:
                    self._close(side, command)
                elif isinstance(command, Connect):
                    self._later(side, "connect")
                elif isinstance(command, Ping) and self.up:
                    self._frame(Kind.PING, side, data=command.data)
                    self._frame(Kind.PONG, side.other, data=command.data)
                elif isinstance(command, Stimulate):
                    self.stimulate(command)

    def _close(self, side: Side, command: Close) -> None:
        self.up = False
        self.draining = side.other  # what was sent before is on its way, with or without a Close behind it
        if not command.abrupt:
            self._frame(Kind.CLOSE, side, facts={"code": command.code, "reason": command.reason})
        self._frame(Kind.END, None, facts={"abrupt": command.abrupt, "by": side.value})
        self._later(side, "down")

    def _later(self, side: Side, what: str, text: str = "") -> None:
        self.order += 1
        heapq.heappush(self.queue, _Happening(self.now_us + self.hop_us, self.order, side, what, text))

    def _frame(
        self,
        kind: Kind,
        sender: Side | None,
        *,
        text: str | None = None,
        data: bytes | None = None,
        facts: Mapping[str, object] = {},
    ) -> None:
        self.frames.append(
            Frame(
                seq=len(self.frames) + 1,
                at_us=self.now_us,
                mono_ns=self.now_us * 1000,
                link=f"v{self.link}",
                station=self.station_id,
                kind=kind,
                sender=sender,
                text=text,
                data=data,
                facts=facts,
            )
        )
