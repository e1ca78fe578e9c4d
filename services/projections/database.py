"""The read side's database: how it is reached, and which of its errors are not the fault of what was asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
from sqlalchemy import ARRAY, Column, ColumnElement, NullPool, cast, event, func
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

SERVER_SETTINGS: Final = {
    "timezone": "UTC",
    "jit": "off",  # compiling costs more than any of our queries
    "lock_timeout": "10s",
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "60s",
}

WRITER_SETTINGS: Final = SERVER_SETTINGS | {"synchronous_commit": "off"}
"""Of who fills read models: what a crash of the server takes back is applied again, checkpoint and rows together."""

Driver: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

ERRORS: Final = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What the database may say, and the way to it."""

TRANSIENT: Final = frozenset({"08", "40", "53", "55", "57", "58"})
"""Classes of SQLSTATE: connection, rollback for concurrency, resources, locks, an operator's hand, the system."""


def driver_url(url: str) -> str:
    """Name the driver in a `postgresql://` URL, and call libpq's `sslmode` `ssl`, as that driver does."""
    parts = urlsplit(url)
    query = urlencode([("ssl" if key == "sslmode" else key, value) for key, value in parse_qsl(parts.query)])
    return urlunsplit(("postgresql+asyncpg", parts.netloc, parts.path, query, ""))


def engine(
    url: str,
    *,
    process: str,
    connections: int = 5,
    pgbouncer: bool = False,
    settings: Mapping[str, str] = SERVER_SETTINGS,
    begins: bool = True,
) -> AsyncEngine:
    """Give the engine of one process: `url` as `postgresql://`, `process` as it is to be seen in pg_stat_activity.

    `begins` False: SQLAlchemy opens no transactions, who wants one opens the driver's.
    """
    arguments: dict[str, Any] = {"timeout": 5, "command_timeout": 90}
    level: dict[str, Any] = {} if begins else {"isolation_level": "AUTOCOMMIT"}
    if pgbouncer:  # it passes no settings at the start, and hands a statement's name to other connections
        arguments |= {
            "statement_cache_size": 0,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": lambda: f"__muster_{uuid4()}__",
        }
        return create_async_engine(driver_url(url), poolclass=NullPool, connect_args=arguments, **level)
    made = create_async_engine(
        driver_url(url),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=5,
        pool_use_lifo=True,  # the connection that was used last has its statements prepared
        connect_args=arguments | {"server_settings": {**settings, "application_name": f"muster {process}"}},
        **level,
    )
    event.listen(made.sync_engine, "checkout", _see_that_it_is_open)
    return made


def _see_that_it_is_open(pooled: Any, *_: object) -> None:  # noqa: ANN401  # SQLAlchemy's face of the driver
    """Leave no connection to find out at its next use that the server went away; those beside it are as old."""
    if pooled.driver_connection.is_closed():
        raise InvalidatePoolError("the server closed it")


def keeps_connections(engine: AsyncEngine) -> bool:
    """Whether a connection is one to the server; behind pgbouncer each transaction may have another."""
    return not isinstance(engine.pool, NullPool)


def driver(conn: AsyncConnection) -> Driver:
    """Give the driver's connection under one of SQLAlchemy's."""
    pooled = conn.sync_connection
    assert pooled is not None  # noqa: S101  # it was opened
    return pooled.connection.driver_connection  # type: ignore[return-value]  # of the dialect asyncpg


async def rows(conn: AsyncConnection, query: str, *values: object) -> list[asyncpg.Record]:
    """Ask with values as `$1`, `$2` ..., past SQLAlchemy, which takes longer for a row than the database does."""
    return await driver(conn).fetch(query, *values)


async def answers(conn: AsyncConnection, query: str, values: Mapping[str, object]) -> list[asyncpg.Record]:
    """Ask as `rows` does, with values by their names, `:day`."""
    numbered, names = _numbered(query)
    return await rows(conn, numbered, *(values[name] for name in names))


@lru_cache(maxsize=1_000)
def _numbered(query: str) -> tuple[str, tuple[str, ...]]:
    names = tuple(dict.fromkeys(NAMED.findall(query)))
    return NAMED.sub(lambda found: f"${names.index(found[1]) + 1}", query), names


NAMED: Final = re.compile(r"(?<!:):([a-z]\w*)")


def among(column: Column[Any], values: Iterable[Any]) -> ColumnElement[bool]:
    """Ask for the rows that have one of these values in a column: one statement, however many values there are.

    `IN` makes another statement for each number of them, which every connection prepares and keeps.
    """
    return column == func.any(cast(list(values), ARRAY(column.type)))


def is_away(error: Exception) -> bool:
    """Whether an error says that the database cannot be had now, rather than that the question was wrong."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or sqlstate(error)[:2] in TRANSIENT or is_away(_cause(error))
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in TRANSIENT
    # TimeoutError is an OSError; an InterfaceError that is a ValueError says that a value cannot be sent
    return isinstance(error, OSError | asyncpg.InternalClientError) or (
        isinstance(error, asyncpg.InterfaceError) and not isinstance(error, ValueError)
    )


def sqlstate(error: DBAPIError) -> str:
    """Give the five characters of an error, or nothing where it has none."""
    return str(getattr(error.orig, "sqlstate", None) or "")


def _cause(error: DBAPIError) -> Exception:
    cause = getattr(error.orig, "__cause__", None)
    return cause if isinstance(cause, Exception) else ValueError()
