"""The certificate sheet as page, text, JSON and JUnit: complete, self-contained, deaf to hostile texts."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conftest import REPOSITORY
from tests.playbook import Play, cp, cs, opened
from twin.certificate import load
from twin.certificate.profile import certified
from twin.engine.analyzer import Analyzer
from twin.engine.checked import Checked, check_frames
from twin.engine.observed import Observer
from twin.engine.sheet import Sheet, sheet
from twin.io.formats import open_capture
from twin.model import Frame, Severity
from twin.report import sheet_text
from twin.report.excerpts import excerpts
from twin.report.junit import as_junit
from twin.report.sheet_html import page
from twin.rules import RULES

OTMK = certified("octoflex-otm-k")
DEMO = list(open_capture(REPOSITORY / "captures" / "otmk-shaped-demo").frames)
HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(1)>\u202e\x00'\""


def made(*captures: list[Frame]) -> tuple[list[Checked], Observer, list[Sheet]]:
    observer = Observer()
    every = []
    for number, frames in enumerate(captures):
        observer.begin(number)
        checked = check_frames(f"capture {number}", frames, observer, profile=OTMK)
        checked.texts = excerpts(frames, checked)
        every.append(checked)
    observer.end()
    findings = [finding for checked in every for finding in checked.findings]
    return every, observer, [sheet(load(), seen, findings) for seen in observer.stations.values()]


def hostile() -> list[Frame]:
    """A station whose every word is an attack on the page."""
    play = Play(Analyzer(OTMK)) << opened()
    words = {"chargePointVendor": HOSTILE, "chargePointModel": HOSTILE, "firmwareVersion": HOSTILE}
    play << cp(json.dumps([2, "1", "BootNotification", words]))
    play << cs(json.dumps([2, HOSTILE, "GetConfiguration", {}]))
    entry = {"key": HOSTILE, "readonly": False, "value": HOSTILE}
    play << cp(json.dumps([3, HOSTILE, {"configurationKey": [entry], "unknownKey": [HOSTILE]}]))
    play << cp(json.dumps([2, "2", HOSTILE, {"timestamp": HOSTILE}]))
    status = {"connectorId": 1, "status": HOSTILE, "errorCode": HOSTILE}
    play << cp(json.dumps([2, "3", "StatusNotification", status])) << cp(HOSTILE)
    return play.frames


class Outline(HTMLParser):
    """Tags in order; which tables lack a caption, which header cells a scope, which pictures a name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.nameless: list[str] = []
        self.captions = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = dict(attrs)
        self.tags.append(tag)
        self.attributes |= set(held)
        if tag == "th" and "scope" not in held:
            self.nameless.append(self.get_starttag_text() or tag)
        if tag == "svg" and (held.get("role") != "img" or not held.get("aria-label")):
            self.nameless.append(tag)


def test_every_row_of_the_certificate_stands_on_the_page() -> None:
    text = page(*made(DEMO)).replace("<wbr>", "")
    for row in load().configuration:
        assert re.search(rf'<td class="number">{row.number}</td><th [^>]*>{row.key}</th>', text), row.key
    for functionality in load().functionality:
        assert f'<th scope="row">{functionality.name}</th>' in text
    for figure in load().performance:
        assert f'<th scope="row">{figure.name}' in text
    for word in ("not observable", "not seen", "undeclared", "Signature", "Place, date", "Look here first"):
        assert word in text


@pytest.mark.parametrize("frames", [DEMO, hostile(), []], ids=["demo", "hostile", "empty"])
def test_the_page_refers_to_nothing_outside_and_runs_nothing(frames: list[Frame]) -> None:
    text = page(*made(frames))
    outline = Outline(text)
    assert "default-src 'none'" in text
    assert not {"script", "link", "img", "iframe", "object", "base", "a"} & set(outline.tags)
    assert not {"src", "href", "onerror", "onload"} & outline.attributes
    assert "@import" not in text
    assert "url(" not in text


def test_hostile_texts_are_only_text() -> None:
    text = page(*made(hostile()))
    assert "<script" not in text
    assert "&lt;script&gt;" in text.replace("<wbr>", "")
    assert not {"\u202e", "\x00"} & set(text)


@pytest.mark.parametrize("frames", [DEMO, hostile(), []], ids=["demo", "hostile", "empty"])
def test_the_page_is_in_order_for_who_cannot_see_it(frames: list[Frame]) -> None:
    outline = Outline(page(*made(frames)))
    levels = [int(tag[1]) for tag in outline.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert outline.tags.count("table") == outline.tags.count("caption")
    assert outline.nameless == []


def test_two_captures_are_one_sheet_with_two_timelines() -> None:
    captures, observer, sheets = made(DEMO, DEMO)
    text = page(captures, observer, sheets)
    assert len(sheets) == 1
    assert "2#" in text
    assert text.count("Connectors over time") == 2


def test_the_text_and_the_json_have_every_row() -> None:
    captures, _, sheets = made(DEMO)
    names = [checked.name for checked in captures]
    text = sheet_text.as_text(sheets, names)
    told = json.loads(json.dumps(sheet_text.as_json(sheets, names)))
    assert [row["number"] for row in told[0]["configuration"]] == list(range(1, 45))
    assert told[0]["configuration"][0]["place"] == {"capture": "capture 0", "seq": 45}
    for row in load().configuration:
        assert f"{row.number:2} {row.key}" in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_a_secret_of_a_foreign_log_is_masked_in_the_excerpts() -> None:
    play = Play(Analyzer(OTMK)) << opened()
    secret = {"key": "AuthorizationKey", "value": "0123456789abcdef", "no": "such field"}
    play << cs(json.dumps([2, "1", "ChangeConfiguration", secret]))
    text = page(*made(play.frames))
    assert "ChangeConfiguration" in text
    assert "0123456789abcdef" not in text


@pytest.mark.parametrize("frames", [DEMO, hostile(), []], ids=["demo", "hostile", "empty"])
def test_junit_has_a_case_a_rule_and_fails_where_it_must(frames: list[Frame]) -> None:
    (checked,), _, _ = made(frames)
    root = ElementTree.fromstring(as_junit([checked, checked], Severity.WARNING))  # noqa: S314  # ours
    suites = root.findall("testsuite")
    assert len(suites) == 2
    for suite in suites:
        cases = suite.findall("testcase")
        assert len(cases) == len(RULES) == int(suite.get("tests", ""))
        failed = {(case.get("name") or "")[:4] for case in cases if case.find("failure") is not None}
        assert failed == {f.rule for f in checked.findings if f.severity.rank <= Severity.WARNING.rank}
        assert len(failed) == int(suite.get("failures", ""))
        for case in cases:
            allowed = ([], ["failure"], ["skipped"], ["system-out"], ["failure", "system-out"])
            assert [part.tag for part in case] in allowed
        skipped = {(case.get("name") or "")[:4] for case in cases if case.find("skipped") is not None}
        assert len(skipped) == int(suite.get("skipped", ""))
        assert {"H009"} <= skipped  # no control frame is in them
        assert not skipped & {finding.rule for finding in checked.findings}
        assert ("J010" in skipped) is not any(frame.text for frame in frames)
    assert int(root.get("failures", "")) == sum(int(suite.get("failures", "")) for suite in suites)


def test_the_page_can_be_written_whatever_the_texts_hold(tmp_path: Path) -> None:
    lone = [*hostile()]
    (tmp_path / "page.html").write_text(page(*made(lone)), encoding="utf-8", errors="backslashreplace")
