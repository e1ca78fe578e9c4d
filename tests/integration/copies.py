"""A read model applied in whatever batches, and a hash of all it holds: replays must give equal tables."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections.database import engine
from services.projections.projector import make
from services.projections.read_model import ReadModel
from services.projections.transaction import transaction
from shared.recorded import Recorded


@asynccontextmanager
async def made(url: str, model: ReadModel) -> AsyncIterator[AsyncEngine]:
    """A database with the empty tables of a read model."""
    found = engine(url, process="test", connections=2)
    try:
        async with found.begin() as conn:
            await make(conn, model, [])
        yield found
    finally:
        await found.dispose()


async def apply(database: AsyncEngine, model: ReadModel, events: Sequence[Recorded], cuts: Iterable[int] = ()) -> None:
    """Apply events in batches that end at `cuts`."""
    for start, end in pairwise([0, *sorted(set(cuts)), len(events)]):
        if events[start:end]:
            async with transaction(database) as writing:
                await model.apply(writing, events[start:end])


async def contents(database: AsyncEngine, model: ReadModel) -> str:
    """A hash of all that the tables hold."""
    found = hashlib.sha256()
    async with database.connect() as conn:
        for table in model.metadata.sorted_tables:
            for row in await conn.execute(select(table).order_by(*table.primary_key)):
                found.update(repr(tuple(row)).encode())
    return found.hexdigest()


async def clear(database: AsyncEngine, model: ReadModel) -> None:
    async with database.begin() as conn:
        for table in model.metadata.sorted_tables:
            await conn.execute(text(f"TRUNCATE {table.fullname}"))


async def replays_are_equal(
    database: AsyncEngine, model: ReadModel, events: Sequence[Recorded], cuts: set[int]
) -> None:
    """Applied at once, event by event, or in batches cut anywhere: the tables hold the same."""
    await apply(database, model, events)
    at_once = await contents(database, model)
    for ends in (set(range(1, len(events))), cuts):
        await clear(database, model)
        assert await contents(database, model) != at_once
        await apply(database, model, events, ends)
        assert await contents(database, model) == at_once
