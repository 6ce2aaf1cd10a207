"""``/metrics`` for Prometheus: opt-in, loopback only, labels that nobody on the wire can multiply.

The names are an interface: they change only with a line in the changelog. No idTag and no transactionId ever
is a label.
"""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from twin import __version__
from twin.io.books import REASONS
from twin.io.watching import Status
from twin.model import CallError, EventKind, Finding, Frame, Kind, Side
from twin.protocol.actions import ACTIONS
from twin.rules import Step

BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60)  # 5 s is the certificate's limit
_DIRECTIONS = {Side.STATION: "cp-to-csms", Side.CSMS: "csms-to-cp", None: "none"}
_TYPES = {
    EventKind.CALLED: "CALL",
    EventKind.ANSWERED: "CALLRESULT",
    EventKind.REFUSED: "CALLERROR",
    EventKind.MALFORMED: "malformed",
}
_CODES = frozenset(range(1000, 1016))
_INITIATORS = frozenset({"station", "csms", "proxy", "unknown"})

_CLOSE_S = 2.0  # whoever reads drop by drop is not waited for

type Answer = Callable[[str, list[tuple[str, str]]], Any]


class Metrics:
    """Counts what it sees, and serves it on ``HOST:PORT``.

    Raises ``ValueError`` unless HOST is a loopback address, and ``OSError`` where the port cannot be had.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        if not port.isdecimal() or not _is_loopback(host):
            raise ValueError(f"--metrics {address}: expected 127.0.0.1:PORT; it is served to this host only")
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the package gives no types here
        registry = self.registry = CollectorRegistry()
        self._messages = Counter(
            "twin_messages", "OCPP messages recorded", ["direction", "action", "type"], registry=registry
        )
        self._durations = Histogram(
            "twin_call_duration_seconds",
            "CALL to its answer",
            ["direction", "action"],
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._findings = Counter("twin_findings", "Findings", ["rule", "severity"], registry=registry)
        self._dropped = Counter(
            "twin_records_dropped", "Reads of a socket that were not recorded", ["reason"], registry=registry
        )
        self._lag = Gauge("twin_capture_lag_seconds", "How far the recorder is behind", registry=registry)
        self._free = Gauge("twin_disk_free_bytes", "Left where the capture lies", registry=registry)
        self._sockets = Gauge("twin_sockets", "Connections open", registry=registry)
        self._closes = Counter(
            "twin_ws_closes", "Connections that ended", ["code", "initiator"], registry=registry
        )
        Gauge("twin_build_info", "Always 1", ["version"], registry=registry).labels(__version__).set(1)
        for reason in REASONS:  # from nothing to one is an increase only if nothing was told
            self._dropped.labels(reason)
        self._told: dict[str, int] = {}
        self._codes: dict[str, str] = {}
        self._server = make_server(host, int(port), self._answer, _SERVERS[":" in host], _Quiet)
        self.port = self._server.server_port
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}/metrics"
        self._hosts = {f"{name}:{self.port}" for name in (host, f"[{host}]", "localhost")}
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def saw(self, frame: Frame | None, steps: Sequence[Step], findings: Sequence[Finding]) -> None:
        if frame is not None and frame.kind is Kind.CLOSE:
            code = frame.facts.get("code")
            self._codes.setdefault(frame.link, str(code) if code in _CODES else "other" if code else "none")
        elif frame is not None and frame.kind is Kind.END:
            by = str(frame.facts.get("by", "unknown"))
            code = self._codes.pop(frame.link, "1006")  # RFC 6455 §7.1.5: no Close frame was seen
            self._closes.labels(code, by if by in _INITIATORS else "unknown").inc()
        for step in steps:
            self._step(step)
        for finding in findings:
            self._findings.labels(finding.rule, finding.severity.value).inc()

    def _step(self, step: Step) -> None:
        event = step.event
        kind = _TYPES.get(event.kind)
        if event.kind is EventKind.ORPHANED:
            kind = "CALLERROR" if isinstance(event.message, CallError) else "CALLRESULT"
        if kind is None:
            return
        action = event.action if event.action in ACTIONS else "other"
        self._messages.labels(_DIRECTIONS[event.sender], action, kind).inc()
        if event.took_us is not None and event.asked is not None:
            asked = _DIRECTIONS[event.asked.sender]
            self._durations.labels(asked, action).observe(event.took_us / 1e6)

    def told(self, status: Status) -> None:
        self._lag.set(status.lag_s)
        self._sockets.set(status.sockets)
        if status.disk_free_bytes is not None:
            self._free.set(status.disk_free_bytes)
        for reason, count in status.dropped_chunks.items():
            self._dropped.labels(reason).inc(count - self._told.get(reason, 0))
            self._told[reason] = count

    def close(self) -> None:
        threading.Thread(
            target=self._server.shutdown, daemon=True
        ).start()  # it waits for the request at hand
        self._thread.join(_CLOSE_S)
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start: Answer) -> Iterable[bytes]:
        """Loopback alone is open to DNS rebinding: the Host must be ours too."""
        if environ.get("HTTP_HOST") not in self._hosts:
            return _refuse(start, "403 Forbidden")
        if environ["PATH_INFO"] != "/metrics":
            return _refuse(start, "404 Not Found")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _refuse(start, "405 Method Not Allowed")
        start("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
        return [generate_latest(self.registry)]


class _Server(WSGIServer):
    def server_bind(self) -> None:
        """Without the name lookup of ``http.server``: a recorder waits for no resolver."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


_SERVERS = {False: _Server, True: _Server6}


class _Quiet(WSGIRequestHandler):
    timeout = 5.0  # one who says nothing does not hold the only thread

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base's name
        pass


def _refuse(start: Answer, status: str) -> Iterable[bytes]:
    start(status, [("Content-Type", "text/plain")])
    return [f"{status}\n".encode()]


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
