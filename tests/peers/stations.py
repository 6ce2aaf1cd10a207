"""A station of ours that a test handles, and the recording relay between it and a CSMS."""

import asyncio
import contextlib
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from twin.engine.station import Act, Behaviour
from twin.io.driver import Pace
from twin.io.running import LiveStation, Plan
from twin.model import Frame, Kind

DEADLINE_S = 90
_SECOND_US = 1_000_000


class Handled:
    """One station on a real socket and the real clock, its store in ``folder``."""

    def __init__(self, url: str, folder: Path, *, behaviour: Behaviour, password: str = "") -> None:
        plan = Plan(
            station_id=url.rstrip("/").rsplit("/", 1)[-1],
            url=url,
            behaviour=behaviour,
            store=folder / "station.sqlite",
            password=password,
        )
        self.frames: list[Frame] = []
        self.answered: Counter[str] = Counter()
        self.troubles: list[str] = []
        self._happened = asyncio.Event()
        self._live = LiveStation(
            plan,
            Pace(),
            keep=self.frames.append,
            judged=True,
            trouble=lambda _, why: self.troubles.append(why),
        )
        self._live.watch(self._told, self._happened.set)
        self.station = self._live.station
        self.findings = self._live.findings

    def start(self) -> None:
        self._live.start()

    async def act(self, act: Act) -> None:
        """Do it, and wait until everything that comes of it is said and answered."""
        self._live.act(act)
        await self.until(self.is_idle)

    def outage(self, seconds: float) -> None:
        """Out of the network from now on, for so long."""
        self._live.act(Act(do="link down"))
        self.act_in(seconds, Act(do="link up"))

    def now_us(self) -> int:
        return self._live.pace.now_us()

    def act_in(self, seconds: float, act: Act) -> None:
        self._live.act_at(act, self.now_us() + int(seconds * _SECOND_US))

    def is_idle(self) -> bool:
        """Connected and accepted, and nothing waits or is on its way."""
        uplink = self.station.uplink
        return self.station.online and uplink.idle and not uplink.urgent

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait for what comes with a message or a connection; ``TimeoutError`` where it does not."""
        async with asyncio.timeout(DEADLINE_S):
            while not reached():
                self._happened.clear()
                await self._happened.wait()

    async def leave(self) -> None:
        """Close the connection as one who goes away."""
        self._live.stop()
        await self.until(lambda: self.frames[-1].kind is Kind.END)

    def _told(self, entry: dict[str, Any]) -> None:
        self.answered[entry["action"]] += entry["kind"] == "result"


@contextlib.contextmanager
def recording(upstream: str, directory: Path) -> Iterator[str]:
    """``twin record`` as a process; the address it listens on."""
    command = (sys.executable, "-m", "twin", "record", "--upstream", upstream, "--listen", "127.0.0.1:0")
    command += ("-o", str(directory), "--key-file", str(directory.with_name("key")), "--quiet")
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        assert child.stderr is not None
        for line in child.stderr:
            lines.put(line)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        line = lines.get(timeout=DEADLINE_S)
        assert line.startswith("listening "), line
        yield line.split()[1]
    finally:
        child.terminate()
        child.wait(DEADLINE_S)
        reader.join(DEADLINE_S)
        if child.stderr is not None:
            child.stderr.close()
        assert child.returncode in (0, 1), child.returncode
