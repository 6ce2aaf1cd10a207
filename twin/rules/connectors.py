"""Family S: connector numbers and status."""

from collections.abc import Iterable

from twin.model import Severity
from twin.protocol.connectors import CONNECTOR_0_STATUSES, TRANSITIONS, omitted_between
from twin.protocol.fold import integer, word
from twin.rules.step import Found, Step


def transition_in_table(step: Step) -> Iterable[Found] | None:
    """A status change is one of the possible transitions of OCPP 1.6 §4.9.

    Pitfalls: the table is descriptive; short states may vanish (MinimumStatusDuration), so what is reachable
    in two steps is a note; the first status after a boot, a reconnect or a gap is not judged.
    """
    connector_id, status = _report(step)
    known = step.before.connectors.get(connector_id) if connector_id is not None else None
    if known is None or not connector_id or status == known.status:
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


def connector_0_status(step: Step) -> Iterable[Found] | None:
    """Connector 0 is only Available, Unavailable or Faulted.

    OCPP 1.6 §4.9, §7.7. Pitfalls: none.
    """
    connector_id, status = _report(step)
    if connector_id != 0 or not status or status in CONNECTOR_0_STATUSES:
        return None
    return [Found(detail=f"connector 0 reports {status}", connector_id=0, key=status)]


def connector_in_range(step: Step) -> Iterable[Found] | None:
    """A connectorId lies between 0 and NumberOfConnectors.

    OCPP 1.6 §3.8. Pitfalls: the number comes from GetConfiguration (error) or only from the certificate
    (drift); unknown, only negative numbers are judged.
    """
    connector_id = integer(step.payload.get("connectorId"))
    if connector_id is None:
        return None
    if connector_id < 0:
        return [Found(detail=f"connectorId {connector_id}", connector_id=connector_id)]
    known = step.seconds_in_force("NumberOfConnectors")
    if known is None or connector_id <= known[0]:
        return None
    return [
        Found(
            detail=f"connectorId {connector_id} of {known[0]} connectors",
            severity=None if known[1].observed else Severity.DRIFT,
            connector_id=connector_id,
            provenance=known[1].provenance,
        )
    ]


def never_reserved(step: Step) -> Iterable[Found] | None:
    """``Reserved`` does not occur: the Reservation profile is not certified.

    Certificate, functionalities. Pitfalls: a local reservation feature could exist.
    """
    connector_id, status = _report(step)
    certificate = step.profile.certificate
    if status != "Reserved" or certificate is None or "Reservation" in certificate.profiles:
        return None
    return [Found(detail=f"connector {connector_id} reports Reserved", connector_id=connector_id)]


def faulted_has_a_code(step: Step) -> Iterable[Found] | None:
    """Faulted comes with an errorCode other than NoError.

    OCPP 1.6 §4.9, §7.6. Pitfalls: an errorCode in another status is a warning of the station, and legal.
    """
    connector_id, status = _report(step)
    if status != "Faulted" or step.payload.get("errorCode") != "NoError":
        return None
    return [Found(detail=f"connector {connector_id} Faulted with NoError", connector_id=connector_id)]


def ev_communication_error(step: Step) -> Iterable[Found] | None:
    """EVCommunicationError comes only with Preparing, SuspendedEV, SuspendedEVSE or Finishing.

    OCPP 1.6 §4.9 (SHALL). Pitfalls: none.
    """
    connector_id, status = _report(step)
    fitting = ("Preparing", "SuspendedEV", "SuspendedEVSE", "Finishing")
    if step.payload.get("errorCode") != "EVCommunicationError" or status in fitting:
        return None
    return [Found(detail=f"EVCommunicationError while {status}", connector_id=connector_id)]


def error_code_fits_product(step: Step) -> Iterable[Found] | None:
    """No ConnectorLockFailure from a fixed cable, no LocalListConflict without a list.

    Certificate, hardware and functionalities. Pitfalls: none.
    """
    certificate = step.profile.certificate
    if certificate is None:
        return None
    code = word(step.payload.get("errorCode"))
    lock = code == "ConnectorLockFailure" and certificate.fixed_cable
    listed = code == "LocalListConflict" and "Local Authorization List Manager" not in certificate.profiles
    if not (lock or listed):
        return None
    return [Found(detail=f"errorCode {code}", connector_id=_report(step)[0], key=code)]


def _report(step: Step) -> tuple[int | None, str]:
    return integer(step.payload.get("connectorId")), word(step.payload.get("status"))
