"""The CSMS of the next release as a process: `python -m tests.io.faulty_csms ADDRESS FAULTS`, until SIGTERM.

FAULTS is a JSON file: the firmwareVersion of a session (``*``: any), and the fault it meets. Says
``listening URL PORT``; the port takes what an operator would click: one JSON line (action, payload,
station_id), and answers ``ok`` once that CALL went out.
"""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from tests.engine.replay.regressions import INTERVAL_S, FaultyCsms
from tests.io.live_csms import LiveCsms, serving
from twin.engine.csms import Script


class LiveFaultyCsms(LiveCsms):
    """Serves any number of stations, each with the fault of the session that it plays."""

    def __init__(self, faults: dict[str, str]) -> None:
        super().__init__(lambda: Script(interval_s=INTERVAL_S))
        self.machines: dict[str, FaultyCsms] = {}
        self._faults = faults

    def machine_of(self, station: str) -> FaultyCsms:
        return self.machines.setdefault(
            station,
            FaultyCsms(self.csms(), lambda firmware: self._faults.get(firmware, self._faults.get("*", ""))),
        )

    @contextlib.asynccontextmanager
    async def desk(self, host: str = "127.0.0.1") -> AsyncIterator[int]:
        """The operator's port."""
        server = await asyncio.start_server(self.operated, host, 0)
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def operated(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One order of an operator."""
        order = json.loads(await reader.readline())
        live = self.lives.get(order["station_id"])
        if live is not None and live.connected:
            self.machines[order["station_id"]].call(order["action"], order["payload"])
            live.obey()
        writer.write(b"ok\n" if live is not None and live.connected else b"no such station\n")
        await writer.drain()
        writer.close()


async def main(address: str, faults: dict[str, str]) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    csms = LiveFaultyCsms(faults)
    async with serving(csms, address), csms.desk(address) as port:
        print(f"listening {csms.url} {port}", flush=True)  # noqa: T201  # the line that a test waits for
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))))
