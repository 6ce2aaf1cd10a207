"""Family R, first part: what is sent again, when, and in which order."""

from collections.abc import Iterable
from typing import Any

from twin.model import EventKind, Severity, Side
from twin.protocol.actions import of_transaction
from twin.protocol.fold import integer
from twin.protocol.state import Failing
from twin.rules.step import CUT, DAMAGED, NO_OPENING, NO_TIMES, NO_VALUE, Found, Step, Unknown

_DEFAULT_ATTEMPTS = 3


def sent_again(step: Step) -> Iterable[Found] | Unknown | None:
    """A failing transaction message is sent again until the attempts are used up.

    OCPP 1.6 §3.7.1, JE 3.2. Pitfalls: a connection that ends in between starts the count anew (whether that
    is an attempt is not specified); the wait is the interval times the transmissions so far, and 10 % more.
    """
    if step.event.kind is not EventKind.OVERDUE:
        if step.seconds_in_force("TransactionMessageRetryInterval") is None:
            return NO_VALUE
        return None
    awaited = step.event.awaited
    failed = next((f for f in step.before.failing if awaited and f.seq == awaited.key), None)
    if awaited is None or failed is None or failed.pending:
        return None
    waited_s = (awaited.due_us - failed.failed_us) / 1e6
    detail = f"{failed.action} failed {failed.attempts} time(s), not sent again within {waited_s:.0f} s"
    return [Found(detail=detail, evidence=(failed.seq,), key=str(failed.seq))]


def retry_gaps(step: Step) -> Iterable[Found] | Unknown | None:
    """The wait before an attempt is the retry interval times the transmissions before it.

    OCPP 1.6 §3.7.1, ER 3.82. Pitfalls: some measure from the send, some from the failure: both are accepted,
    each with 10 %; an attempt right after a new connection is fine, and one that had to wait for the answer
    to another CALL may be late.
    """
    failed = _again(step)
    if failed is None or failed.link_ended:
        return None
    known = step.seconds_in_force("TransactionMessageRetryInterval")
    if known is None:
        return NO_VALUE
    if step.event.frame is not None and step.event.frame.facts.get("interpolated"):
        return NO_TIMES
    opened_us = step.before.socket.opened_us
    if opened_us is not None and opened_us >= failed.failed_us:
        return None
    wanted_us = known[0] * failed.attempts * 1_000_000
    slack_us = max(int(wanted_us * step.profile.tolerances.retry_share), step.profile.tolerances.timer_us)
    gaps_us = [step.event.at_us - failed.failed_us, step.event.at_us - failed.sent_us]
    if any(abs(gap_us - wanted_us) <= slack_us for gap_us in gaps_us) or not wanted_us:
        return None
    if min(gaps_us) <= wanted_us <= max(gaps_us):
        return None  # between the two readings
    if min(gaps_us) > wanted_us and step.before.held_up(failed.failed_us, step.event.at_us):
        return None
    return [
        Found(
            detail=f"{failed.action} sent again {gaps_us[0] / 1e6:.0f} s after its failure, "
            f"{wanted_us // 1_000_000} s after attempt {failed.attempts} expected",
            evidence=(failed.seq,),
            provenance=known[1].provenance,
            key=str(failed.seq),
        )
    ]


def no_overtaking(step: Step) -> Iterable[Found] | Unknown | None:
    """No newer transaction message overtakes one that failed.

    OCPP 1.6 §3.7 (SHALL). Pitfalls: other messages may pass; a message that has used up
    TransactionMessageAttempts is given up and no longer waits; a message that was merely still unanswered
    when another was sent has not failed (J006); an older one that goes first is right; MeterValues without a
    transactionId belong to no transaction.
    """
    before, asked = step.before, step.event.asked
    if asked is None:
        return None
    if step.event.frame is not None and step.event.frame.facts.get("truncated"):
        return DAMAGED
    if not of_transaction(step.event.action, asked.call.payload):
        return None
    if before.socket.live_seq is not None and (overtaken := _overtaken(step, before.socket.live_seq)):
        return overtaken
    if not before.failing:
        return None
    if step.may_be_cut(Side.CSMS):
        return CUT
    payload = asked.call.payload
    if any(f.action == step.event.action and f.payload == payload for f in before.failing):
        return None
    attempts = _attempts(step)
    waiting = next((f for f in before.failing if f.attempts < attempts and not f.pending), None)
    if waiting is None or _same_message(waiting, step.event.action, step.payload):
        return None
    return [
        Found(
            detail=f"{step.event.action} overtakes a failed {waiting.action}",
            evidence=(waiting.seq,),
            key=str(waiting.seq),
        )
    ]


def same_content(step: Step) -> Iterable[Found] | Unknown | None:
    """A message that is sent again has the same content, time stamps included.

    OCPP 1.6 §3.7, OCPP-J 1.6 §4.1.4. Pitfalls: the messageId is new (J005); the transactionId may have become
    known in between.
    """
    before = step.before
    if not before.failing:
        return None
    if step.event.frame is not None and step.event.frame.facts.get("truncated"):
        return DAMAGED
    payload = step.payload
    failed = next((f for f in before.failing if _same_message(f, step.event.action, payload)), None)
    if failed is None or failed.pending or _content(failed.payload) == _content(payload):
        return None
    if any(f.action == step.event.action and f.payload == payload for f in before.failing):
        return None
    changed = sorted(
        name
        for name in {*failed.payload, *payload}
        if name != "transactionId" and failed.payload.get(name) != payload.get(name)
    )
    return [
        Found(
            detail=f"{step.event.action} sent again with another {', '.join(changed)[:80]}",
            connector_id=integer(payload.get("connectorId")),
            transaction_id=integer(payload.get("transactionId")),
            evidence=(failed.seq,),
            key=str(failed.seq),
        )
    ]


def notices_sent_again(step: Step) -> Iterable[Found] | Unknown | None:
    """Authorize and StatusNotification need not be sent again; a station that does may.

    OCPP 1.6 §3.7 speaks of transaction messages only. Pitfalls: allowed, hence a note.
    """
    notices = step.before.failed_notices
    asked = step.event.asked
    if asked is None:
        return None
    if step.event.frame is not None and step.event.frame.facts.get("truncated"):
        return DAMAGED
    same = next(
        (n for n in notices if n.action == step.event.action and n.payload == asked.call.payload), None
    )
    if same is None:
        return None
    return [Found(detail=f"{same.action} sent again after it failed", evidence=(same.seq,), key=same.action)]


def given_up(step: Step) -> Iterable[Found] | Unknown | None:
    """After the attempts a transaction message is skipped, and the next one goes on.

    OCPP 1.6 §3.7.1, ER 3.18. Pitfalls: a connection that ended in between is no attempt here; the number is
    the total, the first transmission included; what was lowered since the last one does not count.
    """
    failed = _again(step)
    if failed is None:
        return None
    known = step.seconds_in_force("TransactionMessageAttempts")
    if known is None:
        return NO_VALUE
    if step.before.socket.opened_us is None:
        return NO_OPENING
    if failed.attempts < max(known[0], 1):
        return None
    written = step.before.config.get("transactionmessageattempts")
    if written is not None and written.at_us >= failed.sent_us:
        return None
    return [
        Found(
            detail=f"{failed.action} sent {failed.attempts + 1} times, {known[0]} attempts configured",
            severity=Severity.WARNING,
            evidence=(failed.seq,),
            provenance=known[1].provenance,
            key=str(failed.seq),
        )
    ]


def _again(step: Step) -> Failing | None:
    """The failed message of which this CALL is another transmission."""
    if not step.before.failing or step.event.asked is None:
        return None
    payload = step.event.asked.call.payload
    same = (f for f in step.before.failing if f.action == step.event.action and f.payload == payload)
    return next(same, None)


def _overtaken(step: Step, live_seq: int) -> list[Found] | None:
    """A message from the queue that comes after a live one: the live one went ahead of it (3.7)."""
    after, before = step.after, step.before
    if after.socket.queue_seq == before.socket.queue_seq or after.socket.queue_seq is None:
        return None
    if not before.socket.outages:
        return None
    return [
        Found(
            detail=f"{step.event.action} from the queue comes after live transaction messages",
            severity=Severity.WARNING,
            evidence=(live_seq,),
            key=f"queue {live_seq}",
        )
    ]


def _attempts(step: Step) -> int:
    known = step.seconds_in_force("TransactionMessageAttempts")
    return known[0] if known else _DEFAULT_ATTEMPTS


def _same_message(failed: Failing, action: str, payload: dict[str, Any]) -> bool:
    """Whether ``payload`` is the failed message with other words: what identifies it is equal."""
    if failed.action != action or not isinstance(failed.payload, dict):
        return False
    mine, theirs = failed.payload, payload
    if action == "StartTransaction":
        names = ("connectorId", "idTag", "meterStart")
        return all(mine.get(name) is not None and mine[name] == theirs.get(name) for name in names)
    if action == "StopTransaction":
        return mine.get("transactionId") is not None and mine["transactionId"] == theirs.get("transactionId")
    # of meter values the stamps tell which ones they are; equal values at another time are others
    place = all(mine.get(name) == theirs.get(name) for name in ("connectorId", "transactionId"))
    return place and bool(_stamps(mine)) and _stamps(mine) == _stamps(theirs)


def _stamps(payload: dict[str, Any]) -> list[Any]:
    entries = payload.get("meterValue")
    if not isinstance(entries, list):
        return []
    return [entry.get("timestamp") for entry in entries if isinstance(entry, dict)]


def _content(payload: Any) -> Any:
    if not isinstance(payload, dict):
        return payload
    return {name: value for name, value in payload.items() if name != "transactionId"}
