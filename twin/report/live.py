"""What a recording looks like while it goes on: a small state per station, and its picture for a terminal."""

from collections import Counter
from collections.abc import Sequence

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from twin.io.watching import Status
from twin.model import EventKind, Finding, Frame, Kind, Severity, Side
from twin.report.words import plain
from twin.rules import Step

LIMIT_S = 5.0  # round trip, certificate OCA.0016.0045.CS, performance rows
MOST_STATIONS = 200  # beyond it the longest silent one is forgotten
MOST_CONNECTORS = 24  # counted of one station
_CONNECTORS_BY_NAME = 4  # with more of them, how many are in which state
_SHORT = {
    "Available": "free", "Preparing": "prep", "Charging": "CHARGING", "SuspendedEV": "susp-EV",
    "SuspendedEVSE": "susp-EVSE", "Finishing": "finish", "Reserved": "reserved", "Unavailable": "unavail",
    "Faulted": "FAULTED",
}  # fmt: skip
_STYLES = {
    Severity.ERROR: "bold red",
    Severity.WARNING: "yellow",
    Severity.DRIFT: "cyan",
    Severity.NOTE: "dim",
}


class StationLine(msgspec.Struct):
    """One station: what it said last, how long answers take, what is open, what was found."""

    station: str
    connectors: dict[int, str] = msgspec.field(default_factory=dict)
    last: str = ""
    last_us: int = 0
    took_s: float | None = None
    worst_s: float | None = None
    open_calls: int = 0
    messages: int = 0
    links: set[str] = msgspec.field(default_factory=set)
    findings: Counter[Severity] = msgspec.field(default_factory=Counter)


class Board:
    """Everything the view shows, from steps and counters alone; bounded, whatever comes."""

    def __init__(self) -> None:
        self.stations: dict[str, StationLine] = {}
        self.status: Status | None = None
        self.latest: list[Finding] = []

    def saw(self, frame: Frame | None, steps: Sequence[Step], findings: Sequence[Finding]) -> None:
        """One stored frame, what it means and what is thought of it."""
        if frame is not None and (frame.station or frame.kind is Kind.TEXT):
            self._frame(self._line(frame.station or frame.link), frame)
        for step in steps:
            if name := step.event.station or step.event.link:
                self._step(self._line(name), step)
        for finding in findings:
            self._line(finding.station or finding.link).findings[finding.severity] += 1
        self.latest = [*self.latest, *findings][-5:]

    def _line(self, name: str) -> StationLine:
        line = self.stations.get(name)
        if line is None:
            if len(self.stations) >= MOST_STATIONS:
                del self.stations[min(self.stations, key=lambda held: self.stations[held].last_us)]
            line = self.stations[name] = StationLine(plain(name)[:40])
        return line

    def _frame(self, line: StationLine, frame: Frame) -> None:
        line.last_us = frame.at_us
        line.messages += frame.kind is Kind.TEXT
        if frame.kind is Kind.OPEN:
            line.links.add(frame.link)
            line.last = "connected"
        elif frame.kind in (Kind.END, Kind.REFUSED):
            line.links.discard(frame.link)
            line.last = "refused" if frame.kind is Kind.REFUSED else "gone"
            line.open_calls = 0

    def _step(self, line: StationLine, step: Step) -> None:
        event = step.event
        line.connectors = {
            number: connector.status
            for number, connector in sorted(step.after.connectors.items())[:MOST_CONNECTORS]
        }
        arrow = "←" if event.sender is Side.CSMS else "→"
        if event.kind is EventKind.CALLED:
            line.open_calls += 1
            line.last = f"{arrow} {plain(event.action)[:32]}"
        elif event.kind in (EventKind.ANSWERED, EventKind.REFUSED, EventKind.TIMED_OUT):
            line.open_calls = max(0, line.open_calls - 1)
            word = {EventKind.REFUSED: " CALLERROR", EventKind.TIMED_OUT: " timed out"}.get(event.kind, "")
            line.last = f"{arrow} {plain(event.action)[:32]}{word or ' answered'}"
        if event.took_us is not None:
            line.took_s = event.took_us / 1e6
            line.worst_s = max(line.worst_s or 0.0, line.took_s)


def picture(board: Board, name: str, *, rows: int = 30) -> Group:
    """The board for a terminal of so many rows; text from the wire is never markup."""
    table = Table(
        title=Text(f"{plain(name)}   recording"),
        title_justify="left",
        expand=True,
        pad_edge=False,
        box=SIMPLE_HEAD,
        padding=0,
    )
    for heading, justify in (
        ("station", "left"), ("connectors", "left"), ("last", "left"), ("silent", "right"),
        ("answer", "right"), (f"worst/{LIMIT_S:g} s", "right"), ("open", "right"), ("findings", "left"),
    ):  # fmt: skip
        table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]  # left or right
    now_us = board.status.wall_ns // 1000 if board.status else 0
    lines = sorted(board.stations.values(), key=lambda line: -line.last_us)
    for line in lines[: max(1, rows - 12)]:
        table.add_row(*_cells(line, now_us))
    if len(lines) > rows - 12 > 0:
        table.caption = f"{len(lines) - (rows - 12)} more stations"
    parts: list[Table | Text] = [table, _books(board.status)]
    for finding in board.latest:
        text = Text(overflow="ellipsis", no_wrap=True)
        text.append(f"{finding.severity.value:<7} ", _STYLES[finding.severity])
        parts.append(text.append(finding_words(finding)))
    return Group(*parts)


def _cells(line: StationLine, now_us: int) -> tuple[Text, ...]:
    shorts = {number: _SHORT.get(status, plain(status)[:12]) for number, status in line.connectors.items()}
    if len(shorts) <= _CONNECTORS_BY_NAME:
        connectors = " ".join(f"{number}:{short}" for number, short in shorts.items())
    else:  # a line a station, or the counters fall off the screen
        connectors = "  ".join(f"{count} {short}" for short, count in Counter(shorts.values()).most_common())
    silent_s = max(0.0, (now_us - line.last_us) / 1e6)
    found = Text(" ").join(
        Text(f"{line.findings[severity]}{severity.value[0].upper()}", _STYLES[severity])
        for severity in Severity
        if line.findings[severity]
    )
    return (
        Text(line.station, "bold" if line.links else "dim"),
        Text(connectors),
        Text(line.last),
        Text(duration(silent_s)),
        _took(line.took_s),
        _took(line.worst_s),
        Text(str(line.open_calls)),
        found,
    )


def _took(took_s: float | None) -> Text:
    if took_s is None:
        return Text("-", "dim")
    return Text(f"{took_s * 1000:,.0f} ms", "bold red" if took_s > LIMIT_S else "")


def _books(status: Status | None) -> Text:
    return Text(
        books(status) if status else "waiting for the relay", "bold red" if status and status.problem else ""
    )


def books(status: Status) -> str:
    """The counters on one line."""
    dropped = " ".join(f"{reason} {count:,}" for reason, count in sorted(status.dropped_chunks.items()))
    free = (
        f"{status.disk_free_bytes / (1 << 30):,.1f} GiB free"
        if status.disk_free_bytes is not None
        else "disk ?"
    )
    words = (
        f"seen {status.seen_chunks:,}  recorded {status.recorded_chunks:,}  dropped {dropped or 0}  "
        f"lag {status.lag_s:.1f} s  {status.sockets} sockets  {status.stored_bytes / 1e6:,.1f} MB  {free}"
    )
    words += f"  own faults {status.faults}" if status.faults else ""
    return f"{words}  PROBLEM {status.problem}" if status.problem else words


def finding_words(finding: Finding) -> str:
    """A finding on one line, without its severity."""
    return plain(f"{finding.rule} #{finding.seq} {finding.station}: {finding.detail}")


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
