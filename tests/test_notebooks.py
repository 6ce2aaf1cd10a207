"""The notebooks run from top to bottom on the shipped capture and come to the figures that are known."""

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))

# Expressions over the variables of each notebook, and what they come to.
FIGURES: dict[str, dict[str, Any]] = {
    "01-first-look": {
        "in_figures['frames']": 647,
        "in_figures['calls']": 323,
        "in_figures['unanswered_calls']": 0,
        "in_figures['transactions']": 29,
        "in_figures['open_transactions']": 12,
        "in_figures['energy_wh']": 8465,
        "in_figures['duration_s']": 630.1,
    },
    "02-meter-data": {
        "len(samples)": 133,
        "len(connectors)": 20,
        # this station counts its energy by the sample and not by the clock: what comes late is lost
        "len(balance)": 21,
        "len(apart)": 10,
        "median_ratio": 0.903,
        "by_punctuality.loc['on time', 'ratio']": 0.991,
        "by_punctuality.loc['not on time', 'ratio']": 0.566,
        # and meterStart is 0 although the register runs on
        "len(jumps)": 5,
        "len(odd)": 19,
        "missed": 0,
    },
    "03-timing": {
        "verdict['seen'].to_list()": [3, 7, 0],
        "verdict['over_limit'].to_list()": [0, 0, 0],
        "verdict['slower_than_measured'].to_list()": [0, 1, 0],
        "verdict.loc['response', 'slowest_s']": 3.023,
        "slowest_csms_s": 0.0104,
        "pipelined": 52,
        "len(beats)": 21,
        "beats['after_s'].median()": 30.0,
        "longest_silence_s": 29.963,
        "jitter_ms.max()": 22.0,
    },
}


def cells(path: Path) -> list[Any]:
    return list(nbformat.read(path, as_version=4).cells)


def test_every_notebook_has_its_figures() -> None:
    assert [path.stem for path in NOTEBOOKS] == sorted(FIGURES)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_comes_to_the_known_figures(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    notebook = nbformat.read(path, as_version=4)
    expected = FIGURES[path.stem]
    asked = ", ".join(f"{name!r}: {name}" for name in expected)
    notebook.cells.append(
        nbformat.v4.new_code_cell(f"import json\nprint(json.dumps({{{asked}}}, default=lambda x: x.item()))")
    )
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    )
    client.execute()
    seen = json.loads("".join(out["text"] for out in notebook.cells[-1].outputs if out["name"] == "stdout"))
    assert seen.keys() == expected.keys()
    for name, value in expected.items():
        assert seen[name] == pytest.approx(value, rel=5e-3), name
    said = [out for cell in notebook.cells for out in cell.get("outputs", ()) if out.get("name") == "stderr"]
    assert said == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_has_one_parameters_cell_with_a_relative_path(path: Path) -> None:
    (parameters,) = [cell for cell in cells(path) if "parameters" in cell.metadata.get("tags", ())]
    namespace: dict[str, str] = {}
    exec(parameters.source, namespace)  # noqa: S102  # our own cell
    assert not Path(namespace["CAPTURE"]).is_absolute()
    assert (path.parent / namespace["CAPTURE"]).exists()
