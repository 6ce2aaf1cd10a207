"""How two values of one field are compared: the kinds, the table that ships, and a project's own rules.

A payload is flattened to paths (``request/meterStop``, ``answer/idTagInfo/status``); lists that are sets go
by the key of their elements, other lists by number. A ``/`` in a name is written ``~1``, a ``~`` as ``~0``
(RFC 6901). Whatever no rule names is compared exactly; what is ignored is so with all below it.
"""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import StrEnum
from functools import cache
from math import isfinite
from typing import Any

import msgspec

from twin.engine.replay.binding import LOCATIONS, SPOTS, Space
from twin.protocol.actions import ACTIONS
from twin.protocol.fold import TIME_FIELDS
from twin.protocol.timestamps import SECOND_US, parse_stamp

_BUILT_IN = "built in"
_NESTS = frozenset((dict, list))
_DEEPEST = 40  # no schema of OCPP 1.6 nests deeper than ten
_encode = msgspec.json.Encoder().encode


class How(StrEnum):
    """When two values are the same; ``ignore`` needs a reason and is never built in."""

    EXACT = "exact"  # the same value after parsing: 1.0 is 1
    BOUND = "bound"  # the bijection holds
    TIME = "time"  # the same moment, or the same distance from its sending, and the same style of zone
    NUMERIC = "numeric"  # no further apart than a tolerance; without one the same number, however spelt
    MONOTONIC = "monotonic"  # any number that does not fall within its series
    SET = "set"  # a list without an order, its elements told apart by a key
    REGEX = "regex"  # both texts fit a pattern
    TYPE = "type"  # the same JSON type
    IGNORE = "ignore"


class Matcher(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the table: fields of ``action`` at ``path`` are compared ``how``.

    ``action`` and each step of ``path`` may be ``*``. ``tolerance`` is absolute, in the field's own unit
    (seconds for ``time``), ``relative`` a share of the recorded value; the larger one counts. ``key`` names
    the fields that tell the elements of a set apart; none: the whole element. ``source`` says where the line
    stands.
    """

    path: str
    how: How
    action: str = "*"
    tolerance: float = 0.0
    relative: float = 0.0
    key: tuple[str, ...] = ()
    pattern: str = ""
    reason: str = ""
    source: str = _BUILT_IN


class Leaf(msgspec.Struct, frozen=True, gc=False):
    """A flattened value and how it is compared.

    ``key`` is equal in two values that are alike but for a tolerance; ``matcher`` is the rule (``None``:
    exactly), ``general`` the path as a rule names it, list steps as ``*``.
    """

    value: Any
    key: Any
    matcher: Matcher | None = None
    general: str = ""


_SAMPLE_KEY = ("measurand", "phase", "context", "location", "unit", "format")
_CLOCK_S = 5.0  # a clock this far off is reported (clock rules: normal to 3 s)
_STAMP_S = 2.0  # stamps of one second's resolution, and a moment between reading the clock and sending
SHIPPED: tuple[Matcher, ...] = (
    Matcher(path="answer/currentTime", how=How.TIME, tolerance=_CLOCK_S),
    Matcher(action="GetConfiguration", path="request/key", how=How.SET),
    Matcher(action="GetConfiguration", path="answer/configurationKey", how=How.SET, key=("key",)),
    Matcher(action="GetConfiguration", path="answer/unknownKey", how=How.SET),
    Matcher(action="SendLocalList", path="request/localAuthorizationList", how=How.SET, key=("idTag",)),
    Matcher(action="MeterValues", path="request/meterValue/*/sampledValue", how=How.SET, key=_SAMPLE_KEY),
    Matcher(action="StopTransaction", path="request/transactionData/*/sampledValue", how=How.SET,
            key=_SAMPLE_KEY),
    *(Matcher(action=action, path="/".join(("request", *map(str, path))), how=How.TYPE)
      for action, path in LOCATIONS.items()),  # the player puts one of its own
    Matcher(action="GetDiagnostics", path="answer/fileName", how=How.TYPE),  # made anew for every upload
    Matcher(path="answer/details/*", how=How.TYPE),  # OCPP-J 1.6 §4.2.3: "in an undefined way"
)  # fmt: skip
_TIME = Matcher(path="*", how=How.TIME, tolerance=_STAMP_S)
_BOUND = Matcher(path="*", how=How.BOUND)


class Matchers:
    """A project's rules before the built-in ones; the first that fits decides."""

    def __init__(self, rules: tuple[Matcher, ...] = ()) -> None:
        self.rules = rules
        self._found: dict[str, dict[str, Matcher | None]] = {}  # by action, by path

    def of(self, action: str, path: str) -> Matcher | None:
        """The rule for a path whose list steps are written ``*``; ``None``: compared exactly."""
        known = self._found.setdefault(action, {})
        if path not in known:
            known[path] = self._look(action, path)
        return known[path]

    def _look(self, action: str, path: str) -> Matcher | None:
        for rule in (*self.rules, *SHIPPED):
            if rule.action in ("*", action) and _fits(rule.path, path):
                return rule
        if (action, path) in _bound():
            return _BOUND
        return _TIME if path.rsplit("/", 1)[-1] in TIME_FIELDS else None

    def flat(self, action: str, part: str, payload: Any) -> dict[str, Leaf]:
        """A payload by path, each leaf with its rule; ``part`` is ``request`` or ``answer``."""
        found: dict[str, Leaf] = {}
        self._walk(found, action, part, part, payload, _DEEPEST)
        return found

    def _walk(
        self, found: dict[str, Leaf], action: str, path: str, general: str, value: Any, depth: int
    ) -> None:
        """``general``: the path with list steps as ``*``; ``depth`` levels may follow."""
        kind = type(value)
        if kind not in _NESTS:
            self._put(found, action, path, general, value)
            return
        rule = self.of(action, general)
        if rule is not None and rule.how is How.IGNORE:
            return
        if not depth:
            found[path] = Leaf(
                f"nested deeper than {_DEEPEST} levels", ("deep", _spelt(value)), rule, general
            )
        elif kind is dict:
            found[path] = Leaf("{…}" if value else "{}", ("object",), rule, general)
            for key, item in value.items():
                step = _escaped(key)
                if type(item) in _NESTS:
                    self._walk(found, action, f"{path}/{step}", f"{general}/{step}", item, depth - 1)
                else:  # most are: a call less for each
                    self._put(found, action, f"{path}/{step}", f"{general}/{step}", item)
        else:
            length = None if rule is not None and rule.how is How.TYPE else len(value)
            found[path] = Leaf(f"a list of {len(value)}", ("list", length), rule, general)
            below = f"{general}/*"
            for step, item in _steps(value, rule if rule and rule.how is How.SET else None):
                self._walk(found, action, f"{path}/{step}", below, item, depth - 1)

    def _put(self, found: dict[str, Leaf], action: str, path: str, general: str, value: Any) -> None:
        try:
            matcher = self._found[action][general]
        except KeyError:
            matcher = self.of(action, general)
        if matcher is None:
            found[path] = Leaf(value, value if type(value) is str else canonical(value), None, general)
        elif matcher.how is not How.IGNORE:
            found[path] = Leaf(value, _key(value, matcher), matcher, general)


def _spelt(value: Any) -> bytes:
    try:
        return _encode(value)
    except RecursionError:
        return b""


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1") if "/" in name or "~" in name else name


def _steps(items: list[Any], rule: Matcher | None) -> Iterator[tuple[str, Any]]:
    """How the elements of a list are named: by number, or by key where the list is a set."""
    if rule is None:
        yield from ((str(number), item) for number, item in enumerate(items))
        return
    seen: dict[str, int] = {}
    for item in items:
        named = item if isinstance(item, dict) and rule.key else {"": item}
        name = _escaped(",".join(_name(named[key]) for key in (rule.key or ("",)) if key in named))
        seen[name] = seen.get(name, 0) + 1
        yield f"[{name}]" if seen[name] == 1 else f"[{name}]#{seen[name]}", item


def _name(value: Any) -> str:
    return value if isinstance(value, str) else repr(canonical(value))


def _fits(pattern: str, path: str) -> bool:
    wanted, steps = pattern.split("/"), path.split("/")
    return len(wanted) == len(steps) and all(
        want in ("*", step) for want, step in zip(wanted, steps, strict=True)
    )


@cache
def _bound() -> frozenset[tuple[str, str]]:
    return frozenset(
        (spot.action, "/".join(("answer" if spot.answer else "request", *map(str, spot.path))))
        for spot in SPOTS
        if spot.space is not Space.TAG
    )


def _key(value: Any, matcher: Matcher) -> Any:
    """What of a value is the same in two messages that are alike: what its rule leaves of it."""
    match matcher.how:
        case How.TIME:
            stamp = parse_stamp(value) if isinstance(value, str) else None
            return ("time", stamp.zone) if stamp is not None else canonical(value)
        case How.NUMERIC | How.MONOTONIC if decimal_of(value) is not None:
            return ("a number",)
        case How.REGEX if isinstance(value, str):
            return ("fits",) if re.fullmatch(matcher.pattern, value) else value
        case How.TYPE:
            return ("type", _json_type(value))
    return canonical(value)


def agree(recorded: Leaf, live: Leaf, recorded_us: int, live_us: int) -> bool:
    """Whether two values with the same key are the same; ``…_us`` is when each was sent."""
    matcher = recorded.matcher
    if matcher is None:
        return True
    if matcher.how is How.TIME and isinstance(recorded.value, str) and isinstance(live.value, str):
        ours, theirs = parse_stamp(recorded.value), parse_stamp(live.value)
        if ours is None or theirs is None:
            return True
        most_us = matcher.tolerance * SECOND_US
        moved_us = live_us - recorded_us
        apart_us = theirs.at_us - ours.at_us
        return abs(apart_us) <= most_us or abs(apart_us - moved_us) <= most_us
    if matcher.how is How.NUMERIC:
        ours_n, theirs_n = decimal_of(recorded.value), decimal_of(live.value)
        if ours_n is not None and theirs_n is not None:
            most = max(Decimal(str(matcher.tolerance)), abs(ours_n) * Decimal(str(matcher.relative)))
            return abs(theirs_n - ours_n) <= most
    return True


def apart(recorded: Leaf, live: Leaf, moved_us: int) -> str:
    """How far two values of a kind with a tolerance are apart, to the next power of ten; "" for others.

    ``moved_us`` is how much later the live one was sent: a time may have moved with it.
    """
    how = recorded.matcher.how if recorded.matcher is not None else How.EXACT
    if how is How.TIME and isinstance(recorded.value, str) and isinstance(live.value, str):
        ours, theirs = parse_stamp(recorded.value), parse_stamp(live.value)
        if ours is None or theirs is None:
            return ""
        apart_us = theirs.at_us - ours.at_us
        return decade_s(min(abs(apart_us), abs(apart_us - moved_us)))
    if how in (How.NUMERIC, How.MONOTONIC):
        one, other = decimal_of(recorded.value), decimal_of(live.value)
        return _decade(abs(one - other)) if one is not None and other is not None else ""
    return ""


def decade_s(us: int) -> str:
    return f"{_decade(Decimal(us) / SECOND_US)} s"


def _decade(value: Decimal) -> str:
    if not value:
        return "0"
    return f"1e{value.adjusted() + (value.normalize().as_tuple().digits != (1,))}"


def said(word: str) -> Leaf:
    """A leaf for what is no value of a payload: the action, the kind of answer, an absence."""
    return Leaf(word, (word,))


ABSENT = said("absent")


def falls(leaf: Leaf, series: dict[str, Decimal], stream: str, path: str) -> bool:
    """Whether a value of a ``monotonic`` field is below the last one of its series, which it joins.

    A series is a path of a stream, whatever numbers list elements have in it.
    """
    if leaf.matcher is None or leaf.matcher.how is not How.MONOTONIC:
        return False
    value = decimal_of(leaf.value)
    if value is None:
        return False
    name = " ".join((stream, *("*" if step.isdecimal() else step for step in path.split("/"))))
    before = series.get(name, value)
    series[name] = max(before, value)
    # 40.89 and then 40.8889 is one reading, rounded differently
    return value < before - Decimal(str(leaf.matcher.tolerance))


def canonical(value: Any) -> Any:
    """A value for comparison: 1.0 equals 1, nothing is rounded, no number equals a string or a boolean."""
    kind = type(value)
    if kind is str or kind is int:
        return value
    if kind is float:
        return Decimal(repr(value))
    if kind is bool or value is None:
        return ("constant", value)
    if kind is dict:
        return tuple(sorted((key, canonical(item)) for key, item in value.items()))
    return ("list", *map(canonical, value)) if kind is list else value  # a Decimal is what it is


def decimal_of(value: Any) -> Decimal | None:
    """The number that a value is or, in a SampledValue, spells."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float | Decimal):
        return Decimal(str(value))
    if (
        isinstance(value, str)
        and len(value) < 40
        and re.fullmatch(r"\s*[-+]?\d+(\.\d+)?([eE][-+]?\d{1,3})?\s*", value)
    ):
        return Decimal(value.strip())
    return None


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float | Decimal):
        return "number"
    return "string" if isinstance(value, str) else "null"


def rules_of(document: Mapping[str, Any], source: str) -> tuple[Matcher, ...]:
    """The rules of a project's file, as read from TOML: ``[[match]]`` tables in order.

    Raises ``ValueError`` that names the rule and says what is wrong with it.
    """
    unknown = set(document) - {"match"}
    if unknown:
        raise ValueError(f"{source}: unknown table {min(unknown)!r}; rules are [[match]] tables")
    found = []
    rows = document.get("match", [])
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
        where = f"{source}: rule {number}"
        try:
            rule = msgspec.convert({**row, "source": where}, Matcher)
        except (msgspec.ValidationError, TypeError) as error:
            raise ValueError(f"{where}: {error}") from error
        _check(rule, where)
        found.append(rule)
    return tuple(found)


def _check(rule: Matcher, where: str) -> None:
    if rule.how is How.IGNORE and not rule.reason.strip():
        raise ValueError(f"{where}: ignore needs a reason")
    if rule.action != "*" and rule.action not in ACTIONS:
        raise ValueError(f"{where}: {rule.action!r} is no action of OCPP 1.6")
    if any(step.isdecimal() for step in rule.path.split("/")):
        raise ValueError(f"{where}: path {rule.path!r}: write * for the elements of a list")
    if rule.path.split("/")[0] not in ("request", "answer", "*"):
        raise ValueError(f"{where}: path {rule.path!r} begins with neither request/ nor answer/")
    for name in ("tolerance", "relative"):
        if not (isfinite(value := getattr(rule, name)) and value >= 0):
            raise ValueError(f"{where}: {name} {value}: expected a number that is not negative")
    if rule.how is How.REGEX:
        try:
            re.compile(rule.pattern)
        except re.error as error:
            raise ValueError(f"{where}: pattern {rule.pattern!r}: {error}") from error
