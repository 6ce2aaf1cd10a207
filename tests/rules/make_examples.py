"""Writes twin/rules/examples.jsonl, the example of each rule, from its conversation in the tests.

``python -m tests.rules.make_examples``; a test compares.
"""

import json
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.rules.test_three_ways import CASES
from tests.rules.three_ways import ThreeWays
from twin.model import Frame, Kind, Side

FILE: Path = REPOSITORY / "twin" / "rules" / "examples.jsonl"
_MOST_LINES, _LONGEST = 6, 240
_WHO = {Side.STATION: "station", Side.CSMS: "CSMS   ", None: "       "}


def text() -> str:
    """One JSON object a line, in the order of the ids."""
    rows = [json.dumps(example(case), ensure_ascii=False) for case in sorted(CASES, key=lambda c: c.rule)]
    return "\n".join(rows) + "\n"


def example(case: ThreeWays) -> dict[str, object]:
    play = case.fires()
    found = next(finding for finding in play.found if finding.rule == case.rule)
    telling = set(found.evidence) | ({found.seq} if found.seq is not None else set())
    frames = [frame for frame in play.frames if frame.seq in telling][-_MOST_LINES:]
    return {
        "rule": case.rule,
        "severity": found.severity.value,
        "detail": found.detail,
        "frames": [line(frame) for frame in frames],
    }


def line(frame: Frame) -> str:
    body = frame.text
    if body is None:
        facts = {key: value for key, value in frame.facts.items() if key != "path"}
        body = f"({frame.kind}{' ' + json.dumps(facts, default=str) if facts else ''})"
    elif frame.kind is not Kind.TEXT:
        body = f"({frame.kind}) {body}"
    body = body if len(body) <= _LONGEST else f"{body[: _LONGEST - 1]}…"
    return f"#{frame.seq} {_WHO[frame.sender]} {body}"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
