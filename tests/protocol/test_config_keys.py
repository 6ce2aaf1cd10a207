"""The table of standard configuration keys, and how the texts of values are read and compared."""

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.protocol.config_keys import (
    KEYS,
    REQUIRED_CORE_KEYS,
    Access,
    ConfigKey,
    Value,
    ValueType,
    is_valid_value,
    length_key,
    lookup,
    parse_as,
    parse_value,
    same_value,
    to_wire,
)

NAMES = [key.name for key in KEYS]


def test_each_key_stands_once_and_is_found_in_any_case() -> None:
    assert len({name.casefold() for name in NAMES}) == len(KEYS)
    for key in KEYS:
        assert lookup(key.name) is lookup(key.name.upper()) is lookup(key.name.lower()) is key
    assert lookup("AcmeKey") is None


def test_each_key_fits_the_wire_and_cites_its_source() -> None:
    for key in KEYS:
        assert len(key.name) <= 50  # OCPP 1.6 §7.29
        assert re.fullmatch(r"(9\.\d\.\d+|ER 3\.\d+|JE 3\.\d+|SW)(, (ER 3\.\d+|SW))?", key.reference), key


def test_numbers_have_a_least_value_and_lists_their_words() -> None:
    for key in KEYS:
        assert (key.minimum is not None) is (key.type is ValueType.INT), key.name
        assert (key.item is not None) is (key.type is ValueType.LIST), key.name
        assert not key.unit or key.type is ValueType.INT, key.name


def test_required_core_keys() -> None:
    # OCPP 1.6 chapter 9 with the errata sheet v4.0: ER 3.79 took StopTransactionOnEVSideDisconnect out.
    assert set(REQUIRED_CORE_KEYS) == {
        *("AuthorizeRemoteTxRequests", "ClockAlignedDataInterval", "ConnectionTimeOut"),
        *("ConnectorPhaseRotation", "GetConfigurationMaxKeys", "HeartbeatInterval", "LocalAuthorizeOffline"),
        *(
            "LocalPreAuthorize",
            "MeterValuesAlignedData",
            "MeterValuesSampledData",
            "MeterValueSampleInterval",
        ),
        *("NumberOfConnectors", "ResetRetries", "StopTransactionOnInvalidId", "StopTxnAlignedData"),
        *("StopTxnSampledData", "SupportedFeatureProfiles", "TransactionMessageAttempts"),
        *("TransactionMessageRetryInterval", "UnlockConnectorOnEVSideDisconnect"),
    }


@pytest.mark.parametrize(
    ("name", "access"),
    [
        ("HeartbeatInterval", Access.RW),
        ("NumberOfConnectors", Access.R),
        ("AuthorizeRemoteTxRequests", Access.EITHER),
        ("StopTransactionOnEVSideDisconnect", Access.EITHER),
        ("UnlockConnectorOnEVSideDisconnect", Access.EITHER),
        ("AuthorizationKey", Access.W),
    ],
)
def test_access(name: str, access: Access) -> None:
    key = lookup(name)
    assert key is not None
    assert key.access is access


def test_what_readonly_must_say() -> None:
    assert [access.readonly for access in Access] == [True, False, None, None]


def test_a_station_may_choose_only_where_the_standard_lets_it() -> None:
    assert all(Access.EITHER.allows(access) for access in (Access.R, Access.RW, Access.EITHER))
    assert not Access.EITHER.allows(Access.W)
    assert not Access.R.allows(Access.RW)


def test_the_password_is_the_only_secret() -> None:
    assert [key.name for key in KEYS if key.secret] == ["AuthorizationKey"]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("bool", "true", True),
        ("bool", "TRUE", True),
        ("bool", "False", False),
        ("bool", "1", None),
        ("bool", "yes", None),
        ("bool", "", None),
        ("int", "60", 60),
        ("int", "060", 60),
        ("int", "-1", -1),
        ("int", "+1", None),
        ("int", "60.0", None),
        ("int", "2.147.483.647", None),
        ("int", "٣", None),
        ("int", "", None),
        ("int", "9" * 501, None),
        ("list", "", ()),
        ("list", " ", ()),
        ("list", "SoC, Voltage", ("SoC", "Voltage")),
        ("list", "SoC,", ("SoC", "")),
        ("string", " as it is ", " as it is "),
    ],
)
def test_what_a_text_means(kind: str, text: str, value: object) -> None:
    assert parse_as(ValueType(kind), text) == value


@pytest.mark.parametrize(
    ("name", "text", "valid"),
    [
        ("HeartbeatInterval", "0", True),
        ("HeartbeatInterval", "-1", False),
        ("HeartbeatInterval", "soon", False),
        ("WebSocketPingInterval", "-60", False),
        ("LocalPreAuthorize", "TRUE", True),
        ("LocalPreAuthorize", "0", False),
        ("MeterValuesSampledData", "", True),
        ("metervaluessampleddata", "Energy.Active.Import.Register, Voltage.L1-N", True),
        ("MeterValuesSampledData", "energy.active.import.register", False),
        ("MeterValuesSampledData", "Voltage,,SoC", False),
        ("MeterValuesSampledData", "Voltage.L9", False),
        ("ConnectorPhaseRotation", "1.RST, 2.RTS", True),
        ("ConnectorPhaseRotation", "NotApplicable", True),
        ("ConnectorPhaseRotation", "1.RRR", False),
        ("SupportedFeatureProfiles", "Core,SmartCharging", True),
        ("SupportedFeatureProfiles", "core", False),
        ("ChargingScheduleAllowedChargingRateUnit", "Current,Power", True),
        ("ChargingScheduleAllowedChargingRateUnit", "A,W", False),
        ("CpoName", "", True),
        ("AcmeKey", "anything", True),
    ],
)
def test_whether_a_value_is_valid(name: str, text: str, valid: bool) -> None:
    assert is_valid_value(name, text) is valid


@pytest.mark.parametrize(
    ("name", "a", "b", "same"),
    [
        ("LocalPreAuthorize", "true", "TRUE", True),
        ("LocalPreAuthorize", "true", "false", False),
        ("HeartbeatInterval", "060", "60", True),
        ("HeartbeatInterval", "60", "60.0", False),
        ("HeartbeatInterval", "soon", "soon", True),
        ("HeartbeatInterval", "soon", "later", False),
        ("StopTxnSampledData", "Voltage,SoC", "SoC, Voltage", True),
        ("StopTxnSampledData", "Voltage", "Voltage,Voltage", False),
        ("StopTxnSampledData", "Voltage", "voltage", False),
        ("stoptxnsampleddata", "", " ", True),
        ("CpoName", "Acme", "ACME", False),
        ("AcmeKey", "060", "60", False),
        ("AcmeKey", "x", "x", True),
    ],
)
def test_whether_two_texts_mean_the_same(name: str, a: str, b: str, same: bool) -> None:
    assert same_value(name, a, b) is same
    assert same_value(name, b, a) is same


def test_the_key_that_bounds_a_list() -> None:
    bound = length_key("stoptxnsampleddata")
    assert bound is not None
    assert bound.name == "StopTxnSampledDataMaxLength"
    assert length_key("SupportedFileTransferProtocols") is None
    assert length_key("LocalAuthListEnabled") is None
    assert length_key("AcmeKey") is None


names = st.one_of(st.sampled_from(NAMES), st.text(max_size=60))


@given(names, st.text(max_size=520), st.text(max_size=520))
def test_any_text_at_all_is_read_and_compared(name: str, a: str, b: str) -> None:
    assert is_valid_value(name, a) in (True, False)
    assert same_value(name, a, a)
    assert same_value(name, a, b) is same_value(name, b, a)


@given(st.sampled_from(KEYS), st.data())
def test_what_a_station_writes_is_read_back(key: ConfigKey, data: st.DataObject) -> None:
    words = st.text(alphabet=st.characters(exclude_characters=","), min_size=1).map(str.strip).filter(bool)
    values: dict[ValueType, st.SearchStrategy[Value]] = {
        ValueType.BOOL: st.booleans(),
        ValueType.INT: st.integers(),
        ValueType.LIST: st.lists(words).map(tuple),
        ValueType.STRING: st.text(),
    }
    value = data.draw(values[key.type])
    assert parse_value(key, to_wire(value)) == value


LISTS = [key.name for key in KEYS if key.type is ValueType.LIST]


@given(st.sampled_from(LISTS), st.lists(st.sampled_from("ABC")), st.randoms(use_true_random=False))
def test_order_and_blanks_of_a_list_mean_nothing(name: str, items: list[str], random: Random) -> None:
    shuffled = list(items)
    random.shuffle(shuffled)
    assert same_value(name, ",".join(items), " , ".join(shuffled))
