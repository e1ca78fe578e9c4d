"""How soon a change is on the page, how heavy the page is, and how fast it moves through time: in Debian's chromium.

Starts a ledger of its own with the worked example (`muster up`), opens pages, and records commands one by one. What it
prints is measured in the browser: from the 201 of a command to the frame after the numbers changed.

    python benchmarks/page.py [--commands 50]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
from playwright.async_api import Page, async_playwright
from rich.console import Console
from rich.table import Table

CHROMIUM: Final = Path("/usr/bin/chromium")
PAGES: Final = ("/", "/coalitions/drone-coalition", "/targets/million-drones", "/pledges/gbr-fpv-2024")
SHOWN: Final = """position => new Promise(done => {
    const look = () => window.shown >= position ? requestAnimationFrame(() => done()) : setTimeout(look, 2);
    look();
})"""
SLID: Final = """day => new Promise(done => {
    const began = performance.now();
    document.addEventListener('muster:shown', () => requestAnimationFrame(() => done(performance.now() - began)),
        { once: true });
    const slider = document.getElementById('through');
    slider.value = day;
    slider.dispatchEvent(new Event('input', { bubbles: true }));
})"""


@contextmanager
def a_ledger(home: Path) -> Iterator[dict[str, str]]:
    """Everything, with the example, while the block runs."""
    command = [sys.executable, "-m", "muster", "up", "--json", "--home", str(home)]
    ports = ("--commitments-port", "0", "--projections-port", "0")
    process = subprocess.Popen([*command, *ports], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        where: dict[str, str] = json.loads(process.stdout.readline())
        yield where
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def record(commitments: str, number: int) -> int:
    """Pledge a drone to the coalition, and give the position."""
    body = {
        "donors": [{"party": "LVA"}],
        "coalition": "drone-coalition",
        "beneficiary": "UKR",
        "capability": "drone",
        "amount": {"unit": "piece", "exactly": str(number)},
        "announced_on": "2025-01-15",
        "sources": [{"publisher": "benchmarks/page.py", "title": "A pledge to be seen"}],
    }
    answer = httpx2.put(f"{commitments}/v1/pledges/page-{number}", json=body, trust_env=False)
    answer.raise_for_status()
    position: int = answer.json()["position"]
    return position


async def weight(page: Page, address: str) -> dict[str, int]:
    """Load a page with an empty cache, and give the bytes that came over the wire, by kind."""
    client = await page.context.new_cdp_session(page)
    await client.send("Network.enable")
    kinds: dict[str, str] = {}
    sizes: dict[str, int] = {}

    def answered(event: dict[str, Any]) -> None:
        kinds[event["requestId"]] = event["type"]

    def finished(event: dict[str, Any]) -> None:
        kind = kinds.get(event["requestId"], "Other")
        sizes[kind] = sizes.get(kind, 0) + int(event["encodedDataLength"])

    client.on("Network.responseReceived", answered)
    client.on("Network.loadingFinished", finished)
    await page.goto(address)
    await page.wait_for_timeout(2_000)
    await client.detach()
    return sizes


def percentiles(seconds: list[float]) -> str:
    """Give p50 and p95 in milliseconds."""
    cuts = statistics.quantiles(seconds, n=20)
    return f"p50 {statistics.median(seconds) * 1_000:.0f} ms, p95 {cuts[-1] * 1_000:.0f} ms, n {len(seconds)}"


async def measured(where: dict[str, str], commands: int) -> Table:
    """Measure everything, one after the other."""
    table = Table("what", "figure", title="the page")

    def row(what: str, figure: str) -> None:
        print(f"{what}: {figure}", file=sys.stderr, flush=True)
        table.add_row(what, figure)

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for path in PAGES:
            page = await (await browser.new_context()).new_page()
            sizes = await weight(page, where["projections"] + path)
            said = ", ".join(f"{kind.lower()} {size / 1_000:.1f}" for kind, size in sorted(sizes.items()))
            row(f"weight of {path}, kB over the wire", f"{sum(sizes.values()) / 1_000:.1f} ({said})")
            await page.close()
        for path in PAGES[:3]:
            page = await browser.new_page()
            await page.goto(where["projections"] + path)
            await page.locator("#connection", has_text="live").wait_for()
            await page.evaluate(
                "document.addEventListener('muster:shown', event => { window.shown = event.detail.position; })"
            )
            took = []
            for number in range(commands):
                position = await asyncio.to_thread(
                    record, where["commitments"], hash(path) % 1_000_000 * 1_000 + number
                )
                began = time.perf_counter()
                await page.evaluate(SHOWN, position)
                took.append(time.perf_counter() - began)
                await asyncio.sleep(0.25)
            row(f"from the 201 to the pixels of {path}", percentiles(took))
            days = int(await page.locator("#through").get_attribute("max") or 0)
            slid = [await page.evaluate(SLID, days * step // commands) / 1_000 for step in range(1, commands)]
            row(f"the slider moved, to the pixels of {path}", percentiles(slid))
            await page.close()
        await browser.close()
    return table


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", type=int, default=50, help="how many commands, and days, for each page")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, a_ledger(Path(home)) as where:
        Console().print(asyncio.run(measured(where, options.commands)))


if __name__ == "__main__":
    main()
