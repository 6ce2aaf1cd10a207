"""R8: each of the first 300 file calls of a recording fails, once and for good."""

import tempfile
from pathlib import Path
from typing import Any

from tests.io.faulty_files import Scripted, fails
from tests.io.test_store import Run, seqs, writer_of
from twin.io.integrity import verify
from twin.io.manifest import segments_of

CALLS = 300


def run(quick: bool) -> dict[str, Any]:
    begun = {"once": 0, "for good": 0}
    for number in range(1, CALLS + 1, 17 if quick else 1):
        for how, last in (("once", float(number)), ("for good", float("inf"))):
            with tempfile.TemporaryDirectory() as name:
                begun[how] += one(Path(name), number, last)
    return {"calls": CALLS, "runs_that_began": begun}


def one(folder: Path, number: int, last: float) -> bool:
    try:
        writing = Run(writer_of(folder, files=Scripted(fails(number, last))))
    except OSError:
        return False  # refused at the start, in words
    for _ in range(40):
        writing.say(2)
        writing.commit()
    for _ in range(12):
        writing.commit()
    left = writing.close()
    there = (folder / "c").exists() and segments_of(folder / "c")
    held = seqs(folder) if there else []
    assert held[: writing.acknowledged] == list(range(1, writing.acknowledged + 1)), number
    if last == number:
        assert not left
        assert held == list(range(1, 81)), (number, len(held))
        assert {problem.segment for problem in verify(folder / "c").problems} <= {"manifest.json"}, number
    return True
