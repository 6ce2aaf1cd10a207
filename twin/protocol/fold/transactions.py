"""Fold: authorization, transactions from Start to Stop, and the sends that failed."""

from typing import Any

from msgspec.structs import replace

from twin.model import CallError, CallResult, Event, EventKind, Side
from twin.protocol import metering
from twin.protocol.actions import TRANSACTION_ACTIONS, of_transaction
from twin.protocol.connectors import IN_TRANSACTION
from twin.protocol.fold import waits
from twin.protocol.fold.connection import from_queue
from twin.protocol.fold.connectors import status_fits
from twin.protocol.fold.payloads import (
    REMEMBERED,
    REMEMBERED_WORDS,
    as_object,
    asked_payload,
    integer,
    newest,
    payload_of,
    stamp_us,
    without,
    word,
)
from twin.protocol.state import (
    Failing,
    Notice,
    RemoteStart,
    StationState,
    Transaction,
    Unanswered,
    Verdict,
    Wait,
)
from twin.protocol.timestamps import SECOND_US

BOOT_REASONS = ("PowerLoss", "Reboot")  # 7.36: the station was gone
_STOPS = (
    Wait.STOP_AFTER_REMOTE, Wait.STOP_AFTER_REFUSAL, Wait.STOP_AFTER_UNPLUG, Wait.STOP_AFTER_RESET,
    Wait.STOP_BEFORE_REMOTE,
)  # fmt: skip
_MOST_FAILING = 16
_MOST_NOTICES = 8


def start_called(state: StationState, event: Event) -> StationState:
    payload = payload_of(event)
    connector_id = integer(payload.get("connectorId"))
    if connector_id is None or event.frame is None or event.message is None:
        return state
    meter_start_wh = integer(payload.get("meterStart"))
    started_us = stamp_us(payload.get("timestamp"))
    tag = word(payload.get("idTag"))
    seq = event.frame.seq
    transaction = Transaction(
        connector_id=connector_id,
        id_tag=tag,
        start_seq=seq,
        started_us=started_us,
        meter_start_wh=meter_start_wh,
        arrived_us=event.at_us,
        queued=state.queued(started_us) is True,
        register_wh=None if meter_start_wh is None else metering.number(str(meter_start_wh)),
        register_us=started_us,
        register_seq=seq,
        sampled_us=started_us,
        sampled_seq=seq,
        latest_us=started_us,
        latest_seq=seq,
    )
    starting = {**state.starting, event.message.message_id: transaction}
    state = replace(state, starting=newest(starting, REMEMBERED))
    if transaction.queued:
        state = from_queue(state, seq)
    if meter_start_wh == 0:
        state = replace(state, zero_starts=state.zero_starts + 1)
    state = waits.end(state, Wait.LEAVES_PREPARING, connector_id)
    for key in (connector_id, None):
        state = waits.end(state, Wait.START_AFTER_REMOTE, key)
    return status_fits(state, event, connector_id)


def start_answered(state: StationState, event: Event) -> StationState:
    payload = payload_of(event)
    transaction_id = integer(payload.get("transactionId"))
    transaction, state = _take_start(state, event)
    if transaction is None:
        return state
    info = as_object(payload.get("idTagInfo"))
    status = word(info.get("status"))
    state = _judge_tag(state, event, transaction.id_tag)
    if transaction_id is None:
        return _count_unanswered(state, transaction.connector_id)  # ER 3.18: as if it were not answered
    state = _superseded(state, transaction)
    opened = replace(
        transaction,
        transaction_id=transaction_id,
        status=status,
        parent_tag=word(info.get("parentIdTag")),
        answered_us=event.at_us,
    )
    state = replace(state, transactions=newest({**state.transactions, transaction_id: opened}, REMEMBERED))
    connector_id = transaction.connector_id
    connector = state.connectors.get(connector_id)
    charging = connector is not None and connector.status in IN_TRANSACTION
    if status == "Accepted" and not charging and not transaction.queued:
        state = waits.begin(
            state, Wait.STATUS_AFTER_START, event, state.patience.triggered_us,
            key=connector_id, connector_id=connector_id, transaction_id=transaction_id,
        )  # fmt: skip
    refused = status not in ("", "Accepted") and not transaction.queued
    if refused and (connector is None or connector.status != "SuspendedEVSE"):
        state = waits.begin(
            state, Wait.SUSPENDED_AFTER_REFUSAL, event, state.patience.triggered_us,
            key=connector_id, connector_id=connector_id, transaction_id=transaction_id,
        )  # fmt: skip
    return status_fits(state, event, connector_id)


def start_failed(state: StationState, event: Event) -> StationState:
    transaction, state = _take_start(state, event)
    if transaction is None:
        return state
    return _count_unanswered(state, transaction.connector_id)


def _count_unanswered(state: StationState, connector_id: int) -> StationState:
    counts = state.unanswered_starts
    counts = newest({**counts, connector_id: counts.get(connector_id, 0) + 1}, REMEMBERED)
    return replace(state, unanswered_starts=counts)


def _superseded(state: StationState, again: Transaction) -> StationState:
    """The same StartTransaction was sent again: the first answer, and its id, did not arrive (3.7)."""
    same = [
        number
        for number, tx in state.transactions.items()
        if (tx.connector_id, tx.id_tag, tx.meter_start_wh, tx.started_us)
        == (again.connector_id, again.id_tag, again.meter_start_wh, again.started_us)
        and tx.started_us is not None
        and tx.answered_us is not None
        and again.arrived_us > tx.arrived_us
    ]
    for number in same:
        state = replace(state, transactions=without(state.transactions, number))
        for wait in _STOPS:
            state = waits.end(state, wait, number)
    return state


def stop_called(state: StationState, event: Event) -> StationState:
    payload = payload_of(event)
    transaction_id = integer(payload.get("transactionId"))
    transaction = state.transactions.get(transaction_id) if transaction_id is not None else None
    if transaction is None or transaction_id is None or event.frame is None:
        return state
    ended = replace(
        transaction,
        stop_seq=event.frame.seq,
        stopped_us=stamp_us(payload.get("timestamp")),
        stop_arrived_us=event.at_us,
        meter_stop_wh=integer(payload.get("meterStop")),
        reason=word(payload.get("reason")),
    )
    connector_id = transaction.connector_id
    state = replace(
        state,
        transactions=without(state.transactions, transaction_id),
        ended=newest({**state.ended, transaction_id: ended}, REMEMBERED),
        last_stop=newest({**state.last_stop, connector_id: ended}, REMEMBERED),
        sampling={
            key: value for key, value in state.sampling.items() if value.transaction_id != transaction_id
        },
    )
    if state.queued(ended.stopped_us):
        state = from_queue(state, event.frame.seq)
    for wait in _STOPS:
        state = waits.end(state, wait, transaction_id)
    for wait in (Wait.STATUS_AFTER_START, Wait.SUSPENDED_AFTER_REFUSAL):
        state = waits.end(state, wait, connector_id)
    booted = state.last_boot_us is not None and state.last_boot_us > transaction.arrived_us
    if ended.reason in BOOT_REASONS and not booted and not state.queued(ended.stopped_us):
        state = waits.begin(
            state, Wait.BOOT_AFTER_POWER_LOSS, event, state.patience.triggered_us,
            key=transaction_id, connector_id=connector_id, transaction_id=transaction_id,
        )  # fmt: skip
    return status_fits(state, event, connector_id)


def tag_answered(state: StationState, event: Event) -> StationState:
    """Authorize.conf and StopTransaction.conf: the newest word of the CSMS on an idTag."""
    state = _judge_tag(state, event, word(asked_payload(event).get("idTag")))
    tag = word(asked_payload(event).get("idTag")).casefold()
    verdict = state.id_tags.get(tag)
    if verdict is not None and verdict.status != "Accepted" and tag in state.remote_starts:
        for key in (state.remote_starts[tag].connector_id, None):
            state = waits.end(state, Wait.START_AFTER_REMOTE, key)
    return state


def authorize_called(state: StationState, event: Event) -> StationState:
    if event.frame is None:
        return state
    tag = word(payload_of(event).get("idTag")).casefold()
    return replace(state, asked_tag=(tag, event.frame.seq, event.at_us))


def authorize_failed(state: StationState, event: Event) -> StationState:
    tag = word(asked_payload(event).get("idTag")).casefold()
    if not tag or event.asked is None:
        return state
    if tag in state.remote_starts:  # 4.1: without an answer nothing starts
        for key in (state.remote_starts[tag].connector_id, None):
            state = waits.end(state, Wait.START_AFTER_REMOTE, key)
    why = event.why or "refused"
    failed = Unanswered(event.asked.frame.seq, event.at_us, why)
    return replace(state, unanswered_tags=newest({**state.unanswered_tags, tag: failed}, REMEMBERED_WORDS))


def remote_start_answered(state: StationState, event: Event) -> StationState:
    if word(payload_of(event).get("status")) != "Accepted" or event.frame is None:
        return state
    asked = asked_payload(event)
    tag, connector_id = word(asked.get("idTag")).casefold(), integer(asked.get("connectorId"))
    told = RemoteStart(event.frame.seq, event.at_us, connector_id)
    state = replace(state, remote_starts=newest({**state.remote_starts, tag: told}, REMEMBERED_WORDS))
    running = state.transaction_on(connector_id) if connector_id is not None else None
    if running is not None and event.asked and running.arrived_us < event.asked.frame.at_us:
        state = waits.begin(
            state, Wait.STOP_BEFORE_REMOTE, event, state.patience.status_us,
            key=running.transaction_id, connector_id=connector_id, transaction_id=running.transaction_id,
        )  # fmt: skip
    timeout_s = state.count_in_force("ConnectionTimeOut")
    if not timeout_s:
        return state
    within_us = timeout_s * SECOND_US
    within_us += max(5 * SECOND_US, within_us // 20)  # Authorize first, then Preparing
    return waits.begin(
        state, Wait.START_AFTER_REMOTE, event, within_us, key=connector_id, connector_id=connector_id
    )


def remote_stop_answered(state: StationState, event: Event) -> StationState:
    transaction_id = integer(asked_payload(event).get("transactionId"))
    status = payload_of(event).get("status")
    if status not in ("Accepted", "Rejected") or transaction_id is None or event.frame is None:
        return state
    transaction = state.transactions.get(transaction_id)
    if transaction is None:
        return state
    if status == "Rejected":
        return waits.begin(
            state, Wait.STOP_AFTER_REFUSAL, event, state.patience.status_us,
            key=transaction_id, connector_id=transaction.connector_id, transaction_id=transaction_id,
        )  # fmt: skip
    told = replace(transaction, remote_stop_seq=event.frame.seq)
    state = replace(state, transactions={**state.transactions, transaction_id: told})
    return waits.begin(
        state,
        Wait.STOP_AFTER_REMOTE,
        event,
        state.patience.triggered_us,
        key=transaction_id,
        connector_id=transaction.connector_id,
        transaction_id=transaction_id,
    )


def failed_sends(state: StationState, event: Event) -> StationState:
    """What failed and waits, and whether the queue is stuck behind it: MeterValues of no transaction too."""
    if event.asked is not None and event.asked.sender is Side.STATION:
        if event.kind is EventKind.CALLED:
            state = replace(state, stuck=False)
        elif event.kind in (EventKind.REFUSED, EventKind.TIMED_OUT):
            of_none = not of_transaction(event.action, event.asked.call.payload)
            state = replace(state, stuck=of_none)
    return _failed_sends(state, event)


def _failed_sends(state: StationState, event: Event) -> StationState:
    """The transaction messages that failed and were not yet delivered (§3.7), oldest first."""
    if (
        event.action not in TRANSACTION_ACTIONS
        or event.asked is None
        or event.asked.sender is not Side.STATION
        or not of_transaction(event.action, event.asked.call.payload)
        or (not state.failing and event.kind in (EventKind.CALLED, EventKind.ANSWERED))
    ):
        return state
    payload = event.asked.call.payload
    known = next((f for f in state.failing if f.action == event.action and f.payload == payload), None)
    place = state.failing.index(known) if known is not None else len(state.failing)
    if event.kind is EventKind.CALLED:
        if known is None:
            return state
        again = replace(known, attempts=known.attempts + 1, sent_us=event.at_us, pending=True)
        state = replace(state, failing=(*state.failing[:place], again, *state.failing[place + 1 :]))
        return waits.end(state, Wait.RESEND, known.seq)
    if isinstance(event.message, CallResult):
        if known is None:
            return state
        failing = (*state.failing[:place], *state.failing[place + 1 :])
        state = replace(state, failing=failing, freed_us=event.at_us)
        return waits.end(state, Wait.RESEND, known.seq)
    failed = Failing(
        action=event.action,
        payload=payload,
        seq=known.seq if known else event.asked.frame.seq,
        attempts=(known.attempts if known else 1) - (event.why == "link ended"),  # 3.7.1 does not count it
        sent_us=event.asked.frame.at_us,
        failed_us=event.at_us,
        refused=isinstance(event.message, CallError),
        link_ended=event.why == "link ended",
    )
    failing = (*state.failing[:place], failed, *state.failing[place + 1 :])[-_MOST_FAILING:]
    state = replace(state, failing=failing)
    return _wait_for_resend(state, event, failed)


def failed_notice(state: StationState, event: Event) -> StationState:
    """Authorize and StatusNotification that failed, the newest few (rule R005)."""
    if event.action not in ("Authorize", "StatusNotification") or event.asked is None:
        return state
    notice = Notice(event.action, event.asked.call.payload, event.asked.frame.seq)
    return replace(state, failed_notices=(*state.failed_notices, notice)[-_MOST_NOTICES:])


def _wait_for_resend(state: StationState, event: Event, failed: Failing) -> StationState:
    """3.7.1: the next attempt comes after the interval times the number of preceding transmissions."""
    interval_s = state.count_in_force("TransactionMessageRetryInterval")
    attempts = state.count_in_force("TransactionMessageAttempts")
    if failed.link_ended or not interval_s or attempts is None or failed.attempts >= attempts:
        return state
    within_us = interval_s * failed.attempts * SECOND_US
    within_us += within_us // 10 + 5 * SECOND_US
    return waits.begin(state, Wait.RESEND, event, within_us, key=failed.seq)


def _take_start(state: StationState, event: Event) -> tuple[Transaction | None, StationState]:
    message_id = event.asked.call.message_id if event.asked else ""
    transaction = state.starting.get(message_id)
    if transaction is None:
        return None, state
    return transaction, replace(state, starting=without(state.starting, message_id))


def _judge_tag(state: StationState, event: Event, tag: str) -> StationState:
    info: Any = as_object(payload_of(event).get("idTagInfo"))
    status = word(info.get("status"))
    if not status or event.frame is None:
        return state
    key = tag.casefold()
    known = state.id_tags.get(key)
    # an answer that does not name the group does not dissolve it
    parent = word(info.get("parentIdTag")) or (known.parent_tag if known is not None else "")
    verdict = Verdict(status, event.frame.seq, event.at_us, parent, event.action, state.blocked_us)
    if key in state.unanswered_tags:
        state = replace(state, unanswered_tags=without(state.unanswered_tags, key))
    return replace(state, id_tags=newest({**state.id_tags, key: verdict}, REMEMBERED_WORDS))
