"""Traffic that nobody here wrote is read and judged without a traceback, and nothing of it is lost."""

import contextlib
import json
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from twin.engine.analyzer import Analyzer
from twin.io.formats import CaptureError, open_capture
from twin.model import Kind

CORPORA = REPOSITORY.parent / "shared" / "corpora"
FILES = sorted(path.relative_to(CORPORA) for path in CORPORA.rglob("*") if path.suffix in (".log", ".jsonl"))
LOGS = sorted(path.stem for path in (CORPORA / "field-logs").glob("*.log"))

pytestmark = pytest.mark.corpus


def test_the_corpora_are_there(corpora: Path) -> None:
    assert len(list(corpora.rglob("*.log"))) >= 33
    assert len(list((corpora / "peer-sessions").glob("*.jsonl"))) >= 11


@pytest.mark.parametrize("name", FILES, ids=str)
def test_every_file_is_checked_without_a_traceback(corpora: Path, name: Path) -> None:
    if name.parts[0] == "field-logs" and name.suffix == ".jsonl":
        with contextlib.suppress(CaptureError):  # the normalised form of a log is no format of ours
            list(open_capture(corpora / name).frames)
        return
    frames = list(open_capture(corpora / name).frames)
    analyzer = Analyzer()
    findings = [finding for frame in frames for finding in analyzer.receive(frame)]
    assert all(finding.detail for finding in findings)


@pytest.mark.parametrize("name", LOGS)
def test_every_field_log_gives_the_messages_of_its_normalised_form(corpora: Path, name: str) -> None:
    wanted = [
        json.loads(line) for line in (corpora / "field-logs" / f"{name}.jsonl").read_text().splitlines()
    ]
    reading = open_capture(corpora / "field-logs" / f"{name}.log")
    texts = [frame.text for frame in reading.frames if frame.kind is Kind.TEXT]
    assert len(texts) == len(wanted)
    assert reading.report.lines == reading.report.used + reading.report.duplicates + reading.report.unusable
