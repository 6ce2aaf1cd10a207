"""From an answer to what it sets off: how long a station takes to do what it has promised."""

from typing import Any

from twin.model import EventKind, Frame, Side
from twin.protocol.fold import integer, word
from twin.rules import Step

LONGEST_US = 60_000_000
"""What comes later than this after the answer has another cause."""

_REMEMBERED = 256

# What the station promises by its answer, and the CALL that follows.
TRIGGERED = {
    "RemoteStopTransaction": "StopTransaction",
    "ChangeAvailability": "StatusNotification",
    "RemoteStartTransaction": "Authorize",
}


class Promises:
    """The accepted requests of one station that wait for what they set off."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, object], Frame] = {}

    def see(self, step: Step) -> tuple[str, int] | None:
        """``("RemoteStopTransaction → StopTransaction", µs)`` where this step fulfils a promise."""
        event = step.event
        if event.kind is EventKind.RESET:
            self._waiting.clear()
        frame = event.frame
        if frame is None or event.sender is not Side.STATION:
            return None
        if event.kind is EventKind.ANSWERED and event.action in TRIGGERED:
            if step.payload.get("status") == "Accepted" and not _already(step):
                key = _promised(event.action, step.asked)
                self._waiting.pop(key, None)
                self._waiting[key] = frame
                if len(self._waiting) > _REMEMBERED:
                    del self._waiting[next(iter(self._waiting))]
            return None
        if event.kind is not EventKind.CALLED or not self._waiting:
            return None
        for key in _fulfilled(event.action, step.payload):
            promise = self._waiting.pop(key, None)
            took_us = between_us(promise, frame) if promise is not None else None
            if took_us is not None and took_us <= LONGEST_US:
                return f"{key[0]} → {event.action}", took_us
        return None


def between_us(first: Frame, then: Frame) -> int | None:
    """From one frame to another in µs, on the monotonic clock where both have one; ``None`` without times."""
    if first.facts.get("interpolated") or then.facts.get("interpolated"):
        return None
    if first.mono_ns is not None and then.mono_ns is not None:
        return (then.mono_ns - first.mono_ns) // 1000
    return then.at_us - first.at_us


def _promised(action: str, asked: dict[str, Any]) -> tuple[str, object]:
    match action:
        case "RemoteStopTransaction":
            return action, integer(asked.get("transactionId"))
        case "ChangeAvailability":
            return action, (integer(asked.get("connectorId")), asked.get("type") == "Inoperative")
        case _:
            return action, word(asked.get("idTag")).casefold()


def _fulfilled(action: str, payload: dict[str, Any]) -> list[tuple[str, object]]:
    match action:
        case "StopTransaction":
            return [("RemoteStopTransaction", integer(payload.get("transactionId")))]
        case "StatusNotification":
            place = (integer(payload.get("connectorId")), payload.get("status") == "Unavailable")
            return [("ChangeAvailability", place)]
        case "Authorize":
            return [("RemoteStartTransaction", word(payload.get("idTag")).casefold())]
        case _:
            return []


def _already(step: Step) -> bool:
    """Whether ChangeAvailability asks for what is so already: then no StatusNotification is due (§5.2)."""
    if step.event.action != "ChangeAvailability":
        return False
    connector_id = integer(step.asked.get("connectorId"))
    known = step.before.connectors.get(connector_id) if connector_id is not None else None
    return known is not None and (known.status == "Unavailable") is (step.asked.get("type") == "Inoperative")
