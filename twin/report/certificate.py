"""The certificate sheet as text for a terminal and as JSON for programs."""

import textwrap
from collections.abc import Iterator
from typing import Any

import msgspec

from twin.certificate import Certificate, ConfigurationRow, Line, Performance


def as_text(certificate: Certificate, width: int = 100) -> str:
    """Every line of the certificate, cells verbatim, in the order of the sheet, with what each row means.

    No line is longer than ``width`` columns (at least 40), save for a single word that is. Ends with a
    newline.
    """
    width = max(width, 40)
    lines = [certificate.title, ""]
    for title, blocks in _sections(certificate):
        lines += [title, "-" * len(title)]
        for first, rest in blocks:
            lines += _wrapped(first, width, indent="", hang="  ")
            lines += _wrapped(rest, width, indent="    ", hang="    ")
        lines.append("")
    return "\n".join(
        [*lines, *_wrapped(f"Data: {certificate.name}, SHA-256 {certificate.digest}", width), ""]
    )


def as_json(certificate: Certificate) -> str:
    """The whole certificate as one JSON object, indented; undeclared values are ``null``, dates ISO 8601."""
    facts: dict[str, Any] = msgspec.to_builtins(certificate)
    return msgspec.json.format(msgspec.json.encode(facts), indent=2).decode() + "\n"


type _Block = tuple[str, str]  # the fact, and what is to be said about it


def _sections(certificate: Certificate) -> Iterator[tuple[str, list[_Block]]]:
    yield "Product", [(fact, "") for fact in _product(certificate)]
    yield "Test", [(fact, "") for fact in _test(certificate)]
    yield (
        "Functionalities",
        [(f"{row.name}: {row.result}", row.description) for row in certificate.functionality],
    )
    yield "Performance", [_performance(row) for row in certificate.performance]
    yield "Hardware", [_line(line) for line in certificate.hardware]
    yield "Settings outside OCPP", [_line(line) for line in (*certificate.non_ocpp, *certificate.setting)]
    yield "OCPP configuration", [_configuration(row) for row in certificate.configuration]


def _product(certificate: Certificate) -> Iterator[str]:
    yield f"Certificate holder: {certificate.holder}"
    yield f"Certificate number: {certificate.number}"
    yield f"Product type: {certificate.product_type}"
    yield f"Product designation: {certificate.designation}"
    yield f"Type: {certificate.model_code}"
    yield f"OCPP Software version: {certificate.software_version}"
    yield f"Certification date: {certificate.certified_on}"
    yield (
        f"Reference specification: {certificate.specification}, errata sheet {certificate.errata} of "
        f"{certificate.errata_released_on}"
    )
    yield f"Issued by: {certificate.issuer}"
    yield f"Scope: {certificate.scope}"


def _test(certificate: Certificate) -> Iterator[str]:
    test = certificate.test
    yield f"Applied tests: {test.applied}"
    yield f"Test laboratory: {test.laboratory}, {test.tested_on}"
    yield f"Location: {test.location}"
    yield f"Test Report Reference: {test.report}"
    yield f"Vendor name: {test.vendor}"
    yield f"Device Under Test: {test.device_under_test}"
    yield f"Communication: {test.communication}"
    yield f"OCTT version: {test.octt_version}"
    for row in certificate.approval:
        yield f"Approved by: {row.party}, {row.company}, {row.location}, {row.approved_on}"


def _performance(row: Performance) -> _Block:
    return f"{row.name}: limit {row.limit_s} s, measured {row.measured_s} s", row.description


def _line(line: Line) -> _Block:
    return f"{line.name}: {line.text}", line.meaning


def _configuration(row: ConfigurationRow) -> _Block:
    kind = f"{row.type} in {row.unit}" if row.unit else str(row.type)
    need = "required" if row.required else "optional"
    declared = "" if row.declared else "undeclared; "
    properties = f"{declared}{kind}; {row.access}; {need}; {row.profile}; {row.reference}."
    return f"{row.number:2} {row.key} = {row.text}", f"{properties} {row.meaning}"


def _wrapped(text: str, width: int, indent: str = "", hang: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=hang,
        break_long_words=False,
        break_on_hyphens=False,
    )
