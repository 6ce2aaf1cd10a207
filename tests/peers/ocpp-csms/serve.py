"""Runs the CSMS of the ocpp-csms package, on loopback, until SIGTERM: `python serve.py [PORT [ADDRESS]]`."""

import asyncio
import signal
import sys

from ocpp_csms import CentralSystem


async def serve(port: int, host: str) -> None:
    """Let any station in, under any identity. Port 0 takes a free one.

    Says ``listening PORT`` on stdout once the socket is open.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with CentralSystem(host=host, port=port) as csms:
        sys.stdout.write(f"listening {csms.port}\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    words = [*sys.argv[1:], *("0", "127.0.0.1")[len(sys.argv) - 1 :]]
    asyncio.run(serve(int(words[0]), words[1]))
