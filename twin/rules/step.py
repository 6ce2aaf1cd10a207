"""What a rule sees (a Step), what it may answer (Found, Unknown), and how it stands in the table (Rule)."""

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import msgspec

from twin.certificate.profile import Profile
from twin.model import Event, EventKind, Fault, Severity, Side
from twin.protocol.config_keys import lookup
from twin.protocol.fold import stamps_of
from twin.protocol.metering import Sample, samples
from twin.protocol.state import StationState

_MOST_DIGITS = 18  # of a configured number: 64 bits, and no cost to whoever reads it


class InForce(msgspec.Struct, frozen=True):
    """A configured value and why we believe it (G5): its wire text, and its provenance in words."""

    value: str
    provenance: str
    observed: bool
    seq: int | None = None


class Step(msgspec.Struct, frozen=True, dict=True):
    """One event with the station's state before and after it, and the profile it is judged against.

    ``payload`` is the event's own message's, ``asked`` that of the CALL it answers; {} where there is none
    or where it is no object. What several rules read of the payload is read once: ``meter_values``,
    ``samples`` (those and ``transactionData``) and ``stamps`` (JSON pointer and text).
    """

    event: Event
    before: StationState
    after: StationState
    profile: Profile
    payload: dict[str, Any]
    asked: dict[str, Any]

    @cached_property
    def meter_values(self) -> tuple[Sample, ...]:
        if self.after.heard is not self.before.heard:
            return self.after.heard  # fold has read them
        return tuple(samples(self.payload.get("meterValue")))

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        return (*self.meter_values, *samples(self.payload.get("transactionData")))

    @cached_property
    def stamps(self) -> tuple[tuple[str, str], ...]:
        return tuple(stamps_of(getattr(self.event.message, "payload", None)))

    def in_force(self, key: str) -> InForce | None:
        """The value of a configuration key before this event: observed, else certified, else unknown."""
        known = self.before.config.get(key.casefold())
        if known is not None:
            return InForce(known.value, f"{known.source} (frame {known.seq})", True, known.seq)
        certificate = self.profile.certificate
        text = certificate.certified_text(key) if certificate else None
        return InForce(text, "certified", False) if text is not None else None

    def seconds_in_force(self, key: str) -> tuple[int, InForce] | None:
        """An integer key in force, in seconds; ``None`` when unknown or not a number."""
        value = self.in_force(key)
        if value is None:
            return None
        digits = value.value.strip()
        counts = digits.isascii() and digits.isdecimal() and len(digits) <= _MOST_DIGITS
        return (int(digits), value) if counts else None

    def switched_on(self, key: str) -> bool | None:
        """Whether a key in force is TRUE; FALSE where the station has none such, ``None`` while unknown."""
        value, before = self.in_force(key), self.before
        if value is not None:
            return value.value.strip().casefold() == "true"
        row, folded = lookup(key), key.casefold()
        absent = bool(before.listed_keys) and folded not in (before.listed_keys or ())  # 5.8: all are listed
        if absent or folded in before.unknown_keys or (row and self.profile.excludes(row.profile)):
            return False
        return None

    def may_be_cut(self, answerer: Side) -> bool:
        """Whether this is an imported log that may lack the answers of ``answerer``.

        It has no clock of a recorder's own, and it has shown no answer of that side before, or the other's
        CALLs are numbered with holes: dialogues are logged on one side, and lines are left out.
        """
        frame = self.event.frame or (self.event.asked.frame if self.event.asked else None)
        imported = frame is not None and frame.mono_ns is None
        holed = answerer.other in self.after.cut
        return imported and (holed or not self.before.answers_seen.get(answerer))

    @property
    def imported(self) -> bool:
        """Whether an importer made this frame out of a log: lines of it may be missing."""
        frame = self.event.frame or (self.event.asked.frame if self.event.asked else None)
        return frame is not None and frame.mono_ns is None and not self.before.socket.whole

    @property
    def took_s(self) -> float:
        """CALL to answer in seconds, 0 where this is no answer."""
        return (self.event.took_us or 0) / 1e6


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of a rule. What is ``None`` is taken from the rule's row and from the event.

    Findings are capped to one per (rule, station, connector, transaction, ``key``); the rest is counted.
    ``config_key`` names the configuration key it is about: what this rule speaks for is then silent about it.
    """

    detail: str
    severity: Severity | None = None
    fault: Fault | None = None
    connector_id: int | None = None
    transaction_id: int | None = None
    evidence: tuple[int, ...] = ()
    provenance: str = ""
    key: str = ""
    config_key: str = ""


class Unknown(msgspec.Struct, frozen=True):
    """A rule's answer where evidence is missing: no verdict, and why (G1).

    ``why`` is a constant, never the wire's words: it is counted, and ``--explain-silence`` prints it.
    """

    why: str


# What several rules lack; each rule may say more of its own.
NO_CONNECTOR = Unknown("no connectorId in the message")
NO_STAMP = Unknown("no readable time stamp in the message")
NO_CERTIFICATE = Unknown("judged against the specification alone: nothing is certified")
NO_BOOT = Unknown("the capture did not begin with a boot, or has a gap: earlier traffic was not seen")
NO_TRANSACTION = Unknown("the transaction's StartTransaction or its answer was not seen")
NO_OPENING = Unknown("the opening of the connection was not seen")
NO_VALUE = Unknown("the configured value was neither observed nor certified")
NO_EARLIER_STATUS = Unknown("no earlier status of the connector since the boot or the connection")
QUEUED = Unknown("the message is older than its connection: delivered from the queue")
CUT = Unknown("an imported log that may be cut: the other half of this dialogue may not be in it")
NO_TIMES = Unknown("the capture has no times of its own")
NO_CLOCK = Unknown("the capture has no clock of its own")
NO_ID = Unknown("no transactionId in the message")
NO_VENDOR = Unknown("no vendorId in the message")
UNREAD = Unknown("the answer of the CSMS is malformed: how the station reads it is its own affair")
DAMAGED = Unknown("the record was damaged by the capture")

type Judge = Callable[[Step], Iterable[Found] | Unknown | None]


class Rule(msgspec.Struct, frozen=True):
    """One row of the rule book. ``on`` names the events and actions it listens to, "" for any action.

    ``by`` narrows them to one sender. ``fault`` is ``None`` where whoever sent the message (or owed the
    answer) is to blame. The statement and the pitfalls stand in the docstring of ``judge``. ``flawed`` rules
    hear only messages with defects.
    """

    id: str
    judge: Judge
    severity: Severity
    fault: Fault | None
    reference: str
    on: tuple[tuple[EventKind, str], ...]
    by: Side | None = None
    flawed: bool = False

    @property
    def statement(self) -> str:
        return (self.judge.__doc__ or "").strip().split("\n", 1)[0]

    @property
    def needs(self) -> str:
        """What a capture lacks in which this rule is never asked, in words."""
        kinds: dict[str, list[str]] = {}
        for kind, action in self.on:
            kinds.setdefault(_LACKS[kind], []).append(action)
        words = [
            lack.format(" or ".join(sorted(actions)) if all(actions) else "message")
            for lack, actions in kinds.items()
        ]
        who = f" of the {self.by}" if self.by else ""
        return "no " + ", no ".join(words) + who + (" with a flaw" if self.flawed else "")


_LACKS = {
    EventKind.OPENED: "opening of a connection",
    EventKind.CLOSED: "end of a connection",
    EventKind.CALLED: "{}.req",
    EventKind.ANSWERED: "{}.conf",
    EventKind.REFUSED: "CALLERROR to {}",
    EventKind.TIMED_OUT: "unanswered {}",
    EventKind.ORPHANED: "answer without its CALL",
    EventKind.MALFORMED: "unreadable message",
    EventKind.RESET: "gap",
    EventKind.NOTED: "control frame",
    EventKind.OVERDUE: "time-out of {}",
}


def to_blame(event: Event) -> Fault:
    """Who sent the message; for a time-out, who owed the answer."""
    side = event.asked.sender.other if event.kind is EventKind.TIMED_OUT and event.asked else event.sender
    return Fault.NOBODY if side is None else Fault.STATION if side is Side.STATION else Fault.CSMS
