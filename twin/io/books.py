"""What was seen, recorded and dropped, exactly: by chunks (reads of a socket) and bytes, from both ends.

The law of the tap makes it possible: every byte fed to it or lost is counted in exactly one item. So a chunk
shares the fate of the next item completed by it or after it, and whatever is left is settled at the end.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from twin.model import Severity, Side


class Direction(msgspec.Struct):
    """One direction of one connection: given to the tap (``fed``), passed unseen (``lost``), and how much of
    what was fed an item has answered for (``settled``)."""

    fed_chunks: int = 0
    fed_bytes: int = 0
    lost_chunks: int = 0
    lost_bytes: int = 0
    settled_chunks: int = 0
    settled_bytes: int = 0

    def settle(self, size: int) -> tuple[int, int]:
        """An item answers for ``size`` bytes and for every chunk so far; gives what it settles."""
        chunks = self.fed_chunks - self.settled_chunks
        self.settled_chunks = self.fed_chunks
        self.settled_bytes += size
        return chunks, size

    @property
    def stream(self) -> list[int]:
        """Chunks and bytes of this direction that lines up to now speak of."""
        return [self.settled_chunks + self.lost_chunks, self.settled_bytes + self.lost_bytes]


# why something was dropped
REASONS = ("addon_fault", "breaker_open", "disk", "queue_full", "quota", "recorder_down")


class Totals(msgspec.Struct):
    """Recorded and dropped so far; ``dropped`` by reason."""

    recorded_chunks: int = 0
    recorded_bytes: int = 0
    dropped_chunks: Counter[str] = msgspec.field(default_factory=Counter)
    dropped_bytes: Counter[str] = msgspec.field(default_factory=Counter)

    def record(self, chunks: int, size: int) -> None:
        self.recorded_chunks += chunks
        self.recorded_bytes += size

    def drop(self, reason: str, chunks: int, size: int) -> None:
        self.dropped_chunks[reason] += chunks
        self.dropped_bytes[reason] += size


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a recording holds, for the exit line. ``seen`` and ``dropped`` count chunks and bytes."""

    lines: int
    connections: int
    stations: int
    lasted_s: float
    seen_chunks: int
    seen_bytes: int
    recorded_chunks: int
    recorded_bytes: int
    dropped_chunks: Mapping[str, int]
    dropped_bytes: Mapping[str, int]
    faults: int
    findings: Mapping[str, int]
    clock_steps: int = 0
    restarts: int = 0
    closes: Mapping[str, int] = {}

    @property
    def exact(self) -> bool:
        """``seen = recorded + dropped``; a breach is a bug of ours."""
        return self.seen_chunks == self.recorded_chunks + sum(
            self.dropped_chunks.values()
        ) and self.seen_bytes == self.recorded_bytes + sum(self.dropped_bytes.values())

    def text(self, name: str) -> str:
        """The exit summary of the capture ``name``: what was seen, recorded and dropped, exactly."""
        minutes, seconds = divmod(int(self.lasted_s), 60)
        hours, minutes = divmod(minutes, 60)
        findings = "  ".join(f"{severity} {self.findings.get(severity, 0)}" for severity in Severity)
        reasons = "  ".join(f"{reason} {count}" for reason, count in sorted(self.dropped_chunks.items()))
        dropped_chunks, dropped_bytes = sum(self.dropped_chunks.values()), sum(self.dropped_bytes.values())
        closes = ", ".join(f"{how} {count}" for how, count in sorted(self.closes.items())) or "none ended"
        rows = (
            f"{name}  {hours} h {minutes:02} min {seconds:02} s, {self.stations} stations, "
            f"{self.connections} connections",
            f"seen      {self.seen_chunks:>10,} chunks {self.seen_bytes:>14,} bytes",
            f"recorded  {self.recorded_chunks:>10,} chunks {self.recorded_bytes:>14,} bytes"
            f"  {self.lines:,} lines",
            f"dropped   {dropped_chunks:>10,} chunks {dropped_bytes:>14,} bytes  {reasons}".rstrip(),
            f"ended     {closes}",
            f"clock     steps {self.clock_steps}  restarts {self.restarts}  own faults {self.faults}",
            f"findings  {findings}",
        )
        return "\n".join(rows)


def balance(totals: Totals, told: Mapping[str, Any]) -> tuple[int, int, Totals]:
    """Chunks and bytes seen, and the totals with what the proxy saw and nobody told.

    ``told`` is the proxy's last word. What it saw beyond what we recorded or know as dropped is dropped too:
    by the proxy's own reasons as far as they go, the rest for want of a recorder.
    """
    chunks, sizes = Counter(totals.dropped_chunks), Counter(totals.dropped_bytes)
    seen_chunks = max(told.get("seen_chunks", 0), totals.recorded_chunks + chunks.total())
    seen_bytes = max(told.get("seen_bytes", 0), totals.recorded_bytes + sizes.total())
    for mine, theirs, rest in (
        (chunks, told.get("dropped_chunks", {}), seen_chunks - totals.recorded_chunks),
        (sizes, told.get("dropped_bytes", {}), seen_bytes - totals.recorded_bytes),
    ):
        for reason, count in theirs.items():
            more = min(count - mine[reason], rest - mine.total())
            if more > 0:
                mine[reason] += more
        if more := rest - mine.total():
            mine["recorder_down"] += more
    full = Totals(totals.recorded_chunks, totals.recorded_bytes, Counter(+chunks), Counter(+sizes))
    return seen_chunks, seen_bytes, full


def by_sender(seen: list[int]) -> dict[Side, tuple[int, int]]:
    """Chunks and bytes by sender, from the four numbers of a wire."""
    return {Side.STATION: (seen[0], seen[1]), Side.CSMS: (seen[2], seen[3])}
