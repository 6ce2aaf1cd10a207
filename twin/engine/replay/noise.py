"""What differs between two runs of the same thing, as proposed rules: for a person to read, never applied."""

import json
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from twin.engine.replay.diff import Comparison, diff, pairs_of, sent_us
from twin.engine.replay.fields import ABSENT, Leaf, Matchers, decimal_of
from twin.engine.replay.streams import short
from twin.model import Frame
from twin.protocol.timestamps import SECOND_US, Stamp, parse_stamp

ENOUGH = 20  # values; fewer prove nothing
_SHOWN = 4
_MOST_DIGITS = 18  # apart so far, two numbers have nothing in common
_SAMPLED = "sampledValue/*/value"


class Learned(msgspec.Struct, frozen=True):
    """``beyond``: what differed and no rule of a field can cover, with how often."""

    proposals: tuple["Proposal", ...]
    beyond: tuple[tuple[str, int], ...] = ()


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """The weakest kind that covers what was seen at one path. ``how`` is "" where no kind covers it.

    ``compared`` counts the exchanges of that action, ``differing`` those in which the path differed.
    """

    action: str
    path: str
    how: str
    tolerance: float
    compared: int
    differing: int
    values: tuple[tuple[str, str], ...]

    @property
    def enough(self) -> bool:
        return self.compared >= ENOUGH


class _Seen(NamedTuple):
    """One difference at a path: both values, and how much later the replayed one was sent."""

    recorded: Leaf
    replayed: Leaf
    moved_us: int


def learn(one: Iterable[Frame], other: Iterable[Frame], matchers: Matchers) -> Learned:
    """Compare two runs that should be equal, and propose a rule for every path at which they are not."""
    left, right = list(one), list(other)
    found = diff(left, right, matchers, Comparison())
    pairs = [(a, b) for a, b in pairs_of(left, right, matchers, timed=found.timed) if a and b]
    compared = Counter(old.action for old, _ in pairs)
    seen: dict[tuple[str, str], list[_Seen]] = {}
    of_seq = {old.seq: (old, new) for old, new in pairs}
    beyond: Counter[str] = Counter()
    for divergence in found.divergences:
        pair = of_seq.get(divergence.call_seq or 0) if divergence.kind == "changed" else None
        fields = [change for change in divergence.changes if change.general] if pair is not None else []
        for change in fields:
            assert pair is not None
            sent = sent_us(*pair, change.path)
            ours, theirs = (side.fields.get(change.path, ABSENT) for side in pair)
            seen.setdefault((divergence.action, change.general), []).append(
                _Seen(ours, theirs, sent[1] - sent[0])
            )
        if not fields or len(fields) < len(divergence.changes):
            beyond[" ".join((divergence.kind, divergence.action))] += 1
    return Learned(
        proposals=tuple(
            _proposal(action, path, values, compared[action])
            for (action, path), values in sorted(seen.items())
        ),
        beyond=tuple(beyond.items()),
    )


def _proposal(action: str, path: str, seen: list[_Seen], compared: int) -> Proposal:
    how, tolerance = _weakest(path, seen)
    values = tuple(dict.fromkeys((short(one.recorded.value), short(one.replayed.value)) for one in seen))
    return Proposal(
        action=action,
        path=path,
        how=how,
        tolerance=tolerance,
        compared=compared,
        differing=len(seen),
        values=values[:_SHOWN],
    )


def _weakest(path: str, seen: list[_Seen]) -> tuple[str, float]:
    """numeric or time with what they were apart at most, else type; nothing for what is not always there."""
    if any(ABSENT in (one.recorded, one.replayed) for one in seen):
        return "", 0.0
    if all(_is_number(path, leaf) for one in seen for leaf in (one.recorded, one.replayed)):
        pairs = [(decimal_of(one.recorded.value), decimal_of(one.replayed.value)) for one in seen]
        apart = max(abs(ours - theirs) for ours, theirs in pairs if ours is not None and theirs is not None)
        return ("numeric", _up(float(apart))) if apart.adjusted() < _MOST_DIGITS else ("type", 0.0)
    stamps = [(_stamp(one.recorded), _stamp(one.replayed), one.moved_us) for one in seen]
    apart_us = []
    for ours_at, theirs_at, moved_us in stamps:
        if ours_at is None or theirs_at is None or ours_at.zone != theirs_at.zone:
            return "type", 0.0
        later_us = theirs_at.at_us - ours_at.at_us
        apart_us.append(min(abs(later_us), abs(later_us - moved_us)))
    return "time", _up(max(apart_us) / SECOND_US)


def _is_number(path: str, leaf: Leaf) -> bool:
    """A number of JSON, or one that a SampledValue spells; a text of digits is a name."""
    spelt = isinstance(leaf.value, str)
    return decimal_of(leaf.value) is not None and (not spelt or path.endswith(_SAMPLED))


def _stamp(leaf: Leaf) -> Stamp | None:
    return parse_stamp(leaf.value) if isinstance(leaf.value, str) else None


def _up(value: float) -> float:
    """Two digits, rounded up: a tolerance is no measurement."""
    if value <= 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / step) * step:.12g}")


def as_toml(learned: Learned, names: tuple[str, str]) -> str:
    """The proposals as rules for a person to move into the project's file."""
    lines = [
        f"# Proposed from {names[0]} and {names[1]}, two runs that should be equal.",
        "# Nothing of this applies: move what you approve of into the file that --matchers names.",
    ]
    for one in learned.proposals:
        lines += ["", f"# {one.differing} of {one.compared} {one.action} differed there: {_seen(one.values)}"]
        if not one.how:
            lines.append("# Sometimes it is not there at all: no rule covers that.")
            continue
        if not one.enough:
            lines.append(f"# Insufficient: fewer than {ENOUGH} were compared.")
        rule: dict[str, Any] = {"action": one.action, "path": one.path, "how": one.how}
        if one.tolerance:
            rule["tolerance"] = one.tolerance
        lines += ["[[match]]", *(f"{key} = {json.dumps(value)}" for key, value in rule.items())]
    if learned.beyond:
        lines += ["", "# No rule of a field covers what else differed; a baseline can:"]
        lines += [f"# {count} times: {what}" for what, count in learned.beyond]
    return "\n".join(lines) + "\n"


def _seen(values: Iterable[tuple[str, str]]) -> str:
    return "; ".join(f"{json.dumps(ours)} and {json.dumps(theirs)}" for ours, theirs in values)
