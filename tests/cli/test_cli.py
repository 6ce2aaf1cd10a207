"""The surface: exit codes, one JSON object, one clear line for what cannot be done, light start."""

import json
import subprocess
import sys
from pathlib import Path

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


def twin(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "twin", *map(str, arguments))
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


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
