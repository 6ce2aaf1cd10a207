"""The quick verdict may only accept: held against the exact one over every schema of OCPP 1.6."""

import json
from decimal import Decimal
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twin.protocol.actions import ACTIONS
from twin.protocol.schema import OVERLAY, conforms, schema_of, violations

BOTH = [(name, answer) for name in ACTIONS for answer in (False, True)]


def values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that mostly fit a schema: every keyword that the 1.6 schemas use, near its limits."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object":
            properties = schema.get("properties", {})
            required = {
                key: values(properties[key]) for key in schema.get("required", ()) if key in properties
            }
            optional = {key: values(sub) for key, sub in properties.items() if key not in required}
            return st.fixed_dictionaries(required, optional=optional)
        case "array":
            return st.lists(values(schema.get("items", {})), min_size=schema.get("minItems", 0), max_size=3)
        case "string":
            return st.text(max_size=min(schema.get("maxLength", 30), 30))
        case "integer":
            return st.integers(-(2**70), 2**70)
        case "number":
            return st.decimals(-1000, 1000, places=1).map(float) | st.integers(-1000, 1000)
        case "boolean":
            return st.booleans()
    return st.none() | st.text(max_size=5)


WRONG = st.one_of(
    st.none(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=60),
    st.just([]),
    st.just({}),
)


@st.composite
def payloads(draw: st.DrawFn, action: str, answer: bool) -> Any:
    """A fitting payload, and half of the time one that was damaged in one place."""
    payload = draw(values(dict(schema_of(action, answer))))
    if not isinstance(payload, dict) or draw(st.booleans()):
        return payload
    damaged = json.loads(json.dumps(payload))
    place: Any = damaged
    while isinstance(place, dict) and place:
        key = draw(st.sampled_from(sorted(place)))
        if isinstance(place[key], dict) and place[key] and draw(st.booleans()):
            place = place[key]
            continue
        if draw(st.booleans()):
            place[key] = draw(WRONG)
        elif draw(st.booleans()):
            del place[key]
        else:
            place["extra"] = draw(WRONG)
        break
    return damaged


@pytest.mark.parametrize(("action", "answer"), BOTH, ids=lambda value: str(value))
def test_quick_and_exact_verdict_agree_over_every_schema(action: str, answer: bool) -> None:
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(payloads(action, answer))
    def agree(payload: Any) -> None:
        exact = violations(action, payload, answer=answer)
        assert conforms(action, payload, answer=answer) is (not exact), exact

    agree()


SET_PROFILE = {
    "connectorId": 1,
    "csChargingProfiles": {
        "chargingProfileId": 1, "stackLevel": 0, "chargingProfilePurpose": "TxProfile",
        "chargingProfileKind": "Absolute",
        "chargingSchedule": {
            "chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 1}],
        },
    },
}  # fmt: skip


def with_limit(limit: Any) -> dict[str, Any]:
    payload = json.loads(json.dumps(SET_PROFILE))
    payload["csChargingProfiles"]["chargingSchedule"]["chargingSchedulePeriod"][0]["limit"] = limit
    return payload


@pytest.mark.parametrize(
    ("limit", "fits"),
    [(21.4, True), (0.3, True), (Decimal("21.4"), True), (21.45, False), (2**70, True), ("21.4", False)],
)
def test_tenths_are_tenths(limit: Any, fits: bool) -> None:
    assert (not violations("SetChargingProfile", with_limit(limit), answer=False)) is fits
    assert conforms("SetChargingProfile", with_limit(limit), answer=False) is fits


def test_an_integer_with_zero_fraction_is_a_soft_violation() -> None:
    (broken,) = violations("GetLocalListVersion", {"listVersion": Decimal("1.0")}, answer=True)
    assert broken.soft
    (broken,) = violations("GetLocalListVersion", {"listVersion": Decimal("1.5")}, answer=True)
    assert not broken.soft


def test_null_counts_as_an_empty_object() -> None:
    assert conforms("Heartbeat", None, answer=False)
    assert violations("Heartbeat", None, answer=False) == ()


def test_every_violation_is_told_with_its_place() -> None:
    payload = {"connectorId": "1", "errorCode": "Error", "status": "Available", "x": 1}
    told = {(v.path, v.keyword) for v in violations("StatusNotification", payload, answer=False)}
    assert told == {("/connectorId", "type"), ("/errorCode", "enum"), ("", "additionalProperties")}


def test_a_name_from_the_wire_never_becomes_a_path() -> None:
    for name in ("../../v201/schemas/HeartbeatRequest", "HeartbeatResponse", "", "heartbeat", "\0"):
        assert not conforms(name, {}, answer=False)
        assert violations(name, {}, answer=False)[0].keyword == "action"
        with pytest.raises(KeyError):
            schema_of(name, False)


def test_ours_differ_from_the_packages_by_the_overlay_and_nothing_else() -> None:
    overlaid = {name for name, *_ in OVERLAY}
    for action, answer in BOTH:
        name = action + ("Response" if answer else "")
        text = (files("ocpp") / "v16" / "schemas" / f"{name}.json").read_text(encoding="utf-8-sig")
        theirs = json.loads(text, parse_float=Decimal)
        assert (schema_of(action, answer) == theirs) is (name not in overlaid), name
    ours = schema_of("StopTransaction", False)["properties"]["transactionData"]
    meter = schema_of("MeterValues", False)["properties"]["meterValue"]
    units = ("items", "properties", "sampledValue", "items", "properties", "unit", "enum")
    for part in units:
        ours, meter = ours[part], meter[part]
    assert set(ours) == set(meter)


@pytest.mark.parametrize("depth", [900, 2_000, 100_000])
def test_nesting_that_no_schema_has_is_a_violation_and_no_exception(depth: int) -> None:
    payload: dict[str, Any] = {}
    for _ in range(depth):
        payload = {"a": payload}
    assert not conforms("ClearCache", payload, answer=False)
    assert violations("ClearCache", payload, answer=False)
