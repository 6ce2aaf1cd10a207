"""Reader of pasted fragments: messages printed over several lines, in chats, tickets, comments and markdown.

One message a line is a text log (``textlog``); here a message may be spread over as many lines as a pretty
printer likes, between whatever else was pasted with it.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path

from twin.io.formats.jsonlines import numbered_lines, shown
from twin.io.formats.jsonscan import Scanner
from twin.io.formats.senders import Senders
from twin.io.formats.textlog_shapes import COMMENT
from twin.io.formats.textlog_times import payload_times
from twin.io.reading import FRAME_START, Format, ImportReport, Reading, ReadOptions
from twin.model import Frame, Kind
from twin.protocol.codec import parse

_MOST_BYTES = 4 << 20  # more is no fragment


def sniff(path: Path, head: bytes) -> float:
    """Where a message begins on one line and goes on on the next: more than bare frames of a text log."""
    text = _stripped(head.decode("utf-8", "replace").splitlines())
    match = FRAME_START.search(text)
    return 0.65 if match is not None and "\n" in match[0] else 0.0


def read(path: Path, options: ReadOptions) -> Reading:
    """Frames in their order; a fragment has no times but those of its payloads."""
    report = ImportReport()
    return Reading(format="fragment", frames=_frames(path, report), report=report)


def _stripped(lines: list[str]) -> str:
    """Without the signs of comments and quotations before each line."""
    return "\n".join(COMMENT.sub("", line).lstrip("> \t") for line in lines)


def _frames(path: Path, report: ImportReport) -> Iterator[Frame]:
    lines, numbers, starts = [], array("q"), array("q", [0])  # a line may be four bytes, an int alone is 36
    for number, line in _first(path, report):
        lines.append(line.decode("utf-8", "replace"))
        numbers.append(number)
        starts.append(starts[-1] + len(_stripped(lines[-1:])) + 1)
    text = _stripped(lines)
    senders, seq, last_us, place = Senders(), 0, 0, 0
    held = bytearray(len(lines))
    for match, after in pairwise(chain(FRAME_START.finditer(text), [None])):
        assert match is not None
        if match.start() < place:
            continue
        # inside a message every quote of a beginning like that is escaped: the next one is another message
        held_text = text[match.start() : after.start() if after is not None else None]
        end = Scanner().feed(held_text)
        if end is None:
            continue
        place, message = match.start() + end, held_text[:end]
        first = _line_at(starts, match.start())
        last = _line_at(starts, place - 1)
        held[first : last + 1] = b"\1" * (last + 1 - first)
        if (parsed := parse(message)).message is None:
            report.marked[parsed.defects[0].flaw.value] += 1
        sender = senders.of(message, "fragment")
        seq, last_us = seq + 1, max([last_us, *payload_times(message)])
        report.shapes["fragment"] += 1
        yield Frame(
            seq=seq,
            at_us=last_us,
            link="fragment",
            kind=Kind.TEXT,
            sender=sender,
            text=message,
            facts={"source": {"line": numbers[first]}, "interpolated": True},
        )
    for number, unused, of_a_message in zip(numbers, lines, held, strict=True):
        if of_a_message:
            report.used += 1
        else:
            report.unused_line(number, shown(unused.encode()), "no part of a message")
    report.settle()


def _first(path: Path, report: ImportReport) -> Iterator[tuple[int, bytes]]:
    size = 0
    for number, line in numbered_lines(path, report):
        size += len(line)
        if size <= _MOST_BYTES:
            yield number, line
        else:
            report.unused_line(number, shown(line), "longer than any fragment")


def _line_at(starts: Sequence[int], place: int) -> int:
    return bisect_right(starts, place) - 1


FORMAT = Format(name="fragment", title="pasted fragment", sniff=sniff, read=read)
