"""Lines of a text log to the messages in them: what carries a line, its shape, where its frame ends."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from twin.io.formats import textlog_shapes as shapes
from twin.io.formats.jsonlines import is_unicode, mended, numbered_lines
from twin.io.formats.jsonscan import Scanner
from twin.io.formats.textlog_heads import Header, no_station
from twin.io.formats.textlog_item import Item
from twin.io.formats.textlog_quotes import literal, unquoted
from twin.io.formats.textlog_shapes import BARE, HEAD, PYTHON_REPR, Shape
from twin.io.formats.textlog_times import LogTime, TimeReader
from twin.io.reading import FRAME_LIKE, FRAME_START, MAX_TEXT, NUMBERED_START, ImportReport

_OTHERS = HEAD // 2  # characters of a JSON record's other values
_MOST_LINES = 20_000  # of one frame
_WRAP = 60  # a string that goes on in the next line was wrapped: its line is not short
_BYTES_SAID = re.compile(r"['\"] \[(\d{1,12}) bytes(?:, [\w ]{1,40})?\]\s{0,8}$")
_CLOSERS = re.compile(r"[\]}][\]}\s]{0,80}$")
_YEAR_WITHIN = 4000
_WORD_END, _WORD_START = re.compile(r"[\w.+-]$"), re.compile(r"[\w.+-]")
_BOX = re.compile(r"\s{1,400}│$")  # a terminal's frame around what it cut
_ANSI = re.compile(r"\x1b\[[\d;]{0,12}m")


class _Stripped(msgspec.Struct, frozen=True):
    """A line without what carries it."""

    body: str
    carrier_time: str = ""
    comment: bool = False
    cut: bool = False
    anew: bool = False  # the frame in it had to be spelt anew


def items(path: Path, report: ImportReport) -> Iterator[Item]:
    """The messages in file order. Every line that gives none is reported."""
    return _Reader(report).read(path)


class _Reader:
    def __init__(self, report: ImportReport) -> None:
        self.report = report
        self.times = TimeReader()
        self.said_station = ""
        self.paths: set[str] = set()  # last segments of the paths of handshakes
        self.undecodable = 0
        self.header = Header()
        self.open: _Open | None = None

    def read(self, path: Path) -> Iterator[Item]:
        for number, raw in numbered_lines(path, self.report):
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8", "replace")
            self.undecodable += "\ufffd" in line
            stripped = strip_line(line)
            if self.open is not None:
                if self.open.goes_on(stripped) and not self.open.feed(number, line, stripped):
                    continue
                was_closed = self.open.closed
                yield from self._finish(self.open)
                if was_closed:
                    continue
            found = list(self._read_line(number, as_it_was(stripped)))
            yield from found
            if not found and self.open is None:
                self._nothing(number, line, stripped)
        if self.open is not None:
            yield from self._finish(self.open)
        if self.undecodable:
            self.report.notes.append(f"{self.undecodable} lines are not UTF-8: read with replacement signs")

    def _finish(self, opened: "_Open") -> Iterator[Item]:
        """A frame over several lines: whole, or cut; of a cut one only the first line is sure."""
        self.open = None
        item = opened.item
        if opened.closed:
            item.text = "".join(opened.pieces)
            item.lines += len(opened.lines)
            self.report.used += len(opened.lines)
            yield item
            return
        for number, line in opened.lines:
            self.report.unused_line(number, line, "after a cut frame")
        if opened.pieces:
            item.marks.add("truncated")
            yield item
        else:
            self.report.used -= item.lines
            self.report.unused_line(item.number, "", "announces a frame that does not follow")

    def _nothing(self, number: int, line: str, stripped: _Stripped) -> None:
        head = stripped.body[:HEAD]
        self.times.read(head[:120])
        if said := shapes.STATION_SAID.search(head):
            self.said_station = said["station"]
        if said := shapes.PATH_SAID.search(head):
            self.paths.add(said["path"].rstrip("/").rpartition("/")[2])
        if not self.report.used:
            self.header.read(head)
        event = shapes.CONNECTION_EVENT.search(head)
        self.report.unused_line(number, line, "connection event" if event else "not OCPP")

    def _read_line(self, number: int, stripped: _Stripped) -> Iterator[Item]:
        """The messages that end in this line, several at times; one may stay open in ``self.open``."""
        body, place, first = stripped.body, 0, True
        if rebuilt := _python_repr(number, body):
            item, start = rebuilt
            item.time = self._time(body[:start], stripped, item.text)
            self.report.used += 1
            yield item
            return
        while found := find_message(body, place):
            shape, verb, station, start = found
            time = self._time(body[place:start], stripped, body[start : start + _YEAR_WITHIN])
            item = Item(number, shape, "", verb, station, time, lines=int(first))
            item.marks = {shape.mark} if shape.mark else set()
            if stripped.anew:
                item.marks.add("reconstructed")
            if shape is BARE:
                item.head = body[max(place, start - HEAD) : start]
                item.column = self.header.station(item.head)
            end = self._end(item, body, start, stripped)
            self.report.used += first
            first = False
            if end is None:
                return
            self._name_station(item)
            yield item
            place = end
            if not FRAME_START.search(body, place):
                return

    def _name_station(self, item: Item) -> None:
        """Where the line itself names no station, one that an earlier line named for it."""
        if item.shape.loose and no_station(item.station):
            item.station = ""
        if not item.station and item.shape.lone and len(self.paths) == 1:
            item.station = next(iter(self.paths))
        elif not item.station and self.said_station and item.text[:8].lstrip("[ ").startswith(("3", "4")):
            item.station, self.said_station = self.said_station, ""

    def _time(self, head: str, stripped: _Stripped, message: str) -> LogTime | None:
        time = self.times.read(head[:HEAD], message) if head.strip() else None
        return time or (self.times.read(stripped.carrier_time, message) if stripped.carrier_time else None)

    def _end(self, item: Item, body: str, start: int, stripped: _Stripped) -> int | None:
        """Fill in the text and give the place behind it; ``None`` leaves the frame open in ``self.open``."""
        shape = item.shape
        if shape.until:
            end = body.find(shape.until, start)
            item.text = _wire_text(body, start, len(body) if end < 0 else end, shape)
            return len(body)
        if shape.elided:
            return _abbreviated(item, body, start)
        if not body.startswith("[", start):
            item.text = body[start:].rstrip()
            if shape.below and not item.text:
                self.open = _Open(item, Scanner(), [], stripped.comment, 0)
                return None
            return len(body)
        scanner = Scanner()
        closed = scanner.feed(body, start)
        if closed is not None:
            if shape.raw and len(body) - closed < _WRAP and _CLOSERS.match(body, closed):
                closed = len(body.rstrip())  # one bracket too many is the peer's fault, not the logger's
            item.text = body[start:closed]
            return closed
        rest = body[start:]
        if stripped.cut or shape.quotes or len(rest) > MAX_TEXT:
            item.marks.add("truncated")
            item.text = rest
            return len(body)
        item.text = rest
        self.open = _Open(item, scanner, [rest], stripped.comment, len(body))
        return None


class _Open:
    """A frame whose brackets are still open at the end of its line."""

    def __init__(self, item: Item, scanner: Scanner, pieces: list[str], comment: bool, width: int) -> None:
        self.item, self.scanner, self.pieces, self.comment = item, scanner, pieces, comment
        self.lines: list[tuple[int, str]] = []
        self.size = sum(map(len, pieces))
        self.width = width  # of the line before
        self.closed = False

    def goes_on(self, stripped: _Stripped) -> bool:
        """Whether a line can be the next piece of this frame."""
        body = stripped.body
        if len(self.lines) >= _MOST_LINES or self.size + len(body) > MAX_TEXT:
            return False
        if self.item.shape.name == "Alfen":
            return shapes.PIECE.match(body) is not None
        if not self.pieces:
            return FRAME_START.match(body) is not None
        if stripped.comment != self.comment or shapes.PREFIXED.match(body):
            return False
        if find_message(body, 0, numbered=False):
            return False
        if self.scanner.in_string:
            return self.width >= _WRAP
        return shapes.CONTINUES.match(body) is not None

    def _cut_by_a_window(self, piece: str) -> bool:
        """No string of JSON holds a line end, and no two words or numbers stand side by side."""
        if self.scanner.in_string:
            return self.width >= len(piece)
        return _WORD_END.search(self.pieces[-1]) is not None and _WORD_START.match(piece) is not None

    def feed(self, number: int, line: str, stripped: _Stripped) -> bool:
        """Take the piece; whether the frame is whole now."""
        piece = stripped.body
        if self.item.shape.name == "Alfen" and (match := shapes.PIECE.match(piece)):
            piece, joint = piece[match.end() :], ""
        else:
            joint = "\n" if self.pieces else ""
            if self.pieces and self._cut_by_a_window(piece):
                joint = ""
                self.item.marks.add("reconstructed")
        self.width = len(piece)
        end = self.scanner.feed(piece)
        self.lines.append((number, line[:200]))
        self.pieces += (joint, piece if end is None else piece[:end])
        self.size += len(piece) + 1
        self.closed = end is not None
        return self.closed


def strip_line(line: str) -> _Stripped:
    """Take off colours, container and journal prefixes, then a comment sign."""
    if shapes.JSON_LINE.match(line):
        line = _json_line(line)
    carrier_time, journal = "", False
    for carrier in shapes.CARRIERS:
        if match := carrier.match(line):
            line = line[match.end() :]
            if time := match.groupdict().get("time"):
                carrier_time, journal = time, True
    if "\x1b" in line:
        line = _ANSI.sub("", line)  # an escape character cannot stand in JSON text
    comment = shapes.COMMENT.match(line)
    if comment:
        line = line[comment.end() :]
    cut = journal and line.endswith(">")  # journalctl cuts long lines this way
    if (boxed := _BOX.search(line)) is not None:
        line, cut = line[: boxed.start()], True
    return _Stripped(line, carrier_time, comment is not None, cut)


def as_it_was(stripped: _Stripped) -> _Stripped:
    """A line that begins something, its message out of the quotation marks of another language.

    Not where a known program quotes: behind its words stands what it heard, whatever that is.
    """
    found = find_message(stripped.body, 0)
    if found is not None and (found[0].raw or found[0].escaped or found[0].quotes):
        return stripped
    body, anew = unquoted(stripped.body)
    return stripped if body == stripped.body else replace(stripped, body=body, anew=anew)


def _json_line(line: str) -> str:
    """The line that a container or a journal wrote as a string of a JSON object, else the line itself.

    Of a record that holds a frame in another string, the other short values stand before it.
    """
    try:
        record: dict[str, Any] = json.loads(line)
    except (ValueError, RecursionError):
        return line
    said: str | None = next(
        (record[key] for key in shapes.JSON_KEYS if isinstance(record.get(key), str)), None
    )
    if said is not None:
        return mended(said).rstrip("\r\n")
    name = next(
        (key for key, value in record.items() if isinstance(value, str) and FRAME_LIKE.search(value)), None
    )
    if name is None:
        return line
    others = [
        f"{key}={value}"
        for key, value in record.items()
        if isinstance(value, str | int | float) and key != name
    ]
    before = " ".join(others)[:_OTHERS]
    return mended(f"{before} {name}={record[name]}")


def find_message(body: str, place: int, *, numbered: bool = True) -> tuple[Shape, str, str, int] | None:
    """The next message behind ``place``: its shape, verb, station and start; ``numbered`` ids too."""
    bare = FRAME_START.search(body, place)
    if bare is None and numbered and place == 0:
        bare = NUMBERED_START.search(body)
    limit = min(len(body), place + HEAD, bare.start() + 1 if bare else len(body))
    for shape in shapes.SHAPES:
        if match := shape.pattern.search(body, place, limit):
            named = match.groupdict()
            return shape, named.get("verb") or "", (named.get("station") or "").strip(), match.end()
    return (BARE, "", "", bare.start()) if bare else None


def _abbreviated(item: Item, body: str, start: int) -> int:
    """Shape 8: a quotation with the number of bytes behind it; the middle is left out of long ones."""
    said = _BYTES_SAID.search(body, max(start, len(body) - 100))
    item.text = body[start:].rstrip()
    if said:
        item.bytes_said = int(said[1])
        item.text = body[start : said.start()]
        whole = _wire_text(body, start, said.start(), item.shape)
        if item.bytes_said == len(whole.encode()):
            item.text = whole
            return len(body)
    item.marks.add("abbreviated" if "..." in item.text else "truncated")
    return len(body)


def _wire_text(body: str, start: int, end: int, shape: Shape) -> str:
    """What was quoted, with the escapes undone that ``repr`` has added; as printed where that cannot be."""
    quoted = body[start:end]
    if not shape.escaped or "\\" not in quoted:
        return quoted
    quote = body[start - 1]
    text = literal(f"{quote}{quoted}{quote}")
    return text if isinstance(text, str) and is_unicode(text) else quoted


def _python_repr(number: int, body: str) -> tuple[Item, int] | None:
    """Shape 7: a payload as Python wrote it, as JSON again (id ``?``: none logged), and where it starts."""
    message: list[object]
    if match := shapes.REPR_CALL.search(body, 0, 2000):
        payload = literal(body[match.end() : body.rfind(">")])
        message = [2, match["id"], match["action"], payload]
        if match["kind"] == "CallResult":
            message = [3, match["id"], payload]
    elif (match := shapes.REPR_PAYLOAD.search(body, 0, 2000)) and (
        action := shapes.REPR_ACTION.search(body, match.end())
    ):
        payload = literal(body[match.end() : action.start()])
        message = [2, "?", action["action"], payload]
    else:
        return None
    if not isinstance(payload, dict):
        return None
    try:
        text = json.dumps(message)
    except (TypeError, ValueError, RecursionError):
        return None
    return Item(number, PYTHON_REPR, text, marks={"reconstructed"}), match.start()
