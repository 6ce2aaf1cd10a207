"""What goes out and what its answer means; what fails is sent again (3.7.1, OCPP-J 4.1.1)."""

from typing import Any

from twin.engine.machine import Send
from twin.engine.station.records import Outgoing, Queued
from twin.engine.station.registering import Registering
from twin.model import CallResult
from twin.protocol.state import Registration
from twin.protocol.timestamps import SECOND_US

_ACCEPTED_WAIT_US = 60 * SECOND_US  # Boot unanswered or refused with interval 0: the station's own back-off
_TIMEOUT_S = 60  # where MessageTimeout is 0: a station that waits for no answer would never boot again
_MISSED_HEARTBEATS = 3


class Sending(Registering):
    """The layer that has one CALL in flight."""

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
                    self._hang_up(now_us)
            case "Authorize":
                self._authorized(call, payload, now_us)
            case "StatusNotification" if expired and call.tries == 1 and call.note is not None:
                call.note[0].told = None
                self.notify(call.note[0], now_us, tries=2)

    def _failed(self, queued: Queued, now_us: int) -> None:
        """3.7.1: again after the interval times the transmissions so far; then it is skipped."""
        if queued.attempts >= max(self.configuration.count("TransactionMessageAttempts"), 1):
            self._delivered(queued)
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

    # --- what the layers above do ---------------------------------------------------------------------------

    def _hang_up(self, now_us: int) -> None:
        """Nobody answers any more: leave the link."""
        raise NotImplementedError

    def _reset_now(self, number: int, now_us: int) -> None:
        """All is said that had to be said before a reset."""
        raise NotImplementedError
