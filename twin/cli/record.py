"""twin record: starts the relay as a process and is itself the recorder."""

import importlib.metadata
import os
import signal
import subprocess
import sys
from itertools import chain
from pathlib import Path

from twin.cli.check import profile_of
from twin.cli.common import INTERNAL, USAGE, fail, note, plain
from twin.io import recorder_process
from twin.io.handover import items_of
from twin.model import Finding, Severity

_RELAYS = "octoflex_twin.relay"
_MISSING = "twin record needs mitmproxy; install it with: pip install 'octoflex-twin[proxy]'"


def record(
    upstream: str,
    listen: str,
    directory: Path,
    *,
    key_file: Path | None,
    keep_id_tags: bool,
    profile: str | None,
    options: list[str],
    quiet: bool,
    fail_on: Severity,
) -> int:
    """Relay and record until interrupted; the exit code (1 with findings from ``fail_on`` upward)."""
    module = _relay_module()
    judged_by = profile_of(profile)
    try:
        recorder_process.check_directory(directory)
    except (ValueError, OSError) as error:
        raise fail(f"cannot record to {directory}: {error}", USAGE) from error
    relay, pipe = _start(module, upstream, listen, directory, options)
    items = items_of(pipe)
    # nothing is written before the relay listens: a start that fails leaves no capture behind
    first = next((item for item in items if item[0] != "tick"), None)
    if first is None:
        raise fail(f"the relay did not start on {listen}; see its message above", relay.wait() or INTERNAL)
    try:
        recorder = recorder_process.make_recorder(
            directory,
            key_file=key_file,
            keep_id_tags=keep_id_tags,
            profile=judged_by,
            head={"upstream": upstream.rpartition("@")[2]},
            tell=(lambda finding: None) if quiet else _tell,
        )
    except (ValueError, OSError) as error:
        relay.kill()
        relay.wait()
        raise fail(f"cannot record to {directory}: {error}", USAGE) from error
    summary = recorder_process.run(
        chain((first,), items), recorder, lambda host, port: note(f"listening {host}:{port}")
    )
    code = relay.wait()
    note(summary.text(directory.name))
    if not summary.exact:
        raise fail("seen is not recorded plus dropped: a bug of ours, please report it", INTERNAL)
    if code:
        raise fail(f"the relay ended with {code}; see its message above", INTERNAL)
    worst = min((Severity(name).rank for name in summary.findings), default=fail_on.rank + 1)
    return 1 if worst <= fail_on.rank else 0


def _start(
    module: str, upstream: str, listen: str, directory: Path, options: list[str]
) -> tuple[subprocess.Popen[bytes], int]:
    """The relay and our end of its pipe, which closes once everything is handed over."""
    read_fd, write_fd = os.pipe()
    confdir = directory.with_name(f".{directory.name}.mitmproxy")
    command = [sys.executable, "-m", module, "--upstream", upstream, "--listen", listen]
    command += ["--recorder-fd", str(write_fd), "--confdir", str(confdir)]
    command += [f"--set={option}" for option in options]
    relay = subprocess.Popen(command, pass_fds=(write_fd,), start_new_session=True)
    os.close(write_fd)

    def stop(signal_number: int, frame: object) -> None:
        relay.terminate()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    return relay, read_fd


def _relay_module() -> str:
    """The module of the installed relay; without mitmproxy there is none."""
    found = list(importlib.metadata.entry_points(group=_RELAYS))
    try:
        importlib.metadata.version("mitmproxy")
    except importlib.metadata.PackageNotFoundError:
        found = []
    if not found:
        raise fail(_MISSING, USAGE)
    return found[0].module


def _tell(finding: Finding) -> None:
    place = f"#{finding.seq} {finding.station}"
    note(plain(f"{finding.severity:<7} {finding.rule} {place}: {finding.detail}"))
