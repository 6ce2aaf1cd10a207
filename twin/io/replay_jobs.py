"""A replay as plain data: what a worker process or a test is told, and the result that it gives back."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from twin.engine.recording import station_links, stations_of
from twin.engine.replay.baseline import Baseline, against
from twin.engine.replay.diff import Comparison
from twin.engine.replay.evidence import Result, evidence_of, went_through
from twin.engine.replay.fields import Matcher, Matchers
from twin.engine.replay.player import GATE_US, Manner, Player, Policy
from twin.engine.replay.session_parts import Played, by_parts, transactions_in
from twin.engine.replay.timing import timing_of
from twin.io.capture import write_capture
from twin.io.formats import CaptureError, open_capture
from twin.io.replaying import Hook, Outcome, Plan, command_hook, not_played, playable, replay
from twin.io.targets import Target
from twin.io.websocket import LinkError
from twin.model import Frame, Side
from twin.protocol import codec
from twin.protocol.timestamps import SECOND_US


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One session of a capture and how it is replayed. ``path`` is the capture, ``station`` whose session.

    ``tags`` as in ``Identities``; ``rules`` are the project's matchers; ``output`` keeps the new capture.
    ``stimulus`` is a command (``twin.io.replaying.command_hook``).
    """

    path: str
    station: str
    name: str
    live_station: str = ""
    password: str = ""
    side: Side = Side.STATION
    target: Target | None = None
    listen: tuple[str, int] | None = None
    timing: str = "causal"
    shift: bool = True
    expect_calls: bool = False
    policy: Policy = Policy.STRICT
    gate_us: int = GATE_US
    late_us: int = 5 * SECOND_US
    stimulus: str = ""
    require_stimuli: bool = False
    prologue: bool = True
    rules: tuple[Matcher, ...] = ()
    tags: Mapping[str, str] = {}
    output: str = ""


def sessions_of(path: Path) -> list[tuple[str, list[Frame]]]:
    """The stations of a capture that say anything readable, each with its frames. Raises ``CaptureError``."""
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
    except OSError:
        files = [path]
    return list(_sessions(path, tuple((file.name, *_mark(file)) for file in files)))


@lru_cache(maxsize=1)  # the sessions of one capture are played one after the other
def _sessions(path: Path, marks: tuple[tuple[str, int, int], ...]) -> tuple[tuple[str, list[Frame]], ...]:
    """``marks`` tell files that have changed since."""
    frames = list(open_capture(path).frames)
    found = [(station, station_links(frames, station)) for station in stations_of(frames)]
    return tuple((name, held) for name, held in found if any(map(_says, held)))


def _mark(file: Path) -> tuple[int, int]:
    """When it was last written and its bytes; what is not there is for ``open_capture`` to tell."""
    try:
        told = file.stat()
    except OSError:
        return 0, 0
    return told.st_mtime_ns, told.st_size


def _says(frame: Frame) -> bool:
    return playable(frame) and frame.text is not None and codec.parse(frame.text).message is not None


def play(
    job: Job,
    hook: Hook | None = None,
    progress: Callable[[Player, int], None] = lambda player, frames: None,
    **more: Any,
) -> Result:
    """Replay one session and judge it. Whatever keeps it from being replayed is the result's ``error``."""
    outcome = _outcome(job, hook, progress, **more)
    return outcome if isinstance(outcome, Result) else result_of(job, outcome)


def play_parts(job: Job, known: Baseline | None = None, hook: Hook | None = None) -> Played:
    """Replay one session and judge it as a whole and by its parts, without what is ``known`` of it."""
    outcome = _outcome(job, hook)
    if isinstance(outcome, Result):
        return Played(whole=outcome)
    return by_parts(against(known, result_of(job, outcome)), outcome.recorded, outcome.replayed)


def _outcome(
    job: Job,
    hook: Hook | None,
    progress: Callable[[Player, int], None] = lambda player, frames: None,
    **more: Any,
) -> Outcome | Result:
    try:
        frames = next((held for name, held in sessions_of(Path(job.path)) if name == job.station), [])
        if not frames:
            return failed(job, f"{job.path} holds no message to replay")
        outcome = replay(frames, plan_of(job, hook), progress, **more)
        outcome.not_played = not_played(frames)
        if job.output:
            vantage = "simulated" if job.target is None and job.listen is None else job.side.value
            head = {"replay_of": Path(job.path).name, "timing": job.timing}
            write_capture(outcome.replayed, Path(job.output), vantage=vantage, head=head)
    except (CaptureError, LinkError, OSError) as error:
        return failed(job, str(error))
    return outcome


def failed(job: Job, why: str) -> Result:
    """The result of a session that was not replayed."""
    return Result(
        capture=job.name,
        station=job.station,
        live_station=job.live_station or job.station,
        passed=False,
        error=why,
    )


def plan_of(job: Job, hook: Hook | None = None) -> Plan:
    """The plan of a job; ``hook`` in place of its command."""
    manner = Manner(
        timing=timing_of(job.timing),
        shift=job.shift,
        expect_calls=job.expect_calls,
        gate_us=job.gate_us,
        policy=job.policy,
        matchers=Matchers(job.rules),
        tags=job.tags,
    )
    return Plan(
        side=job.side,
        station_id=job.live_station or job.station or "station",
        password=job.password,
        target=job.target,
        listen=job.listen,
        manner=manner,
        comparison=Comparison(late_us=job.late_us, answer_late_us=job.late_us),
        stimulus=hook or (command_hook(job.stimulus) if job.stimulus else None),
        prologue=job.prologue,
    )


def result_of(job: Job, outcome: Outcome) -> Result:
    """The outcome as a report tells it."""
    player = outcome.player
    facts = _facts(outcome, require_stimuli=job.require_stimuli)
    return Result(
        capture=job.name,
        station=job.station,
        live_station=job.live_station or job.station,
        passed=outcome.diff.equal and went_through(facts),
        diff=outcome.diff,
        evidence=evidence_of(outcome.diff, outcome.recorded, outcome.replayed),
        facts=facts,
        late_ms=lateness(player.late_us),
        transactions=tuple(
            {**msgspec.to_builtins(one), "energy_wh": one.energy_wh} for one in outcome.transactions
        ),
        streams=tuple(transactions_in(outcome.recorded)),
        played_s=_span_s(outcome.replayed),
    )


def _facts(outcome: Outcome, *, require_stimuli: bool) -> dict[str, Any]:
    player = outcome.player
    unmet = [*player.not_stimulated, *(seq for seq, _ in outcome.failed_stimuli)] if require_stimuli else []
    return {
        "played_to_the_end": outcome.finished,
        "not_played": [f"#{seq} {why}" for seq, why in outcome.not_played.items()],
        "gates_relaxed": player.gates_relaxed,
        "not_stimulated": player.not_stimulated,
        "failed_stimuli": [f"#{seq} {why}" for seq, why in outcome.failed_stimuli],
        "misses": [msgspec.to_builtins(miss) for miss in player.misses],
        "more_misses": [f"{player.more_misses:,} that are not listed"] if player.more_misses else [],
        "required_stimuli": [f"#{seq} did not come" for seq in unmet],
        "id_conflicts": [
            f"{one.space.value} {one.value} for {one.first} and for {one.second}" for one in player.conflicts
        ],
        "sent_with_unknown_ids": [f"#{seq} {space.value} {value}" for seq, space, value in player.unbound],
        "shortened_gaps": player.clockwork.cut,
        "link_lost": [outcome.link_lost] if outcome.link_lost else [],
        "ended_early": [player.ended_early] if player.ended_early else [],
    }


def _span_s(frames: list[Frame]) -> float:
    return (frames[-1].at_us - frames[0].at_us) / SECOND_US if frames else 0.0


def lateness(late_us: list[int]) -> dict[str, float] | None:
    """How much later than due the frames went out, in ms; ``None`` where nothing was due."""
    if not late_us:
        return None
    held = sorted(late_us)
    p99 = held[min(len(held) - 1, round(0.99 * len(held)))]
    return {"p50": held[len(held) // 2] / 1000, "p99": p99 / 1000, "max": held[-1] / 1000}
