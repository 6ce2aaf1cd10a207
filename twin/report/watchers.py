"""Who looks on while a recording goes on: a view in a terminal, or lines for a log."""

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.live import Live

from twin.io.settings import Settings
from twin.io.watching import Status, Watcher
from twin.model import EventKind, Finding, Frame
from twin.report.live import Board, books, finding_words, picture
from twin.report.words import plain
from twin.rules import Step

_STATS_NS = 10_000_000_000
_MOST_WARNINGS = 1_000


class View:
    """The board in a terminal, drawn when the counters come (four times a second at most)."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self._name = name
        self._board = Board()
        self._console = Console(file=stream)
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._gone = False
        self._drawn(self._live.start)

    def saw(self, frame: Frame | None, steps: Sequence[Step], findings: Sequence[Finding]) -> None:
        self._board.saw(frame, steps, findings)

    def told(self, status: Status) -> None:
        self._board.status = status
        shown = picture(self._board, self._name, rows=self._console.height)
        self._drawn(lambda: self._live.update(shown, refresh=True))

    def close(self) -> None:
        self._drawn(self._live.stop)

    def _drawn(self, draw: object) -> None:
        """A terminal that is gone is no reason to stop; nor to try again."""
        if self._gone:
            return
        try:
            draw()  # type: ignore[operator]  # one of ours
        except (OSError, ValueError):
            self._gone = True


class Lines:
    """A line a finding, and the counters every 10 s while anything happens."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._told_ns = 0
        self._lines = 0

    def saw(self, frame: Frame | None, steps: Sequence[Step], findings: Sequence[Finding]) -> None:
        for finding in findings:
            _say(self._stream, f"{finding.severity.value:<7} {finding_words(finding)}")

    def told(self, status: Status) -> None:
        if status.mono_ns - self._told_ns >= _STATS_NS and status.lines != self._lines:
            self._told_ns, self._lines = status.mono_ns, status.lines
            _say(self._stream, books(status))

    def close(self) -> None:
        pass


class Heartbeats:
    """Warns when a BootNotification.conf asks for a heartbeat that the relay's time-out could outrun."""

    def __init__(self, tcp_timeout_s: int, stream: TextIO) -> None:
        self._tcp_timeout_s = tcp_timeout_s
        self._stream = stream
        self._warned: set[tuple[str, int]] = set()

    def saw(self, frame: Frame | None, steps: Sequence[Step], findings: Sequence[Finding]) -> None:
        for step in steps:
            event = step.event
            if event.kind is not EventKind.ANSWERED or event.action != "BootNotification":
                continue
            interval_s = step.payload.get("interval")
            if type(interval_s) is not int or 3 * interval_s <= self._tcp_timeout_s:
                continue
            place = (event.station, interval_s)
            if place not in self._warned and len(self._warned) < _MOST_WARNINGS:
                self._warned.add(place)
                _say(
                    self._stream,
                    f"warning {plain(event.station)} is told to send a heartbeat every {interval_s} s, and "
                    f"{self._tcp_timeout_s} s of silence end its connection: use --heartbeat {interval_s}",
                )

    def told(self, status: Status) -> None:
        pass

    def close(self) -> None:
        pass


def _say(stream: TextIO, text: str) -> None:
    """A line, if anybody is still there."""
    with contextlib.suppress(OSError, ValueError):
        stream.write(f"{text}\n")
        stream.flush()


def watchers_of(settings: Settings, name: str, stream: TextIO | None = None) -> list[Watcher]:
    """Whoever is to look on. Raises ``ValueError`` or ``OSError`` for an address that metrics cannot have."""
    stream = stream or sys.stderr
    watchers: list[Watcher] = [Heartbeats(settings.tcp_timeout_s, stream)]
    if settings.metrics:
        from twin.report.metrics import Metrics

        metrics = Metrics(settings.metrics)
        _say(stream, f"metrics {metrics.url}")
        watchers.append(metrics)
    if settings.view == "auto" and stream.isatty() and os.environ.get("TERM") != "dumb":
        watchers.append(View(name, stream))
    elif settings.view != "quiet":
        watchers.append(Lines(stream))
    return watchers
