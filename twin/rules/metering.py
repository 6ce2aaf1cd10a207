"""Family M: meter values."""

from collections.abc import Iterable

from twin.model import Severity
from twin.protocol import metering
from twin.protocol.fold import integer, word
from twin.protocol.state import SampleSet, Transaction
from twin.protocol.timestamps import parse_stamp
from twin.rules.step import Found, Step

_PERIODIC = metering.DEFAULT_CONTEXT
_LISTS = {_PERIODIC: "MeterValuesSampledData", "Sample.Clock": "MeterValuesAlignedData"}
_SATURATED = 2_147_483_647
_PHASES = ("L1", "L2", "L3", "N", "L1-N", "L2-N", "L3-N", "L1-L2", "L2-L3", "L3-L1")
_UNITS = {
    "Energy.Active": ("Wh", "kWh"),
    "Energy.Reactive": ("varh", "kvarh"),
    "Current": ("A",),
    "Voltage": ("V",),
}


def sampled_in_time(step: Step) -> Iterable[Found] | None:
    """An open transaction has one periodic sample every MeterValueSampleInterval.

    ER 3.15 (SHALL), §9.1.19. Judged on the payload's own stamps. Pitfalls: error when two or more samples are
    missing, warning for jitter beyond max(2 s, 5 %); a change of the interval restarts the phase; queued
    samples only arrive late; SuspendedEV does not stop sampling.
    """
    known = step.seconds_in_force("MeterValueSampleInterval")
    transaction_id = integer(step.payload.get("transactionId"))
    transaction = step.before.transactions.get(transaction_id) if transaction_id is not None else None
    if known is None or known[0] <= 0 or transaction is None or transaction.sampled_us is None:
        return None
    interval_us = known[0] * 1_000_000
    stamps_us = sorted(
        {s.stamp_us for s in step.samples if s.context == _PERIODIC and s.stamp_us is not None}
    )
    if step.event.action == "StopTransaction":
        stop = parse_stamp(word(step.payload.get("timestamp")))
        stamps_us = [stop.at_us] if stop else []
    last_us = transaction.sampled_us
    for stamp_us in stamps_us:
        gap_us = stamp_us - last_us
        if gap_us <= 0:
            continue
        last_us = stamp_us
        if found := _judge_gap(step, transaction, gap_us, interval_us):
            return [found]
    return None


def measurands_as_configured(step: Step) -> Iterable[Found] | None:
    """The measurands of a sample are the configured list of its context.

    OCPP 1.6 §9.1.15, §9.1.17, §3.16.3. Pitfalls: missing is an error, extra a warning, both drift where the
    list is only certified; one sample may be split over messages, so it is judged when the next one begins;
    phases multiply values; an omitted measurand means the register.
    """
    connector_id = integer(step.payload.get("connectorId"))
    begun = {(s.context, s.stamp_us) for s in step.samples if s.stamp_us is not None}
    for context, key in _LISTS.items():
        complete = step.before.sampling.get((connector_id, context)) if connector_id is not None else None
        if complete is None or not any(c == context and at != complete.stamp_us for c, at in begun):
            continue
        if found := _judge_measurands(step, complete, key, connector_id):
            return found
    return None


def connector_of_the_transaction(step: Step) -> Iterable[Found] | None:
    """MeterValues name the connector of their transaction; 0 is the main meter.

    OCPP 1.6 §4.7, ER 3.16. Pitfalls: connector 0 with a transactionId is a warning.
    """
    connector_id = integer(step.payload.get("connectorId"))
    transaction_id = integer(step.payload.get("transactionId"))
    transaction = step.before.transactions.get(transaction_id) if transaction_id is not None else None
    if connector_id is None or transaction is None or connector_id == transaction.connector_id:
        return None
    return [
        Found(
            detail=f"connector {connector_id}, transaction {transaction_id} is on {transaction.connector_id}",
            severity=Severity.WARNING if connector_id == 0 else None,
            connector_id=connector_id,
            transaction_id=transaction_id,
            evidence=(transaction.start_seq,),
        )
    ]


def transaction_id_present(step: Step) -> Iterable[Found] | None:
    """MeterValues carry the transactionId while a transaction is open on their connector.

    OCPP 1.6 §4.7, ER 3.16. Pitfalls: while StartTransaction is unanswered the id is not known.
    """
    connector_id = integer(step.payload.get("connectorId"))
    if not connector_id or "transactionId" in step.payload:
        return None
    transaction = step.before.transaction_on(connector_id)
    if transaction is None:
        return None
    return [
        Found(
            detail=f"no transactionId while {transaction.transaction_id} is open on connector {connector_id}",
            connector_id=connector_id,
            transaction_id=transaction.transaction_id,
            evidence=(transaction.start_seq,),
        )
    ]


def value_is_a_number(step: Step) -> Iterable[Found] | None:
    """A sampled value is a number in text, not localised, and not SignedData.

    OCPP 1.6 §7.43, §7.49. Pitfalls: integer, decimal, exponent and a leading "+" are fine; SignedData only
    differs from the certificate.
    """
    for sample in step.samples:
        if sample.format == "SignedData":
            if step.profile.certificate is None:
                return None
            detail = f"{sample.measurand} is SignedData"
            return [
                Found(detail=detail, severity=Severity.DRIFT, connector_id=_connector(step), key="signed")
            ]
        if sample.value is None:
            return [Found(detail=f"{sample.measurand} {sample.text[:40]!r}", connector_id=_connector(step))]
    return None


def unit_fits_measurand(step: Step) -> Iterable[Found] | None:
    """The unit fits the measurand: Wh or kWh, A, V.

    OCPP 1.6 §7.43, §7.45. Pitfalls: a missing unit for current or voltage means the default "Wh", which is
    nonsense but so common that it is not reported.
    """
    for sample in step.samples:
        family = next((name for name in _UNITS if sample.measurand.startswith(name)), None)
        if family and sample.unit and sample.unit not in _UNITS[family]:
            detail = f"{sample.measurand} in {sample.unit[:20]}"
            return [Found(detail=detail, connector_id=_connector(step), key=detail)]
    return None


def value_plausible(step: Step) -> Iterable[Found] | None:
    """Temperature is at most 200 Celsius, a power factor at most 1, a frequency in Hertz.

    Seen in the field: milli-degrees, power factors in percent, frequency in W. Pitfalls: none known.
    """
    for sample in step.samples:
        if sample.value is None:
            continue
        odd = (
            (
                sample.measurand == "Temperature"
                and sample.unit in ("Celsius", "Celcius")
                and sample.value > 200
            )
            or (sample.measurand == "Power.Factor" and abs(sample.value) > 1)
            or (sample.measurand == "Frequency" and sample.unit == "W")
        )
        if odd:
            detail = f"{sample.measurand} {sample.text[:20]} {sample.unit}".strip()
            return [Found(detail=detail, connector_id=_connector(step), key=sample.measurand)]
    return None


def register_not_saturated(step: Step) -> Iterable[Found] | None:
    """The energy register is not saturated at 2147483647.

    Seen in the field beside a real register of 4296944685 Wh. Pitfalls: none.
    """
    wire = [step.payload.get("meterStart"), step.payload.get("meterStop")]
    sampled = [s.value for s in step.samples if s.measurand == metering.ENERGY]
    if _SATURATED not in (*wire, *sampled):
        return None
    return [Found(detail=f"register stands at {_SATURATED}", connector_id=_connector(step))]


def sample_not_empty(step: Step) -> Iterable[Found] | None:
    """No sampledValue list is empty.

    OCPP 1.6 §7.33. Pitfalls: the published StopTransaction schema lets it pass.
    """
    for field in ("meterValue", "transactionData"):
        for entry in metering.as_list(step.payload.get(field)):
            if isinstance(entry, dict) and entry.get("sampledValue") == []:
                return [Found(detail=f"{field} with an empty sampledValue", connector_id=_connector(step))]
    return None


def _judge_gap(step: Step, transaction: Transaction, gap_us: int, interval_us: int) -> Found | None:
    tolerances = step.profile.tolerances
    slack_us = tolerances.timer_slack_us(interval_us)
    stopping = step.event.action == "StopTransaction"
    late_us = gap_us - interval_us
    first = transaction.sampled_seq == transaction.start_seq  # at the start itself or one interval later
    if late_us <= slack_us and (stopping or first or late_us >= -slack_us):
        return None
    missed = round(gap_us / interval_us) - 1
    severe = gap_us > (tolerances.missed_samples + 1) * interval_us - slack_us
    if stopping and not severe:
        return None
    return Found(
        detail=f"{gap_us / 1e6:g} s between samples, interval {interval_us // 1_000_000} s"
        + (f": {missed} missing" if severe else ""),
        severity=Severity.ERROR if severe else Severity.WARNING,
        connector_id=transaction.connector_id,
        transaction_id=transaction.transaction_id,
        evidence=(transaction.sampled_seq,),
        key="missing" if severe else "jitter",
    )


def _judge_measurands(
    step: Step, complete: SampleSet, key: str, connector_id: int | None
) -> list[Found] | None:
    configured = step.in_force(key)
    if configured is None:
        return None
    wanted = {_without_phase(token.strip()) for token in configured.value.split(",") if token.strip()}
    wanted = wanted or {metering.ENERGY}
    missing, extra = wanted - complete.measurands, complete.measurands - wanted
    if not missing and not extra:
        return None
    parts = [f"{', '.join(sorted(missing))} missing"] if missing else []
    parts += [f"{', '.join(sorted(extra))} not configured"] if extra else []
    worst = Severity.ERROR if missing else Severity.WARNING
    return [
        Found(
            detail=f"{key}: {'; '.join(parts)}",
            severity=worst if configured.observed else Severity.DRIFT,
            connector_id=connector_id,
            transaction_id=complete.transaction_id,
            evidence=(complete.seq,),
            provenance=configured.provenance,
            key=key,
        )
    ]


def _without_phase(token: str) -> str:
    """``Current.Import.L1`` is seen in configurations; the list is compared by measurand."""
    head, _, tail = token.rpartition(".")
    return head if tail in _PHASES else token


def _connector(step: Step) -> int | None:
    return integer(step.payload.get("connectorId"))
