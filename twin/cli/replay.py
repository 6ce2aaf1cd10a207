"""twin replay and twin diff: play one side of a capture, compare what happened with what was recorded."""

import asyncio
import contextlib
import ipaddress
import itertools
import signal
import socket
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twin.cli.common import FINDINGS, REFUSED, UNREADABLE, USAGE, fail, frames_of, note, opened, say, say_json
from twin.engine.csms import Csms, script_of
from twin.engine.diff import Diff
from twin.engine.diff import diff as compare
from twin.engine.player import Player
from twin.engine.recording import station_links
from twin.engine.timing import Timing, timing_of
from twin.engine.virtual import converse
from twin.io.capture import write_capture
from twin.model import Frame, Kind
from twin.report.diff import as_json as diff_json
from twin.report.diff import as_text as diff_text
from twin.report.words import plain

FIRST_TRANSACTION_ID = 700_001  # unlike recorded ids, so that binding is really exercised


def replay(
    path: Path,
    *,
    side: str,
    csms: str | None,
    listen: str,
    station_id: str | None,
    expect_calls: bool,
    timing: str,
    payload_time: str,
    allow: list[str],
    output: Path | None,
    as_json: bool,
) -> int:
    """Replay a capture; the exit code (0 equal, 1 divergence)."""
    frames = station_links(frames_of(opened(path)))
    if not any(frame.kind is Kind.TEXT for frame in frames):
        raise fail(f"{path} holds no message to replay", UNREADABLE)
    if side == "csms" and csms is not None:
        raise fail("--as csms listens; --csms names the peer of --as station: take one of them", USAGE)
    if side == "csms":
        return _be_csms(frames, listen, output)
    how = _timing(timing, live=csms is not None)
    player = Player(frames, new_message_id=_message_id, expect_calls=expect_calls or csms is None, timing=how)
    identity = station_id or next((frame.station for frame in frames if frame.station), "") or "station"
    if csms is None:
        replayed = converse(player, _scripted(frames), station_id=identity, start_us=frames[0].at_us)
        vantage = "simulated"
    else:
        _permit(csms, allow)
        replayed = _live(player, f"{csms.rstrip('/')}/{identity}")
        vantage = "station"
    found = compare(frames, replayed)
    if output is not None:
        _keep(replayed, output, vantage, path)
    _tell(found, player, as_json=as_json)
    return FINDINGS if not found.equal or player.conflicts or player.unmatched_calls else 0


def diff(recorded: Path, replayed: Path, *, as_json: bool) -> int:
    """Compare two captures; the exit code."""
    found = compare(frames_of(opened(recorded)), frames_of(opened(replayed)))
    if as_json:
        say_json(diff_json(found))
    else:
        say(diff_text(found))
    return 0 if found.equal else FINDINGS


def _timing(text: str, *, live: bool) -> Timing:
    """When frames are due. Exit 2 for what is no timing, or none for a socket."""
    try:
        timing = timing_of(text)
    except ValueError as error:
        raise fail(f"--timing {error}", USAGE) from error
    if timing.virtual and live:
        raise fail("--timing virtual jumps over time: leave --csms out, or take original", USAGE)
    return timing


def _live(player: Player, url: str) -> list[Frame]:
    from twin.io.driver import FrameLog, play_station
    from twin.io.websocket import LinkError

    log = FrameLog()
    try:
        asyncio.run(play_station(player, url, log, _progress(player)))
    except LinkError as error:
        raise fail(str(error), UNREADABLE) from error
    finally:
        if sys.stderr.isatty():
            note("")
    return log.frames


def _progress(player: Player) -> Callable[[int], None]:
    whole = max(1, player.left)

    def tell(frames: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{100 * (whole - player.left) // whole:3} %  {frames:,} frames")
            sys.stderr.flush()

    return tell


def _be_csms(frames: list[Frame], listen: str, output: Path | None) -> int:
    from twin.io.driver import FrameLog, serve_station

    host, _, port = listen.rpartition(":")
    if output is not None and output.exists():
        raise fail(f"{output} exists: a capture is never appended to", USAGE)
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise fail(f"--listen {listen}: expected HOST:PORT", USAGE)
    log = FrameLog()

    async def run() -> None:
        serving = asyncio.ensure_future(
            serve_station(_scripted(frames), host, int(port), log, lambda url: note(f"listening {url}"))
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await serving

    try:
        asyncio.run(run())
    except OSError as error:
        raise fail(f"cannot listen on {listen}: {error.strerror or error}", USAGE) from error
    if output is not None:
        write_capture(log.frames, output, vantage="csms")
    note(f"{len(log.frames):,} frames")
    return 0


def _scripted(frames: list[Frame]) -> Csms:
    ids = itertools.count(FIRST_TRANSACTION_ID)
    return Csms(script_of(frames), new_message_id=_message_id, new_transaction_id=lambda: next(ids))


def _message_id() -> str:
    return str(uuid.uuid4())


def _keep(frames: list[Frame], output: Path, vantage: str, source: Path) -> None:
    try:
        write_capture(frames, output, vantage=vantage, head={"replay_of": source.name})
    except OSError as error:
        raise fail(f"{output}: {error}", USAGE) from error


def _permit(url: str, allow: list[str]) -> None:
    """Loopback, or named by --allow. Every address of the name is checked. Exit 4 otherwise."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "wss" else 80)
        usable = parts.scheme in ("ws", "wss") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise fail(f"--csms {url}: expected ws://HOST:PORT or wss://HOST:PORT", USAGE)
    if f"{parts.hostname}:{port}" in allow:
        return
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise fail(f"{parts.hostname}: {error.strerror or error}", USAGE) from error
    if not all(ipaddress.ip_address(entry[4][0]).is_loopback for entry in found):
        raise fail(
            f"{parts.hostname}:{port} is not this machine; if you may replay against it, "
            f"say so with --allow {parts.hostname}:{port}",
            REFUSED,
        )


def _tell(found: Diff, player: Player, *, as_json: bool) -> None:
    facts: dict[str, Any] = {
        "played_to_the_end": player.finished and not player.left,
        "gates_relaxed": player.gates_relaxed,
        "unmatched_calls": player.unmatched_calls,
        "not_stimulated": player.not_stimulated,
        "id_conflicts": player.conflicts,
        "shortened_gaps": player.clockwork.cut,
        "late_ms": _lateness(player.late_us),
    }
    if as_json:
        say_json({**diff_json(found), **facts})
        return
    say(diff_text(found))
    if facts["late_ms"] is not None:
        say("late by " + ", ".join(f"{name} {value:g} ms" for name, value in facts["late_ms"].items()))
    for name, value in facts.items():
        if isinstance(value, list) and value:
            say(plain(f"{name.replace('_', ' ')}: {len(value)} ({', '.join(map(str, value[:8]))})"))


def _lateness(late_us: list[int]) -> dict[str, float] | None:
    """How much later than due the frames went out, in ms; ``None`` where nothing was due."""
    if not late_us:
        return None
    held = sorted(late_us)
    p99 = held[min(len(held) - 1, round(0.99 * len(held)))]
    return {"p50": held[len(held) // 2] / 1000, "p99": p99 / 1000, "max": held[-1] / 1000}
