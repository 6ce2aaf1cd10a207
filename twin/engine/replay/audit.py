"""Values that look like ids: one side gives them, the other side says them again somewhere else.

The table of ids is the authority on what is bound; this only tells what it does not know: vendor fields,
DataTransfer, also JSON within their texts.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from twin.engine.recording import recording_of
from twin.engine.replay.binding import SPOTS, Spot
from twin.model import Event, Frame, Side
from twin.protocol.fold import TIME_FIELDS

_ENOUGH = 2  # different values that were given here and said there
_SHARE = 0.9  # of all that were said there
_LEAST = 100  # smaller numbers are counts, connectors, seconds
_SHORTEST = 4
_DEEPEST = 12

type Place = tuple[str, str]  # action, request/… or answer/…, list steps as *


class Suspect(msgspec.Struct, frozen=True):
    """Given at ``born`` by one side, said at ``used`` by the other: so many different ``values``."""

    born: str
    used: str
    values: int
    example: str


def suspects(frames: Iterable[Frame], spots: Sequence[Spot] = SPOTS) -> list[Suspect]:
    """What may be an id that ``spots`` do not know, the most frequent first."""
    known = {_place_of(spot) for spot in spots}
    born: dict[str | int, tuple[Side, Place, int]] = {}
    said: dict[Place, set[str | int]] = {}
    again: dict[tuple[Place, Place], dict[str | int, None]] = {}
    for sender, place, order, value in _values(frames):
        if place in known or not _may_be_an_id(place, value):
            continue
        said.setdefault(place, set()).add(value)
        side, first, exchange = born.setdefault(value, (sender, place, order))
        if side is not sender and exchange != order:  # within one exchange it is an echo
            again.setdefault((first, place), {})[value] = None
    found = [
        Suspect("/".join(first), "/".join(place), len(values), str(next(iter(values))))
        for (first, place), values in again.items()
        if len(values) >= _ENOUGH and len(values) >= _SHARE * len(said[place])
    ]
    return sorted(found, key=lambda one: -one.values)


def _place_of(spot: Spot) -> Place:
    return spot.action, "/".join(("answer" if spot.answer else "request", *map(str, spot.path)))


def _may_be_an_id(place: Place, value: str | int) -> bool:
    if place[1].rpartition("/")[2] in TIME_FIELDS:
        return False
    if isinstance(value, int):
        return value >= _LEAST
    return len(value) >= _SHORTEST and any(sign.isdigit() for sign in value)


def _values(frames: Iterable[Frame]) -> Iterator[tuple[Side, Place, int, str | int]]:
    """Every text and whole number of every message, in order: who said it, where, and in which exchange."""
    told: list[tuple[int, Side, str, str, int, Any]] = []
    for exchange in recording_of(frames).exchanges:
        for event, part in ((exchange.call, "request"), (exchange.answer, "answer")):
            frame = event.frame if event is not None else None
            if event is not None and frame is not None and frame.sender is not None:
                where = (exchange.call.action, part, exchange.order)
                told.append((frame.seq, frame.sender, *where, _payload(event)))
    for _, sender, action, part, order, payload in sorted(told, key=lambda one: one[0]):
        for path, value in _leaves(part, payload, _DEEPEST):
            yield sender, (action, path), order, value


def _payload(event: Event) -> Any:
    return getattr(event.message, "payload", None)


def _leaves(path: str, value: Any, depth: int) -> Iterator[tuple[str, str | int]]:
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            yield path, value
            return
    if isinstance(value, bool) or not depth:
        return
    if isinstance(value, str | int):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(f"{path}/{key}", item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(f"{path}/*", item, depth - 1)
