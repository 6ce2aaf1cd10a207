"""What our addon costs once its breaker is open: CPU per message of bare mitmdump over that with the addon.

The addon is the tests' faulty one: it fails in every message until the breaker opens, and then only counts.
``ratio`` near 1 means that a broken recorder costs nothing; the goal is 0.9.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from _relays import HERE, cpu_s, line_of, process, relay, tell

LIMIT = 0.9
CONNECTIONS = 50


def measure(kind: str, messages: int) -> float:
    """CPU microseconds per message of one fresh relay, after a warm-up that opens the breaker."""
    trips = max(1, messages // (2 * CONNECTIONS))
    with (
        tempfile.TemporaryDirectory() as name,
        process([sys.executable, str(HERE / "_relay_load.py"), str(CONNECTIONS)]) as load,
        relay(kind, Path(name), line_of(load, r"(\d+)")) as (started, port),
    ):
        tell(load, port)
        line_of(load, "(ready)")
        before_s = cpu_s(started.pid)
        tell(load, trips)
        line_of(load, "(done)")
        return (cpu_s(started.pid) - before_s) / (2 * CONNECTIONS * trips) * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, under 40 s")
    rounds, messages = (1, 6_000) if parser.parse_args().quick else (5, 40_000)
    pairs = [
        (measure("mitmdump, breaker open", messages), measure("mitmdump, raw", messages))
        for _ in range(rounds)
    ]
    line = {
        "name": "relay_breaker",
        "ratio": round(statistics.median(bare / ours for ours, bare in pairs), 3),
        "ours": round(statistics.median(ours for ours, _ in pairs), 1),
        "peer": round(statistics.median(bare for _, bare in pairs), 1),
        "limit": LIMIT,
        "unit": f"us CPU per message, {CONNECTIONS} connections",
        "rounds": rounds,
    }
    sys.stdout.write(json.dumps(line) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
