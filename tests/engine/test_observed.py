"""What a conversation leaves on the sheet: observed, inferred, not seen; nothing is passed unseen."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.playbook import Play, after, cp, cs, ended, gap, opened, stamp
from twin.certificate import load
from twin.certificate.profile import Profile, certified
from twin.engine.analyzer import Analyzer
from twin.engine.checked import check_frames
from twin.engine.latencies import EXACT, Latencies, Place
from twin.engine.observed import Observation, Observer
from twin.engine.setting_rows import SettingRow
from twin.engine.sheet import FigureRow, FunctionalityRow, Sheet, sheet
from twin.engine.verdicts import Verdict
from twin.model import Frame

OTMK = certified("octoflex-otm-k")


def ask(play: Play, number: str, action: str, payload: dict[str, Any], answer: dict[str, Any]) -> Play:
    """A CALL of the CSMS and the station's answer 1.5 s later."""
    play << cs(json.dumps([2, number, action, payload])) << after(1.5)
    return play << cp(json.dumps([3, number, answer]))


def tell(play: Play, number: str, action: str, payload: dict[str, Any], answer: dict[str, Any]) -> Play:
    """A CALL of the station and the answer of the CSMS."""
    return play << cp(json.dumps([2, number, action, payload])) << cs(json.dumps([3, number, answer]))


def begun() -> Play:
    return Play(Analyzer(OTMK)) << opened()


def observed(*captures: list[Frame], profile: Profile = OTMK) -> Observation:
    observer = Observer()
    for number, frames in enumerate(captures):
        observer.begin(number)
        check_frames(f"capture {number}", frames, observer, profile=profile)
    observer.end()
    (seen,) = observer.stations.values()
    return seen


def sheet_of(play: Play, profile: Profile = OTMK) -> Sheet:
    return sheet(profile.certificate, observed(play.frames, profile=profile), play.found)


def setting(told: Sheet, key: str) -> SettingRow:
    return next(row for row in told.configuration if row.key == key)


def functionality(told: Sheet, name: str) -> FunctionalityRow:
    return next(row for row in told.functionality if row.name == name)


def figure(told: Sheet, name: str) -> FigureRow:
    return next(row for row in told.performance if row.id == name)


def test_of_nothing_nothing_is_passed() -> None:
    told = sheet(load(), Observation("CP1"), [])
    rows = (
        *told.identity,
        *told.lines,
        *told.functionality,
        *told.performance,
        *told.configuration,
    )
    assert len(told.configuration) == 44
    assert {row.verdict.tone for row in rows} == {"open"}
    assert setting(told, "ResetRetries").verdict is Verdict.NOT_OBSERVABLE
    assert setting(told, "MaxEnergyOnInvalidId").verdict is Verdict.UNDECLARED


def test_a_value_has_its_source_and_its_frame() -> None:
    play = begun()
    entries = [
        {"key": "meterValueSampleInterval", "readonly": False, "value": "060"},
        {"key": "NumberOfConnectors", "readonly": True, "value": "8"},
    ]
    ask(play, "1", "GetConfiguration", {"key": ["x"]}, {"configurationKey": entries, "unknownKey": ["x"]})
    told = sheet_of(play)
    row = setting(told, "MeterValueSampleInterval")
    assert (row.verdict, row.observed, row.source) == (Verdict.AS_CERTIFIED, "060", "GetConfiguration")
    assert str(row.place) == "#3"
    assert setting(told, "NumberOfConnectors").verdict is Verdict.DIFFERS
    assert setting(told, "HeartbeatInterval").verdict is Verdict.NOT_SEEN


def test_what_the_complete_list_lacks_is_not_there() -> None:
    play = begun()
    ask(play, "1", "GetConfiguration", {}, {"configurationKey": []})
    told = sheet_of(play)
    assert setting(told, "LocalAuthListEnabled").verdict is Verdict.AS_CERTIFIED
    assert setting(told, "AuthorizeRemoteTxRequests").verdict is Verdict.DIFFERS
    assert setting(told, "ChargeProfileMaxStackLevel").verdict is Verdict.UNDECLARED


def test_a_written_value_differs_in_the_field_and_not_in_the_laboratory() -> None:
    play = begun()
    ask(play, "1", "ChangeConfiguration", {"key": "ResetRetries", "value": "1"}, {"status": "Accepted"})
    ask(
        play,
        "2",
        "ChangeConfiguration",
        {"key": "LocalPreAuthorize", "value": "true"},
        {"status": "Rejected"},
    )
    assert setting(sheet_of(play), "ResetRetries").verdict is Verdict.DIFFERS
    assert setting(sheet_of(play, replace(OTMK, lab=True)), "ResetRetries").verdict is Verdict.LAB
    assert setting(sheet_of(play), "LocalPreAuthorize").verdict is Verdict.NOT_SEEN


def test_the_interval_of_the_boot_is_the_heartbeat_in_force() -> None:
    play = begun()
    boot = {"chargePointVendor": "MANAGEON", "chargePointModel": "OTM-K", "firmwareVersion": "2.0"}
    answer = {"status": "Accepted", "interval": 300, "currentTime": stamp()}
    tell(play, "1", "BootNotification", boot, answer)
    told = sheet_of(play)
    row = setting(told, "HeartbeatInterval")
    assert (row.observed, row.source, row.verdict) == ("300", "BootNotification.conf", Verdict.DIFFERS)
    assert [line.verdict for line in told.identity[:3]] == [
        Verdict.AS_CERTIFIED,
        Verdict.AS_CERTIFIED,
        Verdict.DIFFERS,
    ]


def test_response_times_by_figure() -> None:
    play = begun()
    ask(play, "1", "RemoteStartTransaction", {"idTag": "A"}, {"status": "Accepted"})
    play << after(3)
    tell(play, "2", "Authorize", {"idTag": "a"}, {"idTagInfo": {"status": "Accepted"}})
    ask(play, "3", "RemoteStopTransaction", {"transactionId": 7}, {"status": "Accepted"})
    play << after(2)
    stop = {"transactionId": 7, "meterStop": 1, "timestamp": stamp(8)}
    tell(play, "4", "StopTransaction", stop, {})
    told = sheet_of(play)
    assert figure(told, "remote_start").max_s == 1.5
    assert (figure(told, "response").count, figure(told, "response").max_s) == (1, 1.5)
    triggered = figure(told, "triggered_function")
    assert (triggered.count, triggered.median_s, triggered.max_s) == (2, 2.0, 3.0)
    assert triggered.verdict is Verdict.WITHIN
    assert setting(told, "AuthorizeRemoteTxRequests").verdict is Verdict.CONSISTENT


def test_a_slow_answer_is_beyond_the_limit() -> None:
    play = begun() << cs('[2,"1","ClearCache",{}]') << after(5.5) << cp('[3,"1",{"status":"Accepted"}]')
    row = figure(sheet_of(play), "response")
    assert (row.verdict, str(row.longest_at)) == (Verdict.BEYOND, "#3")


def test_availability_that_is_so_already_triggers_nothing() -> None:
    play = begun()
    status = {"connectorId": 1, "status": "Available", "errorCode": "NoError"}
    tell(play, "1", "StatusNotification", status, {})
    ask(play, "2", "ChangeAvailability", {"connectorId": 1, "type": "Operative"}, {"status": "Accepted"})
    play << after(4)
    tell(play, "3", "StatusNotification", status, {})
    assert figure(sheet_of(play), "triggered_function").verdict is Verdict.NOT_SEEN
    ask(play, "4", "ChangeAvailability", {"connectorId": 1, "type": "Inoperative"}, {"status": "Accepted"})
    play << after(1)
    tell(play, "5", "StatusNotification", status | {"status": "Unavailable"}, {})
    assert figure(sheet_of(play), "triggered_function").max_s == 1.0


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [({"status": "Rejected"}, Verdict.AS_CERTIFIED), ({"status": "Accepted"}, Verdict.VIOLATED)],
)
def test_an_uncertified_functionality_is_refused_or_violated(
    answer: dict[str, Any], verdict: Verdict
) -> None:
    play = begun()
    ask(play, "1", "TriggerMessage", {"requestedMessage": "Heartbeat"}, answer)
    told = sheet_of(play)
    assert functionality(told, "Remote Trigger").verdict is verdict
    assert functionality(told, "Reservation").verdict is Verdict.NOT_SEEN


def test_core_is_violated_by_an_error_of_the_station_alone() -> None:
    play = begun()
    tell(play, "1", "Heartbeat", {}, {"currentTime": stamp()})
    assert functionality(sheet_of(play), "Core").verdict is Verdict.SEEN
    tell(play, "2", "Heartbeat", {"no": "such field"}, {"currentTime": stamp()})
    core = functionality(sheet_of(play), "Core")
    assert core.verdict is Verdict.VIOLATED
    assert "J021 (1)" in core.note


def test_intervals_and_measurands_are_inferred_and_called_so() -> None:
    play = begun()
    for minute in range(4):
        values = [{"timestamp": stamp(60 * minute), "sampledValue": [{"value": "1", "measurand": "Voltage"}]}]
        meter = {"connectorId": 1, "transactionId": 1, "meterValue": values}
        tell(play, str(minute), "MeterValues", meter, {})
        play << after(60)
    told = sheet_of(play)
    interval = setting(told, "MeterValueSampleInterval")
    assert (interval.verdict, interval.observed) == (Verdict.CONSISTENT, "60 s apart")
    assert interval.source == "inferred from the traffic"
    assert setting(told, "MeterValuesSampledData").verdict is Verdict.INCONSISTENT
    assert setting(told, "ClockAlignedDataInterval").verdict is Verdict.NOT_SEEN


def test_a_connector_is_known_until_the_link_ends_or_the_recording_has_a_gap() -> None:
    play = begun()
    for number, status in enumerate(("Available", "Available", "Preparing")):
        payload = {"connectorId": 1, "status": status, "errorCode": "NoError"}
        tell(play, str(number), "StatusNotification", payload, {})
        play << after(10)
    play << gap() << after(5) << ended()
    (part,) = observed(play.frames).parts.values()
    assert [(band.status, (band.end_us - band.start_us) / 1e6) for band in part.bands] == [
        ("Available", 20.0),
        ("Preparing", 10.0),
    ]
    assert part.standing == {}


def test_frames_of_several_captures_are_told_apart() -> None:
    first, second = begun(), begun()
    tell(first, "1", "Heartbeat", {}, {"currentTime": stamp()})
    ask(second, "1", "ChangeConfiguration", {"key": "ResetRetries", "value": "3"}, {"status": "Accepted"})
    seen = observed(first.frames, second.frames)
    told = sheet(load(), seen, [])
    assert str(setting(told, "ResetRetries").place) == "2#3"
    assert sorted(seen.parts) == [0, 1]


def test_a_secret_is_not_kept() -> None:
    play = begun()
    secret = {"key": "AuthorizationKey", "value": "0123456789abcdef"}
    ask(play, "1", "ChangeConfiguration", secret, {"status": "Accepted"})
    assert "0123456789abcdef" not in repr(observed(play.frames).settings)


@given(st.lists(st.integers(0, 10**8), min_size=1, max_size=300), st.floats(0, 1))
def test_quantiles_are_exact(values: list[int], share: float) -> None:
    took = Latencies()
    for value in values:
        took.add(value, Place(0, 1))
    ranked = sorted(values)
    assert took.quantile(share) == ranked[max(math.ceil(share * len(values)), 1) - 1]
    sampled = took.sample(50)
    assert sampled == sorted(sampled)
    assert (sampled[0], sampled[-1], len(sampled)) == (ranked[0], ranked[-1], min(50, len(values)))


def test_beyond_so_many_values_quantiles_are_close_and_memory_is_bounded() -> None:
    took = Latencies()
    values = [1_000 + 37 * number for number in range(5 * EXACT)]
    for value in values:
        took.add(value, Place(0, 1))
    assert not took.exact
    assert len(took.counts) < EXACT / 2
    for share in (0.5, 0.95):
        assert took.quantile(share) == pytest.approx(values[int(share * len(values)) - 1], rel=0.005)
    assert took.longest_us == values[-1]


@given(st.lists(st.text(), max_size=3), st.recursive(st.none() | st.integers() | st.text(), st.lists))
def test_any_payload_can_be_observed(words: list[str], anything: Any) -> None:
    play = begun()
    for action in ("GetConfiguration", "ChangeConfiguration", "BootNotification", "MeterValues", *words):
        payload = {"key": anything, "value": anything, "connectorId": anything, "configurationKey": anything}
        play << cp(json.dumps([2, "a", action, payload])) << cs(json.dumps([3, "a", payload]))
        play << cs(json.dumps([2, "b", action, anything])) << cp(json.dumps([3, "b", anything]))
    assert len(sheet_of(play).configuration) == 44
