"""The page of a running station: what it is doing, and buttons for what happens to it, on loopback only.

Plain HTTP gives the files of ``page/``; the WebSocket ``/live`` carries pushes one way and acts the other.
A push is one JSON object: ``state`` (:meth:`StationView.snapshot`), ``messages``, how many were ``dropped``
before them, ``errors``; the first one has ``run`` and ``error_codes`` too. An act is ``Act`` as JSON.
"""

import asyncio
import hmac
import json
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from importlib.resources import files
from typing import Any, Protocol
from urllib.parse import parse_qs, quote, urlsplit

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from twin.engine.station import Act, Car
from twin.protocol.schema import schema_of

_HOSTS = {"127.0.0.1": "127.0.0.1", "::1": "[::1]"}  # where it may listen, and how a URL spells it
_SCRIPT = "text/javascript; charset=utf-8"
_FILES = {
    "/": ("station.html", "text/html; charset=utf-8"),
    "/station.css": ("station.css", "text/css; charset=utf-8"),
    "/station.svg": ("station.svg", "image/svg+xml"),
} | {f"/{name}.js": (f"{name}.js", _SCRIPT) for name in ("station", "tiles", "messages", "common")}
_SECRET = ("/", "/live")  # the rest is the same for everybody
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_LEAST_TOKEN = 16
_MOST_PAGES = 16
_BETWEEN_S = 0.1  # at most so often a page is told
_ANYWAY_S = 1.0  # and at least: energy grows by itself
_MOST_ACT = 4_096  # characters of one act
_MOST_FRAME = 1 << 18  # bytes of what a page sends; beyond, the connection ends
_MOST_TEXT = 65_536  # characters shown of a message
_MOST_WORDS = 2_000  # and of any other text
_MOST_FINDINGS = 50
_MOST_ENTRIES, _MOST_HELD = 500, 1 << 22  # messages that wait for a slow page: number, characters
_MOST_RECENT, _MOST_RECENT_HELD = 200, 1 << 20  # shown to a page that comes later
_MOST_ERRORS = 20
_MOST_TAG = 20  # CiString20Type
_MOST_PAUSES = 16
_DAY_S = 86_400.0
_CAR = {  # sane for one AC outlet; the engine itself takes any number
    "power_w": (1.0, 22_000.0),
    "taper_from_wh": (0.0, 1_000_000.0),
    "taper_s": (1.0, _DAY_S),
    "full_wh": (1.0, 1_000_000.0),
    "delay_s": (0.0, _DAY_S),
}
_AT_CONNECTOR = ("plug", "unplug", "fault", "clear")

_LOG = logging.getLogger("twin.station_page")
# Browsers open sockets ahead and close them unused.
_LOG.addFilter(lambda record: record.msg != "opening handshake failed")


class StationView(Protocol):
    """The running station, as the page sees it."""

    def snapshot(self) -> dict[str, Any]:
        """What is so now, as JSON takes it.

        ``station``, ``csms``, ``online``, ``registration``, ``powered``, ``network``, ``queue`` and
        ``connectors``, each with ``id``, ``status``, ``error_code``, ``plugged``, ``energy_wh`` (of this
        session), ``register_wh``, ``current_a``, ``power_w``, ``transaction``, ``id_tag``.
        """
        ...

    def act(self, act: Act) -> None:
        """Something happens to the station, now. A ``ValueError`` is told to the page that asked."""
        ...


class StationPage:
    """Pages of one station. The driver calls :meth:`message` and :meth:`changed` from the event loop."""

    def __init__(self, view: StationView, *, token: str) -> None:
        if len(token) < _LEAST_TOKEN:
            raise ValueError(f"the token of a page has at least {_LEAST_TOKEN} characters")
        self._view = view
        self._token = token
        self._run = secrets.token_hex(4)  # a page that comes back sees whether the numbers began anew
        self._hosts: frozenset[str] = frozenset()
        self._pages: set[_Page] = set()
        self._recent = _Backlog(_MOST_RECENT, _MOST_RECENT_HELD)
        folder = files("twin.io") / "page"
        self._files = {path: ((folder / name).read_bytes(), kind) for path, (name, kind) in _FILES.items()}

    @asynccontextmanager
    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """Listen while the context is open; gives the URL to open. Port 0: any that is free.

        Raises ``ValueError`` for a host that is not loopback, ``OSError`` where the port is taken.
        """
        if host not in _HOSTS:
            raise ValueError(f"the page listens on {' or '.join(_HOSTS)}, not on {host}")
        server = serve(
            self._attend,
            host,
            port,
            process_request=self._request,
            compression=None,
            max_size=_MOST_FRAME,
            close_timeout=1.0,
            server_header=None,
            logger=_LOG,
        )
        async with server as listening:
            bound = listening.sockets[0].getsockname()[1]
            self._hosts = frozenset(f"{name}:{bound}" for name in ("localhost", *_HOSTS.values()))
            yield f"http://{_HOSTS[host]}:{bound}/?token={quote(self._token, safe='')}"

    def message(self, entry: dict[str, Any]) -> None:
        """An OCPP message passed. Returns at once; a page too slow for it is told how many it missed.

        ``seq``, ``at_us``, ``sender`` (``station``, ``csms``), ``kind`` (``call``, ``result``, ``error``),
        ``action``, ``message_id``, ``text``, ``round_trip_ms`` (``None`` but on answers), ``findings`` of
        ``rule``, ``severity``, ``message``.
        """
        text = json.dumps(_bounded(entry))  # ASCII: a lone surrogate stays an escape
        self._recent.add(text)
        for page in self._pages:
            page.backlog.add(text)
            page.wake.set()

    def changed(self) -> None:
        """The snapshot is another one now."""
        for page in self._pages:
            page.wake.set()

    # --- HTTP -----------------------------------------------------------------------------------------------

    def _request(self, socket: ServerConnection, request: Request) -> Response | None:
        """A file, a refusal, or ``None``: go on and open the WebSocket."""
        hosts = request.headers.get_all("Host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:  # DNS rebinding
            return _response(403, b"This page is served to this machine only.\n")
        host = hosts[0].lower()
        if getattr(request, "method", "GET") != "GET":  # older websockets know no other
            return _response(405, b"GET only.\n")
        try:
            asked = urlsplit(request.path)
            tokens = parse_qs(asked.query, max_num_fields=8).get("token", [])
        except ValueError:
            return _response(400, b"That is no address of this page.\n")
        if asked.path not in self._files and asked.path != "/live":
            return _response(404, b"There is nothing here.\n")
        if asked.path in _SECRET and not self._knows(tokens):
            return _response(403, b"The address lacks the token that was printed at the start.\n")
        if asked.path == "/live":
            own = request.headers.get_all("Origin") == [f"http://{host}"]
            return None if own else _response(403, b"Another site may not do this.\n")
        body, kind = self._files[asked.path]
        return _response(200, body, kind, host)

    def _knows(self, tokens: list[str]) -> bool:
        return len(tokens) == 1 and hmac.compare_digest(tokens[0].encode(), self._token.encode())

    # --- the WebSocket --------------------------------------------------------------------------------------

    async def _attend(self, socket: ServerConnection) -> None:
        if len(self._pages) >= _MOST_PAGES:
            await socket.close(1013, "too many pages are open")
            return
        page = _Page(socket, self._recent)
        self._pages.add(page)
        try:
            async with asyncio.TaskGroup() as both:
                telling = both.create_task(self._tell(page))
                await self._listen(page)
                telling.cancel()
        finally:
            self._pages.discard(page)

    async def _tell(self, page: "_Page") -> None:
        """Pushes, for as long as the page is there; while it does not read, its backlog drops the oldest."""
        first = {"run": self._run, "error_codes": _error_codes()}
        with suppress(ConnectionClosed):
            while True:
                page.wake.clear()
                await page.socket.send(page.push({**first, "state": self._view.snapshot()}))
                first = {}
                await asyncio.sleep(_BETWEEN_S)
                with suppress(TimeoutError):
                    await asyncio.wait_for(page.wake.wait(), _ANYWAY_S - _BETWEEN_S)

    async def _listen(self, page: "_Page") -> None:
        with suppress(ConnectionClosed):
            async for data in page.socket:
                if error := self._obey(data):
                    page.errors.append(error)
                page.wake.set()
                await asyncio.sleep(0)  # a page in a hurry does not keep the station waiting

    def _obey(self, data: str | bytes) -> str:
        """Do what a page asks for, or say why not."""
        if isinstance(data, bytes) or len(data) > _MOST_ACT:
            return f"Not done: an act is text of at most {_MOST_ACT} characters"
        try:
            act = msgspec.json.decode(data, type=Act)
            connectors = [connector["id"] for connector in self._view.snapshot()["connectors"]]
            if fault := _fault(act, connectors):
                return f"Not done: {fault}"
            self._view.act(act)
        except (ValueError, RecursionError) as error:  # msgspec's are ValueErrors
            return f"Not done: {str(error)[:200]}"
        return ""


class _Backlog:
    """Messages as JSON that wait for a page, the oldest dropped and counted where they get too many."""

    def __init__(self, most: int, most_held: int) -> None:
        self._most, self._most_held = most, most_held
        self.waiting: deque[str] = deque()
        self._held = 0
        self.dropped = 0

    def add(self, text: str) -> None:
        self.waiting.append(text)
        self._held += len(text)
        while len(self.waiting) > self._most or self._held > self._most_held:
            self._held -= len(self.waiting.popleft())
            self.dropped += 1

    def take(self) -> tuple[str, int]:
        """A JSON array of them, and how many are missing before it."""
        taken, dropped = f"[{','.join(self.waiting)}]", self.dropped
        self.waiting.clear()
        self._held = self.dropped = 0
        return taken, dropped


class _Page:
    """One open page: what it has not been told yet."""

    def __init__(self, socket: ServerConnection, recent: _Backlog) -> None:
        self.socket = socket
        self.backlog = _Backlog(_MOST_ENTRIES, _MOST_HELD)
        for text in recent.waiting:
            self.backlog.add(text)
        self.errors: deque[str] = deque(maxlen=_MOST_ERRORS)
        self.wake = asyncio.Event()

    def push(self, more: dict[str, Any]) -> str:
        messages, dropped = self.backlog.take()
        rest = json.dumps({**more, "dropped": dropped, "errors": [*self.errors]})
        self.errors.clear()
        return f'{{"messages":{messages},{rest[1:]}'


def _bounded(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry with its texts cut to what is worth showing; ``length`` is that of the whole text."""
    text = str(entry["text"])
    findings = [_cut(finding) for finding in entry["findings"][:_MOST_FINDINGS]]
    return {**_cut(entry), "text": text[:_MOST_TEXT], "length": len(text), "findings": findings}


def _cut(words: dict[str, Any]) -> dict[str, Any]:
    return {name: word[:_MOST_WORDS] if isinstance(word, str) else word for name, word in words.items()}


def _fault(act: Act, connectors: list[int]) -> str:
    """Why this act is no sane one; empty if it is."""
    if act.do in _AT_CONNECTOR and act.connector_id not in connectors:
        return f"there is no connector {act.connector_id}"
    if act.do == "tag" and not (0 < len(act.tag) <= _MOST_TAG and act.tag.isprintable()):
        return f"an idTag has 1 to {_MOST_TAG} printable characters"
    if act.do == "fault" and act.error_code not in _error_codes():
        return "that is no errorCode of OCPP 1.6"
    return _fault_of_car(act.car) if act.do == "plug" else ""


def _error_codes() -> list[str]:
    codes = schema_of("StatusNotification", False)["properties"]["errorCode"]["enum"]
    return [code for code in codes if code != "NoError"]


def _fault_of_car(car: Car) -> str:
    for name, (least, most) in _CAR.items():
        value = getattr(car, name)
        if value is not None and not least <= value <= most:
            return f"{name} is {value:g}, not {least:g} to {most:g}"
    edges = [edge for pause in car.pauses_s for edge in pause]
    if len(car.pauses_s) > _MOST_PAUSES or edges != sorted(edges) or any(not 0 <= e <= _DAY_S for e in edges):
        return f"pauses_s is no list of at most {_MOST_PAUSES} pauses of one day, one after the other"
    return ""


def _response(status: int, body: bytes, kind: str = "text/plain; charset=utf-8", host: str = "") -> Response:
    headers = Headers(
        {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": _POLICY.format(host=host) if host else "default-src 'none'",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
            "Connection": "close",
        }
    )
    return Response(status, HTTPStatus(status).phrase, headers, body)
