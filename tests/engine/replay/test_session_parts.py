"""A session's parts: known from the recording, and each divergence in exactly one of them."""

import itertools

import pytest

from tests.engine.replay.regressions import FAULTS, INTERVAL_S, FaultyCsms, session
from tests.engine.stations import csms
from twin.engine.csms import Script
from twin.engine.replay.diff import Comparison, diff
from twin.engine.replay.evidence import Result
from twin.engine.replay.links import Ends
from twin.engine.replay.player import Player
from twin.engine.replay.session_parts import Played, by_parts, parts_of
from twin.engine.replay.warm import prologue_of
from twin.engine.virtual import converse


def played(fault: str, **facts: object) -> Played:
    frames = session(3)
    ids = itertools.count(1)
    player = Player(frames, new_message_id=lambda: f"p{next(ids)}")
    other = FaultyCsms(csms(Script(interval_s=INTERVAL_S)), lambda firmware: fault)
    again = converse(player, other, station_id="LIVE-1", start_us=frames[0].at_us)
    found = diff(frames, again, comparison=Comparison(timed=False, ends=Ends.BUT_LAST))
    told = {"played_to_the_end": True, "id_conflicts": [], **facts}
    passed = found.equal and told == {"played_to_the_end": True, "id_conflicts": []}
    result = Result(capture="a", station="b", live_station="c", passed=passed, diff=found, facts=told)
    return by_parts(result, frames, again)


def test_the_parts_of_a_recording() -> None:
    assert parts_of(session(3)) == ["boot", "link", "transaction-1", "transaction-2", "rest"]
    assert parts_of(session(3, remote=True))[-2:] == ["calls", "rest"]


def test_a_transaction_that_went_on_from_before_is_a_part_once_it_has_a_prologue() -> None:
    frames = session(3)
    begun = next(n for n, frame in enumerate(frames) if frame.text and "StartTransaction" in frame.text)
    cut = frames[begun + 2 :]
    assert parts_of(cut) == ["link", "transaction-1", "rest"]
    assert parts_of(prologue_of(cut) + cut) == ["link", "transaction-1", "transaction-2", "rest"]


@pytest.mark.parametrize(
    ("fault", "parts"),
    [
        ("", []),
        ("interval", ["boot"]),
        ("closed", ["link", "rest"]),
        ("error", ["transaction-1"]),
        ("id twice", ["transaction-1", "transaction-2"]),
        ("extra call", ["rest"]),
        ("wrong status", ["rest"]),
    ],
)
def test_a_fault_fails_the_parts_that_it_touches(fault: str, parts: list[str]) -> None:
    found = played(fault)
    assert [name for name, result in found.parts.items() if not result.passed] == parts
    assert not any(found.parts[name].evidence == () for name in parts)


@pytest.mark.parametrize("fault", sorted({fault for _, fault in FAULTS}))
def test_each_divergence_is_in_one_part(fault: str) -> None:
    found = played(fault)
    held = [one for result in found.parts.values() for one in result.diff.divergences]
    assert sorted(map(repr, held)) == sorted(map(repr, found.whole.diff.divergences))


@pytest.mark.parametrize("facts", [{"played_to_the_end": False}, {"id_conflicts": ["7 twice"]}])
def test_what_no_divergence_tells_fails_the_rest(facts: dict[str, object]) -> None:
    found = played("", **facts)
    assert [name for name, result in found.parts.items() if not result.passed] == ["rest"]
    assert not found.whole.passed


def test_where_there_was_no_replay_every_part_says_why() -> None:
    whole = Result(capture="a", station="b", live_station="c", passed=False, error="nobody there")
    assert Played(whole=whole).part("boot").error == "nobody there"
