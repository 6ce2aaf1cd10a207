"""Run the parts of the soak and every benchmark in full, one JSON line each, kept in build/soak.jsonl.

A part that is done for this commit is not run again (``--again`` runs it all the same), so an interrupted
soak goes on where it was. ``--only NAME`` chooses, ``--quick`` shows in seconds that a part works.

    python -m soak --only kill
"""

import argparse
import importlib
import json
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "build" / "soak.jsonl"
# What is shown, and where: each module has ``run(quick: bool) -> dict`` and fails with an AssertionError.
PARTS = {
    "kill": "soak.kill",
    "recovery": "soak.recovery",
    "disk": "soak.disk",
    "damage": "soak.damage",
    "byte_identity": "soak.byte_identity",
    "storm": "soak.storm",
    "big": "soak.big",
    "week": "soak.week",
    "hang": "soak.hang",
    "load": "soak.load",
    "notices": "soak.notices",
    "fuzz": "soak.fuzz",
    "alterations": "soak.alterations",
}
BENCHMARKS = tuple(
    path.stem for path in sorted((ROOT / "benchmarks").glob("*.py")) if not path.stem.startswith("_")
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", action="append", choices=(*PARTS, *BENCHMARKS), help="this part (again for more)"
    )
    parser.add_argument("--again", action="store_true", help="also what is done for this commit")
    parser.add_argument("--quick", action="store_true", help="every part in seconds; nothing is kept")
    options = parser.parse_args()
    commit = _commit()
    done = set() if options.again or options.quick else _done(commit)
    broken = 0
    for name in (*PARTS, *BENCHMARKS):
        if (options.only and name not in options.only) or name in done:
            continue
        sys.stderr.write(f"soak: {name} …\n")
        line = {"name": name, "commit": commit, "quick": options.quick, "ok": True}
        try:
            line["figures"] = _figures(name, options.quick)
        except Exception as error:  # a broken promise is a result
            broken += 1
            line |= {"ok": False, "why": f"{type(error).__name__}: {error}"}
            traceback.print_exc()
        sys.stdout.write(f"{json.dumps(line)}\n")
        sys.stdout.flush()
        if not options.quick:
            RESULTS.parent.mkdir(exist_ok=True)
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps(line)}\n")
    return 1 if broken else 0


def _figures(name: str, quick: bool) -> Any:
    if name in PARTS:
        return importlib.import_module(PARTS[name]).run(quick)
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *(["--quick"] if quick else [])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1_800)
    assert done.returncode == 0, done.stderr[-2_000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # git from PATH
    return done.stdout.strip() or "unknown"


def _done(commit: str) -> set[str]:
    if not RESULTS.exists():
        return set()
    lines = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    return {line["name"] for line in lines if line["commit"] == commit and line["ok"]}


if __name__ == "__main__":
    sys.exit(main())
