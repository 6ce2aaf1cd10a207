"""How OCPP looks in mitmproxy and mitmweb: what the message is, what was found, and its JSON, indented."""

import msgspec
from mitmproxy import http
from mitmproxy.contentviews import Contentview, Metadata, SyntaxHighlight

from octoflex_addons.interactive import SUBPROTOCOL, Interactive, heading_of
from twin.model import CallError, EventKind, Frame, Kind, Side
from twin.protocol import codec
from twin.protocol.session import Rpc
from twin.protocol.tap import Stamp, Tap, TapOptions

_LONGEST = 1 << 20  # bytes that are laid out; more is shown as it is


class OCPPContentview(Contentview):
    """In WebSocket mode with pairing and findings; of raw bytes what the tap can decode of that one read."""

    def __init__(self, interactive: Interactive) -> None:
        self._interactive = interactive

    @property
    def name(self) -> str:
        return "OCPP 1.6"

    @property
    def syntax_highlight(self) -> SyntaxHighlight:
        return "yaml"

    def prettify(self, data: bytes, metadata: Metadata) -> str:
        if metadata.tcp_message is not None:
            return _of_bytes(data, metadata.tcp_message.from_client)
        flow = metadata.flow
        note = self._interactive.note_of(flow.id, metadata.websocket_message) if flow else None
        text = data.decode(errors="replace")
        said = [
            f"# {found.severity.value} {found.rule}: {found.detail}  [{found.reference}]"
            for found in (note.findings if note else ())
        ]
        return "\n".join((f"# {note.heading if note else _alone(text)}", *said, _laid_out(text)))

    def render_priority(self, data: bytes, metadata: Metadata) -> float:
        """Ours are messages of flows that chose ocpp1.6; an error here would be logged at every look."""
        try:
            if metadata.websocket_message is not None and isinstance(metadata.flow, http.HTTPFlow):
                response = metadata.flow.response
                chosen = response.headers.get("sec-websocket-protocol", "") if response else ""
                return 2.0 if chosen.casefold() == SUBPROTOCOL else -1.0
            if metadata.tcp_message is not None:
                return 2.0 if b"[" in _of_bytes(data, metadata.tcp_message.from_client).encode() else -1.0
        except Exception:
            return -1.0
        return -1.0


def _of_bytes(data: bytes, from_client: bool) -> str:
    """The messages that are whole in this read of the socket; the rest by its kind."""
    side = Side.STATION if from_client else Side.CSMS
    items = Tap(TapOptions(late=True)).feed(side, data, Stamp(0, None))
    parts = []
    for item in items:
        if item.kind is Kind.TEXT and item.text is not None:
            parts.append(f"# {_alone(item.text)}\n{_laid_out(item.text)}")
        else:
            parts.append(f"# {item.kind.value}, {item.facts['wire']['bytes']} bytes")
    return "\n".join(parts) or f"# part of a frame, {len(data)} bytes"


def _alone(text: str) -> str:
    """What a message says of itself, without those before it."""
    frame = Frame(seq=1, at_us=0, link="", kind=Kind.TEXT, sender=Side.STATION, text=text)
    event = Rpc("").receive(frame, codec.parse(text))[-1]
    if event.kind is EventKind.ORPHANED:  # its CALL may well have come; this view does not know
        return "CALLERROR" if isinstance(event.message, CallError) else "CALLRESULT"
    return heading_of(event)


def _laid_out(text: str) -> str:
    if len(text) > _LONGEST:
        return text
    try:
        return msgspec.json.format(text, indent=2)  # numbers and names as they were written
    except (msgspec.MsgspecError, RecursionError):
        return text
