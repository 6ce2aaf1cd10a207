"""Payload schemas of OCPP 1.6: a quick verdict that may only accept, and an exact one that explains.

The schema files are those of the ``ocpp`` package (pinned), with a small overlay. Action names are looked up
in ``ACTIONS`` before any file is, so a name from the wire never becomes a path.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import msgspec

from twin.protocol.actions import ACTIONS

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_VALUE = "properties/transactionData/items/properties/sampledValue"
# What the package changed in MeterValues.json but not in StopTransaction.json (ER 3.84 and empty lists).
OVERLAY: tuple[tuple[str, str, str, Any], ...] = (
    ("StopTransaction", "properties/transactionData", "minItems", 1),
    ("StopTransaction", _VALUE, "minItems", 1),
    ("StopTransaction", f"{_VALUE}/items/properties/unit", "enum+", "Hertz"),
)


class Violation(msgspec.Struct, frozen=True):
    """One broken schema keyword: JSON pointer into the payload, keyword, and the reason in words.

    ``soft`` marks an integer written with a zero fraction (``1.0``), which Draft 4 refuses (rule J021).
    """

    path: str
    keyword: str
    reason: str
    soft: bool = False


@cache
def schema_of(action: str, answer: bool) -> Mapping[str, Any]:
    """The JSON schema (Draft 4, numbers as ``Decimal``) of a request or, with ``answer``, its confirmation.

    Raises ``KeyError`` for an action that OCPP 1.6 does not know.
    """
    name = ACTIONS[action].name + ("Response" if answer else "")
    text = (files("ocpp") / "v16" / "schemas" / f"{name}.json").read_text(encoding="utf-8-sig")
    schema: dict[str, Any] = json.loads(text, parse_float=Decimal)
    for overlaid, path, keyword, value in OVERLAY:
        if overlaid == name:
            place = schema
            for part in path.split("/"):
                place = place[part]
            if keyword.endswith("+"):
                place[keyword[:-1]] = [*place[keyword[:-1]], value]
            else:
                place[keyword] = value
    return schema


def conforms(action: str, payload: Any, *, answer: bool) -> bool:
    """Quick verdict: ``True`` is certain, ``False`` means "ask :func:`violations`".

    ``null`` counts as ``{}`` (OCPP-J 1.6 tables 4 and 5). An unknown action conforms to nothing.
    """
    if action not in ACTIONS:
        return False
    try:
        return _quick(action, answer)({} if payload is None else payload)
    except (ValueError, RecursionError):
        return False


def violations(action: str, payload: Any, *, answer: bool) -> tuple[Violation, ...]:
    """Exact verdict, every violation in document order; empty means that the payload fits."""
    if action not in ACTIONS:
        return (Violation("", "action", "not an action of OCPP 1.6"),)
    try:
        exact = _as_decimal({} if payload is None else payload)
        errors = _exact(action, answer).iter_errors(exact)
        found = sorted(errors, key=lambda error: [str(p) for p in error.path])
        return tuple(_violation(error) for error in found)
    except RecursionError:  # no schema of OCPP 1.6 nests deeper than ten
        return (Violation("", "depth", "nested too deeply for any OCPP message"),)


@cache
def _quick(action: str, answer: bool) -> Callable[[Any], bool]:
    plain = json.loads(json.dumps(schema_of(action, answer), default=float))
    # formats are annotations here: rule P006 reads time stamps itself
    return jsonschema_rs.Draft4Validator(plain, validate_formats=False).is_valid


@cache
def _exact(action: str, answer: bool) -> "Validator":
    # slow to import, needed for rejected payloads only
    from jsonschema import Draft4Validator
    from jsonschema.validators import extend

    exact = extend(Draft4Validator, {"multipleOf": _multiple_of})  # type: ignore[no-untyped-call]  # stubs
    validator: Validator = exact(schema_of(action, answer))
    return validator


def _multiple_of(validator: Any, step: Decimal, value: Any, schema: Any) -> Iterator[Exception]:
    """Multiples of a power of ten, by counting decimal places: exact for numbers of any size."""
    from jsonschema import ValidationError

    if isinstance(value, int | Decimal) and not isinstance(value, bool) and _places(value) > _places(step):
        yield ValidationError(f"{value} is not a multiple of {step}")


def _places(value: int | Decimal) -> int:
    """Decimal places without trailing zeros; negative for whole tens."""
    _, digits, exponent = Decimal(value).as_tuple()
    assert isinstance(exponent, int)  # JSON has no NaN here: the codec refuses it
    held = "".join(map(str, digits)).rstrip("0")
    return -(exponent + len(digits) - len(held)) if held else 0


def _as_decimal(value: Any) -> Any:
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, dict):
        return {key: _as_decimal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_decimal(item) for item in value]
    return value


def _violation(error: Any) -> Violation:
    path = "".join(f"/{part}" for part in error.absolute_path)
    keyword, wanted, value = error.validator, error.validator_value, error.instance
    soft = False
    match keyword:
        case "required":
            missing = [name for name in wanted if name not in value]
            reason = f"{', '.join(missing)} missing"
        case "additionalProperties":
            extra = sorted(set(value) - set(error.schema.get("properties", ())))
            reason = f"{', '.join(extra)[:120]} not allowed"
        case "enum":
            reason = f"{_short(value)} is not one of the allowed values"
        case "type":
            soft = wanted == "integer" and isinstance(value, Decimal) and _places(value) <= 0
            reason = f"{_short(value)} is not of type {wanted}"
        case "maxLength":
            reason = f"{len(value)} characters, at most {wanted}"
        case "minItems" | "maxItems":
            reason = f"{len(value)} items, {keyword} {wanted}"
        case _:
            reason = f"{_short(value)} breaks {keyword} {wanted}"
    return Violation(path, keyword, reason, soft)


def _short(value: Any) -> str:
    text = (
        json.dumps(value, default=str, ensure_ascii=False) if not isinstance(value, Decimal) else str(value)
    )
    return text if len(text) <= 60 else f"{text[:59]}…"
