"""What differs between two runs of the same thing, as proposed rules: for a person to read, never applied."""

import json
import math
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from twin.engine.replay.diff import Comparison, diff
from twin.engine.replay.fields import Matchers
from twin.engine.replay.outcome import Change
from twin.model import Frame
from twin.protocol.timestamps import parse_stamp

ENOUGH = 20  # values; fewer prove nothing
_SHOWN = 4


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


def learn(one: Iterable[Frame], other: Iterable[Frame], matchers: Matchers) -> Learned:
    """Compare two runs that should be equal, and propose a rule for every path at which they are not."""
    left, right = list(one), list(other)
    found = diff(left, right, matchers, Comparison())
    compared: dict[str, int] = {}
    for action in _actions(left):
        compared[action] = compared.get(action, 0) + 1
    seen: dict[tuple[str, str], list[Change]] = {}
    beyond: Counter[str] = Counter()
    for divergence in found.divergences:
        fields = [one for one in divergence.changes if one.general and divergence.kind == "changed"]
        for change in fields:
            seen.setdefault((divergence.action, change.general), []).append(change)
        if not fields or len(fields) < len(divergence.changes):
            beyond[" ".join((divergence.kind, divergence.action))] += 1
    return Learned(
        proposals=tuple(
            _proposal(action, path, changes, compared.get(action, 0))
            for (action, path), changes in sorted(seen.items())
        ),
        beyond=tuple(beyond.items()),
    )


def _actions(frames: list[Frame]) -> Iterable[str]:
    from twin.engine.recording import recording_of

    return (exchange.call.action for exchange in recording_of(frames).exchanges)


def _proposal(action: str, path: str, changes: list[Change], compared: int) -> Proposal:
    how, tolerance = _weakest(changes)
    values = tuple(dict.fromkeys((change.recorded, change.replayed) for change in changes))
    return Proposal(
        action=action,
        path=path,
        how=how,
        tolerance=tolerance,
        compared=compared,
        differing=len(changes),
        values=values[:_SHOWN],
    )


def _weakest(changes: list[Change]) -> tuple[str, float]:
    """numeric or time with what they were apart at most, else type; nothing for what is not always there."""
    pairs = [(change.recorded, change.replayed) for change in changes]
    if any("absent" in pair for pair in pairs):
        return "", 0.0
    numbers = [(_number(ours), _number(theirs)) for ours, theirs in pairs]
    if all(ours is not None and theirs is not None for ours, theirs in numbers):
        apart = max(abs(ours - theirs) for ours, theirs in numbers if ours is not None and theirs is not None)
        return "numeric", _up(float(apart))
    stamps = [(parse_stamp(ours), parse_stamp(theirs)) for ours, theirs in pairs]
    if all(ours is not None and theirs is not None for ours, theirs in stamps):
        apart_us = max(abs(a.at_us - b.at_us) for a, b in stamps if a is not None and b is not None)
        return "time", _up(apart_us / 1e6)
    return "type", 0.0


def _number(text: str) -> Decimal | None:
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


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
