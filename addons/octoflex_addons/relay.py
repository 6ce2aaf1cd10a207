"""The lean relay: mitmproxy's Master with only the addons that relaying needs, and ours.

Half the CPU of a full mitmdump, whose time goes into about forty addons. What the omitted ones would have
brought is done here: ``block_global`` (Block is loaded), a non-zero exit unless every listener is up, and the
descriptor limit.
"""

import argparse
import asyncio
import contextlib
import gc
import logging
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from mitmproxy import exceptions, options
from mitmproxy.addons.block import Block
from mitmproxy.addons.core import Core
from mitmproxy.addons.next_layer import NextLayer
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.addons.tlsconfig import TlsConfig
from mitmproxy.master import Master

from octoflex_addons.record import Record
from twin.io.handover import Handover

TCP_TIMEOUT_S = 604_800  # mitmproxy's default of 600 s cuts healthy, silent stations
_SCHEMES = {"ws": "http", "wss": "https", "http": "http", "https": "https"}
USAGE, NO_LISTENER = 2, 69


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


async def relay(arguments: argparse.Namespace) -> int:
    """Relay until SIGTERM or SIGINT; the exit code."""
    loop = asyncio.get_running_loop()
    master = Master(options.Options(confdir=str(arguments.confdir)))
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, master.shutdown)
    handover = Handover(arguments.recorder_fd)
    proxyserver = Proxyserver()  # type: ignore[no-untyped-call]  # mitmproxy gives no types here
    ours = (Core(), Block(), proxyserver, NextLayer(), TlsConfig(), Record(handover))
    master.addons.add(*ours)  # type: ignore[no-untyped-call]  # mitmproxy gives no types here
    try:
        master.options.update(  # type: ignore[no-untyped-call]  # mitmproxy gives no types here
            mode=[upstream_mode(arguments.upstream, *arguments.listen)],
            websocket=False,
            rawtcp=True,
            tcp_timeout=TCP_TIMEOUT_S,
            keep_host_header=True,
            connection_strategy="eager",
        )
        master.options.set(*arguments.set)
    except (ValueError, exceptions.OptionsError) as error:
        handover.close()
        return _refuse(str(error), USAGE)
    announcer = asyncio.create_task(_announce(master, proxyserver, handover))
    await master.run()
    announcer.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        return await announcer
    return 0


async def _announce(master: Master, proxyserver: Proxyserver, handover: Handover) -> int:
    """Say where we listen; a port in use would leave the Master running without a listener."""
    while not proxyserver.is_running:  # noqa: ASYNC110  # the Master has no event for it
        await asyncio.sleep(0.01)
    servers = list(proxyserver.servers)
    if not servers or not all(server.is_running and server.listen_addrs for server in servers):
        master.shutdown()  # type: ignore[no-untyped-call]  # mitmproxy gives no types here
        return _refuse("; ".join(str(s.last_exception or "listener not up") for s in servers), NO_LISTENER)
    gc.freeze()  # what was loaded stays; only what connections leave behind is worth a look
    for host, port, *_ in proxyserver.listen_addrs()[:1]:
        handover.say(("listening", host, port))
    return 0


def _refuse(why: str, code: int) -> int:
    sys.stderr.write(f"relay: {why}\n")
    return code


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"{text}: expected HOST:PORT")
    return host.strip("[]"), int(port)


def main(argv: Sequence[str] | None = None) -> int:
    """Started by ``twin record``; hands over to the recorder on an inherited pipe."""
    parser = argparse.ArgumentParser(prog="octoflex-relay", description=__doc__)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--listen", required=True, type=_address)
    parser.add_argument("--recorder-fd", required=True, type=int)
    parser.add_argument("--confdir", required=True, type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="relay: %(message)s", stream=sys.stderr)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    arguments.confdir.mkdir(parents=True, exist_ok=True, mode=0o700)
    arguments.confdir.chmod(0o700)
    return asyncio.run(relay(arguments))


if __name__ == "__main__":
    sys.exit(main())
