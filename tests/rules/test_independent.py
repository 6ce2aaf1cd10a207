"""Every error and warning in independent traffic was read, by the frames and the clause."""

from collections import Counter
from pathlib import Path

import pytest

from tests.rules import independent
from tests.rules.independent import Line

pytestmark = pytest.mark.corpus

MOST_FALSE = 0.02
WORDS = {"true", "false", "unclear"}

# What is known to be in the corpora, by whoever collected them: (file, rule, at least so many).
KNOWN = (
    ("ha-huawei-leo.log", "S010", 1),  # Stop after Available
    ("ha-huawei-leo.log", "T012", 1),  # Stop after Transaction.End, stamped 9 s before its own last sample
    ("ha-evbox-leo-a.log", "J010", 1),  # calls that nobody answered
    ("sap20atg-outage--ocpp-csms.jsonl", "S010", 7),  # seven transactions without a Stop
    ("sap20atg-outage--ocpp-csms.jsonl", "R009", 1),  # new meter values, and the queue without the old ones
    ("otmk-shaped-sap--ocpp-csms.jsonl", "T015", 9),  # shrinking registers
)


def found() -> list[Line]:
    return [line for path in independent.files() for line, _ in independent.loud(path)]


def test_every_finding_has_a_verdict_and_every_verdict_its_finding(corpora: Path) -> None:
    now = Counter(found())
    read = Counter({line: len(said) for line, said in independent.verdicts().items()})
    assert sorted(map(str, (now - read).elements())) == [], "findings that nobody has read"
    assert sorted(map(str, (read - now).elements())) == [], "verdicts on findings that are no longer made"


def test_at_most_two_in_a_hundred_are_false(corpora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = Counter(judged.verdict for said in independent.verdicts().values() for judged in said)
    with capsys.disabled():
        print(f"\nindependent traffic: {dict(counts)}")  # noqa: T201  # the figure is the point of the test
    assert set(counts) <= WORDS
    assert counts["false"] <= MOST_FALSE * counts.total()


@pytest.mark.parametrize(("file", "rule", "least"), KNOWN, ids=lambda value: str(value))
def test_what_is_known_to_be_there_is_found(corpora: Path, file: str, rule: str, least: int) -> None:
    folder = "field-logs" if file.endswith(".log") else "peer-sessions"
    findings = independent.judged_traffic(corpora / folder / file)[1]
    assert len([finding for finding in findings if finding.rule == rule]) >= least
