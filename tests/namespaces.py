"""Stations, a gateway and a CSMS in network namespaces of their own, joined by veth: nothing leaves them.

station 10.77.1.2 ── eth1 (10.77.1.1) gateway eth0 (10.77.0.1) ── 10.77.0.2 csms
station 10.77.2.2 ── eth2 (10.77.2.1)
"""

import itertools
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from tests.conftest import absent

_RUN = Path("/run/netns")
_numbers = itertools.count()


class Namespace(msgspec.Struct, frozen=True):
    """One host: its name in ``ip netns``, and its address."""

    name: str
    address: str

    def command(self, *words: str | Path) -> list[str]:
        """The command line that runs ``words`` there."""
        return ["ip", "netns", "exec", self.name, *map(str, words)]

    def run(self, *words: str | Path) -> str:
        """Run it there to its end; what it said. ``CalledProcessError`` if it failed."""
        return _run(*self.command(*words))

    def within[T](self, do: Callable[[], T]) -> T:
        """Call it on a thread that is there: sockets it makes belong there, whoever uses them later."""
        results: list[T] = []
        errors: list[BaseException] = []

        def call() -> None:
            try:
                with (_RUN / self.name).open() as handle:
                    os.setns(handle.fileno(), os.CLONE_NEWNET)
                results.append(do())
            except BaseException as error:  # to be raised where it was asked for
                errors.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def listen(self, port: int) -> socket.socket:
        """A listening socket on its address."""
        return self.within(lambda: socket.create_server((self.address, port), backlog=1024))

    def connect(self, address: str, port: int, timeout_s: float = 30) -> socket.socket:
        """A connection from there."""
        return self.within(lambda: socket.create_connection((address, port), timeout=timeout_s))


class Network(msgspec.Struct, frozen=True):
    """``stations[n]`` hangs on the gateway's interface ``eth{n + 1}``, the CSMS on ``eth0``."""

    stations: tuple[Namespace, ...]
    gateway: Namespace
    csms: Namespace

    def link(self, station: int, state: str) -> None:
        """Set a station's cable ``up`` or ``down``, at the gateway's end."""
        self.gateway.run("ip", "link", "set", f"eth{station + 1}", state)


@contextmanager
def network(stations: int = 1) -> Iterator[Network]:
    """Build them, with routes and forwarding; take them away again whatever happens."""
    if os.geteuid() or shutil.which("ip") is None or shutil.which("iptables") is None:
        absent("network namespaces (root, ip and iptables)")
    prefix = f"twin-{os.getpid()}-{next(_numbers)}"
    gateway = Namespace(f"{prefix}-gateway", "10.77.0.1")
    csms = Namespace(f"{prefix}-csms", "10.77.0.2")
    hosts = tuple(Namespace(f"{prefix}-station{n}", f"10.77.{n}.2") for n in range(1, stations + 1))
    with ExitStack() as cleaning:
        for host in (gateway, csms, *hosts):
            try:
                _run("ip", "netns", "add", host.name)
            except subprocess.CalledProcessError as error:
                absent(f"network namespaces ({error.stderr.strip()})")
            cleaning.callback(_run, "ip", "netns", "delete", host.name)
            host.run("ip", "link", "set", "lo", "up")
        for number, host in enumerate((csms, *hosts)):
            _cable(gateway, number, host)
        gateway.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        yield Network(hosts, gateway, csms)


def _cable(gateway: Namespace, number: int, host: Namespace) -> None:
    """A veth pair between the gateway's ``eth{number}`` and the host's ``eth0``, made inside both."""
    ends = ("eth0", "netns", host.name), (f"eth{number}", "netns", gateway.name)
    _run("ip", "link", "add", *ends[0], "type", "veth", "peer", "name", *ends[1])
    gateway.run("ip", "address", "add", f"10.77.{number}.1/24", "dev", f"eth{number}")
    host.run("ip", "address", "add", f"{host.address}/24", "dev", "eth0")
    gateway.run("ip", "link", "set", f"eth{number}", "up")
    host.run("ip", "link", "set", "eth0", "up")
    host.run("ip", "route", "add", "default", "via", f"10.77.{number}.1")


def _run(*words: str) -> str:
    command: Sequence[str] = words
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
