"""Family S, second part: status against transactions, time-outs, availability and time."""

from collections.abc import Iterable

from twin.model import EventKind, Fault, Severity
from twin.protocol.connectors import IN_TRANSACTION
from twin.protocol.fold import integer, word
from twin.protocol.fold.connectors import ev_side_disconnected
from twin.protocol.state import Connector, Transaction
from twin.protocol.timestamps import parse_stamp
from twin.rules.step import (
    NO_BOOT,
    NO_CONNECTOR,
    NO_EARLIER_STATUS,
    NO_STAMP,
    NO_TIMES,
    NO_TRANSACTION,
    NO_VALUE,
    QUEUED,
    Found,
    Step,
    Unknown,
)

_AFTER_STOP = ("Finishing", "Available", "Unavailable", "Faulted")
_MOMENT_US = 2_000_000
_MINUTE_US = 60_000_000
_NOT_SET = Unknown("no ChangeAvailability was seen")


def status_fits_transaction(step: Step) -> Iterable[Found] | Unknown | None:
    """An open transaction is Charging, Suspended or Faulted, and without one no connector is.

    OCPP 1.6 §7.7. Pitfalls: StartTransaction and the status may come in either order, so ten seconds are
    granted, more while the station is held up; a transaction from the queue says nothing about the present;
    one may outlive the first boot of a capture, until its connector was seen free.
    """
    if step.event.action == "StopTransaction":
        return _stopped_after_available(step)
    if step.event.kind is not EventKind.OVERDUE:
        connector_id = integer(step.payload.get("connectorId"))
        open_ = connector_id is not None and step.before.transaction_on(connector_id) is not None
        if open_ or word(step.payload.get("status")) not in IN_TRANSACTION or connector_id is None:
            return None
        if not step.before.known_from_boot:
            return NO_BOOT
        return None if step.after.connector_known(connector_id) else NO_TRANSACTION
    awaited, before = step.event.awaited, step.before
    if awaited is None or awaited.connector_id is None:
        return None
    connector = before.connectors.get(awaited.connector_id)
    transaction = before.transaction_on(awaited.connector_id)
    if connector is None or before.queue_waits:
        return None
    if transaction is None and before.unanswered_starts.get(awaited.connector_id):
        return None  # ER 3.18: it charges without an id
    if transaction is not None and connector.status not in IN_TRANSACTION:
        detail = f"connector {awaited.connector_id} {connector.status} while transaction "
        detail += f"{transaction.transaction_id} is open"
        evidence: tuple[int, ...] = (transaction.start_seq, connector.seq)
    elif transaction is None and connector.status in IN_TRANSACTION:
        detail = f"connector {awaited.connector_id} {connector.status} without a transaction"
        evidence = (connector.seq,)
    else:
        return None
    return [
        Found(
            detail=f"{detail} for {(step.event.at_us - awaited.since_us) / 1e6:.0f} s",
            fault=Fault.STATION,
            connector_id=awaited.connector_id,
            transaction_id=transaction.transaction_id if transaction else None,
            evidence=evidence,
            key=str(connector.seq),
        )
    ]


def _stopped_after_available(step: Step) -> list[Found] | Unknown | None:
    """The connector was free before its transaction had ended."""
    transaction_id = integer(step.payload.get("transactionId"))
    transaction = step.before.transactions.get(transaction_id) if transaction_id is not None else None
    if transaction is None:
        return NO_TRANSACTION
    connector = step.before.connectors.get(transaction.connector_id)
    if connector is None or connector.status != "Available" or connector.seq < transaction.start_seq:
        return None
    stopped = parse_stamp(word(step.payload.get("timestamp")))
    if stopped is not None and step.before.socket.whole and step.before.perhaps_queued(stopped.at_us):
        return QUEUED  # the present status goes first, the queue follows
    apart_us = step.event.at_us - connector.at_us
    between = transaction.latest_seq > connector.seq
    waited = step.before.queue_waits or step.before.held_up(connector.at_us, step.event.at_us)
    if transaction.queued or waited or (apart_us <= _MOMENT_US and not between):
        return None
    return [
        Found(
            detail=f"StopTransaction {apart_us / 1e6:.1f} s after Available"
            + (", and meter values in between" if between else ""),
            connector_id=transaction.connector_id,
            transaction_id=transaction_id,
            evidence=(connector.seq, transaction.latest_seq),
            key="stop",
        )
    ]


def status_after_stop(step: Step) -> Iterable[Found] | Unknown | None:
    """After StopTransaction a connector is Finishing, Available or Unavailable.

    OCPP 1.6 §4.9 (C1, C6, C8 and their like). Pitfalls: the status may come first; after a boot, Preparing is
    right too; the next transaction explains anything.
    """
    stopped = _just_stopped(step)
    if isinstance(stopped, Unknown):
        return stopped
    connector_id, status = integer(step.payload.get("connectorId")), word(step.payload.get("status"))
    if stopped is None or connector_id is None or status in _AFTER_STOP:
        return None
    known = step.before.connectors.get(connector_id)
    if known is None or known.status not in IN_TRANSACTION or known.status == "Faulted":
        return None  # the end was reported before the Stop
    if status in IN_TRANSACTION:
        return None  # on its way still; S010 speaks if it stays
    return [
        Found(
            detail=f"connector {connector_id}: {known.status} to {status} after StopTransaction",
            connector_id=connector_id,
            transaction_id=stopped.transaction_id,
            evidence=tuple(seq for seq in (stopped.stop_seq,) if seq is not None),
        )
    ]


def ev_side_told(step: Step) -> Iterable[Found] | Unknown | None:
    """After StopTransaction(EVDisconnected) Finishing carries the info "EV side disconnected".

    OCPP 1.6 §4.9 (SHOULD). Pitfalls: the text contradicts itself for a fixed cable, so Available at once is
    fine too; only Finishing without the info is told.
    """
    stopped = _just_stopped(step)
    if isinstance(stopped, Unknown):
        return stopped
    if stopped is None or stopped.reason != "EVDisconnected" or step.payload.get("status") != "Finishing":
        return None
    if ev_side_disconnected(word(step.payload.get("info"))):
        return None
    connector_id = integer(step.payload.get("connectorId"))
    detail = f"connector {connector_id} Finishing without the info 'EV side disconnected'"
    return [Found(detail=detail, connector_id=connector_id, transaction_id=stopped.transaction_id)]


def preparing_ends(step: Step) -> Iterable[Found] | Unknown | None:
    """Preparing without a transaction ends after ConnectionTimeOut.

    OCPP 1.6 §9.1.6, ER 3.20, 3.21, 3.76, 3.87. Pitfalls: the timer begins with Preparing; a plugged car that
    nobody authorized may stay in Preparing for ever, which is only a note; an idTag waits at one connector,
    and it may be another one that is Preparing for it; leaving early is normal.
    """
    before = step.before
    if step.event.kind is not EventKind.OVERDUE:
        if step.payload.get("status") == "Preparing" and before.text_in_force("ConnectionTimeOut") is None:
            return NO_VALUE
        return None
    awaited = step.event.awaited
    connector = before.connectors.get(awaited.connector_id or 0) if awaited else None
    if awaited is None or connector is None or connector.status != "Preparing":
        return None
    authorized = _is_authorized(step, awaited.connector_id or 0, connector)
    value = step.in_force("ConnectionTimeOut")
    waited_s = (step.event.at_us - connector.since_us) / 1e6
    return [
        Found(
            detail=f"connector {awaited.connector_id} Preparing for {waited_s:.0f} s, ConnectionTimeOut "
            f"{value.value if value else '?'} s" + ("" if authorized else ", nobody authorized"),
            severity=None if authorized else Severity.NOTE,
            fault=Fault.STATION,
            connector_id=awaited.connector_id,
            evidence=(connector.seq,),
            provenance=value.provenance if value else "",
        )
    ]


def _is_authorized(step: Step, connector_id: int, connector: Connector) -> bool:
    """Whether more idTags were presented since it is Preparing than started, or wait at another connector."""
    before = step.before
    # a boot loses what waited; and where it waited is not told again on a new connection
    since_us = max(connector.since_us - _MINUTE_US, before.last_boot_us or 0, before.socket.opened_us or 0)
    remote = {tag: told for tag, told in before.remote_starts.items() if told.at_us >= since_us}
    if any(told.connector_id == connector_id for told in remote.values()):
        return True
    elsewhere = {tag for tag, told in remote.items() if told.connector_id is not None}
    tags = {
        tag
        for tag, told in before.id_tags.items()
        if told.status == "Accepted" and told.action == "Authorize" and told.at_us >= since_us
    }
    started = [
        tx for tx in (*before.transactions.values(), *before.ended.values()) if tx.arrived_us >= since_us
    ]
    begun = {tx.connector_id for tx in started}
    waiting = [
        number
        for number, other in before.connectors.items()
        if number not in begun | {0, connector_id}
        and (other.status == "Preparing" or (other.before == "Preparing" and other.since_us >= since_us))
    ]
    return len((tags | remote.keys()) - elsewhere) > len(started) + len(waiting)


def availability_persists(step: Step) -> Iterable[Found] | Unknown | None:
    """Unavailable by ChangeAvailability survives a boot.

    OCPP 1.6 §4.9, §5.2. Pitfalls: somebody may have made it Operative at the station, so without a Reset of
    the CSMS it is a warning.
    """
    before = step.before
    connector_id, status = integer(step.payload.get("connectorId")), word(step.payload.get("status"))
    if connector_id is None or not connector_id:
        return NO_CONNECTOR if connector_id is None else None
    told = [a for a in (before.availability.get(connector_id), before.availability.get(0)) if a is not None]
    if not told:
        return _NOT_SET
    newest = max(told, key=lambda one: one.at_us)
    if newest.operative or newest.scheduled or before.last_boot_us is None:
        return None
    first = connector_id not in before.connectors and newest.at_us < before.last_boot_us
    if not first or status in ("Unavailable", "Faulted"):
        return None
    reset = before.reset
    asked = reset is not None and newest.at_us <= reset.at_us <= before.last_boot_us
    return [
        Found(
            detail=f"connector {connector_id} {status} after the boot, made Unavailable before it",
            severity=None if asked else Severity.WARNING,
            connector_id=connector_id,
            evidence=(newest.seq,),
        )
    ]


def status_in_order(step: Step) -> Iterable[Found] | Unknown | None:
    """Statuses are sent in the order of their events: the stamps of a connector do not fall.

    OCPP 1.6 §4.9 (MUST). Pitfalls: the stamp is optional; a clock that was corrected in between may step
    back; a second is granted, for stamps may be rounded.
    """
    connector_id = integer(step.payload.get("connectorId"))
    known = step.before.connectors.get(connector_id) if connector_id is not None else None
    stamp = parse_stamp(word(step.payload.get("timestamp")))
    if stamp is None:
        return NO_STAMP
    if known is None or known.stamp_us is None:
        return NO_EARLIER_STATUS
    fall_us = known.stamp_us - stamp.at_us
    if fall_us <= step.profile.tolerances.order_us:
        return None
    synced_us = step.before.clock.synced_us
    if synced_us is not None and synced_us >= known.at_us:
        return None  # its clock may just have been set
    return [
        Found(
            detail=f"connector {connector_id}: status stamped {fall_us / 1e6:.3f} s before the last one",
            connector_id=connector_id,
            evidence=(known.seq,),
        )
    ]


def change_is_reported(step: Step) -> Iterable[Found] | Unknown | None:
    """A status change is reported: after StartTransaction the connector is Charging or Suspended.

    ER 3.19 (SHALL). Pitfalls: MinimumStatusDuration may hide short states; a minute is granted.
    """
    if step.event.kind is not EventKind.OVERDUE:
        return NO_TIMES if step.event.frame and step.event.frame.facts.get("interpolated") else None
    awaited = step.event.awaited
    if awaited is None or awaited.transaction_id not in step.before.transactions:
        return None
    connector = step.before.connectors.get(awaited.connector_id or 0)
    if connector is not None and connector.status in IN_TRANSACTION:
        return None
    return [
        Found(
            detail=f"transaction {awaited.transaction_id} began, connector {awaited.connector_id} reported "
            f"neither Charging nor Suspended for {(step.event.at_us - awaited.since_us) / 1e6:.0f} s",
            fault=Fault.STATION,
            connector_id=awaited.connector_id,
            transaction_id=awaited.transaction_id,
        )
    ]


def no_flapping(step: Step) -> Iterable[Found] | Unknown | None:
    """A connector does not change its status more than six times a minute.

    Seen in the field. Pitfalls: a car that wakes up may change it a few times.
    """
    connector_id = integer(step.payload.get("connectorId"))
    known = step.after.connectors.get(connector_id) if connector_id is not None else None
    if known is None:
        return NO_CONNECTOR
    flaps = step.profile.tolerances.flaps
    if len(known.changed_us) <= flaps or step.event.frame is None:
        return None
    if step.event.frame.facts.get("interpolated"):
        return NO_TIMES
    if known.changed_us[-1] - known.changed_us[-flaps - 1] > _MINUTE_US:
        return None
    return [
        Found(detail=f"connector {connector_id}: over {flaps} changes a minute", connector_id=connector_id)
    ]


def _just_stopped(step: Step) -> Transaction | Unknown | None:
    """The transaction whose StopTransaction came since the connector's last status, if none runs now."""
    connector_id = integer(step.payload.get("connectorId"))
    if connector_id is None:
        return NO_CONNECTOR
    before = step.before
    stopped = before.last_stop.get(connector_id)
    if stopped is None:
        return NO_TRANSACTION
    known = before.connectors.get(connector_id)
    if known is None or known.at_us > stopped.stop_arrived_us:
        return None
    if before.last_boot_us is not None and before.last_boot_us > stopped.stop_arrived_us:
        return None
    running = before.transaction_on(connector_id) is not None
    starting = any(tx.connector_id == connector_id for tx in before.starting.values())
    return None if running or starting else stopped
