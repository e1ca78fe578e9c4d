"""The log behind pgbouncer in transaction mode: no statement outlives its transaction."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from muster.embedded import LOOPBACK, Port
from services.commitments.handling import Ledger, Unavailable
from services.commitments.log.store import PostgresLog
from tests.conftest import Database
from tests.examples import a_delivery, a_pledge, pieces
from tests.failure.conftest import Say
from tests.failure.inside import a_replica, record

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

pytestmark = [
    pytest.mark.failure,
    pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed (the Debian package of that name)"),
]

WRITERS = 12
ENTRIES = 50  # of each writer


@asynccontextmanager
async def pgbouncer(url: str, directory: Path) -> AsyncIterator[str]:
    """A pgbouncer before a database while the block runs; gives the URL of it."""
    parts, port = urlsplit(url), Port()
    port.release()
    config = directory / "pgbouncer.ini"
    who = f"user={parts.username} password='{parts.password}'"
    config.write_text(
        f"[databases]\nlog = host={LOOPBACK} port={parts.port} dbname={parts.path[1:]} {who}\n"
        f"[pgbouncer]\nlisten_addr = {LOOPBACK}\nlisten_port = {port.number}\nauth_type = any\n"
        "pool_mode = transaction\n"
        # few connections for many clients, each taken by whoever comes next
        "default_pool_size = 3\nserver_round_robin = 1\nunix_socket_dir =\n"
        "ignore_startup_parameters = application_name,jit,timezone\n"
    )
    config.chmod(0o644)
    assert PGBOUNCER
    command = [PGBOUNCER, "-q"]
    if os.geteuid() == 0:  # it refuses to be root; what it reads is handed to it open
        command += ["-u", pwd.getpwuid(65534).pw_name]
    for parent in (directory, *directory.parents):
        if parent.stat().st_uid == os.geteuid() and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    with (directory / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen([*command, str(config)], stdout=log, stderr=log)  # noqa: ASYNC220  # started once
    try:
        through = f"postgresql://anybody:x@{LOOPBACK}:{port.number}/log"
        for _ in range(100):
            try:
                await (await asyncpg.connect(through, timeout=2, statement_cache_size=0)).close()
                break
            except OSError:
                assert process.poll() is None, (directory / "pgbouncer.log").read_text()
                await asyncio.sleep(0.05)
        yield through
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.timeout(120)
async def test_twelve_writers_through_pgbouncer_fail_nothing(
    commitments_database: Database, commitments_url: str, tmp_path: Path, say: Say
) -> None:
    failed = 0

    async def write(writer: int, replica: Ledger) -> None:
        nonlocal failed
        for n in range(ENTRIES):
            entry = a_delivery(f"d-{writer}-{n}", pieces(n), of="hot") if n % 2 else a_pledge(f"p-{writer}-{n}")
            try:
                await record(replica, entry)
            except Unavailable:
                failed += 1

    async def read(replica: Ledger) -> None:
        for after in range(0, 400, 4):
            await replica.read(after, 10)
            await replica.event("00000000-0000-7000-8000-000000000000")

    async with (
        pgbouncer(commitments_url, tmp_path) as url,
        a_replica(url, PostgresLog(url, pooled=True)) as one,
        a_replica(url, PostgresLog(url, pooled=True)) as two,
        a_replica(url, PostgresLog(url, pooled=True)) as three,
    ):
        await record(one, a_pledge("hot", pieces(1)))
        replicas = (one, two, three)
        await asyncio.gather(
            *(write(n, replicas[n % 3]) for n in range(WRITERS)), *(read(replica) for replica in replicas)
        )
        total = WRITERS * ENTRIES + 1
        rows = (await one.read(0, 1_000)).rows
    assert failed == 0
    assert [row.position for row in rows] == list(range(1, total + 1))
    say(
        f"{WRITERS} writers and 3 readers over 3 replicas through pgbouncer in transaction mode, 3 connections for "
        f"all: {total} entries and 600 reads, 0 failed, 0 holes"
    )
