"""The relay of faults does what it says, to the byte."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.fault_relay import NONE, FaultRelay, Faults, fault_relay

DATA = bytes(range(256)) * 40


@contextlib.asynccontextmanager
async def echoing() -> AsyncIterator[int]:
    """A server that says back what it hears."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def said_back(relay: FaultRelay, data: bytes) -> tuple[bytes, str]:
    """What comes back of ``data``, and how it ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    got = b""
    try:
        async with asyncio.timeout(30):
            writer.write(data)
            await writer.drain()
            while len(got) < len(data):
                piece = await reader.read(65_536)
                if not piece:
                    return got, "fin"
                got += piece
            return got, "open"
    except ConnectionResetError:
        return got, "reset"
    finally:
        writer.transport.abort()


@pytest.mark.parametrize(
    "faults",
    [
        NONE,
        Faults(latency_s=0.01, jitter_s=0.01),
        Faults(slice_bytes=7),
        Faults(slice_bytes=500, slice_s=0.001),
        Faults(bandwidth_bytes_s=1e6),
    ],
)
async def test_what_delays_or_slices_changes_no_byte(faults: Faults) -> None:
    async with echoing() as port, fault_relay(port, faults, faults) as relay:
        assert await said_back(relay, DATA) == (DATA, "open")


@pytest.mark.parametrize("ends", ["fin", "reset"])
async def test_a_limit_passes_so_much_and_ends_as_told(ends: str) -> None:
    async with echoing() as port, fault_relay(port, NONE, Faults(limit_bytes=1_000, ends=ends)) as relay:
        got, how = await said_back(relay, DATA)
    assert how == ends
    assert DATA.startswith(got)
    assert len(got) == 1_000 or ends == "reset"  # an RST may overtake what was on its way


async def test_silence_ends_nothing_and_passes_nothing() -> None:
    async with echoing() as port, fault_relay(port, Faults(limit_bytes=10, ends="silent")) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(DATA)
        assert await reader.readexactly(10) == DATA[:10]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await reader.read(1)
        writer.transport.abort()


async def test_nobody_behind_it_ends_the_connection() -> None:
    async with echoing() as port:
        pass
    async with fault_relay(port) as relay:
        assert (await said_back(relay, b"x"))[0] == b""
