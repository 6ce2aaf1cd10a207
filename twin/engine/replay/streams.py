"""A capture as streams of exchanges: what is compared in order with what, and under which names.

Order is compared inside a stream, never across streams: two runs of one station that differ only in jitter
would otherwise look like hundreds of divergences.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from twin.engine.recording import Exchange
from twin.engine.replay.alignment import aligned
from twin.engine.replay.binding import SPOTS, Space, Spot, at_path, bound_paths, transaction_id_of
from twin.engine.replay.fields import Leaf, Matchers, said
from twin.model import CallError, Event, EventKind, Side
from twin.protocol.fold import payload_of

_key = attrgetter("key")
_SHORT = 80

type Key = frozenset[tuple[str, Any]]


class Item(msgspec.Struct, frozen=True, gc=False):
    """An exchange ready for comparison. ``key`` is equal where only times and tolerances may differ.

    ``fields`` are the payloads by path (at ``request/`` and ``answer/`` one that is no object), and under
    ``request`` and ``answer`` what they are: the action, the kind of answer.
    """

    key: Key
    exchange: Exchange
    fields: dict[str, Leaf]
    call_us: int
    answer_us: int | None
    seq: int
    answer_seq: int | None

    @property
    def action(self) -> str:
        return self.exchange.call.action

    @property
    def sender(self) -> Side:
        return self.exchange.call.sender or Side.STATION

    @property
    def synthetic(self) -> bool:
        """Answered by a model, not by the recording."""
        return marked(self.exchange, "synthetic")


def key_of(fields: dict[str, Leaf]) -> Key:
    """What two payloads have in common that are alike, whatever hashes they have."""
    return frozenset(zip(fields, map(_key, fields.values()), strict=True))


def marked(exchange: Exchange, fact: str) -> bool:
    """Whether the CALL or its answer carries a fact that whoever played it put there."""
    frames = (exchange.call.frame, exchange.answer.frame if exchange.answer else None)
    return any(frame is not None and frame.facts.get(fact) for frame in frames)


class Names:
    """What ids are called from where a capture shows them being given; any other number is what it is."""

    def __init__(self) -> None:
        self._named: dict[tuple[Space, Any], list[tuple[int, str]]] = {}
        self.starts: dict[int, str] = {}  # seq of a StartTransaction: its transaction

    def give(self, space: Space, value: Any, name: str, order: int, *, again: bool) -> None:
        """From ``order`` on. Given twice, an id keeps its first name, unless it may be used ``again``."""
        held = self._named.setdefault((space, value), [])
        if again or not held:
            held.append((order, name))

    def has(self, space: Space, value: Any) -> bool:
        return (space, value) in self._named

    def of(self, space: Space, value: Any, order: int) -> Any:
        """The name of an id in an exchange; what was not given keeps its value, and so does a wrong type."""
        if isinstance(value, bool) or not isinstance(value, int):
            return value
        names = [name for since, name in self._named.get((space, value), ()) if since <= order]
        return names[-1] if names else value


class _Birth(NamedTuple):
    """An id as it is given: by which exchange, and which number, if that is one."""

    exchange: Exchange
    value: int | None


def names_of(recorded: Iterable[Exchange], replayed: Iterable[Exchange]) -> tuple[Names, Names]:
    """Names for both captures: what one exchange gave here and its counterpart there has one name in both."""
    sides, names = (list(recorded), list(replayed)), (Names(), Names())
    counts: Counter[Space] = Counter()
    extra: list[tuple[Space, _Birth]] = []
    for spot in _BIRTHS:
        left, right = (list(_births(spot, exchanges)) for exchanges in sides)
        for a, b in aligned(left, right, partial(_birth_cost, spot)):
            if a is None and b is not None:
                extra.append((spot.space, right[b]))
                continue
            births = (None if a is None else left[a], None if b is None else right[b])
            _give(spot.space, births, names, _next_name(spot.space, counts))
    for space, birth in extra:  # behind the recorded ones, which keep their numbers
        _give(space, (None, birth), names, _next_name(space, counts))
    return names


def _next_name(space: Space, counts: Counter[Space]) -> str:
    counts[space] += 1
    return f"{_WORDS.get(space, space.value)} {counts[space]}"


_BIRTHS = tuple(spot for spot in SPOTS if spot.born)
_WORDS = {Space.TRANSACTION: "transaction"}
# OCPP 1.6 §5.15: 0 and -1 say that there is no list, or that lists are not supported.
_NO_LIST = frozenset({(Space.LIST_VERSION, 0), (Space.LIST_VERSION, -1)})


def _births(spot: Spot, exchanges: Iterable[Exchange]) -> Iterator[_Birth]:
    for exchange in exchanges:
        if exchange.call.action != spot.action:
            continue
        said = exchange.answer if spot.answer else exchange.call
        value = at_path(payload_of(said), spot.path) if said is not None else None
        fits = isinstance(value, int) and not isinstance(value, bool) and (spot.space, value) not in _NO_LIST
        if fits or spot.space is Space.TRANSACTION:  # a start without an answer is one all the same
            yield _Birth(exchange, value if fits else None)


def _give(space: Space, births: tuple[_Birth | None, ...], names: tuple[Names, Names], new: str) -> None:
    recorded = births[0].value if births[0] is not None else None
    again = recorded is not None and names[0].has(space, recorded)  # then it may be so in the other one too
    for own, birth in zip(names, births, strict=True):
        if birth is None:
            continue
        if birth.value is not None:
            own.give(space, birth.value, new, birth.exchange.order, again=again)
        if space is Space.TRANSACTION and birth.exchange.call.frame is not None:
            own.starts[birth.exchange.call.frame.seq] = new


def _birth_cost(spot: Spot, one: _Birth, other: _Birth) -> float:
    ours, theirs = payload_of(one.exchange.call), payload_of(other.exchange.call)
    fields = _START_FIELDS if spot.space is Space.TRANSACTION else {*ours, *theirs} - {spot.path[0]}
    differing: int = sum(ours.get(field) != theirs.get(field) for field in fields)
    return 1.8 * differing / max(1, len(fields))


_START_FIELDS = frozenset({"connectorId", "idTag", "meterStart"})


def streams_of(exchanges: Iterable[Exchange], names: Names, matchers: Matchers) -> dict[str, list[Item]]:
    """The exchanges by stream, each in order."""
    streams: dict[str, list[Item]] = {}
    for exchange in exchanges:
        frame = exchange.call.frame
        if frame is None or marked(exchange, "prologue"):
            continue
        fields = _fields(exchange, names, matchers)
        answer = exchange.answer.frame if exchange.answer else None
        item = Item(
            key=key_of(fields),
            exchange=exchange,
            fields=fields,
            call_us=frame.at_us,
            answer_us=answer.at_us if answer is not None else None,
            seq=frame.seq,
            answer_seq=answer.seq if answer is not None else None,
        )
        streams.setdefault(stream_of(exchange, names), []).append(item)
    return streams


def stream_of(exchange: Exchange, names: Names) -> str:
    """What an exchange belongs to: boot, a connector's status, a transaction, a kind of CALL."""
    call = exchange.call
    payload = payload_of(call)
    if call.sender is Side.CSMS:
        return f"CSMS {call.action}"
    if call.action == "StartTransaction":
        return names.starts.get(call.frame.seq if call.frame else 0, "transactions without id")
    if call.action in ("MeterValues", "StopTransaction"):
        name = names.of(Space.TRANSACTION, transaction_id_of(payload), exchange.order)
        return name if isinstance(name, str) else f"meter of {subject_of(call.action, payload)}"
    return subject_of(call.action, payload)


def subject_of(action: str, payload: Any) -> str:
    """What a CALL is about, without knowing any transaction by name."""
    if not isinstance(payload, dict):
        return action
    match action:
        case "BootNotification" | "Heartbeat":
            return action.removesuffix("Notification").lower()
        case "StatusNotification":
            return f"status of connector {payload.get('connectorId')}"
        case "StartTransaction":
            return f"connector {payload.get('connectorId')}"
        case "MeterValues" | "StopTransaction" if transaction_id_of(payload) is not None:
            return f"transaction {transaction_id_of(payload)}"
        case "MeterValues":
            return f"connector {payload.get('connectorId')}"
    return action


def short(value: Any) -> str:
    """A value for a line of a report."""
    text = str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
    if len(text) <= _SHORT:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{text[:_SHORT]}… ({len(text):,} characters, {digest})"


def _fields(exchange: Exchange, names: Names, matchers: Matchers) -> dict[str, Leaf]:
    """Everything that is compared of an exchange, by path, ids by their names."""
    call, answer = exchange.call, exchange.answer
    fields = _flat(matchers, call.action, "request", _named(exchange, _payload(call), names, answer=False))
    fields["request"] = said(call.action)
    if answer is None:
        fields["answer"] = said("none")
    elif answer.kind is EventKind.REFUSED and isinstance(answer.message, CallError):
        if answer.message.details:
            fields |= matchers.flat(call.action, "answer/details", answer.message.details)
        fields["answer"] = said(f"CALLERROR {answer.message.code}")
    else:
        named = _named(exchange, _payload(answer), names, answer=True)
        fields |= _flat(matchers, call.action, "answer", named)
        fields["answer"] = said("CALLRESULT")
    return fields


def _flat(matchers: Matchers, action: str, part: str, payload: Any) -> dict[str, Leaf]:
    fields = matchers.flat(action, part, payload)
    whole = fields.pop(part, None)
    if whole is not None and not isinstance(payload, dict):
        fields[f"{part}/"] = whole
    return fields


def _named(exchange: Exchange, payload: Any, names: Names, *, answer: bool) -> Any:
    """The payload with the values of id spaces replaced by their names."""
    order = exchange.order
    for path, space in bound_paths(exchange.call.action, answer=answer).items():
        payload = _with(payload, path, lambda value, space=space: names.of(space, value, order))
    return payload


def _with(payload: Any, path: tuple[str | int, ...], change: Any) -> Any:
    if not path:
        return change(payload)
    if not isinstance(payload, dict) or path[0] not in payload:
        return payload
    return {**payload, path[0]: _with(payload[path[0]], path[1:], change)}


def _payload(event: Event) -> Any:
    return getattr(event.message, "payload", None)
