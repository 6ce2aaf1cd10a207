"""Three conversations for each rule of the families H, J, B and N."""

from typing import Any

from msgspec.structs import replace

from tests.playbook import BOOT, OTMK, SPEC, Happened, Play, after, cp, cs, ended, opened, play, stamp
from tests.rules.cases_certificate import damaged
from tests.rules.cases_connectors import reset
from tests.rules.talk import authorize, late, now_s, outage, quiet, sampled, says, status
from tests.rules.three_ways import ThreeWays
from twin.certificate.profile import Profile
from twin.model import Kind, Side

STATION, CSMS = Side.STATION, Side.CSMS
PROFILE_CALL = {"connectorId": 1, "csChargingProfiles": {}}
REJECTED = {"status": "Rejected", "currentTime": stamp(), "interval": 60}
PENDING = {"status": "Pending", "currentTime": stamp(), "interval": 60}
BARE_BOOT = {"chargePointVendor": "MANAGEON", "chargePointModel": "OTM-K"}


def boot(p: Play, conf: Any = None, **changes: Any) -> Play:
    accepted = {"status": "Accepted", "currentTime": stamp(now_s(p)), "interval": 30}
    return p.station("BootNotification", BOOT | changes, conf or accepted)


def refused(times: int, apart_s: float) -> Play:
    p = play()
    for number in range(times):
        p.link = f"r{number}"
        p = p << Happened(Kind.REFUSED, {"status": 503}) << after(apart_s)
    return p


def ping(p: Play, sender: Side) -> Play:
    return p << Happened(Kind.PING, {}, sender)


def ran_on(reason: str = "Local", sampled_at_s: float = 100.0) -> Play:
    """An outage from 70 to 130 s, a boot after it, and a Stop from the time in between."""
    p = outage(quiet(play().booted().started()), 60)
    p = boot(p)
    payload = {"transactionId": 7, "meterStop": 2000, "timestamp": stamp(sampled_at_s), "reason": reason}
    return p.station("StopTransaction", payload, {})


def two_links(seconds: float, *, old_ends: bool) -> Play:
    p = quiet()
    p.link = "c2"
    p = p << opened()
    if old_ends:
        p.link = "c1"
        p = p << ended()
    return p << after(seconds)


def all_statuses(p: Play, *but: int) -> Play:
    for number in range(21):
        if number not in but:
            status(p, "Available", number)
    return p


def dropped(apart_s: float) -> Play:
    p = quiet().station("DataTransfer", {"vendorId": "x"}, "InternalError")
    return p << after(apart_s) << ended(by="station")


def cross(p: Play, first: bool) -> Play:
    """Authorize of a remote start, before its confirmation or after it."""
    p = p << cs('[2,"r","RemoteStartTransaction",{"connectorId":1,"idTag":"TAG"}]') << after(0.1)
    early = p << cp('[2,"a","Authorize",{"idTag":"TAG"}]') if first else p
    p = early << after(0.1) << cp('[3,"r",{"status":"Accepted"}]')
    return p if first else p << after(0.1) << cp('[2,"a","Authorize",{"idTag":"TAG"}]')


def with_firmware() -> Profile:
    """A certificate that covers more than Core: what is outside is then for the rules of that profile."""
    certificate = OTMK.certificate
    assert certificate is not None
    rows = tuple(
        replace(row, result="Pass") if row.profile == "FirmwareManagement" else row
        for row in certificate.functionality
    )
    return Profile("two profiles", replace(certificate, functionality=rows))


def untimed(source: Play) -> Play:
    """The same frames, with times that an importer made up."""
    p = play()
    for frame in source.frames:
        frame = replace(frame, facts={**frame.facts, "interpolated": True})
        p.frames.append(frame)
        p.found += p.analyzer.receive(frame)
    return p


CASES: tuple[ThreeWays, ...] = (
    # --- H
    ThreeWays(
        "H001",
        lambda: play() << opened(subprotocols_offered=["ocpp2.0.1", "ocpp1.5"]),
        lambda: play() << opened(subprotocols_offered=["ocpp2.0.1", "ocpp1.6"]),
        late,
        "headers of the handshake",
        "error",
    ),
    ThreeWays(
        "H002",
        lambda: play() << opened(subprotocols_offered=["ocpp1.6"], subprotocol=""),
        lambda: play() << opened(subprotocols_offered=["ocpp1.6", "ocpp1.5"]),
        late,
        "headers of the handshake",
        "error",
    ),
    ThreeWays(
        "H003",
        lambda: play() << opened(path="/"),
        lambda: play() << opened(path="/ocpp/CP%201"),
        late,
        "headers of the handshake",
    ),
    ThreeWays(
        "H004",
        lambda: refused(4, 3),
        lambda: refused(5, 30),
        lambda: refused(2, 3),
        "fewer than four",
    ),
    ThreeWays(
        "H005",
        lambda: play() << opened(peer="8.8.8.8:50000"),
        lambda: play() << opened(peer="192.168.1.4:50000"),
        late,
        "headers of the handshake",
        "note",
    ),
    ThreeWays(
        "H006",
        lambda: play() << opened(auth={"user_is_identity": False}),
        lambda: play() << opened(auth={"user_is_identity": True}),
        late,
        "headers of the handshake",
    ),
    ThreeWays(
        "H007",
        lambda: two_links(100, old_ends=False),
        lambda: two_links(100, old_ends=True),
        late,
        "opening of the connection",
    ),
    ThreeWays(
        "H008",
        lambda: quiet() << Happened(Kind.CLOSE, {"code": 1007}, CSMS),
        lambda: quiet() << Happened(Kind.CLOSE, {"code": 1000}, CSMS) << ended(abrupt=False),
        lambda: quiet() << ended(),
        "how the connection ended",
        "warning",
    ),
    ThreeWays(
        "H009",
        lambda: ping(quiet(), STATION),
        lambda: ping(
            quiet().csms(
                "ChangeConfiguration", {"key": "WebSocketPingInterval", "value": "60"}, {"status": "Accepted"}
            ),
            STATION,
        ),
        lambda: ping(play(SPEC).booted(), STATION),
        "neither observed nor certified",
        "drift",
    ),
    ThreeWays(
        "H010",
        lambda: ping(quiet(), CSMS) << after(61),
        lambda: ping(quiet(), CSMS) << Happened(Kind.PONG, {}, STATION) << after(61),
        lambda: quiet() << Happened(Kind.STATS, {}),
        "control frames",
    ),
    ThreeWays(
        "H011",
        ran_on,
        lambda: ran_on("PowerLoss"),
        lambda: sampled(late()),
        "opening of the connection",
    ),
    ThreeWays(
        "H012",
        lambda: quiet() << Happened(Kind.BINARY, {}, STATION, b"\x00\x01"),
        lambda: quiet() << cp("not json"),
        lambda: quiet() << Happened(Kind.UNDECODABLE, {"why": "inflate"}, STATION, b"\x00"),
        "could not be decoded",
    ),
    ThreeWays(
        "H013",
        lambda: play() << opened(extensions="permessage-deflate; client_no_context_takeover"),
        lambda: play() << opened(extensions=""),
        late,
        "headers of the handshake",
    ),
    ThreeWays(
        "H014",
        lambda: dropped(1),
        lambda: dropped(60),
        lambda: quiet() << ended(by="station"),
        "no CALLERROR",
    ),
    # --- J
    ThreeWays(
        "J001",
        lambda: quiet() << cp("{not json"),
        lambda: quiet() << cp('[2,"x"]'),
        lambda: damaged_text(quiet(), "[2,"),
        "damaged by the capture",
    ),
    ThreeWays(
        "J002",
        lambda: quiet() << cp('[2,"x","Heartbeat"]'),
        lambda: quiet() << cp('[7,"x"]'),
        lambda: damaged_text(quiet(), '[2,"x","Heartbeat"]'),
        "damaged by the capture",
    ),
    ThreeWays(
        "J003",
        lambda: quiet() << cp('["2","x","Heartbeat",{}]'),
        lambda: quiet() << cp('[2,"","Heartbeat",{}]'),
        lambda: damaged_text(quiet(), '["2","x","Heartbeat",{}]'),
        "damaged by the capture",
    ),
    ThreeWays(
        "J004",
        lambda: quiet() << cp(f'[2,"{"x" * 37}","Heartbeat",{{}}]'),
        lambda: quiet() << cp(f'[2,"{"x" * 36}","Heartbeat"]'),
        lambda: damaged_text(quiet(), '[2,5,"Heartbeat",{}]'),
        "damaged by the capture",
    ),
    ThreeWays(
        "J005",
        lambda: says(
            STATION, says(STATION, quiet(), 2, "x", "Heartbeat", {}), 2, "x", "Authorize", {"idTag": "A"}
        ),
        lambda: says(CSMS, says(STATION, quiet(), 2, "x", "Heartbeat", {}), 2, "x", "ClearCache", {}),
        lambda: says(STATION, late(), 2, "x", "Heartbeat", {}),
        "opening of the connection",
        "error",
    ),
    ThreeWays(
        "J006",
        lambda: says(STATION, says(STATION, quiet(), 2, "x", "Heartbeat", {}), 2, "y", "Heartbeat", {}),
        lambda: says(CSMS, says(STATION, quiet(), 2, "x", "Heartbeat", {}), 2, "y", "ClearCache", {}),
        lambda: untimed(
            says(STATION, says(STATION, quiet(), 2, "x", "Heartbeat", {}), 2, "y", "Heartbeat", {})
        ),
        "no times of its own",
    ),
    ThreeWays(
        "J007",
        lambda: says(CSMS, quiet(), 3, "never-asked", {}),
        lambda: says(
            CSMS, says(CSMS, says(STATION, quiet(), 2, "x", "Heartbeat", {}), 3, "x", {}), 3, "x", {}
        ),
        lambda: says(CSMS, late(), 3, "x", {}),
        "near the start of the capture",
    ),
    ThreeWays(
        "J008",
        lambda: says(
            STATION,
            says(CSMS, quiet(), 2, "x", "ClearCache", {}) << after(40),
            3,
            "x",
            {"status": "Rejected"},
        ),
        lambda: says(
            CSMS,
            says(STATION, quiet(), 2, "x", "Heartbeat", {}) << after(70),
            3,
            "x",
            {"currentTime": stamp()},
        ),
        lambda: says(STATION, late(), 3, "x", {}),
        "near the start of the capture",
    ),
    ThreeWays(
        "J009",
        lambda: says(
            CSMS, says(CSMS, says(STATION, quiet(), 2, "x", "Heartbeat", {}), 3, "x", {}), 3, "x", {}
        ),
        lambda: says(CSMS, quiet(), 3, "never-asked", {}),
        lambda: says(CSMS, late(), 3, "x", {}),
        "near the start of the capture",
    ),
    ThreeWays(
        "J010",
        lambda: says(CSMS, quiet(), 2, "x", "ClearCache", {}) << after(31),
        lambda: says(CSMS, boot(play() << opened(), REJECTED), 2, "x", "ClearCache", {}) << after(31),
        lambda: untimed(says(CSMS, quiet(), 2, "x", "ClearCache", {}) << ended()),
        "no times of its own",
        "error",
    ),
    ThreeWays(
        "J011",
        lambda: quiet().station("Heartbeat", {}, "FormatViolation"),
        lambda: quiet().station("Heartbeat", {}, "OccurenceConstraintViolation"),
        lambda: says(CSMS, says(STATION, quiet(), 2, "x", "Heartbeat", {}), 4, "x", "Oops", ""),
        "cannot be judged",
    ),
    ThreeWays(
        "J012",
        lambda: says(CSMS, says(STATION, quiet(), 2, "x", "Heartbeat", {}), 4, "x", "GenericError", "", []),
        lambda: quiet().station("Heartbeat", {}, "GenericError"),
        lambda: says(CSMS, says(STATION, quiet(), 2, "x", "Heartbeat", {}), 4, "x", "GenericError", ""),
        "cannot be judged",
        "error",
    ),
    ThreeWays(
        "J013",
        lambda: says(STATION, quiet(), 2, "x", "Heartbeat", None),
        lambda: says(STATION, quiet(), 2, "x", "Heartbeat", {}),
        lambda: says(STATION, quiet(), 2, "x", "Heartbeat"),
        "cannot be judged",
        "note",
    ),
    ThreeWays(
        "J014",
        lambda: says(CSMS, quiet(), 2, "x", "Heartbeat", {}),
        lambda: says(CSMS, quiet(), 2, "x", "DataTransfer", {"vendorId": "x"}),
        lambda: says(CSMS, quiet(), 2, "x", "Beat", {}),
        "not one of OCPP 1.6",
    ),
    ThreeWays(
        "J015",
        lambda: says(STATION, quiet(), 2, "x", "Beat", {}),
        lambda: says(STATION, quiet(), 2, "x", "Heartbeat", {}),
        lambda: damaged(quiet(), STATION, 2, "x", "Beat", {}),
        "damaged by the capture",
    ),
    ThreeWays(
        "J016",
        lambda: quiet() << cp('[2,"x","Authorize",{"idTag":"A","idTag":"B"}]'),
        lambda: quiet() << cp('[2,"x","Authorize"]'),
        lambda: damaged_text(quiet(), '[2,"x","Authorize",{"idTag":NaN}]'),
        "damaged by the capture",
    ),
    ThreeWays(
        "J017",
        lambda: authorize(quiet(), "T\u00c4G"),
        lambda: authorize(quiet(), "TAG"),
        lambda: damaged_text(quiet(), '[2,"x","Authorize",{"idTag":"T\u00c4G"}]'),
        "damaged by the capture",
        "warning",
    ),
    ThreeWays(
        "J018",
        lambda: cross(quiet(), first=True),
        lambda: cross(quiet(), first=False),
        lambda: untimed(cross(quiet(), first=True)),
        "no times of its own",
    ),
    ThreeWays(
        "J019",
        lambda: quiet().csms("Reset", {"type": "Soft"}, "GenericError"),
        lambda: quiet().csms("RemoteStartTransaction", {"connectorId": 0, "idTag": "A"}, "GenericError"),
        lambda: quiet().csms("Reset", {"type": "Warm"}, "GenericError"),
        "does not fit its schema",
    ),
    ThreeWays(
        "J020",
        lambda: authorize(boot(play() << opened(), PENDING)),
        lambda: authorize(boot(play() << opened(), PENDING), answer="SecurityError"),
        lambda: authorize(late()),
        "how the station is registered",
        "note",
    ),
    ThreeWays(
        "J021",
        lambda: authorize(quiet(), "TWENTY-ONE-CHARACTERS"),
        lambda: authorize(quiet(), "TWENTY-CHARACTERS-20"),
        lambda: quiet() << cp('[2,"x","Authorize"]'),
        "cannot be judged",
        "error",
    ),
    ThreeWays(
        "J022",
        lambda: damaged(quiet(), STATION, 2, "x", "Heartbeat", {}),
        lambda: says(STATION, quiet(), 2, "x", "Heartbeat", {}),
        lambda: quiet() << cp("{not json"),
        "whether the sender or the capture",
        "note",
    ),
    ThreeWays(
        "J023",
        lambda: boot(play() << opened(), chargePointVendor=""),
        lambda: boot(play() << opened(), chargePointVendor="."),
        lambda: damaged(quiet(), STATION, 2, "x", "Authorize", {"idTag": ""}),
        "damaged by the capture",
    ),
    # --- B
    ThreeWays(
        "B001",
        lambda: boot(status(play() << opened(), "Available")),
        lambda: boot(play() << opened()),
        lambda: boot(status(late(), "Available")),
        "opening of the connection",
    ),
    ThreeWays(
        "B002",
        lambda: authorize(boot(play() << opened(), PENDING)),
        lambda: authorize(boot(play() << opened())),
        lambda: authorize(late()),
        "did not begin with a boot",
        "error",
    ),
    ThreeWays(
        "B003",
        lambda: boot(boot(play() << opened(), PENDING) << after(30)),
        lambda: boot(boot(play() << opened(), PENDING) << after(59.5)),
        lambda: boot(play() << opened()),
        "no refused or pending",
    ),
    ThreeWays(
        "B004",
        lambda: authorize(boot(play() << opened(), REJECTED)),
        lambda: authorize(boot(play() << opened(), PENDING)),
        lambda: authorize(late()),
        "did not begin with a boot",
    ),
    ThreeWays(
        "B005",
        lambda: boot(play() << opened(), REJECTED).csms("ClearCache", {}),
        lambda: boot(play() << opened(), PENDING).csms("ClearCache", {}),
        lambda: late().csms("ClearCache", {}),
        "did not begin with a boot",
    ),
    ThreeWays(
        "B006",
        lambda: boot(play() << opened(), PENDING).csms("RemoteStartTransaction", {"idTag": "A"}),
        lambda: boot(play() << opened()).csms("RemoteStartTransaction", {"idTag": "A"}),
        lambda: late().csms("RemoteStartTransaction", {"idTag": "A"}),
        "did not begin with a boot",
    ),
    ThreeWays(
        "B007",
        lambda: boot(play() << opened(), PENDING).csms("ClearCache", {}) << after(31),
        lambda: quiet().csms("ClearCache", {}) << after(31),
        lambda: late().csms("ClearCache", {}) << after(31),
        "did not begin with a boot",
    ),
    ThreeWays(
        "B008",
        lambda: all_statuses(play().booted(), 7) << after(40),
        lambda: all_statuses(play().booted()) << after(40),
        lambda: play(SPEC).booted(),
        "neither observed nor certified",
        "error",
        "connector 7",
    ),
    ThreeWays(
        "B009",
        lambda: boot(quiet()),
        lambda: boot(reset(quiet())),
        lambda: boot(late()),
        "did not begin with a boot",
        "note",
    ),
    ThreeWays(
        "B010",
        lambda: play().booted(300),
        lambda: play().booted(30),
        lambda: play(SPEC).booted(300),
        "nothing is certified",
    ),
    ThreeWays(
        "B011",
        lambda: boot(play() << opened(), {"status": "Accepted", "currentTime": stamp(3_600), "interval": 30}),
        lambda: boot(play() << opened()),
        lambda: boot(play() << opened(), {"status": "Accepted", "interval": 30}),
        "no readable time stamp",
    ),
    ThreeWays(
        "B012",
        lambda: boot(play() << opened(), firmwareVersion="2.0"),
        lambda: boot(play() << opened(), firmwareVersion="1.0.1"),
        lambda: boot(play(SPEC) << opened(), firmwareVersion="2.0"),
        "nothing is certified",
        "note",
    ),
    ThreeWays(
        "B013",
        lambda: boot(boot(play() << opened()) << after(1.6)),
        lambda: boot(boot(play() << opened()) << after(60)),
        lambda: boot(play() << opened()),
        "first BootNotification",
    ),
    # --- N
    ThreeWays(
        "N001",
        lambda: quiet().csms("SetChargingProfile", PROFILE_CALL, {"status": "Accepted"}),
        lambda: quiet().csms("SetChargingProfile", PROFILE_CALL, {"status": "NotSupported"}),
        lambda: play(SPEC).booted().csms("SetChargingProfile", PROFILE_CALL, {"status": "Accepted"}),
        "nothing is certified",
    ),
    ThreeWays(
        "N002",
        lambda: quiet().csms("SetChargingProfile", PROFILE_CALL, {"status": "NotSupported"}),
        lambda: quiet().csms("SetChargingProfile", PROFILE_CALL, {"status": "Accepted"}),
        lambda: play(SPEC).booted().csms("SetChargingProfile", PROFILE_CALL, {"status": "NotSupported"}),
        "nothing is certified",
    ),
    ThreeWays(
        "N003",
        lambda: quiet().csms("SetChargingProfile", PROFILE_CALL, "NotImplemented"),
        lambda: quiet().csms("SetChargingProfile", PROFILE_CALL, "NotSupported"),
        lambda: play(SPEC).booted().csms("SetChargingProfile", PROFILE_CALL, "NotImplemented"),
        "nothing is certified",
    ),
    ThreeWays(
        "N004",
        lambda: quiet().csms("SetChargingProfile", PROFILE_CALL, "InternalError"),
        lambda: quiet().csms("SetChargingProfile", PROFILE_CALL, "NotSupported"),
        lambda: play(SPEC).booted().csms("SetChargingProfile", PROFILE_CALL, "InternalError"),
        "nothing is certified",
    ),
    ThreeWays(
        "N005",
        lambda: quiet().station("FirmwareStatusNotification", {"status": "Installed"}, {}),
        lambda: play(with_firmware()).booted().station("FirmwareStatusNotification", {"status": "Idle"}, {}),
        lambda: play(SPEC).booted().station("FirmwareStatusNotification", {"status": "Installed"}, {}),
        "nothing is certified",
    ),
    ThreeWays(
        "N006",
        lambda: quiet().csms("GetLocalListVersion", {}, "NotSupported"),
        lambda: play(with_firmware()).booted().csms("GetDiagnostics", {"location": "ftp://x"}, {}),
        lambda: play(SPEC).booted().csms("GetLocalListVersion", {}, "NotSupported"),
        "nothing is certified",
    ),
    ThreeWays(
        "N007",
        lambda: quiet().csms("Beat", {}, "NotSupported"),
        lambda: quiet().csms("Beat", {}, "NotImplemented"),
        lambda: damaged(says(CSMS, quiet(), 2, "b", "Beat", {}), STATION, 4, "b", "NotSupported", "", {}),
        "damaged by the capture",
    ),
    ThreeWays(
        "N008",
        lambda: quiet().station("DataTransfer", {"vendorId": "org.example"}, {"status": "Accepted"}),
        lambda: quiet().csms("DataTransfer", {"vendorId": "org.example"}, {"status": "Rejected"}),
        lambda: quiet().station("DataTransfer", {"data": "x"}, {"status": "Accepted"}),
        "no vendorId",
        "note",
    ),
)


def damaged_text(p: Play, text: str) -> Play:
    """Text that the capture cut."""
    from tests.playbook import START_US
    from twin.model import Frame

    p.seq += 1
    frame = Frame(
        seq=p.seq, at_us=p.at_us, mono_ns=(p.at_us - START_US) * 1000, link=p.link, station="CP1",
        kind=Kind.TEXT, sender=STATION, text=text, facts={"truncated": True},
    )  # fmt: skip
    p.frames.append(frame)
    p.found += p.analyzer.receive(frame)
    return p
