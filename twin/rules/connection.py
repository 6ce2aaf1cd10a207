"""Family H: the connection and its handshake."""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from itertools import pairwise
from typing import Any

from twin.model import EventKind, Fault, Frame, Kind, Severity, Side
from twin.protocol.fold import integer, word
from twin.protocol.fold.connection import EDGE_US
from twin.protocol.fold.transactions import BOOT_REASONS
from twin.protocol.timestamps import parse_stamp
from twin.rules.step import NO_OPENING, NO_STAMP, NO_VALUE, Found, Step, Unknown

_SUBPROTOCOL = "ocpp1.6"
_ABNORMAL = {
    1002: "protocol error",
    1003: "unsupported data",
    1007: "invalid payload",
    1009: "message too big",
}
_FEW_REFUSALS = 4
_SLOW_ENOUGH_US = 10_000_000
_RIGHT_AFTER_US = 5_000_000
_FEW_ERRORS, _ROW_US = 4, 60_000_000  # as many in a row
_SHORT_OUTAGE_US = 600_000_000
_NO_HEADERS = Unknown("the headers of the handshake were not seen")
_NO_CLOSE = Unknown("how the connection ended was not seen")
_NO_FRAMES = Unknown("control frames were not recorded")
_NO_ERRORS = Unknown("no CALLERROR on this connection was seen")


def offers_subprotocol(step: Step) -> Iterable[Found] | Unknown | None:
    """The upgrade offers ``ocpp1.6`` in Sec-WebSocket-Protocol.

    Pitfalls: the header may be repeated or a comma list; a mere difference of case is a warning; a link that
    agreed on another subprotocol is not OCPP 1.6 at all and is not judged.
    """
    offered = _offered(step)
    if offered is None:
        return _NO_HEADERS
    if _SUBPROTOCOL in offered:
        return None
    if any(name.casefold() == _SUBPROTOCOL for name in offered):
        return [Found(detail=f"offers {', '.join(offered)}: wrong case", severity=Severity.WARNING)]
    return [Found(detail=f"offers {', '.join(offered) or 'no subprotocol'}, not {_SUBPROTOCOL}")]


def selects_subprotocol(step: Step) -> Iterable[Found] | Unknown | None:
    """The response selects exactly one offered subprotocol, ``ocpp1.6``.

    Pitfalls: with nothing in common OCPP-J §3.2 finishes the handshake without the header, newer test tools
    expect a refusal; both are accepted, hence a note.
    """
    facts, offered = _facts(step), _offered(step)
    if offered is None or "subprotocol" not in facts:
        return _NO_HEADERS
    if facts["subprotocol"] == _SUBPROTOCOL:
        return None
    selected = facts["subprotocol"] or "none"
    if _SUBPROTOCOL not in offered and selected == "none":
        return [Found(detail="nothing in common, finished without a subprotocol", severity=Severity.NOTE)]
    return [Found(detail=f"selected {selected} of {', '.join(offered) or 'none'}")]


def identity_in_path(step: Step) -> Iterable[Found] | Unknown | None:
    """The URL path ends in the percent-encoded identity of the station.

    Pitfalls: reverse proxies rewrite paths; a query string exists in the wild and is only a note.
    """
    path = str(_facts(step).get("path", ""))
    if not path:
        return _NO_HEADERS
    if "?" in path:
        return [Found(detail="query string in the path", severity=Severity.NOTE)]
    return [Found(detail="no identity in the path")] if not path.strip("/") else None


def refused_backs_off(step: Step) -> Iterable[Found] | Unknown | None:
    """A station that is refused tries again with growing waits.

    OCPP-J 1.6 §3.2, JE 3.3: an unknown identity is answered with 404. Pitfalls: other 4xx and 5xx are seen,
    so the answer itself is not judged; four refusals are needed, and waits of ten seconds are long enough.
    """
    frame, socket = step.event.frame, step.after.socket
    if frame is None or frame.kind is not Kind.REFUSED:
        return None
    if socket.refused < _FEW_REFUSALS:
        return Unknown("fewer than four refused handshakes")
    newest = socket.attempts[-_FEW_REFUSALS:]
    gaps_us = [later - earlier for earlier, later in pairwise(newest)]
    growing = gaps_us[-1] > gaps_us[0] * 1.2
    if growing or min(gaps_us) >= _SLOW_ENOUGH_US or max(gaps_us) < step.profile.tolerances.reconnect_us:
        return None  # closer than a second is R011
    waits = ", ".join(f"{gap_us / 1e6:.1f}" for gap_us in gaps_us)
    return [Found(detail=f"refused {socket.refused} times, tried again after {waits} s")]


def plain_over_public_network(step: Step) -> Iterable[Found] | Unknown | None:
    """``ws://`` over a public network is insecure.

    OCPP-J 1.6 §6. Pitfalls: the certificate claims no security profile; a private address may still be
    reached over a public network, and is not judged.
    """
    facts = _facts(step)
    peer = str(facts.get("peer") or facts.get("client") or "")
    host = peer.rsplit(":", 1)[0].strip("[]")
    try:
        public = ip_address(host).is_global
    except ValueError:
        return _NO_HEADERS
    if not public or facts.get("tls"):
        return None
    return [Found(detail="plain ws from a public address")]


def basic_user_is_identity(step: Step) -> Iterable[Found] | Unknown | None:
    """The HTTP Basic user name is the identity, when Authorization is present.

    Pitfalls: decided by the recorder before redaction; the password is never seen here.
    """
    facts = _facts(step)
    if not facts:
        return _NO_HEADERS
    auth = facts.get("auth")
    if isinstance(auth, Mapping) and auth.get("user_is_identity") is False:
        return [Found(detail="Basic user name differs from the identity in the path")]
    return None


def one_connection_at_a_time(step: Step) -> Iterable[Found] | Unknown | None:
    """A station has one connection at a time.

    OCPP-J 1.6 §5 (implied). Pitfalls: after a cable pull the old socket is half open, so an overlap of the
    heartbeat interval and the message time-out is granted.
    """
    if step.event.kind is not EventKind.OVERDUE:
        return None if step.after.socket.whole else NO_OPENING
    others = ", ".join(step.before.socket.others) or "an earlier one"
    waited_s = (step.event.at_us - (step.before.socket.opened_us or step.event.at_us)) / 1e6
    return [
        Found(
            detail=f"two connections at once for {waited_s:.0f} s, {others[:80]} did not end",
            fault=Fault.STATION,
        )
    ]


def ends_cleanly(step: Step) -> Iterable[Found] | Unknown | None:
    """The connection ends with a Close frame and without a protocol error.

    RFC 6455 §7.1, §7.4.1. Pitfalls: 1006 is never on the wire; in WebSocket mode a TCP drop looks like 1000,
    so imports and that mode say nothing about abrupt ends.
    """
    frame = step.event.frame
    if frame is None:
        return None
    if frame.kind is Kind.CLOSE and frame.facts.get("code") in _ABNORMAL:
        code = frame.facts["code"]
        return [Found(detail=f"closed with {code} ({_ABNORMAL[code]})", key=str(code), fault=_closer(frame))]
    if frame.kind is Kind.END:
        if "abrupt" not in frame.facts:
            return _NO_CLOSE
        if frame.facts["abrupt"]:
            by = frame.facts.get("by", "unknown")
            detail = f"TCP ended without a Close frame, by {by}"
            return [Found(detail=detail, severity=Severity.NOTE)]
    return None


def no_client_ping(step: Step) -> Iterable[Found] | Unknown | None:
    """With WebSocketPingInterval 0 the station sends no ping.

    OCPP 1.6 §9.1.34; certificate row 34. Pitfalls: visible in byte-exact captures only.
    """
    frame = step.event.frame
    if frame is None or frame.kind is not Kind.PING:
        return _NO_FRAMES
    known = step.seconds_in_force("WebSocketPingInterval")
    if known is None:
        return NO_VALUE
    if known[0] != 0:
        return None
    return [Found(detail="the station pings", provenance=known[1].provenance)]


def ping_is_answered(step: Step) -> Iterable[Found] | Unknown | None:
    """A ping of the CSMS is answered by a pong within MessageTimeout.

    RFC 6455 §5.5.3. Pitfalls: visible in byte-exact captures only.
    """
    if step.event.kind is EventKind.OVERDUE:
        awaited = step.event.awaited
        waited_s = (step.event.at_us - awaited.since_us) / 1e6 if awaited else 0
        return [Found(detail=f"no pong within {waited_s:.0f} s", fault=Fault.STATION)]
    frame = step.event.frame
    return None if frame is not None and frame.kind in (Kind.PING, Kind.PONG) else _NO_FRAMES


def no_boot_on_reconnect(step: Step) -> Iterable[Found] | Unknown | None:
    """A mere reconnection is not followed by BootNotification.

    OCPP-J 1.6 §5.4. Pitfalls: a reboot is invisible, and the power may have gone at the end of the outage, so
    it is told only where the boot repeats the last one, the outage was short, and a transaction that was
    sampled in it goes on after the boot; that it ended in between is a note.
    """
    before = step.before
    socket = before.socket
    if not socket.whole or not socket.outages:
        return NO_OPENING
    outage = socket.outages[-1]
    if socket.boot_seq is None or outage.until_us != socket.opened_us or len(before.boots_us) < 2:
        return None
    if outage.until_us - outage.from_us > _SHORT_OUTAGE_US:
        return None
    reset = before.reset
    if reset is not None and reset.at_us >= before.boots_us[-2]:
        return None
    stamps_us = [stamp.at_us for _, text in step.stamps if (stamp := parse_stamp(text)) is not None]
    if not stamps_us:
        return NO_STAMP
    if word(step.payload.get("reason")) in BOOT_REASONS:
        return None
    how = f"the {(outage.until_us - outage.from_us) / 1e6:.0f} s in between"
    if step.event.action == "StopTransaction":
        offset_us = before.clock.offset_us or before.clock.csms_us or 0
        from_us, until_us = outage.from_us + EDGE_US + offset_us, outage.until_us - EDGE_US + offset_us
        if not any(from_us < at_us < until_us for at_us in stamps_us):
            return None
        detail, severity = f"{how}, and a transaction ended in it", Severity.NOTE
    elif socket.ran_on is not None and socket.ran_on[1] == integer(step.payload.get("transactionId")):
        if before.perhaps_queued(min(stamps_us)):
            return None
        detail, severity = f"{how}, and its transaction goes on", None
    else:
        return None
    seqs = (socket.boot_seq, outage.seq, *(socket.ran_on or ())[:1])
    return [
        Found(
            detail=f"BootNotification after a reconnection, the station ran on for {detail}",
            severity=severity,
            evidence=seqs,
            key=f"{socket.boot_seq}{severity or ''}",
        )
    ]


def no_binary(step: Step) -> Iterable[Found] | Unknown | None:
    """No binary frames.

    OCPP-J §4.1.2 defines text only. Pitfalls: what the recorder could not decode says nothing.
    """
    frame = step.event.frame
    if frame is None or frame.kind is Kind.UNDECODABLE:
        return Unknown("the frame could not be decoded")
    if frame.kind is not Kind.BINARY:
        return None
    return [Found(detail=f"binary message of {len(frame.data or b'')} bytes")]


def deflate_negotiated(step: Step) -> Iterable[Found] | Unknown | None:
    """permessage-deflate was negotiated: worth knowing, harmless.

    OCPP-J §5.1 allows it. Pitfalls: none.
    """
    facts = _facts(step)
    if not facts:
        return _NO_HEADERS
    extensions = str(facts.get("extensions") or "")
    return [Found(detail=extensions[:120])] if "permessage-deflate" in extensions else None


def not_dropped_after_errors(step: Step) -> Iterable[Found] | Unknown | None:
    """The connection is not dropped right after CALLERRORs.

    Seen in the field: one station left after four of them. Pitfalls: counted per connection, and only an end
    within five seconds of the last one, without a Reset, is told; an orderly close, and an end after fewer
    than four in a minute, is a note and nobody's fault, for it may have another cause.
    """
    frame, socket = step.event.frame, step.before.socket
    if frame is None or frame.kind is not Kind.END or step.event.link != step.before.link:
        return None
    if not socket.errors:
        return _NO_ERRORS
    gone_us = step.event.at_us - socket.errors_us[-1]
    reset = step.before.reset
    if gone_us > _RIGHT_AFTER_US or (reset is not None and step.event.at_us - reset.at_us < 120_000_000):
        return None
    by = {"station": Fault.STATION, "csms": Fault.CSMS}.get(str(frame.facts.get("by")), Fault.NOBODY)
    many = (
        len(socket.errors) >= _FEW_ERRORS and socket.errors_us[-1] - socket.errors_us[-_FEW_ERRORS] <= _ROW_US
    )
    loud = many and frame.facts.get("abrupt", True)
    by = by if loud else Fault.NOBODY
    return [
        Found(
            severity=None if loud else Severity.NOTE,
            detail=f"ended {gone_us / 1e6:.1f} s after CALLERROR number {len(socket.errors)} on it",
            fault=by,
            evidence=socket.errors[-1:],
            key="" if loud else "few",
        )
    ]


def _facts(step: Step) -> Mapping[str, Any]:
    frame = step.event.frame
    return frame.facts if frame is not None and not frame.facts.get("late") else {}


def _offered(step: Step) -> list[str] | None:
    offered = _facts(step).get("subprotocols_offered")
    return [str(name) for name in offered] if isinstance(offered, list | tuple) else None


def _closer(frame: Frame) -> Fault:
    return {Side.STATION: Fault.STATION, Side.CSMS: Fault.CSMS, None: Fault.NOBODY}[frame.sender]
