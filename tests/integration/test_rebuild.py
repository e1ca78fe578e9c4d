# ruff: noqa: S608 - the names that stand in this SQL are our own
"""A read model built anew beside the one that serves, on real servers, with a worker and questions meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections import checkpoints, rebuild
from services.projections.checkpoints import Checkpoint
from services.projections.consumer import Stream
from services.projections.database import engine
from services.projections.http.app import create_app
from services.projections.projector import Projector
from services.projections.read_model import ReadModel
from services.projections.read_models import READ_MODELS
from services.projections.read_models.coalition_totals import COALITION_TOTALS
from services.projections.rebuild import CannotRebuild, Progress, Rebuilt
from services.projections.settings import Settings
from services.projections.transaction import Transaction
from shared.recorded import Recorded
from tests.integration.copies import contents
from tests.integration.random_ledgers import Dice
from tests.integration.streams import Published, a_stream

PROJECT = Path(__file__).resolve().parents[2]
SCHEMA = COALITION_TOTALS.schema
TOTALS = f"{SCHEMA}.totals"


@dataclass
class Ledger:
    """A stream, read models that a worker fills, and the API over them."""

    url: str
    nats_url: str
    published: Published
    database: AsyncEngine
    client: httpx2.AsyncClient

    async def rebuild(self, model: ReadModel = COALITION_TOTALS, **options: Any) -> Rebuilt:
        async with asyncio.timeout(120):
            return await rebuild.rebuild(
                model,
                database_url=self.url,
                nats_url=self.nats_url,
                ledger=self.published.ledger,
                **options,
            )

    @asynccontextmanager
    async def working(self, model: ReadModel = COALITION_TOTALS) -> AsyncIterator[Projector]:
        stream = Stream(self.nats_url, self.published.ledger)
        own = engine(self.url, process="test worker", connections=2)
        worker = Projector(own, [model, *(one for one in READ_MODELS if one.name != model.name)], stream)
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await stream.close()
            await own.dispose()

    async def checkpoint(self) -> Checkpoint | None:
        async with self.database.connect() as conn:
            found = await checkpoints.load(conn, [(COALITION_TOTALS.name, COALITION_TOTALS.version)])
        return next(iter(found.values()), None)

    async def comes_to(self, position: int) -> None:
        async def there() -> bool:
            found = await self.checkpoint()
            return found is not None and found.position >= position

        await holds(there)

    async def is_stopped(self) -> bool:
        found = await self.checkpoint()
        return found is not None and found.status == "stopped"

    async def filled(self, events: Sequence[Recorded]) -> None:
        """Publish events, and let a worker apply them to all read models."""
        await self.published.put(events)
        async with self.working():
            await self.comes_to(events[-1].position)

    async def process(self, name: str) -> asyncio.subprocess.Process:
        """Begin a rebuild as an operator does."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "services.projections", "rebuild", name),
            cwd=PROJECT,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ
            | {
                "PYTHONPATH": str(PROJECT),
                "MUSTER_PROJECTIONS_DATABASE_URL": self.url,
                "MUSTER_NATS_URL": self.nats_url,
                "MUSTER_LEDGER": self.published.ledger,
            },
        )

    async def somebody_waits(self) -> bool:
        """Whether a statement of a rebuild waits for a lock."""
        return bool(await self.run("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"))

    async def totals(self, **asked: Any) -> Any:
        answer = await self.client.get("/v1/totals", params=asked)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def run(self, statement: str) -> Any:
        async with self.database.begin() as conn:
            found = await conn.execute(text(statement))
            return found.scalar_one_or_none() if found.returns_rows else None

    async def schemas(self) -> set[str]:
        async with self.database.connect() as conn:
            found = await conn.scalars(text("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'coalition_totals%'"))
            return set(found)


async def holds(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.01)


@pytest_asyncio.fixture
async def ledger(
    projections_url: str, projections_reader_url: str, nats_url: str, nats_reader_url: str, ledger_name: str
) -> AsyncIterator[Ledger]:
    database = engine(projections_url, process="test")
    app = create_app(Settings.model_validate({"database_url": projections_reader_url}))
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        a_stream(nats_url, ledger_name) as published,
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://queries") as client,
    ):
        yield Ledger(projections_url, nats_reader_url, published, database, client)
    await database.dispose()


async def test_a_rebuild_of_an_honest_read_model_finds_all_tables_equal_and_leaves_nothing_behind(
    ledger: Ledger,
) -> None:
    await ledger.filled(Dice(1, pledges=20).ledger(300))
    before = await contents(ledger.database, COALITION_TOTALS)
    found = await ledger.rebuild(batch=50)
    assert (found.compared_at, found.position, found.applied, found.differences) == (300, 300, 300, ())
    assert await contents(ledger.database, COALITION_TOTALS) == before
    assert await ledger.schemas() == {SCHEMA}
    assert await ledger.run("SELECT count(*) FROM checkpoints WHERE name LIKE '%beside'") == 0
    assert await ledger.run("SELECT stage FROM rebuilds") == "switched"


async def test_a_table_that_was_tampered_with_is_told_and_healed(ledger: Ledger) -> None:
    await ledger.filled(Dice(2, pledges=20).ledger(200))
    honest, before = await contents(ledger.database, COALITION_TOTALS), await ledger.totals(on="2030-01-01")
    tampered = await ledger.run(
        f"UPDATE {TOTALS} SET low = low + 777 WHERE (row_id, day) = (SELECT row_id, day FROM {TOTALS} LIMIT 1) "
        "RETURNING CAST(row_id AS text)"
    )
    await ledger.run(f"DELETE FROM {SCHEMA}.months")
    tag = (await ledger.client.get("/v1/totals?on=2030-01-01")).headers["ETag"]
    found = await ledger.rebuild()
    assert [difference.table for difference in found.differences] == ["months", "totals"]
    months, totals = found.differences
    assert (months.serving_rows, months.only_serving) == (0, ())
    assert months.new_rows > 0
    assert len(totals.only_serving) == len(totals.only_new) == 1
    assert totals.only_serving[0].startswith(f"({tampered},")
    assert await contents(ledger.database, COALITION_TOTALS) == honest
    assert await ledger.totals(on="2030-01-01") == before
    answer = await ledger.client.get("/v1/totals?on=2030-01-01", headers={"If-None-Match": tag})
    assert answer.status_code == 200, "what was answered from other tables is not the same answer"


async def test_a_rebuild_that_only_checks_leaves_the_serving_one_as_it_was(ledger: Ledger) -> None:
    await ledger.filled(Dice(3, pledges=20).ledger(100))
    await ledger.run(f"UPDATE {TOTALS} SET pledges = pledges + 1")
    tampered = await contents(ledger.database, COALITION_TOTALS)
    found = await ledger.rebuild(switch=False)
    assert [difference.table for difference in found.differences] == ["totals"]
    assert await contents(ledger.database, COALITION_TOTALS) == tampered
    again = await ledger.rebuild()
    assert (again.applied, again.position) == (0, 100)
    assert await contents(ledger.database, COALITION_TOTALS) != tampered


async def test_questions_are_answered_with_equal_numbers_throughout_while_the_ledger_goes_on(ledger: Ledger) -> None:
    events = Dice(4, pledges=30).ledger(900)
    await ledger.filled(events[:400])
    pinned = await ledger.totals(known=400, on="2030-01-01")
    assert pinned["totals"]
    asked, latest, done = 0, 0, asyncio.Event()

    async def ask() -> None:
        nonlocal asked, latest
        while not done.is_set():
            assert (await ledger.totals(known=400, on="2030-01-01"))["totals"] == pinned["totals"]
            now = await ledger.totals(on="2030-01-01")
            assert now["position"] >= latest, "an answer went back"
            latest = now["position"]
            past = await ledger.totals(on="2030-01-01", known=latest)
            assert past["totals"] == now["totals"], "the totals of now are not those known at their position"
            asked += 1

    async def record() -> None:
        for start in range(400, 900, 5):
            await ledger.published.put(events[start : start + 5])
            await asyncio.sleep(0)

    async with ledger.working():
        asking = asyncio.create_task(ask())
        recording = asyncio.create_task(record())
        for _ in range(3):
            found = await ledger.rebuild(batch=40)
            assert found.differences == ()
        await recording
        await ledger.comes_to(900)
        done.set()
        await asking
    assert asked > 3
    checkpoint = await ledger.checkpoint()
    assert checkpoint is not None
    assert checkpoint.build == 4
    after = await contents(ledger.database, COALITION_TOTALS)
    assert (await ledger.rebuild()).differences == ()
    assert await contents(ledger.database, COALITION_TOTALS) == after


async def test_a_question_begun_before_the_switch_is_waited_for(ledger: Ledger) -> None:
    await ledger.filled(Dice(5, pledges=10).ledger(60))
    said: list[Progress] = []
    async with ledger.database.connect() as reader:
        await reader.execution_options(isolation_level="REPEATABLE READ")
        position = await reader.scalar(text("SELECT position FROM checkpoints WHERE name = 'coalition_totals'"))
        task = asyncio.create_task(ledger.rebuild(tell=said.append))

        async def told() -> bool:
            return any("reading for long" in progress.said for progress in said)

        await holds(told)
        assert await ledger.schemas() == {SCHEMA, rebuild.beside(COALITION_TOTALS).schema}
        assert position == 60
        await reader.rollback()
    assert (await task).switched
    assert await ledger.schemas() == {SCHEMA}


async def test_a_rebuild_killed_in_the_middle_of_a_batch_goes_on_where_it_was(ledger: Ledger) -> None:
    events = Dice(6, pledges=60).ledger(600)
    await ledger.filled(events[:400])
    assert (await ledger.rebuild(switch=False)).position == 400
    await ledger.filled(events[400:])
    honest = await contents(ledger.database, COALITION_TOTALS)
    async with ledger.database.begin() as conn:  # it writes, and waits here before it can commit
        await conn.execute(text(f"LOCK TABLE {rebuild.beside(COALITION_TOTALS).schema}.totals IN SHARE MODE"))
        process = await ledger.process("coalition_totals")
        await holds(ledger.somebody_waits)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert await contents(ledger.database, COALITION_TOTALS) == honest
    process = await ledger.process("coalition_totals")
    said, _ = await process.communicate()
    assert process.returncode == 0
    first, compared, switched = said.decode().splitlines()
    assert first.startswith(f"coalition_totals v{COALITION_TOTALS.version}: 200 events in ")
    assert compared == f"compared at position 600: all {len(COALITION_TOTALS.metadata.tables)} tables are equal"
    assert switched == "switched at position 600"
    assert await contents(ledger.database, COALITION_TOTALS) == honest


async def test_a_rebuild_begun_by_other_code_begins_anew(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    await ledger.filled(Dice(7, pledges=10).ledger(50))
    await ledger.rebuild(switch=False)
    monkeypatch.setattr(rebuild, "code", lambda: "other")
    assert (await ledger.rebuild(switch=False)).applied == 50
    assert (await ledger.rebuild(switch=False)).applied == 0
    assert (await ledger.rebuild(switch=False, anew=True)).applied == 50


async def test_two_rebuilds_at_once_refuse(ledger: Ledger) -> None:
    await ledger.filled(Dice(8, pledges=10).ledger(50))
    refused: list[str] = []

    def tell(_: Progress) -> None:
        if not refused:
            refused.append("")
            other.set()

    other = asyncio.Event()
    first = asyncio.create_task(ledger.rebuild(tell=tell, batch=1))
    await other.wait()
    with pytest.raises(CannotRebuild, match="another rebuild of coalition_totals is running"):
        await ledger.rebuild()
    assert (await first).switched


def picky(at: int) -> ReadModel:
    """The same read model, but for an event that it cannot take."""

    async def apply(writing: Transaction, events: Sequence[Recorded]) -> None:
        if any(event.position == at for event in events):
            raise ValueError("not this one")
        await COALITION_TOTALS.apply(writing, events)

    return replace(COALITION_TOTALS, apply=apply, remembering=None)


async def test_an_event_that_the_new_build_cannot_take_fails_it_alone_and_says_where(ledger: Ledger) -> None:
    await ledger.filled(Dice(9, pledges=10).ledger(50))
    with pytest.raises(CannotRebuild, match=r"position 30 .*not this one.*goes on from 29"):
        await ledger.rebuild(picky(30))
    assert await ledger.run("SELECT stage FROM rebuilds") == "failed"
    found = await ledger.rebuild()
    assert (found.applied, found.differences) == (21, ())


async def test_what_the_serving_one_passed_over_the_new_one_passes_over(ledger: Ledger) -> None:
    await ledger.published.put(Dice(9, pledges=10).ledger(50))
    async with ledger.working(picky(30)):
        await holds(ledger.is_stopped)
        async with ledger.database.begin() as conn:
            await checkpoints.skip(conn, (COALITION_TOTALS.name, COALITION_TOTALS.version), 30, "a test")
        await ledger.comes_to(50)
    assert (await ledger.rebuild(picky(30))).differences == ()


async def test_one_that_stopped_is_replaced_by_a_build_that_goes_on_to_the_end(ledger: Ledger) -> None:
    await ledger.published.put(Dice(9, pledges=10).ledger(50))
    async with ledger.working(picky(30)):
        await holds(ledger.is_stopped)
    found = await ledger.rebuild()
    assert (found.compared_at, found.differences, found.position) == (29, (), 50)
    checkpoint = await ledger.checkpoint()
    assert checkpoint is not None
    assert (checkpoint.position, checkpoint.status) == (50, "running")


async def test_a_version_that_nobody_has_served_yet_is_built_before_the_worker_knows_of_it(ledger: Ledger) -> None:
    await ledger.published.put(Dice(10, pledges=10).ledger(50))
    found = await ledger.rebuild()
    assert (found.compared_at, found.position, found.switched) == (None, 50, True)
    built = await contents(ledger.database, COALITION_TOTALS)
    async with ledger.working():
        await ledger.comes_to(50)
    assert await contents(ledger.database, COALITION_TOTALS) == built


async def test_nothing_is_compared_with_tables_of_another_shape(ledger: Ledger) -> None:
    await ledger.filled(Dice(11, pledges=10).ledger(50))
    honest = await contents(ledger.database, COALITION_TOTALS)
    await ledger.run(f"ALTER TABLE {TOTALS} DROP COLUMN about")
    await ledger.run(f"COMMENT ON SCHEMA {SCHEMA} IS 'another'")
    found = await ledger.rebuild()
    assert (found.compared_at, found.switched) == (None, True)
    assert await contents(ledger.database, COALITION_TOTALS) == honest


def test_progress_says_how_far_how_fast_and_how_long_still() -> None:
    progress = Progress(stage="filling", position=30_000, goal=120_000, per_second=1_000)
    assert rebuild.line(progress) == "filling: 25.0 %, 30,000 of 120,000, 1,000/s, 1 min 30 s left"


def test_a_name_that_is_only_like_the_schema_is_sent_as_it_is() -> None:
    sent = rebuild.elsewhere("a_v1", "a_beside_v1")
    assert sent('SELECT x.a_v1.b, a_v11.c, ba_v1.d FROM a_v1.t JOIN "a_v1".u') == (
        "SELECT x.a_v1.b, a_v11.c, ba_v1.d FROM a_beside_v1.t JOIN a_beside_v1.u"
    )
