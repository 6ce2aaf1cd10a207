"""A day of the station with 20 connectors: frames, fold and schema verdicts, against the ``ocpp`` package.

Ours: the station against our CSMS on the virtual clock, every frame folded and validated. The peer says and
answers the very same CALLs between two of ``ocpp``'s ChargePoints on an asyncio loop whose clock jumps, with
no station behind them: parsing, validation (in the loop, not in threads) and correlation are that package's.
"""

import asyncio
import itertools
import json
import random
import selectors
import sys
import time
from typing import Any

import ocpp.messages
from _common import asked_for
from ocpp.charge_point import camel_to_snake_case
from ocpp.routing import on
from ocpp.v16 import ChargePoint, call, call_result

from twin.engine.analyzer import Analyzer
from twin.engine.csms import Csms, Script
from twin.engine.station import Act, Behaviour, Car, Station
from twin.engine.virtual import converse
from twin.model import Frame, Side

GOAL = 60
START_US = 1_795_305_600_000_000  # 2026-11-22T00:00:00Z
SECOND_US = 1_000_000
CONNECTORS = 20


def acts(day_s: int) -> list[tuple[int, Act]]:
    """Each connector charges for three hours in every four."""
    made = []
    for number in range(1, CONNECTORS + 1):
        for begin in range(60 + 20 * number, day_s, 4 * 3_600):
            at_us = START_US + begin * SECOND_US
            made += [
                (at_us, Act(do="plug", connector_id=number, car=Car(taper_from_wh=9_000))),
                (at_us + 5 * SECOND_US, Act(do="tag", tag=f"TAG{number:04}")),
                (at_us + 3 * 3_600 * SECOND_US, Act(do="unplug", connector_id=number)),
            ]
    return made


def our_day(day_s: int) -> list[Frame]:
    ids, asked, transactions = itertools.count(1), itertools.count(1), itertools.count(101)
    station = Station(
        Behaviour(),
        random=random.Random(1).random,  # noqa: S311  # a seeded station, no secret
        new_message_id=lambda: f"s{next(ids)}",
        acts=acts(day_s),
    )
    csms = Csms(
        Script(interval_s=30),
        new_message_id=lambda: f"c{next(asked)}",
        new_transaction_id=lambda: next(transactions),
    )
    station.start(START_US)
    frames = converse(
        station,
        csms,
        station_id="OTMK-0001",
        start_us=START_US,
        until_us=START_US + day_s * SECOND_US,
        connected=False,
        hop_us=40_000,
    )
    analyzer = Analyzer(rules=())
    for frame in frames:
        analyzer.steps(frame)
    return frames


class _Jumping(selectors.DefaultSelector):
    """Nothing is ever waited for: the clock of the loop jumps instead."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now_s += max(timeout or 0.0, 0.0)
        return super().select(0)


class _Pipe:
    """What ChargePoint wants of a connection."""

    def __init__(self) -> None:
        self.texts: asyncio.Queue[str] = asyncio.Queue()
        self.other: _Pipe = self

    async def recv(self) -> str:
        return await self.texts.get()

    async def send(self, text: str) -> None:
        await self.other.texts.put(text)


class _Central(ChargePoint):
    """Answers what the station of the day says."""

    @on("BootNotification")
    def boot(self, **_: Any) -> Any:
        return call_result.BootNotification("2026-11-22T00:00:00Z", 30, "Accepted")

    @on("Heartbeat")
    def heartbeat(self, **_: Any) -> Any:
        return call_result.Heartbeat("2026-11-22T00:00:00Z")

    @on("StatusNotification")
    def status(self, **_: Any) -> Any:
        return call_result.StatusNotification()

    @on("Authorize")
    def authorize(self, **_: Any) -> Any:
        return call_result.Authorize({"status": "Accepted"})

    @on("StartTransaction")
    def start_transaction(self, **_: Any) -> Any:
        return call_result.StartTransaction(101, {"status": "Accepted"})

    @on("MeterValues")
    def meter_values(self, **_: Any) -> Any:
        return call_result.MeterValues()

    @on("StopTransaction")
    def stop_transaction(self, **_: Any) -> Any:
        return call_result.StopTransaction()


def peer_day(calls: list[tuple[float, Any]]) -> int:
    """The same CALLs at the same times; how many were answered."""
    ocpp.messages.ASYNC_VALIDATION = False
    selector = _Jumping()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now_s  # type: ignore[method-assign]  # the loop's clock is the selector's

    async def day() -> int:
        ends = _Pipe(), _Pipe()
        ends[0].other, ends[1].other = ends[1], ends[0]
        station, central = ChargePoint("OTMK-0001", ends[0]), _Central("OTMK-0001", ends[1])
        reading = [asyncio.ensure_future(one.start()) for one in (station, central)]
        answered = 0
        for at_s, payload in calls:
            if at_s > selector.now_s:
                await asyncio.sleep(at_s - selector.now_s)
            answered += await station.call(payload) is not None
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        return answered

    try:
        return loop.run_until_complete(day())
    finally:
        loop.close()


def as_calls(frames: list[Frame]) -> list[tuple[float, Any]]:
    """Every CALL of the station as the peer makes it, with its second."""
    made = []
    for frame in frames:
        if frame.sender is Side.STATION and frame.text and frame.text.startswith("[2"):
            _, _, action, payload = json.loads(frame.text)
            made.append(
                ((frame.at_us - START_US) / SECOND_US, getattr(call, action)(**camel_to_snake_case(payload)))
            )
    return made


def main() -> int:
    options = asked_for(__doc__)
    day_s = 7_200 if options.quick else 86_400
    begun = time.process_time()
    frames = our_day(day_s)
    ours = time.process_time() - begun
    calls = as_calls(frames)
    begun = time.process_time()
    answered = peer_day(calls)
    theirs = time.process_time() - begun
    if answered != len(calls):
        raise SystemExit(f"the peer had {answered} of {len(calls)} CALLs answered: no ratio")
    line = {
        "name": "station_day",
        "ratio": round(theirs / ours, 2),
        "ours": round(ours, 2),
        "peer": round(theirs, 2),
        "limit": GOAL,
        "unit": f"s of CPU for {day_s / 3600:g} h, {len(frames)} frames",
        "rounds": 1,
    }
    sys.stdout.write(json.dumps(line) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
