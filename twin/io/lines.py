"""One frame as one line of a capture (docs/capture-format.md).

A text message that parses as OCPP-J is an open-ocpp-trace v1.1 record; everything else has a ``kind``.
"""

import base64
from typing import Any

import msgspec

from twin.model import Call, CallError, Frame, Kind, Parsed, Side
from twin.protocol import codec
from twin.protocol.fold import integer
from twin.protocol.timestamps import format_us

DIRECTIONS = {Side.STATION: "cp-to-csms", Side.CSMS: "csms-to-cp"}
_DAMAGED = ("truncated", "abbreviated")  # kept as text, never as a record

_FORGETTING = frozenset({Kind.OPEN, Kind.GAP})  # what was open before is open no more, or not known to be
_MOST_OPEN = 4096  # CALLs of one side without an answer
_TO = {side: f',"direction":"{word}","messageType":'.encode() for side, word in DIRECTIONS.items()}

_encode = msgspec.json.Encoder().encode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _Connector(msgspec.Struct):
    connectorId: int | None = None  # noqa: N815  # the field's own spelling


_connector = msgspec.json.Decoder(_Connector).decode


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
            link = self._links[frame.link] = _Link()
        link.begin(frame)
        if frame.kind is Kind.TEXT:
            return _quick(frame, link, prev) or _slow(frame, link, prev)
        if frame.kind in (Kind.END, Kind.REFUSED):
            del self._links[frame.link]
        return _encode(_kind_line(frame, prev))


def _quick(frame: Frame, link: "_Link", prev: str) -> bytes | None:
    """The everyday case at once: a CALL or CALLRESULT without an escape in it; else ``None``."""
    text, sender = frame.text, frame.sender
    if text is None or sender is None or not frame.station or "\\" in text or "\n" in text or "\r" in text:
        return None
    try:
        kind, message_id, *others = map(bytes, _elements(text))
        if kind == b"2" and len(others) == 2 and others[0][:1] == b'"':
            action, payload = others
            connector_id = _connector(payload).connectorId if payload[:1] == b"{" else None
        elif kind == b"3" and len(others) == 1:
            action, payload, connector_id = b'""', others[0], None
        else:
            return None
    except (ValueError, RecursionError):  # msgspec's errors are among them
        return None
    if message_id[:1] != b'"' or message_id == b'""' or any(map(frame.facts.get, _DAMAGED)):
        return None
    answers = None
    if kind == b"2":
        link.called(sender, message_id, frame.seq, action)
    elif (asked := link.answered(sender, message_id)) is not None:
        answers, action = asked
    if connector_id is not None and not 0 <= connector_id < 1 << 31:
        connector_id = None
    return b"".join(
        (
            b'{"schemaVersion":"1.1","timestamp":"',
            format_us(frame.at_us).encode(),
            b'","ocppVersion":"1.6","transport":"json","chargePointId":',
            _encode(frame.station),
            b"" if connector_id is None else b',"connectorId":%d' % connector_id,
            _TO[sender],
            b'"CALL","messageId":' if kind == b"2" else b'"CALLRESULT","messageId":',
            message_id,
            b"" if action == b'""' else b',"action":' + action,
            b',"payload":',
            payload,
            b',"raw":',
            _encode(text),
            b',"meta":',
            _encode(_meta(frame, link, answers, prev)),
            b"}",
        )
    )


def _slow(frame: Frame, link: "_Link", prev: str) -> bytes:
    """Any text: a record if it is OCPP-J at all."""
    assert frame.text is not None
    parsed = codec.parse(frame.text)
    message, sender = parsed.message, frame.sender
    action, answers = "", None
    if message is not None and sender is not None:
        message_id = _encode(message.message_id)
        if isinstance(message, Call):
            action = message.action
            link.called(sender, message_id, frame.seq, _encode(action))
        elif (asked := link.answered(sender, message_id)) is not None:
            answers, action = asked[0], msgspec.json.decode(asked[1], type=str)
    record = record_of(frame, parsed, action, _meta(frame, link, answers, prev))
    return _encode(record if record is not None else _kind_line(frame, prev))


def _meta(frame: Frame, link: "_Link", answers: int | None, prev: str) -> dict[str, Any]:
    meta: dict[str, Any] = {"seq": frame.seq, "conn": frame.link, "conn_seq": link.frames}
    if frame.sender is not None:
        meta["peer_seen"] = link.sent[frame.sender.other]
    if frame.mono_ns is not None:
        meta["t_mono_ns"] = frame.mono_ns
    if answers is not None:
        meta["answers"] = answers
    meta.update(frame.facts)
    meta["prev"] = prev
    return meta


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
    """What a line says beyond its frame: the answered CALL, and how much had passed before.

    The rule is that of open-ocpp-trace v1.1: an answer belongs to the most recent CALL of the other side with
    the same messageId that has none yet.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.sent = dict.fromkeys(Side, 0)
        self._open: dict[Side, dict[bytes, list[tuple[int, bytes]]]] = {side: {} for side in Side}
        self._counted: Side | None = None

    def begin(self, frame: Frame) -> None:
        """One more frame of this connection; what came before it is counted now."""
        if self._counted is not None:
            self.sent[self._counted] += 1
        self._counted = frame.sender if frame.kind is Kind.TEXT else None
        self.frames += 1
        if frame.kind in _FORGETTING:
            for calls in self._open.values():
                calls.clear()

    def called(self, sender: Side, message_id: bytes, seq: int, action: bytes) -> None:
        calls = self._open[sender]
        calls.setdefault(message_id, []).append((seq, action))
        if len(calls) > _MOST_OPEN:
            del calls[next(iter(calls))]

    def answered(self, sender: Side, message_id: bytes) -> tuple[int, bytes] | None:
        """``seq`` and action (as JSON) of the CALL that this answers."""
        calls = self._open[sender.other]
        stack = calls.get(message_id)
        if not stack:
            return None
        asked = stack.pop()
        if not stack:
            del calls[message_id]
        return asked
