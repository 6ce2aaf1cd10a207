"""What the parts share: the processes of a recording as /proc sees them, and raw WebSocket ends."""

import asyncio
import contextlib
import re
import time
from pathlib import Path

from tests.addons.wires import ACCEPT, KEY
from tests.wire_cases import frame, mask_of
from twin.io import clock
from twin.model import Side

MASK = mask_of(Side.STATION)


def memory_kb(pid: int, field: str = "VmRSS") -> int:
    """Resident memory of a process, or its peak (``VmHWM``), in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise AssertionError(f"{field} of {pid} is not told")


def reset_peak(pid: int) -> None:
    """From now on the peak is counted anew (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def recorder_of(pid: int) -> int:
    """The recorder is the one child of the relay, soon after that listens."""
    until_ns = clock.now().mono_ns + 30_000_000_000
    while clock.now().mono_ns < until_ns:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
        if len(children) == 1:
            return children[0]
    raise AssertionError(f"{pid} has no recorder")


def recorded(capture: Path, pattern: bytes) -> bool:
    """Whether a pattern stands in what the capture holds last."""
    for segment in sorted(capture.glob("*.jsonl"))[-2:]:
        with segment.open("rb") as file:
            file.seek(max(0, segment.stat().st_size - (1 << 20)))
            if re.search(pattern, file.read()):
                return True
    return False


def caught_up(capture: Path, pattern: bytes) -> None:
    """Wait until the recorder has worked through everything up to this."""
    until_ns = clock.now().mono_ns + 120_000_000_000
    while not recorded(capture, pattern):
        assert clock.now().mono_ns < until_ns, f"{pattern!r} was never recorded"
        time.sleep(0.02)


class Station:
    """A station's end: the handshake, then frames."""

    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.name = name
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, name: str, extensions: str = "") -> "Station":
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        more = f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else ""
        writer.write(
            f"GET /ocpp/{name} HTTP/1.1\r\nHost: csms\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: ocpp1.6\r\n{more}\r\n".encode()
        )
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except BaseException:
            writer.transport.abort()
            raise
        assert b" 101 " in head.partition(b"\r\n")[0], head
        return cls(name, reader, writer)

    async def ask(self, text: str) -> bytes:
        """Send one text and wait for one short frame."""
        self.writer.write(frame(1, text.encode(), mask=MASK))
        return await short_frame(self.reader)

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


async def short_frame(reader: asyncio.StreamReader) -> bytes:
    """The payload of one unfragmented frame of at most 64 KiB."""
    head = await reader.readexactly(2)
    length = head[1] & 127
    if length == 126:
        length = int.from_bytes(await reader.readexactly(2))
    mask = await reader.readexactly(4) if head[1] & 128 else b""
    data = await reader.readexactly(length)
    return bytes(byte ^ mask[place & 3] for place, byte in enumerate(data)) if mask else data


async def accept_handshake(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, extensions: str = ""
) -> str:
    """The CSMS's side of it; the path that was asked for."""
    head = await reader.readuntil(b"\r\n\r\n")
    more = f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else ""
    writer.write(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {ACCEPT}\r\nSec-WebSocket-Protocol: ocpp1.6\r\n{more}\r\n".encode()
    )
    return head.split()[1].decode()


async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A CSMS that says ``[3,id,{}]`` to every call."""
    with contextlib.suppress(asyncio.IncompleteReadError, OSError):
        await accept_handshake(reader, writer)
        while True:
            text = await short_frame(reader)
            if not text.startswith(b"[2,"):
                break  # a Close frame
            writer.write(frame(1, b"[3,%s,{}]" % text.split(b",")[1], mask=None))
    writer.close()
