"""twin check: findings of a capture of any format."""

import inspect
from collections import Counter
from pathlib import Path

from twin.certificate.profile import Profile
from twin.cli.common import UNREADABLE, USAGE, fail, frames_of, opened, say, say_json
from twin.engine.analyzer import Analyzer
from twin.io.profiles import profile_named
from twin.model import Finding, Severity
from twin.report import silence
from twin.report.findings import as_json, as_text
from twin.rules import RULES, SPEAKS_FOR
from twin.rules.beyond import DEFINITIONS, NOT_OBSERVABLE
from twin.rules.examples import examples


def profile_of(name: str | None) -> Profile | None:
    """A profile by name or TOML file; ``None`` lets BootNotification choose. Exit 2 for neither."""
    if name is None:
        return None
    try:
        return profile_named(name)
    except ValueError as error:
        raise fail(str(error), USAGE) from error


def check(
    path: Path,
    *,
    profile: str | None,
    fail_on: str,
    html: Path | None,
    explain_silence: bool,
    format: str | None,  # noqa: A002  # the option's own name
    log_timezone: str | None,
    logged_by: str | None,
    as_json: bool,
) -> int:
    """Judge a capture and print the findings; the exit code."""
    judged_by = profile_of(profile)
    reading = opened(path, format=format, log_timezone=log_timezone, logged_by=logged_by)
    frames = frames_of(reading)
    if not frames and reading.report.unusable:
        raise fail(f"{path}: not one of its {reading.report.lines:,} lines could be read", UNREADABLE)
    analyzer = Analyzer(judged_by)
    findings: list[Finding] = []
    for frame in frames:
        findings += analyzer.receive(frame)
    findings += analyzer.finish()
    profiles = sorted({analyzer.profile_of(finding.station).name for finding in findings})
    if judged_by is not None:
        profiles = [judged_by.name]
    if html is not None:
        from twin.report.html import page

        text = page(path.name, frames, findings, judged_by)
        try:
            html.write_text(text, encoding="utf-8")
        except OSError as error:
            raise fail(f"--html {html}: {error.strerror or error}", USAGE) from error
    if as_json:
        told = _json(findings, analyzer.occurrences, profiles)
        say_json(told | ({"silence": silence.as_rows(analyzer, RULES)} if explain_silence else {}))
    else:
        say(as_text(findings, analyzer.occurrences))
        if explain_silence:
            say("\n" + silence.as_text(analyzer, RULES))
    worst = min((finding.severity.rank for finding in findings), default=99)
    return 1 if worst <= Severity(fail_on).rank else 0


def _json(findings: list[Finding], occurrences: Counter[str], profiles: list[str]) -> dict[str, object]:
    return {"profiles": profiles, **as_json(findings, occurrences)}


def explain(rule_id: str, *, as_json: bool) -> None:
    """One rule: statement, reference, pitfalls."""
    rule = next((rule for rule in RULES if rule.id == rule_id.upper()), None)
    if rule is None:
        raise fail(f"no rule {rule_id!r}; twin check --list-rules names them", USAGE)
    text = inspect.cleandoc(rule.judge.__doc__ or "")
    blame = rule.fault.value if rule.fault else "the sender"
    example = examples().get(rule.id)
    silent = sorted(SPEAKS_FOR.get(rule.id, ()))
    if as_json:
        told = {"rule": rule.id, "severity": rule.severity, "reference": rule.reference, "text": text}
        say_json(told | {"example": example, "speaks_for": silent})
        return
    say(f"{rule.id}  {rule.severity.value}, to blame: {blame}, {rule.reference}\n\n{text}")
    if example:
        say("\nExample\n" + "\n".join(f"  {line}" for line in example["frames"]))
        say(f"  => {example['severity']}: {example['detail']}")
    if silent:
        say(f"\nWhere it speaks, {', '.join(silent)} stay silent: one cause, one finding.")


def list_rules(*, as_json: bool) -> None:
    """Every rule: id, severity, who is to blame, reference, statement; then what is no rule, and why."""
    if as_json:
        rows = [
            {"rule": r.id, "severity": r.severity, "reference": r.reference, "statement": r.statement}
            for r in RULES
        ]
        told = {"definitions": DEFINITIONS, "not_observable": NOT_OBSERVABLE}
        remarks = {name: [{"subject": r.subject, "why": r.why} for r in held] for name, held in told.items()}
        say_json({"rules": rows, **remarks})
        return
    for rule in RULES:
        say(f"{rule.id}  {rule.severity:<7}  {rule.statement}  [{rule.reference}]")
    say("\nDefinitions, used by other rules")
    for remark in DEFINITIONS:
        say(f"{remark.subject}  {remark.why}")
    say("\nNot observable by a proxy, hence never passed")
    for remark in NOT_OBSERVABLE:
        say(f"{remark.subject}: {remark.why}")
