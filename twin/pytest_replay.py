"""What the pytest plugin's fixtures do: replays as the options want them, kept, and comparisons."""

import asyncio
import contextlib
import fcntl
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from twin.engine.replay.diff import Comparison, diff
from twin.engine.replay.evidence import Result, evidence_of
from twin.engine.replay.fields import Matcher, Matchers
from twin.engine.replay.player import Policy
from twin.engine.replay.session_parts import Played
from twin.engine.replay.timing import timing_of
from twin.io.formats import CaptureError, open_capture
from twin.io.replay_jobs import Job, play_parts, sessions_of
from twin.io.replay_setup import Told, checked_target, told
from twin.io.replaying import Hook
from twin.io.targets import NotAllowedError
from twin.model import Frame
from twin.protocol.timestamps import SECOND_US
from twin.report.replayed import as_text

_OVERRIDES = ("csms", "expect_calls", "gate_timeout", "late", "output", "password", "policy", "station_id",
              "stimulus", "tags", "timing")  # fmt: skip


class Session(msgspec.Struct, frozen=True):
    """One station's session in a capture, under the name that reports and baselines use."""

    path: Path
    station: str
    name: str

    @property
    def frames(self) -> list[Frame]:
        return next(frames for station, frames in sessions_of(self.path) if station == self.station)


def sessions_in(path: Path) -> list[tuple[Session, list[Frame]]]:
    """The sessions of a capture, named as ``twin replay`` names them. Raises ``CaptureError``."""
    held = sessions_of(path)
    one = len(held) == 1
    return [
        (Session(path, station, path.name if one else f"{path.name} {station}"), frames)
        for station, frames in held
    ]


# --- replays -----------------------------------------------------------------------------------------------


class Replays:
    """Replays as the options want them. A session is played once: here, and in all workers of one run."""

    def __init__(self, config: pytest.Config) -> None:
        option = config.option
        worker = getattr(config, "workerinput", {}).get("workerid")
        self.worker: int | None = int(worker.removeprefix("gw")) if worker else None
        self.shared: Path | None = None  # folder that the workers of one run have in common
        self._options = {
            "csms": option.ocpp_csms,
            "timing": option.ocpp_timing,
            "policy": option.ocpp_policy,
            "gate_timeout": option.ocpp_gate_timeout,
        }
        self._kept: dict[str, Played] = {}
        try:
            self.told: Told = told(
                config.rootpath,
                matchers=option.ocpp_matchers,
                ids=option.ocpp_map,
                baseline=option.ocpp_baseline,
                allow=option.ocpp_allow,
            )
            self._job(Session(Path(), "", ""), {})
        except (NotAllowedError, ValueError) as error:
            text = str(error).replace("--allow", "--ocpp-allow")
            raise pytest.UsageError(f"ocpp: {text}") from error

    @property
    def live(self) -> bool:
        return self._options["csms"] is not None

    def play(self, session: Session, hook: Hook | None, overrides: Mapping[str, Any]) -> Played:
        """Replay it now, under an identity that no other worker uses meanwhile."""
        job = self._job(session, overrides)
        with self._alone(job.live_station if job.target is not None else ""):
            return play_parts(job, self.told.baseline, overrides.get("stimulus", hook))

    def played(self, session: Session, hook: Hook | None, overrides: Mapping[str, Any] = {}) -> Played:
        """As it was replayed before in this run, else now."""
        named = (
            str(session.path),
            session.station,
            *(f"{key} {overrides[key]!r}" for key in sorted(overrides)),
        )
        key = hashlib.sha256("\0".join(named).encode()).hexdigest()[:24]
        if key in self._kept:
            return self._kept[key]
        with self._alone(key):
            kept = self.shared / f"ocpp-{key}.json" if self.shared is not None else None
            if kept is not None and kept.exists():
                found = msgspec.json.decode(kept.read_bytes(), type=Played)
            else:
                found = self.play(session, hook, overrides)
                if kept is not None:
                    kept.write_bytes(msgspec.json.encode(found))
        self._kept[key] = found
        return found

    def _job(self, session: Session, overrides: Mapping[str, Any]) -> Job:
        if unknown := sorted(set(overrides) - set(_OVERRIDES)):
            raise TypeError(f"no option {unknown[0]!r} of a replay; there are {', '.join(_OVERRIDES)}")
        wanted = {**self._options, **overrides}
        timing = timing_of(wanted["timing"])
        target = checked_target(wanted["csms"], self.told.allow, timing) if wanted["csms"] else None
        who = self.told.identities
        live = (
            who.workers[(self.worker or 0) % len(who.workers)]
            if who.workers
            else who.station(session.station)
        )
        live = wanted.get("station_id") or live or "station"
        return Job(
            path=str(session.path),
            station=session.station,
            name=session.name,
            live_station=live,
            password=wanted.get("password") or who.passwords.get(live, ""),
            target=target,
            timing=wanted["timing"],
            expect_calls=wanted.get("expect_calls", False),
            policy=Policy(wanted["policy"]),
            gate_us=int(wanted["gate_timeout"] * SECOND_US),
            late_us=int(wanted.get("late", 5.0) * SECOND_US),
            rules=self.told.rules,
            tags=wanted.get("tags", who.tags),
            output=str(wanted.get("output", "")),
        )

    @contextlib.contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Keep the other workers of this run away from what is named."""
        if self.shared is None or not name:
            yield
            return
        safe = hashlib.sha256(name.encode()).hexdigest()[:24]
        with (self.shared / f"ocpp-{safe}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


class Replaying:
    """The fixture ``ocpp_replay``. Overrides are named as the options of ``twin replay``."""

    def __init__(self, replays: Replays, hook: Hook | None, marked: Mapping[str, Any]) -> None:
        self._replays = replays
        self._hook = hook
        self._marked = marked

    def __call__(
        self, capture: Path | str | Session, *, station: str | None = None, **overrides: Any
    ) -> Result:
        """Replay a capture, or one ``station`` of it. Raises ``CaptureError`` where none is."""
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            pytest.fail("in an async test: await asyncio.to_thread(ocpp_replay, …)", pytrace=False)
        if not isinstance(capture, Session):
            found = [one for one, _ in sessions_in(Path(capture)) if station in (None, one.station)]
            if len(found) != 1:
                names = ", ".join(one.station for one in found) or "none"
                raise CaptureError(f"{capture}: expected one session, found {names}; name one: station=…")
            capture = found[0]
        return self._replays.play(capture, self._hook, {**self._marked, **overrides}).whole

    @staticmethod
    def report(result: Result) -> str:
        return as_text(result)


class Comparing:
    """The fixture ``ocpp_diff``."""

    def __init__(self, rules: tuple[Matcher, ...]) -> None:
        self._rules = rules

    def __call__(self, recorded: Path | str, replayed: Path | str, *, timed: bool | None = None) -> Result:
        """Compare two captures; ``timed``: times too; ``None``: where they ran equally fast."""
        left, right = (list(open_capture(Path(path)).frames) for path in (recorded, replayed))
        found = diff(left, right, Matchers(self._rules), Comparison(timed=timed))
        return Result(
            capture=Path(recorded).name,
            station=left[0].station if left else "",
            live_station=Path(replayed).name,
            passed=found.equal,
            diff=found,
            evidence=evidence_of(found, left, right),
        )

    @staticmethod
    def report(result: Result) -> str:
        return as_text(result)
