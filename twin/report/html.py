"""One self-contained page of a capture: findings worst first, connectors over time, latencies, energy."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import msgspec
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from twin import __version__
from twin.certificate.profile import Profile
from twin.engine.analyzer import Analyzer
from twin.model import EventKind, Finding, Frame, Kind, Severity, Side
from twin.protocol import metering
from twin.protocol.fold import integer, payload_of, word
from twin.protocol.timestamps import format_us
from twin.report import svg

_MOST_ENERGY_LINES = 40


class Seen(msgspec.Struct):
    """What the pictures are drawn from. Times in seconds from the first frame."""

    span_s: float
    bands: list[svg.Band]
    latencies_s: list[tuple[str, float]]
    energy_wh: dict[int, list[tuple[float, float]]]
    stations: list[str]
    profile: Profile | None


def page(name: str, frames: Sequence[Frame], findings: Sequence[Finding], profile: Profile | None) -> str:
    """The page as text. Strings from the wire are escaped; nothing is loaded from anywhere."""
    seen = _look(frames, profile)
    template = _environment().from_string(
        (files("twin.report") / "page.html.jinja").read_text(encoding="utf-8")
    )
    return template.render(
        name=name,
        version=__version__,
        first=format_us(frames[0].at_us) if frames else "",
        last=format_us(frames[-1].at_us) if frames else "",
        messages=sum(frame.kind is Kind.TEXT for frame in frames),
        links=len({frame.link for frame in frames if frame.link}),
        stations=seen.stations,
        profile=seen.profile.name if seen.profile else "spec",
        counts={s.value: sum(f.severity is s for f in findings) for s in Severity},
        findings=[_row(f) for f in sorted(findings, key=lambda f: f.severity.rank)],
        connectors=_connectors(seen),
        latency=_latency(seen),
        energy=_energy(seen),
        legend=svg.STATUS_COLOURS,
    )


def _environment() -> Environment:
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _look(frames: Sequence[Frame], profile: Profile | None) -> Seen:
    analyzer = Analyzer(profile, rules=())
    first_us = frames[0].at_us if frames else 0
    span_s = max(((frames[-1].at_us - first_us) / 1e6 if frames else 0.0), 1.0)
    seen = Seen(span_s, [], [], {}, [], profile)
    status: dict[int, tuple[float, str]] = {}
    for frame in frames:
        for step in analyzer.steps(frame):
            event, at_s = step.event, (step.event.at_us - first_us) / 1e6
            seen.profile = step.profile if profile is None else profile
            if event.station and event.station not in seen.stations:
                seen.stations.append(event.station)
            if event.took_us is not None:
                side = "station" if event.sender is Side.STATION else "CSMS"
                seen.latencies_s.append((f"{event.action} ({side})", event.took_us / 1e6))
            if event.kind is EventKind.CALLED and event.action == "StatusNotification":
                _status(seen, status, payload_of(event), at_s)
            elif event.kind is EventKind.CALLED and event.action == "MeterValues":
                _meter(seen, payload_of(event), at_s)
    for connector_id, (since_s, told) in status.items():
        seen.bands.append(_band(connector_id, since_s, span_s, told))
    return seen


def _status(seen: Seen, status: dict[int, tuple[float, str]], payload: dict[str, Any], at_s: float) -> None:
    connector_id = integer(payload.get("connectorId"))
    if connector_id is None:
        return
    if connector_id in status:
        since_s, told = status[connector_id]
        seen.bands.append(_band(connector_id, since_s, at_s, told))
    status[connector_id] = (at_s, word(payload.get("status")))


def _band(connector_id: int, start_s: float, end_s: float, status: str) -> svg.Band:
    label = f"connector {connector_id}: {status}, {end_s - start_s:.0f} s"
    return svg.Band(
        f"connector {connector_id}", start_s, end_s, svg.STATUS_COLOURS.get(status, "#333"), label
    )


def _meter(seen: Seen, payload: dict[str, Any], at_s: float) -> None:
    transaction_id = integer(payload.get("transactionId"))
    if transaction_id is None:
        return
    for sample in metering.samples(payload.get("meterValue")):
        if (register := metering.energy_wh(sample)) is not None:
            seen.energy_wh.setdefault(transaction_id, []).append((at_s, float(register[0])))


def _connectors(seen: Seen) -> Markup:
    rows = sorted({band.row for band in seen.bands}, key=lambda row: int(row.split()[-1]))
    drawn = svg.bands("Connector status over time", rows, seen.bands, span=seen.span_s, unit="s")
    return Markup(drawn)  # noqa: S704  # svg escapes every label


def _latency(seen: Seen) -> Markup:
    rows = sorted({row for row, _ in seen.latencies_s})
    certificate = seen.profile.certificate if seen.profile else None
    figure = certificate.figure("response") if certificate else None
    limits = [(float(figure.limit_s), f"certified limit {figure.limit_s} s")] if figure else []
    drawn = svg.dots("Response times", rows, seen.latencies_s, limits=limits, unit="s")
    return Markup(drawn)  # noqa: S704  # svg escapes every label


def _energy(seen: Seen) -> Markup:
    drawn = [
        svg.Line(f"transaction {transaction_id}", points, svg.COLOURS[index % len(svg.COLOURS)])
        for index, (transaction_id, points) in enumerate(list(seen.energy_wh.items())[:_MOST_ENERGY_LINES])
    ]
    held = svg.lines("Energy register per transaction", drawn, span=seen.span_s, unit_x="s", unit_y="Wh")
    return Markup(held)  # noqa: S704  # svg escapes every label


def _row(finding: Finding) -> dict[str, Any]:
    return {
        "severity": finding.severity.value,
        "rule": finding.rule,
        "frames": ", ".join(f"#{seq}" for seq in finding.evidence) or "-",
        "fault": finding.fault.value,
        "detail": finding.detail,
        "connector": "" if finding.connector_id is None else finding.connector_id,
        "reference": finding.reference,
        "provenance": finding.provenance,
    }
