"""Sessions of the plain relay: two sockets a link, and headers that must not leak."""

import json
from pathlib import Path

import pytest

from twin.io.formats import peersession
from twin.io.reading import ReadOptions
from twin.model import Kind, Side

OPEN = {
    "event": "open",
    "path": "/org1/Box%201",
    "headers": {"Host": "127.0.0.1", "authorization": "Basic c2VjcmV0", "Cookie": "secret"},
    "offered": ["ocpp1.6"],
    "accepted": "ocpp1.6",
    "station": "a simulator",
    "csms": "a server",
}
BEAT = '[2,"1","Heartbeat",{}]'


@pytest.fixture
def session(tmp_path):
    """Read records given as (dir, fields); ``t`` and ``mono_ns`` are filled in, one second apart."""

    def read(*records):
        path = tmp_path / "a--b.jsonl"
        with path.open("w") as file:
            for n, record in enumerate(records):
                if isinstance(record, tuple):
                    head = {
                        "t": f"2026-11-22T15:00:{n:02}.5Z",
                        "mono_ns": n * 10**9,
                        "conn": 1,
                        "dir": record[0],
                    }
                    record = json.dumps(head | record[1])
                file.write(record + "\n")
        reading = peersession.FORMAT.read(path, ReadOptions())
        return list(reading.frames), reading.report

    return read


def meta(event: str, **fields):
    return "meta", {"event": event} | fields


def test_a_session(session):
    frames, report = session(("meta", OPEN), ("cp->cs", {"raw": BEAT}), ("cs->cp", {"raw": '[3,"1",{}]'}))
    assert [(frame.kind, frame.sender) for frame in frames] == [
        (Kind.OPEN, None),
        (Kind.TEXT, Side.STATION),
        (Kind.TEXT, Side.CSMS),
    ]
    assert {(frame.link, frame.station) for frame in frames} == {("c1", "Box 1")}
    assert [frame.mono_ns for frame in frames] == [0, 10**9, 2 * 10**9]
    assert frames[1].text == BEAT
    assert report.used == report.lines == 3


def test_the_handshake_keeps_names_and_hides_secrets(session):
    frames, _ = session(("meta", OPEN))
    assert frames[0].facts == {
        "path": "/org1/Box%201",
        "station": "Box 1",
        "request_headers": [["Host", "127.0.0.1"], ["authorization", "[redacted]"], ["Cookie", "[redacted]"]],
        "subprotocols_offered": ["ocpp1.6"],
        "subprotocol": "ocpp1.6",
        "peers": {"station": "a simulator", "csms": "a server"},
    }


def test_a_lone_surrogate_in_the_handshake_does_not_cost_the_link(session):
    frames, report = session(("meta", OPEN | {"path": "/\ud800", "headers": {"X-\udfff": "\ud800"}}))
    assert frames[0].station == "\ufffd"
    assert frames[0].facts["request_headers"] == [["X-\ufffd", "\ufffd"]]
    assert report.unusable == 0


def test_a_clean_close_is_a_close_frame_and_then_the_end(session):
    frames, _ = session(
        ("meta", OPEN),
        meta("closed", side="cp", code=1001, reason="bye"),
        meta("closed", side="cs", code=1000, reason=""),
    )
    _, close, end = frames
    assert (close.kind, close.sender) == (Kind.CLOSE, Side.STATION)
    assert close.facts == {"code": 1001, "reason": "bye", "first": True}
    assert (end.kind, end.facts["abrupt"], end.facts["by"]) == (Kind.END, False, "station")


def test_a_close_without_code(session):
    frames, _ = session(meta("closed", side="cp", code=1005, reason=""))
    assert frames[0].facts["code"] is None


def test_1006_is_no_close_frame_and_the_relays_own_close_no_event(session):
    frames, report = session(
        ("meta", OPEN),
        meta("closed", side="cs", code=1006, reason=""),
        meta("closed", side="cp", code=1001, reason=""),
    )
    assert [frame.kind for frame in frames] == [Kind.OPEN, Kind.END]
    assert (frames[1].facts["abrupt"], frames[1].facts["by"]) == (True, "csms")
    assert report.unusable_by_reason == {"the relay's own close of the other socket": 1}


def test_a_refused_upstream(session):
    frames, _ = session(meta("upstream_refused", path="/X", error="refused", headers={"Host": "h"}))
    assert (frames[0].kind, frames[0].station) == (Kind.REFUSED, "X")
    assert frames[0].facts["by"] == "csms"
    assert frames[0].facts["error"] == "refused"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"t": "2026-11', "not JSON"),
        ("[1]", "not a JSON object"),
        (("cp->cs", {"raw": 7}), "raw is not a text"),
        (("cp->cs", {"raw": "\ud800"}), "raw is not a text"),
        (("cp->cs", {"raw": BEAT, "t": "soon"}), "t is not a time"),
        (meta("dreamt"), "unknown event"),
        (("up", {}), "unknown event"),
    ],
)
def test_every_other_line_is_reported(session, line, why):
    frames, report = session(line, ("cp->cs", {"raw": BEAT}))
    assert [frame.text for frame in frames] == [BEAT]
    assert report.unusable_by_reason == {why: 1}


def test_sniffing():
    assert peersession.sniff(Path("x"), b'{"t":"","mono_ns":1,"conn":1,"dir":"meta"}\n{"cut') == 1.0
    assert (
        peersession.sniff(Path("x"), b'{"schemaVersion":"1.1"}')
        == peersession.sniff(Path("x"), b"\xff")
        == 0.0
    )


COUNTS = {
    "fuzz--ocpp-csms": 131,
    "microocpp--ocpp-csms": 132,
    "microocpp-part1--ocpp-csms": 374,
    "openocpp-cp--openocpp-cs": 145,
    "otmk-shaped-sap--ocpp-csms": 2053,
    "sap2--ocpp-broker": 94,
    "sap20--ocpp-csms": 276,
    "sap20atg-outage--ocpp-csms": 613,
    "shiv3--ocpp-csms": 141,
    "vcp--ocpp-csms": 76,
}


@pytest.mark.corpus
@pytest.mark.parametrize("name", COUNTS)
def test_every_record_of_the_corpus(corpora, name):
    path = corpora / "peer-sessions" / f"{name}.jsonl"
    reading = peersession.FORMAT.read(path, ReadOptions())
    frames = list(reading.frames)
    records = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [frame.text for frame in frames if frame.kind is Kind.TEXT] == [
        r["raw"] for r in records if "raw" in r
    ]
    assert len(frames) == COUNTS[name]
    assert all(why.startswith("the relay's own") for why in reading.report.unusable_by_reason)
    assert not any("Basic" in str(frame.facts) for frame in frames)
