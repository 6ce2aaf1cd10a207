"""CPU per message of the relay process under ``twin record``, against mitmdump with a naive addon.

Both relay the same saturated load (one CALL outstanding per connection) at 50 and at 500 connections, in
turn, in one run. ``ratio`` is ours over the peer's, the median of the rounds, the worse of the two loads.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from _relays import HERE, cpu_s, line_of, process, relay, tell

LIMIT = 0.25
LOADS = (50, 500)
KINDS = {"ours": "twin record", "peer": "mitmdump with a naive addon"}


def messages_ours(folder: Path) -> int:
    totals = json.loads((folder / "c" / "manifest.json").read_bytes())["totals"]
    assert not totals["dropped_chunks"], totals
    count = 0
    for segment in (folder / "c").glob("*.jsonl"):
        with segment.open("rb") as lines:
            count += sum(line.startswith(b'{"schemaVersion"') for line in lines)
    return count


def messages_peer(folder: Path) -> int:
    with (folder / "naive.jsonl").open("rb") as lines:
        return sum(1 for _ in lines)


def measure(side: str, connections: int, messages: int) -> float:
    """CPU microseconds per message of one fresh relay."""
    trips = max(1, messages // (2 * connections))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            process([sys.executable, str(HERE / "_relay_load.py"), str(connections)]) as load,
            relay(KINDS[side], folder, line_of(load, r"(\d+)")) as (started, port),
        ):
            tell(load, port)
            line_of(load, "(ready)")
            before_s = cpu_s(started.pid)
            tell(load, trips)
            line_of(load, "(done)")
            used_s = cpu_s(started.pid) - before_s
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
