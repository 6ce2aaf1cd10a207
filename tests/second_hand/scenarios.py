"""What a certified OTM-K and a correct CSMS say in each scenario, and which rules it breaks by design."""

from collections.abc import Callable
from typing import Any

from tests.second_hand.conversations import MINUTE_US, Builder, Conversation, Refused, configuration
from twin.model import Kind, Side

type Scenario = Callable[[Builder], float | None]
NOT_SUPPORTED = Refused("NotSupported", "Core profile only")
PROFILE = {
    "chargingProfileId": 1,
    "stackLevel": 0,
    "chargingProfilePurpose": "TxProfile",
    "chargingProfileKind": "Relative",
    "chargingSchedule": {
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16.0}],
    },
}


def ready(b: Builder, **boot: Any) -> None:
    """Connected, accepted, and half a minute old."""
    b.open()
    b.boot(**boot)
    b.wait(b.chance.uniform(20, 50))


def one_of_them(b: Builder) -> int:
    return b.chance.randrange(1, b.connectors + 1)


def cold_boot(b: Builder) -> None:
    ready(b)
    b.wait(400)


def local(b: Builder) -> None:
    ready(b)
    b.session(one_of_them(b), "04A1B2C3", b.chance.uniform(5.2, 7.8))


def local_observed(b: Builder) -> None:
    """As ``local``, with every configuration key read before."""
    ready(b)
    b.csms("GetConfiguration", {}, {"configurationKey": configuration()}, part="read all")
    b.session(one_of_them(b), "04A1B2C3", b.chance.uniform(5.2, 7.8))


def long_idle_after(b: Builder) -> float:
    ready(b)
    b.session(one_of_them(b), "04A1B2C3", 3.3)
    return 480


def short_session(b: Builder) -> None:
    """Stopped before the first sample was due."""
    ready(b)
    b.wait((MINUTE_US - b.now_us % MINUTE_US) / 1e6 + 1)  # no clock-aligned sample falls into it
    connector = one_of_them(b)
    b.plug(connector)
    b.pause("tag", 2, 4)
    b.authorize("04A1B2C3")
    b.pause("start", 0.1, 0.6)
    b.start(connector, "04A1B2C3")
    b.wait(20)
    b.local_stop(connector)


def two_sessions(b: Builder) -> None:
    """One after the other on the same connector."""
    ready(b)
    connector = one_of_them(b)
    b.session(connector, "04A1B2C3", 4.4)
    b.wait(40)
    b.session(connector, "04D4E5F6", 3.6)


def two_at_once(b: Builder) -> None:
    ready(b)
    first = b.chance.randrange(1, 10)
    second = b.chance.randrange(11, 21)
    b.local_start(first, "04A1B2C3")
    b.wait(70)
    b.local_start(second, "04D4E5F6")
    b.wait(250)
    b.local_stop(first)
    b.wait(80)
    b.local_stop(second)


def paused_by_the_vehicle(b: Builder) -> None:
    ready(b)
    connector = one_of_them(b)
    charge = b.local_start(connector, "04A1B2C3")
    b.wait(150)
    b.measure(charge, b.now_us)
    charge.draws = False
    b.report(connector, "SuspendedEV")
    b.wait(190)
    b.measure(charge, b.now_us)
    charge.draws = True
    b.report(connector, "Charging")
    b.wait(130)
    b.local_stop(connector)


def remote(b: Builder) -> None:
    ready(b)
    connector = one_of_them(b)
    b.plug(connector)
    b.wait(b.chance.uniform(5, 15))
    asked = {"connectorId": connector, "idTag": "REMOTE-1"}
    b.csms("RemoteStartTransaction", asked, {"status": "Accepted"}, part="remote start", connector=connector)
    b.pause("remote authorize", 0.3, 1)
    b.authorize("REMOTE-1")
    b.pause("start", 0.2, 0.8)
    charge = b.start(connector, "REMOTE-1")
    b.wait(b.chance.uniform(250, 350))
    remote_stop(b, charge.id)
    b.stop(connector, "Remote", tag=False)
    b.pause("finishing", 0.1, 0.5)
    b.report(connector, "Finishing")
    b.unplug(connector)


def remote_stop(b: Builder, transaction: int, status: str = "Accepted") -> None:
    b.csms("RemoteStopTransaction", {"transactionId": transaction}, {"status": status}, part="remote stop")
    b.pause("remote stop wait", 0.3, 1)


def remote_with_profile(b: Builder) -> None:
    """A chargingProfile is ignored and the start is not refused."""
    ready(b)
    connector = one_of_them(b)
    b.plug(connector)
    b.wait(6)
    asked = {"connectorId": connector, "idTag": "REMOTE-1", "chargingProfile": PROFILE}
    b.csms("RemoteStartTransaction", asked, {"status": "Accepted"}, part="remote start", connector=connector)
    b.pause("remote authorize", 0.3, 1)
    b.authorize("REMOTE-1")
    b.pause("start", 0.2, 0.8)
    b.start(connector, "REMOTE-1")
    b.wait(150)
    b.local_stop(connector)


def remote_refused(b: Builder) -> None:
    """Connector 0, one that does not exist, one that charges; and a stop of an unknown transaction."""
    ready(b)
    connector = b.chance.randrange(1, 21)
    b.local_start(connector, "04A1B2C3")
    b.wait(20)
    for wanted in (0, 21, connector):
        asked = {"connectorId": wanted, "idTag": "REMOTE-1"}
        part = "remote start refused"
        b.csms("RemoteStartTransaction", asked, {"status": "Rejected"}, part=part, connector=wanted)
        b.wait(12)
    remote_stop(b, 999_999, "Rejected")
    b.wait(100)
    b.local_stop(connector)


def remote_not_plugged(b: Builder) -> None:
    """Accepted, authorized, and nobody plugs in: the connection time-out ends it."""
    ready(b)
    connector = one_of_them(b)
    asked = {"connectorId": connector, "idTag": "REMOTE-1"}
    b.csms("RemoteStartTransaction", asked, {"status": "Accepted"}, part="remote start", connector=connector)
    b.pause("remote authorize", 0.3, 1)
    b.authorize("REMOTE-1")
    b.pause("preparing", 0.1, 0.4)
    preparing_us = b.now_us
    b.report(connector, "Preparing")
    b.wait((preparing_us + 60_100_000 - b.now_us) / 1e6)
    b.report(connector, "Available")


def ev_disconnects(b: Builder) -> None:
    ready(b)
    connector = one_of_them(b)
    b.local_start(connector, "04A1B2C3")
    b.wait(b.chance.uniform(200, 300))
    b.stop(connector, "EVDisconnected")
    b.pause("finishing", 0.1, 0.4)
    b.report(connector, "Finishing", info="EV side disconnected")
    b.unplug(connector)


def ev_disconnects_suspended(b: Builder) -> None:
    """SuspendedEV says it before the transaction ends; the key was read before."""
    ready(b)
    keys = [row for row in configuration() if row["key"] == "StopTransactionOnEVSideDisconnect"]
    b.csms("GetConfiguration", {"key": [keys[0]["key"]]}, {"configurationKey": keys}, part="read")
    connector = one_of_them(b)
    charge = b.local_start(connector, "04A1B2C3")
    b.wait(b.chance.uniform(200, 300))
    b.measure(charge, b.now_us)
    charge.draws = False
    b.report(connector, "SuspendedEV", info="EV side disconnected", part="disconnected")
    b.pause("disconnect", 0.3, 1)
    b.stop(connector, "EVDisconnected")
    b.pause("finishing", 0.1, 0.4)
    b.report(connector, "Finishing", info="EV side disconnected")
    b.unplug(connector)


def connection_time_out(b: Builder) -> None:
    """A tag first, and no plug within ConnectionTimeOut."""
    ready(b)
    connector = one_of_them(b)
    b.authorize("04A1B2C3")
    b.pause("preparing", 0.1, 0.4)
    preparing_us = b.now_us
    b.report(connector, "Preparing")
    b.wait((preparing_us + 60_100_000 - b.now_us) / 1e6)
    b.report(connector, "Available")


def refused_tag(b: Builder) -> None:
    """An idTag that the CSMS does not know, then one that it does."""
    ready(b)
    connector = one_of_them(b)
    b.plug(connector)
    b.wait(3)
    b.authorize("UNKNOWN1", b.chance.choice(("Invalid", "Blocked", "Expired")), part="authorize refused")
    b.wait(6)
    b.authorize("04A1B2C3")
    b.pause("start", 0.2, 0.8)
    b.start(connector, "04A1B2C3")
    b.wait(130)
    b.local_stop(connector)


def refused_start(b: Builder) -> None:
    """Authorized, and refused by StartTransaction.conf: the transaction stays open without energy."""
    b.quirks.setdefault("verdict", "Blocked")
    ready(b)
    connector = one_of_them(b)
    b.plug(connector)
    b.wait(3)
    b.authorize("04A1B2C3")
    b.pause("start", 0.2, 0.8)
    charge = b.start(connector, "04A1B2C3", charging=False)
    charge.draws = False
    b.pause("suspended", 0.2, 0.8)
    b.report(connector, "SuspendedEVSE")
    b.wait(200)
    b.stop(connector, "EVDisconnected")
    b.pause("finishing", 0.1, 0.4)
    b.report(connector, "Finishing", info="EV side disconnected")
    b.unplug(connector)


def soft_reset(b: Builder) -> float:
    ready(b)
    b.wait(30)
    b.reset("Soft")
    return 360


def soft_reset_charging(b: Builder) -> float:
    ready(b)
    connector = one_of_them(b)
    b.local_start(connector, "04A1B2C3")
    b.wait(150)
    b.reset("Soft")
    b.wait(20)
    b.unplug(connector)
    return 360


def hard_reset_charging(b: Builder) -> float:
    """The Stop comes after the boot."""
    ready(b)
    connector = one_of_them(b)
    b.local_start(connector, "04A1B2C3")
    b.wait(150)
    b.reset("Hard", stops_after_boot=True)
    b.wait(20)
    b.unplug(connector)
    return 360


def outage(b: Builder) -> None:
    """The link is gone for some minutes; what was sampled meanwhile follows in its order."""
    ready(b)
    connector = one_of_them(b)
    b.local_start(connector, "04A1B2C3")
    b.wait(150)
    b.outage(b.chance.uniform(200, 260))
    b.wait(150)
    b.local_stop(connector)


def outage_observed(b: Builder) -> None:
    """As ``outage``, with every configuration key read before."""
    ready(b)
    b.csms("GetConfiguration", {}, {"configurationKey": configuration()}, part="read all")
    connector = one_of_them(b)
    b.local_start(connector, "04A1B2C3")
    b.wait(150)
    b.outage(b.chance.uniform(200, 260))
    b.wait(150)
    b.local_stop(connector)


def short_outage(b: Builder) -> None:
    """A clock-aligned sample falls into it."""
    ready(b)
    connector = one_of_them(b)
    b.local_start(connector, "04A1B2C3")
    b.wait(150)
    b.wait((MINUTE_US - b.now_us % MINUTE_US) / 1e6 - 6 if b.now_us % MINUTE_US < 50_000_000 else 55)
    b.outage(b.chance.uniform(15, 25))
    b.wait(150)
    b.local_stop(connector)


def stopped_offline(b: Builder) -> None:
    """Stopped with the same tag during the outage; the Stop follows."""
    ready(b)
    connector = one_of_them(b)
    b.local_start(connector, "04A1B2C3")
    b.wait(150)

    def stop() -> None:
        b.stop(connector)
        b.report(connector, "Finishing")

    b.outage(b.chance.uniform(200, 260), stop)
    b.wait(30)
    b.unplug(connector)


def idle_outage(b: Builder) -> None:
    ready(b)
    b.csms("GetConfiguration", {}, {"configurationKey": configuration()}, part="read all")
    b.wait(60)
    b.outage(b.chance.uniform(80, 120))
    b.wait(60)


def retried(b: Builder) -> None:
    """The CSMS refuses a message twice: sent again after 60 and 120 s, the others wait behind it."""
    ready(b)
    connector = one_of_them(b)
    b.local_start(connector, "04A1B2C3")
    b.wait(70)
    b.refusals = b.quirks.get("refusals", 2)
    b.wait(320)
    b.local_stop(connector)


def given_up(b: Builder) -> float:
    """The CSMS refuses a message three times; the station skips it and goes on."""
    ready(b)
    connector = one_of_them(b)
    b.local_start(connector, "04A1B2C3")
    b.wait(70)
    b.refusals = b.quirks.get("refusals", 3)
    b.wait(440)
    b.local_stop(connector)
    return 300


def stop_retried(b: Builder) -> float:
    """The StopTransaction itself is refused once."""
    ready(b)
    connector = one_of_them(b)
    b.local_start(connector, "04A1B2C3")
    b.wait(150)
    b.refusals = 1
    b.local_stop(connector)
    return 400


def read_all(b: Builder) -> None:
    ready(b)
    b.csms("GetConfiguration", {}, {"configurationKey": configuration()}, part="read all")


def write_and_read(b: Builder) -> None:
    """Certified values are written and read back; what cannot be written is refused."""
    ready(b)
    rows = {row["key"]: row for row in configuration()}
    for key in ("MeterValueSampleInterval", "ConnectionTimeOut", "ResetRetries", "LocalPreAuthorize"):
        asked = {"key": key, "value": rows[key]["value"].lower()}
        b.csms("ChangeConfiguration", asked, {"status": "Accepted"}, part="write")
        b.wait(6)
        answer = {"configurationKey": [rows[key] | {"value": asked["value"]}], "unknownKey": ["NoSuchKey"]}
        b.csms("GetConfiguration", {"key": [key, "NoSuchKey"]}, answer, part="read")
        b.wait(6)
    four = ",".join((rows["MeterValuesSampledData"]["value"].replace(" ", ""), "Power.Active.Import"))
    for key, value, status, part in (
        ("MeterValueSampleInterval", "-1", "Rejected", "invalid"),
        ("HeartbeatInterval", "soon", "Rejected", "invalid"),
        ("WebSocketPingInterval", "-5", "Rejected", "invalid"),
        ("MeterValuesSampledData", four, "Rejected", "invalid"),
        ("StopTxnSampledData", "No.Such.Measurand", "Rejected", "invalid"),
        ("NumberOfConnectors", "20", "Rejected", "read-only"),
        ("SupportedFeatureProfiles", "Core", "Rejected", "read-only"),
        ("GetConfigurationMaxKeys", "20", "Rejected", "read-only"),
        ("NoSuchKey", "1", "NotSupported", "unknown"),
        ("VendorFancyLights", "true", "NotSupported", "unknown"),
    ):
        b.csms("ChangeConfiguration", {"key": key, "value": value}, {"status": status}, part=part)
        b.wait(8)


def certified_answers(b: Builder) -> None:
    """What a station without lock, cache and vendor extensions answers."""
    ready(b)
    connector = one_of_them(b)
    b.local_start(connector, "04A1B2C3")
    b.wait(20)
    for unlocked in (connector, one_of_them(b), 21):
        answer = {"status": "NotSupported"}
        b.csms("UnlockConnector", {"connectorId": unlocked}, answer, part="unlock", connector=unlocked)
        b.wait(8)
    b.csms("ClearCache", {}, {"status": b.chance.choice(("Accepted", "Rejected"))}, part="clear cache")
    b.wait(8)
    asked = {"vendorId": "com.example", "messageId": "hello", "data": "x"}
    b.csms("DataTransfer", asked, {"status": "UnknownVendorId"}, part="data transfer")
    b.wait(90)
    b.local_stop(connector)


def no_cache(b: Builder) -> None:
    """A station without a cache: the key is unknown, ClearCache is refused."""
    ready(b)
    asked = {"key": ["AuthorizationCacheEnabled"]}
    b.csms("GetConfiguration", asked, {"unknownKey": asked["key"]}, part="read")
    b.wait(8)
    b.csms("ClearCache", {}, {"status": "Rejected"}, part="clear cache")


def outside_core(b: Builder) -> None:
    """A CSMS that asks for what is not certified; the station refuses in the best way."""
    b.allowed |= {"N006", "J015"}
    ready(b)
    profile = PROFILE | {"chargingProfilePurpose": "TxDefaultProfile", "chargingProfileKind": "Absolute"}
    for action, payload in (
        ("SetChargingProfile", {"connectorId": 1, "csChargingProfiles": profile}),
        ("ClearChargingProfile", {}),
        ("GetCompositeSchedule", {"connectorId": 1, "duration": 60}),
        ("GetLocalListVersion", {}),
        ("SendLocalList", {"listVersion": 1, "updateType": "Full"}),
        ("CancelReservation", {"reservationId": 1}),
        ("TriggerMessage", {"requestedMessage": "Heartbeat"}),
        ("GetDiagnostics", {"location": "ftp://example.org/"}),
    ):
        b.csms(action, payload, NOT_SUPPORTED, part="outside")
        b.wait(6)
    b.csms("GetVariables", {}, Refused("NotImplemented"), part="unknown action")
    b.wait(120)


def availability(b: Builder) -> float:
    """Idle, charging and the same state again; it survives a reset."""
    ready(b)
    idle, busy = b.chance.randrange(1, 10), b.chance.randrange(11, 21)

    def change(connector: int, kind: str, status: str, part: str) -> None:
        asked = {"connectorId": connector, "type": kind}
        b.csms("ChangeAvailability", asked, {"status": status}, part=part, connector=connector)
        b.pause("availability", 0.2, 0.8)

    change(idle, "Inoperative", "Accepted", "availability")
    b.report(idle, "Unavailable", part="unavailable")
    b.wait(10)
    change(idle, "Inoperative", "Accepted", "availability same")
    b.wait(10)
    b.local_start(busy, "04A1B2C3")
    b.wait(130)
    change(busy, "Inoperative", "Scheduled", "availability scheduled")
    b.wait(20)
    b.stop(busy)
    b.pause("finishing", 0.1, 0.4)
    b.report(busy, "Finishing")
    b.pause("unplug", 3, 6)
    b.report(busy, "Unavailable", part="unavailable")
    b.wait(30)
    b.reset("Soft")
    b.wait(40)
    change(busy, "Operative", "Accepted", "availability")
    b.report(busy, "Available", part="operative")
    return 120


def pending(b: Builder) -> None:
    """Pending for a while, then accepted; the CSMS asks meanwhile."""
    b.open()
    interval_s = b.chance.choice((40, 45, 50))
    b.boot("Pending", interval_s)
    asked_us = b.now_us
    keys = [row for row in configuration() if row["key"] == "HeartbeatInterval"]
    b.csms(
        "GetConfiguration", {"key": ["HeartbeatInterval"]}, {"configurationKey": keys}, part="pending read"
    )
    b.wait((asked_us - b.now_us) / 1e6 + interval_s + 0.2)
    b.boot()
    b.wait(120)


def rejected(b: Builder) -> None:
    b.open()
    interval_s = b.chance.choice((40, 45, 50))
    b.boot("Rejected", interval_s)
    b.wait(interval_s + 0.2)
    b.boot()
    b.wait(120)


def faults(b: Builder) -> None:
    """A fault while Preparing and one while Available; each returns to where it was."""
    ready(b)
    first, second = b.chance.randrange(1, 10), b.chance.randrange(11, 21)
    b.plug(first)
    b.wait(12)
    b.report(
        first, "Faulted", b.chance.choice(("OtherError", "GroundFailure", "HighTemperature")), part="fault"
    )
    b.wait(25)
    b.report(first, "Preparing", part="cleared")
    b.wait(8)
    b.report(first, "Available")
    b.wait(15)
    b.report(second, "Faulted", "InternalError", part="fault")
    b.wait(25)
    b.report(second, "Available", part="cleared")
    b.wait(40)


def pinged(b: Builder) -> None:
    """The CSMS pings on the WebSocket level and gets its pongs."""
    ready(b)
    for _ in range(6):
        b.happen(Kind.PING, Side.CSMS)
        b.now_us += b.between(0.05, 0.2)
        b.happen(Kind.PONG, Side.STATION)
        b.wait(44)


def four_outlets(b: Builder) -> None:
    """A device with four outlets says so when asked; the certificate says twenty."""
    b.allowed |= {"C007", "B008", "S004"}
    b.connectors = 4
    b.open()
    rows = [row | ({"value": "4"} if row["key"] == "NumberOfConnectors" else {}) for row in configuration()]
    b.boot()
    b.csms("GetConfiguration", {}, {"configurationKey": rows}, part="read all")
    b.wait(20)
    b.session(b.chance.randrange(1, 5), "04A1B2C3", 3.3)


def crowd(b: Builder) -> None:
    """Fourteen connectors charge at once."""
    ready(b)
    for connector in range(1, 15):
        b.local_start(connector, f"04A1B2{connector:02}")
    b.wait(300)
    for connector in range(1, 15):
        b.local_stop(connector)
    b.wait(60)


def a_day(b: Builder) -> None:
    """A day without a driver."""
    ready(b)
    b.wait(24 * 3600 + 1800)


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        cold_boot, local, local_observed, long_idle_after, short_session, two_sessions, two_at_once,
        paused_by_the_vehicle, remote, remote_with_profile, remote_refused, remote_not_plugged,
        ev_disconnects, ev_disconnects_suspended, connection_time_out, refused_tag, refused_start,
        soft_reset, soft_reset_charging, hard_reset_charging, outage, outage_observed, short_outage,
        stopped_offline, idle_outage, retried, given_up, stop_retried, read_all, write_and_read,
        certified_answers, no_cache, outside_core, availability, pending, rejected, faults, pinged,
        four_outlets, crowd, a_day,
    )
}  # fmt: skip


def converse(name: str, seed: int = 1, **quirks: Any) -> Conversation:
    """The conversation of a scenario; ``quirks`` as in :class:`Builder`."""
    b = Builder(name, seed, **quirks)
    tail_s = SCENARIOS[name](b)
    return b.conversation(tail_s or 150)
