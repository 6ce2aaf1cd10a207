"""Test cases live: the CSMS that examines a real station, and whoever does the physical steps for it."""

import asyncio
import contextlib
import itertools
import shlex
import sys
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence

from twin.certificate.case_words import Case, Doing
from twin.engine.case_hands import Hands
from twin.engine.certify import Driven, Examination, judge
from twin.engine.examiner import Examiner
from twin.io import websocket
from twin.io.driver import FrameLog, Live, Pace
from twin.io.recorder import station_of
from twin.model import Frame, Side

_FIRST_TRANSACTION_ID = 500_001


class People:
    """Asks for each step on the terminal and goes on when Enter is pressed."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.wake: Callable[[], None] = lambda: None
        self.busy = False
        self.failed = ""
        self._say = say
        self._gone = False  # nobody is at the terminal any more
        self._reader: threading.Thread | None = None

    def do(self, doing: Doing, connector_id: int, tag: str, now_us: int) -> None:
        self._ask(f"{doing.value}{_detail(doing, connector_id, tag)}")

    def tidy(self, now_us: int) -> None:
        self._ask("unplug every cable, clear every fault; power and network are on")

    def _ask(self, what: str) -> None:
        self._say(f">> {what}, then press Enter")
        self.busy = True
        loop = asyncio.get_running_loop()
        if self._gone:
            loop.call_soon(self._answered, False)
        elif self._reader is None:  # a daemon: whoever ends us need not press Enter first
            self._reader = threading.Thread(target=self._read, args=(loop,), daemon=True)
            self._reader.start()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            line = sys.stdin.readline()
            with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits any more
                loop.call_soon_threadsafe(self._answered, bool(line))
            if not line:
                return

    def _answered(self, there: bool) -> None:
        self._gone = not there
        self.failed = "" if there else "nobody is at the terminal (--hands COMMAND does steps without one)"
        if self.busy:
            self.busy = False
            self.wake()


class CommandHands:
    """Runs a command for each step: the words of the step, the connector and the idTag are its arguments."""

    def __init__(self, command: str, say: Callable[[str], None]) -> None:
        self.wake: Callable[[], None] = lambda: None
        self.failed = ""
        self._command = shlex.split(command)
        self._say = say
        self._running: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        return self._running is not None

    def do(self, doing: Doing, connector_id: int, tag: str, now_us: int) -> None:
        self._start(doing.name.lower(), str(connector_id), tag)

    def tidy(self, now_us: int) -> None:
        self._start("tidy", "0", "")

    def _start(self, *arguments: str) -> None:
        self._running = asyncio.get_running_loop().create_task(self._run(arguments))

    async def _run(self, arguments: Sequence[str]) -> None:
        self.failed = ""
        try:
            process = await asyncio.create_subprocess_exec(*self._command, *arguments)
            code = await process.wait()
            if code:
                self.failed = f"{shlex.join(self._command)} ended with {code}"
        except OSError as error:
            self.failed = f"{shlex.join(self._command)}: {error}"
        if self.failed:
            self._say(f"{' '.join(arguments)}: {self.failed}")
        self._running = None
        self.wake()


def _detail(doing: Doing, connector_id: int, tag: str) -> str:
    if doing in (Doing.TAG, Doing.OTHER_TAG):
        return f" {tag}"
    if doing in (Doing.PLUG, Doing.UNPLUG, Doing.UNPLUG_STATION, Doing.FAULT, Doing.LOCK_FAILURE):
        return f" at connector {connector_id}"
    return ""


class LiveExamination:
    """Serves one station and takes it through ``cases``; the others that connect are refused."""

    def __init__(
        self,
        cases: Sequence[Case],
        hands: Hands,
        pace: Pace,
        *,
        intervals: Mapping[str, int] = {},
        variant: str = "",
        told: Callable[[Driven], None],
        began: Callable[[Case], None] = lambda case: None,
    ) -> None:
        ids = itertools.count(_FIRST_TRANSACTION_ID)
        self.log = FrameLog(now_us=pace.now_us)
        self.done = asyncio.Event()
        self.finished = 0  # so many cases
        self._pace = pace
        self._told = told
        self._began = began
        self._variant = variant
        original: dict[str, str] = {}
        self._first = 0  # place of the first frame of the case
        self._live: Live | None = None
        self._examination = Examination(
            cases,
            lambda case: Examiner(
                case,
                hands,
                intervals=intervals,
                fresh=False,
                original=original,
                new_message_id=lambda: str(uuid.uuid4()),
                new_transaction_id=lambda: next(ids),
            ),
            self._finished,
        )

    def peer_of(self, path: str, authorization: str) -> websocket.Peer | None:
        """Who talks to the station behind this path."""
        station = station_of(path)
        if self._live is None:
            self._live = Live(self._examination, Side.CSMS, station, pace=self._pace, log=self.log)
            self._examination.start(self._pace.now_us())
            self._tell()
        return self._live if self._live.station == station else None

    def wake(self) -> None:
        """A physical step is done."""
        if self._live is not None:
            self._examination.handle_timer(self._pace.now_us())
            self._live.obey()

    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()

    def _finished(self, case: Case, examiner: Examiner) -> None:
        frames: tuple[Frame, ...] = tuple(self.log.frames[self._first :])
        self._first = len(self.log.frames)
        self.finished += 1
        self._told(Driven(examined=judge(case, examiner, frames, self._variant), frames=frames))
        asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        if self._examination.case is not None:
            self._began(self._examination.case)
        if self._examination.done:
            self.done.set()
