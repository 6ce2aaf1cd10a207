"""Reader of text logs: the messages of many writers, without copies, with direction, link and UTC stamps.

The shapes stand in ``textlog_shapes.SHAPES``; what cannot be known is said, never guessed.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from twin.io.formats.senders import only_sender
from twin.io.formats.textlog_copies import Key, key_of, without_copies
from twin.io.formats.textlog_heads import Heads, says_sent
from twin.io.formats.textlog_item import Item
from twin.io.formats.textlog_lines import as_it_was, find_message, items, strip_line
from twin.io.formats.textlog_shapes import BARE, REPR_CALL, REPR_PAYLOAD, SENDERS
from twin.io.formats.textlog_times import Zone, asked_zone, modal_zone, payload_times, told_years
from twin.io.reading import Format, ImportReport, Reading, ReadOptions, refuse_larger
from twin.model import Call, Frame, Kind, Parsed, Side
from twin.protocol.codec import parse

_REMEMBERED = 4096  # CALLs that wait for an answer
_LEARNT = 2000  # messages from which time zone and logging side are learnt
_LEARNT_CHARACTERS = 32 * 1024 * 1024
_BACKWARDS = 3  # steps of a log that runs backwards
_DISSENT = 4  # one station's odd CALL is no second writer, every fifth vote is


def sniff(path: Path, head: bytes) -> float:
    """0.9 where a known shape stands, 0.6 for bare frames, 0.05 for any other text.

    Zero bytes are what a station that lost power leaves in its log, or the sign of no text at all: 0.2 then,
    and nothing without a message.
    """
    if b"\0" in head:
        return 0.2 if _certainty(head.replace(b"\0", b"")) > 0.05 else 0.0
    return _certainty(head) if head else 0.0


def _certainty(head: bytes) -> float:
    bare = False
    for line in head.decode("utf-8", "replace").splitlines()[:2000]:
        body = as_it_was(strip_line(line)).body
        if REPR_CALL.search(body, 0, 2000) or REPR_PAYLOAD.search(body, 0, 2000):
            return 0.9
        if found := find_message(body, 0):
            if found[0] is not BARE:
                return 0.9
            bare = True
    return 0.6 if bare else 0.05


def read(path: Path, options: ReadOptions) -> Reading:
    """Frames in file order; lines without one are in the report. An unknown time zone is a CaptureError."""
    zone = asked_zone(options.log_timezone) if options.log_timezone else None
    report = ImportReport()
    return Reading(format="textlog", frames=_frames(path, options, zone, report), report=report)


def _frames(path: Path, options: ReadOptions, zone: Zone | None, report: ImportReport) -> Iterator[Frame]:
    messages = without_copies(items(path, report), report)
    learnt = _take(messages)
    for item, time in zip(learnt, told_years([item.time for item in learnt]), strict=True):
        item.time = time
    if _newest_first(learnt):
        refuse_larger(path, "sort it, oldest first")  # all of it is held: the last line is the first
        learnt += messages
        learnt.sort(key=lambda item: -item.number)
        report.notes.append("newest first: the lines were turned round")
    placing = _Placing(learnt, options.logged_by, zone)
    known = total = 0
    for item in chain(learnt, messages):
        frame = placing.frame(item)
        total += 1
        known += frame.sender is not None
        report.marked.update(item.marks or placing.last_flaws)
        report.shapes[item.shape.name] += 1
        yield frame
    report.notes += [placing.time_note, f"direction known for {known} of {total} frames"]
    report.settle()


def _take(messages: Iterator[Item]) -> list[Item]:
    """The first messages, up to a bound in number and size."""
    taken: list[Item] = []
    size = 0
    for item in messages:
        taken.append(item)
        size += len(item.text)
        if len(taken) >= _LEARNT or size >= _LEARNT_CHARACTERS:
            break
    return taken


def _newest_first(learnt: list[Item]) -> bool:
    """Whether time runs backwards from line to line, as in what a log viewer exports."""
    times = [item.time.local_us for item in learnt if item.time]
    earlier = sum(one > other for one, other in pairwise(times))
    later = sum(one < other for one, other in pairwise(times))
    return earlier >= _BACKWARDS and earlier > _DISSENT * later


# --- direction, link and time -----------------------------------------------------------------------------


class _Placing:
    """Gives each message its place: number, link, sender, stamp."""

    def __init__(self, learnt: list[Item], logged_by: Side | None, zone: Zone | None) -> None:
        self.logged_by, self.votes = logged_by, _votes(learnt)
        self.heads = Heads(learnt)
        self.timed = any(item.time for item in learnt)
        zoned = all(item.time is None or item.time.zoned for item in learnt)
        self.zone = zone or modal_zone(_clock_pairs(learnt))
        self.time_note = self.zone.note
        if not self.timed:
            self.time_note = "no time in the log: stamps are those of the payloads"
        elif zoned:
            self.time_note = "times carry their own zone"
        first = next((item.time for item in learnt if item.time), None)
        payload_us = next((at_us for item in learnt for at_us in payload_times(item.text)), 0)
        self.last_us = self.zone.utc_us(first) if first else payload_us
        self.asked: OrderedDict[Key, Side] = OrderedDict()
        self.seq = 0
        self.last_flaws: tuple[str, ...] = ()

    def frame(self, item: Item) -> Frame:
        parsed = parse(item.text)
        self.last_flaws = () if parsed.message is not None else (parsed.defects[0].flaw.value,)
        station = item.station or self.heads.station(item)
        link = station or "log"
        sender = self._sender(item, parsed, link)
        facts: dict[str, Any] = {"source": {"line": item.number, "shape": item.shape.name}}
        if item.time:
            facts["log_time"] = item.time.text
        facts |= dict.fromkeys(sorted(item.marks), True)
        if item.bytes_said is not None:
            facts["wire"] = {"bytes": item.bytes_said}
        if sender is None:
            facts["direction"] = "unknown"
        at_us = self._at_us(item)
        if item.time is None:
            facts["interpolated"] = True
        self.seq, self.last_us = self.seq + 1, at_us
        return Frame(
            seq=self.seq,
            at_us=at_us,
            link=link,
            kind=Kind.TEXT,
            sender=sender,
            station=station,
            text=item.text,
            facts=facts,
        )

    def _at_us(self, item: Item) -> int:
        """UTC, never before the message above it."""
        if item.time:
            at_us = self.zone.utc_us(item.time)
        elif self.timed:
            at_us = self.last_us
        else:
            at_us = max(payload_times(item.text), default=self.last_us)
        return max(at_us, self.last_us) if self.seq or self.timed else at_us

    def _logging_side(self, item: Item) -> Side | None:
        """Whose log this is: as most messages say, else as asked, else as usual."""
        if not self.votes:
            return self.logged_by or item.shape.usual
        side, most = self.votes.most_common(1)[0]
        return side if self.votes[side.other] * _DISSENT < most else None  # else both ends write in it

    def _sender(self, item: Item, parsed: Parsed, link: str) -> Side | None:
        """By the words of the line, else by who may send it, else by the CALL it answers."""
        message, key = parsed.message, key_of(item.text)
        sender = item.shape.sender(item.verb, self._logging_side(item))
        if sender is None and isinstance(message, Call):
            sender = only_sender(message)
        if sender is None and key[0] in ("3", "4") and (asker := self.asked.get((link, key[1]))):
            sender = asker.other
        if sender is None:
            sender = self.heads.sender(item)
        if sender is None:
            sender = item.shape.sender(item.verb, self.logged_by)
        if sender is None and self.logged_by is not None and (sent := says_sent(item.head)) is not None:
            sender = self.logged_by if sent else self.logged_by.other
        if sender is not None and key[0] == "2":
            self.asked[link, key[1]] = sender
            self.asked.move_to_end((link, key[1]))
            if len(self.asked) > _REMEMBERED:
                self.asked.popitem(last=False)
        return sender


def _votes(learnt: Iterable[Item]) -> Counter[Side]:
    """For each side, how many messages say that it wrote the log: by the writer, or by one side's CALLs."""
    votes: Counter[Side] = Counter()
    for item in learnt:
        if item.shape.logger:
            votes[item.shape.logger] += 1
        elif item.verb and item.verb not in SENDERS and (sender := _only_sender_of(item.text)):
            # a verb read as if the station had logged it: right, or the CSMS has
            agrees = item.shape.sender(item.verb, Side.STATION) is sender
            votes[Side.STATION if agrees else Side.CSMS] += 1
    return votes


def _only_sender_of(text: str) -> Side | None:
    message = parse(text).message
    return only_sender(message) if message is not None else None


def _clock_pairs(learnt: Iterable[Item]) -> Iterator[tuple[int, int]]:
    """Log time and payload time of the messages that have both, the log's zone being open."""
    for item in learnt:
        if item.time and not item.time.zoned:
            for payload_us in payload_times(item.text)[:1]:
                yield item.time.local_us, payload_us


FORMAT = Format(name="textlog", title="text log", sniff=sniff, read=read)
