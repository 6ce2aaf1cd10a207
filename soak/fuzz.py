"""R21: any bytes at all into the frame parser, the capture reader, the codec and the analyzer: no exception.

Inputs are made by changing good ones (a frame, a line, a message) in random places; ten minutes in full.
"""

import contextlib
import random
import tempfile
from pathlib import Path
from typing import Any

from tests.conftest import REPOSITORY
from tests.wire_cases import CASES
from twin.engine.analyzer import Analyzer
from twin.io import clock
from twin.io.formats import CaptureError, open_capture
from twin.io.integrity import verify
from twin.model import Frame, Kind, Side
from twin.protocol import codec
from twin.protocol.tap import Stamp, Tap, TapOptions, parse_extensions

SECONDS = 600
DEFLATE = parse_extensions("permessage-deflate")
INTERESTING = (
    b"\x00", b"\xff", b"\x7f", b'"', b"\\", b"{", b"[", b"]", b"}", b"\\u0000", b"\xed\xa0\x80", b"1e999",
    b"NaN", b"9" * 5000, b"-", b"\n", b"\xef\xbb\xbf", b"\x88\x02\x03\xe8", b"\x81\xff",
)  # fmt: skip
GOLDEN = REPOSITORY / "captures" / "otmk-shaped-demo"


def run(quick: bool) -> dict[str, Any]:
    chance = random.Random(21)  # noqa: S311  # not for secrets
    lines = (
        (REPOSITORY / "captures" / "otmk-shaped-demo" / "segment-00001.jsonl").read_bytes().splitlines(True)
    )
    texts = [
        seen.text for seen in open_capture(REPOSITORY / "captures" / "otmk-shaped-demo").frames if seen.text
    ]
    until_ns = clock.now().mono_ns + (5 if quick else SECONDS) * 1_000_000_000
    counts = {"frames": 0, "messages": 0, "captures": 0}
    while clock.now().mono_ns < until_ns:
        for _ in range(200):
            wire(chance)
            counts["frames"] += 1
            message(chance, texts)
            counts["messages"] += 1
        capture(chance, lines)
        counts["captures"] += 1
    return {"seconds": 5 if quick else SECONDS, **counts, "uncaught": 0}


def changed(chance: random.Random, data: bytes) -> bytes:
    """The same, damaged in one to four places."""
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(data) + 1)
        what = chance.random()
        if what < 0.3:
            data = data[:place] + chance.choice(INTERESTING) + data[place:]
        elif what < 0.6:
            data = (
                data[:place] + chance.randbytes(chance.randint(1, 3)) + data[place + chance.randint(0, 3) :]
            )
        elif what < 0.8:
            data = data[:place] + data[place + chance.randint(1, 9) :]
        else:
            data = data[:place] + data[chance.randrange(len(data) + 1) :]
    return data


def wire(chance: random.Random) -> None:
    """Every byte fed is in exactly one item, whatever it was."""
    case = chance.choice(CASES)
    data = changed(chance, case.wire * chance.randint(1, 3))
    tap = Tap(TapOptions(deflate=DEFLATE if chance.random() < 0.5 else None, max_message_bytes=1 << 16))
    items, place = [], 0
    while place < len(data):
        size = chance.randint(1, 60)
        items += tap.feed(case.sender, data[place : place + size], Stamp(1, 1))
        place += size
    items += tap.finish(Stamp(2, 2))
    assert sum(item.facts["wire"]["bytes"] for item in items) == len(data)
    assert not any(item.facts.get("why") == "decoder fault" for item in items), data


def message(chance: random.Random, texts: list[str]) -> None:
    data = changed(chance, chance.choice(texts).encode())
    text = data.decode(errors="replace")
    codec.parse(text)
    analyzer = Analyzer()
    for seq, one in enumerate((chance.choice(texts), text, chance.choice(texts)), start=1):
        sender = Side.STATION if seq % 2 else Side.CSMS
        analyzer.receive(
            Frame(seq=seq, at_us=seq * 10**6, link="c", station="S", kind=Kind.TEXT, sender=sender, text=one)
        )
    analyzer.finish()


def capture(chance: random.Random, lines: list[bytes]) -> None:
    start = chance.randrange(len(lines) - 20)
    data = changed(chance, b"".join(lines[start : start + 20]))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "segment-00001.jsonl"
        path.write_bytes(data)
        with contextlib.suppress(CaptureError):
            list(open_capture(Path(name)).frames)
        verify(Path(name))
