"""Payloads for any action of OCPP 1.6: legal ones drawn from its schema, and bent ones drawn from those."""

import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from twin.model import Side
from twin.protocol.actions import ACTIONS
from twin.protocol.schema import schema_of

CSMS_ACTIONS = tuple(name for name, action in ACTIONS.items() if Side.CSMS in action.senders)
NOTHING = object()  # a member that is left out


def legal(action: str, rng: Random) -> Any:
    """A payload that the schema of ``action`` allows; optional members come and go."""
    return _drawn(schema_of(action, False), rng)


def _drawn(schema: Mapping[str, Any], rng: Random) -> Any:
    if "enum" in schema:
        return rng.choice(schema["enum"])
    match schema.get("type", "object"):
        case "object":
            required = set(schema.get("required", ()))
            members = schema.get("properties", {})
            return {
                name: _drawn(part, rng)
                for name, part in members.items()
                if name in required or rng.random() < 0.5
            }
        case "array":
            return [_drawn(schema["items"], rng) for _ in range(rng.randint(1, 2))]
        case "string" if schema.get("format") == "date-time":
            return "2026-11-22T00:00:00.000Z"
        case "string":
            return "x" * rng.randint(1, min(schema.get("maxLength", 20), 20))
        case "integer":
            return rng.choice((0, 1, 2, 7, 100_000))
        case "number":
            return rng.choice((0, 1.5, 16.0))
        case _:
            return rng.random() < 0.5


ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.5, 1e300, 2**31, 2**63, 10**40, int("9" * 4_300), "", "x", "x" * 501,
    "x" * 100_000, "\u0000", "\U0001f50c", "2026-13-45T99:99:99Z", "NaN", [], [[]], [None] * 1_000, {},
    {"": {}}, {"a": [{"b": None}]},
)  # fmt: skip


def bent(payload: Any, rng: Random) -> Any:
    """The payload with one thing wrong at some depth: a value swapped, a member left out or put in."""
    if isinstance(payload, dict) and payload and rng.random() < 0.8:
        name = rng.choice(list(payload))
        new = rng.choice((NOTHING, rng.choice(ODD_VALUES), bent(payload[name], rng)))
        rest = {key: value for key, value in payload.items() if key != name}
        return rest if new is NOTHING else rest | {name: new}
    if isinstance(payload, dict) and rng.random() < 0.5:
        return payload | {rng.choice(("extra", "", "__class__", "key")): rng.choice(ODD_VALUES)}
    if isinstance(payload, list) and payload and rng.random() < 0.8:
        return [bent(payload[0], rng), *payload[1:]]
    return rng.choice(ODD_VALUES)


def call(message_id: Any, action: Any, payload: Any) -> str:
    return json.dumps([2, message_id, action, payload], separators=(",", ":"))


def _cut(text: str, rng: Random) -> str:
    return text[: rng.randrange(len(text))]


def _swapped(text: str, rng: Random) -> str:
    place = rng.randrange(len(text))
    return text[:place] + rng.choice('[]{}",:0-eE\\ \n\u00e9\x00') + text[place + 1 :]


def _deep(text: str, rng: Random) -> str:
    depth = rng.choice((50, 2_000, 100_000))
    return text[: text.rindex(",") + 1] + '{"a":' * depth + "1" + "}" * depth + "]"


def _spelled(old: str, new: str) -> Callable[[str, Random], str]:
    return lambda text, rng: text.replace(old, new, rng.randint(1, 2))


# What is done to the text of a frame itself: no JSON library would write most of these.
TEXT_TWISTS: tuple[Callable[[str, Random], str], ...] = (
    _cut,
    _swapped,
    _deep,
    _spelled('":', '":NaN,"a":'),
    _spelled('":', '":-Infinity,"a":'),
    _spelled('":', '":1e999999999,"a":'),
    _spelled('":', '":1.0,"connectorId":'),
    _spelled('":"', '":"\\ud800'),
    _spelled("[2,", "[2.0,"),
    _spelled("[2,", "[true,"),
    _spelled("[2,", "[5,"),
    _spelled("[2,", "[[2,"),
    _spelled("]", ",{}]"),
    lambda text, rng: "\ufeff" + text,
    lambda text, rng: text + text,
    lambda text, rng: "",
)
