"""Lists: what is found, and pages that fit while the ledger grows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from services.projections.http.pledges import Pledges
from shared.events.parties import PartyRegistered
from shared.events.pledges import Share
from tests.acceptance.readside import ReadSide, a_read_side
from tests.examples import A_SOURCE, a_pledge, euros, pieces, revised, withdrawn
from tests.integration.streams import correction


@pytest_asyncio.fixture
async def side(projections_url: str, projections_reader_url: str) -> AsyncIterator[ReadSide]:
    async with a_read_side(projections_url, projections_reader_url) as found:
        yield found


async def ids(side: ReadSide, **asked: Any) -> list[str]:
    answer = await side.get("/v1/pledges", **asked)
    Pledges.model_validate(answer)
    return [pledge["id"] for pledge in answer["pledges"]]


async def test_pledges_are_found_by_any_part_of_their_words_and_names(side: ReadSide) -> None:
    fund = PartyRegistered(party="DCF", name="Fundusz Łódź", kind="fund", sources=A_SOURCE)
    first, *_ = await side.record(
        a_pledge("gbr-fpv", pieces("thousands"), by="GBR", note="Größere Drohnen"),
        a_pledge("lva-2024", pieces(5), by="LVA", labels={"sector": ("Aérien",)}),
        fund,
        a_pledge("pooled", euros(9), by=(Share(party="DCF"),), beneficiaries=(Share(party="UKR"),)),
    )
    assert await ids(side, q="GROSSERE") == ["gbr-fpv"]
    assert await ids(side, q="grossere latvia") == []
    assert await ids(side, q="aerien") == ["lva-2024"]
    assert await ids(side, q="latvia") == ["lva-2024"]
    assert await ids(side, q="thousands") == ["gbr-fpv"]
    assert await ids(side, q="lodz ukraine") == ["pooled"]
    assert await ids(side, q="%") == []
    await side.record(correction(first, a_pledge("gbr-fpv", pieces(1), by="GBR")))
    assert await ids(side, q="grossere") == []
    assert await ids(side, q="grossere", known=4, on="2024-12-31") == ["gbr-fpv"]


async def test_pledges_are_found_by_what_they_come_to(side: ReadSide) -> None:
    await side.record(
        a_pledge("a", pieces(5)),
        a_pledge("b", pieces("thousands")),
        a_pledge("c", pieces(undisclosed=True)),
        a_pledge("d", euros(5000)),
        a_pledge("e", pieces(5)),
        revised("e", pieces(3000), on="2024-06-01"),
    )
    assert await ids(side, unit="piece", min_amount="6") == ["b", "e"]
    assert await ids(side, unit="piece", min_amount="6", on="2024-05-01") == ["b"]
    assert await ids(side, unit="piece", max_amount="3000") == ["a", "e"]
    assert await ids(side, unit="EUR", min_amount="5000", max_amount="5000") == ["d"]


async def test_pledges_are_narrowed_by_several_labels_at_once(side: ReadSide) -> None:
    both = {"sector": ("air", "sea"), "plan": ("a",)}
    await side.record(a_pledge("x", pieces(5), labels=both), a_pledge("y", pieces(7), labels={"sector": ("air",)}))
    assert await ids(side, label=["sector=air"]) == ["x", "y"]
    assert await ids(side, label=["sector=air", "plan=a"]) == ["x"]
    totals = await side.get("/v1/totals", label=["sector=air", "sector=sea"])
    assert [row["low"] for row in totals["totals"]] == ["5"]
    assert totals["cite"]["url"].startswith("/v1/totals?label=sector%3Dair&label=sector%3Dsea")
    assert (await side.get(totals["cite"]["url"]))["totals"] == totals["totals"]


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({"min_amount": "5"}, "/query/min_amount"),
        ({"unit": "piece", "min_amount": "many"}, "/query/min_amount"),
        ({"q": ""}, "/query/q"),
        ({"label": "sector"}, "/query/label/0"),
        ({"cursor": "abc"}, "/query/cursor"),
        ({"cursor": "WzEsIjIwMjQtMTItMzEiLG51bGwsImEiXQ", "known": "2"}, "/query/cursor"),
    ],
)
async def test_a_search_that_makes_no_sense_is_pointed_at(side: ReadSide, asked: dict[str, str], pointer: str) -> None:
    await side.record(a_pledge("a", pieces(5)), a_pledge("b", pieces(5)))
    problem = await side.get("/v1/pledges", 422, **asked)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


@pytest.mark.parametrize("address", ["/v1/pledges", "/v1/timeline", "/v1/facts"])
async def test_pages_are_of_the_state_of_the_first_while_facts_arrive(side: ReadSide, address: str) -> None:
    await side.record(*(a_pledge(f"p{n}", pieces(n), announced_on=f"2024-02-0{n + 1}") for n in range(7)))
    name = address.removeprefix("/v1/")
    whole = await side.get(address, limit=500)
    found: list[dict[str, Any]] = []
    answer = await side.client.get(address, params={"limit": 2})
    while True:
        page = answer.json()
        found += page[name]
        assert (page["next"] is None) == ("link" not in answer.headers)
        if page["next"] is None:
            break
        assert answer.headers["link"] == f'<{page["next"]}>; rel="next"'
        n = len(side.events)
        await side.record(a_pledge(f"p{n}0", pieces(1)), withdrawn("p5", on="2024-02-01"))
        cursor = page["next"].rpartition("cursor=")[2]
        answer = await side.client.get(address, params={"limit": 2, "cursor": cursor})  # the cursor alone is enough
        assert answer.status_code == 200, answer.text
    assert found == whole[name]
