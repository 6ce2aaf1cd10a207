"""twin run and twin certify as commands: their output, exit codes, files, and what they refuse."""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.cli.test_cli import twin
from tests.io.live_csms import DEADLINE_S, LiveCsms, serving
from twin.certificate.cases import CASES
from twin.engine.station import QUIRKS
from twin.engine.station.scenario import built_ins

ACTING = Path(__file__).with_name("acting.py")


def test_run_without_a_csms_brings_one_of_ours() -> None:
    done = twin("run", "--scenario", "evening", "--speed", "200", "--for", "4", "--json")
    told = json.loads(done.stdout)
    assert told["stations"] == 1
    assert told["actions"]["BootNotification"] == 1
    assert told["actions"]["StartTransaction"] >= 1
    assert told["calls"] <= sum(told["actions"].values())
    assert "at ws://127.0.0.1:" in done.stderr


async def test_a_fleet_runs_for_as_long_as_it_is_told() -> None:
    async with serving(LiveCsms()) as csms:
        command = (
            sys.executable,
            "-m",
            "twin",
            "run",
            "--csms",
            csms.url,
            "--fleet",
            "5",
            "--for",
            "8",
            "--id",
            "F",
        )
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        async with asyncio.timeout(DEADLINE_S):
            told, _ = await process.communicate()
    assert process.returncode == 0
    assert told.decode().startswith("5 stations, ")
    assert sorted(csms.lives) == [f"F-{number:04}" for number in range(1, 6)]


def test_a_capture_of_a_run_is_a_capture(tmp_path: Path) -> None:
    capture = tmp_path / "run.capture"
    assert twin("run", "--for", "5", "-o", capture).returncode == 0
    told = json.loads(twin("show", capture, "--json").stdout)
    assert told["messages"] >= 2 * 22
    assert twin("check", capture, "--fail-on", "warning").returncode == 0
    again = twin("run", "--for", "1", "-o", capture)
    assert again.returncode == 2
    assert "never appended to" in again.stderr


def test_what_a_station_can_do_wrong_is_listed() -> None:
    told = json.loads(twin("run", "--list-quirks", "--json").stdout)
    assert {quirk["name"] for quirk in told["quirks"]} == set(QUIRKS)
    assert "unlocks" in twin("run", "--list-quirks").stdout


def test_a_quirk_is_found_by_the_rules() -> None:
    done = twin("run", "--quirks", "empty-vendor,no-milliseconds", "--for", "5", "--json")
    assert "J023" in {finding["rule"] for finding in json.loads(done.stdout)["findings"]}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--scenario", "nowhere.toml"], "built in are commuters, evening"),
        (["--quirks", "flies"], "no quirk flies"),
        (["--variant", "other"], "certified, cache-offline, ups"),
        (["--page", "127.0.0.1:0", "--fleet", "2"], "--page shows one station"),
        (["--page", "0.0.0.0:0"], "127.0.0.1 or ::1"),
        (["--csms", "ws://127.0.0.1:99999"], "expected ws://HOST:PORT"),
        (["--csms", "http://127.0.0.1"], "expected ws://HOST:PORT"),
        (["--behaviour", "{bad}"], "unknown field"),
        (["--scenario", "{bad}"], "unknown field"),
        (["--scenario", "{python}"], "no function acts(random)"),
    ],
)  # fmt: skip
def test_run_refuses_with_one_line(arguments: list[str], says: str, tmp_path: Path) -> None:
    bad, python = tmp_path / "bad.toml", tmp_path / "bad.py"
    bad.write_text("colour = 'green'\n")
    python.write_text("x = 1\n")
    written = [word.format(bad=bad, python=python) for word in arguments]
    done = twin("run", "--for", "1", *written)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_scenarios_in_python_and_every_built_in(tmp_path: Path) -> None:
    python = tmp_path / "plug.py"
    python.write_text(
        "from twin.engine.station import Act\n"
        "def acts(random):\n"
        "    yield 3.5, Act(do='plug', connector_id=1)\n"
    )
    told = json.loads(twin("run", "--scenario", python, "--for", "6", "--json").stdout)
    assert told["actions"]["StatusNotification"] == 22
    for name in built_ins():
        assert twin("run", "--scenario", name, "--for", "0.2").returncode == 0


def test_a_csms_that_is_not_there_is_told_and_tried_again() -> None:
    done = twin("run", "--csms", "ws://127.0.0.1:9", "--for", "6")
    assert done.returncode == 0
    assert "trying again" in done.stderr


# --- certify ------------------------------------------------------------------------------------------------


def test_certify_gives_every_case_with_its_verdict(tmp_path: Path) -> None:
    page, junit, capture = tmp_path / "sheet.html", tmp_path / "cases.xml", tmp_path / "run.capture"
    done = twin("certify", "--virtual", "--json", "--html", page, "--junit", junit, "-o", capture)
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert [case["id"] for case in told["cases"]] == [case.id for case in CASES]
    assert told["counts"] == {"passed": 43, "failed": 0, "inconclusive": 0, "not-applicable": 5}
    assert all({"id", "verdict", "why"} <= set(case) for case in told["cases"])
    suite = ElementTree.parse(junit).getroot().find("testsuite")  # noqa: S314  # our own file
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("48", "0", "5")
    text = page.read_text(encoding="utf-8")
    assert "no OCTT" in text
    assert "passes OCTT" not in text
    assert not re.search(r"(src|href)=\"https?:", text)
    again = json.loads(twin("check", capture, "--cases", "--json").stdout)
    counts = again["cases"]["run.capture"]["counts"]
    assert counts["failed"] == 0
    assert counts["passed"] + counts["matched"] >= 34


def test_certify_fails_a_broken_station_and_says_why() -> None:
    done = twin("certify", "--quirk", "unlocks", "--case", "TC_017_2", "--case", "TC_062")
    assert done.returncode == 1
    assert re.search(r"failed +TC_017_2 .*Unlocked", done.stdout)
    assert re.search(r"passed +TC_062", done.stdout)


def test_certify_with_other_intervals() -> None:
    done = twin(
        "certify", "--case", "tc_070", "--interval", "MeterValueSampleInterval=7",
        "--interval", "HeartbeatInterval=11", "--json",
    )  # fmt: skip
    (case,) = json.loads(done.stdout)["cases"]
    assert case["verdict"] == "passed"
    assert case["took_s"] < 120


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--case", "TC_999"], "no case"),
        (["--interval", "MeterValueSampleInterval"], "expected KEY=SECONDS"),
        (["--variant", "x"], "certified, cache-offline, ups"),
        (["--quirk", "x"], "no quirk x"),
        (["--listen", "here"], "expected HOST:PORT"),
        (["--listen", "127.0.0.1:0", "--virtual"], "--virtual needs no socket"),
    ],
)
def test_certify_refuses_with_one_line(arguments: list[str], says: str) -> None:
    done = twin("certify", *arguments)
    assert done.returncode == 2
    assert says in done.stderr


def test_certify_live_against_our_model_over_a_socket() -> None:
    """One station that stays connected: it is reset before each case and tidied up after it."""
    names = ("TC_001", "TC_012", "TC_015", "TC_034", "TC_038", "TC_041")
    cases = [word for name in names for word in ("--case", name)]
    done = twin("certify", "--model", "--speed", "10", "--connectors", "3", *cases, "--json")
    told = json.loads(done.stdout)
    assert {case["id"]: case["verdict"] for case in told["cases"]} == dict.fromkeys(names, "passed"), told
    assert "Traceback" not in done.stderr


@pytest.mark.slow
async def test_certify_live_against_another_process_whose_acts_a_command_does(tmp_path: Path) -> None:
    """`twin certify --listen` examines `twin run`; a command plugs and tags through the station's page."""
    certify = await started(
        "certify", "--listen", "127.0.0.1:0", "--case", "TC_003", "--case", "TC_004_1", "--case", "TC_032_2",
        "--hands", f"{sys.executable} {ACTING} {tmp_path / 'page'}", "--junit", tmp_path / "cases.xml",
    )  # fmt: skip
    async with ending(certify):
        url = await line_with(certify, r"listening (ws://\S+):")
        station = await started("run", "--csms", url, "--page", "127.0.0.1:0", "--connectors", "2")
        async with ending(station):
            page = await line_with(station, r"page (http://\S+)")
            (tmp_path / "page").write_text(page)
            async with asyncio.timeout(4 * DEADLINE_S):
                told, _ = await certify.communicate()
    assert certify.returncode == 0, told.decode()
    assert told.decode().count("passed  ") == 3


@pytest.mark.parametrize("hands", [["--hands", "false"], []])
async def test_a_step_that_nobody_does_fails_no_station(hands: list[str]) -> None:
    """A command that fails, or nobody at the terminal: the case is undecided, and the run ends with 1."""
    certify = await started("certify", "--listen", "127.0.0.1:0", "--case", "TC_003", "--json", *hands)
    async with ending(certify):
        url = await line_with(certify, r"listening (ws://\S+):")
        station = await started("run", "--csms", url, "--connectors", "2")
        async with ending(station), asyncio.timeout(2 * DEADLINE_S):
            told, _ = await certify.communicate()
    assert certify.returncode == 1
    (case,) = json.loads(told)["cases"]
    assert case["verdict"] == "inconclusive"
    assert "plug the cable in" in case["why"]


async def test_an_interrupted_run_passes_nothing() -> None:
    certify = await started("certify", "--listen", "127.0.0.1:0", "--case", "TC_012", "--json")
    async with ending(certify):
        await line_with(certify, r"listening (ws://\S+):")
        certify.terminate()
        async with asyncio.timeout(DEADLINE_S):
            told, _ = await certify.communicate()
    assert certify.returncode == 1
    assert json.loads(told)["cases"][0]["why"] == "interrupted"


async def started(*arguments: Any) -> asyncio.subprocess.Process:
    command = (sys.executable, "-m", "twin", *map(str, arguments))
    pipe = asyncio.subprocess.PIPE
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    nobody = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        *command, stdin=nobody, stdout=pipe, stderr=pipe, env=environment
    )


@contextlib.asynccontextmanager
async def ending(process: asyncio.subprocess.Process) -> Any:
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            async with asyncio.timeout(DEADLINE_S):
                await process.wait()


async def line_with(process: asyncio.subprocess.Process, pattern: str) -> str:
    """What the pattern finds in the next lines that the process says on its standard error."""
    assert process.stderr is not None
    async with asyncio.timeout(DEADLINE_S):
        while line := (await process.stderr.readline()).decode():
            if found := re.search(pattern, line):
                return found[1]
    raise AssertionError(f"no line with {pattern}")
