"""Family P, first part: response times, triggered functions and the heartbeat."""

from collections.abc import Iterable

from twin.certificate import Certificate
from twin.model import Awaited, EventKind, Fault, Severity, Side
from twin.protocol.fold import integer, word
from twin.protocol.fold.payloads import stamp_us
from twin.protocol.state import Registration, Wait
from twin.rules.step import CUT, NO_CERTIFICATE, NO_TIMES, NO_VALUE, Found, Step, Unknown

_UNREGISTERED = frozenset({Registration.SENT, Registration.PENDING, Registration.REJECTED})
_ALIVE_US = 3_600_000_000
_UNTIMED = frozenset({"GetDiagnostics", "UpdateFirmware", "RemoteStartTransaction"})
_NO_EARLIER = Unknown("no earlier exchange on this connection was seen")
_NO_TRIGGER = Unknown("what triggers this message was not seen")


def response_time(step: Step) -> Iterable[Found] | Unknown | None:
    """The station answers a CALL of the CSMS within the certified 5 s.

    Certificate, "OCPP response timeout". Pitfalls: above the measured 2 s (whole seconds, so 2.999 s) it is a
    note; firmware and diagnostics are excluded; RemoteStartTransaction is P003; the link counts too.
    """
    if step.event.action in _UNTIMED:
        return None
    return _slow(step, "response")


def triggered_function_time(step: Step) -> Iterable[Found] | Unknown | None:
    """A message that another one triggers comes within the certified 5 s.

    Certificate, "OCPP triggered function timeout": StopTransaction after RemoteStop, StatusNotification after
    ChangeAvailability, SuspendedEVSE after a refused start, Authorize after RemoteStart, StartTransaction
    after Authorize where a car is plugged. Pitfalls: above the measured 4 s it is a note; the time that an
    unanswered CALL of the station's own blocks it is subtracted; a human act in between breaks the chain.
    """
    certificate = step.profile.certificate
    if certificate is None:
        return NO_CERTIFICATE
    figures = _figures(certificate, "triggered_function")
    trigger = _TRIGGERS[step.event.action](step)
    if trigger is None or figures is None:
        return _NO_TRIGGER
    since_us, blocked_us, seq, what = trigger
    held_us = step.before.blocked_us - blocked_us
    if step.before.calling_us is not None:
        held_us += step.event.at_us - step.before.calling_us
    took_s = (step.event.at_us - since_us - held_us) / 1e6
    limit_s, measured_s = figures
    slack_s = step.profile.tolerances.triggered_slack_s
    if took_s <= measured_s:
        return None
    beyond = took_s > limit_s - 1 + slack_s
    named = f"limit {limit_s} s" if beyond else f"certified measurement {measured_s} s"
    return [
        Found(
            detail=f"{step.event.action} {took_s:.3f} s after {what}, {named}",
            severity=None if beyond else Severity.NOTE,
            evidence=(seq,),
            provenance="certified",
            key=f"{what}{beyond}",
        )
    ]


def remote_start_time(step: Step) -> Iterable[Found] | Unknown | None:
    """RemoteStartTransaction is answered within the certified 5 s.

    Certificate, "Response time RemoteStartTransaction". Pitfalls: as P001.
    """
    return _slow(step, "remote_start")


def csms_in_time(step: Step) -> Iterable[Found] | Unknown | None:
    """The CSMS answers before MessageTimeout.

    ER 3.82. Pitfalls: the time-out is the station's; a late answer is only seen because it came at all; an
    answer near the start of a capture may belong to a CALL that nobody saw (G9).
    """
    if step.event.sender is not Side.CSMS or step.event.message is None:
        return None
    if step.event.why == "edge":
        return _NO_EARLIER
    if step.event.why != "late":
        return None
    return [Found(detail=f"late answer to {step.event.message.message_id[:40]}")]


def not_silent(step: Step) -> Iterable[Found] | Unknown | None:
    """The station is not silent for longer than the heartbeat interval.

    OCPP 1.6 §4.6, §9.1.10. Pitfalls: any exchange counts, a Heartbeat may be skipped; the interval is the
    last of Boot.interval and ChangeConfiguration; 5 % (at least 2 s) and the ends of a link are allowed for;
    a log may have left out what was said.
    """
    before = step.before
    if step.event.kind is EventKind.OVERDUE:
        return _fell_silent(step)
    if step.event.sender is not Side.STATION:
        return None
    if before.last_exchange_us is None:
        return _NO_EARLIER
    if before.registration in _UNREGISTERED:
        return None  # 4.2: it must not send
    quiet_us = step.event.at_us - before.last_exchange_us
    if quiet_us <= 2_000_000:
        return None
    known = step.seconds_in_force("HeartbeatInterval")
    if known is None or not known[1].observed:
        return NO_VALUE
    interval_us = known[0] * 1_000_000
    if not interval_us or quiet_us <= interval_us + step.profile.tolerances.timer_slack_us(interval_us):
        return None
    return CUT if step.imported else None  # the wait has spoken


def _fell_silent(step: Step) -> list[Found] | None:
    known, awaited = step.seconds_in_force("HeartbeatInterval"), step.event.awaited
    if known is None or awaited is None or step.before.link_open_us is None:
        return None
    quiet_s = (step.event.at_us - awaited.since_us) / 1e6
    return [
        Found(
            detail=f"silent for {quiet_s:.1f} s and more, heartbeat interval {known[0]} s",
            fault=Fault.STATION,
            provenance=known[1].provenance,
        )
    ]


def heartbeat_each_day(step: Step) -> Iterable[Found] | Unknown | None:
    """There is a Heartbeat within 24 hours, for the clock.

    OCPP 1.6 §4.6. Pitfalls: other messages may stand in for a Heartbeat, but they do not set the clock.
    """
    if step.event.kind is not EventKind.OVERDUE:
        return NO_TIMES if step.event.frame and step.event.frame.facts.get("interpolated") else None
    last_us = step.before.last_exchange_us
    if last_us is None or step.event.at_us - last_us > _ALIVE_US:
        return None  # nothing at all was seen: no verdict on the heartbeat
    return [Found(detail="no Heartbeat for 24 hours", fault=Fault.STATION)]


def not_too_frequent(step: Step) -> Iterable[Found] | Unknown | None:
    """Heartbeats do not come twice as often as the interval says.

    OCPP 1.6 §4.6. Pitfalls: an accepted TriggerMessage, and a burst after a connection, explain one.
    """
    before = step.before
    known = step.seconds_in_force("HeartbeatInterval")
    if known is None or not known[1].observed:
        return NO_VALUE
    if before.heartbeat_us is None:
        return _NO_EARLIER
    interval_us, gap_us = known[0] * 1_000_000, step.event.at_us - before.heartbeat_us
    if gap_us >= interval_us // 2 or "Heartbeat" in before.triggers:
        return None
    if before.link_open_us is not None and step.event.at_us - before.link_open_us <= interval_us:
        return None
    configured = before.config.get("heartbeatinterval")
    if configured is not None and step.event.at_us - configured.at_us <= interval_us:
        return None
    return [
        Found(
            detail=f"Heartbeats {gap_us / 1e6:.1f} s apart, interval {known[0]} s",
            provenance=known[1].provenance,
        )
    ]


type _Trigger = tuple[int, int, int, str] | None  # since when, blocked until then, frame, what


def _before_stop(step: Step) -> _Trigger:
    return _awaited(step, Wait.STOP_AFTER_REMOTE, integer(step.payload.get("transactionId")), "RemoteStop")


def _before_status(step: Step) -> _Trigger:
    connector_id = integer(step.payload.get("connectorId"))
    told = _awaited(step, Wait.STATUS_AFTER_AVAILABILITY, connector_id, "ChangeAvailability")
    if told is None and step.payload.get("status") == "SuspendedEVSE":
        told = _awaited(step, Wait.SUSPENDED_AFTER_REFUSAL, connector_id, "a refused start")
    return told


def _before_authorize(step: Step) -> _Trigger:
    remote = step.before.remote_starts.get(word(step.payload.get("idTag")).casefold())
    if remote is None:
        return None
    verdict = step.before.id_tags.get(word(step.payload.get("idTag")).casefold())
    if verdict is not None and verdict.at_us >= remote.at_us:
        return None  # asked already
    return _awaited(step, Wait.START_AFTER_REMOTE, remote.connector_id, "RemoteStart")


def _before_start(step: Step) -> _Trigger:
    """Authorize Accepted while the connector was Preparing: nothing is missing any more."""
    before = step.before
    verdict = before.id_tags.get(word(step.payload.get("idTag")).casefold())
    connector_id = integer(step.payload.get("connectorId"))
    connector = before.connectors.get(connector_id) if connector_id is not None else None
    if verdict is None or verdict.status != "Accepted" or verdict.action != "Authorize" or connector is None:
        return None
    plugged = connector.status == "Preparing" and connector.since_us < verdict.at_us
    others = [c for c in before.connectors.values() if c.status == "Preparing"]
    if not plugged or len(others) != 1 or before.queued(stamp_us(step.payload.get("timestamp"))) is not False:
        return None
    previous = before.last_stop.get(connector_id) if connector_id is not None else None
    if previous is not None and previous.arrived_us >= verdict.at_us:
        return None
    # preparing after the authorization is a plug: the act of a person came in between
    return verdict.at_us, verdict.blocked_us, verdict.seq, "Authorize"


_TRIGGERS = {
    "StopTransaction": _before_stop,
    "StatusNotification": _before_status,
    "Authorize": _before_authorize,
    "StartTransaction": _before_start,
}


def _awaited(step: Step, wait: Wait, key: int | None, what: str) -> _Trigger:
    held: Awaited | None = step.before.awaited.get((wait, key))
    return None if held is None else (held.since_us, held.blocked_us, held.seq, what)


def _slow(step: Step, which: str) -> list[Found] | Unknown | None:
    event, certificate = step.event, step.profile.certificate
    if event.sender is not Side.STATION:
        return None
    if certificate is None:
        return NO_CERTIFICATE
    if event.asked is None or event.took_us is None:
        return NO_TIMES
    figures = _figures(certificate, which)
    if figures is None:
        return None
    limit_s, measured_s = figures
    if step.took_s <= measured_s + step.profile.tolerances.triggered_slack_s:  # measured in whole seconds
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
