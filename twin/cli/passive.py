"""twin record --passive: a recording of what somebody else captures; nothing of ours stands in the path."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import typer

from twin.cli.common import CLEAN, FINDINGS, INTERNAL, UNREADABLE, USAGE, fail, note
from twin.cli.record import settled
from twin.io import clock
from twin.io.passive import LIMITS_OF_TRUTH, Listener, record
from twin.io.passive_follow import Follower
from twin.io.passive_ring import Ring
from twin.io.profiles import profile_named
from twin.io.recorder import Recorder
from twin.io.recorder_process import make_recorder
from twin.io.settings import Settings
from twin.io.terminal import unhurried
from twin.model import Severity
from twin.report.watchers import watchers_of

_MISSING = (
    "twin record --passive reads capture files with tshark, which is not on PATH; install it with: "
    "apt install tshark (Debian, Ubuntu), dnf install wireshark-cli (Fedora), or from wireshark.org"
)
_MOST_SAID = 10


def starter(source: Path, *, once: bool) -> Callable[[Settings], NoReturn]:
    """``passive`` as the verb calls it: told the settings, it ends the program."""

    def start(settings: Settings) -> NoReturn:
        raise typer.Exit(passive(source, settings, once=once))

    return start


def passive(source: Path, settings: Settings, *, once: bool = False) -> int:
    """Record what the ring (or the file) ``source`` holds and will hold, until interrupted; the exit code.

    ``once``, and any single file: read what is there, then end.
    """
    tshark = shutil.which("tshark")
    if tshark is None:
        raise fail(_MISSING, USAGE)
    unhurried()
    ring = Ring(source)
    once = once or not source.is_dir()
    _check(ring, once)
    listener = Listener(clock.now(), _sayer())
    follower = Follower(ring, listener, tshark, once=once)
    recorder = _recorder(settings, source)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: follower.ask_to_stop())
    note(f"reading {source}" if once else f"following {source}")
    summary = record(follower.batches(), listener, recorder)
    note(summary.text(Path(settings.directory).name))
    _say_what_was_not_read(follower, listener)
    if not summary.exact:
        raise fail("seen is not recorded plus dropped: a bug of ours, please report it", INTERNAL)
    if follower.files and len(follower.bad_files) == follower.files and not listener.packets:
        raise fail(f"nothing in {source} could be read: {follower.bad_files[0]}", UNREADABLE)
    worst = min((Severity(name).rank for name in summary.findings), default=len(Severity))
    return FINDINGS if worst <= Severity(settings.fail_on).rank else CLEAN


def _check(ring: Ring, once: bool) -> None:
    """End before anything is written where there is nothing to read."""
    source = ring.source
    if not source.exists():
        raise fail(f"--passive {source}: there is no such file or directory", USAGE)
    try:
        ring.look()
    except OSError as error:
        raise fail(f"--passive {source}: {error.strerror}", USAGE) from error
    if ring.waiting or not once:
        return
    if source.is_dir():
        raise fail(f"--passive {source}: no pcap or pcapng file in it", UNREADABLE)
    raise fail(f"--passive {source}: neither pcap nor pcapng", UNREADABLE)


def _recorder(settings: Settings, source: Path) -> Recorder:
    directory = Path(settings.directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise fail(
            f"cannot record to {directory}: it is not empty, and a ring is always read from its oldest file",
            USAGE,
        )
    settings = settled(settings)
    now = clock.now()
    head = {
        "proxy": {"mode": "passive", "listeners": []},
        "source": {"ring": source.name, "read_by": "tshark"},
        "clock": {
            "wall_ns": now.wall_ns,
            "mono_ns": now.mono_ns,
            "source": "the capture files",
            "mono": "derived from the wall clock of the packets; they have no other",
        },
        "limits_of_truth": list(LIMITS_OF_TRUTH),
    }
    try:
        profile = profile_named(settings.profile) if settings.profile else None
        watchers = watchers_of(settings, Path(settings.directory).name)
        return make_recorder(settings, profile=profile, vantage="passive", head=head, watchers=watchers)
    except (ValueError, OSError) as error:
        raise fail(f"cannot record to {settings.directory}: {error}", USAGE) from error


def _say_what_was_not_read(follower: Follower, listener: Listener) -> None:
    ring = follower.ring
    rows = [f"read      {follower.files} files, {listener.packets:,} TCP segments"]
    for count, size, why in listener.site.books.passed_by():
        rows.append(f"passed by {count:,} connections {size:,} bytes: {why}")
    if ring.overwritten:
        rows.append(f"missed    {ring.overwritten} files of the ring were overwritten before they were read")
    if follower.unread_bytes:
        rows.append(f"missed    {follower.unread_bytes:,} bytes of the ring, unread when stopped")
    if listener.forgotten:
        rows.append(f"missed    {listener.forgotten:,} connections were forgotten: too many at once")
    rows += [f"damaged   {what}" for what in follower.bad_files[:_MOST_SAID]]
    if ring.ignored and not ring.source.is_file():
        rows.append(f"ignored   {len(ring.ignored)} files that are neither pcap nor pcapng")
    note("\n".join(rows))


def _sayer() -> Callable[[str], None]:
    """Says things as they happen, but no more than a few."""
    left = iter(range(_MOST_SAID, -1, -1))

    def say(text: str) -> None:
        remaining = next(left, -1)
        if remaining >= 0:
            note(text if remaining else "further ones are only counted")

    return say
