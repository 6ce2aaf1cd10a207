"""Three conversations for each rule of the families S and M."""

from typing import Any

from tests.playbook import SPEC, Play, after, meter, play, stamp
from tests.rules.talk import (
    authorize,
    energy,
    late,
    now_s,
    outage,
    quiet,
    reads,
    sampled,
    start,
    status,
    statuses,
    stop,
    writes,
)
from tests.rules.three_ways import ThreeWays
from twin.model import Side

BARE = {"connectorId": 1, "errorCode": "NoError"}
VOLTAGE = {"value": "230.0", "measurand": "Voltage", "unit": "V"}
CURRENT = {"value": "16.0", "measurand": "Current.Import", "unit": "A"}
CLOCK = {"context": "Sample.Clock"}


def charging(p: Play | None = None) -> Play:
    """Available, Preparing, started, Charging; transaction 7 on connector 1."""
    p = statuses(quiet(p), "Available", "Preparing")
    return status(p.started(), "Charging")


def bare(p: Play, **payload: Any) -> Play:
    return p.station("StatusNotification", payload, {})


def clocked(p: Play, at_s: float, **more: Any) -> Play:
    values = tuple(one | CLOCK for one in (energy(1100), CURRENT, VOLTAGE))
    return sampled(p, *values, at_s=at_s, **more)


def aligned(seconds: float) -> float:
    """Seconds of the conversation at ``seconds`` past a full minute: the conversation begins at :20."""
    return 40 + seconds


def loaded(answer_s: float) -> Play:
    """Twelve transactions, and a CSMS that takes so long to answer."""
    p = quiet(play().booted())
    for number in range(1, 13):
        authorize(p, f"T{number}")
        start(p, number, 100 + number, f"T{number}")
    for turn in range(20):
        p.call(
            Side.STATION, "MeterValues", meter(now_s(p), connector=1, transaction=101), {}, took_s=answer_s
        )
        p << after(1 + turn % 2)
    return p


def flap(p: Play, apart_s: float) -> Play:
    for _ in range(4):
        statuses(p << after(apart_s), "Preparing")
        statuses(p << after(apart_s), "Available")
    return p


def unavailable(p: Play) -> Play:
    p.csms("ChangeAvailability", {"connectorId": 1, "type": "Inoperative"}, {"status": "Accepted"})
    return status(p, "Unavailable")


def reset(p: Play, kind: str = "Hard") -> Play:
    return p.csms("Reset", {"type": kind}, {"status": "Accepted"})


def faulted(p: Play) -> Play:
    return status(statuses(p, "Available", "Preparing"), "Faulted", code="GroundFailure")


CASES: tuple[ThreeWays, ...] = (
    # --- S
    ThreeWays(
        "S001",
        lambda: statuses(quiet(), "Finishing", "Charging"),
        lambda: statuses(quiet(), "Available", "Preparing", "Charging"),
        lambda: status(quiet(), "Charging"),
        "no earlier status",
    ),
    ThreeWays(
        "S002",
        lambda: statuses(quiet(), "Available", "Available"),
        lambda: status(statuses(quiet(), "Available"), "Available", info="cable warm"),
        lambda: status(quiet(), "Available"),
        "no earlier status",
        "note",
    ),
    ThreeWays(
        "S003",
        lambda: status(quiet(), "Charging", 0),
        lambda: status(quiet(), "Unavailable", 0),
        lambda: bare(quiet(), errorCode="NoError", status="Charging"),
        "no connectorId",
    ),
    ThreeWays(
        "S004",
        lambda: status(reads(quiet(), ("NumberOfConnectors", "4", True)), "Available", 5),
        lambda: status(reads(quiet(), ("NumberOfConnectors", "4", True)), "Available", 4),
        lambda: status(play(SPEC).booted(), "Available", 5),
        "neither observed nor certified",
        "error",
    ),
    ThreeWays(
        "S005",
        lambda: status(quiet(), "Reserved"),
        lambda: status(quiet(), "Available"),
        lambda: status(play(SPEC).booted(), "Reserved"),
        "nothing is certified",
    ),
    ThreeWays(
        "S006",
        lambda: status(quiet(), "Faulted"),
        lambda: status(quiet(), "Available", code="WeakSignal"),
        lambda: bare(quiet(), **BARE),
        "no status",
    ),
    ThreeWays(
        "S007",
        lambda: status(quiet(), "Charging", code="EVCommunicationError"),
        lambda: status(quiet(), "Preparing", code="EVCommunicationError"),
        lambda: bare(quiet(), connectorId=1, errorCode="EVCommunicationError"),
        "no status",
    ),
    ThreeWays(
        "S008",
        lambda: statuses(faulted(quiet()), "Charging"),
        lambda: statuses(faulted(quiet()), "Preparing"),
        lambda: statuses(status(quiet(), "Faulted", code="GroundFailure"), "Charging"),
        "before the fault",
    ),
    ThreeWays(
        "S009",
        lambda: status(quiet(), "Faulted", code="ConnectorLockFailure"),
        lambda: status(quiet(), "Faulted", code="GroundFailure"),
        lambda: status(play(SPEC).booted(), "Faulted", code="ConnectorLockFailure"),
        "nothing is certified",
    ),
    ThreeWays(
        "S010",
        lambda: statuses(charging(), "Preparing") << after(12),
        lambda: stop(statuses(charging(), "Finishing") << after(5)) << after(12),
        lambda: status(late(), "Charging"),
        "did not begin with a boot",
    ),
    ThreeWays(
        "S011",
        lambda: statuses(stop(charging()), "Preparing"),
        lambda: statuses(stop(charging()), "Finishing", "Preparing"),
        lambda: statuses(quiet(), "Charging"),
        "StartTransaction or its answer",
    ),
    ThreeWays(
        "S012",
        lambda: statuses(stop(charging(), reason="EVDisconnected"), "Finishing"),
        lambda: status(stop(charging(), reason="EVDisconnected"), "Finishing", info="EV side disconnected"),
        lambda: statuses(quiet(), "Finishing"),
        "StartTransaction or its answer",
        "note",
    ),
    ThreeWays(
        "S013",
        lambda: statuses(authorize(statuses(quiet(), "Available")), "Preparing") << after(70),
        lambda: statuses(statuses(quiet(), "Available", "Preparing") << after(60), "Available") << after(70),
        lambda: statuses(play(SPEC).booted(), "Preparing"),
        "neither observed nor certified",
        "warning",
    ),
    ThreeWays(
        "S014",
        lambda: status(outage(reset(unavailable(quiet())), 20).booted(), "Available"),
        lambda: status(outage(reset(unavailable(quiet())), 20).booted(), "Unavailable"),
        lambda: status(quiet(), "Available"),
        "no ChangeAvailability",
        "error",
    ),
    ThreeWays(
        "S015",
        lambda: status(status(quiet(), "Available"), "Preparing", at_s=10),
        lambda: status(status(quiet(), "Available", at_s=10), "Preparing", at_s=10),
        lambda: bare(quiet(), **BARE, status="Available"),
        "no readable time stamp",
    ),
    ThreeWays(
        "S016",
        lambda: quiet(play().booted()).started() << after(61),
        lambda: charging() << after(61),
        lambda: _interpolated(quiet(play().booted()).started()),
        "no times of its own",
    ),
    ThreeWays(
        "S017",
        lambda: flap(statuses(quiet(), "Available"), 2),
        lambda: flap(statuses(quiet(), "Available"), 20),
        lambda: bare(quiet(), errorCode="NoError", status="Available"),
        "no connectorId",
    ),
    # --- M
    ThreeWays(
        "M001",
        lambda: sampled(reads(charging(), ("MeterValueSampleInterval", "60", False)) << after(200)),
        lambda: sampled(charging() << after(60)),
        lambda: sampled(quiet()),
        "StartTransaction or its answer",
    ),
    ThreeWays(
        "M002",
        lambda: clocked(writes(charging(), "ClockAlignedDataInterval", "900"), aligned(127)),
        lambda: clocked(writes(charging(), "ClockAlignedDataInterval", "60"), aligned(60)),
        lambda: clocked(quiet(play(SPEC).booted()), aligned(60)),
        "neither observed nor certified",
        "error",
    ),
    ThreeWays(
        "M003",
        lambda: sampled(
            sampled(reads(charging(), ("MeterValuesSampledData", "Voltage,SoC", False)) << after(60))
            << after(60)
        ),
        lambda: sampled(sampled(charging() << after(60)) << after(60)),
        lambda: sampled(charging()),
        "first sample",
        "error",
    ),
    ThreeWays(
        "M004",
        lambda: sampled(charging(), connector=2),
        lambda: sampled(charging()),
        lambda: sampled(quiet()),
        "StartTransaction or its answer",
        "error",
    ),
    ThreeWays(
        "M005",
        lambda: sampled(charging() << after(5), transaction=None),
        lambda: sampled(charging(), connector=2, transaction=None),
        lambda: sampled(late(), transaction=None),
        "did not begin with a boot",
    ),
    ThreeWays(
        "M006",
        lambda: sampled(charging(), {"value": "229,8", "measurand": "Voltage"}),
        lambda: sampled(charging(), {"value": "+2.298e+02", "measurand": "Voltage"}),
        lambda: quiet().station("MeterValues", {"connectorId": 1, "meterValue": []}, {}),
        "holds no sample",
        "error",
    ),
    ThreeWays(
        "M007",
        lambda: sampled(charging(), {"value": "16", "measurand": "Current.Import", "unit": "Wh"}),
        lambda: sampled(charging(), {"value": "16", "measurand": "Current.Import"}),
        lambda: quiet().station("MeterValues", {"connectorId": 1, "meterValue": []}, {}),
        "holds no sample",
    ),
    ThreeWays(
        "M008",
        lambda: sampled(charging(), energy(1100, location="EV")),
        lambda: sampled(charging(), {"value": "55", "measurand": "SoC", "location": "EV"}),
        lambda: quiet().station("MeterValues", {"connectorId": 1, "meterValue": []}, {}),
        "holds no sample",
    ),
    ThreeWays(
        "M009",
        lambda: sampled(charging(), energy(1100, context="Trigger")),
        lambda: sampled(charging(), energy(1100, context="Other")),
        lambda: sampled(play(SPEC).booted(), energy(1100, context="Trigger")),
        "nothing is certified",
    ),
    ThreeWays(
        "M010",
        lambda: sampled(
            writes(charging(), "MeterValueSampleInterval", "0") << after(200),
            energy(1100, context="Sample.Periodic"),
        ),
        lambda: sampled(
            writes(charging(), "MeterValueSampleInterval", "0") << after(30),
            energy(1100, context="Sample.Periodic"),
        ),
        lambda: sampled(charging(), energy(1100, context="Sample.Periodic")),
        "neither observed nor certified",
    ),
    ThreeWays(
        "M011",
        lambda: loaded(6.0),
        lambda: loaded(0.5),
        lambda: sampled(charging()),
        "too few answers",
    ),
    ThreeWays(
        "M012",
        lambda: clocked(quiet(), aligned(60), transaction=None),
        lambda: clocked(charging(), aligned(60)),
        lambda: clocked(late(), aligned(60), transaction=None),
        "did not begin with a boot",
    ),
    ThreeWays(
        "M013",
        lambda: sampled(charging(), {"value": "-3", "measurand": "Current.Import", "unit": "A"}),
        lambda: sampled(charging(), CURRENT),
        lambda: sampled(quiet(), CURRENT),
        "no earlier status",
    ),
    ThreeWays(
        "M014",
        lambda: sampled(charging(), {"value": "23000", "measurand": "Temperature", "unit": "Celsius"}),
        lambda: sampled(charging(), {"value": "49.98", "measurand": "Frequency", "unit": "Hertz"}),
        lambda: quiet().station("MeterValues", {"connectorId": 1, "meterValue": []}, {}),
        "holds no sample",
    ),
    ThreeWays(
        "M015",
        lambda: sampled(charging(), energy(2_147_483_647)),
        lambda: sampled(charging(), energy(2_147_483_646)),
        lambda: quiet().station("MeterValues", {"connectorId": 1, "meterValue": []}, {}),
        "holds no sample",
    ),
    ThreeWays(
        "M016",
        lambda: stop(charging(), transactionData=[{"timestamp": stamp(), "sampledValue": []}]),
        lambda: sampled(charging()),
        lambda: stop(charging()),
        "holds no sample",
    ),
    ThreeWays(
        "M017",
        lambda: sampled(charging(), energy(900), *(energy(n, phase=f"L{n // 100}") for n in (100, 200, 300))),
        lambda: sampled(charging(), energy(601), *(energy(n, phase=f"L{n // 100}") for n in (100, 200, 300))),
        lambda: sampled(charging(), energy(900), energy(100, phase="L1")),
        "no sample with a total",
    ),
)


def _interpolated(source: Play) -> Play:
    from msgspec.structs import replace

    p = play()
    for frame in source.frames:
        frame = replace(frame, facts={**frame.facts, "interpolated": True})
        p.frames.append(frame)
        p.found += p.analyzer.receive(frame)
    return p
