"""Meter values: sampled, clock-aligned, and those that StopTransaction brings (9.1, 5.9)."""

import msgspec

from twin.engine.station import samples
from twin.engine.station.plant import NEVER_US, Reading
from twin.engine.station.points import Point
from twin.engine.station.records import Tx
from twin.engine.station.telling import Telling
from twin.protocol.timestamps import SECOND_US

_DAY_US = 86_400 * SECOND_US


class Metering(Telling):
    """The layer that reads meters."""

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
            reading = point.outlet.read(now_us)
            self._meter(point, tx, "Sample.Periodic", "MeterValuesSampledData", reading, now_us)
            self._keep(tx, reading, "Sample.Periodic", "StopTxnSampledData", now_us)
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
            at_us = now_us
            if self.behaviour.aligned_stamp == "slot start":
                at_us -= self.configuration.count("ClockAlignedDataInterval") * SECOND_US
            if tx is None and not self.behaviour.aligned_idle:
                continue
            if tx is not None and at_us < tx.started_us:
                continue  # the slot began before the transaction
            reading = point.outlet.read(now_us)
            self._meter(point, tx, "Sample.Clock", "MeterValuesAlignedData", reading, at_us)
            if tx is not None:
                self._keep(tx, reading, "Sample.Clock", "StopTxnAlignedData", at_us)
        self._set_aligned(now_us)

    def _meter(
        self, point: Point, tx: Tx | None, context: str, key: str, reading: Reading, at_us: int
    ) -> None:
        """MeterValues of one reading, stamped ``at_us``."""
        measurands = self.configuration.measurands(key)
        if context == "Sample.Clock" and not measurands:
            return
        sampled = samples.entry(self.stamp(at_us), reading, measurands, context, self.quirks)
        payload = {"connectorId": point.connector_id, "meterValue": [sampled]}
        if tx is not None:
            tx.meter_wh, tx.meter_us = reading.register_wh, max(at_us, tx.meter_us)
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

    def _watch_car(self, point: Point, now_us: int) -> None:
        due_us = point.outlet.next_change_us(now_us)
        self._set(("car", point.connector_id), due_us if due_us < NEVER_US else None)

    def _car_changed(self, number: int, now_us: int) -> None:
        self.notify(self.points[number], now_us)
        self._watch_car(self.points[number], now_us)
