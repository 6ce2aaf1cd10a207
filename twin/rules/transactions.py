"""Family T: authorization and transactions."""

from collections.abc import Iterable, Iterator
from decimal import Decimal

from twin.model import Fault, Severity, Side
from twin.protocol import metering
from twin.protocol.fold import advance, integer, word
from twin.protocol.state import Transaction
from twin.protocol.timestamps import parse_stamp
from twin.rules.step import Found, Step

_TRUE = "true"
_REGISTER_END = 2_147_483_647


def authorized_before_start(step: Step) -> Iterable[Found] | None:
    """An online local start is preceded by an accepted Authorize of its idTag.

    OCPP 1.6 §4.1, §9.1.13. Pitfalls: drift where the configuration is only certified; unknown before the
    first Boot of the capture; an offline start is R007, a refused tag T003, a remote start T002; any earlier
    Accepted counts.
    """
    tag = word(step.payload.get("idTag")).casefold()
    before = step.before
    if not tag or not before.known_from_boot or tag in before.id_tags or tag in before.remote_starts:
        return None
    started = parse_stamp(word(step.payload.get("timestamp")))
    if started is None or before.link_open_us is None or started.at_us < before.link_open_us:
        return None
    ways = [
        step.in_force(key)
        for key in ("LocalPreAuthorize", "AuthorizationCacheEnabled", "LocalAuthListEnabled")
    ]
    if any(way is not None and way.value.casefold() == _TRUE for way in ways) or ways[0] is None:
        return None
    return [
        Found(
            detail="StartTransaction without an accepted Authorize of its idTag",
            severity=None if ways[0].observed else Severity.DRIFT,
            connector_id=integer(step.payload.get("connectorId")),
            provenance=f"LocalPreAuthorize {ways[0].provenance}",
            key=str(step.event.frame.seq if step.event.frame else ""),
        )
    ]


def not_started_when_refused(step: Step) -> Iterable[Found] | None:
    """No StartTransaction with an idTag whose last answer was not Accepted.

    OCPP 1.6 §4.1 (SHALL). Pitfalls: ConcurrentTx belongs to the running transaction of that tag; a later
    Accepted lifts the refusal.
    """
    verdict = step.before.id_tags.get(word(step.payload.get("idTag")).casefold())
    if verdict is None or verdict.status in ("Accepted", "ConcurrentTx"):
        return None
    return [
        Found(
            detail=f"StartTransaction with an idTag answered {verdict.status[:40]}",
            connector_id=integer(step.payload.get("connectorId")),
            evidence=(verdict.seq,),
        )
    ]


def start_on_a_connector(step: Step) -> Iterable[Found] | None:
    """StartTransaction.connectorId is at least 1.

    OCPP 1.6 §6.45. Pitfalls: the schema does not check it.
    """
    connector_id = integer(step.payload.get("connectorId"))
    if connector_id is None or connector_id != 0:
        return None
    return [Found(detail="StartTransaction on connector 0", connector_id=0)]


def one_transaction_per_connector(step: Step) -> Iterable[Found] | None:
    """A connector has one open transaction.

    OCPP 1.6 §2.2, §4.8. Pitfalls: a Stop may have been lost in a gap (then everything is unknown); the same
    StartTransaction sent again is a retransmission, not a second transaction.
    """
    connector_id = integer(step.payload.get("connectorId"))
    if connector_id is None:
        return None
    others = [
        transaction
        for transaction in (*step.before.transactions.values(), *step.before.starting.values())
        if transaction.connector_id == connector_id and not _same_start(transaction, step)
    ]
    if not others:
        return None
    return [
        Found(
            detail=f"connector {connector_id} starts while transaction {others[-1].transaction_id} is open",
            connector_id=connector_id,
            evidence=(others[-1].start_seq,),
            key=str(others[-1].start_seq),
        )
    ]


def no_reservation_id(step: Step) -> Iterable[Found] | None:
    """StartTransaction.reservationId is absent: the Reservation profile is not certified.

    Certificate, functionalities. Pitfalls: some stations send 0 for "none"; that is counted too.
    """
    certificate = step.profile.certificate
    if certificate is None or "Reservation" in certificate.profiles or "reservationId" not in step.payload:
        return None
    return [Found(detail=f"reservationId {step.payload['reservationId']}")]


def transaction_id_unique(step: Step) -> Iterable[Found] | None:
    """The CSMS gives each transaction an id of its own, greater than 0.

    OCPP 1.6 §6.46, ER 3.54. Pitfalls: answering a retransmitted StartTransaction with the same id is ideal;
    0 and negative ids are a warning.
    """
    transaction_id = integer(step.payload.get("transactionId"))
    if transaction_id is None:
        return None
    same = step.before.transactions.get(transaction_id)
    if same is not None and not _same_start_payload(same, step.asked):
        return [
            Found(
                detail=f"transactionId {transaction_id} belongs to an open transaction",
                severity=Severity.ERROR,
                connector_id=integer(step.asked.get("connectorId")),
                transaction_id=transaction_id,
                evidence=(same.start_seq,),
            )
        ]
    if transaction_id > 0:
        return None
    return [Found(detail=f"transactionId {transaction_id}", key="not positive")]


def uses_the_id_given(step: Step) -> Iterable[Found] | None:
    """StopTransaction and MeterValues carry the id of StartTransaction.conf.

    ER 3.18; -1 only if StartTransaction was never answered. Pitfalls: a transaction older than the capture
    is unknown, so an unknown id counts only when the capture began with a Boot and the payload is younger;
    another id than the one open on the connector always counts.
    """
    transaction_id = integer(step.payload.get("transactionId"))
    before = step.before
    if transaction_id is None or transaction_id in before.transactions or transaction_id in before.ended:
        return None
    connector_id = integer(step.payload.get("connectorId"))
    if step.event.action == "MeterValues" and connector_id:
        if any(start.connector_id == connector_id for start in before.starting.values()):
            return None  # the id is not known yet
        running = before.transaction_on(connector_id)
        if running is not None:
            detail = f"transactionId {transaction_id}, but {running.transaction_id} is open on {connector_id}"
            return [_wrong_id(step, detail, (running.start_seq,))]
    if transaction_id == -1 and (before.unanswered_starts or not before.known_from_boot):
        return None
    stamp = next(iter(_stamps_us(step)), None)
    if not before.known_from_boot or before.starting:
        return None
    if stamp is None or before.booted_us is None or stamp < before.booted_us:
        return None
    return [_wrong_id(step, f"unknown transactionId {transaction_id}", ())]


def meter_stop_not_below_start(step: Step) -> Iterable[Found] | None:
    """meterStop is not below meterStart.

    OCPP 1.6 §7.31. Pitfalls: both are integers of one register, so there is no tolerance; a huge negative
    difference is a rollover or a replaced meter, hence a warning.
    """
    transaction, meter_stop_wh = _stopping(step)
    if transaction is None or meter_stop_wh is None or transaction.meter_start_wh is None:
        return None
    fall_wh = transaction.meter_start_wh - meter_stop_wh
    if fall_wh <= 0:
        return None
    replaced = fall_wh > 1_000_000
    return [
        Found(
            detail=f"meterStop {meter_stop_wh} Wh below meterStart {transaction.meter_start_wh} Wh"
            + (": meter replaced?" if replaced else ""),
            severity=Severity.WARNING if replaced else None,
            connector_id=transaction.connector_id,
            transaction_id=transaction.transaction_id,
            evidence=(transaction.start_seq,),
        )
    ]


def register_does_not_fall(step: Step) -> Iterable[Found] | None:
    """Energy.Active.Import.Register does not fall within a transaction, meterStart and meterStop included.

    ER 3.77. Pitfalls: Wh and kWh are normalised; one unit of the last printed digit, and 1 Wh between samples
    and the integers of Start and Stop, is rounding; Inlet and single phases are other registers; a sample
    older than the newest one is not compared.
    """
    transaction = _transaction_of(step)
    if transaction is None:
        return None
    seq = step.event.frame.seq if step.event.frame else 0
    for sample in step.meter_values:
        register = metering.energy_wh(sample)
        known = transaction.register_wh
        if register and known is not None and _not_older(sample.stamp_us, transaction.register_us):
            slack_wh = max(register[1], transaction.resolution_wh, Decimal(step.profile.tolerances.energy_wh))
            if register[0] < known - slack_wh:
                return [_falls(transaction, register[0])]
        transaction = advance(transaction, sample, seq)
    meter_stop_wh = _stopping(step)[1]
    known = transaction.register_wh
    if meter_stop_wh is None or known is None or transaction.register_seq == transaction.start_seq:
        return None
    slack_wh = max(transaction.resolution_wh, Decimal(step.profile.tolerances.energy_wh))
    return [_falls(transaction, Decimal(meter_stop_wh))] if meter_stop_wh < known - slack_wh else None


def remote_stop_of_known_id(step: Step) -> Iterable[Found] | None:
    """RemoteStopTransaction of an open transaction is Accepted, of an ended one Rejected.

    OCPP 1.6 §5.12. Pitfalls: an id is known only if its StartTransaction.conf was seen.
    """
    transaction_id = integer(step.asked.get("transactionId"))
    status = step.payload.get("status")
    if transaction_id is None:
        return None
    if transaction_id in step.before.transactions and status == "Rejected":
        return [Found(detail=f"open transaction {transaction_id} Rejected", transaction_id=transaction_id)]
    if transaction_id in step.before.ended and status == "Accepted":
        return [Found(detail=f"ended transaction {transaction_id} Accepted", transaction_id=transaction_id)]
    return None


def transaction_messages_answered(step: Step) -> Iterable[Found] | None:
    """The CSMS answers StartTransaction, StopTransaction and MeterValues even if their content is odd.

    OCPP 1.6 §4.7, §4.8, §4.10. Pitfalls: without an answer the station repeats and then drops the data.
    """
    event = step.event
    if event.why != "expired" or event.sender is not Side.STATION or event.asked is None:
        return None
    return [
        Found(
            detail=f"{event.action} unanswered for {(event.at_us - event.asked.frame.at_us) / 1e6:g} s",
            fault=Fault.CSMS,
        )
    ]


def stop_stays_deliverable(step: Step) -> Iterable[Found] | None:
    """The StopTransaction frame stays deliverable.

    ER 3.89. Pitfalls: the certificate declares no limit for transactionData; receivers have one.
    """
    frame = step.event.frame
    size = len(frame.text.encode(errors="replace")) if frame and frame.text else 0
    if size < step.profile.tolerances.stop_frame_bytes:
        return None
    return [Found(detail=f"StopTransaction of {size:,} bytes")]


def unlock_not_supported(step: Step) -> Iterable[Found] | None:
    """UnlockConnector of a station with fixed cable is answered NotSupported.

    OCPP 1.6 §7.46, ER 3.85, certificate (fixed cable). Pitfalls: an unknown connector is an error, a known
    one only differs from the certificate.
    """
    certificate = step.profile.certificate
    status = word(step.payload.get("status"))
    if certificate is None or not certificate.fixed_cable or not status or status == "NotSupported":
        return None
    connector_id = integer(step.asked.get("connectorId"))
    connectors = certificate.certified("NumberOfConnectors")
    unknown = connector_id is not None and isinstance(connectors, int) and not 1 <= connector_id <= connectors
    return [
        Found(
            detail=f"UnlockConnector({connector_id}) answered {status}",
            severity=Severity.ERROR if unknown else None,
            connector_id=connector_id,
            provenance="certified: fixed cable",
        )
    ]


def data_transfer_refused_bare(step: Step) -> Iterable[Found] | None:
    """DataTransfer answered UnknownVendorId carries no data.

    OCPP 1.6 §4.3. Pitfalls: none.
    """
    if step.payload.get("status") != "UnknownVendorId" or not step.payload.get("data"):
        return None
    return [Found(detail="data with UnknownVendorId")]


def failed_start(step: Step) -> Iterable[Found] | None:
    """A transaction that ends at once with 0 Wh and reason Other is a failed start.

    Seen in the field: 0.5 s, then success on retry; not a violation. Pitfalls: none.
    """
    transaction, meter_stop_wh = _stopping(step)
    stopped = parse_stamp(word(step.payload.get("timestamp")))
    if transaction is None or stopped is None or transaction.started_us is None:
        return None
    lasted_us = stopped.at_us - transaction.started_us
    if (
        step.payload.get("reason") != "Other"
        or meter_stop_wh != transaction.meter_start_wh
        or lasted_us > step.profile.tolerances.failed_start_us
    ):
        return None
    return [
        Found(
            detail=f"stopped after {lasted_us / 1e6:g} s with 0 Wh, reason Other",
            connector_id=transaction.connector_id,
            transaction_id=transaction.transaction_id,
            evidence=(transaction.start_seq,),
        )
    ]


def _wrong_id(step: Step, detail: str, evidence: tuple[int, ...]) -> Found:
    return Found(
        detail=f"{step.event.action}: {detail}",
        connector_id=integer(step.payload.get("connectorId")),
        transaction_id=integer(step.payload.get("transactionId")),
        evidence=evidence,
    )


def _falls(transaction: Transaction, to_wh: Decimal) -> Found:
    return Found(
        detail=f"register falls from {_plain(transaction.register_wh)} Wh to {_plain(to_wh)} Wh",
        connector_id=transaction.connector_id,
        transaction_id=transaction.transaction_id,
        evidence=(transaction.register_seq,),
    )


def _plain(value: Decimal | None) -> str:
    return f"{value:f}" if value is not None else "?"


def _not_older(stamp_us: int | None, than_us: int | None) -> bool:
    return stamp_us is not None and (than_us is None or stamp_us >= than_us)


def _transaction_of(step: Step) -> Transaction | None:
    transaction_id = integer(step.payload.get("transactionId"))
    return None if transaction_id is None else step.before.transactions.get(transaction_id)


def _stopping(step: Step) -> tuple[Transaction | None, int | None]:
    return _transaction_of(step), integer(step.payload.get("meterStop"))


def _same_start(transaction: Transaction, step: Step) -> bool:
    return _same_start_payload(transaction, step.payload)


def _same_start_payload(transaction: Transaction, payload: dict[str, object]) -> bool:
    """Whether a StartTransaction is a retransmission: connector, idTag, meterStart and timestamp agree."""
    stamp = parse_stamp(word(payload.get("timestamp")))
    return (
        transaction.connector_id == payload.get("connectorId")
        and transaction.id_tag == payload.get("idTag")
        and transaction.meter_start_wh == payload.get("meterStart")
        and transaction.started_us == (stamp.at_us if stamp else None)
    )


def _stamps_us(step: Step) -> Iterator[int]:
    if step.event.action == "StopTransaction":
        stamp = parse_stamp(word(step.payload.get("timestamp")))
        if stamp is not None:
            yield stamp.at_us
    for sample in step.meter_values:
        if sample.stamp_us is not None:
            yield sample.stamp_us
