"""What the benchmarks of validation share: the traffic, the peer, and rounds in turn in one run.

The traffic is made, not recorded: a 20-connector station charging for a day, half of it answers, about 310
bytes a message on average, and one message in some 270 that breaks its schema, so that verdicts can differ.
"""

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import msgspec
from ocpp.exceptions import OCPPError
from ocpp.messages import Call, CallResult, _validate_payload, unpack

from twin.model import Frame, Kind, Side
from twin.protocol.timestamps import format_us

START_US = 1_795_305_600_000_000  # 2026-11-22T00:00:00Z
CONNECTORS = 20
SECOND_US = 1_000_000
ANSWER_US = 60_000
SAMPLES = 7  # per transaction, one a minute
MEASURANDS = (
    ("Energy.Active.Import.Register", "Wh", ""),
    ("Current.Import", "A", "L1"),
    ("Current.Import", "A", "L2"),
    ("Current.Import", "A", "L3"),
    ("Voltage", "V", "L1-N"),
    ("Voltage", "V", "L2-N"),
    ("Voltage", "V", "L3-N"),
    ("Power.Active.Import", "W", ""),
    ("Temperature", "Celsius", ""),
)
BOOT = {"chargePointVendor": "MANAGEON", "chargePointModel": "OctoFLEX (OTM-K)", "firmwareVersion": "1.0.1"}
PROFILE = {
    "chargingProfileId": 1,
    "stackLevel": 0,
    "chargingProfilePurpose": "TxProfile",
    "chargingProfileKind": "Relative",
    # 21.4 is no multiple of 0.1 in binary: both sides must read it as a decimal
    "chargingSchedule": {
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 21.4}],
    },
}
# What breaks a schema, one after the other: (action, request, confirmation).
FAULTS: tuple[tuple[str, Any, Any], ...] = (
    ("Heartbeat", {"uptime": 17}, {"currentTime": "2026-11-22T00:00:00Z"}),
    ("StatusNotification", {"connectorId": 1, "errorCode": "None", "status": "Available"}, {}),
    ("Authorize", {"idTag": "TAG-OF-MORE-THAN-TWENTY-CHARACTERS"}, {"idTagInfo": {"status": "Invalid"}}),
    ("DataTransfer", {"data": "no vendor"}, {"status": "Rejected"}),
    ("Authorize", {"idTag": "TAG0001"}, {"status": "Accepted"}),
    ("DataTransfer", {"vendorId": "org.example", "data": 5}, {"status": "Maybe"}),
)


class Exchange(msgspec.Struct, order=True):
    """A CALL with its answer, sent ``ANSWER_US`` later; ordered by time."""

    at_us: int
    action: str
    request: Any
    confirmation: Any
    sender: Side = Side.STATION


def traffic(messages: int) -> list[Frame]:
    """``messages`` frames of text, in order; every CALL is answered before the next begins."""
    return list(islice(stream(), messages))


def stream() -> Iterator[Frame]:
    """The traffic without end."""
    at_us, done = 0, 0
    while True:
        exchanges = _minutes(done)
        for exchange in exchanges:
            at_us = max(exchange.at_us, at_us + ANSWER_US)
            message_id = f"{done:08x}-9b3b-4884-a564-0aaf7da679e5"
            call = [2, message_id, exchange.action, exchange.request]
            yield _frame(2 * done + 1, at_us, exchange.sender, call)
            at_us += ANSWER_US
            answer = [3, message_id, exchange.confirmation]
            yield _frame(2 * done + 2, at_us, exchange.sender.other, answer)
            done += 1


def peer_verdicts(texts: list[str]) -> list[bool]:
    """Whether each message fits its schema, by the ``ocpp`` package in its synchronous form."""
    actions: dict[str, str] = {}
    verdicts = []
    for text in texts:
        message = unpack(text)
        if isinstance(message, Call):
            actions[message.unique_id] = message.action
        elif isinstance(message, CallResult):
            message.action = actions.pop(message.unique_id)
        try:
            _validate_payload(message, "1.6")
            verdicts.append(True)
        except OCPPError:
            verdicts.append(False)
    return verdicts


def in_turn(ours: Callable[[], object], peer: Callable[[], object], rounds: int) -> list[tuple[float, float]]:
    """Seconds of CPU of both sides, round by round, after each ran once to warm up."""
    ours()
    peer()
    return [(_cpu_s(ours), _cpu_s(peer)) for _ in range(rounds)]


def report(name: str, times: list[tuple[float, float]], messages: int, *, limit: float) -> None:
    """The one JSON line: messages per second of both, and the median of the pairwise ratios."""
    speeds = [(messages / mine, messages / theirs) for mine, theirs in times]
    line = {
        "name": name,
        "ratio": round(statistics.median(mine / theirs for mine, theirs in speeds), 2),
        "ours": round(statistics.median(mine for mine, _ in speeds)),
        "peer": round(statistics.median(theirs for _, theirs in speeds)),
        "limit": limit,
        "unit": "messages per second of CPU",
        "rounds": len(speeds),
    }
    sys.stdout.write(json.dumps(line) + "\n")


def asked_for(doc: str | None) -> argparse.Namespace:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--quick", action="store_true", help="few short rounds, under 40 s")
    return parser.parse_args()


def _cpu_s(work: Callable[[], object]) -> float:
    gc.collect()
    before_s = time.process_time()
    work()
    return time.process_time() - before_s


def _frame(seq: int, at_us: int, sender: Side, message: list[Any]) -> Frame:
    return Frame(
        seq=seq,
        at_us=at_us,
        mono_ns=at_us * 1000,
        link="c1",
        station="OTMK-0001",
        kind=Kind.TEXT,
        sender=sender,
        text=json.dumps(message, separators=(",", ":")),
    )


def _minutes(done: int) -> list[Exchange]:
    """One transaction on every connector, and what goes on beside them; about a quarter of an hour."""
    block = done  # exchanges so far: makes ids and times of this block its own
    start_us = START_US + done * 4 * SECOND_US
    exchanges = list(_beside(block, start_us))
    for connector_id in range(1, CONNECTORS + 1):
        exchanges += _transaction(
            connector_id, block * CONNECTORS + connector_id, start_us + connector_id * 2 * SECOND_US
        )
    return sorted(exchanges, key=lambda exchange: exchange.at_us)


def _beside(block: int, start_us: int) -> Iterator[Exchange]:
    if not block:
        registered = {"currentTime": _stamp(start_us), "interval": 300, "status": "Accepted"}
        yield Exchange(start_us, "BootNotification", BOOT, registered)
    measurands = ",".join(dict.fromkeys(measurand for measurand, _, _ in MEASURANDS))
    for key, value in (("MeterValueSampleInterval", "60"), ("MeterValuesSampledData", measurands)):
        request = {"key": key, "value": value}
        yield Exchange(start_us + 1, "ChangeConfiguration", request, {"status": "Accepted"}, Side.CSMS)
    yield Exchange(
        start_us + 2, "DataTransfer", {"vendorId": "org.example", "data": "x" * 80}, {"status": "Accepted"}
    )
    for minute in range(10):
        at_us = start_us + minute * 60 * SECOND_US
        yield Exchange(at_us + 3, "Heartbeat", {}, {"currentTime": _stamp(at_us)})
    yield Exchange(
        start_us + 3,
        "RemoteStartTransaction",
        {"connectorId": 1, "idTag": "TAG0001", "chargingProfile": PROFILE},
        {"status": "Accepted"},
        Side.CSMS,
    )
    for place in range(2):
        action, request, confirmation = FAULTS[(block // 7 + place) % len(FAULTS)]
        yield Exchange(start_us + (200 + place) * SECOND_US, action, request, confirmation)


def _transaction(connector_id: int, transaction_id: int, at_us: int) -> Iterator[Exchange]:
    tag = f"TAG{connector_id:04}"
    accepted = {"idTagInfo": {"status": "Accepted", "expiryDate": "2027-11-22T00:00:00Z"}}
    meter_wh = transaction_id * 11_000
    yield _status(at_us, connector_id, "Preparing")
    yield Exchange(at_us + SECOND_US, "Authorize", {"idTag": tag}, accepted)
    at_us += 2 * SECOND_US
    yield Exchange(
        at_us,
        "StartTransaction",
        {"connectorId": connector_id, "idTag": tag, "meterStart": meter_wh, "timestamp": _stamp(at_us)},
        {"transactionId": transaction_id, **accepted},
    )
    yield _status(at_us + 1, connector_id, "Charging")
    for _ in range(SAMPLES):
        at_us += 60 * SECOND_US
        meter_wh += 180
        request = {"connectorId": connector_id, "transactionId": transaction_id}
        yield Exchange(at_us, "MeterValues", request | {"meterValue": [_sampled(at_us, meter_wh)]}, {})
    at_us += 30 * SECOND_US
    stop = {"transactionId": transaction_id, "idTag": tag, "meterStop": meter_wh, "reason": "EVDisconnected"}
    yield Exchange(at_us, "StopTransaction", stop | {"timestamp": _stamp(at_us)}, accepted)
    yield _status(at_us + 1, connector_id, "Finishing")
    yield _status(at_us + SECOND_US, connector_id, "Available")


def _status(at_us: int, connector_id: int, status: str) -> Exchange:
    request = {"connectorId": connector_id, "errorCode": "NoError", "status": status}
    return Exchange(at_us, "StatusNotification", request | {"timestamp": _stamp(at_us)}, {})


def _sampled(at_us: int, meter_wh: int) -> dict[str, Any]:
    values = []
    for place, (measurand, unit, phase) in enumerate(MEASURANDS):
        text = str(meter_wh) if unit == "Wh" else f"{16 + place * 7 + meter_wh % 97 / 100:.2f}"
        value = {"value": text, "context": "Sample.Periodic", "measurand": measurand, "unit": unit}
        values.append(value | ({"phase": phase} if phase else {}))
    return {"timestamp": _stamp(at_us), "sampledValue": values}


def _stamp(at_us: int) -> str:
    return format_us(at_us)[:23] + "Z"
