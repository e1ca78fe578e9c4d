"""Totals and their postings in a real database, against the rule they must follow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import date, timedelta
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.projections import projector
from services.projections.database import engine
from services.projections.postings import Row, accounts, learned, standing_of
from services.projections.read_models import coalition_totals
from services.projections.read_models.coalition_totals import (
    COALITION_TOTALS,
    By,
    Filter,
    MonthOrYear,
    Posting,
    TotalRow,
    daily,
    periodic,
    postings,
    remembering,
    totals,
)
from services.projections.transaction import transaction
from shared.amounts import ZERO, Vector
from shared.events import Entry
from shared.events.pledges import Relation, Share
from shared.measures import contains
from shared.recorded import Recorded
from shared.timeline import Learned, live
from tests.examples import a_coalition, a_delivery, a_pledge, pieces, produced, revised, withdrawn
from tests.integration.copies import clear, contents
from tests.integration.random_ledgers import CAPABILITIES, COALITIONS, PARTIES, Dice
from tests.integration.streams import correction, recorded, retraction

YEAR_END = date(2024, 12, 31)
BY: tuple[By | None, ...] = (None, "donors", "beneficiaries")
PERIODS: tuple[MonthOrYear, ...] = ("month", "year")


@pytest_asyncio.fixture
async def database(projections_url: str) -> AsyncIterator[AsyncEngine]:
    """A database with the empty tables of the read model."""
    found = engine(projections_url, process="test")
    async with found.begin() as conn:
        await projector.make(conn, COALITION_TOTALS, [])
    yield found
    await found.dispose()


async def apply(
    database: AsyncEngine, events: Sequence[Recorded], *, cuts: Iterable[int] = (), forget: bool = False
) -> None:
    """Apply events in batches that end at `cuts`; `forget` begins each batch knowing only the tables."""
    take = remembering()
    edges = [0, *sorted(set(cuts)), len(events)]
    for start, end in pairwise(edges):
        async with transaction(database) as writing:
            await (COALITION_TOTALS.apply if forget else take)(writing, events[start:end])


class Rule:
    """What rules.md says, computed from scratch: every account told everything, folded anew for each position."""

    def __init__(self, events: Sequence[Recorded]) -> None:
        told = [(event.position, said) for event in events if (said := learned(event)) is not None]
        self.entries: list[Learned[Entry]] = [Learned(position, fact, amends) for position, (fact, amends) in told]
        self.accounts = {name for entry in self.entries if entry.fact is not None for name in accounts(entry.fact)}
        self._known: dict[int, list[tuple[date, Row, Vector]]] = {}

    def steps(self, known: int) -> list[tuple[date, Row, Vector]]:
        if known not in self._known:
            standing = live(self.entries, known)
            self._known[known] = [
                (day, row, change)
                for name in sorted(self.accounts)
                for (day, row), change in standing_of(name, standing).items()
            ]
        return self._known[known]

    def totals(
        self, *, on: date, known: int, since: date | None = None, where: Filter, by: str | None = None
    ) -> dict[TotalRow, Vector]:
        found: dict[TotalRow, Vector] = {}
        for day, row, change in self.steps(known):
            if day <= on and (since is None or day >= since) and fits(row, where):
                key = whole_row(row)._replace(parties=() if by is None else getattr(row, by))
                found[key] = found.get(key, ZERO) + change
        return {row: vector for row, vector in found.items() if vector}

    def added_by(
        self,
        first: Callable[[date], date],
        key: Callable[[Row], Any],
        *,
        on: date,
        known: int,
        since: date | None = None,
        where: Filter,
    ) -> list[tuple[date, Any, Vector]]:
        found: dict[tuple[date, Any], Vector] = {}
        for day, row, change in self.steps(known):
            if day <= on and (since is None or day >= since) and fits(row, where):
                at = first(day), key(row)
                found[at] = found.get(at, ZERO) + change
        return sorted((*at, change) for at, change in found.items() if change)


def stage_of(row: Row) -> str:
    return row.stage


def whole_row(row: Row) -> TotalRow:
    return TotalRow(row.capability, row.unit, row.stage, row.finance_type)


def day_itself(day: date) -> date:
    return day


def first_of(period: str, day: date) -> date:
    return day.replace(day=1) if period == "month" else day.replace(month=1, day=1)


def fits(row: Row, where: Filter) -> bool:
    return (
        where.coalition in {None, row.coalition}
        and where.unit in {None, row.unit}
        and where.stage in {None, row.stage}
        and where.finance_type in {None, row.finance_type}
        and where.donors in {None, row.donors}
        and (where.donor is None or where.donor in row.donors)
        and (where.beneficiary is None or where.beneficiary in row.beneficiaries)
        and (
            where.capability is None
            or row.capability == where.capability
            or (not where.exactly and contains(where.capability, row.capability))
        )
    )


def a_filter(dice: Random) -> Filter:
    asked: dict[str, Any] = {}
    for name, values in (
        ("coalition", tuple(name or "" for name in COALITIONS)),
        ("donor", PARTIES),
        ("beneficiary", PARTIES),
        ("capability", CAPABILITIES),
        ("unit", ("piece", "EUR")),
        ("stage", ("pledged", "delivered", "produced")),
        ("finance_type", ("", "grant")),
        ("exactly", (True,)),
    ):
        if dice.random() < 0.2:
            asked[name] = dice.choice(values)
    return Filter(**asked)


@pytest.mark.parametrize("seed", range(10))
async def test_every_total_of_a_random_ledger_is_what_the_rule_says(
    database: AsyncEngine, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred questions a ledger, at any day and as known at any position: a thousand in all."""
    monkeypatch.setattr(coalition_totals, "BLOCK", 16)
    dice = Random(seed)
    events = Dice(seed, pledges=6).ledger(120)
    await apply(database, events, cuts=dice.sample(range(1, 120), dice.randint(0, 30)), forget=bool(seed % 2))
    rule = Rule(events)
    wrong: list[object] = []
    async with database.connect() as conn:
        for _ in range(100):
            on = date(2024, 1, 1) + timedelta(days=dice.randint(0, 370))
            known = dice.randint(1, 120)
            since = dice.choice((None, None, on - timedelta(days=dice.randint(0, 200))))
            where, by = a_filter(dice), dice.choice(BY)
            asked: dict[str, Any] = {"on": on, "since": since, "where": where}
            expected = rule.totals(**asked, known=known, by=by)
            if dict(await totals(conn, **asked, known=known, by=by)) != expected:
                wrong.append((asked, known, by))
            now = rule.totals(**asked, known=120)
            if dict(await totals(conn, **asked)) != now:
                wrong.append((asked, None, None))
            if await daily(conn, **asked, known=known) != rule.added_by(day_itself, stage_of, **asked, known=known):
                wrong.append((asked, known, "daily"))
            for period in PERIODS:
                steps = await periodic(conn, period, **asked, known=known)
                if steps != rule.added_by(partial(first_of, period), whole_row, **asked, known=known):
                    wrong.append((asked, known, period))
            listed = await every_posting(conn, known=known, **asked)
            if explained(listed) != rule.totals(**asked, known=known):
                wrong.append((asked, known, "postings"))
    assert wrong == []


def added(rows: Iterable[tuple[TotalRow, Vector]]) -> dict[TotalRow, Vector]:
    found: dict[TotalRow, Vector] = {}
    for row, vector in rows:
        found[row] = found.get(row, ZERO) + vector
    return {row: vector for row, vector in found.items() if vector}


def explained(listed: Iterable[Posting]) -> dict[TotalRow, Vector]:
    return added((whole_row(posting.row), posting.vector) for posting in listed)


async def every_posting(conn: AsyncConnection, *, limit: int = 7, **asked: Any) -> list[Posting]:
    """All postings behind a number, page by page."""
    found, cursor = await postings(conn, **asked, limit=limit)
    while cursor is not None:
        page, cursor = await postings(conn, **asked, after=cursor, limit=limit)
        found += page
    return found


@pytest.mark.parametrize("block", [1, 4, 32])
async def test_tables_do_not_depend_on_batches_restarts_or_replays(
    database: AsyncEngine, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of one position: of those many are empty, and there are several levels of them."""
    monkeypatch.setattr(coalition_totals, "BLOCK", block)
    dice = Random(3)
    for seed in (20, 21):
        events = Dice(seed, pledges=8).ledger(250)
        await clear(database, COALITION_TOTALS)
        await apply(database, events)
        whole = await contents(database, COALITION_TOTALS)
        for forget in (False, True):
            await clear(database, COALITION_TOTALS)
            await apply(database, events, cuts=dice.sample(range(1, 250), 60), forget=forget)
            assert await contents(database, COALITION_TOTALS) == whole
        await clear(database, COALITION_TOTALS)
        await apply(database, events, cuts=range(1, 250))
        assert await contents(database, COALITION_TOTALS) == whole


async def test_a_memory_too_small_for_its_accounts_changes_nothing(
    database: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = Dice(31, pledges=20).ledger(300)
    await apply(database, events, cuts=range(5, 300, 5))
    whole = await contents(database, COALITION_TOTALS)
    monkeypatch.setattr(coalition_totals, "REMEMBERED_ENTRIES", 12)
    monkeypatch.setattr(coalition_totals, "REMEMBERED_ROWS", 5)
    await clear(database, COALITION_TOTALS)
    await apply(database, events, cuts=range(5, 300, 5))
    assert await contents(database, COALITION_TOTALS) == whole


async def test_the_example_of_the_rules(database: AsyncEngine) -> None:
    """500 from 1 March (1); 800 from 10 March (2); 600 from 5 March, learned late (3); the second retracted (4)."""
    events = recorded(
        [a_pledge("x", pieces(500), announced_on="2024-03-01"), revised(said=pieces(800), on="2024-03-10")]
    )
    events += recorded([revised(said=pieces(600), on="2024-03-05")], after=2)
    events += recorded([retraction(events[1])], after=3)
    await apply(database, events)
    async with database.connect() as conn:
        (row,) = [row for row, _ in await totals(conn, on=YEAR_END)]
        known = [dict(await totals(conn, on=date(2024, 3, 12), known=n))[row].low for n in (1, 2, 3, 4)]
        third = [(p.day, p.vector.low) for p in (await postings(conn, on=YEAR_END))[0] if p.position == 3]
    assert known == [500, 800, 800, 600]
    assert third == [(date(2024, 3, 5), 100), (date(2024, 3, 10), -100)]


async def test_a_correction_moves_what_it_ended_to_another_pledge(database: AsyncEngine) -> None:
    """It was said to replace `a`; in truth it replaces `b`; in truth nothing."""

    def third(relation: Relation | None) -> Entry:
        return a_pledge("c", pieces(300), announced_on="2024-03-01", relation=relation)

    events = recorded(
        [
            a_pledge("a", pieces(100)),
            a_pledge("b", pieces(200)),
            third(Relation(kind="replaces", of=("a",))),
        ]
    )
    events += recorded([correction(events[2], third(Relation(kind="replaces", of=("b",))))], after=3)
    events += recorded([correction(events[2], third(None))], after=4)
    for forget in (False, True):
        await clear(database, COALITION_TOTALS)
        await apply(database, events, cuts=range(1, 5), forget=forget)
        async with database.connect() as conn:
            low = [
                sum(vector.low for _, vector in await totals(conn, on=YEAR_END, known=known)) for known in range(1, 6)
            ]
        assert low == [100, 300, 500, 400, 600]


async def test_a_pledge_with_known_shares_counts_once_in_the_total_and_once_in_each_row(database: AsyncEngine) -> None:
    donors = (Share(party="DNK", share=pieces(250)), Share(party="NLD", share=pieces(150)))
    await apply(database, recorded([a_pledge("x", pieces(400), by=donors)]))
    async with database.connect() as conn:
        ((_, whole),) = await totals(conn, on=YEAR_END)
        by_donor = {row.parties: vector for row, vector in await totals(conn, on=YEAR_END, by="donors")}
    assert (whole.low, whole.pledges) == (400, 1)
    assert {parties: (vector.low, vector.parts) for parties, vector in by_donor.items()} == {
        ("DNK",): (250, 1),
        ("NLD",): (150, 1),
    }
    assert sum(by_donor.values(), ZERO) == whole


async def test_a_total_does_not_depend_on_what_is_summed_beforehand(
    database: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole blocks and months, parts of them, their first and last: each is read from another table."""
    monkeypatch.setattr(coalition_totals, "BLOCK", 8)
    days = [date(2024, 1, 1) + timedelta(days=n) for n in (0, 14, 15, 29, 30, 31, 45, 46, 59, 60, 90, 120)]
    pledges = [a_pledge(f"p{n}", pieces(10**k), announced_on=str(days[n % 12])) for n, k in enumerate([0, 1, 2, 3] * 8)]
    events = recorded(pledges)
    await apply(database, events)
    async with database.connect() as conn:
        for known in (None, 1, 3, 4, 7, 8, 9, 12, 16, 31, 32):
            for on in days:
                for since in (None, *(day for day in days if day <= on)):
                    expected = sum(
                        pledge.amount.low
                        for position, pledge in enumerate(pledges, start=1)
                        if pledge.amount is not None
                        and position <= (known or 32)
                        and (since or days[0]) <= date.fromisoformat(pledge.announced_on) <= on
                    )
                    found = await totals(conn, on=on, known=known, since=since)
                    assert sum(vector.low for _, vector in found) == expected, (known, on, since)


async def test_a_block_whose_last_event_was_passed_over_is_not_missed(
    database: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next event fills it; until then its postings are read one by one."""
    monkeypatch.setattr(coalition_totals, "BLOCK", 8)
    events = recorded(a_pledge(f"p{n}", pieces(1)) for n in range(20))
    without = [event for event in events if event.position not in {7, 15}]
    counted = []
    async with database.connect() as conn:
        for first, last in ((0, 6), (6, 7), (7, 13), (13, 18)):
            await apply(database, without[first:last], forget=True)
            ((_, vector),) = await totals(conn, on=YEAR_END, known=without[last - 1].position + 1)
            counted.append(vector.low)
    assert counted == [6, 7, 13, 18]


async def test_a_capability_contains_its_descendants_by_dots(database: AsyncEngine) -> None:
    codes = ("drone", "drone.fpv", "drone.fpv.fibre", "drones")
    await apply(database, recorded(a_pledge(f"p{n}", pieces(1), capability=code) for n, code in enumerate(codes)))
    async with database.connect() as conn:

        async def found(**asked: Any) -> list[str]:
            return [row.capability for row, _ in await totals(conn, on=YEAR_END, where=Filter(**asked))]

        assert await found(capability="drone") == ["drone", "drone.fpv", "drone.fpv.fibre"]
        assert await found(capability="drone.fpv") == ["drone.fpv", "drone.fpv.fibre"]
        assert await found(capability="drone", exactly=True) == ["drone"]


async def test_what_comes_to_nothing_is_no_row_but_stays_in_the_journal(database: AsyncEngine) -> None:
    await apply(database, recorded([a_pledge("x", pieces(400)), withdrawn(on="2024-05-01")]))
    async with database.connect() as conn:
        assert await totals(conn, on=YEAR_END) == []
        assert len((await postings(conn, on=YEAR_END))[0]) == 2
        assert len(await totals(conn, on=date(2024, 4, 30))) == 1


async def test_one_account_can_be_asked_for(database: AsyncEngine) -> None:
    await apply(
        database,
        recorded(
            [
                a_pledge("x", pieces(400)),
                a_pledge("y", pieces(70)),
                a_delivery(of="y", said=pieces(7)),
                produced("m", pieces(9), start="2024-01", end="2024-03"),
            ]
        ),
    )
    async with database.connect() as conn:
        of_y = await totals(conn, on=YEAR_END, where=Filter(account="pledge-y"))
        listed, _ = await postings(conn, on=YEAR_END, where=Filter(account="production-UKR"))
    assert {row.stage: vector.low for row, vector in of_y} == {"pledged": 70, "delivered": 7}
    assert [(p.position, p.account, p.vector.low) for p in listed] == [(4, "production-UKR", 9)]


async def test_a_posting_names_the_event_that_made_it(database: AsyncEngine) -> None:
    events = recorded([a_coalition(), a_pledge("x", pieces(400))])
    await apply(database, events)
    async with database.connect() as conn:
        ((posting,), _) = await postings(conn, on=YEAR_END)
    assert (posting.position, posting.event_id) == (2, events[1].event_id)
