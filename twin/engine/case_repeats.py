"""Steps of a test case that come more than once: for each connector, or again and again at an interval."""

from collections.abc import Mapping
from typing import Any

from twin.certificate.case_words import CONNECTOR, Each, Exchange
from twin.engine.case_progress import Place
from twin.engine.case_reading import number_of_connectors, seconds
from twin.protocol.fold import integer
from twin.protocol.state import StationState
from twin.rules import Step

_MOST_CONNECTORS = 10_000


class Repeats:
    """Which connectors reported and how often a message came, of each step that is repeated."""

    def __init__(self, opened: StationState) -> None:
        self._opened = opened
        self._each: dict[Place, set[int]] = {}
        self._times: dict[Place, tuple[int, int]] = {}  # how often, when last

    def is_enough(self, place: Place, item: Exchange, step: Step, names: Mapping[str, Any]) -> bool:
        """Whether it came often enough, this time included."""
        if item.each is not None:
            told = self._each.setdefault(place, set())
            connector_id = integer(step.payload.get("connectorId"))
            if connector_id is not None and len(told) < _MOST_CONNECTORS:
                told.add(connector_id)
            return not self.silent(place, item, step, names)
        count, _ = self._times.get(place, (0, 0))
        self._times[place] = (count + 1, step.event.at_us)
        return count + 1 >= item.times

    def last_us(self, place: Place) -> int | None:
        """When it came last."""
        return self._times[place][1] if place in self._times else None

    def silent(self, place: Place, item: Exchange, step: Step, names: Mapping[str, Any]) -> list[int]:
        """The connectors that did not report; without their number, of those known when the case began."""
        number = number_of_connectors(step)
        known = set(self._opened.connectors)
        expected = known if number is None else set(range(min(number, _MOST_CONNECTORS) + 1))
        if item.each is Each.OTHER_CONNECTOR:
            expected = expected - {names.get(CONNECTOR)}
        return sorted(expected - self._each.get(place, set()))


def out_of_pace(item: Exchange, step: Step, names: Mapping[str, Any], apart_us: int) -> str:
    """How a repeated message is out of step with its interval, in words; "" if it is not."""
    every_s = seconds(item.every, step, names) if item.every is not None else None
    if not every_s:
        return ""
    slack_us = step.profile.tolerances.timer_slack_us(every_s * 1_000_000)
    if abs(apart_us - every_s * 1_000_000) <= slack_us:
        return ""
    return f"{item.action} came after {apart_us / 1e6:.0f} s where the interval is {every_s} s"
