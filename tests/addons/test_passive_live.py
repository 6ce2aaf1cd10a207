"""Real dumpcap and tcpdump write rings beside real talk; the passive capture says what both ends said."""

import asyncio
import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import websockets

from tests.addons.wires import DEADLINE_S, line_with, listener, port_of, received, running
from tests.conftest import absent
from tests.io.test_passive_files import Growing
from tests.pcaps import ANSWER, request
from tests.peers import peer_python, start_csms
from tests.wire_cases import frame, mask_of
from twin.io.formats import open_capture
from twin.io.integrity import verify
from twin.model import Frame, Kind, Side

OCPP = [websockets.Subprotocol("ocpp1.6")]
ROUNDS = 40
DUMPERS: dict[str, Callable[[Path, int], list[str]]] = {
    # small files, so that the talk goes over several and the ring turns round
    "dumpcap, pcapng": lambda ring, port: [
        *("dumpcap", "-q", "-i", "lo", "-f", f"tcp port {port}"),
        *("-b", "filesize:16", "-b", "files:1000", "-w", str(ring / "site.pcapng")),
    ],
    "dumpcap, pcap": lambda ring, port: [
        *("dumpcap", "-P", "-q", "-i", "lo", "-f", f"tcp port {port}"),
        *("-b", "packets:20", "-b", "files:1000", "-w", str(ring / "site.pcap")),
    ],
    "tcpdump -C": lambda ring, port: [
        *("tcpdump", "-U", "-Z", "root", "-i", "lo", "-C", "1", "-W", "100"),
        *("-w", str(ring / "site.pcap"), f"tcp port {port}"),
    ],
    "tcpdump, three files": lambda ring, port: [
        *("tcpdump", "-U", "--immediate-mode", "-Z", "root", "-i", "lo", "-C", "1", "-W", "3"),
        *("-w", str(ring / "site.pcap"), f"tcp port {port}"),
    ],
    "tcpdump -G": lambda ring, port: [
        *("tcpdump", "-U", "-Z", "root", "-i", "lo", "-G", "1"),
        *("-w", str(ring / "site-%H%M%S.pcap"), f"tcp port {port}"),
    ],
}


@contextlib.contextmanager
def dumping(dumper: str, ring: Path, port: int) -> Iterator[None]:
    """Somebody else's capture of one port of loopback."""
    command = DUMPERS[dumper](ring, port)
    if shutil.which(command[0]) is None or shutil.which("tshark") is None:
        absent(f"{command[0]} and tshark")
    ring.mkdir()
    with running(command) as process:
        try:
            line_with(process, r"listening on|File: ")
        except AssertionError as error:
            absent(f"the right to capture ({error})")
        yield


@contextlib.contextmanager
def following(ring: Path, capture: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """``twin record --passive`` as a process."""
    command = [sys.executable, "-m", "twin", "record", "--passive", str(ring), "-o", str(capture)]
    with running([*command, "--key-file", str(capture.with_name("site.key")), *more]) as process:
        line_with(process, "following ")
        yield process


def until(capture: Path, kind: Kind, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until the capture on disk holds so many lines of a kind."""
    for _ in range(int(DEADLINE_S / 0.1)):
        if capture.is_dir():
            with contextlib.suppress(ValueError, OSError):
                if sum(one.kind is kind for one in open_capture(capture).frames) >= count:
                    return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
            pytest.fail(f"it ended: {process.communicate()[0]}")
    pytest.fail(f"{count} x {kind} never came")


def ended(process: subprocess.Popen[str], with_signal: int = signal.SIGTERM) -> str:
    process.send_signal(with_signal)
    said = process.communicate(timeout=DEADLINE_S)[0]
    assert process.returncode in (0, 1), said
    assert "Traceback" not in said
    return said


async def converse(serve_on: object, port: int, rounds: int, size: int = 0) -> list[tuple[Side, str]]:
    """A station and a CSMS talk over several connections; what each end sent, in order."""
    told: list[tuple[Side, str]] = []

    async def answer(csms: websockets.ServerConnection) -> None:
        async for call in csms:
            number = json.loads(call)[1]
            reply = json.dumps([3, number, {"currentTime": "2026-11-24T10:00:00Z"}])
            told.append((Side.CSMS, reply))
            await csms.send(reply)

    async with asyncio.timeout(60), websockets.serve(answer, sock=serve_on, subprotocols=OCPP):  # type: ignore[arg-type]  # a listening socket
        for connection in range(3):
            url = f"ws://CP7:very-secret@127.0.0.1:{port}/ocpp/CP7"
            async with websockets.connect(url, subprotocols=OCPP, proxy=None, compression=None) as station:
                for index in range(rounds):
                    call = json.dumps([2, f"{connection}-{index}", "DataTransfer", {"data": "é" * size}])
                    told.append((Side.STATION, call))
                    await station.send(call)
                    await station.recv()
    return told


def texts(frames: list[Frame]) -> list[tuple[Side | None, str | None]]:
    return [(one.sender, one.text) for one in frames if one.kind is Kind.TEXT]


def frames_of(capture: Path) -> list[Frame]:
    reading = open_capture(capture)
    frames = list(reading.frames)
    assert not reading.report.unusable
    assert verify(capture).problems == []
    return frames


@pytest.mark.slow
@pytest.mark.parametrize("dumper", [name for name in DUMPERS if "three" not in name])
def test_the_capture_says_what_both_ends_sent(dumper: str, tmp_path: Path) -> None:
    ring, capture = tmp_path / "ring", tmp_path / "site.capture"
    with listener() as csms:
        port = csms.getsockname()[1]
        with dumping(dumper, ring, port), following(ring, capture, "--keep-id-tags") as process:
            told = asyncio.run(converse(csms, port, ROUNDS, size=700))
            until(capture, Kind.END, 3, process)
            said = ended(process)
    frames = frames_of(capture)
    assert texts(frames) == told
    assert [one.facts["code"] for one in frames if one.kind is Kind.CLOSE] == [1000] * 6
    assert [one for one in frames if one.kind is Kind.GAP] == []
    assert "3 connections" in said
    if "-b" in DUMPERS[dumper](ring, port):
        assert int(re.findall(r"read +(\d+) files", said)[0]) > 3
    assert b"very-secret" not in b"".join(path.read_bytes() for path in capture.iterdir())


def test_a_ring_that_was_overwritten_is_a_gap_and_the_rest_is_exact(tmp_path: Path) -> None:
    ring, capture = tmp_path / "ring", tmp_path / "site.capture"
    with listener() as csms:
        port = csms.getsockname()[1]
        with dumping("dumpcap, pcap", ring, port):
            told = asyncio.run(converse(csms, port, ROUNDS))
            waited_for(ring, port)
    files = sorted(ring.iterdir())
    for path in files[2:4]:
        path.unlink()
    command = [sys.executable, "-m", "twin", "record", "--passive", str(ring), "--once", "-o", str(capture)]
    run = subprocess.run(
        [*command, "--key-file", str(tmp_path / "key")], capture_output=True, text=True, check=False
    )
    assert run.returncode in (0, 1), run.stderr
    frames = frames_of(capture)
    stored = texts(frames)
    assert 0 < len(stored) < len(told)
    for side in Side:
        assert [one for one in told if one[0] is side and one in set(stored)] == [
            one for one in stored if one[0] is side
        ]
    gaps = [one.facts for one in frames if one.kind is Kind.GAP]
    assert {gap["reason"] for gap in gaps} == {"not_captured"}
    totals = json.loads((capture / "manifest.json").read_bytes())["totals"]
    dropped = totals["dropped_bytes"]["not_captured"]
    assert dropped == sum(gap["bytes"] for gap in gaps)
    assert totals["seen_bytes"] == totals["recorded_bytes"] + dropped


def test_a_ring_that_turns_round_in_place_is_read_round_after_round(tmp_path: Path) -> None:
    """tcpdump begins its first file anew; as long as we keep up, not a byte is missing."""
    ring = tmp_path / "ring"
    with listener() as csms:
        port = csms.getsockname()[1]
        with dumping("tcpdump, three files", ring, port):
            heard = Growing(ring, str(shutil.which("tshark")))
            with socket.create_connection(("127.0.0.1", port)) as station, csms.accept()[0] as other:
                station.sendall(request("/ocpp/CP7"))
                other.sendall(ANSWER.encode())
                wire = frame(2, bytes(200_000), mask=mask_of(Side.STATION))
                for round_ in range(1, 36):
                    station.sendall(wire)
                    assert len(received(other, len(wire))) == len(wire)
                    heard.until_bytes(round_ * len(wire))
            heard.until("end", 1)
        names = {path.name for path in ring.iterdir()}
    items = heard.end()
    assert len(names) == 3
    assert heard.follower.files >= 6
    assert {item[0] for item in items} == {"open", "data", "end"}
    assert sum(len(item[3]) for item in items if item[0] == "data") == 35 * len(wire)


def waited_for(ring: Path, port: int) -> None:
    """Until the dumper has written the end of the last connection down."""
    command = ["tshark", "-n", "-Y", f"tcp.srcport=={port} && tcp.flags.fin==1", "-r"]
    for _ in range(100):
        runs = [
            subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
            for path in sorted(ring.iterdir())[-2:]
        ]
        if any(f"{port} → " in run.stdout for run in runs):
            return
    pytest.fail("the dumper wrote no end")


@pytest.mark.parametrize("dumper", ["dumpcap, pcapng", "tcpdump -C"])
def test_beside_the_relay_both_captures_are_equal_message_by_message(dumper: str, tmp_path: Path) -> None:
    beside, within, ring = tmp_path / "beside.capture", tmp_path / "within.capture", tmp_path / "ring"
    with listener() as csms:
        port = csms.getsockname()[1]
        relay = [sys.executable, "-m", "twin", "record", "--upstream", f"ws://127.0.0.1:{port}"]
        relay += ["--listen", "127.0.0.1:0", "-o", str(within), "--key-file", str(tmp_path / "site.key")]
        with running([*relay, "--quiet"]) as proxy:
            proxy_port, _ = port_of(proxy, r"listening 127\.0\.0\.1:(\d+)")
            with dumping(dumper, ring, proxy_port), following(ring, beside) as process:
                asyncio.run(converse(csms, proxy_port, ROUNDS))
                until(beside, Kind.END, 3, process)
                ended(process, signal.SIGINT)
            ended(proxy)
    assert said_in(beside) == said_in(within)
    assert len(said_in(beside)) == 3
    assert all(len(talk) == 2 * ROUNDS + 3 for talk in said_in(beside))


def said_in(capture: Path) -> list[list[object]]:
    """What was said on each connection, without clocks and without the chunks it came in."""
    talks: dict[str, list[object]] = {}
    for one in frames_of(capture):
        facts = {name: one.facts.get(name) for name in ("code", "reason", "path", "subprotocol", "auth")}
        if one.kind is Kind.OPEN:
            facts["request_headers"] = one.facts["request_headers"]
        if one.kind in (Kind.OPEN, Kind.TEXT, Kind.PING, Kind.PONG, Kind.CLOSE, Kind.REFUSED):
            talks.setdefault(one.link, []).append((one.kind, one.sender, one.station, one.text, facts))
    return list(talks.values())


@pytest.mark.peer
def test_a_third_party_station_and_csms_are_heard(tmp_path: Path) -> None:
    ring, capture = tmp_path / "ring", tmp_path / "site.capture"
    station = peer_python("test-ocpp").with_name("test-ocpp")
    with start_csms() as url:
        port = int(url.rpartition(":")[2])
        with dumping("tcpdump -C", ring, port), following(ring, capture) as process:
            run = subprocess.run(
                [str(station), url, "smoke", "--timeout", "60"],
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
            assert run.returncode == 0, run.stdout + run.stderr
            until(capture, Kind.END, 1, process)
            ended(process)
    frames = frames_of(capture)
    actions = [json.loads(one.text)[2] for one in frames if one.text and one.text.startswith("[2")]
    assert {"BootNotification", "Heartbeat"} <= set(actions)
    assert {one.station for one in frames if one.kind is Kind.OPEN} == {"smoke"}
    answers = [one for one in frames if one.text and one.text.startswith("[3")]
    assert len(answers) == len(actions)
