"""The addon: stamp, hand over a copy, return. Translation only; nothing here can delay or alter traffic."""

import base64
import contextlib
import functools
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from mitmproxy import connection, ctx, http, tcp
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from twin.io import clock
from twin.io.handover import Handover

log = logging.getLogger(__name__)

_MINUTE_NS = 60_000_000_000
_BREAKER = 20  # faults a minute; above it the addon only relays, for a minute
_STATION, _CSMS = "station", "csms"


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


class Record:
    """Byte-exact recording of WebSocket connections (``websocket=false``), for mitmdump and for the relay.

    ``handover`` is given by the relay; under mitmdump the addon starts a recorder process of its own when the
    option ``twin_capture`` names a directory.
    """

    def __init__(self, handover: Handover | None = None) -> None:
        self.handover = handover
        self.recorder: subprocess.Popen[bytes] | None = None
        self.broken = False
        self._names: dict[str, str] = {}
        self._opened: set[str] = set()
        self._connections = 0
        self._faults: list[int] = []
        self._logged_ns = -_MINUTE_NS

    def load(self, loader: Loader) -> None:
        loader.add_option("twin_capture", str, "", "Directory of the new capture (twin).")
        loader.add_option("twin_key_file", str, "", "Pseudonym key file (twin); made on first use.")
        loader.add_option("twin_keep_id_tags", bool, False, "Do not pseudonymise idTags and serials (twin).")

    @guarded
    def running(self) -> None:
        if self.handover is not None:
            return
        if not ctx.options.twin_capture:
            log.warning("twin: nothing is recorded; name a directory with --set twin_capture=DIR")
            return
        if ctx.options.websocket:
            log.warning("twin: start mitmdump with --set websocket=false; only byte-exact mode is recorded")
        command = [sys.executable, "-m", "twin.io.recorder_process", ctx.options.twin_capture]
        if ctx.options.twin_key_file:
            command += ["--key-file", ctx.options.twin_key_file]
        if ctx.options.twin_keep_id_tags:
            command += ["--keep-id-tags"]
        self.recorder = subprocess.Popen(command, stdin=subprocess.PIPE)
        assert self.recorder.stdin is not None
        self.handover = Handover(os.dup(self.recorder.stdin.fileno()))
        self.recorder.stdin.close()

    @guarded
    def response(self, flow: http.HTTPFlow) -> None:
        now = clock.now()
        if "websocket" not in flow.request.headers.get("upgrade", "").casefold() or self.handover is None:
            return
        conn = self._name(flow.client_conn)
        facts = handshake(flow)
        if flow.response is not None and flow.response.status_code == 101:
            self._opened.add(conn)
            self.handover.say(("open", conn, facts, now.wall_ns, now.mono_ns))
            return
        facts |= {"status": flow.response.status_code if flow.response else None, "by": _CSMS}
        self.handover.say(("refused", conn, facts, now.wall_ns, now.mono_ns))

    @guarded
    def error(self, flow: http.HTTPFlow) -> None:
        now = clock.now()
        if "websocket" not in flow.request.headers.get("upgrade", "").casefold() or self.handover is None:
            return
        facts = handshake(flow) | {"by": "proxy", "why": _clean(str(flow.error)[:200])}
        self.handover.say(("refused", self._name(flow.client_conn), facts, now.wall_ns, now.mono_ns))

    def tcp_message(self, flow: tcp.TCPFlow) -> None:
        now = clock.now()
        try:
            self._message(flow, now)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # see guarded
            self.fault("tcp_message", error)
            with contextlib.suppress(Exception):
                self._pass_over(flow.client_conn, flow.messages[-1], "addon_fault", now)

    def _message(self, flow: tcp.TCPFlow, now: clock.Now) -> None:
        messages = flow.messages
        message = messages[-1]
        del messages[:-1]  # the last stays: other addons read it; the rest would grow for ever
        if self.handover is None:
            return
        if self.broken:
            self._pass_over(flow.client_conn, message, "breaker_open", now)
            self.broken = now.mono_ns - self._faults[-1] < _MINUTE_NS
            return
        conn = self._names.get(flow.client_conn.id) or self._late(flow.client_conn, now)
        sender = _STATION if message.from_client else _CSMS
        self.handover.data(conn, sender, message.content, now.wall_ns, now.mono_ns)

    def _pass_over(
        self, client: connection.Client, message: tcp.TCPMessage, reason: str, now: clock.Now
    ) -> None:
        if self.handover is not None:
            sender = _STATION if message.from_client else _CSMS
            self.handover.drop(self._name(client), sender, reason, len(message.content), now.mono_ns)

    @guarded
    def server_connect_error(self, data: ServerConnectionHookData) -> None:
        now = clock.now()
        if self.handover is not None:
            facts = {"by": "proxy", "why": _clean(str(data.server.error)[:200])}
            self.handover.say(("refused", self._name(data.client), facts, now.wall_ns, now.mono_ns))

    @guarded
    def client_disconnected(self, client: connection.Client) -> None:
        now = clock.now()
        conn = self._names.pop(client.id, "")
        if conn in self._opened and self.handover is not None:
            self._opened.discard(conn)
            self.handover.say(("end", conn, {}, now.wall_ns, now.mono_ns))

    @guarded
    def done(self) -> None:
        if self.handover is not None:
            self.handover.close()
        if self.recorder is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.recorder.wait(10)

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

    def _name(self, client: connection.Client) -> str:
        name = self._names.get(client.id)
        if name is None:
            self._connections += 1
            name = self._names[client.id] = f"c{self._connections}"
        return name

    def _late(self, client: connection.Client, now: clock.Now) -> str:
        """A socket that was open before this addon: reloaded script, or plain TCP."""
        conn = self._name(client)
        self._opened.add(conn)
        assert self.handover is not None
        self.handover.say(("open", conn, {"late": True}, now.wall_ns, now.mono_ns))
        return conn


def handshake(flow: http.HTTPFlow) -> dict[str, Any]:
    """What the capture says of a handshake; the recorder takes the secrets out before anything is stored."""
    request, response = flow.request, flow.response
    offered = request.headers.get_all("sec-websocket-protocol")
    names = [name.strip() for line in offered for name in line.split(",")]
    facts: dict[str, Any] = {
        "path": _clean(request.data.path),
        "subprotocols_offered": [_clean(name) for name in names if name],
        "request_headers": [[_clean(part) for part in pair] for pair in request.headers.fields],
    }
    if (user := basic_user(request.headers.get("authorization", ""))) is not None:
        facts["basic_user"] = user
    if response is not None:
        facts["subprotocol"] = _clean(response.headers.get("sec-websocket-protocol", ""))
        facts["extensions"] = _clean(response.headers.get("sec-websocket-extensions", ""))
    if flow.client_conn.tls:
        facts["tls"] = {"version": flow.client_conn.tls_version, "cipher": flow.client_conn.cipher}
    return facts


def _clean(value: str | bytes) -> str:
    """Header text as UTF-8 can carry it; mitmproxy keeps other bytes as lone surrogates."""
    raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    return raw.decode("utf-8", "replace")


def basic_user(header: str) -> str | None:
    """The user name of a Basic Authorization header; bytes that are not UTF-8 are kept as replacements."""
    scheme, _, value = header.partition(" ")
    if scheme.casefold() != "basic":
        return None
    try:
        return base64.b64decode(value, validate=True).partition(b":")[0].decode(errors="replace")
    except ValueError:  # not base64, or not even ASCII
        return None
