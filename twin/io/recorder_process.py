"""The recorder as a process of its own: how it is started, and what it does with what it is handed."""

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from twin.certificate.profile import Profile
from twin.engine.analyzer import Analyzer
from twin.io import clock
from twin.io.handover import ITEMS, Channel, Item
from twin.io.judging import Judge
from twin.io.keys import load_or_create
from twin.io.patience import cpu_s
from twin.io.recorder import Recorder
from twin.io.redact import Redactor
from twin.io.seal import Signer
from twin.io.segments import CaptureWriter
from twin.io.settings import Settings
from twin.io.watching import Watcher
from twin.model import Side

LIMITS_OF_TRUTH = (
    "a proxy restart drops live sockets; stations reconnect",
    "an RST on one side becomes a FIN on the other",
    "TLS is ended and started anew; TCP segmentation and segment timing change",
    "a dead host is a dead path unless a bypass exists",
)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # none of them ends a recorder
_JUDGED_AT_ONCE = 200  # frames between two looks at the pipe: records come before opinions


def default_key_file() -> Path:
    """Where the pseudonym key of this user lies unless the command line says otherwise."""
    return Path.home() / ".config" / "octoflex-twin" / "pseudonym.key"


def findings_path_of(directory: Path) -> Path:
    """Opinions stand beside the capture, never in it."""
    name = directory.name.removesuffix(".capture")
    return directory.with_name(f"{name}.findings.jsonl")


def make_recorder(
    settings: Settings,
    *,
    profile: Profile | None = None,
    vantage: str = "proxy",
    head: dict[str, Any] | None = None,
    watchers: Sequence[Watcher] = (),
) -> Recorder:
    """A recorder writing (or going on with) a capture, and its findings beside it.

    Raises ``ValueError`` or ``OSError`` for what cannot be recorded to.
    """
    directory = Path(settings.directory)
    key_file = Path(settings.key_file) if settings.key_file else default_key_file()
    key = load_or_create(key_file, "pseudonym key")
    redactor = Redactor(key, keep_id_tags=settings.keep_id_tags)
    seal_key = settings.store.seal_key
    now = clock.now()
    writer = CaptureWriter(
        directory,
        created_us=now.wall_us,
        vantage=vantage,
        policy=settings.store,
        signer=Signer(load_or_create(Path(seal_key), "sealing key")) if seal_key else None,
        resume=True,
        head={
            "mode": "websocket" if settings.websocket else "bytes",
            "byte_exact": not settings.websocket,
            "proxy": {
                "mode": settings.mode,
                "listeners": [
                    {"listen": f"{route.listen_host}:{route.listen_port}", "upstream": route.upstream}
                    for route in settings.routes
                ],
            },
            "redaction": {"key": redactor.fingerprint, "keep_id_tags": settings.keep_id_tags},
            "limits_of_truth": list(LIMITS_OF_TRUTH),
            **(head or {}),
        },
    )
    return Recorder(writer, redactor, Judge(Analyzer(profile), findings_path_of(directory), watchers))


def deliver(item: Item, recorder: Recorder) -> None:
    """Give one item of the pipe to the recorder."""
    match item:
        case ("data", conn, sender, data, wall_ns, mono_ns):
            recorder.chunk(conn, Side(sender), data, wall_ns, mono_ns)
        case ("message", conn, sender, kind, data, facts, wall_ns, mono_ns):
            recorder.message(conn, Side(sender), kind, data, facts, wall_ns, mono_ns)
        case ("hello", restarts, wires, wall_ns, mono_ns):
            recorder.hello(restarts, wires, wall_ns, mono_ns)
        case ("open", conn, facts, wall_ns, mono_ns):
            recorder.opened(conn, facts, wall_ns, mono_ns)
        case ("refused", conn, facts, wall_ns, mono_ns):
            recorder.refused(conn, facts, wall_ns, mono_ns)
        case ("end", conn, facts, wall_ns, mono_ns):
            recorder.ended(conn, facts, wall_ns, mono_ns)
        case ("gap", conn, facts, wall_ns, mono_ns):
            recorder.unread(conn, facts, wall_ns, mono_ns)
        case ("lost", conn, sender, reason, chunks, size, _, wall_ns, mono_ns):
            recorder.lost(conn, Side(sender), reason, chunks, size, wall_ns, mono_ns)
        case ("fault", where, what, count, wall_ns, mono_ns):
            recorder.faulted(where, what, count, wall_ns, mono_ns)
        case ("rotate", wall_ns, mono_ns):
            recorder.rotate(wall_ns, mono_ns)
        case ("tick", wall_ns, mono_ns, counters):
            recorder.tick(wall_ns, mono_ns, counters)


def steps(batches: Iterable[list[Item]], recorder: Recorder, fd: int = -1) -> Iterator[None]:
    """Record until the proxy closes its end of the pipe, whose other end is ``fd``: an item a step.

    Whoever takes the steps may leave them to another thread at any time.
    """
    problem = ""
    for batch in batches:
        for item in batch:
            deliver(item, recorder)
            yield
        if recorder.problem != problem:  # one alarm, and one word when it is over
            problem = recorder.problem
            say(
                f"alarm: nothing is stored: {problem}; traffic goes on"
                if problem
                else "alarm over: storing again"
            )
        now = clock.now()
        if batch:
            recorder.lag_s = max(0.0, (now.mono_ns - _mono_ns(batch[-1])) / 1e9)
        recorder.commit(now.mono_ns)
        while recorder.judge.judge(_JUDGED_AT_ONCE) and not _readable(fd):
            yield


def _mono_ns(item: Item) -> int:
    return int(item[1 + ITEMS[item[0]].index("mono_ns")])


def _readable(fd: int) -> bool:
    """Whether the next batch is waiting; what a test hands over has no file and always waits."""
    return fd < 0 or bool(select.select((fd,), (), (), 0)[0])


def start(settings: Settings) -> Channel:
    """A recorder as a child of this process, reading from a pipe.

    It begins with ``SIGNALS`` blocked: Ctrl-C goes to all who hold the terminal, and would end one that is
    still being loaded.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "twin.cli.recording", encoded(settings)], stdin=subprocess.PIPE
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert child.stdin is not None
    fd = os.dup(child.stdin.fileno())
    child.stdin.close()

    def wait(timeout_s: float | None) -> bool:
        try:
            child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    return Channel(fd, child.poll, child.kill, wait, child.terminate, lambda: cpu_s(child.pid))


def encoded(settings: Settings) -> str:
    """The settings as one argument of a command line; they hold paths and addresses, never a secret."""
    return msgspec.json.encode(settings).decode()


def decoded(text: str) -> Settings:
    """What ``encoded`` made; raises ``ValueError`` for anything else."""
    return msgspec.json.decode(text, type=Settings)


def say(text: str) -> None:
    """A line on standard error, if anybody is still there."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
