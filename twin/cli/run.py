"""twin run: the station, live, against any CSMS; one of them or a fleet, with a page to handle it."""

import asyncio
import contextlib
import itertools
import os
import random
import runpy
import secrets
import signal
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

from twin.cli.common import FINDINGS, UNREADABLE, USAGE, fail, note, say, say_json
from twin.engine.csms import Csms, Script
from twin.engine.station import PROFILES, QUIRKS, Act, Behaviour
from twin.engine.station.scenario import ScenarioError, built_in, built_ins, read_scenario
from twin.io import clock
from twin.io.driver import Live, Pace
from twin.io.running import LiveStation, Plan, run_stations
from twin.io.segments import CaptureWriter
from twin.io.station_store import StoreError
from twin.io.websocket import listen, url_of
from twin.model import Fault, Frame, Severity, Side
from twin.report.words import plain

_COMMIT_S = 1.0
_MOST_TROUBLES = 5  # told of one station; further ones are counted
_MOST_SHOWN = 8


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked of ``twin run``, by the names of its options."""

    csms: str | None = None
    station_id: str = "OTMK-0001"
    connectors: int = 20
    scenario: str | None = None
    seed: int = 1
    quirks: str | None = None
    variant: str = "certified"
    behaviour: Path | None = None
    speed: float = 1.0
    fleet: int = 1
    picows: bool = False
    spread_s: float | None = None
    for_s: float | None = None
    state: Path | None = None
    output: Path | None = None
    page: str | None = None
    as_json: bool = False


def run(options: Options) -> int:
    """Run stations until they are told to stop; the exit code."""
    behaviour = _behaviour(options)
    if options.csms is not None:
        try:
            parse_uri(url_of(options.csms, options.station_id))
        except (InvalidURI, ValueError) as error:
            raise fail(f"--csms {options.csms}: expected ws://HOST:PORT/PATH: {error}", USAGE) from error
    if options.page is not None and options.fleet > 1:
        raise fail("--page shows one station: leave --fleet out", USAGE)
    if options.picows and find_spec("picows") is None:
        raise fail('--picows needs the extra "scale": pip install "octoflex-twin[scale]"', USAGE)
    if options.output is not None and options.output.exists():
        raise fail(f"{options.output} exists: a capture is never appended to", USAGE)
    try:
        return asyncio.run(_run(options, behaviour))
    except (StoreError, OSError, ValueError) as error:
        raise fail(str(error), UNREADABLE) from error


def list_quirks(*, as_json: bool) -> None:
    """Every quirk: what it does, where it was seen, the rule that finds it."""
    if as_json:
        say_json({"quirks": [msgspec.to_builtins(quirk) for quirk in QUIRKS.values()]})
        return
    for quirk in QUIRKS.values():
        say(f"{quirk.name:<22} {quirk.rule}  {quirk.does} ({quirk.seen})")


async def _run(options: Options, behaviour: Behaviour) -> int:
    async with contextlib.AsyncExitStack() as stack:
        pace = Pace(options.speed)
        csms = options.csms or await _own_csms(stack, pace)
        keep = _kept(options.output, stack) if options.output is not None else None
        trouble = _Troubles(options.fleet)
        broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def fall(error: Exception) -> None:
            if not broken.done():
                broken.set_exception(error)

        stations = []
        for plan in _plans(options, behaviour, csms):
            judged = options.fleet == 1
            stations.append(LiveStation(plan, pace, keep=keep, judged=judged, trouble=trouble, broken=fall))
        running = asyncio.ensure_future(
            run_stations(
                stations,
                for_s=options.for_s,
                spread_s=_spread_s(options),
                broken=broken,
            )
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        if options.page is not None:
            await _serve_page(options.page, stations[0], stack)
        note(f"{_counted(len(stations), 'station')} at {csms}; Ctrl-C ends")
        with contextlib.suppress(asyncio.CancelledError):
            await running
    trouble.tell_rest()
    return _tell(stations, as_json=options.as_json)


async def _own_csms(stack: contextlib.AsyncExitStack, pace: Pace) -> str:
    """Where no CSMS is named, one of ours on loopback: every station has its own, which accepts all."""
    ids = itertools.count(1)

    def peer_of(path: str, authorization: str) -> Live:
        machine = Csms(
            Script(interval_s=30),
            new_message_id=lambda: str(uuid.uuid4()),
            new_transaction_id=lambda: next(ids),
        )
        return Live(machine, Side.CSMS, path.rsplit("/", 1)[-1], pace=pace)

    server = await listen("127.0.0.1", 0, peer_of)
    stack.callback(server.close)
    return server.url


def _plans(options: Options, behaviour: Behaviour, csms: str) -> Iterator[Plan]:
    text = _scenario(options.scenario)
    password = os.environ.get("TWIN_STATION_PASSWORD", "")
    for number in range(options.fleet):
        name = options.station_id if options.fleet == 1 else f"{options.station_id}-{number + 1:04}"
        seed = options.seed + number
        yield Plan(
            station_id=name,
            url=url_of(csms, name),
            behaviour=behaviour,
            seed=seed,
            acts=tuple(text(random.Random(seed).random)),  # noqa: S311  # a seeded scenario, no secret
            store=options.state / f"{name}.sqlite" if options.state is not None else None,
            password=password,
            transport="picows" if options.picows else "websockets",
        )


def _scenario(name: str | None) -> Callable[[Callable[[], float]], list[tuple[int, Act]]]:
    """What makes the acts of one station from its random numbers: TOML, Python, or one that comes along."""
    if name is None:
        return lambda random: []
    path = Path(name)
    text = built_in(name)
    if text is None:
        if not path.is_file():
            raise fail(f"--scenario {name}: no such file; built in are {', '.join(built_ins())}", USAGE)
        if path.suffix == ".py":
            return _python_scenario(path)
        text = path.read_text(encoding="utf-8", errors="replace")
    try:
        read_scenario(text, lambda: 0.5)
    except ScenarioError as error:
        raise fail(f"--scenario {name}: {error}", USAGE) from error
    known = text
    return lambda random: read_scenario(known, random)


def _python_scenario(path: Path) -> Callable[[Callable[[], float]], list[tuple[int, Act]]]:
    """``acts(random)`` of a Python file: (seconds since the start, Act) pairs."""
    acts = runpy.run_path(str(path)).get("acts")
    if not callable(acts):
        raise fail(f"--scenario {path}: it defines no function acts(random)", USAGE)
    return lambda random: [(int(at_s * 1_000_000), act) for at_s, act in acts(random)]


def _behaviour(options: Options) -> Behaviour:
    if options.variant not in PROFILES:
        raise fail(f"--variant {options.variant}: there are {', '.join(PROFILES)}", USAGE)
    told = msgspec.to_builtins(PROFILES[options.variant])
    try:
        if options.behaviour is not None:
            told |= msgspec.toml.decode(options.behaviour.read_bytes())
        told["connectors"] = options.connectors
        if options.quirks is not None:
            told["quirks"] = sorted({*told.get("quirks", ()), *_quirks(options.quirks)})
        return msgspec.convert(told, Behaviour)
    except (msgspec.ValidationError, msgspec.DecodeError, ValueError, OSError) as error:
        raise fail(str(error), USAGE) from error


def _quirks(named: str) -> list[str]:
    """Names with commas between, or a file with a name a line (# begins a remark)."""
    path = Path(named)
    if path.is_file():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return [name for line in lines if (name := line.partition("#")[0].strip())]
    return [name.strip() for name in named.split(",") if name.strip()]


def _spread_s(options: Options) -> float:
    """A fleet is switched on over some seconds, so that a thousand handshakes do not come at once."""
    return options.spread_s if options.spread_s is not None else options.fleet / 200


def _kept(output: Path, stack: contextlib.AsyncExitStack) -> Callable[[Frame], None]:
    writer = CaptureWriter(output, created_us=clock.now().wall_us, vantage="station")
    last_us = [0]

    def keep(frame: Frame) -> None:
        writer.write(frame)
        last_us[0] = frame.at_us

    async def commit() -> None:
        while True:
            await asyncio.sleep(_COMMIT_S)
            writer.commit(clock.now().mono_ns)

    committing = asyncio.ensure_future(commit())
    stack.callback(lambda: writer.close(last_us[0]))
    stack.callback(committing.cancel)
    return keep


async def _serve_page(where: str, station: LiveStation, stack: contextlib.AsyncExitStack) -> None:
    from twin.io.station_page import StationPage

    host, _, port = where.rpartition(":")
    if not port.isdecimal():
        raise fail(f"--page {where}: expected HOST:PORT", USAGE)
    page = StationPage(station, token=secrets.token_urlsafe(24))
    try:
        url = await stack.enter_async_context(page.serve(host.strip("[]") or "127.0.0.1", int(port)))
    except (OSError, ValueError) as error:
        raise fail(f"--page {where}: {error}", USAGE) from error
    station.watch(page.message, page.changed)
    note(f"page {url}")


class _Troubles:
    """Connections that could not be made: the first few of each station are told, the rest are counted."""

    def __init__(self, fleet: int) -> None:
        self._most = _MOST_TROUBLES if fleet == 1 else 1
        self._seen: Counter[str] = Counter()

    def __call__(self, station_id: str, why: str) -> None:
        self._seen[station_id] += 1
        if self._seen[station_id] <= self._most and len(self._seen) <= _MOST_SHOWN:
            note(f"{station_id}: {why}; trying again")

    def tell_rest(self) -> None:
        if (whole := sum(self._seen.values())) > self._most:
            note(f"{whole} connections could not be made")


def _tell(stations: list[LiveStation], *, as_json: bool) -> int:
    """What the run came to; 1 where the rules found an error of the station."""
    messages: Counter[str] = Counter()
    for one in stations:
        messages.update(one.messages)
    found = [finding for one in stations for finding in one.findings]
    ours = [f for f in found if f.fault is Fault.STATION and f.severity is Severity.ERROR]
    facts: dict[str, Any] = {
        "stations": len(stations),
        "calls": sum(one.station.uplink.calls for one in stations),
        "actions": dict(messages.most_common()),
        "findings": [
            {"rule": f.rule, "severity": f.severity.value, "fault": f.fault.value, "detail": f.detail}
            for f in found
        ],
    }
    if as_json:
        say_json(facts)
    else:
        said = ", ".join(f"{count} {action}" for action, count in messages.most_common())
        calls = f"{_counted(len(stations), 'station')}, {facts['calls']:,} CALLs of theirs"
        say(calls + (f"; both ways {said}" if said else ""))
        for finding in found[:_MOST_SHOWN]:
            say(plain(f"  {finding.severity.value:<7} {finding.rule}  {finding.detail}"))
        if len(found) > _MOST_SHOWN:
            say(f"  and {len(found) - _MOST_SHOWN} findings more (--json lists them all)")
    return FINDINGS if ours else 0


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number != 1 else ''}"
