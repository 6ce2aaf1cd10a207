"""The client end over picows instead of websockets: the same callbacks, for fleets (extra ``scale``)."""

import asyncio
import ssl
from typing import Any

from picows import (
    WSCloseCode,
    WSError,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
)

from twin.io.websocket import (
    CONNECT_TIMEOUT_S,
    MOST_BYTES,
    MOST_UNSENT_BYTES,
    SUBPROTOCOL,
    LinkError,
    Peer,
    authorization_of,
)

_NO_CLOSE = 1006
_NO_STATUS = 1005


class _Client(WSListener):
    """One connection; picows calls it, it calls its peer."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._parts = bytearray()
        self._code, self._reason = _NO_CLOSE, ""
        self._open = False
        self._transport: Any = None
        self.refused = ""

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        chosen = transport.response.headers.get("Sec-WebSocket-Protocol", "")
        if chosen != SUBPROTOCOL:
            self.refused = f"the CSMS did not choose {SUBPROTOCOL}"
            transport.disconnect(False)
            return
        self._open = True
        facts = {
            "path": transport.request.path.decode(errors="replace"),
            "subprotocols_offered": [SUBPROTOCOL],
            "subprotocol": chosen,
        }
        self._peer.opened(self, facts)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind is WSMsgType.CLOSE:
            self._code = int(frame.get_close_code().value) or _NO_STATUS
            self._reason = str(frame.get_close_reason() or "")
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
        elif kind in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            self._data(transport, frame)

    def _data(self, transport: WSTransport, frame: WSFrame) -> None:
        if self._parts or not frame.fin:
            self._parts += frame.get_payload_as_memoryview()
            if len(self._parts) > MOST_BYTES:
                transport.send_close(WSCloseCode.MESSAGE_TOO_BIG)
                transport.disconnect()
            if not frame.fin:
                return
            data, self._parts = bytes(self._parts), bytearray()
        else:
            data = frame.get_payload_as_bytes()
        try:
            text = data.decode()
        except UnicodeDecodeError:
            transport.send_close(WSCloseCode.INVALID_TEXT)
            transport.disconnect()
            return
        self._peer.received(text)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if self._open:
            self._open = False
            self._peer.closed(self, self._code, self._reason)

    def send(self, text: str) -> None:
        if self._transport.underlying_transport.get_write_buffer_size() > MOST_UNSENT_BYTES:
            self.abort()
            return
        self._transport.send(WSMsgType.TEXT, text.encode(errors="replace"))

    def ping(self, data: bytes) -> None:
        self._transport.send_ping(data)

    def close(self, code: int, reason: str) -> None:
        self._transport.send_close(code, reason.encode())
        self._transport.disconnect()

    def abort(self) -> None:
        self._transport.disconnect(False)


async def connect(url: str, peer: Peer, *, password: str = "", trust: ssl.SSLContext | None = None) -> None:
    """As ``twin.io.websocket.connect``. Raises ``LinkError`` where no connection can be made."""
    headers = {"Sec-WebSocket-Protocol": SUBPROTOCOL, **authorization_of(url, password)}
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            client = _Client(peer)
            await ws_connect(
                lambda: client,
                url,
                ssl_context=trust,
                max_frame_size=MOST_BYTES,
                max_redirects=0,
                extra_headers=headers,
                read_buffer_init_size=1024,
            )
    except TimeoutError as error:
        raise LinkError(f"{url}: no answer in {CONNECT_TIMEOUT_S:.0f} s") from error
    except (OSError, OverflowError, ValueError, WSError) as error:
        raise LinkError(f"{url}: {error}") from error
    if client.refused:
        raise LinkError(f"{url}: {client.refused}")
