"""Plays one side of a capture against whatever is there: causal order, live ids, a verdict.

A recorded frame goes out once everything that the other side had said before it has come again, and not
before its time where the timing has one. Recorded answers go out when their CALL comes. Answers follow their
CALL, an id is known before it is used; nothing relaxes that.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any

import msgspec
from msgspec.structs import replace

from twin.engine.machine import Close, Command, Connect, Ping, Send, Stimulate
from twin.engine.recording import Exchange, Recording, recording_of
from twin.engine.replay.binding import (
    Bindings,
    Conflict,
    Space,
    transaction_id_of,
    with_message_id,
    with_our_location,
)
from twin.engine.replay.doors import MOST_VAIN, Doors
from twin.engine.replay.fields import Matchers
from twin.engine.replay.gates import Gates
from twin.engine.replay.matching import Miss, Recorded
from twin.engine.replay.script import Do, Part, answer_seqs, dependents, doors_of, script_of, strays_of
from twin.engine.replay.shifting import shifted
from twin.engine.replay.stimuli import Unstimulated
from twin.engine.replay.timing import CAUSAL, Clockwork, Timing
from twin.model import Call, CallResult, Frame, Message, Side
from twin.protocol import codec
from twin.protocol.fold import payload_of

GATE_US = 30_000_000  # silence after which a missing frame of the other side is waited for no longer
_OF_ITSELF_US = 2_000_000  # a CSMS that called so soon after a message may well do so again, unasked
_MOST_MISSES = 1000  # kept with their closest candidate; more are counted
_SILENT_GATES = 5  # waited for in vain, one after the other, while CALLs are unanswered: nobody is there
_REFUSED = "no recording covers this"


class Policy(StrEnum):
    """What a live CALL gets that no recording covers."""

    STRICT = "strict"  # a CALLERROR
    LENIENT = "lenient"  # an answer of a model, marked as such
    EXTEND = "extend"  # the same, kept as if it had been recorded


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """How a capture is played.

    ``expect_calls``: the CSMS sends its recorded CALLs by itself; ``expect_strays``: the other side plays
    this recording too, so that texts outside any exchange come as they were. ``stimulate``: somebody can
    make the CSMS send its CALLs. With another ``timing`` than causal a frame waits for its time as well.
    ``linger_us``: how long to listen when all is said. ``shift``: the times inside payloads move with their
    frame. No two CALLs go out within ``least_gap_us``. ``tags`` maps recorded idTags to live ones. ``model``
    answers a CALL that no recording covers, as text, or ``None`` if it cannot. ``hushed`` takes secrets out
    of a text: CALLs are matched and told without.
    """

    timing: Timing = CAUSAL
    shift: bool = False
    expect_calls: bool = False
    expect_strays: bool = False
    stimulate: bool = False
    gate_us: int = GATE_US
    least_gap_us: int = 0
    linger_us: int = 0
    policy: Policy = Policy.STRICT
    matchers: Matchers = msgspec.field(default_factory=Matchers)
    tags: Mapping[str, str] = {}
    model: Callable[[str, int], str | None] | None = None
    hushed: Callable[[str], str] = str


class Player:
    """``side`` of ``frames`` as a Machine. ``late_us`` is how much later than due each frame went out.

    ``recording`` is that of the frames, where somebody has it already.
    """

    def __init__(
        self,
        frames: Iterable[Frame],
        *,
        side: Side = Side.STATION,
        new_message_id: Callable[[], str],
        new_transaction_id: Callable[[], int] | None = None,
        manner: Manner | None = None,
        recording: Recording | None = None,
    ) -> None:
        held = list(frames)
        recording = recording or recording_of(held)
        self.side = side
        self.manner = manner or Manner()
        self.clockwork = Clockwork(held, self.manner.timing)
        self._recording = recording
        self._parts = deque(script_of(recording, held, side))
        self.doors = Doors(doors_of(held))
        told = _hushed(held, side.other, self.manner.hushed)
        asked = (recording if told is held else recording_of(told)).exchanges
        self._peer = Recorded((x for x in asked if x.call.sender is side.other), self.manner.matchers)
        self._asked = {x.call.frame.seq: x for x in recording.exchanges if x.call.frame is not None}
        self._strays = strays_of(recording, side.other) if self.manner.expect_strays else {}
        self._answer_seq = answer_seqs(recording, side.other)
        self._gates = Gates(self._expected(held, recording))
        self._new_message_id = new_message_id
        self._new_transaction_id = new_transaction_id
        self._ids = Bindings(self.manner.tags)
        self._born = {
            (Space.TRANSACTION, transaction_id_of(payload_of(x.answer)))
            for x in recording.exchanges
            if x.call.action == "StartTransaction" and x.answer is not None
        }
        self._open: dict[str, Exchange] = {}
        self._answers: list[tuple[int, int, Send]] = []  # recorded answers by their time, a heap
        self._start_us: int | None = None
        self._connect_us: int | None = None  # when the next connection is due
        self._quiet_since_us: int | None = None  # since when nothing has come that the recording knows
        self._said_us = 0  # when the last CALL went out
        self._silent_gates = 0
        self._met = False  # whether anything has come that the recording knows
        self._up = self._left = False
        self._last_seq = held[-1].seq if held else None
        self._stay_until_us: int | None = None  # all is said, and the other side may say more
        self._commands: list[Command] = []
        self.late_us: list[int] = []
        self.misses: list[Miss] = []
        self.more_misses = 0
        self._stimuli = Unstimulated()
        self.unbound: list[tuple[int, Space, Any]] = []  # sent with an id that the live side never gave
        self.finished = False
        self.ended_early = ""  # why parts are left

    def _expected(self, frames: list[Frame], recording: Recording) -> Iterable[int]:
        """The other side's CALLs and answers that are waited for, in order."""
        answers = {seq for seqs in (self._answer_seq.values(), *self._strays.values()) for seq in seqs}
        calls = {x.call.frame.seq for x in recording.exchanges if x.call.frame is not None}
        wait_for_calls = self.side is Side.CSMS or self.manner.expect_calls or self.manner.stimulate
        for frame in frames:
            if (frame.sender is self.side.other and frame.seq in answers) or (
                frame.sender is self.side.other and frame.seq in calls and wait_for_calls
            ):
                yield frame.seq

    # --- what is told --------------------------------------------------------------------------------------

    @property
    def conflicts(self) -> list[Conflict]:
        """Live ids that were given twice."""
        return self._ids.conflicts

    @property
    def gates_relaxed(self) -> list[int]:
        """``seq`` of the recorded frames that were waited for in vain."""
        return self._gates.given_up

    @property
    def left(self) -> int:
        """How many recorded frames of this side are still to be played."""
        return sum(part.do is not Do.STIMULATE for part in self._parts)

    @property
    def unstimulated(self) -> dict[int, int]:
        """``seq`` of what did not happen, and of the CALL that nobody made the CSMS send."""
        return self._stimuli.by_seq

    @property
    def not_stimulated(self) -> list[int]:
        """``seq`` of the recorded CALLs of the CSMS that never came and that nobody made it send."""
        return self._stimuli.calls

    @property
    def transactions(self) -> dict[int, int]:
        """Live transactionIds by the recorded ones."""
        return self._ids.pairs(Space.TRANSACTION)

    # --- a Machine -----------------------------------------------------------------------------------------

    def connected(self, now_us: int) -> None:
        self._up, self._left = True, False
        if (opened_seq := self.doors.let_in()) is not None:
            if self._start_us is None:  # the recording may begin before its first connection
                self._start_us = now_us - self.clockwork.after_us(opened_seq)
            self._heard(now_us)
        elif self._start_us is None:
            self._start_us = now_us
        self._advance(now_us)

    def disconnected(self, now_us: int) -> None:
        """The connection is gone, or was refused. What it should have carried goes on the next one."""
        was_up, by_us, self._up, self._left = self._up, self._left, False, False
        self._stay_until_us = None
        if not was_up and not by_us and self.doors.refuse() is not None:
            self._heard(now_us)
        for exchange in self._open.values():  # those answers cannot come any more
            self._settle_answer(exchange)
        self._open.clear()
        self._answers.clear()
        if was_up and self._parts and self._parts[0].do in (Do.LEAVE, Do.BE_LEFT):
            self._parts.popleft()
            self._heard(now_us)
        if not self._parts and not self._waiting() and not self.doors:
            self.finished = True
        elif self.side is Side.STATION and not self.finished:
            self._come_again(now_us)

    def _come_again(self, now_us: int) -> None:
        """At the time of the recorded connection; one more than recorded ever later, and not for ever."""
        seq = self.doors.next_seq
        due_us = self._due_us(seq) if seq is not None else now_us + self.doors.more_after_us()
        if self.doors.vain > MOST_VAIN:
            self.finished = True
            self.ended_early = f"{MOST_VAIN} connections in a row ended before anything of interest came"
        elif due_us <= now_us:
            self._commands.append(Connect())
        else:
            self._connect_us = due_us

    def _heard(self, now_us: int) -> None:
        """Something that the recording knows has happened: whoever does only other things is silent."""
        self._quiet_since_us, self._silent_gates, self.doors.vain = now_us, 0, 0

    def next_timer(self) -> int | None:
        if self.finished:
            return None
        if not self._up and self.side is Side.CSMS:  # a station that is gone for good is waited for no longer
            return None if self._quiet_since_us is None else self._give_up_us(self._quiet_since_us)
        if not self._up or self._quiet_since_us is None:
            return self._connect_us
        if self._stay_until_us is not None:
            return self._answers[0][0] if self._answers else self._stay_until_us
        due_us = self._give_up_us(self._quiet_since_us)
        if self._open_part is not None:
            if self._owes_before(self._open_part):
                return self._answers[0][0]
            due_us = self._part_due_us(self._open_part)  # nothing but its time is waited for
        return min(due_us, self._answers[0][0]) if self._answers else due_us

    def handle_timer(self, now_us: int) -> None:
        due_us = self.next_timer()
        if due_us is None or due_us > now_us:
            return
        if not self._up and self.side is Side.CSMS:
            self._gates.give_up(None)
            self.finished = True
            return
        if not self._up:
            self._connect_us = None
            self._commands.append(Connect())
            return
        while self._answers and self._answers[0][0] <= now_us:
            self._commands.append(heapq.heappop(self._answers)[2])
        if self._open_part is not None or self._stay_until_us is not None:
            self._advance(now_us)
            return
        if self._quiet_since_us is not None and now_us < self._give_up_us(self._quiet_since_us):
            return
        self._quiet_since_us = now_us
        self._silent_gates += bool(self._open)
        self._gates.give_up(self._parts[0].gate_seq if self._parts else None)
        if self._silent_gates >= _SILENT_GATES and self._parts:
            self.finished = True
            self.ended_early = f"{_SILENT_GATES} times in a row no answer came, nor anything else of interest"
            self._leave(Close(), now_us)
            return
        if not self._parts:
            self._open.clear()
            if self.side is Side.CSMS:
                self.doors.close()  # a station that does not come again is waited for no longer
        self._advance(now_us)

    def take(self) -> list[Command]:
        commands, self._commands = self._commands, []
        return commands

    def receive(self, text: str, now_us: int) -> None:
        message = codec.parse(text).message
        known = False
        if isinstance(message, Call):
            known = self._called(text, message, now_us)
        elif message is not None and (exchange := self._open.pop(message.message_id, None)) is not None:
            self._answered(exchange, message)
            known = True
        elif waiting := self._strays.get(text):
            self._gates.settle(waiting.popleft())
            known = True
        if known:
            self._heard(now_us)
            self._met = True
        self._advance(now_us)

    # --- what the other side says --------------------------------------------------------------------------

    def _answered(self, exchange: Exchange, message: Message) -> None:
        if exchange.answer is not None and isinstance(message, CallResult):
            self._ids.learn(exchange.call.action, payload_of(exchange.answer), message.payload, answer=True)
        self._settle_answer(exchange)

    def _settle_answer(self, exchange: Exchange) -> None:
        frame = exchange.call.frame
        if frame is not None and (seq := self._answer_seq.get(frame.seq)) is not None:
            self._gates.settle(seq)

    def _called(self, text: str, call: Call, now_us: int) -> bool:
        """Whether the recording knows this CALL."""
        payload = call.payload
        as_recorded = self.manner.hushed(self._ids.to_recorded(text, call.action, answer=False))
        if as_recorded != text:
            payload = getattr(codec.parse(as_recorded).message, "payload", payload)
        seq = self._peer.take(call.action, payload)
        if seq is None:
            self._uncovered(text, call, payload, now_us)
            return False
        exchange = self._asked[seq]
        asked = exchange.call.frame
        assert asked is not None
        self._gates.settle(asked.seq)
        self._stimuli.came(asked.seq)
        self._ids.learn(call.action, payload_of(exchange.call), call.payload, answer=False)
        self._answer(exchange, call, asked, now_us)
        return True

    def _uncovered(self, text: str, call: Call, payload: Any, now_us: int) -> None:
        answer = self.manner.model(text, now_us) if self.manner.model is not None else None
        prologue = call.action == "BootNotification" and not self._met and not self._boots()
        self._met = self._met or prologue  # a second boot is none that was left out
        if answer is None or (self.manner.policy is Policy.STRICT and not prologue):
            self._missed(call.action, payload, now_us)
            answer = with_message_id(f'[4,"","GenericError","{_REFUSED}",{{}}]', call.message_id)
            self._commands.append(Send(answer))
            return
        if not prologue:
            self._missed(call.action, payload, now_us)
        facts = {"prologue": True} if prologue else {"synthetic": self.manner.policy.value}
        self._commands.append(Send(answer, facts))

    def _missed(self, action: str, payload: Any, now_us: int) -> None:
        if len(self.misses) < _MOST_MISSES:
            self.misses.append(self._peer.miss(action, payload, now_us))
        else:
            self.more_misses += 1

    def _boots(self) -> bool:
        """Whether the recording shows a boot; one that begins later must let the live station boot."""
        return any(x.call.action == "BootNotification" for x in self._recording.exchanges)

    def _answer(self, exchange: Exchange, call: Call, asked: Frame, now_us: int) -> None:
        """The recorded answer under the live ids, as long after the live CALL; silence, if that was it."""
        answer = exchange.answer.frame if exchange.answer else None
        if exchange.answer is None or answer is None or answer.text is None:
            return
        if self._new_transaction_id is not None and call.action == "StartTransaction":
            recorded = transaction_id_of(payload_of(exchange.answer))
            if recorded is not None:
                self._ids.bind(Space.TRANSACTION, recorded, self._new_transaction_id())
        text = with_message_id(answer.text, call.message_id)
        text = self._ids.to_live(text, call.action, answer=True)
        wait_us = self.clockwork.between_us(asked.seq, answer.seq)
        if self.manner.shift:
            text = shifted(text, now_us + wait_us - answer.at_us)
        send = Send(text, _marks(answer))
        if wait_us:
            heapq.heappush(self._answers, (now_us + wait_us, answer.seq, send))
        else:
            self._commands.append(send)

    # --- the script ----------------------------------------------------------------------------------------

    @property
    def _open_part(self) -> Part | None:
        """The next part, if all that had been heard before it has been heard again."""
        part = self._parts[0] if self._parts else None
        return part if part is not None and self._gates.open_for(part.gate_seq) else None

    def _owes_before(self, part: Part) -> bool:
        """Whether an answer is still to go out that was recorded before it."""
        return any(seq < part.gate_seq for _, seq, _ in self._answers)

    def _advance(self, now_us: int) -> None:
        while self._up and (part := self._open_part) is not None:
            if self._stimuli.skips(part.seq):
                self._parts.popleft()
                continue
            if self._part_due_us(part) > now_us:
                break
            if self._owes_before(part):
                break  # what was answered first is answered first
            if part.do is not Do.STIMULATE and self.manner.timing.mode != "causal":
                self.late_us.append(now_us - self._due_us(part.seq))
            self._parts.popleft()
            self._play(part, now_us)
        if self._up and not self._parts and not self._waiting():
            self._all_is_said(now_us)

    def _all_is_said(self, now_us: int) -> None:
        """Stay for a while: what the other side says now is part of the replay too."""
        if self._stay_until_us is None:
            self._stay_until_us = max(now_us + self.manner.linger_us, self._end_us())
        if now_us < self._stay_until_us:
            return
        self._stay_until_us = None
        self.finished = not self.doors
        if self.side is Side.STATION:
            self._leave(Close(), now_us)

    def _end_us(self) -> int:
        """When the recording ends, at its own pace."""
        if self.manner.timing.mode == "causal" or self._last_seq is None:
            return 0
        return self._due_us(self._last_seq)

    def _play(self, part: Part, now_us: int) -> None:
        match part.do:
            case Do.SAY if part.exchange is not None:
                self._say(part.exchange, part.frame, now_us)
            case Do.SAY:
                self._commands.append(Send(part.frame.text or ""))
            case Do.PING if self.manner.timing.mode != "causal":
                self._commands.append(Ping(part.frame.data or b""))
            case Do.LEAVE if part.close is not None:
                self._leave(part.close, now_us)
            case Do.BE_LEFT:  # it was waited for long enough
                self._gates.given_up.append(part.seq)
                self._leave(Close(), now_us)
            case Do.STIMULATE if part.exchange is not None:
                self._stimulate(part.seq, part.exchange)

    def _leave(self, close: Close, now_us: int) -> None:
        self._commands.append(close)
        self._quiet_since_us = now_us  # from here on a new connection is waited for
        self._up, self._left = False, True

    def _say(self, exchange: Exchange, frame: Frame, now_us: int) -> None:
        self._said_us = now_us
        message_id = self._new_message_id()
        self._open[message_id] = exchange
        action = exchange.call.action
        text = with_message_id(frame.text or "", message_id)
        for space, value in self._ids.unbound(payload_of(exchange.call), action, self._born):
            self.unbound.append((frame.seq, space, value))
        text = self._ids.to_live(text, action, answer=False)
        text = with_our_location(text, action)
        if self.manner.shift:
            text = shifted(text, now_us - frame.at_us)
        self._commands.append(Send(text, _marks(frame)))

    def _stimulate(self, seq: int, exchange: Exchange) -> None:
        """The gate of a recorded CALL of the CSMS is open: somebody makes it send that, or nobody can."""
        if self._peer.consumed(seq) or self.manner.expect_calls:
            return
        if self.manner.stimulate:
            text = self._ids.to_live(
                exchange.call.frame.text or "" if exchange.call.frame else "",
                exchange.call.action,
                answer=False,
            )
            payload = getattr(codec.parse(text).message, "payload", None)
            self._commands.append(Stimulate(seq, exchange.call.action, payload))
            return
        self._not_coming(seq, exchange)

    def not_coming(self, seq: int, now_us: int) -> None:
        """Nobody can make the CSMS send the recorded CALL that was offered as a ``Stimulate``."""
        exchange = self._asked.get(seq)
        if exchange is None or self._peer.consumed(seq):
            return
        self._gates.settle(seq)
        self._not_coming(seq, exchange)
        self._advance(now_us)

    def _not_coming(self, seq: int, exchange: Exchange) -> None:
        depending = dependents(self._recording, exchange)
        self._stimuli.add(seq, depending)
        for other in depending:
            if (answer := self._answer_seq.get(other)) is not None:
                self._gates.settle(answer)

    # --- patience ------------------------------------------------------------------------------------------

    def _waiting(self) -> bool:
        return bool(self._open or self._answers) or self._gates.next_seq is not None

    def _give_up_us(self, quiet_since_us: int) -> int:
        """When silence has lasted long enough: counted from when what is waited for was due, where it was.

        A station keeps its own time, so its recorded silence is added.
        """
        seq = self.doors.next_seq if not self._up and self.doors else self._gates.next_seq
        if seq is None:
            return quiet_since_us + self.manner.gate_us
        if self.manner.timing.mode != "causal":
            return max(quiet_since_us, self._due_us(seq)) + self.manner.gate_us
        gap_us = self.clockwork.recorded_gap_us(seq) if self.side is Side.CSMS else 0
        return quiet_since_us + self.manner.gate_us + gap_us

    def _due_us(self, seq: int) -> int:
        return (self._start_us or 0) + self.clockwork.after_us(seq)

    def _part_due_us(self, part: Part) -> int:
        due_us = self._recorded_due_us(part)
        if part.do is Do.BE_LEFT:  # the other side's to do
            return max(due_us, self._quiet_since_us or 0) + self.manner.gate_us
        if part.do is Do.SAY and self.manner.least_gap_us:
            return max(due_us, self._said_us + self.manner.least_gap_us)
        return due_us

    def _recorded_due_us(self, part: Part) -> int:
        if self.manner.timing.mode != "causal":
            return self._due_us(part.seq)
        if part.do is not Do.STIMULATE or self.manner.stimulate or self.manner.expect_calls:
            return 0
        if self._peer.consumed(part.seq):
            return 0
        gap_us = self.clockwork.recorded_gap_us(part.seq)
        if gap_us > _OF_ITSELF_US or self._quiet_since_us is None:
            return 0
        return self._quiet_since_us + min(self.manner.gate_us, gap_us + _OF_ITSELF_US // 2)


def _hushed(frames: list[Frame], sender: Side, hushed: Callable[[str], str]) -> list[Frame]:
    """The frames without the secrets that ``sender`` told; the very same list if there are none."""
    texts = {
        frame.seq: hushed(frame.text)
        for frame in frames
        if frame.text is not None and frame.sender is sender and hushed(frame.text) != frame.text
    }
    return [replace(frame, text=texts.get(frame.seq, frame.text)) for frame in frames] if texts else frames


def _marks(frame: Frame) -> dict[str, Any]:
    return {"prologue": True} if frame.facts.get("prologue") else {}
