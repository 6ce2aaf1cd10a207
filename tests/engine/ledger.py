"""What a station's wire has said of its transactions, and what must hold of it after every step.

Each breach is an AssertionError whose text begins with the name of what was broken (``BROKEN``).
"""

from typing import Any

import msgspec

from twin.engine.station import Station
from twin.engine.station.records import Queued
from twin.protocol.timestamps import format_us

SECOND_US = 1_000_000
BROKEN = ("in flight", "overtaken", "restamped", "register", "lost", "doubled", "blamed", "status")
_DEFAULT_TIMEOUT_S = 60  # where MessageTimeout is 0: no limit can be meant by it


class Delivery(msgspec.Struct):
    """One transaction message from its first sending until it is answered or given up."""

    kind: str
    seq: int
    local_id: int
    payload: dict[str, Any]
    failures: int = 0
    done: bool = False
    server_id: int | None = None


class Flight(msgspec.Struct):
    """A CALL of the station that waits for its answer."""

    action: str
    due_us: int
    delivery: Delivery | None


class Ledger:
    """Watches the CALLs of ``station`` and the answers that reach it."""

    def __init__(self, station: Station) -> None:
        self.station = station
        self.flying: dict[str, Flight] = {}
        self.starts: dict[int, Delivery] = {}
        self.stops: dict[int, list[Delivery]] = {}
        self.statuses: dict[int, str] = {}
        self._head: Delivery | None = None
        self._registers: dict[int, int] = {}
        self._stamps: dict[int, list[str]] = {}  # of queued messages, by seq
        self._last_seq = 0
        self._offset_us = 0

    # --- what happens ---------------------------------------------------------------------------------------

    def called(self, message_id: str, action: str, payload: dict[str, Any], now_us: int) -> None:
        assert not self.flying, f"in flight: {action} while {self.flying} waits"
        call = self.station.uplink.in_flight[message_id].call
        delivery = self._delivering(call, payload) if isinstance(call, Queued) else None
        timeout_s = self.station.configuration.count("MessageTimeout") or _DEFAULT_TIMEOUT_S
        self.flying[message_id] = Flight(action, now_us + timeout_s * SECOND_US, delivery)
        if action == "StatusNotification":
            self.statuses[payload["connectorId"]] = payload["status"]

    def answered(self, message_id: str, payload: Any, now_us: int) -> None:
        """An answer reaches the station; ``payload`` is None for a CALLERROR."""
        self.passed(now_us)
        flight = self.flying.pop(message_id, None)
        if flight is None or flight.delivery is None:
            return
        if payload is None:
            self._failed(flight.delivery)
            return
        flight.delivery.done = True
        if flight.delivery.kind == "start" and type(payload.get("transactionId")) is int:
            flight.delivery.server_id = payload["transactionId"]

    def passed(self, now_us: int) -> None:
        """Time has passed: what was not answered has failed."""
        for message_id in [each for each, flight in self.flying.items() if flight.due_us <= now_us]:
            flight = self.flying.pop(message_id)
            if flight.delivery is not None:
                self._failed(flight.delivery)

    def link_ended(self) -> None:
        """A lost link is no attempt: what was in flight comes again."""
        self.flying.clear()

    def _failed(self, delivery: Delivery) -> None:
        delivery.failures += 1
        attempts = max(self.station.configuration.count("TransactionMessageAttempts"), 1)
        delivery.done = delivery.failures >= attempts

    def _delivering(self, call: Queued, payload: dict[str, Any]) -> Delivery:
        head = self._head
        if head is not None and not head.done:
            assert head.seq == call.seq, f"overtaken: {head.kind} {head.payload} by {call.kind} {payload}"
            assert head.payload == payload, f"restamped: {head.payload} became {payload}"
            return head
        assert head is None or call.seq > head.seq, f"doubled: {call.kind} {payload} again, or after {head}"
        told = self._stamps.get(call.seq)
        assert told in (None, _stamps(payload)), f"restamped: {told} became {_stamps(payload)}"
        head = self._head = Delivery(call.kind, call.seq, call.local_id, payload)
        match call.kind:
            case "start":
                assert call.local_id not in self.starts, f"doubled: {payload}"
                self.starts[call.local_id] = head
                self._register(payload["connectorId"], payload["meterStart"], payload)
            case "meter":
                for text in _registers(payload["meterValue"]):
                    self._register(payload["connectorId"], int(text), payload)
            case "stop":
                self.stops.setdefault(call.local_id, []).append(head)
                self._stop(call.local_id, payload)
        return head

    def _stop(self, local_id: int, payload: dict[str, Any]) -> None:
        start = self.starts[local_id]
        assert payload["meterStop"] >= start.payload["meterStart"], f"register: {start.payload}, {payload}"
        bound = -1 if start.server_id is None else start.server_id
        assert payload["transactionId"] == bound, f"lost: {payload} does not end {start}"
        kept = [int(text) for text in _registers(payload.get("transactionData", ()))]
        assert kept == sorted(kept), f"register: falls inside {payload}"
        self._register(start.payload["connectorId"], payload["meterStop"], payload)

    def _register(self, connector_id: int, register_wh: int, payload: dict[str, Any]) -> None:
        before_wh = self._registers.get(connector_id, 0)
        assert register_wh >= before_wh, f"register: {before_wh} Wh, then {payload}"
        self._registers[connector_id] = register_wh

    # --- what must hold -------------------------------------------------------------------------------------

    def check_queue(self, now_us: int) -> None:
        """What is newly queued is stamped with this moment, and what was queued keeps its stamps."""
        clocks = {self.station.stamp(now_us), format_us(now_us + self._offset_us)[:23] + "Z"}
        # an answer, or the loss of power, may have set the clock in this step
        self._offset_us = self.station._offset_us
        for queued in self.station.uplink.queue:
            stamps = _stamps(queued.payload)
            if queued.seq > self._last_seq:
                self._last_seq = queued.seq
                self._stamps[queued.seq] = stamps
                resumed = queued.kind == "stop" and self.station.transactions[queued.local_id].resume_reason
                assert resumed or set(stamps) <= clocks, f"restamped: {queued.payload} is not of {clocks}"
            known = self._stamps[queued.seq]
            assert stamps == known, f"restamped: {known} became {stamps}"

    def check_settled(self, now_us: int) -> None:
        """All is quiet: every transaction that began has ended once, and the CSMS knows every status."""
        waiting = [queued.payload for queued in self.station.uplink.queue if queued.local_id]
        assert not waiting, f"lost: {waiting} never delivered"
        assert not self.station.transactions, f"lost: {self.station.transactions} never ended"
        for local_id, start in self.starts.items():
            stops = self.stops.get(local_id, [])
            assert len(stops) == 1, f"lost: {len(stops)} StopTransaction for {start.payload}"
            assert stops[0].done, f"lost: {stops[0].payload} was never answered"
        zero = "Available" if self.station.operative0 else "Unavailable"
        assert self.statuses[0] == zero, (
            f"status: connector 0 is {zero}, the CSMS was told {self.statuses[0]}"
        )
        for point in self.station.points.values():
            told, is_ = self.statuses.get(point.connector_id), point.status(now_us)
            assert told == is_, f"status: connector {point.connector_id} is {is_}, the CSMS was told {told}"


def _stamps(payload: dict[str, Any]) -> list[str]:
    if "timestamp" in payload:
        return [payload["timestamp"]]
    return [entry["timestamp"] for entry in payload["meterValue"]]


def _registers(entries: Any) -> list[str]:
    return [
        value["value"]
        for entry in entries
        for value in entry["sampledValue"]
        if value.get("measurand") == "Energy.Active.Import.Register"
    ]
