"""The worker's loop on real servers, with read models that only note what they were told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import BigInteger, Column, MetaData, Table, Text, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections import checkpoints, projector
from services.projections.checkpoints import Checkpoint, NotStopped
from services.projections.consumer import Batch, Place, Stream
from services.projections.database import engine
from services.projections.projector import Projector, lowest
from services.projections.read_model import Apply, ReadModel, schema
from services.projections.transaction import Transaction
from shared.recorded import Recorded
from shared.subjects import EPOCH
from tests.examples import a_delivery, a_pledge, pieces
from tests.integration.streams import BEGINNING, Published, a_stream, recorded


def a_ledger(size: int) -> list[Recorded]:
    deliveries = (a_delivery(f"d{n}", pieces(n)) for n in range(1, size))
    return recorded([a_pledge("x", pieces(500)), *deliveries])


class Poisoned(Exception):
    """A handler's own failure."""


def noting(name: str = "notes", *, poison: int = 0, remembers: bool = False) -> ReadModel:
    """Notes each position; told one twice, it notes it twice. It cannot take the position `poison`."""
    metadata = MetaData(schema=schema(name, 1))
    table = Table("notes", metadata, Column("position", BigInteger), Column("total", Text))
    insert = f"INSERT INTO {table.fullname} VALUES ($1::text::bigint, $2)"  # noqa: S608 - a name of ours
    summed = f"SELECT sum(position) FROM {table.fullname}"  # noqa: S608 - a name of ours

    async def note(writing: Transaction, events: Sequence[Recorded], total: int) -> None:
        for event in events:
            total += event.position
            await writing.write(insert, str(event.position), str(total))
            if event.position == poison:
                raise Poisoned("not this one")

    async def noted(writing: Transaction) -> int:
        [[total]] = await writing.rows(summed)
        return int(total or 0)

    async def apply(writing: Transaction, events: Sequence[Recorded]) -> None:
        await note(writing, events, await noted(writing))

    def remembering() -> Apply:
        memory: list[int] = []

        async def apply_and_remember(writing: Transaction, events: Sequence[Recorded]) -> None:
            if not memory:
                memory.append(await noted(writing))
            before = memory[0]
            memory[0] += sum(event.position for event in events)
            await note(writing, events, before)

        return apply_and_remember

    return ReadModel(
        name=name, version=1, metadata=metadata, apply=apply, remembering=remembering if remembers else None
    )


class Twice(Stream):
    """Every message comes twice."""

    async def _receive(self, msg: Any) -> None:
        await super()._receive(msg)
        await super()._receive(msg)


class Bench:
    """A database, a stream, and workers made on demand."""

    def __init__(self, database: AsyncEngine, url: str, nats_url: str, published: Published) -> None:
        self.database = database
        self.url = url
        self.nats_url = nats_url
        self.published = published

    @asynccontextmanager
    async def worker(
        self, *models: ReadModel, most: int = 1_000, kind: type[Stream] = Stream
    ) -> AsyncIterator[Projector]:
        """A worker as a process of its own would have it."""
        stream = kind(self.nats_url, self.published.ledger, most=most)
        own = engine(self.url, process="test", connections=2)
        try:
            yield Projector(own, models, stream, most=most)
        finally:
            await stream.close()
            await own.dispose()

    @asynccontextmanager
    async def working(self, *models: ReadModel, **options: Any) -> AsyncIterator[Projector]:
        """A worker that works while the block runs."""
        async with self.worker(*models, **options) as worker:
            task = asyncio.create_task(worker.run())
            try:
                yield worker
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def notes(self, model: ReadModel) -> list[int]:
        table = model.metadata.tables[f"{model.schema}.notes"].c
        async with self.database.connect() as conn:
            rows = await conn.execute(select(table.position, table.total).order_by(table.position))
            found = [(row.position, int(row.total)) for row in rows]
        total = 0
        for position, noted in found:
            total += position
            assert noted == total, f"at {position} it remembered what is not in the table"
        return [position for position, _ in found]

    async def checkpoint(self, model: ReadModel) -> Checkpoint:
        key = (model.name, model.version)
        async with self.database.connect() as conn:
            return (await checkpoints.load(conn, [key]))[key]

    async def comes_to(self, position: int, *models: ReadModel, stopped: bool = False) -> None:
        async with asyncio.timeout(60):
            for model in models:
                while True:
                    try:
                        found = await self.checkpoint(model)
                    except (KeyError, OSError):
                        found = None
                    if found and found.position == position and (found.status == "stopped") == stopped:
                        break
                    await asyncio.sleep(0.01)


@pytest_asyncio.fixture
async def bench(projections_url: str, nats_url: str, nats_reader_url: str, ledger_name: str) -> AsyncIterator[Bench]:
    database = engine(projections_url, process="test")
    async with a_stream(nats_url, ledger_name) as published:
        yield Bench(database, projections_url, nats_reader_url, published)
    await database.dispose()


async def test_every_event_is_applied_once(bench: Bench) -> None:
    notes = noting()
    await bench.published.put(a_ledger(100))
    async with bench.working(notes, most=7):
        await bench.comes_to(100, notes)
    assert await bench.notes(notes) == list(range(1, 101))


async def test_a_message_that_comes_twice_is_applied_once(bench: Bench) -> None:
    notes = noting()
    await bench.published.put(a_ledger(100))
    async with bench.working(notes, most=7, kind=Twice):
        await bench.comes_to(100, notes)
    assert await bench.notes(notes) == list(range(1, 101))


async def test_workers_at_the_same_time_apply_every_event_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "STAND_BY_S", 0.0)  # both want to work, all the time
    notes, others = noting(remembers=True), noting("others", remembers=True)
    events = a_ledger(400)
    async with (
        bench.working(notes, others, most=5) as first,
        bench.working(notes, others, most=3) as second,
        bench.working(notes, others, most=2) as third,
    ):
        for start in range(0, 400, 40):  # each part finds all of them waiting
            await bench.published.put(events[start : start + 40])
            await bench.comes_to(start + 40, notes, others)
    assert await bench.notes(notes) == await bench.notes(others) == list(range(1, 401))
    assert sum(worker.applied for worker in (first, second, third)) == 400


async def test_a_second_worker_takes_over(bench: Bench) -> None:
    notes = noting()
    events = a_ledger(20)
    await bench.published.put(events[:10])
    async with bench.working(notes) as second:
        async with bench.working(notes):
            await bench.comes_to(10, notes)
        await bench.published.put(events[10:])
        await bench.comes_to(20, notes)
        assert second.applied >= 10


async def test_a_worker_that_ends_at_any_moment_leaves_rows_and_checkpoint_together(bench: Bench) -> None:
    notes = noting(remembers=True)
    dice = random.Random(7)
    await bench.published.put(a_ledger(300))
    position = 0
    while position < 300:
        async with bench.working(notes, most=dice.randint(1, 9)) as worker:
            enough = min(dice.randint(1, 15), 300 - position)
            await holds(lambda: worker.applied >= enough)  # noqa: B023 - it is awaited here
            await asyncio.sleep(dice.uniform(0, 0.01))  # in the midst of whatever it does
        before, position = position, (await bench.checkpoint(notes)).position
        assert position > before
        assert await bench.notes(notes) == list(range(1, position + 1))


async def test_a_worker_told_to_end_finishes_the_batch_that_it_has_begun(bench: Bench) -> None:
    notes = noting()
    begun = asyncio.Event()

    async def slowly(writing: Transaction, events: Sequence[Recorded]) -> None:
        begun.set()
        await writing.rows("SELECT pg_sleep(0.3)")
        await notes.apply(writing, events)

    await bench.published.put(a_ledger(10))
    async with bench.working(replace(notes, apply=slowly)):
        await begun.wait()
    assert (await bench.checkpoint(notes)).position == 10
    assert await bench.notes(notes) == list(range(1, 11))


class SwallowsCancellation(Stream):
    """As parts of nats-py do."""

    async def read(self, after: Place, most: int) -> Batch:
        try:
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            return Batch()
        return await super().read(after, most)


async def test_a_worker_told_to_end_ends_though_its_cancellation_was_swallowed(bench: Bench) -> None:
    async with bench.worker(noting(), kind=SwallowsCancellation) as worker:
        await worker.prepare()
        task = asyncio.create_task(worker.run())
        await holds(lambda: bool(worker.checkpoints))
        await asyncio.sleep(0.05)
        task.cancel()
        done, _ = await asyncio.wait((task,), timeout=5)
        assert done


async def test_a_worker_forgets_what_another_one_made_untrue(bench: Bench) -> None:
    notes = noting(remembers=True)
    await bench.published.put(a_ledger(40))
    async with bench.worker(notes, most=10) as first, bench.worker(notes, most=10) as second:
        for worker in (first, second, first, second, first, second):
            worker._loaded = None  # as after a second
            await worker.step()
        assert (first.applied > 0, second.applied > 0) == (True, True)
    assert await bench.notes(notes) == list(range(1, (await bench.checkpoint(notes)).position + 1))


async def test_a_worker_forgets_what_it_learned_in_a_transaction_that_failed(bench: Bench) -> None:
    notes = noting(remembers=True)
    failures = iter([False, True])

    def remembering() -> Apply:
        assert notes.remembering is not None
        inner = notes.remembering()

        async def apply(writing: Transaction, events: Sequence[Recorded]) -> None:
            await inner(writing, events)
            if next(failures, False):
                raise ConnectionResetError("after all was written")

        return apply

    await bench.published.put(a_ledger(30))
    async with bench.working(replace(notes, remembering=remembering), most=10):
        await bench.comes_to(30, notes)
    assert await bench.notes(notes) == list(range(1, 31))
    assert next(failures, None) is None


async def test_a_lost_database_connection_is_waited_for_and_nothing_is_doubled(bench: Bench) -> None:
    notes = noting(remembers=True)
    await bench.published.put(a_ledger(300))
    admin = await asyncpg.connect(bench.url)
    async with bench.working(notes, most=3):
        for _ in range(8):
            await asyncio.sleep(0.05)
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database() AND application_name = 'muster test'"
            )
        await bench.comes_to(300, notes)
    await admin.close()
    assert await bench.notes(notes) == list(range(1, 301))


async def test_a_worker_begins_without_a_database_and_says_so(nats_reader_url: str, ledger_name: str) -> None:
    nowhere = engine("postgresql://a:b@127.0.0.1:1/c", process="test")
    worker = Projector(nowhere, [noting()], Stream(nats_reader_url, ledger_name))
    working = asyncio.create_task(worker.run())
    await holds(lambda: any("the database" in problem for problem in worker.problems))
    assert not working.done()
    working.cancel()
    await nowhere.dispose()


async def test_an_event_that_a_read_model_cannot_take_stops_that_one_alone(bench: Bench) -> None:
    good, bad = noting("good"), noting("bad", poison=6)
    await bench.published.put(a_ledger(10))
    async with bench.working(good, bad) as worker:
        await bench.comes_to(10, good)
        await bench.comes_to(5, bad, stopped=True)
        await holds(lambda: len(worker.problems) == 1)
        assert "bad is stopped: position 6 (muster.pledge.delivery_reported.v1)" in worker.problems[0]
    assert await bench.notes(good) == list(range(1, 11))
    assert await bench.notes(bad) == [1, 2, 3, 4, 5]
    found = await bench.checkpoint(bad)
    assert found.reason == "position 6 (muster.pledge.delivery_reported.v1): Poisoned: not this one"
    assert found.behind_since == a_ledger(6)[5].recorded_at


async def test_a_recorded_skip_lets_it_go_on_past_that_event_only(bench: Bench) -> None:
    good, bad = noting("good"), noting("bad", poison=6)
    await bench.published.put(a_ledger(10))
    async with bench.working(good, bad) as worker:
        await bench.comes_to(5, bad, stopped=True)
        async with bench.database.begin() as conn:
            with pytest.raises(NotStopped):
                await checkpoints.skip(conn, ("bad", 1), 7, "the wrong one")
            await checkpoints.skip(conn, ("bad", 1), 6, "it is a test")
        await bench.comes_to(10, good, bad)
        await holds(lambda: not worker.problems)
    assert await bench.notes(bad) == [1, 2, 3, 4, 5, 7, 8, 9, 10]
    async with bench.database.connect() as conn:
        skipped = [tuple(row) for row in await conn.execute(text("SELECT name, position, reason FROM skips"))]
    assert skipped == [("bad", 6, "it is a test")]


async def test_a_stopped_read_model_that_is_mended_tries_again_and_joins_the_others(bench: Bench) -> None:
    good, bad = noting("good"), noting("bad", poison=6)
    events = a_ledger(20)
    await bench.published.put(events[:10])
    async with bench.working(good, bad):
        await bench.comes_to(5, bad, stopped=True)
        await bench.comes_to(10, good)
    async with bench.working(good, noting("bad")):
        async with bench.database.begin() as conn:
            await checkpoints.resume(conn, ("bad", 1), 6)
        await bench.comes_to(10, bad)
        await bench.published.put(events[10:])
        await bench.comes_to(20, good, bad)
    assert await bench.notes(good) == await bench.notes(bad) == list(range(1, 21))


async def test_a_new_read_model_catches_up_and_the_others_are_told_nothing_twice(bench: Bench) -> None:
    old, new = noting("old"), noting("new")
    events = a_ledger(60)
    await bench.published.put(events[:50])
    async with bench.working(old):
        await bench.comes_to(50, old)
    async with bench.working(old, new, most=8):
        await bench.comes_to(50, new)
        await bench.published.put(events[50:])
        await bench.comes_to(60, old, new)
    assert await bench.notes(old) == await bench.notes(new) == list(range(1, 61))


async def test_a_message_that_is_no_event_stops_all_until_each_is_told_to_pass_over_it(bench: Bench) -> None:
    notes, others = noting(), noting("others")
    events = a_ledger(10)
    await bench.published.put(events[:4])
    await bench.published.put_bytes(b"{}")
    await bench.published.put(events[5:])
    async with bench.working(notes, others):
        await bench.comes_to(4, notes, others, stopped=True)
        assert "position 5 cannot be read" in str((await bench.checkpoint(notes)).reason)
        async with bench.database.begin() as conn:
            await checkpoints.skip(conn, ("notes", 1), 5, "it is a test")
        await bench.comes_to(10, notes)
        await bench.comes_to(4, others, stopped=True)
        async with bench.database.begin() as conn:
            await checkpoints.skip(conn, ("others", 1), 5, "it is a test")
        await bench.comes_to(10, others)
    assert await bench.notes(notes) == await bench.notes(others) == [1, 2, 3, 4, 6, 7, 8, 9, 10]


async def test_a_gap_is_said_and_nothing_is_applied_beyond_it(bench: Bench) -> None:
    notes = noting()
    events = a_ledger(6)
    await bench.published.drop()
    await bench.published.create(deny_delete=False)
    await bench.published.put(events)
    await bench.published.client.jetstream().delete_msg(bench.published.name, 4)
    async with bench.working(notes) as worker:
        await holds(lambda: any("has a gap: 4 to 4 are missing" in problem for problem in worker.problems))
        assert await bench.notes(notes) == [1, 2, 3]
        await bench.published.drop()
        await bench.published.create()
        await bench.published.put(events)
        await bench.comes_to(6, notes)
        await holds(lambda: not worker.problems)
    assert await bench.notes(notes) == [1, 2, 3, 4, 5, 6]


async def test_a_stream_made_anew_in_another_epoch_is_read_on_where_it_holds_the_same_events(bench: Bench) -> None:
    notes = noting()
    events = a_ledger(20)
    for epoch, size in (("one", 10), ("two", 20)):
        await bench.published.drop()
        await bench.published.create(metadata={EPOCH: epoch})
        await bench.published.put(events[:size])
        async with bench.working(notes):
            await bench.comes_to(size, notes)
        assert (await bench.checkpoint(notes)).epoch == epoch
    assert await bench.notes(notes) == list(range(1, 21))


async def test_another_log_in_the_stream_is_not_applied_on_top_of_this_one(bench: Bench) -> None:
    notes = noting()
    await bench.published.put(a_ledger(10))
    async with bench.working(notes):
        await bench.comes_to(10, notes)
    await bench.published.drop()
    await bench.published.create()
    await bench.published.put(a_ledger(20))  # the same entries, but other events
    async with bench.working(notes) as worker:
        await holds(lambda: any("the log was restored" in problem for problem in worker.problems))
    assert (await bench.checkpoint(notes)).position == 10


async def test_the_checkpoint_says_how_far_it_is_and_how_far_behind(bench: Bench) -> None:
    notes = noting()
    events = a_ledger(10)
    await bench.published.put(events)
    async with bench.worker(notes, most=4) as worker:
        await worker.prepare()
        worker._stream._most = 1_000  # so that what follows the first four is here too
        await worker._stream.read(Place(0), 0)
        await holds(lambda: len(worker._stream._waiting) == 10)
        await worker.step()
        behind = await bench.checkpoint(notes)
        await worker.step()
        await worker.step()
        level = await bench.checkpoint(notes)
    assert (behind.position, behind.head, behind.behind_since) == (4, 10, events[4].recorded_at)
    assert (behind.event_id, behind.recorded_at) == (events[3].event_id, events[3].recorded_at)
    assert behind.lag == 6
    assert behind.lag_s(BEGINNING.replace(minute=1)) == 55  # the fifth was recorded at five seconds past
    assert (level.position, level.head, level.behind_since) == (10, 10, None)
    assert (level.lag, level.lag_s(BEGINNING.replace(year=2030))) == (0, 0)


async def test_whoever_may_read_the_checkpoints_may_read_the_read_models_and_nothing_more(
    bench: Bench, projections_reader_url: str
) -> None:
    notes = noting()
    await bench.published.put(a_ledger(3))
    async with bench.working(notes):
        await bench.comes_to(3, notes)
    reader = await asyncpg.connect(projections_reader_url)
    assert await reader.fetchval("SELECT count(*) FROM notes_v1.notes") == 3
    assert await reader.fetchval("SELECT position FROM checkpoints") == 3
    await reader.execute("SET default_transaction_read_only = off")
    for change in ("DELETE FROM notes_v1.notes", "UPDATE checkpoints SET position = 0", "DELETE FROM skips"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.execute(change)
    await reader.close()


async def test_tables_that_changed_without_a_new_version_leave_that_read_model_out(bench: Bench) -> None:
    notes, others = noting(), noting("others")
    await bench.published.put(a_ledger(3))
    async with bench.working(notes, others):
        await bench.comes_to(3, notes, others)
    notes.metadata.tables["notes_v1.notes"].append_column(Column("more", Text))
    await bench.published.put(a_ledger(5)[3:4])
    async with bench.working(notes, others) as worker:
        await bench.comes_to(4, others)
        assert any("raise its version" in problem for problem in worker.problems)
    assert (await bench.checkpoint(notes)).position == 3


async def test_a_read_model_whose_tables_were_dropped_begins_again(bench: Bench) -> None:
    notes, others = noting(), noting("others")
    await bench.published.put(a_ledger(5))
    async with bench.working(notes, others):
        await bench.comes_to(5, notes, others)
    async with bench.database.begin() as conn:
        await conn.execute(text("DROP SCHEMA notes_v1 CASCADE"))
    async with bench.working(notes, others) as worker:
        await holds(lambda: worker.applied == 5)  # the others have it already
    assert await bench.notes(notes) == await bench.notes(others) == [1, 2, 3, 4, 5]


def at(name: str, position: int, **other: Any) -> Checkpoint:
    defaults: dict[str, Any] = {
        "epoch": "",
        "event_id": str(position),
        "recorded_at": None,
        "head": 0,
        "behind_since": None,
        "status": "running",
        "reason": None,
        "updated_at": BEGINNING,
    }
    return Checkpoint(name=name, version=1, position=position, **(defaults | other))


def test_those_furthest_behind_go_first_and_no_further_than_the_next() -> None:
    a, b, c, d = at("a", 5), at("b", 3), at("c", 3), at("d", 1, status="stopped", reason="x")
    group = lowest([a, b, c, d])
    assert group is not None
    assert (group.members, group.until, group.place.position) == ((b, c), 5, 3)


def test_those_level_with_each_other_go_to_the_end() -> None:
    group = lowest([at("b", 3), at("a", 3)])
    assert group is not None
    assert ([member.name for member in group.members], group.until) == (["b", "a"], None)


def test_those_who_applied_another_event_at_the_same_position_do_not_go_together() -> None:
    group = lowest([at("a", 3), at("b", 3, event_id="other")])
    assert group is not None
    assert [member.name for member in group.members] == ["a"]


def test_nobody_goes_when_all_are_stopped() -> None:
    assert lowest([at("a", 3, status="stopped", reason="x")]) is None


async def holds(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)
