"""What is measured on the tables, on traffic small enough to do the sum by hand."""

from typing import Any

import pytest

from tests.analysis.traffic import at, frames
from twin.analysis import (
    answer_times,
    cadence,
    energy_balance,
    heartbeats,
    increments,
    tables,
    triggered_functions,
    wide,
)


def sample(second: int, energy: str, volt: str = "230", ampere: str = "10", unit: str = "Wh") -> Any:
    values = [
        {"value": energy, "unit": unit},
        {"value": volt, "measurand": "Voltage", "unit": "V"},
        {"value": ampere, "measurand": "Current.Import", "unit": "A"},
        {"value": "9", "measurand": "Voltage", "unit": "V", "phase": "L1"},
    ]
    stamp = at(second).isoformat()
    payload = {
        "connectorId": 1,
        "transactionId": 7,
        "meterValue": [{"timestamp": stamp, "sampledValue": values}],
    }
    return (second + 0.1, ">", [2, f"m{second}", "MeterValues", payload])


def write(second: int, key: str, value: str) -> list[Any]:
    name = f"c{second}"
    return [
        (second, "<", [2, name, "ChangeConfiguration", {"key": key, "value": value}]),
        (second, ">", [3, name, {"status": "Accepted"}]),
    ]


def test_wide_puts_the_values_of_a_sample_side_by_side_in_base_units() -> None:
    samples = wide(tables(frames(sample(0, "0.5", unit="kWh"), sample(60, "538.33"))).meter)
    assert samples["energy_wh"].tolist() == [500.0, 538.33]
    assert samples["voltage_v"].tolist() == [230.0, 230.0]
    assert samples["power_w"].isna().all()
    assert samples["at"].tolist() == [at(0.1), at(60.1)]
    assert samples["stamp"].tolist() == [at(0), at(60)]


def test_wide_merges_a_sample_that_came_in_two_messages() -> None:
    first, second = sample(0, "5"), sample(0, "5")
    first[2][3]["meterValue"][0]["sampledValue"] = first[2][3]["meterValue"][0]["sampledValue"][:1]
    second[2][1] = "other"
    second[2][3]["meterValue"][0]["sampledValue"] = second[2][3]["meterValue"][0]["sampledValue"][1:]
    samples = wide(tables(frames(first, second)).meter)
    assert samples[["energy_wh", "voltage_v", "current_a"]].values.tolist() == [[5.0, 230.0, 10.0]]


def test_wide_keeps_samples_outside_any_transaction() -> None:
    idle = sample(0, "5")
    del idle[2][3]["transactionId"]
    assert len(wide(tables(frames(idle)).meter)) == 1


def test_the_integral_runs_by_trapezes() -> None:
    # 10 A then 20 A at 230 V: 3,450 W on average, over 360 s are 345 Wh
    samples = wide(tables(frames(sample(0, "0"), sample(360, "300", ampere="20"))).meter)
    added = increments(samples)
    assert added["integral_wh"].tolist() == pytest.approx([345.0])
    (balance,) = energy_balance(added).to_dict("records")
    assert balance["register_wh"] == 300.0
    assert balance["ratio"] == pytest.approx(300 / 345)
    assert balance["seconds"] == 360.0


def test_cadence_counts_samples_that_did_not_come() -> None:
    said = [sample(second, "1") for second in (0, 60, 121, 300)]
    capture = tables(frames(*said))
    intervals = cadence(wide(capture.meter), capture.configuration, otherwise_s=60)
    assert intervals["after_s"].tolist() == [60.0, 61.0, 179.0]
    assert intervals["missed"].tolist() == [0, 0, 2]


def test_cadence_follows_the_interval_in_force_and_forgives_its_change() -> None:
    said = [
        sample(0, "1"),
        sample(60, "1"),
        *write(70, "metervaluesampleinterval", "30"),
        sample(100, "1"),
        sample(190, "1"),
    ]
    capture = tables(frames(*said))
    intervals = cadence(wide(capture.meter), capture.configuration, otherwise_s=60)
    assert intervals["due_s"].tolist() == [60.0, 60.0, 30.0]
    assert intervals["missed"].tolist() == [0, 0, 2]


def test_heartbeats_know_every_call_of_the_station() -> None:
    beat = [2, "h", "Heartbeat", {}]
    said = [
        (0, ">", beat),
        *write(5, "HeartbeatInterval", "40"),
        (25, ">", [2, "d", "DataTransfer", {"vendorId": "v"}]),
        (30, ">", beat),
    ]
    capture = tables(frames(*said))
    beats = heartbeats(capture.calls, capture.configuration, otherwise_s=30)
    assert beats["due_s"].tolist() == [30.0, 40.0]
    assert beats["after_s"].tolist()[1:] == [30.0]
    assert beats["silence_s"].tolist()[1:] == [5.0]


def test_answer_times_are_those_of_the_station_by_certified_figure() -> None:
    said = [
        (0, "<", [2, "r", "RemoteStartTransaction", {"idTag": "A"}]),
        (2, ">", [3, "r", {"status": "Accepted"}]),
        (3, "<", [2, "g", "GetDiagnostics", {"location": "x"}]),
        (9, ">", [3, "g", {}]),
        (10, "<", [2, "c", "ClearCache", {}]),
        (11, ">", [3, "c", {"status": "Rejected"}]),
        (12, ">", [2, "h", "Heartbeat", {}]),
        (13, "<", [3, "h", {"currentTime": "2026-01-05T10:00:13Z"}]),
    ]
    answers = answer_times(tables(frames(*said)).calls)
    assert answers[["figure", "took_s"]].values.tolist() == [["remote_start", 2.0], ["response", 1.0]]


def test_a_triggered_function_ends_with_the_message_it_causes() -> None:
    def status(name: str, connector_id: int) -> list[Any]:
        return [
            2,
            name,
            "StatusNotification",
            {"connectorId": connector_id, "errorCode": "NoError", "status": "Unavailable"},
        ]

    said = [
        (0, "<", [2, "a", "ChangeAvailability", {"connectorId": 2, "type": "Inoperative"}]),
        (1, ">", [3, "a", {"status": "Accepted"}]),
        (2, ">", status("s1", 1)),
        (4, ">", status("s2", 2)),
        (5, ">", status("s3", 2)),
        (6, "<", [2, "b", "ChangeAvailability", {"connectorId": 1, "type": "Inoperative"}]),
        (7, ">", [3, "b", {"status": "Scheduled"}]),
        (8, ">", status("s4", 1)),
    ]
    triggered = triggered_functions(tables(frames(*said)).calls)
    assert triggered[["action", "followed_by", "seq", "followed_seq", "took_s"]].values.tolist() == [
        ["ChangeAvailability", "StatusNotification", 2, 5, 3.0]
    ]


def test_measures_of_nothing_are_empty() -> None:
    capture = tables([])
    samples = wide(capture.meter)
    for empty in (
        samples,
        energy_balance(increments(samples)),
        cadence(samples, capture.configuration, 60),
        heartbeats(capture.calls, capture.configuration, 30),
        answer_times(capture.calls),
        triggered_functions(capture.calls),
    ):
        assert len(empty) == 0
