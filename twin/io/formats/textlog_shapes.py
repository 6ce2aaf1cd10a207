"""The shapes of a text log as one table: how each writer says who sent a frame, to whom, and when.

``number`` counts the kinds of writer seen in public logs. A row says what stands *before* the frame; where
the frame ends is found by counting brackets. Every pattern is bounded and is tried on the first ``HEAD``
characters only.
"""

import re
from collections.abc import Mapping

import msgspec

from twin.io.reading import FRAME_START
from twin.model import Side

HEAD = 600  # characters in which the prefix of a frame must end

SENT = frozenset({"send", "sent", "Send", "Sending", "Sent", "SEND", "TX", ">>", ">", "->", "SendBuf"})
# Words that name both ends, whoever wrote the log.
SENDERS: Mapping[str, Side] = {
    "client->target": Side.STATION,
    "target->client": Side.CSMS,
    "CP->CS": Side.STATION,
    "CS->CP": Side.CSMS,
    "ChargePoint>CentralSystem": Side.STATION,
    "CentralSystem>ChargePoint": Side.CSMS,
}


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """One way to write a frame.

    ``pattern`` ends where the frame begins and may name ``verb`` and ``station``. ``logger`` is the side that
    writes such logs, ``None`` where either may: then the log itself must tell; ``usual`` is the side that
    mostly does, where nothing tells. ``loose`` rows have words of every kind where others have a station.
    ``raw`` rows are followed by a message whatever it looks like, the others only by ``[``. ``quotes`` marks
    a line that repeats a message which another line holds as a rule; ``received`` where it quotes what the
    logging side had received. ``below`` allows the frame to begin on the next line. ``until`` is what ends
    the quotation. ``elided`` rows leave out the middle of long messages and tell the length. ``escaped`` rows
    quote as Python's ``repr`` does. ``lone`` rows never name a station: it is the one whose path was seen, as
    long as there was only one.
    """

    name: str
    number: int
    pattern: re.Pattern[str]
    logger: Side | None = None
    usual: Side | None = None
    loose: bool = False
    raw: bool = False
    quotes: bool = False
    received: bool = False
    below: bool = False
    elided: bool = False
    escaped: bool = False
    lone: bool = False
    until: str = ""
    mark: str = ""

    def sender(self, verb: str, logger: Side | None) -> Side | None:
        """Who sent a frame with this verb, seen by ``logger``; ``None`` when the line does not tell."""
        if verb in SENDERS:
            return SENDERS[verb]
        logger = self.logger or logger
        if logger is None or not (verb or self.received):
            return None
        return logger if verb in SENT else logger.other


def _row(name: str, number: int, pattern: str, **more: object) -> Shape:
    return Shape(name=name, number=number, pattern=re.compile(pattern), **more)  # type: ignore[arg-type]  # keywords of Shape, written below


_EVCC = r"\[ocpp[^\]\n]{0,6}\] {1,4}[A-Z]{4,6} {1,2}\d{4}/\d\d/\d\d \d\d:\d\d:\d\d(?:\.\d{1,9})? "
_STATION = r"(?P<station>[^\[\]{}\"\n]{0,120}?)"
_JSON_MESSAGE = rf"(?P<verb>received|sent) JSON message (?:from|to) {_STATION}: "
_RECV = rf"(?P<verb>recv|send|sent) {_STATION}: "
_OCPP_VERB = r"(?P<verb>receive message|send)(?: message)? (?=\S)"
_LEVEL = r"[\s:|\[\]-]{1,12}(?:DEBUG|INFO|WARNING|ERROR)\b[\s:|\]-]{1,12}"
_OCPP_BRACKETS = r"\[ocpp(?:\.[\w.]{1,40})?\] (?P<station>.{0,200}?) ?: " + _OCPP_VERB
_LOGGED_AT = r"(?:[\w.]{1,60}:\d{1,6} (?:- )?)?"  # charge_point.py:352, start:123 -
_UNREADABLE = r"Unable to parse message: '(?=.)"
_PROXY = r"\[(?P<verb>client->target|target->client)"


_WEBSOCKETS = {"elided": True, "escaped": True, "lone": True}


def _websockets(part: str) -> str:
    """``[websockets.server] < TEXT '`` with any formatter; older ones name the side behind ``protocol``."""
    return (
        rf"\bwebsockets\.(?:{part}\b|protocol\]?\s{{1,3}}{part}\b)[^<>'\"\n]{{0,40}}(?P<verb>[<>]) TEXT "
        r"['\"](?=.)"
    )


# Tried in this order on every line: what stands first is the more certain.
SHAPES: tuple[Shape, ...] = (
    _row("evcc before 0.127", 2, _EVCC + _JSON_MESSAGE + r"(?=\S)", logger=Side.CSMS, raw=True),
    _row("evcc", 1, _EVCC + _RECV + r"(?=\S)", logger=Side.CSMS, raw=True),
    _row(
        "evcc error",
        4,
        _EVCC + r"[^\[\]\n]{0,400}?\((?=\[)",
        logger=Side.CSMS,
        quotes=True,
        received=True,
    ),
    _row("evcc without time", 5, r"^\s{0,8}" + _JSON_MESSAGE + r"(?=\[)", usual=Side.CSMS, loose=True),
    _row("evcc without time", 5, r"^\s{0,8}" + _RECV + r"(?=\[)", usual=Side.CSMS, loose=True),
    _row("ocpp-go", 20, r"\b" + _JSON_MESSAGE + r"(?=\[)", loose=True),
    _row(
        "ocpp library, unreadable message",
        7,
        r"\(MainThread\)[^'\n]{0,80} " + _UNREADABLE,
        logger=Side.CSMS,  # Home Assistant
        quotes=True,
        received=True,
        until="', it doesn",
    ),
    _row("ocpp library, unreadable message", 7, _UNREADABLE, quotes=True, received=True, until="', it doesn"),
    _row(
        "ocpp library, exception",
        7,
        r"'ocpp_message': '(?=\[)",
        quotes=True,
        received=True,
        escaped=True,
        until="'}",
    ),
    _row(
        "ocpp library, time-out",
        7,
        r"Waited [\d.]{1,12} ?s for response on (?=\[)",
        quotes=True,
        mark="waited",
    ),
    _row(
        "Home Assistant ocpp",
        6,
        r"\([^\[\]\n]{1,60}\) " + _OCPP_BRACKETS,  # (MainThread): nobody else names the thread here
        logger=Side.CSMS,
        raw=True,
    ),
    _row("ocpp library", 9, _OCPP_BRACKETS, raw=True),
    _row("ocpp library", 9, r"\bocpp\b" + _LEVEL + r"(?P<station>.{0,200}?): " + _OCPP_VERB, raw=True),
    _row(
        "ocpp library",
        9,
        rf"(?:^|[\s:])ocpp(?:\.[\w.]{{1,40}})?: ?{_LOGGED_AT}(?P<station>.{{0,200}}?): " + _OCPP_VERB,
        raw=True,
    ),
    _row("ocpp library", 9, r"(?:^|[\s|\]])(?P<station>[^\s|\]]{0,200}): " + _OCPP_VERB, raw=True),
    _row(
        "SteVe",
        10,
        r"\[chargeBoxId[=\s](?P<station>[^\],\t]{0,200}?)[,\s]{1,3}sessionId=?[^\]]{0,80}\]\s{1,3}"
        r"(?P<verb>Received|Sending):\s{1,3}(?=\S)",
        logger=Side.CSMS,
        raw=True,
    ),
    _row("SteVe without prefix", 10, r"^\s{0,8}(?P<verb>Received|Sending): (?=\[)", usual=Side.CSMS),
    _row("websockets debug", 8, _websockets("server"), logger=Side.CSMS, **_WEBSOCKETS),
    _row("websockets debug", 8, _websockets("client"), logger=Side.STATION, **_WEBSOCKETS),
    _row("websockets debug", 8, _websockets(r"\w{1,20}"), **_WEBSOCKETS),
    _row(
        "libocpp",
        11,
        r"(?P<verb>ChargePoint>CentralSystem|CentralSystem>ChargePoint)\b[^\[\n]{0,80}",
        below=True,
    ),
    _row(
        "SAP simulator",
        12,
        r"(?:(?P<station>[\w.-]{1,80}) \| (?:\w{1,60}: )?)?"
        r"(?P<verb>>>|<<) Command '\w{1,50}' [\w ]{0,60}payload: (?=\[)",
        logger=Side.STATION,
        loose=True,
    ),
    _row("Alfen", 13, r"ocpp_rpc\.c:\d{1,6}:(?P<verb>->|<-) ?(?=\[)", logger=Side.STATION),
    _row("MicroOcpp", 14, r"\[(?:MO|AO|OCPP)\] (?P<verb>Send|Recv): (?=\[)", logger=Side.STATION),
    _row(
        "MicroOcpp",
        14,
        r"\[OcppOperation\] (?P<verb>Sent|Received)[^\[\n]{0,80}: (?=\[)",
        logger=Side.STATION,
    ),
    _row("Delta", 15, r"\[OCPP16J\]\w{0,60}:\w{0,8}(?P<verb>SendBuf|RecvBuf)=(?=\[)", logger=Side.STATION),
    _row("relaying proxy, blocked", 16, _PROXY + r"-BLOCKED\] (?=\[)", mark="blocked", lone=True),
    _row("relaying proxy", 16, _PROXY + r"\] (?=\[)", lone=True),
    _row("packet dump", 16, r"(?P<verb>CP->CS|CS->CP) TEXT (?=\S)", raw=True),
    _row("RX and TX", 16, r"\[(?P<verb>RX|TX)\] (?:<=|=>) (?=\[)"),
    _row("OCPP tester", 16, r"\bRAW (?P<verb>>>|<<) (?=\[)", logger=Side.CSMS),
    _row("SEND and RECV", 16, r"\b(?P<verb>SEND|RECV) (?=\[)"),
)
BARE = Shape(name="bare frame", number=19, pattern=FRAME_START)
PYTHON_REPR = Shape(name="python repr", number=7, pattern=re.compile("<Call"), quotes=True, received=True)

# Shape 7: the payload as Python writes it; the message is built again, it is no fact of the wire.
REPR_CALL = re.compile(
    r"<(?P<kind>Call|CallResult) - unique_id=(?P<id>[^,\n]{1,80}), action=(?P<action>\w{1,60}), "
    r"payload=(?=\{)"
)
REPR_PAYLOAD = re.compile(r"Payload '(?=\{)")
REPR_ACTION = re.compile(r"' for action '(?P<action>\w{1,60})' is not valid")

# Shape 13: a piece of a frame that the writer cut at 80 characters, with the whole prefix again.
PIECE = re.compile(r"^\S{10,40}:COM:ocpp_rpc\.c:\d{1,6}:(?!->|<-)")

# What carries the lines of another program, outermost first. Group "time" is the carrier's own stamp.
CARRIERS: tuple[re.Pattern[str], ...] = (
    re.compile(r"^\x1b?\[\d{1,3}(?:;\d{1,3}){0,4}m"),
    re.compile(r"^\[pod/[^\]\s]{1,200}\] "),
    re.compile(r"^[\w.@-]{1,64} {1,40}\| "),
    re.compile(
        r"^(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,9}(?:Z|[+-]\d\d:\d\d)) (?:std(?:out|err) [FP] )?"
    ),
    re.compile(
        r"^(?P<time>[^\W\d_]{3,4}\.? {1,2}\d{1,2} \d\d:\d\d:\d\d(?:\.\d{1,6})?) \S{1,80} "
        r"[^\s:\[]{1,80}(?:\[\d{1,10}\])?: "
    ),
    re.compile(
        r"^(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)) \S{1,80} "
        r"[^\s:\[]{1,80}(?:\[\d{1,10}\])?: "
    ),
)
COMMENT = re.compile(r"^\s{0,40}(?:#|//|--|;|\*) ?")
JSON_LINE = re.compile(r'^\s{0,8}\{\s{0,8}"')
JSON_KEYS = ("log", "MESSAGE")  # docker's json-file driver; journalctl -o json

# What a frame that goes on over several lines can go on with.
CONTINUES = re.compile(r'^\s{0,200}(?:["{}\[\],:\d-]|true\b|false\b|null\b)')
PREFIXED = re.compile(
    r"^[\[(]?(?:\d{4}[-/]\d\d[-/]\d\d|\d\d:\d\d:\d\d|\[[\w .+-]{2,12}\] |[A-Z]{4,8}[: ]"
    r"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d)"
)

# Context of lines that carry no frame.
PATH_SAID = re.compile(r"(?:< GET |requesting path: )(?P<path>/[^\s?]{0,300})")
STATION_SAID = re.compile(r"Received CALL '\w{1,60}' from (?P<station>\S{1,200})$")
CONNECTION_EVENT = re.compile(
    r"\b(?:[Cc]onnected|[Dd]isconnected|Connection is established|Connection was closed|connection (?:is )?"
    r"(?:open|closed|OPEN|CLOSED|CONNECTING|CLOSING)|PING|PONG|Sending ping|Received pong|WS p[io]ng)\b"
)
