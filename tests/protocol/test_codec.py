"""Framing: what can be paired is a message, every flaw has its name, and numbers keep their value."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import REPOSITORY
from twin.io.formats import open_capture
from twin.model import Call, CallError, CallResult, Flaw
from twin.protocol import codec
from twin.protocol.codec import parse, payload_text

SESSION = REPOSITORY / "captures" / "otmk-shaped-demo"
REAL = sorted({frame.text for frame in open_capture(SESSION).frames if frame.text})[::7]


def flaws(text: str) -> list[Flaw]:
    return [defect.flaw for defect in parse(text).defects]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[2,"1","Heartbeat",{}]', Call("1", "Heartbeat", {})),
        (' [ 2 , "1" , "Heartbeat" , { } ] ', Call("1", "Heartbeat", {})),
        ('[2,"1","Heartbeat",null]', Call("1", "Heartbeat", None)),
        ('[3,"1",{"a":[1,true,null]}]', CallResult("1", {"a": [1, True, None]})),
        ('[4,"1","GenericError","",{}]', CallError("1", "GenericError", "", {})),
        ('[2,"\\u00e9","A\\/b",{}]', Call("é", "A/b", {})),
    ],
)
def test_good_framing_gives_a_message_and_no_defect(text: str, message: object) -> None:
    assert parse(text) == codec.Parsed(message)  # type: ignore[arg-type]  # one of the three


# text, flaws, whether it can still be paired
FLAWED: dict[str, tuple[str, list[Flaw], bool]] = {
    "not JSON": ("hello", [Flaw.NOT_JSON], False),
    "nothing": ("", [Flaw.NOT_JSON], False),
    "NUL": ('[2,"1","Heart\x00beat",{}]', [Flaw.NOT_JSON], False),
    "two arrays": ("[][]", [Flaw.NOT_JSON], False),
    "truncated": ('[2,"1","Heartbeat",{"a":', [Flaw.NOT_JSON], False),
    "object": ("{}", [Flaw.NOT_ARRAY], False),
    "string": ('"[2]"', [Flaw.NOT_ARRAY], False),
    "empty array": ("[]", [Flaw.TYPE_ID], False),
    "type as text": ('["2","1","Heartbeat",{}]', [Flaw.TYPE_ID], False),
    "type 2.0": ('[2.0,"1","Heartbeat",{}]', [Flaw.TYPE_ID], False),
    "type true": ('[true,"1","Heartbeat",{}]', [Flaw.TYPE_ID], False),
    "type of 2.x": ('[6,"1","NotifyPeriodicEventStream",{}]', [Flaw.TYPE_ID], False),
    "type alone": ("[3]", [Flaw.ELEMENT_COUNT, Flaw.ID_TYPE], False),
    "id null": ("[3,null,{}]", [Flaw.ID_TYPE], False),
    "id number": ("[3,7,{}]", [Flaw.ID_TYPE], False),
    "id empty": ('[3,"",{}]', [Flaw.ID_LENGTH], True),
    "id of 37": (json.dumps([3, "x" * 37, {}]), [Flaw.ID_LENGTH], True),
    "id of 1 MB": (json.dumps([3, "x" * 1_000_000, {}]), [Flaw.ID_LENGTH], True),
    "action null": ('[2,"1",null,{}]', [Flaw.ACTION_TYPE], False),
    "action missing": ('[2,"1"]', [Flaw.ELEMENT_COUNT, Flaw.ACTION_TYPE], False),
    "CALL of 3": ('[2,"1","Heartbeat"]', [Flaw.ELEMENT_COUNT], True),
    "CALL of 5": ('[2,"1","Heartbeat",{},1]', [Flaw.ELEMENT_COUNT], True),
    "CALLRESULT of 4": ('[3,"1","Heartbeat",{}]', [Flaw.ELEMENT_COUNT], True),
    "CALLERROR of 3": ('[4,"1","GenericError"]', [Flaw.ELEMENT_COUNT], True),
    "byte order mark": ('\ufeff[2,"1","Heartbeat",{}]', [Flaw.BOM], True),
    "two byte order marks": ('\ufeff\ufeff[2,"1","Heartbeat",{}]', [Flaw.BOM, Flaw.NOT_JSON], False),
    "duplicate key": ('[3,"1",{"a":1,"b":2,"a":1}]', [Flaw.DUPLICATE_KEY], True),
    "duplicate by escape": ('[3,"1",{"a":1,"\\u0061":2}]', [Flaw.DUPLICATE_KEY], True),
    "NaN": ('[3,"1",{"a":NaN}]', [Flaw.NOT_A_NUMBER], False),
    "-Infinity": ('[3,"1",{"a":-Infinity}]', [Flaw.NOT_A_NUMBER], False),
    "lone surrogate, escaped": ('[3,"1",{"a":"\\uD800"}]', [Flaw.SURROGATE], False),
    "lone surrogate, as such": ('[3,"1",{"a":"\ud800"}]', [Flaw.SURROGATE], False),
    "lone surrogate in a key": ('[3,"1",{"\\udfff":1}]', [Flaw.SURROGATE], False),
    "depth": ("[" * 100_000 + "]" * 100_000, [Flaw.TOO_DEEP], False),
    "depth in the payload": (
        '[3,"1",' + '{"a":' * 10_000 + "1" + "}" * 10_000 + "]", [Flaw.TOO_DEEP], False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FLAWED)
def test_every_flaw_has_its_name_and_what_can_be_paired_is(name: str) -> None:
    text, wanted, paired = FLAWED[name]
    parsed = parse(text)
    assert [defect.flaw for defect in parsed.defects] == wanted
    assert (parsed.message is not None) is paired


def test_a_surrogate_pair_is_one_character() -> None:
    assert flaws('[3,"1",{"a":"\\ud83d\\ude00 😀"}]') == []


def test_evidence_is_short_whatever_was_sent() -> None:
    long = "x" * 1_000_000
    for text in (json.dumps([long]), json.dumps([2, 1, long]), f'[3,"1",{{"{long}":1,"{long}":2}}]', long):
        for defect in parse(text).defects:
            assert len(defect.detail) < 200


@pytest.mark.parametrize(
    ("spelt", "value"),
    [
        ("21.4", Decimal("21.4")),
        ("0.30000000000000004", Decimal("0.30000000000000004")),
        ("0.1000000000000000055511151231257827", Decimal("0.1000000000000000055511151231257827")),
        ("1e400", Decimal("1e400")),
        ("100000000000000000000000000001", Decimal(100000000000000000000000000001)),
        ("-0.0", Decimal("-0.0")),
        ("9" * 5_000, Decimal("9" * 5_000)),
    ],
)
def test_no_number_loses_a_digit(spelt: str, value: Decimal) -> None:
    message = parse(f'[3,"1",{{"a":{spelt}}}]').message
    assert isinstance(message, CallResult)
    held = message.payload["a"]
    assert (held if isinstance(held, int | Decimal) else Decimal(str(held))) == value


@settings(deadline=None, max_examples=300)
@given(st.decimals(allow_nan=False, allow_infinity=False) | st.integers(-(10**40), 10**40))
def test_any_number_converts_without_loss(value: Decimal | int) -> None:
    message = parse(f'[3,"1",{value}]').message
    assert isinstance(message, CallResult)
    assert Decimal(str(message.payload)) == value


@settings(deadline=None, max_examples=500)
@given(st.data())
def test_real_frames_with_any_damage_are_read_or_named(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(REAL))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 12)))
    damaged = text[:start] + data.draw(st.text(max_size=4) | st.sampled_from('{}[]",:0\\')) + text[end:]
    fast, exact = parse(damaged), codec._parse_exact(damaged)
    assert fast.message is not None or fast.defects
    assert fast.defects == exact.defects
    assert _plain(fast.message) == _plain(exact.message)


def _plain(message: Any) -> Any:
    """With every number as Decimal: the fast path has floats where they are exact."""
    if isinstance(message, float):
        return Decimal(repr(message))
    if isinstance(message, dict):
        return {key: _plain(item) for key, item in message.items()}
    if isinstance(message, list | tuple):
        return [_plain(item) for item in message]
    if isinstance(message, Call | CallResult | CallError):
        return [type(message), *(_plain(getattr(message, name)) for name in message.__struct_fields__)]
    return message


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        ('[2,"1","Heartbeat",{ "a" : 1.0 }]', '{ "a" : 1.0 }'),
        ('[3,"1", {"a":1e2} ]', '{"a":1e2}'),
        ('[3,"1"]', None),
        ("[]", None),
        ("{}", None),
        ("hello", None),
        ("[" * 100_000, None),
        ('[3,"1","\ud800"]', None),
    ],
)
def test_the_payload_is_a_slice_of_the_text_itself(text: str, payload: str | None) -> None:
    assert payload_text(text) == payload


@pytest.mark.parametrize("number", ["1e9999999999999999999999", "-1E-99999999999999999999999"])
def test_an_exponent_that_nobody_can_hold_is_a_flaw_and_no_fault(number: str) -> None:
    parsed = parse(f'[2,"1","X",{{"n":{number}}}]')
    assert parsed.message is None
    assert [defect.flaw for defect in parsed.defects] == [Flaw.TOO_LONG]
