"""A transaction of who fills read models: what is written is gathered, and seen by whoever reads after it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections import transaction as module
from services.projections.database import engine
from services.projections.projector import make
from services.projections.read_models.capabilities import CAPABILITIES
from services.projections.transaction import Transaction, together, transaction

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


async def test_the_same_statement_again_goes_by_itself_and_large_ones_at_once(
    database: AsyncEngine, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LARGE", 20)
    async with transaction(database) as writing:
        await writing.write(ONE, "1", "a")
        await writing.write(ONE, "2", "b")
        assert len(sent) == 1
        await writing.write(OTHER, "4", "4", "d" * 20)
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
