"""What the words before a bare frame say: which station, and, learnt from the log itself, who sent it.

Nobody's words are known beforehand. CALLs that only one side may send, and the answers to them, show which
words stand before whose messages; a log whose words tell both sides apart tells it of the others too.
"""

import re
from collections import Counter
from collections.abc import Iterable

from twin.io.formats.senders import Senders
from twin.io.formats.textlog_item import Item
from twin.io.formats.textlog_shapes import BARE
from twin.model import Call, Side
from twin.protocol.actions import ACTIONS
from twin.protocol.codec import parse

_ENOUGH = 0.9  # of the votes for a kind of line, and of the exchanges whose two lines name one station
_WORDS = 120  # characters before a frame that are looked at
_OUT = r"send(?:ing|s)?|sent|tx|out|outgoing|outbound|message_sent|-{1,2}>|={1,2}>|>{1,3}|[→⬆➡📤]"
_IN = r"recv|receiv(?:e|es|ed|ing)|rx|in|incoming|inbound|message_received|<-{1,2}|<={1,2}|<{1,3}|[←⬇⬅📩]"
_VERB = rf"(?:{_OUT}|{_IN})"
_NAME = r"(?P<station>[\w.@-][\w.:@-]{0,58}?[\w.@-])"
_DIRECTION = re.compile(rf"(?<![\w<>=-])(?:(?P<out>{_OUT})|{_IN})(?![\w<>=-])", re.IGNORECASE)
_PATH = r"(?P<station>[\w.@-][\w.:@/-]{0,58}?[\w.@-])"
_END = r"[\"'`]?$"
_STATIONS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # cp="CP001", chargePointId=CP001
        r"(?:\b|_)(?:cp|station|charger|charge_?point|charge_?box|identity|evse|wallbox|device)"
        rf"(?:[_ -]?(?:id|name|identity))?[\"']?\s?[=:]\s?[\"']?{_PATH}[\"'\s,;)}}\]|]",
        # from CP001:
        rf"\b(?:from|to|for|von|an)\s{{1,2}}[\"'\[(]?{_NAME}[\"'\])]?\s?:?\s{{0,3}}{_END}",
        # [CP001] --> and CP001 received:
        rf"(?:^|[\s|\[(\"'/]){_NAME}[\])\"']?\s?[:|/-]?\s{{0,3}}{_VERB}"
        rf"(?: (?:a )?message)?\s?:?\s{{0,3}}{_END}",
        # IN CP001 (99 bytes):
        rf"(?:^|[\s|]){_VERB}\s{{1,3}}{_NAME}(?: \(\d{{1,9}} bytes\))?\s?:?\s{{0,3}}{_END}",
    )
)
_NO_STATION = frozenset((
    "message", "messages", "msg", "frame", "ocpp", "ws", "websocket", "socket", "client", "server", "csms",
    "cms", "cs", "cp", "central", "system", "centralsystem", "chargepoint", "charger", "station", "backend",
    "info", "debug", "trace", "warn", "error", "main", "data", "payload", "text", "raw", "json", "call",
    "callresult", "request", "response", "proxy", "host", "local", "null", "none", "undefined",
    "charger-cms", "cms-charger", "packet", "packets",
))  # fmt: skip
_TIMES = re.compile(r".*:\d\d:\d\d.*|\d{1,2}:\d\d|\d{4}[/-]\d\d[/-]\d\d|\d{1,4}")
_CLASS = re.compile(r"[a-z]\w*(?:\.[A-Za-z]\w*){2,}")  # e.chargetime.ocpp.JSONCommunicator
_PART = re.compile(
    r"\w*(?:[Hh]andler|[Cc]lient|[Ss]erver|[Ss]ervice|[Ll]ogger|[Ss]ocket|[Mm]anager|[Cc]onnection|[Mm]iddleware)"
)
_ADDRESS = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")
_LETTERS = str.maketrans("0123456789", "abcdefghij")
_VARIES = re.compile(r"\d+|\b[0-9a-f]{8}-[0-9a-f-]{27}\b")
_ACTION = re.compile(r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)+\b")
_HEADER = re.compile(
    r"(?:charger|charge ?point|charge ?box|station|cp|evse|wallbox|ladestation|ladepunkt|device)"
    r"(?:[ _-]?(?:id|name|identity))?|identity",
    re.IGNORECASE,
)
_DELIMITERS = ",;\t|"
_LEAST_NAMES = 3  # of a header


class Heads:
    """Stations and senders by the words before bare frames, as far as the log's beginning bears them out."""

    def __init__(self, learnt: Iterable[Item]) -> None:
        votes: dict[str, Counter[Side]] = {}
        senders = Senders()
        asked: dict[str, set[str]] = {}  # by messageId: who is named with the CALL
        agree = disagree = 0
        met: set[str] = set()
        borne_out: set[str] = set()
        for item in learnt:
            if item.shape is not BARE:
                continue
            message, (name, sure) = parse(item.text).message, _said(item)
            if message is None:
                continue
            met |= set() if sure else {name}
            if isinstance(message, Call):
                asked.setdefault(message.message_id, set()).add(name)
            elif (names := asked.get(message.message_id)) and (name or any(names)):
                agree += name in names
                disagree += name not in names
                borne_out |= {name} & names
            if (sender := senders.of(item.text, "")) is not None:
                votes.setdefault(_kind(item.head, name), Counter())[sender] += 1
        self._named = agree >= _ENOUGH * (agree + disagree)
        self._no_names = met - borne_out
        told = {kind: side for kind, counted in votes.items() if (side := _clear(counted)) is not None}
        self._senders = told if len(set(told.values())) == len(Side) else {}

    def station(self, item: Item) -> str:
        """A name that a field calls so, or that stood with a CALL and its answer; a later one is believed."""
        name, sure = _said(item) if self._named and item.shape is BARE else ("", True)
        return name if sure or name not in self._no_names else ""

    def sender(self, item: Item) -> Side | None:
        return self._senders.get(_kind(item.head, _said(item)[0])) if item.shape is BARE else None


class Header:
    """The column of a table's header that names the station."""

    def __init__(self) -> None:
        self._delimiter = ""
        self._column = 0

    def read(self, line: str) -> None:
        """Take a line without a frame; one like a header is remembered."""
        for delimiter in _DELIMITERS:
            names = [cell.strip(" \"'") for cell in line.split(delimiter)]
            if len(names) >= _LEAST_NAMES and all(0 < len(name) <= 40 for name in names if name):
                column = next((n for n, name in enumerate(names) if _HEADER.fullmatch(name)), None)
                if column is not None:
                    self._delimiter, self._column = delimiter, column
                    return

    def station(self, head: str) -> str:
        """The cell of that column, if it stands before the frame."""
        cells = head.split(self._delimiter) if self._delimiter else []
        return cells[self._column].strip(" \"'") if self._column < len(cells) - 1 else ""


def says_sent(head: str) -> bool | None:
    """Whether the last word of direction before a frame is one for sending; ``None`` without one."""
    found = list(_DIRECTION.finditer(head[-_WORDS:]))
    return bool(found[-1]["out"]) if found else None


def no_station(name: str) -> bool:
    """Whether a word that stands where stations are named is none."""
    known = name.casefold() in _NO_STATION or name.partition(".")[0] in ACTIONS
    return known or any(pattern.fullmatch(name) for pattern in (_TIMES, _CLASS, _PART))


def _said(item: Item) -> tuple[str, bool]:
    """The name in a line, "" without one, and whether its field or column says that it is a station's."""
    if item.column:
        return item.column, True
    for number, pattern in enumerate(_STATIONS):
        for match in pattern.finditer(item.head[-_WORDS:]):
            if not no_station(match["station"]):
                return match["station"], number == 0
    return "", False


def _kind(head: str, name: str) -> str:
    """A head without what varies from line to line."""
    said = head[-_WORDS:].replace(name, "") if name else head[-_WORDS:]
    said = _ADDRESS.sub(lambda found: found[0].translate(_LETTERS), said)
    return " ".join(_ACTION.sub("", _VARIES.sub("", said)).casefold().split())


def _clear(votes: Counter[Side]) -> Side | None:
    side, most = votes.most_common(1)[0]
    return side if most >= _ENOUGH * votes.total() else None
