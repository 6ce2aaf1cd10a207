"""R9: how long a capture of 1 GiB takes to be gone on with after a kill."""

import os
import tempfile
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tests.io.test_store import frame
from twin.io import clock
from twin.io.seal import Signer
from twin.io.segments import CaptureWriter
from twin.io.settings import Store
from twin.model import Kind

SIZE = 1 << 30
LIMIT_S = 5.0


def run(quick: bool) -> dict[str, Any]:
    size = 8 << 20 if quick else SIZE
    policy = Store(segment_bytes=size // 16)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name) / "c"
        pid = os.fork()
        if not pid:
            write(place, policy, size)
            os._exit(0)  # as a kill leaves it: nothing is closed
        os.waitpid(pid, 0)
        held = sum(path.stat().st_size for path in place.glob("*.jsonl"))
        began_ns = clock.now().mono_ns
        writer = CaptureWriter(
            place, created_us=0, vantage="proxy", policy=policy, signer=Signer(bytes(32)), resume=True
        )
        took_s = (clock.now().mono_ns - began_ns) / 1e9
        assert writer.recovered is not None
        last_seq = writer.recovered.last_seq
        writer.close(0)
    assert quick or took_s <= LIMIT_S, took_s
    return {"bytes": held, "records": last_seq, "recovered_in_s": round(took_s, 2)}


def write(place: Path, policy: Store, size: int) -> None:
    """Lines until the last segment is nearly full."""
    writer = CaptureWriter(place, created_us=0, vantage="proxy", policy=policy, signer=Signer(bytes(32)))
    seq = now_ns = 0
    segment = ""
    while writer.bytes < size - (size // 64):
        if writer.segment != segment:  # as the recorder does
            segment, seq = writer.segment, seq + 1
            writer.write(replace(frame(seq), kind=Kind.STATS, text=None, sender=None))
        for _ in range(2_000):
            seq += 1
            writer.write(frame(seq))
        now_ns += 251_000_000
        writer.commit(now_ns)
