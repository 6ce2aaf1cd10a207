"""What the benchmarks of relaying share: relays and loads as processes, and what they cost."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

HERE = Path(__file__).parent
TICKS_S = os.sysconf("SC_CLK_TCK")


@contextmanager
def process(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as started:
        try:
            yield started
        finally:
            started.send_signal(signal.SIGTERM)
            started.wait(60)


@contextmanager
def relay(kind: str, folder: Path, csms_port: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A relay of this kind in front of the CSMS, and the port it listens on."""
    with process(RELAYS[kind](folder, csms_port)) as started:
        port = line_of(started, r"listening .*127\.0\.0\.1:(\d+)")
        Thread(target=started.stdout.read).start()  # type: ignore[union-attr]  # its log must not fill the pipe
        yield started, port


def line_of(started: subprocess.Popen[str], pattern: str) -> str:
    """The first group of the next line that matches."""
    assert started.stdout
    for line in started.stdout:
        if found := re.search(pattern, line):
            return found[1]
    raise SystemExit(f"{started.args}: ended without {pattern}")


def tell(started: subprocess.Popen[str], word: object) -> None:
    assert started.stdin
    started.stdin.write(f"{word}\n")
    started.stdin.flush()


def cpu_s(pid: int) -> float:
    """User and system time of a process, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_S


def resident_bytes(pid: int) -> int:
    line = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")
    )
    return int(line.split()[1]) << 10


def twin_record(folder: Path, csms_port: str) -> list[str]:
    command = [sys.executable, "-u", "-m", "twin", "record", "--quiet"]
    command += ["--upstream", f"ws://127.0.0.1:{csms_port}", "--listen", "127.0.0.1:0"]
    return [*command, "-o", str(folder / "c"), "--key-file", str(folder / "key")]


def _mitmdump(folder: Path, csms_port: str, *more: str, **settings: str) -> list[str]:
    program = str(Path(sys.executable).with_name("mitmdump"))
    command = [program, "--mode", f"reverse:http://127.0.0.1:{csms_port}@127.0.0.1:0", *more]
    held = {"confdir": str(folder / "mitmproxy"), **settings}
    return command + [part for name, value in held.items() for part in ("--set", f"{name}={value}")]


def naive(folder: Path, csms_port: str) -> list[str]:
    return _mitmdump(folder, csms_port, "-s", str(HERE / "_naive.py"), naive_log=str(folder / "naive.jsonl"))


def bare(folder: Path, csms_port: str) -> list[str]:
    return _mitmdump(folder, csms_port, websocket="false")


def bare_websocket(folder: Path, csms_port: str) -> list[str]:
    return _mitmdump(folder, csms_port)


def addon(folder: Path, csms_port: str) -> list[str]:
    script = str(HERE.parent / "addons" / "record.py")
    settings = {"twin_capture": str(folder / "c"), "twin_key_file": str(folder / "key")}
    return _mitmdump(folder, csms_port, "-s", script, websocket="false", tcp_timeout="604800", **settings)


def breaker_open(folder: Path, csms_port: str) -> list[str]:
    """The tests' addon that fails in every message: within the warm-up its breaker opens."""
    script = str(HERE.parent / "tests" / "addons" / "faulty.py")
    settings = {"twin_capture": str(folder / "c"), "twin_key_file": str(folder / "key")}
    return _mitmdump(folder, csms_port, "-s", script, websocket="false", fault="RuntimeError", **settings)


RELAYS = {
    "twin record": twin_record,
    "mitmdump with a naive addon": naive,
    "mitmdump, raw": bare,
    "mitmdump, WebSocket": bare_websocket,
    "mitmdump -s addons/record.py": addon,
    "mitmdump, breaker open": breaker_open,
}
