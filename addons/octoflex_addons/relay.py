"""The lean relay: mitmproxy's Master with only the addons that relaying needs, and ours.

Half the CPU of a full mitmdump, whose time goes into about forty addons. What the omitted ones would have
brought is done here: ``block_global`` (Block is loaded), a non-zero exit unless every listener is up, and the
descriptor limit.
"""

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mitmproxy import exceptions, hooks, options
from mitmproxy.addonmanager import AddonManager
from mitmproxy.addons.block import Block
from mitmproxy.addons.core import Core
from mitmproxy.addons.next_layer import NextLayer
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.master import Master
from mitmproxy.proxy.layers.tcp import TcpMessageHook

from octoflex_addons import station_tls
from octoflex_addons.record import Record
from octoflex_addons.station_tls import StationTls, StationTlsConfig
from twin.io import recorder_process
from twin.io.sd_notify import notify, watchdog_s
from twin.io.settings import Route, Settings
from twin.io.terminal import unhurried

_SCHEMES = {"ws": "http", "wss": "https", "http": "http", "https": "https"}
_TLS_VERSIONS = ("tls_version_client_min", "tls_version_server_min")
USAGE, NO_LISTENER, INTERNAL = 2, 69, 70


def upstream_mode(upstream: str, host: str, port: int) -> str:
    """``ws://csms:9000`` as a mode of mitmproxy, listening on ``host:port``.

    Raises ``ValueError`` for what a reverse proxy cannot take: another scheme, no host, or a path (the
    station's own path goes upstream unchanged).
    """
    parts = urlsplit(upstream)
    try:
        known, port_up = parts.scheme in _SCHEMES and parts.hostname, parts.port
    except ValueError:  # of the port
        known, port_up = None, None
    if not known:
        raise ValueError(f"--upstream {upstream}: expected ws://HOST:PORT or wss://HOST:PORT")
    if parts.path.strip("/") or parts.query or parts.username:
        raise ValueError(f"--upstream {upstream}: without path, query or user; the station's path is kept")
    scheme = _SCHEMES[parts.scheme]
    name = f"[{known}]" if ":" in known else known
    target = f"{name}:{port_up or (443 if scheme == 'https' else 80)}"
    return f"reverse:{scheme}://{target}@{host}:{port}"


def mode_of(settings: Settings, route: Route) -> str:
    """One listener as a mode of mitmproxy; raises ``ValueError`` as ``upstream_mode`` does."""
    if settings.mode == "transparent":
        return f"transparent@{route.listen_host}:{route.listen_port}"
    return upstream_mode(route.upstream, route.listen_host, route.listen_port)


class Dispatch(AddonManager):
    """Hooks to addons; those of relayed bytes go straight to the only one that listens."""

    def __init__(self, master: Master, record: Record) -> None:
        super().__init__(master)  # type: ignore[no-untyped-call]  # mitmproxy gives no types here
        self._record = record

    async def handle_lifecycle(self, event: hooks.Hook) -> None:
        if type(event) is TcpMessageHook:
            self._record.tcp_message(event.flow)
        else:
            await super().handle_lifecycle(event)


async def relay(settings: Settings) -> int:
    """Relay until SIGTERM or SIGINT; the exit code. SIGHUP begins a new segment."""
    loop = asyncio.get_running_loop()
    master = Master(options.Options(confdir=str(confdir_of(settings))))
    record = Record(started_by_relay=True)
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, master.shutdown)
    loop.add_signal_handler(signal.SIGHUP, record.rotate)
    proxyserver = Proxyserver()  # type: ignore[no-untyped-call]  # mitmproxy gives no types here
    stations = StationTls(settings.tls)
    tls = StationTlsConfig(settings.tls, stations)
    ours = (Core(), Block(), proxyserver, NextLayer(), tls, stations, record)
    master.addons = Dispatch(master, record)
    master.addons.add(*ours)  # type: ignore[no-untyped-call]  # mitmproxy gives no types here
    try:
        master.options.update(**options_of(settings))  # type: ignore[no-untyped-call]  # mitmproxy gives no types here
        master.options.set(*settings.proxy_options)
        _refuse_what_breaks_promises(master.options, settings)
    except (ValueError, exceptions.OptionsError) as error:
        return _refuse(str(error), USAGE)
    listening = threading.Event()
    record.start(settings, lambda: _shut_down(loop, master), listening)
    announcer = asyncio.create_task(_announce(master, proxyserver, listening))
    await master.run()
    notify("STOPPING=1")
    announcer.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        if code := await announcer:
            return code
    return _exit_code(record) if listening.is_set() else 0


def _shut_down(loop: asyncio.AbstractEventLoop, master: Master) -> None:
    loop.call_soon_threadsafe(master.shutdown)


def options_of(settings: Settings) -> dict[str, Any]:
    """mitmproxy's options for a recording; raises ``ValueError`` for routes that it cannot take."""
    return {
        "mode": [mode_of(settings, route) for route in settings.routes],
        "websocket": False,
        "rawtcp": True,
        "tcp_timeout": settings.tcp_timeout_s,
        "keep_host_header": True,
        "connection_strategy": "eager",
        **station_tls.options_of(settings),
    }


def _refuse_what_breaks_promises(held: options.Options, settings: Settings) -> None:
    """``--set`` may do much, but not what a recording promises."""
    if held.websocket or not held.rawtcp:
        raise ValueError("--set websocket=true or rawtcp=false: the relay is byte-exact; see --interactive")
    if held.ssl_insecure and not settings.tls.accept_insecure_upstream:
        raise ValueError("--set ssl_insecure=true: only with --i-accept-insecure-upstream")
    wanted = station_tls.options_of(settings)
    for name in (
        "connection_strategy",
        "request_client_cert",
        "tls_version_client_min",
        "tls_version_server_min",
    ):
        if name in wanted and getattr(held, name) != wanted[name]:
            raise ValueError(
                f"--set {name}={getattr(held, name)}: the check of stations needs {wanted[name]}"
            )
    least_s = 3 * settings.heartbeat_s
    if held.tcp_timeout < least_s:
        raise ValueError(
            f"tcp_timeout {held.tcp_timeout} s would cut a silent, healthy station: at least {least_s} s "
            f"(3 x --heartbeat {settings.heartbeat_s}) is needed"
        )


async def _announce(master: Master, proxyserver: Proxyserver, listening: threading.Event) -> int:
    """Say where we listen, then record; a port in use would leave the Master running without a listener."""
    while not proxyserver.is_running:  # noqa: ASYNC110  # the Master has no event for it
        await asyncio.sleep(0.01)
    servers = list(proxyserver.servers)
    if not servers or not all(server.is_running and server.listen_addrs for server in servers):
        master.shutdown()  # type: ignore[no-untyped-call]  # mitmproxy gives no types here
        return _refuse("; ".join(str(s.last_exception or "listener not up") for s in servers), NO_LISTENER)
    gc.freeze()  # what was loaded stays; only what connections leave behind is worth a look
    listening.set()
    for server in servers:
        host, port, *_ = server.listen_addrs[0]
        sys.stderr.write(f"listening {host}:{port}\n")
    sys.stderr.flush()
    notify("READY=1\nSTATUS=recording")
    if every_s := watchdog_s():
        while True:  # as long as the event loop turns
            await asyncio.sleep(every_s)
            notify("WATCHDOG=1")
    return 0


def _exit_code(record: Record) -> int:
    """The recorder's own, and an error where there is none to report."""
    code = record.handover.exit_code if record.handover else 0
    if code is None or code < 0:
        return _refuse(f"the recorder ended with {code}; twin check --integrity says what is there", INTERNAL)
    return code


def _refuse(why: str, code: int) -> int:
    sys.stderr.write(f"relay: {why}\n")
    return code


def confdir_of(settings: Settings) -> Path:
    """mitmproxy's own files, its CA key among them, beside the capture."""
    directory = Path(settings.directory)
    return directory.with_name(f".{directory.name}.mitmproxy")


def interactive(settings: Settings, confdir: Path) -> int:
    """mitmweb with the same recorder: WebSocket mode, which is not byte-exact."""
    from mitmproxy.tools import main as tools

    script = Path(__file__).with_name("script.py")
    held = {
        "twin_settings": recorder_process.encoded(settings),
        "confdir": str(confdir),
        "websocket": "true",
        "tcp_timeout": str(settings.tcp_timeout_s),
        "keep_host_header": "true",
        "web_host": "127.0.0.1",  # mitmweb can load scripts: never anywhere else
        "web_open_browser": "false",
    }
    arguments = ["-s", str(script)]
    for route in settings.routes:
        arguments += ["--mode", mode_of(settings, route)]
    for name, value in held.items():
        arguments += ["--set", f"{name}={value}"]
    for option in settings.proxy_options:
        arguments += ["--set", option]
    return int(tools.mitmweb(arguments) or 0)


def main(argv: Sequence[str] | None = None) -> int:
    """``twin record`` becomes this process, with its settings as the one argument."""
    unhurried()  # one who holds the terminal must not hold the stations
    settings = recorder_process.decoded((argv or sys.argv[1:])[0])
    logging.basicConfig(level=logging.WARNING, format="relay: %(message)s", stream=sys.stderr)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # forbidden by a sandbox: the soft limit stays
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    confdir = confdir_of(settings)
    confdir.mkdir(parents=True, exist_ok=True, mode=0o700)
    confdir.chmod(0o700)
    if settings.websocket:
        return interactive(settings, confdir)
    return asyncio.run(relay(settings))


if __name__ == "__main__":
    sys.exit(main())
