"""Runs the CSMS of ocpp-csms on loopback until SIGTERM: `python serve.py [PORT [ADDRESS [BOOK]]]`."""

import asyncio
import dataclasses
import json
import os
import signal
import stat
import sys
from pathlib import Path
from typing import TextIO

from ocpp.charge_point import camel_to_snake_case
from ocpp.v16 import call
from ocpp_csms import CentralSystem, ChargePointEvent


async def serve(port: int, host: str, book: TextIO) -> None:
    """Let any station in, under any identity. Port 0 takes a free one.

    Says ``listening PORT`` on stdout once the socket is open. ``book`` takes every event of a station as
    one JSON line. ``ID ACTION JSON``, a line on stdin, sends a station a CALL.
    """
    loop, tasks = asyncio.get_running_loop(), []

    def write(event: ChargePointEvent) -> None:
        told = {"event": type(event).__name__} | dataclasses.asdict(event)
        book.write(json.dumps(told, default=str) + "\n")

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def order() -> None:
        told = os.read(0, 65_536).decode()
        for station, action, payload in (line.split(maxsplit=2) for line in told.splitlines()):
            request = getattr(call, action)(**camel_to_snake_case(json.loads(payload)))
            tasks.append(loop.create_task(csms.charge_points[station].async_call(request)))
        if not told:
            loop.remove_reader(0)

    async with CentralSystem(host=host, port=port) as csms:
        csms.add_listener(write)
        if stat.S_ISFIFO(os.fstat(0).st_mode):
            loop.add_reader(0, order)
        sys.stdout.write(f"listening {csms.port}\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    words = [*sys.argv[1:], *("0", "127.0.0.1", os.devnull)[len(sys.argv) - 1 :]]
    with Path(words[2]).open("a", encoding="utf-8", buffering=1) as book:
        asyncio.run(serve(int(words[0]), words[1], book))
