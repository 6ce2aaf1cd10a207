"""twin replay: play one side of captures, compare what happens with what was recorded."""

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from twin.cli.common import FINDINGS, LONGEST_S, REFUSED, UNREADABLE, USAGE, fail, note, say, say_json, source
from twin.cli.replay_many import Judge, play_all
from twin.engine.recording import recording_of
from twin.engine.replay.baseline import Baseline, against, document_of
from twin.engine.replay.binding import with_our_location
from twin.engine.replay.evidence import Result, went_through
from twin.engine.replay.fields import Matcher, Matchers
from twin.engine.replay.identities import Identities, Needs, add_needs
from twin.engine.replay.player import Player, Policy
from twin.engine.replay.script import Do, Part, script_of
from twin.engine.replay.timing import Timing, timing_of
from twin.engine.replay.warm import prologue_of
from twin.io.formats import CaptureError
from twin.io.integrity import verify
from twin.io.manifest import segments_of
from twin.io.redact import hushed
from twin.io.replay_jobs import Job, play, sessions_of
from twin.io.replay_setup import Told, checked_target, told
from twin.io.replaying import command_hook
from twin.io.targets import UNREADABLE_TEXT, NotAllowedError, Target, UnknownHostError, dangerous
from twin.model import Frame, Side
from twin.protocol.actions import ACTIONS
from twin.protocol.timestamps import SECOND_US
from twin.report import replayed_html, replayed_junit
from twin.report.replayed import as_json as result_json
from twin.report.replayed import as_text, summary_json, summary_text
from twin.report.words import plain

_ANY_PORT = "127.0.0.1:0"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The command line of ``twin replay``, by the names of its options."""

    as_: str = "station"
    to: str | None = None
    csms: str | None = None
    listen: str = _ANY_PORT
    station_id: str | None = None
    password_file: Path | None = None
    expect_calls: bool = False
    stimulus: str | None = None
    require_stimuli: bool = False
    timing: str = "causal"
    payload_time: str = "shift"
    policy: str = "strict"
    gate_timeout: float = 30.0
    late: float = 5.0
    prologue: bool = True
    map: Path | None = None
    matchers: Path | None = None
    baseline: Path | None = None
    write_baseline: Path | None = None
    workers: int = 1
    allow: tuple[str, ...] = ()
    dangerous: tuple[str, ...] = ()
    html: Path | None = None
    junit: Path | None = None
    unsealed: bool = False
    output: Path | None = None
    as_json: bool = False

    @property
    def side(self) -> Side:
        return Side(self.as_)


def replay(paths: list[Path], options: Options) -> int:
    """Replay captures; the exit code (0 equal, 1 divergence, 2 usage, 3 unreadable, 4 refused)."""
    paths = [source(path) for path in paths]
    if not options.unsealed:
        _refuse_altered(paths)
    held = _told(options.matchers, options.map, options.baseline, options.allow)
    timing = _checked_timing(options)
    target = _target(options, held.allow, timing)
    jobs = _jobs(paths, options, held.rules, held.identities, target)
    if held.baseline is not None or options.write_baseline is not None:
        _refuse_namesakes(jobs)
    judged = _played(jobs, options, held.identities, lambda result: against(held.baseline, result))
    _keep_reports(judged, options, held.baseline)
    _tell(judged, options)
    if any(result.error for result in judged) and not any(result.diff.matched for result in judged):
        return UNREADABLE
    return 0 if all(result.passed for result in judged) else FINDINGS


def _refuse_altered(paths: list[Path]) -> None:
    for path in paths:
        if path.is_dir() and segments_of(path) and (wrong := verify(path).altered) is not None:
            line = f" line {wrong.line}" if wrong.line else ""
            raise fail(
                f"{path} is not what was written: {wrong.segment}{line} {wrong.what} "
                "(twin check --integrity); --unsealed replays it all the same",
                UNREADABLE,
            )


# --- what is asked for -------------------------------------------------------------------------------------


def _told(
    matchers: Path | None, ids: Path | None = None, baseline: Path | None = None, allow: Iterable[str] = ()
) -> Told:
    try:
        return told(Path.cwd(), matchers=matchers, ids=ids, baseline=baseline, allow=allow)
    except ValueError as error:
        raise fail(str(error), USAGE) from error


def _checked_timing(options: Options) -> Timing:
    """Whether the options go together. Exit 2 where they do not."""
    try:
        timing = timing_of(options.timing)
    except ValueError as error:
        raise fail(f"--timing {error}", USAGE) from error
    live = options.csms is not None or (options.side is Side.CSMS and options.to is None)
    if options.to not in (None, "recorded"):
        raise fail(f"--to {options.to}: expected recorded; a live CSMS is named with --csms", USAGE)
    if options.csms is not None and options.to is not None:
        raise fail("--to recorded plays both sides: leave --csms out", USAGE)
    if options.side is Side.CSMS and options.csms is not None:
        raise fail("--as csms listens; --csms names the peer of --as station: take one of them", USAGE)
    if timing.virtual and live:
        raise fail("--timing virtual jumps over time: add --to recorded, or take original", USAGE)
    _refuse_idle_options(options, live=live)
    for name, value in (("--late", options.late), ("--gate-timeout", options.gate_timeout)):
        if not 0 <= value <= LONGEST_S:
            raise fail(f"{name} {value}: expected seconds, 0 to {LONGEST_S:,}", USAGE)
    if options.stimulus:
        try:
            command_hook(options.stimulus)
        except ValueError as error:
            raise fail(f"--stimulus {options.stimulus}: {error}", USAGE) from error
    if options.policy == Policy.EXTEND and options.output is None:
        raise fail("--policy extend records what is new: say where with -o", USAGE)
    return timing


def _refuse_idle_options(options: Options, *, live: bool) -> None:
    """What would have no effect is not what was meant."""
    if options.side is Side.STATION and options.listen != _ANY_PORT:
        raise fail("--listen is where --as csms waits for a station: add it, or take --csms URL", USAGE)
    asked = {
        "--stimulus": options.stimulus is not None,
        "--require-stimuli": options.require_stimuli,
        "--expect-calls": options.expect_calls,
        "--password-file": options.password_file is not None,
    }
    for name, given in asked.items():
        if given and (options.side is Side.CSMS or not live):
            raise fail(f"{name} is for a live CSMS: add --csms URL", USAGE)


def _target(options: Options, allow: Iterable[str], timing: Timing) -> Target | None:
    if options.csms is None:
        return None
    try:
        return checked_target(options.csms, allow, timing)
    except NotAllowedError as error:
        raise fail(str(error), REFUSED) from error
    except UnknownHostError as error:
        raise fail(f"--csms {options.csms}: {error}", UNREADABLE) from error
    except ValueError as error:
        raise fail(f"--csms {error}", USAGE) from error


def _jobs(
    paths: list[Path],
    options: Options,
    rules: tuple[Matcher, ...],
    identities: Identities,
    target: Target | None,
) -> list[Job]:
    jobs: list[Job] = []
    listen = _listen(options)
    for path in paths:
        sessions = _sessions(path, alone=len(paths) == 1)
        for station, frames in sessions:
            if listen is not None:
                _refuse_danger(frames, options.dangerous)
            live = options.station_id or identities.station(station) or "station"
            jobs.append(
                Job(
                    path=str(path),
                    station=station,
                    name=path.name if len(sessions) == 1 else f"{path.name} {station}",
                    live_station=live,
                    password=_password(options, identities, live),
                    side=options.side,
                    target=target,
                    listen=listen,
                    timing=options.timing,
                    shift=options.payload_time == "shift",
                    expect_calls=options.expect_calls,
                    policy=Policy(options.policy),
                    gate_us=int(options.gate_timeout * SECOND_US),
                    late_us=int(options.late * SECOND_US),
                    stimulus=options.stimulus or "",
                    require_stimuli=options.require_stimuli,
                    prologue=options.prologue,
                    rules=rules,
                    tags=identities.tags,
                )
            )
    return _with_outputs(jobs, options.output)


def _refuse_namesakes(jobs: list[Job]) -> None:
    names = Counter(job.name for job in jobs)
    if twice := sorted(name for name, count in names.items() if count > 1):
        raise fail(
            f"{names[twice[0]]} captures are called {twice[0]}, and a baseline knows them by their names: "
            "rename one, or replay them with a baseline each",
            USAGE,
        )


def _sessions(path: Path, *, alone: bool = True) -> list[tuple[str, list[Frame]]]:
    """The stations of a capture. One of many that cannot be read is a session that fails, not the end."""
    try:
        sessions = sessions_of(path)
    except CaptureError as error:
        if not alone:
            return [("", [])]
        raise fail(str(error), UNREADABLE) from error
    if not sessions and alone:
        raise fail(f"{path} holds no message to replay", UNREADABLE)
    return sessions or [("", [])]


def _listen(options: Options) -> tuple[str, int] | None:
    if options.side is not Side.CSMS or options.to is not None:
        return None
    host, _, port = options.listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise fail(f"--listen {options.listen}: expected HOST:PORT", USAGE)
    return host.strip("[]"), int(port)


def _refuse_danger(frames: Iterable[Frame], named: tuple[str, ...]) -> None:
    """What a real station would be made to do is refused, unless it is named."""
    asked = {dangerous(frame.text) for frame in frames if frame.sender is Side.CSMS and frame.text} - {""}
    if refused := sorted(asked - set(named)):
        switches = " ".join(f"--dangerous {action}" for action in refused)
        what = ", ".join("what is no OCPP" if action == UNREADABLE_TEXT else action for action in refused)
        raise fail(
            f"the recorded CSMS sends {what}; if the station that connects may be made to do "
            f"that, say so with {switches}",
            REFUSED,
        )


def _password(options: Options, identities: Identities, live: str) -> str:
    if options.password_file is None:
        return identities.passwords.get(live, "") or os.environ.get("TWIN_STATION_PASSWORD", "")
    try:
        return options.password_file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise fail(f"{options.password_file}: {getattr(error, 'strerror', None) or error}", USAGE) from error


def _with_outputs(jobs: list[Job], output: Path | None) -> list[Job]:
    if output is None:
        return jobs
    if output.exists():
        raise fail(f"{output} exists: a capture is never appended to", USAGE)
    if len(jobs) == 1:
        return [replace(jobs[0], output=str(output))]
    output.mkdir(parents=True)
    return [
        replace(job, output=str(output / f"{number:03}-{Path(job.path).stem}"))
        for number, job in enumerate(jobs, 1)
    ]


# --- playing -----------------------------------------------------------------------------------------------


def _played(jobs: list[Job], options: Options, identities: Identities, judge: Judge) -> list[Result]:
    if len(jobs) > 1 and options.side is Side.CSMS and options.to is None:
        raise fail("--as csms plays one session at a time; name one capture of one station", USAGE)
    if len(jobs) == 1:
        job = jobs[0]
        if identities.workers and options.station_id is None and job.target is not None:
            live = identities.workers[0]
            job = replace(job, live_station=live, password=_password(options, identities, live))
        return [judge(_one(job))]
    if len(identities.workers) not in (0, options.workers) and len(identities.workers) < options.workers:
        raise fail(f"--workers {options.workers}: the map names {len(identities.workers)} identities", USAGE)
    passwords = {name: _password(options, identities, name) for name in identities.workers}
    return play_all(jobs, options.workers, identities.workers, passwords, judge)


def _one(job: Job) -> Result:
    progress = _progress() if sys.stderr.isatty() else lambda player, frames: None
    result = play(job, None, progress, listening=lambda url: note(f"listening {url}"), ended=_on_signals)
    if sys.stderr.isatty():
        note("")
    if result.error:
        note(f"twin: {result.error}")
    return result


def _on_signals(end: Callable[[], None]) -> None:
    """Ctrl-C ends a replay over a socket early; what happened until then is judged."""
    import asyncio

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end)


def _progress() -> Callable[[Player, int], None]:
    whole: list[int] = []

    def tell(player: Player, frames: int) -> None:
        if not whole:
            whole.append(max(1, player.left))
        done = 100 * (whole[0] - player.left) // whole[0]
        sys.stderr.write(f"\r{done:3} %  {frames:,} frames")
        sys.stderr.flush()

    return tell


# --- what is told ------------------------------------------------------------------------------------------


def _keep_reports(results: list[Result], options: Options, known: Baseline | None) -> None:
    try:
        if options.html is not None:
            options.html.write_text(replayed_html.page(results), encoding="utf-8")
        if options.junit is not None:
            options.junit.write_text(replayed_junit.as_junit(results), encoding="utf-8")
        if options.write_baseline is not None:
            whole = [result for result in results if not result.error and went_through(result.facts)]
            for name in sorted({result.capture for result in results} - {one.capture for one in whole}):
                note(f"not in the baseline: {name} was not played to its end")
            document = document_of(((result.capture, result.diff) for result in whole), known)
            options.write_baseline.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise fail(f"{error.filename}: {error.strerror or error}", USAGE) from error


def _tell(results: list[Result], options: Options) -> None:
    if options.as_json:
        say_json(result_json(results[0]) if len(results) == 1 else summary_json(results))
        return
    if len(results) == 1:
        if not results[0].error:
            say(as_text(results[0]))
        return
    for result in results:
        if not result.passed:
            say(f"{result.capture}\n{as_text(result)}\n")
    say(summary_text(results))


# --- without playing ---------------------------------------------------------------------------------------


def needs(paths: list[Path], *, as_json: bool) -> int:
    """What the CSMS must know before these captures are replayed against it, as TOML or JSON."""
    wanted = Needs()
    for path in map(source, paths):
        for _, frames in _sessions(path):
            add_needs(wanted, prologue_of(frames) + frames)
    if as_json:
        say_json(msgspec.to_builtins(wanted))
        return 0
    say("# stations that connect; replace what stands on the right, and give the file to --map")
    say(_table("stations", {name: name for name in wanted.stations if name}))
    if wanted.passwords:
        say("# stations that gave a password (HTTP Basic), which no recording holds: fill in and uncomment")
    for name in wanted.passwords:
        say(f"# [passwords] {json.dumps(name)} = ...")
    say("# idTags that are presented; in the recording the CSMS answered")
    for tag, status in wanted.tags.items():
        parent = f", parent {json.dumps(wanted.parents[tag])}" if tag in wanted.parents else ""
        say(f"#   {json.dumps(tag)}: {status or 'nothing'}{parent}")
    say(_table("tags", {tag: tag for tag in wanted.tags}))
    say("# CALLs that somebody must make the CSMS send (--stimulus)")
    for action, count in sorted(wanted.stimuli.items()):
        say(f"#   {count} {action}")
    if wanted.unbound:
        say("# values that look like ids: given here, said there by the other side, and bound nowhere")
    for one in wanted.unbound:
        say(f"#   {plain(one)}")
    return 0


def _table(name: str, rows: dict[str, str]) -> str:
    def quoted(text: str) -> str:
        return json.dumps(text).replace("\x7f", "\\u007f")  # a TOML basic string too

    return "\n".join((f"[{name}]", *(f"{quoted(key)} = {quoted(value)}" for key, value in rows.items()), ""))


def explain(wanted: str, matchers: Path | None) -> int:
    """Which line of the table decides about ACTION/request/path."""
    action, _, path = wanted.partition("/")
    if action not in ACTIONS or path.split("/")[0] not in ("request", "answer"):
        raise fail(f"--explain {wanted}: expected ACTION/request/… or ACTION/answer/…", USAGE)
    rule = Matchers(_told(matchers).rules).of(action, path)
    if rule is None:
        say(f"{wanted}: exact, as nothing else is said")
        return 0
    details = {
        name: value
        for name, value in msgspec.to_builtins(rule).items()
        if value and name not in ("how", "source")
    }
    told = ", ".join(f"{name} {value}" for name, value in details.items())
    say(f"{wanted}: {rule.how.value} ({told}), {rule.source}")
    return 0


def dry_run(paths: list[Path], options: Options) -> int:
    """What would be sent, in order, with the recorded values; nothing is connected."""
    for path in map(source, paths):
        for station, held in _sessions(path):
            begun = options.csms is not None and options.prologue and options.side is Side.STATION
            frames = prologue_of(held) + held if begun else held
            recording = recording_of(frames)
            say(f"{path.name} {station} as the {options.side.value}")
            told = [_would_do(part) for part in script_of(recording, frames, options.side)]
            for exchange in recording.exchanges:
                answer = exchange.answer.frame if exchange.answer is not None else None
                if answer is not None and answer.sender is options.side:
                    told.append((answer.seq, f"answer {answer.text}"))
            for seq, what in sorted(told):
                say(f"  #{seq} {hushed(what)}".rstrip())
    return 0


def _would_do(part: Part) -> tuple[int, str]:
    text = (part.frame.text or "") if part.do in (Do.SAY, Do.STIMULATE) else ""
    if part.do is Do.SAY and part.exchange is not None:
        text = with_our_location(text, part.exchange.call.action)
    return part.seq, f"{part.do.value} {text}"
