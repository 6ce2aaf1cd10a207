"""open-ocpp-trace v1.1: conformant as consumer and as producer, and what goes out comes back."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.io.formats import opentrace, peersession
from twin.io.reading import ReadOptions
from twin.model import Frame, Kind, Side
from twin.protocol.codec import parse

S, C = Side.STATION, Side.CSMS

# The rules of trace-v1.schema.json, in words of our own, so that they hold without the corpora.
RULES = {
    "required": ["schemaVersion", "timestamp", "transport", "direction", "messageType"],
    "properties": {
        "timestamp": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{15}Z$"},
        "transport": {"enum": ["json", "soap"]},
        "chargePointId": {"type": "string"},
        "connectorId": {"type": "integer", "minimum": 0},
        "direction": {"enum": ["cp-to-csms", "csms-to-cp"]},
        "messageType": {"enum": ["CALL", "CALLRESULT", "CALLERROR"]},
        "messageId": {"type": "string"},
        "action": {"type": "string"},
        "raw": {"type": "string"},
        "error": {"properties": {"code": {"type": "string"}, "description": {"type": "string"}}},
        "meta": {"type": "object"},
    },
    "allOf": [
        {"if": {"properties": {"messageType": {"const": "CALL"}}}, "then": {"required": ["action"]}},
        {
            "if": {"properties": {"messageType": {"const": "CALLERROR"}}},
            "then": {"required": ["error"]},
            "else": {"properties": {"error": False}},
        },
    ],
}
CONFORMANT = jsonschema.Draft202012Validator(RULES)
# §8.4: nothing of ours at top level
FIELDS = {"schemaVersion", "ocppVersion", "payload", *RULES["properties"]}


def talk(*said: tuple[Side, str], link: str = "c1", station: str = "CP7", first: int = 1) -> list[Frame]:
    return [
        Frame(
            seq=n, at_us=n * 1_000_000, link=link, kind=Kind.TEXT, sender=sender, station=station, text=text
        )
        for n, (sender, text) in enumerate(said, first)
    ]


def written(frames: list[Frame], path: Path) -> list[dict]:
    opentrace.write(frames, path)
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def read(path: Path) -> list[Frame]:
    return list(opentrace.FORMAT.read(path, ReadOptions()).frames)


def check_record(record: dict) -> None:
    """Schema, ``raw`` that decodes to what the record says, no field of ours at top level."""
    CONFORMANT.validate(record)
    assert record.keys() <= FIELDS
    message = json.loads(record["raw"])
    assert ["CALL", "CALLRESULT", "CALLERROR"][message[0] - 2] == record["messageType"]
    assert message[1] == record["messageId"]
    if message[0] == 2:
        assert message[2] == record["action"]
    if "payload" in record:
        assert message[3 if message[0] == 2 else 2] == record["payload"]


def view(frames: list[Frame]) -> tuple[list, list[int], list[int]]:
    """Correlation and effective action of each record, unanswered, orphans."""
    found = opentrace.consumer_view(frames)
    pairs = [(record.get("correlatesWith"), record.get("action")) for record in found["records"]]
    return pairs, found["unansweredCalls"], found["orphanResponses"]


# --- the gaps that the fixtures list --------------------------------------------------------------------


def test_a_callerror_is_correlated_and_carries_its_error(tmp_path):
    frames = talk((C, '[2,"1","Reset",{"type":"Soft"}]'), (S, '[4,"1","NotSupported","no",{"a":1.50}]'))
    assert view(frames) == ([(None, "Reset"), (0, "Reset")], [], [])
    call, error = written(frames, tmp_path / "t.jsonl")
    assert error["error"] == {"code": "NotSupported", "description": "no", "details": {"a": 1.5}}
    assert error["action"] == "Reset"
    assert error["meta"]["answers"] == call["meta"]["seq"] == 1
    assert "error" not in call
    assert "payload" not in error


@pytest.mark.parametrize("text", ['[4,"1"]', '[4,"1",null,7]', '[4,"1",{},[],null]'])
def test_a_callerror_with_elements_of_other_types_still_validates(tmp_path, text):
    (record,) = written(talk((S, text)), tmp_path / "t.jsonl")
    check_record(record)


def test_a_message_id_used_again():
    beat, again, answer = '[2,"1","Heartbeat",{}]', '[2,"1","Authorize",{}]', '[3,"1",{}]'
    frames = talk((S, beat), (C, answer), (S, again), (S, beat), (C, answer), (C, answer), (C, answer))
    pairs, unanswered, orphans = view(frames)
    # the most recent CALL first, then the one before it, then nothing is left
    assert [pair[0] for pair in pairs] == [None, 0, None, None, 3, 2, None]
    assert (unanswered, orphans) == ([], [6])


def test_a_nearer_candidate_in_the_wrong_direction():
    frames = talk((S, '[2,"1","Heartbeat",{}]'), (C, '[2,"1","ClearCache",{}]'), (C, '[3,"1",{}]'))
    assert view(frames) == ([(None, "Heartbeat"), (None, "ClearCache"), (0, "Heartbeat")], [1], [])


def test_several_stations_with_the_same_ids(tmp_path):
    frames = [
        *talk((S, '[2,"1","Heartbeat",{}]'), link="A", station="A"),
        *talk((S, '[2,"1","Authorize",{}]'), link="B", station="B", first=2),
        *talk((C, '[3,"1",{}]'), link="A", station="A", first=3),
    ]
    assert view(frames)[0] == [(None, "Heartbeat"), (None, "Authorize"), (0, "Heartbeat")]
    # and so for a bare file that has no connections, only chargePointId
    path = tmp_path / "t.jsonl"
    bare = [{k: v for k, v in r.items() if k != "meta"} for r in written(frames, path)]
    path.write_text("\n".join(map(json.dumps, bare)))
    assert view(read(path)) == view(frames)


def test_an_orphan_may_bring_its_own_action(tmp_path):
    path = tmp_path / "t.jsonl"
    (record,) = written(talk((C, '[3,"9",{}]')), path)
    assert "action" not in record
    path.write_text(json.dumps(record | {"action": "Heartbeat"}))
    assert view(read(path)) == ([(None, "Heartbeat")], [], [0])
    assert written(read(path), tmp_path / "again.jsonl")[0]["action"] == "Heartbeat"


# --- producer -------------------------------------------------------------------------------------------


def test_a_record_keeps_the_wires_own_words(tmp_path):
    text = '[2,"1","MeterValues",{"connectorId":3,\n "x":4321.10,"n":12345678901234567890}]'
    path = tmp_path / "t.jsonl"
    (record,) = written(talk((S, text)), path)
    assert record["raw"] == text
    assert record["connectorId"] == 3
    assert b'"payload":{"connectorId":3, "x":4321.10,"n":12345678901234567890},' in path.read_bytes()
    assert record["timestamp"] == "1970-01-01T00:00:01.000000Z"
    assert (record["chargePointId"], record["ocppVersion"]) == ("CP7", "1.6")


def test_a_call_without_any_action_still_has_the_field(tmp_path):
    (record,) = written(talk((S, '[2,"1","",{}]')), tmp_path / "t.jsonl")
    check_record(record)
    assert record["action"] == ""


@pytest.mark.parametrize(
    "spoilt", [{"chargePointId": "A\ud800"}, {"meta": {"conn": "c\ud800", "\udfff": [1]}}]
)
def test_a_lone_surrogate_beside_the_text_does_not_cost_the_message(tmp_path, spoilt):
    path, again = tmp_path / "t.jsonl", tmp_path / "again.jsonl"
    (record,) = written(talk((S, '[3,"1",{}]')), path)
    path.write_text(json.dumps(record | {"action": "X\ud800"} | spoilt))
    frames = read(path)
    check_record(written(frames, again)[0])
    assert read(again) == frames
    assert "\ufffd" in again.read_text(encoding="utf-8")


@pytest.mark.parametrize("connector", ["-1", "true", '"1"', "1.5", "null"])
def test_a_connector_that_is_none_is_not_told(tmp_path, connector):
    (record,) = written(talk((S, f'[2,"1","X",{{"connectorId":{connector}}}]')), tmp_path / "t.jsonl")
    assert "connectorId" not in record


def test_what_a_pure_trace_cannot_hold_is_counted(tmp_path):
    frames = [
        Frame(seq=1, at_us=0, link="c1", kind=Kind.OPEN),
        *talk(
            (S, "hello"),
            (S, '[2,"1","X",NaN]'),
            (S, '[2,"1","X",{"a":"\\ud800"}]'),
            (S, '\ufeff[2,"1","X",{}]'),
        ),
        Frame(seq=7, at_us=0, link="c1", kind=Kind.TEXT, text='[2,"1","X",{}]'),
        Frame(seq=8, at_us=0, link="c1", kind=Kind.PING, sender=S),
    ]
    report = opentrace.write(frames, tmp_path / "t.jsonl")
    assert report.written == 0
    assert report.left_out == {"open": 1, "text that is not OCPP-J": 4, "direction unknown": 1, "ping": 1}


def test_another_subprotocol_is_not_called_1_6(tmp_path):
    opened = Frame(seq=1, at_us=0, link="c1", kind=Kind.OPEN, facts={"subprotocol": "ocpp2.0.1"})
    assert written([opened, *talk((S, '[2,"1","X",{}]'))], tmp_path / "t.jsonl")[0]["ocppVersion"] == "2.0.1"


def test_record_of_puts_the_meta_it_is_given():
    (frame,) = talk((C, '[3,"1",{}]'))
    record = json.loads(opentrace.record_of(frame, parse(frame.text), "Reset", {"prev": "9f"}))
    assert (record["meta"], record["action"]) == ({"prev": "9f"}, "Reset")


# --- reader ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"direction": "up"}, "no direction"),
        ({"timestamp": "soon"}, "timestamp is not a time"),
        ({"timestamp": None}, "timestamp is not a time"),
        ({"transport": "soap"}, "transport is not json"),
        ({"kind": "open"}, "not a record but a line of a capture"),
        ({"raw": None, "messageType": "X"}, "neither raw nor a message"),
        ({"raw": "\ud800"}, "neither raw nor a message"),
    ],
)
def test_records_without_a_frame_are_reported(tmp_path, change, why):
    path = tmp_path / "t.jsonl"
    (record,) = written(talk((S, '[2,"1","X",{}]')), path)
    path.write_text(json.dumps(record) + "\n" + json.dumps(record | change) + '\n{"schemaVersion":"1.')
    reading = opentrace.FORMAT.read(path, ReadOptions())
    assert len(list(reading.frames)) == 1
    assert reading.report.unusable_by_reason == {why: 1, "not JSON": 1}


def test_a_record_without_raw_is_rebuilt_and_marked(tmp_path):
    path = tmp_path / "t.jsonl"
    texts = ['[2,"1","Reset",{"x": 4321.10}]', '[3,"1",{}]', '[4,"1","NotSupported","ä",{"n":0.10}]']
    written(talk(*((C, text) for text in texts)), path)
    path.write_text(re.sub('"raw":"([^"\\\\]|\\\\.)*"', '"raw":null', path.read_text("utf-8")), "utf-8")
    frames = read(path)
    assert [frame.text for frame in frames] == texts
    assert all(frame.facts["reconstructed"] for frame in frames)


def test_stamps_out_of_order_are_held_and_kept(tmp_path):
    path = tmp_path / "t.jsonl"
    records = written(talk((S, '[2,"1","X",{}]'), (S, '[2,"2","X",{}]')), path)
    path.write_text("\n".join(map(json.dumps, reversed(records))))
    first, second = read(path)
    assert first.at_us == second.at_us == 2_000_000
    assert second.facts["log_time"] == "1970-01-01T00:00:01.000000Z"


def test_sniffing():
    def score(**record):
        return opentrace.sniff(Path("x"), json.dumps(record).encode() + b'\n{"cut')

    assert score(schemaVersion="1.1", direction="cp-to-csms") == 0.95
    assert score(direction="csms-to-cp") == 0.5
    assert score(schemaVersion="1.1", direction="cp-to-csms", kind="text") == score(t=1) == 0.0
    assert opentrace.sniff(Path("x"), b"\xff\xfe") == 0.0


@pytest.mark.parametrize("depth", [500, 5_000, 100_000])
def test_deep_nesting_is_no_trouble(tmp_path, depth):
    deep = "[" * depth + "]" * depth
    texts = [f'[2,"1","X",{deep}]', f'[3,"1",{deep}]', f'[4,"1","c","d",{deep}]']
    frames = talk(*((S, text) for text in texts))
    report = opentrace.write(frames, tmp_path / "t.jsonl")
    assert report.written + report.left_out.total() == 3
    assert len(read(tmp_path / "t.jsonl")) <= report.written


# --- properties -----------------------------------------------------------------------------------------

WORD = st.text(min_size=1, max_size=8).filter(lambda word: not any("\ud800" <= c <= "\udfff" for c in word))
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORD, inner, max_size=3),
    max_leaves=6,
)
MESSAGE_ID = st.sampled_from(["1", "2", "ü"])
MESSAGE = st.one_of(
    st.tuples(st.just(2), MESSAGE_ID, WORD, st.dictionaries(st.sampled_from(["connectorId", "x"]), VALUE)),
    st.tuples(st.just(3), MESSAGE_ID, st.dictionaries(WORD, VALUE, max_size=2)),
    st.tuples(st.just(4), MESSAGE_ID, WORD, WORD, VALUE),
)
TEXT = st.builds(
    lambda message, indent: json.dumps(message, ensure_ascii=False, indent=indent),
    MESSAGE,
    st.sampled_from([None, 1]),
)
FACTS = st.dictionaries(st.sampled_from(["wire", "truncated", "peer_seen", "source"]), VALUE, max_size=2)
STATION = st.sampled_from(["A", "Bö/x", ""])
LINK = st.sampled_from(["c1", "c2"])
MONO = st.none() | st.integers(0, 2**63 - 1)


@st.composite
def conversations(draw):
    frames, at_us = [], draw(st.integers(-(10**15), 10**15))
    for seq in range(1, draw(st.integers(1, 8)) + 1):
        at_us += draw(st.integers(0, 10**7))
        place = {
            "seq": seq,
            "at_us": at_us,
            "link": draw(LINK),
            "station": draw(STATION),
            "mono_ns": draw(MONO),
        }
        said = {"kind": Kind.TEXT, "sender": draw(st.sampled_from(Side)), "text": draw(TEXT)}
        frames.append(Frame(**place, **said, facts=draw(FACTS)))
    return frames


@settings(deadline=None)
@given(conversations())
def test_what_is_written_is_conformant_and_comes_back(tmp_path_factory, frames):
    path = tmp_path_factory.mktemp("trace") / "t.jsonl"
    records = written(frames, path)
    for record in records:
        check_record(record)
    assert read(path) == frames
    assert opentrace.consumer_view(read(path)) == opentrace.consumer_view(frames)


def plain_rule(frames: list[Frame]) -> list[int | None]:
    """The normative correlation, as naively as it is written (conformance rules of the specification)."""
    taken: set[int] = set()
    found: list[int | None] = []
    for n, frame in enumerate(frames):
        message = json.loads(frame.text or "")
        match = None
        if message[0] != 2:
            for earlier in range(n - 1, -1, -1):
                other, call = frames[earlier], json.loads(frames[earlier].text or "")
                if (
                    call[:2] == [2, message[1]]
                    and other.link == frame.link
                    and other.sender is not frame.sender
                    and earlier not in taken
                ):
                    match = earlier
                    taken.add(earlier)
                    break
        found.append(match)
    return found


@settings(deadline=None)
@given(conversations())
def test_the_view_follows_the_plain_rule(frames):
    found = opentrace.consumer_view(frames)
    assert [record.get("correlatesWith") for record in found["records"]] == plain_rule(frames)


LINE = st.dictionaries(
    st.sampled_from(
        [
            "schemaVersion",
            "timestamp",
            "direction",
            "messageType",
            "messageId",
            "raw",
            "meta",
            "error",
            "payload",
        ]
    ),
    st.sampled_from(
        [
            "1.1",
            "2026-05-04T08:00:00Z",
            "cp-to-csms",
            "CALL",
            "CALLERROR",
            '[2,"1","X",{}]',
            {},
            {"conn": 1},
            None,
        ]
    ),
)


@settings(deadline=None)
@given(st.lists(LINE.map(json.dumps).map(str.encode) | st.binary(max_size=20), max_size=10))
def test_any_bytes_give_frames_and_a_complete_report(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("trace") / "t.jsonl"
    path.write_bytes(b"\n".join(lines))
    for reader in (opentrace.FORMAT, peersession.FORMAT):
        reading = reader.read(path, ReadOptions())
        assert len(list(reading.frames)) + reading.report.unusable == reading.report.lines


# --- corpora --------------------------------------------------------------------------------------------


def published_schema(corpora: Path) -> jsonschema.Draft202012Validator:
    text = (corpora / "open-ocpp-trace/schema/trace-v1.schema.json").read_text()
    return jsonschema.Draft202012Validator(json.loads(text))


@pytest.mark.corpus
def test_all_fixtures_of_the_specification(corpora, tmp_path):
    schema = published_schema(corpora)
    fixtures = sorted(path.parent for path in (corpora / "open-ocpp-trace/fixtures").glob("*/expected.json"))
    assert len(fixtures) == 16
    for fixture in fixtures:
        frames = read(fixture / "trace.jsonl")
        assert opentrace.consumer_view(frames) == json.loads((fixture / "expected.json").read_text()), (
            fixture.name
        )
        for record in written(frames, tmp_path / "t.jsonl"):
            schema.validate(record)
            check_record(record)
        assert read(tmp_path / "t.jsonl") == frames


@pytest.mark.corpus
def test_every_peer_session_survives_the_way_out_and_back(corpora, tmp_path):
    schema = published_schema(corpora)
    for source in sorted((corpora / "peer-sessions").glob("*.jsonl")):
        reader = opentrace if source.name.startswith("shiv3-own") else peersession
        frames = list(reader.FORMAT.read(source, ReadOptions()).frames)
        for record in written(frames, tmp_path / "t.jsonl"):
            schema.validate(record)
            check_record(record)
        kept = [(f.at_us, f.text, f.link, f.station, f.mono_ns) for f in read(tmp_path / "t.jsonl")]
        records = [f for f in frames if f.text is not None and opentrace.is_record(f, parse(f.text))]
        assert kept == [(f.at_us, f.text, f.link, f.station, f.mono_ns) for f in records], source.name
