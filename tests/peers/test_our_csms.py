"""Third-party stations, a polite one and a hostile one, at our CSMS as a process."""

import contextlib
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import websockets
from websockets.sync.client import connect

from tests.conftest import REPOSITORY
from tests.peers import peer_command, peer_python
from tests.peers.stations import DEADLINE_S

pytestmark = pytest.mark.peer

FUZZ_S = 15
CALL = 2
ENDED_BY_TIMEOUT = 124


class Served:
    """Our Csms in a process of its own: where it listens, and afterwards all else that it said."""

    url = ""
    said = ""


@contextlib.contextmanager
def our_csms() -> Iterator[Served]:
    command = (sys.executable, "-m", "tests.io.live_csms")
    lines: queue.Queue[str] = queue.Queue()
    served = Served()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY
    ) as process:
        reader = threading.Thread(target=lambda: [lines.put(line) for line in process.stdout or ()])
        reader.start()
        try:
            served.url = lines.get(timeout=DEADLINE_S).removeprefix("listening ").strip()
            yield served
            process.terminate()
            assert process.wait(DEADLINE_S) == 0
        finally:
            process.kill()
            reader.join(DEADLINE_S)
    while not lines.empty():
        served.said += lines.get()


def test_a_third_party_station_is_accepted() -> None:
    with our_csms() as csms:
        command: list[str | Path] = [peer_python("test-ocpp").with_name("test-ocpp"), csms.url, "smoke"]
        run = subprocess.run(
            [*command, "--timeout", "60"], capture_output=True, text=True, check=False, timeout=DEADLINE_S
        )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Traceback" not in csms.said


@pytest.mark.slow
def test_fuzzing_leaves_it_answering(tmp_path: Path) -> None:
    with our_csms() as csms:
        fuzz = ("timeout", "-s", "INT", "-k", "20", str(FUZZ_S))
        fuzz += (str(peer_command("ocpp-ws-cli", "ocpp-ws-cli")), "fuzz")
        fuzz += ("-e", csms.url, "-w", "2", "--no-flood", "--report", "json")
        run = subprocess.run(
            fuzz, capture_output=True, text=True, check=False, timeout=DEADLINE_S, cwd=tmp_path
        )
        assert run.returncode in (0, ENDED_BY_TIMEOUT), run.stdout + run.stderr
        (report,) = tmp_path.glob("reports/*.json")
        told = json.loads(report.read_text(encoding="utf-8"))["metrics"]
        assert told["anomaliesSent"] > 0
        assert told["serverDrops"] == 0
        with connect(f"{csms.url}/fresh", subprotocols=[websockets.Subprotocol("ocpp1.6")]) as station:
            boot = {"chargePointVendor": "MANAGEON", "chargePointModel": "OTM-K"}
            station.send(json.dumps([2, "1", "BootNotification", boot]))
            while (message := json.loads(station.recv(timeout=DEADLINE_S)))[0] == CALL:
                pass  # of the recording, due by now
    assert message[:2] == [3, "1"]
    assert message[2]["status"] == "Accepted"
    assert "Traceback" not in csms.said
