"""The whole Analyzer (decode, pair, schema, fold, every rule), against the ``ocpp`` package validating.

Ours does all that ``twin check`` does once a capture is read; the peer decodes, pairs and validates. No ratio
is printed unless both refuse the same messages. Every round is a fresh Analyzer; schemas are compiled before.
"""

import sys

from _common import asked_for, in_turn, peer_verdicts, report, traffic

from twin.engine.analyzer import Analyzer
from twin.model import Finding, Frame
from twin.protocol.timestamps import parse_stamp
from twin.rules.framing import fits_schema

GOAL = 10


def check(frames: list[Frame]) -> list[Finding]:
    parse_stamp.cache_clear()  # the rounds read the same stamps, a capture does not
    analyzer = Analyzer()
    findings = [finding for frame in frames for finding in analyzer.receive(frame)]
    return findings + analyzer.finish()


def verdicts(frames: list[Frame]) -> list[bool]:
    """Whether rule J021 accepts each message, before findings are capped."""
    analyzer = Analyzer()
    return [not fits_schema(step) for frame in frames for step in analyzer.steps(frame) if step.event.frame]


def main() -> int:
    options = asked_for(__doc__)
    rounds, messages = (5, 4_000) if options.quick else (15, 20_000)
    frames = traffic(messages)
    texts = [frame.text or "" for frame in frames]
    ours = verdicts(frames)
    if ours != peer_verdicts(texts) or all(ours):
        raise SystemExit("the verdicts differ, or nothing is rejected: no ratio")
    if not any(finding.rule == "J021" for finding in check(frames)):
        raise SystemExit("the analyzer reports no broken schema: no ratio")
    times = in_turn(lambda: check(frames), lambda: peer_verdicts(texts), rounds)
    report("check", times, messages, limit=GOAL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
