"""R4 and R18: 500 stations, 5 calls a second each, ten minutes: nothing is dropped, and the end is quick."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.addons.wires import DEADLINE_S, running
from tests.conftest import REPOSITORY
from twin.io import clock
from twin.io.formats import open_capture
from twin.io.integrity import verify

STATIONS, PER_S, SECONDS = 500, 2_500, 600
P99_MS, STOP_S = 20.0, 2.0


def run(quick: bool) -> dict[str, Any]:
    stations, per_s, seconds = (20, 200, 3) if quick else (STATIONS, PER_S, SECONDS)
    with tempfile.TemporaryDirectory() as name:
        capture = Path(name) / "c"
        script = REPOSITORY / "benchmarks" / "_latency_load.py"
        with running([sys.executable, str(script), str(stations)], stdin=subprocess.PIPE) as load:
            assert load.stdout is not None
            assert load.stdin is not None
            upstream = f"ws://127.0.0.1:{load.stdout.readline().strip()}"
            command = [sys.executable, "-m", "twin", "record", "--quiet", "--upstream", upstream]
            command += ["--listen", "127.0.0.1:0", "-o", str(capture), "--key-file", str(Path(name) / "key")]
            with running(command) as relay:
                assert relay.stdout is not None
                tell(load, relay.stdout.readline().rpartition(":")[2].strip())
                assert load.stdout.readline().strip() == "ready"
                tell(load, f"{per_s} {seconds}")
                told = json.loads(load.stdout.readline())
                began_ns = clock.now().mono_ns
                relay.terminate()
                said = relay.communicate(timeout=DEADLINE_S)[0]
                stop_s = (clock.now().mono_ns - began_ns) / 1e9
        totals = open_capture(capture).manifest["totals"]
        assert totals["dropped_chunks"] == {}, totals
        assert not verify(capture).problems
    if not quick:
        assert told["p99"] < P99_MS, told
    return {
        "stations": stations, "messages": 2 * told["trips"], "messages_per_s": 2 * per_s, "dropped": 0,
        "p50_ms": round(told["p50"], 2), "p99_ms": round(told["p99"], 2), "stopped_after_s": round(stop_s, 2),
        "within_2_s": stop_s < STOP_S, "said": said.splitlines()[-7],
    }  # fmt: skip


def tell(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()
