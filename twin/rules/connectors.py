"""Family S, first part: connector numbers, and what one StatusNotification may say."""

from collections.abc import Iterable

from twin.model import Severity
from twin.protocol.connectors import CONNECTOR_0_STATUSES, IN_TRANSACTION, TRANSITIONS, omitted_between
from twin.protocol.fold import integer, word
from twin.protocol.state import Connector
from twin.rules.step import NO_CERTIFICATE, NO_CONNECTOR, NO_EARLIER_STATUS, NO_VALUE, Found, Step, Unknown

_EV_ERROR_STATUSES = ("Preparing", "SuspendedEV", "SuspendedEVSE", "Finishing")
_AFTER_TRANSACTION = ("Finishing", "Available", "Unavailable")
_NO_STATUS = Unknown("no status in the message")
_NO_FAULT_BEGIN = Unknown("the status before the fault was not seen")


def transition_in_table(step: Step) -> Iterable[Found] | Unknown | None:
    """A status change is one of the possible transitions of OCPP 1.6 §4.9.

    Pitfalls: the table is descriptive; short states may vanish (MinimumStatusDuration), so what is reachable
    in two steps is a note; the first status after a boot, a reconnect or a gap is not judged.
    """
    connector_id, status = _report(step)
    known = step.before.connectors.get(connector_id) if connector_id is not None else None
    if known is None:
        return NO_EARLIER_STATUS
    if not connector_id or status == known.status:
        return None
    allowed = TRANSITIONS.get(known.status)
    if allowed is None or status in allowed or status not in TRANSITIONS:
        return None
    omitted = omitted_between(known.status, status)
    between = f" (intermediate status omitted, such as {min(omitted)})" if omitted else ""
    return [
        Found(
            detail=f"connector {connector_id}: {known.status} to {status}{between}",
            severity=Severity.NOTE if omitted else None,
            connector_id=connector_id,
            evidence=(known.seq,),
            key=f"{known.status}>{status}",
        )
    ]


def not_repeated(step: Step) -> Iterable[Found] | Unknown | None:
    """The same status is not sent again without a change of errorCode, info or vendorErrorCode.

    OCPP 1.6 §4.9. Pitfalls: legal after a boot, a connection, TriggerMessage and a request to be Operative.
    """
    connector_id, status = _report(step)
    known = step.before.connectors.get(connector_id) if connector_id is not None else None
    if known is None or connector_id is None:
        return NO_EARLIER_STATUS
    if known.status != status:
        return None
    payload, before = step.payload, step.before
    told = (payload.get("errorCode"), payload.get("info", ""), payload.get("vendorErrorCode", ""))
    if told != (known.error_code, known.info, known.vendor_error):
        return None
    asked_us = before.triggers.get("StatusNotification")
    if asked_us is not None and step.event.at_us - asked_us <= step.profile.tolerances.triggered_us:
        return None
    for number in (connector_id, 0):
        available = before.availability.get(number)
        if available is not None and available.at_us >= known.at_us:
            return None
    return [
        Found(
            detail=f"connector {connector_id} reports {status} again, nothing changed",
            connector_id=connector_id,
            evidence=(known.seq,),
        )
    ]


def connector_0_status(step: Step) -> Iterable[Found] | Unknown | None:
    """Connector 0 is only Available, Unavailable or Faulted.

    OCPP 1.6 §4.9, §7.7. Pitfalls: none.
    """
    connector_id, status = _report(step)
    if connector_id is None:
        return NO_CONNECTOR
    if connector_id != 0 or not status or status in CONNECTOR_0_STATUSES:
        return None
    return [Found(detail=f"connector 0 reports {status}", connector_id=0, key=status)]


def connector_in_range(step: Step) -> Iterable[Found] | Unknown | None:
    """A connectorId lies between 0 and NumberOfConnectors.

    OCPP 1.6 §3.8. Pitfalls: the number comes from GetConfiguration (error) or only from the certificate
    (drift); unknown, only negative numbers are judged.
    """
    connector_id = integer(step.payload.get("connectorId"))
    if connector_id is None:
        return NO_CONNECTOR
    if connector_id < 0:
        return [Found(detail=f"connectorId {connector_id}", connector_id=connector_id)]
    known = step.seconds_in_force("NumberOfConnectors")
    if known is None:
        return NO_VALUE
    if connector_id <= known[0]:
        return None
    return [
        Found(
            detail=f"connectorId {connector_id} of {known[0]} connectors",
            severity=None if known[1].observed else Severity.DRIFT,
            connector_id=connector_id,
            provenance=known[1].provenance,
        )
    ]


def never_reserved(step: Step) -> Iterable[Found] | Unknown | None:
    """``Reserved`` does not occur: the Reservation profile is not certified.

    Certificate, functionalities. Pitfalls: a local reservation feature could exist.
    """
    certificate = step.profile.certificate
    if certificate is None:
        return NO_CERTIFICATE
    connector_id, status = _report(step)
    if status != "Reserved" or "Reservation" in certificate.profiles:
        return None
    return [Found(detail=f"connector {connector_id} reports Reserved", connector_id=connector_id)]


def faulted_has_a_code(step: Step) -> Iterable[Found] | Unknown | None:
    """Faulted comes with an errorCode other than NoError.

    OCPP 1.6 §4.9, §7.6. Pitfalls: an errorCode in another status is a warning of the station, and legal.
    """
    connector_id, status = _report(step)
    if not status:
        return _NO_STATUS
    if status != "Faulted" or step.payload.get("errorCode") != "NoError":
        return None
    return [Found(detail=f"connector {connector_id} Faulted with NoError", connector_id=connector_id)]


def ev_communication_error(step: Step) -> Iterable[Found] | Unknown | None:
    """EVCommunicationError comes only with Preparing, SuspendedEV, SuspendedEVSE or Finishing.

    OCPP 1.6 §4.9 (SHALL). Pitfalls: none.
    """
    connector_id, status = _report(step)
    if not status:
        return _NO_STATUS
    if step.payload.get("errorCode") != "EVCommunicationError" or status in _EV_ERROR_STATUSES:
        return None
    return [Found(detail=f"EVCommunicationError while {status}", connector_id=connector_id)]


def fault_returns(step: Step) -> Iterable[Found] | Unknown | None:
    """A cleared fault returns to the status before the fault.

    OCPP 1.6 §4.9, I1 to I8. Pitfalls: what happened meanwhile explains another status: the transaction ended,
    with the fault or before it was reported, the car left or came, the availability was changed; after a boot
    or a connection nothing is known.
    """
    connector_id, status = _report(step)
    known = step.before.connectors.get(connector_id) if connector_id is not None else None
    if known is None or connector_id is None:
        return NO_EARLIER_STATUS
    if known.status != "Faulted" or status == "Faulted" or connector_id == 0:
        return None
    earlier = known.before_fault
    if not earlier:
        return _NO_FAULT_BEGIN
    stopped = step.before.last_stop.get(connector_id)
    if status == earlier or (stopped is not None and stopped.stop_arrived_us >= known.since_us):
        return None
    if earlier in IN_TRANSACTION and status in _AFTER_TRANSACTION and _has_ended(step, known):
        return None
    available = step.before.availability.get(connector_id) or step.before.availability.get(0)
    if available is not None and available.at_us >= known.since_us:
        return None
    plugged = earlier in ("Available", "Finishing") and status == "Preparing"
    left = earlier in ("Preparing", "Finishing") and status == "Available"
    held = {earlier, status} <= {"Charging", "SuspendedEV", "SuspendedEVSE"}
    timed_out = earlier == "Preparing" and status == "Finishing" and _had_time_out(step, known)  # B6
    if plugged or left or held:
        return None
    return [
        Found(
            detail=f"connector {connector_id}: {earlier}, then Faulted, then {status}"
            + (", ConnectionTimeOut may have passed" if timed_out else ""),
            severity=Severity.NOTE if timed_out else None,
            connector_id=connector_id,
            evidence=(known.seq,),
        )
    ]


def _has_ended(step: Step, faulted: Connector) -> bool:
    """Whether the transaction ended: its StopTransaction may still be on the way, and S010 waits for it."""
    open_ = any(tx.connector_id == _report(step)[0] for tx in step.before.transactions.values())
    soon = step.event.at_us - faulted.since_us <= step.before.patience.status_us
    return not open_ or soon or step.before.queue_waits


def _had_time_out(step: Step, faulted: Connector) -> bool:
    """Whether ConnectionTimeOut may have passed since the status before the fault."""
    known = step.seconds_in_force("ConnectionTimeOut")
    since_us = faulted.changed_us[-2] if len(faulted.changed_us) > 1 else 0
    return known is None or step.event.at_us - since_us >= known[0] * 1_000_000


def error_code_fits_product(step: Step) -> Iterable[Found] | Unknown | None:
    """No ConnectorLockFailure from a fixed cable, no LocalListConflict without a list.

    Certificate, hardware and functionalities. Pitfalls: none.
    """
    certificate = step.profile.certificate
    if certificate is None:
        return NO_CERTIFICATE
    code = word(step.payload.get("errorCode"))
    lock = code == "ConnectorLockFailure" and certificate.fixed_cable
    listed = code == "LocalListConflict" and "Local Authorization List Manager" not in certificate.profiles
    if not (lock or listed):
        return None
    return [Found(detail=f"errorCode {code}", connector_id=_report(step)[0], key=code)]


def _report(step: Step) -> tuple[int | None, str]:
    return integer(step.payload.get("connectorId")), word(step.payload.get("status"))
