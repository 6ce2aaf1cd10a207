"""The link: lost, found again, and what is said then (3.7, 4.9)."""

from twin.engine.machine import Close, Connect
from twin.engine.station.records import Outgoing
from twin.engine.station.sending import Sending
from twin.protocol.state import Registration
from twin.protocol.timestamps import SECOND_US


class Linking(Sending):
    """The layer that connects."""

    def connected(self, now_us: int) -> None:
        if not (self.powered and self.network):  # it went while the handshake was under way
            self._commands.append(Close(1006, abrupt=True))
            return
        self.up, self._connecting = True, False
        self._missed = 0
        if "loses-stop" in self.quirks:
            for queued in [queued for queued in self.uplink.queue if queued.kind == "stop"]:
                self._delivered(queued)
        if now_us < self._boot_not_before_us:  # 4.2: nothing is sent before the interval it was told
            self._set(("boot", 0), self._boot_not_before_us)
        elif not self._booted or "boot-on-reconnect" in self.quirks:
            self._boot(now_us)
        elif self.registration is Registration.ACCEPTED:
            self._welcome_back(now_us)
        self._pump(now_us)

    def disconnected(self, now_us: int) -> None:
        was_up, self.up, self._connecting = self.up, False, False
        if was_up:
            self._lost_link(now_us)
        if self.powered and not self._resetting and ("connect", 0) not in self._timers:
            wait_us = int(self._backoff_s * SECOND_US * (1 + 0.1 * self._random()))
            self._set(("connect", 0), now_us + wait_us)
            self._backoff_s = min(self._backoff_s * 2, self.behaviour.backoff_s[1])

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
        self._start_heartbeat(now_us)
        if self._zero_sent != self._zero_status:
            self._queue_status(0, self._zero_status, "NoError", now_us)
        for point in self.points.values():
            if point.sent is None or point.sent != (point.status(now_us), point.fault or "NoError"):
                point.told = None
                self.notify(point, now_us)
        self.uplink._transactions_next = self.behaviour.reconnect_order == "queue"

    def _hang_up(self, now_us: int) -> None:
        self._close(abrupt=True)
        self.disconnected(now_us)
