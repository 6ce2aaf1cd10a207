"""What happened at the station, as far as the traffic gives it away: facts with a confidence, never truth.

No proxy sees a plug, a tag, a power cycle or a cut link. Each has a pattern; no rule of severity error rests
on one alone.
"""

from enum import StrEnum

import msgspec

from twin.model import EventKind, Kind
from twin.protocol.fold import integer, word
from twin.rules import Step

_RECENT_US = 60_000_000  # an Authorize this soon after an accepted RemoteStartTransaction is its own


class What(StrEnum):
    """What is inferred."""

    PLUG = "plug"
    TAG = "tag"
    UNPLUG = "unplug"
    POWER_CYCLE = "power cycle"
    LINK_LOSS = "link loss"


class Confidence(StrEnum):
    """How far the pattern carries: LIKELY has one common cause, POSSIBLE has others that are met."""

    LIKELY = "likely"
    POSSIBLE = "possible"


class Inferred(msgspec.Struct, frozen=True, kw_only=True):
    """One inferred event: ``at_us`` and ``seq`` of the frame that gave it away, ``why`` names the pattern."""

    what: What
    confidence: Confidence
    at_us: int
    seq: int
    station: str
    why: str
    connector_id: int | None = None


def infer(step: Step) -> list[Inferred]:
    """What this step gives away."""
    event = step.event
    if event.frame is None:
        return []
    if event.kind is EventKind.CALLED:
        match event.action:
            case "StatusNotification":
                return _from_status(step)
            case "Authorize":
                return _from_authorize(step)
            case "BootNotification":
                return _from_boot(step)
    if event.kind is EventKind.OPENED:
        return _from_opening(step)
    if event.kind is EventKind.CLOSED and event.frame.kind is Kind.END and event.frame.facts.get("abrupt"):
        return [_told(step, What.LINK_LOSS, Confidence.LIKELY, "TCP ended without a Close frame")]
    return []


def _from_status(step: Step) -> list[Inferred]:
    """Available to Preparing is a plug unless a tag came first; Finishing to Available an unplug."""
    connector_id = integer(step.payload.get("connectorId"))
    known = step.before.connectors.get(connector_id) if connector_id else None
    status = word(step.payload.get("status"))
    if known is None or connector_id is None:
        return []
    if (known.status, status) == ("Available", "Preparing"):
        authorized = _authorized_since(step, known.at_us)
        confidence = Confidence.POSSIBLE if authorized else Confidence.LIKELY
        why = "Available to Preparing" + (", after an authorization" if authorized else "")
        return [_told(step, What.PLUG, confidence, why, connector_id)]
    if (known.status, status) == ("Finishing", "Available"):
        return [_told(step, What.UNPLUG, Confidence.LIKELY, "Finishing to Available", connector_id)]
    return []


def _from_authorize(step: Step) -> list[Inferred]:
    told = step.before.remote_starts.get(word(step.payload.get("idTag")).casefold())
    remote = told is not None and step.event.at_us - told.at_us <= _RECENT_US
    confidence = Confidence.POSSIBLE if remote else Confidence.LIKELY
    why = "Authorize" + (" after an accepted RemoteStartTransaction of this idTag" if remote else "")
    return [_told(step, What.TAG, confidence, why)]


def _from_boot(step: Step) -> list[Inferred]:
    """A boot on a connection of its own that no Reset asked for."""
    before = step.before
    if not before.socket.whole or before.socket.spoke_seq is not None:
        return []
    since_us = before.last_boot_us
    if since_us is None or (before.reset is not None and before.reset.at_us >= since_us):
        return []
    return [_told(step, What.POWER_CYCLE, Confidence.POSSIBLE, "new connection and boot without a Reset")]


def _from_opening(step: Step) -> list[Inferred]:
    """The connection before ended and the station is back; a boot will tell whether it was more."""
    outages = step.after.socket.outages
    if not outages or outages == step.before.socket.outages:
        return []
    away_s = (outages[-1].until_us - outages[-1].from_us) / 1e6
    return [_told(step, What.LINK_LOSS, Confidence.POSSIBLE, f"connected again after {away_s:.1f} s")]


def _authorized_since(step: Step, since_us: int) -> bool:
    before = step.before
    tags = any(told.at_us >= since_us for told in before.id_tags.values())
    return tags or any(told.at_us >= since_us for told in before.remote_starts.values())


def _told(
    step: Step, what: What, confidence: Confidence, why: str, connector_id: int | None = None
) -> Inferred:
    frame = step.event.frame
    return Inferred(
        what=what,
        confidence=confidence,
        at_us=step.event.at_us,
        seq=frame.seq if frame else 0,
        station=step.event.station,
        why=why,
        connector_id=connector_id,
    )
