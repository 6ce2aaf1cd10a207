"""Family T, second part: a transaction from its start to its last sample, ids and registers."""

from collections.abc import Iterable, Iterator
from decimal import Decimal

from msgspec.structs import replace

from twin.model import Severity
from twin.protocol import metering
from twin.protocol.fold import advance, integer, word
from twin.protocol.fold.transactions import BOOT_REASONS
from twin.protocol.state import Transaction
from twin.protocol.timestamps import parse_stamp
from twin.rules.step import (
    CUT,
    NO_BOOT,
    NO_CERTIFICATE,
    NO_CONNECTOR,
    NO_ID,
    NO_TRANSACTION,
    Found,
    Step,
    Unknown,
)

_NO_INTEGRAL = Unknown("the samples do not allow an integral of voltage and current")
_FEW_WH = 200  # below it the integral says little
_FEW_SAMPLES = 3


def start_on_a_connector(step: Step) -> Iterable[Found] | Unknown | None:
    """StartTransaction.connectorId is at least 1.

    OCPP 1.6 §6.45. Pitfalls: the schema does not check it.
    """
    connector_id = integer(step.payload.get("connectorId"))
    if connector_id is None:
        return NO_CONNECTOR
    if connector_id != 0:
        return None
    return [Found(detail="StartTransaction on connector 0", connector_id=0)]


def one_transaction_per_connector(step: Step) -> Iterable[Found] | Unknown | None:
    """A connector has one open transaction.

    OCPP 1.6 §2.2, §4.8. Pitfalls: a Stop may have been lost in a gap (then everything is unknown); the same
    StartTransaction sent again is a retransmission, not a second transaction.
    """
    connector_id = integer(step.payload.get("connectorId"))
    if connector_id is None:
        return NO_CONNECTOR
    others = [
        transaction
        for transaction in (*step.before.transactions.values(), *step.before.starting.values())
        if transaction.connector_id == connector_id and not _same_start(transaction, step)
    ]
    if not others:
        return None if step.before.known_from_boot else NO_BOOT
    return [
        Found(
            detail=f"connector {connector_id} starts while transaction {others[-1].transaction_id} is open",
            connector_id=connector_id,
            evidence=(others[-1].start_seq,),
            key=str(others[-1].start_seq),
        )
    ]


def no_reservation_id(step: Step) -> Iterable[Found] | Unknown | None:
    """StartTransaction.reservationId is absent: the Reservation profile is not certified.

    Certificate, functionalities. Pitfalls: some stations send 0 for "none"; that is counted too.
    """
    certificate = step.profile.certificate
    if certificate is None:
        return NO_CERTIFICATE
    if "Reservation" in certificate.profiles or "reservationId" not in step.payload:
        return None
    return [Found(detail=f"reservationId {step.payload['reservationId']}")]


def transaction_id_unique(step: Step) -> Iterable[Found] | Unknown | None:
    """The CSMS gives each transaction an id of its own, greater than 0.

    OCPP 1.6 §6.46, ER 3.54. Pitfalls: answering a retransmitted StartTransaction with the same id is ideal;
    0 and negative ids are a warning.
    """
    transaction_id = integer(step.payload.get("transactionId"))
    if transaction_id is None:
        return NO_ID
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


def uses_the_id_given(step: Step) -> Iterable[Found] | Unknown | None:
    """StopTransaction and MeterValues carry the id of StartTransaction.conf.

    ER 3.18; -1 only if StartTransaction was never answered. Pitfalls: a transaction older than the capture
    is unknown and may outlive a loss of power, so an unknown id counts only when the capture began with a
    Boot, a StartTransaction was answered since and the payload is younger; another id than the one open on
    the connector always counts.
    """
    transaction_id = integer(step.payload.get("transactionId"))
    before = step.before
    if transaction_id is None:
        return NO_ID
    if transaction_id in before.transactions or transaction_id in before.ended:
        return None
    connector_id = integer(step.payload.get("connectorId"))
    if step.event.action == "MeterValues" and connector_id:
        if any(start.connector_id == connector_id for start in before.starting.values()):
            return None  # the id is not known yet
        running = before.transaction_on(connector_id)
        if running is not None:
            detail = f"transactionId {transaction_id}, but {running.transaction_id} is open on {connector_id}"
            return [_wrong_id(step, detail, (running.start_seq,))]
    if transaction_id == -1 and before.unanswered_starts:
        return None
    stamp = next(iter(_stamps_us(step)), None)
    if not before.known_from_boot:
        return NO_BOOT
    if not before.transactions_known or word(step.payload.get("reason")) in BOOT_REASONS:
        return NO_TRANSACTION
    if before.starting:
        return None
    if step.imported:
        return CUT
    if stamp is None or before.booted_us is None or stamp < before.booted_us:
        return None
    return [_wrong_id(step, f"unknown transactionId {transaction_id}", ())]


def order_of_messages(step: Step) -> Iterable[Found] | Unknown | None:
    """Per transaction: StartTransaction, MeterValues, StopTransaction, and stamps do not fall.

    OCPP 1.6 §3.7. Pitfalls: error for the order of delivery and of the queue, warning for stamps and for a
    sample taken after the Stop; clock-aligned data may be stamped with the begin of its interval; a Stop may
    be stamped milliseconds before its last sample.
    """
    transaction_id = integer(step.payload.get("transactionId"))
    if transaction_id is None:
        return NO_ID
    ended = step.before.ended.get(transaction_id)
    open_ = step.before.transactions.get(transaction_id)
    if step.event.action == "MeterValues" and ended is not None and open_ is None:
        taken_us = max(_stamps_in_order(step), default=None)
        later = taken_us is not None and ended.stopped_us is not None and taken_us >= ended.stopped_us
        return [
            Found(
                detail=f"MeterValues of transaction {transaction_id} after its StopTransaction",
                severity=Severity.WARNING if later else Severity.ERROR,
                connector_id=ended.connector_id,
                transaction_id=transaction_id,
                evidence=tuple(seq for seq in (ended.stop_seq,) if seq is not None),
                key="after stop",
            )
        ]
    if open_ is None or open_.latest_us is None:
        return NO_TRANSACTION
    stamps_us = _stamps_in_order(step)
    fall_us = open_.latest_us - min(stamps_us, default=open_.latest_us)
    if fall_us <= step.profile.tolerances.order_us:
        return None
    what = "StopTransaction" if step.event.action == "StopTransaction" else "sample"
    queue = what == "sample" and step.before.queued(min(stamps_us)) is True
    return [
        Found(
            severity=Severity.ERROR if queue else None,
            detail=f"{what} stamped {fall_us / 1e6:.1f} s before an earlier message of its transaction",
            connector_id=open_.connector_id,
            transaction_id=transaction_id,
            evidence=(open_.latest_seq,),
            key=what,
        )
    ]


def samples_inside(step: Step) -> Iterable[Found] | Unknown | None:
    """No meter values of a transaction are stamped before its begin or after its end.

    ER 3.16. Pitfalls: clock-aligned data may lie one interval beside; a minute is granted.
    """
    transaction_id = integer(step.payload.get("transactionId"))
    before = step.before
    held = None
    if transaction_id is not None:
        held = before.transactions.get(transaction_id) or before.ended.get(transaction_id)
    if held is None or held.started_us is None:
        return NO_TRANSACTION
    stopped_us = held.stopped_us
    if step.event.action == "StopTransaction" and stopped_us is None:
        stopped_us = next(iter(_stamps_in_order(step)), None)
    grace_us = 1_000_000 * max(
        60,
        before.count_in_force("ClockAlignedDataInterval") or 0,
        before.count_in_force("MeterValueSampleInterval") or 0,
    )
    for sample in step.samples:
        if sample.stamp_us is None:
            continue
        early = sample.stamp_us < held.started_us - grace_us
        late = stopped_us is not None and sample.stamp_us > stopped_us + grace_us
        if early or late:
            edge_us = held.started_us if early or stopped_us is None else stopped_us
            away_s = abs(sample.stamp_us - edge_us) / 1e6
            where = "before the begin" if early else "after the end"
            return [
                Found(
                    detail=f"sample {away_s:.0f} s {where} of its transaction",
                    connector_id=held.connector_id,
                    transaction_id=transaction_id,
                    evidence=(held.start_seq,),
                )
            ]
    return None


def meter_stop_not_below_start(step: Step) -> Iterable[Found] | Unknown | None:
    """meterStop is not below meterStart.

    OCPP 1.6 §7.31. Pitfalls: both are integers of one register, so there is no tolerance; a huge negative
    difference is a rollover or a replaced meter, hence a warning.
    """
    transaction, meter_stop_wh = _stopping(step)
    if transaction is None or meter_stop_wh is None or transaction.meter_start_wh is None:
        return NO_TRANSACTION
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


def register_does_not_fall(step: Step) -> Iterable[Found] | Unknown | None:
    """Energy.Active.Import.Register does not fall within a transaction, meterStart and meterStop included.

    ER 3.77. Pitfalls: Wh and kWh are normalised; one unit of the last printed digit, and 1 Wh between samples
    and the integers of Start and Stop, is rounding; Inlet and single phases are other registers; a sample
    older than the newest one is not compared.
    """
    transaction = _transaction_of(step)
    if transaction is None:
        return NO_TRANSACTION
    seq = step.event.frame.seq if step.event.frame else 0
    for sample in step.meter_values:
        register = metering.energy_wh(sample)
        known = transaction.register_wh
        if register and known is not None and _not_older(sample.stamp_us, transaction.register_us):
            slack_wh = max(register[1], transaction.resolution_wh, Decimal(step.profile.tolerances.energy_wh))
            if register[0] < known - slack_wh:
                return [_falls(transaction, register[0])]
        transaction = advance(transaction, sample, seq)
    if found := _falls_in_data(step):
        return found
    meter_stop_wh = _stopping(step)[1]
    known = transaction.register_wh
    if meter_stop_wh is None or known is None or transaction.register_seq == transaction.start_seq:
        return None
    slack_wh = max(transaction.resolution_wh, Decimal(step.profile.tolerances.energy_wh))
    return [_falls(transaction, Decimal(meter_stop_wh))] if meter_stop_wh < known - slack_wh else None


def next_start_continues(step: Step) -> Iterable[Found] | Unknown | None:
    """The next meterStart equals the previous meterStop of the connector.

    ER 3.9, 3.77 (SHOULD). Pitfalls: many stations begin each transaction at 0, which is told once; energy
    between transactions exists.
    """
    connector_id = integer(step.payload.get("connectorId"))
    meter_start_wh = integer(step.payload.get("meterStart"))
    stopped = step.before.last_stop.get(connector_id) if connector_id is not None else None
    if stopped is None or stopped.meter_stop_wh is None or meter_start_wh is None:
        return NO_TRANSACTION
    if meter_start_wh == stopped.meter_stop_wh:
        return None
    zero = meter_start_wh == 0 and step.after.zero_starts >= 2
    if meter_start_wh == 0 and not zero:
        return None
    evidence = tuple(seq for seq in (stopped.stop_seq,) if seq is not None)
    if zero:
        return [Found(detail="every transaction starts at 0 Wh", evidence=evidence, key="zero")]
    return [
        Found(
            detail=f"meterStart {meter_start_wh} Wh, the last meterStop was {stopped.meter_stop_wh} Wh",
            connector_id=connector_id,
            evidence=evidence,
        )
    ]


def energy_fits_power(step: Step) -> Iterable[Found] | Unknown | None:
    """The energy of a transaction agrees with the integral of voltage and current.

    Seen in the field. Pitfalls: one phase only, and no phase information; short transactions say little.
    """
    transaction, meter_stop_wh = _stopping(step)
    if transaction is None or meter_stop_wh is None or transaction.meter_start_wh is None:
        return NO_TRANSACTION
    if transaction.power_us is None or transaction.vi_wh is None or transaction.samples < _FEW_SAMPLES:
        return _NO_INTEGRAL
    stopped = parse_stamp(word(step.payload.get("timestamp")))
    taken_wh = float(transaction.register_wh or 0) - transaction.meter_start_wh
    if stopped is None or taken_wh < _FEW_WH:
        return _NO_INTEGRAL
    share = abs(taken_wh - transaction.vi_wh) / taken_wh
    if share <= step.profile.tolerances.energy_share:
        return None
    return [
        Found(
            detail=f"{taken_wh:.0f} Wh by the register, {transaction.vi_wh:.0f} Wh by voltage and current",
            connector_id=transaction.connector_id,
            transaction_id=transaction.transaction_id,
            evidence=(transaction.start_seq,),
        )
    ]


def failed_start(step: Step) -> Iterable[Found] | Unknown | None:
    """A transaction that ends at once with 0 Wh and reason Other is a failed start.

    Seen in the field: 0.5 s, then success on retry; not a violation. Pitfalls: none.
    """
    transaction, meter_stop_wh = _stopping(step)
    stopped = parse_stamp(word(step.payload.get("timestamp")))
    if transaction is None or stopped is None or transaction.started_us is None:
        return NO_TRANSACTION
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


def _stamps_in_order(step: Step) -> list[int]:
    """The stamps that must not fall: the Stop's own, and those of samples that are stamped when taken."""
    if step.event.action == "StopTransaction":
        stamp = parse_stamp(word(step.payload.get("timestamp")))
        return [stamp.at_us] if stamp is not None else []
    return [
        sample.stamp_us
        for sample in step.meter_values
        if sample.stamp_us is not None and sample.context != "Sample.Clock"
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


def _falls_in_data(step: Step) -> list[Found] | None:
    """transactionData has a course of its own: it may repeat what MeterValues said."""
    transaction = _transaction_of(step)
    if transaction is None or "transactionData" not in step.payload:
        return None
    start_wh = transaction.meter_start_wh
    course = replace(
        transaction,
        register_wh=None if start_wh is None else Decimal(start_wh),
        resolution_wh=Decimal(1),
        register_us=transaction.started_us,
        register_seq=transaction.start_seq,
    )
    energy_wh = Decimal(step.profile.tolerances.energy_wh)
    seq = step.event.frame.seq if step.event.frame else 0
    for sample in metering.samples(step.payload["transactionData"]):
        register, known = metering.energy_wh(sample), course.register_wh
        comparable = known is not None and _not_older(sample.stamp_us, course.register_us)
        if register and known is not None and comparable:
            slack_wh = max(register[1], course.resolution_wh, energy_wh)
            if register[0] < known - slack_wh:
                return [_falls(course, register[0])]
        course = advance(course, sample, seq)
    return None


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
