"""A station of ours on a real socket: machine, store, log and judge of one, and fleets of them."""

import asyncio
import contextlib
import random
import ssl
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from twin.engine.analyzer import Analyzer
from twin.engine.station import Act, Behaviour, Station
from twin.io import websocket
from twin.io.driver import Dial, FrameLog, Live, Pace
from twin.io.station_store import StationStore
from twin.io.websocket import LinkError
from twin.model import Call, CallError, CallResult, Finding, Frame, Kind, Side
from twin.protocol import codec

_MOST_PENDING = 1024  # CALLs whose answer is awaited for the list of messages
_ID_BITS = 128

type Watch = Callable[[dict[str, Any]], None]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What one station of a run is: its id, where it connects, how it behaves, what happens to it."""

    station_id: str
    url: str
    behaviour: Behaviour = Behaviour()
    seed: int = 1
    acts: tuple[tuple[int, Act], ...] = ()  # µs since the start
    store: Path | None = None
    password: str = ""
    transport: Literal["websockets", "picows"] = "websockets"


class LiveStation:
    """One station on a socket. What it says and hears goes to ``keep`` and, with ``judged``, to the rules."""

    def __init__(
        self,
        plan: Plan,
        pace: Pace,
        *,
        keep: Callable[[Frame], None] | None = None,
        judged: bool = False,
        trouble: Callable[[str, str], None] = lambda station_id, why: None,
        trust: ssl.SSLContext | None = None,
        dial: Dial | None = None,
        broken: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        self.plan = plan
        self.pace = pace
        self.findings: list[Finding] = []
        self.messages: Counter[str] = Counter()
        self._keep = keep
        self._analyzer = Analyzer() if judged else None
        self._trouble = trouble
        self._trust = trust
        self._watch: Watch | None = None
        self._changed: Callable[[], None] = lambda: None
        self._asked: dict[tuple[Side, str], tuple[str, int]] = {}
        self._store = StationStore(plan.store) if plan.store is not None else None
        begin_us = pace.now_us()
        seeded = random.Random(plan.seed)  # noqa: S311  # a seeded station, no secret
        # Ids of a station that goes on after a kill must not repeat those it used before.
        ids = random.SystemRandom() if self._store is not None else seeded
        self.station = Station(
            plan.behaviour,
            random=seeded.random,
            new_message_id=lambda: f"{ids.getrandbits(_ID_BITS):032x}",
            acts=((begin_us + after_us, act) for after_us, act in plan.acts),
            restored=self._store.held() if self._store is not None else None,
            durable=self._store is not None,
        )
        logged = keep is not None or judged
        self.live = Live(
            self.station,
            Side.STATION,
            plan.station_id,
            pace=pace,
            log=FrameLog(self._note, pace.now_us) if logged else None,
            dial=dial or self._dial,
            store=self._store.write if self._store is not None else None,
            failed=self._failed,
            broken=broken,
        )

    def start(self) -> None:
        """Power on."""
        self.station.start(self.pace.now_us())
        self.live.obey()

    def stop(self) -> None:
        """Leave the CSMS and close the store; what was judged last is judged to its end."""
        self.live.stop()
        if self._analyzer is not None:
            self.findings += self._analyzer.finish()
        if self._store is not None:
            self._store.close()

    def act(self, act: Act) -> None:
        """Something happens to the station, now."""
        self.station.act(act, self.pace.now_us())
        self.live.obey()
        self._changed()

    def act_at(self, act: Act, at_us: int) -> None:
        """It will happen then."""
        self.station.act_at(act, at_us)
        self.live.obey()

    def watch(self, message: Watch, changed: Callable[[], None]) -> None:
        """``message`` is told of every OCPP message, ``changed`` that the station may look different."""
        self._watch, self._changed = message, changed

    def snapshot(self) -> dict[str, Any]:
        """How the station is at this moment, for a page: shapes as ``StationView`` says."""
        now_us = self.pace.now_us()
        station = self.station
        return {
            "station": self.plan.station_id,
            "csms": self.plan.url,
            "online": station.up,
            "registration": station.registration.value,
            "powered": station.powered,
            "network": station.network,
            "queue": len(station.uplink.queue),
            "connectors": [station.connector(number, now_us) for number in station.points],
        }

    async def _dial(self, peer: websocket.Peer) -> None:
        if self.plan.transport == "picows":
            from twin.io import fast_websocket

            await fast_websocket.connect(self.plan.url, peer, password=self.plan.password, trust=self._trust)
        else:
            await websocket.connect(self.plan.url, peer, password=self.plan.password, trust=self._trust)

    def _failed(self, error: LinkError) -> None:
        self._trouble(self.plan.station_id, str(error))
        self._changed()

    def _note(self, frame: Frame) -> None:
        if self._keep is not None:
            self._keep(frame)
        found = self._analyzer.receive(frame) if self._analyzer is not None else []
        self.findings += found
        if frame.kind is Kind.TEXT:
            self._tell(frame, found)
        self._changed()

    def _tell(self, frame: Frame, found: Iterable[Finding]) -> None:
        message = codec.parse(frame.text or "").message
        if message is None or frame.sender is None:
            return
        entry: dict[str, Any] = {"round_trip_ms": None}
        match message:
            case Call():
                entry |= {"kind": "call", "action": message.action}
                self.messages[message.action] += 1
                if len(self._asked) < _MOST_PENDING:
                    self._asked[frame.sender, message.message_id] = (message.action, frame.at_us)
            case CallResult() | CallError():
                asked = self._asked.pop((frame.sender.other, message.message_id), None)
                kind = "error" if isinstance(message, CallError) else "result"
                entry |= {"kind": kind, "action": asked[0] if asked else ""}
                entry["round_trip_ms"] = (frame.at_us - asked[1]) / 1000 if asked else None
        if self._watch is None:
            return
        shown = [
            {"rule": finding.rule, "severity": finding.severity.value, "message": finding.detail}
            for finding in found
        ]
        entry |= {
            "seq": frame.seq,
            "at_us": frame.at_us,
            "sender": frame.sender.value,
            "message_id": message.message_id,
            "text": frame.text,
            "findings": shown,
        }
        self._watch(entry)


async def run_stations(
    stations: list[LiveStation], *, for_s: float | None, spread_s: float, broken: "asyncio.Future[None]"
) -> None:
    """Power on one after the other within ``spread_s``; run until ``for_s`` have passed, or cancelled.

    Raises what ``broken`` is given: a station that could not store what it must.
    """
    loop = asyncio.get_running_loop()
    step_s = spread_s / max(len(stations), 1)
    timers = [loop.call_later(number * step_s, one.start) for number, one in enumerate(stations)]
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(for_s):
                await broken
    finally:
        for timer in timers:
            timer.cancel()
        for one in stations:
            one.stop()
        await asyncio.sleep(0.05)  # the Close frames leave
