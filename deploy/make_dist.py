"""Build the wheel, and a bundle from which a machine without a network installs it: ``make dist``.

The wheel is built twice and must be the same both times. The bundle holds a wheelhouse of exactly what the
lock names for the extra ``proxy`` (on this platform and Python), a list of their hashes, and how to install.
"""

import argparse
import gzip
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parent.parent
NAME, EXTRA = "octoflex-twin", "proxy"
EPOCH = 1_767_225_600  # 2026-01-01: what stands in archives, so that they do not depend on the day
INSTALL = """\
#!/bin/sh
# Installs octoflex-twin from this folder alone, without a network: sh install.sh [FOLDER]
# Needs the Python that the bundle is named after (PYTHON=/path/to/python3 to choose one).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${1:-/opt/octoflex-twin}
"${PYTHON:-python3}" -m venv "$target"
"$target/bin/python" -m pip install --quiet --disable-pip-version-check --no-index \\
    --find-links "$here/wheelhouse" --require-hashes -r "$here/requirements.txt"
"$target/bin/twin" --version
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "dist")
    output = parser.parse_args().output
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    wheel = built(output)
    say(f"{wheel}  sha256 {digest(wheel)}")
    say(f"{bundled(wheel, output)}")
    return 0


def built(output: Path) -> Path:
    """The wheel, the same to the byte whenever it is built."""
    hashes = set()
    for folder in (output, output / "again"):
        run("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
        hashes.add(digest(next(folder.glob("*.whl"))))
    shutil.rmtree(output / "again")
    if len(hashes) > 1:
        raise SystemExit("the wheel differs from one build to the next")
    return next(output.glob("*.whl"))


def bundled(wheel: Path, output: Path) -> Path:
    """The archive with everything that the wheel needs."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    place = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    version = wheel.name.split("-")[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / f"{NAME}-{version}-offline-{tag}-{place}"
        house = folder / "wheelhouse"
        house.mkdir(parents=True)
        wanted = Path(name) / "wanted.txt"
        wanted.write_text("".join(locked(needed())), encoding="utf-8")
        run("-m", "pip", "--disable-pip-version-check", "-qq", "download", "--require-hashes", "--no-deps",
            "--only-binary", ":all:", "-r", str(wanted), "-d", str(house))  # fmt: skip
        shutil.copy2(wheel, house)
        (folder / "requirements.txt").write_text(hash_list(house), encoding="utf-8")
        (folder / "install.sh").write_text(INSTALL, encoding="utf-8")
        shutil.copy2(ROOT / "docs" / "install.md", folder / "README.md")
        shutil.copy2(ROOT / "deploy" / "octoflex-twin@.service", folder)
        archive = output / f"{folder.name}.tar.gz"
        packed(folder, archive)
    return archive


def needed() -> set[str]:
    """The names of everything that the extra needs here, from what is installed."""
    found: set[str] = set()
    waiting = [(NAME, EXTRA)]
    while waiting:
        name, extra = waiting.pop()
        for text in distribution(name).requires or ():
            requirement = Requirement(text)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                continue
            other = canonicalize_name(requirement.name)
            if other not in found:
                found.add(other)
                waiting += [(other, more) for more in ("", *requirement.extras)]
    return found


def locked(names: set[str]) -> list[str]:
    """Their entries of the lock, with all their hashes. Ends the program if the lock lacks one."""
    entries = re.split(
        r"^(?=[A-Za-z0-9])", (ROOT / "requirements.lock").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    held = {
        canonicalize_name(re.split(r"[=\[ ;]", entry, maxsplit=1)[0]): entry
        for entry in entries
        if "==" in entry
    }
    missing = sorted(names - held.keys())
    if missing:
        raise SystemExit(f"not in requirements.lock: {', '.join(missing)}; run make lock")
    return [held[name] for name in sorted(names)]


def hash_list(house: Path) -> str:
    """Every wheel of the house as a requirement with the one hash it has."""
    lines = []
    for wheel in sorted(house.iterdir()):
        name, version, _, _ = parse_wheel_filename(wheel.name)
        lines.append(f"{name}=={version} --hash=sha256:{digest(wheel)}\n")
    return "".join(lines)


def packed(folder: Path, archive: Path) -> None:
    """A tar.gz that depends on nothing but its contents."""

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mtime = EPOCH
        return info

    with (
        archive.open("wb") as file,
        gzip.GzipFile(fileobj=file, mode="wb", mtime=EPOCH, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for path in sorted(folder.rglob("*")):
            tar.add(path, path.relative_to(folder.parent), recursive=False, filter=plain)


def run(*arguments: str) -> None:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)}
    subprocess.run(
        [sys.executable, *arguments], check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    if platform.system() != "Linux":
        raise SystemExit("the offline bundle is for Linux")
    sys.exit(main())
