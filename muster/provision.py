"""Databases, roles and migrations of a ledger, made or brought up to date. Running it again changes nothing.

The service roles own nothing: the migrations, run by the owner roles, grant each what it needs. The exception is
the projections worker, which may create schemas in its own database (a rebuilt read model fills one of its own).
"""

import ast
import asyncio
import json
import os
import re
import secrets
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import asyncpg

from muster.children import CannotRun, both

LEDGER_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
PROJECT: Final = Path(__file__).resolve().parent.parent
LOCK: Final = 0x6D757374  # "must": held by whoever provisions on a server

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class CannotProvision(CannotRun):
    """The databases could not be made or migrated; says why."""


class NotALedgerName(CannotRun):
    """A ledger's name is a letter, then up to 31 letters, digits or underscores, all small."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name!r} cannot name a ledger: a-z first, then up to 31 of a-z, 0-9 and _")


@dataclass(frozen=True, slots=True)
class Names:
    """What things are called on the server of a ledger."""

    ledger: str

    def __post_init__(self) -> None:
        """Refuse what could not stand in SQL, in a subject and in a stream's name."""
        if not LEDGER_NAME.fullmatch(self.ledger):
            raise NotALedgerName(self.ledger)

    @property
    def commitments(self) -> str:
        """The database of the log, and the role of its service."""
        return f"{self.ledger}_commitments"

    @property
    def commitments_owner(self) -> str:
        """Runs its migrations and owns all in it."""
        return f"{self.ledger}_commitments_owner"

    @property
    def projections(self) -> str:
        """The database of the read models, and the role of the worker that fills them."""
        return f"{self.ledger}_projections"

    @property
    def projections_owner(self) -> str:
        """Runs its migrations and owns what they make."""
        return f"{self.ledger}_projections_owner"

    @property
    def projections_reader(self) -> str:
        """The role of the API that shows them: reads, and nothing else."""
        return f"{self.ledger}_projections_reader"

    @property
    def roles(self) -> tuple[str, ...]:
        """All five."""
        return (
            self.commitments_owner,
            self.commitments,
            self.projections_owner,
            self.projections,
            self.projections_reader,
        )


class Passwords:
    """Random passwords by name, kept in a file that only its owner reads."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}

    def of(self, name: str) -> str:
        """The password of `name`; a new one is in the file before it is returned."""
        if name not in self._known:
            self._known[name] = secrets.token_urlsafe(24)
            self._write()
        return self._known[name]

    def _write(self) -> None:
        making = self._file.with_suffix(".making")
        making.unlink(missing_ok=True)
        with os.fdopen(os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(self._known, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        making.replace(self._file)


@dataclass(frozen=True, slots=True)
class Urls:
    """How each role reaches its database."""

    commitments: str
    commitments_owner: str
    projections: str
    projections_owner: str
    projections_reader: str


def urls(admin_url: str, names: Names, passwords: Passwords) -> Urls:
    """The URLs of all roles on the server of `admin_url`."""

    def url(role: str, database: str) -> str:
        return as_role(admin_url, role, passwords.of(role), database)

    return Urls(
        commitments=url(names.commitments, names.commitments),
        commitments_owner=url(names.commitments_owner, names.commitments),
        projections=url(names.projections, names.projections),
        projections_owner=url(names.projections_owner, names.projections),
        projections_reader=url(names.projections_reader, names.projections),
    )


def as_role(url: str, role: str, password: str, database: str) -> str:
    """`url` with another user and database, its host, port and parameters kept."""
    parts = urlsplit(url)
    server = parts.netloc.rpartition("@")[2]
    return urlunsplit(("postgresql", f"{role}:{quote(password, safe='')}@{server}", f"/{database}", parts.query, ""))


def for_sqlalchemy(url: str) -> str:
    """`url` with the driver named, and libpq's `sslmode` called `ssl` as that driver has it."""
    parts = urlsplit(url)
    query = urlencode([("ssl" if key == "sslmode" else key, value) for key, value in parse_qsl(parts.query)])
    return urlunsplit(("postgresql+asyncpg", parts.netloc, parts.path, query, ""))


async def provision(admin_url: str, names: Names, passwords: Passwords) -> Urls:
    """Make roles and databases, set the roles' passwords, and run the migrations of both services.

    `admin_url` names a role that may create roles and databases, reached directly (not through pgbouncer).

    Raises:
        CannotProvision: The server is not reached, a right is missing, or a migration failed.
    """
    try:
        await make_databases(admin_url, names, passwords)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        raise CannotProvision(f"the databases could not be made: {str(error) or type(error).__name__}") from error
    made = urls(admin_url, names, passwords)
    environment = {
        "MUSTER_LEDGER": names.ledger,
        "MUSTER_COMMITMENTS_OWNER_URL": for_sqlalchemy(made.commitments_owner),
        "MUSTER_COMMITMENTS_ROLE": names.commitments,
        "MUSTER_PROJECTIONS_OWNER_URL": for_sqlalchemy(made.projections_owner),
        "MUSTER_PROJECTIONS_ROLE": names.projections,
        "MUSTER_PROJECTIONS_READER_ROLE": names.projections_reader,
    }
    await both(
        migrate("commitments", made.commitments_owner, environment),
        migrate("projections", made.projections_owner, environment),
    )
    return made


async def migrate(service: str, owner_url: str, environment: Mapping[str, str]) -> None:
    """Bring one service's database to the newest revision, in a process of its own.

    Where it stands there already nothing is started: alembic takes more than a second to be imported.

    Raises:
        CannotProvision: alembic failed; says what it said.
    """
    if await revisions_in(owner_url) == heads(PROJECT / "migrations" / service / "versions"):
        return
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "alembic", "-c", str(PROJECT / "migrations" / "alembic.ini"), "-n", service),
        *("upgrade", "head"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=PROJECT,
        env={**os.environ, **environment},
    )
    try:
        said, _ = await process.communicate()
    except asyncio.CancelledError:
        process.terminate()
        raise
    if process.returncode != 0:
        lines = said.decode(errors="replace").rstrip().splitlines()[-30:]
        raise CannotProvision(f"the migrations of {service} failed:" + "".join(f"\n    {line}" for line in lines))


async def revisions_in(owner_url: str) -> set[str]:
    """The revisions that a database stands at; none before its first migration."""
    async with _connected(owner_url) as database:
        try:
            rows = await database.fetch("SELECT version_num FROM alembic_version")
        except asyncpg.UndefinedTableError:
            return set()
    return {row["version_num"] for row in rows}


def heads(versions: Path) -> set[str]:
    """The newest revisions of a folder of migrations: those that no other one follows."""
    known, followed = set[str](), set[str]()
    for file in versions.glob("*.py"):
        said = _assigned(file)
        if isinstance(revision := said.get("revision"), str):
            known.add(revision)
            before = said.get("down_revision")
            followed.update((before,) if isinstance(before, str) else before or ())
    return known - followed


def _assigned(file: Path) -> dict[str, Any]:
    """The names to which a module assigns a literal, without running it."""
    found = {}
    for node in ast.parse(file.read_text()).body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                with suppress(ValueError):
                    found[name] = ast.literal_eval(value)
    return found


async def make_databases(admin_url: str, names: Names, passwords: Passwords) -> None:
    """Roles, databases and who may do what in them. Safe beside another one doing the same."""
    async with _connected(admin_url) as admin:
        await admin.execute("SELECT pg_advisory_lock($1)", LOCK)  # given back with the connection
        for role in names.roles:
            await _make_role(admin, role, passwords.of(role))
        if not await admin.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
            # who is no superuser must belong to a role to act for it
            await admin.execute(f"GRANT {', '.join(names.roles)} TO CURRENT_USER")
        await admin.execute(f"ALTER ROLE {names.projections_reader} SET default_transaction_read_only = on")
        await _make_database(
            admin,
            names.commitments,
            owner=names.commitments_owner,
            grants=(f"CONNECT, TEMPORARY ON DATABASE {names.commitments} TO {names.commitments}",),
        )
        await _make_database(
            admin,
            names.projections,
            owner=names.projections_owner,
            grants=(
                f"CONNECT, TEMPORARY, CREATE ON DATABASE {names.projections} TO {names.projections}",
                f"CONNECT ON DATABASE {names.projections} TO {names.projections_reader}",
            ),
        )
        async with _connected(admin_url, database=names.projections) as inside:
            # whatever the worker makes, the reader may read
            worker, reader = names.projections, names.projections_reader
            await inside.execute(f"ALTER DEFAULT PRIVILEGES FOR ROLE {worker} GRANT USAGE ON SCHEMAS TO {reader}")
            await inside.execute(f"ALTER DEFAULT PRIVILEGES FOR ROLE {worker} GRANT SELECT ON TABLES TO {reader}")


async def _make_role(admin: Connection, role: str, password: str) -> None:
    known = await admin.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role)
    # utility statements take no parameters; a role's name is checked in Names
    quoted = password.replace("'", "''")
    await admin.execute(f"{'ALTER' if known else 'CREATE'} ROLE {role} LOGIN PASSWORD '{quoted}'")


async def _make_database(admin: Connection, name: str, *, owner: str, grants: Sequence[str]) -> None:
    if not await admin.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
        # makes no transaction block, so a killed run may leave it without the grants: they are given each time
        await admin.execute(f"CREATE DATABASE {name} OWNER {owner} TEMPLATE template0 ENCODING 'UTF8'")
    await admin.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
    for grant in grants:
        await admin.execute(f"GRANT {grant}")


@asynccontextmanager
async def _connected(url: str, *, database: str | None = None) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(url, database=database, timeout=10)
    try:
        yield connection
    finally:
        await connection.close()
