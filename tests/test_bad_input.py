"""Whatever the peer sends is a finding or nothing: never an exception, and the next message is still read."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.playbook import OTMK, SPEC, cp, cs, finding, meter, opened, play, silence
from twin.protocol import codec
from twin.protocol.actions import ACTIONS

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=12), inner, max_size=5),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["connectorId", "transactionId", "idTag", "meterValue", "sampledValue", "timestamp", "value", "status",
     "configurationKey", "key", "unknownKey", "idTagInfo", "meterStart", "meterStop", "transactionData"]
)  # fmt: skip
PAYLOADS = st.dictionaries(FIELDS | st.text(max_size=8), ANY_JSON, max_size=6)
MESSAGES = st.one_of(
    st.tuples(st.just(2), st.text(max_size=40), st.sampled_from([*ACTIONS, "Bogus"]), PAYLOADS | ANY_JSON),
    st.tuples(st.just(3), st.sampled_from(["1", "2", "id1"]), PAYLOADS | ANY_JSON),
    st.tuples(st.just(4), st.sampled_from(["1", "2", "id1"]), ANY_JSON, ANY_JSON, ANY_JSON),
    ANY_JSON,
).map(lambda value: json.dumps(value))


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.booleans(), st.text(max_size=80) | MESSAGES), max_size=12))
@example([(True, '[4,"a",[],null,null]')])
def test_any_conversation_is_survived(said: list[tuple[bool, str]]) -> None:
    p = play().booted().started()
    for from_station, text in said:
        p = p << (cp(text) if from_station else cs(text))
    p.analyzer.finish()


@settings(deadline=None, max_examples=200)
@given(PAYLOADS, st.sampled_from([*ACTIONS]), st.booleans())
def test_any_payload_of_any_action_is_survived(
    payload: dict[str, object], action: str, answered: bool
) -> None:
    for profile in (OTMK, SPEC):
        p = play(profile).booted().started().station("MeterValues", meter(1), {})
        p.station(action, payload, payload if answered else None)
        p.csms(action, payload, payload if answered else None)


_ALSO = ("J006",)  # the hostile CALL is never answered, so the next one overlaps it

HOSTILE = {
    "garbage": ("\x00\x01 garbage", "J001"),
    "truncated": ('[2,"1","Heartbeat",{', "J001"),
    "37 characters": (json.dumps([2, "x" * 37, "Heartbeat", {}]), "J004"),
    "megabyte id": (json.dumps([2, "x" * 1_000_000, "Heartbeat", {}]), "J004"),
    "empty id": ('[2,"","Heartbeat",{}]', "J004"),
    "number id": ('[2,19,"Heartbeat",{}]', "J004"),
    "unknown action": ('[2,"1","Bogus",{}]', "J015"),
    "path as action": ('[2,"1","../../../../etc/passwd",{}]', "J015"),
    "1 MiB frame": (json.dumps([2, "1", "DataTransfer", {"vendorId": "x", "data": "y" * 2**20}]), "N008"),
    "depth 10,000": ("[" * 10_000 + "]" * 10_000, "J001"),
    "depth 100,000": ("[" * 100_000 + "]" * 100_000, "J001"),
    "depth in the payload": ('[2,"1","Heartbeat",' + '{"a":' * 10_000 + "1" + "}" * 10_000 + "]", "J001"),
    "5,000 digits": ('[2,"1","MeterValues",{"connectorId":' + "9" * 5000 + ',"meterValue":[]}]', "J021"),
    "NaN": ('[2,"1","MeterValues",{"connectorId":NaN,"meterValue":[]}]', "J016"),
    "duplicate key": ('[2,"1","Authorize",{"idTag":"A","idTag":"A"}]', "J016"),
    "byte order mark": ('\ufeff[2,"1","Heartbeat",{}]', "J001"),
    "lone surrogate": ('[2,"1","Authorize",{"idTag":"\\ud800"}]', "J016"),
    "not an array": ('{"a":1}', "J001"),
    "type 2.0": ('[2.0,"1","Heartbeat",{}]', "J003"),
    "type true": ('[true,"1","Heartbeat",{}]', "J003"),
    "nothing": ("", "J001"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_input_gives_its_finding_and_the_next_message_is_read(name: str) -> None:
    text, rule = HOSTILE[name]
    p = play().booted() << cp(text)
    p >> finding(rule)
    p.station("Authorize", {"idTag": "TAG"}, {"idTagInfo": {"status": "Accepted"}}) >> silence(*_ALSO)
    assert p.analyzer.state_of("CP1").id_tags["tag"].status == "Accepted"


def test_invalid_utf8_is_a_finding() -> None:
    from tests.playbook import Happened
    from twin.model import Kind, Side

    p = play() << opened() << Happened(Kind.UNDECODABLE, {"why": "utf8"}, Side.STATION, b"\xff\xfe")
    p >> finding("J001", "error", "station")


@settings(deadline=None, max_examples=400)
@given(MESSAGES | st.text(max_size=60))
@example('[2,"1","Authorize",{"idTag":"A","idTag":"B"}]')
@example('[2,"1","MeterValues",{"connectorId":1.0}]')
@example('[2, "1", "Heartbeat", {}]')
@example('[2,"\\u00e9","Heartbeat",{}]')
@example("[[0.0]]")
@example("[1e16]")
@example('[2,0.5,"Heartbeat",{}]')
def test_what_the_fast_path_accepts_the_exact_path_reads_the_same(text: str) -> None:
    fast, exact = codec.parse(text), codec._parse_exact(text)
    assert fast.defects == exact.defects
    assert json.dumps(_plain(fast.message), default=float) == json.dumps(_plain(exact.message), default=float)


def _plain(message: object) -> object:
    return None if message is None else [getattr(message, name) for name in message.__struct_fields__]  # type: ignore[attr-defined]  # a msgspec.Struct
