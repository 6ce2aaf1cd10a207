"""R1 and R2: 5,000 streams over ws and over wss, and one run of 1 GiB: what is sent is what arrives."""

import hashlib
import random
import socket
import tempfile
import threading
from pathlib import Path
from typing import Any

from soak.processes import caught_up
from tests.addons.test_byte_identity import any_stream, both_legs, ends, sliced
from tests.addons.wires import Relay, connected, received, rest, twin_record
from tests.wire_cases import frame
from twin.io.formats import open_capture
from twin.model import Side

STREAMS, PER_CONNECTION = 5_000, 100
_CHUNK = 1 << 16


def run(quick: bool) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for scheme in ("ws", "wss"):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            tls = both_legs(folder) if scheme == "wss" else None
            with twin_record(folder, "--quiet", "--keep-id-tags", tls=tls) as relay:
                sent = streams(relay, 200 if quick else STREAMS)
                assert relay.stop() in (0, 1), relay.said
            figures[scheme] = sent | compared(relay, sent["bytes"])
    figures["one run"] = long_run(8 << 20 if quick else 1 << 30)
    return figures


def streams(relay: Relay, count: int) -> dict[str, int]:
    """So many streams of frames, most of a kind that some parser would refuse, in random slices."""
    chance = random.Random(5)  # noqa: S311  # not for secrets
    done = total = ends_seen = 0
    while done < count:
        with connected(relay, path="/ocpp/SLICED") as (station, csms):
            for end in (station, csms):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sent, got = ({side: hashlib.sha256() for side in Side} for _ in range(2))
            for _ in range(min(PER_CONNECTION, count - done)):
                sender = chance.choice(list(Side))
                stream = any_stream(chance, sender)
                one, other = ends(sender, station, csms)
                for piece in sliced(chance, stream):
                    one.sendall(piece)
                    sent[sender].update(piece)
                got[sender].update(received(other, len(stream)))
                total += len(stream)
                done += 1
            station.close()
            assert rest(csms) == b""
        ends_seen += 1
        caught_up(relay.capture, rb'"kind":"end","seq":\d+,"conn":"c%d"' % ends_seen)
        assert {side: one.hexdigest() for side, one in sent.items()} == {
            side: one.hexdigest() for side, one in got.items()
        }
    return {"streams": done, "bytes": total}


def compared(relay: Relay, sent_bytes: int) -> dict[str, int]:
    """Every byte that passed is in a line of the capture: by the books, and by the lines themselves."""
    reading = open_capture(relay.capture)
    held = sum(seen.facts["wire"]["bytes"] for seen in reading.frames if "wire" in seen.facts)
    totals = reading.manifest["totals"]
    assert totals["seen_bytes"] == totals["recorded_bytes"] == held == sent_bytes, (totals, held, sent_bytes)
    return {"recorded_bytes": held, "dropped_bytes": 0}


def long_run(size: int) -> dict[str, Any]:
    """One direction, as fast as it goes."""
    wire = frame(2, random.Random(1).randbytes(_CHUNK), mask=bytes(4))  # noqa: S311  # not for secrets
    rounds = size // len(wire)
    got = hashlib.sha256()
    with (
        tempfile.TemporaryDirectory() as name,
        twin_record(Path(name), "--quiet") as relay,
    ):
        with connected(relay, path="/ocpp/LONG") as (station, csms):

            def take() -> None:
                left = rounds * len(wire)
                while left:
                    piece = csms.recv(min(left, 1 << 20))
                    assert piece
                    got.update(piece)
                    left -= len(piece)

            taking = threading.Thread(target=take)
            taking.start()
            sent = hashlib.sha256()
            for _ in range(rounds):
                station.sendall(wire)
                sent.update(wire)
            taking.join(600)
        assert relay.stop() in (0, 1), relay.said
        assert got.hexdigest() == sent.hexdigest()
        totals = open_capture(relay.capture).manifest["totals"]
        dropped = sum(totals["dropped_bytes"].values())
        assert totals["seen_bytes"] == rounds * len(wire) == totals["recorded_bytes"] + dropped
    return {"bytes": rounds * len(wire), "dropped_from_the_record_bytes": dropped}
