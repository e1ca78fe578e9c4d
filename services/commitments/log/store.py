"""The log in PostgreSQL: every statement beside the function that runs it.

The batch has a connection of its own, and one transaction at a time: one round trip where it foresaw what the log is
like, else four (begin and lock, look, append, commit). Reads share a small pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg

from services.commitments.log.contract import (
    EVERYTHING,
    READ_BYTES,
    Away,
    Filter,
    Look,
    Page,
    Receipt,
    Rejected,
    Row,
    Said,
)

LOCK: Final = 0x6C6F67
"""The key of the advisory lock that every writer of a log holds while it adds to it ("log")."""

REVISION: Final = "0002"
"""The migration that these statements need."""

CONNECT_S: Final = 2.0
TRANSACTION_S: Final = 4.0  # what a batch may take in all, a new connection included
READ_S: Final = 4.0
READERS: Final = 4
TRANSACTION_TIMEOUT_SINCE: Final = 17

# The batch finds everything by key, and its statements are prepared while the tables may still be empty: a plan that
# reads whole tables must never be chosen, not even for the first thousand rows.
SETTINGS: Final = (
    "lock_timeout = '2500ms'",
    "statement_timeout = '3s'",
    "idle_in_transaction_session_timeout = '2s'",
    "enable_seqscan = off",
    "jit = off",
)
SETTINGS_SINCE_17: Final = ("transaction_timeout = '3500ms'",)

LOCKED: Final = f"SELECT pg_advisory_xact_lock({LOCK})"
"""A statement of its own: what follows sees what the last holder wrote."""

LOOK: Final = """
    (SELECT 0, NULL, position, recorded_at, NULL, NULL FROM events ORDER BY position DESC LIMIT 1)
    UNION ALL
    SELECT 1, stream, version, NULL, NULL, NULL FROM streams WHERE stream = ANY ($1::text[])
    UNION ALL
    SELECT 2, command_id, NULL, NULL, fingerprint, outcome FROM commands WHERE command_id = ANY ($2::text[])
"""

HISTORY: Final = """
    SELECT e.stream, e.event_id::text, e.position, e.version, e.type, convert_to(e.payload, 'UTF8')
    FROM unnest($1::text[], $2::integer[]) AS wanted (stream, version)
    CROSS JOIN LATERAL (
        SELECT * FROM events WHERE events.stream = wanted.stream AND events.version > wanted.version
    ) AS e
    ORDER BY e.position
"""

CONCERNED: Final = """
    SELECT position, stream FROM events WHERE about @> ARRAY[$1::text] AND position > $2 ORDER BY position LIMIT $3
"""

APPEND: Final = f"SELECT append({', '.join(f'${number}' for number in range(1, 23))})"
"""The function of migration 0002. It takes the lock, too."""

HEAD: Final = "SELECT coalesce(max(position), 0) AS head FROM events"
COLUMNS: Final = """
    position, recorded_at, event_id::text, version, happened_on, reported_on, stream, type, recorded_by, command_id,
    traceparent, array_to_string(coalitions, ' '), array_to_string(about, ' '), convert_to(payload, 'UTF8')
"""
PLANNED: Final = "BEGIN; SET LOCAL plan_cache_mode = force_custom_plan"
FOUND: Final = 14
"""The column after those."""

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Reader: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"


class PostgresLog:
    """The log of one database. It connects when it is needed, and again whenever it has to.

    `url` is `postgresql://...`. With `pooled` it may be pgbouncer's in transaction mode: no statement outlives its
    transaction.
    """

    def __init__(self, url: str, *, pooled: bool = False) -> None:
        self._url = url
        self._pooled = pooled
        self._writer: Connection | None = None
        self._begin = ""
        self._readers: Pool | None = None
        self._opening = asyncio.Lock()

    # ------------------------------------------------------------------------------------------------- growing

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresTransaction]:
        """See contract.Log."""
        async with self._writing() as connection:
            await connection.execute(self._begin)
            yield PostgresTransaction(connection)
            if await connection.execute("COMMIT") != "COMMIT":
                raise Away("the transaction was rolled back")

    async def append(self, seen: Look, rows: Sequence[Row], receipts: Sequence[Receipt], at: datetime) -> bool:
        """See contract.Log. One round trip; three through pgbouncer, where a transaction begins with settings."""
        if self._pooled:
            async with self.transaction() as transaction:
                return await transaction.append_if(seen, rows, receipts, at)
        async with self._writing() as connection:
            return await PostgresTransaction(connection).append_if(seen, rows, receipts, at)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[Connection]:
        """The connection that writes. Raises Away and Rejected."""
        try:
            async with asyncio.timeout(TRANSACTION_S):
                connection = await self._connected()
                try:
                    yield connection
                except BaseException as error:
                    if not (is_of_the_rows(error) and await self._rolled_back(connection)):
                        # unknown where it stopped (a statement that was cancelled, a lost socket): never use it again
                        self._forget(connection)
                    raise
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            # TimeoutError is an OSError
            why = f"{type(error).__name__}: {error}"
            raise (Rejected(why) if is_of_the_rows(error) else Away(why)) from error

    async def _connected(self) -> Connection:
        if self._writer is None or self._writer.is_closed():
            self._writer, self._begin = await opened(self._url, pooled=self._pooled)
        return self._writer

    async def _rolled_back(self, connection: Connection) -> bool:
        """Roll back; False where that fails."""
        try:
            await connection.execute("ROLLBACK")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return True

    def _forget(self, connection: Connection) -> None:
        connection.terminate()
        if self._writer is connection:
            self._writer = None

    # ------------------------------------------------------------------------------------------------- reading

    async def read(self, after: int, limit: int, where: Filter = EVERYTHING) -> Page:
        """See contract.Log."""
        conditions = ["position > $1"]
        values: list[object] = [after]
        for condition, value in (
            ("stream = ${}::text", where.stream),
            ("type = ANY (${}::text[])", list(where.types)),
            ("about @> ${}::text[]", list(where.about)),
        ):
            if value:
                values.append(value)
                conditions.append(condition.format(len(values)))
        query = f"""
            SELECT page.*, head FROM ({HEAD}) AS log LEFT JOIN ({paged(conditions, limit)}) AS page ON true
            ORDER BY page.position
        """  # noqa: S608  # see there
        # what is rare and what is common are found in different ways: let every filter have its own plan
        async with self._reading(PLANNED if where else None) as connection:
            found = await connection.fetch(query, *values)
        head = found[0][-1]
        if found[0][0] is None:  # no row, only the head
            return Page([], max(after, head), head)
        rows, more = read(found, limit)
        return Page(rows, rows[-1].position if more else head, head)

    async def read_stream(self, stream: str, after: int = 0, limit: int = 1_000) -> list[Row]:
        """See contract.Log."""
        async with self._reading() as connection:
            query = paged(["stream = $1::text", "version > $2::integer"], limit, order="version")
            found = await connection.fetch(query, stream, after)
        return read(found, limit)[0]

    async def event(self, event_id: str) -> Row | None:
        """See contract.Log."""
        try:
            wanted = UUID(event_id)
        except ValueError:
            return None
        async with self._reading() as connection:
            found = await connection.fetchrow(f"SELECT {COLUMNS} FROM events WHERE event_id = $1", wanted)  # noqa: S608  # a constant
        return None if found is None else row_of(found)

    async def names(self, prefix: str, limit: int) -> list[str]:
        """See contract.Log."""
        query = "SELECT stream FROM streams WHERE stream >= $1 AND stream < $2 ORDER BY stream LIMIT $3"
        async with self._reading() as connection:
            found = await connection.fetch(query, prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1), limit)
        return [row[0] for row in found]

    async def head(self) -> int:
        """See contract.Log."""
        async with self._reading() as connection:
            found: int = await connection.fetchval(HEAD)
        return found

    async def epoch(self) -> str:
        """See contract.Log."""
        async with self._reading() as connection:
            found: str = await connection.fetchval("SELECT epoch::text FROM ledger")
        return found

    async def revision(self) -> str | None:
        """See contract.Log."""
        async with self._reading() as connection:
            if await connection.fetchval("SELECT to_regclass('alembic_version') IS NULL"):
                return None
            found: str | None = await connection.fetchval("SELECT max(version_num) FROM alembic_version")
        return found

    async def close(self) -> None:
        """See contract.Log."""
        writer, self._writer, readers, self._readers = self._writer, None, self._readers, None
        try:
            async with asyncio.timeout(CONNECT_S):
                if writer is not None:
                    await writer.close(timeout=CONNECT_S)
                if readers is not None:
                    await readers.close()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            if writer is not None:
                writer.terminate()
            if readers is not None:
                readers.terminate()

    @asynccontextmanager
    async def _reading(self, begin: str | None = None) -> AsyncIterator[Reader]:
        """A connection of the pool, for one statement; or in a transaction, where `begin` says so. Raises Away."""
        if self._pooled and begin is None:  # the driver prepares a statement, and sends it, to one connection
            begin = "BEGIN"
        try:
            async with asyncio.timeout(READ_S):
                pool = await self._pool()
                connection = await pool.acquire()
                try:
                    if begin is not None:
                        await connection.execute(begin)
                    yield connection
                    if begin is not None:
                        await connection.execute("COMMIT")
                except BaseException:
                    # unknown where it stopped; a rollback, or the pool, would wait for a server that hangs for ever
                    connection.terminate()
                    raise
                finally:
                    await pool.release(connection)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            raise Away(f"{type(error).__name__}: {error}") from error

    async def _pool(self) -> Pool:
        async with self._opening:
            if self._readers is None:
                self._readers = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=READERS,
                    timeout=CONNECT_S,
                    reset=nothing_to_reset,
                    **options(pooled=self._pooled),
                )
        return self._readers


async def opened(url: str, *, pooled: bool) -> tuple[Connection, str]:
    """Open a connection that writes; give it, and the statement with which its transactions begin, under the lock."""
    connection = await asyncpg.connect(url, timeout=CONNECT_S, **options(pooled=pooled))
    newer = connection.get_server_version().major >= TRANSACTION_TIMEOUT_SINCE
    settings = SETTINGS + SETTINGS_SINCE_17 if newer else SETTINGS
    if pooled:  # each transaction may have another connection
        return connection, "; ".join(["BEGIN", *(f"SET LOCAL {setting}" for setting in settings), LOCKED])
    try:
        await connection.execute("; ".join(f"SET {setting}" for setting in settings))
    except BaseException:
        connection.terminate()
        raise
    return connection, f"BEGIN; {LOCKED}"


def options(*, pooled: bool) -> dict[str, Any]:
    """Give what every connection is opened with."""
    named = {"server_settings": {"application_name": "muster-commitments"}}
    return {**named, "statement_cache_size": 0} if pooled else named


async def nothing_to_reset(connection: Any) -> None:  # noqa: ANN401  # asyncpg passes a proxy of a connection
    """Spare the round trip: whoever reads sets nothing that outlives its transaction."""


class PostgresTransaction:
    """The log, locked, in the transaction of one batch."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def look(self, streams: Collection[str], commands: Collection[str]) -> Look:
        """See contract.Transaction."""
        position, recorded_at = 0, None
        versions: dict[str, int] = {}
        receipts: dict[str, Receipt] = {}
        for kind, name, number, at, fingerprint, outcome in await self._connection.fetch(LOOK, streams, commands):
            if kind == 1:
                versions[name] = number
            elif kind == 2:  # noqa: PLR2004  # as LOOK numbers its three parts
                receipts[name] = Receipt(name, fingerprint, outcome)
            else:
                position, recorded_at = number, at
        return Look(position, recorded_at, versions, receipts)

    async def history(self, after: Mapping[str, int]) -> list[Said]:
        """See contract.Transaction."""
        return [Said(*row) for row in await self._connection.fetch(HISTORY, list(after), list(after.values()))]

    async def concerned(self, stream: str, *, after: int, limit: int) -> list[tuple[int, str]]:
        """See contract.Transaction."""
        # what is rare and what is common are found in different ways: let every stream have its own plan
        await self._connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        return [(row[0], row[1]) for row in await self._connection.fetch(CONCERNED, stream, after, limit)]

    async def append(self, rows: Sequence[Row], receipts: Sequence[Receipt], at: datetime) -> None:
        """See contract.Transaction."""
        await self._connection.fetchval(APPEND, None, [], [], *columns(rows, receipts, at))

    async def append_if(self, seen: Look, rows: Sequence[Row], receipts: Sequence[Receipt], at: datetime) -> bool:
        """Add rows and receipts if the log is as seen (contract.Log.append). Alone, it is a transaction of its own."""
        streams, versions = list(seen.versions), list(seen.versions.values())
        added: bool = await self._connection.fetchval(
            APPEND, seen.position, streams, versions, *columns(rows, receipts, at)
        )
        return added


def columns(rows: Sequence[Row], receipts: Sequence[Receipt], at: datetime) -> tuple[object, ...]:
    """Give what APPEND adds, as it wants it: a list a column."""
    heads = {row.stream: row.version for row in rows}
    return (
        at,
        [row.position for row in rows],
        [row.event_id for row in rows],
        [row.version for row in rows],
        [row.happened_on for row in rows],
        [row.reported_on for row in rows],
        [row.stream for row in rows],
        [row.type for row in rows],
        [row.recorded_by for row in rows],
        [row.command_id for row in rows],
        [row.traceparent for row in rows],
        [" ".join(row.coalitions) for row in rows],
        [" ".join(row.about) for row in rows],
        [row.payload.decode() for row in rows],
        list(heads),
        list(heads.values()),
        [receipt.command_id for receipt in receipts],
        [receipt.fingerprint for receipt in receipts],
        [receipt.outcome for receipt in receipts],
    )


def paged(conditions: Sequence[str], limit: int, *, order: str = "position") -> str:
    """Give the query of the first rows that hold the conditions: COLUMNS, and how many there are at most `limit`.

    Conditions and order are constants of this file; whatever comes from outside is in the values.
    """
    return f"""
        SELECT {COLUMNS}, found FROM (
            SELECT *, sum(octet_length(payload)) OVER (ORDER BY {order}) AS bytes, count(*) OVER () AS found
            FROM (
                SELECT * FROM events WHERE {" AND ".join(conditions)} ORDER BY {order} LIMIT {int(limit)}
            ) AS wanted
        ) AS counted
        WHERE bytes <= {READ_BYTES} OR bytes = octet_length(payload)
        ORDER BY {order}
    """  # noqa: S608  # see above


def read(found: Sequence[asyncpg.Record], limit: int) -> tuple[list[Row], bool]:
    """Read the rows of `paged`, and whether there may be more of them."""
    many = found[0][FOUND] if found else 0
    return [row_of(row) for row in found], many == limit or len(found) < many


def row_of(found: asyncpg.Record) -> Row:
    """Read COLUMNS. Lists come as texts: the driver takes ten times as long for an array."""
    return Row._make((*found[:11], tuple(found[11].split()), tuple(found[12].split()), found[13]))


def is_of_the_rows(error: BaseException) -> bool:
    """Whether the rows are at fault, not the work: SQLSTATE classes 22, 23 and 54, or what the driver cannot encode."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in ("22", "23", "54")
    return isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)
