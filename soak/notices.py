"""What a station notices: a third-party client with and without the relay, over the same script.

The client is the ``websockets`` library, the CSMS too. Close codes, reconnects, order and payloads must be
equal to the letter; how much later answers come is reported.
"""

import asyncio
import contextlib
import random
import socket
import statistics
import struct
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import websockets

from tests.addons.wires import Relay, twin_record
from twin.io import clock

CONNECTIONS = 1_000
OCPP = [websockets.Subprotocol("ocpp1.6")]
_AT_ONCE = 10


class Script(msgspec.Struct, frozen=True):
    """One connection: how many calls, how slow the answers, and how it ends."""

    number: int
    calls: int
    slow_s: float
    pings: int
    ending: str


class Seen(msgspec.Struct, frozen=True):
    """What the station saw and the CSMS heard of one connection."""

    answers: tuple[str, ...]
    pongs: int
    code: int
    heard: tuple[str, ...]
    csms_code: int


ENDINGS = ("station 1000", "station 1001", "station 4001", "csms 1000", "csms 1001", "csms 1008", "csms 4001",
           "station fin", "station rst", "csms fin")  # fmt: skip


def scripts(count: int) -> list[Script]:
    chance = random.Random(7)  # noqa: S311  # not for secrets
    return [
        Script(number, chance.randint(1, 6), chance.choice((0.0, 0.0, 0.0, 0.05)), chance.randint(0, 2),
               ENDINGS[number % len(ENDINGS)])
        for number in range(count)
    ]  # fmt: skip


def run(quick: bool) -> dict[str, Any]:
    script = scripts(60 if quick else CONNECTIONS)
    direct, direct_ms = asyncio.run(played(script, None))
    with tempfile.TemporaryDirectory() as name, twin_record(Path(name), "--quiet") as relay:
        through, through_ms = asyncio.run(played(script, relay))
        assert relay.stop() in (0, 1), relay.said
    differing = [number for number in direct if direct[number] != through[number]]
    assert not differing, (len(differing), direct[differing[0]], through[differing[0]], script[differing[0]])
    return {
        "connections": len(script),
        "differing": 0,
        "codes": dict(sorted(Counter(str(seen.code) for seen in through.values()).items())),
        "round_trip_ms": {
            "direct": quantiles(direct_ms),
            "through": quantiles(through_ms),
        },
    }


def quantiles(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100)
    return {"p50": round(cuts[49], 2), "p99": round(cuts[98], 2)}


async def played(script: list[Script], relay: Relay | None) -> tuple[dict[int, Seen], list[float]]:
    """The whole script against a CSMS of its own, through the relay or not."""
    heard: dict[int, list[str]] = {one.number: [] for one in script}
    codes: dict[int, asyncio.Future[int]] = {}
    by_number = {one.number: one for one in script}
    loop = asyncio.get_running_loop()
    for one in script:
        codes[one.number] = loop.create_future()

    async def csms(end: websockets.ServerConnection) -> None:
        assert end.request is not None
        one = by_number[int(end.request.path.rpartition("-")[2])]
        with contextlib.suppress(websockets.ConnectionClosed):
            for _ in range(one.calls):
                text = str(await end.recv())
                heard[one.number].append(text)
                await asyncio.sleep(one.slow_s)
                await end.send(f'[3,"{text.split(chr(34))[1]}",{{"status":"Accepted"}}]')
            who, _, how = one.ending.partition(" ")
            if who == "csms" and how == "fin":
                end.transport.close()
            elif who == "csms":
                await end.close(int(how), "as told")
            await end.wait_closed()
        codes[one.number].set_result(end.close_code or 1006)

    sock = relay.csms if relay else None
    where: dict[str, Any] = {"sock": sock} if sock else {"host": "127.0.0.1", "port": 0}
    seen: dict[int, Seen] = {}
    took_ms: list[float] = []
    gate = asyncio.Semaphore(_AT_ONCE)
    async with websockets.serve(csms, subprotocols=OCPP, ping_interval=None, **where) as server:
        port = relay.port if relay else server.sockets[0].getsockname()[1]

        async def one_station(one: Script) -> None:
            async with gate:
                answers, pongs, code = await station(one, port, took_ms)
                csms_code = await asyncio.wait_for(codes[one.number], 60)
                seen[one.number] = Seen(answers, pongs, code, tuple(heard[one.number]), csms_code)

        async with asyncio.timeout(1500):
            await asyncio.gather(*(one_station(one) for one in script))
    return seen, took_ms


async def station(one: Script, port: int, took_ms: list[float]) -> tuple[tuple[str, ...], int, int]:
    """One connection as the script has it: the answers in order, pongs, and the close code seen."""
    answers, pongs = [], 0
    end = await websockets.connect(
        f"ws://127.0.0.1:{port}/ocpp/CP-{one.number}", subprotocols=OCPP, proxy=None, ping_interval=None
    )
    for number in range(one.calls):
        began_ns = clock.now().mono_ns
        await end.send(f'[2,"{one.number}-{number}","Heartbeat",{{}}]')
        answers.append(str(await end.recv()))
        if not one.slow_s:
            took_ms.append((clock.now().mono_ns - began_ns) / 1e6)
    for _ in range(one.pings if one.ending.startswith("station") else 0):
        await (await end.ping())
        pongs += 1
    who, _, how = one.ending.partition(" ")
    if who == "station" and how in ("fin", "rst"):
        raw = end.transport.get_extra_info("socket")
        if how == "rst":
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.transport.abort() if how == "rst" else end.transport.close()
    elif who == "station":
        await end.close(int(how), "as told")
    await end.wait_closed()
    return tuple(answers), pongs, end.close_code or 1006
