"""One transaction of who fills read models: what is written is on its way while the next is computed.

It speaks to the driver itself. A batch is some dozen statements, and SQLAlchemy would take longer for each than the
driver and the database together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections.database import ERRORS, Driver, driver

Renamed: TypeAlias = Callable[[str], str]


def as_it_is(statement: str) -> str:
    """Give a statement back."""
    return statement


class Transaction:
    """Statements with their values as `$1`, `$2` ..., carried out in the order in which they were said."""

    def __init__(self, connection: Driver, renamed: Renamed = as_it_is) -> None:
        """`renamed` changes the names in a statement before it is sent."""
        self._connection = connection
        self._renamed = renamed
        self._last: asyncio.Task[None] | None = None

    async def rows(self, query: str, *values: object) -> list[asyncpg.Record]:
        """Ask; all that was written before is seen."""
        await self.written()
        return await self._connection.fetch(self._renamed(query), *values)

    async def write(self, statement: str, *values: object) -> None:
        """Send a statement after those before it, and go on; should it fail, the next `rows` or `written` says so."""
        self._last = asyncio.create_task(self._send(self._last, self._renamed(statement), values))
        await asyncio.sleep(0)  # let it be sent before the caller computes on

    async def written(self) -> None:
        """Wait until all is written. Raises what the first statement that failed said."""
        last, self._last = self._last, None
        if last is not None:
            await last

    async def _send(self, before: asyncio.Task[None] | None, statement: str, values: tuple[object, ...]) -> None:
        if before is not None:
            await before
        await self._connection.execute(statement, *values)


@asynccontextmanager
async def transaction(engine: AsyncEngine, renamed: Renamed = as_it_is) -> AsyncIterator[Transaction]:
    """Run a transaction of its own while the block runs; it is rolled back when that raises.

    Raises what the driver says, or SQLAlchemyError where there is no connection to be had.
    """
    async with engine.connect() as pooled:
        connection = driver(pooled)
        try:
            await connection.execute("BEGIN")
            mine = Transaction(connection, renamed)
            try:
                yield mine
                await mine.written()
            except BaseException:
                with suppress(Exception):  # the first error is told, not what follows of it
                    await mine.written()
                raise
            await connection.execute("COMMIT")
        except BaseException:
            try:
                await connection.execute("ROLLBACK")
            except ERRORS:
                await pooled.invalidate()
            raise
