"""What lies in deploy/: the unit is hardened and names what there is."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, absent
from twin.report.metrics import Metrics

UNIT = REPOSITORY / "deploy" / "octoflex-twin@.service"


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """An instance of the template whose program is there."""
    program = tmp_path / "twin"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    place = tmp_path / "octoflex-twin@site-a.service"
    place.write_text(UNIT.read_text().replace("/opt/octoflex-twin/bin/twin", str(program)))
    return place


def analyzed(*words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        absent("systemd-analyze")
    return subprocess.run([str(program), *words], capture_output=True, text=True, check=False, timeout=60)


def test_the_unit_is_exposed_little(unit: Path) -> None:
    done = analyzed("security", "--offline=true", "--no-pager", str(unit))
    found = re.search(r"Overall exposure level for .*: (\d+\.\d+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) < 3


def test_the_unit_is_sound(unit: Path) -> None:
    done = analyzed("verify", str(unit))
    assert not [line for line in done.stderr.splitlines() if "octoflex-twin" in line], done.stderr


def test_the_options_of_the_unit_exist() -> None:
    app = (REPOSITORY / "twin" / "cli" / "app.py").read_text()
    for option in re.findall(r"--([a-z-]+)", UNIT.read_text().partition("[Service]")[2]):
        name = option.replace("-", "_")
        assert f"{name}:" in app or f'"--{option}"' in app, option


def test_every_metric_of_the_alerts_is_served() -> None:
    metrics = Metrics("127.0.0.1:0")
    served = {family.name for family in metrics.registry.collect()}
    metrics.close()
    named = set(re.findall(r"\btwin_[a-z_]+", (REPOSITORY / "deploy" / "alerts.yml").read_text()))
    assert len(named) >= 6
    assert {name.removesuffix("_total").removesuffix("_bucket") for name in named} <= served
