"""The heads of HTTP/1.1 messages, as far as a WebSocket handshake needs them (RFC 9112, RFC 6455 §4)."""

import base64
import binascii
import re
from typing import Any

import msgspec

MAX_HEAD_BYTES = 64 * 1024
_REQUEST = re.compile(rb"([!#-'*+.^_`|~0-9A-Za-z-]+) (\S+) HTTP/1\.[01]")
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: .*)?")
_METHOD = re.compile(rb"[A-Z]{1,16}( |$)")


class Head(msgspec.Struct, frozen=True):
    """A request (``path``) or a response (``status``) without its body, and how many bytes it took."""

    size: int
    headers: tuple[tuple[bytes, bytes], ...]
    path: bytes = b""
    status: int = 0

    def values(self, name: str) -> list[str]:
        """The values of every header of that name."""
        wanted = name.encode()
        return [_clean(value) for key, value in self.headers if key.lower() == wanted]

    def value(self, name: str) -> str:
        """All values of a header as one list, "" where there is none."""
        return ", ".join(self.values(name))

    @property
    def upgrades(self) -> bool:
        return "websocket" in self.value("upgrade").casefold()

    @property
    def body_bytes(self) -> int | None:
        """How long the body is; ``None`` where only a reader of bodies could tell."""
        if self.values("transfer-encoding"):
            return None
        lengths = set(self.values("content-length"))
        if not lengths:
            return 0 if self.path or self.status in (204, 304) or self.status < 200 else None
        length = lengths.pop()
        return int(length) if not lengths and re.fullmatch(r"[0-9]{1,15}", length) else None


def looks_like_http(data: bytes) -> bool:
    """Whether bytes may be the beginning of a request."""
    return bool(_METHOD.match(data[:17]))


def read_head(data: bytes | bytearray) -> Head | None:
    """The head at the start of ``data``; ``None`` if it is not complete yet.

    Raises ``ValueError`` for what is none, or is longer than 64 KiB.
    """
    found = re.search(rb"\r?\n\r?\n", data[:MAX_HEAD_BYTES])
    if found is None:
        if len(data) >= MAX_HEAD_BYTES:
            raise ValueError("a head of more than 64 KiB")
        return None
    first, *lines = re.split(rb"\r?\n", bytes(data[: found.start()]))
    headers: list[tuple[bytes, bytes]] = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if line[:1] in (b" ", b"\t") and headers:  # obsolete line folding
            headers[-1] = (headers[-1][0], headers[-1][1] + b" " + line.strip())
        elif colon:
            headers.append((name.strip(), value.strip(b" \t")))
        else:
            raise ValueError("a header line without a colon")
    if request := _REQUEST.fullmatch(first):
        return Head(found.end(), tuple(headers), path=request[2])
    if status := _STATUS.fullmatch(first):
        return Head(found.end(), tuple(headers), status=int(status[1]))
    raise ValueError("neither a request nor a response")


def handshake(request: Head | None, response: Head | None) -> dict[str, Any]:
    """What the capture says of a handshake; the recorder takes the secrets out before anything is stored."""
    facts: dict[str, Any] = {}
    if request is not None:
        names = [
            name.strip() for line in request.values("sec-websocket-protocol") for name in line.split(",")
        ]
        facts["path"] = _clean(request.path)
        facts["subprotocols_offered"] = [name for name in names if name]
        facts["request_headers"] = [[_clean(name), _clean(value)] for name, value in request.headers]
        if (user := basic_user(request.value("authorization"))) is not None:
            facts["basic_user"] = user
    if response is not None:
        facts["subprotocol"] = response.value("sec-websocket-protocol")
        facts["extensions"] = response.value("sec-websocket-extensions")
    return facts


def basic_user(header: str) -> str | None:
    """The user name of a Basic Authorization header; bytes that are not UTF-8 are kept as replacements."""
    scheme, _, value = header.partition(" ")
    if scheme.casefold() != "basic":
        return None
    try:
        return base64.b64decode(value, validate=True).partition(b":")[0].decode(errors="replace")
    except (ValueError, binascii.Error):  # not base64, or not even ASCII
        return None


def _clean(value: bytes) -> str:
    return value.decode("utf-8", "replace")
