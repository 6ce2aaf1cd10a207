"""The rule book's alterations over captures of the station: other seeds and latencies, the same bars."""

import pytest

from tests.engine.stations import findings
from tests.rules.conversations import SCENARIOS, scenario
from tests.rules.mutations import MUTATIONS
from tests.rules.test_mutations import SHARE, missed
from twin.model import Severity

SEEDS = (2, 3)
LEAST = 1_000


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_is_said_of_the_unaltered_captures(name: str, seed: int) -> None:
    loud = [f for f in findings(scenario(name, seed).frames()) if f.severity is not Severity.NOTE]
    assert [(finding.rule, finding.detail) for finding in loud] == []


@pytest.mark.slow
def test_alterations_of_station_captures_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """Each over one seed; `make soak` has all of them over three."""
    results = [missed(mutation, SEEDS[number % len(SEEDS)]) for number, mutation in enumerate(MUTATIONS)]
    total = sum(number for number, _ in results)
    unseen = [one for _, lost in results for one in lost]
    with capsys.disabled():
        print(f"\n{total} alterations of station captures, {len(unseen)} not reported")  # noqa: T201  # the figure
    assert total >= LEAST
    assert len(unseen) <= (1 - SHARE) * total, unseen
