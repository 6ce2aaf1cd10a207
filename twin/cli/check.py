"""twin check: findings of captures of any format, and the certificate sheet of what they show."""

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from twin.certificate.profile import Profile, Tolerances
from twin.cli.common import UNREADABLE, USAGE, fail, frames_of, note, opened, say, say_json
from twin.engine.cases import CaseBook
from twin.engine.checked import Checked, check_frames
from twin.engine.chosen import Key, Selection, known_keys, selection
from twin.engine.observed import Observer
from twin.engine.sheet import Sheet, sheet
from twin.io.profiles import profile_named, tolerances_of
from twin.model import Severity
from twin.report import cases as case_report
from twin.report import silence
from twin.report.findings import as_json, as_text
from twin.rules import RULES, SPEAKS_FOR, Rule
from twin.rules.beyond import DEFINITIONS, NOT_OBSERVABLE
from twin.rules.examples import examples


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked of ``twin check``, by the names of its options."""

    profile: str | None = None
    tolerances: Path | None = None
    lab: bool = False
    fail_on: str = "error"
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    baseline: Path | None = None
    html: Path | None = None
    junit: Path | None = None
    sheet: bool = False
    cases: bool = False
    explain_silence: bool = False
    as_json: bool = False
    format: str | None = None
    log_timezone: str | None = None
    logged_by: str | None = None


def profile_of(name: str | None) -> Profile | None:
    """A profile by name or TOML file; ``None`` lets BootNotification choose. Exit 2 for neither."""
    if name is None:
        return None
    try:
        return profile_named(name)
    except ValueError as error:
        raise fail(str(error), USAGE) from error


def check(paths: Sequence[Path], options: Options) -> int:
    """Judge captures and print the findings; the exit code."""
    profile = profile_of(options.profile)
    tolerances = _tolerances(options.tolerances)
    chosen = _selection(options)
    known = _baseline(options.baseline)
    if profile is not None:
        profile = _adjusted(profile, tolerances, lab=options.lab)
    observer = Observer() if options.html or options.sheet else None
    captures = []
    for number, (path, name) in enumerate(zip(paths, _names(paths), strict=True)):
        if observer is not None:
            observer.begin(number)
        checked = _checked(path, name, options, profile, tolerances, chosen, known, observer)
        captures.append(checked)
    sheets = _sheets(observer, captures)
    rules = [rule for rule in RULES if chosen.takes(rule.id)]
    if options.html is not None and observer is not None:
        from twin.report.sheet_html import page

        remarks = _remarks(options, chosen)
        if observer.left_out:
            remarks.append(f"Only the first {len(observer.stations):,} stations have a sheet.")
        text = page(captures, observer, sheets, remarks)
        _write("--html", options.html, text)
    if options.junit is not None:
        from twin.report.junit import as_junit

        _write("--junit", options.junit, as_junit(captures, Severity(options.fail_on), rules))
    _print(captures, sheets if options.sheet else None, profile, options, rules)
    news = [finding for checked in captures for finding in checked.news]
    worst = min((finding.severity.rank for finding in news), default=99)
    return 1 if worst <= Severity(options.fail_on).rank else 0


def _checked(
    path: Path,
    name: str,
    options: Options,
    profile: Profile | None,
    tolerances: Tolerances | None,
    chosen: Selection,
    known: frozenset[Key],
    observer: Observer | None,
) -> Checked:
    reading = opened(
        path, format=options.format, log_timezone=options.log_timezone, logged_by=options.logged_by
    )
    frames = frames_of(reading)
    if not frames and reading.report.unusable:
        raise fail(f"{path}: not one of its {reading.report.lines:,} lines could be read", UNREADABLE)
    if reading.manifest.get("replay_of") and reading.manifest.get("timing") not in ("original", "virtual"):
        note(f"{path}: replayed without its pace; findings about time are the replay's, not a station's")
    adjusts = profile is None and (tolerances is not None or options.lab)
    checked = check_frames(
        name,
        frames,
        observer,
        profile=profile,
        adjusted=(lambda found: _adjusted(found, tolerances, lab=options.lab)) if adjusts else None,
        selection=chosen,
        known=known,
        book=CaseBook() if options.cases or options.html is not None else None,
    )
    if options.html is not None:
        from twin.report.excerpts import excerpts

        checked.texts = excerpts(frames, checked)
    return checked


def _adjusted(profile: Profile, tolerances: Tolerances | None, *, lab: bool) -> Profile:
    return replace(profile, tolerances=tolerances or profile.tolerances, lab=lab)


def _tolerances(path: Path | None) -> Tolerances | None:
    try:
        return tolerances_of(path) if path is not None else None
    except ValueError as error:
        raise fail(f"--tolerances {error}", USAGE) from error


def _selection(options: Options) -> Selection:
    try:
        return selection(options.select, options.ignore)
    except ValueError as error:
        raise fail(str(error), USAGE) from error


def _baseline(path: Path | None) -> frozenset[Key]:
    if path is None:
        return frozenset()
    try:
        return known_keys(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise fail(f"--baseline {path}: {error.strerror or error}", USAGE) from error
    except (ValueError, RecursionError) as error:
        raise fail(f"--baseline {path}: {error}", USAGE) from error


def _names(paths: Sequence[Path]) -> list[str]:
    """File names, or whole paths where two captures have the same name."""
    names = [path.name or str(path) for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _sheets(observer: Observer | None, captures: Sequence[Checked]) -> list[Sheet]:
    if observer is None:
        return []
    observer.end()
    findings = [finding for checked in captures for finding in checked.findings]
    return [sheet(seen.profile.certificate, seen, findings) for seen in observer.stations.values()]


def _remarks(options: Options, chosen: Selection) -> list[str]:
    """What the reader of the sheet must know of how it was made."""
    remarks = []
    if left_out := chosen.rules_left_out():
        remarks.append(f"Rules left out by the caller: {', '.join(left_out)}.")
    if options.tolerances is not None:
        remarks.append(f"Tolerances of {options.tolerances.name}, not the usual ones.")
    if options.lab:
        remarks.append("Laboratory: a test tool writes its own configuration in this traffic.")
    if options.baseline is not None:
        remarks.append(f"Findings that {options.baseline.name} has already are marked as known.")
    return remarks


def _write(option: str, path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise fail(f"{option} {path}: {error.strerror or error}", USAGE) from error


def _print(
    captures: Sequence[Checked],
    sheets: list[Sheet] | None,
    profile: Profile | None,
    options: Options,
    rules: Sequence[Rule],
) -> None:
    from twin.report import sheet_text

    names = [checked.name for checked in captures]
    known = options.baseline is not None
    if options.as_json:
        profiles = sorted({name for checked in captures for name in checked.profiles})
        report: dict[str, Any] = {"profiles": [profile.name] if profile is not None else profiles}
        report |= as_json(captures, baseline=known)
        if sheets is not None:
            report["sheets"] = sheet_text.as_json(sheets, names)
        if options.cases:
            report["cases"] = {checked.name: case_report.as_json(checked.cases) for checked in captures}
        if options.explain_silence:
            report["silence"] = [
                {"capture": checked.name, **row}
                for checked in captures
                for row in silence.as_rows(checked.analyzer, rules)
            ]
        say_json(report)
        return
    if sheets is not None:
        say(f"{sheet_text.as_text(sheets, names)}\n")
    say(as_text(captures, baseline=known))
    if options.cases:
        for checked in captures:
            title = f"{checked.name}\n" if len(captures) > 1 else ""
            say(f"\n{title}{case_report.as_text(checked.cases)}")
    if options.explain_silence:
        for checked in captures:
            title = f"{checked.name}\n" if len(captures) > 1 else ""
            say(f"\n{title}{silence.as_text(checked.analyzer, rules)}")


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
