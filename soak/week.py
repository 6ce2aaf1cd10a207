"""R17: an accelerated week, 450,000 frames on one socket: memory and descriptors stay where they were."""

import socket
import tempfile
from pathlib import Path
from typing import Any

from soak.processes import caught_up, descriptors, memory_kb, recorder_of
from tests.addons.wires import connected, received, twin_record
from tests.wire_cases import frame

FRAMES = 450_000
WARM = 50_000
MOST_KB_PER_100K = 1_024
_WINDOW = 50  # frames under way
CONNECTORS = 20


def texts(number: int) -> tuple[bytes, bytes]:
    """A MeterValues of one of twenty connectors, and its answer."""
    day, hour, minute = 1 + number // 20_000 % 28, number // 3600 % 24, number // 60 % 60
    stamp = f"2026-11-{day:02}T{hour:02}:{minute:02}:{number % 60:02}Z"
    call = (
        f'[2,"{number}","MeterValues",{{"connectorId":{1 + number % CONNECTORS},'
        f'"transactionId":{number % 97},"meterValue":[{{"timestamp":"{stamp}","sampledValue":[{{'
        f'"value":"{number * 3}","context":"Sample.Periodic",'
        f'"measurand":"Energy.Active.Import.Register","unit":"Wh"}}]}}]}}]'
    )
    return call.encode(), f'[3,"{number}",{{}}]'.encode()


def run(quick: bool) -> dict[str, Any]:
    frames, warm = (30_000, 10_000) if quick else (FRAMES, WARM)
    with tempfile.TemporaryDirectory() as folder:
        with twin_record(Path(folder), "--quiet", "--segment-mib", "16", "--quota-mib", "64") as relay:
            with connected(relay, path="/ocpp/WEEK") as (station, csms):
                pids = {"relay": relay.process.pid, "recorder": recorder_of(relay.process.pid)}
                pump(relay.capture, station, csms, 0, warm // 2)
                before = {who: (memory_kb(pid), descriptors(pid)) for who, pid in pids.items()}
                pump(relay.capture, station, csms, warm // 2, (frames - warm) // 2)
                after = {who: (memory_kb(pid), descriptors(pid)) for who, pid in pids.items()}
            assert relay.stop() in (0, 1), relay.said
        assert "own faults 0" in relay.said, relay.said
        assert "dropped            0 chunks" in relay.said, relay.said
    slopes = {who: round((after[who][0] - before[who][0]) / (frames - warm) * 100_000, 1) for who in pids}
    assert all(abs(after[who][1] - before[who][1]) <= 2 for who in pids), (before, after)
    if not quick:  # a short run is mostly warming up
        assert all(slope <= MOST_KB_PER_100K for slope in slopes.values()), slopes
    return {"frames": frames, "kib_per_100k_frames": slopes, "said": relay.said.splitlines()[-7:-4]}


def pump(capture: Path, station: socket.socket, csms: socket.socket, first: int, calls: int) -> None:
    """Calls one way and answers the other, some under way at once; every byte is compared."""
    for start in range(first, first + calls, _WINDOW):
        batch = range(start, min(start + _WINDOW, first + calls))
        up = b"".join(frame(1, texts(number)[0], mask=bytes(4)) for number in batch)
        down = b"".join(frame(1, texts(number)[1], mask=None) for number in batch)
        station.sendall(up)
        assert received(csms, len(up)) == up
        csms.sendall(down)
        assert received(station, len(down)) == down
        if start // _WINDOW % 20 == 19:  # a week is long: the recorder keeps up with it
            caught_up(capture, b'"messageId":"%d"' % batch[-1])
