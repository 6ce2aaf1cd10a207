"""Findings as JUnit XML for CI: a suite a capture, a case a rule, skipped where nothing could be judged."""

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from twin.engine.checked import Checked
from twin.model import Finding, Severity
from twin.protocol.timestamps import format_us
from twin.report.silence import as_rows, left_open
from twin.rules import RULES, Rule

# XML 1.0 §2.2: characters that no document may hold, not even escaped.
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_junit(captures: Sequence[Checked], fail_on: Severity, rules: Sequence[Rule] = RULES) -> str:
    """``rules`` are those that were chosen. A finding milder than ``fail_on``, or known, is only told."""
    root = ElementTree.Element("testsuites", {"name": "twin check"})
    total = failed = left_out = 0
    for checked in captures:
        suite = ElementTree.SubElement(root, "testsuite", {"name": legal(checked.name)})
        reasons = [left_open(row) for row in as_rows(checked.analyzer, rules)]
        failures = sum(
            _case(suite, checked, rule, fail_on, why) for rule, why in zip(rules, reasons, strict=True)
        )
        skipped = len(suite.findall("testcase/skipped"))
        total, failed, left_out = total + len(rules), failed + failures, left_out + skipped
        for name, value in (
            ("tests", len(rules)),
            ("failures", failures),
            ("errors", 0),
            ("skipped", skipped),
            ("time", _span_s(checked)),
        ):
            suite.set(name, str(value))
        if checked.first_us is not None:
            suite.set("timestamp", format_us(checked.first_us)[:19])
    for name, number in (("tests", total), ("failures", failed), ("errors", 0), ("skipped", left_out)):
        root.set(name, str(number))
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _case(suite: ElementTree.Element, checked: Checked, rule: Rule, fail_on: Severity, unjudged: str) -> bool:
    """One rule in one capture; whether it fails. ``unjudged`` says why it came to no verdict."""
    failing: list[Finding] = []
    told: list[str] = []
    for index, one in enumerate(checked.findings):
        if one.rule != rule.id:
            continue
        if index in checked.known:
            told.append(f"known: {_line(one)}")
        elif one.severity.rank <= fail_on.rank:
            failing.append(one)
        else:
            told.append(_line(one))
    name = legal(f"{rule.id} {rule.statement}")
    case = ElementTree.SubElement(
        suite, "testcase", {"classname": legal(checked.name), "name": name, "time": "0"}
    )
    if failing:
        worst = min(failing, key=lambda one: one.severity.rank)
        more = f" (and {len(failing) - 1} more)" if len(failing) > 1 else ""
        failure = ElementTree.SubElement(
            case, "failure", {"type": worst.severity.value, "message": legal(worst.detail + more)}
        )
        failure.text = legal("\n".join(map(_line, failing)))
    if unjudged and not failing and not told:
        ElementTree.SubElement(case, "skipped", {"message": legal(unjudged)})
    if told:
        out = ElementTree.SubElement(case, "system-out")
        out.text = legal("\n".join(told))
    return bool(failing)


def _line(finding: Finding) -> str:
    frames = ", ".join(f"#{seq}" for seq in finding.evidence[:8]) or "#-"
    connector = "" if finding.connector_id is None else f" connector {finding.connector_id}"
    return (
        f"{finding.severity.value} {frames} {finding.station or finding.link}{connector}: {finding.detail}"
        f" [{finding.fault.value}; {finding.reference}]"
    )


def _span_s(checked: Checked) -> str:
    if checked.first_us is None or checked.last_us is None:
        return "0"
    return f"{(checked.last_us - checked.first_us) / 1e6:.3f}"


def legal(text: str) -> str:
    """The text without what XML cannot hold."""
    return _ILLEGAL.sub("\ufffd", text)
