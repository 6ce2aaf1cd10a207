"""The certificate beside the traffic, row by row, each with a verdict; what was not seen is never passed."""

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from twin.certificate import Certificate, Performance
from twin.engine.latencies import Latencies, Place
from twin.engine.line_rows import LineRow, identity_rows, line_rows
from twin.engine.observed import Observation
from twin.engine.setting_rows import SettingRow, other_rows, setting_rows
from twin.engine.verdicts import Verdict
from twin.model import Fault, Finding, Severity, Side
from twin.protocol.actions import ACTIONS, Action
from twin.protocol.config_keys import FEATURE_PROFILES

# OCPP 1.6 has three figures on every certificate; without one they are observed all the same.
_FIGURES = (
    ("triggered_function", "OCPP triggered function timeout"),
    ("response", "OCPP response timeout"),
    ("remote_start", "Response time RemoteStartTransaction"),
)


class ActionRow(msgspec.Struct, frozen=True, kw_only=True):
    """How often one side asked for an action, and how the other answered."""

    action: str
    sender: Side
    asked: int
    accepted: int
    refused: int
    silent: int
    first: Place | None


class FunctionalityRow(msgspec.Struct, frozen=True, kw_only=True):
    """One functionality. ``certified`` is "Pass" or "N/A", "" without a certificate."""

    name: str
    profile: str
    certified: str
    verdict: Verdict
    used: tuple[ActionRow, ...]
    unused: tuple[str, ...]
    note: str


class FigureRow(msgspec.Struct, frozen=True, kw_only=True):
    """A response time in seconds: the limit of the PICS, what the laboratory measured, what was observed."""

    id: str
    name: str
    limit_s: int | None
    measured_s: int | None
    count: int
    median_s: float | None
    p95_s: float | None
    max_s: float | None
    longest_at: Place | None
    exact: bool
    verdict: Verdict
    note: str


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    """One station against its certificate; ``certificate`` and ``number`` are "" where there is none."""

    station: str
    profile: str
    certificate: str
    number: str
    digest: str
    identity: tuple[LineRow, ...]
    functionality: tuple[FunctionalityRow, ...]
    performance: tuple[FigureRow, ...]
    configuration: tuple[SettingRow, ...]
    lines: tuple[LineRow, ...]
    others: tuple[SettingRow, ...]
    messages: int
    connections: int
    gaps: int

    def counts(self) -> dict[str, Counter[Verdict]]:
        """How often each verdict stands in each table."""
        tables: dict[str, Sequence[LineRow | FunctionalityRow | FigureRow | SettingRow]] = {
            "Identity": self.identity,
            "Functionality": self.functionality,
            "Performance": self.performance,
            "Hardware and settings": self.lines,
            "Configuration": self.configuration,
        }
        return {name: Counter(row.verdict for row in rows) for name, rows in tables.items()}


def sheet(certificate: Certificate | None, seen: Observation, findings: Sequence[Finding]) -> Sheet:
    """The sheet of one station; of ``findings`` only those about it count."""
    about = [finding for finding in findings if (finding.station or finding.link) == seen.station]
    return Sheet(
        station=seen.station,
        profile=seen.profile.name,
        certificate=certificate.title if certificate else "",
        number=certificate.number if certificate else "",
        digest=certificate.digest if certificate else "",
        identity=tuple(identity_rows(certificate, seen)),
        functionality=tuple(_functionality(certificate, seen, about)),
        performance=tuple(_figures(certificate, seen)),
        configuration=setting_rows(certificate, seen),
        lines=tuple(line_rows(certificate, seen)),
        others=other_rows(certificate, seen),
        messages=seen.messages,
        connections=seen.connections,
        gaps=seen.gaps,
    )


# --- functionality ------------------------------------------------------------------------------------------


def _functionality(
    certificate: Certificate | None, seen: Observation, about: Sequence[Finding]
) -> Iterator[FunctionalityRow]:
    rows: list[tuple[str, str, str]] = [(name, name, "") for name in FEATURE_PROFILES]
    if certificate is not None:
        rows = [(row.name, row.profile, row.result) for row in certificate.functionality]
    for name, profile, result in rows:
        actions = [action for action in ACTIONS.values() if action.profile == profile]
        used = tuple(row for action in actions for row in _used(action, seen))
        verdict, note = _functionality_verdict(profile, result, used, about)
        there = {row.action for row in used}
        yield FunctionalityRow(
            name=name,
            profile=profile,
            certified=result,
            verdict=verdict,
            used=used,
            unused=tuple(action.name for action in actions if action.name not in there),
            note=note,
        )


def _used(action: Action, seen: Observation) -> Iterator[ActionRow]:
    for side in Side:
        use = seen.use(side, action.name)
        if use.asked:
            yield ActionRow(
                action=action.name,
                sender=side,
                asked=use.asked,
                accepted=use.accepted,
                refused=use.refused,
                silent=use.silent,
                first=use.first,
            )


def _functionality_verdict(
    profile: str, result: str, used: Sequence[ActionRow], about: Sequence[Finding]
) -> tuple[Verdict, str]:
    if not used:
        return Verdict.NOT_SEEN, ""
    if result == "N/A":
        taken = [row.action for row in used if row.sender is Side.STATION or row.accepted]
        if taken:
            return Verdict.VIOLATED, f"not certified, yet used: {', '.join(taken)}"
        if not any(row.refused for row in used):
            return Verdict.NOT_SEEN, "asked for, never answered"
        return Verdict.AS_CERTIFIED, "not certified, and refused"
    if profile != "Core":
        return Verdict.SEEN, ""
    broken = Counter(
        finding.rule
        for finding in about
        if finding.severity is Severity.ERROR and finding.fault is Fault.STATION
    )
    if broken:
        told = ", ".join(f"{rule} ({number})" for rule, number in sorted(broken.items()))
        return Verdict.VIOLATED, f"errors of the station: {told}"
    return Verdict.SEEN, ""


# --- performance --------------------------------------------------------------------------------------------


def _figures(certificate: Certificate | None, seen: Observation) -> Iterator[FigureRow]:
    held = {
        "triggered_function": seen.triggered,
        "response": seen.response,
        "remote_start": seen.remote_start,
    }
    rows: list[tuple[str, str, Performance | None]] = [(figure, name, None) for figure, name in _FIGURES]
    if certificate is not None:
        rows = [(row.id, row.name, row) for row in certificate.performance]
    for figure, name, row in rows:
        took = held.get(figure, Latencies())
        verdict, note = _figure_verdict(row, took)
        yield FigureRow(
            id=figure,
            name=name,
            limit_s=row.limit_s if row else None,
            measured_s=row.measured_s if row else None,
            count=took.count,
            median_s=_seconds(took.quantile(0.5)),
            p95_s=_seconds(took.quantile(0.95)),
            max_s=_seconds(took.longest_us if took.count else None),
            longest_at=took.longest_at,
            exact=took.exact,
            verdict=verdict,
            note=note,
        )


def _figure_verdict(row: Performance | None, took: Latencies) -> tuple[Verdict, str]:
    if not took.count:
        return Verdict.NOT_SEEN, ""
    if row is None:
        return Verdict.NO_CERTIFICATE, ""
    longest_s = took.longest_us / 1e6
    if longest_s > row.limit_s:
        return Verdict.BEYOND, ""
    if longest_s > row.measured_s + 0.999:  # measured in whole seconds
        return Verdict.WITHIN, f"slower than the laboratory measured ({row.measured_s} s)"
    return Verdict.WITHIN, ""


def _seconds(us: int | None) -> float | None:
    return None if us is None else us / 1e6
