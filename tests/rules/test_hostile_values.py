"""Values that no honest peer sends are judged without an exception, in findings of decent length."""

from typing import Any

import pytest

from tests.playbook import BOOT, OTMK, SPEC, Play, after, meter, opened, play, stamp
from twin.certificate.profile import Profile
from twin.protocol.actions import ACTIONS

PROFILES = pytest.mark.parametrize("profile", [OTMK, SPEC], ids=lambda profile: profile.name)
OK = {"idTagInfo": {"status": "Accepted"}}
KEYS = (
    "HeartbeatInterval", "MeterValueSampleInterval", "NumberOfConnectors", "GetConfigurationMaxKeys",
    "TransactionMessageAttempts", "MeterValuesSampledData", "SupportedFeatureProfiles", "ConnectionTimeOut",
)  # fmt: skip
TEXTS = {
    "400 digits": "9" * 400, "5,000 digits": "9" * 5_000, "negative": "-" + "9" * 5_000, "superscript": "²",
    "arabic": "٣", "exponent": "1e5", "100,000 letters": "x" * 100_000, "blank": " ", "commas": "," * 5_000,
}  # fmt: skip
NUMBERS = {
    "2^63": 2**63, "400 digits": int("9" * 400), "minus 400 digits": -int("9" * 400),
    "3,999 digits": int("9" * 3_999), "a fraction": 1.5, "true": True,
}  # fmt: skip


def decent(p: Play) -> None:
    assert [f.rule for f in p.found if len(f.detail) > 501] == []


@PROFILES
@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("key", KEYS)
def test_a_configured_value_may_be_anything(profile: Profile, key: str, name: str) -> None:
    p, value = play(profile).booted().started(), TEXTS[name]
    answer = {"configurationKey": [{"key": key, "value": value, "readonly": False}]}
    p = p.csms("GetConfiguration", {}, answer)
    p = p.csms("ChangeConfiguration", {"key": key, "value": value}, {"status": "Accepted"})
    p = p.csms("GetConfiguration", {"key": [key] * 30}, answer) << after(100)
    p = p.station("MeterValues", meter(60), {}).station("MeterValues", meter(120), "InternalError")
    p = p.station("MeterValues", meter(180), {})
    decent(
        p.station(
            "StatusNotification", {"connectorId": 30, "errorCode": "NoError", "status": "Available"}, {}
        )
    )


@PROFILES
@pytest.mark.parametrize("name", NUMBERS)
def test_the_boot_interval_may_be_any_number(profile: Profile, name: str) -> None:
    conf = {"status": "Pending", "currentTime": stamp(), "interval": NUMBERS[name]}
    p = (play(profile) << opened()).station("BootNotification", BOOT, conf)
    p = p.station("BootNotification", BOOT, conf | {"status": "Accepted"}) << after(100)
    decent(p.station("Heartbeat", {}, {}))


@PROFILES
@pytest.mark.parametrize("name", NUMBERS)
def test_ids_and_registers_may_be_any_number(profile: Profile, name: str) -> None:
    n: Any = NUMBERS[name]
    p = play(profile).booted().started()
    p = p.station("MeterValues", meter(60), {})
    p = p.station(
        "StopTransaction", {"transactionId": 7, "meterStop": -n, "timestamp": stamp(), "reason": "Other"}, {}
    )
    for register in (n, -n):
        start = {"connectorId": n, "idTag": "a", "meterStart": register, "timestamp": stamp()}
        p = p.station("StartTransaction", start, {"transactionId": n} | OK)
    p = p.station("MeterValues", meter(60, connector=n, transaction=n), {})
    p = p.station(
        "StopTransaction", {"transactionId": n, "meterStop": -n, "timestamp": stamp(), "reason": "Other"}, {}
    )
    p = p.csms("UnlockConnector", {"connectorId": n}, {"status": "Unlocked"})
    p = p.csms("RemoteStopTransaction", {"transactionId": n}, {"status": "Accepted"})
    decent(p.csms("GetLocalListVersion", {}, {"listVersion": n}))


@PROFILES
@pytest.mark.parametrize(
    "text", ["1e-100", "1e-999999", "1e-999999999", "9e999999999", "1e29", "-1e29", "0e999999999", "1" * 500]
)
def test_a_sampled_value_may_be_any_number(profile: Profile, text: str) -> None:
    p = play(profile).booted().started().station("MeterValues", meter(60, {"value": "5e28"}), {})
    for seconds, unit in ((120, "kWh"), (180, "Wh")):
        for measurand in ("Energy.Active.Import.Register", "Power.Factor"):
            sample = {"value": text, "unit": unit, "measurand": measurand}
            p = p.station("MeterValues", meter(seconds, sample), {})
    decent(p.station("StopTransaction", {"transactionId": 7, "meterStop": 0, "timestamp": stamp(200)}, {}))


@PROFILES
@pytest.mark.parametrize("action", ACTIONS)
def test_every_text_may_be_long(profile: Profile, action: str) -> None:
    long = "x" * 20_000
    fields = (
        "idTag", "status", "errorCode", "vendorId", "key", "value", "reason", "type", "connectorId",
        "timestamp", "transactionId", "messageId", "requestedMessage", "chargePointVendor",
        "chargePointModel", "firmwareVersion",
    )  # fmt: skip
    payload = dict.fromkeys(fields, long)
    p = play(profile).booted().started()
    for what in (action, long):
        p = p.station(what, payload, payload).csms(what, payload, payload).csms(what, payload, long)
    decent(p)


def test_thirty_thousand_configuration_keys_are_read_once() -> None:
    entries = [{"key": f"k{n}", "value": "v", "readonly": True} for n in range(30_000)]
    p = play().booted().csms("GetConfiguration", {}, {"configurationKey": entries})
    assert len(p.analyzer.state_of("CP1").config) == 4096
