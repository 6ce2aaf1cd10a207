"""What every layer of the station stands on: its state, its timers, its store, its clock."""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from twin.certificate import Certificate, load
from twin.engine.machine import Command
from twin.engine.station.configuration import Configuration
from twin.engine.station.plant import Act, Outlet
from twin.engine.station.points import Point
from twin.engine.station.records import Persist, Queued, Tx
from twin.engine.station.restored import Restored
from twin.engine.station.switches import Behaviour
from twin.engine.station.uplink import Uplink
from twin.model import Call
from twin.protocol.state import Registration
from twin.protocol.timestamps import SECOND_US, format_us

_HOUR_US = 3_600 * SECOND_US

type Timer = tuple[str, int]


class Core:
    """State, timers and store of one station; the layers above add what it does, each knowing those below."""

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
        held = Restored(restored or {})
        self.configuration = Configuration(certificate or load(), self.behaviour, held.configuration)
        self.points = {
            number: Point(number, Outlet(held.registers.get(number, 0)))
            for number in range(1, self.behaviour.connectors + 1)
        }
        for number, point in self.points.items():
            point.operative = held.operative.get(number, True)
            point.scheduled = held.scheduled.get(number)
        self.operative0 = held.operative.get(0, True)
        self.transactions: dict[int, Tx] = {tx.local_id: tx for tx in held.transactions}
        self._data: dict[int, list[dict[str, Any]]] = held.data
        self._last_local = max((*self.transactions, *(queued.local_id for queued in held.queue)), default=0)
        self._last_seq = max((queued.seq for queued in held.queue), default=0)
        self.uplink = Uplink(new_message_id=new_message_id, quirks=self.quirks, queue=held.queue)
        self.registration = Registration.UNKNOWN
        self.cache: dict[str, tuple[str, int]] = {}  # status and until when, by case-folded idTag
        self.powered = True
        self.network = True
        self.up = False
        self._booted = False
        self._connecting = False
        self._backoff_s = self.behaviour.backoff_s[0]
        self._offset_us = self.behaviour.clock_offset_ms * 1000
        self._resetting = ""
        self._missed = 0
        self._looped = False  # a quirk: it has booted twice
        self._boot_not_before_us = 0  # while Pending or Rejected
        self._boot_interval_s = 0  # of the last acceptance, where it does not set the key
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

    def next_timer(self) -> int | None:
        while self._heap and self._timers.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _catch_up(self, now_us: int) -> None:
        """Everything due by now, in order and at its own time: a late wake-up moves no stamp."""
        while (due_us := self.next_timer()) is not None and due_us <= now_us:
            timer = heapq.heappop(self._heap)[2]
            del self._timers[timer]
            self._done_us = max(self._done_us, due_us)
            self._ring(timer, self._done_us)
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
            "current_a": reading.current_a,
            "power_w": reading.current_a * reading.voltage_v,
            "transaction": tx.server_id if tx is not None else None,
            "id_tag": tx.id_tag if tx is not None else None,
        }

    def act_at(self, act: Act, at_us: int) -> None:
        """It will happen then."""
        self._acts[self._next_act] = act
        self._set(("act", self._next_act), at_us)
        self._next_act += 1

    @property
    def online(self) -> bool:
        """Connected and accepted: the CSMS can be asked."""
        return self.up and self.registration is Registration.ACCEPTED

    @property
    def restarting(self) -> bool:
        """A reset, or the end of the power, is under way: nothing new begins."""
        return bool(self._resetting)

    def _open(self) -> list[Tx]:
        return [tx for tx in self.transactions.values() if not tx.ended]

    def _running(self) -> list[Tx]:
        """Those that no loss of power has interrupted."""
        return [tx for tx in self._open() if self.points[tx.connector_id].transaction == tx.local_id]

    def _tx_of(self, point: Point) -> Tx | None:
        return self.transactions.get(point.transaction) if point.transaction is not None else None

    def open_transaction(self, server_id: int) -> Tx | None:
        return next((tx for tx in self._running() if tx.server_id == server_id), None)

    def set_key(self, key: str, value: str) -> None:
        if key.casefold() == "heartbeatinterval":
            self._boot_interval_s = 0
        self.configuration.set(key, value)
        self.persist(f"key/{key.casefold()}", value.encode())

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

    # --- what the layers above do ---------------------------------------------------------------------------

    def _ring(self, timer: Timer, now_us: int) -> None:
        """A timer is due."""
        raise NotImplementedError
