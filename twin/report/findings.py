"""Findings as text and as one JSON object."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from twin.model import Finding, Severity


def as_json(findings: Sequence[Finding], occurrences: Counter[str]) -> dict[str, Any]:
    """``findings`` in the order they arose, and ``counts`` by severity, by rule, and with repeats."""
    return {
        "findings": [_row(finding) for finding in findings],
        "counts": {
            **{severity.value: 0 for severity in Severity},
            **Counter(finding.severity.value for finding in findings),
            "by_rule": dict(sorted(Counter(finding.rule for finding in findings).items())),
            "occurrences": dict(sorted(occurrences.items())),
        },
    }


def as_text(findings: Sequence[Finding], occurrences: Counter[str]) -> str:
    """Worst first, a line each, and a closing line with the counts."""
    lines = [
        f"{finding.severity.value:<7} {finding.rule}  {_place(finding):<12} {finding.detail}"
        f"  [{finding.fault.value}; {finding.reference}]"
        for finding in sorted(findings, key=lambda finding: finding.severity.rank)
    ]
    counts = Counter(finding.severity for finding in findings)
    closing = ", ".join(f"{counts[severity]} {severity.value}" for severity in Severity)
    repeats = sum(occurrences.values()) - len(findings)
    return "\n".join((*lines, closing + (f" ({repeats} repeats not shown)" if repeats > 0 else "")))


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
