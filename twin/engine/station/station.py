"""One OCPP 1.6-J charging station, Core profile, as a Machine: acts and frames in, frames out.

Layers, a module each, which knows those below it alone: ``linking`` (the link with its back-off), ``sending``
(one CALL in flight), ``registering``, ``authorizing`` (one reader), ``transacting``, ``metering``,
``telling`` (statuses by the facts of ``points``), ``core``. ``plant`` is the world outside the wire. Section
numbers are those of OCPP 1.6 edition 2.
"""

from collections.abc import Callable

from twin.engine.machine import Send
from twin.engine.station import answers
from twin.engine.station.core import Timer
from twin.engine.station.linking import Linking
from twin.engine.station.plant import Act
from twin.engine.station.points import EV_DISCONNECTED, Point
from twin.model import Call
from twin.protocol import codec
from twin.protocol.state import Registration
from twin.protocol.timestamps import SECOND_US

_RESET_US = {"Soft": 60 * SECOND_US, "Hard": 5 * SECOND_US}
_MOST_ANSWERS = 256  # CALLs of the CSMS that wait for their answer; more are dropped


class Station(Linking):
    """The station's end of the link. ``random`` gives numbers in [0, 1), ``new_message_id`` fresh ids.

    ``restored`` is what was persisted before (a store of ``Persist`` commands); ``durable`` asks for such
    commands. ``acts`` happen at their time (UTC µs); more may come through :meth:`act`.
    """

    def start(self, now_us: int) -> None:
        """Power is there from now on: the first connection is asked for after the boot time."""
        self._set(("connect", 0), now_us + self.behaviour.boot_ms * 1000)

    def receive(self, text: str, now_us: int) -> None:
        self._catch_up(now_us)
        if not self.up:
            return
        parsed = codec.parse(text)
        message = parsed.message
        if message is None:
            return  # nothing to answer to; OCPP-J 4.2.3 has no id for it
        if isinstance(message, Call):
            if self.registration is Registration.REJECTED:
                return  # 4.2: a Rejected station SHALL NOT answer
            if len(self._answers) < _MOST_ANSWERS:
                due_us = max(now_us + self._answer_us(message.action), self._last_answer_us())
                self._answers.append((due_us, message))
                self._set(("answer", 0), self._answers[0][0])
            return
        self._answered(message, now_us)
        self._pump(now_us)

    def handle_timer(self, now_us: int) -> None:
        self._catch_up(now_us)
        self._pump(now_us)

    def act(self, act: Act, now_us: int) -> None:
        """Something happens to the station."""
        self._catch_up(now_us)
        self._happen(act, now_us)

    def _happen(self, act: Act, now_us: int) -> None:
        point = self.points.get(act.connector_id)
        match act.do:
            case "plug" if point and not point.outlet.plugged:
                self._plug(point, act, now_us)
            case "unplug" if point and point.outlet.plugged:
                self._unplug(point, now_us)
            case "tag" if self.powered and not self._resetting:
                self._tag(act.tag, now_us)
            case "fault" if point and not point.fault:
                self._fault(point, act.error_code, now_us)
            case "clear" if point and point.fault:
                point.fault = ""
                self.notify(point, now_us)
            case "power off" if self.powered:
                self._power_off(now_us)
            case "power on" if not self.powered:
                self.powered = True
                self.start(now_us)
            case "power on" if self._resetting == "Power":
                self._resetting = "Power back"
            case "link down" if self.network:
                self.network = False
                self._close(abrupt=True)
                self.disconnected(now_us)
            case "link up" if not self.network:
                self.network = True
        self._pump(now_us)

    def _plug(self, point: Point, act: Act, now_us: int) -> None:
        point.outlet.plug(act.car, now_us)
        point.post_tx = point.timed_out = False
        authorization = point.authorization
        if authorization is not None and not self._resetting:
            point.authorization = None
            self._cancel(("time-out", point.connector_id))
            self.notify(point, now_us)
            self._begin(point, authorization.id_tag, authorization.parent_tag, now_us)
            return
        self.notify(point, now_us)
        if self.behaviour.id_timeout_s:
            due_us = now_us + self.behaviour.id_timeout_s * SECOND_US
            self._set(("id time-out", point.connector_id), due_us)
        if "starts-offline" in self.quirks and not self.online and point.free:
            self._begin(point, "OFFLINE", "", now_us)
        if "starts-unauthorized" in self.quirks and self.online and point.free:
            self._begin(point, "NOBODY", "", now_us)

    def _unplug(self, point: Point, now_us: int) -> None:
        tx = self._tx_of(point)
        if tx is not None and self.configuration.flag("StopTransactionOnEVSideDisconnect"):
            if "keeps-charging" in self.quirks:
                point.outlet.unplug(now_us)
                self.notify(point, now_us, info=EV_DISCONNECTED)
                return
            self._finish(tx, "EVDisconnected", now_us, notify=False)
            point.outlet.unplug(now_us)
            self._dwell(point, now_us)
            self.notify(point, now_us, info=EV_DISCONNECTED if point.dwell else "")
            return
        point.outlet.unplug(now_us)
        point.post_tx = point.timed_out = False
        if tx is None:
            self._take_scheduled(point)
        self.notify(point, now_us, info=EV_DISCONNECTED if tx is not None else "")

    def _fault(self, point: Point, error_code: str, now_us: int) -> None:
        point.fault = error_code
        tx = self._tx_of(point)
        if tx is not None and self.behaviour.fault_ends_transaction:
            self._finish(tx, "Other", now_us, notify=False)
        self.notify(point, now_us)

    def _power_off(self, now_us: int) -> None:
        if self.behaviour.ups:
            for tx in self._running():
                self._finish(tx, "PowerLoss", now_us)
            if self.up and self.uplink.queue:
                self._resetting = "Power"
                self._set(("reset", 0), now_us + _RESET_US["Hard"])
                self._pump(now_us)
                return
        self._down(now_us, abrupt=True)

    def _down(self, now_us: int, *, abrupt: bool) -> None:
        """Everything volatile is gone; what was persisted stays."""
        self.powered = self._connecting = False
        self._resetting = ""
        for tx in self._running():
            reading = self.points[tx.connector_id].outlet.read(now_us)
            tx.meter_wh, tx.meter_us = max(tx.meter_wh, reading.register_wh), now_us
            tx.resume_reason = tx.resume_reason or "PowerLoss"
        self._forget(now_us)
        self._close(abrupt=abrupt)
        if self.up:
            self.up = False
            self._lost_link(now_us)

    def _forget(self, now_us: int) -> None:
        self.registration = Registration.UNKNOWN
        self._booted = False
        self._boot_not_before_us = 0
        self._backoff_s = self.behaviour.backoff_s[0]
        self._offset_us = self.behaviour.clock_offset_ms * 1000
        for point in self.points.values():
            if point.transaction is not None or point.post_tx:
                point.post_tx = point.outlet.plugged
            point.outlet.disable(now_us)
            point.transaction = None
            point.refused = point.dwell = point.timed_out = point.asking = False
            point.authorization = None
            point.told = point.sent = None
        for timer in [timer for timer in self._timers if timer[0] != "act"]:
            self._cancel(timer)
        self._answers.clear()

    def _answer_us(self, action: str) -> int:
        if "slow-answers" in self.quirks:
            return 5_500_000
        low, high = self.behaviour.answer_ms
        return int((low + (high - low) * self._random()) * 1000)

    def _last_answer_us(self) -> int:
        return self._answers[-1][0] if self._answers else 0

    def _answer(self, _: int, now_us: int) -> None:
        """Say the answer, then do what it promised (J018)."""
        while self._answers and self._answers[0][0] <= now_us:
            call = self._answers.popleft()[1]
            if "deaf" in self.quirks and call.action == "GetConfiguration":
                continue
            reply = answers.answer(self, call, now_us)
            early = "acts-before-answering" in self.quirks and call.action == "Reset"
            if early and reply.then is not None:
                reply.then()
                self._pump(now_us)
            self._commands.append(Send(reply.text))
            if not early and reply.then is not None:
                reply.then()
            if not self.up:
                return
        self._set(("answer", 0), self._answers[0][0] if self._answers else None)

    def reset(self, kind: str, now_us: int) -> None:
        """5.14: every transaction is stopped, then the station boots; Hard does not wait for the answers."""
        if self._resetting.startswith("Power"):
            return  # it is going down already
        reason = f"{kind}Reset"
        wait_us = _RESET_US.get(kind, _RESET_US["Hard"])
        silent = "no-stop-after-reset" in self.quirks
        if (kind == "Hard" and self.behaviour.hard_reset_stop == "after") or silent:
            for tx in self._running():
                tx.resume_reason = reason
        else:
            for tx in self._running():
                self._finish(tx, reason, now_us)
        self._resetting = kind
        self._set(("reset", 0), now_us + wait_us)

    def _reset_now(self, _: int, now_us: int) -> None:
        kind, self._resetting = self._resetting, ""
        if not kind:
            return
        if kind == "Power":
            self._down(now_us, abrupt=True)
            return
        self._cancel(("reset", 0))
        self._down(now_us, abrupt=kind == "Power back")
        self.powered = True
        self.start(now_us)

    def _ring(self, timer: Timer, now_us: int) -> None:
        _TIMERS[timer[0]](self, timer[1], now_us)

    def _act(self, number: int, now_us: int) -> None:
        self._happen(self._acts.pop(number), now_us)


_TIMERS: dict[str, Callable[[Station, int, int], None]] = {
    "connect": Station._connect,
    "boot": Station._boot_again,
    "heartbeat": Station._heartbeat,
    "message": Station._expired,
    "retry": Station._again,
    "answer": Station._answer,
    "sample": Station._sample,
    "aligned": Station._aligned,
    "time-out": Station._timed_out,
    "id time-out": Station._id_timed_out,
    "car": Station._car_changed,
    "dwell": Station._dwelt,
    "late stop": Station._late_stop,
    "reset": Station._reset_now,
    "act": Station._act,
}
