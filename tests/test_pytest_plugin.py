"""The pytest plugin as its users meet it: pytest in a process of its own, against real CSMSs."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conftest import REPOSITORY
from tests.engine.replay.regressions import session
from tests.io.faulty_csms import LiveFaultyCsms
from tests.io.live_csms import DEADLINE_S, LiveCsms, serving
from tests.peers import start_csms
from tests.peers.test_our_csms import our_csms
from tests.plugged import Project
from twin.io.replay_jobs import Job, play
from twin.io.segments import write_capture
from twin.io.targets import target_of

pytest_plugins = "pytester"

NIGHT = ("--ocpp-capture", "night")
PARTS = ("boot", "link", "transaction-1", "transaction-2", "rest")
DESK = """
import json
import socket

import pytest

@pytest.fixture
def ocpp_stimulus():
    {kind} ask(action, payload, station_id):
        with socket.create_connection(("127.0.0.1", {port}), timeout=30) as desk:
            order = dict(action=action, payload=payload, station_id=station_id)
            desk.sendall(json.dumps(order).encode() + b"\\n")
            assert desk.makefile().readline() == "ok\\n"
        return True  # of no account
    return ask
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(pytester, monkeypatch)


def test_without_options_nothing_of_ours_is_loaded(project: Project) -> None:
    project.write(
        "test_it.py",
        "import sys\n\ndef test_it():\n"
        "    ours = {name for name in sys.modules if name.startswith(('twin.', 'msgspec', 'websockets'))}\n"
        "    assert ours == {'twin.pytest_plugin'}\n",
    )
    project.run().assert_outcomes(passed=1)


def test_a_test_for_each_part_of_each_session(project: Project) -> None:
    project.night(3, 4, remote=[4])
    run = project.run(*NIGHT, "-v")
    run.assert_outcomes(passed=11)
    run.stdout.fnmatch_lines([f"night/003.capture::{part} PASSED*" for part in PARTS])
    run.stdout.fnmatch_lines(["night/004.capture::calls PASSED*"])
    project.run(*NIGHT, "-k", "transaction-2").assert_outcomes(passed=2, deselected=9)


async def test_a_fault_fails_its_part_and_the_report_is_all_that_is_shown(project: Project) -> None:
    project.night(3, 7)
    async with serving(LiveFaultyCsms({"1.0.7": "error"})) as csms:
        words = (*NIGHT, "--csms", csms.url)
        run = await project.beside(*words, "--junitxml=junit.xml")
        again = await project.beside(*words, "--lf", "-v")
    run.assert_outcomes(passed=9, failed=1)
    run.stdout.fnmatch_lines(
        [
            "CHANGED  MeterValues *in transaction 1",
            "*answer  recorded CALLRESULT  replayed CALLERROR InternalError  [[]exact[]]",
            "*OCPP-J 1.6 §4.2.3",
            "*recorded, then:*",
            "*replayed, then:*",
            "FAILED night/007.capture::transaction-1*",
        ]
    )
    said = run.stdout.str()
    assert "pytest_replay.py" not in said
    assert "Error:" not in said
    shown = said.split("replayed, then:")[1].splitlines()[1:5]
    assert ["CALLERROR" in line or '[4,"' in line for line in shown] == [False, False, False, True]
    again.assert_outcomes(failed=1)
    assert len(csms.calls("BootNotification")) == 3  # two sessions, and the one that failed
    cases = {
        (case.get("classname"), case.get("name")): case.find("failure") is not None
        for case in ElementTree.parse(project.path / "junit.xml").iter("testcase")  # noqa: S314  # our own
    }
    assert len(cases) == 10
    assert [case for case, failed in cases.items() if failed] == [("night.007.capture", "transaction-1")]


async def test_a_transaction_that_began_before_the_capture_is_a_test_too(project: Project) -> None:
    frames = session(7)
    begun = next(n for n, frame in enumerate(frames) if frame.text and "StartTransaction" in frame.text)
    write_capture(frames[begun + 2 :], project.path / "night" / "cut.capture", vantage="proxy")
    async with serving(LiveFaultyCsms({"*": "error"})) as csms:
        run = await project.beside(*NIGHT, "--csms", csms.url)
    run.assert_outcomes(passed=3, failed=1)
    run.stdout.fnmatch_lines(["FAILED night/cut.capture::transaction-1*"])


async def test_what_the_baseline_knows_passes_and_a_file_of_the_project_is_found(project: Project) -> None:
    project.night(7)
    known = {"changed | MeterValues | csms | answer CALLRESULT -> CALLERROR InternalError | transaction 1": 1}
    project.write("known.json", json.dumps({"version": 1, "sessions": {"007.capture": known}}))
    async with serving(LiveFaultyCsms({"1.0.7": "error"})) as csms:
        words = (*NIGHT, "--csms", csms.url)
        named = await project.beside(*words, "--ocpp-baseline", "known.json")
        with (project.path / "pyproject.toml").open("a") as file:
            file.write('\n[tool.ocpp]\nbaseline = "known.json"\n')
        found = await project.beside(*words)
    named.assert_outcomes(passed=5)
    found.assert_outcomes(passed=5)


async def test_what_nobody_stimulated_is_skipped_with_the_reason(project: Project) -> None:
    project.night(4, remote=[4])
    async with serving(LiveFaultyCsms({})) as csms:
        run = await project.beside(*NIGHT, "--csms", csms.url, "--ocpp-gate-timeout", "3")
    run.assert_outcomes(passed=4, skipped=2)
    for first in ("RemoteStartTransaction of the CSMS", "StartTransaction of the station"):
        why = f"* not stimulated, first missing {first}; see --ocpp-stimulus"
        run.stdout.fnmatch_lines_random([f"SKIPPED [[]1[]] night/004.capture:{why}"])


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_the_project_stimulates_by_a_fixture_of_its_own(project: Project, kind: str) -> None:
    project.night(4, remote=[4])
    async with serving(csms := LiveFaultyCsms({})), csms.desk() as port:
        project.write("conftest.py", DESK.format(kind=kind, port=port))
        run = await project.beside(*NIGHT, "--csms", csms.url)
    run.assert_outcomes(passed=6)


async def test_or_by_a_command(project: Project) -> None:
    project.night(4, remote=[4])
    async with serving(csms := LiveFaultyCsms({})), csms.desk() as port:
        command = f"{sys.executable} {REPOSITORY / 'docs/ci/ask_csms.py'} 127.0.0.1 {port}"
        run = await project.beside(*NIGHT, "--csms", csms.url, "--ocpp-stimulus", command)
    run.assert_outcomes(passed=6)


@pytest.mark.slow
@pytest.mark.parametrize("dist", [(), ("--dist", "loadgroup"), ("--dist", "load")], ids=str)
async def test_workers_have_identities_and_play_a_session_once(
    project: Project, dist: tuple[str, ...]
) -> None:
    project.night(1, 2, 3, 4)
    project.write("ids.toml", 'workers = ["RC-1", "RC-2"]\n')
    async with serving(LiveFaultyCsms({"1.0.3": "wrong status"})) as csms:
        words = (*NIGHT, "--csms", csms.url, "--ocpp-map", "ids.toml", "-n", "2", *dist)
        run = await project.beside(*words)
        played = len(csms.calls("BootNotification"))
        again = await project.beside(*words, "--lf") if not dist else None
    run.assert_outcomes(passed=19, failed=1)
    assert played == 4
    assert csms.lives  # xdist may give one worker all there is (two at work: test_nightly.py)
    assert set(csms.lives) <= {"RC-1", "RC-2"}
    if again is not None:
        again.assert_outcomes(failed=1)


def test_our_csms_in_a_process_of_its_own_and_the_ids_it_gave(project: Project) -> None:
    write_capture(session(3, interval_s=30), project.path / "night" / "003.capture", vantage="proxy")
    project.write(
        "test_bills.py",
        "def test_bills(ocpp_capture, ocpp_transactions):\n"
        "    assert ocpp_capture.station == 'OTMK-0001'\n"
        "    assert [one['live_id'] for one in ocpp_transactions] == [1001, 1002]\n"
        "    assert [one['recorded_id'] for one in ocpp_transactions] == [101, 102]\n"
        "    assert all(one['energy_wh'] > 0 for one in ocpp_transactions)\n",
    )
    with our_csms() as csms:
        run = project.run("test_bills.py", "night", *NIGHT, "--csms", csms.url)
    run.assert_outcomes(passed=6)


@pytest.mark.peer
async def test_a_third_party_csms_is_what_it_was_and_ours_is_not(project: Project) -> None:
    recorded = project.path / "night" / "first.capture"
    project.night(3)
    with start_csms() as url:
        job = Job(
            path=str(project.path / "night" / "003.capture"),
            station="OTMK-0001",
            name="003",
            target=target_of(url),
            output=str(recorded),
        )
        await asyncio.to_thread(play, job)
        first = ("--ocpp-capture", str(recorded))
        same = await project.beside(*first, "--csms", url)
    async with serving(LiveCsms()) as csms:
        other = await project.beside(*first, "--csms", csms.url)
    same.assert_outcomes(passed=5)
    assert other.parseoutcomes()["failed"] >= 1
    other.stdout.fnmatch_lines(["CHANGED  BootNotification *", "FAILED night/first.capture::boot*"])


async def test_what_twin_diff_shrinks_to_is_red_until_the_fault_is_mended(project: Project) -> None:
    frames = session(3)
    write_capture(frames, project.path / "before", vantage="proxy")
    async with serving(LiveFaultyCsms({"*": "lost answer"})) as csms:
        job = Job(
            path=str(project.path / "before"),
            station="OTMK-0001",
            name="before",
            target=target_of(csms.url),
            gate_us=2_000_000,
            output=str(project.path / "after"),
        )
        await asyncio.to_thread(play, job)
        shrink = ("diff", "before", "after", "--times", "ignore", "--shrink", "regression")
        said = await asyncio.to_thread(twin, project.path, *shrink)
        assert "still show it" in said
        words = ("regression", "--csms", csms.url, "--ocpp-gate-timeout", "2")
        red = await project.beside(*words)
    async with serving(LiveFaultyCsms({})) as mended:
        green = await project.beside("regression", "--csms", mended.url)
    red.assert_outcomes(failed=1)
    red.stdout.fnmatch_lines(["*CHANGED  StopTransaction *", "*answer  recorded CALLRESULT  replayed none*"])
    green.assert_outcomes(passed=1)


def twin(folder: Path, *words: str) -> str:
    command = (sys.executable, "-m", "twin", *words)
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=DEADLINE_S)
    assert run.returncode == 1, run.stderr
    return run.stderr
