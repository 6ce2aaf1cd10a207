"""Raw bytes of somebody else's capture to frames: by the recorder that live traffic goes through, no other.

It writes into a directory of its own, which is read and removed again; idTags stay as they are.
"""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec.structs import replace

from twin.io import capture
from twin.io.handover import Item
from twin.io.reading import ReadOptions
from twin.io.settings import Settings
from twin.model import Frame, Kind

_OURS = frozenset({Kind.STATS, Kind.CLOCK_STEP})  # remarks on a recording that nobody made here


def frames_of(items: Iterable[Item]) -> Iterator[Frame]:
    """The frames that these items of a relay make, numbered from 1; reading begins when all are there.

    They have no monotonic clock: that of a file that somebody else made is nobody's.
    """
    from twin.io import recorder_process  # slow to import, and few formats are bytes

    with tempfile.TemporaryDirectory(prefix="twin-import-") as folder:
        directory = Path(folder) / "capture"
        settings = Settings(
            directory=str(directory),
            key_file=str(Path(folder) / "key"),
            keep_id_tags=True,
            view="quiet",
            heartbeat_s=0,
        )
        recorder = recorder_process.make_recorder(settings, vantage="import")
        last = (0, 0)
        try:
            for item in items:
                recorder_process.deliver(item, recorder)
                if item[0] != "tick":
                    last = (item[-2], item[-1])
        finally:
            recorder.finish(*last)
        seq = 0
        for frame in capture.FORMAT.read(directory, ReadOptions()).frames:
            if frame.kind not in _OURS:
                seq += 1
                yield replace(frame, seq=seq, mono_ns=None)
