"""Every rule fires on its own conversation, is silent on its counter-example, and says what it lacks."""

import pytest

from tests.rules import cases_certificate, cases_connection, cases_connectors, cases_transactions
from tests.rules.three_ways import ThreeWays
from twin.rules import RULES

CASES: tuple[ThreeWays, ...] = (
    *cases_connection.CASES,
    *cases_connectors.CASES,
    *cases_transactions.CASES,
    *cases_certificate.CASES,
)
BY_ID = {rule.id: rule for rule in RULES}


def test_every_rule_has_its_three_conversations() -> None:
    told = [case.rule for case in CASES]
    assert len(set(told)) == len(told)
    assert sorted(told) == sorted(BY_ID)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_it_fires(case: ThreeWays) -> None:
    found = [finding for finding in case.fires().found if finding.rule == case.rule]
    assert found
    assert case.severity in ("", found[0].severity.value)
    assert case.says in found[0].detail


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_it_is_asked_and_finds_nothing(case: ThreeWays) -> None:
    play = case.silent()
    assert [finding.detail for finding in play.found if finding.rule == case.rule] == []
    asked = play.analyzer.listeners(BY_ID[case.rule])
    unknown = sum(count for (rule, _), count in play.analyzer.silences.items() if rule == case.rule)
    assert asked > unknown, "it was never asked, or never knew"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_it_says_what_it_lacks(case: ThreeWays) -> None:
    play = case.unknown()
    assert [finding.detail for finding in play.found if finding.rule == case.rule] == []
    reasons = [why for rule, why in play.analyzer.silences if rule == case.rule]
    assert [why for why in reasons if case.why in why], reasons


def test_the_examples_are_these_conversations() -> None:
    from tests.rules import make_examples

    assert make_examples.FILE.read_text(encoding="utf-8") == make_examples.text(), (
        "run: python -m tests.rules.make_examples"
    )
