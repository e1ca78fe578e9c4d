"""One transaction of who fills read models: few journeys to the database, and never idle while there is one.

It speaks to the driver itself: a batch is some dozen statements, and SQLAlchemy takes longer for each than the driver
and the database together. What is little goes as one statement, with what it claims: neither BEGIN nor COMMIT.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from itertools import chain
from typing import Final, NamedTuple, TypeAlias

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections.database import ERRORS, Driver, driver, keeps_connections

LARGE: Final = 65_536  # characters

Renamed: TypeAlias = Callable[[str], str]


def as_it_is(statement: str) -> str:
    """Give a statement back."""
    return statement


class Claim(NamedTuple):
    """A statement that must give so many rows, before all else: what is read and written then is ours to write."""

    statement: str
    values: tuple[object, ...]
    rows: int


class Moved(Exception):
    """What was claimed is not as it was believed to be: nothing is written."""


class Transaction:
    """Statements with their values as `$1`, `$2` ..., carried out in the order in which they were said.

    Writes are gathered, and go as one statement: what is much goes when its writer says so, and while PostgreSQL works
    the next is computed. So none may depend on what those before it wrote: whoever depends on that reads first.

    What is read before anything is written is read before the claim: who changes it takes the claim from us.
    """

    def __init__(self, connection: Driver, renamed: Renamed = as_it_is, claim: Claim | None = None) -> None:
        """`renamed` changes the names in a statement before it is sent."""
        self._connection = connection
        self._renamed = renamed
        self._claim = claim
        self._gathered: dict[str, tuple[str, ...]] = {}
        self._size = 0
        self._last: asyncio.Task[None] | None = None
        self._own = False  # whether the read model that speaks now has written something
        self._over = False
        self.begun = False

    async def begin(self) -> None:
        """Begin, and claim what is to be claimed. Raises Moved."""
        await self._connection.execute("BEGIN")
        self.begun = True
        if self._claim is not None:
            found = await self._connection.fetch(self._claim.statement, *self._claim.values)
            if len(found) != self._claim.rows:
                raise Moved

    def apart(self) -> None:
        """From here on another read model speaks, which reads nothing of what was written so far."""
        self._own = False

    async def rows(self, query: str, *values: object) -> list[asyncpg.Record]:
        """Ask; all that was written before by who asks is seen."""
        if self._own:
            await self.written()
        else:
            await self.sent()
        return await self._connection.fetch(self._renamed(query), *values)

    async def carry_out(self, statement: str, *values: object) -> None:
        """Write what depends on what was written before it, or has other values than texts."""
        if not self.begun:
            await self.begin()
        await self.written()
        await self._connection.execute(self._renamed(statement), *values)

    async def write(self, statement: str, *values: str) -> None:
        """Let a statement be sent, and go on; should it fail, the next `rows` or `written` says so."""
        self._own = True
        if statement in self._gathered:  # one statement may not change a row twice
            await self._send()
        self._gathered[statement] = values
        self._size += sum(map(len, values))

    async def flow(self) -> None:
        """Let PostgreSQL begin with what was gathered, if it is much: who calls has more to compute."""
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

    async def commit(self) -> None:
        """Write what is left, and end. Raises Moved, or what a statement said."""
        if self._over:
            return
        if self.begun:
            await self.written()
            await self._connection.execute("COMMIT")
        elif self._gathered or self._claim is not None:
            await self._at_once()
        self._over = True

    async def _at_once(self) -> None:
        """Claim and write in one statement, which is a transaction of its own."""
        claim = self._claim
        statement, values = self._whole(claim)
        try:
            await self._connection.execute(statement, *(() if claim is None else claim.values), *values)
        except asyncpg.InvalidTextRepresentationError as error:
            if NOT_OURS in str(error):
                raise Moved from error
            raise

    def _whole(self, claim: Claim | None = None) -> tuple[str, tuple[str, ...]]:
        """Give what was gathered as one statement, and its values."""
        gathered, self._gathered, self._size = self._gathered, {}, 0
        parts = tuple((one, len(values)) for one, values in gathered.items())
        claimed = None if claim is None else (claim.statement, len(claim.values), claim.rows)
        return self._renamed(together(parts, claimed)), tuple(chain.from_iterable(gathered.values()))

    async def _send(self) -> None:
        if not self._gathered:
            return
        if not self.begun:
            await self.begin()
        self._last = asyncio.create_task(self._after(self._last, *self._whole()))
        await asyncio.sleep(0)  # let it be sent before the caller computes on

    async def _after(self, before: asyncio.Task[None] | None, statement: str, values: tuple[str, ...]) -> None:
        if before is not None:
            await before
        await self._connection.execute(statement, *values)


@lru_cache(maxsize=1_000)
def together(statements: tuple[tuple[str, int], ...], claim: tuple[str, int, int] | None = None) -> str:
    """Make one statement of several, each with the number of its values, which are numbered through.

    With a `claim` (a statement, the number of its values, and of the rows that it must give) nothing is written unless
    it gives them.
    """
    parts: list[str] = []
    whole, first = list(statements), 0
    if claim is not None:
        statement, first, rows = claim
        parts.append(f"claimed AS ({statement})")
        whole.append((GIVES.format(rows=rows), 0))
    for n, (statement, values) in enumerate(whole):
        numbered = NUMBER.sub(lambda found, by=first: f"${int(found[1]) + by}", statement)  # type: ignore[misc]  # bound now
        parts.append(f"part_{n} AS ({numbered})" if n + 1 < len(whole) else numbered)
        first += values
    *others, last = parts
    return f"WITH {', '.join(others)} {last}" if others else last


NUMBER: Final = re.compile(r"\$(\d+)")
NOT_OURS: Final = "it is not as it was believed to be"
GIVES: Final = f"SELECT CAST(CASE count(*) WHEN {{rows}} THEN '1' ELSE '{NOT_OURS}' END AS int) FROM claimed"  # noqa: S608  # a constant
"""Asks whether a claim gives its rows. If not, the words are no number, and that ends the whole statement."""


@asynccontextmanager
async def transaction(
    engine: AsyncEngine, renamed: Renamed = as_it_is, claim: Claim | None = None
) -> AsyncIterator[Transaction]:
    """Run a transaction of its own while the block runs; it is rolled back when that raises.

    Raises Moved, what the driver says, or SQLAlchemyError where there is no connection to be had.
    """
    async with engine.connect() as pooled:
        connection = driver(pooled)
        mine = Transaction(connection, renamed, claim)
        try:
            if not keeps_connections(engine):
                await mine.begin()
            try:
                yield mine
                await mine.commit()
            except BaseException:
                with suppress(Exception):  # the first error is told, not what follows of it
                    await mine.sent()
                raise
        except BaseException:
            if mine.begun:
                try:
                    await connection.execute("ROLLBACK")
                except ERRORS:
                    await pooled.invalidate()
            elif connection.is_closed():
                await pooled.invalidate()
            raise
