"""Which findings count: prefixes as ruff has them, and a baseline that survives another day's numbers."""

import json

import pytest

from twin.engine.checked import Checked, first_cause
from twin.engine.chosen import fingerprint, key_of, known_keys, selection
from twin.model import Fault, Finding, Severity
from twin.report.findings import as_json


def finding(
    rule: str = "T015", detail: str = "", severity: Severity = Severity.ERROR, **more: object
) -> Finding:
    fields = {"seq": 1, "at_us": 1, "fault": Fault.STATION, "station": "CP1"} | more
    return Finding(rule=rule, severity=severity, detail=detail, **fields)  # type: ignore[arg-type]  # as given


@pytest.mark.parametrize(
    ("select", "ignore", "taken", "left"),
    [
        ((), (), {"T015", "M001"}, set()),
        (("T,m001",), (), {"T015", "M001"}, {"M003", "P005"}),
        ((), ("P0",), {"T015"}, {"P005", "P001"}),
        (("T015",), ("T",), {"T015"}, {"T014", "M001"}),
        (("T",), ("T015",), {"T014"}, {"T015"}),
        (("T",), ("T",), set(), {"T015"}),
    ],
)
def test_the_longer_prefix_wins(
    select: tuple[str, ...], ignore: tuple[str, ...], taken: set[str], left: set[str]
) -> None:
    chosen = selection(select, ignore)
    assert {rule for rule in taken | left if chosen.takes(rule)} == taken


def test_a_prefix_of_no_rule_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="Z9"):
        selection(("Z9",), ())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("silent for 63.2 s, heartbeat interval 30 s", "silent for 1,070 s, heartbeat interval 30 s", True),
        ("register falls from 736 Wh to 368 Wh", "register falls from 981.33 Wh to 490.6667 Wh", True),
        ("late answer to c606ec30-213e-4f80-8624", "late answer to 1321a30d-e1af-4d6b-890e", True),
        ("MeterValueSampleInterval written to '30'", "MeterValueSampleInterval written to '15'", False),
        ("/timestamp '2026-01-01T00:00:00' is no", "/timestamp '2027-02-03T04:05:06.7' is no", True),
        ("UnlockConnector(3) answered", "UnlockConnector(4) answered", True),
        ("connector 3 is Faulted", "connector 3 is Reserved", False),
    ],
)
def test_what_survives_another_day(one: str, other: str, same: bool) -> None:
    assert (fingerprint(one) == fingerprint(other)) is same


def test_the_report_of_a_run_is_the_baseline_of_the_next() -> None:
    known = finding(detail="falls from 2 Wh to 1 Wh", connector_id=3, transaction_id=5)
    report = json.loads(json.dumps(as_json([Checked(name="a", findings=[known])])))
    keys = known_keys(report)
    again = finding(detail="falls from 9 Wh to 8 Wh", connector_id=3, transaction_id=9, seq=77)
    assert key_of(again) in keys
    assert key_of(finding(detail="falls from 9 Wh to 8 Wh", connector_id=4)) not in keys


@pytest.mark.parametrize("report", [None, [], {}, {"findings": [1]}, {"findings": [{"rule": "T015"}]}])
def test_anything_else_is_no_baseline(report: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        known_keys(report)


def test_the_first_of_the_worst_that_explains_most_is_the_cause() -> None:
    note = finding("N008", severity=Severity.NOTE)
    alone = finding("M016", seq=2, at_us=2)
    first = finding("T011", seq=3, at_us=3, transaction_id=7)
    rest = [finding("T008", seq=4, at_us=4, evidence=(3, 4)), finding("M001", at_us=5, transaction_id=7)]
    elsewhere = finding("T011", station="CP2", at_us=9)
    cause = first_cause([Checked(name="a", findings=[note, alone, first, *rest, elsewhere])])
    assert cause is not None
    assert cause.finding is first
    assert cause.explains == {"T008": 1, "M001": 1}
    assert first_cause([Checked(name="a")]) is None
