"""Answers are sent again from memory while nothing moved, and never after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import date, timedelta

import pytest
import pytest_asyncio
from sqlalchemy import text

from services.projections.http import asof, remembered, totals
from services.projections.http.problems import Problem
from services.projections.http.remembered import Answer, Latest, Memory, Remembered
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


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One for each look at the checkpoints of who remembers."""
    seen: list[int] = []
    look = Latest._look

    async def counted(latest: Latest) -> None:
        await look(latest)
        seen.append(1)

    monkeypatch.setattr(Latest, "_look", counted)
    return seen


async def enough(seen: list[int], many: int) -> None:
    """Wait until so many were seen."""
    while len(seen) < many:
        await asyncio.sleep(0.001)


@dataclass
class Held:
    """Keeps totals from being worked out until told to go on."""

    asked: list[int] = field(default_factory=list)  # one for each who asks what is not in memory
    go: asyncio.Event = field(default_factory=asyncio.Event)
    worked_out: int = 0
    fails: Problem | None = None

    async def until(self, many: int) -> None:
        """Wait until so many are being worked out."""
        while self.worked_out < many:
            await asyncio.sleep(0.001)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    found = Held()
    whole, awaited = totals.totals, Remembered._awaited

    async def counted(remembered: Remembered, key: tuple[str, ...], wanted: int, furthest: int) -> Answer | None:
        found.asked.append(1)
        return await awaited(remembered, key, wanted, furthest)

    async def slowly(*args: object, **more: object) -> object:
        found.worked_out += 1
        await found.go.wait()
        if found.fails is not None:
            raise found.fails
        return await whole(*args, **more)  # type: ignore[arg-type]  # passed on as they are

    monkeypatch.setattr(totals, "totals", slowly)
    monkeypatch.setattr(Remembered, "_awaited", counted)
    return found


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


async def test_who_waits_for_positions_that_come_together_gets_one_answer(
    side: ReadSide, worked_out: list[str], looks: list[int]
) -> None:
    """Given ten who wait for ten positions / When all of them are applied at once / Then it is worked out once."""
    waiting = [asyncio.create_task(side.client.get(TOTALS, params={"min_position": 3 + n})) for n in range(10)]
    await enough(looks, 3)
    assert worked_out == []
    await side.record(*(a_pledge(f"more-{n}", pieces(1), coalition="drones") for n in range(10)))
    answers = await asyncio.gather(*waiting)
    assert worked_out == [TOTALS]
    assert {answer.content for answer in answers} == {answers[0].content}
    assert answers[0].json()["totals"][0]["low"] == "510"
    assert {answer.headers["Ledger-Position"] for answer in answers} == {"12"}


async def test_who_is_told_that_something_moved_answers_at_once_and_who_was_not_told_looks_more_often_again(
    side: ReadSide, looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given one who hears from the worker / When a position is applied / Then being told is what wakes it: no look.

    When it finds that something moved of which it was not told, then it relies on that no more.
    """
    latest = side.latest
    await latest()
    latest.hear(2)  # nothing new, but somebody tells
    monkeypatch.setattr(remembered, "LONGEST_PAUSE_S", 60)
    waiting = asyncio.create_task(side.get(TOTALS, min_position=3))
    await asyncio.sleep(0.1)
    seen = len(looks)
    await side.record(a_pledge("y", pieces(7), coalition="drones"))
    latest.hear(3)
    async with asyncio.timeout(10):
        assert (await waiting)["totals"][0]["low"] == "507"
    monkeypatch.setattr(remembered, "LONGEST_PAUSE_S", 1.0)
    assert len(looks) == seen
    waiting = asyncio.create_task(side.get(TOTALS, min_position=4))
    await side.record(a_pledge("z", pieces(1), coalition="drones"))
    assert (await waiting)["totals"][0]["low"] == "508"
    monkeypatch.setattr(asof, "WAIT_S", 0.1)
    seen = len(looks)
    await side.get(TOTALS, min_position=5, expect=503)
    assert len(looks) > seen + 2


async def test_who_is_told_what_is_not_so_waits_until_it_is(
    side: ReadSide, worked_out: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a hint that is not so yet / When that position is asked for / Then nothing older is given."""
    await side.get(TOTALS)
    side.latest.hear(3)
    waiting = asyncio.create_task(side.get(TOTALS, min_position=3))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await side.record(a_pledge("y", pieces(7), coalition="drones"))
    assert (await waiting)["totals"][0]["low"] == "507"
    monkeypatch.setattr(asof, "WAIT_S", 0.05)
    side.latest.hear(9)
    await side.get(TOTALS, min_position=9, expect=503)
    side.latest.hear(3)
    assert (await side.get(TOTALS))["totals"][0]["low"] == "507"
    assert len(worked_out) == 2


async def test_what_an_answer_saw_is_known_without_a_look(side: ReadSide, looks: list[int]) -> None:
    """Given that a look is good for a while / When a question is answered / Then it is remembered as of what it saw."""
    latest = side.latest
    await side.get(TOTALS)
    latest.good_for_s = 60
    await side.get("/v1/totals")
    assert latest._looking is not None
    await latest._looking  # that of this question; those that follow find what it saw
    seen = len(looks)
    await side.record(a_pledge("y", pieces(7), coalition="drones"))
    latest.hear(3)
    assert (await side.get(TOTALS, min_position=3))["totals"][0]["low"] == "507"
    assert (await side.get(TOTALS))["totals"][0]["low"] == "507"
    assert len(looks) == seen


async def test_an_answer_of_a_state_that_has_passed_is_not_remembered(side: ReadSide) -> None:
    """Given a later look / When an earlier one, or one of the day before, is learnt of / Then the later one stands."""
    reader = side.latest._reader
    async with reader.transaction() as conn:
        before = await asof.find(conn)
    await side.record(a_pledge("y", pieces(7), coalition="drones"))
    async with reader.transaction() as conn:
        after = await asof.find(conn)
    latest = Latest(reader, good_for_s=60)
    assert latest.learn(after) is not None
    assert latest.learn(before) is None
    assert latest.learn(after._replace(at=before.at)) == (await latest()).state
    assert latest.learn(after._replace(at=before.at, today=after.today - timedelta(days=1))) is None
    assert (await latest()).furthest == 3


async def test_what_a_slow_answer_saw_is_not_taken_for_fresh(side: ReadSide) -> None:
    """Given an answer that took a minute / When the next question comes / Then it is looked at anew."""
    async with side.latest._reader.transaction() as conn:
        before = await asof.find(conn)
    await side.record(a_pledge("y", pieces(7), coalition="drones"))
    latest = Latest(side.latest._reader, good_for_s=1)
    latest.learn(before._replace(at=before.at - 60))
    assert (await latest()).furthest == 3


async def test_who_asks_while_the_same_is_worked_out_gets_that_answer_unless_it_began_too_early(
    side: ReadSide, held: Held
) -> None:
    """Given a question that is being worked out / When it is asked again / Then it is not worked out again for that.

    But for whoever wants what was recorded since, it is.
    """
    first = asyncio.create_task(side.client.get(TOTALS))
    await held.until(1)
    again = asyncio.create_task(side.client.get(TOTALS))
    await enough(held.asked, 2)
    await side.record(a_pledge("y", pieces(7), coalition="drones"))
    later = asyncio.create_task(side.client.get(TOTALS, params={"min_position": 3}))
    await held.until(2)
    held.go.set()
    lows = [(await task).json()["totals"][0]["low"] for task in (first, again, later)]
    assert lows == ["500", "500", "507"]
    assert held.worked_out == 2


async def test_a_problem_is_nobody_elses_answer(side: ReadSide, held: Held) -> None:
    held.fails = Problem("unknown", "of the one who asked")
    first = asyncio.create_task(side.client.get(TOTALS))
    await held.until(1)
    again = asyncio.create_task(side.client.get(TOTALS))
    await enough(held.asked, 2)
    held.go.set()
    assert [(await task).status_code for task in (first, again)] == [404, 404]
    assert held.worked_out == 2


async def test_a_read_model_that_stays_behind_keeps_nobody_waiting_who_does_not_read_it(side: ReadSide) -> None:
    await side.record(a_pledge("y", pieces(7), coalition="drones"))
    async with side.worker.begin() as conn:
        await conn.execute(text("UPDATE checkpoints SET position = 2 WHERE name = 'pledges'"))
    assert (await side.get(TOTALS, min_position=3))["totals"][0]["low"] == "507"


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
    assert memory.size == 0
    memory.keep(state, ("a",), Answer({}, b"four", "a", None))
    assert memory.size == 4
