"""One replay from end to end: a capture, a plan, a peer on a socket or in process, and the verdict."""

import asyncio
import inspect
import itertools
import json
import shlex
import ssl
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
from msgspec.structs import replace

from twin.engine.machine import Stimulate
from twin.engine.recording import Exchange, Recording, recording_of
from twin.engine.replay.binding import transaction_id_of, with_recorded_tags
from twin.engine.replay.diff import Comparison, diff
from twin.engine.replay.links import Ends
from twin.engine.replay.models import Model, csms_model, station_model
from twin.engine.replay.outcome import Diff
from twin.engine.replay.player import Manner, Player, Policy
from twin.engine.replay.script import attempts_beside
from twin.engine.replay.warm import prologue_of
from twin.engine.virtual import converse
from twin.io import websocket
from twin.io.driver import FrameLog, Live, Pace
from twin.io.redact import hushed, hushed_frame
from twin.io.targets import Target
from twin.model import Frame, Kind, Side
from twin.protocol.fold import payload_of

FIRST_TRANSACTION_ID = 700_001  # unlike recorded ids, so that binding is really exercised
ELSEWHERE_GAP_US = 20_000  # between two CALLs to a CSMS that is not on this machine
LINGER_US = 250_000  # after the last word: a CSMS that has more to say says it at once
_STIMULUS_S = 60.0
_FAREWELL_S = 5.0  # for a stimulus that has not ended when all is said
_NO_WAY = 69  # EX_UNAVAILABLE of sysexits.h

type Hook = Callable[[str, Any, str], Awaitable[object] | object]
"""Makes the live CSMS send a CALL: action, payload with the live values, station id.

What it returns is awaited if it can be. ``NotImplementedError`` says that there is no way to: the CALL counts
as not stimulated. Whatever else it raises is told, and the CALL is missed.
"""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How one capture is replayed.

    ``side`` is played. As a station against ``target``, or with no target against the recorded CSMS in
    process; as a CSMS on ``listen`` (host, port). ``prologue``: a capture that begins in the middle gets one.
    ``comparison`` as in ``diff``, for what the kind of replay does not decide.
    """

    side: Side = Side.STATION
    station_id: str = "station"
    password: str = ""
    target: Target | None = None
    trust: ssl.SSLContext | None = None
    listen: tuple[str, int] | None = None
    manner: Manner = msgspec.field(default_factory=Manner)
    comparison: Comparison = msgspec.field(default_factory=Comparison)
    stimulus: Hook | None = None
    prologue: bool = True


class TransactionPlayed(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction as the live CSMS knows it: what to look for in its billing. Energies in Wh."""

    station_id: str
    recorded_id: int | None
    live_id: int | None
    connector_id: int | None
    id_tag: str
    meter_start_wh: int | None
    meter_stop_wh: int | None
    started: str
    stopped: str

    @property
    def energy_wh(self) -> int | None:
        if self.meter_start_wh is None or self.meter_stop_wh is None:
            return None
        return self.meter_stop_wh - self.meter_start_wh


class Outcome(msgspec.Struct, kw_only=True):
    """What a replay gave: the frames on both sides, what differs, and what the Player has to tell."""

    recorded: list[Frame]
    replayed: list[Frame]
    diff: Diff
    player: Player
    transactions: list[TransactionPlayed]
    failed_stimuli: list[tuple[int, str]]
    finished: bool
    not_played: dict[int, str] = msgspec.field(default_factory=dict)
    link_lost: str = ""  # why no further connection could be made, in the middle of the recording


def replay(
    frames: Iterable[Frame],
    plan: Plan,
    progress: Callable[[Player, int], None] = lambda player, frames: None,
    listening: Callable[[str], None] = lambda url: None,
    ended: Callable[[Callable[[], None]], None] = lambda end: None,
) -> Outcome:
    """Play ``plan.side`` of one station's frames. Raises ``LinkError`` where no connection can be made.

    ``ended`` is given a function that ends a replay early.
    """
    whole = list(frames)
    left_out = not_played(whole)
    held = [frame for frame in whole if frame.seq not in left_out]
    live = plan.target is not None or plan.listen is not None
    if live and plan.prologue and plan.side is Side.STATION:
        held = prologue_of(held) + held
    plan = replace(plan, manner=_with_model(plan))
    recording = recording_of(held)
    player = _player(held, plan, plan.side, recording)
    failed: list[tuple[int, str]] = []
    if not live:
        return _outcome(held, _in_process(held, plan, player, recording), player, plan, failed)
    running = _Running(player, plan, failed, progress)
    replayed = asyncio.run(running.run(listening, ended))
    if plan.listen is not None and not replayed:
        raise websocket.LinkError("no station connected")
    return replace(_outcome(held, replayed, player, plan, failed), link_lost=running.link_lost)


def playable(frame: Frame) -> bool:
    """Whether it can be played at all: a text of which nobody knows who sent it cannot."""
    return frame.kind is not Kind.TEXT or frame.sender is not None


def not_played(frames: list[Frame]) -> dict[int, str]:
    """What of a capture cannot be played, by ``seq``, and why not."""
    why = {frame.seq: "of an unknown side" for frame in frames if not playable(frame)}
    return why | dict.fromkeys(attempts_beside(frames), "an attempt beside an open connection")


def _with_model(plan: Plan) -> Manner:
    manner = plan.manner
    if manner.model is None:
        ids = itertools.count(FIRST_TRANSACTION_ID + 100_000)
        model: Model = (
            csms_model(_message_id, lambda: next(ids))
            if plan.side is Side.CSMS
            else station_model(_message_id)
        )
        wanted = manner.policy is not Policy.STRICT or plan.side is Side.CSMS
        manner = replace(manner, model=model if wanted else None)
    if plan.target is not None and not plan.target.loopback:
        manner = replace(manner, least_gap_us=ELSEWHERE_GAP_US)
    if plan.target is not None or plan.listen is not None:
        manner = replace(manner, linger_us=LINGER_US)
    if plan.side is Side.STATION:
        manner = replace(
            manner,
            stimulate=plan.stimulus is not None,
            expect_calls=manner.expect_calls or plan.target is None,
        )
    manner = replace(manner, hushed=hushed)
    return replace(manner, expect_strays=plan.target is None and plan.listen is None)


def _player(frames: list[Frame], plan: Plan, side: Side, recording: Recording) -> Player:
    ids = itertools.count(FIRST_TRANSACTION_ID)
    return Player(
        frames,
        side=side,
        new_message_id=_message_id,
        new_transaction_id=(lambda: next(ids)) if side is Side.CSMS else None,
        manner=plan.manner,
        recording=recording,
    )


def _message_id() -> str:
    return str(uuid.uuid4())


def _in_process(frames: list[Frame], plan: Plan, player: Player, recording: Recording) -> list[Frame]:
    """Against the recorded other side, on a clock that jumps."""
    manner = replace(plan.manner, tags={}, model=None, expect_calls=True)
    other = _player(frames, replace(plan, manner=manner), plan.side.other, recording)
    station, csms = (player, other) if plan.side is Side.STATION else (other, player)
    return converse(
        station,
        csms,
        station_id=plan.station_id,
        start_us=frames[0].at_us if frames else 0,
        refusal=csms.doors.refuse,
    )


class _Running:
    """One replay over a socket."""

    def __init__(
        self,
        player: Player,
        plan: Plan,
        failed: list[tuple[int, str]],
        progress: Callable[[Player, int], None],
    ) -> None:
        self.player = player
        self.plan = plan
        self.failed = failed
        self.progress = progress
        self.log = FrameLog()
        self.link_lost = ""
        self._stimuli: set[asyncio.Task[None]] = set()
        self._lives: list[Live] = []

    async def run(
        self, listening: Callable[[str], None], ended: Callable[[Callable[[], None]], None]
    ) -> list[Frame]:
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ended(self._end)
        try:
            await (self._dial() if self.plan.side is Side.STATION else self._serve(listening))
        finally:
            for live in self._lives:
                live.stop()
            await self._end_stimuli()
        await asyncio.sleep(0)  # what is closing is written
        return self.log.frames

    async def _end_stimuli(self) -> None:
        """Whoever asked the CSMS may finish in peace, but not for ever."""
        if self._stimuli:
            _, late = await asyncio.wait(self._stimuli, timeout=_FAREWELL_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _end(self, error: websocket.LinkError | None = None) -> None:
        if not self._done.done():
            self._done.set_result(None) if error is None else self._done.set_exception(error)

    def _live(self, links: Iterable[str], dial: Callable[[websocket.Peer], Any] | None) -> Live:
        live = Live(
            self.player,
            self.plan.side,
            self.plan.station_id,
            pace=Pace(),
            log=self.log,
            dial=dial,
            failed=self._refused,
            idle=self._end if dial is not None else lambda: None,
            stimulate=self._stimulate,
            after=self._told,
            links=links,
        )
        self._lives.append(live)
        return live

    async def _dial(self) -> None:
        target = self.plan.target
        assert target is not None
        url = websocket.url_of(target.url, self.plan.station_id)

        async def dial(peer: websocket.Peer) -> None:
            await websocket.connect(
                url,
                peer,
                password=self.plan.password,
                trust=self.plan.trust,
                addresses=target.addresses,
                deflate=self.player.doors.deflate,
            )

        live = self._live((f"r{number}" for number in itertools.count(1)), dial)
        live.dial()
        await self._done

    async def _serve(self, listening: Callable[[str], None]) -> None:
        assert self.plan.listen is not None
        links = (f"s{number}" for number in itertools.count(1))
        live = self._live(links, None)
        admitted: set[str] = set()

        def peer_of(path: str, authorization: str) -> websocket.Peer | int | None:
            if not admitted:
                admitted.add(path)
            if path not in admitted:
                return None  # one station meets the recorded CSMS; a second would be answered from its script
            status = self.player.doors.refuse()
            if status is not None:
                live.refused(status)
                return status
            return live

        host, port = self.plan.listen
        server = await websocket.listen(host, port, peer_of, deflate=self.player.doors.deflate)
        try:
            listening(server.url)
            await self._done
            for one in self._lives:
                one.stop()
        finally:
            server.close()

    def _refused(self, error: websocket.LinkError) -> None:
        """A connection could not be made: as it was recorded, or the end of the replay."""
        if error.status is not None and self.player.doors.expects_refusal:
            return
        if any(frame.kind is Kind.TEXT for frame in self.log.frames):
            self.link_lost = str(error)
            self._end()  # what was played until then is judged
        else:
            self._end(error)

    def _told(self) -> None:
        self.progress(self.player, len(self.log.frames))
        if self.plan.side is Side.CSMS and self.player.finished:
            self._end()

    def _stimulate(self, stimulus: Stimulate) -> None:
        task = asyncio.get_running_loop().create_task(self._make_it_send(stimulus))
        self._stimuli.add(task)
        task.add_done_callback(self._stimuli.discard)

    async def _make_it_send(self, stimulus: Stimulate) -> None:
        assert self.plan.stimulus is not None
        try:
            async with asyncio.timeout(_STIMULUS_S):
                loop = asyncio.get_running_loop()
                what = (stimulus.action, stimulus.payload, self.plan.station_id)
                said = await loop.run_in_executor(None, self.plan.stimulus, *what)
                if inspect.isawaitable(said):
                    await said
        except NotImplementedError as error:
            self.failed.append((stimulus.seq, f"no way to: {error}"))
            live = self._lives[0]
            self.player.not_coming(stimulus.seq, live.pace.now_us())
            live.obey()
        except Exception as error:  # somebody else's code: whatever it raises is why the CALL did not come
            self.failed.append((stimulus.seq, f"{type(error).__name__}: {error}"))


def _outcome(
    recorded: list[Frame],
    replayed: list[Frame],
    player: Player,
    plan: Plan,
    failed: list[tuple[int, str]],
) -> Outcome:
    timing = plan.manner.timing
    at_its_pace = timing.mode == "original" and timing.speed == 1 and timing.max_gap_us is None
    comparison = replace(plan.comparison, timed=at_its_pace, ends=Ends.BUT_LAST)
    recorded, replayed = (list(map(hushed_frame, side)) for side in (recorded, replayed))
    told = with_recorded_tags(replayed, plan.manner.tags)
    found = diff(recorded, told, plan.manner.matchers, comparison)
    return Outcome(
        recorded=recorded,
        replayed=replayed,
        diff=found.set_aside(player.unstimulated),
        player=player,
        transactions=transactions_of(replayed, player, plan.station_id),
        failed_stimuli=failed,
        finished=player.finished and not player.left,
    )


def transactions_of(replayed: Iterable[Frame], player: Player, station_id: str) -> list[TransactionPlayed]:
    """The transactions that were played, with what the live side calls them."""
    recorded_ids = {live: recorded for recorded, live in player.transactions.items()}
    exchanges = recording_of(replayed).exchanges
    stops: dict[int | None, Exchange] = {}
    for exchange in exchanges:
        if exchange.call.action == "StopTransaction":
            stops.setdefault(transaction_id_of(payload_of(exchange.call)), exchange)
    found = []
    for exchange in exchanges:
        frame = exchange.call.frame
        if exchange.call.action != "StartTransaction" or frame is None or frame.facts.get("prologue"):
            continue
        live_id = transaction_id_of(payload_of(exchange.answer)) if exchange.answer else None
        begun = payload_of(exchange.call)
        stop = stops.get(live_id) if live_id is not None else None
        over = payload_of(stop.call) if stop is not None else {}
        found.append(
            TransactionPlayed(
                station_id=station_id,
                recorded_id=recorded_ids.get(live_id) if live_id is not None else None,
                live_id=live_id,
                connector_id=_whole(begun.get("connectorId")),
                id_tag=str(begun.get("idTag", "")),
                meter_start_wh=_whole(begun.get("meterStart")),
                meter_stop_wh=_whole(over.get("meterStop")),
                started=str(begun.get("timestamp", "")),
                stopped=str(over.get("timestamp", "")),
            )
        )
    return found


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def command_hook(command: str) -> Hook:
    """``--stimulus``: the command gets one JSON object (action, payload, station_id) on standard input.

    Exit 0: the CSMS was asked. Exit 69: there is no way to ask it, the CALL is not stimulated. Raises
    ``ValueError`` for a command that cannot be read.
    """
    words = shlex.split(command)
    if not words:
        raise ValueError("an empty command")

    async def run(action: str, payload: Any, station_id: str) -> None:
        process = await asyncio.create_subprocess_exec(  # what it prints never mixes with our own output
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told = {"action": action, "payload": payload, "station_id": station_id}
        try:
            said, _ = await process.communicate(json.dumps(told, default=str).encode() + b"\n")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode == _NO_WAY:
            raise NotImplementedError(action)
        if process.returncode:
            last = said.decode(errors="replace").strip().splitlines()[-1:] or [""]
            raise RuntimeError(f"exit {process.returncode} {last[0][:200]}")

    return run
