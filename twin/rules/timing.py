"""Family P: response times, time stamps and heartbeat."""

from collections.abc import Iterable

from twin.certificate import Certificate
from twin.model import EventKind, Fault, Severity, Side
from twin.protocol.timestamps import parse_stamp
from twin.rules.step import Found, Step

_UNTIMED = frozenset({"GetDiagnostics", "UpdateFirmware", "RemoteStartTransaction"})
_FIRST_YEAR_US = 1_262_304_000_000_000  # 2010-01-01, before OCPP 1.5


def response_time(step: Step) -> Iterable[Found] | None:
    """The station answers a CALL of the CSMS within the certified 5 s.

    Certificate, "OCPP response timeout". Pitfalls: above the measured 2 s (whole seconds, so 2.999 s) it is a
    note; firmware and diagnostics are excluded; RemoteStartTransaction is P003; the link counts too.
    """
    if step.event.action in _UNTIMED:
        return None
    return _slow(step, "response")


def remote_start_time(step: Step) -> Iterable[Found] | None:
    """RemoteStartTransaction is answered within the certified 5 s.

    Certificate, "Response time RemoteStartTransaction". Pitfalls: as P001.
    """
    return _slow(step, "remote_start")


def csms_in_time(step: Step) -> Iterable[Found] | None:
    """The CSMS answers before MessageTimeout.

    ER 3.82. Pitfalls: the time-out is the station's; a late answer is only seen because it came at all.
    """
    if step.event.why != "late" or step.event.sender is not Side.CSMS or step.event.message is None:
        return None
    return [Found(detail=f"late answer to {step.event.message.message_id[:40]}")]


def milliseconds(step: Step) -> Iterable[Found] | None:
    """Time stamps carry milliseconds, as certified.

    Certificate, "Device supports sending milliseconds in timestamps"; OCPP 1.6 §3.15. Pitfalls: a sender may
    omit a zero fraction, so the verdict waits for 20 stamps, all without one.
    """
    certificate, needed = step.profile.certificate, step.profile.tolerances.millisecond_stamps
    before, after = step.before, step.after
    if certificate is None or not certificate.milliseconds or after.fractional_stamps:
        return None
    if not before.station_stamps < needed <= after.station_stamps:
        return None
    return [Found(detail=f"{after.station_stamps} time stamps, none with a fraction", provenance="certified")]


def stamps_are_iso(step: Step) -> Iterable[Found] | None:
    """Time stamps are ISO 8601 with a zone.

    OCPP 1.6 §3.14, §3.15 (MUST). Pitfalls: unreadable or impossible is an error; ISO 8601 beyond RFC 3339
    (no zone, ``+0900``, no seconds) a warning; offsets and any number of fraction digits are fine.
    """
    found = []
    for path, text in step.stamps:
        stamp = parse_stamp(text)
        field = path.rsplit("/", 1)[-1]
        if stamp is None:
            found.append(Found(detail=f"{path} {text[:40]!r} is no time", key=f"{field} unreadable"))
        elif not stamp.strict:
            detail = f"{path} {text[:40]!r} is not RFC 3339"
            found.append(Found(detail=detail, severity=Severity.WARNING, key=f"{field} loose"))
    return found


def stamps_plausible(step: Step) -> Iterable[Found] | None:
    """No time stamp lies more than 60 s in the future, or before 2010.

    Pitfalls: the future is judged only against a recorder's own clock, not against log time; a first boot
    without a clock is common; late data is queued, not wrong (G4).
    """
    frame = step.event.frame
    for path, text in step.stamps:
        stamp = parse_stamp(text)
        if stamp is None or not path.endswith(("/timestamp", "/currentTime")):
            continue
        if stamp.at_us < _FIRST_YEAR_US:
            return [Found(detail=f"{path} {text[:40]} before 2010", key="past")]
        ahead_us = stamp.at_us - step.event.at_us
        if frame and frame.mono_ns is not None and ahead_us > step.profile.tolerances.clock_us:
            return [Found(detail=f"{path} {ahead_us / 1e6:.0f} s in the future", key="future")]
    return None


def not_silent(step: Step) -> Iterable[Found] | None:
    """The station is not silent for longer than the heartbeat interval.

    OCPP 1.6 §4.6, §9.1.10. Pitfalls: any exchange counts, a Heartbeat may be skipped; the interval is the
    last of Boot.interval and ChangeConfiguration; 5 % (at least 2 s) and the ends of a link are allowed for.
    """
    before = step.before
    known = step.seconds_in_force("HeartbeatInterval")
    if known is None or known[0] <= 0 or not known[1].observed or before.last_exchange_us is None:
        return None
    interval_us = known[0] * 1_000_000
    quiet_us = step.event.at_us - before.last_exchange_us
    if quiet_us <= interval_us + step.profile.tolerances.timer_slack_us(interval_us):
        return None
    return [
        Found(
            detail=f"silent for {quiet_us / 1e6:.1f} s, heartbeat interval {known[0]} s",
            provenance=known[1].provenance,
        )
    ]


def _slow(step: Step, which: str) -> list[Found] | None:
    event, certificate = step.event, step.profile.certificate
    if certificate is None or event.asked is None or event.sender is not Side.STATION:
        return None
    if event.kind not in (EventKind.ANSWERED, EventKind.REFUSED):
        return None
    figures = _figures(certificate, which)
    if figures is None:
        return None
    limit_s, measured_s = figures
    if step.took_s <= measured_s + 0.999:  # measured in whole seconds
        return None
    beyond = step.took_s > limit_s
    named = f"limit {limit_s} s" if beyond else f"certified measurement {measured_s} s"
    return [
        Found(
            detail=f"{event.action} answered after {step.took_s:.3f} s, {named}",
            severity=None if beyond else Severity.NOTE,
            fault=Fault.STATION,
            provenance="certified",
            key=f"{event.action}{beyond}",
        )
    ]


def _figures(certificate: Certificate, which: str) -> tuple[int, int] | None:
    row = certificate.figure(which)
    return (row.limit_s, row.measured_s) if row else None
