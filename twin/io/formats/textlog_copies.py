"""Copies out of a text log: what a second logger, or an error line, says again of a message."""

import re
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator

from twin.io.formats.textlog_item import Item
from twin.io.formats.textlog_shapes import SENDERS, SENT
from twin.io.reading import ImportReport
from twin.model import Call
from twin.protocol.codec import parse
from twin.protocol.timestamps import SECOND_US

_HELD = 32  # messages within which a second logger's copy is looked for
_REMEMBERED = 4096  # messages that a quotation may repeat
_MESSAGE_ID = re.compile(r'\[\s{0,8}([234])\s{0,8},\s{0,8}"([^"\\]{0,80})"')
_ELISION = "..."

type Key = tuple[str, str]


def without_copies(messages: Iterable[Item], report: ImportReport) -> Iterator[Item]:
    """Drop what a second logger, or an error line, says again. A repeat by the same logger is real."""
    held: deque[Item] = deque()
    texts: OrderedDict[int, None] = OrderedDict()
    ids: OrderedDict[Key, None] = OrderedDict()
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
            _remember(ids, key_of(item.text))
            item.heard.add(item.shape.name)
            held.append(item)
            if len(held) > _HELD:
                yield held.popleft()
    yield from held


def _held_original(item: Item, held: Iterable[Item]) -> Item | None:
    return next((other for other in held if _is_copy(item, other)), None)


def _is_copy(item: Item, other: Item) -> bool:
    if (item.shape.name in other.heard and not item.shape.quotes) or _contradicts(item, other):
        return False
    quoted = item.shape.quotes or other.shape.quotes
    if not quoted and item.time and other.time and abs(item.time.local_us - other.time.local_us) > SECOND_US:
        return False
    if "reconstructed" in item.marks or "reconstructed" in other.marks:
        return key_of(item.text) == key_of(other.text) != ("", "") or _same_call(item.text, other.text)
    return item.text == other.text or _abbreviates(item, other) or _abbreviates(other, item)


def _contradicts(item: Item, other: Item) -> bool:
    """Whether two lines name another sender or another station, as far as both name one."""
    senders = [said.shape.sender(said.verb, None) for said in (item, other)]
    if None not in senders:
        return senders[0] is not senders[1]
    verbs = item.verb, other.verb
    if all(verbs) and not SENDERS.keys() & verbs and (verbs[0] in SENT) is not (verbs[1] in SENT):
        return True
    stations = "" if item.shape.lone else item.station, "" if other.shape.lone else other.station
    return all(stations) and stations[0] != stations[1]


def _same_call(text: str, other: str) -> bool:
    """Whether two CALLs ask the same, the id of one being unknown."""
    if '"?"' not in text[:8] and '"?"' not in other[:8]:
        return False
    calls = parse(text).message, parse(other).message
    said = [(call.action, call.payload) for call in calls if isinstance(call, Call)]
    return len(said) == len(calls) and said[0] == said[1]


def _abbreviates(short: Item, whole: Item) -> bool:
    if "abbreviated" not in short.marks or "abbreviated" in whole.marks:
        return False
    if short.bytes_said is not None and short.bytes_said != len(whole.text.encode()):
        return False
    head, _, tail = short.text.partition(_ELISION)
    quoted = repr(whole.text)[1:-1] if short.shape.escaped else whole.text
    return quoted.startswith(head) and quoted.endswith(tail)


def _repeats(item: Item, texts: OrderedDict[int, None], ids: OrderedDict[Key, None]) -> bool:
    """Whether a quotation repeats something further back than what is held."""
    if not item.shape.quotes:
        return False
    if "reconstructed" in item.marks:
        return key_of(item.text) in ids
    return hash(item.text) in texts


def _merge(original: Item, copy: Item) -> None:
    """Keep the better of two: a wire text before a quotation, a quotation before an abbreviation."""
    if original.text == copy.text and (original.shape.until or copy.shape.until):
        original.marks.discard("truncated")  # the peer's library saw the same text: it was sent like this
    if _worth(copy) > _worth(original):
        lines, heard = original.lines, original.heard
        for field in Item.__struct_fields__:
            setattr(original, field, getattr(copy, field))
        copy.lines, original.lines = lines, copy.lines
        original.heard = heard
    original.station = original.station or copy.station
    original.heard.add(copy.shape.name)


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


def key_of(text: str) -> Key:
    """Message type and id of a text, two empty words where they cannot be seen or the id was not logged."""
    match = _MESSAGE_ID.match(text)
    return (match[1], match[2]) if match and match[2] != "?" else ("", "")
