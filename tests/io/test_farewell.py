"""The end of a recording: a recorder that lives is waited for, one that does not is given up, and said so."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from tests.wire_cases import frame, mask_of
from twin.io import clock, recorder_process
from twin.io.formats import open_capture
from twin.io.handover import Channel, Handover, Wire
from twin.io.integrity import verify
from twin.io.settings import Settings
from twin.model import Side

BURST = 1_000  # about 110 kB of frames: more than the pipe holds, and less than the queue does
UP = frame(
    1, b'[2,"1","DataTransfer",{"vendorId":"x","data":"%s"}]' % (b"y" * 50), mask=mask_of(Side.STATION)
)
QUIET_S = 2.0
DEADLINE_S = 60.0


class Started(msgspec.Struct):
    """A handover to real recorders, with the process of each."""

    folder: Path
    pids: list[int]
    handover: Handover | None = None
    wire: Wire | None = None

    @property
    def capture(self) -> Path:
        return self.folder / "site.capture"

    def begin(self, first: Callable[[int], None] = lambda pid: None) -> None:
        settings = Settings(directory=str(self.capture), key_file=str(self.folder / "key"))

        def connect() -> Channel:
            before = set(children())
            channel = recorder_process.start(settings)
            self.pids += set(children()) - before
            if len(self.pids) == 1:
                first(self.pids[0])
            return channel

        self.handover = Handover(connect, quiet_s=QUIET_S)
        self.wire = self.handover.wire("c1")
        now = clock.now()
        self.handover.opened(self.wire, {"path": "/ocpp/CP7"}, now.wall_ns, now.mono_ns)

    def send(self, chunks: int) -> None:
        assert self.handover is not None
        assert self.wire is not None
        for _ in range(chunks):
            now = clock.now()
            self.handover.data(self.wire, True, UP, now.wall_ns, now.mono_ns)

    def close(self) -> int | None:
        assert self.handover is not None
        return self.handover.close()

    def until(self, holds: Callable[[], bool]) -> None:
        ends_ns = clock.now().mono_ns + int(DEADLINE_S * 1e9)
        while not holds():
            assert clock.now().mono_ns < ends_ns
            time.sleep(0.01)

    def stored(self) -> int:
        return sum(len(part.read_bytes().splitlines()) for part in self.capture.glob("*.jsonl"))


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    one = Started(tmp_path, [])
    try:
        yield one
    finally:
        one.close()


def children() -> list[int]:
    tasks = Path("/proc/self/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


@contextmanager
def short_of_cpu(pid: int) -> Iterator[None]:
    """The process runs for 100 ms of every 500."""
    done = threading.Event()

    def alternate() -> None:
        with suppress(ProcessLookupError):
            while not done.is_set():
                os.kill(pid, signal.SIGSTOP)
                done.wait(0.4)
                os.kill(pid, signal.SIGCONT)
                done.wait(0.1)

    thread = threading.Thread(target=alternate)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_a_recorder_short_of_cpu_is_waited_for(started: Started) -> None:
    """Loading alone takes it longer than one without life is given, and meanwhile it takes no byte."""
    started.begin()
    started.send(BURST)
    started.until(lambda: bool(started.pids))
    with short_of_cpu(started.pids[0]):
        assert started.close() in (0, 1)
    assert len(started.pids) == 1
    totals = open_capture(started.capture).manifest["totals"]
    assert totals["seen_chunks"] == totals["recorded_chunks"] == BURST


@pytest.mark.parametrize("chunks", [10, BURST], ids=["it was told everything", "it takes no more"])
def test_a_recorder_that_hangs_is_given_up_and_what_is_lost_is_said(started: Started, chunks: int) -> None:
    started.begin()
    started.send(1)
    started.until(lambda: started.stored() > 1)
    os.kill(started.pids[0], signal.SIGSTOP)
    started.send(chunks)
    began_ns = clock.now().mono_ns
    assert started.close() in (0, 1)
    assert clock.now().mono_ns - began_ns < DEADLINE_S / 2 * 1e9
    assert len(started.pids) == 2
    reading = open_capture(started.capture)
    frames = list(reading.frames)
    assert verify(started.capture).problems == []
    totals = reading.manifest["totals"]
    assert totals["recorded_chunks"] == 1
    assert totals["dropped_chunks"] == {"recorder_down": chunks}
    assert [seen.facts["chunks"] for seen in frames if seen.facts.get("reason") == "recorder_down"] == [
        chunks
    ]


def test_ctrl_c_does_not_end_a_recorder_that_is_still_loading(started: Started) -> None:
    def all_at_once(pid: int) -> None:
        for number in recorder_process.SIGNALS:
            os.kill(pid, number)

    started.begin(all_at_once)
    started.send(BURST)
    assert started.close() in (0, 1)
    assert len(started.pids) == 1
    assert open_capture(started.capture).manifest["totals"]["recorded_chunks"] == BURST


def had(pid: int) -> dict[bool, int]:
    """The CPU time, in ticks, of the threads that give way to others (True) and of those that do not."""
    ticks = {True: 0, False: 0}
    for task in Path(f"/proc/{pid}/task").iterdir():
        facts = (task / "stat").read_text().rpartition(")")[2].split()
        ticks[int(facts[16]) > os.getpriority(os.PRIO_PROCESS, 0)] += int(facts[11]) + int(facts[12])
    return ticks


@pytest.mark.parametrize("nice", [True, False], ids=["there is traffic", "until traffic is over"])
def test_a_recorder_is_nice_as_long_as(started: Started, nice: bool) -> None:
    started.begin()
    started.send(1)
    started.until(lambda: started.stored() > 1)
    pid = started.pids[0]
    if not nice:
        os.kill(pid, signal.SIGTERM)  # as the relay does at its end
        started.send(1)  # the nice thread takes notice with its next step
        started.until(lambda: started.stored() > 2)
    before = had(pid)
    started.send(3 * BURST)
    started.until(lambda: started.stored() > 3 * BURST)
    after = had(pid)
    worked, idle = after[nice] - before[nice], after[not nice] - before[not nice]
    assert worked > 10 * idle
    assert started.close() in (0, 1)
    assert len(started.pids) == 1
