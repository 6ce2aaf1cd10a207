"""A capture as streams of exchanges: what is compared in order with what, and under which names.

Order is compared inside a stream, never across streams: two runs of one station that differ only in jitter
would otherwise look like hundreds of divergences.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from twin.engine.recording import Exchange
from twin.engine.replay.alignment import aligned
from twin.engine.replay.binding import Space, bound_paths, transaction_id_of
from twin.engine.replay.fields import Leaf, Matchers, said
from twin.model import CallError, Event, EventKind, Side
from twin.protocol.fold import payload_of


class Item(msgspec.Struct, frozen=True):
    """An exchange ready for comparison. ``key`` is equal where only times and tolerances may differ."""

    key: int
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


def marked(exchange: Exchange, fact: str) -> bool:
    """Whether the CALL or its answer carries a fact that whoever played it put there."""
    frames = (exchange.call.frame, exchange.answer.frame if exchange.answer else None)
    return any(frame is not None and frame.facts.get(fact) for frame in frames)


class Names:
    """What the id spaces of one capture are called: by the order in which they come up.

    A transaction that both captures hold has one name in both (:func:`names_of`).
    """

    def __init__(self) -> None:
        self._named: dict[tuple[Space, Any], str] = {}
        self._counts: dict[Space, int] = {}
        self.starts: dict[int, str] = {}  # seq of a StartTransaction: its transaction

    def give(self, space: Space, value: Any, name: str) -> None:
        """The first name stays: an id that is given twice is wrong the second time."""
        self._named.setdefault((space, value), name)

    def of(self, space: Space, value: Any) -> Any:
        """The name of an id; what no capture gave keeps its value, and a wrong type never gets a name."""
        if isinstance(value, bool) or not isinstance(value, int):
            return value
        if space is Space.TRANSACTION:
            return self._named.get((space, value), value)
        if (space, value) not in self._named:
            self._counts[space] = self._counts.get(space, 0) + 1
            self._named[space, value] = f"{space.value} {self._counts[space]}"
        return self._named[space, value]


def names_of(recorded: Iterable[Exchange], replayed: Iterable[Exchange]) -> tuple[Names, Names]:
    """Names for both captures: their transactions paired by who started them where, in order."""
    left, right = ([x for x in side if _starts(x)] for side in (recorded, replayed))
    names = Names(), Names()
    number = 0
    for a, b in aligned(left, right, _start_cost):
        number += 1
        for place, starts, own in ((a, left, names[0]), (b, right, names[1])):
            if place is None:
                continue
            name = f"transaction {number}"
            exchange = starts[place]
            transaction_id = transaction_id_of(payload_of(exchange.answer)) if exchange.answer else None
            if transaction_id is not None:
                own.give(Space.TRANSACTION, transaction_id, name)
            if exchange.call.frame is not None:
                own.starts[exchange.call.frame.seq] = name
    return names


def _starts(exchange: Exchange) -> bool:
    return exchange.call.action == "StartTransaction"


def _start_cost(one: Exchange, other: Exchange) -> float:
    ours, theirs = payload_of(one.call), payload_of(other.call)
    same = [ours.get(field) == theirs.get(field) for field in ("connectorId", "idTag", "meterStart")]
    return 0.6 * same.count(False)


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
            key=hash(frozenset((path, leaf.key) for path, leaf in fields.items())),
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
        name = names.of(Space.TRANSACTION, transaction_id_of(payload))
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
    return text if len(text) <= 80 else f"{text[:79]}…"


def _fields(exchange: Exchange, names: Names, matchers: Matchers) -> dict[str, Leaf]:
    """Everything that is compared of an exchange, by path, ids by their names."""
    call, answer = exchange.call, exchange.answer
    fields = matchers.flat(call.action, "request", _named(call.action, _payload(call), names, answer=False))
    fields["request"] = said(call.action)
    if answer is None:
        fields["answer"] = said("none")
    elif answer.kind is EventKind.REFUSED and isinstance(answer.message, CallError):
        if answer.message.details:
            fields |= matchers.flat(call.action, "answer/details", answer.message.details)
        fields["answer"] = said(f"CALLERROR {answer.message.code}")
    else:
        fields |= matchers.flat(
            call.action, "answer", _named(call.action, _payload(answer), names, answer=True)
        )
        fields["answer"] = said("CALLRESULT")
    return fields


def _named(action: str, payload: Any, names: Names, *, answer: bool) -> Any:
    """The payload with the values of id spaces replaced by their names."""
    for path, space in bound_paths(action, answer=answer).items():
        payload = _with(payload, path, lambda value, space=space: names.of(space, value))
    return payload


def _with(payload: Any, path: tuple[str | int, ...], change: Any) -> Any:
    if not path:
        return change(payload)
    if not isinstance(payload, dict) or path[0] not in payload:
        return payload
    return {**payload, path[0]: _with(payload[path[0]], path[1:], change)}


def _payload(event: Event) -> Any:
    return getattr(event.message, "payload", None)
