"""Replay in numbers: how exactly recorded times are kept, a day on the virtual clock, two workers.

Three lines. The schedule error is that of ``original`` timing over a real socket; its peer is what one would
write oneself, a loop of ``asyncio.sleep(gap)`` and ``send`` over the same recording and the same CSMS, whose
error adds up. The day's peer is the recorded day itself; two workers are compared with one.
"""

import asyncio
import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import websockets
from _common import asked_for
from station_day import our_day

from twin.engine.csms import Csms, Script
from twin.engine.replay.player import Manner
from twin.engine.replay.timing import timing_of
from twin.engine.station import Act, Behaviour, Car, Station
from twin.engine.virtual import converse
from twin.io.replay_jobs import lateness
from twin.io.replaying import Plan, replay
from twin.io.segments import write_capture
from twin.io.targets import target_of
from twin.model import Frame, Kind, Side

GOAL_P99_MS, GOAL_DAY_S, GOAL_WORKERS = 20, 60, 1.6
START_US = 1_795_305_600_000_000  # 2026-11-22T00:00:00Z
SECOND_US = 1_000_000
REPOSITORY = Path(__file__).parents[1]


def session(seconds: int, seed: int, connectors: int = 2, sample_s: int = 60) -> list[Frame]:
    """One station that charges on every connector, sampled every ``sample_s``; other times by ``seed``."""
    ids, asked, numbers = itertools.count(1), itertools.count(1), itertools.count(101)
    chance = random.Random(seed)  # noqa: S311  # seeded acts, no secret
    acts = []
    for number in range(1, connectors + 1):
        begin_us = START_US + int((5 + 20 * chance.random()) * SECOND_US)
        acts += [
            (begin_us, Act(do="plug", connector_id=number, car=Car())),
            (begin_us + SECOND_US, Act(do="tag", tag=f"TAG{number:04}")),
            (
                START_US + int((seconds - 20 * chance.random()) * SECOND_US),
                Act(do="unplug", connector_id=number),
            ),
        ]
    station = Station(
        Behaviour(connectors=connectors, boot_ms=100),
        random=chance.random,
        new_message_id=lambda: f"s{next(ids)}",
        acts=acts,
    )
    write = [2, "x", "ChangeConfiguration", {"key": "MeterValueSampleInterval", "value": str(sample_s)}]
    from twin.engine.csms import Stimulus

    csms = Csms(
        Script(interval_s=30, stimuli=[Stimulus(json.dumps(write), "ChangeConfiguration", 1)]),
        new_message_id=lambda: f"c{next(asked)}",
        new_transaction_id=lambda: next(numbers),
    )
    station.start(START_US)
    return converse(
        station,
        csms,
        station_id=f"BENCH-{seed:04}",
        start_us=START_US,
        until_us=START_US + seconds * SECOND_US,
        connected=False,
        hop_us=20_000,
    )


def schedule(seconds: int) -> dict[str, Any]:
    """Lateness of every frame of the station, ours and the peer's, against one live CSMS each."""
    frames = session(seconds, 1, connectors=20, sample_s=1)
    own = sum(frame.kind is Kind.TEXT and frame.sender is Side.STATION for frame in frames)
    with subprocess.Popen(
        (sys.executable, "-m", "tests.io.live_csms"), stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    ) as csms:
        assert csms.stdout is not None
        url = csms.stdout.readline().removeprefix("listening ").strip()
        plan = Plan(
            station_id="OURS",
            target=target_of(url),
            manner=Manner(timing=timing_of("original"), gate_us=SECOND_US),
        )
        outcome = replay(frames, plan)
        theirs = asyncio.run(_sleep_loop(frames, f"{url}/PEER"))
        csms.terminate()
    ours = lateness(outcome.player.late_us)
    peer = lateness(theirs)
    assert ours is not None
    assert peer is not None
    return {
        "figure": "schedule: p99 error of original timing over a socket, ms",
        "ours": ours,
        "peer": {"name": "asyncio.sleep(gap) and send", **peer},
        "frames": own,
        "seconds": seconds,
        "ratio": round(peer["p99"] / ours["p99"], 1),
        "goal_ms": GOAL_P99_MS,
        "met": ours["p99"] <= GOAL_P99_MS,
    }


async def _sleep_loop(frames: list[Frame], url: str) -> list[int]:
    """The station's texts, each after the recorded gap to the one before it; answers are read and dropped."""
    held = [frame for frame in frames if frame.kind is Kind.TEXT and frame.sender is Side.STATION]
    late: list[int] = []
    async with websockets.connect(url, subprotocols=[websockets.Subprotocol("ocpp1.6")]) as link:

        async def read() -> None:
            async for _ in link:
                pass

        reading = asyncio.create_task(read())
        began, before_us = time.perf_counter(), held[0].at_us
        for frame in held:
            await asyncio.sleep((frame.at_us - before_us) / SECOND_US)
            before_us = frame.at_us
            await link.send(frame.text or "")
            due_us = frame.at_us - held[0].at_us
            late.append(int((time.perf_counter() - began) * SECOND_US) - due_us)
        reading.cancel()
    return late


def day(seconds: int) -> dict[str, Any]:
    """A day of 20 connectors played on the virtual clock by both sides, and compared."""
    frames = our_day(seconds)
    began = time.perf_counter()
    outcome = replay(frames, Plan(station_id="DAY", manner=Manner(timing=timing_of("virtual"))))
    took_s = time.perf_counter() - began
    assert outcome.finished
    assert outcome.diff.equal, outcome.diff.divergences[:3]
    return {
        "figure": "schedule: a day of 20 connectors in virtual timing, s",
        "ours_s": round(took_s, 2),
        "messages": sum(frame.kind is Kind.TEXT for frame in frames),
        "recorded_s": seconds,
        "ratio": round(seconds / took_s),
        "goal_s": GOAL_DAY_S,
        "met": took_s * 86_400 / seconds < GOAL_DAY_S,
    }


def workers(count: int, seconds: int) -> dict[str, Any]:
    """Captures of ten minutes each, causally against the recorded CSMS: two workers against one."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for seed in range(count):
            paths.append(Path(folder) / f"session-{seed:03}")
            write_capture(session(seconds, seed, connectors=4, sample_s=10), paths[-1], vantage="simulated")
        took: dict[int, list[float]] = {1: [], 2: []}
        for number in (1, 2, 1, 2):
            began = time.perf_counter()
            command = (
                sys.executable,
                "-m",
                "twin",
                "replay",
                *map(str, paths),
                "--workers",
                str(number),
                "--json",
            )
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
            took[number].append(time.perf_counter() - began)
            assert json.loads(done.stdout)["passed"] == count
    ratio = min(took[1]) / min(took[2])
    return {
        "figure": "schedule: two workers against one",
        "captures": count,
        "recorded_s": seconds,
        "one_s": round(min(took[1]), 2),
        "two_s": round(min(took[2]), 2),
        "ratio": round(ratio, 2),
        "goal": GOAL_WORKERS,
        "met": ratio >= GOAL_WORKERS,
    }


def main() -> int:
    quick = asked_for(__doc__).quick
    for figure in (
        lambda: schedule(10 if quick else 120),
        lambda: day(3_600 if quick else 86_400),
        lambda: workers(*((10, 300) if quick else (200, 600))),
    ):
        sys.stdout.write(json.dumps(figure()) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
