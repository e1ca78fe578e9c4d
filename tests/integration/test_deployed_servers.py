"""What deploy/ makes of real servers: NATS with its nats.conf, PostgreSQL after its databases.sql."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx2
import nats
import nats.errors
import nats.js.errors
import pytest
import pytest_asyncio
from nats.aio.client import Client

from muster.embedded import LOOPBACK, Port, lent_account, nats_server, postgres_files, running_nats
from muster.provision import Names, Passwords, as_role, make_databases
from services.commitments.hints import Growth, hints
from services.projections.consumer import Place, Stream
from services.projections.hearing import hearing
from tests.conftest import Servers
from tests.examples import a_delivery, a_pledge, pieces
from tests.integration.streams import Published, read_until, recorded

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
FACT = "ledger.v1.pledge.announced.drone-coalition.gbr-fpv"
TEN_FACTS = recorded([a_pledge("x", pieces(500)), *(a_delivery(f"d{n}", pieces(n)) for n in range(1, 10))])

# ------------------------------------------------------------------------------------------------------- NATS


@dataclass(frozen=True, slots=True)
class Deployed:
    """NATS as deploy/nats/nats.conf has it."""

    port: int
    monitor: str

    def url(self, user: str = "") -> str:
        # passwords that look like numbers: the configuration must take them for what they are
        name = {"": "", "relay": "relay:1e3@", "commitments": "commitments:007@"}[user]
        return f"nats://{name}{LOOPBACK}:{self.port}"


@pytest_asyncio.fixture
async def deployed(tmp_path: Path) -> AsyncIterator[Deployed]:
    text = (DEPLOY / "nats" / "nats.conf").read_text()
    assert text.count('"/data"') == 1
    (tmp_path / "nats.conf").write_text(text.replace('"/data"', json.dumps(str(tmp_path / "data"))))
    port, monitor = Port(), Port()
    process = await asyncio.create_subprocess_exec(
        *(nats_server(), "-c", str(tmp_path / "nats.conf"), "-a", LOOPBACK),
        *("-p", str(port.number), "-m", str(monitor.number)),
        env={**os.environ, "NATS_RELAY_PASSWORD": '"1e3"', "NATS_COMMITMENTS_PASSWORD": '"007"'},
        stderr=asyncio.subprocess.DEVNULL,
    )
    server = Deployed(port.number, f"http://{LOOPBACK}:{monitor.number}")
    try:
        async with asyncio.timeout(20), httpx2.AsyncClient(trust_env=False) as client:
            while process.returncode is None:
                with contextlib.suppress(httpx2.HTTPError):
                    if (await client.get(f"{server.monitor}/healthz")).is_success:
                        break
                await asyncio.sleep(0.05)
        yield server
    finally:
        process.terminate()
        await process.wait()
        port.release()
        monitor.release()


@pytest_asyncio.fixture
async def published(deployed: Deployed) -> AsyncIterator[Published]:
    """The stream, as the relay makes it, with ten facts."""
    client = await nats.connect(deployed.url("relay"))
    stream = Published(client, "ledger")
    await stream.create()
    await stream.put(TEN_FACTS)
    yield stream
    await client.close()


@pytest_asyncio.fixture
async def anyone(deployed: Deployed) -> AsyncIterator[Client]:
    async def refused(_: Exception) -> None: ...  # told by the server; what matters is what did not happen

    client = await nats.connect(deployed.url(), error_cb=refused)
    yield client
    await client.close()


async def last(stream: Published) -> int:
    return (await stream.client.jetstream().stream_info(stream.name)).state.last_seq


async def test_the_deployed_server_is_set_as_the_embedded_one(deployed: Deployed, tmp_path: Path) -> None:
    async def settings(monitor: str) -> dict[str, Any]:
        async with httpx2.AsyncClient(trust_env=False) as client:
            said = (await client.get(f"{monitor}/varz")).json()
        jetstream = {key: said["jetstream"]["config"].get(key) for key in ("sync_always", "sync_interval", "strict")}
        return jetstream | {key: said[key] for key in ("server_name", "max_payload", "version")}

    async with running_nats(tmp_path) as embedded:
        there = await settings(f"http://{LOOPBACK}:{embedded.monitor_port}")
    assert await settings(deployed.monitor) == there
    assert there["sync_always"] is True


async def test_whoever_gives_no_name_reads_the_facts(deployed: Deployed, published: Published) -> None:
    reader = Stream(deployed.url(), published.ledger)
    assert await read_until(reader, 10) == TEN_FACTS
    again = Stream(deployed.url(), published.ledger)
    there = Place(7, TEN_FACTS[6].event_id)  # it looks whether that event is there
    assert await read_until(again, 10, after=there) == TEN_FACTS[7:]
    await reader.close()
    await again.close()


async def test_a_reader_may_also_be_sent_the_facts(published: Published, anyone: Client) -> None:
    pushed = await anyone.jetstream().subscribe("ledger.v1.>", stream="LEDGER", ordered_consumer=True)
    assert [(await pushed.next_msg(timeout=5)).metadata.sequence.stream for _ in TEN_FACTS] == [*range(1, 11)]
    live = await anyone.subscribe("ledger.v1.>")
    await anyone.flush()
    await published.put_bytes(b"{}")
    assert (await live.next_msg(timeout=5)).subject == "ledger.v1.pledge.announced._.x"


async def test_a_reader_can_publish_no_fact(published: Published, anyone: Client) -> None:
    with pytest.raises(nats.errors.TimeoutError):
        await anyone.request(FACT, b"made up", timeout=0.3)
    for question in (
        "$JS.API.INFO",
        "$JS.API.STREAM.INFO.LEDGER",
        "$JS.API.CONSUMER.CREATE.LEDGER",
        f"$JS.API.DIRECT.GET.LEDGER.{FACT}",
    ):
        await anyone.publish(question, b"", reply=FACT)  # the server's answer would be the fact
    durable = {"stream_name": "LEDGER", "config": {"durable_name": "mine", "ack_policy": "none"}}
    await anyone.request("$JS.API.CONSUMER.DURABLE.CREATE.LEDGER.mine", json.dumps(durable).encode())
    await anyone.publish("$JS.API.CONSUMER.MSG.NEXT.LEDGER.mine", b"1", reply=FACT)
    pushing = {"stream_name": "LEDGER", "config": {"deliver_subject": FACT, "ack_policy": "none"}}
    await anyone.request("$JS.API.CONSUMER.CREATE.LEDGER", json.dumps(pushing).encode())
    await anyone.flush()
    await asyncio.sleep(0.3)
    assert await last(published) == 10


async def test_a_reader_can_change_no_stream_and_make_none(published: Published, anyone: Client) -> None:
    asked = anyone.jetstream(timeout=0.3)
    for change in (
        asked.delete_stream("LEDGER"),
        asked.purge_stream("LEDGER"),
        asked.delete_msg("LEDGER", 3),
        asked.update_stream(name="LEDGER", subjects=["elsewhere.>"]),
        asked.add_stream(name="MIRROR", subjects=["mine.>"]),
    ):
        with pytest.raises(nats.errors.Error):
            await change
    info = await published.client.jetstream().stream_info("LEDGER")
    assert (info.state.messages, info.config.subjects) == (10, ["ledger.v1.>"])
    assert len(await published.client.jetstream().streams_info()) == 1


async def test_a_reader_can_pass_nothing_off_as_a_fact_on_another(
    deployed: Deployed, published: Published, anyone: Client
) -> None:
    assert await last(published) == 10
    victim = await nats.connect(deployed.url())
    inbox = await victim.subscribe("_INBOX.victim.*")
    live = await victim.subscribe("ledger.v1.>")
    await victim.flush()
    await anyone.publish("_INBOX.victim.1", b"made up")
    await anyone.publish(FACT, b"made up")
    await anyone.flush()
    for subscription in (inbox, live):
        with pytest.raises(nats.errors.TimeoutError):
            await subscription.next_msg(timeout=0.3)
    await victim.close()


async def test_the_commitments_service_says_that_the_log_has_grown_and_nothing_else(
    deployed: Deployed, published: Published
) -> None:
    own, heard = Growth(), Growth()
    teller = hints(deployed.url("commitments"), published.ledger, Growth(), own)
    relay = hints(deployed.url("relay"), published.ledger, heard, Growth())
    async with teller, relay:
        async with asyncio.timeout(5):
            position = 0
            while not heard.head:  # the first ones may be told before anybody listens
                own.to(position := position + 1)
                await asyncio.sleep(0.02)
    client = await nats.connect(deployed.url("commitments"))
    await client.publish(FACT, b"made up")
    await client.flush()
    await client.close()
    await asyncio.sleep(0.2)
    assert await last(published) == 10


async def test_the_queries_hear_from_the_worker_how_far_it_is(deployed: Deployed, published: Published) -> None:
    heard: list[int] = []
    worker = Stream(deployed.url(), published.ledger)
    async with hearing(deployed.url(), published.ledger, heard.append), asyncio.timeout(10):
        await worker.read(Place(0), 1)  # it is connected now
        while not heard:  # the first ones may be told before anybody listens
            await worker.tell_applied(7)
            await asyncio.sleep(0.02)
    await worker.close()
    assert set(heard) == {7}


async def test_nobody_is_let_in_with_a_wrong_password(deployed: Deployed) -> None:
    async def refused(_: Exception) -> None: ...

    client = Client()
    with pytest.raises(nats.errors.Error):
        await client.connect(
            deployed.url("relay").replace("1e3", "1000"),
            error_cb=refused,
            allow_reconnect=False,
            max_reconnect_attempts=1,
        )
    await client.close()


@dataclass(frozen=True, slots=True)
class Check:
    """The health check of NATS beside a process that stands for the server, and what that one would answer."""

    place: Path
    server: asyncio.subprocess.Process

    async def look(self, *, answers: bool) -> int:
        """Run it once; its exit code."""
        for tool in ("wget", "curl"):
            stand_in = self.place / tool
            stand_in.write_text(f"#!/bin/sh\nexit {0 if answers else 1}\n")
            stand_in.chmod(0o755)
        process = await asyncio.create_subprocess_exec(
            *("/bin/sh", str(DEPLOY / "nats" / "well")),
            env={
                "PATH": f"{self.place}:{os.environ['PATH']}",
                "TMPDIR": str(self.place),
                "NATS_PID": str(self.server.pid),
            },
        )
        return await process.wait()

    async def ended(self) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.server.wait(), 0.3)
        return self.server.returncode is not None


@pytest_asyncio.fixture
async def check(tmp_path: Path) -> AsyncIterator[Check]:
    server = await asyncio.create_subprocess_exec("sleep", "60")
    yield Check(tmp_path, server)
    if server.returncode is None:
        server.kill()
        await server.wait()


async def test_a_server_that_stays_ill_is_ended_so_that_it_is_started_again(check: Check) -> None:
    assert await check.look(answers=True) == 0
    assert [await check.look(answers=False) for _ in range(2)] == [1, 1]
    assert not await check.ended()
    assert await check.look(answers=False) == 1
    assert await check.ended()


async def test_a_server_that_recovers_is_left_alone(check: Check) -> None:
    for answers in (True, False, False, True, False, False):
        await check.look(answers=answers)
    assert not await check.ended()


async def test_a_server_that_still_reads_its_files_is_left_alone(check: Check) -> None:
    assert [await check.look(answers=False) for _ in range(5)] == [1] * 5
    assert not await check.ended()


# ------------------------------------------------------------------------------------------------- PostgreSQL

RIGHTS = """
SELECT 'role', rolname, rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolinherit, rolreplication, rolconfig::text
FROM pg_roles WHERE starts_with(rolname, $1)
"""
DATABASES = """
SELECT datname, pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datlocprovider::text, datlocale, datcollate,
       (SELECT array_agg(right_::text ORDER BY right_::text) FROM unnest(datacl) AS right_)
FROM pg_database WHERE starts_with(datname, $1)
"""
DEFAULTS = """
SELECT pg_get_userbyid(defaclrole), defaclnamespace, defaclobjtype::text,
       (SELECT array_agg(right_::text ORDER BY right_::text) FROM unnest(defaclacl) AS right_)
FROM pg_default_acl
"""


async def catalogue(admin_url: str, names: Names) -> set[tuple[Any, ...]]:
    """What a server knows of a ledger, with the ledger's name left out."""
    rows: list[asyncpg.Record] = []
    admin = await asyncpg.connect(admin_url)
    rows += await admin.fetch(RIGHTS, f"{names.ledger}_")
    rows += await admin.fetch(DATABASES, f"{names.ledger}_")
    await admin.close()
    inside = await asyncpg.connect(admin_url, database=names.projections)
    rows += await inside.fetch(DEFAULTS)
    await inside.close()
    return {tuple(str(value).replace(names.ledger, "LEDGER") for value in row) for row in rows}


async def databases_sql(servers: Servers, names: Names, **passwords: str) -> tuple[int, str]:
    """Run deploy/postgres/databases as its image does; its exit code and what it said."""
    roles = {f"MUSTER_{role.removeprefix(f'{names.ledger}_').upper()}_PASSWORD": f"pw-{role}" for role in names.roles}
    admin = urlsplit(servers.admin_url)
    relay = {"MUSTER_NATS_RELAY_PASSWORD": "pw", "MUSTER_NATS_COMMITMENTS_PASSWORD": "pw"}
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", str(DEPLOY / "postgres" / "databases")),
        env={
            "PATH": f"{postgres_files(lent_account()).bin}:{os.defpath}",
            "LC_ALL": "C",
            "PGHOST": admin.hostname or "",
            "PGPORT": str(admin.port),
            "PGUSER": admin.username or "",
            "PGPASSWORD": admin.password or "",
            "PGDATABASE": "postgres",
            "MUSTER_LEDGER": names.ledger,
            **roles,
            **relay,
            **passwords,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


@contextlib.asynccontextmanager
async def a_name(servers: Servers) -> AsyncIterator[Names]:
    """A ledger that nobody else has, taken away again from the server that the tests share."""
    names = Names(f"d_{secrets.token_hex(6)}")
    yield names
    admin = await asyncpg.connect(servers.admin_url)
    for database in (names.commitments, names.projections):
        await admin.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
    for role in names.roles:
        await admin.execute(f"DROP ROLE IF EXISTS {role}")
    await admin.close()


@pytest_asyncio.fixture
async def names(servers: Servers) -> AsyncIterator[Names]:
    async with a_name(servers) as names:
        yield names


async def test_the_databases_and_roles_are_those_that_the_runner_makes(
    servers: Servers, names: Names, tmp_path: Path
) -> None:
    assert await databases_sql(servers, names) == (0, "")
    made = await catalogue(servers.admin_url, names)
    async with a_name(servers) as other:
        await make_databases(servers.admin_url, other, Passwords(tmp_path / "secrets.json"))
        assert made == await catalogue(servers.admin_url, other)
    assert len(made) == 5 + 2 + 2


async def test_running_it_again_changes_passwords_and_nothing_else(servers: Servers, names: Names) -> None:
    await databases_sql(servers, names)
    before = await catalogue(servers.admin_url, names)
    assert await databases_sql(servers, names, MUSTER_PROJECTIONS_READER_PASSWORD="another") == (0, "")
    assert await catalogue(servers.admin_url, names) == before
    reader = as_role(servers.admin_url, names.projections_reader, "another", names.projections)
    await (await asyncpg.connect(reader)).close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(reader.replace("another", f"pw-{names.projections_reader}"))


async def test_nobody_but_its_roles_enters_a_database(servers: Servers, names: Names) -> None:
    await databases_sql(servers, names)
    for role in (names.projections, names.projections_reader):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(as_role(servers.admin_url, role, f"pw-{role}", names.commitments))


async def test_a_password_that_cannot_stand_in_a_url_is_refused_before_anything_is_made(
    servers: Servers, names: Names
) -> None:
    code, said = await databases_sql(servers, names, MUSTER_NATS_RELAY_PASSWORD="p@ss:w/rd")
    assert code != 0
    assert "MUSTER_NATS_RELAY_PASSWORD may hold letters, digits and . _ ~ - only" in said
    assert "p@ss" not in said
    admin = await asyncpg.connect(servers.admin_url)
    assert not await admin.fetchval("SELECT count(*) FROM pg_roles WHERE starts_with(rolname, $1)", names.ledger)
    await admin.close()


async def test_a_ledger_with_an_impossible_name_is_refused(servers: Servers, names: Names) -> None:
    code, said = await databases_sql(servers, names, MUSTER_LEDGER="Kyiv-2024")
    assert code != 0
    assert "MUSTER_LEDGER names a ledger" in said
