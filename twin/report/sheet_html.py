"""The certificate sheet as one self-contained page: to read on a screen, to print, to sign."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from twin import __version__
from twin.certificate.cases import CASES
from twin.engine.cases import CaseResult
from twin.engine.cases import Verdict as CaseVerdict
from twin.engine.checked import Cause, Checked, first_cause
from twin.engine.latencies import Place
from twin.engine.observed import Observation, Observer
from twin.engine.sheet import Sheet
from twin.engine.verdicts import Verdict
from twin.model import Finding, Severity
from twin.protocol.timestamps import format_us
from twin.report import pictures, svg
from twin.report.excerpts import evidence_shown
from twin.report.sheet_text import figure_words, unused_words, used_words
from twin.report.words import plain
from twin.rules import RULES
from twin.rules.beyond import NOT_OBSERVABLE

_MOST_ROWS = 60  # of one rule
_JOINTS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[.,])(?=[^\s\d])")
_WITH_TEXT = 2  # so many findings of a rule show the text of their frames
_STATEMENTS = {rule.id: rule.statement for rule in RULES}


def page(
    captures: Sequence[Checked], observer: Observer, sheets: Sequence[Sheet], remarks: Sequence[str] = ()
) -> str:
    """The page as text. Every text of the traffic is escaped; nothing is loaded from anywhere."""
    template = _environment().from_string(
        (files("twin.report") / "sheet.html.jinja").read_text(encoding="utf-8")
    )
    stations = list(zip(sheets, observer.stations.values(), strict=True))
    cause = first_cause(captures)
    return template.render(
        version=__version__,
        captures=[_capture(number, checked) for number, checked in enumerate(captures)],
        remarks=remarks,
        sheets=sheets,
        certificate=next(
            (seen.profile.certificate for _, seen in stations if seen.profile.certificate), None
        ),
        severities=_severities(captures),
        known=sum(len(checked.known) for checked in captures),
        repeats=sum(checked.occurrences.total() - len(checked.findings) for checked in captures),
        cause=_cause(captures, cause),
        groups=list(_groups(captures, cause)),
        pictures=[picture for _, seen in stations for picture in _pictures(seen, captures)],
        open_rows={sheet.station: list(_open(sheet)) for sheet in sheets},
        beyond=NOT_OBSERVABLE,
        cases=_cases(captures),
        unseen_cases=_unseen(captures),
        legend=svg.STATUS_COLOURS,
        verdicts=[verdict for verdict in Verdict if any(verdict in _all_of(sheet) for sheet in sheets)],
        used=used_words,
        unused=unused_words,
        figure=figure_words,
    )


_TONES = {CaseVerdict.FAILED: "bad", CaseVerdict.PASSED: "good"}
_SEEN = (CaseVerdict.FAILED, CaseVerdict.PASSED, CaseVerdict.MATCHED, CaseVerdict.INCONCLUSIVE)
_MOST_FRAMES = 8


def _cases(captures: Sequence[Checked]) -> list[dict[str, Any]]:
    """The worst occurrence of each case that was seen, in the order of the ids."""
    worst: dict[tuple[int, str, str], CaseResult] = {}
    rank = {verdict: place for place, verdict in enumerate(_SEEN)}
    for number, checked in enumerate(captures):
        for result in checked.cases:
            place = (number, result.station, result.case_id)
            if result.verdict not in rank:
                continue
            if place not in worst or rank[result.verdict] < rank[worst[place].verdict]:
                worst[place] = result
    names = {case.id: case.name for case in CASES}
    several = len(captures) > 1 or len({station for _, station, _ in worst}) > 1
    return [
        {
            "id": case_id,
            "name": names.get(case_id, "") + (f" ({station}, {captures[number].name})" if several else ""),
            "verdict": result.verdict.value,
            "tone": _TONES.get(result.verdict, "open"),
            "frames": ", ".join(f"#{seq}" for seq in result.evidence[:_MOST_FRAMES])
            + (", …" if len(result.evidence) > _MOST_FRAMES else ""),
            "why": result.why,
        }
        for (number, station, case_id), result in sorted(
            worst.items(), key=lambda item: (item[0][2], item[0][0], item[0][1])
        )
    ]


def _unseen(captures: Sequence[Checked]) -> list[str]:
    seen = {result.case_id for checked in captures for result in checked.cases if result.verdict in _SEEN}
    return [case.id for case in CASES if case.id not in seen]


def _all_of(sheet: Sheet) -> Counter[Verdict]:
    """How often each verdict stands on the sheet."""
    return sum(sheet.counts().values(), Counter[Verdict]())


def _environment() -> Environment:
    made = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: plain(value) if type(value) is str else value,
    )
    made.filters["breaks"] = _breaks
    return made


def _breaks(text: object) -> Markup:
    """The text, escaped, with leave to break a long word at its capitals, dots and commas."""
    pieces = _JOINTS.split(plain(str(text)))
    return Markup("<wbr>").join(pieces)


def _capture(number: int, checked: Checked) -> dict[str, Any]:
    return {
        "name": checked.name,
        "prefix": f"{number + 1 if number else ''}#",
        "messages": checked.messages,
        "links": checked.links,
        "first": _stamp(checked.first_us),
        "last": _stamp(checked.last_us),
    }


def _stamp(at_us: int | None) -> str:
    return "" if at_us is None else f"{format_us(at_us)[:19].replace('T', ' ')} UTC"


def _severities(captures: Sequence[Checked]) -> dict[str, int]:
    counts = Counter(finding.severity for checked in captures for finding in checked.findings)
    return {severity.value: counts[severity] for severity in Severity}


# --- findings -----------------------------------------------------------------------------------------------


def _cause(captures: Sequence[Checked], cause: Cause | None) -> dict[str, Any] | None:
    if cause is None:
        return None
    checked = captures[cause.capture]
    row = _row(cause.capture, checked, cause.finding, known=False, texts=True)
    told = ", ".join(f"{rule} {number}" for rule, number in sorted(cause.explains.items()))
    return {**row, "explains": cause.explains.total(), "by_rule": told, "statement": _statement(row["rule"])}


def _groups(captures: Sequence[Checked], cause: Cause | None) -> Iterator[dict[str, Any]]:
    """A group a rule: the one of the first cause, then the worst, then the most frequent."""
    held: dict[str, list[tuple[int, int, Finding]]] = {}
    for number, checked in enumerate(captures):
        for index, finding in enumerate(checked.findings):
            held.setdefault(finding.rule, []).append((number, index, finding))

    def order(item: tuple[str, list[tuple[int, int, Finding]]]) -> tuple[bool, int, int, str]:
        rule, found = item
        first = cause is not None and cause.finding.rule == rule
        return not first, min(finding.severity.rank for *_, finding in found), -len(found), rule

    for rule, found in sorted(held.items(), key=order):
        worst = min((finding for *_, finding in found), key=lambda finding: finding.severity.rank)
        rows = [
            _row(
                number,
                captures[number],
                finding,
                known=index in captures[number].known,
                texts=place < _WITH_TEXT,
            )
            for place, (number, index, finding) in enumerate(found[:_MOST_ROWS])
        ]
        occurrences = sum(checked.occurrences[rule] for checked in captures)
        yield {
            "rule": rule,
            "statement": _statement(rule),
            "severity": worst.severity.value,
            "reference": worst.reference,
            "count": len(found),
            "more": len(found) - len(rows),
            "repeats": max(occurrences - len(found), 0),
            "rows": rows,
        }


def _statement(rule: str) -> str:
    return _STATEMENTS.get(rule, "").replace("``", "")


def _row(number: int, checked: Checked, finding: Finding, *, known: bool, texts: bool) -> dict[str, Any]:
    shown = evidence_shown(finding, checked)
    return {
        "rule": finding.rule,
        "severity": finding.severity.value,
        "fault": finding.fault.value,
        "at": _stamp(finding.at_us),
        "frames": ", ".join(str(Place(number, seq)) for seq in finding.evidence[:12]),
        "station": finding.station or finding.link,
        "connector": finding.connector_id,
        "transaction": finding.transaction_id,
        "detail": finding.detail,
        "provenance": finding.provenance,
        "known": known,
        "texts": [(str(Place(number, seq)), checked.texts[seq]) for seq in shown if seq in checked.texts]
        if texts
        else [],
    }


# --- pictures and what is open ------------------------------------------------------------------------------


def _pictures(seen: Observation, captures: Sequence[Checked]) -> Iterator[dict[str, Any]]:
    for number, part in seen.parts.items():
        about = [
            finding
            for finding in captures[number].findings
            if (finding.station or finding.link) == seen.station
        ]
        yield {
            "station": seen.station,
            "capture": captures[number].name,
            "from": _stamp(part.first_us),
            "connectors": pictures.connectors(part, about),
            "energy": pictures.energy(part),
            "latencies": pictures.latencies(seen) if number == max(seen.parts) else [],
            "dropped": part.dropped,
        }


def _open(sheet: Sheet) -> Iterator[tuple[Verdict, list[str]]]:
    """What the traffic leaves open: by verdict the names of the rows."""
    named: dict[Verdict, list[str]] = {}
    for line in (*sheet.identity, *sheet.lines):
        named.setdefault(line.verdict, []).append(line.name)
    for functionality in sheet.functionality:
        named.setdefault(functionality.verdict, []).append(functionality.name)
    for figure in sheet.performance:
        named.setdefault(figure.verdict, []).append(figure.name)
    for setting in sheet.configuration:
        named.setdefault(setting.verdict, []).append(setting.key)
    for verdict in (Verdict.NOT_SEEN, Verdict.NOT_OBSERVABLE, Verdict.UNDECLARED):
        if verdict in named:
            yield verdict, named[verdict]
