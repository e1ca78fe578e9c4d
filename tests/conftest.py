"""Real servers for the tests: one PostgreSQL and one NATS a test process, a database of its own for every test.

The servers run with all their durability. A test's database is a clone of one that the migrations made, so what is
committed in a test is committed, and the next test does not see it. A test's ledger has a name of its own, and so its
own JetStream stream.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
import structlog

from muster.embedded import running_nats, running_postgres
from muster.provision import Names, Passwords, Urls, as_role, provision

# the default renders an exception with all its locals, for seconds during which nothing else runs
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(key_order=["level", "event"]),
    ]
)


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers of this test process."""

    admin_url: str  # of PostgreSQL's superuser
    templates: Urls  # the databases that the migrations made, by role
    names: Names
    passwords: Passwords
    nats_url: str  # for readers
    relay_url: str  # for who may publish


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    home: Path = tmp_path_factory.mktemp("servers")
    names, passwords = Names("template"), Passwords(home / "secrets.json")
    async with running_postgres(home) as postgres, running_nats(home) as nats:
        templates = await provision(postgres.url, names, passwords)
        yield Servers(postgres.url, templates, names, passwords, nats.url, nats.relay_url)


@dataclass(frozen=True, slots=True)
class Database:
    """One test's clone of a migrated database."""

    servers: Servers
    name: str

    def url(self, role: str) -> str:
        return as_role(self.servers.admin_url, role, self.servers.passwords.of(role), self.name)


@asynccontextmanager
async def clone(servers: Servers, template: str, *, owner: str, grants: dict[str, str]) -> AsyncIterator[Database]:
    """A copy of a database while the block runs; `grants` are rights on it by role, which are not copied."""
    name = f"{template}_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(servers.admin_url)
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {owner}")
        try:
            await admin.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
            for role, rights in grants.items():
                await admin.execute(f"GRANT {rights} ON DATABASE {name} TO {role}")
            yield Database(servers, name)
        finally:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest_asyncio.fixture
async def commitments_database(servers: Servers) -> AsyncIterator[Database]:
    names = servers.names
    grants = {names.commitments: "CONNECT, TEMPORARY"}
    async with clone(servers, names.commitments, owner=names.commitments_owner, grants=grants) as database:
        yield database


@pytest.fixture
def commitments_url(commitments_database: Database) -> str:
    """The log, as the role of its service."""
    return commitments_database.url(commitments_database.servers.names.commitments)


@pytest.fixture
def commitments_owner_url(commitments_database: Database) -> str:
    """The log, as the role that owns it."""
    return commitments_database.url(commitments_database.servers.names.commitments_owner)


@pytest_asyncio.fixture
async def projections_database(servers: Servers) -> AsyncIterator[Database]:
    names = servers.names
    grants = {names.projections: "CONNECT, TEMPORARY, CREATE", names.projections_reader: "CONNECT"}
    async with clone(servers, names.projections, owner=names.projections_owner, grants=grants) as database:
        yield database


@pytest.fixture
def projections_url(projections_database: Database) -> str:
    """The read models, as the worker that fills them: it may create schemas."""
    return projections_database.url(projections_database.servers.names.projections)


@pytest.fixture
def projections_reader_url(projections_database: Database) -> str:
    """The read models, as the API that shows them: it reads, and nothing else."""
    return projections_database.url(projections_database.servers.names.projections_reader)


@pytest.fixture
def nats_url(servers: Servers) -> str:
    """NATS, as the one who may publish facts."""
    return servers.relay_url


@pytest.fixture
def nats_reader_url(servers: Servers) -> str:
    """NATS, as anybody."""
    return servers.nats_url


@pytest.fixture
def ledger_name() -> str:
    """A ledger of this test's own; its stream is the same in capitals."""
    return f"t_{secrets.token_hex(6)}"
