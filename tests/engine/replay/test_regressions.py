"""Ten ways in which a release of a CSMS goes wrong: each is found, and the first divergence names it."""

import itertools

import pytest

from tests.engine.replay.regressions import FAULTS, INTERVAL_S, NAMED, FaultyCsms, session
from tests.engine.stations import csms
from twin.engine.csms import Script
from twin.engine.replay.diff import Comparison, diff
from twin.engine.replay.links import Ends
from twin.engine.replay.outcome import Diff
from twin.engine.replay.player import Player
from twin.engine.virtual import converse
from twin.report.replayed import headline


def replayed(number: int, fault: str) -> Diff:
    """A session against a CSMS of the next release, which has this fault."""
    frames = session(number)
    ids = itertools.count(1)
    player = Player(frames, new_message_id=lambda: f"p{next(ids)}")
    other = FaultyCsms(csms(Script(interval_s=INTERVAL_S)), lambda firmware: fault)
    again = converse(player, other, station_id="LIVE-1", start_us=frames[0].at_us)
    assert player.finished
    return diff(frames, again, comparison=Comparison(timed=False, ends=Ends.BUT_LAST))


def test_each_fault_has_a_name() -> None:
    assert sorted(NAMED) == sorted(fault for _, fault in FAULTS)
    assert len(NAMED) == 10


@pytest.mark.parametrize("number", range(0, 50, 7))
def test_a_release_without_a_fault_differs_in_nothing(number: int) -> None:
    assert replayed(number, "").divergences == ()


@pytest.mark.parametrize("fault", NAMED)
@pytest.mark.parametrize("number", [3, 44])
def test_the_first_divergence_names_the_fault(fault: str, number: int) -> None:
    first = replayed(number, fault).divergences[0]
    assert headline(first).startswith(NAMED[fault])


def test_what_came_too_much_stands_where_it_came() -> None:
    """An extra exchange has no place in the recording; it is told after what it followed, not at the end."""
    found = replayed(3, "closed").divergences
    assert [headline(one) for one in found] == [
        NAMED["closed"],
        "extra connection",
        "missing StatusNotification of the station",
    ]
    assert found[1].recorded_seq is None
