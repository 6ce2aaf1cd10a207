"""Family P, second part: time stamps and the station's clock."""

from collections.abc import Iterable

from twin.model import Severity
from twin.protocol.timestamps import parse_stamp
from twin.rules.step import NO_CERTIFICATE, NO_CLOCK, Found, Step, Unknown

_FIRST_YEAR_US = 1_262_304_000_000_000  # 2010-01-01, before OCPP 1.5
_FEW, _ENOUGH = 1, 5  # live stamps that show a clock ahead, and one behind (delays look like the latter)
_NO_STAMPS = Unknown("no time stamp in the message")
_NOT_ENOUGH = Unknown("fewer than 20 time stamps so far")
_NO_OFFSET = Unknown("too few live time stamps since the last correction to know the station's clock")
_STATION_FIELDS = ("/timestamp", "/currentTime")


def milliseconds(step: Step) -> Iterable[Found] | Unknown | None:
    """Time stamps carry milliseconds, as certified.

    Certificate, "Device supports sending milliseconds in timestamps"; OCPP 1.6 §3.15. Pitfalls: a sender may
    omit a zero fraction, so the verdict waits for 20 stamps, all without one.
    """
    certificate, needed = step.profile.certificate, step.profile.tolerances.millisecond_stamps
    before, after = step.before, step.after
    if certificate is None:
        return NO_CERTIFICATE
    if after.fractional_stamps or not certificate.milliseconds:
        return None
    if after.station_stamps < needed:
        return _NOT_ENOUGH
    if before.station_stamps >= needed:
        return None
    return [Found(detail=f"{after.station_stamps} time stamps, none with a fraction", provenance="certified")]


def stamps_are_iso(step: Step) -> Iterable[Found] | Unknown | None:
    """Time stamps are ISO 8601 with a zone.

    OCPP 1.6 §3.14, §3.15 (MUST). Pitfalls: unreadable or impossible is an error; ISO 8601 beyond RFC 3339
    (no zone, ``+0900``, no seconds) a warning; offsets and any number of fraction digits are fine.
    """
    stamps = step.stamps
    if not stamps:
        return _NO_STAMPS
    found = []
    for path, text in stamps:
        stamp = parse_stamp(text)
        if stamp is not None and stamp.strict:
            continue
        field = path.rsplit("/", 1)[-1]
        if stamp is None:
            found.append(Found(detail=f"{path} {text[:40]!r} is no time", key=f"{field} unreadable"))
        else:
            detail = f"{path} {text[:40]!r} is not RFC 3339"
            found.append(Found(detail=detail, severity=Severity.WARNING, key=f"{field} loose"))
    return found


def stamps_plausible(step: Step) -> Iterable[Found] | Unknown | None:
    """No time stamp lies more than 60 s in the future, or before 2010.

    Pitfalls: the future is judged only against a recorder's own clock, not against log time; a first boot
    without a clock is common; late data is queued, not wrong (G4).
    """
    stamps = step.stamps
    if not stamps:
        return _NO_STAMPS
    frame = step.event.frame
    timed = frame is not None and frame.mono_ns is not None
    for path, text in stamps:
        stamp = parse_stamp(text)
        if stamp is None or not path.endswith(_STATION_FIELDS):
            continue
        if stamp.at_us < _FIRST_YEAR_US:
            return [Found(detail=f"{path} {text[:40]} before 2010", key="past")]
        ahead_us = stamp.at_us - step.event.at_us
        if timed and ahead_us > step.profile.tolerances.clock_us:
            return [Found(detail=f"{path} {ahead_us / 1e6:.0f} s in the future", key="future")]
    return None if timed else NO_CLOCK


def clocks_agree(step: Step) -> Iterable[Found] | Unknown | None:
    """The station's clock is within 5 s of the time that the CSMS tells.

    OCPP 1.6 §4.6 (RECOMMENDED). Pitfalls: judged over the live stamps since the last answer with a time; a
    delay looks like a clock that is behind, so that takes five stamps; queued data says nothing (G4).
    """
    clock = step.before.clock
    if clock.station_us is None or clock.csms_us is None:
        return _NO_OFFSET
    apart_us = clock.station_us - clock.csms_us
    if clock.samples < (_FEW if apart_us > 0 else _ENOUGH):
        return _NO_OFFSET
    if abs(apart_us) <= step.profile.tolerances.drift_us:
        return None
    way = "ahead of" if apart_us > 0 else "behind"
    return [
        Found(
            detail=f"station clock {abs(apart_us) / 1e6:.1f} s {way} the time the CSMS told",
            evidence=(clock.station_seq, clock.csms_seq),
            key=way,
        )
    ]
