"""The recorder as a process of its own: items from a pipe into a Recorder, until the pipe closes."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from twin.certificate.profile import Profile
from twin.engine.analyzer import Analyzer
from twin.io import clock
from twin.io.handover import Item, items_of
from twin.io.recorder import Recorder, Summary
from twin.io.redact import Redactor, load_or_create_key
from twin.io.segments import CaptureWriter
from twin.model import Finding, Side

LIMITS_OF_TRUTH = (
    "a proxy restart drops live sockets; stations reconnect",
    "an RST on one side becomes a FIN on the other",
    "TLS is ended and started anew; TCP segmentation and segment timing change",
    "a dead host is a dead path unless a bypass exists",
)


def default_key_file() -> Path:
    """Where the pseudonym key of this user lies unless the command line says otherwise."""
    return Path.home() / ".config" / "octoflex-twin" / "pseudonym.key"


def findings_path_of(directory: Path) -> Path:
    """Opinions stand beside the capture, never in it."""
    name = directory.name.removesuffix(".capture")
    return directory.with_name(f"{name}.findings.jsonl")


def check_directory(directory: Path) -> None:
    """Raise ``FileExistsError`` unless a new capture can be made there: one is never appended to."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FileExistsError("it exists and is not empty; a capture is never appended to")


def make_recorder(
    directory: Path,
    *,
    key_file: Path | None = None,
    keep_id_tags: bool = False,
    profile: Profile | None = None,
    head: dict[str, Any] | None = None,
    tell: Callable[[Finding], None] = lambda finding: None,
) -> Recorder:
    """A recorder writing a new capture into ``directory`` and its findings beside it."""
    redactor = Redactor(load_or_create_key(key_file or default_key_file()), keep_id_tags=keep_id_tags)
    now = clock.now()
    writer = CaptureWriter(
        directory,
        created_us=now.wall_us,
        vantage="proxy",
        head={
            "mode": "bytes",
            "byte_exact": True,
            "clock": {"wall_ns": now.wall_ns, "mono_ns": now.mono_ns},
            "redaction": {"key": redactor.fingerprint, "keep_id_tags": keep_id_tags},
            "limits_of_truth": list(LIMITS_OF_TRUTH),
            **(head or {}),
        },
    )
    return Recorder(writer, Analyzer(profile), redactor, findings_path=findings_path_of(directory), tell=tell)


def deliver(item: Item, recorder: Recorder) -> None:
    """Give one item of the pipe to the recorder."""
    match item:
        case ("data", conn, sender, data, wall_ns, mono_ns):
            recorder.chunk(conn, Side(sender), data, wall_ns, mono_ns)
        case ("open", conn, facts, wall_ns, mono_ns):
            recorder.opened(conn, facts, wall_ns, mono_ns)
        case ("refused", conn, facts, wall_ns, mono_ns):
            recorder.refused(conn, facts, wall_ns, mono_ns)
        case ("end", conn, facts, wall_ns, mono_ns):
            recorder.ended(conn, facts, wall_ns, mono_ns)
        case ("lost", conn, sender, reason, chunks, size, _, wall_ns, mono_ns):
            recorder.lost(conn, Side(sender), reason, chunks, size, wall_ns, mono_ns)
        case ("fault", where, what, count, wall_ns, mono_ns):
            recorder.faulted(where, what, count, wall_ns, mono_ns)
        case ("tick", wall_ns, mono_ns, counters):
            recorder.tick(wall_ns, mono_ns, counters)


def run(
    items: Iterable[Item], recorder: Recorder, listening: Callable[[str, int], None] = lambda host, port: None
) -> Summary:
    """Record until the proxy closes its end of the pipe."""
    for item in items:
        if item[0] == "listening":
            listening(item[1], item[2])
        else:
            deliver(item, recorder)
        recorder.commit(clock.now().mono_ns)
    now = clock.now()
    return recorder.finish(now.wall_ns, now.mono_ns)


def main() -> int:
    """Started by the addon under plain mitmdump; reads items from standard input."""
    parser = argparse.ArgumentParser(description="recorder behind addons/record.py")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--key-file", type=Path)
    parser.add_argument("--keep-id-tags", action="store_true")
    options = parser.parse_args()
    # the proxy ends us by closing the pipe, so nothing it has handed over is lost
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        check_directory(options.directory)
        recorder = make_recorder(
            options.directory, key_file=options.key_file, keep_id_tags=options.keep_id_tags
        )
    except (ValueError, OSError) as error:
        sys.stderr.write(f"twin: cannot record to {options.directory}: {error}\n")
        return 2
    summary = run(items_of(sys.stdin.fileno()), recorder)
    sys.stderr.write(f"{summary.text(options.directory.name)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
