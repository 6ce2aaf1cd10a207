"""One CALL in flight and three lanes behind it: boot, urgent, and transaction messages in order (3.7)."""

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from twin.engine.station.records import ACTION_OF, InFlight, Outgoing, Queued

_encode = msgspec.json.Encoder().encode
_CALLS_OF_A_QUIRK = 3


class Uplink:
    """What waits to be sent. It decides whose turn it is; the station binds ids and reads the answers."""

    def __init__(
        self,
        *,
        new_message_id: Callable[[], str],
        quirks: frozenset[str],
        queue: list[Queued],
    ) -> None:
        self._new_message_id = new_message_id
        self._quirks = quirks
        self.boot: Outgoing | None = None
        self.urgent: deque[Outgoing] = deque()
        self.queue: deque[Queued] = deque(queue)
        self.in_flight: dict[str, InFlight] = {}
        self._transactions_next = True
        self._last_id = ""
        self.calls = 0

    @property
    def idle(self) -> bool:
        """Everything is said and answered."""
        return not (self.queue or self.urgent or self.in_flight)

    @property
    def may_send(self) -> bool:
        return len(self.in_flight) < (_CALLS_OF_A_QUIRK if "calls-in-flight" in self._quirks else 1)

    def next(self, now_us: int, *, accepted: bool) -> Outgoing | Queued | None:
        """Whose turn it is: Boot alone before acceptance, then the two lanes in turn so that none starves."""
        if not accepted:
            boot, self.boot = self.boot, None
            return boot
        head = self._head(now_us)
        if head is not None and (self._transactions_next or not self.urgent):
            self._transactions_next = False
            return head
        self._transactions_next = True
        return self.urgent.popleft() if self.urgent else None

    def _head(self, now_us: int) -> Queued | None:
        """The oldest transaction message, unless it waits for its retry; nothing newer overtakes it."""
        busy = {id(flight.call) for flight in self.in_flight.values()}
        for place, queued in enumerate(self.queue):
            if id(queued) in busy:
                continue
            if queued.next_us <= now_us:
                return queued
            overtakes = "meter-overtakes" in self._quirks and place + 1 < len(self.queue)
            if not overtakes:
                return None
        return None

    def sent(self, call: Outgoing | Queued, payload: dict[str, Any], due_us: int) -> str:
        """The text of a CALL that goes out now and waits for its answer until ``due_us``."""
        message_id = self._last_id if self._reuses() else self._new_message_id()
        self._last_id, self.calls = message_id, self.calls + 1
        action = ACTION_OF[call.kind] if isinstance(call, Queued) else call.action
        self.in_flight[message_id] = InFlight(message_id, due_us, call)
        return _encode([2, message_id, action, payload]).decode()

    def _reuses(self) -> bool:
        return "reused-ids" in self._quirks and self.calls % 10 == 9 and self._last_id not in self.in_flight

    def link_ended(self, *, counts: bool) -> list[Outgoing | Queued]:
        """Nothing is in flight any more; a lost link is no attempt unless it ``counts``."""
        lost = [flight.call for flight in self.in_flight.values()]
        self.in_flight.clear()
        for call in lost:
            if isinstance(call, Queued):
                call.attempts -= not counts
                call.next_us = 0
        self.urgent.clear()
        self.boot = None
        self._transactions_next = True
        return lost

    def remove(self, queued: Queued) -> None:
        """It is delivered, or given up."""
        self.queue = deque(other for other in self.queue if other is not queued)
