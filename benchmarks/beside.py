"""What stands beside our figures: the machine's own limits, and other event stores, all on the embedded servers.

    .venv/bin/python benchmarks/beside.py

A peer that is not installed is said to be so. To install them (benchmarks/README.md says what each row proves):

    npm ci --prefix benchmarks/peers
    .tools/bin/uv venv .tools/peers
    .tools/bin/uv pip install --python .tools/peers -r benchmarks/peers/requirements.txt
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

import asyncpg
import nats
from nats.js.api import StreamConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from muster.embedded import running_nats, running_postgres

HERE: Final = Path(__file__).resolve().parent
PEERS: Final = HERE / "peers"
MODULES: Final = PEERS / "node_modules"
PYTHON: Final = HERE.parent / ".tools" / "peers" / "bin" / "python"
SECONDS: Final = float(os.environ.get("BENCH_SECONDS", "6"))
WRITERS: Final = 32
UNNEST: Final = "raw unnest insert of 100 a transaction"
PIPELINED: Final = "JetStream publish pipelined, sync always"
PAYLOAD: Final = json.dumps({"pledge": "p", "donors": ["GBR"], "capability": "drone.fpv", "note": "x" * 300})
TABLE: Final = """
    CREATE TABLE raw (position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id uuid NOT NULL, payload text)
"""


class NotInstalled(Exception):
    """A peer is not here; says how to get it."""


@dataclass(frozen=True)
class Beside:
    """One row: what, how many a second; None and why where it could not be measured."""

    name: str
    per_second: float | None
    said: str = ""


async def until(work: Callable[[], Awaitable[int]], seconds: float = SECONDS) -> float:
    """Do something again and again; how many (as it says) a second."""
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        done += await work()
    return done / (time.perf_counter() - began)


def writes(folder: Path, seconds: float = SECONDS) -> list[float]:
    """Write 8 KB and wait for the disk, again and again; the seconds that each took.

    No durable commit that is alone is faster.
    """
    took, page, began = [], b"x" * 8_192, time.perf_counter()
    with (folder / "written").open("wb", buffering=0) as file:
        while (before := time.perf_counter()) - began < seconds:
            file.write(page)
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - before)
    return took


def as_wrk_counts(took: list[float]) -> list[float]:
    """Count those that would have been sent meanwhile, too, each with what it would have waited; sorted.

    Who sends one after the other sends nothing while one is slow: of a second's pause there would be one slow answer.
    """
    usual = sum(took) / len(took)
    waited = [slow - number * usual for slow in took for number in range(1, int(slow / usual))]
    return sorted([*took, *waited])


async def fdatasync(folder: Path) -> float:
    """Write 8 KB and wait for the disk: how often a second."""
    took = await asyncio.to_thread(writes, folder)
    return len(took) / sum(took)


async def single_rows(url: str) -> float:
    """Insert a row a transaction, on one connection."""
    connection = await asyncpg.connect(url)
    insert = await connection.prepare("INSERT INTO raw (event_id, payload) VALUES ($1, $2)")

    async def one() -> int:
        await insert.fetch(uuid4(), PAYLOAD)
        return 1

    try:
        return await until(one)
    finally:
        await connection.close()


async def rows_by(url: str, size: int) -> float:
    """Insert arrays of rows, so many a transaction, on one connection."""
    connection = await asyncpg.connect(url)
    insert = await connection.prepare(
        "INSERT INTO raw (event_id, payload) SELECT * FROM unnest($1::uuid[], $2::text[])"
    )

    async def some() -> int:
        await insert.fetch([uuid4() for _ in range(size)], [PAYLOAD] * size)
        return size

    try:
        return await until(some)
    finally:
        await connection.close()


async def copied(url: str, size: int = 5_000) -> float:
    """COPY rows, so many a transaction, on one connection."""
    connection = await asyncpg.connect(url)

    async def some() -> int:
        rows = [(uuid4(), PAYLOAD) for _ in range(size)]
        await connection.copy_records_to_table("raw", records=rows, columns=("event_id", "payload"))
        return size

    try:
        return await until(some)
    finally:
        await connection.close()


async def published(url: str, pending: int) -> float:
    """Publish to a JetStream stream that is written to disk before it answers; so many on their way at once."""
    client = await nats.connect(url)
    js = client.jetstream(publish_async_max_pending=max(pending, 1))

    async def some() -> int:
        if pending == 1:
            await js.publish("ledger.raw", PAYLOAD.encode())
            return 1
        for ack in [await js.publish_async("ledger.raw", PAYLOAD.encode()) for _ in range(pending)]:
            await ack
        return pending

    try:
        return await until(some)
    finally:
        await client.close()


async def fetched(url: str, size: int = 1_000) -> float:
    """Fetch what was published, with nats-py's own pull consumer."""
    client = await nats.connect(url)
    js = client.jetstream()
    total = (await js.stream_info("LEDGER")).state.messages
    subscription = await js.pull_subscribe("ledger.raw", stream="LEDGER")
    began, done = time.perf_counter(), 0
    while done < total and time.perf_counter() - began < SECONDS:
        messages = await subscription.fetch(min(size, total - done), timeout=2)
        for message in messages:
            await message.ack()
        done += len(messages)
    seconds = time.perf_counter() - began
    await client.close()
    return done / seconds


async def message_db(admin_url: str) -> float:
    """message-db's own function, called on 32 connections, all in one category."""
    folder = MODULES / "@eventide" / "message-db" / "database"
    if not folder.is_dir():
        raise NotInstalled("npm ci --prefix benchmarks/peers")
    url = await a_database(admin_url, "message_db")
    connection = await asyncpg.connect(url)
    files = [folder / "schema" / "message-store.sql", folder / "tables" / "messages.sql"]
    files += sorted((folder / "types").glob("*.sql"))
    functions = (folder / "install-functions.sh").read_text().split("functions/")[1:]
    files += [folder / "functions" / found.split(".sql")[0].split("/")[-1] for found in functions]
    files = [file if file.suffix == ".sql" else file.with_suffix(".sql") for file in files]
    files += sorted((folder / "indexes").glob("*.sql"))
    await connection.execute("CREATE SCHEMA IF NOT EXISTS message_store")
    await connection.execute("SET search_path TO message_store, public")
    for file in files:
        if file.is_file():
            await connection.execute(file.read_text())
    await connection.close()
    settings = {"search_path": "message_store, public"}
    pool = await asyncpg.create_pool(url, min_size=WRITERS, max_size=WRITERS, server_settings=settings)
    ends = time.perf_counter() + SECONDS

    async def write(which: int) -> int:
        done = 0
        async with pool.acquire() as own:
            while time.perf_counter() < ends:
                stream = f"pledge-{which}x{done}"
                await own.fetchval(
                    "SELECT write_message($1, $2, $3, $4::jsonb, NULL, -1)",
                    str(uuid4()), stream, "PledgeAnnounced", PAYLOAD,
                )  # fmt: skip
                done += 1
        return done

    began = time.perf_counter()
    done = sum(await asyncio.gather(*(write(which) for which in range(WRITERS))))
    seconds = time.perf_counter() - began
    await pool.close()
    return done / seconds


async def emmett(admin_url: str) -> float:
    """Emmett's PostgreSQL store, 32 appends at once, each to a stream of its own."""
    node = shutil.which("node")
    if node is None or not (MODULES / "@event-driven-io").is_dir():
        raise NotInstalled("node (apt), then npm ci --prefix benchmarks/peers")
    url = await a_database(admin_url, "emmett")
    return await told(node, str(PEERS / "emmett_append.mjs"), url, str(SECONDS), str(WRITERS))


async def eventsourcing(admin_url: str, *, functions: bool) -> float:
    """`eventsourcing`'s recorder in 32 threads, each event to an aggregate of its own."""
    if not PYTHON.exists():
        raise NotInstalled("uv pip install -r benchmarks/peers/requirements.txt into .tools/peers")
    url = await a_database(admin_url, f"eventsourcing_{int(functions)}")
    script = str(PEERS / "eventsourcing_append.py")
    return await told(str(PYTHON), script, url, str(SECONDS), str(WRITERS), str(int(functions)))


async def a_database(admin_url: str, name: str) -> str:
    """Make a database, and give its URL."""
    connection = await asyncpg.connect(admin_url)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return f"{admin_url.rpartition('/')[0]}/{name}"


async def told(*command: str) -> float:
    """Run a peer, and read the figure that it prints. Raises RuntimeError with what it said."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=PEERS, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await process.communicate()
    if process.returncode:
        raise RuntimeError(" ".join(errors.decode().split())[-300:])
    return float(json.loads(out.decode().splitlines()[-1])["per_second"])


async def measured() -> list[Beside]:
    """Measure everything, one after the other."""
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as folder:
        home = Path(folder)
        async with running_postgres(home) as postgres, running_nats(home) as stream:
            url = await a_database(postgres.url, "raw_rows")
            connection = await asyncpg.connect(url)
            await connection.execute(TABLE)
            await connection.close()
            client = await nats.connect(stream.relay_url)
            await client.jetstream().add_stream(StreamConfig(name="LEDGER", subjects=["ledger.raw"]))
            await client.close()
            rows: list[tuple[str, Callable[[], Awaitable[float]]]] = [
                ("raw fdatasync of 8 KB, one after the other", lambda: fdatasync(home)),
                ("raw single-row commits, one connection", lambda: single_rows(url)),
                (UNNEST, lambda: rows_by(url, 100)),
                ("raw COPY, 5,000 a transaction", lambda: copied(url)),
                ("JetStream publish one by one, sync always", lambda: published(stream.relay_url, 1)),
                (PIPELINED, lambda: published(stream.relay_url, 500)),
                ("JetStream pull fetch, nats-py", lambda: fetched(stream.relay_url)),
                ("eventsourcing 9.5, 32 threads, db functions", lambda: eventsourcing(postgres.url, functions=True)),
                ("eventsourcing 9.5, 32 threads", lambda: eventsourcing(postgres.url, functions=False)),
                ("Emmett, 32 at once", lambda: emmett(postgres.url)),
                ("message-db, one category, 32 connections", lambda: message_db(postgres.url)),
            ]
            return [await one(name, measure) for name, measure in rows]


async def one(name: str, measure: Callable[[], Awaitable[float]]) -> Beside:
    """Measure one row; what goes wrong with it is said in it."""
    try:
        found = Beside(name, await measure())
    except NotInstalled as missing:
        found = Beside(name, None, f"not installed: {missing}")
    except (RuntimeError, asyncpg.PostgresError, OSError, nats.errors.Error) as error:
        found = Beside(name, None, f"failed: {type(error).__name__}: {error}"[:300])
    print(f"{found.name}: {'-' if found.per_second is None else f'{found.per_second:,.0f}/s'} {found.said}", flush=True)
    return found


if __name__ == "__main__":
    asyncio.run(measured())
