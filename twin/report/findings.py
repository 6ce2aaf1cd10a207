"""Findings as text and as one JSON object."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from twin.engine.checked import Checked
from twin.model import Finding, Severity


def as_json(captures: Sequence[Checked], *, baseline: bool = False) -> dict[str, Any]:
    """``captures``, their ``findings`` in the order they arose, and ``counts`` by severity and rule.

    With ``baseline`` every finding says whether it is ``new``, and ``counts`` how many are ``known``. The
    counts by severity and by rule are of all findings, new and known.
    """
    findings = [finding for checked in captures for finding in checked.findings]
    occurrences = sum((checked.occurrences for checked in captures), Counter[str]())
    rows = []
    for checked in captures:
        for index, finding in enumerate(checked.findings):
            row = {"capture": checked.name, **_row(finding)}
            rows.append({**row, "new": index not in checked.known} if baseline else row)
    return {
        "captures": [
            {
                "name": checked.name,
                "messages": checked.messages,
                "first_us": checked.first_us,
                "last_us": checked.last_us,
            }
            for checked in captures
        ],
        "findings": rows,
        "counts": {
            **{severity.value: 0 for severity in Severity},
            **Counter(finding.severity.value for finding in findings),
            **({"known": sum(len(checked.known) for checked in captures)} if baseline else {}),
            "by_rule": dict(sorted(Counter(finding.rule for finding in findings).items())),
            "occurrences": dict(sorted(occurrences.items())),
        },
    }


def as_text(captures: Sequence[Checked], *, baseline: bool = False) -> str:
    """Worst first, a line each, capture by capture, and a closing line with the counts.

    With ``baseline`` only what is new has a line; what was known is counted.
    """
    lines = []
    for checked in captures:
        if len(captures) > 1:
            lines.append(f"{checked.name}: {checked.messages:,} messages")
        new = "new     " if baseline else ""
        lines += [
            f"{new}{finding.severity.value:<7} {finding.rule}  {_place(finding):<12} {finding.detail}"
            f"  [{finding.fault.value}; {finding.reference}]"
            for finding in sorted(checked.news, key=lambda finding: finding.severity.rank)
        ]
    return "\n".join((*lines, _closing(captures, baseline=baseline)))


def _closing(captures: Sequence[Checked], *, baseline: bool) -> str:
    counts = Counter(finding.severity for checked in captures for finding in checked.news)
    told = ", ".join(f"{counts[severity]} {severity.value}" for severity in Severity)
    found = sum(len(checked.findings) for checked in captures)
    repeats = sum(checked.occurrences.total() for checked in captures) - found
    if baseline:
        known = sum(len(checked.known) for checked in captures)
        told = f"new: {told}; {known} known from the baseline"
    return f"{told} ({repeats} repeats not shown)" if repeats > 0 else told


def _place(finding: Finding) -> str:
    place = f"#{finding.seq}" if finding.seq is not None else "#-"
    return place if finding.connector_id is None else f"{place} c{finding.connector_id}"


def _row(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "severity": finding.severity.value,
        "fault": finding.fault.value,
        "seq": finding.seq,
        "at_us": finding.at_us,
        "detail": finding.detail,
        "station": finding.station,
        "link": finding.link,
        "connector_id": finding.connector_id,
        "transaction_id": finding.transaction_id,
        "evidence": list(finding.evidence),
        "provenance": finding.provenance,
        "reference": finding.reference,
    }
