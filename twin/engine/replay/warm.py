"""A capture that begins in the middle of a session: what must be said first for the rest to make sense.

The prologue is made of frames of its own, marked as such: they are played like any others and never compared.
"""

import json
from collections.abc import Iterable
from typing import Any

from twin.engine.recording import Exchange, recording_of
from twin.engine.replay.binding import transaction_id_of
from twin.model import Frame, Kind, Side
from twin.protocol.fold import payload_of
from twin.protocol.timestamps import format_us

_TAG = "PROLOGUE"
# What a station says of itself where the capture does not say it (OCPP 1.6 §6.5: both required).
_BOOT = {"chargePointVendor": "Manageon", "chargePointModel": "OTM-K"}
_STEP_US = 1000


def prologue_of(frames: Iterable[Frame]) -> list[Frame]:
    """The frames that come before those of the capture, with numbers below 1; none where it begins cold.

    A boot, if the capture does not begin with one (a later one of its own is used), and a StartTransaction
    for each transaction that goes on or ends in the capture without having begun there.
    """
    held = list(frames)
    first = next((frame for frame in held if frame.kind is Kind.TEXT), None)
    if first is None:
        return []
    exchanges = recording_of(held).exchanges
    own = [x for x in exchanges if x.call.sender is Side.STATION]
    said: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
    if own and own[0].call.action != "BootNotification":
        said.append(_boot(own, first))
    said += _starts(own, first)
    return _frames(said, first)


def _boot(own: list[Exchange], first: Frame) -> tuple[str, dict[str, Any], dict[str, Any]]:
    later = next((x for x in own if x.call.action == "BootNotification"), None)
    payload = payload_of(later.call) if later is not None else _BOOT
    answer = {"status": "Accepted", "currentTime": _stamp(first.at_us), "interval": 300}
    return "BootNotification", payload, answer


def _starts(own: list[Exchange], first: Frame) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    begun: set[int | None] = set()
    open_before: dict[int, dict[str, Any]] = {}
    for exchange in own:
        payload = payload_of(exchange.call)
        if exchange.call.action == "StartTransaction":
            begun.add(transaction_id_of(payload_of(exchange.answer)) if exchange.answer else None)
            continue
        transaction_id = transaction_id_of(payload)
        if exchange.call.action not in ("MeterValues", "StopTransaction") or transaction_id is None:
            continue
        if transaction_id in begun or transaction_id < 0:
            continue
        start = open_before.setdefault(transaction_id, {"connectorId": 1, "idTag": _TAG, "meterStart": 0})
        start.update({key: payload[key] for key in ("connectorId", "idTag") if key in payload})
    answers = [{"transactionId": number, "idTagInfo": {"status": "Accepted"}} for number in open_before]
    stamp = {"timestamp": _stamp(first.at_us)}
    return [
        ("StartTransaction", {**start, **stamp}, answer)
        for start, answer in zip(open_before.values(), answers, strict=True)
    ]


def _frames(said: list[tuple[str, dict[str, Any], dict[str, Any]]], first: Frame) -> list[Frame]:
    texts: list[tuple[Side, list[Any]]] = []
    for number, (action, payload, answer) in enumerate(said, 1):
        texts.append((Side.STATION, [2, f"prologue-{number}", action, payload]))
        texts.append((Side.CSMS, [3, f"prologue-{number}", answer]))
    count = len(texts)
    return [
        Frame(
            seq=place - count,
            at_us=first.at_us - (count - place) * _STEP_US,
            mono_ns=None if first.mono_ns is None else first.mono_ns - (count - place) * _STEP_US * 1000,
            link=first.link,
            station=first.station,
            kind=Kind.TEXT,
            sender=sender,
            text=json.dumps(elements, separators=(",", ":"), ensure_ascii=False, default=str),
            facts={"prologue": True},
        )
        for place, (sender, elements) in enumerate(texts)
    ]


def _stamp(at_us: int) -> str:
    return format_us(at_us)[:23] + "Z"
