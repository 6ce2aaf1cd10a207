"""Two captures compared stream by stream: what must differ does not count, everything else does.

Order is compared inside a stream, never across streams: two runs of one station that differ only in jitter
would otherwise look like hundreds of divergences.
"""

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from difflib import SequenceMatcher
from typing import Any

import msgspec

from twin.engine.binding import TRANSACTION_ID_IN, transaction_id_of
from twin.engine.recording import Exchange, Recording, recording_of
from twin.model import CallError, Event, EventKind, Frame, Side
from twin.protocol.fold import TIME_FIELDS, payload_of
from twin.protocol.timestamps import parse_stamp


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """``missing`` (recorded only), ``extra`` (replayed only) or ``changed`` at paths of an exchange."""

    kind: str
    stream: str
    action: str
    recorded_seq: int | None = None
    replayed_seq: int | None = None
    changes: tuple[tuple[str, str, str], ...] = ()  # (path, recorded, replayed)


class Diff(msgspec.Struct, frozen=True):
    """``matched`` counts equal exchanges; divergences stand in order of their place in the recording."""

    matched: int
    divergences: tuple[Divergence, ...]

    @property
    def equal(self) -> bool:
        return not self.divergences


class _Item(msgspec.Struct, frozen=True):
    key: str
    exchange: Exchange
    fields: dict[str, Any]


def diff(recorded: Iterable[Frame], replayed: Iterable[Frame]) -> Diff:
    """Compare the OCPP exchanges of two captures, and the texts that are no part of any exchange."""
    ours, theirs = recording_of(recorded), recording_of(replayed)
    left, right = _streams(ours), _streams(theirs)
    matched = 0
    found = _strays(ours, theirs)
    for stream in {**left, **right}:
        same, divergences = _compare(stream, left.get(stream, []), right.get(stream, []))
        matched += same
        found += divergences
    found.sort(key=lambda d: (d.recorded_seq is None, d.recorded_seq or d.replayed_seq or 0))
    return Diff(matched, tuple(found))


def _strays(recorded: Recording, replayed: Recording) -> list[Divergence]:
    """Texts that are no part of any exchange, verbatim and as a multiset: they have no stream."""
    found = []
    for kind, held, other in (("missing", recorded, replayed), ("extra", replayed, recorded)):
        left = Counter((frame.sender, frame.text) for frame in other.stray)
        for frame in held.stray:
            if left[frame.sender, frame.text] > 0:
                left[frame.sender, frame.text] -= 1
                continue
            found.append(
                Divergence(
                    kind=kind,
                    stream="texts outside any exchange",
                    action=f"text of the {frame.sender or 'unknown side'}",
                    recorded_seq=frame.seq if kind == "missing" else None,
                    replayed_seq=frame.seq if kind == "extra" else None,
                )
            )
    return found


def _streams(recording: Recording) -> dict[str, list[_Item]]:
    ordinals: dict[int, str] = {}
    number = 0
    streams: dict[str, list[_Item]] = {}
    for exchange in recording.exchanges:
        if exchange.call.action == "StartTransaction" and exchange.answer is not None:
            transaction_id = transaction_id_of(payload_of(exchange.answer))
            if transaction_id is not None:
                number += 1
                ordinals[transaction_id] = f"transaction {number}"
    for exchange in recording.exchanges:
        fields = _fields(exchange, ordinals)
        item = _Item(repr(sorted(fields.items(), key=lambda pair: pair[0])), exchange, fields)
        streams.setdefault(_stream(exchange, ordinals), []).append(item)
    return streams


def _stream(exchange: Exchange, ordinals: dict[int, str]) -> str:
    call = exchange.call
    payload = payload_of(call)
    if call.sender is Side.CSMS:
        return f"CSMS {call.action}"
    match call.action:
        case "BootNotification" | "Heartbeat":
            return "boot and heartbeat" if call.action == "BootNotification" else "heartbeat"
        case "StatusNotification":
            return f"status of connector {payload.get('connectorId')}"
        case "StartTransaction" if exchange.answer is not None:
            transaction_id = transaction_id_of(payload_of(exchange.answer))
            return ordinals.get(transaction_id or 0, "transactions without id")
        case "MeterValues" | "StopTransaction":
            transaction_id = transaction_id_of(payload)
            place = f"meter of connector {payload.get('connectorId')}"
            return ordinals.get(transaction_id, place) if transaction_id is not None else place
    return call.action


def _fields(exchange: Exchange, ordinals: dict[int, str]) -> dict[str, Any]:
    """Everything that is compared of an exchange, by path; ids by ordinal, times by their being times."""
    call, answer = exchange.call, exchange.answer
    fields = dict(_flat("request", _bound(call.action, _payload(call), ordinals)))
    fields["request"] = call.action
    if answer is None:
        fields["answer"] = "none"
    elif answer.kind is EventKind.REFUSED and isinstance(answer.message, CallError):
        fields["answer"] = f"CALLERROR {answer.message.code}"
        fields |= _flat("answer/details", answer.message.details)
    else:
        fields["answer"] = "CALLRESULT"
        fields |= _flat("answer", _bound(call.action, _payload(answer), ordinals))
    return fields


def _bound(action: str, payload: Any, ordinals: dict[int, str]) -> Any:
    transaction_id = transaction_id_of(payload)
    if transaction_id is None or action not in TRANSACTION_ID_IN | {"StartTransaction"}:
        return payload
    return {**payload, "transactionId": ordinals.get(transaction_id, transaction_id)}


def _flat(path: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {
            inner: leaf
            for key, item in value.items()
            for inner, leaf in (
                [(f"{path}/{key}", _time(item, any_zone=key == "currentTime"))]
                if key in TIME_FIELDS and isinstance(item, str)
                else _flat(f"{path}/{key}", item).items()
            )
        }
    if isinstance(value, list):
        flat = {f"{path}/#": len(value)}
        for index, item in enumerate(value):
            flat |= _flat(f"{path}/{index}", item)
        return flat
    return {path: value if isinstance(value, str | bool) or value is None else _number(value)}


def _number(value: float | Decimal) -> tuple[str, int, str, int]:
    """A JSON number for comparison: 1.0 equals 1, nothing is rounded, and no number equals a string."""
    sign, digits, exponent = Decimal(str(value) if isinstance(value, float) else value).as_tuple()
    written = "".join(map(str, digits))
    held = written.rstrip("0").lstrip("0")
    places = int(exponent) + len(written) - len(written.rstrip("0"))
    return ("number", sign, held, places) if held else ("number", 0, "", 0)


def _time(text: str, *, any_zone: bool) -> str:
    """A time equals any time of the same zone style; the CSMS's clock any time at all."""
    stamp = parse_stamp(text)
    if stamp is None:
        return text
    return "a time" if any_zone else f"a time with zone {stamp.zone or 'missing'}"


def _compare(stream: str, left: list[_Item], right: list[_Item]) -> tuple[int, list[Divergence]]:
    matcher = SequenceMatcher(None, [item.key for item in left], [item.key for item in right], autojunk=False)
    matched = 0
    found: list[Divergence] = []
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            matched += i2 - i1
            continue
        gone, new = left[i1:i2], right[j1:j2]
        for old in gone:
            partner = next((item for item in new if _action(item) == _action(old)), None)
            if partner is None:
                found.append(_one_sided("missing", stream, old))
            else:
                new.remove(partner)
                found.append(_changed(stream, old, partner))
        found += [_one_sided("extra", stream, item) for item in new]
    return matched, found


def _changed(stream: str, old: _Item, new: _Item) -> Divergence:
    absent = object()  # null is a value
    paths = [
        path
        for path in {**old.fields, **new.fields}
        if old.fields.get(path, absent) != new.fields.get(path, absent)
    ]
    return Divergence(
        kind="changed",
        stream=stream,
        action=_action(old),
        recorded_seq=_seq(old),
        replayed_seq=_seq(new),
        changes=tuple((path, _short(old.fields, path), _short(new.fields, path)) for path in paths),
    )


def _one_sided(kind: str, stream: str, item: _Item) -> Divergence:
    seq = _seq(item)
    return Divergence(
        kind=kind,
        stream=stream,
        action=_action(item),
        recorded_seq=seq if kind == "missing" else None,
        replayed_seq=seq if kind == "extra" else None,
    )


def _action(item: _Item) -> str:
    return item.exchange.call.action


def _seq(item: _Item) -> int | None:
    return item.exchange.call.frame.seq if item.exchange.call.frame else None


def _short(fields: dict[str, Any], path: str) -> str:
    value = fields.get(path, "absent")
    if isinstance(value, tuple):  # see _number
        _, sign, held, places = value
        value = f"{'-' * sign}{held or 0}" + ("0" * places if 0 <= places < 20 else f"e{places}")
    text = str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _payload(event: Event) -> Any:
    return getattr(event.message, "payload", None)
