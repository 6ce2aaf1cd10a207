"""Family R: retries and order of transaction messages."""

from collections.abc import Iterable

from twin.protocol.actions import TRANSACTION_ACTIONS
from twin.rules.step import Found, Step

_DEFAULT_ATTEMPTS = 3


def no_overtaking(step: Step) -> Iterable[Found] | None:
    """No newer transaction message overtakes one that failed.

    OCPP 1.6 §3.7 (SHALL). Pitfalls: other messages may pass; a message that has used up
    TransactionMessageAttempts is given up and no longer waits; a message that was merely still unanswered
    when another was sent has not failed (J006).
    """
    if step.event.action not in TRANSACTION_ACTIONS or step.event.asked is None:
        return None
    payload = step.event.asked.call.payload
    if any(
        waiting.action == step.event.action and waiting.payload == payload for waiting in step.before.failing
    ):
        return None
    known = step.seconds_in_force("TransactionMessageAttempts")
    attempts = known[0] if known else _DEFAULT_ATTEMPTS
    waiting = next((failed for failed in step.before.failing if failed.attempts < attempts), None)
    if waiting is None:
        return None
    return [
        Found(
            detail=f"{step.event.action} overtakes a failed {waiting.action}",
            evidence=(waiting.seq,),
            key=str(waiting.seq),
        )
    ]
