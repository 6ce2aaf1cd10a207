"""Whatever a CSMS sends, the station refuses it by the table and goes on: it answers and still charges."""

import json
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.engine.hostile import CSMS_ACTIONS, NOTHING, ODD_VALUES, TEXT_TWISTS, bent, call, legal
from tests.engine.rough_world import World
from tests.test_bad_input import ANY_JSON
from twin.engine.station import Act, Behaviour
from twin.model import CallError, CallResult
from twin.protocol import codec
from twin.protocol.actions import ACTIONS
from twin.protocol.schema import violations

SILENCE = None
# OCPP-J 1.6 table 7, spelt as the standard spells it.
CODES = {
    "NotImplemented", "NotSupported", "InternalError", "ProtocolError", "SecurityError", "FormationViolation",
    "PropertyConstraintViolation", "OccurenceConstraintViolation", "TypeConstraintViolation", "GenericError",
}  # fmt: skip


def booted(behaviour: Behaviour | None = None) -> World:
    world = World(behaviour or Behaviour(connectors=2), 1, judged=False)
    world.run(10)
    assert world.station.online
    return world


def asked(world: World, text: str, message_id: str = "x") -> list[Any] | None:
    """The station's answer to a frame of the CSMS, given two seconds."""
    world.say(text)
    world.run(2)
    return world.answer_to(message_id)


def still_well(world: World) -> None:
    """It answers GetConfiguration, and it charges: a transaction begins and ends."""
    answer = asked(world, call("well", "GetConfiguration", {"key": ["NumberOfConnectors"]}), "well")
    assert answer is not None
    assert answer[2]["configurationKey"][0]["value"] == "2"
    number = next((each for each, point in world.station.points.items() if point.free), 0)
    if not number:  # its connectors were made Inoperative, which is no harm
        assert asked(world, call("op", "ChangeAvailability", {"connectorId": 0, "type": "Operative"}), "op")
        world.run(100)
        number = next(each for each, point in world.station.points.items() if point.free)
    begun = len(world.ledger.starts)
    world.act(Act(do="unplug", connector_id=number))
    world.act(Act(do="plug", connector_id=number))
    world.act(Act(do="tag", tag="WELL"))
    world.run(100)
    assert len(world.ledger.starts) == begun + 1
    world.quieten()


REFUSED = {
    "unknown action": (["Bogus", {}], "NotImplemented"),
    "empty action": (["", {}], "NotImplemented"),
    "action in lower case": (["getconfiguration", {}], "NotImplemented"),
    "path as action": (["../../../../etc/passwd", {}], "NotImplemented"),
    "action of 100,000 characters": (["x" * 100_000, {}], "NotImplemented"),
    "known, of another profile": (["TriggerMessage", {"requestedMessage": "Heartbeat"}], "NotSupported"),
    "known, of another profile, and broken": (["ReserveNow", {"x": []}], "NotSupported"),
    "the station's own action": (["BootNotification", {}], "NotSupported"),
    "another's own action": (["StartTransaction", {}], "NotSupported"),
    "required member missing": (["ChangeConfiguration", {"key": "x"}], "OccurenceConstraintViolation"),
    "all members missing": (["Reset", {}], "OccurenceConstraintViolation"),
    "null payload, members missing": (["UnlockConnector", None], "OccurenceConstraintViolation"),
    "member too many": (["ClearCache", {"extra": 1}], "FormationViolation"),
    "string for integer": (["UnlockConnector", {"connectorId": "1"}], "TypeConstraintViolation"),
    "true for integer": (["UnlockConnector", {"connectorId": True}], "TypeConstraintViolation"),
    "null for integer": (["UnlockConnector", {"connectorId": None}], "TypeConstraintViolation"),
    "fraction for integer": (["RemoteStopTransaction", {"transactionId": 1.5}], "TypeConstraintViolation"),
    "integer for string": (["DataTransfer", {"vendorId": 7}], "TypeConstraintViolation"),
    "object for list": (["GetConfiguration", {"key": {}}], "TypeConstraintViolation"),
    "integers in the list": (["GetConfiguration", {"key": [1]}], "TypeConstraintViolation"),
    "list for payload": (["ClearCache", []], "TypeConstraintViolation"),
    "string for payload": (["ClearCache", "x"], "TypeConstraintViolation"),
    "word not in the enumeration": (["Reset", {"type": "Medium"}], "PropertyConstraintViolation"),
    "word in lower case": (["Reset", {"type": "soft"}], "PropertyConstraintViolation"),
    "idTag of 21": (["RemoteStartTransaction", {"idTag": "x" * 21}], "PropertyConstraintViolation"),
    "key of 51": (["GetConfiguration", {"key": ["x" * 51]}], "PropertyConstraintViolation"),
    "value of 501": (
        ["ChangeConfiguration", {"key": "x", "value": "x" * 501}],
        "PropertyConstraintViolation",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_each_refusal_has_its_code(name: str) -> None:
    (action, payload), code = REFUSED[name]
    world = booted()
    answer = asked(world, call("x", action, payload))
    assert answer is not None
    assert answer[0] == 4
    assert answer[2] == code
    still_well(world)


RIGHT: dict[str, tuple[str, Any, Any]] = {
    "null for nothing": ("ClearCache", None, {"status": "Accepted"}),
    "connector 0": ("RemoteStartTransaction", {"idTag": "T", "connectorId": 0}, {"status": "Rejected"}),
    "connector 2**63": (
        "RemoteStartTransaction", {"idTag": "T", "connectorId": 2**63}, {"status": "Rejected"},
    ),
    "connector -1": ("ChangeAvailability", {"connectorId": -1, "type": "Operative"}, {"status": "Rejected"}),
    "transaction 10**40": ("RemoteStopTransaction", {"transactionId": 10**40}, {"status": "Rejected"}),
    "vendor of emoji": ("DataTransfer", {"vendorId": "\U0001f50c"}, {"status": "UnknownVendorId"}),
    "no key at all": ("ChangeConfiguration", {"key": "", "value": ""}, {"status": "NotSupported"}),
    "negative interval": (
        "ChangeConfiguration", {"key": "HeartbeatInterval", "value": "-1"}, {"status": "Rejected"},
    ),
    "digits of another script": (
        "ChangeConfiguration", {"key": "HeartbeatInterval", "value": "\u0663\u0660"}, {"status": "Rejected"},
    ),
    "read-only": ("ChangeConfiguration", {"key": "NumberOfConnectors", "value": "9"}, {"status": "Rejected"}),
    "unknown keys, twice": (
        "GetConfiguration", {"key": ["a", "a"]}, {"configurationKey": [], "unknownKey": ["a"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_odd_but_legal_has_its_answer(name: str) -> None:
    action, payload, told = RIGHT[name]
    world = booted()
    assert asked(world, call("x", action, payload)) == [3, "x", told]
    still_well(world)


HUGE = {
    "100,000 keys": call("x", "GetConfiguration", {"key": ["k"] * 100_000}),
    "5,000 digits": '[2,"x","UnlockConnector",{"connectorId":' + "9" * 5_000 + "}]",
    "exponent": '[2,"x","UnlockConnector",{"connectorId":1e400}]',
    "duplicate keys": '[2,"x","UnlockConnector",{"connectorId":1,"connectorId":2}]',
    "1.0 for 1": '[2,"x","UnlockConnector",{"connectorId":1.0}]',
    "a long interval": call("x", "ChangeConfiguration", {"key": "HeartbeatInterval", "value": "9" * 400}),
    "MessageTimeout 0": call("x", "ChangeConfiguration", {"key": "MessageTimeout", "value": "0"}),
    "five elements": '[2,"x","ClearCache",{},{}]',
    "three elements": '[2,"x","ClearCache"]',
    "depth 2,000": '[2,"x","ClearCache",' + '{"a":' * 2_000 + "1" + "}" * 2_000 + "]",
    "1 MiB": call("x", "DataTransfer", {"vendorId": "x", "data": "y" * 2**20}),
}


@pytest.mark.parametrize("name", HUGE)
def test_what_can_be_read_is_answered(name: str) -> None:
    world = booted()
    answer = asked(world, HUGE[name])
    assert answer is not None
    assert answer[0] == 3 or answer[2] in CODES
    still_well(world)


UNREADABLE = {
    "nothing": "",
    "no JSON": "\x00\x01 garbage",
    "no array": '{"a":1}',
    "an empty array": "[]",
    "type 5": '[5,"x","ClearCache",{}]',
    "type true": '[true,"x","ClearCache",{}]',
    "type 2.0": '[2.0,"x","ClearCache",{}]',
    "id a number": '[2,19,"ClearCache",{}]',
    "action a list": '[2,"x",[],{}]',
    "only the type": "[2]",
    "only type and id": '[2,"x"]',
    "NaN": '[2,"x","UnlockConnector",{"connectorId":NaN}]',
    "lone surrogate": '[2,"x","RemoteStartTransaction",{"idTag":"\\ud800"}]',
    "depth 100,000": "[" * 100_000 + "]" * 100_000,
    "depth in the payload": '[2,"x","ClearCache",' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "]",
    "an exponent nobody can hold": '[2,"x","UnlockConnector",{"connectorId":1e99999999999999999999}]',
    "an answer to nothing": '[3,"nobody",{}]',
    "an error to nothing": '[4,"nobody","InternalError","",{}]',
    "an error of two elements": '[4,"nobody"]',
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_passed_over(name: str) -> None:
    world = booted()
    assert asked(world, UNREADABLE[name]) is SILENCE
    still_well(world)


@pytest.mark.parametrize("message_id", ["", "x" * 36, "x" * 37, "x" * 100_000, "\U0001f50c", "\x00", "s1"])
def test_any_id_is_answered_with_itself(message_id: str) -> None:
    world = booted()
    assert asked(world, call(message_id, "ClearCache", {}), message_id) == [
        3,
        message_id,
        {"status": "Accepted"},
    ]
    again = len(world.frames)
    world.say(call(message_id, "ClearCache", {}))  # the same id once more: answered once more
    world.run(2)
    assert len(world.frames) >= again + 2
    still_well(world)


@pytest.mark.parametrize("status", ["", "Pending", "Rejected"])
@pytest.mark.parametrize("action", CSMS_ACTIONS)
def test_calls_before_acceptance(status: str, action: str) -> None:
    """4.2: Pending answers, but starts and stops nothing; Rejected answers nothing. "": no answer yet."""
    world = World(Behaviour(connectors=2), 1, judged=False)
    world.csms.boots, world.csms.interval_s = [status] if status else [], 60
    world.csms.mood = "healthy" if status else "silent"
    world.run(10)
    assert not world.station.online
    answer = asked(world, call("x", action, legal(action, Random(1))))  # noqa: S311  # a seeded payload
    if status == "Rejected":
        assert answer is SILENCE
    else:
        assert answer is not None
        if action in ("RemoteStartTransaction", "RemoteStopTransaction"):
            assert answer[2] == {"status": "Rejected"}
    world.csms.mood = "healthy"
    world.run(150)
    still_well(world)


def test_a_flood_of_calls_is_answered_or_dropped_and_ends() -> None:
    world = booted()
    for number in range(2_000):
        world.say(call(f"f{number}", "GetConfiguration", {}))
    world.run(30)
    answers = [frame for frame in world.frames if frame.text and frame.text.startswith('[3,"f')]
    assert len(answers) >= 256
    still_well(world)


RNGS = st.integers(0, 2**32 - 1).map(Random)
BENT = st.builds(lambda action, rng: _bent(action, rng), st.sampled_from(list(ACTIONS)), RNGS)
TWISTED = st.builds(
    lambda action, rng, twist: twist(_legal(action, rng), rng),
    st.sampled_from(CSMS_ACTIONS),
    RNGS,
    st.sampled_from(TEXT_TWISTS),
)
STRANGE = st.one_of(
    st.tuples(st.just(2), st.text(max_size=40), st.sampled_from([*ACTIONS, "Bogus"]), ANY_JSON),
    st.tuples(st.sampled_from([3, 4]), st.sampled_from(["s1", "s2", "s9", ""]), ANY_JSON, ANY_JSON, ANY_JSON),
    ANY_JSON,
).map(json.dumps)


def _legal(action: str, rng: Random) -> str:
    return call("x", action, legal(action, rng))


def _bent(action: str, rng: Random) -> str:
    return call("x", action, bent(legal(action, rng), rng))


@settings(max_examples=300)
@given(st.lists(BENT | TWISTED | STRANGE | st.text(max_size=60), min_size=1, max_size=8))
@example([call("x", "Reset", {"type": "Hard"}), call("x", "Reset", {"type": "Soft"})])
def test_anything_is_survived(texts: list[str]) -> None:
    world = booted()
    for text in texts:
        world.say(text)
        world.run(0.1)
    world.run(200)  # it may have been reset, or have lost its configured connectors' use
    still_well(world)


@settings(max_examples=400)
@given(BENT)
def test_what_breaks_its_schema_is_refused_by_the_table(text: str) -> None:
    message = codec.parse(text).message
    world = booted()
    answer = asked(world, text)
    if message is None:
        assert answer is SILENCE
        return
    assert answer is not None
    said = codec.parse(json.dumps(answer)).message
    if isinstance(said, CallError):
        assert said.code in CODES
    else:
        assert isinstance(said, CallResult)
        assert violations(message.action, message.payload, answer=False) == ()  # type: ignore[union-attr]  # a CALL
        assert violations(message.action, said.payload, answer=True) == ()  # type: ignore[union-attr]  # as above


def test_odd_values_are_odd() -> None:
    """The table of values holds one of each JSON type, and what no JSON library refuses."""
    kinds = {type(value) for value in ODD_VALUES}
    assert kinds == {type(None), bool, int, float, str, list, dict}
    assert NOTHING not in ODD_VALUES
