"""Pictures for reports as inline SVG: no library, no script, colours that the colour-blind can tell apart."""

from collections.abc import Iterable, Sequence
from html import escape
from math import floor, log10

import msgspec

from twin.report.words import plain

# Okabe and Ito's palette, 2008
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#666666")
STATUS_COLOURS = {
    "Available": "#e5e5e5",
    "Preparing": "#f0e442",
    "Charging": "#009e73",
    "SuspendedEV": "#56b4e9",
    "SuspendedEVSE": "#0072b2",
    "Finishing": "#e69f00",
    "Reserved": "#cc79a7",
    "Unavailable": "#999999",
    "Faulted": "#d55e00",
}
_GRID = 'stroke="currentColor" stroke-opacity="0.15"'
_WIDTH, _RIGHT, _TOP, _BOTTOM = 920, 24, 12, 34
_LEFT_OF_BANDS, _LEFT_OF_DOTS, _LEFT_OF_LINES = 112, 284, 92  # room for the names of the rows


class Band(msgspec.Struct, frozen=True):
    """A stretch of one row from ``start`` to ``end`` (same unit as the axis), and what it says on hover."""

    row: str
    start: float
    end: float
    colour: str
    label: str


class Mark(msgspec.Struct, frozen=True):
    """A point on a row that something is to be said about on hover."""

    row: str
    at: float
    colour: str
    label: str


class Line(msgspec.Struct, frozen=True):
    """A polyline of (x, y) points."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: str


def bands(
    title: str,
    rows: Sequence[str],
    held: Iterable[Band],
    marks: Iterable[Mark] = (),
    *,
    span: float,
    unit: str,
) -> str:
    """One row each, time to the right; ``span`` is the length of the axis in ``unit``."""
    height = _TOP + 18 * len(rows) + _BOTTOM
    place = {row: _TOP + 18 * index for index, row in enumerate(rows)}
    parts = [_text(_LEFT_OF_BANDS - 8, place[row] + 12, row, "end") for row in rows]
    for band in held:
        if band.row in place:
            left, right = _x(band.start, span, _LEFT_OF_BANDS), _x(band.end, span, _LEFT_OF_BANDS)
            y, width = place[band.row] + 1, max(right - left, 1)
            parts.append(
                f'<rect x="{left:.1f}" y="{y}" width="{width:.1f}" height="15" '
                f'fill="{band.colour}"><title>{_escaped(band.label)}</title></rect>'
            )
    for mark in marks:
        if mark.row in place:
            x, top = _x(mark.at, span, _LEFT_OF_BANDS), place[mark.row] + 3.5
            parts.append(
                f'<path d="M{x:.1f} {top}l4.5 5l-4.5 5l-4.5 -5z" fill="{mark.colour}" stroke="#fff">'
                f"<title>{_escaped(mark.label)}</title></path>"
            )
    return _svg(title, height, [*parts, *_time_axis(height, span, unit, _LEFT_OF_BANDS)])


def dots(
    title: str,
    rows: Sequence[str],
    points: Iterable[tuple[str, float]],
    *,
    limits: Sequence[tuple[float, str]],
    unit: str,
) -> str:
    """One row each, a dot per value on a logarithmic axis of whole decades; ``limits`` are labelled lines."""
    held = list(points)
    values = [value for _, value in held if value > 0] + [limit for limit, _ in limits]
    low, high = _decades(min(values, default=0.1)), _decades(max(values, default=1.0)) + 1

    def x_of(value: float) -> float:
        return _x(log10(max(value, 10.0**low)) - low, high - low, _LEFT_OF_DOTS)

    height = _TOP + 22 * len(rows) + _BOTTOM + 14
    base = height - _BOTTOM + 4
    place = {row: _TOP + 14 + 22 * index + 11 for index, row in enumerate(rows)}
    parts = [_text(_LEFT_OF_DOTS - 8, place[row] + 4, row, "end") for row in rows]
    for decade in range(low, high + 1):
        x = x_of(10.0**decade)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP + 8}" y2="{base}" {_GRID}/>')
        parts.append(_text(x, base + 16, f"{10.0**decade:g} {unit}", "middle"))
    parts += [
        f'<circle cx="{x_of(value):.1f}" cy="{place[row]}" r="3" fill="currentColor" fill-opacity="0.5">'
        f"<title>{_escaped(row)} {value:.4f} {_escaped(unit)}</title></circle>"
        for row, value in held
        if row in place
    ]
    for limit, label in limits:
        x = x_of(limit)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP + 6}" y2="{base}" stroke="#d55e00"/>')
        parts.append(_text(x - 4, _TOP + 4, label, "end"))
    return _svg(title, height, parts)


def lines(title: str, held: Sequence[Line], *, span: float, unit_x: str, unit_y: str) -> str:
    """Polylines over a common axis, from 0 upward."""
    height = 300
    top = max((y for line in held for _, y in line.points), default=0.0) or 1.0
    base = height - _BOTTOM

    def y_of(value: float) -> float:
        return base - (base - _TOP) * value / (top * 1.05)

    parts = []
    for tick in _ticks(top):
        y = y_of(tick)
        parts.append(
            f'<line x1="{_LEFT_OF_LINES}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" {_GRID}/>'
        )
        parts.append(_text(_LEFT_OF_LINES - 8, y + 4, f"{tick:g} {unit_y}", "end"))
    for line in held:
        path = " ".join(f"{_x(x, span, _LEFT_OF_LINES):.1f},{y_of(y):.1f}" for x, y in line.points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="1.6">'
            f"<title>{_escaped(line.label)}</title></polyline>"
        )
    return _svg(title, height, [*parts, *_time_axis(height, span, unit_x, _LEFT_OF_LINES)])


def _svg(title: str, height: float, parts: Iterable[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{_escaped(title)}" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{_escaped(title)}</title>{"".join(parts)}</svg>'
    )


def _time_axis(height: float, span: float, unit: str, left: float) -> list[str]:
    y = height - _BOTTOM + 4
    parts = [f'<line x1="{left}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}" stroke="#888"/>']
    for tick in _ticks(span):
        x = _x(tick, span, left)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + 4}" stroke="#888"/>')
        parts.append(_text(x, y + 18, f"{tick:g} {unit}", "middle"))
    return parts


def _ticks(span: float) -> list[float]:
    """About six round steps from 0 to ``span``."""
    step = 1.0
    while span / step > 8:
        step *= 10
    while span / step < 1.5:
        step /= 10
    for factor in (0.2, 0.5, 1):
        if span / (step * factor) <= 8:
            step *= factor
            break
    count = int(span / step + 1e-9)
    return [round(step * index, 9) for index in range(count + 1)]


def _x(value: float, span: float, left: float) -> float:
    return left + (_WIDTH - left - _RIGHT) * min(max(value / span, 0.0), 1.0)


def _decades(value: float) -> int:
    return floor(log10(value)) if value > 0 else -3


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_escaped(text)}</text>'


def _escaped(text: str) -> str:
    return escape(plain(text))
