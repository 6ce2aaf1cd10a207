"""Starts third-party peers as processes of their own, each from its own environment, and ends them again."""

import contextlib
import selectors
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import absent

PEERS = Path(__file__).resolve().parent
READY_S = 60  # a cold import of the peer on a busy machine takes seconds; nobody waits longer than it needs
LEAVE_S = 20


def peer_python(name: str) -> Path:
    """The interpreter of a peer's own environment; skips where `make peers` has not been run."""
    python = PEERS / name / ".venv" / "bin" / "python"
    if not python.exists():
        absent(f"the peer {name} (make peers)")
    return python


def peer_command(name: str, command: str) -> Path:
    """A command of a peer from npm; skips where `make peers` has not been run."""
    path = PEERS / name / "node_modules" / ".bin" / command
    if not path.exists():
        absent(f"the peer {name} (make peers)")
    return path


@contextlib.contextmanager
def start_csms(port: int = 0) -> Iterator[str]:
    """Run ocpp-csms; gives its URL without a path. A station connects to ``f"{url}/{identity}"``.

    ``port`` 0 takes a free one. To stop it early and start it again on the same address, leave the block
    and enter another with the port of the first. ``RuntimeError`` with its stderr if it does not come up.
    """
    command: list[str | Path] = [peer_python("ocpp-csms"), PEERS / "ocpp-csms" / "serve.py", str(port)]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            words = _first_line(process).split()
            if words[:1] != ["listening"]:
                errors.seek(0)
                raise RuntimeError(f"ocpp-csms did not start: {errors.read()[-2000:]}")
            yield f"ws://127.0.0.1:{words[1]}"
        finally:
            _end(process)


def _first_line(process: subprocess.Popen[str]) -> str:
    """What the process says first; "" when it ends or stays silent for ``READY_S``."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline() if selector.select(READY_S) else ""


def _end(process: subprocess.Popen[str]) -> None:
    """Ask the process to leave, and insist when it does not."""
    process.terminate()
    try:
        process.wait(LEAVE_S)
    except subprocess.TimeoutExpired:
        process.kill()
