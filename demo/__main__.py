"""Real processes end to end: CSMS, recording relay, replayed station; then check, replay, diff, a page.

Everything comes from this repository and stays on loopback. The session in captures/otmk-shaped-demo was
recorded between two independent programs (captures/README.md); its idTags are invented, so they are kept.
"""

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SESSION = ROOT / "captures" / "otmk-shaped-demo"
OUT = ROOT / "build" / "demo"
TWIN = (sys.executable, "-m", "twin")
DEADLINE_S = 60
STEPS = 8


def main() -> int:
    """Run the demonstration; 0 when every step did what it should."""
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    recorded, page = OUT / "recorded.capture", OUT / "report.html"

    step(1, "a CSMS of ours listens, scripted by the recorded session")
    danger = ("--dangerous", "ChangeConfiguration", "--dangerous", "UnlockConnector")
    with started(*TWIN, "replay", str(SESSION), "--as", "csms", *danger) as csms:
        upstream = csms.listening()
        step(2, f"twin record: mitmproxy relays to {upstream} and records byte for byte")
        record = (
            "record", "--upstream", upstream, "--listen", "127.0.0.1:0", "-o", str(recorded),
            "--keep-id-tags", "--key-file", str(OUT / "pseudonym.key"), "--quiet", "--fail-on", "error",
        )  # fmt: skip
        with started(*TWIN, *record, may_find=True) as relay:
            url = f"ws://{relay.listening()}"
            step(3, f"twin replay: the recorded station plays its session against {url}")
            run("replay", str(SESSION), "--csms", url, "--expect-calls")

    step(4, "twin check: schemas, specification, certified configuration; and a page of each")
    run("check", str(SESSION), "--html", str(OUT / "session.html"), may_find=True)
    found = json.loads(run("check", str(recorded), "--html", str(page), "--json", may_find=True))
    (OUT / "findings.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
    for finding in found["findings"]:
        say(f"    {finding['severity']:<7} {finding['rule']}  #{finding['seq']}  {finding['detail']}")

    step(5, "twin replay: the new recording again, in process on a virtual clock")
    say(f"    {run('replay', str(recorded)).strip()}")

    step(6, "twin diff: what was recorded first against what was recorded now")
    say(f"    {run('diff', str(SESSION), str(recorded)).strip()}")

    step(7, "twin convert: the same as open-ocpp-trace, for other tools")
    run("convert", str(recorded), "-o", str(OUT / "recorded.jsonl"))

    step(8, "twin certify: the Core test cases, by our reading, against the model of the station")
    certified = OUT / "certified.html"
    told = run("certify", "--virtual", "--html", str(certified))
    for line in told.strip().splitlines()[-2:]:
        say(f"    {line}")

    say(f"\nlook at   {(OUT / 'session.html').relative_to(ROOT)}  (the session, in its own time)")
    say(f"          {page.relative_to(ROOT)}  (the same, recorded just now as fast as causality allows)")
    say(f"          {certified.relative_to(ROOT)}  (the certificate, filled in by the model)")
    say(f"capture   {recorded.relative_to(ROOT)}")
    say(f"findings  {(OUT / 'findings.json').relative_to(ROOT)}")
    return 0


class Process:
    """A child process whose ``listening …`` line on standard error is waited for, and shown otherwise."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self.child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=_environment())
        self.lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def listening(self) -> str:
        """What follows ``listening`` in its output; ends the demonstration if it does not come in time."""
        told = []
        while (line := self.lines.get(timeout=DEADLINE_S)) is not None:
            if line.startswith("listening "):
                return line.removeprefix("listening ").strip()
            told.append(line)
        raise SystemExit("".join(told) or f"{self.child.args} ended before it listened")

    def stop(self) -> tuple[int, str]:
        """SIGTERM to this very process; its exit code and what it said last."""
        self.child.terminate()
        code = self.child.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        rest = []
        with contextlib.suppress(queue.Empty):
            while (line := self.lines.get_nowait()) is not None:
                rest.append(f"    {line}")
        return code, "".join(rest).rstrip()

    def _read(self) -> None:
        assert self.child.stderr is not None
        for line in self.child.stderr:
            self.lines.put(line)
        self.lines.put(None)


@contextlib.contextmanager
def started(*command: str, may_find: bool = False) -> Iterator[Process]:
    """Start a process, and stop it by its own pid at the end; findings (exit 1) only where they may be."""
    process = Process(command)
    try:
        yield process
    finally:
        code, told = process.stop()
    say(told)
    if code not in ((0, 1) if may_find else (0,)):
        raise SystemExit(f"{' '.join(command[2:4])} ended with {code}")


def run(*arguments: str, may_find: bool = False) -> str:
    """Run ``twin`` to its end and give its standard output."""
    done = subprocess.run(
        (*TWIN, *arguments),
        stdout=subprocess.PIPE,
        text=True,
        timeout=DEADLINE_S,
        env=_environment(),
        check=False,
    )
    if done.returncode not in ((0, 1) if may_find else (0,)):
        say(done.stdout)
        raise SystemExit(f"twin {arguments[0]} ended with {done.returncode}")
    return done.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "NO_COLOR": "1"}


def step(number: int, text: str) -> None:
    say(f"[{number}/{STEPS}] {text}")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
