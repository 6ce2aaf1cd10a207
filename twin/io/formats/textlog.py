"""Reader of text logs: the messages of many writers, without copies, with direction, link and UTC stamps.

The shapes stand in ``textlog_shapes.SHAPES``; what cannot be known is said, never guessed.
"""

import re
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from twin.io.formats.textlog_lines import Item, find_message, items, strip_line
from twin.io.formats.textlog_shapes import BARE, REPR_CALL, REPR_PAYLOAD, SENDERS
from twin.io.formats.textlog_times import Zone, asked_zone, modal_zone
from twin.io.reading import Format, ImportReport, Reading, ReadOptions
from twin.model import Call, Frame, Kind, Message, Parsed, Side
from twin.protocol.actions import ACTIONS
from twin.protocol.codec import parse
from twin.protocol.timestamps import parse_stamp

_HELD = 32  # messages within which a second logger's copy is looked for
_REMEMBERED = 4096  # messages that a quotation may repeat; and CALLs that wait for an answer
_LEARNT = 2000  # messages from which time zone and logging side are learnt
_LEARNT_CHARACTERS = 32 * 1024 * 1024
_SECOND_US = 1_000_000
_MESSAGE_ID = re.compile(r'\[\s{0,8}([234])\s{0,8},\s{0,8}"([^"\\]{0,80})"')
_PAYLOAD_TIME = re.compile(r'"(?:timestamp|currentTime)"\s{0,4}:\s{0,4}"([^"\\]{10,40})"')
_ELISION = "..."

type _Key = tuple[str, str]


def sniff(path: Path, head: bytes) -> float:
    """0.9 where a known shape stands, 0.6 for bare frames, 0.05 for any other text."""
    if not head or b"\0" in head:
        return 0.0
    bare = False
    for line in head.decode("utf-8", "replace").splitlines()[:2000]:
        body = strip_line(line).body
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
    messages = _without_copies(items(path, report), report)
    learnt = _take(messages)
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


# --- copies -----------------------------------------------------------------------------------------------


def _without_copies(messages: Iterable[Item], report: ImportReport) -> Iterator[Item]:
    """Drop what a second logger, or an error line, says again. A repeat by the same logger is real."""
    held: deque[Item] = deque()
    texts: OrderedDict[int, None] = OrderedDict()
    ids: OrderedDict[_Key, None] = OrderedDict()
    for item in messages:
        if original := _held_original(item, held):
            _merge(original, item)
            _drop(item, report, "")
        elif _repeats(item, texts, ids):
            _drop(item, report, "")
        elif "waited" in item.marks:
            _drop(item, report, "time-out of a CALL that the log does not hold")
        else:
            _remember(texts, hash(item.text))
            _remember(ids, _key(item.text))
            held.append(item)
            if len(held) > _HELD:
                yield held.popleft()
    yield from held


def _held_original(item: Item, held: Iterable[Item]) -> Item | None:
    return next((other for other in held if _is_copy(item, other)), None)


def _is_copy(item: Item, other: Item) -> bool:
    if item.shape.name == other.shape.name:
        return False
    quoted = item.shape.quotes or other.shape.quotes
    if not quoted and item.time and other.time and abs(item.time.local_us - other.time.local_us) > _SECOND_US:
        return False
    if "reconstructed" in item.marks or "reconstructed" in other.marks:
        return _key(item.text) == _key(other.text) != ("", "")
    return item.text == other.text or _abbreviates(item, other) or _abbreviates(other, item)


def _abbreviates(short: Item, whole: Item) -> bool:
    if "abbreviated" not in short.marks or "abbreviated" in whole.marks:
        return False
    if short.bytes_said is not None and short.bytes_said != len(whole.text.encode()):
        return False
    head, _, tail = short.text.partition(_ELISION)
    return whole.text.startswith(head) and whole.text.endswith(tail)


def _repeats(item: Item, texts: OrderedDict[int, None], ids: OrderedDict[_Key, None]) -> bool:
    """Whether a quotation repeats something further back than what is held."""
    if not item.shape.quotes:
        return False
    if "reconstructed" in item.marks:
        return _key(item.text) in ids
    return hash(item.text) in texts


def _merge(original: Item, copy: Item) -> None:
    """Keep the better of two: a wire text before a quotation, a quotation before an abbreviation."""
    if original.text == copy.text and (original.shape.until or copy.shape.until):
        original.marks.discard("truncated")  # the peer's library saw the same text: it was sent like this
    if _worth(copy) > _worth(original):
        lines = original.lines
        for field in Item.__struct_fields__:
            setattr(original, field, getattr(copy, field))
        copy.lines, original.lines = lines, copy.lines
    original.station = original.station or copy.station


def _worth(item: Item) -> int:
    if "reconstructed" in item.marks:
        return 0
    if "abbreviated" in item.marks:
        return 1
    return 2 if item.shape.quotes else 3


def _drop(item: Item, report: ImportReport, why: str) -> None:
    report.used -= item.lines
    if not why:
        report.duplicates += item.lines
    elif item.lines:
        report.unused_line(item.number, item.text, why)


def _remember[K](memory: OrderedDict[K, None], key: K) -> None:
    memory[key] = None
    memory.move_to_end(key)
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)


def _key(text: str) -> _Key:
    match = _MESSAGE_ID.match(text)
    return (match[1], match[2]) if match and match[2] != "?" else ("", "")


# --- direction, link and time -----------------------------------------------------------------------------


class _Placing:
    """Gives each message its place: number, link, sender, stamp."""

    def __init__(self, learnt: list[Item], logged_by: Side | None, zone: Zone | None) -> None:
        self.logged_by, self.voted = logged_by, _logging_side(learnt)
        self.timed = any(item.time for item in learnt)
        zoned = all(item.time is None or item.time.zoned for item in learnt)
        self.zone = zone or modal_zone(_clock_pairs(learnt))
        self.time_note = self.zone.note
        if not self.timed:
            self.time_note = "no time in the log: stamps are those of the payloads"
        elif zoned:
            self.time_note = "times carry their own zone"
        first = next((item.time for item in learnt if item.time), None)
        self.last_us = self.zone.utc_us(first) if first else 0
        self.asked: OrderedDict[_Key, Side] = OrderedDict()
        self.seq = 0
        self.last_flaws: tuple[str, ...] = ()

    def frame(self, item: Item) -> Frame:
        parsed = parse(item.text)
        self.last_flaws = () if parsed.message is not None else ("not JSON",)
        link = item.station or "log"
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
        if item.time is None and self.timed:
            facts["interpolated"] = True
        self.seq, self.last_us = self.seq + 1, at_us
        return Frame(
            seq=self.seq,
            at_us=at_us,
            link=link,
            kind=Kind.TEXT,
            sender=sender,
            station=item.station,
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
            at_us = max(_payload_times(item.text), default=self.last_us)
        return max(at_us, self.last_us) if self.seq or self.timed else at_us

    def _sender(self, item: Item, parsed: Parsed, link: str) -> Side | None:
        """By the words of the line, else by who may send it, else by the CALL it answers."""
        message, key = parsed.message, _key(item.text)
        sender = item.shape.sender(item.verb, self.voted)
        if sender is None and isinstance(message, Call):
            sender = _only_sender(message)
        if sender is None and key[0] in ("3", "4") and (asker := self.asked.get((link, key[1]))):
            sender = asker.other
        if sender is None:
            sender = item.shape.sender(item.verb, self.logged_by)
        if sender is not None and key[0] == "2":
            self.asked[link, key[1]] = sender
            self.asked.move_to_end((link, key[1]))
            if len(self.asked) > _REMEMBERED:
                self.asked.popitem(last=False)
        return sender


def _only_sender(message: Message) -> Side | None:
    """The one side that may send this CALL (OCPP 1.6 §4, §5), ``None`` where both may or nobody knows it."""
    action = ACTIONS.get(message.action) if isinstance(message, Call) else None
    return next(iter(action.senders)) if action and len(action.senders) == 1 else None


def _logging_side(learnt: Iterable[Item]) -> Side | None:
    """Which side wrote the log: told by the writer, or by CALLs that only one side may send."""
    votes: Counter[Side] = Counter()
    for item in learnt:
        if item.shape.logger:
            votes[item.shape.logger] += 1
        elif item.verb and item.verb not in SENDERS and (sender := _only_sender_of(item.text)):
            # a verb read as if the station had logged it: right, or the CSMS has
            agrees = item.shape.sender(item.verb, Side.STATION) is sender
            votes[Side.STATION if agrees else Side.CSMS] += 1
    return votes.most_common(1)[0][0] if votes else None


def _only_sender_of(text: str) -> Side | None:
    message = parse(text).message
    return _only_sender(message) if message is not None else None


def _clock_pairs(learnt: Iterable[Item]) -> Iterator[tuple[int, int]]:
    """Log time and payload time of the messages that have both, the log's zone being open."""
    for item in learnt:
        if item.time and not item.time.zoned:
            for payload_us in _payload_times(item.text)[:1]:
                yield item.time.local_us, payload_us


def _payload_times(text: str) -> list[int]:
    found = (parse_stamp(said) for said in _PAYLOAD_TIME.findall(text))
    return [stamp.at_us for stamp in found if stamp]


FORMAT = Format(name="textlog", title="text log", sniff=sniff, read=read)
