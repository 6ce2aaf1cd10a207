"""CPU per message of the relay process under ``twin record``, against mitmdump with a naive addon.

Both relay the same saturated load (one CALL outstanding per connection) at 50 and at 500 connections, in
turn, in one run. ``ratio`` is ours over the peer's, the median of the rounds, the worse of the two loads.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

HERE = Path(__file__).parent
LIMIT = 0.25
LOADS = (50, 500)
TICKS_S = os.sysconf("SC_CLK_TCK")


@contextmanager
def process(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as started:
        try:
            yield started
        finally:
            started.send_signal(signal.SIGTERM)
            started.wait(60)


def line_of(started: subprocess.Popen[str], pattern: str) -> str:
    """The first group of the next line that matches."""
    assert started.stdout
    for line in started.stdout:
        if found := re.search(pattern, line):
            return found[1]
    raise SystemExit(f"{started.args}: ended without {pattern}")


def tell(started: subprocess.Popen[str], word: object) -> None:
    assert started.stdin
    started.stdin.write(f"{word}\n")
    started.stdin.flush()


def cpu_s(pid: int) -> float:
    """User and system time of a process, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_S


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def ours(folder: Path, csms_port: str) -> list[str]:
    command = [
        sys.executable,
        "-u",
        "-m",
        "twin",
        "record",
        "--quiet",
        "--upstream",
        f"ws://127.0.0.1:{csms_port}",
    ]
    return [*command, "--listen", "127.0.0.1:0", "-o", str(folder / "c"), "--key-file", str(folder / "key")]


def peer(folder: Path, csms_port: str) -> list[str]:
    program = str(Path(sys.executable).with_name("mitmdump"))
    settings = (f"confdir={folder / 'mitmproxy'}", f"naive_log={folder / 'naive.jsonl'}")
    command = [program, "--mode", f"reverse:http://127.0.0.1:{csms_port}@127.0.0.1:0"]
    command += ["-s", str(HERE / "_naive.py")]
    return command + [part for setting in settings for part in ("--set", setting)]


def messages_ours(folder: Path) -> int:
    totals = json.loads((folder / "c" / "manifest.json").read_bytes())["totals"]
    assert not totals["dropped_chunks"], totals
    with (folder / "c" / "segment-00001.jsonl").open("rb") as lines:
        return sum(line.startswith(b'{"schemaVersion"') for line in lines)


def messages_peer(folder: Path) -> int:
    with (folder / "naive.jsonl").open("rb") as lines:
        return sum(1 for _ in lines)


def measure(side: str, connections: int, messages: int) -> float:
    """CPU microseconds per message of one fresh relay."""
    trips = max(1, messages // (2 * connections))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with process([sys.executable, str(HERE / "_relay_load.py"), str(connections)]) as load:
            csms_port = line_of(load, r"(\d+)")
            with process(ours(folder, csms_port) if side == "ours" else peer(folder, csms_port)) as relay:
                tell(load, line_of(relay, r"listening .*127\.0\.0\.1:(\d+)"))
                Thread(target=relay.stdout.read).start()  # type: ignore[union-attr]  # its log must not fill the pipe
                pid = relay.pid  # twin record becomes the relay
                line_of(load, "(ready)")
                before_s = cpu_s(pid)
                tell(load, trips)
                line_of(load, "(done)")
                used_s = cpu_s(pid) - before_s
        carried = messages_ours(folder) if side == "ours" else messages_peer(folder)
    expected = 2 * connections * (trips + 2)
    if carried != expected:
        raise SystemExit(f"{side} recorded {carried} messages of {expected}: no ratio")
    return used_s / (2 * connections * trips) * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, under 40 s")
    options = parser.parse_args()
    rounds, messages = (1, 6_000) if options.quick else (5, 40_000)
    best: dict[int, tuple[float, float, float]] = {}
    for connections in LOADS:
        pairs = [
            (measure("ours", connections, messages), measure("peer", connections, messages))
            for _ in range(rounds)
        ]
        best[connections] = (
            statistics.median(mine / theirs for mine, theirs in pairs),
            statistics.median(mine for mine, _ in pairs),
            statistics.median(theirs for _, theirs in pairs),
        )
    connections = max(best, key=lambda load: best[load][0])
    ratio, mine, theirs = best[connections]
    line = {"name": "relay", "ratio": round(ratio, 4), "ours": round(mine, 1), "peer": round(theirs, 1)}
    line |= {"limit": LIMIT, "unit": f"us CPU per message, {connections} connections", "rounds": rounds}
    sys.stdout.write(json.dumps(line) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
