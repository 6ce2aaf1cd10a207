"""The station page in a real browser over a real station, and what the server refuses."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, async_playwright, expect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.conftest import absent
from tests.io.station_bench import Bench
from twin.engine.station import Act, Car
from twin.io.station_page import _MOST_ENTRIES, _MOST_HELD, StationPage
from twin.protocol.schema import schema_of

TOKEN = "a-token-of-the-test/with=signs"  # noqa: S105  # of a page that lives for one test
HOSTILE = '<img src=x onerror="document.title=1"><script>alert(1)</script>\u202e'


@asynccontextmanager
async def opened(bench: Bench, *, width: int = 1400, height: int = 1000) -> AsyncIterator[Page]:
    """The page in Chromium. Afterwards: it said nothing to the console and asked nobody else for anything."""
    chromium = shutil.which("chromium")
    if chromium is None:
        absent("chromium")
    asked: list[str] = []
    said: list[str] = []
    async with bench.page.serve() as url, async_playwright() as play:
        browser = await play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": width, "height": height})
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.set_default_timeout(10_000)
        await page.goto(url)
        await expect(page.locator("#page-pill dd")).to_have_text("live")
        await expect(page.locator(".tile").first).to_be_visible()
        yield page
        await browser.close()
    assert {urlsplit(address).netloc for address in asked} == {urlsplit(url).netloc}
    assert said == []


def tile(page: Page, number: int) -> Any:
    return page.locator(f'.tile[data-connector="{number}"]')


async def says(page: Page, number: int, status: str) -> None:
    await expect(tile(page, number).locator(".badge span")).to_have_text(status)
    await expect(tile(page, number)).to_have_attribute("aria-label", f"Connector {number}, {status}")


# ── a person at the page ────────────────────────────────────────────────────────────────────────


async def test_a_session_by_mouse() -> None:
    bench = Bench(TOKEN)
    async with opened(bench) as page:
        assert await page.locator(".tile").count() == 20
        await expect(page.locator("#registration-pill dd")).to_have_text("Accepted")
        await page.fill("#power-w", "7000")
        await page.fill("#full-wh", "3500")
        await tile(page, 3).get_by_role("button", name="Plug").click()
        await says(page, 3, "Preparing")
        assert bench.acts[-1] == Act(do="plug", connector_id=3, car=Car(power_w=7000, full_wh=3500))
        await page.fill("#tag", "CARD-1")
        await page.get_by_role("button", name="Present", exact=True).click()
        await says(page, 3, "Charging")
        bench.later(600)
        await expect(tile(page, 3).locator(".energy")).to_have_text("1.17 kWh")
        await expect(tile(page, 3).locator("dd")).to_have_text(
            ["plugged in", "7.00 kW", "32.1 A", "101", "CARD-1"]
        )
        await expect(page.locator("#load-pill dd")).to_have_text("7.00 kW, 1 charging")
        bench.later(1800)
        await says(page, 3, "SuspendedEV")
        await page.get_by_role("button", name="CARD-1: present it again").click()
        await says(page, 3, "Finishing")
        await tile(page, 3).get_by_role("button", name="Unplug").click()
        await says(page, 3, "Available")


async def test_fault_power_and_link() -> None:
    bench = Bench(TOKEN)
    async with opened(bench) as page:
        codes = await page.locator("#error-code option").all_text_contents()
        enum = schema_of("StatusNotification", False)["properties"]["errorCode"]["enum"]
        assert codes == [code for code in enum if code != "NoError"]
        await page.select_option("#error-code", "GroundFailure")
        await tile(page, 20).get_by_role("button", name="Fault").click()
        await says(page, 20, "Faulted")
        await expect(tile(page, 20).locator(".energy")).to_have_text("GroundFailure")
        await tile(page, 20).get_by_role("button", name="Clear").click()
        await says(page, 20, "Available")

        await page.get_by_role("button", name="Cut link").click()
        await expect(page.locator("#link-pill dd")).to_have_text("cut")
        await page.get_by_role("button", name="Restore link").click()
        bench.later(5)
        await expect(page.locator("#link-pill dd")).to_have_text("online")

        await page.get_by_role("button", name="Power off").click()
        await says(page, 1, "No power")
        await expect(page.locator("#said")).to_contain_text("20 connectors changed")
        await page.get_by_role("button", name="Power on").click()
        bench.later(5)
        await says(page, 1, "Available")
        await expect(page.locator("#registration-pill dd")).to_have_text("Accepted")


async def test_the_keyboard_alone() -> None:
    bench = Bench(TOKEN)
    async with opened(bench) as page:
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the connectors")).to_be_focused()
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await expect(tile(page, 1)).to_be_focused()
        assert await tile(page, 1).evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
        await page.keyboard.press("ArrowDown")
        below = int(await page.evaluate("document.activeElement.dataset.connector"))
        assert below > 2
        for key, number in (("ArrowUp", 1), ("End", 20), ("ArrowRight", 20), ("Home", 1), ("ArrowRight", 2)):
            await page.keyboard.press(key)
            await expect(tile(page, number)).to_be_focused()
        await page.keyboard.press("p")
        await says(page, 2, "Preparing")
        await expect(page.locator("#said")).to_contain_text("Connector 2 Preparing.")
        await page.keyboard.press("f")
        await says(page, 2, "Faulted")
        await page.keyboard.press("f")
        await page.keyboard.press("p")
        await says(page, 2, "Available")
        await page.keyboard.press("Tab")
        await expect(tile(page, 2).get_by_role("button", name="Plug")).to_be_focused()
        await page.keyboard.press("Space")
        await expect(tile(page, 2).get_by_role("button", name="Unplug")).to_be_focused()
        await page.keyboard.press("/")
        await expect(page.locator("#filter")).to_be_focused()
        await page.keyboard.type("boot/p")
        await expect(page.locator("#filter")).to_have_value("boot/p")
        await page.keyboard.press("Escape")
        await expect(page.locator("#filter")).to_have_value("")
        assert [act.do for act in bench.acts] == ["plug", "fault", "clear", "unplug", "plug"]


async def test_every_control_is_reached_by_tab_and_has_a_name() -> None:
    async with opened(Bench(TOKEN, connectors=2)) as page:
        wanted = await page.locator("a, button:visible, input, select, .tile").count()
        reached = set()
        for _ in range(wanted + 5):
            await page.keyboard.press("Tab")
            reached.add(
                await page.evaluate("""() => {
                  const all = [...document.querySelectorAll('a, button, input, select, .tile')];
                  return all.indexOf(document.activeElement);
                }""")
            )
        assert len(reached - {-1}) == wanted
        nameless = await page.evaluate("""() => [...document.querySelectorAll('button, input, select')]
            .filter(one => !(one.labels?.length || one.ariaLabel || one.textContent.trim()))
            .map(one => one.outerHTML)""")
        assert nameless == []


async def test_messages_open_filter_and_pause() -> None:
    bench = Bench(TOKEN)
    async with opened(bench) as page:
        boot = page.locator("#list > li", has_text="BootNotification").last
        await boot.get_by_role("button").click()
        await expect(boot.locator("pre")).to_contain_text('"chargePointVendor":"MANAGEON"')
        await expect(boot.get_by_role("button")).to_have_attribute("aria-expanded", "true")
        await page.keyboard.press("Enter")
        await expect(boot.locator("pre")).to_have_count(0)

        await page.fill("#filter", "heartbeat")
        await expect(page.locator("#none")).to_have_text("No message fits the filter.")
        bench.later(301)
        await expect(page.locator("#list > li:visible")).to_have_count(2)
        await expect(page.locator("#list > li:visible .took")).to_have_text(["20 ms", ""])
        await page.fill("#filter", "")
        shown = await page.locator("#list > li").count()
        await page.get_by_role("button", name="Pause").click()
        bench.later(300)
        await expect(page.locator("#shown")).to_contain_text("2 waiting")
        assert await page.locator("#list > li").count() == shown
        await page.get_by_role("button", name="Go on").click()
        await expect(page.locator("#list > li")).to_have_count(shown + 2)


async def test_hostile_and_huge_texts_are_text() -> None:
    bench = Bench(TOKEN)
    real = bench.snapshot

    def snapshot() -> dict[str, Any]:
        connectors = real()["connectors"]
        connectors[0] |= {"status": HOSTILE, "id_tag": HOSTILE, "error_code": HOSTILE, "current_a": 1e300}
        connectors[1] |= {"status": "__proto__", "plugged": True, "energy_wh": 10**15}
        return real() | {"station": HOSTILE * 40, "csms": "w" * 9_000, "connectors": connectors}

    bench.snapshot = snapshot  # type: ignore[method-assign]  # the texts no driver of ours would give
    async with opened(bench, width=390, height=844) as page:
        finding = {"rule": HOSTILE, "severity": HOSTILE, "message": HOSTILE * 99}
        for seq, text in ((5_000, HOSTILE), (5_001, "x" * 3_000_000)):
            entry = {
                "seq": seq,
                "at_us": 86_000_000_000,
                "sender": "\ud800",
                "kind": HOSTILE,
                "action": HOSTILE * 9,
            }
            rest = {"message_id": HOSTILE, "text": text, "round_trip_ms": None, "findings": [finding] * 60}
            bench.page.message(entry | rest)
        await expect(page.locator("#list time", has_text="23:53:20")).to_have_count(2)
        first = page.locator("#list > li").first
        await first.locator("> button").click()
        await expect(first.locator("pre")).to_have_text("x" * 65_536)
        await expect(first).to_contain_text("the first 65536 of 3000000 characters")
        await expect(first.locator(".more p")).to_have_count(51)
        second = page.locator("#list > li").nth(1)
        await second.locator("> button").click()
        await expect(second.locator("pre")).to_contain_text("<img src=x onerror")
        assert await page.locator("img, main script").count() == 0
        assert "station" in await page.title()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("width", [1400, 900, 390, 320])
async def test_it_fits(width: int) -> None:
    bench = Bench(TOKEN)
    for number in (1, 2):
        bench.act(Act(do="plug", connector_id=number, car=Car(power_w=22_000)))
        bench.act(Act(do="tag", tag=f"{number}" * 20))
    bench.act(Act(do="fault", connector_id=3, error_code="EVCommunicationError"))
    bench.later(4_000)
    async with opened(bench, width=width) as page:
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        cut = await page.evaluate("""() =>
            [...document.querySelectorAll('.badge span, .energy, .pill dd')]
            .filter(node => node.scrollWidth > node.clientWidth + 1).map(node => node.textContent)""")
        assert cut == []


async def test_the_page_comes_back() -> None:
    bench = Bench(TOKEN)
    async with opened(bench) as page:
        messages = await page.locator("#list > li").count()
        for shown in list(bench.page._pages):
            shown.socket.transport.abort()
        await expect(page.locator("#page-pill dd")).not_to_have_text("live")
        await expect(page.locator("#page-pill dd")).to_have_text("live")
        await expect(page.locator("#lost")).to_be_hidden()
        bench.act(Act(do="plug", connector_id=1))
        await says(page, 1, "Preparing")
        assert await page.locator("#list > li").count() == messages + 2


async def test_a_refused_act_is_told() -> None:
    async with opened(Bench(TOKEN)) as page:
        await page.evaluate("document.querySelector('#tag').removeAttribute('maxlength')")
        await page.fill("#tag", "1" * 21)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("1 to 20 printable characters")
        await page.get_by_role("button", name="Dismiss").click()
        await expect(page.get_by_role("alert")).to_have_count(0)


# ── what the server refuses ─────────────────────────────────────────────────────────────────────


async def get(url: str, path: str, host: str | None = None) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a GET."""
    at = urlsplit(url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    with closing(writer):
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {at.netloc if host is None else host}\r\n\r\n".encode())
        answer = await reader.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


def live(url: str, **more: Any) -> connect:
    at = urlsplit(url)
    more = {"origin": f"http://{at.netloc}", "proxy": None} | more
    return connect(f"ws://{at.netloc}/live?{at.query}", **more)


async def pushed(socket: ClientConnection) -> dict[str, Any]:
    push: dict[str, Any] = json.loads(await socket.recv())
    return push


async def test_files_and_their_headers() -> None:
    async with Bench(TOKEN).page.serve() as url:
        at = urlsplit(url)
        status, headers, body = await get(url, f"/?{at.query}")
        assert status == 200
        assert b"<title>" in body
        for name in re.findall(rb'(?:src|href)="(/[^"]+)"', body):
            assert (await get(url, name.decode()))[0] == 200
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "connect-src 'self';" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert (await get(url, f"/?{at.query}", f"LOCALHOST:{at.port}"))[0] == 200


async def test_wrong_hosts_and_tokens() -> None:
    async with Bench(TOKEN).page.serve() as url:
        at = urlsplit(url)
        for host in ("", "evil.example", f"evil.example:{at.port}", "127.0.0.1", "127.0.0.1:1", "localhost"):
            assert (await get(url, f"/?{at.query}", host))[0] == 403, host
        for query in ("", "?token=", f"?token={TOKEN[:-1]}", f"?{at.query}&{at.query}", "?token=%ff%ed%a0"):
            assert (await get(url, f"/{query}"))[0] == 403, query
        assert (await get(url, "/../../etc/passwd"))[0] == 404
        assert (await get(url, "//[?"))[0] == 400
        assert (await get(url, f"/live?{at.query}"))[0] == 403  # no Origin


async def test_wrong_origins_do_not_get_the_socket() -> None:
    async with Bench(TOKEN).page.serve() as url:
        at = urlsplit(url)
        for origin in (
            None,
            "null",
            "http://evil.example",
            f"http://localhost:{at.port}",
            f"https://{at.netloc}",
        ):
            with pytest.raises(InvalidStatus) as refused:
                async with live(url, origin=origin):
                    pass
            assert refused.value.response.status_code == 403
        with pytest.raises(InvalidStatus):
            async with live(url.partition("?")[0]):
                pass
        async with live(url) as socket:
            assert (await pushed(socket))["state"]["station"] == "OTMK-0001"


async def test_it_listens_on_loopback_alone_and_wants_a_long_token() -> None:
    with pytest.raises(ValueError, match=r"not on 0\.0\.0\.0"):
        async with Bench(TOKEN).page.serve("0.0.0.0"):  # noqa: S104  # what must be refused
            pass
    with pytest.raises(ValueError, match="16 characters"):
        StationPage(Bench(TOKEN), token="short")  # noqa: S106  # what must be refused


BAD_ACTS = [
    "",
    "[]",
    "{",
    "[" * 4_000,
    '{"do":"explode"}',
    '{"do":"plug","connector_id":21}',
    '{"do":"plug","connector_id":0}',
    '{"do":"unplug"}',
    '{"do":"plug","connector_id":"1"}',
    '{"do":"tag","tag":""}',
    '{"do":"tag","tag":"\\ud800"}',
    '{"do":"tag","tag":"a\\nb"}',
    '{"do":"tag","tag":"' + "1" * 21 + '"}',
    '{"do":"fault","connector_id":1,"error_code":"NoError"}',
    '{"do":"fault","connector_id":1,"error_code":"Whatever"}',
    '{"do":"power off","more":1}',
    *(
        f'{{"do":"plug","connector_id":1,"car":{{{car}}}}}'
        for car in (
            '"power_w":0',
            '"power_w":-1',
            '"power_w":1e308',
            '"power_w":1e999',
            '"power_w":NaN',
            '"taper_s":0',
            '"taper_from_wh":-1',
            '"full_wh":0',
            '"delay_s":1e9',
            '"pauses_s":[[5,1]]',
            '"pauses_s":[[0,1e9]]',
            '"pauses_s":[' + ",".join(["[1,2]"] * 17) + "]",
        )
    ),
    '{"do":"tag","tag":"' + "1" * 5_000 + '"}',
    b'{"do":"power off"}',
]


async def test_bad_acts_are_answered_and_the_page_lives() -> None:
    bench = Bench(TOKEN)
    async with bench.page.serve() as url, live(url) as socket:
        await pushed(socket)
        for bad in BAD_ACTS:
            await socket.send(bad)
            errors: list[str] = []
            while not errors:
                errors = (await pushed(socket))["errors"]
            assert len(errors) == 1
            assert errors[0].startswith("Not done: "), bad
        assert bench.acts == []
        await socket.send('{"do":"plug","connector_id":1,"car":{"pauses_s":[[0,5],[9,10]]}}')
        while not (await pushed(socket))["state"]["connectors"][0]["plugged"]:
            pass
        assert len(bench.acts) == 1


async def test_a_slow_page_loses_the_oldest_messages_and_is_told() -> None:
    bench = Bench(TOKEN)
    entry = {"at_us": 0, "sender": "csms", "kind": "call", "action": "A", "message_id": "m", "findings": []}
    async with bench.page.serve() as url, live(url, max_size=None) as socket:
        last = [one["seq"] for one in (await pushed(socket))["messages"]][-1]
        for seq in range(last + 1, last + _MOST_ENTRIES + 11):
            bench.page.message({**entry, "seq": seq, "text": "t", "round_trip_ms": None})
        push = await pushed(socket)
        assert push["dropped"] == 10
        assert push["messages"][0]["seq"] == last + 11
        assert len(push["messages"]) == _MOST_ENTRIES
        assert (await pushed(socket))["dropped"] == 0


async def test_a_page_that_never_reads_holds_up_nobody() -> None:
    bench = Bench(TOKEN)
    entry = {"at_us": 0, "sender": "csms", "kind": "call", "action": "A", "message_id": "m", "findings": []}
    async with (
        bench.page.serve() as url,
        live(url, max_size=None, max_queue=1) as slow,
        live(url, max_size=None) as quick,
    ):
        await pushed(quick)
        stuck = next(page for page in bench.page._pages if page.socket.remote_address == slow.local_address)
        got = 0
        for seq in range(1_000, 1_400):
            bench.page.message({**entry, "seq": seq, "text": "t" * 60_000, "round_trip_ms": None})
            if seq % 40 == 39:
                while got < seq:
                    got = max((one["seq"] for one in (await pushed(quick))["messages"]), default=got)
        assert stuck.backlog.dropped > 0
        assert sum(map(len, stuck.backlog.waiting)) <= _MOST_HELD


async def test_it_is_told_without_a_change_too() -> None:
    bench = Bench(TOKEN)
    async with bench.page.serve() as url, live(url) as socket:
        assert (await pushed(socket))["state"]["connectors"][0]["energy_wh"] == 0
        for do in ("plug", "tag"):
            bench.station.act(Act(do=do, connector_id=1, tag="A"), bench.now_us)  # type: ignore[arg-type]  # two of its words
            bench._talk()
        bench.now_us += 3_600_000_000
        while (await pushed(socket))["state"]["connectors"][0]["energy_wh"] < 3_000:
            pass


async def test_many_changes_are_one_push(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twin.io.station_page._ANYWAY_S", 3_600)
    bench = Bench(TOKEN)
    taken: list[int] = []
    real = bench.snapshot
    bench.snapshot = lambda: taken.append(1) or real()  # type: ignore[method-assign, func-returns-value]  # counted
    async with bench.page.serve() as url, live(url) as socket:
        await pushed(socket)
        for _ in range(1_000):
            bench.page.changed()
        await pushed(socket)
        bench.act(Act(do="plug", connector_id=1))
        assert (await pushed(socket))["state"]["connectors"][0]["plugged"]
        assert len(taken) == 3
