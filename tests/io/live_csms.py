"""Our CSMS on a real loopback socket in the test's own loop, and the frames that it saw."""

import asyncio
import contextlib
import itertools
import json
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

from twin.engine.csms import Csms, Script
from twin.engine.machine import Machine
from twin.io import websocket
from twin.io.driver import FrameLog, Live, Pace
from twin.io.recorder import station_of
from twin.model import Frame, Side

DEADLINE_S = 60


class LiveCsms:
    """Serves any number of stations; each has a Csms of its own with the same script."""

    def __init__(
        self, script: Callable[[], Script] = lambda: Script(interval_s=30), speed: float = 1.0
    ) -> None:
        self.log = FrameLog()
        self.url = ""
        self.authorizations: list[str] = []
        self.lives: dict[str, Live] = {}
        self._script = script
        self._transactions = itertools.count(1001)
        self._pace = Pace()

    @property
    def frames(self) -> list[Frame]:
        return self.log.frames

    def calls(self, action: str) -> list[dict[str, Any]]:
        """The payloads of the station's CALLs of this action, in order."""
        texts = [frame.text for frame in self.frames if frame.sender is Side.STATION and frame.text]
        said = [json.loads(text) for text in texts]
        return [message[3] for message in said if message[0] == 2 and message[2] == action]

    def peer_of(self, path: str, authorization: str) -> websocket.Peer:
        self.authorizations.append(authorization)
        station = station_of(path)
        if station not in self.lives:
            machine = self.machine_of(station)
            self.lives[station] = Live(machine, Side.CSMS, station, pace=self._pace, log=self.log)
        return self.lives[station]

    def machine_of(self, station: str) -> Machine:
        return self.csms()

    def csms(self) -> Csms:
        return Csms(
            self._script(),
            new_message_id=lambda: str(uuid.uuid4()),
            new_transaction_id=lambda: next(self._transactions),
        )


@contextlib.asynccontextmanager
async def serving(csms: LiveCsms, host: str = "127.0.0.1") -> AsyncIterator[LiveCsms]:
    server = await websocket.listen(host, 0, csms.peer_of)
    csms.url = f"ws://{host}:{server.url.rpartition(':')[2]}"
    try:
        yield csms
    finally:
        server.close()
        for live in csms.lives.values():
            live.stop()
        await asyncio.sleep(0)


async def until(so: Callable[[], bool], what: str) -> None:
    """Wait for another end of a real socket, with a deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not so():  # noqa: ASYNC110  # a real process or socket is looked at
            await asyncio.sleep(0.02)
    assert so(), what


async def main() -> None:
    """Serve until SIGTERM, and say where."""
    async with serving(LiveCsms()) as csms:
        print(f"listening {csms.url}", flush=True)  # noqa: T201  # the one line that a test waits for
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(main())
