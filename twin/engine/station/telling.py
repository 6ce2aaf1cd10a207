"""What connectors are told to be: StatusNotification, by the facts and through the table of 4.9."""

from collections.abc import Iterable

from twin.engine.station.core import Core
from twin.engine.station.points import Point, steps_between
from twin.engine.station.records import Outgoing


class Telling(Core):
    """The layer that says how connectors are."""

    @property
    def _zero_status(self) -> str:
        return "Available" if self.operative0 else "Unavailable"

    def _tell_all(self, now_us: int) -> None:
        """ER 3.22: connector 0 and 1 to N, with the current status."""
        self._queue_status(0, self._zero_status, "NoError", now_us)
        for point in self.points.values():
            if "no-status-after-boot" in self.quirks and point.connector_id == 1:
                continue
            point.told = None
            self.notify(point, now_us)

    def tell_availability(self, numbers: Iterable[int], now_us: int) -> None:
        """After ChangeAvailability: the connectors that changed, 0 first."""
        for number in numbers:
            if number == 0:
                self._queue_status(0, self._zero_status, "NoError", now_us)
            else:
                self.notify(self.points[number], now_us)

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

    def _sent_status(self, call: Outgoing, *, arrived: bool) -> None:
        """What was last said of a connector; nothing, if the link went before it was answered."""
        if call.note is not None:
            call.note[0].sent = call.note[1] if arrived else None
        else:
            self._zero_sent = call.payload["status"] if arrived else ""

    def _dwell(self, point: Point, now_us: int) -> None:
        """A transaction that ends without a car is Finishing for a moment (4.9), whoever unplugged it."""
        if self.behaviour.ev_disconnect_status == "Finishing" and point.operative:
            point.dwell = True
            self._set(("dwell", point.connector_id), now_us + self.behaviour.finishing_ms * 1000)

    def _dwelt(self, number: int, now_us: int) -> None:
        self.points[number].dwell = False
        self.points[number].post_tx = False
        self.notify(self.points[number], now_us)
