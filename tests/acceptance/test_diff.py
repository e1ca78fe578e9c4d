"""What changed between two states of the ledger, and why."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import date, timedelta
from random import Random
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from services.projections.http.diff import Diff
from shared.amounts import ZERO, Vector
from shared.sources import Source
from tests.acceptance.readside import ReadSide, a_read_side
from tests.acceptance.test_queries_properties import SIZE, Key, a_question, change, explained, key
from tests.examples import a_delivery, a_pledge, pieces, revised
from tests.integration.random_ledgers import Dice
from tests.integration.streams import correction, retraction

PRESS = (Source(url="https://example.org/news", publisher="The Press"),)


@pytest_asyncio.fixture
async def side(projections_url: str, projections_reader_url: str) -> AsyncIterator[ReadSide]:
    async with a_read_side(projections_url, projections_reader_url) as found:
        yield found


async def compared(side: ReadSide, **asked: Any) -> dict[str, Any]:
    answer: dict[str, Any] = await side.get("/v1/diff", **asked)
    Diff.model_validate(answer)
    return answer


async def test_a_total_that_changed_says_by_how_much_and_what_did_it(side: ReadSide) -> None:
    await side.record(a_pledge("x", pieces("thousands"), by="GBR"), a_pledge("y", pieces(7)))
    await side.record(replace(revised("x", pieces(10_000), on="2024-05-01"), reason="a number at last", sources=PRESS))
    answer = await compared(side, **{"from": 2})
    (row,) = answer["totals"]
    assert (row["before"]["low"], row["before"]["high"]) == ("2007", None)
    assert (row["after"]["low"], row["after"]["high"]) == ("10007", "10007")
    assert (row["change"]["low"], row["change"]["open"]) == ("8000", -1)
    assert row["words"] == "drone in pieces, pledged: at least 2,007 became 10,007"
    (event,) = answer["events"]
    assert (event["position"], event["why"], event["reason"]) == (3, "recorded", "a number at last")
    assert event["sources"][0]["url"] == "https://example.org/news"
    assert event["changes"][0]["change"] == row["change"]
    assert (await side.get(row["explain_before"]))["sum"]["low"] == "2007"
    assert (await side.get(row["explain_after"]))["sum"]["low"] == "10007"


async def test_a_correction_and_a_retraction_are_named_with_their_reasons(side: ReadSide) -> None:
    first, second = await side.record(a_pledge("x", pieces(500)), a_pledge("y", pieces(70)))
    await side.record(correction(first, a_pledge("x", pieces(50))), retraction(second))
    answer = await compared(side, **{"from": 2, "to": 4})
    assert [(event["position"], event["changes"][0]["change"]["low"]) for event in answer["events"]] == [
        (3, "-450"),
        (4, "-70"),
    ]
    assert all(event["reason"] and event["amends"] for event in answer["events"])
    assert (await compared(side, **{"from": 1, "to": 1}))["totals"] == []


async def test_between_two_days_what_was_known_already_came(side: ReadSide) -> None:
    await side.record(a_pledge("x", pieces(9)), a_delivery("d", pieces(5), of="x", on="2024-05-01"))
    came = await compared(side, **{"from": 2, "on": "2024-04-30..2024-05-01"})
    assert [(event["position"], event["why"]) for event in came["events"]] == [(2, "came")]
    gone = await compared(side, **{"from": 2, "on": "2024-05-01..2024-04-30"})
    assert [(event["why"], event["changes"][0]["change"]["low"]) for event in gone["events"]] == [("not_yet", "-5")]


async def test_every_permalink_leads_to_what_changed_since(side: ReadSide) -> None:
    await side.record(a_pledge("x", pieces(9), by="GBR"), a_pledge("y", pieces(9), by="LVA"))
    total = await side.get("/v1/parties/GBR/totals", stage="pledged", on="2024-12-31")
    assert (await side.get(total["cite"]["changes_since"]))["totals"] == []
    await side.record(revised("x", pieces(10), on="2024-05-01"), revised("y", pieces(11), on="2024-05-01"))
    since = await side.get(total["cite"]["changes_since"])
    assert [row["change"]["low"] for row in since["totals"]] == ["1"]
    assert [event["position"] for event in since["events"]] == [3]


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({}, "/query/from"),
        ({"from": "yesterday"}, "/query/from"),
        ({"from": "2", "to": "1"}, "/query/from"),
        ({"from": "9"}, "/query/from"),
        ({"from": "1", "to": "9"}, "/query/known"),
        ({"from": "1", "on": "2024-01-01..x"}, "/query/on"),
        ({"from": "1", "cursor": "zzz"}, "/query/cursor"),
        ({"from": "1", "label": "sector"}, "/query/label/0"),
        ({"from": "1", "period": "2025..2024"}, "/query/period"),
    ],
)
async def test_a_question_that_makes_no_sense_is_pointed_at(
    side: ReadSide, asked: Mapping[str, str], pointer: str
) -> None:
    await side.record(a_pledge("x", pieces(9)), a_pledge("y", pieces(9)))
    problem = await side.get("/v1/diff", 422, **asked)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


def vectors(rows: Iterable[Mapping[str, Any]]) -> dict[Key, Vector]:
    """Changes by row, added up; rows that come to nothing are left out."""
    found: dict[Key, Vector] = {}
    for row in rows:
        found[key(row)] = found.get(key(row), ZERO) + change(row["change"])
    return {place: vector for place, vector in found.items() if vector}


@pytest.mark.parametrize("seed", [31, 32])
async def test_a_difference_is_that_of_the_totals_and_what_its_events_add_up_to(side: ReadSide, seed: int) -> None:
    dice = Random(seed)
    await side.take(Dice(seed, pledges=7, labelled=True).ledger(SIZE))
    for _ in range(12):
        asked = {name: value for name, value in a_question(dice).items() if name not in ("donor", "beneficiary")}
        first, last = sorted((dice.randint(0, SIZE), dice.randint(0, SIZE)))
        days = [date(2024, 1, 1) + timedelta(days=dice.randint(0, 370)) for _ in range(2)]
        on = f"{days[0]}..{days[1]}" if dice.random() < 0.5 else str(days[0])
        question = asked | {"from": first, "to": last, "on": on}
        answer = await compared(side, **question, limit=7)
        events, page = [*answer["events"]], answer
        while page["next"] is not None:
            page = await side.get(page["next"])
            events += page["events"]
        assert len({event["position"] for event in events}) == len(events)
        moved = vectors(answer["totals"])
        assert vectors(change for event in events for change in event["changes"]) == moved, question
        sums: dict[Key, Vector] = {}
        for position, day, sign in ((first, days[0], -1), (last, days[1] if ".." in on else days[0], 1)):
            totals = await side.get("/v1/totals", **asked, on=day, known=position)
            for row in totals["totals"]:
                whole = await explained(side, row)
                sums[key(row)] = sums.get(key(row), ZERO) + (whole if sign > 0 else -whole)
        assert {place: vector for place, vector in sums.items() if vector} == moved, question
