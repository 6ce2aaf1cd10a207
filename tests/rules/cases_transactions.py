"""Three conversations for each rule of family T."""

from typing import Any

from tests.playbook import SPEC, Play, after, ended, meter, play, stamp
from tests.rules.cases_certificate import damaged
from tests.rules.cases_connectors import charging, reset
from tests.rules.talk import (
    OK,
    authorize,
    energy,
    late,
    now_s,
    outage,
    quiet,
    reads,
    remote_start,
    sampled,
    start,
    status,
    statuses,
    stop,
    writes,
)
from tests.rules.three_ways import ThreeWays
from twin.model import Kind, Side

LOCAL = ("LocalPreAuthorize", "false", False)
INVALID = {"transactionId": 7, "idTagInfo": {"status": "Invalid"}}
BEGIN_END = [
    {"timestamp": stamp(70), "sampledValue": [energy(1000, context="Transaction.Begin")]},
    {"timestamp": stamp(80), "sampledValue": [energy(2000, context="Transaction.End")]},
]
BOOT_CONF = {"status": "Accepted", "currentTime": stamp(400), "interval": 30}


def refused(p: Play) -> Play:
    """A start that the CSMS refuses."""
    return start(authorize(p), answer=INVALID)


def rebooted(p: Play) -> Play:
    return outage(p, 20).booted()


def scheduled(p: Play) -> Play:
    p.csms("ChangeAvailability", {"connectorId": 1, "type": "Inoperative"}, {"status": "Scheduled"})
    return p


def ask_stop(p: Play, transaction: int = 7, status_: str = "Accepted") -> Play:
    return p.csms("RemoteStopTransaction", {"transactionId": transaction}, {"status": status_})


def busy_others(p: Play) -> Play:
    return statuses(p, "Charging", connector=2)


def draws(p: Play, wh: list[int]) -> Play:
    """Samples a minute apart with 230 V and 10 A, whatever the register says."""
    for value in wh:
        volts = {"value": "230", "measurand": "Voltage", "unit": "V"}
        amps = {"value": "10", "measurand": "Current.Import", "unit": "A"}
        sampled(p << after(60), energy(value), volts, amps)
    return p


CASES: tuple[ThreeWays, ...] = (
    ThreeWays(
        "T001",
        lambda: start(reads(quiet(), LOCAL), tag="NOBODY"),
        lambda: start(authorize(reads(quiet(), LOCAL), "TAG"), tag="tag"),
        lambda: start(late(), tag="NOBODY"),
        "did not begin with a boot",
        "error",
    ),
    ThreeWays(
        "T002",
        lambda: start(remote_start(reads(quiet(), ("AuthorizeRemoteTxRequests", "true", True)))),
        lambda: start(authorize(remote_start(quiet()))),
        lambda: start(authorize(quiet())),
        "no accepted RemoteStartTransaction",
        "error",
    ),
    ThreeWays(
        "T003",
        lambda: start(authorize(quiet(), answer={"idTagInfo": {"status": "Blocked"}})),
        lambda: start(authorize(authorize(quiet(), answer={"idTagInfo": {"status": "Invalid"}}))),
        lambda: start(quiet(), tag="NEW"),
        "no answer to an Authorize",
    ),
    ThreeWays(
        "T004",
        lambda: statuses(authorize(remote_start(statuses(quiet(), "Available"))), "Preparing") << after(70),
        lambda: (
            status(
                statuses(authorize(remote_start(statuses(quiet(), "Available"))), "Preparing"), "Available"
            )
            << after(70)
        ),
        lambda: remote_start(play(SPEC).booted()),
        "neither observed nor certified",
    ),
    ThreeWays(
        "T005",
        lambda: remote_start(charging() << after(1), connector=1) << after(11),
        lambda: remote_start(charging() << after(1), connector=2),
        lambda: remote_start(quiet(), connector=None),
        "no connectorId was asked for",
    ),
    ThreeWays(
        "T006",
        lambda: remote_start(statuses(quiet(), "Available"), status="Rejected", chargingProfile={}),
        lambda: remote_start(charging(), status="Rejected", chargingProfile={}),
        lambda: remote_start(quiet(), status="Rejected", chargingProfile={}),
        "whether the connector was free",
    ),
    ThreeWays(
        "T007",
        lambda: start(authorize(quiet()), connector=0),
        lambda: start(authorize(quiet()), connector=1),
        lambda: quiet().station("StartTransaction", {"idTag": "TAG"}, OK),
        "no connectorId",
    ),
    ThreeWays(
        "T008",
        lambda: start(authorize(charging() << after(5)), transaction=8),
        lambda: start(stop(charging()) << after(5), transaction=8),
        lambda: start(late()),
        "did not begin with a boot",
    ),
    ThreeWays(
        "T009",
        lambda: start(authorize(quiet()), reservationId=4),
        lambda: start(authorize(quiet())),
        lambda: start(authorize(play(SPEC).booted()), reservationId=4),
        "nothing is certified",
    ),
    ThreeWays(
        "T010",
        lambda: start(authorize(charging(), "B"), connector=2, transaction=7, tag="B"),
        lambda: start(authorize(charging(), "B"), connector=2, transaction=8, tag="B"),
        lambda: start(authorize(quiet()), answer={"idTagInfo": {"status": "Accepted"}}),
        "no transactionId",
        "error",
    ),
    ThreeWays(
        "T011",
        lambda: sampled(charging(), transaction=99),
        lambda: sampled(charging(), transaction=7),
        lambda: sampled(late(), transaction=99),
        "did not begin with a boot",
    ),
    ThreeWays(
        "T012",
        lambda: sampled(stop(charging() << after(10)), at_s=now_s(charging()) + 5),
        lambda: stop(sampled(charging() << after(10)), at_s=now_s(charging()) + 9.9),
        lambda: stop(quiet()),
        "StartTransaction or its answer",
        "error",
    ),
    ThreeWays(
        "T013",
        lambda: stop(
            charging(), transactionData=[{"timestamp": stamp(-300), "sampledValue": [energy(1000)]}]
        ),
        lambda: stop(charging(), transactionData=[{"timestamp": stamp(70), "sampledValue": [energy(1000)]}]),
        lambda: sampled(quiet()),
        "StartTransaction or its answer",
    ),
    ThreeWays(
        "T014",
        lambda: stop(charging(), wh=995),
        lambda: stop(charging(), wh=1000),
        lambda: stop(quiet(), wh=0),
        "StartTransaction or its answer",
        "error",
    ),
    ThreeWays(
        "T015",
        lambda: sampled(sampled(charging() << after(60), energy(1100)) << after(60), energy(1095)),
        lambda: sampled(
            sampled(charging() << after(60), energy("1100.4")) << after(60), energy("1.1", unit="kWh")
        ),
        lambda: sampled(quiet(), energy(1100)),
        "StartTransaction or its answer",
    ),
    ThreeWays(
        "T016",
        lambda: start(stop(charging(), wh=2000) << after(5), transaction=8, meterStart=2600),
        lambda: start(stop(charging(), wh=2000) << after(5), transaction=8, meterStart=2000),
        lambda: start(authorize(quiet())),
        "StartTransaction or its answer",
        "note",
    ),
    ThreeWays(
        "T017",
        lambda: stop(draws(charging(), [2000, 3000, 4000, 5000]), wh=5000),
        lambda: stop(draws(charging(), [1038, 1077, 1115, 1153, 1192, 1230]), wh=1230),
        lambda: stop(charging(), wh=5000),
        "integral",
        "note",
    ),
    ThreeWays(
        "T018",
        lambda: stop(charging(), reason="Remote"),
        lambda: stop(ask_stop(charging()), reason="Remote"),
        lambda: stop(quiet(), reason="Remote"),
        "StartTransaction or its answer",
        "error",
    ),
    ThreeWays(
        "T019",
        lambda: stop(authorize(charging(), "OTHER"), idTag="OTHER"),
        lambda: stop(_family(), idTag="OTHER"),
        lambda: stop(quiet(), idTag="TAG"),
        "StartTransaction or its answer",
        "error",
    ),
    ThreeWays(
        "T020",
        lambda: stop(authorize(charging() << after(60)), idTag="TAG"),
        lambda: stop(charging() << after(60), idTag="TAG"),
        lambda: stop(authorize(quiet()), idTag="TAG"),
        "StartTransaction or its answer",
        "warning",
    ),
    ThreeWays(
        "T021",
        lambda: ask_stop(charging()) << after(70),
        lambda: stop(ask_stop(charging()), reason="Remote") << after(70),
        lambda: ask_stop(late(), 99),
        "did not begin with a boot",
        "error",
    ),
    ThreeWays(
        "T022",
        lambda: stop(
            refused(reads(quiet(), ("StopTransactionOnInvalidId", "false", False))), reason="DeAuthorized"
        ),
        lambda: stop(status(refused(quiet()), "SuspendedEVSE") << after(70), reason="EVDisconnected"),
        lambda: stop(quiet(), reason="DeAuthorized"),
        "StartTransaction or its answer",
        "error",
    ),
    ThreeWays(
        "T023",
        lambda: quiet().station("MeterValues", meter(70)) << after(61),
        lambda: quiet().station("MeterValues", meter(70)) << after(5) << ended(),
        lambda: _cut_with_times_made_up(),
        "no times of its own",
    ),
    ThreeWays(
        "T024",
        lambda: stop(
            charging(), transactionData=[{"timestamp": stamp(80), "sampledValue": [energy(1)] * 5000}]
        ),
        lambda: stop(
            charging(), transactionData=[{"timestamp": stamp(80), "sampledValue": [energy(1)] * 100}]
        ),
        lambda: damaged(charging(), Side.STATION, 2, "s", "StopTransaction", {"transactionId": 7}),
        "damaged by the capture",
        "warning",
    ),
    ThreeWays(
        "T025",
        lambda: stop(
            writes(writes(charging(), "StopTxnSampledData", ""), "StopTxnAlignedData", ""),
            transactionData=BEGIN_END,
        ),
        lambda: stop(charging(), transactionData=BEGIN_END),
        lambda: stop(play(SPEC).booted().started()),
        "neither observed nor certified",
        "error",
    ),
    ThreeWays(
        "T026",
        lambda: authorize(quiet(), answer={"idTagInfo": {"status": "ConcurrentTx"}}),
        lambda: start(authorize(quiet()), status="ConcurrentTx"),
        lambda: authorize(quiet(), answer={"unexpected": 1}),
        "no idTagInfo",
    ),
    ThreeWays(
        "T027",
        lambda: charging().csms(
            "ChangeAvailability", {"connectorId": 1, "type": "Inoperative"}, {"status": "Accepted"}
        ),
        lambda: scheduled(charging()),
        lambda: quiet().csms(
            "ChangeAvailability", {"connectorId": 1, "type": "Inoperative"}, {"status": "Accepted"}
        ),
        "did not begin with a boot",
        "error",
    ),
    ThreeWays(
        "T028",
        lambda: rebooted(reset(charging(), "Soft")),
        lambda: rebooted(stop(reset(charging(), "Soft"), reason="SoftReset")) << after(400),
        lambda: quiet(),
        "no accepted Reset",
    ),
    ThreeWays(
        "T029",
        lambda: quiet().csms("UnlockConnector", {"connectorId": 99}, {"status": "Unlocked"}),
        lambda: quiet().csms("UnlockConnector", {"connectorId": 1}, {"status": "NotSupported"}),
        lambda: play(SPEC).booted().csms("UnlockConnector", {"connectorId": 1}, {"status": "Unlocked"}),
        "nothing is certified",
        "error",
    ),
    ThreeWays(
        "T030",
        lambda: reads(quiet(), unknown=("AuthorizationCacheEnabled",)).csms(
            "ClearCache", {}, {"status": "Accepted"}
        ),
        lambda: reads(quiet(), ("AuthorizationCacheEnabled", "false", False)).csms(
            "ClearCache", {}, {"status": "Accepted"}
        ),
        lambda: quiet().csms("ClearCache", {}, {"status": "Accepted"}),
        "whether the station has a cache",
    ),
    ThreeWays(
        "T031",
        lambda: quiet().csms(
            "DataTransfer", {"vendorId": "org.example"}, {"status": "UnknownVendorId", "data": "x"}
        ),
        lambda: quiet().csms(
            "DataTransfer", {"vendorId": "org.example"}, {"status": "UnknownMessageId", "data": "x"}
        ),
        lambda: quiet().csms("DataTransfer", {"data": "x"}, {"status": "Rejected"}),
        "no vendorId",
    ),
    ThreeWays(
        "T032",
        lambda: (
            status(
                reads(charging(), ("StopTransactionOnEVSideDisconnect", "true", False)),
                "SuspendedEV",
                info="EV side disconnected",
            )
            << after(7)
        ),
        lambda: stop(status(charging(), "SuspendedEV", info="EV side disconnected") << after(2)) << after(7),
        lambda: stop(play(SPEC).booted().started()),
        "neither observed nor certified",
        "error",
    ),
    ThreeWays(
        "T033",
        lambda: start(authorize(reads(quiet(), LOCAL), answer="InternalError")),
        lambda: start(authorize(authorize(reads(quiet(), LOCAL), answer="InternalError"))),
        lambda: start(quiet(), tag="NEW"),
        "no answer to an Authorize",
    ),
    ThreeWays(
        "T034",
        lambda: stop(charging() << after(2), wh=1000, reason="Other"),
        lambda: stop(charging() << after(60), wh=1000, reason="Other"),
        lambda: stop(quiet(), wh=0, reason="Other"),
        "StartTransaction or its answer",
        "note",
    ),
)


def _family() -> Play:
    """A transaction, and another accepted idTag of the same group."""
    p = authorize(quiet(), parentIdTag="FAMILY")
    p = status(start(statuses(p, "Available", "Preparing")), "Charging")
    return authorize(p, "OTHER", parentIdTag="FAMILY")


def _cut_with_times_made_up() -> Play:
    from msgspec.structs import replace

    source: Any = quiet().station("MeterValues", meter(70)) << ended()
    p = play()
    for frame in source.frames:
        if frame.kind is Kind.TEXT:
            frame = replace(frame, facts={**frame.facts, "interpolated": True})
        p.frames.append(frame)
        p.found += p.analyzer.receive(frame)
    return p
