"""What a CALL is to a step of a test case, and how long to wait for one."""

from collections.abc import Mapping
from typing import Any

from twin.certificate.case_words import CONNECTOR, TAG, TRANSACTION, Case, Each, Exchange
from twin.engine.case_checks import Context, check
from twin.engine.case_plan import Item
from twin.engine.case_reading import (
    OTHER,
    RIGHT,
    Opinion,
    Said,
    pick,
    seconds,
    transaction_in_use,
    weigh,
)
from twin.model import Side
from twin.protocol.fold import integer
from twin.protocol.state import StationState
from twin.rules import Step

PATIENCE_S = 120  # for what the station owes
HUMAN_PATIENCE_S = 600  # for people, and for the CSMS
LINK_PATIENCE_S = 24 * 3600  # for a lost connection
_REACTION_S = 5  # after a timer of the station (the certificate's limit for a triggered function)


def judge_call(item: Exchange, step: Step, case: Case, context: Context) -> tuple[Opinion, dict[str, Any]]:
    """What a CALL is to a step, and the names it binds."""
    event = step.event
    if event.sender is not item.by or event.action != item.action:
        return OTHER, {}
    bound = pick(item.where, step.payload, context.names)
    if bound is None:
        return OTHER, {}
    names = filled({**context.names, **bound}, step.before, case)
    opinion = RIGHT
    for wanted in item.checks:
        if opinion is RIGHT:
            opinion = check(wanted, step, context.called(names))
    for must in item.must:
        if opinion is RIGHT:
            opinion = weigh(must, step.payload, _subject(step))
    if opinion is RIGHT:
        opinion = _in_time(item, step, context)
    if item.each is not None:
        opinion = _of_each(item, step, names, opinion)
    return opinion, names


def _subject(step: Step) -> str:
    connector_id = integer(step.payload.get("connectorId"))
    return f"connector {connector_id}" if connector_id is not None else step.event.action


def _in_time(item: Exchange, step: Step, context: Context) -> Opinion:
    took_s = (step.event.at_us - context.entered_us) / 1e6
    if item.within is not None:
        most_s = _deadline_s(item, step, context.names)
        if most_s is not None and took_s > most_s:
            if not item.owed:
                return OTHER
            return Said.WRONG, f"{item.action} came after {took_s:.0f} s"
    if item.not_before is None:
        return RIGHT
    span_s = seconds(item.not_before, step, context.names)
    if span_s is None:
        return Said.DOUBTFUL, "the span of time is not known"
    if took_s >= span_s - _slack_s(span_s, step):
        return RIGHT
    told = f"{item.action} came after {took_s:.0f} s and not after {span_s} s"
    # somebody may have cancelled or unplugged; the CSMS may have asked for it
    by_hand = item.action == "StatusNotification" or step.before.triggered
    return (Said.DOUBTFUL if by_hand else Said.WRONG), told


def _slack_s(span_s: int, step: Step) -> float:
    return step.profile.tolerances.timer_slack_us(span_s * 1_000_000) / 1e6


def _deadline_s(item: Exchange, step: Step, names: Mapping[str, Any]) -> float | None:
    span_s = seconds(item.within, step, names) if item.within is not None else None
    return None if span_s is None else span_s + _slack_s(span_s, step) + _REACTION_S


def _of_each(item: Exchange, step: Step, names: Mapping[str, Any], opinion: Opinion) -> Opinion:
    connector_id = integer(step.payload.get("connectorId"))
    if connector_id is None:
        return OTHER
    if item.each is Each.OTHER_CONNECTOR:
        if connector_id == names.get(CONNECTOR):
            return OTHER
        if opinion[0] in (Said.WRONG, Said.DOUBTFUL):
            return Said.RIGHT, opinion[1]  # another connector has a life of its own
    return opinion


def is_owed(item: Item) -> bool:
    """Whether the station has to send it."""
    return isinstance(item, Exchange) and item.owed and item.by is Side.STATION


def patience_s(items: list[Item], step: Step, names: Mapping[str, Any]) -> float:
    """How long to wait for all of these, in seconds."""
    return max(_patience_s(item, step, names) for item in items)


def _patience_s(item: Item, step: Step, names: Mapping[str, Any]) -> float:
    if not isinstance(item, Exchange):
        return LINK_PATIENCE_S
    deadline_s = _deadline_s(item, step, names)
    if deadline_s is not None:
        return deadline_s
    longest = item.every or item.not_before
    span_s = seconds(longest, step, names) if longest is not None else None
    return (PATIENCE_S if is_owed(item) else HUMAN_PATIENCE_S) + 2 * (span_s or 0)


def filled(names: dict[str, Any], state: StationState, case: Case) -> dict[str, Any]:
    """``names`` with those that follow: of a transaction its connector and idTag, and the other way round."""
    transaction_id = integer(names.get(TRANSACTION))
    transaction = state.transactions.get(transaction_id) if transaction_id is not None else None
    if transaction is None and TRANSACTION not in names and case.state:
        connector_id = integer(names.get(CONNECTOR))
        if connector_id is not None:
            transaction = state.transaction_on(connector_id)
        elif any(wanted.of_transaction for wanted in case.state):
            transaction = transaction_in_use(state)
    if transaction is None:
        return names
    implied: dict[str, Any] = {CONNECTOR: transaction.connector_id, TAG: transaction.id_tag}
    if transaction.transaction_id is not None:
        implied[TRANSACTION] = transaction.transaction_id
    return {**implied, **names}
