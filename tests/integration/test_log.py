"""The log: one suite for the real one and for the one in memory; and what only PostgreSQL can promise."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio
import uuid_utils

from muster.embedded import Port
from muster.provision import PROJECT, heads
from services.commitments.log import store
from services.commitments.log.contract import READ_BYTES, Away, Filter, Log, Look, Receipt, Rejected, Row
from services.commitments.log.memory import MemoryLog
from services.commitments.log.store import LOCK, REVISION, PostgresLog, opened
from tests.conftest import Database

NOON = datetime(2024, 2, 15, 12, tzinfo=UTC)
Another = Callable[[], Log]


@pytest.fixture(params=["memory", "postgres"])
def log_url(request: pytest.FixtureRequest) -> str | None:
    """Where the log is; None for one in memory."""
    if request.param == "memory":
        return None
    url: str = request.getfixturevalue("commitments_url")
    return url


@pytest_asyncio.fixture
async def another(log_url: str | None) -> AsyncIterator[Another]:
    """Gives a line of its own to one and the same log, each time it is called."""
    memory = MemoryLog()
    opened: list[PostgresLog] = []

    def open_another() -> Log:
        if log_url is None:
            return memory
        opened.append(PostgresLog(log_url))
        return opened[-1]

    yield open_another
    for log in opened:
        await log.close()


@pytest.fixture
def log(another: Another) -> Log:
    return another()


def a_row(position: int, stream: str = "pledge-x", version: int | None = None, **other: Any) -> Row:
    defaults: dict[str, Any] = {
        "recorded_at": NOON,
        "event_id": str(uuid_utils.uuid7()),
        "happened_on": date(2024, 2, 14),
        "reported_on": date(2024, 2, 15),
        "type": "muster.pledge.announced.v1",
        "recorded_by": "somebody",
        "command_id": f"command-{position}",
        "traceparent": None,
        "coalitions": ("drones",),
        "about": ("coalition-drones", "party-GBR", stream),
        "payload": b'{"pledge":"x"}',
    }
    return Row(position=position, stream=stream, version=version or position, **(defaults | other))


async def added(log: Log, *rows: Row, receipts: tuple[Receipt, ...] = ()) -> None:
    async with log.transaction() as transaction:
        await transaction.append(rows, receipts, rows[0].recorded_at if rows else NOON)


async def test_an_empty_log_has_no_head_and_no_rows(log: Log) -> None:
    assert await log.head() == 0
    assert await log.read(0, 10) == ([], 0, 0)
    assert await log.read_stream("pledge-x") == []
    async with log.transaction() as transaction:
        assert await transaction.look(["pledge-x"], ["command"]) == (0, None, {}, {})


async def test_rows_are_read_as_they_were_written(log: Log) -> None:
    first = a_row(1, traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    second = a_row(
        2, "party-ŁÓDŹ", 1, payload='{"name":"Ł \\u0001 \\"ó\\""}'.encode(), coalitions=(), about=("party-ŁÓDŹ",)
    )
    await added(log, first, second)
    assert (await log.read(0, 10)).rows == [first, second]
    assert await log.event(second.event_id) == second
    assert await log.read_stream("party-ŁÓDŹ") == [second]


async def test_a_transaction_that_fails_leaves_no_trace(log: Log) -> None:
    async def fail() -> None:
        async with log.transaction() as transaction:
            await transaction.append([a_row(1)], [Receipt("c", "f", "{}")], NOON)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with log.transaction() as transaction:
        assert await transaction.look(["pledge-x"], ["c"]) == (0, None, {}, {})
    await added(log, a_row(1))
    assert await log.head() == 1


async def test_a_look_gives_the_head_the_versions_and_the_receipts(log: Log) -> None:
    later = NOON + timedelta(microseconds=1)
    await added(log, a_row(1), a_row(2), receipts=(Receipt("c1", "f1", '{"position":1}'),))
    await added(log, a_row(3, "coalition-drones", 1, recorded_at=later), receipts=(Receipt("c2", "f2", "{}"),))
    async with log.transaction() as transaction:
        look = await transaction.look(["pledge-x", "coalition-drones", "party-GBR"], ["c1", "c3"])
    assert look.position == 3
    assert look.recorded_at == later
    assert look.versions == {"pledge-x": 2, "coalition-drones": 1}
    assert look.receipts == {"c1": Receipt("c1", "f1", '{"position":1}')}


async def test_the_history_of_streams_is_given_past_a_version_in_the_order_of_the_log(log: Log) -> None:
    rows = [a_row(1, "pledge-a", 1), a_row(2, "pledge-b", 1), a_row(3, "pledge-a", 2), a_row(4, "pledge-b", 2)]
    await added(log, *rows)
    async with log.transaction() as transaction:
        history = await transaction.history({"pledge-a": 1, "pledge-b": 0, "pledge-c": 0})
    assert [(event.position, event.stream, event.version) for event in history] == [
        (2, "pledge-b", 1),
        (3, "pledge-a", 2),
        (4, "pledge-b", 2),
    ]
    assert (history[0].event_id, history[0].type, history[0].payload) == (
        rows[1].event_id,
        rows[1].type,
        rows[1].payload,
    )


async def test_who_concerns_a_stream_is_given_in_the_order_of_the_log(log: Log) -> None:
    about = ["coalition-drones"]
    await added(
        log,
        a_row(1, "pledge-b", 1, about=about),
        a_row(2, version=1, about=["party-GBR"]),
        a_row(3, "pledge-a", 1, about=about),
    )
    async with log.transaction() as transaction:
        assert await transaction.concerned("coalition-drones", after=0, limit=9) == [(1, "pledge-b"), (3, "pledge-a")]
        assert await transaction.concerned("coalition-drones", after=1, limit=9) == [(3, "pledge-a")]
        assert await transaction.concerned("coalition-drones", after=0, limit=1) == [(1, "pledge-b")]


@pytest.mark.parametrize(
    ("where", "positions"),
    [
        (Filter(), [1, 2, 3, 4]),
        (Filter(stream="pledge-b"), [2, 4]),
        (Filter(types=["b", "c"]), [2, 3]),
        (Filter(about=["party-GBR"]), [1, 2]),
        (Filter(about=["party-GBR", "coalition-x"]), [2]),
        (Filter(stream="pledge-b", types=["b"], about=["party-GBR"]), [2]),
        (Filter(about=["party-LVA"]), []),
    ],
)
async def test_a_reader_gets_what_it_wants_and_learns_how_far_that_goes(
    log: Log, where: Filter, positions: list[int]
) -> None:
    await added(
        log,
        a_row(1, "pledge-a", 1, type="a", about=["party-GBR"]),
        a_row(2, "pledge-b", 1, type="b", about=["party-GBR", "coalition-x"]),
        a_row(3, "pledge-a", 2, type="c", about=["coalition-x"]),
        a_row(4, "pledge-b", 2, type="d", about=["coalition-x"]),
    )
    page = await log.read(0, 10, where)
    assert [row.position for row in page.rows] == positions
    assert (page.next_after, page.head) == (4, 4)


async def test_a_full_page_ends_at_its_last_row(log: Log) -> None:
    await added(log, *(a_row(position) for position in range(1, 6)))
    page = await log.read(1, 2)
    assert ([row.position for row in page.rows], page.next_after, page.head) == ([2, 3], 3, 5)
    assert (await log.read(9, 2))[1:] == (9, 5)
    assert [row.version for row in await log.read_stream("pledge-x", 2, 2)] == [3, 4]


async def test_a_page_ends_before_it_is_too_big(log: Log) -> None:
    payload = b'"' + b"x" * (READ_BYTES // 2 - 2) + b'"'
    await added(log, a_row(1, payload=payload), a_row(2, payload=payload), a_row(3, payload=payload))
    page = await log.read(0, 10)
    assert ([row.position for row in page.rows], page.next_after) == ([1, 2], 2)
    page = await log.read(2, 10)
    assert ([row.position for row in page.rows], page.next_after) == ([3], 3)


async def test_an_id_that_is_not_there_or_is_none_gives_no_event(log: Log) -> None:
    assert await log.event(str(uuid_utils.uuid7())) is None
    assert await log.event("no id") is None


async def test_names_are_found_by_how_they_begin(log: Log) -> None:
    streams = ("pledge-gbr-fpv", "pledge-gbr", "pledge-gc", "pledge-g", "party-GBR")
    await added(log, *(a_row(position, stream, 1) for position, stream in enumerate(streams, 1)))
    assert await log.names("pledge-gb", 9) == ["pledge-gbr", "pledge-gbr-fpv"]
    assert await log.names("pledge-", 2) == ["pledge-g", "pledge-gbr"]


@pytest.mark.parametrize(
    "bad",
    [
        a_row(1, "pledge-y", 1),
        a_row(2, "pledge-x", 1),
        a_row(2, "pledge-y", 1, event_id="01900000-0000-7000-8000-000000000000"),
    ],
    ids=["position", "version", "event id"],
)
async def test_what_is_taken_is_refused_and_nothing_of_the_transaction_stays(log: Log, bad: Row) -> None:
    await added(log, a_row(1, "pledge-x", 1, event_id="01900000-0000-7000-8000-000000000000"))
    with pytest.raises(Rejected):
        await added(log, bad, receipts=(Receipt("c", "f", "{}"),))
    async with log.transaction() as transaction:
        look = await transaction.look(["pledge-x", "pledge-y"], ["c"])
    assert (look.position, look.versions, look.receipts) == (1, {"pledge-x": 1}, {})


async def test_a_receipt_is_written_once(log: Log) -> None:
    await added(log, receipts=(Receipt("c", "f", "{}"),))
    with pytest.raises(Rejected):
        await added(log, a_row(1), receipts=(Receipt("c", "g", "{}"),))
    assert await log.head() == 0


async def test_whoever_takes_the_lock_sees_all_that_was_written_under_it(another: Another) -> None:
    """Many writers read the head and write after a delay: without the lock, or reading with it, positions collide."""

    async def write(log: Log, count: int) -> None:
        for _ in range(count):
            async with log.transaction() as transaction:
                head = (await transaction.look(["pledge-x"], [])).position
                await asyncio.sleep(0.002)
                await transaction.append([a_row(head + 1)], [], NOON)

    await asyncio.gather(*(write(another(), 10) for _ in range(6)))
    rows = (await another().read(0, 100)).rows
    assert [row.position for row in rows] == list(range(1, 61))


async def test_a_log_that_is_as_it_was_seen_is_added_to_at_once(log: Log) -> None:
    await added(log, a_row(1, "pledge-x"), receipts=(Receipt("c", "f", "{}"),))
    seen = Look(1, NOON, {"pledge-x": 1, "pledge-y": 0}, {})
    new = [a_row(2, "pledge-x", 2), a_row(3, "pledge-y", 1)]
    assert await log.append(seen, new, [Receipt("d", "g", "{}")], NOON)
    assert (await log.read(1, 9)).rows == new
    async with log.transaction() as transaction:
        look = await transaction.look(["pledge-x", "pledge-y"], ["c", "d"])
    assert (look.position, look.versions, set(look.receipts)) == (3, {"pledge-x": 2, "pledge-y": 1}, {"c", "d"})


@pytest.mark.parametrize(
    ("seen", "command"),
    [
        (Look(1, NOON, {"pledge-x": 1}, {}), "new"),
        (Look(3, NOON, {"pledge-x": 1}, {}), "new"),
        (Look(2, NOON, {"pledge-x": 2}, {}), "new"),
        (Look(2, NOON, {"pledge-x": 1, "pledge-y": 0}, {}), "new"),
        (Look(2, NOON, {"pledge-x": 1, "pledge-z": 1}, {}), "new"),
        (Look(2, NOON, {"pledge-x": 1}, {}), "known"),
    ],
    ids=["it has grown", "it has shrunk", "a version", "a stream is used", "a stream is not used", "a receipt"],
)
async def test_a_log_that_is_not_as_it_was_seen_stays_as_it_is(log: Log, seen: Look, command: str) -> None:
    await added(log, a_row(1, "pledge-x", 1), a_row(2, "pledge-y", 1), receipts=(Receipt("known", "f", "{}"),))
    assert not await log.append(seen, [a_row(3, "pledge-new", 1)], [Receipt(command, "g", "{}")], NOON)
    async with log.transaction() as transaction:
        look = await transaction.look(["pledge-new"], ["new", "known"])
    assert (look.position, look.versions) == (2, {})
    assert {command: receipt.fingerprint for command, receipt in look.receipts.items()} == {"known": "f"}


async def test_whoever_adds_at_once_waits_for_the_lock_and_sees_what_was_written_under_it(another: Another) -> None:
    one, other = another(), another()
    await added(other)  # is connected
    seen = Look(0, None, {"pledge-x": 0}, {})
    async with one.transaction() as transaction:
        await transaction.append([a_row(1)], [], NOON)
        adding = asyncio.create_task(other.append(seen, [a_row(1)], [Receipt("c", "f", "{}")], NOON))
        await asyncio.sleep(0.05)
    assert not await adding
    assert await one.head() == 1


async def test_a_log_has_one_epoch(another: Another) -> None:
    assert await another().epoch() == await another().epoch()


# ------------------------------------------------------------------------------------------- PostgreSQL alone


@pytest_asyncio.fixture
async def postgres(commitments_url: str) -> AsyncIterator[PostgresLog]:
    log = PostgresLog(commitments_url)
    yield log
    await log.close()


CHANGES = [
    f"{change.format(table)}{' CASCADE' * ('TRUNCATE' in change)}"
    for table in ("events", "commands")
    for change in ("UPDATE {} SET recorded_at = now()", "DELETE FROM {}", "TRUNCATE {}")
]


@pytest.mark.parametrize("change", CHANGES)
async def test_nobody_changes_what_was_recorded(
    postgres: PostgresLog, commitments_url: str, commitments_owner_url: str, change: str
) -> None:
    await added(postgres, a_row(1), receipts=(Receipt("c", "f", "{}"),))
    for url, refusal in (
        (commitments_url, asyncpg.InsufficientPrivilegeError),
        (commitments_owner_url, asyncpg.RestrictViolationError),
    ):
        connection = await asyncpg.connect(url)
        try:
            with pytest.raises(refusal):
                await connection.execute(change)
        finally:
            await connection.close()
    assert await postgres.head() == 1


async def test_not_even_a_superuser_who_replicates_changes_an_event(
    postgres: PostgresLog, commitments_database: Database
) -> None:
    await added(postgres, a_row(1))
    connection = await asyncpg.connect(commitments_database.servers.admin_url, database=commitments_database.name)
    try:
        await connection.execute("SET session_replication_role = replica")
        with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
            await connection.execute("DELETE FROM events")
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "change", ["UPDATE ledger SET epoch = gen_random_uuid()", "DELETE FROM streams", "DROP TABLE events"]
)
async def test_the_service_may_only_add(commitments_url: str, change: str) -> None:
    connection = await asyncpg.connect(commitments_url)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(change)
    finally:
        await connection.close()


async def test_the_statements_need_the_newest_migration(postgres: PostgresLog) -> None:
    assert heads(PROJECT / "migrations" / "commitments" / "versions") == {REVISION}
    assert await postgres.revision() == REVISION


async def test_a_log_that_nobody_answers_for_is_away_at_once() -> None:
    log = PostgresLog("postgresql://nobody:x@127.0.0.1:1/nothing")
    started = time.monotonic()
    with pytest.raises(Away):
        await log.head()
    with pytest.raises(Away):
        await added(log, a_row(1))
    assert time.monotonic() - started < 5
    await log.close()


@pytest.mark.parametrize("pooled", [False, True])
async def test_who_is_frozen_with_the_lock_loses_it(postgres: PostgresLog, commitments_url: str, pooled: bool) -> None:
    frozen, begin = await opened(commitments_url, pooled=pooled)
    await frozen.execute(begin)  # and then its process was stopped
    started = time.monotonic()
    while True:
        try:
            await added(postgres, a_row(1))
            break
        except Away:
            assert time.monotonic() - started < 5
    assert time.monotonic() - started < 5
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await frozen.execute("COMMIT")
    frozen.terminate()


async def test_who_takes_too_long_is_away(postgres: PostgresLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "TRANSACTION_S", 0.2)

    async def linger() -> None:
        async with postgres.transaction() as transaction:
            await transaction.append([a_row(1)], [], NOON)
            await asyncio.sleep(30)

    with pytest.raises(Away):
        await linger()
    monkeypatch.undo()
    assert await postgres.head() == 0
    await added(postgres, a_row(1, "pledge-y"))
    assert [row.stream for row in (await postgres.read(0, 10)).rows] == ["pledge-y"]


async def test_a_log_comes_back_after_its_connections_were_ended(
    postgres: PostgresLog, commitments_database: Database
) -> None:
    await added(postgres, a_row(1))
    connection = await asyncpg.connect(commitments_database.servers.admin_url)
    try:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", commitments_database.name
        )
    finally:
        await connection.close()
    for attempt in range(2):
        try:
            await added(postgres, a_row(2))
            break
        except Away:
            assert attempt == 0
    assert await postgres.head() == 2


@asynccontextmanager
async def pgbouncer(url: str) -> AsyncIterator[str]:
    """The way to a database through pgbouncer in transaction mode, over two connections."""
    binary = shutil.which("pgbouncer")
    if binary is None:
        pytest.skip("pgbouncer is not installed here")
    parts, port = urlsplit(url), Port()
    home = Path(tempfile.mkdtemp(prefix="muster-pgbouncer-"))
    home.chmod(0o755)  # it refuses to run as root, and drops to a user who has to read this
    (home / "pgbouncer.ini").write_text(
        f"""[databases]
log = host={parts.hostname} port={parts.port} dbname={parts.path[1:]} user={parts.username} password={parts.password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port.number}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
"""
    )
    as_somebody = ("-u", "nobody") if os.geteuid() == 0 else ()
    process = await asyncio.create_subprocess_exec(
        *(binary, "-q", *as_somebody, str(home / "pgbouncer.ini")), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield f"postgresql://anybody:x@127.0.0.1:{port.number}/log"
    finally:
        process.terminate()
        await process.wait()
        port.release()
        shutil.rmtree(home)


async def test_everything_works_through_pgbouncer(commitments_url: str) -> None:
    """More lines than pgbouncer has connections: whoever keeps something on one finds it with somebody else."""
    async with pgbouncer(commitments_url) as url:
        logs = [PostgresLog(url, pooled=True) for _ in range(6)]

        async def work(log: Log) -> None:
            for _ in range(15):
                async with log.transaction() as transaction:
                    head = (await transaction.look(["pledge-x"], [])).position
                    await transaction.append([a_row(head + 1)], [], NOON)
                assert (await log.read(head, 10, Filter(stream="pledge-x"))).rows[0].position == head + 1
                assert await log.names("pledge-", 10) == ["pledge-x"]

        async with asyncio.timeout(20):
            while await is_away(logs[0]):
                await asyncio.sleep(0.05)
        await asyncio.gather(*(work(log) for log in logs))
        assert [row.position for row in (await logs[0].read(0, 100)).rows] == list(range(1, 91))
        for log in logs:
            await log.close()


async def is_away(log: Log) -> bool:
    try:
        await log.head()
    except Away:
        return True
    return False


async def test_no_lock_is_left_behind(postgres: PostgresLog, commitments_url: str) -> None:
    await added(postgres, a_row(1), a_row(2))
    connection = await asyncpg.connect(commitments_url)
    held = await connection.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1", LOCK)
    await connection.close()
    assert held == 0
