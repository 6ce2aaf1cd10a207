"""`twin run --page` as a person uses it: a real process, a real browser, clicks and keys."""

import re
from pathlib import Path

from playwright.async_api import Page, async_playwright

from tests.cli.test_run import ending, line_with, started
from tests.io.live_csms import LiveCsms, serving, until

ARGUMENTS = ["--no-sandbox"]


async def test_a_session_by_clicks_reaches_the_csms(tmp_path: Path) -> None:
    async with serving(LiveCsms()) as csms, async_playwright() as play:
        station = await started("run", "--csms", csms.url, "--page", "127.0.0.1:0")
        async with ending(station):
            url = await line_with(station, r"page (http://\S+)")
            browser = await play.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
            page = await browser.new_page(viewport={"width": 1400, "height": 900})
            problems: list[str] = []
            page.on("pageerror", lambda error: problems.append(str(error)))
            await page.goto(url)
            await until(lambda: len(csms.calls("StatusNotification")) == 21, "the statuses after the boot")
            await page.get_by_role("button", name=re.compile("^Plug")).first.click()
            await until(lambda: statuses(csms)[-1] == "Preparing", "Preparing")
            await page.get_by_label("idTag").fill("TAG0001")
            await page.get_by_role("button", name="Present", exact=True).click()
            await until(lambda: len(csms.calls("StartTransaction")) == 1, "StartTransaction")
            await expect_text(page, "Charging")
            await expect_text(page, "TAG0001")
            await page.get_by_role("button", name="Cut link").click()
            await until(lambda: not csms.lives["OTMK-0001"].connected, "the end of the link")
            await page.get_by_label("idTag").fill("TAG0001")
            await page.get_by_role("button", name="Present", exact=True).click()
            await page.get_by_role("button", name="Restore link").click()
            await until(lambda: len(csms.calls("StopTransaction")) == 1, "the queued StopTransaction")
            await browser.close()
    assert problems == []
    assert csms.calls("StopTransaction")[0]["reason"] == "Local"
    assert csms.calls("StopTransaction")[0]["idTag"] == "TAG0001"


def statuses(csms: LiveCsms) -> list[str]:
    return [one["status"] for one in csms.calls("StatusNotification")]


async def expect_text(page: Page, text: str) -> None:
    await page.get_by_text(text, exact=False).first.wait_for(timeout=30_000)
