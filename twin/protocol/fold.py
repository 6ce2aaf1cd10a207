"""The only way station state changes: ``fold(state, event)``, one small function per event and action."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from twin.model import CallResult, Event, EventKind, Kind, Side
from twin.protocol import metering
from twin.protocol.actions import TRANSACTION_ACTIONS
from twin.protocol.session import hides_payload
from twin.protocol.state import (
    Configured,
    Connector,
    Failing,
    Registration,
    SampleSet,
    Source,
    StationState,
    Transaction,
    Verdict,
)
from twin.protocol.timestamps import parse_stamp

_EXCHANGES = frozenset({EventKind.CALLED, EventKind.ANSWERED, EventKind.REFUSED, EventKind.TIMED_OUT})
_INTEGER_END = 1 << 63
_REMEMBERED = 256  # of whatever the station numbers: connectors, transactions, samples
_REMEMBERED_WORDS = 4096  # idTags and configuration keys

# Every payload field that holds a time, in requests and confirmations of OCPP 1.6.
TIME_FIELDS = frozenset(
    {
        "timestamp", "currentTime", "expiryDate", "validFrom", "validTo", "startSchedule", "scheduleStart",
        "startTime", "stopTime", "retrieveDate",
    }
)  # fmt: skip


def fold(state: StationState, event: Event) -> StationState:
    """The state after ``event``. Total: a payload of any shape changes what can be read of it, no more."""
    if event.action in TRANSACTION_ACTIONS:
        state = _failed_sends(state, event)
    if event.kind in _EXCHANGES:
        state = _exchanged(state, event)
        if state.booted_us is None and event.sender is Side.STATION and event.action != "BootNotification":
            state = replace(state, spoke_before_boot=True)
    step = FOLDS.get((event.kind, event.action)) or FOLDS.get((event.kind, ""))
    return state if step is None or hides_payload(event) else step(state, event)


def payload_of(event: Event) -> dict[str, Any]:
    """The payload of the event's own message as an object; {} for ``null`` and for any other shape."""
    payload = getattr(event.message, "payload", None)
    return payload if isinstance(payload, dict) else {}


def asked_payload(event: Event) -> dict[str, Any]:
    """The payload of the CALL that this event answers."""
    payload = event.asked.call.payload if event.asked else None
    return payload if isinstance(payload, dict) else {}


def integer(value: Any) -> int | None:
    """``value`` if it is a JSON integer of at most 64 bits; nothing that is counted needs more."""
    fits = isinstance(value, int) and not isinstance(value, bool) and -_INTEGER_END <= value < _INTEGER_END
    return value if fits else None


def word(value: Any) -> str:
    """``value`` if it is a string, else ""."""
    return value if isinstance(value, str) else ""


def stamps_of(payload: Any) -> Iterator[tuple[str, str]]:
    """Every time field in a payload as (JSON pointer, text), in document order."""
    todo: list[tuple[str, Any]] = [("", payload)]
    while todo:
        path, value = todo.pop()
        if type(value) is dict:
            for key, item in value.items():
                if type(item) is str:
                    if key in TIME_FIELDS:
                        yield f"{path}/{key}", item
                elif type(item) is dict or type(item) is list:
                    todo.append((f"{path}/{key}", item))
        elif type(value) is list:
            todo += [(f"{path}/{index}", item) for index, item in enumerate(value)]


def _stamp_us(value: Any) -> int | None:
    stamp = parse_stamp(value) if isinstance(value, str) else None
    return stamp.at_us if stamp else None


def _exchanged(state: StationState, event: Event) -> StationState:
    """The two sides have spoken; the time stamps of the station's own CALLs are counted (rule P005)."""
    stamps = []
    if event.kind is EventKind.CALLED and event.sender is Side.STATION and event.asked:
        stamps = [parse_stamp(text) for _, text in stamps_of(event.asked.call.payload)]
    if not stamps:
        return replace(state, last_exchange_us=event.at_us)
    fractional = sum(1 for stamp in stamps if stamp and stamp.fraction_digits)
    return replace(
        state,
        last_exchange_us=event.at_us,
        station_stamps=state.station_stamps + len(stamps),
        fractional_stamps=state.fractional_stamps + fractional,
    )


# --- the link -----------------------------------------------------------------------------------------------


def _opened(state: StationState, event: Event) -> StationState:
    """A new WebSocket without Boot keeps transactions and configuration; connector status is unknown (G2)."""
    return replace(state, link=event.link, link_open_us=event.at_us, last_exchange_us=None, connectors={})


def _closed(state: StationState, event: Event) -> StationState:
    ended = event.frame is not None and event.frame.kind is Kind.END
    return replace(state, link_open_us=None) if ended and event.link == state.link else state


def _reset(state: StationState, event: Event) -> StationState:
    """After a gap everything volatile is unknown; what the station said of itself stays (G2)."""
    return StationState(
        station=state.station,
        link=state.link,
        vendor=state.vendor,
        model=state.model,
        firmware=state.firmware,
        gaps=state.gaps + 1,
    )


# --- boot ---------------------------------------------------------------------------------------------------


def _boot_called(state: StationState, event: Event) -> StationState:
    payload = payload_of(event)
    return replace(
        state,
        registration=Registration.SENT,
        boot_seq=event.frame.seq if event.frame else None,
        booted_us=state.booted_us if state.booted_us is not None else event.at_us,
        last_boot_us=event.at_us,
        triggered=False,
        vendor=word(payload.get("chargePointVendor")),
        model=word(payload.get("chargePointModel")),
        firmware=word(payload.get("firmwareVersion")),
        connectors={},
        sampling={},
        reset_seq=None,
        config={**state.config, **state.awaiting_reboot},
        awaiting_reboot={},
    )


def _boot_answered(state: StationState, event: Event) -> StationState:
    payload = payload_of(event)
    try:
        registration = Registration(word(payload.get("status")))
    except ValueError:
        return state
    interval_s = integer(payload.get("interval"))
    retry_us = None
    if registration is not Registration.ACCEPTED and interval_s is not None:
        retry_us = event.at_us + interval_s * 1_000_000
    state = replace(state, registration=registration, retry_not_before_us=retry_us)
    if registration is Registration.ACCEPTED and interval_s is not None and interval_s > 0:
        return _configure(state, event, Source.BOOT, ("HeartbeatInterval", str(interval_s)))
    return state


# --- connectors and transactions ----------------------------------------------------------------------------


def _status_called(state: StationState, event: Event) -> StationState:
    payload = payload_of(event)
    connector_id = integer(payload.get("connectorId"))
    if connector_id is None or event.frame is None:
        return state
    connector = Connector(
        word(payload.get("status")), word(payload.get("errorCode")), event.frame.seq, event.at_us
    )
    return replace(state, connectors=_newest({**state.connectors, connector_id: connector}, _REMEMBERED))


def _start_called(state: StationState, event: Event) -> StationState:
    payload = payload_of(event)
    connector_id = integer(payload.get("connectorId"))
    if connector_id is None or event.frame is None or event.message is None:
        return state
    meter_start_wh = integer(payload.get("meterStart"))
    started_us = _stamp_us(payload.get("timestamp"))
    transaction = Transaction(
        connector_id=connector_id,
        id_tag=word(payload.get("idTag")),
        start_seq=event.frame.seq,
        started_us=started_us,
        meter_start_wh=meter_start_wh,
        register_wh=None if meter_start_wh is None else metering.number(str(meter_start_wh)),
        register_us=started_us,
        register_seq=event.frame.seq,
        sampled_us=started_us,
        sampled_seq=event.frame.seq,
    )
    starting = {**state.starting, event.message.message_id: transaction}
    return replace(state, starting=_newest(starting, _REMEMBERED))


def _start_answered(state: StationState, event: Event) -> StationState:
    payload = payload_of(event)
    transaction, state = _take_start(state, event)
    transaction_id = integer(payload.get("transactionId"))
    if transaction is None:
        return state
    status = word(_object(payload.get("idTagInfo")).get("status"))
    state = _judge_tag(state, event, transaction.id_tag, status)
    if transaction_id is None:
        return state
    opened = replace(transaction, transaction_id=transaction_id, status=status)
    return replace(state, transactions=_newest({**state.transactions, transaction_id: opened}, _REMEMBERED))


def _start_failed(state: StationState, event: Event) -> StationState:
    transaction, state = _take_start(state, event)
    if transaction is None:
        return state
    counts = state.unanswered_starts
    number = counts.get(transaction.connector_id, 0) + 1
    counts = _newest({**counts, transaction.connector_id: number}, _REMEMBERED)
    return replace(state, unanswered_starts=counts)


def _take_start(state: StationState, event: Event) -> tuple[Transaction | None, StationState]:
    message_id = event.asked.call.message_id if event.asked else ""
    transaction = state.starting.get(message_id)
    if transaction is None:
        return None, state
    return transaction, replace(state, starting=_without(state.starting, message_id))


def _stop_called(state: StationState, event: Event) -> StationState:
    payload = payload_of(event)
    transaction_id = integer(payload.get("transactionId"))
    transaction = state.transactions.get(transaction_id) if transaction_id is not None else None
    if transaction is None or transaction_id is None or event.frame is None:
        return state
    ended = _newest(
        {**state.ended, transaction_id: replace(transaction, stop_seq=event.frame.seq)}, _REMEMBERED
    )
    return replace(
        state,
        transactions=_without(state.transactions, transaction_id),
        ended=ended,
        sampling={
            key: value for key, value in state.sampling.items() if value.transaction_id != transaction_id
        },
    )


def _stop_answered(state: StationState, event: Event) -> StationState:
    info = _object(payload_of(event).get("idTagInfo"))
    return _judge_tag(state, event, word(asked_payload(event).get("idTag")), word(info.get("status")))


def _authorize_answered(state: StationState, event: Event) -> StationState:
    info = _object(payload_of(event).get("idTagInfo"))
    return _judge_tag(state, event, word(asked_payload(event).get("idTag")), word(info.get("status")))


def _remote_start_answered(state: StationState, event: Event) -> StationState:
    if word(payload_of(event).get("status")) != "Accepted":
        return state
    tag = word(asked_payload(event).get("idTag")).casefold()
    return replace(state, remote_starts=_newest({**state.remote_starts, tag: event.at_us}, _REMEMBERED_WORDS))


def _judge_tag(state: StationState, event: Event, tag: str, status: str) -> StationState:
    if not status or event.frame is None:
        return state
    verdict = Verdict(status, event.frame.seq, event.at_us)
    return replace(state, id_tags=_newest({**state.id_tags, tag.casefold(): verdict}, _REMEMBERED_WORDS))


# --- metering -----------------------------------------------------------------------------------------------


def _meter_called(state: StationState, event: Event) -> StationState:
    payload = payload_of(event)
    connector_id = integer(payload.get("connectorId"))
    transaction_id = integer(payload.get("transactionId"))
    if connector_id is None or event.frame is None:
        return state
    seq = event.frame.seq
    transaction = state.transactions.get(transaction_id) if transaction_id is not None else None
    newest: dict[str, tuple[int, set[str]]] = {}  # of each context: stamp and measurands
    for sample in metering.samples(payload.get("meterValue")):
        stamp_us = sample.stamp_us
        if stamp_us is None:
            continue
        begun = newest.get(sample.context)
        if begun is None or begun[0] != stamp_us:
            known = state.sampling.get((connector_id, sample.context)) if begun is None else None
            merged = set(known.measurands) if known and known.stamp_us == stamp_us else set()
            begun = newest[sample.context] = (stamp_us, merged)
        begun[1].add(sample.measurand)
        if transaction is not None:
            transaction = advance(transaction, sample, seq)
    sampling = dict(state.sampling)
    for context, (stamp_us, measurands) in newest.items():
        sampling[connector_id, context] = SampleSet(stamp_us, frozenset(measurands), seq, transaction_id)
    sampling = _newest(sampling, _REMEMBERED)
    if transaction is None or transaction_id is None:
        return replace(state, sampling=sampling)
    return replace(state, sampling=sampling, transactions={**state.transactions, transaction_id: transaction})


def advance(transaction: Transaction, sample: metering.Sample, seq: int) -> Transaction:
    """``transaction`` after one sample: its register, and the phase of its periodic samples."""
    stamp_us = sample.stamp_us
    if stamp_us is None:
        return transaction
    register = metering.energy_wh(sample)
    if register and (transaction.register_us is None or stamp_us >= transaction.register_us):
        transaction = replace(
            transaction,
            register_wh=register[0],
            resolution_wh=register[1],
            register_us=stamp_us,
            register_seq=seq,
        )
    periodic = sample.context == metering.DEFAULT_CONTEXT
    if periodic and (transaction.sampled_us is None or stamp_us > transaction.sampled_us):
        transaction = replace(transaction, sampled_us=stamp_us, sampled_seq=seq)
    return transaction


# --- configuration ------------------------------------------------------------------------------------------


def _configuration_read(state: StationState, event: Event) -> StationState:
    entries = payload_of(event).get("configurationKey")
    held = [_object(entry) for entry in entries] if isinstance(entries, list) else []
    pairs = [(entry.get("key"), entry.get("value")) for entry in held]
    texts = [(key, value) for key, value in pairs if isinstance(key, str) and isinstance(value, str)]
    return _configure(state, event, Source.READ, *texts)


def _configuration_written(state: StationState, event: Event) -> StationState:
    asked = asked_payload(event)
    key, value = asked.get("key"), asked.get("value")
    if not isinstance(key, str) or not isinstance(value, str):
        return state
    match payload_of(event).get("status"):
        case "Accepted":
            return _configure(state, event, Source.WRITTEN, (key, value))
        case "RebootRequired":
            waiting = _configured(event, key, value, Source.WRITTEN)
            later = _newest({**state.awaiting_reboot, key.casefold(): waiting}, _REMEMBERED_WORDS)
            return replace(state, awaiting_reboot=later)
    return state


def _configure(state: StationState, event: Event, source: Source, *values: tuple[str, str]) -> StationState:
    config = dict(state.config)
    changed = set()
    for key, value in values:
        known = config.get(key.casefold())
        if known is None or known.value != value:  # a read-back does not make a written value younger
            config[key.casefold()] = _configured(event, key, value, source)
            changed.add(key.casefold())
    if not changed:
        return state
    state = replace(state, config=_newest(config, _REMEMBERED_WORDS))
    if "metervaluesampleinterval" in changed:
        # 9.1.19: a new interval restarts the phase of the periodic samples
        open_ = {key: replace(tx, sampled_us=None) for key, tx in state.transactions.items()}
        state = replace(state, transactions=open_)
    return state


def _configured(event: Event, key: str, value: str, source: Source) -> Configured:
    return Configured(key, value, source, event.frame.seq if event.frame else 0, event.at_us)


# --- control ------------------------------------------------------------------------------------------------


def _reset_answered(state: StationState, event: Event) -> StationState:
    if payload_of(event).get("status") != "Accepted" or event.frame is None:
        return state
    return replace(state, reset_seq=event.frame.seq)


def _trigger_answered(state: StationState, event: Event) -> StationState:
    return replace(state, triggered=state.triggered or payload_of(event).get("status") == "Accepted")


# --- sends that failed --------------------------------------------------------------------------------------


def _failed_sends(state: StationState, event: Event) -> StationState:
    """Keep the list of transaction messages that failed and were not yet sent again (§3.7, rule R003)."""
    if (
        event.action not in TRANSACTION_ACTIONS
        or event.asked is None
        or event.asked.sender is not Side.STATION
    ):
        return state
    payload = event.asked.call.payload
    known = next((f for f in state.failing if f.action == event.action and f.payload == payload), None)
    others = tuple(f for f in state.failing if f is not known)
    attempts = known.attempts if known else 0
    if event.kind is EventKind.CALLED:
        if known is None:
            return state
        return replace(state, failing=(*others, replace(known, attempts=attempts + 1)))
    if isinstance(event.message, CallResult):
        return replace(state, failing=others) if known else state
    failed = Failing(event.action, payload, event.asked.frame.seq, max(attempts, 1))
    return replace(state, failing=(*others, failed)[-16:])


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _without[K, V](mapping: Mapping[K, V], key: K) -> dict[K, V]:
    return {other: value for other, value in mapping.items() if other != key}


def _newest[K, V](mapping: dict[K, V], number: int) -> dict[K, V]:
    while len(mapping) > number:
        del mapping[next(iter(mapping))]
    return mapping


FOLDS: dict[tuple[EventKind, str], Callable[[StationState, Event], StationState]] = {
    (EventKind.OPENED, ""): _opened,
    (EventKind.CLOSED, ""): _closed,
    (EventKind.RESET, ""): _reset,
    (EventKind.CALLED, "BootNotification"): _boot_called,
    (EventKind.ANSWERED, "BootNotification"): _boot_answered,
    (EventKind.CALLED, "StatusNotification"): _status_called,
    (EventKind.CALLED, "StartTransaction"): _start_called,
    (EventKind.ANSWERED, "StartTransaction"): _start_answered,
    (EventKind.REFUSED, "StartTransaction"): _start_failed,
    (EventKind.TIMED_OUT, "StartTransaction"): _start_failed,
    (EventKind.CALLED, "StopTransaction"): _stop_called,
    (EventKind.ANSWERED, "StopTransaction"): _stop_answered,
    (EventKind.ANSWERED, "Authorize"): _authorize_answered,
    (EventKind.ANSWERED, "RemoteStartTransaction"): _remote_start_answered,
    (EventKind.CALLED, "MeterValues"): _meter_called,
    (EventKind.ANSWERED, "GetConfiguration"): _configuration_read,
    (EventKind.ANSWERED, "ChangeConfiguration"): _configuration_written,
    (EventKind.ANSWERED, "Reset"): _reset_answered,
    (EventKind.ANSWERED, "TriggerMessage"): _trigger_answered,
}
