"""`muster up` from the outside: real PostgreSQL and NATS, small stand-ins where the services will be.

The stand-ins answer /readyz with what their database says about them, so these tests hold without the services;
the last one runs the services themselves.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import nats
import nats.js.errors
import pytest

from muster.children import CannotRun
from muster.embedded import Postgres, running_nats, running_postgres
from muster.provision import Names, Passwords, as_role, provision

STAND_IN = """
import asyncio, os, sys
from pathlib import Path
import asyncpg

service, role = Path(__file__).parent.name, sys.argv[1]
if Path(os.environ.get("STAND_IN_FAILS", "/nowhere")).exists():
    sys.exit("the stand-in has a bad day")
kind = service if role == "api" else role
port = int(os.environ[f"MUSTER_{kind.upper()}_PORT"])
database = os.environ[f"MUSTER_{service.upper()}_DATABASE_URL"]

async def answer(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    try:
        connection = await asyncpg.connect(database)
        said = await connection.fetchval("SELECT current_user || ' in ' || current_database()")
        await connection.close()
        status = "200 OK"
    except Exception as error:
        status, said = "503 Not Yet", repr(error)
    head = f"HTTP/1.1 {status}\\r\\nContent-Length: {len(said)}\\r\\nConnection: close"
    writer.write(f"{head}\\r\\n\\r\\n{said}".encode())
    await writer.drain()
    writer.close()

async def main():
    async with await asyncio.start_server(answer, "127.0.0.1", port) as server:
        await server.serve_forever()

asyncio.run(main())
"""
ANY_PORTS = ("--commitments-port", "0", "--projections-port", "0", "--no-example")
CHILDREN = {"postgres", "nats-server", "commitments", "relay", "worker", "projections"}


@dataclass
class Up:
    """A `muster up --json` in a process of its own."""

    home: Path
    process: subprocess.Popen[str]
    stderr: Path
    where: dict[str, str] = field(default_factory=dict)
    ready_after_s: float = 0.0

    def children(self) -> dict[str, int]:
        """Process ids by the names of its children."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.process.pid:
                    found[name_of((entry / "cmdline").read_text().split("\0"))] = int(entry.name)
        return found

    def said(self) -> str:
        return self.stderr.read_text()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


def name_of(command: list[str]) -> str:
    match [Path(command[0]).name, *command[1:]]:
        case [_, "-P", "-m", module, role, *_]:
            return module.rpartition(".")[2] if role == "api" else role
        case [name, *_]:
            return name
    raise AssertionError(command)


class Runs:
    """Starts runners and ends what is left of them."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.directory = directory
        self.environment = environment
        self.all: list[Up] = []

    def launch(self, home: str = "home", *options: str, **environment: str) -> Up:
        stderr = self.directory / f"stderr-{len(self.all)}"
        with stderr.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "muster", "up", "--json", "--home", str(self.directory / home), *options],
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env={**os.environ, **self.environment, **environment},
                start_new_session=True,
            )
        up = Up(self.directory / home, process, stderr)
        self.all.append(up)
        return up

    def start(self, home: str = "home", *options: str, **environment: str) -> Up:
        """Launch one and read its line."""
        began = time.monotonic()
        up = self.launch(home, *ANY_PORTS, *options, **environment)
        assert up.process.stdout
        line = up.process.stdout.readline()
        assert line, up.said()
        up.where = json.loads(line)
        up.ready_after_s = time.monotonic() - began
        return up

    def refused(self, home: str = "home", *options: str, **environment: str) -> str:
        """Launch one that does not come up, and return what it says."""
        up = self.launch(home, *options, **environment)
        assert up.process.wait(timeout=60) == 1
        return up.said()

    def close(self) -> None:
        for up in self.all:
            if up.process.poll() is None:
                up.end()
            assert up.process.stdout
            up.process.stdout.close()


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    packages = tmp_path / "stand-ins" / "services"
    for service in ("commitments", "projections"):
        (packages / service).mkdir(parents=True)
        (packages / service / "__init__.py").touch()
        (packages / service / "__main__.py").write_text(STAND_IN)
    (packages / "__init__.py").touch()
    runs = Runs(tmp_path, {"PYTHONPATH": str(packages.parent)})
    try:
        yield runs
    finally:
        runs.close()


async def scalar(url: str, statement: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def readyz(service: str) -> httpx2.Response:
    return httpx2.get(f"{service}/readyz", trust_env=False)


async def write(up: Up) -> None:
    """Leave something in the data of a home, as a read model would."""
    await scalar(up.where["projections_database"], "CREATE SCHEMA kept")
    await scalar(up.where["projections_database"], "CREATE TABLE kept.here AS SELECT 42 AS answer")


async def what_is_kept(up: Up) -> Any:
    return await scalar(up.where["projections_database"], "SELECT answer FROM kept.here")


def gone(pids: dict[str, int]) -> bool:
    """Whether none of them runs any more; the dead may wait for somebody to notice."""
    return not any(is_alive(pid) for pid in pids.values())


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until(what: Any, *, within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not what():
            await asyncio.sleep(0.02)


async def test_a_home_is_started_stopped_and_taken_up_again(runs: Runs) -> None:
    first = runs.start()
    assert set(first.where) == {"commitments", "projections", "nats", "database", "projections_database"}
    assert readyz(first.where["commitments"]).text == "ledger_commitments in ledger_commitments"
    assert readyz(first.where["projections"]).text == "ledger_projections_reader in ledger_projections"
    assert await scalar(first.where["database"], "SELECT current_setting('fsync')") == "on"
    children = first.children()
    assert set(children) == CHILDREN
    await write(first)

    assert first.end() == 0
    assert gone(children)
    assert first.process.stdout
    assert first.process.stdout.read() == "", "stdout carries one line"

    second = runs.start()
    assert await what_is_kept(second) == 42
    assert second.where["database"] == first.where["database"], "a port that is free stays the same"


async def test_ctrl_c_reaches_the_runner_alone_which_stops_all_in_order(runs: Runs) -> None:
    up = runs.start()
    children = up.children()
    os.killpg(up.process.pid, signal.SIGINT)
    assert up.process.wait(timeout=30) == 0
    assert gone(children)
    log = (up.home / "logs" / "postgres.log").read_text()
    assert "received fast shutdown request" in log
    assert "database system is shut down" in log


async def test_killed_runners_and_killed_servers_leave_a_home_that_is_taken_up(runs: Runs) -> None:
    first = runs.start()
    await write(first)
    children = first.children()
    first.end(signal.SIGKILL)
    await until(lambda: gone(children))

    second = runs.start()
    assert await what_is_kept(second) == 42
    for pid in (second.process.pid, *second.children().values()):
        os.kill(pid, signal.SIGKILL)
    second.process.wait(timeout=10)

    third = runs.start()
    assert await what_is_kept(third) == 42


async def test_the_pid_of_a_stranger_in_a_stale_file_stops_nothing(runs: Runs) -> None:
    first = runs.start()
    first.end(signal.SIGKILL)
    await until(lambda: not list(first.home.glob("postgres/postmaster.pid")))
    data = first.home / "postgres"
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n1\n5432\n\nlocalhost\n0 0\nready\n")
    runs.start()


async def test_a_child_that_dies_is_started_again(runs: Runs) -> None:
    up = runs.start()
    for name, pid in up.children().items():
        os.kill(pid, signal.SIGKILL)
        await until(lambda name=name, pid=pid: up.children().get(name, pid) != pid)
    await until(lambda: set(up.children()) == CHILDREN)
    for service in ("commitments", "projections"):
        await until(lambda service=service: answers(up.where[service]))
    assert "postgres died (SIGKILL); starting it again in 0.2 s" in up.said()


def answers(service: str) -> bool:
    try:
        return readyz(service).is_success
    except httpx2.HTTPError:
        return False


async def test_homes_run_side_by_side_but_one_runs_once(runs: Runs) -> None:
    here, there = runs.start("here"), runs.start("there")
    assert here.where["nats"] != there.where["nats"]
    said = runs.refused("here", *ANY_PORTS)
    assert f"{here.home} is in use by another `muster up` (pid {here.process.pid})" in said
    port = here.where["projections"].rpartition(":")[2]
    said = runs.refused("elsewhere", "--projections-port", port, "--commitments-port", "0")
    assert f"port {port} cannot be had" in said
    assert "--projections-port N" in said


async def test_what_does_not_start_says_why_and_leaves_nothing_running(runs: Runs) -> None:
    up = runs.launch("home", *ANY_PORTS, STAND_IN_FAILS="/")
    assert up.process.wait(timeout=60) == 1
    assert "ended at its start (exit code 1)" in up.said()
    assert "the stand-in has a bad day" in up.said()
    assert not up.children()


def test_a_ledger_that_cannot_be_named_so_is_refused(runs: Runs) -> None:
    assert "'My-Ledger' cannot name a ledger" in runs.refused("home", *ANY_PORTS, MUSTER_LEDGER="My-Ledger")


async def test_servers_of_ones_own_are_used_by_a_role_that_is_no_superuser(runs: Runs, tmp_path: Path) -> None:
    async with running_postgres(tmp_path) as postgres, running_nats(tmp_path, ledger="mine") as stream:
        await scalar(postgres.url, "CREATE ROLE maker LOGIN CREATEDB CREATEROLE PASSWORD 'maker'")
        own = {
            "MUSTER_DATABASE_URL": f"postgresql://maker:maker@127.0.0.1:{postgres.port}/postgres",
            "MUSTER_NATS_URL": stream.relay_url,
            "MUSTER_LEDGER": "mine",
        }
        for _ in range(2):
            up = await asyncio.to_thread(runs.start, "home", **own)
            assert set(up.children()) == CHILDREN - {"postgres", "nats-server"}
            assert up.where["nats"] == stream.relay_url
            answer = await asyncio.to_thread(readyz, up.where["commitments"])
            assert answer.text == "mine_commitments in mine_commitments"
            assert await asyncio.to_thread(up.end) == 0


@pytest.fixture
async def postgres(tmp_path: Path) -> AsyncIterator[Postgres]:
    async with running_postgres(tmp_path) as server:
        yield server


async def test_each_role_may_do_its_own_work_only(postgres: Postgres, tmp_path: Path) -> None:
    names, passwords = Names("ledger"), Passwords(tmp_path / "secrets.json")
    urls = await provision(postgres.url, names, passwords)
    assert await provision(postgres.url, names, passwords) == urls, "saying it twice changes nothing"

    await scalar(urls.projections, "CREATE SCHEMA totals_v1")
    await scalar(urls.projections, "CREATE TABLE totals_v1.totals AS SELECT 7 AS seven")
    assert await scalar(urls.projections_reader, "SELECT seven FROM totals_v1.totals") == 7

    for url, statement in (
        (urls.projections_reader, "CREATE SCHEMA mine"),
        (urls.projections_reader, "DELETE FROM totals_v1.totals"),
        (urls.commitments, "CREATE SCHEMA mine"),
        (urls.commitments, "CREATE TABLE mine (a int)"),
        (as_role(urls.commitments, names.commitments, passwords.of(names.commitments), names.projections), "SELECT 1"),
        (as_role(urls.projections, names.projections, passwords.of(names.projections), names.commitments), "SELECT 1"),
    ):
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.ReadOnlySQLTransactionError)):
            await scalar(url, statement)


async def test_nobody_enters_without_a_password(postgres: Postgres) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres.url.replace(":postgres@", ":wrong@"))


async def test_a_server_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="the databases could not be made"):
        await provision("postgresql://a:b@127.0.0.1:1/c", Names("ledger"), Passwords(tmp_path / "secrets.json"))


async def test_only_the_relay_publishes_facts(tmp_path: Path) -> None:
    async with running_nats(tmp_path, relay_password="secret") as server:
        refusals: list[Exception] = []

        async def refused(error: Exception) -> None:
            refusals.append(error)

        relay = await nats.connect(server.relay_url)
        anyone = await nats.connect(server.url, error_cb=refused)
        await relay.jetstream().add_stream(name="LEDGER", subjects=["ledger.>"])
        with pytest.raises(TimeoutError):
            await anyone.jetstream().publish("ledger.v1.pledge.announced._.x", b"a lie", timeout=0.3)
        assert "permissions violation" in str(refusals[0])
        acknowledged = await relay.jetstream().publish("ledger.v1.pledge.announced._.x", b"a fact")
        assert acknowledged.seq == 1
        fact = await anyone.jetstream().get_msg("LEDGER", 1)
        assert fact.data == b"a fact"
        varz = httpx2.get(f"http://127.0.0.1:{server.monitor_port}/varz", trust_env=False).json()
        assert varz["jetstream"]["config"]["sync_always"] is True
        await anyone.close()
        await relay.close()


@pytest.mark.skipif(
    not all(find_spec(f"services.{name}.__main__") for name in ("commitments", "projections")),
    reason="the services are not written yet",
)
def test_the_services_themselves_come_up(tmp_path: Path) -> None:
    runs = Runs(tmp_path, {})
    try:
        up = runs.start()
        for service in ("commitments", "projections"):
            for path in ("healthz", "readyz", "metrics", "openapi.json"):
                assert httpx2.get(f"{up.where[service]}/{path}", trust_env=False).status_code == 200
        children = up.children()
        assert set(children) == CHILDREN
        assert up.end() == 0
        assert gone(children)
    finally:
        runs.close()
