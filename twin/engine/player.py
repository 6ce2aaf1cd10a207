"""Plays the station's side of a capture against whatever answers: causal order, live ids, a verdict.

A recorded CALL goes out when as many of our CALLs have been answered as had been in the recording, and (where
the peer is expected to send its recorded CALLs) as many of those have come. Recorded answers go out when
their CALL comes. Answers follow their CALL, an id is known before it is used; nothing relaxes that.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from twin.engine.binding import (
    TRANSACTION_ID_IN,
    Bijection,
    transaction_id_of,
    with_message_id,
    with_transaction_id,
)
from twin.engine.machine import Close, Command, Connect, Send
from twin.engine.recording import Exchange, recording_of
from twin.engine.shifting import shifted
from twin.engine.timing import CAUSAL, Clockwork, Timing
from twin.model import Call, Event, EventKind, Frame, Kind, Side
from twin.protocol import codec
from twin.protocol.fold import payload_of

GATE_US = 30_000_000  # silence after which a missing peer frame is waited for no longer


class Part(msgspec.Struct, frozen=True):
    """One thing to do: a text to send, or the end of a connection, and what must have come before."""

    command: Command
    answers_before: int
    calls_before: int
    exchange: Exchange | None = None
    seq: int = 0


class Player:
    """The station's side of ``frames`` as a Machine. ``expect_calls``: the peer sends its recorded CALLs.

    With another ``timing`` than causal a frame waits for its time as well as for its gate; ``late_us`` is how
    much later than due each one went out. With ``shift`` the times inside payloads move with their frame:
    what was said long after it happened is said so again.
    """

    def __init__(
        self,
        frames: Iterable[Frame],
        *,
        new_message_id: Callable[[], str],
        expect_calls: bool = False,
        timing: Timing = CAUSAL,
        shift: bool = False,
    ) -> None:
        held = list(frames)
        self._parts = deque(_script(held))
        self.clockwork = Clockwork(held, timing)
        self._opens = deque(frame.seq for frame in held if frame.kind is Kind.OPEN)
        self._shift = shift
        self._start_us: int | None = None
        self._connect_us: int | None = None  # when the next connection is due
        self._answers: list[tuple[int, int, str]] = []  # recorded answers by their time, a heap
        self.late_us: list[int] = []
        self._peer_calls = deque(
            exchange for exchange in recording_of(held).exchanges if exchange.call.sender is Side.CSMS
        )
        self._new_message_id = new_message_id
        self._expect_calls = expect_calls
        self._ids = Bijection()
        self._open: dict[str, Exchange] = {}
        self._answers_seen = self._calls_seen = 0
        self._forgiven_answers = self._forgiven_calls = 0
        self._quiet_since_us: int | None = None
        self._up = False
        self._commands: list[Command] = []
        self.gates_relaxed: list[int] = []  # seq of the recorded frame that was sent without waiting on
        self.unmatched_calls: list[str] = []  # live CALLs that no recording covers
        self.not_stimulated: list[int] = []  # seq of recorded CALLs of the CSMS that never came
        self.finished = False

    @property
    def conflicts(self) -> list[tuple[int, int]]:
        """Transaction ids that were bound twice, as (recorded, live)."""
        return self._ids.conflicts

    @property
    def left(self) -> int:
        """How many recorded frames of the station are still to be played."""
        return len(self._parts)

    def connected(self, now_us: int) -> None:
        self._up = True
        if self._opens:
            opened_seq = self._opens.popleft()
            if self._start_us is None:  # the recording may begin before its first connection
                self._start_us = now_us - self.clockwork.after_us(opened_seq)
        elif self._start_us is None:
            self._start_us = now_us
        self._quiet_since_us = now_us
        self._advance(now_us)

    def disconnected(self, now_us: int) -> None:
        """The connection is gone. Ended by the peer, what it should have carried goes on the next one."""
        self._up = False
        self._answers_seen += len(self._open)  # those answers cannot come any more
        self._open.clear()
        self._answers.clear()
        if not self._parts:
            self._end()
        elif self._opens and self._due_us(self._opens[0]) > now_us:
            self._connect_us = self._due_us(self._opens[0])
        else:
            self._commands.append(Connect())

    def next_timer(self) -> int | None:
        if not self._up or self._quiet_since_us is None:
            return self._connect_us
        due_us = self._quiet_since_us + GATE_US
        if self._parts and self._gate_open(self._parts[0]):
            due_us = self._due_us(self._parts[0].seq)  # nothing but its time is waited for
        return min(due_us, self._answers[0][0]) if self._answers else due_us

    def handle_timer(self, now_us: int) -> None:
        due_us = self.next_timer()
        if due_us is None or due_us > now_us:
            return
        if not self._up:
            self._connect_us = None
            self._commands.append(Connect())
            return
        while self._answers and self._answers[0][0] <= now_us:
            self._commands.append(Send(heapq.heappop(self._answers)[2]))
        if self._parts and self._gate_open(self._parts[0]):
            self._advance(now_us)
            return
        if self._quiet_since_us is not None and now_us < self._quiet_since_us + GATE_US:
            return
        self._quiet_since_us = now_us
        if self._parts:
            part = self._parts[0]
            self.gates_relaxed.append(part.seq)
            self._forgiven_answers = max(self._forgiven_answers, part.answers_before - self._answers_seen)
            self._forgiven_calls = max(self._forgiven_calls, part.calls_before - self._calls_seen)
            self._advance(now_us)
        elif self._up:
            self._commands.append(Close())

    def take(self) -> list[Command]:
        commands, self._commands = self._commands, []
        return commands

    def receive(self, text: str, now_us: int) -> None:
        self._quiet_since_us = now_us
        message = codec.parse(text).message
        if isinstance(message, Call):
            self._calls_seen += 1
            self._answer(message, now_us)
        elif message is not None and (exchange := self._open.pop(message.message_id, None)) is not None:
            self._answers_seen += 1
            self._learn(exchange, getattr(message, "payload", None))
        self._advance(now_us)

    def _learn(self, exchange: Exchange, payload: Any) -> None:
        """StartTransaction.conf gives the live id of a recorded transaction."""
        if exchange.call.action != "StartTransaction" or exchange.answer is None:
            return
        recorded, live = transaction_id_of(payload_of(exchange.answer)), transaction_id_of(payload)
        if recorded is not None and live is not None:
            self._ids.bind(recorded, live)

    def _due_us(self, seq: int) -> int:
        return (self._start_us or 0) + self.clockwork.after_us(seq)

    def _answer(self, call: Call, now_us: int) -> None:
        exchange = self._match(call)
        if exchange is None:
            self.unmatched_calls.append(call.action)
            refusal = with_message_id('[4,"","GenericError","no recording covers this",{}]', call.message_id)
            self._commands.append(Send(refusal))
            return
        self._peer_calls.remove(exchange)
        answer = exchange.answer.frame if exchange.answer else None
        if answer is None or answer.text is None:
            return
        text = with_message_id(answer.text, call.message_id)
        asked = exchange.call.frame
        wait_us = self.clockwork.between_us(asked.seq, answer.seq) if asked is not None else 0
        if wait_us:
            heapq.heappush(self._answers, (now_us + wait_us, answer.seq, text))
        else:
            self._commands.append(Send(text))

    def _match(self, call: Call) -> Exchange | None:
        """The first unplayed recorded CALL of this content, else of this action (FIFO, each once)."""
        payload = call.payload
        live = transaction_id_of(payload)
        if call.action in TRANSACTION_ID_IN and live is not None:
            payload = {**payload, "transactionId": self._ids.recorded(live)}
        same = [exchange for exchange in self._peer_calls if exchange.call.action == call.action]
        exact = [exchange for exchange in same if _payload(exchange.call) == payload]
        return next(iter(exact or same), None)

    def _advance(self, now_us: int) -> None:
        while self._up and self._parts and self._gate_open(self._parts[0]):
            due_us = self._due_us(self._parts[0].seq)
            if self.clockwork.timing.mode != "causal":
                if due_us > now_us:
                    break
                self.late_us.append(now_us - due_us)
            part = self._parts.popleft()
            if part.exchange is None or not isinstance(part.command, Send):
                self._commands.append(part.command)
                if isinstance(part.command, Close):
                    self._up = False
                continue
            message_id = self._new_message_id()
            self._open[message_id] = part.exchange
            text = with_message_id(part.command.text, message_id)
            text = with_transaction_id(text, part.exchange.call.action, self._ids.live)
            frame = part.exchange.call.frame
            if self._shift and frame is not None:
                text = shifted(text, now_us - frame.at_us)
            self._commands.append(Send(text))
        waiting = self._open or self._answers or (self._expect_calls and self._peer_calls)
        if self._up and not self._parts and not waiting:
            self._commands.append(Close())
            self._up = False

    def _gate_open(self, part: Part) -> bool:
        if self._answers_seen + self._forgiven_answers < part.answers_before:
            return False
        return not self._expect_calls or self._calls_seen + self._forgiven_calls >= part.calls_before

    def _end(self) -> None:
        self.finished = True
        self.not_stimulated = [
            exchange.call.frame.seq for exchange in self._peer_calls if exchange.call.frame is not None
        ]


def _script(frames: list[Frame]) -> list[Part]:
    """The station's own CALLs, stray texts and connection ends, each with what had come before it."""
    recording = recording_of(frames)
    by_seq = {x.call.frame.seq: x for x in recording.exchanges if x.call.frame is not None}
    stray = {frame.seq for frame in recording.stray if frame.sender is Side.STATION}
    parts: list[Part] = []
    answers = calls = pending = 0
    last_link = next((frame.link for frame in reversed(frames) if frame.kind is Kind.TEXT), "")
    for event in recording.events:
        frame = event.frame
        if event.kind is EventKind.TIMED_OUT and event.sender is Side.STATION:
            answers += 1  # its answer never came; disconnected() counts it as settled
        if frame is None:
            continue
        if event.kind is EventKind.CALLED and event.sender is Side.CSMS:
            calls += 1
        elif event.kind is EventKind.CALLED or frame.seq in stray:
            exchange = by_seq.get(frame.seq)
            parts.append(Part(Send(frame.text or ""), answers, calls, exchange, frame.seq))
            pending += exchange is not None
        elif event.kind in (EventKind.ANSWERED, EventKind.REFUSED) and event.sender is Side.CSMS:
            answers += 1
        elif end := _ending(event, last_link):
            parts.append(Part(end, answers, calls, None, frame.seq))
    return parts


def _ending(event: Event, last_link: str) -> Close | None:
    """The recorded end of a link that another one follows; the last link ends when all is said."""
    frame = event.frame
    if frame is None or frame.kind is not Kind.END or frame.link == last_link:
        return None
    code = frame.facts.get("code")
    abrupt = bool(frame.facts.get("abrupt")) or code in (None, 1006)
    return Close(code if isinstance(code, int) and not abrupt else 1000, abrupt=abrupt)


def _payload(event: Event) -> Any:
    return getattr(event.message, "payload", None)
