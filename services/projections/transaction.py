"""One transaction of who fills read models: few journeys to the database, and never idle while there is one.

It speaks to the driver itself: a batch is some dozen statements, and SQLAlchemy takes longer for each than the driver
and the database together.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from itertools import chain
from typing import Final, TypeAlias

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections.database import ERRORS, Driver, driver

LARGE: Final = 65_536  # characters

Renamed: TypeAlias = Callable[[str], str]


def as_it_is(statement: str) -> str:
    """Give a statement back."""
    return statement


class Transaction:
    """Statements with their values as `$1`, `$2` ..., carried out in the order in which they were said.

    Small writes are gathered, and go as one statement; large ones go at once, while the next are computed. So none may
    depend on what those before it wrote: whoever depends on that reads first.
    """

    def __init__(self, connection: Driver, renamed: Renamed = as_it_is) -> None:
        """`renamed` changes the names in a statement before it is sent."""
        self._connection = connection
        self._renamed = renamed
        self._gathered: dict[str, tuple[str, ...]] = {}
        self._size = 0
        self._last: asyncio.Task[None] | None = None

    async def rows(self, query: str, *values: object) -> list[asyncpg.Record]:
        """Ask; all that was written before is seen."""
        await self.written()
        return await self._connection.fetch(self._renamed(query), *values)

    async def write(self, statement: str, *values: str) -> None:
        """Let a statement be sent, and go on; should it fail, the next `rows` or `written` says so."""
        if statement in self._gathered:  # one statement may not change a row twice
            await self._send()
        self._gathered[statement] = values
        self._size += sum(map(len, values))
        if self._size >= LARGE:
            await self._send()

    async def written(self) -> None:
        """Wait until all is written. Raises what the first statement that failed said."""
        await self._send()
        await self.sent()

    async def sent(self) -> None:
        """Wait until what was sent is written; what was only gathered is left."""
        last, self._last = self._last, None
        if last is not None:
            await last

    async def _send(self) -> None:
        gathered, self._gathered, self._size = self._gathered, {}, 0
        if gathered:
            statement = self._renamed(together(tuple((one, len(values)) for one, values in gathered.items())))
            values = tuple(chain.from_iterable(gathered.values()))
            self._last = asyncio.create_task(self._after(self._last, statement, values))
            await asyncio.sleep(0)  # let it be sent before the caller computes on

    async def _after(self, before: asyncio.Task[None] | None, statement: str, values: tuple[str, ...]) -> None:
        if before is not None:
            await before
        await self._connection.execute(statement, *values)


@lru_cache(maxsize=1_000)
def together(statements: tuple[tuple[str, int], ...]) -> str:
    """Make one statement of several, each with the number of its values, which are numbered through."""
    numbered, first = [], 0
    for statement, values in statements:
        numbered.append(NUMBER.sub(lambda found, by=first: f"${int(found[1]) + by}", statement))  # type: ignore[misc]  # bound now
        first += values
    *others, last = numbered
    if not others:
        return last
    return f"WITH {', '.join(f'part_{n} AS ({one})' for n, one in enumerate(others))} {last}"


NUMBER: Final = re.compile(r"\$(\d+)")


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
                    await mine.sent()
                raise
            await connection.execute("COMMIT")
        except BaseException:
            try:
                await connection.execute("ROLLBACK")
            except ERRORS:
                await pooled.invalidate()
            raise
