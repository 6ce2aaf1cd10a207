"""Which recorded CALL a live one is: by action and content, each recording once, first in first out.

Never by messageId, which is new on every connection, and never by time.
"""

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Any

import msgspec

from twin.engine.recording import Exchange
from twin.engine.replay.binding import SPOTS
from twin.engine.replay.fields import ABSENT, How, Leaf, Matchers
from twin.engine.replay.outcome import Change
from twin.engine.replay.streams import Key, key_of, short, subject_of

_LOOK_AHEAD = 50  # recorded CALLs among which the closest is looked for


class Miss(msgspec.Struct, frozen=True, kw_only=True):
    """A live CALL that no recording covers, and the recorded one that comes closest.

    ``fields`` counts the fields of both, ``changes`` those that differ; ``consumed``: the closest had been
    played already.
    """

    action: str
    payload: Any
    at_us: int
    closest_seq: int | None = None
    consumed: bool = False
    fields: int = 0
    changes: tuple[Change, ...] = ()


class _Known(msgspec.Struct):
    seq: int
    fields: dict[str, Leaf]
    consumed: bool = False


class Recorded:
    """The recorded CALLs of the live side, each of which a live CALL may consume once."""

    def __init__(self, exchanges: Iterable[Exchange], matchers: Matchers) -> None:
        self._matchers = matchers
        self._by_key: dict[tuple[str, Key], deque[_Known]] = {}
        self._by_subject: dict[tuple[str, str], deque[_Known]] = {}
        self._by_seq: dict[int, _Known] = {}
        self._by_action: dict[str, deque[_Known]] = {}
        for exchange in exchanges:
            if exchange.call.frame is None:
                continue
            action, payload = exchange.call.action, getattr(exchange.call.message, "payload", None)
            fields = self._flat(action, payload)
            known = _Known(exchange.call.frame.seq, fields)
            self._by_key.setdefault((action, key_of(fields)), deque()).append(known)
            self._by_subject.setdefault((action, subject_of(action, payload)), deque()).append(known)
            self._by_action.setdefault(action, deque()).append(known)
            self._by_seq[known.seq] = known

    def consumed(self, seq: int) -> bool:
        return self._by_seq[seq].consumed

    def take(self, action: str, payload: Any) -> int | None:
        """``seq`` of the recorded CALL that a live one (with recorded values) is, if with differences."""
        fields = self._flat(action, payload)
        known = _first(self._by_key.get((action, key_of(fields))))
        if known is None:
            waiting = self._by_subject.get((action, subject_of(action, payload)))
            _first(waiting)
            near = [known for known in islice(waiting or (), _LOOK_AHEAD) if not known.consumed]
            known = min(near, key=lambda one: len(_differing(one.fields, fields)), default=None)
        if known is not None:
            known.consumed = True
        return known.seq if known is not None else None

    def miss(self, action: str, payload: Any, at_us: int) -> Miss:
        """Why nothing was found: the closest recorded CALL of that action, unconsumed before consumed."""
        fields = self._flat(action, payload)
        held = self._by_action.get(action, deque())
        while held and held[0].consumed and len(held) > _LOOK_AHEAD:
            held.popleft()
        closest = min(
            islice(held, _LOOK_AHEAD),
            key=lambda known: (known.consumed, len(_differing(known.fields, fields))),
            default=None,
        )
        if closest is None:
            return Miss(action=action, payload=payload, at_us=at_us)
        changes = []
        for path in _differing(closest.fields, fields):
            ours, theirs = closest.fields.get(path, ABSENT), fields.get(path, ABSENT)
            rule = ours.matcher or theirs.matcher
            how, source = (rule.how.value, rule.source) if rule else (How.EXACT.value, "built in")
            changes.append(
                Change(
                    path, short(ours.value), short(theirs.value), how, source, ours.general or theirs.general
                )
            )
        return Miss(
            action=action,
            payload=payload,
            at_us=at_us,
            closest_seq=closest.seq,
            consumed=closest.consumed,
            fields=len({**closest.fields, **fields}),
            changes=tuple(changes),
        )

    def _flat(self, action: str, payload: Any) -> dict[str, Leaf]:
        """The request by path; ids are bound, not compared: a new one is known only once it was matched."""
        flat = self._matchers.flat(action, "request", payload)
        return {path: leaf for path, leaf in flat.items() if not _new_id(action, leaf)}


_GIVES_IDS = frozenset(spot.action for spot in SPOTS if spot.born and not spot.answer)


def _new_id(action: str, leaf: Leaf) -> bool:
    return action in _GIVES_IDS and leaf.matcher is not None and leaf.matcher.how is How.BOUND


def _first(waiting: deque[_Known] | None) -> _Known | None:
    while waiting and waiting[0].consumed:
        waiting.popleft()
    return waiting[0] if waiting else None


def _differing(one: dict[str, Leaf], other: dict[str, Leaf]) -> list[str]:
    return [path for path in {**one, **other} if one.get(path, ABSENT).key != other.get(path, ABSENT).key]
