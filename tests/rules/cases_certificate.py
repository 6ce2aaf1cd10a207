"""Three conversations for each rule of some families (certificate)."""

from tests.rules.three_ways import ThreeWays

CASES: tuple[ThreeWays, ...] = ()
