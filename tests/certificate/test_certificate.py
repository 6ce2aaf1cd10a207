"""Loading the certificate, asking it, and the complaints about one that contradicts itself."""

from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.certificate import NAMES, UNDECLARED, ConfigurationRow, load, parse, read_cell
from twin.certificate.profile import SPEC, identified
from twin.protocol.config_keys import KEYS, Access, ValueType, is_valid_value, lookup, parse_as, to_wire

TOML = resources.files("twin.certificate").joinpath("octoflex-otm-k.toml").read_text(encoding="utf-8")
SHEET = load()
CORE = [row for row in SHEET.configuration if row.profile == "Core"]


def altered(old: str, new: str) -> str:
    assert TOML.count(old) >= 1, old
    return TOML.replace(old, new, 1)


def test_who_what_and_when() -> None:
    assert (SHEET.name, SHEET.number, SHEET.holder) == ("octoflex-otm-k", "OCA.0016.0045.CS", "Manageon")
    assert (SHEET.model_code, SHEET.software_version) == ("OTM-K", "1.0.1")
    assert SHEET.certified_on.isoformat() == "2022-01-28"


def test_core_alone_passed() -> None:
    assert SHEET.profiles == {"Core"}
    assert len(SHEET.functionality) == 6


def test_what_hardware_and_settings_say() -> None:
    assert SHEET.fixed_cable is True
    assert SHEET.milliseconds is True


@pytest.mark.parametrize(
    ("which", "measured_s"), [("triggered_function", 4), ("response", 2), ("remote_start", 2)]
)
def test_measured_times(which: str, measured_s: int) -> None:
    figure = SHEET.figure(which)
    assert figure is not None
    assert (figure.limit_s, figure.measured_s) == (5, measured_s)


def test_a_figure_that_nobody_measured() -> None:
    assert SHEET.figure("reset") is None


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("AllowOfflineTxForUnknownId", False, "false"),
        ("authorizeremotetxrequests", True, "true"),
        ("HEARTBEATINTERVAL", 30, "30"),
        ("WebSocketPingInterval", 0, "0"),
        ("StopTransactionMaxMeterValues", 2_147_483_647, "2147483647"),
        ("SupportedFeatureProfiles", ("Core",), "Core"),
        (
            "StopTxnSampledData",
            ("Energy.Active.Import.Register", "Current.Import", "Voltage"),
            "Energy.Active.Import.Register,Current.Import,Voltage",
        ),
        ("MinimumStatusDuration", None, None),
        ("MaxChargingProfilesInstalled", None, None),
        ("LightIntensity", None, None),
        ("AcmeKey", None, None),
    ],
)
def test_a_certified_value_typed_and_as_the_wire_has_it(key: str, value: object, text: str | None) -> None:
    assert SHEET.certified(key) == value
    assert type(SHEET.certified(key)) is type(value)
    assert SHEET.certified_text(key) == text


def test_34_rows_of_core_two_of_them_undeclared_and_ten_others() -> None:
    assert len(SHEET.configuration) == 44
    assert len(CORE) == 34
    assert [row.key for row in CORE if not row.declared] == ["MaxEnergyOnInvalidId", "MinimumStatusDuration"]
    declared_elsewhere = [row.key for row in SHEET.configuration if row.profile != "Core" and row.declared]
    assert declared_elsewhere == ["LocalAuthListEnabled"]


def test_undeclared_is_what_the_form_leaves_open() -> None:
    assert {row.text for row in SHEET.configuration if not row.declared} == {"-", "<optional>"}
    assert all(row.text not in UNDECLARED for row in SHEET.configuration if row.declared)


@pytest.mark.parametrize("row", SHEET.configuration, ids=lambda row: row.key)
def test_each_row_agrees_with_the_standard(row: ConfigurationRow) -> None:
    standard = lookup(row.key)
    assert standard is not None
    assert row.key == standard.name
    for field in ("type", "unit", "profile", "required", "reference"):
        assert getattr(row, field) == getattr(standard, field), field
    assert standard.access.allows(row.access)
    assert row.meaning.endswith(".")


@pytest.mark.parametrize("row", CORE, ids=lambda row: row.key)
def test_each_certified_value_would_be_accepted_on_the_wire(row: ConfigurationRow) -> None:
    text = SHEET.certified_text(row.key)
    assert text is None or is_valid_value(row.key, text)


def test_a_fixed_cable_makes_the_unlock_key_read_only() -> None:
    # ER 3.83
    assert SHEET.access("UnlockConnectorOnEVSideDisconnect") is Access.R
    assert SHEET.access("authorizeremotetxrequests") is Access.EITHER


def test_access_to_what_the_sheet_does_not_list_is_the_standards() -> None:
    assert SHEET.access("LightIntensity") is Access.RW
    assert SHEET.access("AuthorizationKey") is Access.W
    assert SHEET.access("AcmeKey") is None


def test_core_keys_that_the_sheet_does_not_list() -> None:
    silent = {key.name for key in KEYS if key.profile == "Core" and SHEET.row(key.name) is None}
    assert silent == {"BlinkRepeat", "LightIntensity"}


@pytest.mark.parametrize(
    ("vendor", "model", "is_it"),
    [
        ("Manageon", "OTM-K", True),
        ("MANAGEON Co., Ltd.", "OctoFLEX", True),
        ("manageon", "octoflex (otm-k) v2", True),
        ("Manageon", "Other", False),
        ("Acme", "OTM-K", False),
        ("", "", False),
    ],
)
def test_bootnotification_gives_the_product_away(vendor: str, model: str, is_it: bool) -> None:
    assert SHEET.matches(vendor, model) is is_it
    assert (identified(vendor, model) is not SPEC) is is_it


@given(vendor=st.text(), model=st.text())
def test_any_vendor_and_model_have_a_profile(vendor: str, model: str) -> None:
    assert identified(vendor, model).name in {"spec", *NAMES}


def test_every_shipped_certificate_loads_once() -> None:
    for name in NAMES:
        assert load(name).name == name
        assert load(name) is load(name)
        assert load(name).feature_profiles == {"Core"}


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no certificate 'otm'; there is octoflex-otm-k"):
        load("otm")


def test_the_digest_is_that_of_the_text() -> None:
    assert parse(TOML).digest == SHEET.digest
    assert parse(TOML + "\n").digest != SHEET.digest
    assert len(SHEET.digest) == 64


def test_a_certificate_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        SHEET.configuration[0].value = True  # type: ignore[misc] # that it is refused is the test


# Each names the row and says what is wrong with it.
CONTRADICTIONS = {
    "value against cell": (
        "value = 30",
        "value = 31",
        r"row 9 \(HeartbeatInterval\): text '30' means 30, value says 31",
    ),
    "one for true": (
        "value = true\ntype",
        "value = 1\ntype",
        r"row 3 \(AuthorizeRemoteTxRequests\): text 'TRUE'",
    ),
    "value for undeclared": (
        'text = "<optional>"',
        'text = "<optional>"\nvalue = 0',
        r"row 12 \(MaxEnergyOnInvalidId\): text '<optional>' means None",
    ),
    "no value for a cell": ("value = 30\n", "", r"row 9 \(HeartbeatInterval\): text '30' means 30"),
    "dots lost": (
        'text = "2.147.483.647"',
        'text = "2.147.483.64"',
        r"row 22 \(StopTransactionMaxMeterValues\): text '2.147.483.64' is no int",
    ),
    "wrong number": (
        "number = 7\n",
        "number = 8\n",
        r"row 7 \(ConnectorPhaseRotationMaxLength\): is numbered 8",
    ),
    "key twice": (
        'key = "AuthorizationCacheEnabled"',
        'key = "ALLOWOFFLINETXFORUNKNOWNID"',
        r"row 2 \(ALLOWOFFLINETXFORUNKNOWNID\): the key stands twice",
    ),
    "type of another": (
        'text = "30"\nvalue = 30\ntype = "int"',
        'text = "30"\nvalue = "30"\ntype = "string"',
        r"row 9 \(HeartbeatInterval\): type is int by 9\.1\.10, not string",
    ),
    "access against the standard": (
        'unit = "s"\naccess = "RW"',
        'unit = "s"\naccess = "R"',
        r"row 4 \(ClockAlignedDataInterval\): access is RW by 9\.1\.5, not R",
    ),
    "no such access": (
        'access = "R or RW"',
        'access = "rw"',
        r"row 3 \(AuthorizeRemoteTxRequests\): Invalid enum",
    ),
    "unknown field": (
        "number = 5\n",
        "number = 5\nnote = 1\n",
        r"row 5 \(ConnectionTimeOut\): .*unknown field `note`",
    ),
    "brackets misread": (
        'text = "<Yes>"\nvalue = true',
        'text = "<No>"\nvalue = true',
        r"hardware row 2 \(Fixed cable\): text '<No>' means False, value says True",
    ),
    "no such result": ('result = "Pass"', 'result = "Fail"', r"functionality row 1 \(Core\): Invalid enum"),
    "field of the head missing": ('number = "OCA', 'numero = "OCA', r"certificate: .*"),
    "a table that is none": ("[[approval]]", "[approval]", r"certificate: not TOML|approval is not an array"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_contradiction_is_refused_by_its_row(name: str) -> None:
    old, new, complaint = CONTRADICTIONS[name]
    with pytest.raises(ValueError, match=complaint):
        parse(altered(old, new))


@pytest.mark.parametrize(
    "toml",
    ["", "= 1", "configuration = 3", "configuration = [3]", "hardware = [[]]", 'name = "x"', "[" * 20_000],
)
def test_what_is_no_certificate_is_refused_in_words(toml: str) -> None:
    with pytest.raises(ValueError, match=r"certificate|row 1"):
        parse(toml)


@given(st.text(max_size=60))
def test_any_other_text_is_refused_in_words(toml: str) -> None:
    with pytest.raises(ValueError, match=r"certificate|row"):
        parse(toml)


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [
        ("int", "2.147.483.647", 2147483647),
        ("int", "2,147,483,647", 2147483647),
        ("int", "060", 60),
        ("bool", "TRUE", True),
        ("bool", "<Yes>", True),
        ("bool", "no", False),
        ("list", "A, B", ("A", "B")),
        ("string", "<Multiple>", "Multiple"),
        ("int", "-", None),
        ("list", "<>", None),
        ("bool", "<optional>", None),
    ],
)
def test_what_a_cell_says(kind: str, cell: str, value: object) -> None:
    assert read_cell(ValueType(kind), cell) == value


@pytest.mark.parametrize(
    ("kind", "cell"), [("int", "2.147.48"), ("int", "1.5"), ("int", "2.147,483"), ("bool", "1")]
)
def test_a_cell_that_says_nothing_of_its_type(kind: str, cell: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        read_cell(ValueType(kind), cell)


@given(st.integers(min_value=0, max_value=2**63), st.sampled_from([".", ","]))
def test_dots_between_thousands_change_nothing(number: int, separator: str) -> None:
    assert read_cell(ValueType.INT, f"{number:,}".replace(",", separator)) == number


def test_every_value_survives_the_wire() -> None:
    for row in SHEET.configuration:
        if row.value is not None:
            assert parse_as(row.type, to_wire(row.value)) == row.value
