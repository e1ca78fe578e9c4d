"""Read models are exact: every message twice, workers that end anywhere, several at once; and replayed, the same."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
from nats.aio.msg import Msg

from services.projections.consumer import Stream
from services.projections.database import engine
from services.projections.projector import Projector
from services.projections.read_models import READ_MODELS
from tests.conftest import Servers
from tests.failure.conftest import Say
from tests.failure.ledgers import a_ledger, all_ready, scalar, status, until
from tests.failure.load import Told, a_coalition, a_pledge, append, say_all
from tests.failure.test_streams import doctor, skip
from tests.failure.truth import all_agree, fingerprint, shown
from tests.integration.random_ledgers import Dice
from tests.integration.streams import a_stream

pytestmark = pytest.mark.failure

EVENTS = 3_000
WORKERS_ENDED = 40


class Twice(Stream):
    """A stream that gives every message twice, and now and then three times."""

    async def _receive(self, msg: Msg) -> None:
        for _ in range(2 + (random.random() < 0.1)):
            await super()._receive(msg)


@asynccontextmanager
async def a_worker(url: str, stream: Stream, *, most: int) -> AsyncIterator[Projector]:
    """A worker while the block runs; it is cancelled wherever it is."""
    own = engine(url, process="failing worker", connections=2)
    worker = Projector(own, READ_MODELS, stream, most=most)
    working = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        await stream.close()
        await own.dispose()


async def behind(url: str, head: int) -> bool:
    """Whether some read model has not applied everything yet."""
    with suppress(asyncpg.UndefinedTableError):
        found = await scalar(url, "SELECT count(*) FROM checkpoints WHERE position = $1", head)
        return found != len(READ_MODELS)
    return True


async def applied(url: str, head: int, worker: Projector, *, within_s: float) -> None:
    async def through() -> bool:
        return not await behind(url, head)

    await until(through, f"{head} applied ({worker.problems})", within_s=within_s)


async def begin_anew(url: str) -> None:
    """Take the read models away, as a repair does."""
    connection = await asyncpg.connect(url)
    try:
        for model in READ_MODELS:
            await connection.execute(f"DROP SCHEMA IF EXISTS {model.schema} CASCADE")
        await connection.execute("UPDATE checkpoints SET position = 0, event_id = NULL, recorded_at = NULL")
    finally:
        await connection.close()


@pytest.mark.timeout(240)
async def test_messages_twice_and_workers_that_end_anywhere_give_the_tables_of_a_quiet_replay(
    projections_url: str, servers: Servers, ledger_name: str, seed: int, say: Say
) -> None:
    chance, events = random.Random(seed), Dice(seed, pledges=60).ledger(EVENTS)
    ended = 0
    async with a_stream(servers.relay_url, ledger_name) as published:
        await published.put(events)

        async def live() -> None:
            """A worker that is ended at a random moment, and another after it."""
            nonlocal ended
            while ended < WORKERS_ENDED and await behind(projections_url, EVENTS):
                stream = Twice(servers.nats_url, ledger_name)
                async with a_worker(projections_url, stream, most=chance.choice((7, 50, 300))):
                    await asyncio.sleep(chance.uniform(0.1, 0.8))
                ended += 1

        await asyncio.gather(live(), live())
        async with a_worker(projections_url, Twice(servers.nats_url, ledger_name), most=100) as worker:
            await applied(projections_url, EVENTS, worker, within_s=60)
        disturbed = await fingerprint(projections_url)
        await begin_anew(projections_url)
        async with a_worker(projections_url, Stream(servers.nats_url, ledger_name), most=1_000) as worker:
            await applied(projections_url, EVENTS, worker, within_s=60)
            assert not [problem for problem in worker.problems if "stopped" in problem]
        quiet = await fingerprint(projections_url)
    assert len(quiet) >= len(READ_MODELS)
    assert disturbed == quiet
    say(
        f"{EVENTS} random events, every message twice or more, two workers at once, {ended} workers ended at random "
        f"moments; a quiet replay from 0 gives {len(quiet)} equal tables (SHA-256 of all rows)"
    )


@pytest.mark.timeout(120)
async def test_an_event_that_nobody_can_handle_stops_that_read_model_alone_until_it_is_passed_over(
    tmp_path: Path, say: Say
) -> None:
    told = Told()
    async with a_ledger(tmp_path / "home") as home:
        await say_all(home.commitments, told, [a_coalition("drones")])
        await append(home.commitments, told, 200, name="before", coalition="drones")
        await all_agree(home, told)
        database = home.running.read_models_url
        # the entries' table takes the next event no more: what a bug in a read model looks like
        await scalar(
            database,
            "ALTER TABLE entries_v2.entries ADD CONSTRAINT unlucky CHECK (stream <> 'pledge-unlucky') NOT VALID",
        )
        await say_all(home.commitments, told, [a_pledge("unlucky", 13, coalition="drones")])
        position = told.recorded["/v1/pledges/unlucky"][0]
        await append(home.commitments, told, 100, name="after", coalition="drones")
        head = len(told.recorded)

        async def stopped() -> bool:
            return await status(f"{home.running.worker}/readyz") == 503

        seconds = await until(stopped, "the worker says it", within_s=20)
        others = "SELECT count(*) FROM checkpoints WHERE name <> 'entries' AND position = $1 AND status = 'running'"

        async def go_on() -> bool:
            return await scalar(database, others, head) == len(READ_MODELS) - 1

        await until(go_on, "the others go on", within_s=20)
        where = "SELECT position FROM checkpoints WHERE name = 'entries' AND status = 'stopped'"
        assert await scalar(database, where) == position - 1
        reason = str(await scalar(database, "SELECT reason FROM checkpoints WHERE name = 'entries'"))
        assert reason.startswith(f"position {position} ")
        assert f"stopped: {reason[:20]}" in await asyncio.to_thread(doctor, home.directory)

        await asyncio.to_thread(skip, home.directory, "entries", position, "--reason", "the test says so")
        await all_ready(home)
        kept = await scalar(database, "SELECT reason FROM skips WHERE position = $1", position)
        assert kept == "the test says so"

        async def caught_up() -> bool:
            return await scalar(database, "SELECT count(*) FROM entries_v2.entries") == head - 1

        await until(caught_up, "entries has all but that one", within_s=20)
        await shown(home.projections, head)
    say(
        f"position {position} refused by `entries`: it stopped there, and the worker said so {seconds:.1f} s later; "
        f"{len(READ_MODELS) - 1} other read models went on to {head}; `muster skip` with a reason let it go on"
    )
