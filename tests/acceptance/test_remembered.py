"""Answers are sent again from memory while nothing moved, and never after."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date

import pytest
import pytest_asyncio
from sqlalchemy import text

from services.projections.http import asof, totals
from services.projections.http.remembered import Answer, Memory
from shared.days import Said
from tests.acceptance.readside import ReadSide, a_read_side
from tests.examples import a_coalition, a_pledge, pieces

TOTALS = "/v1/coalitions/drones/totals"


@pytest_asyncio.fixture
async def side(projections_url: str, projections_reader_url: str) -> AsyncIterator[ReadSide]:
    async with a_read_side(projections_url, projections_reader_url) as found:
        await found.record(a_coalition(), a_pledge("x", pieces(500), coalition="drones"))
        yield found


@pytest.fixture
def worked_out(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the totals that were not given from memory."""
    seen: list[str] = []
    whole = totals.totals

    async def counted(*args: object, path: str, **more: object) -> object:
        seen.append(path)
        return await whole(*args, path=path, **more)  # type: ignore[arg-type]  # passed on as they are

    monkeypatch.setattr(totals, "totals", counted)
    return seen


async def test_an_answer_is_worked_out_once_while_nothing_moves(side: ReadSide, worked_out: list[str]) -> None:
    first = await side.client.get(TOTALS)
    again = await side.client.get(TOTALS)
    assert worked_out == [TOTALS]
    assert (again.content, dict(again.headers)) == (first.content, dict(first.headers))


async def test_what_was_recorded_since_is_in_the_next_answer(side: ReadSide, worked_out: list[str]) -> None:
    assert (await side.get(TOTALS))["totals"][0]["low"] == "500"
    await side.record(a_pledge("y", pieces(7), coalition="drones"))
    assert (await side.get(TOTALS))["totals"][0]["low"] == "507"
    assert len(worked_out) == 2


async def test_another_build_of_the_same_position_is_another_state(side: ReadSide, worked_out: list[str]) -> None:
    await side.get(TOTALS)
    async with side.worker.begin() as conn:
        await conn.execute(text("UPDATE checkpoints SET build = build + 1"))
    await side.get(TOTALS)
    assert len(worked_out) == 2


async def test_another_question_or_form_is_another_answer(side: ReadSide, worked_out: list[str]) -> None:
    await side.get(TOTALS)
    await side.get(TOTALS, on="2024-02-01")
    await side.client.get(TOTALS, headers={"Accept-Encoding": "identity"})
    assert len(worked_out) == 3


async def test_a_position_that_is_reached_makes_no_difference_and_one_that_is_not_is_waited_for(
    side: ReadSide, worked_out: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asof, "WAIT_S", 0.05)
    await side.get(TOTALS)
    await side.get(TOTALS, min_position=2)
    await side.get(TOTALS, min_position=1)
    assert len(worked_out) == 1
    await side.get(TOTALS, min_position=3, expect=503)
    await side.get(TOTALS, min_position="two", expect=422)


async def test_who_has_an_answer_is_told_so_from_memory(side: ReadSide, worked_out: list[str]) -> None:
    first = await side.client.get(TOTALS)
    again = await side.client.get(TOTALS, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["Ledger-Position"] == "2"
    assert len(worked_out) == 1


async def test_what_is_behind_or_unheard_of_is_worked_out_each_time(side: ReadSide, worked_out: list[str]) -> None:
    async with side.worker.begin() as conn:
        await conn.execute(text("UPDATE checkpoints SET head = 9, behind_since = now()"))
    await side.get(TOTALS)
    assert float((await side.client.get(TOTALS)).headers["Lag-Seconds"]) > 0
    async with side.worker.begin() as conn:
        await conn.execute(text("UPDATE checkpoints SET head = position, updated_at = now() - interval '1 minute'"))
    assert float((await side.client.get(TOTALS)).headers["Lag-Seconds"]) > 59
    await side.get(TOTALS)
    assert len(worked_out) == 4


async def test_problems_are_not_remembered(side: ReadSide) -> None:
    assert (await side.client.get("/v1/coalitions/tanks/totals")).status_code == 404
    await side.record(a_coalition("tanks", formed_on=Said("2024-02-14")))
    await side.get("/v1/coalitions/tanks/totals")


async def test_requests_are_counted_by_their_route_also_from_memory(side: ReadSide) -> None:
    for _ in range(3):
        await side.get(TOTALS)
    assert (
        'muster_http_requests_total{route="/v1/coalitions/{coalition}/totals",status="200"} 3.0'
        in (await side.client.get("/metrics")).text
    )


def test_a_memory_forgets_what_was_used_longest_ago_and_other_states() -> None:
    state, other = (date(2024, 1, 1), ()), (date(2024, 1, 2), ())
    memory = Memory(most=10)
    assert memory.of(state, ("a",)) is None
    for name in ("a", "b", "c"):
        memory.keep(state, (name,), Answer({}, b"four", name, None))
        memory.of(state, ("a",))
    assert list(memory.answers) == [("c",), ("a",)]
    assert memory.size == 8
    assert memory.of(other, ("a",)) is None
    memory.keep(state, ("late",), Answer({}, b"four", "late", None))
    assert memory.size == 0
