"""A station among people, cars, outages and a moody CSMS, one step at a time, checked after every step."""

import heapq
import json
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

import msgspec

from tests.engine.ledger import SECOND_US, Ledger
from tests.engine.rough_csms import NOW, RoughCsms
from tests.engine.stations import START_US, station
from twin.engine.analyzer import Analyzer
from twin.engine.machine import Close, Connect, Send
from twin.engine.station import Act, Behaviour
from twin.model import Call, CallResult, Fault, Finding, Frame, Kind, Severity, Side
from twin.protocol import codec
from twin.protocol.timestamps import format_us

HOP_US = 20_000
_MOST_AT_ONCE = 10_000  # steps at one moment
LOUD = (Severity.ERROR, Severity.WARNING)


class _Happening(msgspec.Struct, frozen=True, order=True):
    at_us: int
    order: int
    what: str = msgspec.field(default="")
    link: int = 0
    text: str = ""


class World:
    """``steps`` counts the timers fired and the messages carried; ``excused`` are rules not
    listened to where their detail has these words.

    The frames are those that a proxy beside the station would see.
    """

    def __init__(
        self,
        behaviour: Behaviour,
        seed: int,
        *,
        excused: Mapping[str, str] = {},  # never changed
        judged: bool = True,
    ) -> None:
        self.station = station(behaviour, seed=seed)
        self.csms = RoughCsms(Random(seed))  # noqa: S311  # a seeded CSMS, no secret
        self.ledger = Ledger(self.station)
        self.now_us = START_US
        self.steps = 0
        self.frames: list[Frame] = []
        self.reachable = True
        self.up = False
        self._link = 0
        self._still = 0
        self._order = 0
        self._heap: list[_Happening] = []
        self._analyzer = Analyzer() if judged else None
        self._excused = excused

    # --- time -----------------------------------------------------------------------------------------------

    def run(self, for_s: float) -> None:
        """Let so many seconds pass."""
        until_us = self.now_us + int(for_s * SECOND_US)
        while (next_us := self._next_us()) is not None and next_us <= until_us:
            self._step(next_us)
        self.now_us = until_us

    def _next_us(self) -> int | None:
        timer_us = self.station.next_timer()
        first_us = self._heap[0].at_us if self._heap else None
        return min((at_us for at_us in (timer_us, first_us) if at_us is not None), default=None)

    def _step(self, at_us: int) -> None:
        self.steps += 1
        self._still = 0 if at_us > self.now_us else self._still + 1
        assert self._still < _MOST_AT_ONCE, "hangs: one moment without an end"
        self.now_us = max(self.now_us, at_us)
        timer_us = self.station.next_timer()
        if timer_us is not None and timer_us <= self.now_us:
            self.station.handle_timer(self.now_us)
        else:
            self._happen(heapq.heappop(self._heap))
        self._collect()

    # --- what the outside does ------------------------------------------------------------------------------

    def act(self, act: Act) -> None:
        self.station.act(act, self.now_us)
        self._collect()

    def say(self, text: str) -> None:
        """The CSMS says this now."""
        if self.up:
            self._frame(Kind.TEXT, Side.CSMS, text=text)
            self._later(HOP_US, "hear", text)

    def hang_up(self, *, abrupt: bool) -> None:
        if self.up:
            self._end(Side.CSMS, 1001, abrupt)

    def quieten(self, most_s: int = 40_000) -> None:
        """All go home, the CSMS is well, the link is up, until all is said; then all must be kept."""
        self.csms.calm()
        self.reachable = True
        for do in ("power on", "link up"):
            self.act(Act(do=do))  # type: ignore[arg-type]  # two of its words
        for number in self.station.points:
            self.act(Act(do="clear", connector_id=number))
        self.run(200)
        for number in self.station.points:
            self.act(Act(do="unplug", connector_id=number))
        for tx in list(self.station.transactions.values()):  # those that an unplug does not end
            if not tx.ended:
                self.act(Act(do="tag", tag=tx.id_tag))
        for _ in range(most_s // 400):
            self.run(400)
            if self.station.online and self.station.uplink.idle and not self.station.transactions:
                break
        self.run(200)
        self.ledger.check_settled(self.now_us)
        if self._analyzer is not None:
            self._blame(self._analyzer.handle_timer(self.now_us))
            self._blame(self._analyzer.finish())

    # --- the wire -------------------------------------------------------------------------------------------

    def _later(self, in_us: int, what: str, text: str = "") -> None:
        self._order += 1
        heapq.heappush(self._heap, _Happening(self.now_us + in_us, self._order, what, self._link, text))

    def _happen(self, happening: _Happening) -> None:
        what, text, current = happening.what, happening.text, happening.link == self._link
        if what == "connect":
            self._connect()
        elif what == "down" and current:
            self.station.disconnected(self.now_us)
        elif not (self.up and current):
            return
        elif what == "hear":
            self._heard(text)
        elif what == "asked":
            for in_us, reply in self.csms.reply(_call(text)):
                self._later(in_us, "reply", reply)
        elif text in ("close", "abort"):
            self.hang_up(abrupt=text == "abort")
        else:
            self.say(text.replace(NOW, format_us(self.now_us)[:23] + "Z"))

    def _connect(self) -> None:
        if self.up:
            return
        if not self.reachable:
            self.station.disconnected(self.now_us)
            return
        self._link += 1
        self.up = True
        facts = {"path": "/CP1", "subprotocols_offered": ["ocpp1.6"], "subprotocol": "ocpp1.6"}
        self._frame(Kind.OPEN, None, facts=facts)
        self.station.connected(self.now_us)

    def _heard(self, text: str) -> None:
        message = codec.parse(text).message
        if message is not None and not isinstance(message, Call):
            payload = None
            if isinstance(message, CallResult):
                payload = message.payload if isinstance(message.payload, dict) else {}
            self.ledger.answered(message.message_id, payload, self.now_us)
        self.station.receive(text, self.now_us)

    def _collect(self) -> None:
        self.ledger.passed(self.now_us)
        for command in self.station.take():
            if isinstance(command, Connect):
                self._later(HOP_US, "connect")
            elif isinstance(command, Close):
                if self.up:
                    self._end(Side.STATION, command.code, command.abrupt)
            elif isinstance(command, Send) and self.up:
                self._frame(Kind.TEXT, Side.STATION, text=command.text)
                message = codec.parse(command.text).message
                if isinstance(message, Call):
                    assert isinstance(message.payload, dict)
                    self.ledger.called(message.message_id, message.action, message.payload, self.now_us)
                    self._later(HOP_US, "asked", command.text)
        self.ledger.check_queue(self.now_us)

    def _end(self, by: Side, code: int, abrupt: bool) -> None:
        self.up = False
        self.ledger.link_ended()
        if not abrupt:
            self._frame(Kind.CLOSE, by, facts={"code": code, "reason": ""})
        self._frame(Kind.END, None, facts={"abrupt": abrupt, "by": by.value})
        self._later(HOP_US, "down")

    def _frame(self, kind: Kind, sender: Side | None, *, text: str | None = None, facts: Any = {}) -> None:  # noqa: B006  # never changed
        frame = Frame(
            seq=len(self.frames) + 1,
            at_us=self.now_us,
            mono_ns=self.now_us * 1000,
            link=f"v{self._link}",
            station="CP1",
            kind=kind,
            sender=sender,
            text=text,
            facts=facts,
        )
        self.frames.append(frame)
        if self._analyzer is not None:
            self._blame(self._analyzer.receive(frame))

    def _blame(self, findings: Iterable[Finding]) -> None:
        for found in findings:
            known = found.rule in self._excused and self._excused[found.rule] in found.detail
            if found.fault is Fault.STATION and found.severity in LOUD and not known:
                raise AssertionError(f"blamed: {found.rule} #{found.seq} {found.detail}")

    def answer_to(self, message_id: str) -> list[Any] | None:
        """What the station answered to a CALL with this id, most recently."""
        for frame in reversed(self.frames):
            if frame.sender is Side.STATION and frame.text and frame.text[1] in "34":
                elements = json.loads(frame.text)
                if elements[1] == message_id:
                    return list(elements)
        return None


def _call(text: str) -> Call:
    message = codec.parse(text).message
    assert isinstance(message, Call)
    return message
