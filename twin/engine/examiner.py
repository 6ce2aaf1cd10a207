"""The CSMS that takes a station through one test case.

It sends what the case sends, has the physical steps done, and waits for what the station must say. It judges
nothing: that is for whoever reads the traffic (``certify``).
"""

from collections.abc import Callable, Generator, Mapping
from typing import Any

import msgspec

from twin.certificate.case_words import (
    CONNECTOR,
    OTHER_TAG,
    TAG,
    Act,
    AnyOrder,
    Case,
    Check,
    Doing,
    Exchange,
    Never,
    OneOf,
    Series,
    Setting,
    Step,
    Unless,
    Wait,
)
from twin.engine.case_dialogue import REQUIRED, Dialogue, Heard, exchanges_of, words
from twin.engine.case_hands import Hands
from twin.engine.case_reading import pick
from twin.engine.csms import ANSWERS, Csms, Script
from twin.engine.machine import Command, Send
from twin.model import Call, CallResult, Side
from twin.protocol import codec
from twin.protocol.config_keys import same_value
from twin.protocol.timestamps import SECOND_US

_PATIENCE_S = 90
_BOOT_S = 600  # what a station may take to be there
_QUIET_S = 4  # after its last message a station has said what it had to say
_ANSWER_S = 65
_PEOPLE_S = 3_600  # somebody is on the way to the station
_SLOW_S = 5  # between two acts
_OFFLINE_S = 15
_SAMPLED = "MeterValueSampleInterval"
_CONNECTORS = "NumberOfConnectors"
_GROUP = "GROUP01"
_FIRST, _SECOND = "TAG0001", "TAG0002"
_RETRY_S, _HEARTBEAT_S = 11, 7  # what a BootNotification is told where the case names no span


class _Until(msgspec.Struct, frozen=True):
    """Go on once ``so`` holds, or at ``due_us``."""

    so: Callable[[], bool]
    due_us: int


class _Undone(Exception):  # noqa: N818  # no error: a case that nobody can go on with
    """A physical step that nobody did."""


type _Program = Generator[_Until, bool, str]  # told whether it came; gives what did not


class Examiner:
    """One case as a Machine at the CSMS's end.

    ``intervals`` are written before the case (key: seconds); the certified values stay otherwise. A station
    that is not ``fresh`` from the box is reset first, and gets its settings back afterwards. When ``done``,
    ``missing`` says what the station owed and did not send, ``stuck`` why the case could not
    begin, ``undone`` which physical step nobody did, ``began_us`` when its own steps did.
    """

    def __init__(
        self,
        case: Case,
        hands: Hands,
        *,
        intervals: Mapping[str, int] = {},
        fresh: bool = True,
        original: dict[str, str] | None = None,
        new_message_id: Callable[[], str],
        new_transaction_id: Callable[[], int],
    ) -> None:
        self.case = case
        self._fresh = fresh
        self._original = original if original is not None else {}
        self._writable: set[str] = set()
        self.done = False
        self.stuck = ""
        self.undone = ""
        self.missing = ""
        self.began_us = 0
        self._hands = hands
        self._intervals = intervals
        self._new_message_id = new_message_id
        script = Script(interval_s=intervals.get("HeartbeatInterval", 30))
        self._answers = Csms(script, new_message_id=new_message_id, new_transaction_id=new_transaction_id)
        self._said = Dialogue()
        self._cursor = 0
        self._results: dict[str, dict[str, Any] | None] = {}  # answers to our CALLs; None for a CALLERROR
        self._commands: list[Command] = []
        self._up = False
        self._links = 0
        self._now_us = 0
        self._program: _Program = self._run()
        self._wait: _Until | None = None
        exchanges = [exchange for step in case.steps for exchange in exchanges_of(step)]
        self._shares_parent = any(Check.SAME_PARENT in exchange.checks for exchange in exchanges)
        self._asks_for_configuration = any(exchange.action == "GetConfiguration" for exchange in exchanges)

    # --- Machine --------------------------------------------------------------------------------------------

    def connected(self, now_us: int) -> None:
        self._up = True
        self._links += 1
        self._advance(now_us)

    def disconnected(self, now_us: int) -> None:
        self._up = False
        self._advance(now_us)

    def receive(self, text: str, now_us: int) -> None:
        self._now_us = max(self._now_us, now_us)
        message = codec.parse(text).message
        if isinstance(message, Call):
            self._answer(message)
        elif message is not None:
            payload = message.payload if isinstance(message, CallResult) else None
            self._results[message.message_id] = payload if isinstance(payload, dict) else None
        self._advance(now_us)

    def next_timer(self) -> int | None:
        return self._wait.due_us if self._wait is not None and not self.done else None

    def handle_timer(self, now_us: int) -> None:
        self._advance(now_us)

    def take(self) -> list[Command]:
        commands, self._commands = self._commands, []
        return commands

    def _advance(self, now_us: int) -> None:
        self._now_us = max(self._now_us, now_us)
        while not self.done:
            if self._wait is None:
                came = False
            elif self._wait.so():
                came = True
            elif self._wait.due_us <= self._now_us:
                came = False
            else:
                return
            try:
                self._wait = next(self._program) if self._wait is None else self._program.send(came)
            except StopIteration as end:
                self.missing = end.value
                self.done = True

    # --- what the CSMS answers ------------------------------------------------------------------------------

    def _answer(self, call: Call) -> None:
        payload = call.payload if isinstance(call.payload, dict) else {}
        respond = ANSWERS.get(call.action)
        if respond is None:
            text = msgspec.json.encode([4, call.message_id, "NotSupported", "", {}]).decode()
            self._commands.append(Send(text))
            return
        answer = respond(self._answers, payload, self._now_us)
        if self._shares_parent and "idTagInfo" in answer:
            answer["idTagInfo"]["parentIdTag"] = _GROUP
        self._said.prescribe(call.action, payload, answer)
        self._said.heard.append(Heard(call.action, payload, answer, self._now_us))
        self._commands.append(Send(msgspec.json.encode([3, call.message_id, answer]).decode()))

    # --- the program ----------------------------------------------------------------------------------------

    def _run(self) -> _Program:
        """Boot, settings, the way to where the case begins, the case. What was owed and did not come."""
        missing = ""
        try:
            self.stuck = yield from self._prepare()
            for step in self.case.prelude:
                self.stuck = self.stuck or (yield from self._step(step))
            self.began_us = self._now_us
            missing = "" if self.stuck else (yield from self._go_through())
        except _Undone as undone:
            self.undone = str(undone)
        yield from self._sleep(_QUIET_S)
        # Traffic tells that time has passed, and that the station is still there.
        yield from self._call("GetConfiguration", {"key": ["HeartbeatInterval"]})
        if not self._fresh:
            yield from self._put_back()
        return missing

    def _go_through(self) -> _Program:
        for step in self.case.steps:
            missing = yield from self._step(step)
            if missing:
                return missing
        for step in self.case.steps:
            if isinstance(step, Exchange) and step.floating:
                missing = yield from self._await(step, 0)
                if missing:
                    return missing
        return ""

    def _put_back(self) -> Generator[_Until, bool, None]:
        """The station as it was: nothing plugged in, every connector operative, the settings of before.

        HeartbeatInterval is the CSMS's to tell (4.2): the next one says what it wants.
        """
        self._hands.tidy(self._now_us)
        yield self._within(_PEOPLE_S, lambda: not self._hands.busy)
        yield self._within(_BOOT_S, lambda: self._up)
        yield from self._call("ChangeAvailability", {"connectorId": 0, "type": "Operative"})
        yield from self._read()
        for key, value in self._original.items():
            now = self._said.setting(key, value)
            if key in self._writable and key != "heartbeatinterval" and not same_value(key, now, value):
                yield from self._call("ChangeConfiguration", {"key": key, "value": value})

    def _prepare(self) -> _Program:
        yield self._within(_BOOT_S, lambda: self._up)
        since = 0
        if not self._fresh:
            yield from self._call("Reset", {"type": "Hard"})
            since = len(self._said.heard)
        if not (yield self._within(_BOOT_S, lambda: self._said.has_heard("BootNotification", since))):
            return "no BootNotification came"
        for _ in range(_PATIENCE_S // _QUIET_S):
            yield from self._sleep(_QUIET_S)
            if self._now_us - self._said.heard[-1].at_us >= _QUIET_S * SECOND_US:
                break
        missing = yield from self._read()
        if missing:
            return missing
        wanted = [Setting(key, str(value)) for key, value in self._intervals.items()]
        changed = False
        for setting in (*wanted, *self.case.before):
            value = setting.value
            if value is None or same_value(setting.key, value, self._said.setting(setting.key)):
                continue
            if setting.key.casefold() not in self._said.config and setting.if_implemented:
                continue
            written = {"key": setting.key, "value": value}
            status = ((yield from self._call("ChangeConfiguration", written)) or {}).get("status")
            if status != "Accepted":
                return f"ChangeConfiguration({setting.key}, {value}) was answered {status or 'with nothing'}"
            changed = True
        if changed:
            missing = yield from self._read()
        self._said.name_values(self.case)
        self._said.told = [
            exchange
            for step in (*self.case.prelude, *self.case.steps)
            for exchange in exchanges_of(step)
            if exchange.by is Side.STATION and exchange.answer_where
        ]
        return missing

    def _read(self) -> _Program:
        """Every configuration value: a case passes only where what it rests on was observed."""
        answer = yield from self._call("GetConfiguration", {})
        if answer is None and not self._asks_for_configuration:
            return "GetConfiguration was not answered"
        told = (answer or {}).get("configurationKey")
        for entry in told if isinstance(told, list) else []:
            if isinstance(entry, dict) and isinstance(entry.get("key"), str):
                key = entry["key"].casefold()
                self._said.config[key] = str(entry.get("value", ""))
                if entry.get("readonly") is False:
                    self._writable.add(key)
        if not self._original:
            self._original.update(self._said.config)
        return ""

    def _step(self, step: Step) -> _Program:
        """One step of the case; what did not come, in words."""
        match step:
            case Exchange(by=Side.CSMS):
                return (yield from self._send(step))
            case Exchange(floating=True):
                return ""
            case Exchange():
                return (yield from self._await(step, self._cursor))
            case AnyOrder(steps):
                return (yield from self._await_all(steps))
            case OneOf(steps):
                return (yield from self._step(steps[0]))
            case Act():
                yield from self._act(step.doing)
                return ""
            case Wait(span):
                yield from self._sleep((self._said.seconds(span) or 0) + _QUIET_S)
                return ""
            case Series():
                return (yield from self._measure(step))
            case Never() | Unless():
                return ""

    def _send(self, step: Exchange) -> _Program:
        """A CALL of the CSMS as the case describes it."""
        payload: dict[str, Any] = dict(REQUIRED.get(step.action, {}))
        for field in step.where:
            if field.path == "connectorId" and field.name:
                self._said.names.setdefault(field.name, 1)
            if field.name == "named":
                self._said.names["named"] = 1 + max((0, *self._answers.transaction_ids)) + 1_000_000
            self._said.fill(payload, field)
        if step.action == "ChangeConfiguration" and "key" not in payload:
            payload |= {"key": _SAMPLED, "value": self._said.setting(_SAMPLED, "60")}
        if step.action == "GetConfiguration" and Check.READ_BACK in step.answer_checks:
            payload["key"] = [_SAMPLED]
        self._cursor = len(self._said.heard)
        before = len(self._results)
        answer = yield from self._call(step.action, payload)
        if answer is not None:
            self._said.names |= pick(step.answer_where, answer, self._said.names) or {}
        answered = len(self._results) > before
        return "" if answered or step.optional else f"{step.action} was not answered in {_ANSWER_S} s"

    def _call(self, action: str, payload: dict[str, Any]) -> Generator[_Until, bool, dict[str, Any] | None]:
        """Send one CALL and wait for its answer; ``None`` for a CALLERROR or none."""
        yield self._within(_PATIENCE_S, lambda: self._up)
        message_id = self._new_message_id()
        self._commands.append(Send(msgspec.json.encode([2, message_id, action, payload]).decode()))
        yield self._within(_ANSWER_S, lambda: message_id in self._results)
        return self._results.get(message_id)

    def _await_all(self, steps: tuple[Exchange, ...]) -> _Program:
        """In any order: each is looked for from the same place on."""
        start, last = self._cursor, self._cursor
        for exchange in steps:
            missing = yield from (
                self._send(exchange) if exchange.by is Side.CSMS else self._await(exchange, start)
            )
            if missing:
                return missing
            last = max(last, self._cursor)
        self._cursor = last
        return ""

    def _await(self, exchange: Exchange, start: int) -> _Program:
        """A CALL of the station; what the case excepts from it is waited over."""
        if exchange.optional or exchange.when:
            return ""
        span_s = max(self._said.seconds(exchange.within) or 0, self._said.seconds(exchange.not_before) or 0)
        span_s += (self._said.seconds(exchange.every) or 0) * exchange.times
        wanted = self._said.wanted(exchange)
        span_s += _PATIENCE_S
        yield self._within(span_s, lambda: self._said.found(exchange, start, wanted) is not None)
        found = self._said.found(exchange, start, wanted)
        if found is None:
            return f"no {words(exchange)} within {span_s} s"
        self._cursor = found + 1
        heard = self._said.heard[found]
        self._said.names |= pick(exchange.where, heard.payload, self._said.names) or {}
        self._said.names |= pick(exchange.answer_where, heard.answer, self._said.names) or {}
        return ""

    def _act(self, doing: Doing) -> Generator[_Until, bool, None]:
        if doing is Doing.RESTART:
            return  # what the station does by itself
        if doing is Doing.LINK_RESTORED:
            yield from self._sleep(self._offline_s())
        self._cursor = len(self._said.heard)
        links = self._links
        connector_id = self._said.names.get(CONNECTOR, 1)
        tag = self._said.names[OTHER_TAG if doing is Doing.OTHER_TAG else TAG]
        self._hands.do(doing, connector_id, tag, self._now_us)
        done = yield self._within(_PEOPLE_S, lambda: not self._hands.busy)
        if not done or self._hands.failed:
            why = self._hands.failed or f"nobody did it within {_PEOPLE_S} s"
            raise _Undone(f"{doing.value}: {why}")
        if doing is Doing.LINK_RESTORED:
            yield self._within(_PATIENCE_S, lambda: self._up and self._links > links)
        elif not self._up or doing is Doing.OTHER_TAG:
            yield from self._sleep(_SLOW_S)

    def _offline_s(self) -> int:
        series = next((step for step in self.case.steps if isinstance(step, Series)), None)
        if series is None:
            return _OFFLINE_S
        return (series.times + 2) * (self._said.seconds(series.every) or 60)

    def _measure(self, series: Series) -> _Program:
        every_s = self._said.seconds(series.every) or 60
        if series.bridging:
            yield from self._sleep(every_s + _PATIENCE_S)
        else:
            yield from self._sleep((series.times + 2) * every_s + _QUIET_S)
        return ""

    # --- time -----------------------------------------------------------------------------------------------

    def _within(self, seconds: int, so: Callable[[], bool]) -> _Until:
        return _Until(so, self._now_us + seconds * SECOND_US)

    def _sleep(self, seconds: int) -> Generator[_Until, bool, None]:
        yield self._within(seconds, lambda: False)
