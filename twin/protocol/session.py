"""One link's CALLs and answers, paired per direction, with expiry: frames and the time in, events out.

Correlation is the rule of open-ocpp-trace v1.1, per link: an answer belongs to the most recent preceding CALL
with the same messageId, the opposite direction, not yet answered.
"""

import heapq
from collections import OrderedDict
from collections.abc import Mapping

import msgspec

from twin.model import (
    Call,
    CallError,
    Defect,
    Event,
    EventKind,
    Flaw,
    Frame,
    Kind,
    Message,
    Parsed,
    PendingCall,
    Side,
)

# Where nothing else is known. Station: MessageTimeout (ER 3.82). CSMS: 10 s already loses real answers.
EXPIRY_US: dict[Side, int] = {Side.STATION: 60_000_000, Side.CSMS: 30_000_000}
_REMEMBERED_IDS = 4096  # per direction: bounds the memory of a link that stays open for weeks

_LONGEST_NUMBER = 18  # digits of a messageId that counts
_MOST_SKIPPED = 1000  # a larger step is no count

_CLOSING = frozenset({Kind.CLOSE, Kind.END, Kind.REFUSED})
_UNREADABLE = frozenset({Kind.BINARY, Kind.UNDECODABLE})
UNPARSED = Parsed(None)


class _Used(msgspec.Struct):
    """What is remembered of a messageId: where it stood, a fingerprint of its text, and how it ended."""

    seq: int
    fingerprint: int
    end: str = "pending"  # pending, answered, expired


class Rpc:
    """The correlator of one link. Every ``receive`` must be preceded by the timers due before its frame."""

    def __init__(self, link: str, *, expiry_us: Mapping[Side, int] = EXPIRY_US) -> None:
        self.link = link
        self.expiry_us = dict(expiry_us)
        self._pending: dict[Side, dict[str, dict[int, PendingCall]]] = {side: {} for side in Side}
        self._outstanding = dict.fromkeys(Side, 0)
        self._due: list[tuple[int, int, PendingCall]] = []
        self._calls = 0
        self._used: dict[Side, OrderedDict[str, _Used]] = {side: OrderedDict() for side in Side}
        self._known_from_us: int | None = None  # before it, answers may belong to CALLs nobody saw
        self._opened = False
        self._numbers: dict[Side, int] = {}

    def next_timer(self) -> int | None:
        """The earliest moment at which :meth:`handle_timer` has something to say, in microseconds."""
        while self._due and not self._is_pending(self._due[0][2]):
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def handle_timer(self, now_us: int) -> list[Event]:
        """Expire every CALL due by ``now_us``. Each time-out is stamped with its due time."""
        events = []
        while (due_us := self.next_timer()) is not None and due_us <= now_us:
            asked = heapq.heappop(self._due)[2]
            events.append(self._expire(asked, due_us, "expired"))
        return events

    def pending(self) -> list[PendingCall]:
        """The CALLs still waiting, oldest first."""
        return sorted(
            (asked for due in self._pending.values() for same in due.values() for asked in same.values()),
            key=lambda asked: asked.frame.seq,
        )

    def receive(self, frame: Frame, parsed: Parsed = UNPARSED) -> list[Event]:
        """What one frame of this link means; ``parsed`` is the codec's reading of its text."""
        if self._known_from_us is None:
            self._known_from_us = frame.at_us
        kind = frame.kind
        if kind is Kind.TEXT:
            message = parsed.message
            if message is None or frame.sender is None:
                return [self._event(EventKind.MALFORMED, frame, why="text", defects=parsed.defects)]
            if isinstance(message, Call):
                return [self._called(frame, message, parsed.defects)]
            return [self._answered(frame, message, parsed.defects)]
        if kind is Kind.OPEN:
            self._forget()
            self._opened = not frame.facts.get("late", False)
            self._known_from_us = frame.at_us
            return [self._event(EventKind.OPENED, frame)]
        if kind in _CLOSING:
            ended = self._end_all(frame.at_us) if kind is Kind.END else []
            return [*ended, self._event(EventKind.CLOSED, frame)]
        if kind in _UNREADABLE:
            return [self._event(EventKind.MALFORMED, frame, why=str(frame.facts.get("why", kind)))]
        if kind is Kind.GAP:
            self._forget()
            self._opened = False
            self._known_from_us = frame.at_us
            return [self._event(EventKind.RESET, frame)]
        return [self._event(EventKind.NOTED, frame)]

    def _called(self, frame: Frame, call: Call, defects: tuple[Defect, ...]) -> Event:
        sender = frame.sender
        assert sender is not None
        malformed = any(defect.flaw in _NO_CALL for defect in defects)
        asked = PendingCall(call, frame, frame.at_us + self.expiry_us[sender], malformed)
        outstanding = self._outstanding[sender]
        fingerprint = hash(frame.text)
        used = self._used[sender]
        earlier = used.get(call.message_id)
        used[call.message_id] = _Used(frame.seq, fingerprint)
        used.move_to_end(call.message_id)
        if len(used) > _REMEMBERED_IDS:
            used.popitem(last=False)
        self._pending[sender].setdefault(call.message_id, {})[id(asked)] = asked
        self._outstanding[sender] += not malformed
        self._calls += 1  # breaks ties: a damaged capture may say the same seq twice
        if _is_timed(frame):
            heapq.heappush(self._due, (asked.due_us, self._calls, asked))
        return self._event(
            EventKind.CALLED,
            frame,
            message=call,
            action=call.action,
            asked=asked,
            outstanding=outstanding,
            earlier_seq=earlier.seq if earlier else None,
            earlier_same=earlier is not None and earlier.fingerprint == fingerprint,
            skipped=frame.mono_ns is None and self._skips(sender, call.message_id),
            defects=defects,
        )

    def _skips(self, sender: Side, message_id: str) -> bool:
        if not (message_id.isascii() and message_id.isdecimal() and len(message_id) <= _LONGEST_NUMBER):
            return False
        number, known = int(message_id), self._numbers.get(sender)
        self._numbers[sender] = number
        return known is not None and 1 < number - known <= _MOST_SKIPPED

    def _answered(self, frame: Frame, message: Message, defects: tuple[Defect, ...]) -> Event:
        assert frame.sender is not None
        caller = frame.sender.other
        same = self._pending[caller].get(message.message_id)
        used = self._used[caller].get(message.message_id)
        if not same:
            return self._event(
                EventKind.ORPHANED, frame, message=message, why=self._why_orphan(frame, used), defects=defects
            )
        asked = next(reversed(same.values()))
        self._drop(asked)
        if used:
            used.end = "answered"
        return self._event(
            EventKind.REFUSED if isinstance(message, CallError) else EventKind.ANSWERED,
            frame,
            message=message,
            action=asked.call.action,
            asked=asked,
            took_us=_took_us(asked.frame, frame),
            defects=defects,
        )

    def _why_orphan(self, frame: Frame, used: _Used | None) -> str:
        if used is not None:
            return "late" if used.end == "expired" else "second"
        assert frame.sender is not None
        assert self._known_from_us is not None
        edge_us = self.expiry_us[frame.sender.other]
        return "edge" if not self._opened and frame.at_us - self._known_from_us <= edge_us else "unknown"

    def _end_all(self, at_us: int) -> list[Event]:
        return [self._expire(asked, at_us, "link ended") for asked in self.pending()]

    def _expire(self, asked: PendingCall, at_us: int, why: str) -> Event:
        self._drop(asked)
        used = self._used[asked.sender].get(asked.call.message_id)
        if used:
            used.end = "expired"
        return Event(
            kind=EventKind.TIMED_OUT,
            at_us=at_us,
            link=self.link,
            station=asked.frame.station,
            sender=asked.sender,
            action=asked.call.action,
            asked=asked,
            why=why,
        )

    def _is_pending(self, asked: PendingCall) -> bool:
        return id(asked) in self._pending[asked.sender].get(asked.call.message_id, ())

    def _drop(self, asked: PendingCall) -> None:
        pending = self._pending[asked.sender]
        same = pending[asked.call.message_id]
        del same[id(asked)]
        if not same:
            del pending[asked.call.message_id]
        self._outstanding[asked.sender] -= not asked.malformed

    def _forget(self) -> None:
        for side in Side:
            self._pending[side].clear()
            self._used[side].clear()
            self._outstanding[side] = 0
        self._due.clear()

    def _event(self, kind: EventKind, frame: Frame, **more: object) -> Event:
        return Event(
            kind=kind,
            at_us=frame.at_us,
            link=self.link,
            station=frame.station,
            sender=frame.sender,
            frame=frame,
            **more,  # type: ignore[arg-type]  # keywords of Event, checked where they are written
        )


def _is_timed(frame: Frame) -> bool:
    """Whether somebody saw when the frame passed; a log without times says nothing about time-outs."""
    return not frame.facts.get("interpolated")


def _took_us(asked: Frame, answer: Frame) -> int | None:
    """CALL to answer, on the monotonic clock where both have one: a clock step is not a latency."""
    if not (_is_timed(asked) and _is_timed(answer)):
        return None
    if asked.mono_ns is not None and answer.mono_ns is not None:
        return (answer.mono_ns - asked.mono_ns) // 1000
    return answer.at_us - asked.at_us


def hides_payload(event: Event) -> bool:
    """Whether a framing flaw forbids judging the payload (G8: J002 and J016 speak, J021 is silent)."""
    return bool(event.defects) and any(defect.flaw in _HIDING for defect in event.defects)


_NO_CALL = frozenset({Flaw.ELEMENT_COUNT, Flaw.ACTION_TYPE, Flaw.ID_TYPE})
_HIDING = frozenset({Flaw.ELEMENT_COUNT, Flaw.DUPLICATE_KEY})
