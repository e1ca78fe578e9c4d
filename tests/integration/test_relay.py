"""From the log to the stream: in order, each event at the sequence of its position, whatever is lost on the way."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx2
import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from muster.embedded import Port
from muster.provision import PROJECT
from services.commitments import relay as relaying
from services.commitments.batch_publish import Message, NotStored, Publisher
from services.commitments.domain.commands import Record
from services.commitments.handling import Identity, Ledger
from services.commitments.health import app
from services.commitments.hints import hints
from services.commitments.jetstream import LedgerStream
from services.commitments.log.contract import EVERYTHING, Filter, Log, Page, Row
from services.commitments.log.memory import MemoryLog
from services.commitments.log.store import PostgresLog
from services.commitments.relay import Relay, message
from shared.cloudevent import from_headers, header_lines, headers
from shared.events import Entry
from shared.events.coalitions import CoalitionFormed
from shared.events.parties import CapabilityNamed
from shared.subjects import head_hint, stream_name
from tests.examples import A_SOURCE, a_coalition, a_delivery, a_pledge
from tests.integration.wire import wire

WITHIN_S = 30.0
EVENTS = int(os.environ.get("MUSTER_TEST_EVENTS", "3000"))
"""How many events many writers write; the promise says 20,000 (MUSTER_TEST_EVENTS=20000)."""

KEYS = count()


async def until(true: Callable[[], object], within_s: float = WITHIN_S) -> None:
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.01)


async def told(ledger: Ledger, *entries: Entry) -> None:
    """Tell a ledger some entries at once, in this order."""
    await asyncio.gather(
        *(
            ledger.handle(Record(entry=entry), Identity(f"key-{next(KEYS)}", "fingerprint", "somebody"))
            for entry in entries
        )
    )


async def pledges(ledger: Ledger, *numbers: int) -> None:
    await told(ledger, *(a_pledge(f"p{number}") for number in numbers))


@asynccontextmanager
async def at_work(log: Log, name: str, url: str) -> AsyncIterator[Relay]:
    """A relay that works while the block runs."""
    relay = Relay(log, ledger=name, nats_url=url)
    working = asyncio.create_task(relay.run())
    try:
        yield relay
        assert not working.done(), "the relay ended"
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


@dataclass
class Place:
    """A log, its ledger, and the way to its stream."""

    log: Log
    ledger: Ledger
    name: str
    nats_url: str
    client: Client

    def relay(self, **other: Any) -> Any:
        return at_work(other.get("log", self.log), self.name, other.get("nats_url", self.nats_url))

    async def rows(self) -> list[Row]:
        found: list[Row] = []
        after = 0
        while (page := await self.log.read(after, 1_000)).rows:
            found += page.rows
            after = page.next_after
        return found

    async def stream(self) -> list[Msg]:
        """All that the stream holds, in its order."""
        js = self.client.jetstream()
        info = await js.stream_info(stream_name(self.name))
        config = ConsumerConfig(ack_policy=AckPolicy.NONE, deliver_policy=DeliverPolicy.ALL, mem_storage=True)
        subscription = await js.pull_subscribe("", stream=stream_name(self.name), config=config)
        found: list[Msg] = []
        while len(found) < info.state.messages:
            found += await subscription.fetch(500, timeout=5)
        await subscription.unsubscribe()
        return found

    async def holds(self, messages: int) -> None:
        """Wait until the stream holds so many messages."""
        stream = LedgerStream(self.client, self.name, 1)
        async with asyncio.timeout(WITHIN_S):
            while (state := await stream.state()) is None or state.messages != messages:
                await asyncio.sleep(0.02)

    async def must_be_equal(self) -> None:
        """The stream is the log: every event at the sequence of its position, byte for byte."""
        rows, messages = await self.rows(), await self.stream()
        assert [message.metadata.sequence.stream for message in messages] == [row.position for row in rows]
        assert [(message.data, (message.headers or {})["ce-id"]) for message in messages] == [
            (row.payload, row.event_id) for row in rows
        ]


@pytest_asyncio.fixture
async def client(nats_url: str) -> AsyncIterator[Client]:
    client = await nats.connect(nats_url)
    yield client
    await client.close()


@asynccontextmanager
async def place_of(log: Log, name: str, nats_url: str, client: Client) -> AsyncIterator[Place]:
    ledger = Ledger(log)
    yield Place(log, ledger, name, nats_url, client)
    await ledger.close(0.5)
    await log.close()
    with suppress(NotFoundError):
        await client.jetstream().delete_stream(stream_name(name))


@pytest_asyncio.fixture
async def place(commitments_url: str, ledger_name: str, nats_url: str, client: Client) -> AsyncIterator[Place]:
    """The real log beside the real stream."""
    async with place_of(PostgresLog(commitments_url), ledger_name, nats_url, client) as place:
        yield place


@pytest_asyncio.fixture
async def light(ledger_name: str, nats_url: str, client: Client) -> AsyncIterator[Place]:
    """A log in memory beside the real stream."""
    async with place_of(MemoryLog(), ledger_name, nats_url, client) as place:
        yield place


# ----------------------------------------------------------------------------------------------------- messages


async def test_every_event_stands_at_its_position_as_it_was_stored(place: Place) -> None:
    await told(place.ledger, a_coalition(), a_pledge(coalition="drones", note="»ü« \x01"), a_delivery())
    async with place.relay() as relay:
        await until(lambda: relay.position == 3)
        await pledges(place.ledger, *range(50))
        await until(lambda: relay.position == 53)
    await place.must_be_equal()
    for row, published in zip(await place.rows(), await place.stream(), strict=True):
        event = from_headers(published.headers or {}, published.data)
        assert (event.position, event.stream, event.version) == (row.position, row.stream, row.version)
        assert (event.happened_on, event.reported_on) == (row.happened_on, row.reported_on)
        assert (event.recorded_at, event.recorded_by) == (row.recorded_at, row.recorded_by)


async def test_subjects_say_what_happened_where(place: Place) -> None:
    await told(
        place.ledger,
        CoalitionFormed(coalition="drones", name="Drones", formed_on=a_coalition().formed_on, sources=A_SOURCE),
        a_pledge("gbr-fpv", coalition="drones"),
        CapabilityNamed(capability="drone.fpv", name="First-person view", sources=A_SOURCE),
    )
    async with place.relay() as relay:
        await until(lambda: relay.position == 3)
    assert [message.subject.removeprefix(place.name) for message in await place.stream()] == [
        ".v1.coalition.formed.drones.drones",
        ".v1.pledge.announced.drones.gbr-fpv",
        ".v1.capability.named._.drone.fpv",
    ]


async def test_header_lines_say_what_the_headers_say(place: Place) -> None:
    identity = Identity(
        "key", "f", 'näme "of" 100% a:caller', "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    )
    await place.ledger.handle(Record(entry=a_pledge()), identity)
    (row,) = await place.rows()
    lines = [line.split(": ", 1) for line in header_lines(row, "ledger").split("\r\n") if line]
    assert dict(lines) == headers(row, "ledger")
    assert len(lines) == 14
    async with place.relay() as relay:
        await until(lambda: relay.position == 1)
    (published,) = await place.stream()
    assert from_headers(published.headers or {}, published.data).recorded_by == identity.caller


@pytest.mark.parametrize("number", [1, 3, 4, 1_000])
async def test_messages_are_stored_right_after_the_last_or_not_at_all(
    light: Place, client: Client, number: int
) -> None:
    stream = LedgerStream(client, light.name, 1)
    publisher = Publisher(client, atomic=(await stream.create("epoch")).atomic)
    await publisher.open()
    messages = [Message(f"{light.name}.v1.pledge.announced._.p{n}", "ce-id: x\r\n", b"{}") for n in range(number)]
    await publisher.publish(messages, 0)
    with pytest.raises(NotStored) as again:
        await publisher.publish(messages, 0)
    assert again.value.elsewhere
    with pytest.raises(NotStored):
        await publisher.publish(messages, number + 1)
    await publisher.publish(messages, number)
    state = await stream.state()
    assert state is not None
    assert (state.last, state.messages, state.whole) == (2 * number, 2 * number, True)
    await publisher.close()


async def test_without_a_stream_nothing_is_stored(light: Place, client: Client) -> None:
    publisher = Publisher(client, atomic=True)
    await publisher.open()
    for number in (1, 5):
        with pytest.raises(NotStored) as refused:
            await publisher.publish([Message(f"{light.name}.v1.a.b._.c", "", b"")] * number, 0)
        assert not refused.value.elsewhere
    await publisher.close()


# ------------------------------------------------------------------------------------------------------ the work


async def test_a_relay_goes_on_where_the_stream_ends(place: Place) -> None:
    for number in range(3):
        await pledges(place.ledger, *range(number * 10, number * 10 + 10))
        async with place.relay() as relay:
            await until(lambda: relay.position == relay.head > 0)
    assert len(await place.stream()) == 30
    await place.must_be_equal()


async def test_a_relay_is_woken_by_a_hint(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying, "POLL_S", 60)
    async with (
        hints(place.nats_url, place.name, place.ledger.growth, place.ledger.own_growth),
        place.relay() as relay,
    ):
        await until(lambda: relay.why_not is None)
        await asyncio.sleep(0.3)  # it waits now
        await pledges(place.ledger, 1)
        await until(lambda: relay.position == 1, within_s=5)


async def test_a_relay_reads_once_for_a_hint_also_for_one_that_lies(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a relay that waits / When it is told of a position / Then it reads the log once, and goes on waiting."""
    monkeypatch.setattr(relaying, "POLL_S", 60)
    reads: list[int] = []
    read = place.log.read

    async def counted(after: int, limit: int, where: Filter = EVERYTHING) -> Page:
        reads.append(after)
        return await read(after, limit, where)

    async with (
        hints(place.nats_url, place.name, place.ledger.growth, place.ledger.own_growth),
        place.relay() as relay,
    ):
        await until(lambda: relay.why_not is None)
        await asyncio.sleep(0.3)  # it waits now
        monkeypatch.setattr(place.log, "read", counted)
        for number in (1, 2):
            await pledges(place.ledger, number)
            await until(lambda told=number: relay.position == told, within_s=5)  # type: ignore[misc]  # bound now
        await asyncio.sleep(0.1)
        assert reads == [0, 1]
        await place.client.publish(head_hint(place.name), b"999")
        await asyncio.sleep(0.1)
        assert reads == [0, 1, 2]


async def test_another_replica_hears_of_what_one_records(place: Place, commitments_url: str) -> None:
    log = PostgresLog(commitments_url)
    other = Ledger(log)
    other._watching.cancel()  # it does not look, it is told
    async with (
        hints(place.nats_url, place.name, place.ledger.growth, place.ledger.own_growth),
        hints(place.nats_url, place.name, other.growth, other.own_growth),
    ):
        await asyncio.sleep(0.3)
        await pledges(place.ledger, 1)
        assert await other.beyond(0, 5) == 1
    await other.close(0.5)
    await log.close()


async def test_a_stream_that_is_deleted_is_made_again(light: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying, "LOOK_S", 0.1)
    await pledges(light.ledger, *range(20))
    async with light.relay() as relay:
        await until(lambda: relay.position == 20)
        await light.client.jetstream().delete_stream(stream_name(light.name))
        await light.holds(20)
        await light.must_be_equal()
        await light.client.jetstream().delete_stream(stream_name(light.name))
        await pledges(light.ledger, *range(20, 25))
        await light.holds(25)
    await light.must_be_equal()


async def test_a_stream_with_holes_is_made_anew(light: Place, client: Client) -> None:
    await pledges(light.ledger, *range(20))
    stream = LedgerStream(client, light.name, 1)
    wanted = stream._wanted() | {"deny_purge": False, "deny_delete": False}
    await stream._ask("CREATE", {**wanted, "metadata": {"muster-epoch": await light.log.epoch()}})
    publisher = Publisher(client, atomic=True)
    await publisher.open()
    await publisher.publish([message(row, light.name) for row in await light.rows()], 0)
    await publisher.close()
    await client.jetstream().purge_stream(stream_name(light.name), seq=11)
    async with light.relay() as relay:
        await until(lambda: relay.position == 20)
    await light.must_be_equal()
    await client.jetstream().stream_info(stream_name(light.name))


async def test_an_emptied_stream_is_made_anew(light: Place, client: Client) -> None:
    await pledges(light.ledger, *range(5))
    stream = LedgerStream(client, light.name, 1)
    epoch = {"muster-epoch": await light.log.epoch()}
    await stream._ask("CREATE", {**stream._wanted(), "deny_purge": False, "first_seq": 6, "metadata": epoch})
    async with light.relay() as relay:
        await until(lambda: relay.position == 5)
    await light.must_be_equal()


async def test_settings_that_somebody_changed_are_put_right(light: Place, client: Client) -> None:
    stream = LedgerStream(client, light.name, 1)
    await stream._ask("CREATE", {"name": stream.name, "subjects": [f"{light.name}.v1.>"], "max_msgs": -1})
    await pledges(light.ledger, *range(5))
    async with light.relay() as relay:
        await until(lambda: relay.position == 5)
    config = (await client.jetstream().stream_info(stream.name)).config
    assert config.deny_delete
    assert config.deny_purge
    assert config.allow_atomic
    assert (config.metadata or {})["muster-epoch"] == await light.log.epoch()


async def test_a_stream_that_is_no_copy_of_the_log_stops_the_relay(light: Place, client: Client) -> None:
    await pledges(light.ledger, *range(5))
    async with light.relay() as relay:
        await until(lambda: relay.position == 5)
    restored = Ledger(other := MemoryLog())
    await told(restored, *(a_pledge(f"other-{number}") for number in range(8)))
    async with light.relay(log=other) as relay:
        await until(lambda: "no copy of this log" in (relay.why_not or ""))
        await asyncio.sleep(0.3)
        assert relay.position == 0
    await restored.close()
    await light.must_be_equal()
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app(lambda: relay.why_not)), base_url="http://x"
    ) as page:
        answer = await page.get("/readyz")
        assert (answer.status_code, "no copy" in answer.json()["detail"]) == (503, True)
        assert (await page.get("/healthz")).status_code == 200
        assert "muster_relay_position" in (await page.get("/metrics")).text


async def test_a_log_that_is_shorter_than_its_stream_stops_the_relay(light: Place) -> None:
    await pledges(light.ledger, *range(5))
    async with light.relay() as relay:
        await until(lambda: relay.position == 5)
    restored = MemoryLog()
    restored._epoch = await light.log.epoch()  # as a backup has it
    restored.rows = (await light.rows())[:3]
    async with light.relay(log=restored) as relay:
        await until(lambda: "the log has none" in (relay.why_not or ""))
    assert len(await light.stream()) == 5


async def test_an_event_of_a_later_version_stops_the_relay_before_it(light: Place) -> None:
    await pledges(light.ledger, *range(3))
    log = MemoryLog()
    log._epoch = await light.log.epoch()
    log.rows = await light.rows()
    log.rows[2] = log.rows[2]._replace(type="muster.pledge.forgotten.v9")
    async with light.relay(log=log) as relay:
        await until(lambda: "does not know" in (relay.why_not or ""))


async def test_of_two_relays_one_works_and_the_other_takes_over(light: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying, "STAND_BY_S", 0.3)
    monkeypatch.setattr(relaying, "POLL_S", 0.1)
    async with light.relay() as second:
        async with light.relay() as first:
            for number in range(60):
                await pledges(light.ledger, *range(number * 20, number * 20 + 20))
            await until(lambda: {first.position, second.position} == {1200})
        await pledges(light.ledger, *range(1200, 1210))
        await until(lambda: second.position == 1210)
    await light.must_be_equal()


async def test_what_is_recorded_while_nats_is_away_is_published_when_it_is_back(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relaying, "LOOK_S", 0.1)
    async with wire(place.nats_url) as line, place.relay(nats_url=line.url) as relay:
        await pledges(place.ledger, *range(10))
        await until(lambda: relay.position == 10)
        await line.down()
        await pledges(place.ledger, *range(10, 500))
        await until(lambda: relay.why_not is not None)
        await line.up()
        await until(lambda: relay.position == 500)
    await place.must_be_equal()


async def test_a_relay_that_begins_without_nats_waits_for_it(light: Place) -> None:
    async with wire(light.nats_url) as line:
        await line.down()
        await pledges(light.ledger, 1)
        async with light.relay(nats_url=line.url) as relay:
            await asyncio.sleep(0.3)
            assert relay.why_not is not None
            await line.up()
            await until(lambda: relay.position == 1)


async def test_a_relay_whose_log_is_away_says_so_and_goes_on_later(place: Place, commitments_url: str) -> None:
    await pledges(place.ledger, *range(10))
    async with wire(commitments_url) as line:
        log = PostgresLog(line.url)
        async with place.relay(log=log) as relay:
            await until(lambda: relay.position == 10)
            await line.down()
            await pledges(place.ledger, *range(10, 20))
            await until(lambda: relay.why_not is not None)
            await line.up()
            await until(lambda: relay.position == 20)
        await log.close()
    await place.must_be_equal()


async def test_a_connection_that_is_lost_again_and_again_loses_and_doubles_nothing(place: Place) -> None:
    async with wire(place.nats_url) as line, place.relay(nats_url=line.url) as relay:
        for number in range(15):
            await pledges(place.ledger, *range(number * 40, number * 40 + 40))
            await asyncio.sleep(0.03)
            line.cut()
        await until(lambda: relay.position == 600)
    await place.must_be_equal()


@dataclass
class Writers:
    """Twelve who write, over three replicas, to streams that everybody writes to and to streams of their own."""

    ledgers: list[Ledger]
    each: int
    outcomes: list[int] = field(default_factory=list)

    async def write(self, writer: int) -> None:
        ledger = self.ledgers[writer % len(self.ledgers)]
        for number in range(self.each):
            name = f"w{writer}-{number}"
            hot = f"hot-{number // 60}"  # all of them write to it at the same time, and then to the next one
            entry: Entry = a_delivery(name, of=hot) if number % 3 else a_pledge(name, coalition="drones")
            outcome = await ledger.handle(Record(entry=entry), Identity(name, name, f"writer {writer}"))
            self.outcomes.append(outcome.position)


@pytest.mark.timeout(400)
async def test_many_writers_leave_no_hole_and_every_sequence_is_its_position(
    place: Place, commitments_url: str
) -> None:
    logs = [PostgresLog(commitments_url) for _ in range(3)]
    writers = Writers([Ledger(log) for log in logs], each=EVENTS // 12)
    hot = [a_pledge(f"hot-{number}", coalition="drones") for number in range(writers.each // 60 + 1)]
    await told(place.ledger, a_coalition(), *hot)
    before = 1 + len(hot)
    async with place.relay() as relay, place.relay():
        await asyncio.gather(*(writers.write(writer) for writer in range(12)))
        total = before + 12 * writers.each
        await until(lambda: relay.position == total, within_s=180)
    assert sorted(writers.outcomes) == list(range(before + 1, total + 1))
    assert [row.position for row in await place.rows()] == list(range(1, total + 1))
    await place.must_be_equal()
    for ledger, log in zip(writers.ledgers, logs, strict=True):
        await ledger.close(0.5)
        await log.close()


async def test_the_process_copies_says_that_it_is_ready_and_ends_when_told(place: Place, commitments_url: str) -> None:
    await pledges(place.ledger, *range(10))
    port = Port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.commitments", "relay"),
        cwd=PROJECT,
        env={
            **os.environ,
            "MUSTER_COMMITMENTS_DATABASE_URL": commitments_url,
            "MUSTER_NATS_URL": place.nats_url,
            "MUSTER_LEDGER": place.name,
            "MUSTER_RELAY_PORT": str(port.number),
        },
    )
    try:
        async with httpx2.AsyncClient(trust_env=False) as page, asyncio.timeout(WITHIN_S):
            while True:
                try:
                    if (await page.get(f"http://127.0.0.1:{port.number}/readyz")).is_success:
                        break
                except httpx2.ConnectError:
                    pass
                await asyncio.sleep(0.05)
            while (
                f"muster_relay_position {10.0}" not in (await page.get(f"http://127.0.0.1:{port.number}/metrics")).text
            ):
                await asyncio.sleep(0.05)
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await process.wait() == 0
        port.release()
    await place.must_be_equal()
