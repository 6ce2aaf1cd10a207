"""What is thought of a recording while it goes on: findings of what was written, and whoever looks on."""

import os
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from twin.engine.analyzer import Analyzer
from twin.io.watching import Status, Watcher
from twin.model import Finding, Frame
from twin.rules import Step

_MOST_WAITING = 20_000  # frames and wake-ups not judged yet

_encode = msgspec.json.Encoder().encode


class Judge:
    """Judges frames after they are written, in order, as late as it must: a slow rule never delays a record.

    ``path`` takes the findings, one JSON object a line; it is appended to, and can be deleted at any time.
    ``faults`` counts bugs of ours in rules and watchers, and findings that could not be written.
    """

    def __init__(
        self, analyzer: Analyzer, path: Path | None = None, watchers: Sequence[Watcher] = ()
    ) -> None:
        self._analyzer = analyzer
        self._watchers = watchers
        self._file = open(path, "ab", opener=_private) if path else None  # noqa: SIM115  # closed in close
        self._waiting: deque[Frame | int] = deque()
        self.woken_us = 0  # the last wake-up the analyzer was or will be given
        self.faults = 0
        self.severities: Counter[str] = Counter()

    def give(self, frame: Frame) -> None:
        """A frame that was written."""
        self._waiting.append(frame)

    def wake(self, now_us: int) -> None:
        """A moment at which time-outs may be due."""
        self.woken_us = max(self.woken_us, now_us)
        self._waiting.append(self.woken_us)

    def judge(self, most: int | None = None) -> int:
        """Judge what waits, oldest first, at most ``most`` of it, but never keep waiting more than fits.

        How much is left. A recorder that can no longer put off judging falls behind, and the relay's queue
        counts what it could not take.
        """
        waiting = self._waiting
        if most is not None:
            most = max(most, len(waiting) - _MOST_WAITING)
        for _ in range(len(waiting) if most is None else min(most, len(waiting))):
            held = waiting.popleft()
            self._judge(held)
        return len(waiting)

    def told(self, status: Status) -> None:
        """Show the watchers how the books stand."""
        self._show(lambda watcher: watcher.told(status))

    def close(self) -> None:
        """Judge what is left and close the findings."""
        self.judge()
        if self._file:
            self._file.close()
        self._show(lambda watcher: watcher.close())

    def _judge(self, held: Frame | int) -> None:
        frame = None if isinstance(held, int) else held
        findings: list[Finding] = []
        steps: list[Step] = []
        try:
            steps = self._analyzer.timer_steps(held) if isinstance(held, int) else self._analyzer.steps(held)
            for step in steps:
                findings += self._analyzer.judge(step)
        except Exception as error:  # record first: the capture goes on without the opinion
            self.faults += 1
            self._write({"internal_error": type(error).__name__, "seq": frame.seq if frame else None})
        for finding in findings:
            self.severities[finding.severity] += 1
            self._write(finding)
        if findings and self._file:
            self._file.flush()
        if frame is not None or steps:
            self._show(lambda watcher: watcher.saw(frame, steps, findings))

    def _write(self, opinion: Finding | dict[str, Any]) -> None:
        if self._file:
            try:
                self._file.write(_encode(opinion) + b"\n")
            except OSError:  # a full disk: opinions can be made again
                self.faults += 1

    def _show(self, show: Callable[[Watcher], None]) -> None:
        for watcher in self._watchers:
            try:
                show(watcher)
            except Exception:  # who looks on must not stop what happens
                self.faults += 1


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
