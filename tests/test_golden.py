"""What is found in the shipped captures is written down; `pytest --update-golden` rewrites it."""

import json
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from twin.engine.checked import check_frames
from twin.io.formats import open_capture
from twin.report.findings import as_json

GOLDEN = REPOSITORY / "tests" / "golden"
CAPTURES = sorted(path.name for path in (REPOSITORY / "captures").iterdir() if path.is_dir())


def found_in(capture: Path) -> str:
    """A finding a line, so that a difference is a line, and the counts with repeats."""
    told = as_json([check_frames(capture.name, list(open_capture(capture).frames))])
    found = [{key: value for key, value in row.items() if key != "capture"} for row in told["findings"]]
    rows = [json.dumps(row, ensure_ascii=False) for row in (*found, told["counts"])]
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize("name", CAPTURES)
def test_findings_are_the_ones_written_down(name: str, pytestconfig: pytest.Config) -> None:
    path, found = GOLDEN / f"{name}.findings.jsonl", found_in(REPOSITORY / "captures" / name)
    if pytestconfig.getoption("--update-golden"):
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")


def test_nothing_else_is_written_down() -> None:
    assert sorted(path.name for path in GOLDEN.iterdir()) == [f"{name}.findings.jsonl" for name in CAPTURES]
