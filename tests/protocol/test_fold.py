"""The only way station state changes: what each exchange teaches, what a reset point forgets."""

from decimal import Decimal
from typing import Any

import pytest

from tests.playbook import OTMK, Play, after, cp, cs, ended, gap, meter, opened, play, stamp
from twin.protocol.fold import stamps_of
from twin.protocol.state import Registration, Source, StationState

OK = {"idTagInfo": {"status": "Accepted"}}


def state(p: Play) -> StationState:
    return p.analyzer.state_of("CP1")


def written(p: Play, key: str, value: str, answer: str = "Accepted") -> Play:
    return p.csms("ChangeConfiguration", {"key": key, "value": value}, {"status": answer})


def status(connector: Any, value: Any) -> dict[str, Any]:
    return {"connectorId": connector, "errorCode": "NoError", "status": value}


def test_nothing_is_known_of_a_station_that_was_never_seen() -> None:
    assert state(play()) == StationState(station="CP1")


def test_registration_goes_from_unknown_to_sent_to_the_answer() -> None:
    p = play() << opened()
    assert state(p).registration is Registration.UNKNOWN
    p.station("BootNotification", {"chargePointVendor": "v", "chargePointModel": "m"})
    assert state(p).registration is Registration.SENT
    p << cs('[3,"id1",{"status":"Pending","currentTime":"2026-09-21T14:13:20Z","interval":10}]')
    assert state(p).registration is Registration.PENDING
    assert state(p).retry_not_before_us == p.at_us + 10_000_000
    p.booted(60)
    assert state(p).registration is Registration.ACCEPTED
    assert (state(p).retry_not_before_us, state(p).config["heartbeatinterval"].value) == (None, "60")
    assert state(p).config["heartbeatinterval"].source is Source.BOOT


def test_an_answer_that_is_no_registration_changes_nothing() -> None:
    p = play().booted().station("BootNotification", {"chargePointModel": 7}, {"status": "Perhaps"})
    assert state(p).registration is Registration.SENT
    assert (state(p).vendor, state(p).model) == ("", "")


def test_a_transaction_from_start_to_stop() -> None:
    p = play().booted().started(connector=3, transaction=7, meter=1000)
    running = state(p).transactions[7]
    assert (running.connector_id, running.id_tag, running.meter_start_wh, running.status) == (
        3,
        "TAG",
        1000,
        "Accepted",
    )
    assert state(p).transaction_on(3) is running
    assert state(p).starting == {}
    p.station("MeterValues", meter(60, connector=3), {})
    assert state(p).transactions[7].register_wh == Decimal(1100)
    stop = {"transactionId": 7, "meterStop": 2000, "timestamp": stamp(61)}
    p.station("StopTransaction", stop, {})
    assert (dict(state(p).transactions), state(p).ended[7].stop_seq) == ({}, p.seq - 1)


def test_between_start_and_its_answer_the_id_is_not_known() -> None:
    start = {"connectorId": 1, "idTag": "TAG", "meterStart": 0, "timestamp": stamp()}
    p = play().booted().station("StartTransaction", start)
    (waiting,) = state(p).starting.values()
    assert waiting.transaction_id is None
    p << after(60)
    assert (state(p).starting, state(p).unanswered_starts) == ({}, {1: 1})


def test_an_older_sample_does_not_take_the_register_back() -> None:
    p = play().booted().started()
    p.station("MeterValues", meter(60, {"value": "1.5", "unit": "kWh"}), {})
    p.station("MeterValues", meter(30, {"value": "1200"}), {})
    held = state(p).transactions[7]
    assert (held.register_wh, held.resolution_wh) == (Decimal(1500), Decimal(100))


def test_the_measurands_of_one_sample_are_merged_over_messages() -> None:
    p = play().booted()
    for measurand in ("Voltage", "Current.Import"):
        p.station("MeterValues", meter(60, {"value": "1", "measurand": measurand}, transaction=None), {})
    assert state(p).sampling[1, "Sample.Periodic"].measurands == {"Voltage", "Current.Import"}
    p.station("MeterValues", meter(61, {"value": "1", "measurand": "Voltage"}, transaction=None), {})
    assert state(p).sampling[1, "Sample.Periodic"].measurands == {"Voltage"}


@pytest.mark.parametrize(
    ("answer", "known", "waiting"),
    [
        ("Accepted", "90", None),
        ("RebootRequired", None, "90"),
        ("Rejected", None, None),
        ("NotSupported", None, None),
    ],
)
def test_a_write_counts_by_its_answer(answer: str, known: str | None, waiting: str | None) -> None:
    p = written(play().booted(), "ConnectionTimeOut", "90", answer)
    held, later = state(p).config.get("connectiontimeout"), state(p).awaiting_reboot.get("connectiontimeout")
    assert ((held and held.value), (later and later.value)) == (known, waiting)
    p.booted()
    after_boot = state(p).config.get("connectiontimeout")
    assert (after_boot and after_boot.value) == (known or waiting)
    assert state(p).awaiting_reboot == {}


def test_a_value_read_back_is_still_the_one_that_was_written() -> None:
    p = written(play().booted(), "ConnectionTimeOut", "90")
    entry = {"key": "ConnectionTimeOut", "value": "90", "readonly": False}
    p.csms("GetConfiguration", {}, {"configurationKey": [entry, {"key": "NoValue", "readonly": True}, 7]})
    assert state(p).config["connectiontimeout"].source is Source.WRITTEN
    assert "novalue" not in state(p).config


def test_a_new_sample_interval_restarts_the_phase() -> None:
    p = written(play().booted().started(), "MeterValueSampleInterval", "30")
    assert state(p).transactions[7].sampled_us is None


def test_verdicts_on_tags_ignore_case_and_the_newest_counts() -> None:
    p = play().booted().station("Authorize", {"idTag": "Tag"}, OK)
    p.station("Authorize", {"idTag": "TAG"}, {"idTagInfo": {"status": "Blocked"}})
    assert {tag: verdict.status for tag, verdict in state(p).id_tags.items()} == {"tag": "Blocked"}


def test_a_boot_forgets_connectors_a_new_link_too_but_transactions_stay() -> None:
    p = play().booted().station("StatusNotification", status(1, "Charging"), {}).started()
    assert state(p).connectors[1].status == "Charging"
    p << ended() << opened(link="c2")
    assert (dict(state(p).connectors), list(state(p).transactions)) == ({}, [7])


def test_a_gap_forgets_everything_but_what_the_station_said_of_itself() -> None:
    p = written(play().booted().started(), "ConnectionTimeOut", "90") << gap()
    assert state(p) == StationState(
        station="CP1",
        link="c1",
        vendor="MANAGEON",
        model="OctoFLEX (OTM-K)",
        firmware="1.0.1",
        assumed=OTMK.assumed,
        patience=OTMK.patience,
        gaps=1,
    )


def test_a_failed_transaction_message_waits_until_it_was_sent_again() -> None:
    p = play().booted().started().station("MeterValues", meter(60), "InternalError")
    assert [(failed.action, failed.attempts) for failed in state(p).failing] == [("MeterValues", 1)]
    p.station("MeterValues", meter(60), "InternalError")
    assert [failed.attempts for failed in state(p).failing] == [2]
    p.station("MeterValues", meter(60), {})
    assert state(p).failing == ()


def test_what_a_flawed_message_says_is_not_believed() -> None:
    p = play().booted()
    p << cp(
        '[2,"x","StatusNotification",{"connectorId":1,"connectorId":2,"errorCode":"NoError","status":"Charging"}]'
    )
    assert state(p).connectors == {}


@pytest.mark.parametrize("connector", [None, "1", 1.5, True, [], {}])
def test_a_connector_that_is_no_integer_is_nobody(connector: Any) -> None:
    p = play().booted().station("StatusNotification", status(connector, "Charging"), {})
    p.station("StartTransaction", {"connectorId": connector}, {"transactionId": 1})
    p.station("MeterValues", {"connectorId": connector, "meterValue": [7]}, {})
    assert (dict(state(p).connectors), dict(state(p).transactions), dict(state(p).sampling)) == ({}, {}, {})


def test_time_fields_are_found_at_any_depth() -> None:
    payload = {"timestamp": "a", "x": [{"y": {"currentTime": "b"}}, 7], "expiryDate": 7, "other": "c"}
    assert dict(stamps_of(payload)) == {"/timestamp": "a", "/x/0/y/currentTime": "b"}


def test_a_hostile_station_does_not_grow_the_state_without_end() -> None:
    p = play().booted()
    for number in range(600):
        p.station("StatusNotification", status(number, "Available"), {})
        p.station("MeterValues", meter(1, connector=number, transaction=None), {})
        start = {"connectorId": number, "idTag": f"T{number}", "meterStart": 0, "timestamp": stamp()}
        p.station("StartTransaction", start, {"transactionId": number} | OK if number % 2 else None)
    p << after(61)
    held = state(p)
    sizes = [held.connectors, held.sampling, held.starting, held.unanswered_starts, held.transactions]
    assert max(map(len, sizes)) <= 256
    assert 599 in held.connectors
    assert 599 in held.transactions
