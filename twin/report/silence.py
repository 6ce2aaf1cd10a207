"""Why a rule said nothing: never asked, no evidence, or nothing to object to (``--explain-silence``)."""

from collections.abc import Iterable
from typing import Any

from twin.engine.analyzer import Analyzer
from twin.rules import Rule
from twin.rules.beyond import NOT_OBSERVABLE


def as_rows(analyzer: Analyzer, rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """One row a rule: how often it was asked, found something, and could not know, with the reasons."""
    rows = []
    for rule in rules:
        reasons = {why: count for (id_, why), count in analyzer.silences.items() if id_ == rule.id}
        asked, found = analyzer.listeners(rule), analyzer.occurrences[rule.id]
        rows.append(
            {
                "rule": rule.id,
                "statement": rule.statement,
                "asked": asked,
                "found": found,
                "unknown": dict(sorted(reasons.items(), key=lambda item: -item[1])),
                "never_asked": "" if asked else f"this capture has {rule.needs}",
            }
        )
    return rows


def left_open(row: dict[str, Any]) -> str:
    """Why this rule came to no verdict in this capture; "" where it did."""
    if row["found"] or row["asked"] > sum(row["unknown"].values()):
        return ""
    return row["never_asked"] or "; ".join(row["unknown"])


def as_text(analyzer: Analyzer, rules: Iterable[Rule]) -> str:
    """For a person: the rules that spoke, then the silent ones, those that lacked evidence first."""
    every = as_rows(analyzer, rules)
    spoke = [row for row in every if row["found"]]
    rows = [row for row in every if not row["found"]]
    lacking = [row for row in rows if row["unknown"]]
    quiet = [row for row in rows if row["asked"] and not row["unknown"]]
    absent = [row for row in rows if not row["asked"]]
    lines = [f"{len(spoke)} rules found something"]
    lines += [f"  {row['rule']}  {row['found']:,} times: {row['statement']}" for row in spoke]
    lines += ["", f"{len(lacking)} rules lacked evidence"]
    for row in lacking:
        lines.append(f"  {row['rule']}  {row['statement']}")
        judged = row["asked"] - sum(row["unknown"].values())
        lines += [f"        {count:,} times: {why}" for why, count in row["unknown"].items()]
        if judged > 0:
            lines.append(f"        {judged:,} times: nothing to object to")
    lines += ["", f"{len(absent)} rules were never asked"]
    lines += [f"  {row['rule']}  {row['never_asked']}" for row in absent]
    lines += ["", f"{len(quiet)} rules were asked and had nothing to object to"]
    lines += [f"  {row['rule']}  {row['asked']:,} times: {row['statement']}" for row in quiet]
    lines += ["", "Not observable, whatever was recorded"]
    lines += [f"  {remark.subject}: {remark.why}" for remark in NOT_OBSERVABLE]
    return "\n".join(lines)
