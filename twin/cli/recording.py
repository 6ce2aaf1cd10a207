"""The recorder's process, started by the relay or by the addon: items from standard input into a capture."""

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from twin.cli.common import CLEAN, FINDINGS, INTERNAL, USAGE
from twin.io.handover import items_of
from twin.io.profiles import profile_named
from twin.io.recorder_process import decoded, make_recorder, run, say
from twin.io.settings import Settings
from twin.io.terminal import unhurried
from twin.io.watching import Watcher
from twin.model import Severity
from twin.report.watchers import watchers_of

_NICE = 10  # traffic comes first: the relay is not to wait for a processor that we hold


def main(argv: Sequence[str] | None = None) -> int:
    """Read items from standard input and speaks on standard error."""
    unhurried()
    settings = decoded((argv or sys.argv[1:])[0])
    # the proxy ends us by closing the pipe, so nothing it has handed over is lost
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    try:
        profile = profile_named(settings.profile) if settings.profile else None
        watchers = _watchers(settings)
        recorder = make_recorder(settings, profile=profile, watchers=watchers)
    except (ValueError, OSError) as error:
        say(f"twin: cannot record to {settings.directory}: {error}")
        return USAGE
    fd = sys.stdin.fileno()
    try:
        summary = run(items_of(fd), recorder, fd)
    except Exception:  # not the 1 of findings; the proxy starts the next recorder, which goes on
        say(traceback.format_exc())
        return INTERNAL
    say(summary.text(Path(settings.directory).name))
    if not summary.exact:
        say("twin: seen is not recorded plus dropped: a bug of ours, please report it")
        return INTERNAL
    worst = min((Severity(name).rank for name in summary.findings), default=len(Severity))
    return FINDINGS if worst <= Severity(settings.fail_on).rank else CLEAN


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
