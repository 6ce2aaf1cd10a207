"""Three conversations for each rule of some families (connection)."""

from tests.rules.three_ways import ThreeWays

CASES: tuple[ThreeWays, ...] = ()
