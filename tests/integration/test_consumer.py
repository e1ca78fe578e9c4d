"""The stream as the read side takes it, on a real NATS server."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest_asyncio
from msgspec.structs import replace
from nats.aio.msg import Msg

from muster.children import Child
from muster.embedded import Nats, Port, _running, nats_in
from services.projections.consumer import Batch, CannotRead, Place, Stream
from shared.cloudevent import headers
from shared.recorded import Recorded
from tests.examples import a_delivery, a_pledge, pieces
from tests.integration.streams import Published, a_stream, next_batch, read_until, recorded

Reader = Callable[..., Stream]


def a_ledger(size: int) -> list[Recorded]:
    deliveries = (a_delivery(f"d{n}", pieces(n)) for n in range(1, size))
    return recorded([a_pledge("x", pieces(500)), *deliveries])


def positions(batch: Batch) -> list[int]:
    return [event.position for event in batch.events]


async def refusal(stream: Stream, after: Place, *, tries: int = 5) -> str:
    """What the stream says when it cannot be read, within a few tries."""
    for _ in range(tries):
        try:
            batch = await stream.read(after, 10)
        except CannotRead as error:
            return str(error)
        assert not batch.events
    raise AssertionError("it can be read")


@pytest_asyncio.fixture
async def published(nats_url: str, ledger_name: str) -> AsyncIterator[Published]:
    async with a_stream(nats_url, ledger_name) as stream:
        yield stream


@pytest_asyncio.fixture
async def reader(nats_reader_url: str, ledger_name: str) -> AsyncIterator[Reader]:
    opened: list[Stream] = []

    def make(kind: type[Stream] = Stream, *, most: int = 1_000) -> Stream:
        opened.append(kind(nats_reader_url, ledger_name, most=most))
        return opened[-1]

    yield make
    for stream in opened:
        await stream.close()


async def test_events_come_whole_and_in_order(published: Published, reader: Reader) -> None:
    events = a_ledger(50)
    await published.put(events)
    assert await read_until(reader(), 50) == events


async def test_a_reader_begins_after_its_place(published: Published, reader: Reader) -> None:
    events = a_ledger(10)
    await published.put(events)
    stream = reader()
    assert await read_until(stream, 10, after=Place(7, events[6].event_id)) == events[7:]
    assert stream.head == 10


async def test_an_event_comes_to_whoever_waits_for_it(published: Published, reader: Reader) -> None:
    stream = reader()
    assert positions(await stream.read(Place(0), 10)) == []
    waiting = asyncio.create_task(next_batch(stream, Place(0)))
    await asyncio.sleep(0.3)
    await published.put(a_ledger(1))
    assert positions(await waiting) == [1]


async def test_no_more_is_given_than_was_asked_for_and_the_rest_says_how_old_it_is(
    published: Published, reader: Reader
) -> None:
    events = a_ledger(10)
    await published.put(events)
    stream = reader()
    await stream.read(Place(0), 0)
    await until(lambda: len(stream._waiting) == 10)
    batch = await stream.read(Place(0), 4)
    assert positions(batch) == [1, 2, 3, 4]
    assert batch.head == 10
    assert batch.next_at == events[4].recorded_at


async def test_a_reader_that_goes_back_is_given_the_same_again(published: Published, reader: Reader) -> None:
    events = a_ledger(10)
    await published.put(events)
    stream = reader()
    assert await read_until(stream, 10) == events
    assert await read_until(stream, 10, after=Place(3, events[2].event_id)) == events[3:]


async def test_what_another_worker_did_is_passed_over(published: Published, reader: Reader) -> None:
    events = a_ledger(10)
    await published.put(events)
    stream = reader()
    assert positions(await next_batch(stream, Place(0), most=1)) == [1]
    assert await read_until(stream, 10, after=Place(8, events[7].event_id)) == events[8:]


async def test_more_events_than_one_request_holds_come_all(published: Published, reader: Reader) -> None:
    await published.put(a_ledger(350))
    assert [event.position for event in await read_until(reader(most=20), 350, most=20)] == list(range(1, 351))


async def test_what_headers_cannot_hold_comes_as_it_was(published: Published, reader: Reader) -> None:
    event = replace(a_ledger(1)[0], recorded_by='Zoë "100 %" : Ü\t')
    await published.put([event])
    assert (await next_batch(reader(), Place(0))).events == (event,)


async def test_a_hole_in_the_stream_stops_the_reader_until_it_is_whole(nats_url: str, reader: Reader) -> None:
    stream = reader()
    async with a_stream(nats_url, stream._name.lower(), deny_delete=False) as published:
        events = a_ledger(5)
        await published.put(events)
        await published.client.jetstream().delete_msg(published.name, 3)
        assert await read_until(stream, 2) == events[:2]
        place = Place(2, events[1].event_id)
        assert "has a gap: 3 to 3 are missing" in await refusal(stream, place)
        assert "has a gap: 3 to 3 are missing" in await refusal(stream, place)
        await published.drop()
        await published.create()
        await published.put(events)
        assert [event.position for event in await read_until(stream, 5, after=Place(2))] == [3, 4, 5]


async def test_a_stream_that_begins_too_late_is_waited_for(nats_url: str, reader: Reader) -> None:
    stream = reader()
    async with a_stream(nats_url, stream._name.lower(), first_seq=10) as published:
        await published.client.publish(f"{published.ledger}.v1.x.y._.z", b"")
        await published.client.flush()
        assert "begins at 10, but 4 is needed" in await refusal(stream, Place(3))


async def test_a_stream_that_ends_too_early_is_waited_for(published: Published, reader: Reader) -> None:
    await published.put(a_ledger(5))
    assert "ends at 5, but 7 is applied already" in await refusal(reader(), Place(7))


async def test_a_stream_that_is_not_there_yet_is_waited_for(nats_url: str, reader: Reader) -> None:
    stream = reader()
    assert "is not there yet" in await refusal(stream, Place(0))
    async with a_stream(nats_url, stream._name.lower()) as published:
        await published.put(a_ledger(1))
        assert positions(await next_batch(stream, Place(0))) == [1]


async def test_another_event_where_one_was_applied_says_that_the_log_was_restored(
    published: Published, reader: Reader
) -> None:
    await published.put(a_ledger(5))
    assert "the log was restored" in await refusal(reader(), Place(3, a_ledger(1)[0].event_id))


async def test_what_is_no_event_is_given_as_such(published: Published, reader: Reader) -> None:
    events = a_ledger(4)
    await published.put(events[:1])
    await published.put_bytes(b"{}")
    await published.put_bytes(b"{}", headers(events[2], published.ledger))
    await published.put_bytes(events[3].payload, headers(events[2], published.ledger))
    stream = reader()
    found = []
    for position in range(1, 4):
        batch = await next_batch(stream, Place(position))
        assert batch.unreadable is not None
        found.append(batch.unreadable)
    assert [unreadable.position for unreadable in found] == [2, 3, 4]
    assert "ValidationError" in found[1].reason
    assert "it says it is position 3" in found[2].reason


async def test_events_before_what_is_no_event_come_first(published: Published, reader: Reader) -> None:
    await published.put(a_ledger(3))
    await published.put_bytes(b"{}")
    stream = reader()
    assert len(await read_until(stream, 3)) == 3
    batch = await next_batch(stream, Place(3))
    assert (batch.events, batch.unreadable is not None) == ((), True)


async def test_a_consumer_that_was_deleted_is_made_again(published: Published, reader: Reader) -> None:
    events = a_ledger(20)
    await published.put(events[:10])
    stream = reader()
    assert len(await read_until(stream, 10)) == 10
    js = published.client.jetstream()
    for consumer in await js.consumers_info(published.name):
        await js.delete_consumer(published.name, consumer.name)
    await published.put(events[10:])
    assert await read_until(stream, 20, after=Place(10)) == events[10:]


async def test_a_stream_made_anew_from_the_log_is_read_on(published: Published, reader: Reader) -> None:
    events = a_ledger(30)
    await published.put(events[:10])
    stream = reader()
    assert len(await read_until(stream, 10)) == 10
    await published.drop()
    await published.create()
    await published.put(events)
    assert await read_until(stream, 30, after=Place(10)) == events[10:]


class Deaf(Stream):
    """Hears nothing of what its consumer sends, from the third message on, until it makes a new one."""

    heard = 0

    async def _receive(self, msg: Msg) -> None:
        self.heard += 1
        if self.heard < 3 or self.heard > 12:
            await super()._receive(msg)


async def test_silence_is_noticed_and_mended(published: Published, reader: Reader) -> None:
    events = a_ledger(10)
    await published.put(events)
    assert await read_until(reader(Deaf), 10) == events


class Deafened(Stream):
    """Hears nothing any more from a moment on."""

    deaf = False

    async def _receive(self, msg: Msg) -> None:
        if not self.deaf:
            await super()._receive(msg)


async def test_silence_is_noticed_before_an_event_is_missed(published: Published, reader: Reader) -> None:
    events = a_ledger(5)
    await published.put(events)
    stream = cast("Deafened", reader(Deafened))
    assert len(await read_until(stream, 5)) == 5
    inbox = stream._inbox
    stream.deaf = True
    for _ in range(4):
        await stream.read(Place(5, events[4].event_id), 10)
    assert stream._inbox != inbox


@asynccontextmanager
async def own_server(server: Nats, home: Path) -> AsyncIterator[Child]:
    async with _running(server.program(home / "nats.log"), server.ready) as child:
        yield child


async def test_a_server_that_is_killed_and_comes_back_loses_and_doubles_nothing(
    tmp_path: Path, ledger_name: str
) -> None:
    port, monitor_port = Port(), Port()
    server = await nats_in(
        tmp_path / "nats",
        ledger=ledger_name,
        relay_password="relay",
        port=port.number,
        monitor_port=monitor_port.number,
    )
    stream = Stream(server.url, ledger_name)
    events = a_ledger(200)
    reading: asyncio.Task[list[Recorded]] | None = None
    try:
        assert "NATS is away" in await refusal(stream, Place(0))
        async with own_server(server, tmp_path) as child:
            async with a_stream(server.relay_url, ledger_name) as published:
                await published.put(events[:50])
            reading = asyncio.create_task(read_until(stream, 200, most=7))
            await until(lambda: stream._position >= 20)
            os.kill(child.pid, signal.SIGKILL)
        await asyncio.sleep(0.5)
        async with own_server(server, tmp_path):
            async with a_stream(server.relay_url, ledger_name) as published:
                await published.put(events[50:])
            assert await reading == events
    finally:
        if reading is not None:
            reading.cancel()
        await stream.close()
        port.release()
        monitor_port.release()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.005)
