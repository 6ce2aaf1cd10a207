"""The wheel, built and installed without a network, works from an empty directory: no file is missing."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

import twin
from tests.conftest import REPOSITORY

AT = "2026-01-05T10:00:0{}.000Z"
CONVERSATION = [
    ("cp-to-csms", "CALL", [2, "1", "BootNotification", {"chargePointVendor": "X", "chargePointModel": "Y"}]),
    (
        "csms-to-cp",
        "CALLRESULT",
        [3, "1", {"status": "Accepted", "currentTime": AT.format(1), "interval": 300}],
    ),
    ("cp-to-csms", "CALL", [2, "2", "Heartbeat", {}]),
    ("csms-to-cp", "CALLRESULT", [3, "2", {"currentTime": AT.format(3)}]),
]


def run(command: Sequence[str | Path], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run without anything that could lead back to the checkout; the exit code is the caller's to judge."""
    world = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    return subprocess.run(
        command, cwd=cwd, env=world, capture_output=True, text=True, check=False, timeout=240
    )


def ran(command: Sequence[str | Path], cwd: Path) -> str:
    """What a command prints that must end 0."""
    result = run(command, cwd)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    ran([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], REPOSITORY)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel and sees this one's packages.

    They are seen through a path file. Path files found there are not read in turn (site, "addpackage"), so
    the editable checkout, which is such a file, stays out of sight.
    """
    home = tmp_path_factory.mktemp("installed")
    ran([sys.executable, "-m", "venv", "--without-pip", home], home)
    python = home / "bin" / "python"
    (site,) = home.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    options = [
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--disable-pip-version-check",
        "--ignore-installed",
    ]
    ran([sys.executable, "-m", "pip", "--python", python, *options, wheel], home)
    return python


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clean messages as open-ocpp-trace v1.1."""
    path = tmp_path_factory.mktemp("traces") / "clean.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for second, (direction, kind, message) in enumerate(CONVERSATION):
            record = {
                "schemaVersion": "1.1",
                "timestamp": AT.format(second),
                "ocppVersion": "1.6",
                "transport": "json",
                "chargePointId": "CP-1",
                "direction": direction,
                "messageType": kind,
                "messageId": message[1],
                "payload": message[-1],
                "raw": json.dumps(message),
            }
            if kind == "CALL":
                record["action"] = message[2]
            file.write(json.dumps(record) + "\n")
    return path


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    roots = {REPOSITORY / "twin": "twin", REPOSITORY / "addons" / "octoflex_addons": "octoflex_addons"}
    wanted = {
        f"{name}/{path.relative_to(root).as_posix()}"
        for root, name in roots.items()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == wanted
    assert "twin/certificate/octoflex-otm-k.toml" in held
    assert "twin/py.typed" in held


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (info,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    metadata = archive.read(f"{info}/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Python: >=3.12" in metadata
    assert archive.read(f"{info}/licenses/LICENSE") == (REPOSITORY / "LICENSE").read_bytes()
    assert "twin = twin.cli:main" in archive.read(f"{info}/entry_points.txt").decode()


@pytest.mark.parametrize("package", ["twin", "octoflex_addons"])
def test_the_checkout_is_out_of_sight(installed: Path, empty: Path, package: str) -> None:
    said = ran([installed, "-c", f"import {package}; print({package}.__file__)"], empty)
    assert Path(said.strip()).is_relative_to(installed.parent.parent)


@pytest.mark.parametrize("words", [["-m", "twin"], ["twin"]], ids=["python -m twin", "twin"])
def test_version(installed: Path, empty: Path, words: list[str]) -> None:
    command = [installed, *words] if words[0] == "-m" else [installed.with_name("twin")]
    assert twin.__version__ in ran([*command, "--version"], empty)


def test_show_certificate(installed: Path, empty: Path) -> None:
    said = ran([installed, "-m", "twin", "show", "--certificate"], empty)
    assert "OCA.0016.0045.CS" in said
    assert "HeartbeatInterval" in said


def test_check_judges_a_foreign_trace(installed: Path, empty: Path, trace: Path) -> None:
    result = run([installed, "-m", "twin", "check", trace, "--json"], empty)
    assert result.returncode == 0, result.stdout + result.stderr
    judged = json.loads(result.stdout)
    assert judged["counts"].get("error", 0) == 0
    assert isinstance(judged["findings"], list)


def test_check_finds_what_is_wrong(installed: Path, empty: Path, trace: Path) -> None:
    """The schemas are there too: a wrong payload is found by them alone."""
    wrong = trace.with_name("wrong.jsonl")
    text = trace.read_text(encoding="utf-8").replace("chargePointModel", "chargePointColour")
    wrong.write_text(text, encoding="utf-8")
    result = run([installed, "-m", "twin", "check", wrong, "--json"], empty)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "J021" in {finding["rule"] for finding in json.loads(result.stdout)["findings"]}


def test_pytest_has_the_plugin(installed: Path, empty: Path, trace: Path) -> None:
    """Through its entry point, and only once, however it is named."""
    command = [installed, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "no:asyncio"]
    said = ran([*command, "-W", "error", "--ocpp-capture", trace], empty)
    assert "clean.jsonl::rest PASSED" in said
    assert "clean.jsonl::rest PASSED" in ran(
        [*command, "-p", "twin.pytest_plugin", "--ocpp-capture", trace], empty
    )


def test_every_module_imports(installed: Path, empty: Path) -> None:
    program = (
        "import importlib, pkgutil, twin\n"
        "for module in pkgutil.walk_packages(twin.__path__, 'twin.'):\n"
        "    if not module.name.endswith('.__main__'): importlib.import_module(module.name)\n"
    )
    ran([installed, "-c", program], empty)
