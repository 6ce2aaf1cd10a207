"""Our capture: what was written is what is read, damage is reported and hides nothing, the chain holds."""

import contextlib
import json
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.io.formats import CaptureError, open_capture
from twin.io.integrity import verify
from twin.io.segments import CaptureWriter, write_capture
from twin.model import Frame, Kind, Side

NOON_US = 1_795_000_000_000_000
CALL = '[2,"7","StatusNotification",{"connectorId":3,"errorCode":"NoError","status":"Preparing"}]'
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=40),
    st.sampled_from(
        (
            CALL,
            '[3,"7",{}]',
            '[4,"7","NotSupported","",{"n":123456789012345678901234567890}]',
            '[2,"8","MeterValues",{"connectorId":99999999999999999999999,"x":4321.10,"y":1e999,\\n"z":[]}]',
            '[2,"8","Heartbeat"]',
            '[4,"8"]',
            '[2,"9","A",{"a":1,"a":2}]',
            "\\ufeff" + CALL,
            '[2,"9","A",{"a":NaN}]',
            '[2,"9","A","\\\\ud800"]',
        )
    ),
)
NAMES = st.sampled_from(("path", "subprotocol", "code", "reason", "why", "truncated", "later"))
FACTS = st.dictionaries(
    NAMES, st.one_of(st.integers(0, 1 << 62), st.text(max_size=5), st.booleans()), max_size=3
)


@st.composite
def frames(draw: st.DrawFn) -> list[Frame]:
    """Frames of every kind as a recorder or an importer may make them."""
    made, at_us = [], NOON_US
    for seq in range(1, draw(st.integers(0, 12)) + 1):
        at_us += draw(st.integers(0, 40_000_000))
        kind = draw(st.sampled_from(Kind))
        made.append(
            Frame(
                seq=seq,
                at_us=at_us,
                mono_ns=draw(st.none() | st.integers(0, 1 << 60)),
                link=draw(st.sampled_from(("c1", "c2", ""))),
                station=draw(st.sampled_from(("", "CP7", "Straße 7"))),
                kind=kind,
                sender=draw(st.none() | st.sampled_from(Side)),
                text=draw(TEXTS) if kind is Kind.TEXT else None,
                data=draw(st.none() | st.binary(max_size=9)) if kind is not Kind.TEXT else None,
                facts=draw(FACTS),
            )
        )
    return made


@given(frames())
@settings(max_examples=100, deadline=None)
def test_reading_gives_back_what_was_written(made: list[Frame]) -> None:
    with TemporaryDirectory() as folder:
        capture = Path(folder) / "c"
        write_capture(made, capture, vantage="import")
        reading = open_capture(capture)
        assert list(reading.frames) == made
        assert reading.report.lines == reading.report.used == len(made)
        assert broken_link(capture) is None


def conversation(folder: Path) -> Path:
    answer = '[3,"7",{}]'
    made = [
        Frame(seq=1, at_us=NOON_US, link="c1", station="CP7", kind=Kind.OPEN, facts={"path": "/CP7"}),
        Frame(seq=2, at_us=NOON_US, link="c1", station="CP7", kind=Kind.TEXT, sender=Side.STATION, text=CALL),
        Frame(seq=3, at_us=NOON_US, link="c1", station="CP7", kind=Kind.TEXT, sender=Side.CSMS, text=answer),
        Frame(seq=4, at_us=NOON_US, link="c1", station="CP7", kind=Kind.END),
    ]
    write_capture(made, folder / "c", vantage="import")
    return folder / "c"


def broken_link(capture: Path) -> int | None:
    """The first line that is not what it was."""
    problems = verify(capture).problems
    return problems[0].line if problems else None


def lines_of(capture: Path) -> list[bytes]:
    return segment(capture).read_bytes().splitlines(keepends=True)


def segment(capture: Path) -> Path:
    return capture / "segment-00001.jsonl"


def test_a_record_is_an_open_ocpp_trace_record(tmp_path: Path) -> None:
    _, call, answer, end = map(json.loads, lines_of(conversation(tmp_path)))
    assert {**call, "meta": None} == {
        "schemaVersion": "1.1",
        "timestamp": "2026-11-18T11:06:40.000000Z",
        "ocppVersion": "1.6",
        "transport": "json",
        "chargePointId": "CP7",
        "connectorId": 3,
        "direction": "cp-to-csms",
        "messageType": "CALL",
        "messageId": "7",
        "action": "StatusNotification",
        "payload": {"connectorId": 3, "errorCode": "NoError", "status": "Preparing"},
        "raw": CALL,
        "meta": None,
    }
    assert (answer["action"], answer["meta"]["answers"], answer["meta"]["peer_seen"]) == (
        "StatusNotification",
        2,
        1,
    )
    assert end["kind"] == "end"


def test_numbers_of_the_payload_keep_their_spelling(tmp_path: Path) -> None:
    text = '[2,"1","MeterValues",{"a":4321.10,\n"b":123456789012345678901234567890}]'
    made = [Frame(seq=1, at_us=NOON_US, link="c", kind=Kind.TEXT, sender=Side.STATION, text=text)]
    write_capture(made, tmp_path / "c", vantage="import")
    assert b'"payload":{"a":4321.10, "b":123456789012345678901234567890}' in lines_of(tmp_path / "c")[0]


def test_nobody_else_can_read_a_capture(tmp_path: Path) -> None:
    capture = conversation(tmp_path)
    assert stat.S_IMODE(capture.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in capture.iterdir()} == {0o600}


def test_a_capture_is_never_appended_to(tmp_path: Path) -> None:
    capture = conversation(tmp_path)
    with pytest.raises(FileExistsError, match="never appended to"):
        CaptureWriter(capture, created_us=0, vantage="import")


def test_a_torn_tail_hides_nothing_before_it(tmp_path: Path) -> None:
    capture = conversation(tmp_path)
    whole = segment(capture).read_bytes()
    start = len(b"".join(lines_of(capture)[:-1]))
    for cut in range(start + 1, len(whole) - 1):
        segment(capture).write_bytes(whole[:cut])
        reading = open_capture(capture)
        read = list(reading.frames)
        assert [seen.seq for seen in read] == [1, 2, 3, 4]
        assert (read[3].kind, read[3].facts["why"]) == (Kind.UNDECODABLE, "torn line")
        assert reading.report.unusable_by_reason == {"torn line": 1}
        reading.report.settle()
        assert broken_link(capture) == 4


@pytest.mark.parametrize(
    "damage",
    [
        b"\xff\xfe\n",
        b"[]\n",
        b"{}\n",
        b'{"kind":"nonsense","seq":2,"conn":"c","timestamp":"2026-11-18T06:26:40Z"}\n',
        b'{"kind":"text","seq":"x","conn":"c","timestamp":"2026-11-18T06:26:40Z"}\n',
        b'{"kind":"text","seq":1,"conn":"c","timestamp":"noon"}\n',
        b"[" * 100_000 + b"\n",
    ],
)
def test_a_damaged_line_is_reported_and_the_rest_is_read(tmp_path: Path, damage: bytes) -> None:
    capture = conversation(tmp_path)
    lines = lines_of(capture)
    segment(capture).write_bytes(b"".join((lines[0], damage, *lines[2:])))
    reading = open_capture(capture)
    read = list(reading.frames)
    assert [seen.kind for seen in read] == [Kind.OPEN, Kind.UNDECODABLE, Kind.TEXT, Kind.END]
    assert reading.report.unusable == 1
    reading.report.settle()
    assert broken_link(capture) == 2


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_at_all_are_read_or_refused_in_one_sentence(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "segment-00001.jsonl").write_bytes(data)
        reading = open_capture(Path(folder))
        with contextlib.suppress(CaptureError):  # not one line could be used: one clear sentence
            list(reading.frames)
        reading.report.settle()


def test_the_chain_finds_every_kind_of_tampering(tmp_path: Path) -> None:
    capture = conversation(tmp_path)
    one, two, three, four = lines_of(capture)
    for tampered, first_bad in (
        ((two, three, four), 1),
        ((one, three, four), 2),
        ((one, three, two, four), 2),
        ((one, two, two, three, four), 3),
        ((one, two.replace(b'"NoError"', b'"NoErr0r"'), three, four), 3),
    ):
        segment(capture).write_bytes(b"".join(tampered))
        assert broken_link(capture) == first_bad
    segment(capture).write_bytes(one + two + three + four)
    assert broken_link(capture) is None
    manifest = capture / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"import"', '"proxy"'))
    assert broken_link(capture) == 1


def test_a_missing_manifest_is_said_and_a_newer_one_refused(tmp_path: Path) -> None:
    capture = conversation(tmp_path)
    manifest = capture / "manifest.json"
    values = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**values, "version": 2}))
    with pytest.raises(CaptureError, match="format version 2"):
        open_capture(capture)
    manifest.write_text("{")
    assert "damaged" in open_capture(capture).report.notes[0]
    manifest.unlink()
    reading = open_capture(capture)
    assert "missing" in reading.report.notes[0]
    assert len(list(reading.frames)) == 4


def test_what_is_written_is_on_disk_after_a_commit_and_commits_are_grouped(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path / "c", created_us=NOON_US, vantage="proxy")
    for seq, mono_ms, wrote in ((1, 1000, True), (2, 1249, False), (3, 1250, True)):
        writer.write(Frame(seq=seq, at_us=NOON_US, link="c1", kind=Kind.PING, data=b""))
        assert writer.commit(mono_ms * 1_000_000) is wrote
    assert len(lines_of(tmp_path / "c")) == 3
    writer.close(NOON_US)
