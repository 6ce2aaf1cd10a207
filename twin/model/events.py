"""An Event is what the correlator says happened on a link: one frame, or one time-out."""

from enum import StrEnum

import msgspec

from twin.model.frames import Frame, Side
from twin.model.messages import Call, Defect, Message


class EventKind(StrEnum):
    OPENED = "opened"
    CALLED = "called"
    ANSWERED = "answered"  # CALLRESULT to a pending CALL
    REFUSED = "refused"  # CALLERROR to a pending CALL
    TIMED_OUT = "timed out"  # a pending CALL expired, or its link ended first
    ORPHANED = "orphaned"  # an answer that fits no pending CALL
    MALFORMED = "malformed"  # text, binary or bytes that are not an OCPP-J message
    CLOSED = "closed"  # a Close frame, or the end of the socket
    RESET = "reset"  # a gap: what was known is unknown again
    NOTED = "noted"  # control frames and remarks of the recorder
    OVERDUE = "overdue"  # something that the state waited for did not come in time


class PendingCall(msgspec.Struct, frozen=True):
    """A CALL waiting for its answer until ``due_us`` (microseconds, same clock as ``Frame.at_us``)."""

    call: Call
    frame: Frame
    due_us: int
    malformed: bool = False  # not framed as a CALL is: nobody owes it an answer

    @property
    def sender(self) -> Side:
        assert self.frame.sender is not None
        return self.frame.sender


class Awaited(msgspec.Struct, frozen=True, kw_only=True):
    """Something that must come by ``due_us`` (same clock as ``Frame.at_us``), else an OVERDUE event says so.

    ``seq`` and ``since_us`` are the frame that began the wait and its time. ``blocked_us`` is how long the
    station had been held up by unanswered CALLs of its own until then: such time is added to the wait.
    ``key`` tells waits for the same thing apart: a connector, a transaction, a frame.
    """

    what: str
    due_us: int
    since_us: int
    seq: int
    connector_id: int | None = None
    transaction_id: int | None = None
    blocked_us: int = 0
    key: int | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What happened at ``at_us`` on ``link``.

    ``frame`` is ``None`` for a time-out that no frame caused. ``asked`` is the CALL that an answer, a
    refusal or a time-out belongs to; for a CALLED event it is the new pending CALL itself. ``action`` is
    the effective action: the CALL's own, also on its answer; "" where there is none. ``took_us`` is the
    time from CALL to answer, on the monotonic clock where both frames have one. ``why`` is a word on
    orphans (``late``, ``second``, ``unknown``, or ``edge`` near the start of a capture), on time-outs
    (``expired``, ``link ended``) and on what is malformed. ``outstanding`` counts the sender's other CALLs
    still pending when this one was sent. ``earlier_seq`` is the frame of an earlier CALL by this sender on
    this link with the same messageId, ``earlier_same`` whether its text was the same too. ``skipped`` says
    that a sender who numbers its CALLs has left some out: an imported log was cut before this one.
    ``awaited`` is what an OVERDUE event missed; its ``action`` is the wait's name.
    """

    kind: EventKind
    at_us: int
    link: str
    station: str = ""
    sender: Side | None = None
    frame: Frame | None = None
    message: Message | None = None
    action: str = ""
    asked: PendingCall | None = None
    took_us: int | None = None
    why: str = ""
    outstanding: int = 0
    earlier_seq: int | None = None
    earlier_same: bool = False
    skipped: bool = False
    awaited: Awaited | None = None
    defects: tuple[Defect, ...] = ()
