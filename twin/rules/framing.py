"""Family J: framing, correlation and payload schemas."""

import re
from collections.abc import Iterable

from twin.model import CallError, EventKind, Fault, Flaw, Kind, Severity, Side
from twin.protocol.actions import ACTIONS
from twin.protocol.schema import conforms, violations
from twin.protocol.session import hides_payload
from twin.protocol.state import Registration
from twin.rules.step import Found, Step

# OCPP-J 1.6 table 7, with its old spellings (JE 5.1, 5.2).
ERROR_CODES = frozenset(
    {
        "NotImplemented", "NotSupported", "InternalError", "ProtocolError", "SecurityError",
        "FormationViolation", "PropertyConstraintViolation", "OccurenceConstraintViolation",
        "TypeConstraintViolation", "GenericError",
    }
)  # fmt: skip
_CAPTURE_MARKS = ("truncated", "abbreviated", "reconstructed")
_INDEX = re.compile(r"/\d+")


def is_json_array(step: Step) -> Iterable[Found] | None:
    """The text is valid UTF-8 and one JSON array.

    OCPP-J §4.1.2. Pitfalls: a byte order mark alone is a warning; a text cut by a logger is a defect of the
    capture (J022), not of the sender.
    """
    frame = step.event.frame
    if frame is None or _damaged_by_capture(step):
        return None
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


def element_count(step: Step) -> Iterable[Found] | None:
    """A CALL has 4 elements, a CALLRESULT 3, a CALLERROR 5, each of its type.

    OCPP-J §4.2. Pitfalls: the raw array counts; some libraries accept CALLRESULT and CALLERROR with four.
    """
    return _flaws(step, Flaw.ELEMENT_COUNT, Flaw.ACTION_TYPE)


def message_type(step: Step) -> Iterable[Found] | None:
    """MessageTypeId is the JSON integer 2, 3 or 4.

    OCPP-J §4.1.3. Pitfalls: a receiver shall ignore unknown numbers, so the peer's silence is right.
    """
    return _flaws(step, Flaw.TYPE_ID)


def message_id(step: Step) -> Iterable[Found] | None:
    """The messageId is a string of 1 to 36 characters.

    OCPP-J §4.1.4. Pitfalls: ids need not be UUIDs; ``{GUID}`` with braces (38) is seen in the wild.
    """
    return _flaws(step, Flaw.ID_TYPE, Flaw.ID_LENGTH)


def id_not_reused(step: Step) -> Iterable[Found] | None:
    """A sender does not reuse a messageId on one WebSocket, not even for a retransmission.

    OCPP-J §4.1.4. Pitfalls: both sides may use the same id, and a new WebSocket starts afresh; the same
    text sent again unchanged is a warning, another text under the id an error.
    """
    event = step.event
    if event.earlier_seq is None or event.message is None:
        return None
    same = event.earlier_same
    how = "sent again unchanged" if same else "used again for another CALL"
    return [
        Found(
            detail=f"messageId {event.message.message_id[:40]} {how}",
            severity=Severity.WARNING if same else Severity.ERROR,
            evidence=(event.earlier_seq,),
        )
    ]


def one_outstanding(step: Step) -> Iterable[Found] | None:
    """At most one CALL is outstanding per direction.

    OCPP-J §4.1.1 (SHOULD NOT). Pitfalls: an unanswered CALL must expire, or every later one is flagged;
    crossing CALLs of both sides are legal.
    """
    if not step.event.outstanding:
        return None
    return [Found(detail=f"{step.event.action[:40]} sent with {step.event.outstanding} CALL(s) outstanding")]


def answers_a_call(step: Step) -> Iterable[Found] | None:
    """An answer matches an outstanding CALL of the other side.

    OCPP-J §4.1.1. Pitfalls: near the start of a capture the CALL may have passed before (G9).
    """
    if step.event.why != "unknown" or step.event.message is None:
        return None
    return [Found(detail=f"answer to unknown call {step.event.message.message_id[:40]}")]


def not_late(step: Step) -> Iterable[Found] | None:
    """The station does not answer after the asker gave up.

    OCPP-J §4.1.1. Pitfalls: the time-out is implementation dependent; late answers of the CSMS are P004.
    """
    if step.event.why != "late" or step.event.sender is not Side.STATION or step.event.message is None:
        return None
    return [Found(detail=f"late answer to {step.event.message.message_id[:40]}")]


def one_answer(step: Step) -> Iterable[Found] | None:
    """A CALL gets one answer.

    OCPP-J §4.2.2. Pitfalls: none.
    """
    if step.event.why != "second" or step.event.message is None:
        return None
    return [Found(detail=f"second answer to {step.event.message.message_id[:40]}")]


def every_call_answered(step: Step) -> Iterable[Found] | None:
    """Every CALL is answered before the time-out or the end of the WebSocket.

    OCPP-J §4.1.1, ER 3.82. Pitfalls: a WebSocket that ended first is a warning; a Rejected station shall not
    answer (B004); an unanswered transaction message of the station is T023.
    """
    event = step.event
    if event.asked is None:
        return None
    if event.sender is Side.CSMS and step.before.registration is Registration.REJECTED:
        return None
    if event.why == "link ended":
        return [
            Found(detail=f"{event.action[:40]} unanswered when the link ended", severity=Severity.WARNING)
        ]
    waited_s = (event.at_us - event.asked.frame.at_us) / 1e6
    return [Found(detail=f"{event.action[:40]} unanswered for {waited_s:g} s")]


def error_code(step: Step) -> Iterable[Found] | None:
    """The errorCode is one of OCPP-J table 7, with its old spellings.

    Pitfalls: ``FormatViolation`` and ``OccurrenceConstraintViolation`` are the corrected spellings of 2.x;
    JE 5.1 and 5.2 say not to change them in 1.6.
    """
    message = step.event.message
    if not isinstance(message, CallError) or hides_payload(step.event):
        return None
    if isinstance(message.code, str) and message.code in ERROR_CODES:
        return None
    return [Found(detail=f"errorCode {str(message.code)[:60]!r}", key=str(message.code)[:60])]


def error_parts(step: Step) -> Iterable[Found] | None:
    """errorDescription is a string ("" if none) and errorDetails an object.

    OCPP-J table 6. Pitfalls: ``null`` details are common, hence a warning.
    """
    message = step.event.message
    if not isinstance(message, CallError) or hides_payload(step.event):
        return None
    if not isinstance(message.description, str):
        return [Found(detail="errorDescription is not a string", key="description")]
    if isinstance(message.details, dict):
        return None
    severity = Severity.WARNING if message.details is None else Severity.ERROR
    return [Found(detail="errorDetails is not an object", severity=severity, key="details")]


def null_payload(step: Step) -> Iterable[Found] | None:
    """An empty payload is written ``{}``, not ``null``.

    OCPP-J tables 4 and 5 allow ``null``; ``{}`` is good practice. Not an error although the schema says so.
    """
    message = step.event.message
    if getattr(message, "payload", {}) is not None or hides_payload(step.event):
        return None
    return [Found(detail=f"{step.event.action[:40]} with payload null")]


def right_sender(step: Step) -> Iterable[Found] | None:
    """Each action is sent by the side that may send it.

    OCPP 1.6 chapters 4 and 5. Pitfalls: DataTransfer goes both ways.
    """
    action = ACTIONS.get(step.event.action)
    if action is None or step.event.sender is None or step.event.sender in action.senders:
        return None
    return [Found(detail=f"{action.name} sent by the {step.event.sender}", key=action.name)]


def known_action(step: Step) -> Iterable[Found] | None:
    """The action exists in OCPP 1.6.

    OCPP 1.6 chapters 4 and 5. Pitfalls: vendor features must use DataTransfer.
    """
    name = step.event.action
    return None if name in ACTIONS else [Found(detail=f"unknown action {name[:60]!r}", key=name[:60])]


def strict_json(step: Step) -> Iterable[Found] | None:
    """No duplicate JSON keys, no NaN or Infinity, no lone surrogates.

    RFC 8259, RFC 7493. Pitfalls: most parsers hide all three.
    """
    return _flaws(step, Flaw.DUPLICATE_KEY, Flaw.NOT_A_NUMBER, Flaw.SURROGATE)


def fits_schema(step: Step) -> Iterable[Found] | None:
    """The payload fits the OCPP 1.6 schema of its request or confirmation.

    Pitfalls: numbers and schema are read as decimals, else 21.4 breaks ``multipleOf 0.1``; an integer
    written ``1.0`` is a warning; an over-long ``unknownKey`` echoes the CSMS's own key.
    """
    event = step.event
    if event.action not in ACTIONS or hides_payload(event) or _damaged_by_capture(step):
        return None
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
    ]


def whole_record(step: Step) -> Iterable[Found] | None:
    """A record that is damaged by the capture is kept and marked: no verdict on a peer.

    Pitfalls: loggers cut and abbreviate; the mark comes from whoever read the source.
    """
    frame = step.event.frame
    if frame is None:
        return None
    marks = [mark for mark in _CAPTURE_MARKS if frame.facts.get(mark)] if frame.facts else []
    if frame.kind is Kind.UNDECODABLE and frame.facts.get("why") != "utf8":
        marks.append(f"undecodable ({frame.facts.get('why', 'unknown')})")
    return [Found(detail=f"frame {', '.join(marks)}", key=",".join(marks))] if marks else None


def identifiers_not_empty(step: Step) -> Iterable[Found] | None:
    """Identifiers are not empty: chargePointVendor, chargePointModel, idTag.

    Seen in the field: a station repeated its Boot every 30 s because its empty vendor was refused. Pitfalls:
    the schema has no minLength, so J021 is silent.
    """
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


def _flaws(step: Step, *wanted: Flaw) -> list[Found] | None:
    if _damaged_by_capture(step):
        return None
    found = [flaw for flaw in step.event.defects if flaw.flaw in wanted]
    return [Found(detail=_words(flaw.flaw, flaw.detail), key=flaw.flaw) for flaw in found]


def _words(flaw: Flaw, detail: str) -> str:
    return f"{flaw.value}: {detail}" if detail else flaw.value
