"""Clean conversations give no finding above note; of each single alteration the expected rule speaks."""

import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.engine.stations import findings
from tests.rules.conversations import SCENARIOS, Talk, read, scenario
from tests.rules.mutations import ELSEWHERE, MUTATIONS, Mutation
from twin.io.formats import open_capture
from twin.model import Severity
from twin.rules import RULES

LEAST, SHARE = 500, 0.99
LATER_US = 300_000_000  # after which nothing more is said of a transaction
# The drift that a scenario brings with it: nothing so far.
EXPECTED: dict[str, set[str]] = {}

# Transactions of independent stations that were read by hand and are clean: (peer session, transactionId).
CLEAN = (
    ("microocpp--ocpp-csms.jsonl", 1795361055),
    ("microocpp-part1--ocpp-csms.jsonl", 1795365234),
    ("microocpp-part1--ocpp-csms.jsonl", 1795365235),
    ("microocpp-part1--ocpp-csms.jsonl", 1795365477),
    ("microocpp-part1--ocpp-csms.jsonl", 1795365478),
    ("otmk-shaped-sap--ocpp-csms.jsonl", 1795366407),
    ("otmk-shaped-sap--ocpp-csms.jsonl", 1795366412),
    ("sap20atg-outage--ocpp-csms.jsonl", 1795360849),
    ("sap20atg-outage--ocpp-csms.jsonl", 1795360860),
    ("shiv3--ocpp-csms.jsonl", 1795361358),
)


@cache
def told(name: str, seed: int) -> Counter[str]:
    """How often each rule speaks in the unaltered conversation."""
    return Counter(finding.rule for finding in findings(scenario(name, seed).frames()))


def missed(mutation: Mutation, seed: int = 1) -> tuple[int, list[str]]:
    """How many alterations there are, and those that the expected rule did not see."""
    number, unseen = 0, []
    for name in mutation.scenarios:
        for place, altered in enumerate(mutation.alter(scenario(name, seed))):
            number += 1
            now = Counter(finding.rule for finding in findings(altered.frames()))
            if not any(now[rule] > told(name, seed)[rule] for rule in mutation.rules):
                unseen.append(f"{mutation.name} ({', '.join(mutation.rules)}) in {name}, place {place}")
    return number, unseen


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_clean_conversation_has_no_finding_above_note(name: str) -> None:
    loud = [f for f in findings(scenario(name).frames()) if f.severity is not Severity.NOTE]
    assert {finding.rule for finding in loud} == EXPECTED.get(name, set()), loud


def test_every_rule_has_an_alteration_or_a_reason() -> None:
    held = {rule for mutation in MUTATIONS for rule in mutation.rules}
    assert held | ELSEWHERE.keys() == {rule.id for rule in RULES}
    assert held & ELSEWHERE.keys() == set()


@pytest.mark.slow
def test_alterations_are_reported_by_the_expected_rule(capsys: pytest.CaptureFixture[str]) -> None:
    total, unseen, empty = 0, [], []
    for mutation in MUTATIONS:
        number, lost = missed(mutation)
        total += number
        unseen += lost
        empty += [] if number else [mutation.name]
    with capsys.disabled():
        print(f"\n{total} alterations of generated conversations, {len(unseen)} not reported")  # noqa: T201  # the figure
    assert empty == [], "an alteration that alters nothing tests nothing"
    assert total >= LEAST
    assert len(unseen) <= (1 - SHARE) * total, unseen


# --- independent transactions -------------------------------------------------------------------------------


def of_transaction(talk: Talk, action: str, number: int) -> list[int]:
    return talk.calls(action, transactionId=number)


def alterations(talk: Talk, number: int) -> Iterator[tuple[str, Talk]]:
    """(rule, altered session): one thing of one transaction."""
    stops, values = (
        of_transaction(talk, "StopTransaction", number),
        of_transaction(talk, "MeterValues", number),
    )
    for stop in stops[:1]:
        payload = talk.payload(stop)
        yield "T011", talk.put(stop, transactionId=0)
        yield "P006", talk.put(stop, timestamp="yesterday")
        yield "J021", talk.put(stop, meterStop=str(payload["meterStop"]))
        yield "J010|T023", talk.drop(talk.answer(stop))
        yield "J007", talk.edit(talk.answer(stop) or 0, lambda line: _renamed(line.message))
        yield "J009", talk.insert(talk.answer(stop) or 0, talk.lines[talk.answer(stop) or 0])
    for place in values[:3]:
        yield "M006", talk.edit(place, lambda line: _each(line.message, value="12,5"))
        yield (
            "M016",
            talk.edit(place, lambda line: line.message and _entry(line.message).update(sampledValue=[])),
        )
        yield "M014", talk.edit(place, lambda line: _each(line.message, measurand="Power.Factor", value="98"))
        yield "M015", talk.edit(place, lambda line: _each(line.message, value="2147483647"))
        yield "M005", talk.put(place, transactionId=None)
        yield "M004", talk.put(place, connectorId=0)
        yield "J005|J006", talk.insert(place, talk.lines[place])
        yield "J002", talk.edit(place, lambda line: line.message and line.message.append({}))


def _renamed(message: Any) -> None:
    message[1] = "never-asked"


def _entry(message: Any) -> Any:
    return message[3]["meterValue"][0]


def _each(message: Any, **values: Any) -> None:
    for sampled in _entry(message)["sampledValue"]:
        sampled.update(values)


@pytest.mark.slow
@pytest.mark.corpus
def test_alterations_of_independent_transactions_are_reported(
    corpora: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    total, unseen = 0, []
    for file, number in CLEAN:
        talk = read([f for f in open_capture(corpora / "peer-sessions" / file).frames if _whole(f.text)])
        over_us = talk.lines[of_transaction(talk, "StopTransaction", number)[0]].at_us
        talk.lines = [line for line in talk.lines if line.at_us <= over_us + LATER_US]
        before = findings(talk.frames())
        loud = [
            f
            for f in before
            if f.transaction_id == number and f.severity in (Severity.ERROR, Severity.WARNING)
        ]
        assert loud == [], "listed as clean"
        base = Counter(finding.rule for finding in before)
        for rules, altered in alterations(talk, number):
            total += 1
            now = Counter(finding.rule for finding in findings(altered.frames()))
            if not any(now[rule] > base[rule] for rule in rules.split("|")):
                unseen.append(f"{file} {number} {rules}")
    with capsys.disabled():
        print(f"\n{total} alterations of independent transactions, {len(unseen)} not reported")  # noqa: T201  # the figure
    assert total >= 200
    assert len(unseen) <= (1 - SHARE) * total, unseen


def _whole(text: str | None) -> bool:
    """Whether the conversation can be altered as JSON; the frames of connections always can."""
    try:
        return text is None or bool(json.loads(text))
    except ValueError:
        return False
