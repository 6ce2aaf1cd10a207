"""Text to Message: OCPP-J framing by our own strict reading, with every flaw named and nothing raised.

The fast path may only accept: it decodes with msgspec and believes the result when encoding it again gives
the very same text, so no duplicate key, odd number or escape can hide. All else takes the exact path.
"""

import json
from decimal import Decimal
from typing import Any

import msgspec

from twin.model import Call, CallError, CallResult, Defect, Flaw, Message, Parsed

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

ELEMENTS = {2: 4, 3: 3, 4: 5}  # OCPP-J 1.6 §4.2: CALL, CALLRESULT, CALLERROR
MAX_ID = 36  # OCPP-J 1.6 §4.1.4
_LONGEST_INT = 4000  # digits; above it CPython refuses to convert


def parse(text: str) -> Parsed:
    """Read one text message. ``message`` is ``None`` when it cannot be paired: no array, no type, no id.

    Numbers with a fraction come as ``float`` where their text is the shortest spelling of that float, else
    as ``Decimal``; both convert without loss by ``Decimal(str(x))``.
    """
    try:
        elements = _decode(text)
        if _encode(elements) == text.encode():
            return _framed(elements, ())
    except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError, ValueError):
        pass
    return _parse_exact(text)


def payload_text(text: str) -> str | None:
    """The payload of a CALL or CALLRESULT as the slice of the text itself, ``None`` if there is none."""
    try:
        elements = msgspec.json.decode(text, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError):
        return None
    place = 3 if elements and bytes(elements[0]).strip() == b"2" else 2
    return bytes(elements[place]).decode() if len(elements) > place else None


def _parse_exact(text: str) -> Parsed:
    """The slow, complete reading: duplicate keys, constants, surrogates, depth, exact numbers."""
    defects: list[Defect] = []
    if text.startswith("\ufeff"):
        defects.append(Defect(Flaw.BOM))
        text = text[1:]

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        obj = dict(items)
        if len(obj) < len(items):
            seen: set[str] = set()
            twice = next(key for key, _ in items if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # set.add is None, hence false
            defects.append(Defect(Flaw.DUPLICATE_KEY, repr(twice)[:80]))
        return obj

    def constant(name: str) -> float:
        defects.append(Defect(Flaw.NOT_A_NUMBER, name))
        return float(name)

    def integer(digits: str) -> int | Decimal:
        return int(digits) if len(digits) <= _LONGEST_INT else Decimal(digits)

    try:
        elements = json.loads(
            text, object_pairs_hook=pairs, parse_constant=constant, parse_float=Decimal, parse_int=integer
        )
    except RecursionError:
        return Parsed(None, (*defects, Defect(Flaw.TOO_DEEP)))
    except ArithmeticError:
        return Parsed(None, (*defects, Defect(Flaw.TOO_LONG, "a number whose exponent nobody can hold")))
    except ValueError as error:
        return Parsed(None, (*defects, Defect(Flaw.NOT_JSON, str(error)[:120])))
    if _has_lone_surrogate(text, elements):
        defects.append(Defect(Flaw.SURROGATE))
    parsed = _framed(elements, tuple(defects))
    if any(defect.flaw in (Flaw.NOT_A_NUMBER, Flaw.SURROGATE) for defect in defects):
        return Parsed(None, parsed.defects)  # strict JSON, else no record (docs/capture-format.md)
    return parsed


def _has_lone_surrogate(text: str, elements: Any) -> bool:
    if "\\u" not in text and "\\U" not in text and text.isascii():
        return False
    try:
        json.dumps(elements, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return True
    except RecursionError:
        return False
    return False


def _shown(element: Any) -> str:
    """An element as a defect tells it, the same whether a number came as ``float`` or as ``Decimal``."""
    if isinstance(element, list | dict):
        return "an array" if isinstance(element, list) else "an object"
    return str(Decimal(str(element)) if type(element) is float else element)[:40]


def _framed(elements: Any, defects: tuple[Defect, ...]) -> Parsed:
    """Apply OCPP-J 1.6 §4.1.3 to §4.2.3 to the decoded elements."""
    if type(elements) is not list:
        return Parsed(None, (*defects, Defect(Flaw.NOT_ARRAY)))
    kind = elements[0] if elements else None
    if type(kind) is not int or kind not in ELEMENTS:
        return Parsed(None, (*defects, Defect(Flaw.TYPE_ID, _shown(kind))))
    size = len(elements)
    if size != ELEMENTS[kind]:
        defects = (*defects, Defect(Flaw.ELEMENT_COUNT, f"{size} instead of {ELEMENTS[kind]}"))
    message_id = elements[1] if size > 1 else None
    if type(message_id) is not str:
        return Parsed(None, (*defects, Defect(Flaw.ID_TYPE, _shown(message_id))))
    if not 1 <= len(message_id) <= MAX_ID:
        defects = (*defects, Defect(Flaw.ID_LENGTH, f"{len(message_id)} characters"))
    message: Message
    if kind == 2:
        action = elements[2] if size > 2 else None
        if type(action) is not str:
            return Parsed(None, (*defects, Defect(Flaw.ACTION_TYPE, _shown(action))))
        message = Call(message_id, action, elements[3] if size > 3 else None)
    elif kind == 3:
        message = CallResult(message_id, elements[2] if size > 2 else None)
    else:
        code, description, details = (*elements[2:5], None, None, None)[:3]
        message = CallError(message_id, code, description, details)
    return Parsed(message, defects)
