"""Family M, first part: when meter values are sampled, of what, and for which transaction."""

from collections.abc import Iterable

from twin.model import Fault, Severity
from twin.protocol import metering
from twin.protocol.config_keys import PHASES
from twin.protocol.fold import integer, word
from twin.protocol.state import SampleSet, Source, Transaction
from twin.protocol.timestamps import parse_stamp
from twin.rules.step import NO_BOOT, NO_CONNECTOR, NO_STAMP, NO_TRANSACTION, NO_VALUE, Found, Step, Unknown

PERIODIC, CLOCK = metering.DEFAULT_CONTEXT, "Sample.Clock"
_LISTS = {PERIODIC: "MeterValuesSampledData", CLOCK: "MeterValuesAlignedData"}
_INTERVALS = {PERIODIC: "MeterValueSampleInterval", CLOCK: "ClockAlignedDataInterval"}
_DAY_US, _QUARTER_US = 86_400_000_000, 900_000_000
_LEAST_GRACE_US = 60_000_000
_FEW_ANSWERS = 16
_FIRST = Unknown("the first sample of its context: nothing to compare it with")
_NOT_ENOUGH = Unknown("too few answers, or too few busy connectors, to judge the load")


def sampled_in_time(step: Step) -> Iterable[Found] | Unknown | None:
    """An open transaction has one periodic sample every MeterValueSampleInterval.

    ER 3.15 (SHALL), §9.1.19. Judged on the payload's own stamps. Pitfalls: error when two or more samples are
    missing, warning for jitter beyond max(2 s, 5 %); a change of the interval restarts the phase; queued
    samples only arrive late; SuspendedEV does not stop sampling; a gap with a boot in it says nothing.
    """
    known = step.seconds_in_force("MeterValueSampleInterval")
    if step.event.action == "Heartbeat":
        return _gone_quiet(step, known[0]) if known is not None and step.before.transactions else None
    transaction_id = integer(step.payload.get("transactionId"))
    transaction = step.before.transactions.get(transaction_id) if transaction_id is not None else None
    if transaction is None:
        return NO_TRANSACTION
    if known is None:
        return NO_VALUE
    if known[0] <= 0:
        return None
    if transaction.sampled_us is None:
        return _FIRST
    interval_us = known[0] * 1_000_000
    if step.event.action == "StopTransaction":
        stop = parse_stamp(word(step.payload.get("timestamp")))
        stamps_us = [stop.at_us] if stop else []
    else:
        periodic = {s.stamp_us for s in step.meter_values if s.context == PERIODIC}
        stamps_us = sorted(stamp_us for stamp_us in periodic if stamp_us is not None)
    last_us, offset_us = transaction.sampled_us, step.before.clock.offset_us or 0
    for stamp_us in stamps_us:
        gap_us = stamp_us - last_us
        if gap_us <= 0:
            continue
        off = step.before.booted_between(last_us - offset_us, stamp_us - offset_us)
        last_us = stamp_us
        if off:
            continue
        if found := _judge_gap(step, transaction, gap_us, interval_us):
            return [found]
    return None


def aligned_to_the_clock(step: Step) -> Iterable[Found] | Unknown | None:
    """Clock-aligned data is stamped on the grid of ClockAlignedDataInterval from midnight.

    OCPP 1.6 §9.1.5, TC_071. Pitfalls: begin or end of the interval are both on the grid; the midnight may be
    that of any time zone, in quarters of an hour; a second beside it is a warning, a tenth of a second
    nothing; what waited in the queue may be older than the value in force.
    """
    stamps_us = {s.stamp_us for s in step.meter_values if s.context == CLOCK and s.stamp_us is not None}
    if not stamps_us:
        return _FIRST
    known = step.seconds_in_force("ClockAlignedDataInterval")
    if known is None:
        return NO_VALUE
    interval_us, grid_us = known[0] * 1_000_000, step.profile.tolerances.grid_us
    if interval_us <= 0:
        return None
    written = step.before.config.get("clockaligneddatainterval")
    since_us = written.at_us + (step.before.clock.offset_us or 0) if written is not None else None
    for stamp_us in sorted(stamps_us):
        if since_us is not None and stamp_us <= since_us:
            continue  # taken under an earlier value
        off_us = _beside_us(stamp_us, interval_us)
        if off_us <= grid_us // 10:
            continue
        near = off_us <= grid_us
        return [
            Found(
                detail=f"Sample.Clock {off_us / 1e6:.3f} s beside the grid of {known[0]} s",
                severity=Severity.WARNING if near else None,
                connector_id=integer(step.payload.get("connectorId")),
                provenance=known[1].provenance,
                key="near" if near else "far",
            )
        ]
    return None


def _beside_us(stamp_us: int, interval_us: int) -> int:
    """How far a stamp lies beside the grid of the nearest midnight."""
    zones = (0,) if _QUARTER_US % interval_us == 0 else range(0, _DAY_US, _QUARTER_US)
    beside = [(stamp_us + zone_us) % _DAY_US % interval_us for zone_us in zones]
    return min(min(one_us, interval_us - one_us) for one_us in beside)


def measurands_as_configured(step: Step) -> Iterable[Found] | Unknown | None:
    """The measurands of a sample are the configured list of its context.

    OCPP 1.6 §9.1.15, §9.1.17, §3.16.3. Pitfalls: missing is an error, extra a warning, both drift where the
    list is only certified; one sample may be split over messages, so it is judged when the next one begins;
    phases multiply values; an omitted measurand means the register.
    """
    if step.event.action == "StopTransaction":
        return _last_measurands(step)
    connector_id = integer(step.payload.get("connectorId"))
    if connector_id is None:
        return NO_CONNECTOR
    begun = {(s.context, s.stamp_us) for s in step.meter_values if s.stamp_us is not None}
    answer: Unknown | None = _FIRST
    for context, key in _LISTS.items():
        complete = step.before.sampling.get((connector_id, context))
        if complete is None or not any(c == context and at != complete.stamp_us for c, at in begun):
            continue
        found = _judge_measurands(step, complete, key, connector_id)
        if isinstance(found, list):
            return found
        answer = found
    return answer


def _last_measurands(step: Step) -> list[Found] | Unknown | None:
    """The last samples of a transaction are complete when it stops."""
    transaction_id = integer(step.payload.get("transactionId"))
    transaction = step.before.transactions.get(transaction_id) if transaction_id is not None else None
    if transaction is None:
        return NO_TRANSACTION
    for context, key in _LISTS.items():
        complete = step.before.sampling.get((transaction.connector_id, context))
        if complete is not None and complete.transaction_id == transaction_id:
            found = _judge_measurands(step, complete, key, transaction.connector_id)
            if isinstance(found, list):
                return found
    return None


def connector_of_the_transaction(step: Step) -> Iterable[Found] | Unknown | None:
    """MeterValues name the connector of their transaction; 0 is the main meter.

    OCPP 1.6 §4.7, ER 3.16. Pitfalls: connector 0 with a transactionId is a warning.
    """
    connector_id = integer(step.payload.get("connectorId"))
    transaction_id = integer(step.payload.get("transactionId"))
    transaction = step.before.transactions.get(transaction_id) if transaction_id is not None else None
    if connector_id is None or transaction is None:
        return NO_TRANSACTION
    if connector_id == transaction.connector_id:
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


def transaction_id_present(step: Step) -> Iterable[Found] | Unknown | None:
    """MeterValues carry the transactionId while a transaction is open on their connector.

    OCPP 1.6 §4.7, ER 3.16. Pitfalls: while StartTransaction is unanswered the id is not known; values that
    were taken before the transaction began have none.
    """
    connector_id = integer(step.payload.get("connectorId"))
    if "transactionId" in step.payload:
        return None
    if connector_id is None:
        return NO_CONNECTOR
    transaction = step.before.transaction_on(connector_id)
    if transaction is None:
        return None if step.before.known_from_boot or not connector_id else NO_BOOT
    taken_us = max((s.stamp_us for s in step.meter_values if s.stamp_us is not None), default=None)
    if taken_us is not None and transaction.started_us is not None and taken_us <= transaction.started_us:
        return None
    return [
        Found(
            detail=f"no transactionId while {transaction.transaction_id} is open on connector {connector_id}",
            connector_id=connector_id,
            transaction_id=transaction.transaction_id,
            evidence=(transaction.start_seq,),
        )
    ]


def kind_is_switched_on(step: Step) -> Iterable[Found] | Unknown | None:
    """No meter values of a kind whose interval is 0.

    OCPP 1.6 §9.1.5, §9.1.19. Pitfalls: what was taken before the change may still come, so a minute is
    granted; a context that was not given may be anything; what Transaction.Begin and .End say is another
    kind.
    """
    answer: Unknown | None = NO_STAMP
    for context, key in _INTERVALS.items():
        taken_us = [
            s.stamp_us
            for s in step.meter_values
            if s.context == context and s.context_given and s.stamp_us is not None
        ]
        if not taken_us:
            continue
        configured = step.before.config.get(key.casefold())
        if configured is None:
            answer = NO_VALUE
            continue
        answer = None
        off = configured.value.strip() == "0"
        since_us = configured.at_us + (step.before.clock.offset_us or 0) + _LEAST_GRACE_US
        if configured.source is Source.READ and off:
            since_us -= _LEAST_GRACE_US
        if off and max(taken_us) > since_us:
            return [
                Found(
                    detail=f"{context} while {key} is 0",
                    connector_id=integer(step.payload.get("connectorId")),
                    evidence=(configured.seq,),
                    provenance=f"{configured.source} (frame {configured.seq})",
                    key=key,
                    config_key=key,
                )
            ]
    return answer


def load_is_feasible(step: Step) -> Iterable[Found] | Unknown | None:
    """The CSMS answers fast enough for the meter values that are configured, one CALL at a time.

    OCPP-J 1.6 §4.1.1; certificate rows 4, 9, 18 and 20. Pitfalls: judged with at least twelve transactions
    open, over the running mean of sixteen answers; the network beyond the recorder comes on top.
    """
    before = step.before
    active = len(before.transactions)
    if active < step.profile.tolerances.busy_connectors or before.csms_answers < _FEW_ANSWERS:
        return _NOT_ENOUGH
    load = 0.0
    for key, times in (("MeterValueSampleInterval", active), ("ClockAlignedDataInterval", active)):
        seconds = before.count_in_force(key)
        load += 60 / seconds * times if seconds else 0
    heartbeat_s = before.count_in_force("HeartbeatInterval")
    load += 60 / heartbeat_s if heartbeat_s else 0
    if not load:
        return NO_VALUE
    budget_s, mean_s = 60 / load, before.csms_mean_us / 1e6
    if mean_s <= budget_s:
        return None
    return [
        Found(
            detail=f"answers take {mean_s:.2f} s on average, {load:.0f} CALLs a minute ({active} open) "
            f"leave {budget_s:.2f} s: the queue grows",
            fault=Fault.CSMS,
        )
    ]


def idle_habit(step: Step) -> Iterable[Found] | Unknown | None:
    """Whether clock-aligned data is sent for idle connectors is the station's habit.

    ER 3.15 against 3.16: the text is ambiguous, hence a note, once. Pitfalls: a transaction that nobody saw
    makes a connector look idle.
    """
    if not any(s.context == CLOCK for s in step.meter_values) or "transactionId" in step.payload:
        return None
    connector_id = integer(step.payload.get("connectorId"))
    if connector_id is None:
        return NO_CONNECTOR
    if not step.before.known_from_boot:
        return NO_BOOT
    if not connector_id or step.before.transaction_on(connector_id) is not None:
        return None
    if any(start.connector_id == connector_id for start in step.before.starting.values()):
        return None
    return [Found(detail="sends clock-aligned data for idle connectors", key="habit")]


def _gone_quiet(step: Step, interval_s: int) -> list[Found] | None:
    """Heartbeats come, samples of an open transaction do not: it would not be seen before the Stop."""
    before, tolerances = step.before, step.profile.tolerances
    attempts = before.count_in_force("TransactionMessageAttempts")
    retrying = any(attempts is None or failed.attempts < attempts for failed in before.failing)
    if interval_s <= 0 or retrying or before.stuck or before.link_open_us is None:
        return None
    quiet_us = (tolerances.missed_samples + 1) * interval_s * 1_000_000 + tolerances.timer_slack_us(
        interval_s * 1_000_000
    )
    now_us = step.event.at_us + (before.clock.offset_us or 0)
    since_us = before.link_open_us + (before.clock.offset_us or 0)
    return [
        Found(
            detail=f"no sample for {(now_us - transaction.sampled_us) / 1e6:.0f} s, interval {interval_s} s",
            connector_id=transaction.connector_id,
            transaction_id=transaction.transaction_id,
            evidence=(transaction.sampled_seq,),
            key="missing",
        )
        for transaction in before.transactions.values()
        if transaction.sampled_us is not None
        and not transaction.queued
        and now_us - max(transaction.sampled_us, since_us) > quiet_us
    ]


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
    worst = Severity.ERROR if severe else Severity.WARNING
    return Found(
        detail=f"{gap_us / 1e6:g} s between samples, interval {interval_us // 1_000_000} s"
        + (f": {missed} missing" if severe else ""),
        severity=worst,
        connector_id=transaction.connector_id,
        transaction_id=transaction.transaction_id,
        evidence=(transaction.sampled_seq,),
        key="missing" if severe else "jitter",
    )


def _judge_measurands(
    step: Step, complete: SampleSet, key: str, connector_id: int
) -> list[Found] | Unknown | None:
    configured = step.in_force(key)
    if configured is None:
        return NO_VALUE
    known = step.before.config.get(key.casefold())
    if known is not None and complete.stamp_us <= known.at_us + (step.before.clock.offset_us or 0):
        return None  # taken before the list was seen or written
    wanted = {_without_phase(token.strip()) for token in configured.value.split(",") if token.strip()}
    wanted = wanted or {metering.ENERGY}
    missing, extra = wanted - complete.measurands, complete.measurands - wanted
    if not missing and not extra:
        return None
    parts = [f"{', '.join(sorted(missing))} missing"] if missing else []
    parts += [f"{', '.join(sorted(extra))[:200]} not configured"] if extra else []
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
            config_key=key,
        )
    ]


def _without_phase(token: str) -> str:
    """``Current.Import.L1`` is seen in configurations; the list is compared by measurand."""
    head, _, tail = token.rpartition(".")
    return head if tail in PHASES else token
