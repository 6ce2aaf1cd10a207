"""Family H: the connection and its handshake."""

from collections.abc import Iterable

from twin.model import Fault, Frame, Kind, Severity, Side
from twin.rules.step import Found, Step

_SUBPROTOCOL = "ocpp1.6"
_ABNORMAL = {
    1002: "protocol error",
    1003: "unsupported data",
    1007: "invalid payload",
    1009: "message too big",
}


def offers_subprotocol(step: Step) -> Iterable[Found] | None:
    """The upgrade offers ``ocpp1.6`` in Sec-WebSocket-Protocol.

    Pitfalls: the header may be repeated or a comma list; a mere difference of case is a warning; a link that
    agreed on another subprotocol is not OCPP 1.6 at all and is not judged.
    """
    offered = _offered(step)
    if offered is None or _SUBPROTOCOL in offered:
        return None
    if any(name.casefold() == _SUBPROTOCOL for name in offered):
        return [Found(detail=f"offers {', '.join(offered)}: wrong case", severity=Severity.WARNING)]
    return [Found(detail=f"offers {', '.join(offered) or 'no subprotocol'}, not {_SUBPROTOCOL}")]


def selects_subprotocol(step: Step) -> Iterable[Found] | None:
    """The response selects exactly one offered subprotocol, ``ocpp1.6``.

    Pitfalls: with nothing in common OCPP-J §3.2 finishes the handshake without the header, newer test tools
    expect a refusal; both are accepted, hence a note.
    """
    facts, offered = _facts(step), _offered(step)
    if offered is None or "subprotocol" not in facts or facts["subprotocol"] == _SUBPROTOCOL:
        return None
    selected = facts["subprotocol"] or "none"
    if _SUBPROTOCOL not in offered and selected == "none":
        return [Found(detail="nothing in common, finished without a subprotocol", severity=Severity.NOTE)]
    return [Found(detail=f"selected {selected} of {', '.join(offered) or 'none'}")]


def identity_in_path(step: Step) -> Iterable[Found] | None:
    """The URL path ends in the percent-encoded identity of the station.

    Pitfalls: reverse proxies rewrite paths; a query string exists in the wild and is only a note.
    """
    path = str(_facts(step).get("path", ""))
    if "?" in path:
        return [Found(detail="query string in the path", severity=Severity.NOTE)]
    return [Found(detail="no identity in the path")] if path and not path.strip("/") else None


def basic_user_is_identity(step: Step) -> Iterable[Found] | None:
    """The HTTP Basic user name is the identity, when Authorization is present.

    Pitfalls: decided by the recorder before redaction; the password is never seen here.
    """
    auth = _facts(step).get("auth")
    if isinstance(auth, dict) and auth.get("user_is_identity") is False:
        return [Found(detail="Basic user name differs from the identity in the path")]
    return None


def ends_cleanly(step: Step) -> Iterable[Found] | None:
    """The connection ends with a Close frame and without a protocol error.

    Pitfalls: 1006 is never on the wire; in WebSocket mode a TCP drop looks like 1000, so imports and that
    mode say nothing about abrupt ends.
    """
    frame = step.event.frame
    if frame is None:
        return None
    if frame.kind is Kind.CLOSE and frame.facts.get("code") in _ABNORMAL:
        code = frame.facts["code"]
        return [Found(detail=f"closed with {code} ({_ABNORMAL[code]})", key=str(code), fault=_closer(frame))]
    if frame.kind is Kind.END and frame.facts.get("abrupt"):
        by = frame.facts.get("by", "unknown")
        return [Found(detail=f"TCP ended without a Close frame, by {by}", severity=Severity.NOTE)]
    return None


def no_binary(step: Step) -> Iterable[Found] | None:
    """No binary frames.

    OCPP-J §4.1.2 defines text only. Pitfalls: none.
    """
    frame = step.event.frame
    if frame is None or frame.kind is not Kind.BINARY:
        return None
    return [Found(detail=f"binary message of {len(frame.data or b'')} bytes")]


def deflate_negotiated(step: Step) -> Iterable[Found] | None:
    """permessage-deflate was negotiated: worth knowing, harmless.

    OCPP-J §5.1 allows it. Pitfalls: none.
    """
    extensions = str(_facts(step).get("extensions") or "")
    return [Found(detail=extensions)] if "permessage-deflate" in extensions else None


def _facts(step: Step) -> dict[str, object]:
    frame = step.event.frame
    return dict(frame.facts) if frame and not frame.facts.get("late") else {}


def _offered(step: Step) -> list[str] | None:
    offered = _facts(step).get("subprotocols_offered")
    return [str(name) for name in offered] if isinstance(offered, list | tuple) else None


def _closer(frame: Frame) -> Fault:
    return {Side.STATION: Fault.STATION, Side.CSMS: Fault.CSMS, None: Fault.NOBODY}[frame.sender]
