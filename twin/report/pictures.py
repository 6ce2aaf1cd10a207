"""The pictures of one station in one capture: connectors over time, response times, energy registers."""

from collections.abc import Sequence

from markupsafe import Markup

from twin.engine.observed import Observation
from twin.engine.parts import Part
from twin.model import Finding, Severity
from twin.report import svg

_ROWS_A_PICTURE = 40  # more would not fit a printed page
_MOST_LINES = 120
_MOST_DOTS = 300  # a row
_LONGEST_NAME = 42  # fits beside the picture
_SEVERITY_COLOURS = {
    Severity.ERROR: "#b3261e",
    Severity.WARNING: "#8a5a00",
    Severity.DRIFT: "#0b5cad",
    Severity.NOTE: "#666666",
}
# The unit of a time axis by the length of it, in seconds: the first that is long enough.
_UNITS = ((600, 1, "s"), (3 * 3600, 60, "min"), (4 * 86_400, 3600, "h"), (float("inf"), 86_400, "d"))


def connectors(part: Part, findings: Sequence[Finding]) -> list[Markup]:
    """A row a connector, a band a status, a mark a finding; at most 40 rows a picture."""
    span, per_unit, unit = _axis(part)
    numbers = sorted({band.connector_id for band in part.bands})
    bands = [
        svg.Band(
            _name(band.connector_id),
            (band.start_us - part.first_us) / per_unit,
            (band.end_us - part.first_us) / per_unit,
            svg.STATUS_COLOURS.get(band.status, "#333333"),
            f"{_name(band.connector_id)}: {band.status}, {(band.end_us - band.start_us) / 1e6:,.0f} s, "
            f"from frame #{band.seq}",
        )
        for band in part.bands
    ]
    marks = [
        svg.Mark(
            _name(finding.connector_id),
            (finding.at_us - part.first_us) / per_unit,
            _SEVERITY_COLOURS[finding.severity],
            f"{finding.rule} {finding.severity.value}: {finding.detail}",
        )
        for finding in findings
        if finding.connector_id is not None
    ]
    drawn = []
    for start in range(0, len(numbers), _ROWS_A_PICTURE):
        rows = [_name(number) for number in numbers[start : start + _ROWS_A_PICTURE]]
        title = f"Status of {rows[0]} to {rows[-1]} over time"
        drawn.append(_safe(svg.bands(title, rows, bands, marks, span=span, unit=unit)))
    return drawn


def latencies(seen: Observation) -> list[Markup]:
    """A row an action, a dot a response; at most 40 rows a picture."""
    certificate = seen.profile.certificate
    figure = certificate.figure("response") if certificate else None
    limits = [(float(figure.limit_s), f"certified limit {figure.limit_s} s")] if figure else []
    rows = sorted(seen.took)
    drawn = []
    for start in range(0, len(rows), _ROWS_A_PICTURE):
        named = {row: _shortened(row, seen.took[row].count) for row in rows[start : start + _ROWS_A_PICTURE]}
        points = [(name, us / 1e6) for row, name in named.items() for us in seen.took[row].sample(_MOST_DOTS)]
        title = f"Response times by action, {len(named)} rows"
        drawn.append(_safe(svg.dots(title, list(named.values()), points, limits=limits, unit="s")))
    return drawn


def _shortened(row: str, count: int) -> str:
    return f"{row if len(row) <= _LONGEST_NAME else row[: _LONGEST_NAME - 1] + '…'} ({count:,})"


def energy(part: Part) -> Markup | None:
    """A line a transaction; ``None`` where no register was sent."""
    if not part.energy:
        return None
    span, per_unit, unit = _axis(part)
    drawn = [
        svg.Line(
            f"transaction {transaction_id}",
            [((at_us - part.first_us) / per_unit, energy_wh) for at_us, energy_wh in curve.points],
            svg.COLOURS[index % len(svg.COLOURS)],
        )
        for index, (transaction_id, curve) in enumerate(list(part.energy.items())[:_MOST_LINES])
    ]
    which = f"the first {len(drawn)} of " if len(drawn) < len(part.energy) else ""
    title = f"Energy register of {which}{len(part.energy)} transaction(s) over time"
    return _safe(svg.lines(title, drawn, span=span, unit_x=unit, unit_y="Wh"))


def _axis(part: Part) -> tuple[float, float, str]:
    """Length of the axis in its unit, µs of one unit, and the unit's name."""
    span_s = max((part.last_us - part.first_us) / 1e6, 1.0)
    seconds, unit = next((seconds, unit) for longest, seconds, unit in _UNITS if span_s <= longest)
    return span_s / seconds, seconds * 1e6, unit


def _name(connector_id: int) -> str:
    return f"connector {connector_id}"


def _safe(drawn: str) -> Markup:
    return Markup(drawn)  # noqa: S704  # svg escapes every label
