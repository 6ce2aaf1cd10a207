"""Meter values as a series: the station's own time stamps, one interval apart."""

from twin.certificate.case_words import CONNECTOR, TRANSACTION, Series
from twin.engine.case_reading import OTHER, RIGHT, Names, Opinion, Said, observed, seconds
from twin.model import Side
from twin.protocol.fold import integer
from twin.protocol.metering import Sample
from twin.rules import Step

_OF_INTERVALS = frozenset({"Sample.Periodic", "Sample.Clock"})
_GRID_S = 900  # a multiple of it is one in every time zone


class Reading:
    """How far one series has come; ``done`` once it is as long as it must be."""

    def __init__(self) -> None:
        self.begun = False
        self.done = False
        self._count = 0
        self._last_us: int | None = None
        self._heard_us = 0  # when the last one came
        self._brought: set[str] = set()

    @property
    def tells(self) -> bool:
        """Whether there are two samples, which make a series."""
        return self._count > 0

    def read(
        self, series: Series, step: Step, names: Names, outage_s: float | None, doubted: bool
    ) -> Opinion:
        """What one MeterValues is to the series."""
        event = step.event
        if event.sender is not Side.STATION or event.action != "MeterValues":
            return OTHER
        connector_id, transaction_id = (
            integer(step.payload.get("connectorId")),
            integer(step.payload.get("transactionId")),
        )
        if connector_id is None or connector_id != names.get(CONNECTOR):
            return OTHER
        if transaction_id is None or transaction_id != names.get(TRANSACTION):
            return OTHER
        every_s = seconds(series.every, step, names)
        if not every_s:
            return OTHER
        needed = series.times
        if series.bridging:
            missed = int((outage_s or 0) // every_s)
            if missed < series.times:
                return Said.DOUBTFUL, "the connection was lost for too short a time"
            needed = missed
            if not self.begun:
                transaction = step.before.transactions.get(transaction_id)
                self._last_us = transaction.sampled_us if transaction else None
        opinion = self._samples(series, step, every_s, doubted)
        if opinion is RIGHT:
            self.begun = True
            self.done = self._count >= needed
        return opinion

    def _samples(self, series: Series, step: Step, every_s: int, doubted: bool) -> Opinion:
        found = OTHER
        for sample in step.meter_values:
            if sample.context != series.context:
                if sample.context in _OF_INTERVALS and not (series.bridging or doubted):
                    return Said.WRONG, f"a sample says {sample.context} where the case has {series.context}"
                continue
            if sample.stamp_us is None:
                continue
            if sample.format != "Raw":
                return Said.WRONG, f"a sample has the format {sample.format[:40]}"
            if sample.location == "EV" and sample.measurand != "SoC":
                return Said.WRONG, f"a sample of {sample.measurand[:40]} was taken at the EV"
            opinion = self._next(series, sample, sample.stamp_us, step, every_s)
            if opinion is not RIGHT:
                return opinion
            found = RIGHT
        return found

    def _next(self, series: Series, sample: Sample, stamp_us: int, step: Step, every_s: int) -> Opinion:
        last_us = self._last_us
        slack_us = step.profile.tolerances.timer_slack_us(every_s * 1_000_000)
        if series.on_grid and _GRID_S % every_s == 0:
            off_us = stamp_us % (every_s * 1_000_000)
            if min(off_us, every_s * 1_000_000 - off_us) > slack_us:
                return Said.WRONG, f"a clock-aligned sample lies {off_us / 1e6:.0f} s off the clock"
        if last_us == stamp_us:
            self._brought.add(sample.measurand)
            return RIGHT
        if last_us is not None:
            apart_us = stamp_us - last_us
            if apart_us < 0:
                told = "a meter value came after a newer one"
                return (Said.WRONG if series.bridging else Said.DOUBTFUL), told
            if abs(apart_us - every_s * 1_000_000) > slack_us:
                told = f"two samples lie {apart_us / 1e6:.0f} s apart where {every_s} s are configured"
                came_us = step.event.at_us - self._heard_us
                clock_set = not series.bridging and abs(came_us - every_s * 1_000_000) <= slack_us
                return (Said.DOUBTFUL if clock_set else Said.WRONG), told
            if lacking := self._lacking(series, step):
                return Said.WRONG, f"a sample lacks {lacking}"
            self._count += 1
        self._last_us = stamp_us
        self._heard_us = step.event.at_us
        self._brought = {sample.measurand}
        return RIGHT

    def _lacking(self, series: Series, step: Step) -> str:
        """A measurand that is configured, as far as that was observed, and that the sample did not bring."""
        text = observed(series.measurands.name, step.before) if series.measurands else None
        if text is None or not self._brought:
            return ""
        wanted = [word.strip() for word in text.split(",") if word.strip()]
        return next((word[:60] for word in wanted if not _brings(word, self._brought)), "")


def _brings(word: str, brought: set[str]) -> bool:
    """A measurand may be configured for one phase ("Voltage.L1"); any phase of it will do."""
    return word in brought or word.rpartition(".")[0] in brought
