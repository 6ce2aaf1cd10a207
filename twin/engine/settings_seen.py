"""Where a configuration value was seen: read, written, refused, unknown, or set by BootNotification.conf."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import msgspec

from twin.engine.latencies import Place
from twin.protocol.config_keys import lookup
from twin.protocol.fold import integer, word
from twin.rules import Step

_MOST_CHANGES = 8  # the newest; the first is kept beside them


class Source(StrEnum):
    """How a capture shows a value, or that there is none."""

    READ = "GetConfiguration"
    UNKNOWN = "GetConfiguration, unknownKey"
    ABSENT = "GetConfiguration, not listed"
    WRITTEN = "ChangeConfiguration"
    AFTER_REBOOT = "ChangeConfiguration, after a reboot"
    REFUSED = "ChangeConfiguration, Rejected"
    NOT_SUPPORTED = "ChangeConfiguration, NotSupported"
    BOOT = "BootNotification.conf"


IN_FORCE = frozenset(
    {Source.READ, Source.UNKNOWN, Source.ABSENT, Source.WRITTEN, Source.AFTER_REBOOT, Source.BOOT}
)
"""Sources that say something of the value itself; a refused write says only what it is not."""


class Sighting(msgspec.Struct, frozen=True):
    """One look at a key. ``value`` is the wire's text; ``None`` where the station has no such key."""

    source: Source
    value: str | None
    place: Place
    at_us: int
    readonly: bool | None = None


class KeySeen(msgspec.Struct):
    """A key and what was seen of it: the first sighting and the newest ones, repeats left out."""

    key: str
    held: list[Sighting] = msgspec.field(default_factory=list)
    count: int = 0

    def add(self, sighting: Sighting) -> None:
        self.count += 1
        last = self.held[-1] if self.held else None
        if last is None or (last.source, last.value) != (sighting.source, sighting.value):
            self.held.append(sighting)
            if len(self.held) > _MOST_CHANGES + 1:
                del self.held[1]

    @property
    def in_force(self) -> Sighting | None:
        """The newest sighting that says what the value is."""
        return next((seen for seen in reversed(self.held) if seen.source in IN_FORCE), None)


def sightings(step: Step, place: Place) -> Iterator[tuple[str, Sighting]]:
    """What one answer says of configuration keys."""
    match step.event.action:
        case "GetConfiguration":
            yield from _read(step, place)
        case "ChangeConfiguration":
            yield from _written(step, place)
        case "BootNotification":
            interval_s = integer(step.payload.get("interval"))
            if step.payload.get("status") == "Accepted" and interval_s is not None and interval_s > 0:
                value = str(interval_s)
                yield "HeartbeatInterval", Sighting(Source.BOOT, value, place, step.event.at_us)


def _read(step: Step, place: Place) -> Iterator[tuple[str, Sighting]]:
    at_us = step.event.at_us
    for entry in _list(step.payload.get("configurationKey")):
        if isinstance(entry, dict) and isinstance(entry.get("key"), str):
            key, value, readonly = entry["key"], entry.get("value"), entry.get("readonly")
            text = _shown(key, value) if isinstance(value, str) else ""
            flag = readonly if isinstance(readonly, bool) else None
            yield key, Sighting(Source.READ, text, place, at_us, flag)
    for key in _list(step.payload.get("unknownKey")):
        if isinstance(key, str):
            yield key, Sighting(Source.UNKNOWN, None, place, at_us)


_ANSWERS = {
    "Accepted": Source.WRITTEN,
    "RebootRequired": Source.AFTER_REBOOT,
    "Rejected": Source.REFUSED,
    "NotSupported": Source.NOT_SUPPORTED,
}


def _written(step: Step, place: Place) -> Iterator[tuple[str, Sighting]]:
    key, value = word(step.asked.get("key")), step.asked.get("value")
    source = _ANSWERS.get(word(step.payload.get("status")))
    if key and isinstance(value, str) and source is not None:
        yield key, Sighting(source, _shown(key, value), place, step.event.at_us)


def _shown(key: str, value: str) -> str:
    """A secret is never kept; nobody needs more than 500 characters (§7.29)."""
    known = lookup(key)
    return "(not shown)" if known and known.secret else value[:500]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
