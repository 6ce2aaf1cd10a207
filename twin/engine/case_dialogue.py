"""What is known in the course of one driven case: names, settings, what the station said."""

from typing import Any

import msgspec

from twin.certificate.case_words import (
    CONNECTOR,
    HEARTBEAT,
    INTERVAL,
    KEY,
    OTHER_TAG,
    TAG,
    VALUE,
    AnyOrder,
    Bound,
    Case,
    Each,
    Exchange,
    Key,
    OneOf,
    Span,
    State,
    Step,
    Where,
)
from twin.engine.case_reading import Said, pick, value_at, weigh

_SAMPLED = "MeterValueSampleInterval"
_CONNECTORS = "NumberOfConnectors"
_GROUP = "GROUP01"
_FIRST, _SECOND = "TAG0001", "TAG0002"
_RETRY_S, _HEARTBEAT_S = 11, 7  # what a BootNotification is told where the case names no span


class Heard(msgspec.Struct, frozen=True):
    """One CALL of the station, and what it was answered."""

    action: str
    payload: dict[str, Any]
    answer: dict[str, Any]
    at_us: int


class Dialogue:
    """``names`` as the case binds them, ``config`` by case-folded key, ``heard`` in order.

    ``told`` are exchanges of the station whose answer the case prescribes.
    """

    def __init__(self) -> None:
        self.names: dict[str, Any] = dict(_NAMES)
        self.config: dict[str, str] = {}
        self.told: list[Exchange] = []
        self.heard: list[Heard] = []

    def setting(self, key: str, otherwise: str = "") -> str:
        """The value of a key that the station told."""
        return self.config.get(key.casefold(), otherwise)

    def has_heard(self, action: str, since: int = 0) -> bool:
        return any(heard.action == action for heard in self.heard[since:])

    def prescribe(self, action: str, payload: dict[str, Any], answer: dict[str, Any]) -> None:
        """Make an answer what the case wants it to be, where it does."""
        expected = next((told for told in self.told if self.is_this(told, action, payload)), None)
        if expected is None:
            return
        if expected.times == 1:
            self.told.remove(expected)
        for field in expected.answer_where:
            self.fill(answer, field)

    def is_this(self, exchange: Exchange, action: str, payload: dict[str, Any]) -> bool:
        return exchange.action == action and pick(exchange.where, payload, self.names) is not None

    def fill(self, payload: dict[str, Any], field: Where) -> None:
        """Make one field of a message as ``where`` describes it."""
        *above, last = field.path.split("/")
        for part in above:
            payload = payload.setdefault(part, {})
        if (field.differs and last in payload) or (field.name and field.name not in self.names):
            return  # it is right already, or gets its name from this message
        value = self._value_of(field)
        if value is None:
            payload.pop(last, None)
        else:
            payload[last] = list(value) if isinstance(value, tuple) else value

    def _value_of(self, field: Where) -> Any:
        if field.name:
            return self.names.get(field.name)
        if field.values and not field.differs:
            return field.values[0]
        return _SOMETHING.get(field.path)

    def name_values(self, case: Case) -> None:
        """The connector, key and value that a case is about, where its first state names one."""
        states = case.state
        if State.NO_SUCH_CONNECTOR in states:
            most = self.setting(_CONNECTORS)
            self.names[CONNECTOR] = int(most) + 1 if most.isdecimal() else 99
        if State.NO_SUCH_KEY in states:
            self.names |= {KEY: "Testing", VALUE: "true"}
        if State.ILLEGAL_VALUE in states:
            self.names[VALUE] = "-1"
        if State.LEGAL_VALUE in states:
            now = self.setting(_SAMPLED)
            self.names[VALUE] = str(int(now) + 1) if now.isdecimal() else "60"

    def wanted(self, exchange: Exchange) -> frozenset[int]:
        """The connectors that must each report."""
        if exchange.each is None:
            return frozenset()
        most = self.setting(_CONNECTORS)
        every = set(range(int(most) + 1 if most.isdecimal() and len(most) < 4 else 2))
        if exchange.each is Each.OTHER_CONNECTOR:
            every.discard(self.names.get(CONNECTOR, 1))
        return frozenset(every)

    def found(self, exchange: Exchange, start: int, wanted: frozenset[int]) -> int | None:
        """The place of the message, or of the last one where several are asked for."""
        seen: set[Any] = set()
        times = 0
        for place in range(start, len(self.heard)):
            heard = self.heard[place]
            if not self.is_this(exchange, heard.action, heard.payload):
                continue
            if any(weigh(must, heard.payload, "")[0] is Said.OTHER for must in exchange.must):
                continue
            times += 1
            if wanted:
                seen.add(value_at(heard.payload, "connectorId"))
                if not wanted <= seen:
                    continue
            if times >= exchange.times:
                return place
        return None

    def seconds(self, span: Span | None) -> int | None:
        match span:
            case Key(name):
                text = self.setting(name)
                return int(text) if text.isdecimal() and len(text) < 10 else None
            case Bound(name):
                value = self.names.get(name)
                return value if isinstance(value, int) else None
        return span


def exchanges_of(step: Step) -> tuple[Exchange, ...]:
    match step:
        case Exchange():
            return (step,)
        case AnyOrder(steps) | OneOf(steps):
            return steps
    return ()


def words(exchange: Exchange) -> str:
    words = [str(value) for must in exchange.must for value in must.allowed if value is not None]
    words += [str(value) for field in exchange.where if field.path == "status" for value in field.values]
    return f"{exchange.action}({'/'.join(words[:2])})" if words else exchange.action


_NAMES = {TAG: _FIRST, OTHER_TAG: _SECOND, INTERVAL: _RETRY_S, HEARTBEAT: _HEARTBEAT_S}
# What a CALL holds where the case leaves it open.
REQUIRED: dict[str, dict[str, Any]] = {
    "RemoteStartTransaction": {"idTag": _FIRST},
    "DataTransfer": {"vendorId": "org.example.unknown"},
}
_SOMETHING: dict[str, Any] = {
    "vendorId": "org.example.unknown",
    "value": "true",
    "key": ("HeartbeatInterval", _SAMPLED),
    "connectorId": 1,
    "idTagInfo/parentIdTag": _GROUP,
}
