"""Records per second of CPU: our capture (chain, tree, group commit) against json.dumps, write and flush.

Both sides write the same records of the same traffic; ours makes them from frames, the peer is handed them as
dictionaries. No ratio is printed unless every line of ours is the peer's record.
"""

import json
import sys
import tempfile
from pathlib import Path

from _common import asked_for, in_turn, report, traffic

from twin.io import clock
from twin.io.segments import CaptureWriter
from twin.model import Frame

GOAL = 8
_BATCH = 64  # frames between two looks at the clock, as they come from the relay


def write_ours(frames: list[Frame], folder: Path) -> Path:
    """The frames as a capture; gives its segment."""
    number = sum(1 for _ in folder.iterdir())
    writer = CaptureWriter(folder / str(number), created_us=frames[0].at_us, vantage="proxy")
    for start in range(0, len(frames), _BATCH):
        for frame in frames[start : start + _BATCH]:
            writer.write(frame)
        writer.commit(clock.now().mono_ns)
    writer.close(frames[-1].at_us)
    return folder / str(number) / "segment-00001.jsonl"


def write_peer(records: list[dict[str, object]], folder: Path) -> None:
    number = sum(1 for _ in folder.iterdir())
    with (folder / f"{number}.jsonl").open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record) + "\n")
            file.flush()


def main() -> int:
    options = asked_for(__doc__)
    rounds, messages = (3, 10_000) if options.quick else (9, 40_000)
    frames = traffic(messages)
    with tempfile.TemporaryDirectory() as name:
        ours, peer = Path(name) / "ours", Path(name) / "peer"
        ours.mkdir()
        peer.mkdir()
        lines = write_ours(frames, ours).read_bytes().splitlines()
        records = [json.loads(line) for line in lines]
        if len(records) != len(frames) or any(
            record["raw"] != frame.text for record, frame in zip(records, frames, strict=True)
        ):
            raise SystemExit("the capture does not hold what was written: no ratio")
        times = in_turn(lambda: write_ours(frames, ours), lambda: write_peer(records, peer), rounds)
    report("record", times, messages, limit=GOAL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
