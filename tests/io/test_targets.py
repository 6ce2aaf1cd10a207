"""Whom a replay may talk to: this machine, or what was allowed by name; looked up once."""

import asyncio
from pathlib import Path

import pytest

from tests.io.live_csms import LiveCsms, serving
from twin.io.targets import NotAllowedError, Target, dangerous, project_settings, target_of
from twin.io.websocket import LinkError, Socket, connect, listen


@pytest.mark.parametrize("url", ["ws://127.0.0.1:9", "ws://localhost:9/x", "ws://[::1]:9", "wss://127.8.8.8"])
def test_this_machine_needs_no_permission(url: str) -> None:
    assert target_of(url).loopback


@pytest.mark.parametrize(
    "url", ["ws://192.0.2.1:9000", "ws://[2001:db8::1]:9000", "wss://192.0.2.1", "ws://0.0.0.0:9000"]
)
def test_whatever_is_not_this_machine_is_refused_and_told_how_to_allow_it(url: str) -> None:
    with pytest.raises(NotAllowedError, match=r"--allow .+\[tool\.ocpp\] allow"):
        target_of(url)


def test_an_allowed_target_is_that_host_and_that_port() -> None:
    assert target_of("ws://192.0.2.1:9000/x", ["192.0.2.1:9000"]) == Target(
        "ws://192.0.2.1:9000/x", ("192.0.2.1",), loopback=False
    )
    assert target_of("ws://[2001:db8::1]:9000", ["[2001:db8::1]:9000"]).addresses == ("2001:db8::1",)
    for allow in (["192.0.2.1:9001"], ["192.0.2.1"], ["192.0.2.10:9000"], ["*"]):
        with pytest.raises(NotAllowedError):
            target_of("ws://192.0.2.1:9000/x", allow)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1", "ws://", "ws://:9", "ws://[::1", "ws://127.0.0.1:x", "127.0.0.1:9"]
)
def test_what_is_no_websocket_url_is_no_target(url: str) -> None:
    with pytest.raises(ValueError, match="expected ws://HOST:PORT"):
        target_of(url)


def test_a_name_that_nobody_knows_is_told() -> None:
    with pytest.raises(ValueError, match=r"nowhere\.invalid"):
        target_of("ws://nowhere.invalid:9")


class Nobody:
    """A peer that only keeps what was opened."""

    def __init__(self) -> None:
        self.facts: dict[str, object] = {}

    def opened(self, socket: Socket, facts: dict[str, object]) -> None:
        self.facts = facts
        socket.close(1000, "")

    def received(self, text: str) -> None:
        """Nothing is said."""

    def closed(self, socket: Socket, code: int, reason: str) -> None:
        """It is over."""


async def test_the_checked_address_is_the_one_that_is_connected_to() -> None:
    """The name would lead nowhere: it is not looked up a second time."""
    async with serving(LiveCsms()) as csms:
        port = csms.url.rpartition(":")[2]
        await connect(f"ws://nowhere.invalid:{port}/CP1", Nobody(), addresses=["127.0.0.1"])
        assert list(csms.lives) == ["CP1"]
        with pytest.raises(LinkError):
            await connect(f"ws://127.0.0.1:{port}/CP2", Nobody(), addresses=["192.0.2.255:1"])


async def test_a_name_with_several_addresses_is_found_where_it_listens() -> None:
    """``localhost`` is ``::1`` first on many machines, and the CSMS on 127.0.0.1."""
    async with serving(LiveCsms()) as csms:
        port = csms.url.rpartition(":")[2]
        await connect(f"ws://localhost:{port}/CP1", Nobody(), addresses=["127.0.0.2", "127.0.0.1"])
        assert list(csms.lives) == ["CP1"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('[2,"1","Reset",{"type":"Hard"}]', "Reset"),
        ('[2,"1","rESET",{"type":"Hard"}]', "Reset"),
        ('[2,"1","Reset",{"type":"Hard"},1]', "Reset"),
        ('[2,"1","Heartbeat",{}]', ""),
        ('[3,"1",{"status":"Accepted"}]', ""),
        *((text, "text") for text in (
            '[2,17,"Reset",{}]', '["2","1","Reset",{}]', '[2.0,"1","Reset",{}]', '[2,"1","Reset",{},]',
            '[2,"1","Reset",{"a":NaN}]', '[2,"1","Reset",{}]//', '[2,"1","Re\\u0073et",{}]\x00', "hello",
        )),
        ('[2,"1","Re\\u0073et",{}]', "Reset"),
    ],
)  # fmt: skip
def test_what_a_station_could_take_for_an_order(text: str, what: str) -> None:
    assert dangerous(text) == what


async def test_a_redirect_is_a_refusal_and_is_not_followed() -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: ws://192.0.2.1:9/\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(redirect, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(LinkError) as refused:
            await connect(f"ws://127.0.0.1:{port}/CP1", Nobody())
    assert refused.value.status == 302


@pytest.mark.parametrize(("deflate", "offered"), [(True, True), (True, False), (False, True)])
async def test_messages_are_compressed_where_both_sides_say_so(deflate: bool, offered: bool) -> None:
    peer, other = Nobody(), Nobody()
    server = await listen("127.0.0.1", 0, lambda path, authorization: other, deflate=deflate)
    await connect(f"{server.url}/CP1", peer, deflate=offered)
    wanted = "permessage-deflate" if deflate and offered else None
    assert peer.facts.get("extensions") == wanted
    assert other.facts.get("extensions") == wanted
    server.close()


async def test_a_connection_that_never_asks_for_anything_holds_up_no_end() -> None:
    """A health check, say: it is there, and the server ends all the same."""
    server = await listen("127.0.0.1", 0, lambda path, authorization: Nobody())
    port = int(server.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    server.close()
    async with asyncio.timeout(30):
        assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(
    "url", ["ws://CP1:hunter2@127.0.0.1:9/x", "wss://CP1:hunter2@:99999/", "ws://a@b@c/"]
)
def test_a_password_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="password") as refused:
        target_of(url)
    assert "hunter2" not in str(refused.value)


def test_the_project_says_what_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.ocpp]\nallow = ["csms.test:9000"]\n')
    (tmp_path / "deep" / "er").mkdir(parents=True)
    assert project_settings(tmp_path / "deep" / "er") == ({"allow": ["csms.test:9000"]}, tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[tool.ocpp]\nalow = []", "unknown key"),
        ('[tool.ocpp]\nallow = "x"', "expected a list"),
        ("[tool.ocpp]\nallow = [1]", "HOST:PORT"),
        ("[tool.ocpp", "pyproject.toml"),
    ],
)
def test_a_project_file_that_makes_no_sense_is_told(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(ValueError, match=says):
        project_settings(tmp_path)
