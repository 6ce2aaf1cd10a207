"""Reader of pcap and pcapng files through tshark, by the stack that follows a ring of them while it grows."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from twin.io import clock
from twin.io.formats.recorded import frames_of
from twin.io.handover import Item
from twin.io.passive import Listener
from twin.io.passive_follow import Follower
from twin.io.passive_ring import Ring, is_capture
from twin.io.passive_wire import Wire
from twin.io.reading import CaptureError, Format, ImportReport, Reading, ReadOptions
from twin.model import Frame


def sniff(path: Path, head: bytes) -> float:
    """Certain by the magic number of either format."""
    return 1.0 if is_capture(head) else 0.0


def read(path: Path, options: ReadOptions) -> Reading:
    """Frames of every WebSocket connection that speaks OCPP; a line of the report is a TCP segment.

    A connection of which nothing could be read is one entry of ``unused``, under its first segment.
    """
    tshark = shutil.which("tshark")
    if tshark is None:
        raise CaptureError(
            f"{path} is read with tshark, which is not on PATH: apt install tshark (Debian, Ubuntu), "
            "dnf install wireshark-cli (Fedora)"
        )
    report = ImportReport()
    return Reading(format="pcap", frames=_frames(path, tshark, report), report=report)


def _frames(path: Path, tshark: str, report: ImportReport) -> Iterator[Frame]:

    def ended(wire: Wire) -> None:
        if wire.unread:
            ends = " - ".join(f"{address}:{port}" for address, port in wire.halves)
            text = f"{ends}, {wire.segments:,} segments"
            report.unused_line(wire.first_segment, text, wire.unread, wire.segments)

    listener = Listener(clock.now(), ended=ended)
    follower = Follower(Ring(path), listener, tshark, once=True)
    count = 0
    for frame in frames_of(_items(follower, listener)):
        count += 1
        yield frame
    if listener.strays:
        why = "no data, of no known connection"
        report.unused_line(0, f"{listener.strays:,} segments", why, listener.strays)
    report.lines = listener.packets
    report.used = report.lines - report.unusable
    for connections, size, why in listener.site.books.passed_by():
        report.notes.append(f"passed by {connections:,} connections, {size:,} bytes: {why}")
    report.notes += [f"damaged: {what}" for what in follower.bad_files]
    if not count and follower.bad_files and not listener.packets:
        raise CaptureError(f"nothing in {path} could be read: {follower.bad_files[0]}")


def _items(follower: Follower, listener: Listener) -> Iterator[Item]:
    for batch in follower.batches():
        yield from batch
    listener.close()
    yield from listener.take()


FORMAT = Format(name="pcap", title="pcap or pcapng", sniff=sniff, read=read)
