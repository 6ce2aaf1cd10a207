"""Round trips through the relay, open loop, at 1, 50 and 500 connections, each kind of relay in turn.

Two lines. ``relay_latency``: p50 under ``twin record`` over p50 of bare mitmdump in the same raw mode, the
median of the rounds, the worst of the three loads. ``relay_latency_addon``: what ``mitmdump -s
addons/record.py`` adds to bare mitmdump, in milliseconds, at the worst load. The recorder runs in both.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from _relays import HERE, line_of, process, relay, tell

KINDS = ("twin record", "mitmdump, raw", "mitmdump -s addons/record.py")
LOADS = (1, 50, 500)
PER_S = 400
RATIO, ADDED_P50_MS, ADDED_P99_MS = 0.75, 0.15, 1.0


def measure(kind: str, connections: int, seconds: float) -> dict[str, float]:
    """p50 and p99 in milliseconds of one fresh relay."""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, str(HERE / "_latency_load.py"), str(connections)]
        with process(command) as load, relay(kind, Path(name), line_of(load, r"^(\d+)$")) as (_, port):
            tell(load, port)
            line_of(load, "(ready)")
            tell(load, f"{PER_S} {seconds}")
            told: dict[str, float] = json.loads(line_of(load, r"(\{.*\})"))
            return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, under 40 s")
    rounds, seconds = (1, 1.0) if parser.parse_args().quick else (5, 6.0)
    taken = {(kind, load): [] for kind in KINDS for load in LOADS}  # type: dict[tuple[str, int], list[dict[str, float]]]
    for _ in range(rounds):
        for load in LOADS:
            for kind in KINDS:
                taken[kind, load].append(measure(kind, load, seconds))
    ours, bare, addon = KINDS
    ratios = {load: paired(taken[ours, load], taken[bare, load], "p50", lambda a, b: a / b) for load in LOADS}
    worst = max(LOADS, key=lambda load: ratios[load])
    line = {"name": "relay_latency", "ratio": round(ratios[worst], 3)}
    line |= {"ours": middle(taken[ours, worst], "p50"), "peer": middle(taken[bare, worst], "p50")}
    line |= {"limit": RATIO, "unit": f"ms p50, {worst} connections", "rounds": rounds}
    say(line | {"loads": {load: table(taken, load) for load in LOADS}})
    added = {
        name: max(paired(taken[addon, load], taken[bare, load], name, lambda a, b: a - b) for load in LOADS)
        for name in ("p50", "p99")
    }
    line = {"name": "relay_latency_addon", "ratio": round(added["p50"], 3), "limit": ADDED_P50_MS}
    line |= {"added_p99": round(added["p99"], 3), "limit_p99": ADDED_P99_MS}
    say(line | {"unit": "ms added, worst load", "rounds": rounds})
    return 0


def paired(ours, theirs, name, of):  # type: ignore[no-untyped-def]  # three lists and a function
    return statistics.median(of(a[name], b[name]) for a, b in zip(ours, theirs, strict=True))


def middle(taken: list[dict[str, float]], name: str) -> float:
    return round(statistics.median(one[name] for one in taken), 3)


def table(taken: dict[tuple[str, int], list[dict[str, float]]], load: int) -> dict[str, list[float]]:
    return {kind: [middle(taken[kind, load], name) for name in ("p50", "p99")] for kind in KINDS}


def say(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    sys.exit(main())
