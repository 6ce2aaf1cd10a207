"""The offline bundle installs into an empty environment without an index, and what it installs records."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.addons.wires import line_with, listener, running
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``make dist`` makes."""
    place = tmp_path_factory.mktemp("dist") / "out"
    command = [sys.executable, str(REPOSITORY / "deploy" / "make_dist.py"), "--output", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture(scope="module")
def unpacked(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.iterdir())


def offline() -> dict[str, str]:
    """An environment in which no index can be reached, whatever pip is told elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    away = {"PIP_NO_INDEX": "1", "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": os.devnull}
    return kept | away | {"PYTHON": sys.executable, "no_proxy": "*"}


def test_it_installs_without_a_network_and_records(unpacked: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    done = subprocess.run(
        ["/bin/sh", str(unpacked / "install.sh"), str(target)],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=offline(), timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("twin ")
    twin = str(target / "bin" / "twin")
    shown = subprocess.run(
        [twin, "record", "--help"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "--upstream" in shown.stdout
    with listener() as csms:
        command = [twin, "record", "--upstream", f"ws://127.0.0.1:{csms.getsockname()[1]}"]
        command += ["--listen", "127.0.0.1:0", "-o", str(tmp_path / "c"), "--key-file", str(tmp_path / "k")]
        with running(command) as process:
            said = line_with(process, r"listening 127\.0\.0\.1:\d+")
            process.send_signal(signal.SIGTERM)
            said += process.communicate(timeout=60)[0]
            assert process.returncode == 0, said
    assert (tmp_path / "c" / "manifest.json").exists()


def test_every_file_has_its_hash_on_the_list_and_no_address_stands_in_it(unpacked: Path) -> None:
    listed = re.findall(
        r"^(\S+)==(\S+) --hash=sha256:(\w+)$", (unpacked / "requirements.txt").read_text(), re.MULTILINE
    )
    wheels = sorted((unpacked / "wheelhouse").iterdir())
    assert len(listed) == len(wheels) > 20
    assert {row[2] for row in listed} == {hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels}
    for name in ("requirements.txt", "install.sh"):
        assert "://" not in (unpacked / name).read_text()


def test_a_wheel_that_was_changed_is_not_installed(unpacked: Path, tmp_path: Path) -> None:
    house = tmp_path / "wheelhouse"
    house.mkdir()
    for wheel in (unpacked / "wheelhouse").iterdir():
        (house / wheel.name).symlink_to(wheel)
    chosen = next(house.glob("zstandard*"))
    data = chosen.read_bytes()
    chosen.unlink()
    chosen.write_bytes(data + b"\0")
    for name in ("requirements.txt", "install.sh"):
        (tmp_path / name).write_text((unpacked / name).read_text())
    done = subprocess.run(
        ["/bin/sh", str(tmp_path / "install.sh"), str(tmp_path / "installed")],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=offline(), timeout=280,
    )  # fmt: skip
    assert done.returncode != 0
    assert "hash" in done.stderr.casefold()
