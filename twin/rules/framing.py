"""Family J: framing, correlation and payload schemas."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from twin.model import CallError, EventKind, Fault, Flaw, Kind, Severity, Side
from twin.protocol.actions import ACTIONS
from twin.protocol.fold import integer
from twin.protocol.schema import conforms, violations
from twin.protocol.session import hides_payload
from twin.protocol.state import Registration
from twin.rules.step import CUT, DAMAGED, NO_OPENING, NO_TIMES, Found, Step, Unknown

# OCPP-J 1.6 table 7, with its old spellings (JE 5.1, 5.2).
ERROR_CODES = frozenset(
    {
        "NotImplemented", "NotSupported", "InternalError", "ProtocolError", "SecurityError",
        "FormationViolation", "PropertyConstraintViolation", "OccurenceConstraintViolation",
        "TypeConstraintViolation", "GenericError",
    }
)  # fmt: skip
# 5.x: the actions whose confirmation can refuse by a status value.
_REFUSABLE = frozenset(
    {
        "ChangeAvailability", "ChangeConfiguration", "ClearCache", "RemoteStartTransaction",
        "RemoteStopTransaction", "Reset", "UnlockConnector",
    }
)  # fmt: skip
_FREE_TEXT = frozenset({"info", "data", "errorDescription", "description"})
_SOON_US = 1_000_000
_NO_TIME_S = 5  # before the end of the link: no answer was owed yet
_CAPTURE_MARKS = ("truncated", "abbreviated", "reconstructed")
_UNREADABLE = Unknown("the frame is broken: its payload cannot be judged")
_NO_ACTION = Unknown("the action is not one of OCPP 1.6")
_WHO_BROKE_IT = Unknown("whether the sender or the capture broke it is not known")
_NO_ANSWERED = Unknown("the CALL does not fit its schema: an error is the right answer")
_EDGE = Unknown("near the start of the capture: the CALL may have passed before")
_NO_BOOT = Unknown("how the station is registered was not seen")
_INDEX = re.compile(r"/\d+")


def is_json_array(step: Step) -> Iterable[Found] | Unknown | None:
    """The text is valid UTF-8 and one JSON array.

    OCPP-J §4.1.2. Pitfalls: a byte order mark alone is a warning; a text cut by a logger is a defect of the
    capture (J022), not of the sender.
    """
    frame = step.event.frame
    if frame is None or _damaged_by_capture(step):
        return DAMAGED
    if frame.kind is Kind.UNDECODABLE:
        return [Found(detail="invalid UTF-8")] if frame.facts.get("why") == "utf8" else None
    found = [
        Found(detail=_words(flaw.flaw, flaw.detail))
        for flaw in step.event.defects
        if flaw.flaw in (Flaw.NOT_JSON, Flaw.NOT_ARRAY, Flaw.TOO_DEEP)
    ]
    if any(flaw.flaw is Flaw.BOM for flaw in step.event.defects):
        found.append(Found(detail="starts with a byte order mark", severity=Severity.WARNING, key="bom"))
    return found


def element_count(step: Step) -> Iterable[Found] | Unknown | None:
    """A CALL has 4 elements, a CALLRESULT 3, a CALLERROR 5, each of its type.

    OCPP-J §4.2. Pitfalls: the raw array counts; some libraries accept CALLRESULT and CALLERROR with four.
    """
    return _flaws(step, Flaw.ELEMENT_COUNT, Flaw.ACTION_TYPE)


def message_type(step: Step) -> Iterable[Found] | Unknown | None:
    """MessageTypeId is the JSON integer 2, 3 or 4.

    OCPP-J §4.1.3. Pitfalls: a receiver shall ignore unknown numbers, so the peer's silence is right.
    """
    return _flaws(step, Flaw.TYPE_ID)


def message_id(step: Step) -> Iterable[Found] | Unknown | None:
    """The messageId is a string of 1 to 36 characters.

    OCPP-J §4.1.4. Pitfalls: ids need not be UUIDs; ``{GUID}`` with braces (38) is seen in the wild.
    """
    return _flaws(step, Flaw.ID_TYPE, Flaw.ID_LENGTH)


def id_not_reused(step: Step) -> Iterable[Found] | Unknown | None:
    """A sender does not reuse a messageId on one WebSocket, not even for a retransmission.

    OCPP-J §4.1.4. Pitfalls: both sides may use the same id, and a new WebSocket starts afresh; the same
    text sent again unchanged is a warning, another text under the id an error.
    """
    event = step.event
    if event.earlier_seq is None or event.message is None:
        return None if step.before.socket.whole else NO_OPENING
    same = event.earlier_same
    how = "sent again unchanged" if same else "used again for another CALL"
    return [
        Found(
            detail=f"messageId {event.message.message_id[:40]} {how}",
            severity=Severity.WARNING if same else Severity.ERROR,
            evidence=(event.earlier_seq,),
        )
    ]


def one_outstanding(step: Step) -> Iterable[Found] | Unknown | None:
    """At most one CALL is outstanding per direction.

    OCPP-J §4.1.1 (SHOULD NOT). Pitfalls: an unanswered CALL must expire, or every later one is flagged;
    crossing CALLs of both sides are legal.
    """
    if not step.event.outstanding:
        return None
    if step.event.frame is not None and step.event.frame.facts.get("interpolated"):
        return NO_TIMES
    if step.event.sender is not None and step.may_be_cut(step.event.sender.other):
        return CUT
    return [Found(detail=f"{step.event.action[:40]} sent with {step.event.outstanding} CALL(s) outstanding")]


def answers_a_call(step: Step) -> Iterable[Found] | Unknown | None:
    """An answer matches an outstanding CALL of the other side.

    OCPP-J §4.1.1. Pitfalls: near the start of a capture the CALL may have passed before (G9).
    """
    if step.event.why == "edge":
        return _EDGE
    if step.event.why != "unknown" or step.event.message is None:
        return None
    if step.imported:
        return CUT
    return [Found(detail=f"answer to unknown call {step.event.message.message_id[:40]}")]


def not_late(step: Step) -> Iterable[Found] | Unknown | None:
    """The station does not answer after the asker gave up.

    OCPP-J §4.1.1. Pitfalls: the time-out is implementation dependent; J010 has spoken of the same CALL when
    it expired, hence a note; late answers of the CSMS are P004.
    """
    if step.event.why == "edge":
        return _EDGE
    if step.event.why != "late" or step.event.sender is not Side.STATION or step.event.message is None:
        return None
    return [Found(detail=f"late answer to {step.event.message.message_id[:40]}")]


def one_answer(step: Step) -> Iterable[Found] | Unknown | None:
    """A CALL gets one answer.

    OCPP-J §4.2.2. Pitfalls: none.
    """
    if step.event.why == "edge":
        return _EDGE
    if step.event.why != "second" or step.event.message is None:
        return None
    return [Found(detail=f"second answer to {step.event.message.message_id[:40]}")]


def every_call_answered(step: Step) -> Iterable[Found] | Unknown | None:
    """Every CALL is answered before the time-out or the end of the WebSocket.

    OCPP-J §4.1.1, ER 3.82. Pitfalls: the station's time-out is its MessageTimeout; that of the CSMS is left
    to it, so an unanswered CALL to a station that no certificate gives a time is a warning, and so is a
    WebSocket that ended first; where it ended within five seconds nobody owed the answer yet: a note; a
    station that is or was Rejected meanwhile shall not answer (B004); an unanswered transaction message of
    the station is T023.
    """
    event = step.event
    if event.asked is None or event.asked.malformed:
        return None
    if event.sender is Side.CSMS and step.before.was_rejected(event.asked.frame.at_us):
        return None
    if event.asked.frame.facts.get("interpolated"):
        return NO_TIMES
    if unanswered_in_a_cut_log(step):
        return CUT
    waited_s = (event.at_us - event.asked.frame.at_us) / 1e6
    if event.why == "link ended":
        detail = f"{event.action[:40]} unanswered when the link ended"
        if waited_s <= _NO_TIME_S:
            detail += f" {waited_s:.1f} s later"
            return [Found(detail=detail, severity=Severity.NOTE, fault=Fault.NOBODY, key="soon")]
        return [Found(detail=detail, severity=Severity.WARNING)]
    soft = event.sender is Side.CSMS and step.profile.certificate is None  # 4.1.1: the asker's own choice
    severity = Severity.WARNING if soft else None
    return [Found(detail=f"{event.action[:40]} unanswered for {waited_s:g} s", severity=severity)]


def unanswered_in_a_cut_log(step: Step) -> bool:
    """A CALL of an imported log whose answer may be left out: no answers of that side, or nothing after."""
    asked = step.event.asked
    if asked is None or not step.imported:
        return False
    last_us = step.before.last_exchange_us
    return step.may_be_cut(asked.sender.other) or last_us is None or last_us <= asked.frame.at_us


def error_code(step: Step) -> Iterable[Found] | Unknown | None:
    """The errorCode is one of OCPP-J table 7, with its old spellings.

    Pitfalls: ``FormatViolation`` and ``OccurrenceConstraintViolation`` are the corrected spellings of 2.x;
    JE 5.1 and 5.2 say not to change them in 1.6.
    """
    message = step.event.message
    if not isinstance(message, CallError):
        return None
    if hides_payload(step.event):
        return _UNREADABLE
    if isinstance(message.code, str) and message.code in ERROR_CODES:
        return None
    return [Found(detail=f"errorCode {str(message.code)[:60]!r}", key=str(message.code)[:60])]


def error_parts(step: Step) -> Iterable[Found] | Unknown | None:
    """errorDescription is a string ("" if none) and errorDetails an object.

    OCPP-J table 6. Pitfalls: ``null`` details are common, hence a warning.
    """
    message = step.event.message
    if not isinstance(message, CallError):
        return None
    if hides_payload(step.event):
        return _UNREADABLE
    if not isinstance(message.description, str):
        return [Found(detail="errorDescription is not a string", key="description")]
    if isinstance(message.details, dict):
        return None
    severity = Severity.WARNING if message.details is None else Severity.ERROR
    return [Found(detail="errorDetails is not an object", severity=severity, key="details")]


def null_payload(step: Step) -> Iterable[Found] | Unknown | None:
    """An empty payload is written ``{}``, not ``null``.

    OCPP-J tables 4 and 5 allow ``null``; ``{}`` is good practice. Not an error although the schema says so.
    """
    message = step.event.message
    if getattr(message, "payload", {}) is not None:
        return None
    if hides_payload(step.event):
        return _UNREADABLE
    return [Found(detail=f"{step.event.action[:40]} with payload null")]


def right_sender(step: Step) -> Iterable[Found] | Unknown | None:
    """Each action is sent by the side that may send it.

    OCPP 1.6 chapters 4 and 5. Pitfalls: DataTransfer goes both ways.
    """
    action = ACTIONS.get(step.event.action)
    if action is None:
        return _NO_ACTION
    if step.event.sender is None or step.event.sender in action.senders:
        return None
    return [Found(detail=f"{action.name} sent by the {step.event.sender}", key=action.name)]


def known_action(step: Step) -> Iterable[Found] | Unknown | None:
    """The action exists in OCPP 1.6.

    OCPP 1.6 chapters 4 and 5. Pitfalls: vendor features must use DataTransfer.
    """
    name = step.event.action
    if name not in ACTIONS and _damaged_by_capture(step):
        return DAMAGED
    return None if name in ACTIONS else [Found(detail=f"unknown action {name[:60]!r}", key=name[:60])]


def strict_json(step: Step) -> Iterable[Found] | Unknown | None:
    """No duplicate JSON keys, no NaN or Infinity, no lone surrogates.

    RFC 8259, RFC 7493. Pitfalls: most parsers hide all three.
    """
    return _flaws(step, Flaw.DUPLICATE_KEY, Flaw.NOT_A_NUMBER, Flaw.SURROGATE)


def printable_ascii(step: Step) -> Iterable[Found] | Unknown | None:
    """Strings are printable ASCII.

    OCPP 1.6 §2.2. Pitfalls: info, DataTransfer.data and errorDescription carry natural text in practice: a
    note.
    """
    frame = step.event.frame
    text = frame.text if frame is not None else None
    if text is None or (text.isascii() and "\\u" not in text):
        return None
    if _damaged_by_capture(step):
        return DAMAGED
    message = step.event.message
    found = list(_odd_strings(getattr(message, "payload", None), ""))
    if (
        isinstance(message, CallError)
        and isinstance(message.description, str)
        and _is_odd(message.description)
    ):
        found.append("/errorDescription")
    if not found:
        return None
    hard = [path for path in found if path.rsplit("/", 1)[-1] not in _FREE_TEXT]
    path = (hard or found)[0]
    return [
        Found(
            detail=f"{step.event.action[:40]} {path[:60]}: not printable ASCII",
            severity=None if hard else Severity.NOTE,
            fault=Fault.CSMS if path.startswith("/unknownKey") else None,  # an echo of its own key
            key=_INDEX.sub("/*", path)[:60],
        )
    ]


def answer_comes_first(step: Step) -> Iterable[Found] | Unknown | None:
    """The answer comes before the messages it triggers.

    OCPP 1.6 chapter 5; §5.17 (SHALL for TriggerMessage). Pitfalls: a status of an unrelated cause may cross,
    so only the same connector and one second count; independent stations do it both ways.
    """
    event = step.event
    if event.asked is None or step.payload.get("status") not in ("Accepted", "Scheduled"):
        return None
    if event.took_us is None:
        return NO_TIMES
    asked_us = event.asked.frame.at_us
    early = _EARLY[event.action](step, asked_us)
    if early is None or event.at_us - early[1] > _SOON_US:
        return None
    return [
        Found(
            detail=f"{early[0]} comes before {event.action}.conf",
            connector_id=integer(step.asked.get("connectorId")),
            key=event.action,
        )
    ]


def refuses_by_status(step: Step) -> Iterable[Found] | Unknown | None:
    """CALLERROR is not used for a refusal that the confirmation has a status for.

    OCPP-J 1.6 §4.2.2. Pitfalls: TC_027 and TC_040_2 accept a CALLERROR: RemoteStart on connector 0, and a
    PropertyConstraintViolation for an invalid value; a CALL that breaks its schema deserves one.
    """
    message, event = step.event.message, step.event
    if event.action not in _REFUSABLE or not isinstance(message, CallError) or event.asked is None:
        return None
    if not conforms(event.action, event.asked.call.payload, answer=False):
        return _NO_ANSWERED
    if step.before.registration in (Registration.PENDING, Registration.SENT):
        return None
    if event.action == "RemoteStartTransaction" and step.asked.get("connectorId") == 0:
        return None
    code = message.code
    if code in ("PropertyConstraintViolation", "SecurityError") or not isinstance(code, str):
        return None
    return [Found(detail=f"{event.action} refused by CALLERROR {code[:40]}", key=event.action)]


def early_call_refused(step: Step) -> Iterable[Found] | Unknown | None:
    """The CSMS answers a CALL that comes before acceptance with CALLERROR SecurityError.

    JE 3.8 (RECOMMENDED). OCPP 1.6 §4.2. Pitfalls: a triggered message is no early CALL.
    """
    before, event = step.before, step.event
    if before.registration is Registration.UNKNOWN:
        return _NO_BOOT
    if before.registration is Registration.ACCEPTED or event.action == "BootNotification" or before.triggered:
        return None
    message = event.message
    if isinstance(message, CallError) and message.code == "SecurityError":
        return None
    answer = str(message.code)[:40] if isinstance(message, CallError) else "a confirmation"
    return [
        Found(detail=f"{event.action[:40]} before acceptance answered by {answer}", key=event.action[:40])
    ]


def fits_schema(step: Step) -> Iterable[Found] | Unknown | None:
    """The payload fits the OCPP 1.6 schema of its request or confirmation.

    Pitfalls: numbers and schema are read as decimals, else 21.4 breaks ``multipleOf 0.1``; an integer
    written ``1.0`` is a warning; an over-long ``unknownKey`` echoes the CSMS's own key.
    """
    event = step.event
    if event.defects and (hides_payload(event) or _damaged_by_capture(step)):
        return _UNREADABLE
    if event.action not in ACTIONS:
        return None
    if event.frame is not None and event.frame.facts and _damaged_by_capture(step):
        return DAMAGED
    payload = getattr(event.message, "payload", None)
    answer = event.kind is EventKind.ANSWERED
    if conforms(event.action, payload, answer=answer):
        return None
    kind = "confirmation" if answer else "request"
    return [
        Found(
            detail=f"{event.action} {kind} {broken.path or '/'}: {broken.reason}",
            severity=Severity.WARNING if broken.soft else None,
            fault=Fault.CSMS if broken.path.startswith("/unknownKey") else None,
            key=f"{event.action}{kind}{_INDEX.sub('/*', broken.path)}{broken.keyword}",
        )
        for broken in violations(event.action, payload, answer=answer)
        if not (broken.keyword == "minItems" and broken.path.endswith("/sampledValue"))  # M016 speaks of it
    ]


def whole_record(step: Step) -> Iterable[Found] | Unknown | None:
    """A record that is damaged by the capture is kept and marked: no verdict on a peer.

    Pitfalls: loggers cut and abbreviate; the mark comes from whoever read the source.
    """
    frame = step.event.frame
    if frame is None:
        return None
    marks = [mark for mark in _CAPTURE_MARKS if frame.facts.get(mark)] if frame.facts else []
    if frame.kind is Kind.UNDECODABLE and frame.facts.get("why") != "utf8":
        marks.append(f"undecodable ({frame.facts.get('why', 'unknown')})")
    if marks:
        return [Found(detail=f"frame {', '.join(marks)}", key=",".join(marks))]
    return _WHO_BROKE_IT if step.event.kind is EventKind.MALFORMED else None


def identifiers_not_empty(step: Step) -> Iterable[Found] | Unknown | None:
    """Identifiers are not empty: chargePointVendor, chargePointModel, idTag.

    Seen in the field: a station repeated its Boot every 30 s because its empty vendor was refused. Pitfalls:
    the schema has no minLength, so J021 is silent.
    """
    if _damaged_by_capture(step):
        return DAMAGED
    empty = [
        name
        for name in ("chargePointVendor", "chargePointModel", "idTag")
        if isinstance(step.payload.get(name), str) and not step.payload[name].strip()
    ]
    return [Found(detail=f"{step.event.action}: {', '.join(empty)} empty", key=empty[0])] if empty else None


def _damaged_by_capture(step: Step) -> bool:
    frame = step.event.frame
    if frame is None or not frame.facts:
        return False
    return any(frame.facts.get(mark) for mark in _CAPTURE_MARKS[:2])


def _flaws(step: Step, *wanted: Flaw) -> list[Found] | Unknown | None:
    if _damaged_by_capture(step):
        return DAMAGED
    found = [flaw for flaw in step.event.defects if flaw.flaw in wanted]
    return [Found(detail=_words(flaw.flaw, flaw.detail), key=flaw.flaw) for flaw in found]


def _words(flaw: Flaw, detail: str) -> str:
    return f"{flaw.value}: {detail}" if detail else flaw.value


def _is_odd(text: str) -> bool:
    return not (text.isascii() and text.isprintable())


def _odd_strings(value: Any, path: str) -> Iterator[str]:
    """JSON pointers of the strings that are not printable ASCII."""
    todo: list[tuple[str, Any]] = [(path, value)]
    while todo:
        at, held = todo.pop()
        if isinstance(held, str):
            if _is_odd(held):
                yield at
        elif isinstance(held, dict):
            todo += [(f"{at}/{key}", item) for key, item in held.items()]
        elif isinstance(held, list):
            todo += [(f"{at}/{index}", item) for index, item in enumerate(held)]


type _Early = tuple[str, int] | None  # the message that came too early, and when


def _before_remote_start(step: Step, asked_us: int) -> _Early:
    tag, _, at_us = step.before.asked_tag
    mine = tag == str(step.asked.get("idTag", "")).casefold() and bool(tag)
    return ("Authorize", at_us) if mine and at_us > asked_us else None


def _before_reset(step: Step, asked_us: int) -> _Early:
    booted_us = step.before.last_boot_us
    if booted_us is not None and booted_us > asked_us:
        return "BootNotification", booted_us
    reason = f"{step.asked.get('type')}Reset"
    stops = [
        tx for tx in step.before.last_stop.values() if tx.reason == reason and tx.stop_arrived_us > asked_us
    ]
    return ("StopTransaction", stops[-1].stop_arrived_us) if stops else None


def _before_availability(step: Step, asked_us: int) -> _Early:
    number = integer(step.asked.get("connectorId"))
    wanted = "Available" if step.asked.get("type") == "Operative" else "Unavailable"
    connector = step.before.connectors.get(number) if number is not None else None
    if connector is None or connector.status != wanted or connector.since_us <= asked_us:
        return None
    return "StatusNotification", connector.since_us


def _before_trigger(step: Step, asked_us: int) -> _Early:
    what, before = step.asked.get("requestedMessage"), step.before
    number = integer(step.asked.get("connectorId"))
    booted_us = before.last_boot_us if before.asked_boot_us is None else before.asked_boot_us
    times_us = {"Heartbeat": before.heartbeat_us, "BootNotification": booted_us}
    if number is not None and number in before.connectors:
        times_us["StatusNotification"] = before.connectors[number].at_us
    at_us = times_us.get(str(what))
    return (str(what), at_us) if at_us is not None and at_us > asked_us else None


def _before_remote_stop(step: Step, asked_us: int) -> _Early:
    number = integer(step.asked.get("transactionId"))
    ended = step.before.ended.get(number) if number is not None else None
    if ended is None or ended.reason != "Remote" or ended.stop_arrived_us <= asked_us:
        return None
    return "StopTransaction", ended.stop_arrived_us


_EARLY = {
    "RemoteStartTransaction": _before_remote_start,
    "RemoteStopTransaction": _before_remote_stop,
    "Reset": _before_reset,
    "ChangeAvailability": _before_availability,
    "TriggerMessage": _before_trigger,
}
