"""Whom a replay may talk to: this machine, or what was allowed by name; looked up once."""

import ipaddress
import socket
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from twin.model import Call
from twin.protocol import codec

# What a replay as the CSMS may make a real station do only when it is named (OCPP 1.6 chapter 5).
DANGEROUS = frozenset(
    {
        "ChangeConfiguration",
        "RemoteStartTransaction",
        "Reset",
        "SignedUpdateFirmware",
        "UnlockConnector",
        "UpdateFirmware",
    }
)


UNREADABLE_TEXT = "text"  # so is what is no message: nobody knows what a station makes of it


def dangerous(text: str) -> str:
    """The action of ``DANGEROUS`` that a text of the CSMS asks for, ``UNREADABLE_TEXT``, or "".

    In any letter case: a station may be lenient where the specification is not.
    """
    message = codec.parse(text).message
    if message is None:
        return UNREADABLE_TEXT
    asked = message.action.casefold() if isinstance(message, Call) else ""
    return next((action for action in DANGEROUS if action.casefold() == asked), "")


class NotAllowedError(Exception):
    """The target is not this machine and nobody allowed it; the text says how to."""


class UnknownHostError(ValueError):
    """Nobody knows the name of the host."""


_PASSWORDS = (
    "a station's password stands in [passwords] of --map, in --password-file or TWIN_STATION_PASSWORD"
)


class Target(msgspec.Struct, frozen=True):
    """A CSMS that may be spoken to. ``addresses`` are those that were checked: connect to no other."""

    url: str
    addresses: tuple[str, ...]
    loopback: bool


def target_of(url: str, allow: Collection[str] = ()) -> Target:
    """Check ``ws://HOST:PORT/path``. Every address of the name must be loopback, or ``HOST:PORT`` allowed.

    Raises ``ValueError`` for what is no such URL, :class:`UnknownHostError` for a name that cannot be found,
    :class:`NotAllowedError` otherwise.
    """
    host, port = _host_and_port(url)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UnknownHostError(f"{host}: {getattr(error, 'strerror', None) or error}") from error
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    loopback = all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in addresses)
    named = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if not loopback and named not in allow:
        raise NotAllowedError(
            f"{named} is not this machine; if you may replay against it, say so with --allow {named}, "
            f'or for good in pyproject.toml: [tool.ocpp] allow = ["{named}"]'
        )
    return Target(url, addresses, loopback)


def _host_and_port(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "wss" else 80)
    except ValueError:
        parts, host, port = urlsplit(""), None, 0
    if "@" in url.partition("//")[2].partition("/")[0]:  # it would stand in every report
        raise ValueError(f"a URL with a name or a password before its host: {_PASSWORDS}")
    if parts.scheme not in ("ws", "wss") or not host:
        raise ValueError(f"{url}: expected ws://HOST:PORT or wss://HOST:PORT")
    return host, port


def project_settings(start: Path) -> tuple[dict[str, Any], Path | None]:
    """``[tool.ocpp]`` of the nearest pyproject.toml that has one, and where that stands.

    Raises ``ValueError`` where the file is no TOML or the table is not as documented.
    """
    for folder in (start, *start.parents):
        path = folder / "pyproject.toml"
        if not path.is_file():
            continue
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error
        table = document.get("tool", {}).get("ocpp")
        if table is None:
            continue
        _check(table, path)
        return table, folder
    return {}, None


def _check(table: Any, path: Path) -> None:
    known: Mapping[str, type] = {"allow": list, "matchers": str, "map": str, "baseline": str}
    if not isinstance(table, dict):
        raise ValueError(f"{path}: tool.ocpp: expected a table")
    for name, value in table.items():
        if name not in known:
            raise ValueError(f"{path}: [tool.ocpp]: unknown key {name!r}; there are {', '.join(known)}")
        if not isinstance(value, known[name]):
            raise ValueError(f"{path}: [tool.ocpp] {name}: expected a {known[name].__name__}")
    if not all(isinstance(one, str) for one in table.get("allow", [])):
        raise ValueError(f"{path}: [tool.ocpp] allow: expected HOST:PORT texts")
