"""Recorded time in a replay: every mode on the virtual clock, and the original one on a real socket."""

import asyncio
import hashlib
import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.cli.test_cli import SESSION, twin
from tests.engine.replay.replays import replayed
from tests.engine.stations import BUSY_ACTS, START_US, csms, station, talk
from tests.io.live_csms import LiveCsms, serving
from twin.engine.csms import Script
from twin.engine.recording import station_links
from twin.engine.replay.player import Manner
from twin.engine.replay.timing import CAUSAL, Clockwork, Timing, timing_of
from twin.io.formats import open_capture
from twin.io.replaying import Plan, replay
from twin.io.targets import target_of
from twin.model import Frame, Kind, Side

HOP_US = 1_000


def busy() -> list[Frame]:
    """Half an hour of the station with an outage, as a proxy saw it."""
    return talk(station(acts=BUSY_ACTS[:12]), csms(Script(interval_s=30)), for_s=1_700)


def times(frames: list[Frame]) -> list[int]:
    """When the station's texts went out, in µs after its first one."""
    held = [frame.at_us for frame in frames if frame.sender is Side.STATION and frame.kind is Kind.TEXT]
    return [at_us - held[0] for at_us in held]


@pytest.mark.parametrize(
    ("text", "timing"),
    [
        ("causal", CAUSAL),
        ("original", Timing("original")),
        ("virtual", Timing("original", virtual=True)),
        ("x60", Timing("original", speed=60.0)),
        ("x0.5", Timing("original", speed=0.5)),
        ("max-gap=2.5", Timing("original", max_gap_us=2_500_000)),
    ],
)
def test_modes_as_they_are_written(text: str, timing: Timing) -> None:
    assert timing_of(text) == timing


@pytest.mark.parametrize("text", ["", "fast", "x", "x0", "x-1", "xinf", "xnan", "max-gap=", "max-gap=-2"])
def test_what_is_no_timing_says_what_is(text: str) -> None:
    with pytest.raises(ValueError, match=r"max-gap=SECONDS|a number above 0"):
        timing_of(text)


@pytest.mark.parametrize("speed", [1.0, 10.0])
def test_original_keeps_every_recorded_time(speed: float) -> None:
    frames = busy()
    player, again = replayed(frames, Timing("original", speed=speed))
    assert player.finished
    assert player.gates_relaxed == []
    recorded, played = times(frames), times(again)
    assert len(played) == len(recorded)
    off_us = [b - a / speed for a, b in zip(recorded, played, strict=True)]
    assert max(map(abs, off_us)) <= 100 * HOP_US  # a gate may open after its time, and pushes nothing else
    assert sorted(map(abs, off_us))[len(off_us) // 2] <= HOP_US


def test_causal_takes_no_time_of_its_own() -> None:
    _, again = replayed(busy(), CAUSAL)
    assert times(again)[-1] < 1_000_000


def test_silences_are_cut_to_their_limit_and_listed() -> None:
    frames = busy()
    longest_us = 2_000_000
    player, again = replayed(frames, Timing("original", max_gap_us=longest_us))
    assert player.clockwork.cut
    at_us = {frame.seq: frame.at_us for frame in frames}
    last = max(f.seq for f in frames if f.sender is Side.STATION and f.kind is Kind.TEXT)
    left_out = sum(cut for seq, cut in player.clockwork.cut if seq <= last)
    assert left_out > 0
    assert times(again)[-1] == pytest.approx(times(frames)[-1] - left_out, abs=100 * HOP_US)
    for seq, cut_us in player.clockwork.cut:
        before = max(held for number, held in at_us.items() if number < seq)
        assert at_us[seq] - before == cut_us + longest_us


def test_an_answer_takes_as_long_after_its_call_as_it_did() -> None:
    frames = station_links(list(open_capture(SESSION).frames))
    _, again = replayed(frames, Timing("original", virtual=True))
    assert latencies(again) == pytest.approx(latencies(frames), abs=3 * HOP_US / 1e6)


def latencies(frames: list[Frame]) -> list[float]:
    """How long the station took over each CALL of the CSMS, in s, by the order of the CALLs."""
    asked: dict[str, int] = {}
    took = {}
    for frame in frames:
        message = json.loads(frame.text) if frame.text else [0]
        if frame.sender is Side.CSMS and message[0] == 2:
            asked[message[1]] = frame.at_us
        elif frame.sender is Side.STATION and message[0] in (3, 4) and message[1] in asked:
            took[message[1]] = (frame.at_us - asked[message[1]]) / 1e6
    return list(took.values())


def test_a_hundred_virtual_replays_are_one() -> None:
    frames = station_links(list(open_capture(SESSION).frames))[:200]
    said = set()
    for _ in range(100):
        _, again = replayed(frames, timing_of("virtual"))
        text = "".join(f"{frame.at_us} {frame.link} {frame.kind} {frame.text}" for frame in again)
        said.add(hashlib.sha256(text.encode()).hexdigest())
    assert len(said) == 1


def test_stamps_that_go_back_hold_nothing_up() -> None:
    frames = busy()[:40]
    frames[20] = replace(frames[20], at_us=frames[20].at_us - 3_600_000_000)
    played = Clockwork(frames, Timing("original"))
    after = [played.after_us(frame.seq) for frame in frames]
    assert after == sorted(after)


async def test_original_on_a_real_socket_is_never_early() -> None:
    frames = [frame for frame in busy() if frame.at_us <= START_US + 8_000_000]
    async with serving(LiveCsms()) as served:
        plan = Plan(
            station_id="CP1", target=target_of(served.url), manner=Manner(timing=timing_of("original"))
        )
        outcome = await asyncio.to_thread(replay, frames, plan)
    player = outcome.player
    assert player.finished
    assert len(player.late_us) >= 22
    assert min(player.late_us) >= 0
    recorded, played = times(frames), times(outcome.replayed)
    assert len(played) == len(recorded)
    assert all(b >= a - 50_000 for a, b in zip(recorded, played, strict=True))


def test_the_verb_tells_lateness_and_refuses_what_cannot_be(tmp_path: Path) -> None:
    told = json.loads(twin("replay", SESSION, "--timing", "virtual", "--json").stdout)
    assert told["equal"]
    assert set(told["late_ms"]) == {"p50", "p99", "max"}
    assert json.loads(twin("replay", SESSION, "--json").stdout)["late_ms"] is None
    cut = json.loads(twin("replay", SESSION, "--timing", "max-gap=5", "--json").stdout)
    assert cut["shortened_gaps"]
    assert twin("replay", SESSION, "--timing", "slow").returncode == 2
    refused = twin("replay", SESSION, "--timing", "virtual", "--csms", "ws://127.0.0.1:9")
    assert refused.returncode == 2
    assert "jumps over time" in refused.stderr
