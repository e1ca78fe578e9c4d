"""What entries say of their accounts, known from one position to another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random

import pytest
import pytest_asyncio
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections.read_models import traits
from services.projections.read_models.traits import TRAITS, carried, fold
from tests.examples import a_pledge, pieces, produced
from tests.integration.copies import apply, made, replays_are_equal
from tests.integration.random_ledgers import Dice
from tests.integration.streams import correction, recorded, retraction

AIR: dict[str, tuple[str, ...]] = {"sector": ("air",)}


@pytest_asyncio.fixture
async def database(projections_url: str) -> AsyncIterator[AsyncEngine]:
    async with made(projections_url, TRAITS) as found:
        yield found


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_replay_gives_equal_tables(database: AsyncEngine, seed: int) -> None:
    events = Dice(seed, pledges=8, labelled=True).ledger(150)
    await replays_are_equal(database, TRAITS, events, set(Random(seed).sample(range(1, 150), 7)))


async def carrying(database: AsyncEngine, known: int | None) -> set[str]:
    values = {"key": "sector", "value": "air"} | ({} if known is None else {"known": known})
    async with database.connect() as conn:
        found = await conn.execute(text(carried("key", known, "value")), values)
        return {row.account for row in found}


async def test_a_label_is_carried_as_known_at_each_position(database: AsyncEngine) -> None:
    events = recorded([a_pledge("x", pieces(1), labels=AIR), a_pledge("y", pieces(1))])
    events += recorded([correction(events[0], a_pledge("x", pieces(1)))], after=2)
    events += recorded([correction(events[1], a_pledge("y", pieces(1), labels=AIR))], after=3)
    events += recorded([retraction(events[1])], after=4)
    await apply(database, TRAITS, events, {2, 4})
    known = [await carrying(database, position) for position in (1, 2, 3, 4, 5, None)]
    assert known == [{"pledge-x"}, {"pledge-x"}, set(), {"pledge-y"}, set(), set()]


async def test_production_carries_a_label_that_all_its_reports_say(database: AsyncEngine) -> None:
    made_1 = replace(produced("m1", pieces(9), start="2024-01", end="2024-01"), labels=AIR)
    made_2 = produced("m2", pieces(9), start="2024-02", end="2024-02")
    await apply(database, TRAITS, recorded([made_1, made_2]))
    assert [await carrying(database, position) for position in (1, 2)] == [{"production-UKR"}, set()]


async def test_words_are_found_without_regard_to_accents_and_case(database: AsyncEngine) -> None:
    assert fold("Ćwikła  STRASSE straße Łódź Ørsted") == "cwikla strasse strasse lodz orsted"
    await apply(database, TRAITS, recorded([a_pledge("x", pieces(1), note="für Łódź")]))
    async with database.connect() as conn:
        assert await traits.saying(conn, fold("LODZ"), 1) == {"pledge-x"}
        assert await traits.saying(conn, fold("LODZ"), 0) == set()
        assert await traits.saying(conn, "riga", 1) == set()
