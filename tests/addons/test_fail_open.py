"""No fault of addon or recorder reaches the traffic, and every chunk that was not recorded is counted."""

import os
import signal
from pathlib import Path

import pytest

from tests.addons.wires import connected, mitmdump, received, twin_record
from tests.wire_cases import CALL, frame, mask_of
from twin.io.formats import open_capture
from twin.model import Kind, Side

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


def test_a_killed_recorder_does_not_touch_the_traffic(tmp_path: Path) -> None:
    with mitmdump(tmp_path) as relay:
        with connected(relay) as (station, csms):
            station.sendall(UP)
            assert received(csms, len(UP)) == UP
            os.kill(recorder_of(relay.process.pid), signal.SIGKILL)
            for _ in range(ROUNDS):
                station.sendall(UP)
                assert received(csms, len(UP)) == UP
        assert relay.stop() == 0, relay.said


def recorder_of(pid: int) -> int:
    """The one child of a process."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert len(children) == 1
    return int(children[0])


def test_a_killed_twin_record_leaves_the_relay_working(tmp_path: Path) -> None:
    with twin_record(tmp_path) as relay, connected(relay) as (station, csms):
        pid = recorder_of(relay.process.pid)  # here the relay is the child, and the recorder its parent
        try:
            relay.process.kill()
            for _ in range(ROUNDS):
                station.sendall(UP)
                assert received(csms, len(UP)) == UP
        finally:
            os.kill(pid, signal.SIGTERM)


def test_a_killed_relay_is_a_clear_line_and_a_whole_capture(tmp_path: Path) -> None:
    with twin_record(tmp_path) as relay:
        with connected(relay) as (station, csms):
            station.sendall(UP)
            assert received(csms, len(UP)) == UP
            station.sendall(UP)
            assert received(csms, len(UP)) == UP
        os.kill(recorder_of(relay.process.pid), signal.SIGKILL)
        assert relay.ended() == 70
    assert "the relay ended with -9" in relay.said
    assert "Traceback" not in relay.said
    assert open_capture(relay.capture).manifest["closed"]
