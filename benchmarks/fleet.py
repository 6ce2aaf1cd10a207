"""A thousand live stations in one process: CPU per round trip and memory per idle station.

The peer is ``ocpp``'s ChargePoint on ``websockets``, the same number of stations in a process of its own,
against the same CSMS (a third process that answers and does nothing else). Both send a Heartbeat each second.
Three lines: over websockets, over picows, and the memory of one idle station with 20 connectors.
"""

import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from _common import asked_for

GOAL_WEBSOCKETS, GOAL_PICOWS, GOAL_KB = 3, 5, 40
SIMULATOR_KB = 280  # SAP's e-mobility simulator, a station; its process takes 487 MB besides


async def _csms() -> None:
    """Answers every CALL at once, with little of its own: it must not be what is measured."""
    import picows

    class Answers(picows.WSListener):
        def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
            if frame.msg_type is picows.WSMsgType.CLOSE:
                transport.disconnect()
            elif frame.msg_type is picows.WSMsgType.TEXT:
                message = json.loads(frame.get_payload_as_bytes())
                if message[0] == 2:
                    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")  # noqa: TID251  # a CSMS tells the time
                    payload = {"currentTime": now} if message[2] in ("BootNotification", "Heartbeat") else {}
                    if message[2] == "BootNotification":
                        payload |= {"status": "Accepted", "interval": 1}
                    transport.send(picows.WSMsgType.TEXT, json.dumps([3, message[1], payload]).encode())

    def listener(request: picows.WSUpgradeRequest) -> picows.WSUpgradeResponseWithListener:
        headers = {"Sec-WebSocket-Protocol": "ocpp1.6"}
        response = picows.WSUpgradeResponse.create_101_response(extra_headers=headers)
        return picows.WSUpgradeResponseWithListener(response, Answers())

    server = await picows.ws_create_server(listener, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


async def _ours(
    port: int, stations: int, seconds: float, transport: str, connectors: int
) -> dict[str, float]:
    from twin.engine.station import Behaviour
    from twin.io.driver import Pace
    from twin.io.running import LiveStation, Plan

    behaviour, pace = Behaviour(connectors=connectors, boot_ms=100), Pace()
    before = _resident_bytes()
    fleet = [
        LiveStation(
            Plan(
                station_id=f"S{number}",
                url=f"ws://127.0.0.1:{port}/S{number}",
                behaviour=behaviour,
                seed=number,
                transport=transport,  # type: ignore[arg-type]  # one of two words
            ),
            pace,
        )
        for number in range(stations)
    ]
    for number, one in enumerate(fleet):
        one.start()
        if number % 50 == 49:
            await asyncio.sleep(0.05)

    def calls() -> int:
        return sum(one.station.uplink.calls for one in fleet)

    expected = stations * (2 + connectors)
    told = await _measured(calls, expected, seconds)
    told["bytes"] = (_resident_bytes() - before) / stations
    return told


async def _peer(port: int, stations: int, seconds: float) -> dict[str, float]:
    import websockets
    from ocpp.v16 import ChargePoint, call

    done = [0]

    async def one(number: int) -> None:
        socket = await websockets.connect(
            f"ws://127.0.0.1:{port}/S{number}", subprotocols=["ocpp1.6"], compression=None, ping_interval=None
        )
        station = ChargePoint(f"S{number}", socket)
        reading = asyncio.create_task(station.start())
        await station.call(call.BootNotification(charge_point_model="M", charge_point_vendor="V"))
        done[0] += 1
        try:
            while True:
                await asyncio.sleep(1)
                await station.call(call.Heartbeat())
                done[0] += 1
        finally:
            reading.cancel()

    before = _resident_bytes()
    running = []
    for number in range(stations):
        running.append(asyncio.create_task(one(number)))
        if number % 50 == 49:
            await asyncio.sleep(0.05)
    told = await _measured(lambda: done[0], stations, seconds)
    told["bytes"] = (_resident_bytes() - before) / stations
    for task in running:
        task.cancel()
    return told


async def _measured(calls: Callable[[], int], expected: int, seconds: float) -> dict[str, float]:
    """CPU per round trip while every station is connected and beats once a second."""
    deadline = time.monotonic() + 120  # noqa: TID251  # a benchmark reads clocks
    while calls() < expected and time.monotonic() < deadline:  # noqa: ASYNC110, TID251  # a benchmark reads clocks
        await asyncio.sleep(0.2)
    if calls() < expected:
        raise SystemExit(f"only {calls()} of {expected} first messages in two minutes")
    await asyncio.sleep(2)
    gc.collect()
    cpu, first = time.process_time(), calls()
    await asyncio.sleep(seconds)
    spent, trips = time.process_time() - cpu, calls() - first
    return {"us": spent / trips * 1e6, "trips": trips}


def _resident_bytes() -> int:
    gc.collect()
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _child(*words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, __file__, "--child", *words], stdout=subprocess.PIPE, text=True)


def _run(*words: str) -> dict[str, float]:
    """One side in a process of its own, against a CSMS of its own."""
    with _child("csms") as csms:
        assert csms.stdout is not None
        port = csms.stdout.readline().strip()
        with _child(words[0], port, *words[1:]) as side:
            text, _ = side.communicate()
        csms.terminate()
    if side.returncode:
        raise SystemExit(f"{words[0]} ended with {side.returncode}")
    told: dict[str, float] = json.loads(text)
    return told


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        return _as_child(sys.argv[2:])
    options = asked_for(__doc__)
    stations, seconds = (200, 5.0) if options.quick else (1_000, 20.0)
    peer = _run("peer", str(stations), str(seconds))
    for transport, goal in (("websockets", GOAL_WEBSOCKETS), ("picows", GOAL_PICOWS)):
        ours = _run("ours", str(stations), str(seconds), transport, "1")
        _line(
            f"fleet_{transport}",
            peer["us"] / ours["us"],
            ours["us"],
            peer["us"],
            goal,
            "µs of CPU a round trip",
            stations,
        )
    idle = _run("ours", str(stations), "1", "websockets", "20")
    kb = idle["bytes"] / 1000
    _line("fleet_memory", kb / SIMULATOR_KB, kb, peer["bytes"] / 1000, GOAL_KB, "kB a station", stations)
    return 0


def _line(name: str, ratio: float, ours: float, peer: float, limit: float, unit: str, rounds: int) -> None:
    told = {
        "name": name,
        "ratio": round(ratio, 2),
        "ours": round(ours, 1),
        "peer": round(peer, 1),
        "limit": limit,
        "unit": unit,
        "rounds": rounds,
    }
    sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _as_child(words: list[str]) -> int:
    if words[0] == "csms":
        asyncio.run(_csms())
        return 0
    port, stations, seconds = int(words[1]), int(words[2]), float(words[3])
    side: Awaitable[dict[str, float]] = (
        _peer(port, stations, seconds)
        if words[0] == "peer"
        else _ours(port, stations, seconds, words[4], int(words[5]))
    )

    async def measured() -> dict[str, float]:
        return await side

    sys.stdout.write(json.dumps(asyncio.run(measured())))
    sys.stdout.flush()
    os._exit(0)  # a thousand sockets need no goodbye


if __name__ == "__main__":
    sys.exit(main())
