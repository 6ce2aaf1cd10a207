"""The TOML says what the certificate says: every line, both ways, cells verbatim."""

import re
from collections.abc import Callable
from importlib import resources

import pytest

from twin.certificate import Certificate, Line, load

CONFIGURATION = "OCPP Charging Station Configuration"
END = "Statement of Approval"

# The label of each line "label <tab> value" outside the tables with rows, and what the TOML holds for it.
LABELLED: dict[str, Callable[[Certificate], str]] = {
    "Certificate holder": lambda sheet: sheet.holder,
    "Certificate number": lambda sheet: sheet.number,
    "Product type": lambda sheet: sheet.product_type,
    "Product designation": lambda sheet: sheet.designation,
    "OCPP Software version": lambda sheet: sheet.software_version,
    "Certification date": lambda sheet: f"{sheet.certified_on:%B} {sheet.certified_on.day}, 2022",
    "Test laboratory": lambda sheet: sheet.test.laboratory,
    "Location": lambda sheet: sheet.test.location,
    "Test Report Reference": lambda sheet: sheet.test.report,
    "Vendor name": lambda sheet: sheet.test.vendor,
    "Vendor": lambda sheet: sheet.test.vendor,
    "Device Under Test": lambda sheet: sheet.test.device_under_test,
    "DUT / SUT": lambda sheet: sheet.test.device_under_test,
    "Communication": lambda sheet: sheet.test.communication,
    "Type": lambda sheet: sheet.model_code,
    "OCTT version": lambda sheet: sheet.test.octt_version,
}

# Column heads and titles: tab-separated or bold lines that state no fact.
HEADS = {
    ("Applied tests", "Performed by / on", "Document evidence"),
    ("Test Report OCPP 1.6 Certification",),
    ("Test Result Summary for the certified functionalities",),
    ("Functionalities", "OCPP 1.6 Certification Test Results", "Description"),
    ("Optional functionalities",),
    ("Performance Measurement Results",),
    ("Name", "PICS value", "Measured value", "Description"),
    ("Test Configuration",),
    ("Hardware feature set",),
    ("Non-OCPP Charge Point Configuration",),
    (
        "All other relevant limits and non-OCPP settings that are relevant for the test laboratory "
        "and for the correct functioning of the CSMS:",
    ),
    ("Feature", "Configuration"),
    ("Configuration key", "Value"),
    ("Limit / setting", "Value"),
}


def plain(line: str) -> str:
    """Without the mark-up of the transcription, and "Seoul , Korea" as "Seoul, Korea"."""
    return re.sub(r"</?b>|\*\*", "", line).replace(" ,", ",").strip()


def cells(text: str) -> list[tuple[str, ...]]:
    """Every tab-separated or "label: value" line before the configuration table, without its mark-up."""
    found = []
    for line in text.split(CONFIGURATION)[0].splitlines():
        if "\t" in line:
            row = tuple(plain(cell) for cell in line.split("\t"))
            while row and not row[-1]:
                row = row[:-1]
            found.append(row)
        elif match := re.fullmatch(r"(?:\*\*)?([A-Z][A-Za-z ]{2,40}):(?:\*\*)? (\S.*)", line.strip()):
            found.append((plain(match[1]), plain(match[2])))
    return found


def lines_of(*tables: tuple[Line, ...]) -> set[tuple[str, ...]]:
    return {(line.name, line.text) for table in tables for line in table}


def stated(sheet: Certificate) -> set[tuple[str, ...]]:
    """The rows that the TOML would have the certificate print."""
    day = f"{sheet.test.tested_on:%B} {sheet.test.tested_on.day}, {sheet.test.tested_on.year}"
    return {
        *((label, value(sheet)) for label, value in LABELLED.items()),
        (sheet.test.applied, f"{sheet.test.laboratory}, {day}", sheet.test.report),
        *((row.name, row.result, row.description) for row in sheet.functionality),
        *(
            (row.name, f"{row.limit_s}s", f"00:00:{row.measured_s:02}", row.description)
            for row in sheet.performance
        ),
        *lines_of(sheet.hardware, sheet.non_ocpp, sheet.setting),
    }


def printed(text: str) -> set[tuple[str, ...]]:
    """The same rows as the certificate prints them."""
    return {(row[0].rstrip(":"), *row[1:]) for row in cells(text) if row not in HEADS}


def configuration(text: str) -> list[tuple[str, str]]:
    table = text.split(CONFIGURATION)[1].split(END)[0]
    rows = [line.split("\t") for line in table.splitlines() if line.strip()]
    assert rows[0] == ["Configuration key", "Value"]
    return [(key, value) for key, value in rows[1:]]


def test_every_line_before_the_configuration_stands_in_both(certificate_text: str) -> None:
    assert printed(certificate_text) == stated(load())


def test_a_changed_line_would_be_noticed(certificate_text: str) -> None:
    for row in printed(certificate_text):
        changed = certificate_text.replace(" ,", ",").replace(row[-1], f"not {row[-1]}")
        assert printed(changed) != stated(load()), row


def test_the_44_rows_are_the_certificates_in_its_order_and_verbatim(certificate_text: str) -> None:
    sheet = [(row.key, row.text) for row in load().configuration]
    assert sheet == configuration(certificate_text)
    assert len(sheet) == 44


def test_the_rows_are_numbered_as_printed(certificate_text: str) -> None:
    for number, (key, _) in enumerate(configuration(certificate_text), 1):
        row = load().row(key)
        assert row is not None
        assert row.number == number


def test_title_issuer_and_specification_stand_in_the_prose(certificate_text: str) -> None:
    sheet = load()
    for words in (
        f"# {sheet.title}",
        f"For the {sheet.issuer}:",
        f"{sheet.specification} with OCPP 1.6 Errata sheet ({sheet.errata} Release, "
        f"{sheet.errata_released_on})",
    ):
        assert words in certificate_text


def test_both_approvals_carry_their_date_company_and_place(certificate_text: str) -> None:
    block = certificate_text.split(END)[1]
    printed_parties = re.findall(
        r"^(\S[^\t\n]*)\t\tDate: (\S+)\n(?:.*\n)*?Company\t(.*)\n(?:.*\n)*?Location\t(.*)$",
        block,
        re.MULTILINE,
    )
    assert [tuple(cell.strip() for cell in party) for party in printed_parties] == [
        (approval.party, f"{approval.approved_on:%Y.%m.%d}", approval.company, approval.location)
        for approval in load().approval
    ]


def test_nobodys_name_stands_in_the_toml(certificate_text: str) -> None:
    names = re.findall(r"^Name\t([^\t\n]+)", certificate_text.split(END)[1], re.MULTILINE)
    names += re.findall(r"signature of ([A-Z][a-z]+ [A-Z][a-z]+)", certificate_text)
    assert len(names) == 3
    toml = resources.files("twin.certificate").joinpath("octoflex-otm-k.toml").read_text(encoding="utf-8")
    for name in names:
        assert not any(re.search(rf"\b{part}\b", toml, re.IGNORECASE) for part in name.split()), name


@pytest.mark.parametrize("label", sorted(LABELLED))
def test_each_label_is_on_the_sheet(certificate_text: str, label: str) -> None:
    assert label in {row[0] for row in printed(certificate_text)}
