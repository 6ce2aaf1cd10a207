"""R12: 1,000 stations connect within seconds, three times, each time before their old connection is gone."""

import asyncio
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from soak.processes import Station, answering, descriptors, memory_kb, recorder_of
from tests.addons.wires import Relay, twin_record
from twin.io.formats import open_capture
from twin.model import Kind

ROUNDS = 3
MOST_GROWTH_KB = 100 * 1024
_AT_ONCE = 200  # handshakes under way


def run(quick: bool) -> dict[str, Any]:
    stations = 100 if quick else 1_000
    with tempfile.TemporaryDirectory() as name:
        with twin_record(Path(name), "--quiet") as relay:
            figures = asyncio.run(storm(relay, stations))
            assert relay.stop() in (0, 1), relay.said
        assert "dropped            0 chunks" in relay.said, relay.said
        mixed = talk_of_one_station_each(relay.capture, stations)
    return {"stations": stations, "rounds": ROUNDS, "connections": ROUNDS * stations, **figures, **mixed}


async def storm(relay: Relay, stations: int) -> dict[str, Any]:
    server = await asyncio.start_server(answering, sock=relay.csms, backlog=1024)
    gate = asyncio.Semaphore(_AT_ONCE)
    pid, recorder = relay.process.pid, recorder_of(relay.process.pid)
    warm = await Station.connect(relay.port, "WARM")
    await warm.ask('[2,"w","Heartbeat",{}]')
    await warm.close()
    before = descriptors(pid), memory_kb(pid), memory_kb(recorder)
    held: list[Station] = []
    loop, slowest_s = asyncio.get_running_loop(), 0.0

    async def come(number: int, round_: int) -> Station:
        async with gate:
            station = await Station.connect(relay.port, f"S{number:04}")
            said = await station.ask(f'[2,"{round_}-{number}","DataTransfer",{{"vendorId":"S{number:04}"}}]')
            assert said == b'[3,"%d-%d",{}]' % (round_, number)
            return station

    peak_kb = 0
    async with asyncio.timeout(600):
        for round_ in range(ROUNDS):
            began_s = loop.time()
            fresh = await asyncio.gather(*(come(number, round_) for number in range(stations)))
            slowest_s = max(slowest_s, loop.time() - began_s)
            peak_kb = max(peak_kb, memory_kb(pid) - before[1])
            await asyncio.gather(*(old.close() for old in held))
            held = list(fresh)
        await asyncio.gather(*(old.close() for old in held))
        while descriptors(pid) > before[0] + 5:  # noqa: ASYNC110  # another process, and a deadline
            await asyncio.sleep(0.1)
    after = descriptors(pid), memory_kb(pid), memory_kb(recorder)
    server.close()
    grown_kb = max(after[1] - before[1], after[2] - before[2])
    assert abs(after[0] - before[0]) <= 5, (before, after)
    assert grown_kb <= MOST_GROWTH_KB, grown_kb
    return {
        "slowest_round_s": round(slowest_s, 1),
        "descriptors_before_and_after": [before[0], after[0]],
        "peak_growth_mib": round(peak_kb / 1024, 1),
        "growth_after_mib": round(grown_kb / 1024, 1),
    }


def talk_of_one_station_each(capture: Path, stations: int) -> dict[str, int]:
    """Each connection carries what its own station said, and nothing else."""
    said: dict[str, set[str]] = defaultdict(set)
    names: dict[str, str] = {}
    messages = 0
    for seen in open_capture(capture).frames:
        if seen.kind is Kind.OPEN:
            names[seen.link] = seen.station
        if seen.kind is Kind.TEXT and seen.text and '"vendorId":"' in seen.text:
            said[seen.link].add(seen.text.partition('"vendorId":"')[2][:5])
            messages += 1
    assert messages == ROUNDS * stations
    assert all({names[link]} == heard for link, heard in said.items())
    return {"messages": messages, "connections_mixed": 0}
