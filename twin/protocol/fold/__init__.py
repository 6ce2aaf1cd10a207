"""The only way station state changes: ``fold(state, event)``, one small function per event and action."""

from collections.abc import Callable

from msgspec.structs import replace

from twin.model import Event, EventKind, Side
from twin.protocol.actions import TRANSACTION_ACTIONS
from twin.protocol.fold import boot, configuration, connection, connectors, transactions, waits
from twin.protocol.fold.metering import advance, meter_called
from twin.protocol.fold.payloads import (
    REMEMBERED,
    TIME_FIELDS,
    asked_payload,
    integer,
    newest,
    payload_of,
    stamps_of,
    word,
)
from twin.protocol.session import hides_payload
from twin.protocol.state import Request, StationState, Wait
from twin.protocol.timestamps import parse_stamp

__all__ = [
    "FOLDS", "TIME_FIELDS", "advance", "asked_payload", "fold", "integer", "payload_of", "stamps_of", "waits",
    "word",
]  # fmt: skip

_EXCHANGES = frozenset({EventKind.CALLED, EventKind.ANSWERED, EventKind.REFUSED, EventKind.TIMED_OUT})
_EXPLAINING = frozenset({"Reset", "RemoteStopTransaction", "UnlockConnector"})
_ANSWERS = frozenset({EventKind.ANSWERED, EventKind.REFUSED})
_COUNTED_ANSWERS = 8  # more add no evidence
_COUNTED_STAMPS = 64  # whether a station writes milliseconds is known by then (rule P005)
_SHARE = 16  # of the newest answer time in the running mean


def fold(state: StationState, event: Event) -> StationState:
    """The state after ``event``. Total: a payload of any shape changes what can be read of it, no more."""
    if event.kind is EventKind.OVERDUE:
        return _overdue(state, event)
    if event.action in TRANSACTION_ACTIONS:
        state = transactions.failed_sends(state, event)
    if event.kind in _EXCHANGES:
        state = _exchanged(state, event)
        if event.kind is EventKind.REFUSED:
            state = connection.refused(state, event)
        if event.action in _EXPLAINING:
            state = (_requested if event.kind is EventKind.CALLED else _answered)(state, event)
        if event.kind in (EventKind.REFUSED, EventKind.TIMED_OUT):
            state = transactions.failed_notice(state, event)
    step = FOLDS.get((event.kind, event.action)) or FOLDS.get((event.kind, ""))
    if hides_payload(event):
        return _unread(state, event)
    return state if step is None else step(state, event)


def _unread(state: StationState, event: Event) -> StationState:
    """The answer cannot be read; a StartTransaction has no id from it (ER 3.18)."""
    if event.kind is not EventKind.ANSWERED:
        return state
    if event.action == "StartTransaction":
        state = transactions.start_failed(state, event)
    return boot.unread(state, event)


def _requested(state: StationState, event: Event) -> StationState:
    """What the CSMS asks for explains what the station does, whichever of the two is logged first."""
    if event.frame is None:
        return state
    key = (event.action, _subject(event))
    request = Request(event.frame.seq, event.at_us, payload_of(event))
    return replace(state, requests=newest({**state.requests, key: request}, REMEMBERED))


def _answered(state: StationState, event: Event) -> StationState:
    key = (event.action, _subject(event))
    held = state.requests.get(key)
    if held is None:
        return state
    told = replace(held, status=word(payload_of(event).get("status")) or "refused")
    return replace(state, requests={**state.requests, key: told})


def _subject(event: Event) -> int | None:
    asked = asked_payload(event)
    return integer(asked.get("transactionId" if event.action == "RemoteStopTransaction" else "connectorId"))


def _overdue(state: StationState, event: Event) -> StationState:
    held = event.awaited
    if held is None:
        return state
    return waits.end(state, Wait(held.what), held.key)


def _exchanged(state: StationState, event: Event) -> StationState:
    """The two sides have spoken: counts stamps and answer times, and how long the station was held up."""
    station_calls = event.kind is EventKind.CALLED and event.sender is Side.STATION
    calling_us, blocked_us = waits.exchanged(state, event, station_calls)
    frame = event.frame or (event.asked.frame if event.asked else None)
    total, fractional = state.station_stamps, state.fractional_stamps
    answers, mean_us = state.csms_answers, state.csms_mean_us
    socket, spoke_before = state.socket, state.spoke_before_boot
    if event.skipped and event.sender is not None and event.sender not in state.cut:
        state = replace(state, cut=state.cut | {event.sender})
    if station_calls and event.asked:
        if total < _COUNTED_STAMPS:
            for _, text in stamps_of(event.asked.call.payload):
                stamp = parse_stamp(text)
                total += 1
                fractional += bool(stamp and stamp.fraction_digits)
        if socket.spoke_seq is None and event.frame is not None:
            socket = replace(socket, spoke_seq=event.frame.seq)
        if state.booted_us is None and event.action != "BootNotification":
            spoke_before = True
    if event.kind in _ANSWERS and event.sender is not None:
        number = state.answers_seen.get(event.sender, 0)
        if number < _COUNTED_ANSWERS:
            state = replace(state, answers_seen={**state.answers_seen, event.sender: number + 1})
    if event.kind is EventKind.ANSWERED and event.sender is Side.CSMS and event.took_us is not None:
        answers += 1
        mean_us += (event.took_us - mean_us) // min(answers, _SHARE)
    return replace(
        waits.heard(state, event),
        last_exchange_us=event.at_us,
        last_exchange_seq=frame.seq if frame is not None else state.last_exchange_seq,
        calling_us=calling_us,
        freed_us=waits.freed_us(state, event),
        blocked_us=blocked_us,
        station_stamps=total,
        fractional_stamps=fractional,
        csms_answers=answers,
        csms_mean_us=mean_us,
        socket=socket,
        spoke_before_boot=spoke_before,
    )


FOLDS: dict[tuple[EventKind, str], Callable[[StationState, Event], StationState]] = {
    (EventKind.OPENED, ""): connection.opened,
    (EventKind.CLOSED, ""): connection.closed,
    (EventKind.RESET, ""): connection.gap,
    (EventKind.NOTED, ""): connection.noted,
    (EventKind.CALLED, "BootNotification"): boot.called,
    (EventKind.ANSWERED, "BootNotification"): boot.answered,
    (EventKind.REFUSED, "BootNotification"): boot.failed,
    (EventKind.TIMED_OUT, "BootNotification"): boot.failed,
    (EventKind.CALLED, "Heartbeat"): boot.heartbeat_called,
    (EventKind.ANSWERED, "Heartbeat"): boot.heartbeat_answered,
    (EventKind.CALLED, "StatusNotification"): connectors.status_called,
    (EventKind.ANSWERED, "ChangeAvailability"): connectors.availability_answered,
    (EventKind.CALLED, "StartTransaction"): transactions.start_called,
    (EventKind.ANSWERED, "StartTransaction"): transactions.start_answered,
    (EventKind.REFUSED, "StartTransaction"): transactions.start_failed,
    (EventKind.TIMED_OUT, "StartTransaction"): transactions.start_failed,
    (EventKind.CALLED, "StopTransaction"): transactions.stop_called,
    (EventKind.ANSWERED, "StopTransaction"): transactions.tag_answered,
    (EventKind.CALLED, "Authorize"): transactions.authorize_called,
    (EventKind.ANSWERED, "Authorize"): transactions.tag_answered,
    (EventKind.REFUSED, "Authorize"): transactions.authorize_failed,
    (EventKind.TIMED_OUT, "Authorize"): transactions.authorize_failed,
    (EventKind.ANSWERED, "RemoteStartTransaction"): transactions.remote_start_answered,
    (EventKind.ANSWERED, "RemoteStopTransaction"): transactions.remote_stop_answered,
    (EventKind.CALLED, "MeterValues"): meter_called,
    (EventKind.ANSWERED, "GetConfiguration"): configuration.read,
    (EventKind.ANSWERED, "ChangeConfiguration"): configuration.written,
    (EventKind.ANSWERED, "Reset"): boot.reset_answered,
    (EventKind.CALLED, "TriggerMessage"): boot.trigger_called,
    (EventKind.ANSWERED, "TriggerMessage"): boot.trigger_answered,
    (EventKind.REFUSED, "TriggerMessage"): boot.trigger_answered,
    (EventKind.CALLED, "ExtendedTriggerMessage"): boot.trigger_called,
    (EventKind.ANSWERED, "ExtendedTriggerMessage"): boot.trigger_answered,
    (EventKind.REFUSED, "ExtendedTriggerMessage"): boot.trigger_answered,
}
