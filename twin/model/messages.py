"""A Message is what a text frame says in OCPP-J; a Defect is how its framing breaks the rules."""

from enum import StrEnum
from typing import Any

import msgspec


class Call(msgspec.Struct, frozen=True, gc=False):
    """``[2, messageId, action, payload]`` (OCPP-J 1.6 §4.2.1)."""

    message_id: str
    action: str
    payload: Any


class CallResult(msgspec.Struct, frozen=True, gc=False):
    """``[3, messageId, payload]`` (OCPP-J 1.6 §4.2.2)."""

    message_id: str
    payload: Any


class CallError(msgspec.Struct, frozen=True, gc=False):
    """``[4, messageId, errorCode, errorDescription, errorDetails]`` (OCPP-J 1.6 §4.2.3).

    The elements are kept as they came; a missing one is ``None``.
    """

    message_id: str
    code: Any
    description: Any
    details: Any


type Message = Call | CallResult | CallError


class Flaw(StrEnum):
    """Every way in which a text can break OCPP-J framing; the rules J001 to J016 speak about them."""

    NOT_JSON = "not JSON"
    BOM = "byte order mark"
    NOT_ARRAY = "not a JSON array"
    TOO_DEEP = "nested too deeply"
    TOO_LONG = "too long to read"
    TYPE_ID = "MessageTypeId is not 2, 3 or 4"
    ELEMENT_COUNT = "wrong number of elements"
    ID_TYPE = "messageId is not a string"
    ID_LENGTH = "messageId is not 1 to 36 characters"
    ACTION_TYPE = "action is not a string"
    DUPLICATE_KEY = "duplicate key"
    NOT_A_NUMBER = "NaN or Infinity"
    SURROGATE = "lone surrogate"


class Defect(msgspec.Struct, frozen=True):
    """One flaw of one text, with the evidence in words."""

    flaw: Flaw
    detail: str = ""


class Parsed(msgspec.Struct, frozen=True, gc=False):
    """What the codec makes of a text: a message if it can be paired at all, and every defect found."""

    message: Message | None
    defects: tuple[Defect, ...] = ()
