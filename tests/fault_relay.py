"""A TCP relay that does what networks do, in Toxiproxy's words: latency, jitter, slicing, limits, resets.

One :class:`Faults` for each direction. It runs on the event loop of the test; nothing of it is ever timed.
"""

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator

import msgspec


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to one direction; the defaults do nothing.

    ``slice_bytes``: pieces of at most so many bytes, ``slice_s`` apart. ``limit_bytes``: after so many the
    connection is ended as ``ends`` says: ``fin`` (both sides closed), ``reset`` (RST to both) or ``silent``
    (nothing more is passed, and nobody is told). ``bandwidth_bytes_s`` 0 is no limit.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    bandwidth_bytes_s: float = 0.0
    slice_bytes: int = 65_536
    slice_s: float = 0.0
    limit_bytes: int | None = None
    ends: str = "fin"


NONE = Faults()


class FaultRelay:
    """Relays ``port`` to ``target_port`` on loopback until it is closed."""

    def __init__(self, target_port: int, up: Faults = NONE, down: Faults = NONE, *, seed: int = 1) -> None:
        self.up, self.down = up, down
        self.port = 0
        self._target_port = target_port
        self._chance = random.Random(seed)  # noqa: S311  # not for secrets
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """On a free port, and after :meth:`close` on the same one."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, far_writer}
        self._writers |= pair
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await asyncio.gather(
                self._pass(reader, far_writer, pair, self.up), self._pass(far_reader, writer, pair, self.down)
            )
        finally:
            self._writers -= pair
            self._tasks.discard(task)
            for one in pair:
                one.transport.abort() if task.cancelling() else one.close()

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pair: set[asyncio.StreamWriter],
        faults: Faults,
    ) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                delay_s = faults.latency_s + self._chance.uniform(0, faults.jitter_s)
                if delay_s:
                    await asyncio.sleep(delay_s)
                for start in range(0, len(data), faults.slice_bytes):
                    piece = data[start : start + faults.slice_bytes]
                    if faults.limit_bytes is not None and passed + len(piece) > faults.limit_bytes:
                        writer.write(piece[: faults.limit_bytes - passed])
                        await writer.drain()
                        await self._end(pair, faults.ends)
                        return
                    writer.write(piece)
                    passed += len(piece)
                    await writer.drain()
                    pause_s = faults.slice_s
                    if faults.bandwidth_bytes_s:
                        pause_s += len(piece) / faults.bandwidth_bytes_s
                    if pause_s:
                        await asyncio.sleep(pause_s)
        if not writer.is_closing() and writer.can_write_eof():
            with contextlib.suppress(OSError):
                writer.write_eof()

    async def _end(self, pair: set[asyncio.StreamWriter], how: str) -> None:
        if how == "silent":
            await asyncio.Event().wait()
        for writer in pair:
            end = writer.get_extra_info("socket")
            if how == "reset" and end is not None:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort() if how == "reset" else writer.close()


@contextlib.asynccontextmanager
async def fault_relay(
    target_port: int, up: Faults = NONE, down: Faults = NONE, *, seed: int = 1
) -> AsyncIterator[FaultRelay]:
    relay = FaultRelay(target_port, up, down, seed=seed)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.close()
