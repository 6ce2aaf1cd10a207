"""Every action of OCPP 1.6, who may send it and to which feature profile it belongs, as one table."""

from typing import Any

import msgspec

from twin.model import Side

_STATION = frozenset({Side.STATION})
_CSMS = frozenset({Side.CSMS})
_BOTH = frozenset(Side)


class Action(msgspec.Struct, frozen=True):
    """``senders`` may send the CALL; ``profile`` as in OCPP 1.6 §2.5, "Security" for the whitepaper."""

    name: str
    senders: frozenset[Side]
    profile: str


# OCPP 1.6 edition 2, chapters 4 (station) and 5 (CSMS); "Improved security for OCPP 1.6-J", edition 2.
ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        Action("Authorize", _STATION, "Core"),
        Action("BootNotification", _STATION, "Core"),
        Action("ChangeAvailability", _CSMS, "Core"),
        Action("ChangeConfiguration", _CSMS, "Core"),
        Action("ClearCache", _CSMS, "Core"),
        Action("DataTransfer", _BOTH, "Core"),
        Action("GetConfiguration", _CSMS, "Core"),
        Action("Heartbeat", _STATION, "Core"),
        Action("MeterValues", _STATION, "Core"),
        Action("RemoteStartTransaction", _CSMS, "Core"),
        Action("RemoteStopTransaction", _CSMS, "Core"),
        Action("Reset", _CSMS, "Core"),
        Action("StartTransaction", _STATION, "Core"),
        Action("StatusNotification", _STATION, "Core"),
        Action("StopTransaction", _STATION, "Core"),
        Action("UnlockConnector", _CSMS, "Core"),
        Action("DiagnosticsStatusNotification", _STATION, "FirmwareManagement"),
        Action("FirmwareStatusNotification", _STATION, "FirmwareManagement"),
        Action("GetDiagnostics", _CSMS, "FirmwareManagement"),
        Action("UpdateFirmware", _CSMS, "FirmwareManagement"),
        Action("GetLocalListVersion", _CSMS, "LocalAuthListManagement"),
        Action("SendLocalList", _CSMS, "LocalAuthListManagement"),
        Action("CancelReservation", _CSMS, "Reservation"),
        Action("ReserveNow", _CSMS, "Reservation"),
        Action("ClearChargingProfile", _CSMS, "SmartCharging"),
        Action("GetCompositeSchedule", _CSMS, "SmartCharging"),
        Action("SetChargingProfile", _CSMS, "SmartCharging"),
        Action("TriggerMessage", _CSMS, "RemoteTrigger"),
        Action("CertificateSigned", _CSMS, "Security"),
        Action("DeleteCertificate", _CSMS, "Security"),
        Action("ExtendedTriggerMessage", _CSMS, "Security"),
        Action("GetInstalledCertificateIds", _CSMS, "Security"),
        Action("GetLog", _CSMS, "Security"),
        Action("InstallCertificate", _CSMS, "Security"),
        Action("LogStatusNotification", _STATION, "Security"),
        Action("SecurityEventNotification", _STATION, "Security"),
        Action("SignCertificate", _STATION, "Security"),
        Action("SignedFirmwareStatusNotification", _STATION, "Security"),
        Action("SignedUpdateFirmware", _CSMS, "Security"),
    )
}

# OCPP 1.6 §3.7: the messages that a station must deliver in order and repeat until answered.
TRANSACTION_ACTIONS = frozenset({"StartTransaction", "StopTransaction", "MeterValues"})


def of_transaction(action: str, payload: Any) -> bool:
    """Whether it is such a message: §3.7 names only the MeterValues that belong to a transaction."""
    if action == "MeterValues":
        return isinstance(payload, dict) and payload.get("transactionId") is not None
    return action in TRANSACTION_ACTIONS
