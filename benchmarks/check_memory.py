"""What the whole Analyzer keeps per message: growth of the process over a million frames, after a warm-up.

Prints bytes per message between the first tenth and the end; the peer is the same process that only makes the
frames, so what the making costs is not counted.
"""

import gc
import json
import os
import sys
from itertools import islice
from pathlib import Path

from _common import asked_for, stream

from twin.engine.analyzer import Analyzer

GOAL_BYTES = 1


def growth(messages: int, *, judged: bool) -> float:
    """Bytes per message by which a process of its own grew after its first tenth."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        frames, analyzer = stream(), Analyzer()
        warm = messages // 10
        resident = []
        for part in (warm, messages - warm):
            for frame in islice(frames, part):
                if judged:
                    analyzer.receive(frame)
            gc.collect()
            resident.append(_resident_bytes())
        os.write(write, json.dumps((resident[1] - resident[0]) / (messages - warm)).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as told:
        text = told.read()
    os.waitpid(child, 0)
    return float(text)


def _resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    options = asked_for(__doc__)
    messages = 100_000 if options.quick else 1_000_000
    ours, idle = growth(messages, judged=True), growth(messages, judged=False)
    line = {
        "name": "check_memory",
        "ratio": round(ours - idle, 3),
        "ours": round(ours, 3),
        "peer": round(idle, 3),
        "limit": GOAL_BYTES,
        "unit": "bytes kept per message",
        "rounds": messages,
    }
    sys.stdout.write(json.dumps(line) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
