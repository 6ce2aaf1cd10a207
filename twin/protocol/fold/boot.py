"""Fold: boot, registration, heartbeat and the two clocks."""

from msgspec.structs import replace

from twin.model import Event, Side
from twin.protocol.fold import waits
from twin.protocol.fold.configuration import configure
from twin.protocol.fold.payloads import (
    asked_payload,
    integer,
    newest,
    payload_of,
    stamp_us,
    without,
    word,
)
from twin.protocol.state import Registration, ResetAsked, Source, StationState, Wait
from twin.protocol.timestamps import SECOND_US

_REMEMBERED_BOOTS = 8
_MOST_TRIGGERS = 32
_MOST_SAMPLES = 16  # of a clock's offset in one window: then only a better one counts
# A StatusNotification for each connector, one at a time, each a round trip and a second; at least 30 s.
_CONNECTORS, _MOST_CONNECTORS, _LEAST_STATUSES_US = 20, 256, 30 * SECOND_US  # 20 where it is unknown


def called(state: StationState, event: Event) -> StationState:
    """A Boot keeps what persists and forgets what is volatile (G2); one that was asked for is none (5.17)."""
    payload = payload_of(event)
    seq = event.frame.seq if event.frame else None
    if _asked_for(state):
        return replace(
            state,
            boot_seq=seq,
            boot=payload,
            asked_boot_us=event.at_us,
            triggers=without(state.triggers, "BootNotification"),
            vendor=word(payload.get("chargePointVendor")),
            model=word(payload.get("chargePointModel")),
            firmware=word(payload.get("firmwareVersion")),
        )
    state = replace(
        state,
        asked_boot_us=None,
        boot_failed=False,
        boot_unclear=False,
        retry_not_before_us=None,
        registration=Registration.SENT,
        boot_seq=seq,
        boot=payload,
        booted_us=state.booted_us if state.booted_us is not None else event.at_us,
        last_boot_us=event.at_us,
        boots_us=(*state.boots_us, event.at_us)[-_REMEMBERED_BOOTS:],
        socket=replace(state.socket, boot_seq=seq),
        triggers={},
        vendor=word(payload.get("chargePointVendor")),
        model=word(payload.get("chargePointModel")),
        firmware=word(payload.get("firmwareVersion")),
        connectors={},
        sampling={},
        config={**state.config, **state.awaiting_reboot},
        awaiting_reboot={},
    )
    return waits.booted(state)


def _asked_for(state: StationState) -> bool:
    """Whether the CSMS triggered it on this connection: a station that reboots comes on another one."""
    at_us = state.triggers.get("BootNotification")
    running = state.registration in (Registration.ACCEPTED, Registration.UNKNOWN)
    return at_us is not None and running and at_us >= (state.socket.opened_us or 0)


def answered(state: StationState, event: Event) -> StationState:
    """The registration, the heartbeat interval, and the CSMS's clock."""
    payload = payload_of(event)
    try:
        registration = Registration(word(payload.get("status")))
    except ValueError:
        return unread(state, event)
    interval_s = integer(payload.get("interval"))
    retry_us = None
    if registration is not Registration.ACCEPTED and interval_s is not None:
        retry_us = event.at_us + interval_s * SECOND_US
    rejected = registration is Registration.REJECTED
    state = replace(
        state,
        registration=registration,
        boot_answered_us=event.at_us,
        rejected=rejected,
        rejected_until_us=event.at_us if state.rejected and not rejected else state.rejected_until_us,
        accepted_us=event.at_us if registration is Registration.ACCEPTED else None,
        retry_not_before_us=retry_us,
        retry_interval_s=interval_s if registration is not Registration.ACCEPTED else None,
    )
    state = _corrected(state, event)
    if registration is not Registration.ACCEPTED:
        return state
    if state.asked_boot_us is None:
        before_us = state.boots_us[-2] if len(state.boots_us) > 1 else 0
        if state.reset is not None and state.reset.at_us >= before_us:
            state = _stops_owed(state, event, state.reset)
        connectors = min(state.count_in_force("NumberOfConnectors") or _CONNECTORS, _MOST_CONNECTORS)
        each_us = (event.took_us or 0) + SECOND_US
        within_us = max(_LEAST_STATUSES_US, (1 + connectors) * each_us)
        state = waits.begin(state, Wait.STATUSES, event, within_us)
    state = waits.begin(state, Wait.HEARTBEAT, event, waits.DAY_US)
    if interval_s is not None and interval_s > 0:
        return configure(state, event, Source.BOOT, ("HeartbeatInterval", str(interval_s)))
    return state


def failed(state: StationState, event: Event) -> StationState:
    """No answer that can be read, or a CALLERROR: the station asks again (4.2)."""
    return replace(state, boot_failed=True)


def unread(state: StationState, event: Event) -> StationState:
    """An answer of the CSMS with a flaw: whether the station makes sense of it is its own affair."""
    if event.sender is not Side.CSMS:
        return state
    state = replace(state, unread_us=event.at_us)
    if event.action != "BootNotification":
        return state
    return replace(state, boot_unclear=True, rejected=True)


def heartbeat_called(state: StationState, event: Event) -> StationState:
    state = waits.end(replace(state, heartbeat_us=event.at_us), Wait.HEARTBEAT)
    return waits.begin(state, Wait.HEARTBEAT, event, waits.DAY_US)


def heartbeat_answered(state: StationState, event: Event) -> StationState:
    return _corrected(state, event)


def _corrected(state: StationState, event: Event) -> StationState:
    """currentTime tells the CSMS's clock, and the station may set its own by it: a new window begins (G3)."""
    told_us = stamp_us(payload_of(event).get("currentTime"))
    if told_us is None or event.frame is None:
        return state
    clock = state.clock
    earlier_us = clock.station_us if clock.station_us is not None else clock.earlier_us
    clock = replace(
        clock,
        station_us=None,
        samples=0,
        earlier_us=earlier_us,
        csms_us=told_us - event.at_us,
        csms_seq=event.frame.seq,
        synced_us=event.at_us,
    )
    return replace(state, clock=clock)


def told_time(state: StationState, event: Event, told_us: int | None) -> StationState:
    """A live stamp of the station: its difference to the arrival bounds the clock's offset from below.

    What follows at once after a failure or a long wait has waited too, and says nothing of the clock.
    """
    clock = state.clock
    if told_us is None or event.frame is None or event.at_us - state.freed_us < SECOND_US:
        return state
    offset_us = told_us - event.at_us
    if clock.station_us is not None and offset_us <= clock.station_us and clock.samples >= _MOST_SAMPLES:
        return state
    better = clock.station_us is None or offset_us > clock.station_us
    clock = replace(
        clock,
        station_us=offset_us if better else clock.station_us,
        station_seq=event.frame.seq if better else clock.station_seq,
        samples=clock.samples + 1,
    )
    return replace(state, clock=clock)


def reset_answered(state: StationState, event: Event) -> StationState:
    """An accepted Reset owes a Stop for every open transaction, and a boot (5.14)."""
    if payload_of(event).get("status") != "Accepted" or event.frame is None:
        return state
    kind = word(asked_payload(event).get("type"))
    asked = ResetAsked(kind, event.frame.seq, event.at_us, tuple(state.transactions))
    state = waits.begin(replace(state, reset=asked), Wait.BOOT_AFTER_RESET, event, state.patience.reboot_us)
    return _stops_owed(state, event, asked)


def _stops_owed(state: StationState, event: Event, reset: ResetAsked) -> StationState:
    """From now on: after the Reset, and again when the station is back (5.14: a Hard one may stop late)."""
    for transaction_id in reset.transactions:
        transaction = state.transactions.get(transaction_id)
        if transaction is None:
            continue
        state = waits.begin(
            waits.end(state, Wait.STOP_AFTER_RESET, transaction_id),
            Wait.STOP_AFTER_RESET,
            event,
            state.patience.reboot_us,
            key=transaction_id,
            connector_id=transaction.connector_id,
            transaction_id=transaction_id,
        )
    return state


def trigger_called(state: StationState, event: Event) -> StationState:
    """What is asked for may come before the answer says so (5.17)."""
    what = word(payload_of(event).get("requestedMessage"))
    return replace(state, triggers=newest({**state.triggers, what: event.at_us}, _MOST_TRIGGERS))


def trigger_answered(state: StationState, event: Event) -> StationState:
    what = word(asked_payload(event).get("requestedMessage"))
    if payload_of(event).get("status") != "Accepted":
        return replace(state, triggers=without(state.triggers, what))
    if what not in state.triggers:
        return state  # it has come already
    return replace(state, triggers={**state.triggers, what: event.at_us})
