"""twin replay and twin diff at the command line: verdicts, reports, exit codes, what is refused."""

import asyncio
import contextlib
import json
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from msgspec.structs import replace

from tests.cli.test_cli import twin
from tests.conftest import REPOSITORY
from tests.io.live_csms import LiveCsms, serving
from tests.playbook import meter, play, stamp
from twin.io.capture import write_capture
from twin.io.formats import open_capture
from twin.model import Frame, Kind, Side

CAPTURES = REPOSITORY / "captures"
REFUSED, OUTAGE, REMOTE = (str(CAPTURES / name) for name in ("twin-refused", "twin-outage", "twin-remote"))
CONNECTIONS = str(CAPTURES / "twin-connections")
DEADLINE_S = 90


@contextlib.contextmanager
def process(*command: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process of ours that says where it listens; ended by its own pid if it does not end."""
    lines: queue.Queue[str] = queue.Queue()
    with subprocess.Popen(
        (sys.executable, *command),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=REPOSITORY,
    ) as child:
        reader = threading.Thread(target=lambda: [lines.put(line) for line in child.stdout or ()])
        reader.start()
        try:
            yield child, lines.get(timeout=DEADLINE_S).removeprefix("listening ").strip()
        finally:
            child.terminate()
            child.wait(DEADLINE_S)
            reader.join(DEADLINE_S)


def changed(source: str, target: Path, old: str, new: str) -> str:
    """A copy of a capture in which the CSMS says something else."""
    frames: list[Frame] = [
        replace(frame, text=frame.text.replace(old, new))
        if frame.text is not None and frame.sender is Side.CSMS
        else frame
        for frame in open_capture(Path(source)).frames
    ]
    write_capture(frames, target, vantage="simulated")
    return str(target)


def test_several_sessions_give_one_summary(tmp_path: Path) -> None:
    page, xml = tmp_path / "night.html", tmp_path / "night.xml"
    captures = (REFUSED, OUTAGE, REMOTE, CONNECTIONS)
    done = twin("replay", *captures, "--workers", "2", "--html", page, "--junit", xml)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 of 4 sessions passed" in done.stdout
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    root = ElementTree.parse(xml).getroot()  # noqa: S314  # our own file
    assert (root.get("failures"), root.get("errors")) == ("0", "0")
    assert len(root) == 4
    cases = [case.get("name") for case in root.iter("testcase")]
    assert "transaction 1" in cases


def test_one_capture_that_cannot_be_read_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "broken.mitm").write_bytes(b"nonsense")
    (tmp_path / "empty.jsonl").write_bytes(b"")
    broken = (tmp_path / "broken.mitm", tmp_path / "empty.jsonl")
    done = twin("replay", REFUSED, *broken, "--json", "--workers", "2")
    told = json.loads(done.stdout)
    assert (done.returncode, told["passed"], told["failed"]) == (1, 1, 2)
    assert [bool(session.get("error")) for session in told["sessions"]] == [False, True, True]
    assert twin("replay", broken[1]).returncode == 3


def test_the_same_results_whatever_the_number_of_workers() -> None:
    told = [
        json.loads(twin("replay", REFUSED, OUTAGE, "--workers", workers, "--json").stdout)
        for workers in ("1", "2")
    ]
    for one in told:
        for session in one["sessions"]:
            session["played_s"] = 0
    assert [s["capture"] for s in told[0]["sessions"]] == ["twin-refused", "twin-outage"]
    assert told[0]["sessions"][0]["matched"] == told[1]["sessions"][0]["matched"]
    assert told[0]["passed"] == told[1]["passed"] == 2


def test_a_live_csms_that_accepts_all_is_not_the_recorded_one(tmp_path: Path) -> None:
    """Four refusals are gone: the first one is named with its clause, its context and both states."""
    with process("-m", "tests.io.live_csms") as (_, url):
        page = tmp_path / "report.html"
        done = twin("replay", REFUSED, "--csms", url, "--station-id", "CI-1", "--html", page)
        told = json.loads(twin("replay", REFUSED, "--csms", url, "--json").stdout)
    assert done.returncode == 1
    first = told["divergences"][0]
    assert (first["kind"], first["action"], first["sender"]) == ("changed", "BootNotification", "csms")
    assert [(c["path"], c["recorded"], c["replayed"]) for c in first["changes"]] == [
        ("answer/interval", "120", "30")
    ]
    assert told["evidence"][0]["clause"] == "OCPP 1.6 §4.2"
    assert told["evidence"][0]["recorded_frames"][-1].startswith("#3 ")
    actions = [one["action"] for one in told["divergences"]]
    assert actions.count("Authorize") == 3
    assert "CHANGED  BootNotification  recorded #3, replayed #3  in boot" in done.stdout
    assert "answer/interval  recorded 120  replayed 30  [exact]" in done.stdout
    assert "Blocked" in page.read_text(encoding="utf-8")
    transactions = told["transactions"]
    assert [t["recorded_id"] for t in transactions] == [101, 102]
    assert all(t["live_id"] > 1000 for t in transactions)
    last = transactions[1]
    assert last["energy_wh"] == last["meter_stop_wh"] - last["meter_start_wh"] > 0


def test_a_baseline_keeps_what_is_known_and_fails_what_is_new(tmp_path: Path) -> None:
    known = tmp_path / "known.json"
    with process("-m", "tests.io.live_csms") as (_, url):
        first = twin("replay", REFUSED, "--csms", url, "--write-baseline", known)
        again = twin("replay", REFUSED, "--csms", url, "--baseline", known, "--json")
    assert first.returncode == 1
    assert again.returncode == 0, again.stdout
    assert json.loads(again.stdout)["known"]
    back = twin("replay", REFUSED, "--baseline", known, "--json")
    assert back.returncode == 0
    assert json.loads(back.stdout)["vanished"]
    other = json.loads(known.read_text())
    other["sessions"]["twin-refused"].popitem()
    known.write_text(json.dumps(other))
    with process("-m", "tests.io.live_csms") as (_, url):
        assert twin("replay", REFUSED, "--csms", url, "--baseline", known).returncode == 1


def test_a_stimulus_command_makes_the_csms_send_what_was_recorded(tmp_path: Path) -> None:
    """The command gets the CALL with its live ids; here it only keeps what it was told."""
    script = tmp_path / "hook.py"
    script.write_text(
        "import json, sys\n"
        "told = json.load(sys.stdin)\n"
        "open(sys.argv[1], 'a').write(json.dumps(told) + '\\n')\n"
        "sys.exit(told['action'] == 'ClearCache')\n"
    )
    kept = tmp_path / "told.jsonl"
    with process("-m", "tests.io.live_csms") as (_, url):
        done = twin(
            "replay", REMOTE, "--csms", url, "--stimulus", f"{sys.executable} {script} {kept}",
            "--gate-timeout", "0.5", "--json",
        )  # fmt: skip
        without = twin("replay", REMOTE, "--csms", url, "--gate-timeout", "0.5", "--json")
        required = twin("replay", REMOTE, "--csms", url, "--require-stimuli", "--gate-timeout", "0.5")
    told = [json.loads(line) for line in kept.read_text().splitlines()]
    assert len(told) == 15
    assert {one["station_id"] for one in told} == {"OTMK-0001"}
    stops = [one["payload"] for one in told if one["action"] == "RemoteStopTransaction"]
    assert stops[0]["transactionId"] > 1000  # the live one
    result = json.loads(done.stdout)
    assert done.returncode == 1  # it was asked, and the CALLs never came
    assert len([one for one in result["divergences"] if one["sender"] == "csms"]) >= 15
    assert any("exit 1" in one for one in result["failed_stimuli"])
    aside = json.loads(without.stdout)
    assert aside["not_stimulated"]
    assert [one["action"] for one in aside["divergences"]] == ["BootNotification"] * 3  # the interval
    assert required.returncode == 1


def test_connections_are_played_over_a_real_socket_as_they_were(tmp_path: Path) -> None:
    """A refused handshake, compression, pings, a Close by the CSMS with its code: on both ends."""
    kept = tmp_path / "csms.capture"
    command = ("-m", "twin", "replay", CONNECTIONS, "--as", "csms", "--timing", "x60", "-o", str(kept))
    with process(*command) as (csms, url):
        station = tmp_path / "station.capture"
        played = twin("replay", CONNECTIONS, "--csms", url, "--timing", "x60", "-o", station, "--json")
        assert csms.wait(DEADLINE_S) == 0
    assert played.returncode == 0, played.stdout + played.stderr
    for folder in (kept, tmp_path / "station.capture"):
        frames = list(open_capture(folder).frames)
        kinds = [frame.kind.value for frame in frames if frame.kind.value in ("refused", "open", "end")]
        assert kinds == ["refused", "open", "end", "open", "end"]
        opened = [frame for frame in frames if frame.kind.value == "open"]
        assert [frame.facts.get("extensions") for frame in opened] == ["permessage-deflate", None]
        closed = [f for f in frames if f.kind.value == "close" and f.sender is Side.CSMS]
        (close,) = [frame for frame in closed if frame.link[-1] == "2"]
        assert close.facts["code"] == 1012
    pings = [f for f in open_capture(tmp_path / "station.capture").frames if f.kind.value == "ping"]
    assert len(pings) == 3


@pytest.mark.parametrize(("timing", "told"), [("causal", 1), ("virtual", 0)])
def test_a_check_says_whose_times_those_of_a_replay_are(timing: str, told: int, tmp_path: Path) -> None:
    played = twin("replay", REFUSED, "--to", "recorded", "--timing", timing, "-o", tmp_path / "again")
    assert played.returncode == 0, played.stderr
    assert twin("check", tmp_path / "again").stderr.count("replayed without its pace") == told
    assert "replayed" not in twin("check", REFUSED).stderr


def test_a_station_is_not_made_to_do_what_nobody_allowed() -> None:
    refused = twin("replay", REMOTE, "--as", "csms")
    assert refused.returncode == 4
    for action in ("ChangeConfiguration", "RemoteStartTransaction", "Reset", "UnlockConnector"):
        assert f"--dangerous {action}" in refused.stderr
    assert twin("replay", REMOTE, "--as", "csms", "--to", "recorded").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--csms", "ws://192.0.2.1:9"), 4, "--allow 192.0.2.1:9"),
        (("--csms", "ws://127.0.0.1:1"), 3, "127.0.0.1"),
        (("--to", "elsewhere"), 2, "expected recorded"),
        (("--to", "recorded", "--csms", "ws://127.0.0.1:1"), 2, "leave --csms out"),
        (("--policy", "extend"), 2, "-o"),
        (("--timing", "virtual", "--csms", "ws://127.0.0.1:1"), 2, "jumps over time"),
        (("--matchers", "/nowhere.toml"), 2, "nowhere.toml"),
        (("--map", "/nowhere.toml"), 2, "nowhere.toml"),
        (("--baseline", "/nowhere.json"), 2, "nowhere.json"),
        (("--password-file", "/nowhere", "--csms", "ws://127.0.0.1:1"), 2, "nowhere"),
        (("--html", "/nowhere/page.html"), 2, "page.html"),
        (("--stimulus", '"unbalanced', "--csms", "ws://127.0.0.1:1"), 2, "--stimulus"),
        (("--stimulus", "true"), 2, "--csms"),
        (("--require-stimuli",), 2, "--csms"),
        (("--listen", "127.0.0.1:9"), 2, "--as csms"),
        (("--explain", "nonsense"), 2, "ACTION/request"),
        (("--explain", "Authorize/answr/x"), 2, "ACTION/request"),
        (("--csms", "ws://nowhere.invalid:9"), 3, "nowhere.invalid"),
        (("--late", "inf"), 2, "--late"),
        (("--gate-timeout", "nan"), 2, "--gate-timeout"),
        ((REFUSED, "--write-baseline", "/nowhere.json"), 2, "2 captures are called twin-refused"),
    ],
)
def test_what_cannot_be_is_said_with_its_exit_code(arguments: tuple[str, ...], code: int, says: str) -> None:
    done = twin("replay", REFUSED, *arguments)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_baseline_is_of_sessions_that_were_played_and_forgets_no_other(tmp_path: Path) -> None:
    known = tmp_path / "known.json"
    with process("-m", "tests.io.live_csms") as (_, url):
        twin("replay", REFUSED, OUTAGE, "--csms", url, "--write-baseline", known)
        before = json.loads(known.read_text())["sessions"]
        again = twin("replay", REFUSED, "--csms", url, "--baseline", known, "--write-baseline", known)
        both = twin("replay", REFUSED, OUTAGE, "--csms", url, "--baseline", known)
    assert set(before) == {"twin-refused", "twin-outage"}
    assert json.loads(known.read_text())["sessions"] == before
    assert (again.returncode, both.returncode) == (0, 0)
    assert "FAIL" not in both.stderr  # told as it is judged


async def test_what_was_interrupted_is_judged_and_is_no_baseline(tmp_path: Path) -> None:
    known, page = tmp_path / "known.json", tmp_path / "night.html"
    async with serving(LiveCsms()) as csms, asyncio.timeout(DEADLINE_S):
        night = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "twin", "replay", OUTAGE, REFUSED, "--csms", csms.url,
            "--timing", "original", "--write-baseline", known, "--html", page, "--json",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        while not csms.lives:  # noqa: ASYNC110  # a process of its own, with a deadline
            await asyncio.sleep(0.05)
        night.send_signal(signal.SIGINT)  # minutes before the end
        said, troubles = await night.communicate()
    told = json.loads(said)
    assert night.returncode in (1, 3)
    assert [one["capture"] for one in told["sessions"]] == ["twin-outage", "twin-refused"]
    assert told["sessions"][1]["error"] == "interrupted"
    assert b"interrupted" in troubles
    assert json.loads(known.read_text())["sessions"] == {}
    assert page.is_file()


def test_a_capture_comes_from_standard_input_too() -> None:
    text = '[2,"1","Heartbeat",{}]\n[3,"1",{"currentTime":"2026-11-28T00:00:00Z"}]\n'
    command = (sys.executable, "-m", "twin", "replay", "-")
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, timeout=DEADLINE_S
    )
    assert (done.returncode, "1 exchange matched" in done.stdout) == (0, True), done.stdout + done.stderr


def test_no_station_came() -> None:
    with subprocess.Popen(
        (sys.executable, "-m", "twin", "replay", REFUSED, "--as", "csms"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as csms:  # fmt: skip
        assert csms.stderr is not None
        assert "listening" in csms.stderr.readline()
        csms.send_signal(signal.SIGINT)
        _, troubles = csms.communicate(timeout=DEADLINE_S)
    assert (csms.returncode, "no station connected" in troubles) == (3, True)


def test_what_a_stimulus_prints_is_no_part_of_the_result() -> None:
    with process("-m", "tests.io.live_csms") as (_, url):
        hook = "sh -c 'cat; echo HELLO; exit 69'"
        done = twin("replay", REMOTE, "--csms", url, "--gate-timeout", "1", "--stimulus", hook, "--json")
    assert json.loads(done.stdout)["not_stimulated"]


def test_what_a_station_could_take_for_an_order_needs_the_switch_too(tmp_path: Path) -> None:
    frames = list(open_capture(Path(REFUSED)).frames)
    last = frames[-1]
    order = replace(
        last, seq=last.seq + 1, kind=Kind.TEXT, sender=Side.CSMS, text='[2,17,"Reset",{}]', facts={}
    )
    write_capture([*frames[:-1], order], tmp_path / "odd", vantage="proxy")
    refused = twin("replay", tmp_path / "odd", "--as", "csms")
    assert (refused.returncode, "--dangerous text" in refused.stderr) == (4, True), refused.stderr


def test_what_would_be_sent_holds_the_prologue_and_the_answers(tmp_path: Path) -> None:
    path = tmp_path / "middle"
    stop = {"transactionId": 77, "meterStop": 9, "timestamp": stamp(61)}
    frames = (
        play()
        .station("MeterValues", meter(60, transaction=77), {})
        .station("StopTransaction", stop, {})
        .frames
    )
    write_capture(frames, path, vantage="proxy")
    command = ("replay", path, "--csms", "ws://127.0.0.1:9/x", "--dry-run")
    dry = twin(*command).stdout
    assert dry.index("BootNotification") < dry.index("PROLOGUE") < dry.index("MeterValues")
    assert '"PROLOGUE"' in twin("replay", path, "--needs").stdout
    assert "PROLOGUE" not in twin(*command, "--no-prologue").stdout
    told = twin("replay", REFUSED, "--as", "csms", "--dry-run").stdout
    assert " answer [3," in told
    assert "BootNotification" not in told


def test_no_secret_of_a_capture_is_told_by_a_comparison(tmp_path: Path) -> None:
    """Nor is it a difference that a recorder had taken it out of one of the two."""
    for name, value in (("one", "hunter2hunter2"), ("other", "*" * 14)):
        asked = {"key": "AuthorizationKey", "value": value}
        p = play().booted().csms("ChangeConfiguration", asked, {"status": "Accepted"})
        write_capture(p.frames, tmp_path / name, vantage="proxy")
    assert twin("diff", tmp_path / "one", tmp_path / "other").returncode == 0
    page = tmp_path / "page.html"
    done = twin("diff", REFUSED, tmp_path / "one", "--html", page, "--json")
    assert done.returncode == 1
    assert "hunter2" not in done.stdout + page.read_text(encoding="utf-8")


def test_a_capture_that_was_altered_is_not_replayed_unasked(tmp_path: Path) -> None:
    altered = tmp_path / "altered"
    shutil.copytree(REFUSED, altered)
    (segment,) = altered.glob("segment-*")
    lines = segment.read_bytes().splitlines(keepends=True)
    number = next(n for n, line in enumerate(lines) if b"Accepted" in line)
    lines[number] = lines[number].replace(b"Accepted", b"Rejected")
    segment.write_bytes(b"".join(lines))
    refused = twin("replay", altered)
    assert (refused.returncode, "--unsealed" in refused.stderr) == (3, True), refused.stderr
    assert twin("replay", altered, "--unsealed").returncode == 0
    whole = Path(REFUSED, segment.name).read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1  # nothing follows from the last line but the manifest
    segment.write_bytes(whole[:last] + whole[last:].replace(b"00:12:03.160Z", b"00:12:04.160Z"))
    assert twin("replay", altered).returncode == 3
    segment.write_bytes(b"".join(Path(REFUSED, segment.name).read_bytes().splitlines(keepends=True))[:-20])
    assert twin("replay", altered).returncode == 0  # torn: what is there is as it was written


def test_the_project_s_matchers_are_those_of_a_comparison_too(tmp_path: Path) -> None:
    frames = list(open_capture(Path(REFUSED)).frames)
    other = [
        replace(frame, text=frame.text.replace('"interval":', '"interval":1')) if frame.text else frame
        for frame in frames
    ]
    write_capture(frames, tmp_path / "a", vantage="proxy")
    write_capture(other, tmp_path / "b", vantage="proxy")
    assert twin("diff", tmp_path / "a", tmp_path / "b", cwd=tmp_path).returncode == 1
    (tmp_path / "pyproject.toml").write_text('[tool.ocpp]\nmatchers = "rules.toml"\n')
    (tmp_path / "rules.toml").write_text('[[match]]\npath = "answer/interval"\nhow = "type"\n')
    assert twin("diff", tmp_path / "a", tmp_path / "b", cwd=tmp_path).returncode == 0
    assert twin("diff", tmp_path / "a", tmp_path / "b", "--late", "inf").returncode == 2


def test_speed_is_for_this_machine_only() -> None:
    done = twin("replay", REFUSED, "--csms", "ws://192.0.2.1:9", "--allow", "192.0.2.1:9", "--timing", "x10")
    assert done.returncode == 4


def test_what_would_be_sent_and_needed_and_decided_is_told_without_playing() -> None:
    dry = twin("replay", REMOTE, "--dry-run").stdout
    assert "stimulate" in dry
    assert "leave" in dry
    needs = twin("replay", REMOTE, REFUSED, "--needs").stdout
    assert '"TAG0001" = "TAG0001"' in needs
    assert "2 RemoteStartTransaction" in needs
    told = json.loads(twin("replay", REMOTE, "--needs", "--json").stdout)
    assert told["stations"] == ["OTMK-0001"]
    why = twin("replay", REMOTE, "--explain", "GetConfiguration/answer/configurationKey").stdout
    assert "set" in why
    assert "built in" in why


def test_a_divergence_is_cut_down_to_a_test(tmp_path: Path) -> None:
    worse = changed(OUTAGE, tmp_path / "worse", '{"status":"Accepted"}', '{"status":"Invalid"}')
    folder = tmp_path / "regression"
    done = twin("diff", OUTAGE, worse, "--shrink", folder)
    assert done.returncode == 1
    small = list(open_capture(folder / "recorded").frames)
    assert len(small) <= 20
    assert twin("diff", folder / "recorded", folder / "replayed").returncode == 1
    assert "ocpp_replay" in (folder / "test_divergence.py").read_text()
    assert twin("diff", OUTAGE, worse, "--shrink", folder).returncode == 2  # never overwritten


def test_noise_is_proposed(tmp_path: Path) -> None:
    other = changed(REFUSED, tmp_path / "other", '"interval":120', '"interval":121')
    told = twin("diff", REFUSED, other, "--learn")
    assert told.returncode == 0
    assert 'path = "answer/interval"' in told.stdout
    (tmp_path / "rules.toml").write_text(told.stdout)
    assert twin("diff", REFUSED, other).returncode == 1
    assert twin("diff", REFUSED, other, "--matchers", tmp_path / "rules.toml").returncode == 0
