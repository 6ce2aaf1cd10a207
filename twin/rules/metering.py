"""Family M, second part: what a sampled value may be."""

from collections.abc import Callable, Iterable
from decimal import Decimal

from twin.model import Severity
from twin.protocol import metering
from twin.protocol.fold import integer
from twin.rules.step import NO_CERTIFICATE, NO_EARLIER_STATUS, Found, Step, Unknown

_SATURATED = 2_147_483_647
_UNITS = {
    "Energy.Active": ("Wh", "kWh"),
    "Energy.Reactive": ("varh", "kvarh"),
    "Current": ("A",),
    "Voltage": ("V",),
}
_PHASES = ("L1", "L2", "L3")
_NO_SAMPLES = Unknown("the message holds no sample")
_INTERVAL = "Energy.Active.Import.Interval"
_NO_SUM = Unknown("no sample with a total and all three phases")
_MOST_VOLTS, _LEAST_AMPS = 500, 1


def location_fits(step: Step) -> Iterable[Found] | Unknown | None:
    """The location EV is for the state of charge alone.

    TC_070, a test case of the certification; OCPP 1.6 §7.30 allows EV for any measurand. Pitfalls: none.
    """
    if step.profile.certificate is None:
        return NO_CERTIFICATE
    if not step.samples:
        return _NO_SAMPLES
    for sample in step.samples:
        if sample.location == "EV" and sample.measurand != "SoC":
            detail = f"{sample.measurand} at location EV"
            return [Found(detail=detail, connector_id=_connector(step), key=sample.measurand)]
    return None


def no_trigger_context(step: Step) -> Iterable[Found] | Unknown | None:
    """The context Trigger does not occur: Remote Trigger is not certified.

    Certificate, functionalities; OCPP 1.6 §7.35. Pitfalls: none.
    """
    if step.profile.certificate is None:
        return NO_CERTIFICATE
    if not step.profile.excludes("RemoteTrigger") or not any(s.context == "Trigger" for s in step.samples):
        return None
    return [Found(detail="sample with the context Trigger", connector_id=_connector(step))]


def value_is_a_number(step: Step) -> Iterable[Found] | Unknown | None:
    """A sampled value is a number in text, not localised, and not SignedData.

    OCPP 1.6 §7.43, §7.49. Pitfalls: integer, decimal, exponent and a leading "+" are fine; SignedData only
    differs from the certificate.
    """
    if not step.samples:
        return _NO_SAMPLES
    for sample in step.samples:
        if sample.value is not None and sample.format != "SignedData":
            continue
        if sample.format == "SignedData":
            if step.profile.certificate is None:
                return NO_CERTIFICATE
            detail = f"{sample.measurand} is SignedData"
            return [
                Found(detail=detail, severity=Severity.DRIFT, connector_id=_connector(step), key="signed")
            ]
        return [Found(detail=f"{sample.measurand} {sample.text[:40]!r}", connector_id=_connector(step))]
    return None


def unit_fits_measurand(step: Step) -> Iterable[Found] | Unknown | None:
    """The unit fits the measurand: Wh or kWh, A, V.

    OCPP 1.6 §7.43, §7.45. Pitfalls: a missing unit for current or voltage means the default "Wh", which is
    nonsense but so common that it is not reported.
    """
    if not step.samples:
        return _NO_SAMPLES
    for sample in step.samples:
        if not sample.unit:
            continue
        units = _units_of(sample.measurand)
        if units and sample.unit not in units:
            detail = f"{sample.measurand} in {sample.unit[:20]}"
            return [Found(detail=detail, connector_id=_connector(step), key=detail)]
    return None


def volts_and_amps(step: Step) -> Iterable[Found] | Unknown | None:
    """Voltage is 0 to 500 V, a current not negative, and about 0 while the connector is suspended.

    Seen in the field. Pitfalls: DC stations have more volts; a status may lag behind the current.
    """
    if not step.samples:
        return _NO_SAMPLES
    connector_id = _connector(step)
    for sample in step.samples:
        if sample.value is None:
            continue
        if sample.measurand == "Voltage" and not 0 <= sample.value <= _MOST_VOLTS:
            return [Found(detail=f"Voltage {sample.text[:20]} V", connector_id=connector_id, key="V")]
        if sample.measurand == "Current.Import" and sample.value < 0:
            return [Found(detail=f"Current.Import {sample.text[:20]} A", connector_id=connector_id, key="A")]
    connector = step.before.connectors.get(connector_id) if connector_id else None
    if connector is None:
        return NO_EARLIER_STATUS
    if not connector.status.startswith("Suspended"):
        return None
    for sample in step.samples:
        late = sample.stamp_us is None or connector.stamp_us is None or sample.stamp_us <= connector.stamp_us
        if sample.measurand != "Current.Import" or late or sample.unit not in ("", "A"):
            continue
        if sample.value is not None and sample.value > _LEAST_AMPS:
            detail = f"Current.Import {sample.text[:20]} A while {connector.status}"
            return [Found(detail=detail, connector_id=connector_id, evidence=(connector.seq,), key="held")]
    return None


def value_plausible(step: Step) -> Iterable[Found] | Unknown | None:
    """Temperature is at most 200 Celsius, a power factor at most 1, a frequency in Hertz.

    Seen in the field: milli-degrees, power factors in percent, frequency in W. Pitfalls: none known.
    """
    if not step.samples:
        return _NO_SAMPLES
    for sample in step.samples:
        if sample.measurand not in _ODD or sample.value is None:
            continue
        if _ODD[sample.measurand](sample.value, sample.unit):
            detail = f"{sample.measurand} {sample.text[:20]} {sample.unit[:20]}".strip()
            return [Found(detail=detail, connector_id=_connector(step), key=sample.measurand)]
    return None


def register_not_saturated(step: Step) -> Iterable[Found] | Unknown | None:
    """The energy register is not saturated at 2147483647.

    Seen in the field beside a real register of 4296944685 Wh. Pitfalls: none.
    """
    wire = (step.payload.get("meterStart"), step.payload.get("meterStop"))
    registers = [s.value for s in step.samples if s.measurand == metering.ENERGY]
    if not registers and wire == (None, None):
        return _NO_SAMPLES
    if _SATURATED not in (*wire, *registers):
        return None
    return [Found(detail=f"register stands at {_SATURATED}", connector_id=_connector(step))]


def sample_not_empty(step: Step) -> Iterable[Found] | Unknown | None:
    """No sampledValue list is empty.

    OCPP 1.6 §7.33. Pitfalls: the published StopTransaction schema lets it pass.
    """
    judged = False
    for field in ("meterValue", "transactionData"):
        for entry in metering.as_list(step.payload.get(field)):
            judged = True
            if isinstance(entry, dict) and entry.get("sampledValue") == []:
                return [Found(detail=f"{field} with an empty sampledValue", connector_id=_connector(step))]
    return None if judged else _NO_SAMPLES


def phases_sum_up(step: Step) -> Iterable[Found] | Unknown | None:
    """The phase registers sum to the total, and the interval's energy is no copy of the register.

    Seen in the field. Pitfalls: judged only where one sample has a total and all three phases, with 2 % and
    three units of rounding; the energy of an interval equals the register only where that began at 0.
    """
    if copy := _copied_interval(step):
        return copy
    totals: dict[tuple[str, int | None, str], Decimal] = {}
    phases: dict[tuple[str, int | None, str], dict[str, Decimal]] = {}
    for sample in step.samples:
        if sample.measurand != metering.ENERGY or sample.value is None:
            continue
        place = (sample.context, sample.stamp_us, sample.unit)
        if not sample.phase:
            totals[place] = sample.value
        elif sample.phase in _PHASES:
            phases.setdefault(place, {})[sample.phase] = sample.value
    judged = False
    for place, held in phases.items():
        if place not in totals or len(held) != len(_PHASES):
            continue
        judged = True
        total, summed = totals[place], sum(held.values(), Decimal(0))
        if abs(total - summed) > max(abs(total) * Decimal("0.02"), Decimal(3)):
            detail = f"phase registers sum to {summed:f}, total {total:f} {place[2]}".strip()
            return [Found(detail=detail, connector_id=_connector(step), key="sum")]
    return None if judged else _NO_SUM


def _copied_interval(step: Step) -> list[Found] | None:
    transaction_id = integer(step.payload.get("transactionId"))
    transaction = step.before.transactions.get(transaction_id) if transaction_id is not None else None
    if transaction is None or not transaction.register_wh:
        return None
    held: dict[tuple[str, int | None, str, str], dict[str, Decimal]] = {}
    for sample in step.meter_values:
        if sample.measurand in (metering.ENERGY, _INTERVAL) and sample.value:
            place = (sample.context, sample.stamp_us, sample.unit, sample.phase)
            held.setdefault(place, {})[sample.measurand] = sample.value
    for values in held.values():
        if len(values) == 2 and values[metering.ENERGY] == values[_INTERVAL]:
            return [
                Found(
                    detail=f"{_INTERVAL} {values[_INTERVAL]:f} is the register",
                    connector_id=_connector(step),
                    transaction_id=transaction_id,
                    key="interval",
                )
            ]
    return None


def _units_of(measurand: str) -> tuple[str, ...]:
    return next((units for name, units in _UNITS.items() if measurand.startswith(name)), ())


_ODD: dict[str, Callable[[Decimal, str], bool]] = {
    "Temperature": lambda value, unit: unit in ("Celsius", "Celcius") and value > 200,
    "Power.Factor": lambda value, unit: abs(value) > 1,
    "Frequency": lambda value, unit: unit == "W",
}


def _connector(step: Step) -> int | None:
    return integer(step.payload.get("connectorId"))
