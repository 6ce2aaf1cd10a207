"""Both ends of a relayed connection as plain sockets, the relays as real processes; deadlines, no sleeps."""

import base64
import fcntl
import hashlib
import os
import pty
import re
import selectors
import signal
import socket
import ssl
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tests.conftest import REPOSITORY, absent
from twin.io.patience import FAREWELL_S, SETTLE_S

DEADLINE_S = 30.0
LAST_DEADLINE_S = FAREWELL_S + SETTLE_S + DEADLINE_S  # a relay may wait for its recorder
KEY = base64.b64encode(bytes(range(16))).decode()
ACCEPT = base64.b64encode(
    hashlib.sha1(f"{KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode(), usedforsecurity=False).digest()
).decode()
ADDON = REPOSITORY / "addons" / "record.py"


class Tls(msgspec.Struct, frozen=True):
    """Contexts of both ends, and what mitmproxy must be told so that both legs verify."""

    station: ssl.SSLContext
    csms: ssl.SSLContext
    options: tuple[str, ...]


class Relay(msgspec.Struct):
    """A relay that listens on ``port`` in front of ``csms``, recording into ``capture``."""

    process: subprocess.Popen[str]
    port: int
    csms: socket.socket
    capture: Path
    tls: Tls | None = None
    said: str = ""

    def stop(self, with_signal: int = signal.SIGTERM) -> int:
        """End it; the exit code. ``said`` then holds what it wrote."""
        self.process.send_signal(with_signal)
        return self.ended()

    def ended(self) -> int:
        self.said += self.process.communicate(timeout=LAST_DEADLINE_S)[0]
        return self.process.returncode

    @property
    def findings(self) -> Path:
        return self.capture.with_name(f"{self.capture.stem}.findings.jsonl")


@contextmanager
def twin_record(folder: Path, *more: str, tls: Tls | None = None) -> Iterator[Relay]:
    """A real ``twin record`` in front of a listener of ours."""
    with listener() as csms:
        scheme = "wss" if tls else "ws"
        command = [sys.executable, "-m", "twin", "record", "--listen", "127.0.0.1:0"]
        command += ["--upstream", f"{scheme}://localhost:{csms.getsockname()[1]}"]
        command += ["-o", str(folder / "site.capture"), "--key-file", str(folder / "site.key"), *more]
        command += [f"--set={option}" for option in (tls.options if tls else ())]
        with running(command) as process:
            port, said = port_of(process, r"listening 127\.0\.0\.1:(\d+)")
            yield Relay(process, port, csms, folder / "site.capture", tls, said)


@contextmanager
def unread_terminal_record(folder: Path, *more: str) -> Iterator[Relay]:
    """A real ``twin record`` in a terminal of 40 rows that nobody reads once it listens."""
    with listener() as csms:
        command = [sys.executable, "-m", "twin", "record", "--listen", "127.0.0.1:0"]
        command += ["--upstream", f"ws://localhost:{csms.getsockname()[1]}"]
        command += ["-o", str(folder / "site.capture"), "--key-file", str(folder / "site.key"), *more]
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        environment = {**os.environ, "TERM": "xterm"}
        process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, text=True
        )
        os.close(theirs)
        try:
            said = ""
            while not (found := re.search(r"listening 127\.0\.0\.1:(\d+)", said)):
                said += os.read(ours, 4096).decode(errors="replace")
            yield Relay(process, int(found[1]), csms, folder / "site.capture", None, said)
        finally:
            process.kill()
            process.wait(DEADLINE_S)
            os.close(ours)


@contextmanager
def mitmdump(
    folder: Path, *, script: Path = ADDON, upstream_scheme: str = "http", tls: Tls | None = None, **more: str
) -> Iterator[Relay]:
    """A real ``mitmdump -s addons/record.py`` in front of a listener of ours."""
    program = Path(sys.executable).with_name("mitmdump")
    if not program.exists():
        absent("mitmdump")
    with listener() as csms:
        command = [
            str(program),
            "--mode",
            f"reverse:{upstream_scheme}://localhost:{csms.getsockname()[1]}@127.0.0.1:0",
        ]
        settings = {
            "websocket": "false",
            "tcp_timeout": "604800",
            "confdir": str(folder / "mitmproxy"),
            "twin_capture": str(folder / "site.capture"),
            "twin_key_file": str(folder / "site.key"),
            **more,
        }
        command += ["-s", str(script)]
        command += [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        with running(command) as process:
            port, said = port_of(process, r"listening at (?:https?://)?127\.0\.0\.1:(\d+)")
            yield Relay(process, port, csms, folder / "site.capture", tls, said)


@contextmanager
def running(command: list[str], *, stdin: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process that does not outlive the test, whatever happens."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.communicate(timeout=DEADLINE_S)
                finally:
                    process.kill()


def port_of(process: subprocess.Popen[str], pattern: str) -> tuple[int, str]:
    """The port in the first line that matches, and everything said until then."""
    said = line_with(process, pattern)
    found = re.search(pattern, said)
    assert found, said
    return int(found[1]), said


def line_with(process: subprocess.Popen[str], pattern: str) -> str:
    """Everything the process says until a line matches; fails when it ends or the deadline passes."""
    assert process.stdout is not None
    said = ""
    with selectors.DefaultSelector() as ready:
        ready.register(process.stdout, selectors.EVENT_READ)
        while not re.search(pattern, said):
            assert ready.select(DEADLINE_S), f"silent after {said!r}"
            piece = os.read(process.stdout.fileno(), 4096).decode()
            assert piece, f"ended after {said!r}"
            said += piece
    return said


@contextmanager
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as server:
        server.settimeout(DEADLINE_S)
        yield server


@contextmanager
def connected(
    relay: Relay,
    path: str = "/ocpp/CP7",
    headers: bytes = b"",
    subprotocol: str = "ocpp1.6",
    extensions: str = "",
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends after the 101: what the station holds, and what the CSMS holds."""
    with ThreadPoolExecutor(1) as beside:
        arriving = beside.submit(_accept, relay, subprotocol, extensions)
        station = socket.create_connection(("127.0.0.1", relay.port), timeout=DEADLINE_S)
        try:
            if relay.tls:
                station = relay.tls.station.wrap_socket(station, server_hostname="localhost")
            station.sendall(
                f"GET {path} HTTP/1.1\r\nHost: csms.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Protocol: {subprotocol}\r\n".encode()
                + headers
                + b"\r\n"
            )
            answer = answered(station)
            assert b" 101 " in answer.partition(b"\r\n")[0], answer
            with arriving.result(DEADLINE_S) as csms:
                yield station, csms
        finally:
            station.close()


def _accept(relay: Relay, subprotocol: str, extensions: str) -> socket.socket:
    csms, _ = relay.csms.accept()
    csms.settimeout(DEADLINE_S)
    if relay.tls:
        csms = relay.tls.csms.wrap_socket(csms, server_side=True)
    answered(csms)
    more = f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else ""
    csms.sendall(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {ACCEPT}\r\nSec-WebSocket-Protocol: {subprotocol}\r\n{more}\r\n".encode()
    )
    return csms


def answered(end: socket.socket) -> bytes:
    """A message head, byte by byte, so that nothing behind it is swallowed."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = end.recv(1)
        assert byte, head
        head += byte
    return head


def received(end: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes, or fewer if the other side ends."""
    data = bytearray()
    while len(data) < size:
        piece = end.recv(size - len(data))
        if not piece:
            break
        data += piece
    return bytes(data)


def rest(end: socket.socket) -> bytes:
    """Everything until the socket ends, however it ends."""
    data = bytearray()
    try:
        while piece := end.recv(65_536):
            data += piece
    except (ConnectionResetError, ssl.SSLError):
        pass
    return bytes(data)
