"""One hash over a virtual replay, stamps and texts: `python -m tests.engine.replay.digest CAPTURE`."""

import hashlib
import sys
from pathlib import Path

from tests.engine.replay.replays import replayed
from twin.engine.recording import station_links
from twin.engine.replay.timing import timing_of
from twin.io.formats import open_capture


def digest(path: Path, times: int = 1) -> str:
    """The hash of so many replays, which must be one."""
    frames = station_links(list(open_capture(path).frames))
    said = set()
    for _ in range(times):
        _, again = replayed(frames, timing_of("virtual"), shift=True)
        text = "".join(f"{frame.at_us} {frame.link} {frame.kind} {frame.text}\n" for frame in again)
        said.add(hashlib.sha256(text.encode()).hexdigest())
    (only,) = said
    return only


if __name__ == "__main__":
    sys.stdout.write(f"{digest(Path(sys.argv[1]))}\n")
