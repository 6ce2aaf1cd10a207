"""More conversations of the rules: severities, who is to blame, and the near miss of each."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from tests.playbook import (
    OTMK,
    SPEC,
    START_US,
    Play,
    after,
    cp,
    cs,
    ended,
    finding,
    gap,
    meter,
    opened,
    play,
    silence,
    stamp,
)
from twin.engine.analyzer import Analyzer
from twin.model import Kind, Side
from twin.rules import RULES

OK = {"idTagInfo": {"status": "Accepted"}}
type Conversation = Callable[[], Any]


def text(*elements: Any) -> str:
    return json.dumps(list(elements), separators=(",", ":"))


def status(connector: int, value: str, code: str = "NoError") -> dict[str, Any]:
    return {"connectorId": connector, "errorCode": code, "status": value, "timestamp": stamp()}


def stop(p: Play, wh: int = 2000, seconds: float = 1.0, **more: Any) -> Play:
    payload = {"transactionId": 7, "meterStop": wh, "timestamp": stamp(seconds)} | more
    return p.station("StopTransaction", payload, {})


def reads(p: Play, *pairs: tuple[str, str, bool]) -> Play:
    keys = [{"key": k, "value": v, "readonly": r} for k, v, r in pairs]
    asked = {"key": [k for k, _, _ in pairs]}
    return p.csms("GetConfiguration", asked, {"configurationKey": keys})


def writes(p: Play, key: str, value: str, answer: str = "Accepted") -> Play:
    return p.csms("ChangeConfiguration", {"key": key, "value": value}, {"status": answer})


def heard(p: Play, number: int, fraction: str) -> Play:
    for n in range(number):
        at = f"2026-09-21T14:13:{20 + n % 30:02}{fraction}Z"
        p.station("StatusNotification", status(n % 20 + 1, "Available") | {"timestamp": at}, {})
    return p


def flawed(what: str) -> Play:
    return play().booted() << cp(what)


ENERGY = "Energy.Active.Import.Register"

# rule: (conversation in which it fires, severity, fault), (near miss)
CASES: dict[str, tuple[Conversation, str, str, Conversation]] = {
    "H001": (
        lambda: play() << opened(subprotocols_offered=["ocpp2.0"], subprotocol=""), "error", "station",
        lambda: play() << opened(subprotocols_offered=["ocpp2.0.1", "ocpp1.6"]),
    ),
    "H002": (
        lambda: play() << opened(subprotocol=""), "error", "csms",
        lambda: play() << opened(),
    ),
    "H003": (lambda: play() << opened(path="/"), "error", "station", lambda: play() << opened(path="/a%2Fb")),
    "H006": (
        lambda: play() << opened(auth={"scheme": "Basic", "user_is_identity": False}), "warning", "station",
        lambda: play() << opened(auth={"scheme": "Basic", "user_is_identity": True}),
    ),
    "H008": (lambda: play() << opened() << ended(abrupt=True), "note", "nobody", lambda: play() << opened() << ended()),
    "H012": (
        lambda: play() << opened() << binary(), "error", "station",
        lambda: play() << opened() << cp('[2,"1","Heartbeat",{}]'),
    ),
    "H013": (lambda: play() << opened(extensions="permessage-deflate"), "note", "nobody", lambda: play() << opened()),
    "J001": (lambda: flawed('[2,"1","Heartbeat",{]'), "error", "station", lambda: flawed('[2, "1", "Heartbeat" ,{}]')),
    "J002": (lambda: flawed('[2,"1","Heartbeat"]'), "error", "station", lambda: flawed('[2,"1","Heartbeat",{}]')),
    "J003": (lambda: flawed('[5,"1",{}]'), "error", "station", lambda: flawed('[2,"1","Heartbeat",{}]')),
    "J004": (
        lambda: flawed(text(2, "x" * 37, "Heartbeat", {})), "error", "station",
        lambda: flawed(text(2, "x" * 36, "Heartbeat", {})),
    ),
    "J005": (
        lambda: play().booted() << cp(text(2, "1", "Heartbeat", {})) << cs(text(3, "1", {"currentTime": stamp()}))
        << cp(text(2, "1", "Authorize", {"idTag": "A"})), "error", "station",
        lambda: play().booted() << cp(text(2, "1", "Heartbeat", {})) << cs(text(2, "1", "ClearCache", {})),
    ),
    "J006": (
        lambda: play().booted().station("Heartbeat", {}).station("Authorize", {"idTag": "A"}), "warning", "station",
        lambda: (play().booted().station("Heartbeat", {}) << after(61)).station("Authorize", {"idTag": "A"}),
    ),
    "J007": (
        lambda: play().booted() << cs('[3,"nobody asked",{}]'), "error", "csms",
        lambda: play() << cs('[3,"asked before the capture",{}]'),
    ),
    "J008": (
        lambda: play().booted() << cs('[2,"9","ClearCache",{}]') << after(31) << cp('[3,"9",{"status":"Accepted"}]'),
        "note", "station",
        lambda: play().booted() << cs('[2,"9","ClearCache",{}]') << after(29) << cp('[3,"9",{"status":"Accepted"}]'),
    ),
    "J009": (
        lambda: play().booted() << cp('[2,"9","Heartbeat",{}]') << beat() << beat(), "error", "csms",
        lambda: play().booted() << cp('[2,"9","Heartbeat",{}]') << beat(),
    ),
    "J010": (
        lambda: play().booted() << cs('[2,"9","ClearCache",{}]') << after(30), "error", "station",
        lambda: play().booted() << cs('[2,"9","ClearCache",{}]') << after(29),
    ),
    "J011": (
        lambda: play().booted().station("Heartbeat", {}, "FormatViolation"), "warning", "csms",
        lambda: play().booted().station("Heartbeat", {}, "FormationViolation"),
    ),
    "J012": (
        lambda: play().booted().station("Heartbeat", {}) << cs('[4,"id2","GenericError","",null]'), "warning", "csms",
        lambda: play().booted().station("Heartbeat", {}) << cs('[4,"id2","GenericError","",{}]'),
    ),
    "J013": (
        lambda: play().booted() << cp('[2,"1","Heartbeat",null]'), "note", "station",
        lambda: play().booted() << cp('[2,"1","Heartbeat",{}]'),
    ),
    "J014": (
        lambda: play().booted().csms("Heartbeat", {}), "error", "csms",
        lambda: play().booted().csms("DataTransfer", {"vendorId": "x"}),
    ),
    "J015": (
        lambda: play().booted().station("../../v201/schemas/HeartbeatRequest", {}), "error", "station",
        lambda: play().booted().station("Heartbeat", {}),
    ),
    "J016": (
        lambda: flawed('[2,"1","Authorize",{"idTag":"A","idTag":"B"}]'), "error", "station",
        lambda: flawed('[2,"1","Authorize",{"idTag":"A"}]'),
    ),
    "J021": (
        lambda: play().booted().station("Authorize", {"idTag": "x" * 21}), "error", "station",
        lambda: play().booted().station("Authorize", {"idTag": "x" * 20}),
    ),
    "J022": (
        lambda: play() << opened() << damaged(), "note", "capture",
        lambda: play().booted().station("Heartbeat", {}),
    ),
    "J023": (
        lambda: play().booted(chargePointVendor=""), "warning", "station",
        lambda: play().booted(),
    ),
    "B002": (
        lambda: (play() << opened()).station("BootNotification", {"chargePointVendor": "a", "chargePointModel": "b"})
        .station("Authorize", {"idTag": "A"}), "error", "station",
        lambda: play().booted().station("Authorize", {"idTag": "A"}),
    ),
    "B003": (
        lambda: refused_boot("Pending") << after(5) << boot_again(), "warning", "station",
        lambda: refused_boot("Pending") << after(10) << boot_again(),
    ),
    "B004": (
        lambda: refused_boot("Rejected").station("Heartbeat", {}), "error", "station",
        lambda: refused_boot("Rejected") << after(10) << boot_again(),
    ),
    "B005": (
        lambda: refused_boot("Rejected").csms("ClearCache", {}), "warning", "csms",
        lambda: refused_boot("Pending").csms("ClearCache", {}),
    ),
    "B006": (
        lambda: refused_boot("Pending").csms("RemoteStopTransaction", {"transactionId": 1}), "error", "csms",
        lambda: play().booted().csms("RemoteStopTransaction", {"transactionId": 1}),
    ),
    "B010": (lambda: play().booted(60), "drift", "csms", lambda: play().booted(30)),
    "B011": (lambda: late_clock(-120), "warning", "csms", lambda: late_clock(-30)),
    "B012": (lambda: play().booted(firmwareVersion="2.0"), "note", "station", lambda: play().booted()),
    "B013": (
        lambda: play().booted().station("BootNotification", boot()), "warning", "station",
        lambda: (play().booted() << after(11)).station("BootNotification", boot()),
    ),
    "S001": (
        lambda: two_statuses("Finishing", "Charging"), "note", "station",
        lambda: two_statuses("Preparing", "Charging"),
    ),
    "S003": (
        lambda: play().booted().station("StatusNotification", status(0, "Charging"), {}), "error", "station",
        lambda: play().booted().station("StatusNotification", status(0, "Faulted", "OtherError"), {}),
    ),
    "S004": (
        lambda: play().booted().station("StatusNotification", status(21, "Available"), {}), "drift", "station",
        lambda: play().booted().station("StatusNotification", status(20, "Available"), {}),
    ),
    "S005": (
        lambda: play().booted().station("StatusNotification", status(1, "Reserved"), {}), "drift", "station",
        lambda: play(SPEC).booted().station("StatusNotification", status(1, "Reserved"), {}),
    ),
    "S006": (
        lambda: play().booted().station("StatusNotification", status(1, "Faulted"), {}), "warning", "station",
        lambda: play().booted().station("StatusNotification", status(1, "Charging", "HighTemperature"), {}),
    ),
    "S007": (
        lambda: play().booted().station("StatusNotification", status(1, "Charging", "EVCommunicationError"), {}),
        "error", "station",
        lambda: play().booted().station("StatusNotification", status(1, "Preparing", "EVCommunicationError"), {}),
    ),
    "S009": (
        lambda: play().booted().station("StatusNotification", status(1, "Faulted", "ConnectorLockFailure"), {}),
        "drift", "station",
        lambda: play(SPEC).booted().station("StatusNotification", status(1, "Faulted", "ConnectorLockFailure"), {}),
    ),
    "T001": (lambda: start(play().booted(), "UNKNOWN"), "drift", "station", lambda: play().booted().started()),
    "T003": (
        lambda: start(authorized("Blocked"), "TAG"), "error", "station",
        lambda: start(authorized("Accepted"), "TAG"),
    ),
    "T007": (lambda: start(authorized("Accepted"), "TAG", 0), "error", "station", lambda: play().booted().started()),
    "T008": (
        lambda: start(play().booted().started(), "TAG", meter_wh=5), "error", "station",
        lambda: start(play().booted().started(), "TAG", 2),
    ),
    "T009": (
        lambda: start(authorized("Accepted"), "TAG", reservationId=3), "drift", "station",
        lambda: play().booted().started(),
    ),
    "T010": (
        lambda: play().booted().started(1, 7).started(2, 7), "error", "csms",
        lambda: play().booted().started(1, 7).started(2, 8),
    ),
    "T011": (
        lambda: play().booted().started().station("MeterValues", meter(1, transaction=8), {}), "error", "station",
        lambda: play().booted().started().station("MeterValues", meter(1), {}),
    ),
    "T014": (lambda: stop(play().booted().started(), 999), "error", "station", lambda: stop(play().booted().started(), 1000)),
    "T015": (
        lambda: falling("1200", "1100"), "error", "station",
        lambda: falling("1.2", "1.1", unit="kWh", meter_wh=1300 - 1300),
    ),
    "T021": (
        lambda: play().booted().started()
        .csms("RemoteStopTransaction", {"transactionId": 7}, {"status": "Rejected"}) << after(11),
        "error", "station",
        lambda: play().booted().csms("RemoteStopTransaction", {"transactionId": 7}, {"status": "Rejected"}),
    ),
    "T023": (
        lambda: play().booted().started().station("MeterValues", meter(1)) << after(60), "error", "csms",
        lambda: play().booted().started().station("MeterValues", meter(1)) << after(59),
    ),
    "T024": (
        lambda: stop(play().booted().started(), transactionData=big_data(9000)), "warning", "station",
        lambda: stop(play().booted().started(), transactionData=big_data(9)),
    ),
    "T029": (
        lambda: play().booted().csms("UnlockConnector", {"connectorId": 1}, {"status": "Unlocked"}), "drift", "station",
        lambda: play().booted().csms("UnlockConnector", {"connectorId": 1}, {"status": "NotSupported"}),
    ),
    "T031": (
        lambda: play().booted().csms("DataTransfer", {"vendorId": "x"}, {"status": "UnknownVendorId", "data": "y"}),
        "warning", "station",
        lambda: play().booted().csms("DataTransfer", {"vendorId": "x"}, {"status": "UnknownVendorId"}),
    ),
    "T034": (
        lambda: stop(play().booted().started(), 1000, reason="Other"), "note", "station",
        lambda: stop(play().booted().started(), 1000, reason="Local"),
    ),
    "M001": (lambda: sampled(60, 300), "error", "station", lambda: sampled(60, 120)),
    "M003": (
        lambda: sampled(60, 120, {"value": "1100", "measurand": ENERGY, "unit": "Wh"}), "drift", "station",
        lambda: sampled(60, 120),
    ),
    "M004": (
        lambda: play().booted().started().station("MeterValues", meter(1, connector=2), {}), "error", "station",
        lambda: play().booted().started().station("MeterValues", meter(1), {}),
    ),
    "M005": (
        lambda: play().booted().started().station("MeterValues", meter(1, transaction=None), {}), "warning", "station",
        lambda: play().booted().station("MeterValues", meter(1, transaction=None), {}),
    ),
    "M006": (
        lambda: one_sample({"value": "229,8", "measurand": "Voltage", "unit": "V"}), "error", "station",
        lambda: one_sample({"value": "+2e+01", "measurand": "Voltage", "unit": "V"}),
    ),
    "M007": (
        lambda: one_sample({"value": "1", "measurand": "Voltage", "unit": "A"}), "warning", "station",
        lambda: one_sample({"value": "1", "measurand": "Voltage"}),
    ),
    "M014": (
        lambda: one_sample({"value": "23000", "measurand": "Temperature", "unit": "Celsius"}), "warning", "station",
        lambda: one_sample({"value": "23", "measurand": "Temperature", "unit": "Celcius"}),
    ),
    "M015": (
        lambda: one_sample({"value": "2147483647", "measurand": ENERGY}), "error", "station",
        lambda: one_sample({"value": "4296944685", "measurand": ENERGY}),
    ),
    "M016": (
        lambda: play().booted().station(
            "MeterValues", {"connectorId": 1, "meterValue": [{"timestamp": stamp(), "sampledValue": []}]}, {}
        ), "error", "station",
        lambda: one_sample({"value": "1"}),
    ),
    "C001": (
        lambda: writes(play().booted(), "MeterValueSampleInterval", "30"), "drift", "csms",
        lambda: writes(play().booted(), "metervaluesampleinterval", "060"),
    ),
    "C002": (
        lambda: writes(play().booted(), "NumberOfConnectors", "20"), "error", "station",
        lambda: writes(play().booted(), "NumberOfConnectors", "20", "Rejected"),
    ),
    "C003": (
        lambda: writes(play().booted(), "MeterValueSampleInterval", "-1"), "error", "station",
        lambda: writes(play().booted(), "MeterValueSampleInterval", "-1", "Rejected"),
    ),
    "C005": (
        lambda: writes(play().booted(), "LocalAuthListEnabled", "true", "NotSupported"), "drift", "csms",
        lambda: writes(play().booted(), "VendorKey", "true", "NotSupported"),
    ),
    "C006": (
        lambda: reads(writes(play().booted(), "ConnectionTimeOut", "90"), ("ConnectionTimeOut", "60", False)),
        "error", "station",
        lambda: reads(writes(play().booted(), "ConnectionTimeOut", "90"), ("ConnectionTimeOut", "090", False)),
    ),
    "C007": (
        lambda: reads(play().booted(), ("ConnectionTimeOut", "90", False)), "drift", "station",
        lambda: reads(play().booted(), ("MinimumStatusDuration", "5", False)),
    ),
    "C008": (
        lambda: play().booted().csms("GetConfiguration", {}, {"configurationKey": []}), "error", "station",
        lambda: reads(play().booted(), ("ConnectionTimeOut", "60", False)),
    ),
    "C009": (
        lambda: reads(play().booted(), ("NumberOfConnectors", "20", False)), "error", "station",
        lambda: reads(play().booted(), ("AuthorizeRemoteTxRequests", "true", True)),
    ),
    "C010": (
        lambda: play().booted().csms("GetConfiguration", {"key": ["A"]}, {"configurationKey": []}), "error", "station",
        lambda: play().booted().csms("GetConfiguration", {"key": ["A"]}, {"unknownKey": ["a"]}),
    ),
    "C011": (
        lambda: play().booted().csms("GetConfiguration", {"key": [f"k{n}" for n in range(21)]}), "warning", "csms",
        lambda: play().booted().csms("GetConfiguration", {"key": [f"k{n}" for n in range(20)]}),
    ),
    "C013": (
        lambda: reads(play().booted(), ("ConnectionTimeOut", "2.147", False)), "warning", "station",
        lambda: reads(play().booted(), ("LocalPreAuthorize", "FALSE", False)),
    ),
    "C016": (
        lambda: reads(play().booted(), ("SupportedFeatureProfiles", "Core,SmartCharging", True)), "drift", "station",
        lambda: reads(play().booted(), ("SupportedFeatureProfiles", " Core", True)),
    ),
    "C019": (
        lambda: reads(play().booted(), ("AuthorizationKey", "****", False)), "warning", "station",
        lambda: reads(play().booted(), ("ConnectionTimeOut", "60", False)),
    ),
    "P001": (
        lambda: play().booted().csms("ClearCache", {}, {"status": "Rejected"}, took_s=5.1), "warning", "station",
        lambda: play().booted().csms("ClearCache", {}, {"status": "Rejected"}, took_s=2.9),
    ),
    "P003": (
        lambda: remote_start(3.0), "note", "station",
        lambda: remote_start(2.9),
    ),
    "P004": (
        lambda: play().booted() << cp('[2,"9","Heartbeat",{}]') << after(61) << beat(), "warning", "csms",
        lambda: play().booted() << cp('[2,"9","Heartbeat",{}]') << after(59) << beat(),
    ),
    "P005": (lambda: heard(play().booted(), 20, ""), "drift", "station", lambda: heard(heard(play().booted(), 1, ".5"), 19, "")),
    "P006": (
        lambda: play().booted().station("StatusNotification", status(1, "Available") | {"timestamp": "yesterday"}, {}),
        "error", "station",
        lambda: play().booted().station(
            "StatusNotification", status(1, "Available") | {"timestamp": "2026-09-21T15:13:20.123456789+01:00"}, {}
        ),
    ),
    "P007": (
        lambda: play().booted().station("StatusNotification", status(1, "Available") | {"timestamp": stamp(100)}, {}),
        "warning", "station",
        lambda: play().booted().station("StatusNotification", status(1, "Available") | {"timestamp": stamp(50)}, {}),
    ),
    "P008": (
        lambda: (play().booted(30) << after(33)).station("Heartbeat", {}), "warning", "station",
        lambda: (play().booted(30) << after(31)).station("Heartbeat", {}),
    ),
    "R003": (
        lambda: play().booted().started().station("MeterValues", meter(1), "InternalError")
        .station("MeterValues", meter(2), {}), "error", "station",
        lambda: play().booted().started().station("MeterValues", meter(1), "InternalError")
        .station("MeterValues", meter(1), {}),
    ),
    "N001": (
        lambda: play().booted().csms("TriggerMessage", {"requestedMessage": "Heartbeat"}, {"status": "Accepted"}),
        "drift", "station",
        lambda: play().booted().csms("TriggerMessage", {"requestedMessage": "Heartbeat"}, {"status": "Rejected"}),
    ),
    "N002": (
        lambda: play().booted().csms("CancelReservation", {"reservationId": 1}, {"status": "Rejected"}), "note", "station",
        lambda: play().booted().csms("CancelReservation", {"reservationId": 1}, "NotSupported"),
    ),
    "N003": (
        lambda: play().booted().csms("CancelReservation", {"reservationId": 1}, "NotImplemented"), "note", "station",
        lambda: play().booted().csms("CancelReservation", {"reservationId": 1}, "NotSupported"),
    ),
    "N004": (
        lambda: play().booted().csms("CancelReservation", {"reservationId": 1}, "InternalError"), "error", "station",
        lambda: play().booted().csms("CancelReservation", {"reservationId": 1}, "NotSupported"),
    ),
    "N005": (
        lambda: play().booted().station("FirmwareStatusNotification", {"status": "Installed"}), "drift", "station",
        lambda: play(SPEC).booted().station("FirmwareStatusNotification", {"status": "Installed"}),
    ),
    "N006": (
        lambda: play().booted().csms("GetLocalListVersion", {}), "warning", "csms",
        lambda: play(SPEC).booted().csms("GetLocalListVersion", {}),
    ),
    "N007": (
        lambda: play().booted().csms("Bogus", {}, "NotSupported"), "warning", "station",
        lambda: play().booted().csms("Bogus", {}, "NotImplemented"),
    ),
    "N008": (
        lambda: play().booted().station("DataTransfer", {"vendorId": "x"}), "note", "station",
        lambda: play().booted().csms("DataTransfer", {"vendorId": "x"}),
    ),
}  # fmt: skip


def binary() -> Any:
    from tests.playbook import Happened

    return Happened(Kind.BINARY, sender=Side.STATION, data=b"\x00\x01")


def damaged() -> Any:
    from tests.playbook import Happened

    return Happened(Kind.UNDECODABLE, {"why": "torn line"}, Side.STATION, b"[2,")


def beat() -> Any:
    return cs(text(3, "9", {"currentTime": stamp()}))


def boot() -> dict[str, Any]:
    return {
        "chargePointVendor": "MANAGEON",
        "chargePointModel": "OctoFLEX (OTM-K)",
        "firmwareVersion": "1.0.1",
    }


def boot_again() -> Any:
    return cp(text(2, "boot again", "BootNotification", boot()))


def refused_boot(answer: str) -> Play:
    conf = {"status": answer, "currentTime": stamp(), "interval": 10}
    return (play() << opened()).station("BootNotification", boot(), conf)


def late_clock(seconds: float) -> Play:
    conf = {"status": "Accepted", "currentTime": stamp(seconds), "interval": 30}
    return (play() << opened()).station("BootNotification", boot(), conf)


def two_statuses(first: str, second: str) -> Play:
    p = play().booted().station("StatusNotification", status(1, first), {})
    return p.station("StatusNotification", status(1, second), {})


def authorized(answer: str) -> Play:
    return play().booted().station("Authorize", {"idTag": "TAG"}, {"idTagInfo": {"status": answer}})


def start(p: Play, tag: str, connector: int = 1, meter_wh: int = 0, **more: Any) -> Play:
    payload = {"connectorId": connector, "idTag": tag, "meterStart": meter_wh, "timestamp": stamp(1)} | more
    return p.station("StartTransaction", payload, {"transactionId": 77} | OK)


def falling(first: str, second: str, unit: str = "Wh", meter_wh: int = 1000) -> Play:
    p = play().booted().started(meter=meter_wh)
    for seconds, value in ((60, first), (120, second)):
        sample = {"value": value, "measurand": ENERGY, "unit": unit}
        p = (p << after(59)).station("MeterValues", meter(seconds, sample), {})
    return p


def sampled(first: float, second: float, *samples: dict[str, Any]) -> Play:
    p = play().booted().started()
    p = (p << after(first)).station("MeterValues", meter(first, *samples), {})
    return (p << after(second - first)).station("MeterValues", meter(second, *samples), {})


def one_sample(sample: dict[str, Any]) -> Play:
    return play().booted().station("MeterValues", meter(0, sample, transaction=None), {})


def big_data(entries: int) -> list[dict[str, Any]]:
    return [{"timestamp": stamp(n), "sampledValue": [{"value": "1000"}]} for n in range(entries)]


def remote_start(took_s: float) -> Play:
    asked = {"connectorId": 1, "idTag": "TAG"}
    return play().booted().csms("RemoteStartTransaction", asked, {"status": "Accepted"}, took_s=took_s)


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_fires_where_it_should(rule: str) -> None:
    conversation, severity, fault, _ = CASES[rule]
    conversation() >> finding(rule, severity, fault)


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_is_silent_in_its_near_miss(rule: str) -> None:
    told = CASES[rule][3]().found
    assert [f.detail for f in told if f.rule == rule] == []


def test_these_are_rules() -> None:
    assert set(CASES) <= {rule.id for rule in RULES}


def test_a_clean_session_has_no_finding() -> None:
    p = play().booted().station("StatusNotification", status(0, "Available"), {})
    p = p.station("StatusNotification", status(1, "Available"), {})
    p = p.station("StatusNotification", status(1, "Preparing"), {}).started()
    p = p.station("StatusNotification", status(1, "Charging"), {})
    for minute in (1, 2, 3):
        while p.at_us - 60e6 * minute < 1_790_000_000_000_000 - 31e6:
            told = stamp((p.at_us - START_US) / 1e6 + 30)
            p = (p << after(30)).station("Heartbeat", {}, {"currentTime": told})
        p = (p << after(30)).station("MeterValues", meter(60 * minute), {})
    p = stop(p, 2000, 181, reason="Local", idTag="TAG")
    p.station("StatusNotification", status(1, "Finishing"), {}) >> silence(
        "P008", "B011", "B008", "S015", "T025"
    )


def test_after_a_gap_everything_is_unknown_and_nothing_is_said() -> None:
    p = play().booted().started() << gap()
    p = p << cs('[3,"asked in the gap",{}]')
    p.station("MeterValues", meter(60, transaction=99), {}) >> silence()


def test_another_subprotocol_is_not_judged() -> None:
    p = play() << opened(subprotocols_offered=["ocpp2.0.1"], subprotocol="ocpp2.0.1")
    p << cp("no JSON at all") << cp('[2,"1","Bogus",{}]') >> silence()


def test_a_log_without_times_says_nothing_about_time_outs() -> None:
    frames = (play().booted().station("Heartbeat", {}) << after(3600) << beat()).frames
    undated = [replace(frame, mono_ns=None, facts={**frame.facts, "interpolated": True}) for frame in frames]
    told = [finding for analyzer in [Analyzer()] for frame in undated for finding in analyzer.receive(frame)]
    assert [finding.rule for finding in told if finding.rule in ("J010", "P004", "P001")] == []


def test_one_finding_per_cause_and_the_rest_is_counted() -> None:
    p = play(OTMK).booted()
    for _ in range(5):
        p = writes(p, "MeterValueSampleInterval", "30")
    assert [f.rule for f in p.found].count("C001") == 1
    assert p.analyzer.occurrences["C001"] == 5
