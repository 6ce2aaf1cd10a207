"""The page in a real browser: it asks for nothing, says nothing to the console and fits screen and paper."""

import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.conftest import absent
from tests.report.test_sheet import DEMO, hostile, made
from twin.model import Frame
from twin.report.sheet_html import page


@pytest.mark.parametrize("frames", [DEMO, hostile()], ids=["demo", "hostile"])
def test_it_fits_screen_telephone_and_paper(frames: list[Frame], tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        absent("chromium")
    sheet = tmp_path / "sheet.html"
    sheet.write_text(page(*made(frames)), encoding="utf-8")
    asked: list[str] = []
    said: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width, media in ((1100, "screen"), (390, "screen"), (690, "print")):
            seen = browser.new_page(viewport={"width": width, "height": 800})
            seen.emulate_media(media=media)  # type: ignore[arg-type]  # one of its two words
            seen.on("request", lambda request: asked.append(request.url))
            seen.on("console", lambda message: said.append(message.text))
            seen.on("dialog", lambda dialog: said.append(dialog.message))
            seen.goto(sheet.as_uri())
            assert seen.evaluate("document.documentElement.scrollWidth") <= width
        paper = seen.pdf()
        browser.close()
    assert set(asked) == {sheet.as_uri()}
    assert said == []
    assert paper.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", paper)) <= 30
