"""Commands that make a live CSMS send a CALL: they may finish after the replay has, but not for ever."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.engine.replay.regressions import session
from tests.io.faulty_csms import LiveFaultyCsms
from tests.io.live_csms import serving
from twin.engine.replay.evidence import Result
from twin.io.replay_jobs import Job, play
from twin.io.segments import write_capture
from twin.io.targets import target_of

# Asks as the documented example does, says who it is, and then has something else to do.
THEN = """
import os, runpy, sys, time
from pathlib import Path
runpy.run_path({example!r}, run_name="__main__")
Path({pid!r}).write_text(str(os.getpid()))
time.sleep({seconds})
Path({done!r}).touch()
"""


async def replayed(folder: Path, seconds: float) -> Result:
    """A session whose last transaction the CSMS starts, with a command that lingers."""
    frames = session(4, remote=True)
    asked = next(n for n, frame in enumerate(frames) if frame.text and "RemoteStart" in frame.text)
    write_capture(frames[: asked + 2], folder / "remote.capture", vantage="proxy")
    example = str(REPOSITORY / "docs" / "ci" / "ask_csms.py")
    script = folder / "ask.py"
    script.write_text(
        THEN.format(example=example, pid=str(folder / "pid"), done=str(folder / "done"), seconds=seconds)
    )
    async with serving(csms := LiveFaultyCsms({})), csms.desk() as port:
        job = Job(
            path=str(folder / "remote.capture"),
            station="OTMK-0001",
            name="remote",
            target=target_of(csms.url),
            stimulus=f"{sys.executable} {script} 127.0.0.1 {port}",
        )
        return await asyncio.to_thread(play, job)


async def test_a_command_that_has_more_to_do_does_it(tmp_path: Path) -> None:
    result = await replayed(tmp_path, 0.3)
    assert result.passed, result
    assert (tmp_path / "done").exists()


async def test_a_command_that_never_ends_is_ended(tmp_path: Path) -> None:
    result = await replayed(tmp_path, 600)
    assert result.passed, result
    assert not (tmp_path / "done").exists()
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
