"""R6: a recorder hangs for a minute under load: traffic goes on, what the queue cannot hold is counted."""

import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from soak.processes import recorder_of
from tests.addons.wires import connected, received, twin_record
from tests.wire_cases import frame, mask_of
from twin.io import clock
from twin.io.formats import open_capture
from twin.io.integrity import verify
from twin.model import Kind, Side

SECONDS, PER_S = 60, 1_500
UP = frame(1, b'[2,"1","Heartbeat",{}]', mask=mask_of(Side.STATION))


def run(quick: bool) -> dict[str, Any]:
    seconds = 2 if quick else SECONDS
    with tempfile.TemporaryDirectory() as name:
        with twin_record(Path(name), "--quiet") as relay:
            with connected(relay) as (station, csms):
                recorder = recorder_of(relay.process.pid)
                station.sendall(UP)
                assert received(csms, len(UP)) == UP
                os.kill(recorder, signal.SIGSTOP)
                until_ns = clock.now().mono_ns + seconds * 1_000_000_000
                sent = 1
                while clock.now().mono_ns < until_ns:
                    for _ in range(PER_S // 10):
                        station.sendall(UP)
                        assert received(csms, len(UP)) == UP
                        sent += 1
                    time.sleep(0.02)
                os.kill(recorder, signal.SIGCONT)
            assert relay.stop() in (0, 1), relay.said
        assert "restarts 0" in relay.said, relay.said
        reading = open_capture(relay.capture)
        frames = list(reading.frames)
        totals = reading.manifest["totals"]
        assert not verify(relay.capture).problems
    gaps = sum(seen.facts["chunks"] for seen in frames if seen.kind is Kind.GAP)
    texts = sum(seen.kind is Kind.TEXT for seen in frames)
    assert totals["seen_chunks"] == sent == totals["recorded_chunks"] + gaps
    assert totals["recorded_chunks"] == texts
    assert totals["dropped_chunks"] == ({"queue_full": gaps} if gaps else {})
    if not quick:
        assert gaps > 0, "the queue held it all: this shows nothing"
    return {"hung_s": seconds, "sent": sent, "recorded": texts, "queue_full": gaps}
