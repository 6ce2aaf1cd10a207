"""WebSocket mode: marks, comments and the view in real mitmweb and a real browser; and its recording."""

import asyncio
import re
import shutil
from pathlib import Path

import pytest
import websockets
from mitmproxy import contentviews
from mitmproxy.contentviews import Metadata
from mitmproxy.test import tflow
from playwright.async_api import Page, async_playwright

from octoflex_addons.contentview import OCPPContentview
from octoflex_addons.interactive import Interactive
from tests.addons.wires import listener, mitmdump, port_of, running
from tests.conftest import absent
from tests.wire_cases import frame, mask_of
from twin.io.formats import open_capture
from twin.io.integrity import verify
from twin.model import Kind, Side

BOOT = '[2,"1","BootNotification",{"chargePointVendor":"Manageon","chargePointModel":"OTM-K"}]'
BOOTED = '[3,"1",{"status":"Accepted","currentTime":"2026-11-24T10:00:00Z","interval":300}]'
BEAT, BAD = '[2,"2","Heartbeat",{"extra":4321.10}]', '[3,"2",{"currentTime":"yesterday"}]'
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync")
OCPP = [websockets.Subprotocol("ocpp1.6")]


async def talk(relay_port: int, csms_socket: object, look: object = None) -> None:
    """Two exchanges, the second one broken; ``look`` is awaited while the connection stands."""

    async def answer(csms: websockets.ServerConnection) -> None:
        await csms.recv()
        await csms.send(BOOTED)
        await csms.recv()
        await csms.send(BAD)
        await csms.wait_closed()

    async with (
        asyncio.timeout(120),
        websockets.serve(answer, sock=csms_socket, subprotocols=OCPP),  # type: ignore[arg-type]  # a socket
        websockets.connect(f"ws://127.0.0.1:{relay_port}/ocpp/CP7", subprotocols=OCPP, proxy=None) as station,
    ):
        await station.send(BOOT)
        assert await station.recv() == BOOTED
        await station.send(BEAT)
        assert await station.recv() == BAD
        if look is not None:
            await look()  # type: ignore[operator]  # an async function


async def looked_at(page: Page, url: str, shot: Path) -> dict[str, str]:
    """What a person sees of the flow: the list, its marks, and the WebSocket tab."""
    await page.goto(url)
    row = page.locator("tr", has_text="ocpp/CP7").first
    await row.wait_for(timeout=60_000)
    listed = await row.inner_html()
    await row.click()
    await page.get_by_text("WebSocket", exact=True).first.click()
    await page.get_by_text("BootNotification CALL", exact=False).first.wait_for(timeout=60_000)
    await page.screenshot(path=str(shot), full_page=True)
    messages = await page.locator("body").inner_text()
    await page.get_by_text("Comment", exact=True).first.click()
    comment = await page.locator("body").inner_text()
    await page.screenshot(path=str(shot.with_name("comment.png")), full_page=True)
    return {"row": listed, "messages": messages, "comment": comment}


@pytest.mark.slow
def test_a_flow_is_marked_commented_and_laid_out_in_mitmweb(tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        absent("chromium")
    seen: dict[str, str] = {}
    with listener() as csms, listener() as taken:
        web_port = taken.getsockname()[1]
        taken.close()
        command = ["-m", "twin", "record", "--interactive", "--upstream"]
        import sys

        command = [
            sys.executable,
            *command,
            f"ws://127.0.0.1:{csms.getsockname()[1]}",
            "--listen",
            "127.0.0.1:0",
        ]
        command += ["-o", str(tmp_path / "site.capture"), "--key-file", str(tmp_path / "key"), "--quiet"]
        command += [f"--set=web_port={web_port}", "--set=web_password=letmein"]
        with running(command) as process:
            port, said = port_of(process, r"listening at (?:http://)?127\.0\.0\.1:(\d+)")

            async def look() -> None:
                async with async_playwright() as play:
                    browser = await play.chromium.launch(
                        executable_path=chromium,
                        args=[
                            "--no-sandbox",
                            "--disable-gpu",
                            "--disable-background-networking",
                            "--disable-sync",
                        ],
                    )
                    page = await browser.new_page(viewport={"width": 1400, "height": 900})
                    url = f"http://127.0.0.1:{web_port}/?token=letmein"
                    seen.update(await looked_at(page, url, tmp_path / "mitmweb.png"))
                    await browser.close()

            asyncio.run(talk(port, csms, look))
            process.terminate()
            said += process.communicate(timeout=60)[0]
    assert "Traceback" not in said, said
    assert "Heartbeat CALL" in seen["messages"]
    assert "BootNotification CALLRESULT after" in seen["messages"]
    assert re.search(r"# error P006: ", seen["messages"]), seen["messages"]
    assert "4321.10" in seen["messages"]
    assert re.search(r"error [A-Z]\d{3}: ", seen["comment"]), seen["comment"]
    assert "🔴" in seen["row"] or "🔴" in seen["messages"] or "🔴" in seen["comment"]


def frames_of(capture: Path) -> list[tuple[Kind, Side | None, str | None]]:
    reading = open_capture(capture)
    assert verify(capture).problems == []
    assert reading.manifest["mode"] == "websocket"
    assert reading.manifest["byte_exact"] is False
    return [(seen.kind, seen.sender, seen.text) for seen in reading.frames if seen.kind is not Kind.STATS]


def test_whole_messages_are_recorded_and_said_not_to_be_bytes(tmp_path: Path) -> None:
    with mitmdump(tmp_path, websocket="true") as relay:
        asyncio.run(talk(relay.port, relay.csms))
        assert relay.stop() == 0, relay.said
    told = frames_of(relay.capture)
    assert told == [
        (Kind.OPEN, None, None),
        (Kind.TEXT, Side.STATION, BOOT),
        (Kind.TEXT, Side.CSMS, BOOTED),
        (Kind.TEXT, Side.STATION, BEAT),
        (Kind.TEXT, Side.CSMS, BAD),
        (Kind.CLOSE, Side.STATION, None),
        (Kind.END, None, None),
    ]
    assert "not byte-exact" in relay.said
    totals = open_capture(relay.capture).manifest["totals"]
    assert totals["seen_chunks"] == totals["recorded_chunks"] == 5


def test_the_view_takes_what_is_ours_and_leaves_the_rest() -> None:
    interactive = Interactive()
    view = OCPPContentview(interactive)
    flow = tflow.twebsocketflow()
    assert flow.response is not None
    assert flow.websocket is not None
    message = flow.websocket.messages[0]
    other = Metadata(flow=flow, websocket_message=message)
    assert view.render_priority(BOOT.encode(), other) < 0
    flow.response.headers["sec-websocket-protocol"] = "ocpp1.6"
    assert view.render_priority(BOOT.encode(), other) > 1
    assert view.prettify(BOOT.encode(), other).startswith("# BootNotification CALL\n[\n")
    assert view.prettify(b"\xff no JSON", other).startswith("# no OCPP-J message\n")
    assert view.render_priority(b"", Metadata()) < 0


def test_what_was_found_stays_with_a_flow_that_ended() -> None:
    interactive, flow = Interactive(), tflow.twebsocketflow()
    assert flow.response is not None
    assert flow.websocket is not None
    flow.response.headers["sec-websocket-protocol"] = "ocpp1.6"
    message = flow.websocket.messages[-1]
    message.content = b'[2,"1","Heartbeat",{"x":1}]'
    interactive.websocket_start(flow)
    interactive.websocket_message(flow)
    interactive.websocket_end(flow)
    view = OCPPContentview(interactive)
    assert "# error J021: " in view.prettify(message.content, Metadata(flow=flow, websocket_message=message))
    alone = view.prettify(b'[3,"1",{}]', Metadata(flow=flow))
    assert alone.startswith("# CALLRESULT\n")  # nothing is known of its CALL


def test_the_view_shows_the_messages_in_raw_bytes() -> None:
    flow = tflow.ttcpflow()
    message = flow.messages[0]
    message.from_client = True
    metadata = Metadata(flow=flow, tcp_message=message)
    wire = frame(1, BOOT.encode(), mask=mask_of(Side.STATION))
    view = OCPPContentview(Interactive())
    assert view.render_priority(wire, metadata) > 1
    assert "# BootNotification CALL" in view.prettify(wire, metadata)
    assert view.render_priority(b"\x00\x01 something else", metadata) < 0


def test_another_subprotocol_is_left_alone() -> None:
    interactive, flow = Interactive(), tflow.twebsocketflow()
    interactive.websocket_start(flow)
    interactive.websocket_message(flow)
    interactive.websocket_end(flow)
    assert interactive.flows == {}
    assert not flow.marked
    assert not flow.comment


def test_our_view_is_registered_by_the_script() -> None:
    import octoflex_addons.script

    assert octoflex_addons.script.addons
    assert "ocpp 1.6" in {name.casefold() for name in contentviews.registry.available_views()}
