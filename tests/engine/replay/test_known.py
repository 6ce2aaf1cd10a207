"""A baseline knows what was there: by kind, place and value, so that another one of its kind is new."""

import json
from typing import Any

import pytest

from tests.playbook import Play, after, cs, meter, play, stamp
from twin.engine.replay.baseline import Baseline, baseline_of, document_of
from twin.engine.replay.diff import Comparison, Diff, diff
from twin.engine.replay.fields import Matchers, rules_of
from twin.model import Frame, Side

RULES = Matchers(rules_of({"match": [{"path": "request/meterStop", "how": "numeric", "tolerance": 1}]}, "x"))


def session(
    status: tuple[str, str] = ("Accepted", "Accepted"), stop_wh: int = 1000, took_s: float = 0.1
) -> Play:
    p = play().booted()
    for connector in (1, 2):
        said = {"connectorId": connector, "errorCode": "NoError", "status": "Available"}
        p.station("StatusNotification", said, {"status": status[connector - 1]})
    p.started(1, 7).station("MeterValues", meter(60, transaction=7), {}, took_s=took_s)
    return p.station(
        "StopTransaction", {"transactionId": 7, "meterStop": stop_wh, "timestamp": stamp(61)}, {}
    )


def known_after(before: list[Frame], now: list[Frame]) -> Diff:
    """What is new of ``now`` where ``before`` is known."""
    recorded = session().frames
    found = [diff(recorded, one, RULES, Comparison(timed=False)) for one in (before, now)]
    document = json.loads(json.dumps(document_of([("s", found[0])])))
    return baseline_of(document, "known.json").apply("s", found[1])[0]


def asked(action: str, payload: dict[str, Any], answer: Any = None) -> list[Frame]:
    return session().csms(action, payload, answer or {"status": "Accepted"}).frames


def interval(value: str) -> list[Frame]:
    return asked("ChangeConfiguration", {"key": "HeartbeatInterval", "value": value})


TWINS = {
    "the value of an extra CALL": (interval("300"), interval("1")),
    "the connector of an extra CALL": (
        asked("ChangeAvailability", {"connectorId": 1, "type": "Operative"}),
        asked("ChangeAvailability", {"connectorId": 0, "type": "Operative"}),
    ),
    "the idTag of an extra CALL": (
        asked("RemoteStartTransaction", {"idTag": "11111111"}),
        asked("RemoteStartTransaction", {"idTag": "99999999"}),
    ),
    "another text": (
        (session() << cs('[3,"nobody",{}]')).frames,
        (session() << cs('[3,"nobody",{"error":"database is down"}]')).frames,
    ),
    "an answer to another connector": (
        session(status=("Rejected", "Accepted")).frames,
        session(status=("Accepted", "Rejected")).frames,
    ),
    "ten times as far off": (session(stop_wh=1_005).frames, session(stop_wh=50_900).frames),
    "ten times as late": (session(took_s=7).frames, session(took_s=300).frames),
}  # fmt: skip


@pytest.mark.parametrize("name", TWINS)
def test_what_is_known_hides_nothing_like_it(name: str) -> None:
    before, now = TWINS[name]
    assert known_after(before, before).equal
    assert not known_after(before, now).equal


def test_long_values_are_told_apart() -> None:
    """As a change; an extra CALL is known by its request."""
    recorded = asked("DataTransfer", {"vendorId": "x"}, {"status": "Accepted", "data": "y" * 120})
    signatures = []
    for end in "12":
        now = asked("DataTransfer", {"vendorId": "x"}, {"status": "Accepted", "data": "y" * 100 + end})
        signatures.append([one.known_as for one in diff(recorded, now).divergences])
    assert signatures[0] != signatures[1]


def test_ids_and_registers_of_another_run_are_known_all_the_same() -> None:
    runs = []
    for number, register in ((41, 10), (77, 9_000)):
        p = session().csms("RemoteStopTransaction", {"transactionId": number}, {"status": "Rejected"})
        sampled = {"value": str(register), "measurand": "Energy.Active.Import.Register"}
        runs.append((p << after(1)).station("MeterValues", meter(90, sampled), {}).frames)
    assert known_after(*runs).equal


def test_further_off_in_the_same_power_of_ten_is_known() -> None:
    assert known_after(session(stop_wh=1_020).frames, session(stop_wh=1_090).frames).equal
    assert not known_after(session(stop_wh=1_020).frames, session(stop_wh=1_200).frames).equal


def test_the_age_of_a_recording_is_nobodys_divergence() -> None:
    """How far a clock is off counts from the moment it was told."""
    known = []
    for off_s, later_s in ((10, 0), (10, 5_000_000), (7_200, 5_000_000)):
        beats = []
        for so_off_s, so_late_s in ((0, 0), (off_s, later_s)):
            p = play() << after(so_late_s)
            beats.append(p.station("Heartbeat", {}, {"currentTime": stamp(so_late_s + so_off_s)}).frames)
        known.append([one.known_as for one in diff(*beats).divergences])
    assert known[0] == known[1] != known[2]


def test_an_empty_baseline_knows_nothing() -> None:
    recorded = session().frames
    found = diff(recorded, interval("1"))
    assert Baseline().apply("s", found)[0].divergences == found.divergences
    assert found.divergences[0].sender is Side.CSMS
