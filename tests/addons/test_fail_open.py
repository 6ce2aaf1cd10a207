"""No fault of addon or recorder reaches the traffic, and every chunk that was not recorded is counted."""

import contextlib
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.addons.wires import (
    DEADLINE_S,
    Relay,
    connected,
    mitmdump,
    received,
    rest,
    twin_record,
    unread_terminal_record,
)
from tests.wire_cases import CALL, frame, mask_of
from twin.io import clock
from twin.io.formats import open_capture
from twin.io.integrity import verify
from twin.model import Kind, Side

type Maker = Callable[[Path], AbstractContextManager[Relay]]

FAULTY = Path(__file__).with_name("faulty.py")
FAULTS = (
    "RuntimeError",
    "OptionsError",
    "CancelledError",
    "SystemExit",
    "MemoryError",
    "RecursionError",
    "AddonHalt",
)
ROUNDS = 15
UP, DOWN = frame(1, CALL, mask=mask_of(Side.STATION)), frame(1, b'[3,"1",{}]', mask=None)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_every_message_is_counted_and_nothing_else(tmp_path: Path, fault: str) -> None:
    with mitmdump(tmp_path, script=FAULTY, fault=fault) as relay:
        with connected(relay) as (station, csms):
            for _ in range(ROUNDS):
                station.sendall(UP)
                assert received(csms, len(UP)) == UP
                csms.sendall(DOWN)
                assert received(station, len(DOWN)) == DOWN
        assert relay.stop() == 0, relay.said
    reading = open_capture(relay.capture)
    frames = list(reading.frames)
    # 21 faults within a minute open the breaker; from then on the addon only relays
    faults = [seen for seen in frames if seen.kind is Kind.FAULT]
    assert [seen.facts["what"] for seen in faults] == [fault] * 21
    totals = reading.manifest["totals"]
    assert totals["seen_chunks"] == 2 * ROUNDS
    assert totals["dropped_chunks"] == {"addon_fault": 21, "breaker_open": 2 * ROUNDS - 21}
    gaps = [seen.facts for seen in frames if seen.kind is Kind.GAP]
    assert sum(gap["chunks"] for gap in gaps) == 2 * ROUNDS
    assert sum(gap["bytes"] for gap in gaps) == ROUNDS * (len(UP) + len(DOWN))


@pytest.mark.parametrize("fault", ["OptionsError", "CancelledError", "SystemExit"])
def test_without_the_guard_the_same_fault_costs_the_message(tmp_path: Path, fault: str) -> None:
    """What the test above would see if the guard were gone."""
    with mitmdump(tmp_path, script=FAULTY, fault=fault, unguarded="true") as relay:
        with connected(relay) as (station, csms):
            csms.settimeout(1)
            station.sendall(UP)
            with contextlib.suppress(TimeoutError, ConnectionError):
                assert received(csms, len(UP)) != UP
        relay.process.kill()
        relay.ended()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_every_other_hook_costs_no_message_and_no_socket(tmp_path: Path, fault: str) -> None:
    where = "response,error,server_connect_error,client_disconnected"
    with mitmdump(tmp_path, script=FAULTY, fault=fault, fault_in=where) as relay:
        for _ in range(3):
            with connected(relay) as (station, csms):
                for _ in range(ROUNDS):
                    station.sendall(UP)
                    assert received(csms, len(UP)) == UP
                    csms.sendall(DOWN)
                    assert received(station, len(DOWN)) == DOWN
                station.close()
                assert rest(csms) == b""
        assert relay.stop() == 0, relay.said
    reading = open_capture(relay.capture)
    frames = list(reading.frames)
    totals = reading.manifest["totals"]
    # what the failed handshakes would have said is lost; the bytes are not
    assert totals["seen_chunks"] == totals["recorded_chunks"] == 3 * 2 * ROUNDS
    assert totals["dropped_chunks"] == {}
    faults = Counter(seen.facts["where"] for seen in frames if seen.kind is Kind.FAULT)
    assert faults == {"addon response": 3, "addon client_disconnected": 3}
    assert totals["faults"] == 6


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_the_very_end_leaves_a_capture(tmp_path: Path, fault: str) -> None:
    with mitmdump(tmp_path, script=FAULTY, fault=fault, fault_in="done") as relay:
        with connected(relay) as (station, csms):
            station.sendall(UP)
            assert received(csms, len(UP)) == UP
        assert relay.stop() == 0, relay.said
    texts = [seen.text for seen in open_capture(relay.capture).frames if seen.kind is Kind.TEXT]
    assert texts == [CALL.decode()]


def recorder_of(pid: int) -> int:
    """The one child of a process, whichever of its threads started it."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    children = [child for task in tasks for child in (task / "children").read_text().split()]
    assert len(children) == 1
    return int(children[0])


def new_recorder_of(pid: int, old: int) -> int:
    """The child that took over; waits for it."""
    until_ns = clock.now().mono_ns + int(DEADLINE_S * 1e9)
    while clock.now().mono_ns < until_ns:
        with contextlib.suppress(AssertionError, OSError):
            if (new := recorder_of(pid)) != old:
                return new
    raise AssertionError("no new recorder")


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 3])
@pytest.mark.parametrize("make", [mitmdump, twin_record])
def test_a_killed_recorder_is_replaced_and_the_books_are_exact(
    tmp_path: Path, make: Maker, kills: int
) -> None:
    sent = 0
    with make(tmp_path) as relay:
        with connected(relay) as (station, csms), connected(relay, path="/ocpp/QUIET") as (quiet, _):
            quiet.sendall(UP)
            sent += 1
            for _ in range(kills):
                old = recorder_of(relay.process.pid)
                for number in range(ROUNDS):
                    station.sendall(UP)
                    assert received(csms, len(UP)) == UP
                    sent += 1
                    if number == ROUNDS // 2:
                        os.kill(old, signal.SIGKILL)
                new_recorder_of(relay.process.pid, old)
        assert relay.stop() in (0, 1), relay.said
    reading = open_capture(relay.capture)
    frames = list(reading.frames)
    assert verify(relay.capture).problems == []
    assert [seen.seq for seen in frames] == list(range(1, len(frames) + 1))
    totals = reading.manifest["totals"]
    assert totals["seen_chunks"] == sent
    assert totals["seen_bytes"] == sent * len(UP)
    texts = sum(seen.kind is Kind.TEXT for seen in frames)
    lost = [seen.facts for seen in frames if seen.kind is Kind.GAP and seen.link]
    assert totals["recorded_chunks"] == texts
    assert sum(gap["chunks"] for gap in lost) == sent - texts
    assert sum(gap["bytes"] for gap in lost) == (sent - texts) * len(UP)
    assert {seen.station for seen in frames if seen.kind is Kind.END} == {"CP7", "QUIET"}


def test_a_recorder_that_hangs_costs_only_what_the_queue_cannot_hold(tmp_path: Path) -> None:
    with mitmdump(tmp_path) as relay:
        with connected(relay) as (station, csms):
            pid = recorder_of(relay.process.pid)
            os.kill(pid, signal.SIGSTOP)
            for _ in range(50 * ROUNDS):
                station.sendall(UP)
                assert received(csms, len(UP)) == UP
            os.kill(pid, signal.SIGCONT)
        assert relay.stop() == 0, relay.said
    totals = open_capture(relay.capture).manifest["totals"]
    assert totals["seen_chunks"] == totals["recorded_chunks"] == 50 * ROUNDS


def test_a_killed_relay_leaves_a_whole_capture(tmp_path: Path) -> None:
    with twin_record(tmp_path) as relay, connected(relay) as (station, csms):
        for _ in range(2):
            station.sendall(UP)
            assert received(csms, len(UP)) == UP
        ends_ns = clock.now().mono_ns + int(DEADLINE_S * 1e9)
        while sum(len(part.read_bytes().splitlines()) for part in relay.capture.glob("*.jsonl")) < 3:
            assert clock.now().mono_ns < ends_ns, "not stored"  # what is still queued dies with the relay
        relay.process.kill()
        assert relay.ended() == -signal.SIGKILL  # its output ends when the recorder has gone too
    assert "1 stations, 1 connections" in relay.said
    assert open_capture(relay.capture).manifest["closed"]


GARBLED = b"\x16\x03\x01\x00\xff\x01\x00\x00\xfbgarbage" + bytes(300)  # no TLS hello: a warning each


@pytest.mark.parametrize("view", ["", "--plain"])
def test_a_terminal_that_nobody_reads_holds_neither_traffic_nor_recording(tmp_path: Path, view: str) -> None:
    """Ctrl-S, or a laptop asleep behind ssh."""
    with unread_terminal_record(tmp_path, *([view] if view else [])) as relay:
        with connected(relay) as (station, csms):
            for number in range(8 * ROUNDS):
                for _ in range(3):
                    with socket.create_connection(("127.0.0.1", relay.port), DEADLINE_S) as stranger:
                        stranger.sendall(GARBLED)
                        rest(stranger)
                text = f'[2,"{number}","Heartbeat",{{"x":1}}]'.encode()
                sent = frame(1, text, mask=mask_of(Side.STATION))
                station.sendall(sent)
                assert received(csms, len(sent)) == sent
        relay.process.terminate()
        assert relay.process.wait(DEADLINE_S) in (0, 1)
    reading = open_capture(relay.capture)
    texts = [seen for seen in reading.frames if seen.kind is Kind.TEXT and seen.sender is Side.STATION]
    assert len(texts) == 8 * ROUNDS
    assert reading.manifest["totals"]["dropped_chunks"] == {}
    assert verify(relay.capture).problems == []
