"""A project that uses the pytest plugin, in processes of its own: what the tests of the plugin share."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.engine.replay.regressions import session
from twin.io.segments import write_capture

# What this project has too: nothing may warn, no marker is unknown.
PROJECT = """
[tool.pytest.ini_options]
addopts = ["--strict-markers", "--strict-config", "-p", "twin.pytest_plugin", "-ra"]
filterwarnings = ["error"]
asyncio_mode = "auto"
asyncio_default_fixture_loop_scope = "function"
"""


class Project:
    """A folder with a pyproject.toml, captures in ``night`` and whatever tests a test writes."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
        monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
        self.pytester = pytester
        self.path = pytester.path
        self.write("pyproject.toml", PROJECT)

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def night(self, *numbers: int, remote: Iterable[int] = ()) -> None:
        """Captures of these sessions; in those that are ``remote`` the CSMS starts the second transaction."""
        for number in numbers:
            frames = session(number, remote=number in remote)
            write_capture(frames, self.path / "night" / f"{number:03}.capture", vantage="proxy")

    def run(self, *words: str) -> pytest.RunResult:
        return self.pytester.runpytest_subprocess(*words)

    async def beside(self, *words: str) -> pytest.RunResult:
        """Run it while this loop goes on: a CSMS lives there."""
        return await asyncio.to_thread(self.run, *words)
