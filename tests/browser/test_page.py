"""The page in a real browser, on everything that `muster up` starts, with the worked example.

It needs Debian's chromium; where that is missing the tests are skipped, except in CI, which installs it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright, expect

pytestmark = pytest.mark.slow

CHROMIUM = Path("/usr/bin/chromium")
PAGES = ("/", "/targets/million-drones", "/coalitions/drone-coalition")
SHOWN = """position => new Promise(done => {
    const look = () => window.shown >= position ? requestAnimationFrame(() => done()) : setTimeout(look, 5);
    look();
})"""
SOURCES = [{"publisher": "A test", "title": "A browser saw it"}]

if not CHROMIUM.exists() and os.environ.get("CI", "").lower() != "true":
    pytest.skip(f"{CHROMIUM} is not installed (apt-get install chromium)", allow_module_level=True)


@pytest.fixture(scope="module")
def muster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where everything is, with the example loaded."""
    home = tmp_path_factory.mktemp("browser")
    ports = ("--commitments-port", "0", "--projections-port", "0")
    with (home / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "muster", "up", "--json", "--home", str(home / "home"), *ports],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (home / "stderr").read_text()
            yield json.loads(line)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
            if process.stdout is not None:
                process.stdout.close()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        await found.close()


class Seen:
    """What a page asked for and complained of."""

    def __init__(self, page: Page, origin: str) -> None:
        self.errors: list[str] = []
        self.outside: list[str] = []
        self._host = urlsplit(origin).netloc
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != self._host:
            self.outside.append(request.url)


async def a_page(browser: Browser, origin: str, path: str, **context: Any) -> tuple[Page, Seen]:
    page = await (await browser.new_context(**context)).new_page()
    seen = Seen(page, origin)
    answer = await page.goto(origin + path)
    assert answer is not None
    assert answer.status == 200, await answer.text()
    return page, seen


async def live(page: Page) -> None:
    await page.locator("#connection", has_text="live").wait_for()


def record(muster: dict[str, str], pledge: str, exactly: str) -> int:
    """Pledge drones to the coalition, and give the position."""
    body = {
        "donors": [{"party": "LVA"}],
        "coalition": "drone-coalition",
        "beneficiary": "UKR",
        "capability": "drone",
        "amount": {"unit": "piece", "exactly": exactly},
        "announced_on": "2025-01-15",
        "sources": SOURCES,
    }
    answer = httpx2.put(f"{muster['commitments']}/v1/pledges/{pledge}", json=body, trust_env=False)
    assert answer.status_code == 201, answer.text
    position: int = answer.json()["position"]
    return position


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_nothing_complains_and_nothing_is_fetched_from_outside(
    muster: dict[str, str], browser: Browser, path: str, scheme: str
) -> None:
    page, seen = await a_page(browser, muster["projections"], path, color_scheme=scheme)
    await live(page)
    figure = page.locator("figure.chart img").first
    assert await figure.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    found = await Axe().run(page)
    assert [(violation["id"], violation["nodes"]) for violation in found.response["violations"]] == []
    assert (seen.errors, seen.outside) == ([], [])


@pytest.mark.parametrize("path", PAGES)
async def test_on_a_phone_nothing_has_to_be_scrolled_sideways(
    muster: dict[str, str], browser: Browser, path: str
) -> None:
    page, _ = await a_page(browser, muster["projections"], path, viewport={"width": 360, "height": 740})
    await live(page)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360


async def test_without_a_script_the_numbers_and_the_charts_are_there(muster: dict[str, str], browser: Browser) -> None:
    page, seen = await a_page(browser, muster["projections"], "/targets/million-drones", java_script_enabled=False)
    assert "about 10,000" in await page.inner_text("main")
    image = page.locator("figure.chart img")
    box = await image.bounding_box()
    assert box is not None
    assert box["height"] > 200, "the picture is there and has a size"
    assert seen.errors == []


async def test_a_command_is_seen_on_the_open_page_within_a_second(muster: dict[str, str], browser: Browser) -> None:
    page, seen = await a_page(browser, muster["projections"], "/coalitions/drone-coalition")
    await live(page)
    await page.evaluate("document.addEventListener('muster:shown', event => { window.shown = event.detail.position; })")
    await page.focus("figure.chart figcaption a >> nth=0")
    position = record(muster, "browser-live", "123456")
    since = time.monotonic()
    await page.evaluate(SHOWN, position)
    took_s = time.monotonic() - since
    assert "2,500" not in await page.locator("table td.n").first.inner_text()
    await page.locator(f'figure.chart img[src*="known={position}"]').wait_for(timeout=5_000)
    assert await page.evaluate("document.activeElement.closest('figure.chart') !== null"), "focus stays where it was"
    assert seen.errors == []
    assert took_s <= 1.0


async def test_a_page_that_could_not_be_fetched_is_fetched_again(muster: dict[str, str], browser: Browser) -> None:
    page, _ = await a_page(browser, muster["projections"], "/coalitions/drone-coalition")
    await live(page)
    await page.evaluate("document.addEventListener('muster:shown', event => { window.shown = event.detail.position; })")
    await page.route("**/coalitions/drone-coalition?min_position=*", lambda route: route.abort(), times=1)
    position = record(muster, "browser-again", "11")
    await page.locator("#connection", has_text="trying again").wait_for()
    await page.evaluate(SHOWN, position)


async def test_a_page_of_the_past_stays_as_it_was(muster: dict[str, str], browser: Browser) -> None:
    page, _ = await a_page(browser, muster["projections"], "/coalitions/drone-coalition?known=90")
    before = await page.inner_text("main")
    position = record(muster, "browser-past", "7")
    answer = httpx2.get(f"{muster['projections']}/v1/totals?min_position={position}", trust_env=False)
    assert answer.status_code == 200
    await page.wait_for_timeout(500)
    assert await page.inner_text("main") == before


async def test_a_chart_under_the_pointer_answers_with_day_and_amount(muster: dict[str, str], browser: Browser) -> None:
    page, seen = await a_page(browser, muster["projections"], "/targets/million-drones")
    await page.hover("figure.chart img")
    await page.wait_for_selector("figure.chart .live svg", timeout=60_000)
    await page.locator("figure.chart .live .mark-symbol path").last.hover(force=True)
    tooltip = page.locator("#vg-tooltip-element.visible")
    await tooltip.wait_for()
    assert "11 Jul 2025" in await tooltip.inner_text()
    assert "10,000 drones + 1 undisclosed" in await tooltip.inner_text()
    assert seen.errors == []


async def test_every_link_and_field_is_reached_by_the_keyboard_in_the_order_of_the_page(
    muster: dict[str, str], browser: Browser
) -> None:
    page, _ = await a_page(browser, muster["projections"], "/targets/million-drones")
    await live(page)
    await page.evaluate(
        "[...document.querySelectorAll('a[href], button, summary, input:not([type=hidden]), [tabindex=\"0\"]')]"
        ".filter(element => element.checkVisibility()).forEach((element, place) => element.dataset.place = place)"
    )
    wanted = await page.locator("[data-place]").count()
    reached = []
    for _ in range(wanted):
        await page.keyboard.press("Tab")
        reached.append(int(await page.evaluate("document.activeElement.dataset.place ?? -1")))
        assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert reached == list(range(wanted))


async def test_the_slider_takes_the_page_through_time_and_back_to_now(muster: dict[str, str], browser: Browser) -> None:
    page, seen = await a_page(browser, muster["projections"], "/coalitions/drone-coalition")
    await live(page)
    now = await page.inner_text("[data-live=content]")
    slider = page.locator("#through")
    days = int(await slider.get_attribute("max") or 0)
    await slider.fill(str(days - 900))
    await page.locator("[data-live=asof]", has_text="2024").wait_for()
    then = await page.inner_text("[data-live=content]")
    assert "first-person-view drones" in then
    assert then != now
    assert "on=2024-" in page.url
    assert not await page.locator("#connection").is_visible()
    assert (await slider.get_attribute("aria-valuetext") or "?") in page.url
    await slider.fill(str(days))
    await expect(page.locator("[data-live=content]")).to_have_text(now, use_inner_text=True)
    assert "on=" not in page.url
    await live(page)
    assert seen.errors == []
