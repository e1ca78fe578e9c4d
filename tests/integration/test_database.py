"""How the queries reach their database: past SQLAlchemy, on its connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import date

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import Column, MetaData, Table, Text, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections.database import among, answers, driver, engine, is_away, rows
from services.projections.http.asof import Reader


@pytest_asyncio.fixture
async def one_connection(projections_reader_url: str) -> AsyncIterator[AsyncEngine]:
    made = engine(projections_reader_url, process="test", connections=1, begins=False)
    yield made
    await made.dispose()


async def test_a_connection_that_the_server_closed_is_not_handed_out_again(one_connection: AsyncEngine) -> None:
    async with one_connection.connect() as conn:
        with pytest.raises(asyncpg.PostgresError) as ended:
            await rows(conn, "SELECT pg_terminate_backend(pg_backend_pid())")
        assert is_away(ended.value)
        while not driver(conn).is_closed():
            await asyncio.sleep(0.001)
    async with one_connection.connect() as conn:
        assert [tuple(row) for row in await rows(conn, "SELECT 1")] == [(1,)]


async def test_values_are_given_by_their_names_and_casts_are_left_alone(one_connection: AsyncEngine) -> None:
    query = "SELECT CAST(:day AS date) + :days::int, :days::int, 'a'::text WHERE CAST(:day AS date) IS NOT NULL"
    async with one_connection.connect() as conn:
        found = await answers(conn, query, {"days": 2, "day": date(2024, 2, 15), "more": "than are used"})
    assert [tuple(row) for row in found] == [(date(2024, 2, 17), 2, "a")]


async def test_a_question_sees_one_moment_changes_nothing_and_leaves_nothing_open(one_connection: AsyncEngine) -> None:
    reader = Reader(one_connection, "ledger")
    begun = "SELECT transaction_timestamp()"
    async with reader.transaction() as conn:
        assert (await rows(conn, begun))[0][0] == (await conn.execute(text(begun))).scalar_one()
        assert (await rows(conn, "SHOW transaction_isolation"))[0][0] == "repeatable read"
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        async with reader.transaction() as conn:
            await rows(conn, "CREATE TABLE new (id int)")
    async with reader.transaction() as conn:
        assert [tuple(row) for row in await rows(conn, "SELECT 1")] == [(1,)]
    async with one_connection.connect() as conn:
        assert not driver(conn).is_in_transaction()


async def test_values_asked_for_are_one_statement_however_many_there_are(one_connection: AsyncEngine) -> None:
    name = Table("pg_type", MetaData(), Column("typname", Text)).c.typname
    kept = "SELECT count(*) FROM pg_prepared_statements WHERE strpos(statement, $1) > 0"
    async with one_connection.connect() as conn:
        for values in (["bool"], ["bool", "int4", "text"], []):
            found = await conn.execute(select(name).where(among(name, values)))
            assert sorted(found.scalars()) == values
        assert (await rows(conn, kept, "FROM pg_type"))[0][0] == 1
