"""From TOML text to a Certificate, with every row held against its own text and against the standard."""

import hashlib
import re
import tomllib
from functools import cache
from importlib import resources
from typing import Any

import msgspec

from twin.certificate.sheet import (
    Approval,
    Certificate,
    ConfigurationRow,
    Functionality,
    Line,
    Performance,
)
from twin.protocol.config_keys import Value, ValueType, lookup, parse_as

NAMES = ("octoflex-otm-k",)

UNDECLARED = ("-", "<>", "<optional>")
"""Cells that declare nothing: not a value, and nothing that a station could depart from."""


@cache
def load(name: str = "octoflex-otm-k") -> Certificate:
    """The shipped certificate ``name`` (one of ``NAMES``); ``ValueError`` for any other name."""
    if name not in NAMES:
        raise ValueError(f"no certificate {name!r}; there is {', '.join(NAMES)}")
    return parse((resources.files("twin.certificate") / f"{name}.toml").read_bytes().decode())


_TABLES: dict[str, type[msgspec.Struct]] = {
    "approval": Approval,
    "functionality": Functionality,
    "performance": Performance,
    "hardware": Line,
    "non_ocpp": Line,
    "setting": Line,
    "configuration": ConfigurationRow,
}


def parse(toml_text: str) -> Certificate:
    """The certificate in ``toml_text``; ``ValueError`` that names the first row which is wrong, and why."""
    try:
        document = tomllib.loads(toml_text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"certificate: not TOML: {error}") from error
    for table, record in _TABLES.items():
        if table in document:
            document[table] = _rows_of(table, document[table], record)
    document.pop("tolerances", None)  # of the profile: twin.certificate.profile reads it
    document["digest"] = hashlib.sha256(toml_text.encode()).hexdigest()
    try:
        certificate = msgspec.convert(document, Certificate)
    except msgspec.ValidationError as error:
        raise ValueError(f"certificate: {error}") from error
    _check(certificate)
    return certificate


def _rows_of(table: str, rows: Any, record: type[msgspec.Struct]) -> tuple[msgspec.Struct, ...]:
    """Each row converted on its own, so that a complaint can name it."""
    if not isinstance(rows, list):
        raise ValueError(f"certificate: {table} is not an array of tables")
    converted = []
    for number, row in enumerate(rows, start=1):
        try:
            converted.append(msgspec.convert(row, record))
        except msgspec.ValidationError as error:
            label = row.get("key", row.get("name", "?")) if isinstance(row, dict) else "?"
            raise ValueError(f"{table} row {number} ({label}): {error}") from error
    return tuple(converted)


def _check(certificate: Certificate) -> None:
    for table in ("hardware", "non_ocpp", "setting"):
        for number, line in enumerate(getattr(certificate, table), start=1):
            kind = ValueType.BOOL if isinstance(line.value, bool) else ValueType.STRING
            if flaw := _misread(kind, line.text, line.value):
                raise ValueError(f"{table} row {number} ({line.name}): {flaw}")
    seen: set[str] = set()
    for position, row in enumerate(certificate.configuration, start=1):
        flaw = "the key stands twice" if row.key.casefold() in seen else _flaw(row, position)
        if flaw:
            raise ValueError(f"configuration row {position} ({row.key}): {flaw}")
        seen.add(row.key.casefold())


def _flaw(row: ConfigurationRow, position: int) -> str:
    """What contradicts the row's place, its own text or the standard; "" if nothing does."""
    standard = lookup(row.key)
    if row.number != position:
        return f"is numbered {row.number}"
    if standard and row.type is not standard.type:
        return f"type is {standard.type} by {standard.reference}, not {row.type}"
    if standard and not standard.access.allows(row.access):
        return f"access is {standard.access} by {standard.reference}, not {row.access}"
    return _misread(row.type, row.text, row.value)


def _misread(value_type: ValueType, text: str, value: Value | None) -> str:
    try:
        meaning = read_cell(value_type, text)
    except ValueError as error:
        return str(error)
    if type(meaning) is type(value) and meaning == value:
        return ""
    return f"text {text!r} means {meaning!r}, value says {value!r}"


_DOTTED = re.compile(r"[0-9]{1,3}(?:([.,])[0-9]{3})(?:\1[0-9]{3})*")
_ANSWER = {"yes": "true", "no": "false"}


def read_cell(value_type: ValueType, text: str) -> Value | None:
    """What a cell of the certificate declares; ``None`` for the marks in ``UNDECLARED``.

    Beyond the wire's spelling a cell may have dots or commas between thousands, Yes and No for a bool, and
    template brackets around a real answer ("<Yes>"). ``ValueError`` where it is no ``value_type``.
    """
    if text in UNDECLARED:
        return None
    answer = text[1:-1] if text.startswith("<") and text.endswith(">") else text
    match value_type:
        case ValueType.INT if _DOTTED.fullmatch(answer):
            answer = re.sub(r"[.,]", "", answer)
        case ValueType.BOOL:
            answer = _ANSWER.get(answer.casefold(), answer)
    value = parse_as(value_type, answer)
    if value is None:
        raise ValueError(f"text {text!r} is no {value_type}")
    return value
