"""The worker as the process that it is."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from muster.embedded import LOOPBACK, Port
from services.projections import checkpoints
from services.projections.database import engine
from services.projections.hearing import hearing
from services.projections.read_models import READ_MODELS
from services.projections.read_models.coalition_totals import COALITION_TOTALS
from tests.integration.copies import contents
from tests.integration.random_ledgers import Dice
from tests.integration.streams import Published, a_stream

PROJECT = Path(__file__).resolve().parents[2]


class Worker:
    """A process, and where it tells how it is."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.url = f"http://{LOOPBACK}:{port}"

    async def get(self, path: str) -> httpx2.Response:
        async with httpx2.AsyncClient(trust_env=False, timeout=10) as client:
            return await client.get(self.url + path)

    async def says(self, status: int, words: str = "") -> dict[str, Any]:
        """Wait until /readyz answers so."""
        async with asyncio.timeout(60):
            while True:
                try:
                    answer = await self.get("/readyz")
                except httpx2.TransportError:
                    await asyncio.sleep(0.05)
                    continue
                if answer.status_code == status and words in answer.text:
                    found: dict[str, Any] = answer.json()
                    return found
                await asyncio.sleep(0.05)

    async def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        async with asyncio.timeout(30):
            return await self.process.wait()


@asynccontextmanager
async def a_worker(database_url: str, nats_url: str, ledger: str, **settings: str) -> AsyncIterator[Worker]:
    port = Port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "services.projections", "worker"),
        cwd=PROJECT,
        stdout=asyncio.subprocess.DEVNULL,
        env=os.environ
        | {
            "PYTHONPATH": str(PROJECT),
            "MUSTER_PROJECTIONS_DATABASE_URL": database_url,
            "MUSTER_NATS_URL": nats_url,
            "MUSTER_LEDGER": ledger,
            "MUSTER_WORKER_PORT": str(port.number),
        }
        | settings,
    )
    try:
        yield Worker(process, port.number)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        port.release()


@pytest_asyncio.fixture
async def database(projections_url: str) -> AsyncIterator[AsyncEngine]:
    found = engine(projections_url, process="test")
    yield found
    await found.dispose()


@pytest_asyncio.fixture
async def published(nats_url: str, ledger_name: str) -> AsyncIterator[Published]:
    async with a_stream(nats_url, ledger_name) as stream:
        yield stream


async def positions(database: AsyncEngine) -> list[int]:
    async with database.connect() as conn:
        if not await conn.scalar(text("SELECT count(*) FROM checkpoints")):
            return [0]
        found = await checkpoints.load(conn, [(model.name, model.version) for model in READ_MODELS])
    return [checkpoint.position for checkpoint in found.values()]


async def come_to(database: AsyncEngine, position: int) -> None:
    async with asyncio.timeout(90):
        while min(await positions(database)) < position:
            await asyncio.sleep(0.01)


@pytest.mark.timeout(300)
async def test_a_worker_killed_again_and_again_leaves_the_same_tables_as_one_that_was_not(
    projections_url: str, nats_reader_url: str, ledger_name: str, database: AsyncEngine, published: Published
) -> None:
    dice = Random(5)
    events = Dice(5, pledges=40).ledger(500)
    await published.put(events)
    for kill in range(1, 4):
        async with a_worker(projections_url, nats_reader_url, ledger_name, MUSTER_WORKER_BATCH="7") as worker:
            await come_to(database, kill * 100 + dice.randint(0, 50))
            await asyncio.sleep(dice.uniform(0, 0.01))
            assert await worker.end(signal.SIGKILL) == -signal.SIGKILL
    async with a_worker(projections_url, nats_reader_url, ledger_name):
        await come_to(database, 500)
    found = {model.name: await contents(database, model) for model in READ_MODELS}
    async with database.begin() as conn:
        for model in READ_MODELS:
            await conn.execute(text(f"DROP SCHEMA {model.schema} CASCADE"))
        await conn.execute(text("UPDATE checkpoints SET position = 0"))
    async with a_worker(projections_url, nats_reader_url, ledger_name) as worker:
        await come_to(database, 500)
        assert (await worker.says(200))["problems"] == []
    assert found == {model.name: await contents(database, model) for model in READ_MODELS}


async def test_a_worker_says_how_far_it_is_and_ends_when_it_is_told_to(
    projections_url: str, nats_reader_url: str, ledger_name: str, database: AsyncEngine, published: Published
) -> None:
    await published.put(Dice(1, pledges=5).ledger(30))
    async with a_worker(projections_url, nats_reader_url, ledger_name) as worker:
        await come_to(database, 30)
        await worker.says(200)
        assert (await worker.get("/healthz")).status_code == 200
        figures = (await worker.get("/metrics")).text.splitlines()
        of = f'read_model="coalition_totals",version="{COALITION_TOTALS.version}"'
        assert f"muster_read_model_position{{{of}}} 30.0" in figures
        assert f"muster_read_model_lag_positions{{{of}}} 0.0" in figures
        assert f"muster_read_model_running{{{of}}} 1.0" in figures
        assert "muster_stream_head 30.0" in figures
        assert "muster_worker_ready 1.0" in figures
        assert await worker.end(signal.SIGTERM) == 0


async def test_a_worker_tells_whoever_listens_how_far_it_is(
    projections_url: str, nats_reader_url: str, ledger_name: str, database: AsyncEngine, published: Published
) -> None:
    heard: list[int] = []
    events = Dice(1, pledges=5).ledger(40)
    await published.put(events[:30])
    async with (
        hearing(nats_reader_url, ledger_name, heard.append),
        a_worker(projections_url, nats_reader_url, ledger_name),
    ):
        await come_to(database, 30)
        await published.put(events[30:])
        async with asyncio.timeout(10):
            while not heard or heard[-1] < 40:
                await asyncio.sleep(0.01)
    assert heard == sorted(heard)


async def test_a_worker_without_servers_lives_and_says_what_it_waits_for(
    projections_url: str, nats_reader_url: str, ledger_name: str
) -> None:
    async with a_worker("postgresql://a:b@127.0.0.1:1/c", nats_reader_url, ledger_name) as worker:
        await worker.says(503, "the database: ")
        assert (await worker.get("/healthz")).status_code == 200
    async with a_worker(projections_url, "nats://127.0.0.1:1", ledger_name) as worker:
        await worker.says(503, "NATS is away")
        assert (await worker.get("/healthz")).status_code == 200
    async with a_worker(projections_url, nats_reader_url, ledger_name) as worker:
        await worker.says(503, f"the stream {ledger_name.upper()} is not there yet")


def test_the_totals_are_among_what_a_worker_fills() -> None:
    assert COALITION_TOTALS in READ_MODELS
