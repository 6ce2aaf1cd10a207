"""Every part of the soak, shortened: what takes hours in full works, and can go red."""

import importlib
import json
import subprocess
import sys

import pytest

from soak.__main__ import PARTS
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", PARTS)
def test_a_part_holds_when_it_is_short(name: str) -> None:
    assert importlib.import_module(PARTS[name]).run(True)


def test_a_broken_promise_ends_with_1_and_says_which() -> None:
    program = (
        "import sys; import soak.kill; import soak.__main__ as runner\n"
        "def broken(quick): raise AssertionError('lost one')\n"
        "soak.kill.run = broken; sys.argv = ['soak', '--quick', '--only', 'kill']; sys.exit(runner.main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=REPOSITORY
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["why"] == "AssertionError: lost one"
