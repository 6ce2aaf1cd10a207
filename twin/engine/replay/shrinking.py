"""A divergence cut down to the shortest pair of captures that still shows it.

Delta debugging (Zeller and Hildebrandt, 2002) over pairs of exchanges: what is dropped is dropped on both
sides, so that nothing new differs.
"""

from collections.abc import Callable, Sequence

import msgspec

from twin.engine.replay.diff import Comparison, diff, pairs_of
from twin.engine.replay.fields import Matchers
from twin.engine.replay.links import Ends
from twin.engine.replay.outcome import Diff, Divergence
from twin.engine.replay.streams import Item
from twin.model import Frame, Kind

_LINKS = (Kind.OPEN, Kind.CLOSE, Kind.END, Kind.REFUSED)


class Unit(msgspec.Struct, frozen=True):
    """What is kept or dropped together: ``seq`` of frames of each side."""

    recorded: frozenset[int]
    replayed: frozenset[int]


class Shrunk(msgspec.Struct, frozen=True):
    """The shortest pair found, and how many comparisons it took."""

    recorded: list[Frame]
    replayed: list[Frame]
    divergence: Divergence
    tried: int


def shrink(
    recorded: Sequence[Frame],
    replayed: Sequence[Frame],
    divergence: Divergence,
    matchers: Matchers,
    whole: Diff,
    tell: Callable[[int, int], None] = lambda units, tried: None,
) -> Shrunk:
    """Cut two captures down to what shows ``divergence`` of their comparison ``whole``.

    ``tell`` is called with the units left and the comparisons made.
    """
    comparison = Comparison(timed=whole.timed, ends=Ends.ALL if divergence.of_connections else Ends.NONE)
    units = _units(recorded, replayed, matchers, timed=whole.timed)
    tried = 0

    def shown(kept: Sequence[Unit]) -> Divergence | None:
        nonlocal tried
        tried += 1
        tell(len(kept), tried)
        ours, theirs = _cut(recorded, kept, "recorded"), _cut(replayed, kept, "replayed")
        found = diff(ours, theirs, matchers, comparison).divergences
        return next((one for one in found if one.signature == divergence.signature), None)

    kept = _minimal(_first_guess(units, divergence, shown) or units, lambda some: shown(some) is not None)
    return Shrunk(
        _cut(recorded, kept, "recorded"), _cut(replayed, kept, "replayed"), shown(kept) or divergence, tried
    )


def _units(
    recorded: Sequence[Frame], replayed: Sequence[Frame], matchers: Matchers, *, timed: bool
) -> list[Unit]:
    units = [
        Unit(_seqs(one), _seqs(other)) for one, other in pairs_of(recorded, replayed, matchers, timed=timed)
    ]
    sides = (
        [seq for unit in units for seq in unit.recorded],
        [seq for unit in units for seq in unit.replayed],
    )
    for frames, seqs, of_recorded in ((recorded, set(sides[0]), True), (replayed, set(sides[1]), False)):
        for frame in frames:  # texts that are part of no exchange
            if frame.kind is Kind.TEXT and frame.seq not in seqs:
                alone, none = frozenset((frame.seq,)), frozenset[int]()
                units.append(Unit(alone, none) if of_recorded else Unit(none, alone))
    return units


def _seqs(item: Item | None) -> frozenset[int]:
    if item is None:
        return frozenset()
    return frozenset(seq for seq in (item.seq, item.answer_seq) if seq is not None)


def _first_guess(
    units: list[Unit], divergence: Divergence, shown: Callable[[Sequence[Unit]], Divergence | None]
) -> list[Unit] | None:
    """Often the exchange itself is enough, or those before it in a small window: try that first."""
    places = [
        place
        for place, unit in enumerate(units)
        if {divergence.recorded_seq, divergence.call_seq} & unit.recorded
        or divergence.replayed_seq in unit.replayed
    ]
    if not places:
        return [] if shown([]) else None
    for reach in (0, 1, 4, 16, 64):
        near = units[max(0, min(places) - reach) : max(places) + reach + 1]
        if shown(near):
            return near
    return None


def _minimal(units: list[Unit], shows: Callable[[Sequence[Unit]], bool]) -> list[Unit]:
    """One-minimal: without any single one of the units left, it does not show."""
    parts = 2
    while len(units) >= 2:
        size = max(1, len(units) // parts)
        chunks = [units[start : start + size] for start in range(0, len(units), size)]
        for number in range(len(chunks)):
            rest = [unit for other, chunk in enumerate(chunks) if other != number for unit in chunk]
            if shows(rest):
                units, parts = rest, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(len(units), parts * 2)
    if len(units) == 1 and shows([]):
        return []
    return units


def _cut(frames: Sequence[Frame], kept: Sequence[Unit], side: str) -> list[Frame]:
    seqs = {seq for unit in kept for seq in getattr(unit, side)}
    texts = {frame.link for frame in frames if frame.seq in seqs}
    return [
        frame
        for frame in frames
        if frame.seq in seqs or (frame.kind in _LINKS and (frame.link in texts or not seqs))
    ]
