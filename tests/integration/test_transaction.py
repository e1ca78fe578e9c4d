"""A transaction of who fills read models: what is written is gathered, and seen by whoever reads after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections import transaction as module
from services.projections.database import engine
from services.projections.projector import make
from services.projections.read_models.capabilities import CAPABILITIES
from services.projections.transaction import Claim, Moved, Transaction, together, transaction

TABLE = f"{CAPABILITIES.schema}.spoken"
ONE = f"INSERT INTO {TABLE} VALUES ($1::text::bigint, $1::text::bigint, $2, '2024-02-15', 'pledge', 1)"  # noqa: S608 - a name of ours
OTHER = f"INSERT INTO {TABLE} VALUES ($2::text::bigint, $1::text::bigint, $3, '2024-02-16', 'pledge', 1)"  # noqa: S608 - a name of ours
CODES = f"SELECT code FROM {TABLE} ORDER BY entry"  # noqa: S608 - a name of ours


@pytest.fixture
async def database(projections_url: str) -> AsyncIterator[AsyncEngine]:
    made = engine(projections_url, process="test", connections=1)
    async with made.begin() as conn:
        await make(conn, CAPABILITIES, [])
    yield made
    await made.dispose()


@pytest.fixture
async def database_of_two(database: AsyncEngine, projections_url: str) -> AsyncIterator[AsyncEngine]:
    made = engine(projections_url, process="test", connections=2)
    yield made
    await made.dispose()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that were sent to write."""
    seen: list[str] = []
    send = Transaction._after

    async def noted(self: Transaction, before: object, statement: str, values: tuple[str, ...]) -> None:
        seen.append(statement)
        await send(self, before, statement, values)  # type: ignore[arg-type]  # passed on as it is

    monkeypatch.setattr(Transaction, "_after", noted)
    return seen


async def codes(database: AsyncEngine) -> list[str]:
    async with transaction(database) as reading:
        return [code for (code,) in await reading.rows(CODES)]


async def test_different_writes_go_as_one_and_are_seen_by_who_reads_after(
    database: AsyncEngine, sent: list[str]
) -> None:
    async with transaction(database) as writing:
        await writing.write(ONE, "1", "drone")
        await writing.write(OTHER, "2", "3", "shell")
        assert sent == []
        assert [code for (code,) in await writing.rows(CODES)] == ["drone", "shell"]
    assert len(sent) == 1
    assert await codes(database) == ["drone", "shell"]


async def test_the_same_statement_again_goes_by_itself_and_what_is_much_when_its_writer_says_so(
    database: AsyncEngine, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LARGE", 20)
    async with transaction(database) as writing:
        await writing.write(ONE, "1", "a")
        await writing.write(ONE, "2", "b")
        assert len(sent) == 1
        await writing.write(OTHER, "4", "4", "d" * 20)
        assert len(sent) == 1
        await writing.flow()
        assert len(sent) == 2
    assert await codes(database) == ["a", "b", "d" * 20]


async def say(database: AsyncEngine, *said: tuple[str, str], read: bool = False, fail: bool = False) -> None:
    async with transaction(database) as writing:
        for one in said:
            await writing.write(ONE, *one)
        if read:
            await writing.rows(CODES)
        if fail:
            raise RuntimeError("of the caller")


async def test_of_a_transaction_that_is_given_up_nothing_more_is_sent(database: AsyncEngine, sent: list[str]) -> None:
    with pytest.raises(RuntimeError, match="of the caller"):
        await say(database, ("1", "a"), ("2", "b"), fail=True)
    assert len(sent) == 1  # the second was only gathered
    assert await codes(database) == []


async def test_a_write_that_fails_says_so_to_who_reads_or_at_the_end_and_nothing_stays(database: AsyncEngine) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):
        await say(database, ("1", "a"), ("1", "a"), read=True)
    with pytest.raises(asyncpg.DataError):
        await say(database, ("1", "a"), ("not a number", "b"))
    with pytest.raises(RuntimeError, match="of the caller"):
        await say(database, ("1", "a"), fail=True)
    assert await codes(database) == []


def test_values_are_numbered_through() -> None:
    assert together((("A $1", 1),)) == "A $1"
    assert together((("A $1 $2", 2), ("B $2 $1", 2), ("C $1", 1))) == (
        "WITH part_0 AS (A $1 $2), part_1 AS (B $4 $3) C $5"
    )


# ------------------------------------------------------------------------------------------------- a claim

MOVE = f"UPDATE {TABLE} SET change = $1::int WHERE entry = 1 AND change = $2::int RETURNING entry"  # noqa: S608 - a name of ours


async def claimed(database: AsyncEngine, *said: tuple[str, str], now: int, was: int, read: bool = False) -> None:
    async with transaction(database, claim=Claim(MOVE, (now, was), 1)) as writing:
        if read:
            await writing.rows(CODES)
        for one in said:
            await writing.write(ONE, *one)
            await writing.flow()


@pytest.mark.parametrize("large", [65_536, 1], ids=["in one statement", "in several"])
@pytest.mark.parametrize("read", [False, True], ids=["", "after reading"])
async def test_what_is_claimed_is_written_with_it_or_not_at_all(
    database: AsyncEngine, sent: list[str], monkeypatch: pytest.MonkeyPatch, *, large: int, read: bool
) -> None:
    """Given a row that two believe to be as it was / When both claim it / Then only the first has written."""
    await say(database, ("1", "drone"))
    sent.clear()
    monkeypatch.setattr(module, "LARGE", large)
    await claimed(database, ("2", "shell"), now=2, was=1, read=read)
    with pytest.raises(Moved):
        await claimed(database, ("2", "late"), now=3, was=1, read=read)
    assert await codes(database) == ["drone", "shell"]
    assert len(sent) == (1 if large == 1 else 0)  # what is little needs no transaction around it


async def test_a_claim_may_be_all_there_is(database: AsyncEngine) -> None:
    await say(database, ("1", "drone"))
    await claimed(database, now=2, was=1)
    with pytest.raises(Moved):
        await claimed(database, now=3, was=1)


async def test_who_claims_what_another_is_claiming_waits_and_finds_out(database_of_two: AsyncEngine) -> None:
    await say(database_of_two, ("1", "drone"))
    async with transaction(database_of_two, claim=Claim(MOVE, (2, 1), 1)) as first:
        await first.begin()
        second = asyncio.create_task(claimed(database_of_two, ("2", "late"), now=3, was=1))
        await asyncio.sleep(0.05)
        assert not second.done()
        await first.write(ONE, "2", "shell")
    with pytest.raises(Moved):
        await second
    assert await codes(database_of_two) == ["drone", "shell"]


async def test_a_number_that_is_none_is_no_lost_claim(database: AsyncEngine) -> None:
    await say(database, ("1", "drone"))
    with pytest.raises(asyncpg.InvalidTextRepresentationError):
        await claimed(database, ("not a number", "b"), now=2, was=1)
    await claimed(database, ("2", "b"), now=2, was=1)


def test_a_claim_comes_first_and_what_it_gives_is_asked_last() -> None:
    whole = together((("A $1", 1), ("B $2 $1", 2)), ("CLAIM $1 $2", 2, 6))
    assert whole.startswith("WITH claimed AS (CLAIM $1 $2), part_0 AS (A $3), part_1 AS (B $5 $4) SELECT CAST")
    assert whole.endswith("FROM claimed")


async def test_who_speaks_apart_reads_past_what_others_gathered(database: AsyncEngine, sent: list[str]) -> None:
    async with transaction(database) as writing:
        await writing.write(ONE, "1", "drone")
        writing.apart()
        assert await writing.rows(CODES) == []
        assert not writing.begun
        await writing.write(OTHER, "2", "2", "shell")
        assert len(await writing.rows(CODES)) == 2
    assert len(sent) == 1
