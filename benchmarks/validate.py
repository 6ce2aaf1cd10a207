"""Exact schema verdict per message (decode, pair, validate), against the ``ocpp`` package's synchronous one.

Both sides read the same texts, pair answers with their CALL by messageId, and say of every payload whether it
fits its schema. No ratio is printed unless both say the same of every message, and our exact path too.
"""

import sys

from _common import asked_for, in_turn, peer_verdicts, report, traffic

from twin.model import Call, CallResult
from twin.protocol.codec import parse
from twin.protocol.schema import conforms, violations

GOAL = 50


def our_verdicts(texts: list[str]) -> list[bool]:
    """The quick path accepts; what it does not accept is asked of the exact one."""
    actions: dict[str, str] = {}
    verdicts = []
    for text in texts:
        message = parse(text).message
        if isinstance(message, Call):
            answer, action = False, message.action
            actions[message.message_id] = action
        else:
            assert isinstance(message, CallResult)
            answer, action = True, actions.pop(message.message_id)
        payload = message.payload
        verdicts.append(
            conforms(action, payload, answer=answer) or not violations(action, payload, answer=answer)
        )
    return verdicts


def exact_verdicts(texts: list[str]) -> list[bool]:
    """The exact path alone, for comparison."""
    actions: dict[str, str] = {}
    verdicts = []
    for text in texts:
        message = parse(text).message
        assert isinstance(message, Call | CallResult)
        answer = isinstance(message, CallResult)
        if isinstance(message, Call):
            actions[message.message_id] = message.action
        verdicts.append(not violations(actions[message.message_id], message.payload, answer=answer))
    return verdicts


def main() -> int:
    options = asked_for(__doc__)
    rounds, messages = (5, 4_000) if options.quick else (15, 20_000)
    texts = [frame.text or "" for frame in traffic(messages)]
    ours, theirs, exact = our_verdicts(texts), peer_verdicts(texts), exact_verdicts(texts)
    if not ours == theirs == exact or all(ours):
        raise SystemExit("the verdicts differ, or nothing is rejected: no ratio")
    times = in_turn(lambda: our_verdicts(texts), lambda: peer_verdicts(texts), rounds)
    report("validate", times, messages, limit=GOAL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
