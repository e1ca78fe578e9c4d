"""Runs the migrations of the commitments database as its owner: MUSTER_COMMITMENTS_OWNER_URL (postgresql+asyncpg://...)."""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

URL = os.environ["MUSTER_COMMITMENTS_OWNER_URL"]
LOCK = 0x636F6D6D  # one migration of this database at a time; the second finds nothing left to do


def migrate(connection: Connection) -> None:
    # of the session, not of the transaction: a migration may need to commit on its way (CREATE INDEX CONCURRENTLY)
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
    connection.commit()
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


async def online() -> None:
    engine = create_async_engine(URL, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()


if context.is_offline_mode():  # --sql: print instead of run
    context.configure(url=URL, literal_binds=True, dialect_opts={"paramstyle": "named"})
    with context.begin_transaction():
        context.run_migrations()
else:
    asyncio.run(online())
