"""A CSMS of ours with one fault at a time: ten ways in which a release goes wrong, and what names each."""

import itertools
import json
from collections.abc import Callable
from typing import Any

from tests.engine.stations import csms, plug, station, stimulus, tag, talk, unplug
from twin.engine.csms import Csms, Script
from twin.engine.machine import Close, Command, Send
from twin.engine.station import Behaviour
from twin.model import Call, Frame
from twin.protocol import codec

LATE_US = 6_000_000
INTERVAL_S = 300


class FaultyCsms:
    """``inner``, with a fault. ``fault_of`` tells it from the firmwareVersion of the BootNotification."""

    def __init__(self, inner: Csms, fault_of: Callable[[str], str]) -> None:
        self.inner = inner
        self.fault = ""
        self._fault_of = fault_of
        self._ready: list[Command] = []
        self._held: list[tuple[int, Command]] = []
        self._first_id: int | None = None
        self._done = False  # most faults happen once a session
        self._ids = itertools.count(1)

    def connected(self, now_us: int) -> None:
        self.inner.connected(now_us)

    def disconnected(self, now_us: int) -> None:
        self._held.clear()
        self.inner.disconnected(now_us)

    def next_timer(self) -> int | None:
        times = [self.inner.next_timer(), *(due_us for due_us, _ in self._held)]
        return min((due_us for due_us in times if due_us is not None), default=None)

    def handle_timer(self, now_us: int) -> None:
        self._ready += [command for due_us, command in self._held if due_us <= now_us]
        self._held = [one for one in self._held if one[0] > now_us]
        self.inner.handle_timer(now_us)

    def take(self) -> list[Command]:
        commands, self._ready = [*self._ready, *self.inner.take()], []
        return commands

    def call(self, action: str, payload: dict[str, Any]) -> None:
        """Send a CALL: what somebody asked for at the CSMS's own interface."""
        self._ready.append(Send(json.dumps([2, f"o{next(self._ids)}", action, payload])))

    def receive(self, text: str, now_us: int) -> None:
        call = codec.parse(text).message
        if isinstance(call, Call) and call.action == "BootNotification":
            self.fault = self._fault_of(call.payload.get("firmwareVersion", ""))
            self._done, self._first_id = False, None
        self.inner.receive(text, now_us)
        if not isinstance(call, Call):
            return
        for command in self.inner.take():
            if isinstance(command, Send) and command.text.startswith("[3,"):
                self._answer(call.action, json.loads(command.text), now_us)
            else:
                self._ready.append(command)

    def _answer(self, action: str, answer: list[Any], now_us: int) -> None:
        twice = action == "StartTransaction" and self.fault == "id twice"
        if (action, self.fault) in FAULTS and (twice or not self._done):
            self._done = True
            FAULTS[action, self.fault](self, answer, now_us)
        else:
            self._say(answer)

    def _say(self, answer: list[Any]) -> None:
        self._ready.append(Send(json.dumps(answer, separators=(",", ":"))))

    # --- the faults ----------------------------------------------------------------------------------------

    def blocked(self, answer: list[Any], now_us: int) -> None:
        answer[2]["idTagInfo"]["status"] = "Blocked"
        self._say(answer)

    def lost(self, answer: list[Any], now_us: int) -> None:
        pass

    def another_interval(self, answer: list[Any], now_us: int) -> None:
        answer[2]["interval"] = 60
        self._say(answer)

    def late(self, answer: list[Any], now_us: int) -> None:
        self._held.append((now_us + LATE_US, Send(json.dumps(answer, separators=(",", ":")))))

    def text_id(self, answer: list[Any], now_us: int) -> None:
        answer[2]["transactionId"] = str(answer[2]["transactionId"])
        self._say(answer)

    def error(self, answer: list[Any], now_us: int) -> None:
        self._say([4, answer[1], "InternalError", "", {}])

    def id_twice(self, answer: list[Any], now_us: int) -> None:
        self._first_id = self._first_id or answer[2]["transactionId"]
        answer[2]["transactionId"] = self._first_id
        self._say(answer)

    def closing(self, answer: list[Any], now_us: int) -> None:
        self._say(answer)
        self._ready.append(Close(1011, "internal error"))

    def another_call(self, answer: list[Any], now_us: int) -> None:
        self._say(answer)
        self.call("GetConfiguration", {"key": ["HeartbeatInterval"]})

    def an_hour_off(self, answer: list[Any], now_us: int) -> None:
        clock = answer[2]["currentTime"]
        hour = (int(clock[11:13]) + 1) % 24
        answer[2]["currentTime"] = f"{clock[:11]}{hour:02}{clock[13:]}"
        self._say(answer)


type Fault = Callable[[FaultyCsms, list[Any], int], None]
FAULTS: dict[tuple[str, str], Fault] = {
    ("Authorize", "wrong status"): FaultyCsms.blocked,
    ("StopTransaction", "lost answer"): FaultyCsms.lost,
    ("BootNotification", "interval"): FaultyCsms.another_interval,
    ("StopTransaction", "late answer"): FaultyCsms.late,
    ("StartTransaction", "id as text"): FaultyCsms.text_id,
    ("MeterValues", "error"): FaultyCsms.error,
    ("StartTransaction", "id twice"): FaultyCsms.id_twice,
    ("StartTransaction", "closed"): FaultyCsms.closing,
    ("StatusNotification", "extra call"): FaultyCsms.another_call,
    ("BootNotification", "an hour off"): FaultyCsms.an_hour_off,
}
# The line that the first divergence of each must be told in.
NAMED = {
    "wrong status": "changed Authorize of the CSMS: answer/idTagInfo/status Accepted -> Blocked",
    "lost answer": "changed StopTransaction of the CSMS: answer CALLRESULT -> none",
    "interval": "changed BootNotification of the CSMS: answer/interval 300 -> 60",
    "late answer": "late StopTransaction of the CSMS: answer 0.",
    "id as text": "changed StartTransaction of the CSMS: answer/transactionId transaction 1 -> ",
    "error": "changed MeterValues of the CSMS: answer CALLRESULT -> CALLERROR InternalError",
    "id twice": "changed StartTransaction of the CSMS: answer/transactionId transaction 2 -> transaction 1",
    "closed": "changed connection: connection/end none -> closed by csms with 1011",
    "extra call": "extra GetConfiguration of the CSMS",
    "an hour off": "changed BootNotification of the CSMS: answer/currentTime ",
}


def session(number: int, *, remote: bool = False, interval_s: int = INTERVAL_S) -> list[Frame]:
    """A short session of its own: two transactions with a car, a tag and a meter that no other one has.

    ``remote``: the second one is started by the CSMS.
    """
    first, second = f"TAG{number:04}A", f"TAG{number:04}B"
    power_w = 2_000.0 + 7 * number
    acts = [
        (20, plug(1, power_w=power_w)),
        (24, tag(first)),
        (150 + number % 50, tag(first)),
        (215, unplug(1)),
        (230, plug(2, power_w=power_w / 2)),
        *([] if remote else [(236, tag(second))]),
        (360 + number % 40, unplug(2)),
    ]
    wanted = {"connectorId": 2, "idTag": second}
    stimuli = [stimulus(240, "RemoteStartTransaction", wanted)] if remote else []
    behaviour = Behaviour(connectors=2, firmware_version=f"1.0.{number}")
    one = station(behaviour, acts, seed=number + 1)
    return talk(one, csms(Script(interval_s=interval_s, stimuli=stimuli)), for_s=420)
