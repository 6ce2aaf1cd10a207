"""The addon: stamp, hand over a copy, return. Translation only; nothing here can delay or alter traffic."""

import asyncio
import atexit
import contextlib
import functools
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mitmproxy import connection, ctx, http, tcp, websocket
from mitmproxy.addonmanager import Loader
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from octoflex_addons.station_tls import REFUSED
from twin.io import clock, recorder_process
from twin.io.handover import Channel, Handover, Wire
from twin.io.passive_http import Head
from twin.io.passive_http import handshake as handshake_of
from twin.io.segments import next_connection
from twin.io.settings import Settings

log = logging.getLogger(__name__)

type Message = tcp.TCPMessage | websocket.WebSocketMessage
type Flow = tcp.TCPFlow | http.HTTPFlow

_MINUTE_NS = 60_000_000_000
_BREAKER = 20  # faults a minute; above it the addon only relays, for a minute
_SWEEP_S = 1.0
_KEPT_MESSAGES = 1_000  # of a flow in WebSocket mode, for whoever reads them in mitmweb
_LONE_END_NS = 10_000_000_000  # both sides closed for so long and never said: the books are closed


def guarded[**P](hook: Callable[P, None]) -> Callable[P, None]:
    """No exception of any kind leaves a hook: it would freeze the connection or end the proxy."""

    @functools.wraps(hook)
    def safe(*args: P.args, **kwargs: P.kwargs) -> None:
        addon = args[0]
        assert isinstance(addon, Record)
        try:
            hook(*args, **kwargs)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # OptionsError, CancelledError and SystemExit too
            addon.fault(hook.__name__, error)

    return safe


class Socket:
    """One station's connection while it lives: its books, and both ends to see which is gone first."""

    __slots__ = ("client", "first_gone", "gone_ns", "server", "wire")

    def __init__(self, wire: Wire, client: connection.Client, server: connection.Server | None) -> None:
        self.wire = wire
        self.client = client
        self.server = server
        self.first_gone = ""
        self.gone_ns = 0

    def look(self, mono_ns: int) -> bool:
        """Note which side went first; whether both are long gone and nobody said so."""
        station = bool(self.client.state & ConnectionState.CAN_READ)
        csms = self.server is None or bool(self.server.state & ConnectionState.CAN_READ)
        if not self.first_gone and station != csms:
            self.first_gone = "csms" if station else "station"
        if station or csms:
            return False
        self.gone_ns = self.gone_ns or mono_ns
        return mono_ns - self.gone_ns > _LONE_END_NS


class Record:
    """Recording of WebSocket connections, for mitmdump, for mitmweb and for the relay.

    Byte-exact with ``websocket=false``; else whole messages as mitmproxy decoded them. The relay calls
    ``start`` when its listeners are up; elsewhere the option ``twin_capture`` names a directory.
    """

    def __init__(self, settings: Settings | None = None, *, started_by_relay: bool = False) -> None:
        self.handover: Handover | None = None
        self.broken = False
        self._settings = settings
        self._by_relay = started_by_relay
        self._sockets: dict[str, Socket] = {}
        self._wires: dict[str, Wire] = {}
        self._number = 0
        self._faults: list[int] = []
        self._logged_ns = -_MINUTE_NS
        self._sweeper: asyncio.Task[None] | None = None
        self._listening = threading.Event()

    def load(self, loader: Loader) -> None:
        loader.add_option("twin_capture", str, "", "Directory of the new capture (twin).")
        loader.add_option("twin_key_file", str, "", "Pseudonym key file (twin); made on first use.")
        loader.add_option("twin_keep_id_tags", bool, False, "Do not pseudonymise idTags and serials (twin).")
        loader.add_option("twin_settings", str, "", "Everything at once, as twin record says it (twin).")

    @guarded
    def running(self) -> None:
        if self._by_relay:
            return
        options = ctx.options
        if options.twin_settings:
            settings = recorder_process.decoded(options.twin_settings)
        elif options.twin_capture:
            settings = Settings(
                directory=options.twin_capture,
                websocket=options.websocket,
                key_file=options.twin_key_file,
                keep_id_tags=options.twin_keep_id_tags,
                tcp_timeout_s=options.tcp_timeout,
            )
        else:
            log.warning("twin: nothing is recorded; name a directory with --set twin_capture=DIR")
            return
        if settings.websocket:
            log.warning("twin: WebSocket mode is not byte-exact; --set websocket=false is")
        self.start(settings, lambda: log.warning("twin: the recorder cannot start; nothing is recorded"))

    def start(
        self, settings: Settings, gave_up: Callable[[], None], listening: threading.Event | None = None
    ) -> None:
        """Record from now on; the recorder itself is started once ``listening`` is set.

        ``gave_up`` is called on another thread if the recorder refuses its orders.
        """

        if listening is None:
            self._listening.set()
        else:
            self._listening = listening

        def connect() -> Channel:
            self._listening.wait()
            return recorder_process.start(settings)

        self._number = next_connection(Path(settings.directory)) - 1
        self.handover = Handover(connect, gave_up=gave_up)
        atexit.register(self._close)  # should ``done`` never come
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    @guarded
    def rotate(self) -> None:
        """Begin a new segment (SIGHUP)."""
        now = clock.now()
        if self.handover is not None:
            self.handover.say(("rotate", now.wall_ns, now.mono_ns))

    # ---- handshakes

    @guarded
    def response(self, flow: http.HTTPFlow) -> None:
        now = clock.now()
        if "websocket" not in flow.request.headers.get("upgrade", "").casefold() or self.handover is None:
            return
        facts = handshake(flow)
        if flow.response is not None and flow.response.status_code == 101:
            socket = Socket(self._wire(flow.client_conn), flow.client_conn, flow.server_conn)
            self._sockets[flow.client_conn.id] = socket
            self.handover.opened(socket.wire, facts, now.wall_ns, now.mono_ns)
            return
        facts |= {"status": flow.response.status_code if flow.response else None, "by": "csms"}
        if why := flow.metadata.get(REFUSED):
            facts |= {"by": "proxy", "why": why}
        self._refused(flow.client_conn, facts, now)

    @guarded
    def error(self, flow: http.HTTPFlow) -> None:
        now = clock.now()
        if "websocket" not in flow.request.headers.get("upgrade", "").casefold():
            return
        if flow.client_conn.id not in self._sockets:
            facts = handshake(flow) | {"by": "proxy", "why": _clean(str(flow.error)[:200])}
            self._refused(flow.client_conn, facts, now)

    @guarded
    def server_connect_error(self, data: ServerConnectionHookData) -> None:
        now = clock.now()
        self._refused(data.client, {"by": "proxy", "why": _clean(str(data.server.error)[:200])}, now)

    def _refused(self, client: connection.Client, facts: dict[str, Any], now: clock.Now) -> None:
        if self.handover is not None:
            self.handover.say(("refused", self._wire(client).name, facts, now.wall_ns, now.mono_ns))

    # ---- traffic

    def tcp_message(self, flow: tcp.TCPFlow) -> None:
        self._passed("tcp_message", flow, flow.messages, 1)

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        if flow.websocket is not None:
            self._passed("websocket_message", flow, flow.websocket.messages, _KEPT_MESSAGES)

    def _passed[M: (tcp.TCPMessage, websocket.WebSocketMessage)](
        self, where: str, flow: Flow, messages: list[M], kept: int
    ) -> None:
        """One read of a socket, or one whole message: it goes on when we return, whatever we do."""
        now = clock.now()
        try:
            if len(messages) > 2 * kept:  # other addons read the last ones; the rest would grow for ever
                del messages[:-kept]
            if self.handover is not None:
                self._hand_over(self.handover, flow, messages[-1], now)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # see guarded
            self.fault(where, error)
            with contextlib.suppress(Exception):
                self._pass_over(flow.client_conn, messages[-1], "addon_fault", now)

    def _hand_over(self, handover: Handover, flow: Flow, message: Message, now: clock.Now) -> None:
        if self.broken:
            self._pass_over(flow.client_conn, message, "breaker_open", now)
            self.broken = now.mono_ns - self._faults[-1] < _MINUTE_NS
            return
        socket = self._sockets.get(flow.client_conn.id)
        wire = socket.wire if socket is not None else self._late(flow, now)
        if isinstance(message, tcp.TCPMessage):
            handover.data(wire, message.from_client, message.content, now.wall_ns, now.mono_ns)
            return
        marks = {"injected": message.injected, "dropped_by_addon": message.dropped}
        facts = {name: True for name, applies in marks.items() if applies}
        kind = "text" if message.is_text else "binary"
        handover.message(wire, message.from_client, kind, message.content, facts, now.wall_ns, now.mono_ns)

    def _pass_over(self, client: connection.Client, message: Message, reason: str, now: clock.Now) -> None:
        if self.handover is not None:
            size = len(message.content)
            self.handover.drop(self._wire(client), message.from_client, reason, size, now.mono_ns)

    # ---- ends

    @guarded
    def websocket_end(self, flow: http.HTTPFlow) -> None:
        now = clock.now()
        end, socket = flow.websocket, self._sockets.get(flow.client_conn.id)
        if self.handover is None or end is None or socket is None:
            return
        socket.first_gone = "station" if end.closed_by_client else "csms"
        if end.close_code not in (None, 1006):  # 1006 is mitmproxy's word for no Close frame at all
            facts = {"code": end.close_code, "reason": _clean(end.close_reason or "")}
            by_station = bool(end.closed_by_client)
            self.handover.message(socket.wire, by_station, "close", b"", facts, now.wall_ns, now.mono_ns)

    @guarded
    def client_disconnected(self, client: connection.Client) -> None:
        now = clock.now()
        socket = self._sockets.pop(client.id, None)
        wire = self._wires.pop(client.id, None)
        if self.handover is None or wire is None:
            return
        if socket is not None:
            self.handover.ended(wire, _end_of(socket), now.wall_ns, now.mono_ns)
        else:
            self.handover.forget(wire)

    @guarded
    def done(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._close()

    def _close(self) -> None:
        if self.handover is not None and self._listening.is_set():
            self.handover.close()

    async def _sweep(self) -> None:
        """Once a second: greet a new recorder, see which side of a connection goes first."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            self._swept()

    @guarded
    def _swept(self) -> None:
        now = clock.now()
        if self.handover is None:
            return
        self.handover.tick(now.wall_ns, now.mono_ns)
        for client_id, socket in list(self._sockets.items()):
            if socket.look(now.mono_ns):
                del self._sockets[client_id]
                self._wires.pop(client_id, None)
                facts = _end_of(socket) | {"how": "a frozen connection"}
                self.handover.ended(socket.wire, facts, now.wall_ns, now.mono_ns)

    # ---- faults and names

    def fault(self, where: str, error: BaseException) -> None:
        """Count a fault of ours; more than 20 within a minute open the breaker. Never raises."""
        try:
            now = clock.now()
            self._faults = [at for at in self._faults if now.mono_ns - at < _MINUTE_NS] + [now.mono_ns]
            self.broken = len(self._faults) > _BREAKER
            if self.handover is not None:
                what = type(error).__name__
                self.handover.say(("fault", f"addon {where}", what, 1, now.wall_ns, now.mono_ns))
            if now.mono_ns - self._logged_ns >= _MINUTE_NS:
                self._logged_ns = now.mono_ns
                log.warning("twin: %s in %s; traffic is not affected", type(error).__name__, where)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: S110  # the last line of defence: traffic before everything
            pass

    def _wire(self, client: connection.Client) -> Wire:
        wire = self._wires.get(client.id)
        if wire is None:
            assert self.handover is not None
            self._number += 1
            wire = self._wires[client.id] = self.handover.wire(f"c{self._number}")
        return wire

    def _late(self, flow: Flow, now: clock.Now) -> Wire:
        """A socket that was open before this addon: reloaded script, or plain TCP."""
        client = flow.client_conn
        socket = self._sockets[client.id] = Socket(self._wire(client), client, flow.server_conn)
        assert self.handover is not None
        self.handover.opened(socket.wire, {"late": True}, now.wall_ns, now.mono_ns)
        return socket.wire


def _end_of(socket: Socket) -> dict[str, Any]:
    return {"by": socket.first_gone} if socket.first_gone else {}


def handshake(flow: http.HTTPFlow) -> dict[str, Any]:
    """What the capture says of a handshake; the recorder takes the secrets out before anything is stored."""
    request, response = flow.request, flow.response
    facts = handshake_of(
        Head(0, request.headers.fields, path=request.data.path),
        Head(0, response.headers.fields, status=response.status_code) if response is not None else None,
    )
    if flow.client_conn.tls:
        facts["tls"] = {"version": flow.client_conn.tls_version, "cipher": flow.client_conn.cipher}
    return facts


def _clean(value: str) -> str:
    """Text as UTF-8 can carry it; mitmproxy keeps other bytes as lone surrogates."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
