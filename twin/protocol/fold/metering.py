"""Fold: meter values, the register and the phase of the samples."""

from msgspec.structs import replace

from twin.model import Event
from twin.protocol import metering
from twin.protocol.fold.boot import told_time
from twin.protocol.fold.connection import from_queue, ran_on, sent_live
from twin.protocol.fold.payloads import REMEMBERED, integer, newest, payload_of
from twin.protocol.state import SampleSet, StationState, Transaction

_CLOCK = "Sample.Clock"
_HOUR_US = 3_600_000_000
_STEADY = 16  # gaps in a row: more add nothing


def meter_called(state: StationState, event: Event) -> StationState:
    payload = payload_of(event)
    connector_id = integer(payload.get("connectorId"))
    transaction_id = integer(payload.get("transactionId"))
    if connector_id is None or event.frame is None:
        return state
    seq = event.frame.seq
    samples = tuple(metering.samples(payload.get("meterValue")))
    transaction = state.transactions.get(transaction_id) if transaction_id is not None else None
    newest_of: dict[str, tuple[int, set[str]]] = {}  # of each context: stamp and measurands
    latest_us = told_us = None  # of all, and of those that are stamped when they are taken
    for sample in samples:
        stamp_us = sample.stamp_us
        if stamp_us is None:
            continue
        begun = newest_of.get(sample.context)
        if begun is None or begun[0] != stamp_us:
            known = state.sampling.get((connector_id, sample.context)) if begun is None else None
            merged = set(known.measurands) if known and known.stamp_us == stamp_us else set()
            begun = newest_of[sample.context] = (stamp_us, merged)
        begun[1].add(sample.measurand)
        if latest_us is None or stamp_us > latest_us:
            latest_us = stamp_us
        if sample.context != _CLOCK and (told_us is None or stamp_us > told_us):
            told_us = stamp_us
    if transaction is not None and transaction_id is not None and latest_us is not None:
        earlier = transaction
        transaction = _advanced(transaction, samples, seq, latest_us, told_us)
        open_ = {**state.transactions, transaction_id: transaction}
        state = replace(state, transactions=open_, rhythm=_rhythm(state.rhythm, earlier, transaction))
    sampling = dict(state.sampling)
    for context, (stamp_us, measurands) in newest_of.items():
        sampling[connector_id, context] = SampleSet(stamp_us, frozenset(measurands), seq, transaction_id)
    state = replace(state, sampling=newest(sampling, REMEMBERED), heard=samples)
    queued = state.queued(latest_us)
    if queued is False:
        state = told_time(state, event, latest_us)
    if queued is None or transaction_id is None:
        return state  # 3.7: only what belongs to a transaction waits its turn
    if not queued or latest_us is None:
        return sent_live(state, seq)
    return from_queue(ran_on(state, seq, latest_us, transaction_id), seq)


def advance(transaction: Transaction, sample: metering.Sample, seq: int) -> Transaction:
    """``transaction`` after one sample: its register, and the phase of its periodic samples."""
    stamp_us = sample.stamp_us
    if stamp_us is None:
        return transaction
    register = metering.energy_wh(sample)
    if register and (transaction.register_us is None or stamp_us >= transaction.register_us):
        transaction = replace(
            transaction,
            register_wh=register[0],
            resolution_wh=register[1],
            register_us=stamp_us,
            register_seq=seq,
        )
    periodic = sample.context == metering.DEFAULT_CONTEXT
    if periodic and (transaction.sampled_us is None or stamp_us > transaction.sampled_us):
        transaction = replace(
            transaction,
            sampled_us=stamp_us,
            sampled_seq=seq,
            samples=transaction.samples + 1,
        )
    return transaction


def _rhythm(known: tuple[int, int], before: Transaction, after: Transaction) -> tuple[int, int]:
    """The station's own cadence of periodic samples, whichever transaction they belong to."""
    if before.sampled_us is None or after.sampled_us is None or before.sampled_seq == before.start_seq:
        return known
    gap_us = after.sampled_us - before.sampled_us
    if gap_us <= 0:
        return known
    rhythm_us, steady = known
    if abs(gap_us - rhythm_us) <= rhythm_us // 10:
        return gap_us, min(steady + 1, _STEADY)
    return (
        (rhythm_us, steady - 1) if steady > 1 else (gap_us, 1)
    )  # one odd gap is an outage, many a new rhythm


def _advanced(
    transaction: Transaction,
    samples: tuple[metering.Sample, ...],
    seq: int,
    latest_us: int,
    told_us: int | None,
) -> Transaction:
    """After a whole MeterValues: register, phases of both grids, and the integral of voltage and current."""
    for sample in samples:
        transaction = advance(transaction, sample, seq)
    power_w = _power_w(samples)
    vi_wh = transaction.vi_wh
    if power_w is None:
        power_w, power_us = transaction.power_w, transaction.power_us
    else:
        power_us = latest_us
        since_us = transaction.power_us if transaction.power_us is not None else transaction.started_us
        if vi_wh is not None and since_us is not None and latest_us >= since_us:
            earlier_w = transaction.power_w if transaction.power_w is not None else power_w
            vi_wh += (power_w + earlier_w) / 2 * (latest_us - since_us) / _HOUR_US
    newer = told_us is not None and (transaction.latest_us is None or told_us >= transaction.latest_us)
    return replace(
        transaction,
        power_w=power_w,
        power_us=power_us,
        vi_wh=vi_wh,
        latest_us=told_us if newer else transaction.latest_us,
        latest_seq=seq if newer else transaction.latest_seq,
    )


def _power_w(samples: tuple[metering.Sample, ...]) -> float | None:
    """Voltage times current of one sample, where both come once and without a phase."""
    volts = [s.value for s in samples if s.measurand == "Voltage"]
    amps = [s.value for s in samples if s.measurand == "Current.Import"]
    phased = any(s.phase for s in samples)
    if len(volts) != 1 or len(amps) != 1 or volts[0] is None or amps[0] is None or phased:
        return None
    return float(volts[0]) * float(amps[0])
