"""A CSMS with moods: it answers, late, twice or never, refuses, errs, hangs up, asks for anything."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

from tests.engine.hostile import CSMS_ACTIONS, bent, legal
from twin.model import Call

SECOND_US = 1_000_000
TAGS = tuple(f"TAG{number:04}" for number in range(1, 7))
REFUSALS = ("Invalid", "Blocked", "Expired", "ConcurrentTx")

# What becomes of a CALL of the station, with its weight.
MOODS: dict[str, dict[str, int]] = {
    "healthy": {"answer": 1},
    "slow": {"answer": 2, "late": 3},
    "silent": {"silence": 1},
    "errors": {"error": 1},
    "odd": {"odd": 2, "answer": 3},
    "leaves": {"answer": 6, "close": 1, "abort": 1},
    "mixed": {
        "answer": 12,
        "late": 2,
        "silence": 1,
        "error": 2,
        "odd": 1,
        "close": 1,
        "abort": 1,
        "twice": 1,
    },
}
ERRORS = ("InternalError", "GenericError", "NotSupported", "ProtocolError", "SecurityError")
NOW = "@now"  # the world writes the time there when the answer leaves
ODD_IDS: tuple[Any, ...] = (0, -1, -7, 2**31, 10**30, "7", None, 1.5, [], True)

# Values that a CSMS may write: what a station must take, and what it must not.
WRITES: dict[str, tuple[str, ...]] = {
    "MeterValueSampleInterval": ("0", "10", "60", "300", "-1", "x"),
    "ClockAlignedDataInterval": ("0", "60", "900", "", "1e3"),
    "HeartbeatInterval": ("10", "30", "600", "0"),
    "ConnectionTimeOut": ("0", "30", "90", "\u0663\u0660"),
    "MessageTimeout": ("5", "30", "60", "120", "0"),
    "TransactionMessageAttempts": ("1", "2", "3", "5", "0"),
    "TransactionMessageRetryInterval": ("0", "10", "60"),
    "MeterValuesSampledData": ("Energy.Active.Import.Register", "Voltage, Current.Import", "", "SoC", ",,"),
    "MeterValuesAlignedData": ("Energy.Active.Import.Register", "Voltage", "", "Voltage,Voltage"),
    "StopTxnSampledData": ("Energy.Active.Import.Register", ""),
    "StopTxnAlignedData": ("Energy.Active.Import.Register,Voltage", ""),
    "LocalPreAuthorize": ("true", "false", "maybe"),
    "LocalAuthorizeOffline": ("true", "false"),
    "AllowOfflineTxForUnknownId": ("true", "FALSE"),
    "AuthorizationCacheEnabled": ("true", "false"),
    "AuthorizeRemoteTxRequests": ("true", "false"),
    "StopTransactionOnInvalidId": ("true", "false"),
    "StopTransactionOnEVSideDisconnect": ("true", "false"),
    "NumberOfConnectors": ("3",),
    "AuthorizationKey": ("secret",),
    "Bogus": ("1",),
    "": ("",),
}


class RoughCsms:
    """What it says, and when; the world carries it. ``mood`` is a key of MOODS."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.mood = "healthy"
        self.boots: list[str] = []  # statuses of the next BootNotifications; then Accepted
        self.interval_s = 30
        self.refused: dict[str, str] = {}
        self.groups: dict[str, str] = {}
        self.running: list[int] = []
        self._last_id = 100

    def calm(self) -> None:
        """From now on everything is answered at once and nobody refused."""
        self.mood, self.boots, self.refused, self.interval_s = "healthy", [], {}, 300

    def reply(self, call: Call) -> list[tuple[int, str]]:
        """What it does about a CALL, each after so many µs: the text of an answer, "close" or "abort"."""
        fates = MOODS[self.mood]
        fate = self.rng.choices(list(fates), list(fates.values()))[0]
        soon_us = self.rng.randint(5_000, 900_000) if self.mood != "healthy" else 50_000
        answer = json.dumps([3, call.message_id, self._answer(call)])
        match fate:
            case "answer":
                return [(soon_us, answer)]
            case "late":
                return [(self.rng.randint(3, 90) * SECOND_US, answer)]
            case "twice":
                return [(soon_us, answer), (2 * soon_us, answer)]
            case "error":
                text = json.dumps([4, call.message_id, self.rng.choice(ERRORS), "", {}])
                return [(soon_us, text)]
            case "odd":
                return [(soon_us, self._odd(call))]
            case "close" | "abort":
                return [
                    (soon_us, self.rng.choice((answer, fate))),
                    (soon_us + self.rng.randint(0, 2) * 1_000, fate),
                ]
            case _:
                return []

    def _answer(self, call: Call) -> dict[str, Any]:
        payload = call.payload if isinstance(call.payload, dict) else {}
        match call.action:
            case "BootNotification":
                status = self.boots.pop(0) if self.boots else "Accepted"
                return {"status": status, "currentTime": NOW, "interval": self.interval_s}
            case "Heartbeat":
                return {"currentTime": NOW}
            case "Authorize":
                return {"idTagInfo": self._info(payload)}
            case "StartTransaction":
                self._last_id += 1
                self.running.append(self._last_id)
                return {"transactionId": self._last_id, "idTagInfo": self._info(payload)}
            case "StopTransaction":
                told = payload.get("transactionId")
                self.running = [number for number in self.running if number != told]
                return {}
            case "DataTransfer":
                return {"status": "UnknownVendorId"}
            case _:
                return {}

    def _info(self, payload: dict[str, Any]) -> dict[str, Any]:
        tag = payload.get("idTag", "")
        info = {"status": self.refused.get(tag, "Accepted")}
        return info | ({"parentIdTag": self.groups[tag]} if tag in self.groups else {})

    def _odd(self, call: Call) -> str:
        """An answer that breaks its schema, or the framing."""
        answer = self._answer(call)
        if "transactionId" in answer and self.rng.random() < 0.5:
            answer["transactionId"] = self.rng.choice(ODD_IDS)
        else:
            answer = bent(answer, self.rng)
        elements = [3, call.message_id, answer]
        return json.dumps(self.rng.choice((elements, elements, elements[:2], [*elements, {}])))

    def own_call(self, connectors: int) -> tuple[str, Any]:
        """Something it asks of the station: any action, mostly of Core."""
        action = self.rng.choice((*_CORE, *_CORE, *_CORE, *CSMS_ACTIONS))
        payload = _CORE[action](self, connectors) if action in _CORE else legal(action, self.rng)
        return action, payload

    def write(self) -> dict[str, str]:
        key = self.rng.choice(list(WRITES))
        return {"key": key, "value": self.rng.choice(WRITES[key])}


def _connector(csms: RoughCsms, connectors: int) -> int:
    return csms.rng.randint(0, connectors + 1)


_CORE: dict[str, Callable[[RoughCsms, int], dict[str, Any]]] = {
    "ChangeAvailability": lambda csms, n: {
        "connectorId": _connector(csms, n),
        "type": csms.rng.choice(("Operative", "Operative", "Inoperative")),
    },
    "ChangeConfiguration": lambda csms, n: csms.write(),
    "ClearCache": lambda csms, n: {},
    "DataTransfer": lambda csms, n: {"vendorId": "org.example", "data": "x"},
    "GetConfiguration": lambda csms, n: csms.rng.choice(
        ({}, {"key": []}, {"key": csms.rng.sample(list(WRITES), 5)}, {"key": ["Bogus", "Bogus"]})
    ),
    "RemoteStartTransaction": lambda csms, n: (
        {"idTag": csms.rng.choice(TAGS)} | csms.rng.choice(({}, {"connectorId": _connector(csms, n)}))
    ),
    "RemoteStopTransaction": lambda csms, n: {"transactionId": csms.rng.choice((*csms.running, 0, 999_999))},
    "UnlockConnector": lambda csms, n: {"connectorId": csms.rng.randint(1, n + 1)},
}
