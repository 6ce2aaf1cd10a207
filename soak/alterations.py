"""The rule book's alterations over every seed of the station's captures: what `make test` does by halves."""

from typing import Any

from tests.rules.mutations import MUTATIONS
from tests.rules.test_mutations import SHARE, missed

SEEDS = (2, 3, 4)
LEAST = 3_000


def run(quick: bool) -> dict[str, Any]:
    rows = MUTATIONS[::20] if quick else MUTATIONS
    results = [missed(mutation, seed) for seed in SEEDS[: 1 if quick else None] for mutation in rows]
    total = sum(number for number, _ in results)
    unseen = [one for _, lost in results for one in lost]
    assert total >= (1 if quick else LEAST)
    assert len(unseen) <= (1 - SHARE) * total, unseen
    return {"alterations": total, "not_reported": len(unseen)}
