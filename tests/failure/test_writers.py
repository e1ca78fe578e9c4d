"""Positions: no hole, none skipped by a reader, none out of place in the stream, whoever is slow."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from services.commitments.domain.refusals import Refused
from services.commitments.handling import Ledger, Unavailable
from services.commitments.log import batcher, store
from services.commitments.log.store import PostgresLog, PostgresTransaction
from tests.examples import a_coalition, a_delivery, a_pledge, pieces
from tests.failure.conftest import Say
from tests.failure.inside import a_relay, a_replica, record
from tests.failure.truth import stream_of

pytestmark = pytest.mark.failure

WRITERS = 12
ENTRIES = 150  # of each writer


class StallingLog(PostgresLog):
    """A log whose transactions stall before they commit, now and then for long."""

    def __init__(self, url: str, chance: random.Random) -> None:
        super().__init__(url)
        self._chance = chance
        self.stalls = 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresTransaction]:
        async with super().transaction() as transaction:
            yield transaction
            if self._chance.random() < 0.2:
                self.stalls += 1
                await asyncio.sleep(self._chance.choice((0.005, 0.02, 0.2)))


async def stalls_alone(url: str, stop: asyncio.Event, chance: random.Random) -> int:
    """Somebody else takes the log's lock, dawdles, and rolls back: what an operator's psql does."""
    connection, times = await asyncpg.connect(url), 0
    try:
        while not stop.is_set():
            async with connection.transaction():
                await connection.execute(f"SELECT pg_advisory_xact_lock({store.LOCK})")
                await asyncio.sleep(chance.choice((0.05, 0.3)))
            times += 1
            await asyncio.sleep(1)
    finally:
        await connection.close()
    return times


async def follow(url: str, stop: asyncio.Event) -> list[int]:
    """A reader that polls `position > last`, as they all do."""
    connection = await asyncpg.connect(url)
    seen: list[int] = []
    try:
        while True:
            ending = stop.is_set()
            found = await connection.fetch(
                "SELECT position FROM events WHERE position > $1 ORDER BY 1", seen[-1] if seen else 0
            )
            seen += [row[0] for row in found]
            if ending:
                return seen
            await asyncio.sleep(0.002)
    finally:
        await connection.close()


@pytest.mark.timeout(120)
async def test_readers_skip_nothing_while_twelve_writers_stall_inside_transactions(
    commitments_url: str, nats_url: str, ledger_name: str, seed: int, say: Say
) -> None:
    chance = random.Random(seed)
    logs = [StallingLog(commitments_url, chance) for _ in range(3)]
    stop = asyncio.Event()
    recorded: list[int] = []
    unavailable = 0

    async def write(writer: int, replica: Ledger) -> None:
        nonlocal unavailable
        for n in range(ENTRIES):
            # half go to one hot pledge, half to pledges of their own
            entry = a_delivery(f"d-{writer}-{n}", pieces(n), of="hot") if n % 2 else a_pledge(f"p-{writer}-{n}")
            while True:
                try:
                    recorded.append((await record(replica, entry)).position)
                    break
                except Unavailable:
                    unavailable += 1

    async with a_replica("", logs[0]) as one, a_replica("", logs[1]) as two, a_replica("", logs[2]) as three:
        await record(one, a_pledge("hot", pieces(1)))
        reading = [asyncio.create_task(follow(commitments_url, stop)) for _ in range(3)]
        stalling = asyncio.create_task(stalls_alone(commitments_url, stop, chance))
        async with a_relay(commitments_url, ledger_name, nats_url) as relay:
            replicas = (one, two, three)
            await asyncio.gather(*(write(writer, replicas[writer % 3]) for writer in range(WRITERS)))
            stop.set()
            seen = await asyncio.gather(*reading)
            total = WRITERS * ENTRIES + 1
            async with asyncio.timeout(20):
                while relay.position < total:
                    await asyncio.sleep(0.05)
        outside = await stalling
        rows = [(row.position, row.event_id) for n in range(0, total, 1000) for row in (await one.read(n, 1000)).rows]

    assert sorted(recorded) == list(range(2, total + 1)), "every acknowledgement has a position of its own"
    assert [position for position, _ in rows] == list(range(1, total + 1))
    for positions in seen:
        assert positions == list(range(1, total + 1)), "a reader skipped something"
    assert await stream_of(nats_url, ledger_name) == rows
    say(
        f"{WRITERS} writers over 3 replicas, {total} events, "
        f"{sum(log.stalls for log in logs)} stalls inside and {outside} outside; 0 skipped by 3 readers, 0 holes, "
        f"sequence == position; {unavailable} times told to come back"
    )


async def test_the_time_of_recording_never_runs_backwards_though_clocks_do(
    commitments_url: str, seed: int, say: Say
) -> None:
    chance = random.Random(seed)
    jumps = 0

    def jumping() -> datetime:
        nonlocal jumps
        jumps += 1
        return datetime.now(UTC) + timedelta(seconds=chance.choice((-3600, -60, -1, 0, 0, 0, 1, 30)))

    async with a_replica(commitments_url) as one, a_replica(commitments_url) as two:
        one._batcher._now = two._batcher._now = jumping
        for n in range(100):
            await record((one, two)[n % 2], a_pledge(f"p{n}", pieces(n)))
        rows = (await one.read(0, 1_000)).rows
    times = [row.recorded_at for row in rows]
    assert len(times) == 100
    assert times == sorted(times)
    assert max(times) > datetime.now(UTC) - timedelta(seconds=5)
    say(f"{jumps} clocks asked, -1 h to +30 s; recorded_at never ran back")


async def test_fifty_equal_commands_at_once_over_three_replicas_are_one_event(commitments_url: str, say: Say) -> None:
    entry = a_coalition("drones")
    async with (
        a_replica(commitments_url) as one,
        a_replica(commitments_url) as two,
        a_replica(commitments_url) as three,
    ):
        said = await asyncio.gather(*(record((one, two, three)[n % 3], entry) for n in range(50)))
        assert await one.head() == 1
    assert {outcome.position for outcome in said} == {1}
    say("50 equal commands at once over 3 replicas: 1 event, 50 equal answers")


async def test_a_full_queue_refuses_at_once_and_what_it_took_is_recorded(
    commitments_url: str, monkeypatch: pytest.MonkeyPatch, say: Say
) -> None:
    monkeypatch.setattr(batcher, "QUEUE_COMMANDS", 100)
    async with a_replica(commitments_url) as ledger:
        await record(ledger, a_pledge("hot", pieces(1)))
        blocker = await asyncpg.connect(commitments_url)
        async with blocker.transaction():
            await blocker.execute(f"SELECT pg_advisory_xact_lock({store.LOCK})")
            saying = [asyncio.create_task(record(ledger, a_delivery(f"d{n}", pieces(n), of="hot"))) for n in range(900)]
            done, waiting = await asyncio.wait(saying, timeout=1)
            assert done
            assert all(isinstance(task.exception(), Unavailable) for task in done), "told to come back, at once"
            assert len(waiting) <= 100 + batcher.BATCH_COMMANDS
        await blocker.close()
        outcomes = await asyncio.gather(*waiting)
        assert len({outcome.position for outcome in outcomes}) == len(waiting)
        head = await ledger.head()
        assert head == 1 + len(waiting)
    say(f"of 900 at once {len(done)} were told to come back at once, {len(waiting)} recorded; log and answers agree")


async def test_callers_that_hang_up_cancel_nobody_else(commitments_url: str, seed: int, say: Say) -> None:
    chance = random.Random(seed)
    async with a_replica(commitments_url) as ledger:
        await record(ledger, a_pledge("hot", pieces(1)))
        saying = [asyncio.create_task(record(ledger, a_delivery(f"d{n}", pieces(n), of="hot"))) for n in range(600)]
        hung_up = set()
        for _ in range(20):
            await asyncio.sleep(0.002)
            for task in chance.sample(saying, 15):
                hung_up.add(task)
                task.cancel()
        results = await asyncio.gather(*saying, return_exceptions=True)
        told = [outcome.position for outcome in results if not isinstance(outcome, BaseException)]
        refused = [error for error in results if isinstance(error, Refused | Unavailable)]
        assert not refused
        rows = (await ledger.read(0, 1_000)).rows
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    assert set(told) <= {row.position for row in rows}
    assert len(told) >= 600 - len(hung_up)
    say(f"{600 - len(told)} of 600 hung up, {len(told)} answered, {len(rows) - 1} recorded, 0 cancelled by others")
