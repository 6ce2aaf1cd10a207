"""What a format is to the rest of the program: how well it fits, how it is read, what was of no use."""

import codecs
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from twin.model import Frame, Side

# What only a message can begin with: type, id, and what must follow (OCPP-J 1.6 §4.2). A number as id is
# against the specification, and seen.
_ID = r'\s{0,8},\s{0,8}"[^"\\\n]{0,80}"\s{0,8},\s{0,8}'
_NUMBER = r"\s{0,8},\s{0,8}\d{1,20}\s{0,8},\s{0,8}"
FRAME_START = re.compile(rf'\[\s{{0,8}}(?:2{_ID}"[A-Za-z]|3{_ID}[\[{{"n]|4{_ID}")')
# Only where no other message stands or goes on: in a payload it may be anything.
NUMBERED_START = re.compile(
    rf'\[\s{{0,8}}(?:2{_NUMBER}"[A-Z][A-Za-z]{{3,40}}"|3{_NUMBER}\{{|4{_NUMBER}"[A-Z])'
)
# What looks like one, wrong, cut or quoted in some way: nothing like it may be passed over in silence.
FRAME_LIKE = re.compile(
    r"\[\s{0,8}[234]\s{0,8},\s{0,8}(?P<mark>\\+\"|\"\"(?!\s?,)|&quot;|&#34;|['\"“”„‟″]|\d{1,20}\s{0,8},\s{0,8}[\"'{])"
)
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
MOST_WHOLE_BYTES = 32 << 20  # of a file that is held whole: parsed JSON takes up to thirty times as much
MAX_TEXT = 16 * 1024 * 1024  # of one line, and of one frame: more is counted, not read


class CaptureError(ValueError):
    """The capture cannot be read at all; the text says what to do. The command line turns it into exit 3."""


class ReadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What only the user can know about a log: its time zone (IANA name) and the side that wrote it."""

    log_timezone: str | None = None
    logged_by: Side | None = None


def refuse_larger(path: Path, advice: str) -> None:
    """Raise ``CaptureError`` for a file that is too large to be held whole."""
    if path.stat().st_size > MOST_WHOLE_BYTES:
        raise CaptureError(f"{path} is larger than {MOST_WHOLE_BYTES >> 20} MiB: {advice}")


class UnusedLine(msgspec.Struct, frozen=True):
    """A line (or JSON record) of the source that gave no frame: 1-based number, first 200 characters, why."""

    number: int
    text: str
    why: str


class ImportReport(msgspec.Struct, kw_only=True):
    """What became of every line of the source. Complete once the frames have been read to the end.

    ``lines`` counts non-blank lines and is ``used + duplicates + unusable`` (:meth:`settle` asserts it): a
    line is used when it, or a part of it, became a frame or went on one; ``duplicates`` are lines that hold
    nothing but copies of a frame by a second logger; ``unusable`` is every line that gave nothing, counted
    in ``unusable_by_reason`` and, for the first ``KEPT``, kept word for word; ``looked_like_frames`` counts
    those that a reader of OCPP would have liked to read. ``marked`` counts frames kept
    with a mark (``truncated``, ``abbreviated``, ``reconstructed``, ``blocked``, ``not JSON``), ``shapes``
    frames by the kind of line they came from. ``notes`` are sentences for the reader.
    """

    KEPT: ClassVar[int] = 1000

    lines: int = 0
    used: int = 0
    unusable: int = 0
    unusable_by_reason: Counter[str] = msgspec.field(default_factory=Counter)
    unused: list[UnusedLine] = msgspec.field(default_factory=list)
    looked_like_frames: int = 0
    marked: Counter[str] = msgspec.field(default_factory=Counter)
    duplicates: int = 0
    shapes: Counter[str] = msgspec.field(default_factory=Counter)
    notes: list[str] = msgspec.field(default_factory=list)

    def unused_line(self, number: int, text: str, why: str, count: int = 1) -> None:
        """Count one line (or so many in a row) that gave no frame."""
        self.unusable += count
        self.unusable_by_reason[why] += count
        self.looked_like_frames += FRAME_LIKE.search(text) is not None
        if len(self.unused) < self.KEPT:
            self.unused.append(UnusedLine(number, text[:200], why))

    def account(self) -> dict[str, Any]:
        """The counts as JSON, without a word of the source."""
        return {
            "lines": self.lines,
            "used_lines": self.used,
            "shapes": dict(self.shapes),
            "unusable_lines": self.unusable,
            "unusable_by_reason": dict(self.unusable_by_reason),
            "looked_like_frames": self.looked_like_frames,
            "marked": dict(self.marked),
            "duplicates": self.duplicates,
            "notes": self.notes,
        }

    def settle(self) -> None:
        """Every line is accounted for exactly once; anything else is a fault of ours."""
        assert self.lines == self.used + self.duplicates + self.unusable, self


class Reading(msgspec.Struct, kw_only=True):
    """One opened source: its frames in file order, and the report that fills while they are read.

    ``manifest`` is the capture's own, {} for formats without one.
    """

    format: str
    frames: Iterator[Frame]
    report: ImportReport
    manifest: dict[str, Any] = msgspec.field(default_factory=dict)


class WriteReport(msgspec.Struct, kw_only=True):
    """What a writer wrote, and what its format cannot carry, counted by kind or reason."""

    written: int = 0
    left_out: Counter[str] = msgspec.field(default_factory=Counter)
    notes: list[str] = msgspec.field(default_factory=list)


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table of formats.

    ``sniff(path, head)`` gives 0.0 (not mine) to 1.0 (certainly mine) from the first 64 KiB; for a directory
    ``head`` is empty. ``read`` never raises for what stands in the file, only ``CaptureError`` when nothing
    of it can be read. ``write`` makes a new file (or directory) and says what the format could not carry;
    ``None``: read only. ``suffixes`` choose it for a new file.
    """

    name: str
    title: str
    sniff: Callable[[Path, bytes], float]
    read: Callable[[Path, ReadOptions], Reading]
    write: Callable[[Iterable[Frame], Path], WriteReport] | None = None
    suffixes: tuple[str, ...] = ()
