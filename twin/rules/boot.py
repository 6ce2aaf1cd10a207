"""Family B: boot and registration."""

from collections.abc import Iterable

from twin.model import EventKind, Fault, Severity, Side
from twin.protocol.fold import integer, word
from twin.protocol.state import Registration
from twin.protocol.timestamps import parse_stamp
from twin.rules.step import (
    CUT,
    NO_BOOT,
    NO_CERTIFICATE,
    NO_CLOCK,
    NO_OPENING,
    NO_STAMP,
    NO_VALUE,
    UNREAD,
    Found,
    Step,
    Unknown,
)

_UTC = ("Z", "+00:00")  # 3.14 recommends Z; the other says the same
_WAITING = frozenset({Registration.SENT, Registration.PENDING})
_RIGHT_AWAY_US = 60_000_000
_OWN_BACKOFF_US = 10_000_000
_LOOP, _LOOP_US = 3, 600_000_000
_MOST_CONNECTORS = 256
_NO_INTERVAL = Unknown("no refused or pending BootNotification.conf with an interval was seen")
_NO_STATUS = Unknown("no StatusNotification at all was seen after acceptance")
_POWER = Unknown("a Reset, or an abrupt end of the connection, before this boot: it may know of no interval")
_FIRST_BOOT = Unknown("the first BootNotification of this capture")


def boot_comes_first(step: Step) -> Iterable[Found] | Unknown | None:
    """The first CALL after power-up is BootNotification.

    OCPP 1.6 §4.2 (SHALL). Pitfalls: a reconnection without a reboot may begin with anything, so only the
    first boot of a capture and that after a Reset are judged, on a connection whose opening was seen, within
    a minute of it; TriggerMessage explains a later one.
    """
    before = step.before
    socket = before.socket
    if not socket.whole or socket.opened_us is None:
        return NO_OPENING
    reset = before.reset
    after_reset = reset is not None and before.reset_since_boot and socket.opened_us > reset.at_us
    if "BootNotification" in before.triggers:
        return None
    if not after_reset and (before.booted_us is not None or reset is not None):
        return None
    if socket.spoke_seq is None or step.event.at_us - socket.opened_us > _RIGHT_AWAY_US or before.gaps:
        return None
    return [Found(detail="CALLs before BootNotification on a new connection", evidence=(socket.spoke_seq,))]


def silent_until_accepted(step: Step) -> Iterable[Found] | Unknown | None:
    """Between BootNotification and its acceptance the station sends no other CALL, queued ones included.

    OCPP 1.6 §4.2. Pitfalls: a message asked for by TriggerMessage or ExtendedTriggerMessage is excused; a
    SecurityEventNotification of newer firmware is a warning; a Rejected station is B004.
    """
    before = step.before
    if before.registration is Registration.ACCEPTED or step.event.action == "BootNotification":
        return None
    if before.registration is Registration.UNKNOWN:
        return NO_BOOT
    if before.registration not in _WAITING or before.triggered:
        return None
    if before.registration is Registration.SENT and step.may_be_cut(Side.CSMS):
        return CUT
    if before.registration is Registration.SENT and before.boot_unclear:
        return UNREAD
    soft = step.event.action == "SecurityEventNotification"
    return [
        Found(
            detail=f"{step.event.action[:40]} while BootNotification is {_waiting(before.registration)}",
            severity=Severity.WARNING if soft else None,
            evidence=(before.boot_seq,) if before.boot_seq is not None else (),
        )
    ]


def boot_retry_waits(step: Step) -> Iterable[Found] | Unknown | None:
    """After Pending or Rejected the next BootNotification comes not earlier than ``interval``.

    OCPP 1.6 §4.2. Pitfalls: one second of tolerance; interval 0 means a back-off of the station's own; a
    station whose connection ended abruptly may have lost its power, and then it knows of no interval, as
    after a Reset.
    """
    due_us = step.before.retry_not_before_us
    if due_us is None:
        return _NO_INTERVAL
    if step.before.may_have_lost_power or step.before.reset_since_boot:
        return _POWER
    if not step.before.retry_interval_s:
        waited_us = step.event.at_us - due_us
        if waited_us >= _OWN_BACKOFF_US:
            return None
        return [Found(detail=f"BootNotification {waited_us / 1e6:.1f} s after interval 0: no back-off")]
    if step.event.at_us >= due_us - step.profile.tolerances.boot_retry_us:
        return None
    return [Found(detail=f"BootNotification {(due_us - step.event.at_us) / 1e6:.1f} s too early")]


def rejected_sends_nothing(step: Step) -> Iterable[Found] | Unknown | None:
    """While Rejected the station sends nothing but BootNotification, and answers nothing.

    OCPP 1.6 §4.2 (SHALL). Pitfalls: none.
    """
    if step.before.registration is Registration.UNKNOWN:
        return NO_BOOT
    if step.before.registration is not Registration.REJECTED or step.event.action == "BootNotification":
        return None
    what = "answers " if step.event.asked is not None and step.event.kind is not EventKind.CALLED else ""
    return [Found(detail=f"{what}{step.event.action[:40]} while Rejected", key=what)]


def rejected_is_left_alone(step: Step) -> Iterable[Found] | Unknown | None:
    """While the station is Rejected the CSMS initiates nothing.

    OCPP 1.6 §4.2 (SHOULD NOT). Pitfalls: none.
    """
    if step.before.registration is Registration.UNKNOWN:
        return NO_BOOT
    if step.before.registration is not Registration.REJECTED:
        return None
    return [Found(detail=f"{step.event.action[:40]} to a Rejected station")]


def pending_is_not_started(step: Step) -> Iterable[Found] | Unknown | None:
    """While Pending the CSMS sends no RemoteStartTransaction or RemoteStopTransaction.

    OCPP 1.6 §4.2. Pitfalls: none.
    """
    if step.before.registration is Registration.UNKNOWN:
        return NO_BOOT
    if step.before.registration is not Registration.PENDING:
        return None
    return [Found(detail=f"{step.event.action} to a Pending station")]


def pending_answers(step: Step) -> Iterable[Found] | Unknown | None:
    """While Pending the station answers the CSMS's CALLs.

    OCPP 1.6 §4.2 (SHOULD). Pitfalls: a connection that ended first explains a missing answer, and so does a
    station that was Rejected when it was asked.
    """
    asked = step.event.asked
    if step.event.sender is not Side.CSMS or step.event.why != "expired" or asked is None:
        return None
    if step.before.was_rejected(asked.frame.at_us):
        return None
    if step.before.registration is Registration.UNKNOWN:
        return NO_BOOT
    if step.before.registration is not Registration.PENDING:
        return None
    return [Found(detail=f"{step.event.action[:40]} unanswered while Pending", fault=Fault.STATION)]


def every_connector_is_told(step: Step) -> Iterable[Found] | Unknown | None:
    """After acceptance the status of connector 0 and of every other one is sent.

    ER 3.22 (SHALL). Pitfalls: one CALL at a time, so half a minute and more is granted; a device with fewer
    outlets than the certificate says is drift; a log that holds no status at all says nothing.
    """
    if step.event.kind is not EventKind.OVERDUE:
        return NO_VALUE if step.in_force("NumberOfConnectors") is None else None
    before = step.before
    told = set(before.connectors)
    known = step.seconds_in_force("NumberOfConnectors")
    if not told and (known is None or not known[1].observed):
        return _NO_STATUS
    count = known[0] if known is not None and known[0] <= _MOST_CONNECTORS else max(told, default=0)
    missing = [number for number in range(count + 1) if number not in told]
    if not missing:
        return None
    fewer = told == set(range(len(told))) and len(told) > 1
    severity = Severity.DRIFT if fewer and known is not None and not known[1].observed else None
    named = ", ".join(map(str, missing[:5])) + (" and more" if len(missing) > 5 else "")
    return [
        Found(
            detail=f"no status of connector {named} after acceptance",
            severity=severity,
            fault=Fault.STATION,
            connector_id=missing[0] if len(missing) == 1 else None,
            provenance=known[1].provenance if known is not None else "",
            key="missing",
        )
    ]


def boot_has_a_cause(step: Step) -> Iterable[Found] | Unknown | None:
    """A station that is accepted boots again for a cause: a reset, a loss of power, new firmware.

    OCPP 1.6 §4.2, ER 3.35, 3.40. Pitfalls: a power cut is not on the wire, so only a boot on the connection
    that had one before, without Reset and TriggerMessage, is told, as a note.
    """
    before = step.before
    if before.registration is Registration.UNKNOWN:
        return NO_BOOT
    if before.registration is not Registration.ACCEPTED or before.socket.boot_seq is None:
        return None
    if before.reset_since_boot or "BootNotification" in before.triggers:
        return None
    return [Found(detail="BootNotification of an accepted station", evidence=(before.socket.boot_seq,))]


def boot_interval_as_certified(step: Step) -> Iterable[Found] | Unknown | None:
    """BootNotification.conf sets the certified HeartbeatInterval.

    Certificate, row 9. Pitfalls: the CSMS chooses it, and it supersedes the configured value.
    """
    certificate = step.profile.certificate
    if certificate is None:
        return NO_CERTIFICATE
    wanted = certificate.certified("HeartbeatInterval")
    interval_s = integer(step.payload.get("interval"))
    if (
        not isinstance(wanted, int)
        or interval_s in (None, wanted)
        or step.payload.get("status") != "Accepted"
    ):
        return None
    return [Found(detail=f"interval {interval_s} s, certified {wanted} s", provenance="certified")]


def boot_time_plausible(step: Step) -> Iterable[Found] | Unknown | None:
    """BootNotification.conf.currentTime is UTC with ``Z`` and within 60 s of the recorder's clock.

    OCPP 1.6 §3.14, §4.2. Pitfalls: the recorder's clock may be wrong; imported logs have local time, so only
    captures with both clocks are judged.
    """
    stamp = parse_stamp(word(step.payload.get("currentTime")))
    frame = step.event.frame
    if stamp is None:
        return NO_STAMP
    if frame is None or frame.mono_ns is None:
        return NO_CLOCK
    if stamp.zone not in _UTC:
        return [Found(detail=f"currentTime with zone {stamp.zone or 'missing'}", key="zone")]
    away_s = (stamp.at_us - step.event.at_us) / 1e6
    if abs(away_s) * 1e6 <= step.profile.tolerances.clock_us:
        return None
    return [Found(detail=f"currentTime {away_s:+.0f} s from the recorder's clock", key="clock")]


def identity_as_certified(step: Step) -> Iterable[Found] | Unknown | None:
    """The identity is the certified one: vendor, model, firmware version.

    Certificate, identity. Pitfalls: the certificate's "OCPP Software version" need not be what the station
    puts in firmwareVersion, so another version is a note.
    """
    certificate = step.profile.certificate
    if certificate is None:
        return NO_CERTIFICATE
    vendor, model = step.after.vendor, step.after.model
    if not certificate.matches(vendor, model):
        return [Found(detail=f"vendor {vendor!r}, model {model!r}", severity=Severity.DRIFT, key="identity")]
    firmware = step.after.firmware
    if firmware and firmware != certificate.software_version:
        detail = f"firmwareVersion {firmware!r}, certified {certificate.software_version!r}"
        return [Found(detail=detail, provenance="certified", key="firmware")]
    return None


def no_boot_loop(step: Step) -> Iterable[Found] | Unknown | None:
    """A station does not boot again and again.

    Seen in the field: two Boots 1.6 s apart, and one every 30 s for ever. Pitfalls: a Reset, or Pending or
    Rejected before, explains it; so does a CALLERROR or no answer, if it waits (4.2); on a new connection
    after an abrupt end the power may have been cut again: a note.
    """
    before = step.before
    if before.last_boot_us is None:
        return _FIRST_BOOT
    reset = before.reset
    if reset is not None and reset.at_us >= before.last_boot_us:
        return None
    asked = before.requests.get(("Reset", None))
    if asked is not None and asked.at_us >= before.last_boot_us:
        return None  # its answer may be on the way
    if (
        before.registration in (Registration.PENDING, Registration.REJECTED)
        or "BootNotification" in before.triggers
    ):
        return None
    apart_us = step.event.at_us - before.last_boot_us
    if step.may_be_cut(Side.CSMS):
        return CUT
    if before.boot_unclear:
        return UNREAD
    again = before.socket.boot_seq is None  # on another connection
    if before.boot_failed and (again or apart_us > step.profile.tolerances.boot_loop_us):
        return None
    reset_us = before.reset.at_us if before.reset is not None else 0
    boots = [at_us for at_us in before.boots_us[-_LOOP + 1 :] if at_us > reset_us]
    looping = len(boots) == _LOOP - 1 and step.event.at_us - boots[0] <= _LOOP_US
    if apart_us > step.profile.tolerances.boot_loop_us and not looping:
        return None
    evidence = (before.boot_seq,) if before.boot_seq is not None else ()
    how = f"second BootNotification after {apart_us / 1e6:.1f} s"
    if apart_us > step.profile.tolerances.boot_loop_us:
        how = f"{_LOOP} BootNotifications within {(step.event.at_us - boots[0]) / 1e6:.0f} s"
    if not before.may_have_lost_power:
        return [Found(detail=how, evidence=evidence)]
    detail = f"{how}, after an abrupt end of the connection"
    return [Found(detail=detail, severity=Severity.NOTE, evidence=evidence, key="power")]


def _waiting(registration: Registration) -> str:
    return "unanswered" if registration is Registration.SENT else registration.value
