"""Which pledges there are, and which names each ever had."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from random import Random
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections.read_models import pledges
from services.projections.read_models.pledges import PLEDGES
from shared.days import Said
from shared.events.pledges import Also, PledgeReallocated, Share
from tests.examples import a_delivery, a_pledge, euros, pieces, revised
from tests.integration.copies import apply, made, replays_are_equal
from tests.integration.random_ledgers import Dice
from tests.integration.streams import correction, recorded


@pytest_asyncio.fixture
async def database(projections_url: str) -> AsyncIterator[AsyncEngine]:
    async with made(projections_url, PLEDGES) as found:
        yield found


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_replay_gives_equal_tables(database: AsyncEngine, seed: int) -> None:
    events = Dice(seed, pledges=8).ledger(150)
    await replays_are_equal(database, PLEDGES, events, set(Random(seed).sample(range(1, 150), 7)))


async def test_a_pledge_is_found_by_every_name_it_ever_had(database: AsyncEngine) -> None:
    both = (Share(party="DNK"), Share(party="NLD"))
    events = recorded(
        [
            a_pledge("a", pieces(5), by=both, coalition="drones", labels={"sector": ("air",)}),
            a_pledge("b", by="LVA", capability="drone.fpv", beneficiaries=(Share(party="UKR"),)),
            revised("a", pieces(6), on="2024-03-01", donors=(Share(party="SWE"),)),
            PledgeReallocated(pledge="a", on=Said("2024-04-01"), coalition="fpv"),
            a_delivery(of="b", said=euros(3), also=(Also(amount=pieces(1), capability="radar"),)),
            a_pledge("c", capability="drones"),
        ]
    )
    fixed = correction(events[1], a_pledge("b", by="EST", capability="drone.fpv"))
    await apply(database, PLEDGES, [*events, *recorded([fixed], after=len(events), before=events)])

    async def found(known: int = 7, **names: Any) -> list[str]:
        async with database.connect() as conn:
            return await pledges.may_fit(conn, known, limit=10, **names)

    assert await found() == ["a", "b", "c"]
    assert await found(known=5) == ["a", "b"]
    assert [await found(donor=party) for party in ("DNK", "SWE", "LVA", "EST", "GBR")] == [
        ["a"],
        ["a"],
        ["b"],
        ["b"],
        ["c"],
    ]
    assert await found(donor="EST", known=6) == []
    assert [await found(coalition=name) for name in ("drones", "fpv", "none")] == [["a"], ["a"], []]
    assert [await found(capability=code) for code in ("drone", "drone.fpv", "drones", "radar")] == [
        ["a", "b"],
        ["b"],
        ["c"],
        ["b"],
    ]
    assert await found(unit="EUR") == ["b"]
    assert await found(beneficiary="UKR") == ["b"]
    assert await found(label="sector=air", coalition="fpv") == ["a"]
    assert await found(after="a") == ["b", "c"]
    async with database.connect() as conn:
        assert await pledges.count(conn, 7, coalition="drones") == 1


async def test_a_deadline_that_a_correction_takes_away_is_not_past_due(database: AsyncEngine) -> None:
    events = recorded(
        [
            a_pledge("taken", pieces(5), due_by="2024-06-30"),
            a_pledge("given", pieces(5)),
            a_pledge("kept", pieces(5), due_by="2024-06-30"),
            revised("kept", pieces(6), on="2024-03-01"),
        ]
    )
    amends = [
        correction(events[0], a_pledge("taken", pieces(5))),
        correction(events[1], a_pledge("given", pieces(5), due_by="2024-05")),
    ]
    await apply(database, PLEDGES, [*events, *recorded(amends, after=4, before=events)], {4})

    async def due(known: int) -> dict[str, str]:
        async with database.connect() as conn:
            found = await pledges.past_due(conn, known=known, on=date(2025, 1, 1), kind="donor", name="GBR")
        return {pledge: str(day) for pledge, day in sorted(found.items())}

    assert await due(4) == {"kept": "2024-06-30", "taken": "2024-06-30"}
    assert await due(6) == {"given": "2024-05-31", "kept": "2024-06-30"}
