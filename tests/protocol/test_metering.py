"""Samples: what an omitted field means, what is a number, what is the energy register."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.protocol.metering import Sample, energy_wh, number, samples


def one(**value: Any) -> Sample:
    (sample,) = samples([{"timestamp": "2026-09-22T12:00:00Z", "sampledValue": [value]}])
    return sample


def test_omitted_fields_mean_what_the_standard_says() -> None:
    sample = one(value="1500")
    assert (sample.measurand, sample.context) == ("Energy.Active.Import.Register", "Sample.Periodic")
    assert (sample.location, sample.phase, sample.unit, sample.format) == ("Outlet", "", "", "Raw")
    assert not sample.context_given
    assert one(value="1", context="Sample.Periodic").context_given


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1500", 1500), ("+2e+01", 20), ("-0.5", Decimal("-0.5")), (" 7 ", 7), ("007", 7), ("1_000", None),
        ("229,8", None), ("", None), ("abc", None), ("NaN", None), ("Infinity", None), ("0x10", None),
        ("9e999999", None), ("-9e999999", None), ("1e-999999", None), ("\uff17", None),
    ],
)  # fmt: skip
def test_what_is_a_number(text: str, value: Any) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    ("fields", "wh"),
    [
        ({"value": "1500"}, (1500, 1)),
        ({"value": "1500", "unit": "Wh"}, (1500, 1)),
        ({"value": "1.5", "unit": "kWh"}, (1500, 100)),
        ({"value": "1.500", "unit": "kWh"}, (1500, 1)),
        ({"value": "1500.25"}, (Decimal("1500.25"), Decimal("0.01"))),
        ({"value": "15e2"}, (1500, 1)),
        ({"value": "1500", "unit": "varh"}, None),
        ({"value": "1500", "phase": "L1"}, None),  # one phase is another register
        ({"value": "1500", "location": "Inlet"}, None),  # and so is another meter
        ({"value": "1500", "measurand": "Energy.Active.Import.Interval"}, None),
        ({"value": "lots"}, None),
    ],
)
def test_the_energy_register_in_wh_and_its_resolution(fields: dict[str, str], wh: Any) -> None:
    assert energy_wh(one(**fields)) == wh


def test_the_payloads_own_stamp_is_kept_or_unknown() -> None:
    (good,) = samples([{"timestamp": "1970-01-01T00:00:01Z", "sampledValue": [{"value": "1"}]}])
    (bad,) = samples([{"timestamp": "yesterday", "sampledValue": [{"value": "1"}]}])
    (none,) = samples([{"sampledValue": [{"value": "1"}]}])
    assert [sample.stamp_us for sample in (good, bad, none)] == [1_000_000, None, None]


def test_a_lone_object_is_read_as_a_list_of_one() -> None:
    assert [s.text for s in samples({"timestamp": "", "sampledValue": {"value": 7}})] == ["7"]


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["timestamp", "sampledValue", "value", "unit", "measurand"]), inner)
    ),
    max_leaves=15,
)


@given(ANY)
def test_any_shape_is_survived(value: Any) -> None:
    for sample in samples(value):
        energy_wh(sample)
