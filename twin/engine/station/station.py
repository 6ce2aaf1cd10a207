"""One OCPP 1.6-J charging station, Core profile, as a Machine: acts and frames in, frames out.

Layers: the link with its back-off, the registration, the dispatcher (``uplink``), what must survive a power
cut (``records``), connectors 1 to N whose status is derived from facts (``points``), one reader, the
configuration. ``plant`` is the world outside the wire. Section numbers are those of OCPP 1.6 edition 2.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from twin.certificate import Certificate, load
from twin.engine.machine import Close, Command, Connect, Send
from twin.engine.station import answers, samples
from twin.engine.station.configuration import Configuration
from twin.engine.station.plant import NEVER_US, Act, Outlet, Reading
from twin.engine.station.points import EV_DISCONNECTED, Authorization, Point, steps_between
from twin.engine.station.records import Outgoing, Persist, Queued, Tx
from twin.engine.station.switches import Behaviour
from twin.engine.station.uplink import Uplink
from twin.model import Call, CallResult
from twin.protocol import codec
from twin.protocol.state import Registration
from twin.protocol.timestamps import format_us, parse_stamp

SECOND_US = 1_000_000
_DAY_US = 86_400 * SECOND_US
_ACCEPTED_WAIT_US = 60 * SECOND_US  # Boot unanswered or refused with interval 0: the station's own back-off
_TIMEOUT_S = 60  # where MessageTimeout is 0: a station that waits for no answer would never boot again
_RESET_US = {"Soft": 60 * SECOND_US, "Hard": 5 * SECOND_US}
_MISSED_HEARTBEATS = 3
_MOST_ANSWERS = 256  # CALLs of the CSMS that wait for their answer; more are dropped
_HOUR_US = 3_600 * SECOND_US

type Timer = tuple[str, int]


class Station:
    """The station's end of the link. ``random`` gives numbers in [0, 1), ``new_message_id`` fresh ids.

    ``restored`` is what was persisted before (a store of ``Persist`` commands); ``durable`` asks for such
    commands. ``acts`` happen at their time (UTC µs); more may come through :meth:`act`.
    """

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        random: Callable[[], float],
        new_message_id: Callable[[], str],
        certificate: Certificate | None = None,
        acts: Iterable[tuple[int, Act]] = (),
        restored: Mapping[str, bytes] | None = None,
        durable: bool = False,
    ) -> None:
        self.behaviour = behaviour or Behaviour()
        self.quirks = self.behaviour.quirks
        self._random = random
        self._durable = durable
        held = _Restored(restored or {})
        self.configuration = Configuration(certificate or load(), self.behaviour, held.configuration)
        self.points = {
            number: Point(number, Outlet(held.registers.get(number, 0)))
            for number in range(1, self.behaviour.connectors + 1)
        }
        for number, point in self.points.items():
            point.operative = held.operative.get(number, True)
        self.operative0 = held.operative.get(0, True)
        self.transactions: dict[int, Tx] = {tx.local_id: tx for tx in held.transactions}
        self._data: dict[int, list[dict[str, Any]]] = held.data
        self._last_local = max((*self.transactions, held.last_local), default=0)
        self._last_seq = max((queued.seq for queued in held.queue), default=0)
        self.uplink = Uplink(new_message_id=new_message_id, quirks=self.quirks, queue=held.queue)
        self.registration = Registration.UNKNOWN
        self.cache: dict[str, str] = {}
        self.powered = True
        self.network = True
        self.up = False
        self._booted = False
        self._connecting = False
        self._backoff_s = self.behaviour.backoff_s[0]
        self._offset_us = self.behaviour.clock_offset_ms * 1000
        self._resetting = ""
        self._missed = 0
        self._ticked_us = 0  # the last clock-aligned tick by the station's own clock
        self._zero_sent = ""  # the status of connector 0, as last sent
        self._answers: deque[tuple[int, Call]] = deque()
        self._commands: list[Command | Persist] = []
        self._timers: dict[Timer, int] = {}
        self._heap: list[tuple[int, int, Timer]] = []
        self._order = 0
        self._done_us = 0  # what was due by then is done
        self._late: dict[int, tuple[int, dict[str, Any]]] = {}  # Stops that a quirk holds back
        self._acts: dict[int, Act] = {}
        self._next_act = 0
        for at_us, act in acts:
            self.act_at(act, at_us)
        for tx in self.transactions.values():  # the process died under them: as after a power cut
            tx.resume_reason = tx.resume_reason or "PowerLoss"
            if tx.connector_id not in self.points:
                raise ValueError(f"a transaction of connector {tx.connector_id} was kept, which is not there")
            register_mwh = max(tx.meter_wh * 1000, held.registers.get(tx.connector_id, 0))
            self.points[tx.connector_id].outlet = Outlet(register_mwh)

    # --- Machine --------------------------------------------------------------------------------------------

    def start(self, now_us: int) -> None:
        """Power is there from now on: the first connection is asked for after the boot time."""
        self._set(("connect", 0), now_us + self.behaviour.boot_ms * 1000)

    def connected(self, now_us: int) -> None:
        if not (self.powered and self.network):  # it went while the handshake was under way
            self._commands.append(Close(1006, abrupt=True))
            return
        self.up, self._connecting = True, False
        self._missed = 0
        if "loses-stop" in self.quirks:
            for queued in [queued for queued in self.uplink.queue if queued.kind == "stop"]:
                self._delivered(queued)
        if not self._booted or "boot-on-reconnect" in self.quirks:
            self._boot(now_us)
        elif self.registration is Registration.ACCEPTED:
            self._welcome_back(now_us)
        elif ("boot", 0) not in self._timers:
            self._boot(now_us)
        self._pump(now_us)

    def disconnected(self, now_us: int) -> None:
        was_up, self.up, self._connecting = self.up, False, False
        if was_up:
            self._lost_link(now_us)
        if self.powered and not self._resetting and ("connect", 0) not in self._timers:
            wait_us = int(self._backoff_s * SECOND_US * (1 + 0.1 * self._random()))
            self._set(("connect", 0), now_us + wait_us)
            self._backoff_s = min(self._backoff_s * 2, self.behaviour.backoff_s[1])

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

    def next_timer(self) -> int | None:
        while self._heap and self._timers.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def handle_timer(self, now_us: int) -> None:
        self._catch_up(now_us)
        self._pump(now_us)

    def _catch_up(self, now_us: int) -> None:
        """Everything due by now, in order and at its own time: a late wake-up moves no stamp."""
        while (due_us := self.next_timer()) is not None and due_us <= now_us:
            timer = heapq.heappop(self._heap)[2]
            del self._timers[timer]
            self._done_us = max(self._done_us, due_us)
            _TIMERS[timer[0]](self, timer[1], self._done_us)
        self._done_us = max(self._done_us, now_us)

    def take(self) -> list[Command]:
        commands, self._commands = self._commands, []
        return commands  # type: ignore[return-value]  # Persist is a command to drivers that keep a store

    def connector(self, number: int, now_us: int) -> dict[str, Any]:
        """How one connector looks: status, car, meter and transaction, in Wh, A and W."""
        point = self.points[number]
        tx, reading = self._tx_of(point), point.outlet.read(now_us)
        return {
            "id": number,
            "status": point.status(now_us),
            "error_code": point.fault or "NoError",
            "plugged": point.outlet.plugged,
            "energy_wh": reading.register_wh - tx.meter_start_wh if tx is not None else 0,
            "register_wh": reading.register_wh,
            "current_a": round(reading.current_a, 2),
            "power_w": round(reading.current_a * reading.voltage_v, 1),
            "transaction": tx.server_id if tx is not None else None,
            "id_tag": tx.id_tag if tx is not None else None,
        }

    # --- the world ------------------------------------------------------------------------------------------

    def act(self, act: Act, now_us: int) -> None:
        """Something happens to the station."""
        self._catch_up(now_us)
        self._happen(act, now_us)

    def act_at(self, act: Act, at_us: int) -> None:
        """It will happen then."""
        self._acts[self._next_act] = act
        self._set(("act", self._next_act), at_us)
        self._next_act += 1

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

    def _tag(self, tag: str, now_us: int) -> None:
        """One reader for all connectors: the same tag stops, another one is asked about first."""
        own = next((tx for tx in self._running() if tx.id_tag.casefold() == tag.casefold()), None)
        if own is not None:
            if self.online and (self.behaviour.stop_authorize or "authorizes-stop" in self.quirks):
                self._authorize(tag, ("stop", own.local_id), now_us)
            else:
                self._finish(own, "Local", now_us, id_tag=tag)
            return
        waiting = next((p for p in self.points.values() if _waits_for(p, tag)), None)
        if waiting is not None:  # a second swipe takes it back
            self._give_back(waiting, now_us)
            return
        if not self.online:
            if self._may_start_offline(tag):
                self._accept_tag(tag, "", None, now_us, remote=False)
            return
        if self.configuration.flag("LocalPreAuthorize") and self._cached(tag):
            self._accept_tag(tag, "", None, now_us, remote=False)
            return
        if not self._asked_about(tag):
            self._authorize(tag, ("tag", 0), now_us)

    def _may_start_offline(self, tag: str) -> bool:
        if not self.configuration.flag("LocalAuthorizeOffline"):
            return False
        if self.configuration.flag("AuthorizationCacheEnabled") and tag.casefold() in self.cache:
            return self._cached(tag)
        return self.configuration.flag("AllowOfflineTxForUnknownId")  # 9.1.1

    def _cached(self, tag: str) -> bool:
        enabled = self.configuration.flag("AuthorizationCacheEnabled")
        return enabled and self.cache.get(tag.casefold()) == "Accepted"

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

    # --- the link -------------------------------------------------------------------------------------------

    @property
    def online(self) -> bool:
        """Connected and accepted: the CSMS can be asked."""
        return self.up and self.registration is Registration.ACCEPTED

    @property
    def _zero_status(self) -> str:
        return "Available" if self.operative0 else "Unavailable"

    def _connect(self, _: int, now_us: int) -> None:
        if not self.powered or self.up or self._connecting:
            return
        if not self.network:
            self.disconnected(now_us)  # refused at once: back off
            return
        self._connecting = True
        self._commands.append(Connect())

    def _close(self, *, abrupt: bool) -> None:
        if self.up:
            self._commands.append(Close(1000 if not abrupt else 1006, abrupt=abrupt))

    def _lost_link(self, now_us: int) -> None:
        lost = self.uplink.link_ended(counts=self.behaviour.link_loss_counts)
        for call in lost:
            if isinstance(call, Outgoing) and call.action == "Authorize":
                self._authorize_failed(call.note, now_us)
            if isinstance(call, Outgoing) and call.action == "StatusNotification":
                self._sent_status(call, arrived=False)
        for point in self.points.values():
            point.told = point.sent
            point.asking = False
        for timer in (("heartbeat", 0), ("answer", 0), ("message", 0), ("retry", 0), ("boot", 0)):
            self._cancel(timer)
        self._answers.clear()
        if self.registration is not Registration.ACCEPTED:
            self._booted = False

    def _welcome_back(self, now_us: int) -> None:
        """Connected again without a boot: what changed is told, the queue goes on (3.7, 4.9)."""
        self._backoff_s = self.behaviour.backoff_s[0]
        self._start_heartbeat(now_us)
        if self._zero_sent != self._zero_status:
            self._queue_status(0, self._zero_status, "NoError", now_us)
        for point in self.points.values():
            if point.sent is None or point.sent != (point.status(now_us), point.fault or "NoError"):
                point.told = None
                self.notify(point, now_us)
        self.uplink._transactions_next = self.behaviour.reconnect_order == "queue"

    # --- registration ---------------------------------------------------------------------------------------

    def _boot(self, now_us: int) -> None:
        self._booted = True
        self.registration = Registration.SENT
        vendor = "" if "empty-vendor" in self.quirks else "MANAGEON"
        payload = {
            "chargePointVendor": vendor,
            "chargePointModel": "OctoFLEX (OTM-K)",
            "firmwareVersion": self.behaviour.firmware_version,
        }
        self.uplink.boot = Outgoing("BootNotification", payload)

    def _boot_again(self, _: int, now_us: int) -> None:
        if self.up:
            self._boot(now_us)

    def _boot_answered(self, payload: dict[str, Any], now_us: int) -> None:
        self._told_time(payload, now_us)
        interval_s = payload.get("interval")
        interval_s = interval_s if isinstance(interval_s, int) and not isinstance(interval_s, bool) else 0
        try:
            self.registration = Registration(str(payload.get("status")))
        except ValueError:
            self.registration = Registration.REJECTED
        if self.registration is not Registration.ACCEPTED:
            wait_us = min(interval_s, 86_400) * SECOND_US if interval_s > 0 else _ACCEPTED_WAIT_US
            self._set(("boot", 0), now_us + wait_us)
            return
        self._backoff_s = self.behaviour.backoff_s[0]
        if interval_s > 0 and self.behaviour.boot_interval_sets_key:
            self.set_key("HeartbeatInterval", str(interval_s))
        if "boot-loop" in self.quirks and not self.cache.get("\0booted"):
            self.cache["\0booted"] = "yes"
            self._boot(now_us)
            return
        self._start_heartbeat(now_us)
        self._tell_all(now_us)
        for tx in [tx for tx in self._open() if tx.resume_reason]:
            if "no-stop-after-reset" in self.quirks:
                self._forget_transaction(tx)
            else:
                self._finish(tx, tx.resume_reason, now_us, resumed=True)
        self._set_aligned(now_us)

    def _tell_all(self, now_us: int) -> None:
        """ER 3.22: connector 0 and 1 to N, with the current status."""
        self._queue_status(0, self._zero_status, "NoError", now_us)
        for point in self.points.values():
            if "no-status-after-boot" in self.quirks and point.connector_id == 1:
                continue
            point.told = None
            self.notify(point, now_us)

    def _told_time(self, payload: dict[str, Any], now_us: int) -> None:
        told = payload.get("currentTime")
        stamp = parse_stamp(told) if isinstance(told, str) else None
        if stamp is not None:
            self._offset_us = stamp.at_us - now_us
            if ("aligned", 0) in self._timers:
                self._set_aligned(now_us)

    def _start_heartbeat(self, now_us: int) -> None:
        interval_s = self.configuration.count("HeartbeatInterval")
        if interval_s > 0 and "no-heartbeat" not in self.quirks:
            self._set(("heartbeat", 0), now_us + interval_s * SECOND_US)
        else:
            self._cancel(("heartbeat", 0))

    def _heartbeat(self, _: int, now_us: int) -> None:
        if self.online and not any(call.action == "Heartbeat" for call in self.uplink.urgent):
            self.uplink.urgent.append(Outgoing("Heartbeat", {}))
            if "firmware-status" in self.quirks:
                self.uplink.urgent.append(Outgoing("FirmwareStatusNotification", {"status": "Installed"}))
        self._start_heartbeat(now_us)

    # --- sending --------------------------------------------------------------------------------------------

    def _pump(self, now_us: int) -> None:
        """Whatever may go out goes out."""
        while self.up and self.uplink.may_send:
            if self.registration in (Registration.PENDING, Registration.REJECTED):
                break
            accepted = self.registration is Registration.ACCEPTED
            call = self.uplink.next(now_us, accepted=accepted)
            if call is None:
                break
            payload = self._bound(call, now_us) if isinstance(call, Queued) else call.payload
            if isinstance(call, Queued):
                call.attempts += 1
            timeout_s = self.configuration.count("MessageTimeout") or _TIMEOUT_S
            due_us = now_us + timeout_s * SECOND_US
            self._commands.append(Send(self.uplink.sent(call, payload, due_us)))
            if isinstance(call, Outgoing) and call.action == "StatusNotification":
                self._sent_status(call, arrived=True)
            if self.behaviour.heartbeat_mode == "inactivity" and accepted:
                self._start_heartbeat(now_us)
        self._set_message_timer()
        self._set_retry()
        if self._resetting and (self.uplink.idle or not self.online):  # said, or it must wait for the boot
            self._reset_now(0, now_us)

    def _sent_status(self, call: Outgoing, *, arrived: bool) -> None:
        """What was last said of a connector; nothing, if the link went before it was answered."""
        if call.note is not None:
            call.note[0].sent = call.note[1] if arrived else None
        else:
            self._zero_sent = call.payload["status"] if arrived else ""

    def _bound(self, queued: Queued, now_us: int) -> dict[str, Any]:
        """The transactionId is the CSMS's at the moment of sending, or -1 after Start was given up."""
        payload = queued.payload
        if "retry-restamped" in self.quirks and queued.attempts and "timestamp" in payload:
            payload["timestamp"] = self.stamp(now_us)
        if queued.bound or queued.kind == "start" or not queued.local_id:
            return payload
        tx = self.transactions.get(queued.local_id)
        known = tx.server_id if tx is not None else None
        server_id = -1 if known is None else known
        if queued.kind == "stop" and "transaction-zero" in self.quirks:
            server_id = 0
        queued.payload, queued.bound = {**payload, "transactionId": server_id}, True
        self._store_queued(queued)
        return queued.payload

    def _answered(self, message: Any, now_us: int) -> None:
        flight = self.uplink.in_flight.pop(message.message_id, None)
        if flight is None:
            return  # late, or to nothing
        payload = None
        if isinstance(message, CallResult):  # null is {} (OCPP-J table 5); whatever else it is, it arrived
            payload = message.payload if isinstance(message.payload, dict) else {}
        self._settle(flight.call, payload, now_us)

    def _expired(self, _: int, now_us: int) -> None:
        for flight in [f for f in self.uplink.in_flight.values() if f.due_us <= now_us]:
            del self.uplink.in_flight[flight.message_id]
            self._settle(flight.call, None, now_us, expired=True)

    def _settle(
        self, call: Outgoing | Queued, payload: dict[str, Any] | None, now_us: int, *, expired: bool = False
    ) -> None:
        """An answer (``payload``), a CALLERROR, or none in time."""
        if isinstance(call, Queued):
            if payload is None:
                self._failed(call, now_us)
            else:
                self._delivered(call)
                if call.kind == "start":
                    self._started(call, payload, now_us)
            return
        match call.action:
            case "BootNotification" if payload is not None:
                self._boot_answered(payload, now_us)
            case "BootNotification":
                self.registration = Registration.PENDING
                self._set(("boot", 0), now_us + _ACCEPTED_WAIT_US)
            case "Heartbeat":
                self._missed = self._missed + 1 if expired else 0
                if payload is not None:
                    self._told_time(payload, now_us)
                if self._missed >= _MISSED_HEARTBEATS:
                    self._close(abrupt=True)
                    self.disconnected(now_us)
            case "Authorize":
                self._authorized(call, payload, now_us)
            case "StatusNotification" if expired and call.tries == 1 and call.note is not None:
                call.note[0].told = None
                self.notify(call.note[0], now_us, tries=2)

    def _failed(self, queued: Queued, now_us: int) -> None:
        """3.7.1: again after the interval times the transmissions so far; then it is skipped."""
        if queued.attempts >= max(self.configuration.count("TransactionMessageAttempts"), 1):
            self._delivered(queued)
            tx = self.transactions.get(queued.local_id)
            if queued.kind == "start" and tx is not None:
                tx.given_up = True
                self._store_transaction(tx)
            return
        wait_s = self.configuration.count("TransactionMessageRetryInterval") * queued.attempts
        queued.next_us = now_us + wait_s * SECOND_US
        self._store_queued(queued)

    def _delivered(self, queued: Queued) -> None:
        self.uplink.remove(queued)
        self.persist(f"queue/{queued.seq}", None)
        if queued.kind == "stop" and queued.local_id in self.transactions:
            self._forget_transaction(self.transactions[queued.local_id])

    def _set_message_timer(self) -> None:
        due_us = min((flight.due_us for flight in self.uplink.in_flight.values()), default=None)
        self._set(("message", 0), due_us)

    def _set_retry(self) -> None:
        head = self.uplink.queue[0] if self.uplink.queue and self.up else None
        self._set(("retry", 0), head.next_us if head is not None and head.next_us else None)

    def _again(self, _: int, now_us: int) -> None:
        if self.uplink.queue:
            self.uplink.queue[0].next_us = 0

    # --- authorization --------------------------------------------------------------------------------------

    def _asked_about(self, tag: str) -> bool:
        """An Authorize for it waits or is on its way: a second swipe changes nothing."""
        waiting = [*self.uplink.urgent, *(flight.call for flight in self.uplink.in_flight.values())]
        return any(
            isinstance(call, Outgoing) and call.action == "Authorize" and call.payload["idTag"] == tag
            for call in waiting
        )

    def _authorize(self, tag: str, note: tuple[str, int], now_us: int) -> None:
        self.uplink.urgent.append(Outgoing("Authorize", {"idTag": tag}, (*note, tag)))

    def ask_remote(self, tag: str, point: Point, now_us: int) -> None:
        """After an accepted RemoteStartTransaction: Authorize first, as AuthorizeRemoteTxRequests says."""
        if self.configuration.flag("AuthorizeRemoteTxRequests") and not (
            self.configuration.flag("LocalPreAuthorize") and self._cached(tag)
        ):
            point.asking = True
            self._authorize(tag, ("remote", point.connector_id), now_us)
        else:
            self._accept_tag(tag, "", point, now_us, remote=True)

    def _authorized(self, call: Outgoing, payload: dict[str, Any] | None, now_us: int) -> None:
        what, number, tag = call.note
        info = payload.get("idTagInfo") if payload else None
        info = info if isinstance(info, dict) else {}
        status, parent = str(info.get("status", "")), str(info.get("parentIdTag", ""))
        self._learn(tag, status)
        if status != "Accepted":
            self._authorize_failed(call.note, now_us)
            return
        if what == "stop":
            tx = self.transactions.get(number)
            if tx is not None and not tx.ended:
                self._finish(tx, "Local", now_us, id_tag=tag)
            return
        point = self.points.get(number) if what == "remote" else None
        if point is not None:
            point.asking = False
        elif (other := self._stopped_by(parent)) is not None:
            self._finish(other, "Local", now_us, id_tag=tag)
            return
        self._accept_tag(tag, parent, point, now_us, remote=what == "remote")

    def _stopped_by(self, parent: str) -> Tx | None:
        """A tag of the same group stops, unless a plugged car waits for one (one reader, many connectors)."""
        if not parent or any(p.free and p.outlet.plugged and not p.post_tx for p in self.points.values()):
            return None
        return next((tx for tx in self._running() if tx.parent_tag == parent), None)

    def _authorize_failed(self, note: tuple[str, int, str], now_us: int) -> None:
        point = self.points.get(note[1]) if note[0] == "remote" else None
        if point is not None:
            point.asking = False

    def _learn(self, tag: str, status: str) -> None:
        if self.behaviour.cache == "on" and status and len(self.cache) < 1024:
            self.cache[tag.casefold()] = status

    def _accept_tag(self, tag: str, parent: str, point: Point | None, now_us: int, *, remote: bool) -> None:
        """The oldest plugged car gets it; without one a free connector waits for a plug (9.1.6)."""
        point = point or self.connector_for_tag()
        if point is None or self._resetting or not (point.free or point.asking):
            return
        if point.outlet.plugged:
            if point.post_tx or point.timed_out:
                point.post_tx = point.timed_out = False
                self.notify(point, now_us)
            self._begin(point, tag, parent, now_us)
            return
        timeout_us = self.configuration.count("ConnectionTimeOut") * SECOND_US
        point.authorization = Authorization(tag, parent, now_us + timeout_us, remote)
        self.notify(point, now_us)
        if timeout_us > 0:
            self._set(("time-out", point.connector_id), now_us + timeout_us)

    def connector_for_tag(self) -> Point | None:
        """A plugged car that waits, else one that has finished, else the first that is free."""
        free = [point for point in self.points.values() if point.free]
        waiting = [point for point in free if point.outlet.plugged and not point.post_tx]
        empty = [point for point in free if not point.outlet.plugged]
        return next(iter((*waiting, *empty, *free)), None)

    def _give_back(self, point: Point, now_us: int) -> None:
        point.authorization = None
        self._cancel(("time-out", point.connector_id))
        self._take_scheduled(point)
        self.notify(point, now_us)

    def _timed_out(self, number: int, now_us: int) -> None:
        if self.points[number].authorization is not None:
            self._give_back(self.points[number], now_us)

    def _id_timed_out(self, number: int, now_us: int) -> None:
        point = self.points[number]
        if point.outlet.plugged and point.transaction is None:
            point.timed_out = True
            self.notify(point, now_us)

    # --- transactions ---------------------------------------------------------------------------------------

    def _begin(self, point: Point, tag: str, parent: str, now_us: int) -> None:
        running = self._running()
        for old in self._open():
            if old not in running:  # power was lost in it, and no boot since: it ends before this one begins
                self._finish(old, old.resume_reason, now_us, resumed=True)
        self._last_local += 1
        point.outlet.enable(now_us)
        reading = point.outlet.read(now_us)
        tx = Tx(
            local_id=self._last_local,
            connector_id=point.connector_id,
            id_tag=tag,
            parent_tag=parent,
            meter_start_wh=reading.register_wh,
            started_us=now_us,
            meter_wh=reading.register_wh,
            meter_us=now_us,
        )
        self.transactions[tx.local_id] = tx
        point.transaction, point.refused, point.post_tx = tx.local_id, False, False
        self._data[tx.local_id] = []
        self._store_transaction(tx)
        self._keep(tx, reading, "Transaction.Begin", "StopTxnSampledData", now_us)
        payload = {
            "connectorId": point.connector_id,
            "idTag": tag,
            "meterStart": reading.register_wh,
            "timestamp": self.stamp(now_us),
        }
        self._queue(tx.local_id, "start", payload)
        self.notify(point, now_us)
        self._watch_car(point, now_us)
        if self.behaviour.first_sample == "at start" and self.configuration.count("MeterValueSampleInterval"):
            self._sample(point.connector_id, now_us)
        else:
            self._set_sample(point.connector_id, now_us)

    def _started(self, queued: Queued, payload: dict[str, Any], now_us: int) -> None:
        tx = self.transactions.get(queued.local_id)
        if tx is None:
            return
        server_id = payload.get("transactionId")
        info = payload.get("idTagInfo")
        info = info if isinstance(info, dict) else {}
        if isinstance(server_id, int) and not isinstance(server_id, bool):
            tx.server_id = server_id
        tx.parent_tag = str(info.get("parentIdTag", tx.parent_tag))
        status = str(info.get("status", ""))
        self._learn(tx.id_tag, status)
        self._store_transaction(tx)
        if status in ("", "Accepted") or tx.ended:
            return
        point = self.points[tx.connector_id]
        if self.configuration.flag("StopTransactionOnInvalidId"):
            self._finish(tx, "DeAuthorized", now_us)
        elif point.transaction == tx.local_id:
            point.refused = True
            point.outlet.disable(now_us)
            self.notify(point, now_us)

    def _finish(
        self,
        tx: Tx,
        reason: str,
        now_us: int,
        *,
        id_tag: str = "",
        notify: bool = True,
        resumed: bool = False,
    ) -> None:
        """StopTransaction is queued and the connector set free; ``resumed`` after a boot."""
        point = self.points[tx.connector_id]
        if resumed:
            reading, at_us = Reading(tx.meter_wh * 1000, 0.0, 0.0), tx.meter_us
        else:
            reading, at_us = point.outlet.read(now_us), now_us
        tx.ended = True
        early = "available-before-stop" in self.quirks and not resumed and reason == "Local"
        self._keep(tx, reading, "Transaction.End", "StopTxnSampledData", at_us)
        meter_stop_wh = reading.register_wh - (5 if "register-falls" in self.quirks else 0)
        stamped_us = at_us - (9 * SECOND_US if "stop-stamped-early" in self.quirks else 0)
        payload: dict[str, Any] = {
            "meterStop": max(meter_stop_wh, 0),
            "timestamp": self.stamp(stamped_us),
            "reason": reason,
        }
        if id_tag:
            payload["idTag"] = id_tag
        data = self._data.pop(tx.local_id, [])
        if data:
            payload["transactionData"] = data
        self._store_transaction(tx)
        register_mwh = max(reading.register_mwh, point.outlet.read(now_us).register_mwh)
        self.persist(f"register/{point.connector_id}", str(register_mwh).encode())
        if not resumed:
            point.outlet.disable(now_us)
            point.transaction, point.refused = None, False
            point.post_tx = point.outlet.plugged
            self._cancel(("sample", point.connector_id))
            self._cancel(("car", point.connector_id))
            self._take_scheduled(point)
            if not point.outlet.plugged:
                self._dwell(point, now_us)
        if early:
            self._queue_status(point.connector_id, "Available", "NoError", now_us)
            self._late[point.connector_id] = (tx.local_id, payload)
            self._set(("late stop", point.connector_id), now_us + 11 * SECOND_US)
            return
        if "stop-stamped-early" in self.quirks and not resumed:
            self._meter(point, tx, "Transaction.End", "MeterValuesSampledData", now_us)
        self._queue(tx.local_id, "stop", payload)
        if notify and not resumed:
            self.notify(point, now_us)

    def _late_stop(self, number: int, now_us: int) -> None:
        local_id, payload = self._late.pop(number)
        self._queue(local_id, "stop", payload)

    def stop_remotely(self, tx: Tx, now_us: int) -> None:
        self._finish(tx, "Remote", now_us)

    def open_transaction(self, server_id: int) -> Tx | None:
        return next((tx for tx in self._running() if tx.server_id == server_id), None)

    def _open(self) -> list[Tx]:
        return [tx for tx in self.transactions.values() if not tx.ended]

    def _running(self) -> list[Tx]:
        """Those that no loss of power has interrupted."""
        return [tx for tx in self._open() if self.points[tx.connector_id].transaction == tx.local_id]

    @property
    def restarting(self) -> bool:
        """A reset, or the end of the power, is under way: nothing new begins."""
        return bool(self._resetting)

    def _tx_of(self, point: Point) -> Tx | None:
        return self.transactions.get(point.transaction) if point.transaction is not None else None

    def _take_scheduled(self, point: Point) -> None:
        if point.scheduled is not None:
            point.operative, point.scheduled = point.scheduled, None
            self.persist(f"operative/{point.connector_id}", b"1" if point.operative else b"0")

    def _watch_car(self, point: Point, now_us: int) -> None:
        due_us = point.outlet.next_change_us(now_us)
        self._set(("car", point.connector_id), due_us if due_us < NEVER_US else None)

    def _car_changed(self, number: int, now_us: int) -> None:
        self.notify(self.points[number], now_us)
        self._watch_car(self.points[number], now_us)

    # --- metering -------------------------------------------------------------------------------------------

    def _set_sample(self, number: int, now_us: int) -> None:
        """The phase is that of the transaction's start (9.1.19)."""
        tx = self._tx_of(self.points[number])
        interval_us = self.configuration.count("MeterValueSampleInterval") * SECOND_US
        if tx is None or interval_us <= 0:
            self._cancel(("sample", number))
            return
        done = (now_us - tx.started_us) // interval_us
        self._set(("sample", number), tx.started_us + (done + 1) * interval_us)

    def _sample(self, number: int, now_us: int) -> None:
        point = self.points[number]
        tx = self._tx_of(point)
        if tx is not None:
            self._meter(point, tx, "Sample.Periodic", "MeterValuesSampledData", now_us)
            self._keep(tx, point.outlet.read(now_us), "Sample.Periodic", "StopTxnSampledData", now_us)
            self._set_sample(number, now_us)

    def _set_aligned(self, now_us: int) -> None:
        interval_us = self.configuration.count("ClockAlignedDataInterval") * SECOND_US
        if interval_us <= 0:
            self._cancel(("aligned", 0))
            return
        local_us = now_us + self._offset_us
        if 0 < self._ticked_us - local_us < interval_us:  # the clock was set back over a tick: not twice
            local_us = self._ticked_us
        since_midnight = local_us % _DAY_US
        due_us = local_us + interval_us - since_midnight % interval_us - self._offset_us
        self._set(("aligned", 0), due_us)

    def _aligned(self, _: int, now_us: int) -> None:
        self._ticked_us = now_us + self._offset_us
        for point in self.points.values():
            tx = self._tx_of(point)
            if tx is not None or self.behaviour.aligned_idle:
                at_us = now_us
                if self.behaviour.aligned_stamp == "slot start":
                    at_us -= self.configuration.count("ClockAlignedDataInterval") * SECOND_US
                self._meter(point, tx, "Sample.Clock", "MeterValuesAlignedData", at_us)
                if tx is not None:
                    reading = point.outlet.read(now_us)
                    self._keep(tx, reading, "Sample.Clock", "StopTxnAlignedData", at_us)
        self._set_aligned(now_us)

    def metering_changed(self, now_us: int) -> None:
        """An interval was written: it holds from the next tick on."""
        for number in self.points:
            self._set_sample(number, now_us)
        self._set_aligned(now_us)
        self._start_heartbeat(now_us)

    def _meter(self, point: Point, tx: Tx | None, context: str, key: str, at_us: int) -> None:
        reading = point.outlet.read(at_us)
        measurands = self.configuration.measurands(key)
        if context == "Sample.Clock" and not measurands:
            return
        sampled = samples.entry(self.stamp(at_us), reading, measurands, context, self.quirks)
        payload = {"connectorId": point.connector_id, "meterValue": [sampled]}
        if tx is not None:
            tx.meter_wh, tx.meter_us = reading.register_wh, at_us
            self._store_transaction(tx)
        self._queue(tx.local_id if tx else 0, "meter", payload)

    def _keep(self, tx: Tx, reading: Reading, context: str, key: str, at_us: int) -> None:
        """The same reading for StopTransaction; Begin and End are never dropped (ER 3.89)."""
        measurands = self.configuration.measurands(key)
        if not measurands:
            return
        between = context.startswith("Sample")
        limit = self.behaviour.transaction_data_limit
        if between and limit and tx.entries >= limit:
            return
        tx.entries += between
        sampled = samples.entry(self.stamp(at_us), reading, measurands, context, self.quirks)
        if "empty-sample" in self.quirks and context == "Transaction.Begin":
            sampled["sampledValue"] = []
        held = self._data.setdefault(tx.local_id, [])
        held.append(sampled)
        if self._durable:
            self.persist(f"data/{tx.local_id}/{len(held):06}", msgspec.json.encode(sampled))

    # --- status ---------------------------------------------------------------------------------------------

    def notify(self, point: Point, now_us: int, *, info: str = "", tries: int = 1) -> None:
        """Queue the status that the facts give, with what the table wants between, if it is news."""
        status, code = point.status(now_us), point.fault or "NoError"
        if point.told == (status, code):
            return
        before = point.told[0] if point.told else None
        if not self.online:
            return  # history is never replayed (4.9)
        for step in steps_between(before, status):
            last = step == status
            self._queue_status(
                point.connector_id,
                step,
                code if last else "NoError",
                now_us,
                info=info if last else "",
                tries=tries,
            )

    def _queue_status(
        self, number: int, status: str, code: str, now_us: int, *, info: str = "", tries: int = 1
    ) -> None:
        payload = {
            "connectorId": number,
            "errorCode": code,
            "status": status,
            "timestamp": self.stamp(now_us),
        }
        if info:
            payload["info"] = info
        point = self.points.get(number)
        note = (point, (status, code)) if point is not None else None
        if point is not None:
            point.told = (status, code)
        for _ in range(2 if "repeats-status" in self.quirks else 1):
            self.uplink.urgent.append(Outgoing("StatusNotification", payload, note, tries))

    def _dwell(self, point: Point, now_us: int) -> None:
        """A transaction that ends without a car is Finishing for a moment (4.9), whoever unplugged it."""
        if self.behaviour.ev_disconnect_status == "Finishing" and point.operative:
            point.dwell = True
            self._set(("dwell", point.connector_id), now_us + self.behaviour.finishing_ms * 1000)

    def _dwelt(self, number: int, now_us: int) -> None:
        self.points[number].dwell = False
        self.points[number].post_tx = False
        self.notify(self.points[number], now_us)

    def tell_availability(self, numbers: Iterable[int], now_us: int) -> None:
        """After ChangeAvailability: the connectors that changed, 0 first."""
        for number in numbers:
            if number == 0:
                self._queue_status(0, self._zero_status, "NoError", now_us)
            else:
                self.notify(self.points[number], now_us)

    # --- the CSMS's CALLs -----------------------------------------------------------------------------------

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

    def set_key(self, key: str, value: str) -> None:
        self.configuration.set(key, value)
        self.persist(f"key/{key.casefold()}", value.encode())

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

    # --- small things ---------------------------------------------------------------------------------------

    def stamp(self, at_us: int) -> str:
        """RFC 3339 in UTC with milliseconds, by the station's own clock."""
        told_us = at_us + self._offset_us
        if "local-time" in self.quirks:
            told_us += _HOUR_US
        text = format_us(told_us)
        if "no-milliseconds" in self.quirks:
            return text[:19] + "Z"
        return text[:23] + ("" if "zoneless-clock" in self.quirks else "Z")

    def persist(self, key: str, value: bytes | None) -> None:
        if self._durable:
            self._commands.append(Persist(key, value))

    def _queue(self, local_id: int, kind: Any, payload: dict[str, Any]) -> None:
        self._last_seq += 1
        queued = Queued(self._last_seq, local_id, kind, payload)
        self.uplink.queue.append(queued)
        self._store_queued(queued)

    def _store_queued(self, queued: Queued) -> None:
        if self._durable:
            self.persist(f"queue/{queued.seq}", msgspec.json.encode(queued))

    def _store_transaction(self, tx: Tx) -> None:
        if self._durable:
            self.persist(f"transaction/{tx.local_id}", msgspec.json.encode(tx))

    def _forget_transaction(self, tx: Tx) -> None:
        self.transactions.pop(tx.local_id, None)
        self.persist(f"transaction/{tx.local_id}", None)
        if self._durable:
            self.persist(f"data/{tx.local_id}/", None)
        self._data.pop(tx.local_id, None)

    def _set(self, timer: Timer, due_us: int | None) -> None:
        if due_us is None:
            self._cancel(timer)
        elif self._timers.get(timer) != due_us:
            self._timers[timer] = due_us
            self._order += 1
            heapq.heappush(self._heap, (due_us, self._order, timer))

    def _cancel(self, timer: Timer) -> None:
        self._timers.pop(timer, None)

    def _act(self, number: int, now_us: int) -> None:
        self._happen(self._acts.pop(number), now_us)


class _Restored:
    """What the store gives back, by kind. Raises ``ValueError`` on a value that is none of ours."""

    def __init__(self, held: Mapping[str, bytes]) -> None:
        self.configuration: dict[str, str] = {}
        self.operative: dict[int, bool] = {}
        self.registers: dict[int, int] = {}
        self.transactions: list[Tx] = []
        self.queue: list[Queued] = []
        self.data: dict[int, list[dict[str, Any]]] = {}
        self.last_local = 0
        for key in sorted(held):
            kind, _, rest = key.partition("/")
            value = held[key]
            match kind:
                case "key":
                    self.configuration[rest] = value.decode()
                case "operative":
                    self.operative[int(rest)] = value == b"1"
                case "register":
                    self.registers[int(rest)] = int(value)
                case "transaction":
                    self.transactions.append(msgspec.json.decode(value, type=Tx))
                case "queue":
                    self.queue.append(msgspec.json.decode(value, type=Queued))
                case "data":
                    local_id = int(rest.partition("/")[0])
                    self.data.setdefault(local_id, []).append(msgspec.json.decode(value))
        self.queue.sort(key=lambda queued: queued.seq)


def _waits_for(point: Point, tag: str) -> bool:
    held = point.authorization
    return held is not None and not held.remote and held.id_tag.casefold() == tag.casefold()


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
