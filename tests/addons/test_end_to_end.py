"""A station and a CSMS talk through the real relays; the capture says what they said, and no secret."""

import asyncio
import json
import signal
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
import pytest
import websockets

from tests.addons.wires import (
    Relay,
    connected,
    line_with,
    listener,
    mitmdump,
    received,
    rest,
    running,
    twin_record,
)
from tests.wire_cases import frame, mask_of
from twin.engine.analyzer import Analyzer
from twin.io.formats import open_capture
from twin.io.integrity import verify
from twin.model import Finding, Frame, Kind, Side

RELAYS = {"twin record": twin_record, "mitmdump": mitmdump}
BOOT = '[2,"1","BootNotification",{"chargePointVendor":"Manageon","chargePointModel":"OTM-K"}]'
TALK = (
    (BOOT, '[3,"1",{"status":"Accepted","currentTime":"2026-11-24T10:00:00Z","interval":300}]'),
    ('[2,"2","Authorize",{"idTag":"04A2B3C4D5E680"}]', '[3,"2",{"idTagInfo":{"status":"Accepted"}}]'),
    ('[2,"3","Heartbeat",{}]', '[3,"99",{"currentTime":"yesterday"}]'),
)
CREDENTIALS = "CP7:very-secret-key"


@pytest.fixture(params=RELAYS)
def relay(request: pytest.FixtureRequest, tmp_path: Path) -> AbstractContextManager[Relay]:
    return RELAYS[request.param](tmp_path)


def frames_of(capture: Path) -> list[Frame]:
    reading = open_capture(capture)
    frames = list(reading.frames)
    assert not reading.report.unusable
    assert verify(capture).problems == []
    return frames


def said_by(frames: list[Frame], sender: Side) -> list[str | None]:
    return [frame.text for frame in frames if frame.kind is Kind.TEXT and frame.sender is sender]


async def converse(relay: Relay) -> None:
    async def answer(csms: websockets.ServerConnection) -> None:
        for _, reply in TALK:
            await csms.recv()
            await csms.send(reply)

    async with (
        asyncio.timeout(30),
        websockets.serve(answer, sock=relay.csms, subprotocols=[websockets.Subprotocol("ocpp1.6")]),
        websockets.connect(
            f"ws://{CREDENTIALS}@127.0.0.1:{relay.port}/ocpp/CP7?token=query-secret",
            subprotocols=[websockets.Subprotocol("ocpp1.6")],
            proxy=None,
        ) as station,
    ):
        for call, reply in TALK:
            await station.send(call)
            assert await station.recv() == reply


def test_what_was_said_is_what_was_recorded(relay: AbstractContextManager[Relay]) -> None:
    with relay as real:
        asyncio.run(converse(real))
        assert real.stop() in (0, 1), real.said
    frames = frames_of(real.capture)
    calls, replies = said_by(frames, Side.STATION), said_by(frames, Side.CSMS)
    assert [calls[0], calls[2]] == [TALK[0][0], TALK[2][0]]
    assert replies == [reply for _, reply in TALK]
    opened = next(frame for frame in frames if frame.kind is Kind.OPEN)
    assert opened.station == "CP7"
    assert opened.facts["subprotocol"] == "ocpp1.6"
    assert opened.facts["auth"] == {"scheme": "Basic", "user_is_identity": True}
    assert [frame.facts["code"] for frame in frames if frame.kind is Kind.CLOSE] == [1000, 1000]
    last = [frame for frame in frames if frame.kind is not Kind.STATS][-1]  # counters may follow the end
    assert last.kind is Kind.END
    assert last.facts["abrupt"] is False
    everything = b"".join(path.read_bytes() for path in real.capture.iterdir()) + real.findings.read_bytes()
    for secret in (b"very-secret-key", b"Q1A3OnZlcnk", b"query-secret", b"04A2B3C4D5E680"):
        assert secret not in everything
    assert "04A2B3C4D5E680" not in real.said


def test_live_findings_equal_those_of_the_capture(relay: AbstractContextManager[Relay]) -> None:
    with relay as real:
        asyncio.run(converse(real))
        real.stop()
    analyzer = Analyzer()
    offline = [finding for seen in frames_of(real.capture) for finding in analyzer.receive(seen)]
    offline += analyzer.finish()
    live = [finding_of(line) for line in real.findings.read_bytes().splitlines()]
    assert offline
    assert live == offline


def finding_of(line: bytes) -> Finding:
    return msgspec.json.decode(line, type=Finding)


def test_another_subprotocol_is_recorded_and_not_judged(tmp_path: Path) -> None:
    text = b'[2,"1","BootNotification",{"wrong":1}]'
    with twin_record(tmp_path) as real:
        with connected(real, subprotocol="ocpp2.0.1") as (station, csms):
            wire = frame(1, text, mask=mask_of(Side.STATION))
            station.sendall(wire)
            assert received(csms, len(wire)) == wire
        assert real.stop() == 0
    assert said_by(frames_of(real.capture), Side.STATION) == [text.decode()]
    assert real.findings.read_bytes() == b""


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_recording_with_a_summary(tmp_path: Path, with_signal: int) -> None:
    with twin_record(tmp_path, "--quiet") as real, connected(real) as (station, csms):
        station.sendall(frame(1, BOOT.encode(), mask=mask_of(Side.STATION)))
        assert received(csms, 1)
        assert real.stop(with_signal) == 0, real.said
        assert rest(station) == b""
    assert "1 stations, 1 connections" in real.said
    assert "Traceback" not in real.said
    manifest = json.loads((real.capture / "manifest.json").read_bytes())
    totals = manifest["totals"]
    assert manifest["closed"]
    assert totals["seen_chunks"] == totals["recorded_chunks"] == 1
    assert totals["dropped_chunks"] == {}
    ended = [seen for seen in frames_of(real.capture) if seen.kind is not Kind.STATS][-1]
    assert (ended.kind, ended.facts["by"]) == (Kind.END, "proxy")


def test_findings_make_the_exit_code_1(tmp_path: Path) -> None:
    with twin_record(tmp_path) as real:
        with connected(real) as (station, csms):
            wire = frame(1, b'[2,"1","Heartbeat",{"no":1}]', mask=mask_of(Side.STATION))
            station.sendall(wire)
            received(csms, len(wire))
        assert real.stop() == 1
    assert "error" in real.said


def refused(*arguments: str) -> tuple[int, str]:
    with running([sys.executable, "-m", "twin", "record", *arguments]) as process:
        said = process.communicate(timeout=30)[0]
        return process.returncode, said


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with listener() as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        code, said = refused("--upstream", "ws://127.0.0.1:9", "--listen", listen, "-o", str(tmp_path / "c"))
    assert code
    assert "address already in use" in said.casefold()
    assert "Traceback" not in said
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("upstream", "why"),
    [("ws://h:1/ocpp", "without path"), ("ftp://h:1", "expected ws://"), ("ws://h:x", "expected ws://")],
)
def test_an_upstream_that_cannot_be_is_a_usage_error(tmp_path: Path, upstream: str, why: str) -> None:
    code, said = refused("--upstream", upstream, "--listen", "127.0.0.1:0", "-o", str(tmp_path / "c"))
    assert code == 2
    assert why in said
    assert "Traceback" not in said


def test_a_capture_is_never_appended_to(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "mine").write_text("kept")
    code, said = refused("--upstream", "ws://127.0.0.1:9", "-o", str(tmp_path / "c"))
    assert (code, said.count("\n")) == (2, 1)
    assert "not empty" in said


def test_mitmdump_without_a_directory_says_so_and_relays(tmp_path: Path) -> None:
    with mitmdump(tmp_path, twin_capture="") as real:
        with connected(real) as (station, csms):
            station.sendall(b"anything")
            assert received(csms, 8) == b"anything"
        said = real.said
        if "nothing is recorded" not in said:
            said = line_with(real.process, "nothing is recorded")
        assert "twin_capture=DIR" in said
