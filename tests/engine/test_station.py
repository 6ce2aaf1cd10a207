"""The station on a virtual clock: in a day, through outages, and at the limits of its certificate."""

import functools
import json
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from tests.engine.stations import (
    SECOND_US,
    START_US,
    Act,
    busy,
    calls,
    csms,
    findings,
    plug,
    station,
    stimulus,
    tag,
    talk,
    unplug,
)
from twin.engine.csms import Script
from twin.engine.station import QUIRKS, Behaviour, Quirk
from twin.model import Finding, Frame, Severity, Side
from twin.protocol.timestamps import parse_stamp

LOUD = (Severity.ERROR, Severity.WARNING)
REFUSAL = '[4,"x","InternalError","",{}]'


def all_charging(until_s: float = 0.0) -> list[tuple[float, Act]]:
    """Twenty cars, plugged and tagged one after the other."""
    acts: list[tuple[float, Act]] = []
    for number in range(1, 21):
        acts += [(60.0 + 5 * number, plug(number)), (62.0 + 5 * number, tag(f"TAG{number:04}"))]
        if until_s:
            acts.append((until_s + 2 * number, unplug(number)))
    return acts


def stamps(payloads: list[dict[str, Any]], context: str, connector: int) -> list[int]:
    """The stamps of one connector's samples, in the order they were sent, in seconds since the start."""
    return [
        round((_us(entry["timestamp"]) - START_US) / SECOND_US)
        for payload in payloads
        if payload["connectorId"] == connector
        for entry in payload["meterValue"]
        if entry["sampledValue"][0]["context"] == context
    ]


def _us(text: str) -> int:
    stamp = parse_stamp(text)
    assert stamp is not None
    return stamp.at_us


def lag_s(frames: list[Frame]) -> list[float]:
    """How old each MeterValues is when it is sent."""
    ages = []
    for frame in frames:
        if frame.sender is Side.STATION and frame.text and '"MeterValues"' in frame.text:
            told = json.loads(frame.text)[3]["meterValue"][0]["timestamp"]
            ages.append((frame.at_us - _us(told)) / 1e6)
    return ages


def blamed(frames: list[Frame]) -> list[str]:
    return [
        f"{finding.rule} #{finding.seq} {finding.detail}"
        for finding in findings(frames)
        if finding.severity in LOUD and finding.fault.value == "station"
    ]


def test_a_busy_day_has_no_fault_of_the_station() -> None:
    frames = busy()
    assert blamed(frames) == []
    stops = {payload["transactionId"] for payload in calls(frames, "StopTransaction")}
    assert len(calls(frames, "StartTransaction")) == len(stops) == 7


def test_the_same_seed_says_the_same_and_another_one_does_not() -> None:
    said = ["\n".join(frame.text or "" for frame in busy(seed=seed)) for seed in (1, 1, 2)]
    assert said[0] == said[1]
    assert said[0] != said[2]


# What else must be said where a quirk shows itself: other rules miss a transaction that never ends, too.
ALSO_SAID = {
    "calls-in-flight": {"R003"},
    "four-elements": {"T018"},
    "local-time": {"P007"},
    "loses-stop": {"M001", "T011", "T028", "T032"},
    "no-stop-after-reset": {"M001", "T032"},
    "retry-restamped": {"R001", "R003"},
    "slow-answers": {"P003"},
    "stores-nothing": {"C003", "C004"},
    "transaction-zero": {"M001", "T008", "T028", "T032"},
}


@functools.cache
def without_quirks() -> Counter[str]:
    return Counter(finding.rule for finding in loud(busy()))


def loud(frames: list[Frame]) -> list[Finding]:
    return [finding for finding in findings(frames) if finding.severity is not Severity.NOTE]


@pytest.mark.parametrize("quirk", QUIRKS.values(), ids=lambda quirk: quirk.name)
def test_each_quirk_makes_its_own_finding_and_no_other(quirk: Quirk) -> None:
    frames = busy(Behaviour(quirks=frozenset({quirk.name})))
    assert quirk.rule in {finding.rule for finding in findings(frames)}
    assert quirk.rule not in {finding.rule for finding in findings(busy())}
    more = Counter(finding.rule for finding in loud(frames)) - without_quirks()
    assert set(more) - {quirk.rule} == ALSO_SAID.get(quirk.name, set())


@pytest.mark.parametrize("outage_s", [25, 400])
def test_an_outage_loses_nothing_with_twenty_cars_charging(outage_s: int) -> None:
    acts = [*all_charging(3_000), (1_000.0, Act(do="link down")), (1_000.0 + outage_s, Act(do="link up"))]
    frames = talk(station(acts=acts), csms(), for_s=3_600)
    assert blamed(frames) == []
    assert len(calls(frames, "StopTransaction")) == 20
    values = calls(frames, "MeterValues")
    for number in range(1, 21):
        periodic, aligned = (
            stamps(values, context, number) for context in ("Sample.Periodic", "Sample.Clock")
        )
        assert periodic == sorted(periodic)
        # what was in flight when the link broke is sent again: the same sample, the same stamp
        assert len(periodic) - len(set(periodic)) <= 1
        periodic, aligned = sorted(set(periodic)), sorted(set(aligned))
        assert {later - earlier for earlier, later in pairwise(periodic)} == {60}
        assert {later - earlier for earlier, later in pairwise(aligned)} == {60}
        assert len(periodic) >= 47


@pytest.mark.slow
@pytest.mark.parametrize(
    ("round_trip_s", "sample_s", "least_s", "most_s"),
    [
        (1.40, 60, 0, 60),
        (1.50, 60, 400, 1_200),
        (2.0, 60, 4_000, 6_500),
        (0.40, 10, 0, 60),
        (0.5, 10, 1_000, 9_000),
    ],
)
def test_saturation_begins_above_1_43_seconds(
    round_trip_s: float, sample_s: int, least_s: float, most_s: float
) -> None:
    """42 CALLs a minute, one at a time: 60/42 s each (certificate: 20 connectors, 60 s, 60 s, 30 s)."""
    script = Script(
        interval_s=30,
        answer_us=int((round_trip_s - 0.02) * 1e6),
        stimuli=[
            stimulus(50, "ChangeConfiguration", {"key": "MeterValueSampleInterval", "value": str(sample_s)})
        ],
    )
    frames = talk(station(acts=all_charging()), csms(script), for_s=4 * 3_600, hop_us=10_000)
    ages = lag_s(frames)
    assert least_s <= max(ages[-200:]) <= most_s
    assert bool(least_s) == any(finding.rule == "M011" for finding in findings(frames))


def test_stop_transaction_beyond_1_mib_after_8_hours_at_10_seconds() -> None:
    script = Script(
        interval_s=30,
        stimuli=[stimulus(50, "ChangeConfiguration", {"key": "MeterValueSampleInterval", "value": "10"})],
    )
    acts = [(60.0, plug(1)), (62.0, tag("TAG0001")), (62.0 + 8 * 3_600, unplug(1))]
    frames = talk(station(acts=acts), csms(script), for_s=8 * 3_600 + 120)
    stops = [f for f in frames if f.sender is Side.STATION and f.text and '"StopTransaction"' in f.text]
    assert len(stops) == 1
    assert 1 << 20 < len(stops[0].text or "") < 1_250_000
    assert any(finding.rule == "T024" for finding in findings(frames))


def test_stop_transaction_of_8_hours_at_60_seconds_is_a_third_of_a_megabyte() -> None:
    acts = [(60.0, plug(1)), (62.0, tag("TAG0001")), (62.0 + 8 * 3_600, unplug(1))]
    frames = talk(station(acts=acts), csms(), for_s=8 * 3_600 + 120)
    stops = [f for f in frames if f.sender is Side.STATION and f.text and '"StopTransaction"' in f.text]
    assert 280_000 < len(stops[0].text or "") < 350_000


@pytest.mark.parametrize(
    ("answer", "sent_after_s"),
    [(REFUSAL, [0, 60, 180]), (None, [0, 120, 300])],
    ids=["the CSMS answers errors", "the CSMS is silent"],
)
def test_a_stop_is_given_up_after_three_attempts(answer: str | None, sent_after_s: list[int]) -> None:
    """3.7.1: discarded after 180 s of errors; 360 s of silence."""
    script = Script(interval_s=30, answers={("StopTransaction", "TAG0001"): [answer] * 9})
    acts = [(60.0, plug(1)), (62.0, tag("TAG0001")), (200.0, tag("TAG0001"))]
    frames = talk(station(acts=acts), csms(script), for_s=1_200)
    sent = [f.at_us for f in frames if f.sender is Side.STATION and f.text and '"StopTransaction"' in f.text]
    assert [round((at_us - sent[0]) / 1e6) for at_us in sent] == sent_after_s
    payloads = calls(frames, "StopTransaction")
    assert payloads[0] == payloads[1] == payloads[2]
    assert len({json.loads(f.text or "")[1] for f in frames if f.text and '"StopTransaction"' in f.text}) == 3


def test_while_the_link_is_down_nothing_is_given_up() -> None:
    acts = [
        (60.0, plug(1)),
        (62.0, tag("TAG0001")),
        (200.0, Act(do="link down")),
        (300.0, tag("TAG0001")),
        (4_000.0, Act(do="link up")),
    ]
    frames = talk(station(acts=acts), csms(), for_s=4_200)
    (stop,) = calls(frames, "StopTransaction")
    assert round((_us(stop["timestamp"]) - START_US) / SECOND_US) == 300


def test_an_interval_of_the_boot_that_does_not_set_the_key_is_kept_until_the_key_is_written() -> None:
    """4.2: the interval of BootNotification.conf is that of the heartbeats, whatever the key says."""
    written = stimulus(200, "ChangeConfiguration", {"key": "HeartbeatInterval", "value": "20"})
    script = Script(interval_s=50, stimuli=[stimulus(100, "GetConfiguration", {}), written])
    frames = talk(station(Behaviour(boot_interval_sets_key=False)), csms(script), for_s=400)
    beats = [
        (frame.at_us - START_US) / SECOND_US
        for frame in frames
        if frame.sender is Side.STATION and '"Heartbeat"' in (frame.text or "")
    ]
    gaps = [round(b - a) for a, b in pairwise(beats)]
    assert set(gaps[:2]) == {50}
    assert gaps[-5:] == [20] * 5
    assert '"HeartbeatInterval","readonly":false,"value":"30"' in "".join(f.text or "" for f in frames)
