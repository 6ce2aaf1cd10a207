"""The fixtures, the marker and the refusals of the pytest plugin, in pytest processes of their own."""

import pytest
from msgspec.structs import replace

from tests.engine.replay.regressions import session
from tests.io.faulty_csms import LiveFaultyCsms
from tests.io.live_csms import serving
from tests.plugged import Project
from twin.io.segments import write_capture
from twin.model import Frame

pytest_plugins = "pytester"

USAGE = 4  # pytest's own exit code for it


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(pytester, monkeypatch)


def test_a_replay_in_process_and_a_comparison(project: Project) -> None:
    project.night(3, 4)
    project.write(
        "test_it.py",
        """
import asyncio
import pytest

def test_replay(ocpp_replay, tmp_path):
    result = ocpp_replay("night/003.capture", output=tmp_path / "again")
    assert result.passed, ocpp_replay.report(result)
    assert [one["live_id"] for one in result.transactions] == [700_001, 700_002]
    assert ocpp_replay(tmp_path / "again").passed

def test_same(ocpp_diff):
    result = ocpp_diff("night/003.capture", "night/003.capture")
    assert result.passed
    assert "no divergence" in ocpp_diff.report(result)

def test_different(ocpp_diff):
    result = ocpp_diff("night/003.capture", "night/004.capture", timed=False)
    assert not result.passed
    assert result.diff.divergences[0].action == "BootNotification"
    assert "answer" not in result.diff.divergences[0].changes[0].path

async def test_in_a_loop(ocpp_replay):
    assert (await asyncio.to_thread(ocpp_replay, "night/003.capture")).passed

@pytest.mark.ocpp(station_id="MARKED", timing="max-gap=1")
def test_marker(ocpp_replay):
    assert ocpp_replay("night/003.capture").live_station == "MARKED"
    assert ocpp_replay("night/003.capture", station_id="NAMED").live_station == "NAMED"
""",
    )
    project.run().assert_outcomes(passed=5)


def test_what_is_wrong_is_said(project: Project) -> None:
    project.night(3)
    project.write(
        "test_it.py",
        """
import pytest

def test_option(ocpp_replay):
    ocpp_replay("night/003.capture", speed=3)

def test_other_host(ocpp_replay):
    ocpp_replay("night/003.capture", csms="ws://192.0.2.1:9")

def test_no_station(ocpp_replay):
    ocpp_replay("night/003.capture", station="OTHER")

def test_nothing_there(ocpp_replay):
    ocpp_replay("nowhere.capture")

async def test_in_a_loop(ocpp_replay):
    ocpp_replay("night/003.capture")

def test_no_capture(ocpp_capture):
    pass

@pytest.mark.ocpp(timings="original")
def test_marker(ocpp_replay):
    ocpp_replay("night/003.capture")
""",
    )
    run = project.run()
    run.assert_outcomes(failed=6, skipped=1)
    for said in (
        "*TypeError: no option 'speed' of a replay; there are csms, *",
        "*NotAllowedError: 192.0.2.1:9 is not this machine;*",
        "*CaptureError: night/003.capture: expected one session, found none;*",
        "*CaptureError: *nowhere.capture*No such file or directory*",
        "in an async test: await asyncio.to_thread(ocpp_replay, …)",
        "SKIPPED * --ocpp-capture names no capture",
        "*TypeError: no option 'timings' of a replay; *",
    ):
        run.stdout.fnmatch_lines_random([said])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--csms", "ws://192.0.2.1:9"), "*192.0.2.1:9 is not this machine; * say so with --ocpp-allow 192*"),
        (("--csms", "http://127.0.0.1:9"), "*expected ws://HOST:PORT*"),
        (("--csms", "ws://127.0.0.1:9", "--ocpp-timing", "virtual"), "*virtual jumps over time*"),
        (("--csms", "ws://127.0.0.1:9", "--ocpp-matchers", "none.toml"), "*none.toml: No such file*"),
        (("--csms", "ws://127.0.0.1:9", "--ocpp-timing", "slow"), "*slow*"),
        (("--ocpp-capture", "nowhere"), "*nowhere: there is no such file or folder"),
        (("--ocpp-capture", "empty"), "*empty holds no capture"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_command_line_ends_before_anything_runs(
    project: Project, words: tuple[str, ...], said: str
) -> None:
    (project.path / "empty").mkdir()
    run = project.run(*words)
    assert run.ret == USAGE
    run.stderr.fnmatch_lines([f"ERROR: ocpp: {said}"])


def test_where_no_csms_is_every_part_says_so(project: Project) -> None:
    project.night(3)
    run = project.run("--ocpp-capture", "night", "--csms", "ws://127.0.0.1:1")
    run.assert_outcomes(failed=5)
    run.stdout.fnmatch_lines(["ERROR *127.0.0.1:1*"])


def test_a_capture_that_cannot_be_read_is_an_error_of_its_own(project: Project) -> None:
    project.night(3)
    project.write("night/damaged.jsonl", "\x00\x01 nothing of ours\n")
    run = project.run("--ocpp-capture", "night")
    run.assert_outcomes(errors=1)
    run.stdout.fnmatch_lines(["ERROR night/damaged.jsonl*"])
    assert "Traceback" not in run.stdout.str()


def test_captures_below_a_folder_that_is_not_searched(project: Project) -> None:
    """Named ones are found in build/; the other tests there stay where they are."""
    write_capture(session(3), project.path / "build" / "night" / "003.capture", vantage="proxy")
    project.write("build/test_generated.py", "def test_it(): pass\n")
    project.write("build/night/test_generated.py", "def test_it(): pass\n")
    project.write("test_it.py", "def test_it(): pass\n")
    project.write(
        "conftest.py",
        "import pytest\n\n@pytest.fixture(autouse=True, scope='module')\ndef whole_module():\n    yield\n",
    )
    project.run("--ocpp-capture", "build/night/003.capture").assert_outcomes(passed=6)
    project.run("build/night/003.capture", "--ocpp-capture", "build/night").assert_outcomes(passed=5)


async def test_a_capture_of_two_stations_and_their_live_names(project: Project) -> None:
    write_capture([*session(3), *renamed(4)], project.path / "two.capture", vantage="proxy")
    project.write("ids.toml", '[stations]\n"OTMK-0001" = "A-1"\n"OTMK-0002" = "A-2"\n')
    project.write(
        "test_it.py",
        "def test_it(ocpp_capture, ocpp_transactions, ocpp_replay):\n"
        "    assert {one['station_id'] for one in ocpp_transactions} < {'A-1', 'A-2'}\n"
        "    assert ocpp_replay('two.capture', station='OTMK-0002', csms=None).live_station == 'A-2'\n",
    )
    async with serving(LiveFaultyCsms({})) as csms:
        words = ("--ocpp-capture", "two.capture", "--csms", csms.url, "--ocpp-map", "ids.toml", "-v")
        run = await project.beside(*words)
    run.assert_outcomes(passed=12)
    run.stdout.fnmatch_lines_random(
        [
            "two.capture::OTMK-0002/transaction-2 PASSED*",
            "test_it.py::test_it[[]two.capture OTMK-0001[]] PASSED*",
        ]
    )
    assert set(csms.lives) == {"A-1", "A-2"}


def renamed(number: int) -> list[Frame]:
    """A session of another station, to stand behind the first one in a capture."""
    return [
        replace(frame, seq=frame.seq + 1_000, link=f"second-{frame.link}", station="OTMK-0002")
        for frame in session(number)
    ]
