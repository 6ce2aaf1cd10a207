"""BootNotification and Heartbeat (4.2, 4.6)."""

from typing import Any

from twin.engine.station.authorizing import Authorizing
from twin.engine.station.records import Outgoing
from twin.protocol.state import Registration
from twin.protocol.timestamps import SECOND_US, parse_stamp

_ACCEPTED_WAIT_US = 60 * SECOND_US  # Boot unanswered or refused with interval 0: the station's own back-off


class Registering(Authorizing):
    """The layer that the CSMS accepts."""

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
            self._boot_not_before_us = now_us + wait_us
            self._set(("boot", 0), self._boot_not_before_us)
            return
        if interval_s > 0 and self.behaviour.boot_interval_sets_key:
            self.set_key("HeartbeatInterval", str(interval_s))
        elif interval_s > 0:
            self._boot_interval_s = interval_s
        if "boot-loop" in self.quirks and not self._looped:
            self._looped = True
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

    def _told_time(self, payload: dict[str, Any], now_us: int) -> None:
        told = payload.get("currentTime")
        stamp = parse_stamp(told) if isinstance(told, str) else None
        if stamp is not None:
            self._offset_us = stamp.at_us - now_us
            if ("aligned", 0) in self._timers:
                self._set_aligned(now_us)

    def _start_heartbeat(self, now_us: int) -> None:
        interval_s = self._boot_interval_s or self.configuration.count("HeartbeatInterval")
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

    def interval_changed(self, key: str, now_us: int) -> None:
        """An interval was written: it holds from the next tick on."""
        match key.casefold():
            case "metervaluesampleinterval":
                for number in self.points:
                    self._set_sample(number, now_us)
            case "clockaligneddatainterval":
                self._set_aligned(now_us)
            case "heartbeatinterval":
                self._start_heartbeat(now_us)
