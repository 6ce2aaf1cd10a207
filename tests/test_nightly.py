"""The job of docs/ci/gitlab.yml for real: 200 captures, four workers, a CSMS elsewhere with ten faults."""

import contextlib
import json
import os
import selectors
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
import yaml  # jupytext's requirement

from tests.conftest import REPOSITORY
from tests.engine.replay.regressions import NAMED, session
from tests.io.live_csms import DEADLINE_S
from tests.namespaces import Network, network
from twin.engine.replay.outcome import Divergence
from twin.io.segments import write_capture
from twin.report.replayed import headline

NIGHT = 200
REMOTE = range(5, NIGHT, 5)  # captures in which the CSMS starts a transaction; with 0: forty
BROKEN = dict(zip(range(7, NIGHT, 19), NAMED, strict=False))
KNOWN = 151  # its fault is in the baseline
JOB_S = 110


def name_of(number: int) -> str:
    return f"{number:03}.capture"


def job(name: str) -> dict[str, Any]:
    found = yaml.safe_load((REPOSITORY / "docs" / "ci" / name).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def project(folder: Path, address: str, port: int) -> None:
    """What the documented job has beside it."""
    for number in range(NIGHT):
        frames = session(number, remote=number in REMOTE or number == 0)
        write_capture(frames, folder / "night" / name_of(number), vantage="proxy")
    (folder / "pyproject.toml").write_text(f'[tool.ocpp]\nallow = ["{address}:{port}"]\n')
    (folder / "ids.toml").write_text('workers = ["RC-1", "RC-2", "RC-3", "RC-4"]\n')
    shutil.copy(REPOSITORY / "docs" / "ci" / "ask_csms.py", folder)
    known = {"changed | BootNotification | csms | answer/interval 300 -> 60 | boot": 1}
    baseline = {"version": 1, "sessions": {name_of(KNOWN): known}}
    (folder / "known.json").write_text(json.dumps(baseline))


@contextlib.contextmanager
def release_candidate(net: Network, folder: Path) -> Iterator[tuple[str, int]]:
    """The CSMS on an address of its own; its URL and the port of its operator."""
    faults = {f"1.0.{number}": fault for number, fault in BROKEN.items()} | {f"1.0.{KNOWN}": "interval"}
    (folder / "faults.json").write_text(json.dumps(faults))
    command = net.csms.command(
        sys.executable, "-m", "tests.io.faulty_csms", net.csms.address, folder / "faults.json"
    )
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, cwd=REPOSITORY, env=environment(), bufsize=0
    ) as process:
        assert process.stdout is not None
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                assert selector.select(DEADLINE_S)
            _, url, port = process.stdout.readline().decode().split()
            yield url, int(port)
        finally:
            process.terminate()
            process.wait(DEADLINE_S)


def environment(**more: str) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY), **more}


@pytest.mark.slow
def test_ten_regressions_are_found_in_a_night_of_two_hundred_captures(tmp_path: Path) -> None:
    told = job("gitlab.yml")["replay-night"]
    with network() as net, release_candidate(net, tmp_path) as (url, desk):
        project(tmp_path, net.csms.address, int(url.rpartition(":")[2]))
        run = subprocess.run(
            net.stations[0].command("bash", "-eo", "pipefail", "-c", "\n".join(told["script"])),
            cwd=tmp_path,
            env=environment(
                CSMS_URL=f"{url}/ocpp", STIMULUS=f"{sys.executable} ask_csms.py {net.csms.address} {desk}"
            ),
            capture_output=True,
            text=True,
            check=False,
            timeout=JOB_S,
        )
    assert run.returncode == 1, run.stderr
    night = json.loads((tmp_path / "reports" / "night.json").read_text(encoding="utf-8"))
    sessions = {one["capture"]: one for one in night["sessions"]}
    assert (night["passed"], night["failed"]) == (NIGHT - len(NAMED), len(NAMED))
    assert {one["live_station"] for one in night["sessions"]} == {"RC-1", "RC-2", "RC-3", "RC-4"}
    for number, fault in BROKEN.items():
        first = msgspec.convert(sessions[name_of(number)]["divergences"][0], Divergence)
        assert headline(first).startswith(NAMED[fault]), (number, fault)
    assert [one for one in night["sessions"] if one["not_stimulated"] or one["failed_stimuli"]] == []
    assert len(sessions[name_of(KNOWN)]["known"]) == 1
    junit_counts(tmp_path / "reports" / "junit.xml")
    page = (tmp_path / "reports" / "night.html").read_text(encoding="utf-8")
    assert [number for number in BROKEN if name_of(number) not in page] == []


def junit_counts(path: Path) -> None:
    root = ElementTree.parse(path).getroot()  # noqa: S314  # our own report
    failed = {suite.get("name") for suite in root if suite.get("failures") != "0"}
    assert failed == {name_of(number) for number in BROKEN}
    # two transactions, and everything else; where an id was given twice also that the replay went through
    assert root.get("tests") == str(3 * NIGHT + 1)
    assert root.get("failures") == str(len(root.findall("testsuite/testcase/failure")))
    assert (root.get("errors"), root.get("skipped")) == ("0", "0")


def test_both_documented_jobs_replay_with_the_same_command() -> None:
    steps = job("github.yml")["jobs"]["replay-night"]["steps"]
    ours = next(step["run"] for step in steps if step.get("name") == "Replay")
    theirs = job("gitlab.yml")["replay-night"]["script"]
    assert ours.replace("\\\n", "").split() == " ".join(theirs).split()
    assert len(BROKEN) == len(NAMED) == 10
    assert len(REMOTE) + 1 == 40
    assert KNOWN not in BROKEN
