"""R15: 64 MiB messages, a million fragments, deflate bombs: memory is bounded, neighbours are served."""

import asyncio
import contextlib
import tempfile
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from soak.processes import (
    MASK,
    Station,
    accept_handshake,
    answering,
    memory_kb,
    recorded,
    recorder_of,
    reset_peak,
)
from tests.addons.wires import Relay, twin_record
from tests.wire_cases import frame
from twin.io.formats import open_capture
from twin.model import Frame, Kind

MOST_GROWTH_KB = 64 * 1024
_PIECE = 1 << 18
DEFLATE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
KEPT = "permessage-deflate"


def run(quick: bool) -> dict[str, Any]:
    mib, fragments = (24, 20_000) if quick else (64, 1_000_000)
    figures = {}
    for name, extensions, wire in (
        ("message", "", lambda: one_message(mib)),
        ("fragments", "", lambda: many_fragments(fragments)),
        ("bomb", DEFLATE, lambda: bomb(mib)),
        ("bomb_context_kept", KEPT, lambda: bomb(mib)),
        ("bombs", DEFLATE, lambda: bomb(mib, times=5)),
    ):
        figures[name] = one(name, extensions, wire)
    return figures


def one(name: str, extensions: str, wire: Callable[[], AsyncIterator[bytes]]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        with twin_record(Path(folder), "--quiet") as relay:
            figures = asyncio.run(beside_a_neighbour(relay, extensions, wire))
            assert relay.stop() in (0, 1), relay.said
        frames = list(open_capture(relay.capture).frames)
    grown = {who: figures[f"{who}_growth_mib"] for who in ("relay", "recorder")}
    assert all(mib * 1024 <= MOST_GROWTH_KB for mib in grown.values()), (name, grown)
    flagged = [seen for seen in frames if seen.station == "BIG" and said_too_big(seen)]
    assert flagged, f"{name}: nothing in the capture says that something was cut"
    return {**figures, "flagged": len(flagged)}


def said_too_big(seen: Frame) -> bool:
    fragments = seen.facts.get("wire", {}).get("fragment_count", 0)
    return bool(seen.facts.get("truncated") or fragments or seen.kind is Kind.GAP)


async def beside_a_neighbour(
    relay: Relay, extensions: str, wire: Callable[[], AsyncIterator[bytes]]
) -> dict[str, Any]:
    """Send it all while another station talks; how much the processes grew, and that both got through."""
    arrived, expected = 0, 0
    done = asyncio.Event()

    async def csms(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        line = await reader.readuntil(b" ")
        path = await reader.readuntil(b" ")
        rest = asyncio.StreamReader()
        rest.feed_data(line + path + await reader.readuntil(b"\r\n\r\n"))
        if b"BIG" not in path:
            writer.write(b"")
            await _answer_from(rest, reader, writer)
            return
        await accept_handshake(rest, writer, extensions)
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 20):
                arrived += len(data)
        done.set()
        writer.close()

    server = await asyncio.start_server(csms, sock=relay.csms)
    pids = {"relay": relay.process.pid, "recorder": recorder_of(relay.process.pid)}
    async with asyncio.timeout(900):
        neighbour = await Station.connect(relay.port, "SMALL")
        for number in range(20):
            assert await neighbour.ask(f'[2,"{number}","Heartbeat",{{}}]')
        await neighbour.ask('[2,"warm","BootNotification",{"chargePointVendor":"V","chargePointModel":"M"}]')
        await neighbour.ask('[2,"warmer","Nonsense",{}]')
        await written(relay.capture, b"warmer")  # the recorder is up, and has loaded all it needs
        big = await Station.connect(relay.port, "BIG", extensions)
        before = {who: memory_kb(pid) for who, pid in pids.items()}
        for pid in pids.values():
            reset_peak(pid)
        answered = 0

        async def talk() -> None:
            nonlocal answered
            while not done.is_set():
                assert (
                    await neighbour.ask(f'[2,"n{answered}","Heartbeat",{{}}]') == b'[3,"n%d",{}]' % answered
                )
                answered += 1
                await asyncio.sleep(0.01)

        talking = asyncio.create_task(talk())
        async for piece in wire():
            big.writer.write(piece)
            expected += len(piece)
            await big.writer.drain()
        big.writer.write_eof()
        await done.wait()
        await talking
        await neighbour.ask('[2,"the-last-word","Heartbeat",{}]')
        await neighbour.close()
        await big.close()
        await written(relay.capture, b"the-last-word")
    peaks = {who: memory_kb(pid, "VmHWM") for who, pid in pids.items()}
    server.close()
    assert arrived == expected, (arrived, expected)
    assert answered > 0
    return {
        "bytes": expected,
        "neighbour_answered": answered,
        **{f"{who}_growth_mib": round((peaks[who] - before[who]) / 1024, 1) for who in pids},
    }


async def written(capture: Path, word: bytes) -> None:
    """Wait until the recorder has worked through everything up to this word."""
    while not recorded(capture, word):  # noqa: ASYNC110  # another process, and the caller's deadline
        await asyncio.sleep(0.1)


async def _answer_from(
    head: asyncio.StreamReader, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """``answering``, with the head of the handshake read already."""
    data = await head.readuntil(b"\r\n\r\n")
    joined = asyncio.StreamReader()
    joined.feed_data(data)

    async def pump() -> None:
        while piece := await reader.read(65_536):
            joined.feed_data(piece)
        joined.feed_eof()

    pumping = asyncio.create_task(pump())
    await answering(joined, writer)
    pumping.cancel()


async def one_message(mib: int) -> AsyncIterator[bytes]:
    """One text of so many MiB in one frame."""
    size = mib << 20
    text = b'[2,"1","DataTransfer",{"vendorId":"v","data":"' + b"x" * (size - 50) + b'"}]'
    wire = frame(1, text, mask=bytes(4))
    for start in range(0, len(wire), _PIECE):
        yield wire[start : start + _PIECE]


async def many_fragments(count: int) -> AsyncIterator[bytes]:
    """One text in so many fragments of one byte each."""
    first = frame(1, b"[", mask=MASK, fin=False)
    middle = frame(0, b" ", mask=MASK, fin=False) * 1_000
    yield first
    for _ in range(count // 1_000):
        yield middle
    yield frame(0, b"]", mask=MASK)


async def bomb(mib: int, times: int = 1) -> AsyncIterator[bytes]:
    """A thousandth on the wire of what it inflates to."""
    for _ in range(times):
        squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
        data = squeezer.compress(bytes(mib << 21)) + squeezer.flush(zlib.Z_SYNC_FLUSH)
        yield frame(1, data[:-4], mask=bytes(4), rsv=4)
