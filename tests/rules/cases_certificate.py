"""Three conversations for each rule of the families C, P and R."""

from typing import Any

from tests.playbook import OTMK, SPEC, Play, after, cs, ended, play, stamp
from tests.rules.talk import (
    OK,
    authorize,
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
    text,
    writes,
)
from tests.rules.three_ways import ThreeWays
from twin.model import Side
from twin.protocol.config_keys import REQUIRED_CORE_KEYS

TRUNCATED = {"truncated": True}
REFUSED = "InternalError"


def damaged(p: Play, sender: Side, *elements: Any) -> Play:
    """A frame that the capture cut."""
    from msgspec.structs import replace

    from tests.playbook import START_US
    from twin.model import Frame, Kind

    p.seq += 1
    frame = Frame(
        seq=p.seq, at_us=p.at_us, mono_ns=(p.at_us - START_US) * 1000, link=p.link, station="CP1",
        kind=Kind.TEXT, sender=sender, text=text(*elements), facts=TRUNCATED,
    )  # fmt: skip
    p.frames.append(frame)
    p.found += p.analyzer.receive(replace(frame))
    return p


def listing(*without: str, **values: str) -> tuple[tuple[str, str, bool], ...]:
    """Every required Core key at its certified value."""
    certificate = OTMK.certificate
    assert certificate is not None
    rows = []
    for name in REQUIRED_CORE_KEYS:
        if name not in without:
            value = values.get(name, certificate.certified_text(name) or "")
            rows.append((name, value, certificate.access(name) == "R"))
    return tuple(rows)


def padded(number: int, *without: str) -> tuple[tuple[str, str, bool], ...]:
    """A listing of exactly so many keys."""
    rows = list(listing(*without))
    rows += [(f"Vendor{n}", "x", False) for n in range(number - len(rows))]
    return tuple(rows[:number])


def heartbeat(p: Play, answer_s: float | None = None) -> Play:
    told = stamp(now_s(p) if answer_s is None else answer_s)
    return p.station("Heartbeat", {}, {"currentTime": told})


def many_statuses(p: Play, number: int, fraction: str) -> Play:
    for n in range(number):
        at = f"2026-09-21T14:{13 + n // 20:02}:{20 + n % 20:02}{fraction}Z"
        told = {"connectorId": n % 20 + 1, "errorCode": "NoError", "status": "Available", "timestamp": at}
        p.station("StatusNotification", told, {})
    return p


def refused_stop(p: Play) -> Play:
    """A transaction whose StopTransaction was refused once."""
    return stop(p.started(), answer=REFUSED, at_s=70)


def offline_start(p: Play, *, at_s: float = 100.0, tag: str = "GUEST") -> Play:
    """An outage from 70 to 370 s, and a start inside it delivered afterwards."""
    return start(outage(quiet(p), 300), tag=tag, at_s=at_s)


def online(p: Play) -> Play:
    """A live stamp, so that the clock's offset is known."""
    return status(p, "Available", 9)


FLAGS = (
    ("LocalAuthorizeOffline", "false", False),
    ("AllowOfflineTxForUnknownId", "false", False),
    ("AuthorizationCacheEnabled", "false", False),
)
ORPHAN = '[3,"%s",{"currentTime":"2026-09-21T14:13:20Z"}]'

CASES: tuple[ThreeWays, ...] = (
    # --- C
    ThreeWays(
        "C001",
        lambda: writes(play().booted(), "HeartbeatInterval", "300"),
        lambda: writes(play().booted(), "ClockAlignedDataInterval", "060"),
        lambda: writes(play(SPEC).booted(), "HeartbeatInterval", "300"),
        "nothing is certified",
        "drift",
    ),
    ThreeWays(
        "C002",
        lambda: writes(play().booted(), "NumberOfConnectors", "20"),
        lambda: writes(play().booted(), "NumberOfConnectors", "20", "Rejected"),
        lambda: writes(play().booted(), "VendorKey", "1"),
        "not in the specification",
    ),
    ThreeWays(
        "C003",
        lambda: writes(play().booted(), "MeterValuesSampledData", "Voltage,SoC,Frequency,RPM"),
        lambda: writes(play().booted(), "MeterValueSampleInterval", "-1", "Rejected"),
        lambda: writes(play().booted(), "VendorKey", "-1"),
        "not in the specification",
        says="at most 3",
    ),
    ThreeWays(
        "C004",
        lambda: writes(reads(play().booted(), unknown=("Testing",)), "Testing", "true"),
        lambda: writes(reads(play().booted(), unknown=("Testing",)), "testing", "true", "NotSupported"),
        lambda: writes(play(SPEC).booted(), "Testing", "true"),
        "whether the station knows this key",
        "error",
    ),
    ThreeWays(
        "C005",
        lambda: writes(play().booted(), "LocalAuthListEnabled", "true", "NotSupported"),
        lambda: writes(play().booted(), "HeartbeatInterval", "30"),
        lambda: writes(play(SPEC).booted(), "LocalAuthListEnabled", "true"),
        "nothing is certified",
    ),
    ThreeWays(
        "C006",
        lambda: reads(writes(play().booted(), "ResetRetries", "2"), ("ResetRetries", "3", False)),
        lambda: reads(writes(play().booted(), "ResetRetries", "2"), ("ResetRetries", "02", False)),
        lambda: reads(play().booted(), ("ResetRetries", "3", False)),
        "no write of these keys",
    ),
    ThreeWays(
        "C007",
        lambda: reads(play().booted(), ("ConnectionTimeOut", "90", False)),
        lambda: reads(writes(play().booted(), "ConnectionTimeOut", "90"), ("ConnectionTimeOut", "90", False)),
        lambda: reads(play(SPEC).booted(), ("ConnectionTimeOut", "90", False)),
        "nothing is certified",
        "drift",
    ),
    ThreeWays(
        "C008",
        lambda: reads(play().booted(), *listing("ResetRetries"), every=True),
        lambda: reads(play().booted(), *listing(), every=True),
        lambda: damaged(
            play().booted() << cs('[2,"g","GetConfiguration",{}]'),
            Side.STATION,
            3,
            "g",
            {"configurationKey": []},
        ),
        "damaged by the capture",
        says="ResetRetries",
    ),
    ThreeWays(
        "C009",
        lambda: reads(play().booted(), ("UnlockConnectorOnEVSideDisconnect", "false", False)),
        lambda: reads(play().booted(), ("StopTransactionOnEVSideDisconnect", "true", True)),
        lambda: reads(play().booted(), ("VendorKey", "x", True)),
        "not in the specification",
    ),
    ThreeWays(
        "C010",
        lambda: play().booted().csms("GetConfiguration", {"key": ["ResetRetries"]}, {"configurationKey": []}),
        lambda: reads(play().booted(), ("ResetRetries", "3", False), unknown=("Testing",)),
        lambda: damaged(
            play().booted() << cs('[2,"g","GetConfiguration",{"key":["ResetRetries"]}]'),
            Side.STATION,
            3,
            "g",
            {"configurationKey": []},
        ),
        "damaged by the capture",
    ),
    ThreeWays(
        "C011",
        lambda: (
            play()
            .booted()
            .csms("GetConfiguration", {"key": [f"K{n}" for n in range(21)]}, {"unknownKey": []})
        ),
        lambda: (
            play()
            .booted()
            .csms("GetConfiguration", {"key": [f"K{n}" for n in range(20)]}, {"unknownKey": []})
        ),
        lambda: play(SPEC).booted().csms("GetConfiguration", {"key": ["A"]}, {"unknownKey": ["A"]}),
        "neither observed nor certified",
    ),
    ThreeWays(
        "C012",
        lambda: reads(play().booted(), *padded(20, "ResetRetries"), every=True),
        lambda: reads(play().booted(), *padded(21), every=True),
        lambda: reads(play(SPEC).booted(), ("ResetRetries", "3", False), every=True),
        "neither observed nor certified",
    ),
    ThreeWays(
        "C013",
        lambda: reads(play().booted(), ("HeartbeatInterval", "2.147.483.647", False)),
        lambda: reads(play().booted(), ("LocalPreAuthorize", "FALSE", False)),
        lambda: reads(play().booted(), unknown=("Testing",)),
        "holds no key",
    ),
    ThreeWays(
        "C014",
        lambda: reads(
            play(SPEC).booted(),
            ("MeterValuesSampledData", "Voltage,SoC", False),
            ("MeterValuesSampledDataMaxLength", "1", True),
        ),
        lambda: reads(
            play(SPEC).booted(),
            ("MeterValuesSampledData", "Voltage,SoC", False),
            ("MeterValuesSampledDataMaxLength", "2", True),
        ),
        lambda: reads(play(SPEC).booted(), ("MeterValuesSampledData", "Voltage,SoC", False)),
        "neither observed nor certified",
        "error",
    ),
    ThreeWays(
        "C015",
        lambda: writes(play().booted(), "CpoName", "x" * 501, "Rejected"),
        lambda: writes(play().booted(), "CpoName", "x" * 500, "Rejected"),
        lambda: damaged(play().booted(), Side.CSMS, 2, "w", "GetConfiguration", {"key": ["A"]}),
        "damaged by the capture",
    ),
    ThreeWays(
        "C016",
        lambda: reads(play().booted(), ("SupportedFeatureProfiles", "Core,SmartCharging", True)),
        lambda: reads(play().booted(), ("SupportedFeatureProfiles", " Core ", True)),
        lambda: reads(play(SPEC).booted(), ("SupportedFeatureProfiles", "Core,Reservation", True)),
        "nothing is certified",
    ),
    ThreeWays(
        "C017",
        lambda: writes(play().booted(), "MessageTimeout", "3"),
        lambda: writes(play().booted(), "WebSocketPingInterval", "0"),
        lambda: writes(play(SPEC).booted(), "ResetRetries", "3"),
        "neither observed nor certified",
    ),
    ThreeWays(
        "C018",
        lambda: start(play(OTMK) << _opened(), tag="GUEST", at_s=-500),
        lambda: start(play(OTMK) << _opened(), tag="GUEST", at_s=1),
        lambda: start(late(OTMK), tag="GUEST", at_s=-500),
        "opening of the connection",
    ),
    ThreeWays(
        "C019",
        lambda: reads(play().booted(), ("AuthorizationKey", "", False)),
        lambda: reads(play().booted(), ("ResetRetries", "3", False)),
        lambda: reads(play().booted(), unknown=("Testing",)),
        "holds no key",
    ),
    # --- P
    ThreeWays(
        "P001",
        lambda: play().booted().csms("ClearCache", {}, {"status": "Rejected"}, took_s=5.5),
        lambda: play().booted().csms("ClearCache", {}, {"status": "Rejected"}, took_s=2.9),
        lambda: play(SPEC).booted().csms("ClearCache", {}, {"status": "Rejected"}, took_s=5.5),
        "nothing is certified",
        "warning",
    ),
    ThreeWays(
        "P002",
        lambda: stop(
            quiet(play().booted().started()).csms(
                "RemoteStopTransaction", {"transactionId": 7}, {"status": "Accepted"}
            )
            << after(6),
            reason="Remote",
        ),
        lambda: stop(
            quiet(play().booted().started()).csms(
                "RemoteStopTransaction", {"transactionId": 7}, {"status": "Accepted"}
            )
            << after(3),
            reason="Remote",
        ),
        lambda: stop(quiet(play().booted().started())),
        "what triggers this message",
        "warning",
    ),
    ThreeWays(
        "P003",
        lambda: (
            play().booted().csms("RemoteStartTransaction", {"idTag": "A"}, {"status": "Rejected"}, took_s=6)
        ),
        lambda: remote_start(play().booted(), status="Rejected"),
        lambda: remote_start(play(SPEC).booted(), status="Rejected"),
        "nothing is certified",
    ),
    ThreeWays(
        "P004",
        lambda: (play().booted().station("Heartbeat", {}) << after(70)) << cs(ORPHAN % "id2"),
        lambda: (
            (play().booted().station("Heartbeat", {}) << after(50))
            << cs(ORPHAN % "id2")
            << cs(ORPHAN % "id2")
        ),
        lambda: late() << cs(ORPHAN % "x"),
        "no earlier exchange",
    ),
    ThreeWays(
        "P005",
        lambda: many_statuses(play().booted(), 20, ""),
        lambda: many_statuses(many_statuses(play().booted(), 19, ""), 1, ".120"),
        lambda: many_statuses(play().booted(), 19, ""),
        "fewer than 20",
        "drift",
    ),
    ThreeWays(
        "P006",
        lambda: play().booted().station("Heartbeat", {}, {"currentTime": "yesterday"}),
        lambda: (
            play().booted().station("Heartbeat", {}, {"currentTime": "2026-09-21t14:13:20.123456789+02:00"})
        ),
        lambda: play().booted().station("Heartbeat", {}, {}),
        "no time stamp",
        "error",
    ),
    ThreeWays(
        "P007",
        lambda: status(play().booted(), "Available", at_s=3_600),
        lambda: status(quiet(play().booted(), 4_000), "Available", at_s=100),
        lambda: (
            play()
            .booted()
            .station(
                "StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": "Available"}, {}
            )
        ),
        "no time stamp",
    ),
    ThreeWays(
        "P008",
        lambda: heartbeat(play().booted() << after(40)),
        lambda: heartbeat(play().booted() << after(31)),
        lambda: heartbeat(late() << after(40)),
        "no earlier exchange",
    ),
    ThreeWays(
        "P009",
        lambda: status(_quiet_day(play().booted()), "Available", 2) << after(700),
        lambda: heartbeat(quiet(play().booted())),
        lambda: _interpolated_boot(),
        "no times of its own",
    ),
    ThreeWays(
        "P011",
        lambda: heartbeat(heartbeat(quiet(play().booted())) << after(5)),
        lambda: heartbeat(heartbeat(quiet(play().booted())) << after(20)),
        lambda: heartbeat(late() << after(5)),
        "neither observed nor certified",
    ),
    ThreeWays(
        "P012",
        lambda: heartbeat(status(heartbeat(quiet(play().booted())), "Available", at_s=3_670)),
        lambda: heartbeat(status(heartbeat(quiet(play().booted())), "Available")),
        lambda: heartbeat(heartbeat(quiet(play().booted()))),
        "too few live time stamps",
        says="ahead of",
    ),
    # --- R
    ThreeWays(
        "R001",
        lambda: refused_stop(quiet(play().booted())) << after(90),
        lambda: stop(refused_stop(quiet(play().booted())) << after(60), at_s=70),
        lambda: refused_stop(quiet(play(SPEC).booted())),
        "neither observed nor certified",
    ),
    ThreeWays(
        "R002",
        lambda: stop(refused_stop(quiet(play().booted())) << after(20), at_s=70),
        lambda: stop(refused_stop(quiet(play().booted())) << after(62), at_s=70),
        lambda: stop(refused_stop(quiet(play(SPEC).booted())) << after(20), at_s=70),
        "neither observed nor certified",
    ),
    ThreeWays(
        "R003",
        lambda: start(refused_stop(quiet(play().booted())), connector=2),
        lambda: stop(refused_stop(quiet(play().booted())) << after(60), at_s=70),
        lambda: damaged(
            refused_stop(quiet(play().booted())),
            Side.STATION,
            2,
            "x",
            "MeterValues",
            {"connectorId": 2, "meterValue": []},
        ),
        "damaged by the capture",
    ),
    ThreeWays(
        "R004",
        lambda: stop(refused_stop(quiet(play().booted())) << after(60), at_s=130),
        lambda: stop(refused_stop(quiet(play().booted())) << after(60), at_s=70),
        lambda: damaged(
            refused_stop(quiet(play().booted())),
            Side.STATION,
            2,
            "x",
            "MeterValues",
            {"connectorId": 2, "meterValue": []},
        ),
        "damaged by the capture",
        says="timestamp",
    ),
    ThreeWays(
        "R005",
        lambda: authorize(authorize(quiet(play().booted()), answer=REFUSED), answer=OK),
        lambda: authorize(authorize(quiet(play().booted())), answer=OK),
        lambda: damaged(quiet(play().booted()), Side.STATION, 2, "x", "Authorize", {"idTag": "TAG"}),
        "damaged by the capture",
    ),
    ThreeWays(
        "R006",
        lambda: _attempts(4),
        lambda: _attempts(3),
        lambda: stop(refused_stop(quiet(play(SPEC).booted())) << after(60), at_s=70),
        "neither observed nor certified",
    ),
    ThreeWays(
        "R007",
        lambda: offline_start(reads(play().booted(), *FLAGS)),
        lambda: offline_start(authorize(quiet(play().booted(), 40), "GUEST"), at_s=120),
        lambda: start(quiet(play().booted()), tag="GUEST"),
        "no outage was seen",
        "error",
    ),
    ThreeWays(
        "R009",
        lambda: sampled(outage(sampled(quiet(play().booted().started(), 59)), 300), at_s=300),
        lambda: sampled(outage(sampled(quiet(play().booted().started(), 59)), 300), at_s=120),
        lambda: sampled(outage(quiet(play().booted()), 300), at_s=300),
        "StartTransaction or its answer",
    ),
    ThreeWays(
        "R010",
        lambda: _replayed("Preparing", "Charging", "Finishing"),
        lambda: _replayed("Preparing"),
        lambda: statuses(late(), "Available", "Preparing"),
        "opening of the connection",
    ),
    ThreeWays(
        "R011",
        lambda: _quick(5, 0.3),
        lambda: _quick(5, 4),
        lambda: late(),
        "opening of the connection",
    ),
    ThreeWays(
        "R012",
        lambda: stop(outage(quiet(play().booted().started()), 300) << after(90), at_s=100),
        lambda: stop(outage(quiet(play().booted().started()), 300) << after(20), at_s=100),
        lambda: stop(late()),
        "opening of the connection",
    ),
)


def _opened() -> Any:
    from tests.playbook import opened

    return opened()


def _quiet_day(p: Play) -> Play:
    """Statuses for almost a day, and no Heartbeat."""
    for _ in range(47):
        status(p << after(1_800), "Available", 2)
    return p << after(1_200)


def _interpolated_boot() -> Play:
    from msgspec.structs import replace

    source = play().booted()
    p = play()
    for frame in source.frames:
        frame = replace(frame, facts={**frame.facts, "interpolated": True})
        p.frames.append(frame)
        p.found += p.analyzer.receive(frame)
    return p


def _attempts(number: int) -> Play:
    """A StopTransaction that is refused, and sent so many times in all."""
    p = refused_stop(quiet(play().booted()))
    for attempt in range(1, number):
        stop(p << after(60 * attempt), at_s=70, answer=REFUSED)
    return p


def _replayed(*values: str) -> Play:
    """After an outage, statuses that are older than the connection."""
    p = outage(online(quiet(play().booted())), 300)
    for place, value in enumerate(values):
        status(p, value, at_s=100 + place)
    return p


def _quick(number: int, apart_s: float) -> Play:
    p = play()
    for place in range(number):
        p.link = f"c{place}"
        p = p << _opened() << after(apart_s) << ended()
    return p
