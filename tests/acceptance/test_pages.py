"""The pages for people, as a browser without scripts gets them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest_asyncio
from msgspec.structs import replace
from sqlalchemy import text

from shared.days import Said
from shared.events.coalitions import CoalitionReviewed, Member
from shared.events.pledges import Share
from shared.sources import Source
from tests.acceptance.readside import ReadSide, a_read_side
from tests.examples import a_coalition, a_delivery, a_pledge, a_target, joins, pieces, stated, target_revised
from tests.integration.streams import retraction

EVIL = '"><script>alert(1)</script>'


@pytest_asyncio.fixture
async def side(projections_url: str, projections_reader_url: str) -> AsyncIterator[ReadSide]:
    async with a_read_side(projections_url, projections_reader_url) as found:
        yield found


class Links(HTMLParser):
    """Collects where a page leads, and what it loads."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.loaded: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        if tag == "a":
            self.found.append(said.get("href") or "")
        elif tag in ("script", "img", "iframe", "source"):
            self.loaded.append(said.get("src") or said.get("srcset") or "")
        elif tag == "link" and said.get("rel") in ("stylesheet", "icon"):
            self.loaded.append(said.get("href") or "")


async def a_ledger(side: ReadSide) -> None:
    await side.record(
        a_coalition(members=(Member(party="LVA", role="lead"),), beneficiary="UKR"),
        joins("GBR", role="lead"),
        a_target(),
        a_pledge("fpv", pieces("thousands"), coalition="drones"),
        a_delivery("d1", pieces(135), of="fpv", on="2024-05-01"),
        a_pledge("secret", pieces(undisclosed=True), by="LVA", coalition="drones", capability="radar"),
        stated("s", pieces(14_000), on="2024-06-01"),
        target_revised(on="2024-07-11", due_by=Said("2025-07")),
    )


async def test_an_empty_ledger_says_so(side: ReadSide) -> None:
    assert "The ledger is empty" in await side.page("/")


async def test_the_first_page_shows_honest_numbers(side: ReadSide) -> None:
    await a_ledger(side)
    page = re.sub(r"<[^>]+>|\s+", " ", await side.page("/"))
    page = re.sub(r"\s+", " ", page)
    assert "2 members, led by United Kingdom and Latvia · for Ukraine" in page
    assert "at least 2,000" in page
    assert "undisclosed" in page
    assert "An earlier deadline, 31 Dec 2024: missed" in page
    assert "nobody has said how complete the ledger is" in page
    assert "position 8" in page
    assert "up to date" in page


async def test_a_page_says_how_far_it_is_behind(side: ReadSide) -> None:
    await a_ledger(side)
    async with side.worker.begin() as conn:
        await conn.execute(text("UPDATE checkpoints SET head = 100, behind_since = :at"), {"at": datetime.now(UTC)})
    answer = await side.client.get("/")
    assert "Catching up: 8 of 100 entries are counted" in answer.text
    assert "ETag" not in answer.headers


async def test_every_link_of_every_page_leads_somewhere(side: ReadSide) -> None:
    await a_ledger(side)
    await side.record(
        CoalitionReviewed(coalition="drones", on=Said("2024-06"), sources=(Source(url="https://a.example"),))
    )
    await side.record(retraction(side.events[4]))
    waiting, seen, outside = ["/", "/docs"], {"/"}, set()
    while waiting:
        address = waiting.pop()
        answer = await side.client.get(address, headers={"Accept": "text/html"})
        assert answer.status_code == 200, address
        if not answer.headers["Content-Type"].startswith("text/html"):
            continue
        links = Links(answer.text)
        outside |= {link for link in links.loaded if not link.startswith(("/", "data:"))}
        for link in links.found:
            if link.startswith("/") and link not in seen and not re.search(r"\.(svg|png|json|js)(\?|$)", link):
                seen.add(link)
                waiting.append(link)
    assert not outside
    shown = {link.split("?")[0].split("/")[1] for link in seen}
    assert {"coalitions", "targets", "pledges", "explain", "events"} <= shown


async def test_from_a_number_to_its_source_in_two_clicks(side: ReadSide) -> None:
    await a_ledger(side)
    first = Links(await side.page("/"))
    explanations = [link for link in first.found if link.startswith("/explain") and "stage=delivered" in link]
    second = Links(await side.page(explanations[0]))
    assert "https://example.org/news" in second.found


async def test_an_explanation_lists_lines_that_add_up(side: ReadSide) -> None:
    await a_ledger(side)
    page = await side.page("/explain?coalition=drones&stage=pledged&unit=piece&capability=drone")
    assert "<strong>at least 2,000</strong>" in page
    assert "United Kingdom pledged thousands of drones towards drones" in page


async def test_whoever_looks_at_the_past_stays_there(side: ReadSide) -> None:
    await a_ledger(side)
    page = await side.page("/?known=5&on=2024-06-01")
    assert "as known then" in page
    assert "/coalitions/drones?on=2024-06-01&amp;known=5" in page
    assert "known=5" in next(link for link in Links(page).found if link.startswith("/explain"))


async def test_whatever_was_said_is_text_and_never_markup(side: ReadSide) -> None:
    source = (Source(url=f"https://a.example/{EVIL}", title=EVIL, publisher=EVIL, quote=EVIL, speaker=EVIL),)
    scripted = (Source(url="javascript:alert(1)", title="t", publisher="p"),)
    await side.record(
        replace(a_coalition("drones", purpose=EVIL, sources=source), name=EVIL),
        a_target(sources=scripted),
        a_pledge("fpv", pieces(5), coalition="drones", sources=source, conditions=EVIL, note=EVIL),
    )
    events = [f"/events/{event.event_id}" for event in side.events]
    for address in ("/", "/coalitions/drones", "/targets/million", "/pledges/fpv", "/explain", *events):
        page = await side.page(address)
        assert "<script>alert" not in page, address
        assert not [link for link in Links(page).found if link.startswith("javascript")], address


async def test_a_page_that_is_not_there_says_so_in_html_to_browsers(side: ReadSide) -> None:
    page = await side.page("/coalitions/nobody", expect=404)
    assert "there is no coalition" in page
    problem = await side.client.get("/coalitions/nobody")
    assert problem.headers["Content-Type"] == "application/problem+json"


async def test_pages_allow_nothing_from_outside(side: ReadSide) -> None:
    policy = (await side.client.get("/")).headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


async def test_a_coalitions_page_of_the_past_knows_no_later_members(side: ReadSide) -> None:
    await a_ledger(side)
    await side.record(joins("SWE", role="member", on="2024-06-14"))
    before = await side.page("/coalitions/drones?on=2024-06-13")
    assert "Sweden" not in before
    assert "Sweden" in await side.page("/coalitions/drones?on=2024-06-14")


async def test_pledges_are_found_on_a_page(side: ReadSide) -> None:
    await a_ledger(side)
    page = await side.page("/pledges")
    assert '<a href="/pledges/fpv">' in page
    assert '<a href="/pledges/secret">' in page
    assert "undisclosed" in page
    found = await side.page("/pledges?q=latvia")
    assert '<a href="/pledges/secret">' in found
    assert '<a href="/pledges/fpv">' not in found
    assert "No pledge fits" in await side.page("/pledges?q=atlantis")
    assert "More pledges" in await side.page("/pledges?limit=1")


async def test_a_partys_page_says_what_it_promised_and_what_came(side: ReadSide) -> None:
    await a_ledger(side)
    await side.record(a_pledge("for", pieces(7), beneficiaries=(Share(party="UKR"),)))
    assert '<a href="/parties/LVA">Latvia</a>' in await side.page("/parties")
    page = await side.page("/parties/GBR")
    assert "lead of" in page
    assert "at least 2,007" in page
    assert "135" in page
    assert "What it was promised" not in page
    assert "What it was promised" in await side.page("/parties/UKR")
    assert "Nothing that counts" in await side.page("/parties/SWE")
    await side.page("/parties/NOBODY", expect=404)


async def test_a_page_of_what_was_known_leads_to_what_changed_since(side: ReadSide) -> None:
    await a_ledger(side)
    assert "what changed since" not in await side.page("/coalitions/drones")
    page = await side.page("/coalitions/drones?known=4&on=2024-06-01")
    assert "what changed since" in page
    link = next(found for found in Links(page).found if found.startswith("/diff"))
    changed = await side.page(link)
    assert "delivered" in changed
    assert "135" in changed
    assert "What did it" in changed
    assert "No total changed" in await side.page("/diff?from=8")
    await side.page("/diff?from=99", expect=422)
