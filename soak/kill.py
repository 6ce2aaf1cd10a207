"""R9: a writer killed with SIGKILL at every file call and at random moments, at least 2,000 times.

After each kill every line that was committed must be there, the capture must be sound once a writer has gone
on with it, and what is lost must be less than one group commit. The same look with the kill left out, and
with the syncs left out, must find what it is there to find.
"""

import contextlib
import os
import random
import signal
import tempfile
import threading
from pathlib import Path
from typing import Any

from tests.io.faulty_files import PowerCut, Scripted
from tests.io.test_store import Run, seqs, writer_of
from twin.io.integrity import verify
from twin.io.manifest import segments_of

TRIALS = 2_000
ROUNDS, PER_ROUND = 12, 5


def child(folder: Path, told: int, when: int, after: bool, kill: bool) -> None:
    """Write, say what is safe on ``told``, and die at call ``when``; never returns."""

    def at(number: int, name: str) -> None:
        if kill and number == when:
            os.kill(os.getpid(), signal.SIGKILL)

    run = Run(writer_of(folder, files=Scripted(at, after=after), resume=True))
    for _ in range(ROUNDS):
        run.say(PER_ROUND)
        os.write(told, b"a" + run.seq.to_bytes(4))  # accepted
        if run.commit():
            os.write(told, b"c" + run.seq.to_bytes(4))  # committed
    run.close()
    os._exit(0)


def trial(folder: Path, when: int, *, after: bool, late_s: float, kill: bool = True) -> tuple[bool, int, int]:
    """Whether it was killed, the last record it had called safe, and the last it had accepted."""
    heard, told = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(heard)
        child(folder, told, when, after, kill)
    os.close(told)
    timer = threading.Timer(late_s, killed_late, (pid,)) if late_s else None
    if timer:
        timer.start()
    data = b""
    while piece := os.read(heard, 4096):
        data += piece
    os.close(heard)
    _, status = os.waitpid(pid, 0)
    if timer:
        timer.cancel()
        timer.join()
    words = [data[start : start + 5] for start in range(0, len(data) - 4, 5)]
    last = {kind: max((int.from_bytes(word[1:]) for word in words if word[:1] == kind), default=0)
            for kind in (b"a", b"c")}  # fmt: skip
    return os.WIFSIGNALED(status), last[b"c"], last[b"a"]


def killed_late(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it was done before its time
        os.kill(pid, signal.SIGKILL)


def judge(folder: Path, safe: int) -> int:
    """What the kill left: everything safe is there, less than one commit is lost, a new writer goes on."""
    there = (folder / "c").exists() and segments_of(folder / "c")
    held = seqs(folder) if there else []
    assert held[:safe] == list(range(1, safe + 1)), f"of {safe} safe records only {len(held)} are there"
    run = Run(writer_of(folder, resume=True))
    before = run.seq
    run.say(2)
    run.commit()
    run.close()
    assert seqs(folder) == list(range(1, before + 3))
    assert not verify(folder / "c").problems, verify(folder / "c").problems[:3]
    return before


def run(quick: bool) -> dict[str, Any]:
    chance = random.Random(9)  # noqa: S311  # not for secrets
    kills = most_lost = 0
    trials = 60 if quick else TRIALS
    while kills < trials:
        with tempfile.TemporaryDirectory() as name:
            folder, safe, accepted = Path(name), 0, 0
            for _ in range(chance.choice((1, 1, 1, 3))):  # also killed again while it recovers
                at_random = chance.random() < 0.3
                when = 0 if at_random else chance.randint(1, 150)
                late_s = chance.uniform(0.0, 0.02) if at_random else 0.0
                killed, told, accepted = trial(folder, when, after=chance.random() < 0.5, late_s=late_s)
                kills += killed
                safe = max(safe, told)
            most_lost = max(most_lost, accepted - judge(folder, safe))
    assert most_lost <= PER_ROUND, f"{most_lost} records lost, more than one group commit"
    return {"kills": kills, "lost_at_most": most_lost, "in_one_group_commit": PER_ROUND, **vacuity()}


def vacuity() -> dict[str, bool]:
    """Without the kill nothing is killed; without the syncs a power cut loses what was called safe."""
    with tempfile.TemporaryDirectory() as name:
        killed, _, _ = trial(Path(name), 40, after=False, late_s=0.0, kill=False)
    assert not killed
    lost = {}
    for syncs in (True, False):
        with tempfile.TemporaryDirectory() as name:
            files = PowerCut(syncs=syncs)
            writing = Run(writer_of(Path(name), files=files))
            for _ in range(5):
                writing.say(2)
                writing.commit()
            files.cut_power()
            whole = any(path.stat().st_size for path in segments_of(Path(name) / "c"))
            lost[syncs] = (seqs(Path(name)) if whole else [])[:10] != list(range(1, 11))
    assert lost == {True: False, False: True}
    return {"without_the_kill_none_dies": True, "without_the_sync_a_power_cut_shows": True}
