"""The read side's own copy of what was said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, timedelta
from random import Random

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections.postings import accounts
from services.projections.read_models import entries
from services.projections.read_models.entries import ENTRIES, Where, as_it_stands
from services.projections.transaction import transaction
from shared.events.amendments import EntryCorrected, SourcesAdded
from shared.events.pledges import Relation, Share
from shared.sources import Source
from tests.examples import A_SOURCE, a_coalition, a_pledge, joins, pieces, produced
from tests.integration.copies import apply, clear, contents, made, replays_are_equal
from tests.integration.random_ledgers import Dice
from tests.integration.streams import BEGINNING, correction, recorded, retraction


@pytest_asyncio.fixture
async def database(projections_url: str) -> AsyncIterator[AsyncEngine]:
    async with made(projections_url, ENTRIES) as found:
        yield found


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_replay_gives_equal_tables(database: AsyncEngine, seed: int) -> None:
    events = Dice(seed, pledges=5).ledger(120)
    await replays_are_equal(database, ENTRIES, events, set(Random(seed).sample(range(1, 120), 7)))


@pytest.mark.parametrize("most", [0, 5, 10_000])
async def test_who_remembers_names_from_batch_to_batch_notes_the_same(
    database: AsyncEngine, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(entries, "NAMES_REMEMBERED", most)
    events = Dice(3, pledges=5).ledger(60)
    await apply(database, ENTRIES, events)
    plain = await contents(database, ENTRIES)
    await clear(database, ENTRIES)
    await apply(database, replace(ENTRIES, apply=entries.remembering()), events, range(1, 60))
    assert await contents(database, ENTRIES) == plain


async def test_names_that_stand_are_not_sent_again(database: AsyncEngine) -> None:
    events = recorded([a_pledge("x", pieces(1)), a_pledge("y", pieces(2)), a_pledge("z", by="LVA")])
    take, sent = entries.remembering(), []

    def noted(statement: str) -> str:
        sent.append(statement)
        return statement

    for event in events:
        async with transaction(database, noted) as writing:
            await take(writing, [event])
    assert [entries.NAMED.fullname in statement for statement in sent] == [True, False, True]


async def test_an_entry_is_read_back_as_it_was_recorded(database: AsyncEngine) -> None:
    events = Dice(3, pledges=4).ledger(60)
    await apply(database, ENTRIES, events)
    async with database.connect() as conn:
        for event in events:
            assert await entries.by_id(conn, event.event_id) == event


async def test_what_concerns_an_account_is_what_its_postings_come_from(database: AsyncEngine) -> None:
    """Against the rule: an amendment concerns the accounts of what the entry said before, and of what it says now."""
    events = Dice(4, pledges=5).ledger(150)
    await apply(database, ENTRIES, events, {40, 41, 90})
    touched: dict[int, set[str]] = {}
    for event in events:
        said = event.event
        before = touched.get(getattr(said, "entry_position", 0), set())
        now = said.now if isinstance(said, EntryCorrected) else said
        touched[event.position] = before | set(accounts(now))
    names = sorted({name for found in touched.values() for name in found})
    async with database.connect() as conn:
        found = await entries.of_accounts(conn, names, known=100)
    for name in names:
        wanted = [position for position in range(1, 101) if name in touched[position]]
        assert [event.position for event in found[name]] == wanted, name


async def test_a_replacing_pledge_concerns_the_replaced_one(database: AsyncEngine) -> None:
    replaces = Relation(kind="replaces", of=("old",))
    await apply(database, ENTRIES, recorded([a_pledge("old"), a_pledge("new", relation=replaces)]))
    async with database.connect() as conn:
        found = await entries.of_accounts(conn, ["pledge-old", "pledge-new"], known=2)
    assert {name: [event.position for event in about] for name, about in found.items()} == {
        "pledge-old": [1, 2],
        "pledge-new": [2],
    }


async def test_a_report_is_of_its_partys_account_whatever_its_own_id(database: AsyncEngine) -> None:
    await apply(database, ENTRIES, recorded([produced("GBR", pieces(5), start="2024-01", end="2024-03")]))
    async with database.connect() as conn:
        found = await entries.of_accounts(conn, ["production-UKR", "production-GBR"], known=1)
    assert {name: len(about) for name, about in found.items()} == {"production-UKR": 1, "production-GBR": 0}


async def test_an_entry_stands_as_its_amendments_leave_it(database: AsyncEngine) -> None:
    first, second = recorded([a_pledge("x", pieces(500)), a_pledge("y", pieces(7))])
    later = Source(publisher="LSM", title="Later")
    cited = SourcesAdded(
        thing="pledge-x", entry=first.event_id, entry_position=1, entry_type=first.type, sources=(later,)
    )
    more = recorded([correction(first, a_pledge("x", pieces(50))), cited, retraction(second)], after=2)
    await apply(database, ENTRIES, [first, second, *more])
    async with database.connect() as conn:
        (as_corrected,) = as_it_stands(await entries.stream(conn, "pledge-x", known=5))
        (before,) = as_it_stands(await entries.stream(conn, "pledge-x", known=2))
        (gone,) = as_it_stands(await entries.stream(conn, "pledge-y", known=5))
    assert as_corrected.entry == a_pledge("x", pieces(50))
    assert as_corrected.sources == (*A_SOURCE, later)
    assert [amendment.position for amendment in as_corrected.amendments] == [3, 4]
    assert before.entry == a_pledge("x", pieces(500))
    assert (as_corrected.live, gone.live) == (True, False)


async def test_moments_are_found_in_the_log(database: AsyncEngine) -> None:
    days = ("2024-02-15", "2024-03-15", "2024-03-01", "2024-04-01")
    await apply(database, ENTRIES, recorded([a_pledge(f"p{n}", announced_on=day) for n, day in enumerate(days)]))
    async with database.connect() as conn:
        instants = [BEGINNING + timedelta(seconds=s) for s in (0.5, 1, 2.5, 99)]
        assert [await entries.last_recorded_by(conn, at) for at in instants] == [0, 1, 2, 4]
        reported = [date(2024, 2, 14), date(2024, 2, 15), date(2024, 3, 15), date(2024, 4, 1)]
        assert [await entries.first_reported_after(conn, day) for day in reported] == [1, 2, 4, None]


async def test_names_are_known_from_the_entry_that_first_gives_them(database: AsyncEngine) -> None:
    both = (Share(party="UKR"), Share(party="MDA"))
    events = recorded([a_coalition("drones"), joins("GBR"), a_pledge("x", beneficiaries=both, coalition="drones")])
    fixed = correction(events[2], a_pledge("x", by="LVA", capability="drone.fpv"))
    await apply(database, ENTRIES, [*events, *recorded([fixed], after=3)])
    async with database.connect() as conn:
        parties = [await entries.named(conn, "party", known) for known in (1, 2, 3, 4)]
        assert parties == [[], ["GBR"], ["GBR", "MDA", "UKR"], ["GBR", "LVA", "MDA", "UKR"]]
        assert await entries.named(conn, "capability", 3) == ["drone"]
        assert await entries.is_named(conn, "capability", "drone.fpv", 4)
        assert not await entries.is_named(conn, "coalition", "shells", 4)


async def test_what_happened_is_told_from_the_latest_day_on(database: AsyncEngine) -> None:
    said = [
        a_pledge("x", announced_on="2024-03-01", coalition="drones"),
        produced("m", pieces(5), start="2024-01", end="2024-01"),
        a_pledge("y", announced_on="2024-02-01"),
    ]
    await apply(database, ENTRIES, recorded(said))

    async def told(where: Where, since: date | None = None, before: tuple[date, int] | None = None) -> list[int]:
        async with database.connect() as conn:
            found = await entries.happened(
                conn, on=date(2024, 12, 31), since=since, known=3, where=where, before=before, limit=10
            )
        return [event.position for event in found]

    assert await told(Where()) == [1, 3, 2]
    assert await told(Where(coalition="drones")) == [1]
    assert await told(Where(party="UKR")) == [2]
    assert await told(Where(), since=date(2024, 2, 1)) == [1, 3]
    assert await told(Where(), before=(date(2024, 2, 1), 3)) == [2]
