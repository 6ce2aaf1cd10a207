"""One frame as one line of a capture (docs/capture-format.md).

A text message that parses as OCPP-J is an open-ocpp-trace v1.1 record; everything else has a ``kind``.
"""

import base64
from typing import Any

import msgspec

from twin.model import Call, CallError, Event, Frame, Kind, Parsed, Side
from twin.protocol import codec
from twin.protocol.fold import integer
from twin.protocol.session import UNPARSED, Rpc
from twin.protocol.timestamps import format_us

DIRECTIONS = {Side.STATION: "cp-to-csms", Side.CSMS: "csms-to-cp"}
_DAMAGED = ("truncated", "abbreviated")  # kept as text, never as a record

_encode = msgspec.json.Encoder().encode


class Record(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One open-ocpp-trace v1.1 record, in the order in which it is written."""

    schemaVersion: str = msgspec.field(default="")  # noqa: N815  # the format's own spelling
    timestamp: str
    ocppVersion: str = ""  # noqa: N815  # the format's own spelling
    transport: str = ""
    chargePointId: str = ""  # noqa: N815  # the format's own spelling
    connectorId: int | None = None  # noqa: N815  # the format's own spelling
    direction: str
    messageType: str  # noqa: N815  # the format's own spelling
    messageId: str = ""  # noqa: N815  # the format's own spelling
    action: str = ""
    payload: Any = msgspec.UNSET
    error: Any = msgspec.UNSET
    raw: str = ""
    meta: dict[str, Any] = {}


def record_of(frame: Frame, parsed: Parsed, action: str, meta: dict[str, Any]) -> Record | None:
    """A frame as an open-ocpp-trace record, ``None`` where it is no OCPP-J message of a known sender.

    ``action`` is the effective one, also for answers ("" where the CALL is unknown). ``payload`` is the slice
    of the text itself, so ``4321.10`` keeps its zero and long integers stay intact.
    """
    message, sender, text = parsed.message, frame.sender, frame.text
    if message is None or sender is None or text is None or any(map(frame.facts.get, _DAMAGED)):
        return None
    try:
        elements = msgspec.json.decode(text, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError):  # a byte order mark; nesting beyond what others can read
        return None
    record = Record(
        schemaVersion="1.1",
        timestamp=format_us(frame.at_us),
        ocppVersion="1.6",
        transport="json",
        chargePointId=frame.station,
        direction=DIRECTIONS[sender],
        messageType="CALL",
        messageId=message.message_id,
        action=action,
        raw=text,
        meta=meta,
    )
    if isinstance(message, CallError):
        record.messageType = "CALLERROR"
        record.error = {
            "code": str(message.code),
            "description": str(message.description or ""),
            "details": _on_one_line(elements, 4) if len(elements) > 4 else {},
        }
        return record
    if isinstance(message, Call):
        record.payload = _on_one_line(elements, 3)
        if isinstance(message.payload, dict):
            connector_id = integer(message.payload.get("connectorId"))
            if connector_id is not None and 0 <= connector_id < 1 << 31:
                record.connectorId = connector_id
        return record
    record.messageType = "CALLRESULT"
    record.payload = _on_one_line(elements, 2)
    return record


def _on_one_line(elements: list[msgspec.Raw], place: int) -> Any:
    """One element of an OCPP-J array as it was written, ``UNSET`` if it is not there."""
    if place >= len(elements):
        return msgspec.UNSET
    # a line break of valid JSON stands between its tokens, never inside one
    return msgspec.Raw(bytes(elements[place]).replace(b"\n", b" ").replace(b"\r", b" "))


class Lines:
    """Lines of one capture in order; what a line says of the lines before it is remembered per connection."""

    def __init__(self) -> None:
        self._links: dict[str, _Link] = {}

    def line(self, frame: Frame, prev: str) -> bytes:
        """The line of a frame, without its LF; ``prev`` is the hash of the line before it."""
        link = self._links.get(frame.link)
        if link is None:
            link = self._links[frame.link] = _Link(frame.link)
        event, parsed = link.follow(frame)
        if frame.kind is Kind.TEXT:
            meta = self._meta(frame, link, event, prev)
            record = record_of(frame, parsed, event.action if event else "", meta)
            if record is not None:
                return _encode(record)
        if frame.kind in (Kind.END, Kind.REFUSED):
            del self._links[frame.link]
        return _encode(_kind_line(frame, prev))

    def _meta(self, frame: Frame, link: "_Link", event: Event | None, prev: str) -> dict[str, Any]:
        meta: dict[str, Any] = {"seq": frame.seq, "conn": frame.link, "conn_seq": link.frames}
        if frame.sender is not None:
            meta["peer_seen"] = link.sent[frame.sender.other]
        if frame.mono_ns is not None:
            meta["t_mono_ns"] = frame.mono_ns
        if event and event.asked and event.frame is not event.asked.frame:
            meta["answers"] = event.asked.frame.seq
        return {**meta, **frame.facts, "prev": prev}


def _kind_line(frame: Frame, prev: str) -> dict[str, Any]:
    line: dict[str, Any] = {"kind": frame.kind.value, "seq": frame.seq, "conn": frame.link}
    line["timestamp"] = format_us(frame.at_us)
    if frame.mono_ns is not None:
        line["t_mono_ns"] = frame.mono_ns
    if frame.station:
        line["station"] = frame.station
    if frame.sender is not None:
        line["direction"] = DIRECTIONS[frame.sender]
    if frame.text is not None:
        line["raw"] = frame.text
    if frame.data is not None:
        line["base64"] = base64.b64encode(frame.data).decode()
    return {**line, **frame.facts, "prev": prev}


class _Link:
    """What a line says beyond its frame: the answered CALL, and how much had passed before."""

    def __init__(self, link: str) -> None:
        self.rpc = Rpc(link)
        self.frames = 0
        self.sent = dict.fromkeys(Side, 0)
        self._counted: tuple[Side, int] | None = None

    def follow(self, frame: Frame) -> tuple[Event | None, Parsed]:
        if self._counted:
            self.sent[self._counted[0]] += 1
        self._counted = (frame.sender, 1) if frame.kind is Kind.TEXT and frame.sender else None
        self.frames += 1
        parsed = codec.parse(frame.text) if frame.text is not None else UNPARSED
        self.rpc.handle_timer(frame.at_us)
        events = self.rpc.receive(frame, parsed)
        return (events[-1] if events else None), parsed
