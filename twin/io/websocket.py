"""WebSocket ends with callbacks: the frames of ``websockets`` without a task for each connection.

A thousand stations in one process cost a thousand sockets and nothing more: no task, no queue, no stream.
"""

import asyncio
import base64
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol
from urllib.parse import quote, unquote

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI, WebSocketException
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

SUBPROTOCOL = "ocpp1.6"
MOST_BYTES = 64 << 20  # of one message
CONNECT_TIMEOUT_S = 30.0
_CLOSE_TIMEOUT_S = 5.0
MOST_UNSENT_BYTES = 16 << 20  # of a peer that does not read
_OFFER: Any = [SUBPROTOCOL]  # a NewType of str over there
_TEXT_NEVER_WAS = 1007
_GOING_AWAY = 1001
_NO_CLOSE = 1006
_MOST_PING = 125  # bytes (RFC 6455 §5.5)


class LinkError(Exception):
    """The other side cannot be reached or refuses the handshake; the text says which and why.

    ``status`` is the HTTP status of a refusal, ``None`` where there was no answer.
    """

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


class Socket(Protocol):
    """One open connection, as its user sees it."""

    def send(self, text: str) -> None: ...

    def ping(self, data: bytes) -> None: ...

    def close(self, code: int, reason: str) -> None: ...

    def abort(self) -> None: ...


class Peer(Protocol):
    """Who uses connections. ``closed`` comes once for every ``opened``; 1006 where nobody said Close."""

    def opened(self, socket: Socket, facts: dict[str, Any]) -> None: ...

    def received(self, text: str) -> None: ...

    def closed(self, socket: Socket, code: int, reason: str) -> None: ...


type PeerOf = Callable[[str, str], Peer | int | None]


class _End(asyncio.Protocol):
    """What both ends share: bytes in, messages out, the closing handshake with a deadline."""

    transport: asyncio.Transport
    wire: ClientProtocol | ServerProtocol
    peer: Peer | None = None

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._is_text = False
        self._deadline: asyncio.TimerHandle | None = None
        self._open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's transport is a Transport

    def data_received(self, data: bytes) -> None:
        self.wire.receive_data(data)
        self._settle()

    def eof_received(self) -> bool:
        self.wire.receive_eof()
        self._settle()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self.wire.state is not State.CLOSED:
            self.wire.receive_eof()
        if self._deadline is not None:
            self._deadline.cancel()
        if self._open and self.peer is not None:
            self._open = False
            self.peer.closed(self, self.wire.close_code or _NO_CLOSE, self.wire.close_reason or "")

    def send(self, text: str) -> None:
        if self.wire.state is not State.OPEN:
            return
        if self.transport.get_write_buffer_size() > MOST_UNSENT_BYTES:
            self.transport.abort()
            return
        self.wire.send_text(text.encode(errors="replace"))
        self._flush()

    def ping(self, data: bytes) -> None:
        if self.wire.state is State.OPEN:
            self.wire.send_ping(data[:_MOST_PING])
            self._flush()

    def close(self, code: int, reason: str) -> None:
        if self.wire.state is State.OPEN:
            self.wire.send_close(code, reason)
            self._flush()

    def abort(self) -> None:
        self.transport.abort()

    def leave(self) -> None:
        """Say Close where somebody listens, and wait for nobody."""
        self.close(_GOING_AWAY, "")
        self.transport.close()

    def _settle(self) -> None:
        for event in self.wire.events_received():
            if isinstance(event, WireFrame):
                self._frame(event)
            else:
                self._handshake(event)
        self._flush()

    def _frame(self, frame: WireFrame) -> None:
        if frame.opcode is Opcode.TEXT or frame.opcode is Opcode.BINARY:
            self._parts, self._is_text = [bytes(frame.data)], frame.opcode is Opcode.TEXT
        elif frame.opcode is Opcode.CONT:
            self._parts.append(bytes(frame.data))
        else:
            return  # pings are answered, closes are echoed by the protocol itself
        if not frame.fin or self.peer is None:
            return
        data, self._parts = b"".join(self._parts), []
        try:
            text = data.decode() if self._is_text else data.decode(errors="replace")
        except UnicodeDecodeError:
            self.wire.fail(_TEXT_NEVER_WAS, "text that is not UTF-8")
            return
        self.peer.received(text)

    def _handshake(self, event: Request | Response) -> None:
        raise NotImplementedError

    def _flush(self) -> None:
        for data in self.wire.data_to_send():
            if data:
                self.transport.write(data)
            elif self.transport.can_write_eof():
                with suppress(OSError):
                    self.transport.write_eof()
        if self._deadline is None and self.wire.close_expected():
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(_CLOSE_TIMEOUT_S, self.transport.abort)


class _Client(_End):
    def __init__(self, wire: ClientProtocol, peer: Peer, headers: Headers) -> None:
        super().__init__()
        self.wire = wire
        self.peer = peer
        self._headers = headers
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(self.wire, ClientProtocol)
        request = self.wire.connect()
        request.headers.update(self._headers)
        self._path = request.path
        self.wire.send_request(request)
        self._flush()

    def _handshake(self, event: Request | Response) -> None:
        refused = self.wire.handshake_exc
        if refused is None and self.wire.subprotocol != SUBPROTOCOL:
            refused = InvalidHandshake(f"the CSMS did not choose {SUBPROTOCOL}")
        if refused is not None:
            self._refused(refused)
            return
        if not self.ready.done():
            self.ready.set_result(None)
            self._open = True
            facts = {
                "path": self._path,
                "subprotocols_offered": [SUBPROTOCOL],
                "subprotocol": self.wire.subprotocol,
                **_compression(self.wire),
            }
            assert self.peer is not None
            self.peer.opened(self, facts)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.wire.handshake_exc is not None:
            self._refused(self.wire.handshake_exc)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._refused(self.wire.handshake_exc or exc or ConnectionError("closed during the handshake"))

    def _refused(self, why: Exception) -> None:
        if not self.ready.done():
            status = why.response.status_code if isinstance(why, InvalidStatus) else None
            self.ready.set_exception(LinkError(str(why), status))
            self.transport.abort()


class _Served(_End):
    def __init__(self, peer_of: PeerOf, deflate: bool, others: "set[_Served]") -> None:
        super().__init__()
        self._others = others
        extensions = [ServerPerMessageDeflateFactory()] if deflate else None
        self.wire = ServerProtocol(subprotocols=_OFFER, max_size=MOST_BYTES, extensions=extensions)
        self._peer_of = peer_of

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._others.add(self)
        self._deadline = asyncio.get_running_loop().call_later(CONNECT_TIMEOUT_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._others.discard(self)

    def _handshake(self, event: Request | Response) -> None:
        assert isinstance(self.wire, ServerProtocol)
        assert isinstance(event, Request)
        response = self.wire.accept(event)
        if response.status_code == 101:  # Switching Protocols
            peer = self._peer_of(event.path, event.headers.get("Authorization", ""))
            if peer is None or isinstance(peer, int):
                response = self.wire.reject(peer or 404, "this station is not let in here\n")
            else:
                self.peer = peer
        self.wire.send_response(response)
        self._flush()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self.peer is not None:
            self._open = True
            facts = {
                "path": event.path,
                "subprotocol": self.wire.subprotocol or "",
                **_compression(self.wire),
            }
            self.peer.opened(self, facts)


def _compression(wire: ClientProtocol | ServerProtocol) -> dict[str, str]:
    """The fact of a compressed connection, by the name of the extension (RFC 7692)."""
    names = ", ".join(extension.name for extension in wire.extensions)
    return {"extensions": names} if names else {}


async def connect(
    url: str,
    peer: Peer,
    *,
    password: str = "",
    trust: ssl.SSLContext | None = None,
    addresses: Sequence[str] = (),
    deflate: bool = False,
) -> None:
    """Open one connection as a station. Raises ``LinkError`` where it cannot be made.

    ``password``: HTTP Basic with the station id of the URL, as OCPP-J asks (security profile 1 and 2).
    ``addresses`` are where the host of the URL was found: they are tried in turn, and it is not looked up
    again. ``deflate`` offers compression. A redirect is a refusal: it is not followed.
    """
    try:
        uri = parse_uri(url)
    except (InvalidURI, ValueError) as error:
        raise LinkError(f"{url}: {error}") from error
    headers = Headers(authorization_of(url, password))
    extensions = [ClientPerMessageDeflateFactory(client_max_window_bits=True)] if deflate else None
    wire = ClientProtocol(uri, subprotocols=_OFFER, max_size=MOST_BYTES, extensions=extensions)
    tls = (trust or ssl.create_default_context()) if uri.secure else None
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            transport, end = await _reached(
                addresses or (uri.host,),
                partial(
                    asyncio.get_running_loop().create_connection,
                    partial(_Client, wire, peer, headers),
                    port=uri.port,
                    ssl=tls,
                    server_hostname=uri.host if uri.secure else None,
                ),
            )
            try:
                await end.ready
            except BaseException:
                transport.abort()  # a 101 that comes later must not make a connection nobody has
                raise
    except TimeoutError as error:
        raise LinkError(f"{url}: no answer in {CONNECT_TIMEOUT_S:.0f} s") from error
    except (OSError, OverflowError, ValueError, WebSocketException) as error:
        why = str(error) or (
            "the TLS handshake failed; is it ws:// there?" if uri.secure else "closed at once"
        )
        raise LinkError(f"{url}: {why}") from error
    except LinkError as error:
        raise LinkError(f"{url}: {error}", error.status) from error


async def _reached[T](hosts: Sequence[str], connection: Callable[..., Awaitable[T]]) -> T:
    """A connection to the first of several addresses that takes one; the last one's error, if none does."""
    for host in hosts[:-1]:
        with suppress(OSError):
            return await connection(host=host)
    return await connection(host=hosts[-1])


def authorization_of(url: str, password: str) -> dict[str, str]:
    """HTTP Basic with the station id that ends the URL; nothing without a password."""
    if not password:
        return {}
    name = unquote(url.rstrip("/").rsplit("/", 1)[-1])
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


class Listening:
    """A server of stations: ``url`` is where, ``close`` ends it with every connection it has."""

    def __init__(self, server: asyncio.Server, ends: set[_Served]) -> None:
        self._server = server
        self._ends = ends
        name, port = server.sockets[0].getsockname()[:2]
        self.url = f"ws://[{name}]:{port}" if ":" in name else f"ws://{name}:{port}"

    def close(self) -> None:
        self._server.close()
        for end in list(self._ends):
            end.leave()


async def listen(host: str, port: int, peer_of: PeerOf, *, deflate: bool = False) -> Listening:
    """Serve stations: ``peer_of(path, authorization)`` says who talks to one; ``None`` refuses it with 404,
    a number with that HTTP status. ``deflate`` accepts compression where it is offered.
    """
    ends: set[_Served] = set()
    make = partial(_Served, peer_of, deflate, ends)
    return Listening(await asyncio.get_running_loop().create_server(make, host, port), ends)


def url_of(csms: str, station_id: str) -> str:
    """The URL of a station at a CSMS: the id ends the path (OCPP-J 3.1.1) or stands where ``{id}`` does."""
    named = quote(station_id, safe="")
    return csms.replace("{id}", named) if "{id}" in csms else f"{csms.rstrip('/')}/{named}"
