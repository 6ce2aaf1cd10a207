"""The recorder's process, started by the relay or by the addon: items from standard input into a capture."""

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from msgspec.structs import replace

from twin.cli.common import CLEAN, FINDINGS, INTERNAL, USAGE
from twin.io import clock
from twin.io.handover import items_of
from twin.io.profiles import profile_named
from twin.io.recorder import Recorder
from twin.io.recorder_process import SIGNALS, decoded, make_recorder, say, steps
from twin.io.settings import Settings
from twin.io.terminal import unhurried
from twin.io.watching import Watcher
from twin.model import Severity
from twin.report.watchers import watchers_of

_NICE = 10  # while there is traffic it comes first: the relay is not to wait for a processor that we hold


def main(argv: Sequence[str] | None = None) -> int:
    """Read items from standard input and speaks on standard error."""
    unhurried()
    settings = decoded((argv or sys.argv[1:])[0])
    hurry = threading.Event()
    # the proxy ends us by closing the pipe, so nothing it has handed over is lost
    for ignored in SIGNALS:
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: hurry.set())  # from the proxy: traffic is over
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    fd = sys.stdin.fileno()
    # niceness is a thread's and cannot be taken back: this thread goes on when it has to be swift
    with ThreadPoolExecutor(1, initializer=_be_nice, initargs=(hurry,)) as nice:
        try:
            recorder = nice.submit(_recorder, settings).result()
        except (ValueError, OSError) as error:
            say(f"twin: cannot record to {settings.directory}: {error}")
            return USAGE
        try:
            work = steps(items_of(fd), recorder, fd)
            nice.submit(_take, work, hurry).result()
            _take(work)
            now = clock.now()
            summary = recorder.finish(now.wall_ns, now.mono_ns)
        except Exception:  # not the 1 of findings; the proxy starts the next recorder, which goes on
            say(traceback.format_exc())
            return INTERNAL
    say(summary.text(Path(settings.directory).name))
    if not summary.exact:
        say("twin: seen is not recorded plus dropped: a bug of ours, please report it")
        return INTERNAL
    worst = min((Severity(name).rank for name in summary.findings), default=len(Severity))
    return FINDINGS if worst <= Severity(settings.fail_on).rank else CLEAN


def _be_nice(hurry: threading.Event) -> None:
    if not hurry.is_set():
        with contextlib.suppress(OSError):
            os.nice(_NICE)


def _take(work: Iterator[None], hurry: threading.Event | None = None) -> None:
    """Take steps until there are none, or until there is no time to be nice."""
    for _ in work:
        if hurry is not None and hurry.is_set():
            return


def _recorder(settings: Settings) -> Recorder:
    profile = profile_named(settings.profile) if settings.profile else None
    return make_recorder(settings, profile=profile, watchers=_watchers(settings))


def _watchers(settings: Settings) -> list[Watcher]:
    """Whoever looks on; a port for metrics that somebody has taken since is no reason not to record."""
    name = Path(settings.directory).name
    try:
        return watchers_of(settings, name)
    except OSError as error:
        say(f"alarm: no metrics on {settings.metrics}: {error.strerror or error}; recording goes on")
        return watchers_of(replace(settings, metrics=""), name)


if __name__ == "__main__":
    sys.exit(main())
