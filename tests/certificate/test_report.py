"""The sheet in words and as JSON leaves nothing of the certificate out."""

import json

import pytest

from twin.certificate import load
from twin.report.certificate import as_json, as_text

SHEET = load()


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [40, 44, 48, 53, 60, 72, 100, 250])
def test_every_row_stands_in_the_text_verbatim_at_any_width(width: int) -> None:
    text = flat(as_text(SHEET, width))
    for row in SHEET.configuration:
        assert f"{row.number} {row.key} = {row.text} " in text
        assert row.meaning in text
        assert row.reference in text
    for line in (*SHEET.hardware, *SHEET.non_ocpp, *SHEET.setting):
        assert f"{line.name}: {line.text} {line.meaning}" in text
    for functionality in SHEET.functionality:
        assert f"{functionality.name}: {functionality.result} {functionality.description}" in text
    for figure in SHEET.performance:
        assert f"{figure.name}: limit {figure.limit_s} s, measured {figure.measured_s} s" in text


def test_the_head_of_the_sheet() -> None:
    text = as_text(SHEET)
    for words in (
        "OCPP 1.6 Subset Certificate\n",
        "Certificate number: OCA.0016.0045.CS\n",
        "Product designation: OctoFLEX (OTM-K)\n",
        "OCPP Software version: 1.0.1\n",
        "Certification date: 2022-01-28\n",
        "OCTT version: OCTT 1.6 v1.4.2\n",
    ):
        assert words in text
    assert text.endswith(f"{SHEET.digest}\n")


@pytest.mark.parametrize("width", [1, 40, 60, 100])
def test_no_line_is_wider_than_asked_unless_it_is_one_word(width: int) -> None:
    for line in as_text(SHEET, width).splitlines():
        assert len(line) <= max(width, 40) or " " not in line.strip(), line


def test_undeclared_rows_say_so() -> None:
    text = flat(as_text(SHEET))
    assert "12 MaxEnergyOnInvalidId = <optional> undeclared; int in Wh;" in text
    assert text.count("undeclared;") == sum(not row.declared for row in SHEET.configuration) == 11


def test_json_has_typed_values() -> None:
    sheet = json.loads(as_json(SHEET))
    values = {row["key"]: row["value"] for row in sheet["configuration"]}
    assert len(values) == 44
    assert values["HeartbeatInterval"] == 30
    assert values["AuthorizeRemoteTxRequests"] is True
    assert values["StopTxnAlignedData"] == ["Energy.Active.Import.Register", "Current.Import", "Voltage"]
    assert values["StopTransactionMaxMeterValues"] == 2147483647
    assert values["MinimumStatusDuration"] is None
    assert sheet["certified_on"] == "2022-01-28"
    assert sheet["digest"] == SHEET.digest
