"""Meter samples as the wire spells them: the configured measurands of one reading."""

from collections.abc import Iterable
from typing import Any

from twin.engine.station.plant import Reading

_UNITS = {"Energy.Active.Import.Register": "Wh", "Current.Import": "A", "Voltage": "V"}


def entry(
    stamp: str, reading: Reading, measurands: Iterable[str], context: str, quirks: frozenset[str]
) -> dict[str, Any]:
    """One meterValue entry; without a configured measurand the register alone (9.1.17)."""
    values = [
        _sampled(measurand, reading, context, quirks)
        for measurand in (tuple(measurands) or ("Energy.Active.Import.Register",))
        if not (measurand == "Voltage" and "missing-measurand" in quirks)
    ]
    return {"timestamp": stamp, "sampledValue": values}


def _sampled(measurand: str, reading: Reading, context: str, quirks: frozenset[str]) -> dict[str, str]:
    unit = _UNITS.get(measurand, "")
    match measurand:
        case "Energy.Active.Import.Register":
            text = str(reading.register_wh)
        case "Current.Import":
            text = f"{reading.current_a:.2f}"
            if "wrong-unit" in quirks:
                text, unit = f"{reading.current_a * 1000:.0f}", "Wh"
        case _:
            text = f"{reading.voltage_v:.1f}"
    if "comma-decimal" in quirks:
        text = text.replace(".", ",")
    value = {"value": text, "context": context, "measurand": measurand, "unit": unit}
    return {key: held for key, held in value.items() if held}
