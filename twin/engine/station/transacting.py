"""Transactions: begun, answered, ended (4.8, 4.10)."""

from typing import Any

from twin.engine.station.metering import Metering
from twin.engine.station.plant import NEVER_US, Reading
from twin.engine.station.points import Point
from twin.engine.station.records import Queued, Tx
from twin.protocol.timestamps import SECOND_US, parse_stamp

_MOST_CACHED = 1024


class Transacting(Metering):
    """The layer that begins and ends transactions."""

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
        self._learn(tx.id_tag, status, until_us(info, self._offset_us))
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
        self._take_scheduled(point)
        if not resumed:
            point.outlet.disable(now_us)
            point.transaction, point.refused = None, False
            point.post_tx = point.outlet.plugged
            self._cancel(("sample", point.connector_id))
            self._cancel(("car", point.connector_id))
            if not point.outlet.plugged:
                self._dwell(point, now_us)
        if early:
            self._queue_status(point.connector_id, "Available", "NoError", now_us)
            self._late[point.connector_id] = (tx.local_id, payload)
            self._set(("late stop", point.connector_id), now_us + 11 * SECOND_US)
            return
        if "stop-stamped-early" in self.quirks and not resumed:
            self._meter(point, tx, "Transaction.End", "MeterValuesSampledData", reading, now_us)
        self._queue(tx.local_id, "stop", payload)
        if notify and not resumed:
            self.notify(point, now_us)

    def _late_stop(self, number: int, now_us: int) -> None:
        local_id, payload = self._late.pop(number)
        self._queue(local_id, "stop", payload)

    def stop_remotely(self, tx: Tx, now_us: int) -> None:
        self._finish(tx, "Remote", now_us)

    def schedule(self, point: Point, *, operative: bool | None) -> None:
        """The availability that a connector takes once it is free (5.2), over a power cut as well."""
        if point.scheduled is not operative:
            point.scheduled = operative
            kept = None if operative is None else b"1" if operative else b"0"
            self.persist(f"scheduled/{point.connector_id}", kept)

    def _take_scheduled(self, point: Point) -> None:
        if point.scheduled is not None:
            point.operative = point.scheduled
            self.schedule(point, operative=None)
            self.persist(f"operative/{point.connector_id}", b"1" if point.operative else b"0")

    def _learn(self, tag: str, status: str, held_until_us: int) -> None:
        """What the CSMS said of an idTag, for the cache; the oldest makes room (3.5.1)."""
        if self.behaviour.cache != "on" or not status:
            return
        self.cache.pop(tag.casefold(), None)
        self.cache[tag.casefold()] = (status, held_until_us)
        if len(self.cache) > _MOST_CACHED:
            del self.cache[next(iter(self.cache))]


def until_us(info: dict[str, Any], offset_us: int) -> int:
    """Until when an idTagInfo holds by the station's own clock: its expiryDate, or for ever."""
    text = info.get("expiryDate")
    stamp = parse_stamp(text) if isinstance(text, str) else None
    return stamp.at_us - offset_us if stamp is not None else NEVER_US
