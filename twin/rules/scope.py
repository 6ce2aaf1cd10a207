"""Family N: what lies outside the certified Core profile."""

from collections.abc import Iterable
from typing import Any

from twin.model import CallError, EventKind, Side
from twin.protocol.actions import ACTIONS
from twin.protocol.fold import integer
from twin.rules.step import DAMAGED, NO_CERTIFICATE, NO_VENDOR, Found, Step, Unknown

# What counts as accepting an action of another profile (docs/rules.md, non-Core actions).
_STATUS_ACCEPTED = frozenset(
    {
        "SetChargingProfile", "ClearChargingProfile", "GetCompositeSchedule", "SendLocalList", "ReserveNow",
        "CancelReservation", "TriggerMessage",
    }
)  # fmt: skip
_LAB = Unknown("lab context: a test tool calls what is not certified on purpose")
_ANY_RESULT = frozenset({"UpdateFirmware"}) | {
    action.name for action in ACTIONS.values() if action.profile == "Security"
}


def does_not_accept(step: Step) -> Iterable[Found] | Unknown | None:
    """The station does not accept an action of a profile that is not certified.

    Certificate, functionalities; ER 3.39. Pitfalls: a refusing confirmation is conforming in practice;
    UpdateFirmware has no status, so any confirmation accepts it.
    """
    action = step.event.action
    if step.profile.certificate is None:
        return NO_CERTIFICATE
    if not _outside(step) or not _accepts(action, step.payload):
        return None
    return [
        Found(detail=f"{action} ({ACTIONS[action].profile}) accepted", provenance="certified", key=action)
    ]


def refuses_in_the_best_way(step: Step) -> Iterable[Found] | Unknown | None:
    """The best refusal of an action outside the certificate is CALLERROR NotSupported.

    ER 3.39 (SHALL for SetChargingProfile). Pitfalls: a refusing confirmation is tolerated everywhere.
    """
    action = step.event.action
    if step.profile.certificate is None:
        return NO_CERTIFICATE
    if not _outside(step) or _accepts(action, step.payload):
        return None
    return [Found(detail=f"{action} refused by a confirmation", key=action)]


def known_but_not_supported(step: Step) -> Iterable[Found] | Unknown | None:
    """A known action that is not supported gets NotSupported, not NotImplemented.

    OCPP-J 1.6 table 7. Pitfalls: field stacks mix them, and one popular library has them inverted.
    """
    if step.profile.certificate is None:
        return NO_CERTIFICATE
    if not _outside(step) or _code(step) != "NotImplemented":
        return None
    return [Found(detail=f"{step.event.action} answered NotImplemented", key=step.event.action)]


def refuses_properly(step: Step) -> Iterable[Found] | Unknown | None:
    """An action outside the certificate gets no InternalError or GenericError and does not time out.

    OCPP-J 1.6 table 7. Pitfalls: a link that ended first explains a missing answer, and so does a station
    that was Rejected when it was asked (4.2).
    """
    if step.profile.certificate is None:
        return NO_CERTIFICATE
    if not _outside(step):
        return None
    timed_out = step.event.kind is EventKind.TIMED_OUT and step.event.why == "expired"
    asked = step.event.asked
    if timed_out and asked is not None and step.before.was_rejected(asked.frame.at_us):
        return None
    if not timed_out and _code(step) not in ("InternalError", "GenericError"):
        return None
    return [Found(detail=f"{step.event.action}: {_code(step) or 'no answer'}", key=step.event.action)]


def sends_core_only(step: Step) -> Iterable[Found] | Unknown | None:
    """The station sends no CALL of a profile that is not certified.

    Certificate, functionalities. Pitfalls: an unsolicited FirmwareStatusNotification every 10 s was seen.
    """
    if step.profile.certificate is None:
        return NO_CERTIFICATE
    if not _outside(step):
        return None
    profile = ACTIONS[step.event.action].profile
    return [Found(detail=f"{step.event.action} ({profile})", provenance="certified", key=step.event.action)]


def csms_uses_core_only(step: Step) -> Iterable[Found] | Unknown | None:
    """The CSMS uses only profiles that the station is certified for.

    Certificate, functionalities. Pitfalls: test tools do it on purpose (lab context).
    """
    if step.profile.certificate is None:
        return NO_CERTIFICATE
    if step.profile.lab:
        return _LAB
    if not _outside(step):
        return None
    profile = ACTIONS[step.event.action].profile
    return [Found(detail=f"{step.event.action} ({profile})", provenance="certified", key=step.event.action)]


def unknown_action_not_implemented(step: Step) -> Iterable[Found] | Unknown | None:
    """An unknown action gets CALLERROR NotImplemented.

    OCPP-J 1.6 table 7. Pitfalls: NotSupported for an unknown action is the inversion of N003.
    """
    if step.event.action in ACTIONS:
        return None
    if step.event.frame is not None and step.event.frame.facts.get("truncated"):
        return DAMAGED
    answer = _code(step) or "a confirmation"
    if answer == "NotImplemented":
        return None
    return [Found(detail=f"unknown {step.event.action[:40]!r} answered {answer[:40]}")]


def data_transfer_channel(step: Step) -> Iterable[Found] | Unknown | None:
    """DataTransfer of the station is a second status channel: opaque, compared only as text.

    Seen in the field with three vendors. Pitfalls: not a violation.
    """
    if step.event.sender is not Side.STATION:
        return None
    if not isinstance(step.payload.get("vendorId"), str):
        return NO_VENDOR
    return [Found(detail=f"DataTransfer of {str(step.payload.get('vendorId'))[:60]!r}")]


def _outside(step: Step) -> bool:
    action = ACTIONS.get(step.event.action)
    return action is not None and step.profile.excludes(action.profile)


def _accepts(action: str, payload: dict[str, Any]) -> bool:
    if action in _STATUS_ACCEPTED:
        return payload.get("status") == "Accepted"
    if action == "GetLocalListVersion":
        return (integer(payload.get("listVersion")) or 0) >= 0 and "listVersion" in payload
    if action == "GetDiagnostics":
        return "fileName" in payload
    return action in _ANY_RESULT


def _code(step: Step) -> str:
    message = step.event.message
    return str(message.code) if isinstance(message, CallError) else ""
