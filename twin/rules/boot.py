"""Family B: boot and registration."""

from collections.abc import Iterable

from twin.model import Severity
from twin.protocol.fold import integer, word
from twin.protocol.state import Registration
from twin.protocol.timestamps import parse_stamp
from twin.rules.step import Found, Step

_WAITING = frozenset({Registration.SENT, Registration.PENDING})


def silent_until_accepted(step: Step) -> Iterable[Found] | None:
    """Between BootNotification and its acceptance the station sends no other CALL, queued ones included.

    OCPP 1.6 §4.2. Pitfalls: a message asked for by an accepted TriggerMessage is excused; a
    SecurityEventNotification of newer firmware is a warning; a Rejected station is B004.
    """
    before = step.before
    if before.registration not in _WAITING or before.triggered or step.event.action == "BootNotification":
        return None
    soft = step.event.action == "SecurityEventNotification"
    return [
        Found(
            detail=f"{step.event.action[:40]} while BootNotification is {_waiting(before.registration)}",
            severity=Severity.WARNING if soft else None,
            evidence=(before.boot_seq,) if before.boot_seq is not None else (),
        )
    ]


def boot_retry_waits(step: Step) -> Iterable[Found] | None:
    """After Pending or Rejected the next BootNotification comes not earlier than ``interval``.

    OCPP 1.6 §4.2. Pitfalls: one second of tolerance; interval 0 means a back-off of the station's own.
    """
    due_us = step.before.retry_not_before_us
    if due_us is None or step.event.at_us >= due_us - step.profile.tolerances.boot_retry_us:
        return None
    return [Found(detail=f"BootNotification {(due_us - step.event.at_us) / 1e6:.1f} s too early")]


def rejected_sends_nothing(step: Step) -> Iterable[Found] | None:
    """While Rejected the station sends nothing but BootNotification.

    OCPP 1.6 §4.2 (SHALL). Pitfalls: none.
    """
    if step.before.registration is not Registration.REJECTED or step.event.action == "BootNotification":
        return None
    return [Found(detail=f"{step.event.action[:40]} while Rejected")]


def rejected_is_left_alone(step: Step) -> Iterable[Found] | None:
    """While the station is Rejected the CSMS initiates nothing.

    OCPP 1.6 §4.2 (SHOULD NOT). Pitfalls: none.
    """
    if step.before.registration is not Registration.REJECTED:
        return None
    return [Found(detail=f"{step.event.action[:40]} to a Rejected station")]


def pending_is_not_started(step: Step) -> Iterable[Found] | None:
    """While Pending the CSMS sends no RemoteStartTransaction or RemoteStopTransaction.

    OCPP 1.6 §4.2. Pitfalls: none.
    """
    if step.before.registration is not Registration.PENDING:
        return None
    return [Found(detail=f"{step.event.action} to a Pending station")]


def boot_interval_as_certified(step: Step) -> Iterable[Found] | None:
    """BootNotification.conf sets the certified HeartbeatInterval.

    Certificate, row 9. Pitfalls: the CSMS chooses it, and it supersedes the configured value.
    """
    certificate = step.profile.certificate
    wanted = certificate.certified("HeartbeatInterval") if certificate else None
    interval_s = integer(step.payload.get("interval"))
    if (
        not isinstance(wanted, int)
        or interval_s in (None, wanted)
        or step.payload.get("status") != "Accepted"
    ):
        return None
    return [Found(detail=f"interval {interval_s} s, certified {wanted} s", provenance="certified")]


def boot_time_plausible(step: Step) -> Iterable[Found] | None:
    """BootNotification.conf.currentTime is UTC with ``Z`` and within 60 s of the recorder's clock.

    OCPP 1.6 §3.14, §4.2. Pitfalls: the recorder's clock may be wrong; imported logs have local time, so only
    captures with both clocks are judged.
    """
    stamp = parse_stamp(word(step.payload.get("currentTime")))
    frame = step.event.frame
    if stamp is None or frame is None or frame.mono_ns is None:
        return None
    if stamp.zone != "Z":
        return [Found(detail=f"currentTime with zone {stamp.zone or 'missing'}", key="zone")]
    away_s = (stamp.at_us - step.event.at_us) / 1e6
    if abs(away_s) * 1e6 <= step.profile.tolerances.clock_us:
        return None
    return [Found(detail=f"currentTime {away_s:+.0f} s from the recorder's clock", key="clock")]


def identity_as_certified(step: Step) -> Iterable[Found] | None:
    """The identity is the certified one: vendor, model, firmware version.

    Certificate, identity. Pitfalls: the certificate's "OCPP Software version" need not be what the station
    puts in firmwareVersion, so another version is a note.
    """
    certificate = step.profile.certificate
    if certificate is None:
        return None
    vendor, model = step.after.vendor, step.after.model
    if not certificate.matches(vendor, model):
        return [Found(detail=f"vendor {vendor!r}, model {model!r}", severity=Severity.DRIFT, key="identity")]
    firmware = step.after.firmware
    if firmware and firmware != certificate.software_version:
        detail = f"firmwareVersion {firmware!r}, certified {certificate.software_version!r}"
        return [Found(detail=detail, provenance="certified", key="firmware")]
    return None


def no_boot_loop(step: Step) -> Iterable[Found] | None:
    """A station does not boot again and again.

    Seen in the field: two Boots 1.6 s apart, and one every 30 s for ever. Pitfalls: a Reset, or Pending or
    Rejected before, explains it.
    """
    before = step.before
    if before.last_boot_us is None or (before.reset and before.reset.at_us >= before.last_boot_us):
        return None
    if before.registration in (Registration.PENDING, Registration.REJECTED):
        return None
    apart_us = step.event.at_us - before.last_boot_us
    if apart_us > step.profile.tolerances.boot_loop_us:
        return None
    evidence = (before.boot_seq,) if before.boot_seq is not None else ()
    return [Found(detail=f"second BootNotification after {apart_us / 1e6:.1f} s", evidence=evidence)]


def _waiting(registration: Registration) -> str:
    return "unanswered" if registration is Registration.SENT else registration.value
