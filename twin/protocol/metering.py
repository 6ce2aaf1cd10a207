"""Meter samples out of MeterValues and StopTransaction: one row per sampledValue, defaults filled in."""

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from twin.protocol.timestamps import parse_stamp

# OCPP 1.6 §7.43: what an omitted field means.
DEFAULT_CONTEXT = "Sample.Periodic"
DEFAULT_MEASURAND = "Energy.Active.Import.Register"
DEFAULT_LOCATION = "Outlet"
ENERGY = DEFAULT_MEASURAND

# Beyond these a text like "9e999999" or "1e-999999" would cost memory, not meaning.
_LARGEST = Decimal(10) ** 30
_MOST_PLACES = 100


class Sample(msgspec.Struct, frozen=True):
    """One sampled value. ``value`` is ``None`` where the text is no number; ``text`` is always the wire's.

    ``stamp_us`` is the payload's own time stamp (UTC microseconds), ``None`` if unreadable. ``unit`` is ""
    where the wire had none. ``phase`` is "" for a total.
    """

    text: str
    value: Decimal | None
    measurand: str
    context: str
    location: str
    phase: str
    unit: str
    format: str
    stamp_us: int | None
    context_given: bool


def samples(meter_values: Any) -> Iterator[Sample]:
    """Every sample of a ``meterValue`` or ``transactionData`` list; what has another shape is passed over.

    A lone object in place of the list is read as a list of one (seen in the field); the schema speaks of it.
    """
    for entry in as_list(meter_values):
        if not isinstance(entry, dict):
            continue
        stamp = parse_stamp(entry["timestamp"]) if isinstance(entry.get("timestamp"), str) else None
        for value in as_list(entry.get("sampledValue")):
            if isinstance(value, dict):
                yield _sample(value, stamp.at_us if stamp else None)


def as_list(value: Any) -> list[Any]:
    """``value`` as a list: itself, a list of one object, or nothing."""
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, dict) else []


def number(text: str) -> Decimal | None:
    """``text`` as an exact decimal: integer, fraction, exponent and leading "+" are fine (§7.49).

    Python's own digit separators ("1_000") and digits beyond ASCII are no numbers on this wire.
    """
    if "_" in text or not text.isascii():
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -_MOST_PLACES:  # NaN and Infinity have a letter there
        return None
    return value if -_LARGEST < value < _LARGEST else None


def energy_wh(sample: Sample) -> tuple[Decimal, Decimal] | None:
    """A whole-station energy register in Wh and its resolution (one unit of the last printed digit, in Wh).

    ``None`` for anything else: another measurand, one phase, another location (Inlet is another meter).
    """
    if (
        sample.measurand != ENERGY
        or sample.value is None
        or sample.phase
        or sample.location != DEFAULT_LOCATION
        or sample.unit not in ("", "Wh", "kWh")
    ):
        return None
    factor = 1000 if sample.unit == "kWh" else 1
    exponent = sample.value.as_tuple().exponent
    assert isinstance(exponent, int)  # finite
    return sample.value * factor, Decimal(10) ** min(exponent, 0) * factor


def _sample(value: dict[str, Any], stamp_us: int | None) -> Sample:
    given = value.get
    text = given("value", "")
    text = text if isinstance(text, str) else str(text)
    measurand, context, location = given("measurand"), given("context"), given("location")
    phase, unit, format_ = given("phase"), given("unit"), given("format")
    return Sample(
        text,
        number(text),
        measurand if isinstance(measurand, str) else DEFAULT_MEASURAND,
        context if isinstance(context, str) else DEFAULT_CONTEXT,
        location if isinstance(location, str) else DEFAULT_LOCATION,
        phase if isinstance(phase, str) else "",
        unit if isinstance(unit, str) else "",
        format_ if isinstance(format_, str) else "Raw",
        stamp_us,
        "context" in value,
    )
