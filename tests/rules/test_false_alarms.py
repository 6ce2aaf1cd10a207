"""False alarms that were mended: the short conversation that once gave one, and what must still be told."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec.structs import replace

from tests.playbook import OTMK, SPEC, Play, Said, after, ended, opened, play, stamp
from tests.rules.talk import (
    authorize,
    energy,
    now_s,
    outage,
    quiet,
    reads,
    remote_start,
    sampled,
    start,
    status,
    stop,
    text,
    writes,
)
from twin.certificate.profile import Profile, tolerances_in
from twin.engine.checked import check_frames
from twin.model import Side

WHO = {"chargePointVendor": "Acme", "chargePointModel": "Box"}


@dataclass(frozen=True)
class Case:
    """``silent`` are the rules that must say nothing, ``told`` those that must."""

    name: str
    talk: Callable[[], Play]
    silent: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    severities: dict[str, str] = field(default_factory=dict)


def spec() -> Play:
    """A station of no certificate, accepted a minute ago."""
    return quiet(play(SPEC).booted(interval_s=300, **WHO))


def certified() -> Play:
    return quiet(play(OTMK).booted())


def boots(p: Play, status_: str = "Accepted") -> Play:
    conf = {"status": status_, "currentTime": stamp(now_s(p)), "interval": 300}
    return p.station("BootNotification", WHO, conf)


def refused_reading(**more: Any) -> Play:
    """An unanswered MeterValues, and what comes after it."""
    p = reads(
        spec(), ("TransactionMessageRetryInterval", "10", False), ("TransactionMessageAttempts", "3", False)
    )
    sampled(p, energy(5, context="Sample.Clock"), connector=0, answer="InternalError", **more)
    return start(authorize(p << after(60)))


def refused_tag(tag: str = "TAG", *keys: tuple[str, str, bool]) -> Play:
    p = reads(spec(), *keys) if keys else spec()
    return authorize(p, tag, {"idTagInfo": {"status": "Invalid"}}) << after(30)


def offline_twice() -> Play:
    """The first answer to the queue blocks the tag; the second start was taken before it."""
    p = authorize(reads(spec(), ("LocalAuthorizeOffline", "true", False)))
    begun_s = now_s(p)
    outage(p, 600)
    stop(start(p, 1, 7, at_s=begun_s + 60, status="Blocked"), 1000, 7, at_s=begun_s + 120)
    return start(p, 1, 8, at_s=begun_s + 200)


def without_power(resumes: bool = False) -> Play:
    """Three samples, then ten minutes without power and a boot."""
    p = start(authorize(reads(spec(), ("MeterValueSampleInterval", "60", False))))
    status(p, "Charging")
    for number in range(3):
        sampled(p << after(59.9), energy(1000 + number))
    boots(outage(p, 600))
    if resumes:
        return sampled(status(p, "Charging") << after(60), energy(1010))
    return stop(status(p, "Available"), 1003, reason="PowerLoss")


def out_of_reach() -> Play:
    """As long without the connection alone, and the samples in between never come."""
    p = start(authorize(reads(spec(), ("MeterValueSampleInterval", "60", False))))
    sampled(p << after(60), energy(1000))
    return sampled(outage(p, 600), energy(1010))


def first_boot(*values: str) -> Play:
    """A capture that begins with a boot, and what connector 1 reports then."""
    p = status(play(SPEC).booted(interval_s=300, **WHO), "Available", 0)
    for value in values:
        status(p, value)
    return p << after(20)


TRIGGER = {"requestedMessage": "BootNotification"}


def triggered_boot(answer: str = "Accepted") -> Play:
    """All is told, a car comes; then BootNotification is asked for, and the station goes on as it was."""
    p = reads(spec(), ("NumberOfConnectors", "1", True))
    status(status(p, "Available", 0), "Preparing")
    boots(p.csms("TriggerMessage", TRIGGER, {"status": answer}))
    return p << after(200)


def pending(asked: str, what: str) -> Play:
    """A pending station, and a request for a message."""
    p = boots(play(SPEC) << opened(), "Pending")
    return p.csms(asked, {"requestedMessage": what}, {"status": "Accepted"}) << after(1)


def crossing(answer: str) -> Play:
    """The message that was asked for comes before the answer to the request; then another one."""
    p = boots(play(SPEC) << opened(), "Pending")
    p << Said(Side.CSMS, text(2, "t1", "TriggerMessage", {"requestedMessage": "StatusNotification"}))
    if answer == "Accepted":
        status(p << after(0.1), "Available")
    p << Said(Side.STATION, text(3, "t1", {"status": answer}))
    return p if answer == "Accepted" else status(p << after(1), "Available")


def boot_before_the_answer() -> Play:
    p = spec() << Said(Side.CSMS, text(2, "t1", "TriggerMessage", TRIGGER)) << after(0.1)
    return boots(p) << Said(Side.STATION, text(3, "t1", {"status": "Accepted"}))


def two_of_three(most: str) -> Play:
    """Three keys are asked for, and two are answered."""
    p = reads(spec(), ("GetConfigurationMaxKeys", most, True))
    asked = {"key": ["HeartbeatInterval", "ResetRetries", "LocalPreAuthorize"]}
    held = [{"key": key, "readonly": False, "value": "1"} for key in asked["key"][:2]]
    return p.csms("GetConfiguration", asked, {"configurationKey": held})


def slow_csms(time_out: str, took_s: float) -> Play:
    """The CSMS answers late; ten seconds after the CALL the station has the next one to send."""
    p = reads(spec(), ("MessageTimeout", time_out, False))
    p << Said(Side.STATION, text(2, "h1", "Heartbeat", {})) << after(took_s)
    return p << Said(Side.CSMS, text(3, "h1", {"currentTime": stamp(now_s(p))}))


def slow_station() -> Play:
    conf = {"configurationKey": [{"key": "HeartbeatInterval", "readonly": False, "value": "300"}]}
    return spec().csms("GetConfiguration", {}, conf, took_s=45)


def unplugged(p: Play, waits_s: float) -> Play:
    start(authorize(reads(p, ("StopTransactionOnEVSideDisconnect", "true", False))))
    status(status(p, "Charging") << after(60), "Finishing")
    return stop(p << after(waits_s), reason="EVDisconnected")


def with_reservations() -> Play:
    """Certified for Core and Reservation."""
    assert OTMK.certificate is not None
    rows = tuple(
        replace(row, result="Pass") if row.profile == "Reservation" else row
        for row in OTMK.certificate.functionality
    )
    return quiet(play(Profile("two", replace(OTMK.certificate, functionality=rows))).booted())


def remotely(*keys: tuple[str, str, bool]) -> Play:
    """A remote start without Authorize where AuthorizeRemoteTxRequests is seen to be TRUE."""
    return start(remote_start(reads(spec(), ("AuthorizeRemoteTxRequests", "true", False), *keys)))


def offline_start(*keys: tuple[str, str, bool]) -> Play:
    p = reads(spec(), *keys)
    begun_s = now_s(p)
    return start(outage(p, 600), at_s=begun_s + 100, tag="NEW")


def another_tag(*keys: tuple[str, str, bool]) -> Play:
    """Started with one idTag, stopped with another one that the CSMS was never asked about."""
    p = start(authorize(reads(spec(), *keys)))
    return stop(status(p, "Charging") << after(50), idTag="OTHER")


def hard_reset(stops: bool) -> Play:
    """Away for longer than five minutes, and the Stop comes after the boot, or never."""
    p = status(spec().started(), "Charging").csms("Reset", {"type": "Hard"}, {"status": "Accepted"})
    since_s = now_s(p)
    boots(outage(p, 400))
    status(status(p, "Available", 0), "Available")
    return (stop(p, reason="HardReset", at_s=since_s) if stops else p) << after(310)


def in_the_car(p: Play) -> Play:
    at_car = {"value": "400", "measurand": "Voltage", "location": "EV", "unit": "V"}
    return sampled(p.started(), energy(1000), at_car)


def stamped_back(by_s: float) -> Play:
    p = status(spec(), "Preparing") << after(3)
    return status(p, "Charging", at_s=now_s(p) - 3.1 - by_s)


def unplugged_anyway(p: Play) -> Play:
    start(authorize(reads(p, ("StopTransactionOnEVSideDisconnect", "false", False))))
    return stop(status(p, "Charging") << after(50), reason="EVDisconnected")


def remote_stop(reason: str = "", after_s: float = 0.5) -> Play:
    """Rejected; a Stop with this reason, if any, comes right after."""
    p = status(spec().started(), "Charging") << after(20)
    p.csms("RemoteStopTransaction", {"transactionId": 7}, {"status": "Rejected"}) << after(after_s)
    return stop(p, reason=reason) if reason else p << after(60)


def aligned(timestamp: str) -> Play:
    p = reads(spec(), ("ClockAlignedDataInterval", "86400", False)) << after(60)
    value = {"timestamp": timestamp, "sampledValue": [{"value": "1", "context": "Sample.Clock"}]}
    return p.station("MeterValues", {"connectorId": 0, "meterValue": [value]}, {})


def link_ends(after_s: float) -> Play:
    """A CALL of the CSMS, and the end of the connection before its answer."""
    return spec() << Said(Side.CSMS, text(2, "c1", "ClearCache", {})) << after(after_s) << ended(abrupt=True)


def link_ends_after_errors(number: int) -> Play:
    p = spec()
    for _ in range(number):
        p.csms("GetLocalListVersion", {}, "NotSupported")
    return p << after(1.9) << ended(abrupt=True, by="station")


def waits_at_one(other: int | None = None) -> Play:
    """An idTag waits at connector 1; meanwhile a car is plugged into another one."""
    p = status(authorize(reads(spec(), ("ConnectionTimeOut", "60", False))), "Preparing", 1) << after(20)
    if other is None:
        return p << after(60)
    return status(status(p, "Preparing", other) << after(40), "Available", 1) << after(30)


def booted_between() -> Play:
    """An idTag is presented, the station boots, and a car is still plugged."""
    p = boots(outage(authorize(reads(spec(), ("ConnectionTimeOut", "60", False))), 20))
    return status(p, "Preparing", 1) << after(70)


def fault_after_stop(stops: bool) -> Play:
    p = status(status(spec().started(), "Charging"), "SuspendedEV")
    p = status(stop(p, reason="Other") if stops else p, "Faulted", code="InternalError") << after(60)
    return status(p, "Finishing")


def fault_while_preparing(seconds: float) -> Play:
    p = status(reads(spec(), ("ConnectionTimeOut", "60", False)), "Available")
    p = status(status(p, "Preparing") << after(1), "Faulted", code="InternalError")
    return status(p << after(seconds), "Finishing")


def stop_on_the_way() -> Play:
    """The fault is told and cleared while the StopTransaction waits its turn."""
    p = status(status(spec().started(), "Charging"), "Faulted", code="InternalError")
    return stop(status(p, "Finishing"), reason="Other")


def booted_twice(abrupt: bool) -> Play:
    p = boots(spec()) << after(2) << ended(abrupt=abrupt) << after(5)
    p.link = "again"
    return boots(p << opened())


def boots_refused(apart_s: float) -> Play:
    p = play(SPEC) << opened()
    for _ in range(3):
        p.station("BootNotification", WHO, "InternalError") << after(apart_s)
    return boots(p)


def cut_off(reason: str = "", *, at_s: float = 130) -> Play:
    """Sampled in an outage, then a boot; the transaction ended in it, or goes on."""
    p = status(start(authorize(spec())), "Charging")
    since_s = now_s(p)
    boots(outage(p, 300))
    sampled(p, energy(1010), at_s=since_s + 100)
    if reason:
        return stop(p, reason=reason, at_s=since_s + at_s)
    return sampled(p << after(40), energy(1020))


def start_crosses_reset(begun: bool) -> Play:
    """Reset is accepted while StartTransaction waits its turn, or before it began."""
    p = authorize(spec())
    since_s = now_s(p)
    p.csms("Reset", {"type": "Soft"}, {"status": "Accepted"}) << after(1)
    return stop(start(p, at_s=since_s if begun else now_s(p)), reason="SoftReset")


def reset_without_link(sent: bool) -> Play:
    """Two transactions, and the connection is lost with the first StopTransaction."""
    p = status(start(authorize(spec())), "Charging", 1)
    p = status(start(authorize(p, "OTHER"), 2, 8, "OTHER"), "Charging", 2)
    p.csms("Reset", {"type": "Soft"}, {"status": "Accepted"})
    at_s = now_s(p)
    if sent:
        payload = {"transactionId": 7, "meterStop": 2000, "timestamp": stamp(at_s), "reason": "SoftReset"}
        p.station("StopTransaction", payload)
    boots(outage(p, 30))
    return stop(p, 2000, 7, reason="SoftReset", at_s=at_s)


def swiped_and_asked(swiped: bool) -> Play:
    """Somebody presents an idTag at connector 2, and the CSMS starts connector 1 with it."""
    p = reads(spec(), ("ConnectionTimeOut", "60", False), ("AuthorizeRemoteTxRequests", "true", False))
    return start(remote_start(authorize(p) if swiped else p), 2)


def presented_offline(*keys: tuple[str, str, bool]) -> Play:
    """Refused once; then there is an outage, and right after it a car is plugged."""
    return start(outage(refused_tag("TAG", ("ConnectionTimeOut", "60", False), *keys), 300) << after(20))


def occupied(stops: bool) -> Play:
    """A remote start is accepted while the StopTransaction is on the way."""
    p = remote_start(status(spec().started(), "Charging") << after(20))
    return (stop(p << after(0.1), reason="Other") if stops else p) << after(11)


def status_before_the_queue(since_s: float) -> Play:
    """After an outage Available comes first, then a sample and the StopTransaction."""
    p = outage(status(spec().started(), "Charging") << after(30), 300)
    back_s = now_s(p)
    p = sampled(status(p << after(0.2), "Available"), energy(1010), at_s=back_s - 20)
    return stop(p, at_s=back_s + since_s, reason="EVDisconnected")


def aligned_before(written: bool) -> Play:
    """Taken under an interval of a minute, delivered when it is a quarter of an hour; or taken after that."""
    p = reads(spec(), ("ClockAlignedDataInterval", "60", False)) << after(40)
    taken_s = 60 * ((now_s(p) + 20) // 60) + 40  # on the minute: the conversation begins at 14:13:20
    writes(p << after(60), "ClockAlignedDataInterval", "900") << after(60)
    return sampled(
        p, energy(5, context="Sample.Clock"), connector=0, transaction=None,
        at_s=taken_s if not written else taken_s + 120,
    )  # fmt: skip


def pending_again(abrupt: bool) -> Play:
    p = boots(play(SPEC) << opened(), "Pending") << after(60) << ended(abrupt=abrupt) << after(5)
    p.link = "again"
    return boots(p << opened())


def asked_while_rejected(answer: str) -> Play:
    """A CALL while Rejected; the next BootNotification is answered otherwise before its time-out."""
    p = boots(play(OTMK) << opened(), "Rejected") << after(299)
    p << Said(Side.CSMS, text(2, "c1", "GetDiagnostics", {"location": "ftp://example.org"}))
    return boots(p << after(2), answer) << after(31)


def answer_crosses(waits_s: float) -> Play:
    """The connection ends right after the answer to BootNotification, or a while later."""
    p = boots(play(SPEC) << opened(), "Pending") << after(waits_s) << ended(abrupt=False) << after(2)
    p.link = "again"
    return boots(p << opened())


def flawed_boot(flawed: bool) -> Play:
    """BootNotification is answered with four elements; the station takes that for what it says."""
    p = play(SPEC) << opened() << Said(Side.STATION, text(2, "b1", "BootNotification", WHO)) << after(0.1)
    conf = {"status": "Accepted", "currentTime": stamp(now_s(p)), "interval": 300}
    return status(p << Said(Side.CSMS, text(3, "b1", conf, {})) if flawed else p, "Available")


def flawed_authorize(flawed: bool) -> Play:
    p = reads(spec(), ("LocalPreAuthorize", "false", False))
    p << Said(Side.STATION, text(2, "a1", "Authorize", {"idTag": "TAG"})) << after(0.1)
    elements = (3, "a1", {"idTagInfo": {"status": "Accepted"}}, {})
    return start(p << Said(Side.CSMS, text(*elements)) if flawed else p)


def started_again(answer_arrived: bool) -> Play:
    """The link ends with the answer to StartTransaction, which is sent again and gets another id."""
    p = authorize(spec())
    at_s = now_s(p)
    p = start(p, at_s=at_s)
    if not answer_arrived:
        p = start(outage(p, 2), 1, 8, at_s=at_s)
    p = status(p, "Charging") << after(60)
    p.csms("RemoteStopTransaction", {"transactionId": 7}, {"status": "Rejected"}) << after(30)
    return start(authorize(stop(p, 1000, 7 if answer_arrived else 8)), 1, 9)


def no_usable_id(number: Any) -> Play:
    p = status(spec(), "Available")
    conf = {"transactionId": number, "idTagInfo": {"status": "Accepted"}}
    p = status(start(authorize(p), answer=conf), "Charging") << after(20)
    return stop(p, 1000, -1)


def retried(attempts: str = "3", held_s: float = 0) -> Play:
    """A refused StopTransaction is sent again after a minute, or as late as another CALL holds it up."""
    keys = (("TransactionMessageAttempts", "3", False), ("TransactionMessageRetryInterval", "60", False))
    p = reads(spec().started(), *keys)
    at_s = now_s(p)
    stop(p, at_s=at_s, answer="InternalError") << after(59.9)
    if attempts != "3":
        writes(p, "TransactionMessageAttempts", attempts)
    if held_s:
        p.station("Heartbeat", {}, {"currentTime": stamp(now_s(p))}, took_s=held_s)
    return stop(p, at_s=at_s)


def reset_cut_off(calling: bool) -> Play:
    """After Reset the link is lost while another CALL is unanswered, or with nothing to wait for."""
    p = status(start(authorize(spec())), "Charging")
    p.csms("Reset", {"type": "Soft"}, {"status": "Accepted"})
    if calling:
        p.station("Heartbeat", {})
    return boots(outage(p << after(0.1), 30))


LOCAL = ("LocalPreAuthorize", "AuthorizationCacheEnabled", "LocalAuthListEnabled")
NO_LOCAL = tuple((key, "false", False) for key in LOCAL)


CASES: tuple[Case, ...] = (
    # §3.7 speaks of MeterValues that belong to a transaction
    Case("R003 MeterValues of none failed", lambda: refused_reading(transaction=None), ("R001", "R003")),
    Case("R003 MeterValues of a transaction failed", refused_reading, (), ("R001", "R003")),
    # §4.1: what lifts a refusal
    Case(
        "T003 a remote start after the refusal",
        lambda: start(remote_start(refused_tag("TAG", ("AuthorizeRemoteTxRequests", "false", False)))),
        ("T003",),
    ),
    Case(
        "T003 a remote start that asks first",
        lambda: start(remote_start(refused_tag("TAG", ("AuthorizeRemoteTxRequests", "true", False)))),
        (),
        ("T003",),
    ),
    Case(
        "T003 a local list",
        lambda: start(refused_tag("TAG", ("LocalAuthListEnabled", "true", False)) << after(300)),
        ("T003",),
    ),
    Case(
        "T003 a local list, and it has just asked",
        lambda: start(refused_tag("TAG", ("LocalAuthListEnabled", "true", False))),
        (),
        ("T003",),
    ),
    Case("T003 an offline start", offline_twice, ("T003",)),
    Case("T003 online, and nothing allows it", lambda: start(refused_tag()), (), ("T003",)),
    # ER 3.15: no samples without power
    Case("R009 a loss of power ends the transaction", without_power, ("R009", "M001")),
    Case("R009 a loss of power, and it goes on", lambda: without_power(resumes=True), ("R009", "M001")),
    Case("R009 the connection alone was lost", out_of_reach, (), ("R009",)),
    # 4.10, 7.36: a transaction may outlive the loss of power before the capture
    Case(
        "T011 stopped after the power loss",
        lambda: stop(first_boot("Finishing"), 2000, 555, reason="PowerLoss"),
        ("T011",),
    ),
    Case(
        "T011 S010 resumed after the first boot",
        lambda: sampled(first_boot("Charging"), energy(5), transaction=555) << after(30),
        ("T011", "S010"),
    ),
    Case(
        "T011 an id never given, after one that was",
        lambda: stop(stop(start(first_boot("Available", "Preparing"))), 2000, 555),
        (),
        ("T011",),
    ),
    Case("S010 free, then Charging", lambda: first_boot("Available", "Charging"), (), ("S010",)),
    Case(
        "T021 an older transaction is stopped",
        lambda: first_boot("Charging").csms(
            "RemoteStopTransaction", {"transactionId": 555}, {"status": "Accepted"}
        ),
        ("T021",),
    ),
    # 5.17: a BootNotification that was asked for is no reboot
    Case("B008 a triggered boot", triggered_boot, ("B008", "B009", "B013")),
    Case("B008 a reboot", lambda: quiet(boots(outage(triggered_boot()))), (), ("B008",)),
    Case("J018 it comes before the answer", boot_before_the_answer, ("B008", "B013"), ("J018",)),
    # 4.2: what is asked for is no early CALL
    Case(
        "B002 ExtendedTriggerMessage",
        lambda: pending("ExtendedTriggerMessage", "SignChargePointCertificate").station(
            "SignCertificate", {"csr": "x"}, {"status": "Accepted"}
        ),
        ("B002", "J020"),
    ),
    Case("B002 it comes before the answer", lambda: crossing("Accepted"), ("B002", "J020")),
    Case("B002 the request is refused", lambda: crossing("Rejected"), (), ("B002", "J020")),
    # 5.3: a read-back
    Case(
        "C006 a write-only key",
        lambda: reads(writes(spec(), "AuthorizationKey", "0123456789"), ("AuthorizationKey", "", False)),
        ("C006",),
    ),
    Case(
        "C006 a vendor's key",
        lambda: reads(writes(spec(), "FreeVend", "True"), ("FreeVend", "true", False)),
        ("C006",),
    ),
    Case(
        "C006 another value of it",
        lambda: reads(writes(spec(), "FreeVend", "True"), ("FreeVend", "no", False)),
        (),
        ("C006",),
    ),
    # 9.1.9: the limit in force
    Case("C010 more than the limit", lambda: two_of_three("2"), ("C010",)),
    Case("C010 within the limit", lambda: two_of_three("3"), (), ("C010",)),
    # ER 3.82: the time-out in force
    Case("J010 within MessageTimeout", lambda: slow_csms("120", 70), ("J010", "P004")),
    Case("J010 beyond it", lambda: slow_csms("10", 12), (), ("J010", "P004")),
    Case("J010 one late answer, one claim", slow_station, (), (), {"J010": "warning", "J008": "note"}),
    # 4.10: the certificate's 5 s are the certificate's
    Case("T032 six seconds", lambda: unplugged(spec(), 6), ("T032",)),
    Case("T032 over a minute", lambda: unplugged(spec(), 61), (), ("T032",)),
    Case("T032 six seconds, certified", lambda: unplugged(certified(), 6), (), ("T032",)),
    # what a certificate covers, profile by profile
    Case(
        "N001 what is certified",
        lambda: with_reservations().csms("CancelReservation", {"reservationId": 1}, {"status": "Rejected"}),
        ("N002", "N006"),
    ),
    Case(
        "N002 what is not",
        lambda: with_reservations().csms("ClearChargingProfile", {}, {"status": "Unknown"}),
        (),
        ("N002", "N006"),
    ),
    Case(
        "C016 both profiles",
        lambda: reads(with_reservations(), ("SupportedFeatureProfiles", "Core,Reservation", True)),
        ("C016",),
    ),
    Case(
        "C016 one profile less",
        lambda: reads(with_reservations(), ("SupportedFeatureProfiles", "Core", True)),
        (),
        ("C016",),
    ),
    # G1: unknown is not false
    Case("T002 a cache may have known it", remotely, ("T002",)),
    Case("T002 there is none", lambda: remotely(*NO_LOCAL), (), ("T002",)),
    Case(
        "R007 AllowOfflineTxForUnknownId is unknown",
        lambda: offline_start(("LocalAuthorizeOffline", "false", False)),
        ("R007", "C018"),
    ),
    Case(
        "R007 it is false",
        lambda: offline_start(
            ("LocalAuthorizeOffline", "false", False), ("AllowOfflineTxForUnknownId", "false", False)
        ),
        (),
        ("R007",),
    ),
    Case(
        "T019 a list may have known it", lambda: another_tag(("LocalPreAuthorize", "true", False)), ("T019",)
    ),
    Case("T019 nothing is known of lists", another_tag, ("T019",)),
    Case("T019 there is none", lambda: another_tag(*NO_LOCAL), (), ("T019",)),
    # 5.14: the Stop of a Hard reset may come after the boot
    Case("T028 away for 400 s", lambda: hard_reset(stops=True), ("T028",)),
    Case("T028 back, and no Stop", lambda: hard_reset(stops=False), (), ("T028",)),
    # 4.6: a station that falls silent for good
    Case("P008 never again", lambda: spec() << after(36_000), (), ("P008",)),
    Case("P008 its link ended", lambda: spec() << ended() << after(36_000), ("P008",)),
    Case("P008 a pending station", lambda: boots(spec(), "Pending") << after(3_600), ("P008",)),
    # smaller ones
    Case("M008 no certificate", lambda: in_the_car(spec()), ("M008",)),
    Case("M008 certified", lambda: in_the_car(certified()), (), ("M008",)),
    Case("S015 rounded stamps", lambda: stamped_back(0.2), ("S015",)),
    Case("S015 a second and more", lambda: stamped_back(1.2), (), ("S015",)),
    Case("T018 a socket", lambda: unplugged_anyway(spec()), (), (), {"T018": "note"}),
    Case("T018 a fixed cable", lambda: unplugged_anyway(certified()), (), (), {"T018": "error"}),
    Case("T021 it was stopping", lambda: remote_stop("Local"), ("T021",)),
    Case("T021 it stays open", remote_stop, (), ("T021",)),
    Case("T021 it obeys", lambda: remote_stop("Remote"), (), ("T021",)),
    Case("M002 midnight of another zone", lambda: aligned("2026-09-22T00:00:00+05:45"), ("M002",)),
    Case("M002 no midnight at all", lambda: aligned("2026-09-22T00:07:00+05:45"), (), ("M002",)),
    # the CSMS's answer crosses the end of the link, or has a flaw
    Case("B003 the answer crossed the end", lambda: answer_crosses(0.2), ("B003", "B013")),
    Case("B003 it did not", lambda: answer_crosses(20), (), ("B003",)),
    Case("B002 a flawed answer", lambda: flawed_boot(flawed=True), ("B002",)),
    Case("B002 no answer", lambda: flawed_boot(flawed=False), (), ("B002",)),
    Case("T001 a flawed answer", lambda: flawed_authorize(flawed=True), ("T001",)),
    Case("T001 no answer", lambda: flawed_authorize(flawed=False), (), ("T001",)),
    Case("T021 the first id never arrived", lambda: started_again(False), ("T021", "T008", "T011")),
    Case("T021 it did", lambda: started_again(True), (), ("T021",)),
    # ER 3.18: no id, so -1
    Case("T011 no usable id", lambda: no_usable_id("x"), ("T011", "S010")),
    Case("T011 a usable one", lambda: no_usable_id(7), (), ("T011",)),
    # 3.7.1: a retry
    Case("R002 held up by another CALL", lambda: retried(held_s=40), ("R002",)),
    Case("R006 fewer since it was sent", lambda: retried("1"), ("R006",)),
    Case("T028 cut off", lambda: reset_cut_off(calling=True), ("T028",)),
    Case("T028 not cut off", lambda: reset_cut_off(calling=False), (), ("T028",)),
    # OCPP-J 4.1.1: nobody owes an answer within a few seconds
    Case("J010 the link ends at once", lambda: link_ends(1.9), severities={"J010": "note"}),
    Case("J010 the link ends later", lambda: link_ends(8), severities={"J010": "warning"}),
    # 4.2: while Rejected nothing is answered
    Case("J010 asked while Rejected", lambda: asked_while_rejected("Accepted"), ("J010", "N004")),
    Case("B007 asked while Rejected", lambda: asked_while_rejected("Pending"), ("J010", "N004", "B007")),
    # one CALLERROR and the end of the link may coincide
    Case("H014 one of them", lambda: link_ends_after_errors(1), severities={"H014": "note"}),
    Case("H014 four of them", lambda: link_ends_after_errors(4), severities={"H014": "warning"}),
    # ER 3.87: an idTag waits at one connector
    Case("S013 at this one", waits_at_one, (), (), {"S013": "warning"}),
    Case("S013 at another one", lambda: waits_at_one(3), (), (), {"S013": "note"}),
    Case("S013 it was lost by a boot", booted_between, (), (), {"S013": "note"}),
    # 4.9: what happened before the fault was told
    Case("S008 the fault ended the transaction", lambda: fault_after_stop(stops=True), ("S008",)),
    Case("S008 its StopTransaction is on the way", stop_on_the_way, ("S008",)),
    Case("S008 the transaction goes on", lambda: fault_after_stop(stops=False), (), ("S008",)),
    Case("S008 time-out passed (B6)", lambda: fault_while_preparing(60), severities={"S008": "note"}),
    Case("S008 it did not", lambda: fault_while_preparing(5), severities={"S008": "warning"}),
    # 4.2: power that is cut again, and a BootNotification that failed
    Case("B013 cut off", lambda: booted_twice(abrupt=True), (), (), {"B013": "note"}),
    Case("B013 an orderly end", lambda: booted_twice(abrupt=False), (), (), {"B013": "warning"}),
    Case("B013 refused by CALLERROR", lambda: boots_refused(60), ("B013",)),
    Case("B013 refused, and it does not wait", lambda: boots_refused(2), (), ("B013",)),
    Case("B003 cut off", lambda: pending_again(abrupt=True), ("B003",)),
    Case("B003 an orderly end", lambda: pending_again(abrupt=False), (), ("B003",)),
    # OCPP-J 5.4: the power may have gone at the end of an outage
    Case("H011 the power went", lambda: cut_off("PowerLoss"), ("H011",)),
    Case("H011 stopped before", lambda: cut_off("Local"), (), (), {"H011": "note"}),
    Case("H011 it goes on", cut_off, (), (), {"H011": "warning"}),
    # 5.14: what waits its turn
    Case("T018 begun before Reset", lambda: start_crosses_reset(begun=True), ("T018",)),
    Case("T018 begun after it", lambda: start_crosses_reset(begun=False), (), ("T018",)),
    Case("T028 the link went with the Stop", lambda: reset_without_link(sent=True), ("T028",)),
    Case("T028 no Stop was sent", lambda: reset_without_link(sent=False), (), ("T028",)),
    # 5.11: one idTag twice at a time
    Case("T002 swiped at the same moment", lambda: swiped_and_asked(swiped=True), ("T002",)),
    Case("T002 not swiped", lambda: swiped_and_asked(swiped=False), (), ("T002",)),
    Case("T005 it has just ended", lambda: occupied(stops=True), ("T005",)),
    Case("T005 it goes on", lambda: occupied(stops=False), (), ("T005",)),
    # 9.1.2, 9.1.12: offline nobody knows of a refusal
    Case("T003 presented in the outage", presented_offline, ("T003",)),
    Case(
        "T003 offline forbidden",
        lambda: presented_offline(
            ("LocalAuthorizeOffline", "false", False), ("AllowOfflineTxForUnknownId", "false", False)
        ),
        (),
        ("T003",),
    ),
    # 4.9: the present status goes first
    Case("S010 stopped before the link was back", lambda: status_before_the_queue(-1.2), ("S010",)),
    Case("S010 stopped long after", lambda: status_before_the_queue(40), (), ("S010",)),
    # 9.1.5: under the value it was taken under
    Case("M002 taken before the write", lambda: aligned_before(written=False), ("M002",)),
    Case("M002 taken after it", lambda: aligned_before(written=True), (), ("M002",)),
)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_mended_rule(case: Case) -> None:
    found = {finding.rule: finding for finding in case.talk().found}
    told = {rule: f"{one.severity} {one.detail}" for rule, one in found.items()}
    assert {rule: what for rule, what in told.items() if rule in case.silent} == {}
    assert [rule for rule in case.told if rule not in found] == [], told
    assert {rule: found[rule].severity.value for rule in case.severities if rule in found} == case.severities


def test_a_wait_takes_the_tolerances_in_use() -> None:
    slack = tolerances_in(
        "[tolerances]\nunplug_us = 7000000\nreboot_us = 900000000\ntriggered_us = 90000000\n"
    )
    assert (slack.unplug_us, slack.reboot_us, slack.triggered_us) == (7_000_000, 900_000_000, 90_000_000)
    frames = unplugged(certified(), 6).frames
    wide = check_frames("wide", frames, adjusted=lambda found: replace(found, tolerances=slack))
    assert {one.rule for one in check_frames("usual", frames).findings} - {
        one.rule for one in wide.findings
    } == {"T032"}
