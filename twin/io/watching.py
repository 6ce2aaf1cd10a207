"""What a recorder tells whoever looks on (terminal view, metrics); nobody who looks on changes anything."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from twin.model import Finding, Frame
from twin.rules import Step


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The books at one moment. Chunks are reads of a socket; ``dropped_chunks`` is by reason.

    ``lag_s``: how far the recorder is behind the proxy. ``problem``: why nothing is stored now, "" if all is
    well. ``disk_free_bytes`` is ``None`` where the file system does not say.
    """

    wall_ns: int
    mono_ns: int
    seen_chunks: int = 0
    recorded_chunks: int = 0
    dropped_chunks: Mapping[str, int] = {}
    lines: int = 0
    stored_bytes: int = 0
    sockets: int = 0
    lag_s: float = 0.0
    disk_free_bytes: int | None = None
    problem: str = ""
    faults: int = 0


class Watcher(Protocol):
    """Called in the recorder, after the record is written. What it raises is counted as a fault of ours."""

    def saw(self, frame: Frame | None, steps: Sequence[Step], findings: Sequence[Finding]) -> None:
        """A frame as it was stored (none for time-outs alone), what it means, what is thought of it."""

    def told(self, status: Status) -> None:
        """A few times a second, also when nothing passes."""

    def close(self) -> None:
        """The recording is over."""
