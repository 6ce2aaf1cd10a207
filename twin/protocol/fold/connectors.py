"""Fold: connector status and availability, and what a status promises."""

from msgspec.structs import replace

from twin.model import Event
from twin.protocol.connectors import IN_TRANSACTION
from twin.protocol.fold import waits
from twin.protocol.fold.boot import told_time
from twin.protocol.fold.payloads import (
    REMEMBERED,
    asked_payload,
    integer,
    newest,
    payload_of,
    stamp_us,
    word,
)
from twin.protocol.state import Availability, Connector, StationState, Wait
from twin.protocol.timestamps import SECOND_US

_REMEMBERED_CHANGES = 8
# 7.7: charging, or held up while charging: a transaction must be open
_ENERGY = IN_TRANSACTION - {"Faulted"}
_FREE = frozenset({"Available", "Preparing", "Reserved"})  # and here none is, whatever came before


def status_called(state: StationState, event: Event) -> StationState:
    """The connector's new status, what it replaced, and what must follow from it."""
    payload = payload_of(event)
    connector_id = integer(payload.get("connectorId"))
    if connector_id is None or event.frame is None:
        return state
    status, told_us = word(payload.get("status")), stamp_us(payload.get("timestamp"))
    known = state.connectors.get(connector_id)
    changed = known is None or known.status != status
    connector = Connector(
        status=status,
        error_code=word(payload.get("errorCode")),
        seq=event.frame.seq,
        at_us=event.at_us,
        info=word(payload.get("info")),
        vendor_error=word(payload.get("vendorErrorCode")),
        stamp_us=told_us,
        since_us=event.at_us if known is None or changed else known.since_us,
        before="" if known is None else known.status if changed else known.before,
        before_fault=_before_fault(known, status),
        changed_us=_changes(known, event.at_us if changed and known is not None else None),
        was_free=status in _FREE or (known is not None and known.was_free),
    )
    state = replace(state, connectors=newest({**state.connectors, connector_id: connector}, REMEMBERED))
    if state.queued(told_us) is not True:
        state = told_time(state, event, told_us)
    if connector_id == 0:
        return state
    state = waits.end(state, Wait.STATUS_AFTER_AVAILABILITY, connector_id)
    if changed:
        state = _preparing(state, event, connector_id, status)
    if status in _ENERGY:
        state = waits.end(state, Wait.STATUS_AFTER_START, connector_id)
        if status == "SuspendedEVSE":
            state = waits.end(state, Wait.SUSPENDED_AFTER_REFUSAL, connector_id)
    state = _unplugged(state, event, connector_id, connector)
    return status_fits(state, event, connector_id)


def status_fits(state: StationState, event: Event, connector_id: int) -> StationState:
    """Open transaction and status must agree within a grace; the wait begins where they do not (7.7)."""
    connector = state.connectors.get(connector_id)
    if connector is None or connector_id == 0:
        return waits.end(state, Wait.STATUS_FITS, connector_id)
    starting = any(tx.connector_id == connector_id for tx in state.starting.values())
    transaction = state.transaction_on(connector_id)
    if transaction is not None:
        fits = connector.status in IN_TRANSACTION or transaction.queued
    else:
        fits = connector.status not in _ENERGY or starting or not state.connector_known(connector_id)
    if fits:
        return waits.end(state, Wait.STATUS_FITS, connector_id)
    return waits.begin(
        state,
        Wait.STATUS_FITS,
        event,
        state.patience.status_us,
        key=connector_id,
        connector_id=connector_id,
        transaction_id=transaction.transaction_id if transaction else None,
    )


def availability_answered(state: StationState, event: Event) -> StationState:
    """ChangeAvailability.conf Accepted is followed by a status where the status changes (5.2)."""
    asked, status = asked_payload(event), payload_of(event).get("status")
    connector_id = integer(asked.get("connectorId"))
    if connector_id is None or event.frame is None or status not in ("Accepted", "Scheduled"):
        return state
    operative, scheduled = asked.get("type") == "Operative", status == "Scheduled"
    told = Availability(operative, scheduled, event.frame.seq, event.at_us)
    state = replace(state, availability=newest({**state.availability, connector_id: told}, REMEMBERED))
    connector = state.connectors.get(connector_id)
    if connector_id == 0 or connector is None or scheduled:
        return state
    if (connector.status == "Unavailable") is not operative:
        return state  # already as asked
    return waits.begin(
        state,
        Wait.STATUS_AFTER_AVAILABILITY,
        event,
        state.patience.triggered_us,
        key=connector_id,
        connector_id=connector_id,
    )


def ev_side_disconnected(info: str) -> bool:
    """Whether ``info`` says that the EV side was unplugged (4.9: "EV side disconnected")."""
    return "".join(info.casefold().split()).replace("-", "") == "evsidedisconnected"


def _before_fault(known: Connector | None, status: str) -> str:
    if known is None:
        return ""
    if status == "Faulted":
        return known.before_fault if known.status == "Faulted" else known.status
    return known.before_fault if known.status == status else ""


def _changes(known: Connector | None, at_us: int | None) -> tuple[int, ...]:
    if known is None:
        return ()
    return (*known.changed_us, at_us)[-_REMEMBERED_CHANGES:] if at_us is not None else known.changed_us


def _preparing(state: StationState, event: Event, connector_id: int, status: str) -> StationState:
    """ConnectionTimeOut runs from the beginning of Preparing (ER 3.87)."""
    if status != "Preparing":
        if status == "Available":
            state = waits.end(state, Wait.START_AFTER_REMOTE, connector_id)
        return waits.end(state, Wait.LEAVES_PREPARING, connector_id)
    timeout_s = state.count_in_force("ConnectionTimeOut")
    if not timeout_s or any(tx.connector_id == connector_id for tx in state.starting.values()):
        return state
    if state.transaction_on(connector_id) is not None:
        return state
    within_us = timeout_s * SECOND_US
    within_us += max(2 * SECOND_US, within_us // 20)
    return waits.begin(
        state, Wait.LEAVES_PREPARING, event, within_us, key=connector_id, connector_id=connector_id
    )


def _unplugged(state: StationState, event: Event, connector_id: int, connector: Connector) -> StationState:
    """The EV side left an open transaction: by the info of 4.9, or by a status without one."""
    transaction = state.transaction_on(connector_id)
    if transaction is None or transaction.transaction_id is None or transaction.queued:
        return state
    said = connector.status == "SuspendedEV" and ev_side_disconnected(connector.info)
    left = connector.status in ("Available", "Finishing")
    transaction_id = transaction.transaction_id
    if not (said or left):
        if transaction.unplugged_seq is None:
            return state
        back = replace(transaction, unplugged_seq=None)
        state = replace(state, transactions={**state.transactions, transaction_id: back})
        return waits.end(state, Wait.STOP_AFTER_UNPLUG, transaction_id)
    if transaction.unplugged_seq is None:
        gone = replace(transaction, unplugged_seq=connector.seq)
        state = replace(state, transactions={**state.transactions, transaction_id: gone})
    return waits.begin(
        state,
        Wait.STOP_AFTER_UNPLUG,
        event,
        state.patience.unplug_us,
        key=transaction_id,
        connector_id=connector_id,
        transaction_id=transaction_id,
    )
