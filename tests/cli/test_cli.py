"""The surface: exit codes, one JSON object, one clear line for what cannot be done, light start."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conftest import REPOSITORY
from twin.cli.app import app

SESSION = REPOSITORY / "captures" / "otmk-shaped-demo"


def record(action: str, payload: dict[str, object]) -> str:
    """One open-ocpp-trace record of a CALL of the station."""
    return json.dumps(
        {
            "schemaVersion": "1.1",
            "timestamp": "2026-09-21T14:13:20Z",
            "transport": "json",
            "direction": "cp-to-csms",
            "messageType": "CALL",
            "messageId": "1",
            "action": action,
            "payload": payload,
            "raw": json.dumps([2, "1", action, payload]),
        }
    )


def twin(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "twin", *map(str, arguments))
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=cwd)


def test_check_exits_by_severity() -> None:
    assert twin("check", SESSION).returncode == 1
    found = json.loads(twin("check", SESSION, "--profile", "spec", "--json").stdout)
    assert found["profiles"] == ["spec"]
    assert found["counts"]["drift"] == 0


def test_check_clean_is_zero_and_notes_do_not_fail_by_default(tmp_path: Path) -> None:
    trace, noted = tmp_path / "trace.jsonl", tmp_path / "noted.jsonl"
    trace.write_text(record("Heartbeat", {}))
    noted.write_text(record("DataTransfer", {"vendorId": "x"}))
    assert twin("check", trace).returncode == 0
    assert twin("check", noted).returncode == 0
    assert twin("check", noted, "--fail-on", "note").returncode == 1


def test_check_json_is_one_object_with_the_promised_fields() -> None:
    found = json.loads(twin("check", SESSION, "--json").stdout)
    assert {"findings", "counts"} <= set(found)
    for finding in found["findings"]:
        assert {"rule", "severity", "fault", "seq", "at_us", "detail"} <= set(finding)
    assert found["counts"]["error"] == sum(f["severity"] == "error" for f in found["findings"])


def test_show_json_is_one_object_with_the_promised_fields() -> None:
    shown = json.loads(twin("show", SESSION, "--json").stdout)
    assert {"messages", "by_kind", "links", "first_us", "last_us", "unusable_lines"} <= set(shown)
    assert (shown["messages"], shown["links"], shown["unusable_lines"]) == (646, 1, 0)
    assert shown["by_kind"]["CALL"] + shown["by_kind"]["CALLRESULT"] == 646


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("check", "no-such-file"), 3),
        (("show", REPOSITORY / "LICENSE", "--format", "capture"), 3),
        (("check", SESSION, "--profile", "no-such-profile"), 2),
        (("check",), 2),
        (("frobnicate",), 2),
        (("replay", SESSION, "--csms", "ws://192.0.2.1:9"), 4),
        (("replay", SESSION, "--csms", "http://127.0.0.1:9"), 2),
        (("replay", SESSION, "--csms", "ws://127.0.0.1:1"), 3),
        (("replay", SESSION, "--as", "csms", "--csms", "ws://127.0.0.1:1"), 2),
        (("check", SESSION, "--html", "no-such-folder/x.html"), 2),
        (("check", SESSION, "--junit", "no-such-folder/x.xml"), 2),
        (("check", SESSION, "--baseline", "no-such-file"), 2),
        (("check", SESSION, "--tolerances", "no-such-file"), 2),
        (("check", SESSION, "no-such-file"), 3),
        (("check", "--integrity", SESSION, SESSION), 2),
        (("replay", SESSION, "-o", SESSION), 2),
        (("diff", SESSION, SESSION), 0),
        (("replay", SESSION), 0),
    ],
)
def test_exit_codes(arguments: tuple[object, ...], code: int) -> None:
    done = twin(*arguments)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if code == 3:
        assert len(done.stderr.splitlines()) == 1


def test_a_torn_last_line_is_a_finding_and_everything_before_it_is_read(tmp_path: Path) -> None:
    torn = tmp_path / "segment-00001.jsonl"
    torn.write_bytes((SESSION / "segment-00001.jsonl").read_bytes()[:-40])
    found = json.loads(twin("check", torn, "--json").stdout)
    assert [f["rule"] for f in found["findings"] if f["fault"] == "capture"] == ["J022"]
    assert json.loads(twin("show", torn, "--json").stdout)["messages"] == 645


def test_convert_there_and_back_keeps_every_message(tmp_path: Path) -> None:
    trace, back = tmp_path / "trace.jsonl", tmp_path / "back"
    assert twin("convert", SESSION, "-o", trace).returncode == 0
    assert twin("convert", trace, "-o", back).returncode == 0
    assert twin("diff", SESSION, back).returncode == 0
    assert twin("convert", trace, "-o", back).returncode == 2  # never appended to, never overwritten


def test_check_takes_several_captures_and_writes_page_and_junit(tmp_path: Path) -> None:
    trace, html, junit = tmp_path / "trace.jsonl", tmp_path / "sheet.html", tmp_path / "check.xml"
    trace.write_text(record("Heartbeat", {}))
    done = twin("check", SESSION, trace, "--html", html, "--junit", junit, "--json")
    found = json.loads(done.stdout)
    assert [capture["name"] for capture in found["captures"]] == ["otmk-shaped-demo", "trace.jsonl"]
    assert {finding["capture"] for finding in found["findings"]} == {"otmk-shaped-demo"}
    assert "OCA.0016.0045.CS" in html.read_text(encoding="utf-8")
    suites = ElementTree.parse(junit).getroot()  # noqa: S314  # ours
    assert [(suite.get("name"), suite.get("failures")) for suite in suites] == [
        ("otmk-shaped-demo", "2"),
        ("trace.jsonl", "0"),
    ]


def test_check_sheet_is_printed_as_text_and_as_json() -> None:
    text = twin("check", SESSION, "--sheet").stdout
    assert "as certified      1 AllowOfflineTxForUnknownId: certified FALSE | observed false" in text
    (told,) = json.loads(twin("check", SESSION, "--sheet", "--json").stdout)["sheets"]
    assert len(told["configuration"]) == 44
    assert {row["verdict"] for row in told["lines"]} >= {"not observable", "not consistent"}


def test_check_chooses_rules_by_prefix() -> None:
    found = json.loads(twin("check", SESSION, "--select", "J,M016,T029", "--ignore", "J0", "--json").stdout)
    assert {finding["rule"] for finding in found["findings"]} == {"M016", "T029"}
    assert set(found["counts"]["occurrences"]) == {"M016", "T029"}
    assert twin("check", SESSION, "--ignore", "M016,B008,T018").returncode == 0
    told = twin("check", SESSION, "--select", "Q")
    assert (told.returncode, len(told.stderr.splitlines())) == (2, 1)


@pytest.mark.slow
def test_check_counts_only_what_the_baseline_does_not_know(tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    old.write_text(twin("check", SESSION, "--ignore", "M016", "--json").stdout)
    done = twin("check", SESSION, "--baseline", old)
    assert done.returncode == 1
    assert done.stdout.startswith("new     error   M016")
    assert "new: 1 error, 0 warning, 0 drift, 0 note; 15 known from the baseline" in done.stdout
    old.write_text(twin("check", SESSION, "--json").stdout)
    found = twin("check", SESSION, "--baseline", old, "--fail-on", "note", "--json")
    assert found.returncode == 0
    told = json.loads(found.stdout)
    assert not any(finding["new"] for finding in told["findings"])
    assert told["counts"]["known"] == len(told["findings"]) == 16
    old.write_text("{}")
    assert twin("check", SESSION, "--baseline", old).returncode == 2


def test_tolerances_come_from_a_file_or_from_the_certificate(tmp_path: Path) -> None:
    loose, wrong, mine = tmp_path / "loose.toml", tmp_path / "wrong.toml", tmp_path / "mine.toml"
    trace = tmp_path / "trace.jsonl"
    payload = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
    stamps = [record("StatusNotification", {**payload, "timestamp": "2026-09-21T14:13:20Z"})] * 2
    shipped = (REPOSITORY / "twin" / "certificate" / "octoflex-otm-k.toml").read_text(encoding="utf-8")
    trace.write_text("\n".join(stamps))
    loose.write_text("[tolerances]\nmillisecond_stamps = 2\n")
    mine.write_text(f"{shipped}\n[tolerances]\nmillisecond_stamps = 2\n", encoding="utf-8")
    rule = ("--select", "P005", "--fail-on", "drift")
    assert twin("check", trace, "--profile", "octoflex-otm-k", *rule).returncode == 0
    assert twin("check", trace, "--profile", "octoflex-otm-k", "--tolerances", loose, *rule).returncode == 1
    assert twin("check", trace, "--profile", mine, *rule).returncode == 1
    for text, says in (
        ("[tolerances]\nmillisecond_stamp = 2\n", "unknown field 'millisecond_stamp'"),
        ("[tolerances]\nmillisecond_stamps = 'two'\n", "millisecond_stamps"),
        ("[tolerances]\ntimer_us = -1\n", "timer_us is -1"),
        ("timer_us = 1\n", "expected one table [tolerances]"),
        ("[tolerances\n", "not TOML"),
    ):
        wrong.write_text(text)
        done = twin("check", SESSION, "--tolerances", wrong)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert says in done.stderr


def test_tolerances_hold_for_the_profile_that_the_boot_identifies_too(tmp_path: Path) -> None:
    loose = tmp_path / "loose.toml"
    loose.write_text("[tolerances]\nstop_frame_bytes = 10\n")
    found = json.loads(twin("check", SESSION, "--tolerances", loose, "--select", "T024", "--json").stdout)
    assert found["findings"]
    assert found["profiles"] == ["octoflex-otm-k"]


def test_a_laboratory_is_told_from_the_field(tmp_path: Path) -> None:
    html = tmp_path / "sheet.html"
    assert twin("check", SESSION, "--context", "lab", "--html", html).returncode == 1
    assert "Laboratory: a test tool writes its own configuration" in html.read_text(encoding="utf-8")
    assert twin("check", SESSION, "--context", "moon").returncode == 2


def test_a_rule_explains_itself() -> None:
    told = twin("check", "--explain", "t015").stdout
    assert told.startswith("T015  error")
    assert "ER 3.77" in told
    assert "Pitfalls" in told
    assert twin("check", "--explain", "Z999").returncode == 2


def test_a_certificate_file_can_be_a_profile(tmp_path: Path) -> None:
    shipped = (REPOSITORY / "twin" / "certificate" / "octoflex-otm-k.toml").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(shipped, encoding="utf-8")
    found = json.loads(twin("check", SESSION, "--profile", path, "--json").stdout)
    assert found["profiles"] == ["mine"]


def test_the_start_is_light() -> None:
    heavy = (
        "pandas",
        "matplotlib",
        "jsonschema",
        "jsonschema_rs",
        "websockets",
        "mitmproxy",
        "ocpp",
        "asyncio",
    )
    script = (
        "import sys\nfrom twin.cli import main\nsys.argv = ['twin', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"sys.stderr.write(' '.join(name for name in {heavy!r} if name in sys.modules))"
    )
    done = subprocess.run(
        (sys.executable, "-c", script), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""


@pytest.mark.parametrize(
    "command", [command.name or command.callback.__name__ for command in app.registered_commands]
)
def test_every_verb_has_help_with_an_example_and_stands_in_the_documents(command: str) -> None:
    helped = twin(command, "--help").stdout
    assert "Example" in helped
    assert f"## twin {command}" in (REPOSITORY / "docs" / "cli.md").read_text(encoding="utf-8")
