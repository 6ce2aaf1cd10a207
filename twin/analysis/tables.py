"""From frames to tables: one walk over the Analyzer's own steps, nothing correlated or folded twice."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd

from twin.analysis.columns import frame_of
from twin.certificate.profile import Profile
from twin.engine.analyzer import Analyzer
from twin.io.formats import ReadOptions, open_capture
from twin.model import Event, EventKind, Finding, Frame, Side
from twin.protocol.fold import integer, word
from twin.protocol.metering import Sample, samples
from twin.protocol.session import hides_payload
from twin.protocol.timestamps import parse_stamp
from twin.rules import Step

type Row = dict[str, Any]

BASE_UNITS: Mapping[str, tuple[str, int]] = {
    "kWh": ("Wh", 1000),
    "kvarh": ("varh", 1000),
    "kW": ("W", 1000),
    "kvar": ("var", 1000),
    "kVA": ("VA", 1000),
    "Celcius": ("Celsius", 1),  # OCPP 1.6 schemas allow both spellings
}
"""Wire unit to base unit and factor; every other unit is its own base (OCPP 1.6 §7.45)."""

UNITS_BY_MEASURAND: tuple[tuple[str, str], ...] = (
    ("Current", "A"),
    ("Voltage", "V"),
    ("Power.Factor", ""),
    ("Power.Reactive", "var"),
    ("Power", "W"),
    ("Energy.Reactive", "varh"),
    ("Energy", "Wh"),
    ("SoC", "Percent"),
    ("Temperature", "Celsius"),
)
"""What an omitted unit means, by the beginning of the measurand. By the letter it is always Wh (§7.43)."""


@dataclass(frozen=True)
class Tables:
    """The tables of one capture; their columns stand in ``COLUMNS`` and in docs/notebooks.md.

    Rows are in the order of the frames, so ``at`` never decreases (``transactions`` by their first frame).
    """

    frames: pd.DataFrame
    calls: pd.DataFrame
    meter: pd.DataFrame
    transactions: pd.DataFrame
    status: pd.DataFrame
    configuration: pd.DataFrame
    findings: pd.DataFrame


def load(
    path: str | Path,
    *,
    options: ReadOptions | None = None,
    format: str | None = None,  # noqa: A002  # the option's own name everywhere
    profile: Profile | None = None,
) -> Tables:
    """The tables of a capture of any format; ``profile`` as in :class:`Analyzer`.

    Raises ``CaptureError`` (a ``ValueError``) when nothing of it can be read.
    """
    return tables(open_capture(Path(path), options or ReadOptions(), format).frames, profile)


def tables(frames: Iterable[Frame], profile: Profile | None = None) -> Tables:
    """The tables of frames that are already at hand, in their order."""
    analyzer, rows = Analyzer(profile), _Rows()
    for frame in frames:
        own: Event | None = None
        for step in analyzer.steps(frame):
            rows.step(step)
            rows.findings += map(_finding, analyzer.judge(step))
            if step.event.frame is frame or step.event.kind is EventKind.RESET:
                own = step.event
        rows.frames.append(_frame(frame, own))
    return Tables(
        frames=frame_of("frames", rows.frames),
        calls=frame_of("calls", rows.calls.values()),
        meter=frame_of("meter", rows.meter),
        transactions=frame_of("transactions", rows.transactions),
        status=frame_of("status", rows.status),
        configuration=frame_of("configuration", rows.configuration),
        findings=frame_of("findings", rows.findings),
    )


@dataclass
class _Rows:
    """Rows while they grow. ``calls`` is keyed by the CALL's seq, ``open`` by station and transactionId."""

    frames: list[Row] = field(default_factory=list)
    calls: dict[int, Row] = field(default_factory=dict)
    meter: list[Row] = field(default_factory=list)
    transactions: list[Row] = field(default_factory=list)
    status: list[Row] = field(default_factory=list)
    configuration: list[Row] = field(default_factory=list)
    findings: list[Row] = field(default_factory=list)
    starts: dict[int, Row] = field(default_factory=dict)
    open: dict[tuple[str, int], Row] = field(default_factory=dict)

    def step(self, step: Step) -> None:
        """What one step adds to the tables."""
        event = step.event
        if step.after.config is not step.before.config:
            self.configuration += _configuration(step)
        if event.kind is EventKind.CALLED and event.frame is not None:
            self.calls[event.frame.seq] = _call(step, event.frame)
            if event.sender is Side.STATION and not hides_payload(event):
                self._station_called(step, event.frame)
        elif event.asked is not None and event.asked.frame.seq in self.calls:
            self._ended(step, self.calls[event.asked.frame.seq])

    def _station_called(self, step: Step, frame: Frame) -> None:
        payload, where = step.payload, _where(step.event)
        match step.event.action:
            case "StatusNotification":
                self.status.append(where | _status(payload) | {"seq": frame.seq})
            case "MeterValues":
                about = {
                    "source": "MeterValues",
                    "connector_id": integer(payload.get("connectorId")),
                    "transaction_id": integer(payload.get("transactionId")),
                }
                self._meter(payload.get("meterValue"), where | about | {"seq": frame.seq})
            case "StartTransaction":
                row = where | _start(payload) | {"start_seq": frame.seq, "start_at": frame.at_us}
                self.starts[frame.seq] = row
                self.transactions.append(row)
            case "StopTransaction":
                row = self._stopped(step, frame)
                about = {key: row.get(key) for key in ("connector_id", "transaction_id")}
                about |= {"source": "transactionData", "seq": frame.seq}
                self._meter(payload.get("transactionData"), where | about)

    def _meter(self, meter_values: Any, about: Row) -> None:
        self.meter += [about | _sample(sample) for sample in samples(meter_values)]

    def _stopped(self, step: Step, frame: Frame) -> Row:
        transaction_id = integer(step.payload.get("transactionId"))
        row = self.open.get((_station(step.event), transaction_id)) if transaction_id is not None else None
        if row is None:  # begun before the capture, or with an id that nobody gave
            row = {**_where(step.event), "transaction_id": transaction_id}
            self.transactions.append(row)
        if "stop_seq" not in row:  # a retransmission says the same again (§3.7)
            row |= _stop(step.payload) | {"stop_seq": frame.seq, "stop_at": step.event.at_us}
        return row

    def _ended(self, step: Step, call: Row) -> None:
        event = step.event
        if call["outcome"] != "open":
            return
        call["outcome"] = event.kind
        if event.frame is None or event.kind is EventKind.TIMED_OUT:
            return
        info = step.payload.get("idTagInfo")
        given = word(info.get("status")) if isinstance(info, dict) else ""
        call |= {
            "answered_seq": event.frame.seq,
            "answered_at": event.at_us,
            "took_ms": None if event.took_us is None else event.took_us / 1000,
            "status": word(step.payload.get("status")) or given,
            "error_code": word(getattr(event.message, "code", "")),
        }
        row = self.starts.pop(call["seq"], None)
        transaction_id = integer(step.payload.get("transactionId"))
        if row is not None and event.kind is EventKind.ANSWERED:
            row |= {"transaction_id": transaction_id, "status": given}
            call["transaction_id"] = transaction_id
            if transaction_id is not None:
                self.open[_station(event), transaction_id] = row


def _station(event: Event) -> str:
    return event.station or event.link


def _where(event: Event) -> Row:
    return {"at": event.at_us, "station": event.station, "link": event.link}


def _frame(frame: Frame, event: Event | None) -> Row:
    size = len(frame.text.encode("utf-8", "surrogatepass") if frame.text is not None else frame.data or b"")
    return {
        "seq": frame.seq,
        "at": frame.at_us,
        "station": event.station if event else frame.station,
        "link": frame.link,
        "side": frame.sender,
        "kind": frame.kind,
        "event": event.kind if event else "",
        "action": event.action if event else "",
        "message_id": getattr(event.message, "message_id", "") if event else "",
        "bytes": size,
        "text": frame.text,
    }


def _call(step: Step, frame: Frame) -> Row:
    event, payload = step.event, step.payload
    return {
        **_where(event),
        "seq": frame.seq,
        "side": event.sender,
        "action": event.action,
        "message_id": getattr(event.message, "message_id", ""),
        "outcome": "open",
        "outstanding": event.outstanding,
        "connector_id": integer(payload.get("connectorId")),
        "transaction_id": integer(payload.get("transactionId")),
        "id_tag": word(payload.get("idTag")),
    }


def _status(payload: Row) -> Row:
    return {
        "stamp": _stamp_us(payload.get("timestamp")),
        "connector_id": integer(payload.get("connectorId")),
        "status": word(payload.get("status")),
        "error_code": word(payload.get("errorCode")),
        "info": word(payload.get("info")),
    }


def _start(payload: Row) -> Row:
    return {
        "connector_id": integer(payload.get("connectorId")),
        "id_tag": word(payload.get("idTag")),
        "started": _stamp_us(payload.get("timestamp")),
        "meter_start_wh": integer(payload.get("meterStart")),
    }


def _stop(payload: Row) -> Row:
    return {
        "stopped": _stamp_us(payload.get("timestamp")),
        "meter_stop_wh": integer(payload.get("meterStop")),
        "reason": word(payload.get("reason")) or "Local",  # §6.49: Local if omitted
    }


def _sample(sample: Sample) -> Row:
    unit, factor = BASE_UNITS.get(sample.unit, (sample.unit, 1))
    if not unit:
        unit = next((unit for begin, unit in UNITS_BY_MEASURAND if sample.measurand.startswith(begin)), "")
    return {
        "stamp": sample.stamp_us,
        "context": sample.context,
        "measurand": sample.measurand,
        "phase": sample.phase,
        "location": sample.location,
        "value_text": sample.text,
        "value": _float(sample.value),
        "unit": sample.unit,
        "base_value": _float(None if sample.value is None else sample.value * factor),
        "base_unit": unit,
    }


def _configuration(step: Step) -> Iterator[Row]:
    before = step.before.config
    for key, known in step.after.config.items():
        if before.get(key) != known:
            yield _where(step.event) | {
                "seq": known.seq,
                "key": known.key,
                "value": known.value,
                "source": known.source.rpartition(" ")[2],
            }


def _finding(finding: Finding) -> Row:
    return {
        "rule": finding.rule,
        "severity": finding.severity,
        "fault": finding.fault,
        "seq": finding.seq,
        "at": finding.at_us,
        "station": finding.station,
        "link": finding.link,
        "connector_id": finding.connector_id,
        "transaction_id": finding.transaction_id,
        "detail": finding.detail,
    }


def _stamp_us(value: Any) -> int | None:
    stamp = parse_stamp(value) if isinstance(value, str) else None
    return stamp.at_us if stamp else None


def _float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)
