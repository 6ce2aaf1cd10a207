"""How long things took, in bounded memory: exact up to ten thousand different values, then within 0.5 %."""

import math

import msgspec

EXACT = 10_000
"""So many different values are kept as they are; beyond them every value is rounded to three digits."""


class Place(msgspec.Struct, frozen=True, order=True):
    """A frame: ``capture`` counts the captures from 0, ``seq`` is the number inside its capture.

    As text ``#12`` is frame 12 of the first capture, ``2#12`` frame 12 of the second.
    """

    capture: int
    seq: int

    def __str__(self) -> str:
        return f"{self.capture + 1 if self.capture else ''}#{self.seq}"


class Latencies(msgspec.Struct):
    """A multiset of durations in µs. ``longest_at`` is where the longest ended."""

    count: int = 0
    longest_us: int = 0
    longest_at: Place | None = None
    exact: bool = True
    counts: dict[int, int] = msgspec.field(default_factory=dict)

    def add(self, took_us: int, at: Place) -> None:
        took_us = max(took_us, 0)
        self.count += 1
        if took_us > self.longest_us or self.longest_at is None:
            self.longest_us, self.longest_at = took_us, at
        value = took_us if self.exact else _rounded(took_us)
        self.counts[value] = self.counts.get(value, 0) + 1
        if self.exact and len(self.counts) > EXACT:
            self._round_all()

    def quantile(self, share: float) -> int | None:
        """The smallest value that at least ``share`` of all do not exceed (nearest rank), in µs."""
        return self.ranked([max(math.ceil(share * self.count), 1)])[0] if self.count else None

    def sample(self, most: int) -> list[int]:
        """All values in order, or ``most`` of them at even ranks, the shortest and the longest included."""
        if self.count <= most:
            return self.ranked(list(range(1, self.count + 1)))
        step = (self.count - 1) / (most - 1)
        return self.ranked([1 + round(index * step) for index in range(most)])

    def ranked(self, ranks: list[int]) -> list[int]:
        """The values at these ranks, 1 the shortest; ``ranks`` in rising order."""
        found: list[int] = []
        passed = 0
        for value in sorted(self.counts):
            passed += self.counts[value]
            while len(found) < len(ranks) and ranks[len(found)] <= passed:
                found.append(min(value, self.longest_us))
        return found

    def _round_all(self) -> None:
        counts: dict[int, int] = {}
        for value, number in self.counts.items():
            near = _rounded(value)
            counts[near] = counts.get(near, 0) + number
        self.counts, self.exact = counts, False


def _rounded(value: int) -> int:
    return value if value < 1000 else int(round(value, 3 - len(str(value))))
