"""What a message leaves behind in the relay: growth of resident memory per message on one long connection.

``ratio`` is bytes per message under ``twin record`` (goal: at most 1); ``peer`` the same of bare mitmdump in
its WebSocket mode, which keeps every message. Both are measured after a warm-up, in turn, in one run.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from _relays import HERE, line_of, process, relay, resident_bytes, tell

LIMIT_BYTES = 1.0


def measure(kind: str, messages: int) -> float:
    """Bytes per message of one fresh relay, over ``messages`` after as many to warm up."""
    trips = messages // 2
    with (
        tempfile.TemporaryDirectory() as name,
        process([sys.executable, str(HERE / "_relay_load.py"), "1"]) as load,
        relay(kind, Path(name), line_of(load, r"(\d+)")) as (started, port),
    ):
        tell(load, port)
        line_of(load, "(ready)")
        tell(load, trips)
        line_of(load, "(done)")
        before = resident_bytes(started.pid)
        tell(load, trips)
        line_of(load, "(done)")
        return (resident_bytes(started.pid) - before) / messages


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, under 40 s")
    rounds, messages = (1, 8_000) if parser.parse_args().quick else (3, 100_000)
    ours = [measure("twin record", messages) for _ in range(rounds)]
    peer = [measure("mitmdump, WebSocket", min(messages, 20_000)) for _ in range(rounds)]
    line = {"name": "relay_memory", "ratio": round(statistics.median(ours), 2)}
    line |= {"ours": round(statistics.median(ours), 2), "peer": round(statistics.median(peer), 1)}
    line |= {"limit": LIMIT_BYTES, "unit": "bytes of RSS per message", "rounds": rounds}
    sys.stdout.write(json.dumps(line) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
