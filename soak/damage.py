"""R10: every bit of a sealed segment of 64 KiB flipped, and a cut at every byte of its last 4 KiB.

Quickly: a segment of 4 KB, of each byte one bit.
"""

import tempfile
from pathlib import Path
from typing import Any

from tests.io.test_store import Run, writer_of
from twin.io.formats import open_capture
from twin.io.integrity import verify
from twin.io.manifest import segments_of
from twin.io.settings import Store
from twin.model import Kind

SIZE = 64 << 10


def run(quick: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        writing = Run(writer_of(folder, policy=Store(segment_bytes=4_000 if quick else SIZE)))
        while len(segments_of(folder / "c")) < 2:
            writing.say()
            writing.commit()
        writing.close()
        path = segments_of(folder / "c")[0]
        whole = path.read_bytes()
        flips = flipped(folder / "c", path, whole, quick=quick)
        cuts = 0
        for size in range(len(whole) - 4096 if len(whole) > 4096 else 0, len(whole)):
            path.write_bytes(whole[:size])
            assert verify(folder / "c").problems, f"a cut at byte {size} passed"
            cuts += 1
    return {"segment_bytes": len(whole), "bits_flipped": flips, "cuts": cuts, "undetected": 0}


def flipped(capture: Path, path: Path, whole: bytes, *, quick: bool) -> int:
    flips = line = 0
    for place in range(len(whole)):
        for bit in (place % 8,) if quick else range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            assert verify(capture).problems, f"bit {bit} of byte {place} passed"
            flips += 1
        if whole[place] == 10:  # once a line: everything before the damage is readable
            held = [seen.seq for seen in open_capture(capture).frames if seen.kind is Kind.TEXT]
            assert held[:line] == list(range(1, line + 1))
            line += 1
    path.write_bytes(whole)
    return flips
