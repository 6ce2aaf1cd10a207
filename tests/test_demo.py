"""``make demo`` does what it says: real processes, a capture, findings and pictures under build/demo."""

import json
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from twin.io.formats import open_capture
from twin.io.integrity import verify
from twin.model import Kind

OUT = REPOSITORY / "build" / "demo"


@pytest.fixture(scope="module")
def printed() -> str:
    done = subprocess.run(
        (sys.executable, "-m", "demo"),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_says_where_to_look(printed: str) -> None:
    assert "[8/8]" in printed
    assert "48 cases: 43 passed, 5 not-applicable" in printed
    assert "323 exchanges matched, no divergence" in printed
    assert "build/demo/session.html" in printed


def test_the_recording_holds_every_message_and_an_unbroken_chain(printed: str) -> None:
    recorded = list(open_capture(OUT / "recorded.capture").frames)
    session = list(open_capture(REPOSITORY / "captures" / "otmk-shaped-demo").frames)
    assert sum(f.kind is Kind.TEXT for f in recorded) == sum(f.kind is Kind.TEXT for f in session) == 646
    assert verify(OUT / "recorded.capture").problems == []


def test_the_findings_name_the_drift(printed: str) -> None:
    found = json.loads((OUT / "findings.json").read_text(encoding="utf-8"))
    rules = {finding["rule"] for finding in found["findings"]}
    assert {"C001", "N006", "T029", "M016"} <= rules
    assert found["profiles"] == ["octoflex-otm-k"]


def test_the_pages_are_self_contained_and_have_three_pictures(printed: str) -> None:
    for name in ("session.html", "report.html", "certified.html"):
        page = (OUT / name).read_text(encoding="utf-8")
        assert page.count("<svg") == 3
        assert "default-src 'none'" in page
        assert not [word for word in ("src=", "<script", "@import", "url(") if word in page]
