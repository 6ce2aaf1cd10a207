"""Starts third-party peers as processes of their own, each from its own environment, and ends them again."""

import contextlib
import json
import selectors
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

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


class Served(NamedTuple):
    """A CSMS that runs. A station connects to ``f"{url}/{identity}"``; arthexis wants a slash behind it."""

    url: str
    process: subprocess.Popen[bytes]

    def order(self, station: str, action: str, payload: Any) -> None:
        """Let it send the station a CALL."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{station} {action} {json.dumps(payload)}\n".encode())
        self.process.stdin.flush()


@contextlib.contextmanager
def start_csms(port: int = 0) -> Iterator[str]:
    """Run ocpp-csms; gives its URL without a path. A station connects to ``f"{url}/{identity}"``.

    ``port`` 0 takes a free one. To stop it early and start it again on the same address, leave the block
    and enter another with the port of the first. ``RuntimeError`` with its stderr if it does not come up.
    """
    with _served("ocpp-csms", str(port)) as served:
        yield served.url


@contextlib.contextmanager
def serve_csms(book: Path) -> Iterator[Served]:
    """Run ocpp-csms; ``book`` takes its events, a JSON line each."""
    with _served("ocpp-csms", "0", "127.0.0.1", str(book)) as served:
        yield served


@contextlib.contextmanager
def serve_broker(*tags: str) -> Iterator[Served]:
    """Run ocpp-broker, which accepts these tags and no others."""
    with _served("ocpp-broker", *tags) as served:
        yield served._replace(url=f"{served.url}/org1")


@contextlib.contextmanager
def serve_arthexis(folder: Path, passwords: Mapping[str, str]) -> Iterator[Served]:
    """Run arthexis, and Redis for it, with one password a station. Skips without redis-server.

    ``folder`` is made; afterwards its ``db.sqlite3`` holds what was stored.
    """
    stations = [f"{identity}={password}" for identity, password in passwords.items()]
    with _redis() as socket, _served("arthexis", str(folder), str(socket), *stations) as served:
        yield served._replace(url=f"{served.url}/ws/ocpp")


@contextlib.contextmanager
def _redis() -> Iterator[Path]:
    """A Redis that keeps nothing and listens on no port; gives its socket."""
    server = shutil.which("redis-server")
    if server is None:
        absent("redis-server")
    with tempfile.TemporaryDirectory(prefix="redis") as folder:  # pytest's may be too long for a socket
        socket = Path(folder) / "socket"
        command = [str(server), "--port", "0", "--unixsocket", str(socket), "--dir", folder]
        command += ["--save", "", "--appendonly", "no"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
            try:
                said = ""
                while "ready to accept connections" not in said.casefold():
                    said = _next_line(process)
                    if not said:
                        raise RuntimeError("redis-server did not start")
                yield socket
            finally:
                _end(process)


@contextlib.contextmanager
def _served(name: str, *arguments: str) -> Iterator[Served]:
    """Run the ``serve.py`` of a peer."""
    command: list[str | Path] = [peer_python(name), PEERS / name / "serve.py", *arguments]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0
        ) as process,
    ):
        try:
            words = _next_line(process).split()
            if words[:1] != ["listening"]:
                errors.seek(0)
                raise RuntimeError(f"{name} did not start: {errors.read()[-2000:]}")
            yield Served(f"ws://127.0.0.1:{words[1]}", process)
        finally:
            _end(process)


def _next_line(process: subprocess.Popen[bytes]) -> str:
    """The next line of an unbuffered process; "" when it ends or stays silent for ``READY_S``."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline().decode() if selector.select(READY_S) else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to leave, and insist when it does not."""
    process.terminate()
    try:
        process.wait(LEAVE_S)
    except subprocess.TimeoutExpired:
        process.kill()
