"""A ledger's stream as the relay makes it, and events to put there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import nats
from nats.aio.client import Client
from nats.js.api import StreamConfig
from uuid_utils import uuid7

from services.projections.consumer import Batch, CannotRead, Place, Stream
from shared.cloudevent import headers
from shared.codec import encode
from shared.days import Said, last_day
from shared.events import Entry, stored_name
from shared.events.amendments import EntryCorrected, EntryRetracted
from shared.recorded import Recorded
from shared.subjects import STREAM_SETTINGS, everything, stream_name, subject

BEGINNING = datetime(2024, 2, 15, 12, tzinfo=UTC)
START = Place(0)


def recorded(entries: Iterable[Entry], *, after: int = 0, before: Iterable[Recorded] = ()) -> list[Recorded]:
    """Entries as the log holds them, a second apart; their streams go on from what is `before` them."""
    versions = {event.stream: event.version for event in before}
    events = []
    for position, entry in enumerate(entries, start=after + 1):
        versions[entry.stream] = version = versions.get(entry.stream, 0) + 1
        day = last_day(entry.happened or Said("2024-02-15"))
        events.append(
            Recorded(
                position=position,
                stream=entry.stream,
                version=version,
                event_id=str(uuid7()),
                type=stored_name(entry),
                happened_on=day,
                reported_on=day,
                recorded_at=BEGINNING + timedelta(seconds=position),
                recorded_by="anonymous",
                event=entry,
                payload=encode(entry),
            )
        )
    return events


def correction(event: Recorded, now: Entry) -> EntryCorrected:
    """It was never so: the entry says `now` instead."""
    return EntryCorrected(
        thing=event.stream,
        entry=event.event_id,
        entry_position=event.position,
        entry_type=event.type,
        entry_happened=event.event.happened,
        now=now,
        reason="misread",
    )


def retraction(event: Recorded) -> EntryRetracted:
    """It never happened."""
    return EntryRetracted(
        thing=event.stream,
        entry=event.event_id,
        entry_position=event.position,
        entry_type=event.type,
        entry_happened=event.event.happened,
        reason="made up",
    )


@dataclass
class Published:
    """The stream of one ledger, open to whoever may publish."""

    client: Client
    ledger: str

    @property
    def name(self) -> str:
        return stream_name(self.ledger)

    async def create(self, **settings: Any) -> None:
        chosen: dict[str, Any] = {key: value for key, value in STREAM_SETTINGS.items() if key != "duplicate_window"}
        config = StreamConfig(name=self.name, subjects=[everything(self.ledger)], **(chosen | settings))
        await self.client.jetstream().add_stream(config)

    async def put(self, events: Sequence[Recorded]) -> None:
        """Publish events in order; many are on their way at once."""
        js = self.client.jetstream(publish_async_max_pending=2_000)
        acks = [
            await js.publish_async(
                subject(self.ledger, event.type, event.event.coalitions, event.stream),
                event.payload,
                headers=headers(event, self.ledger),
            )
            for event in events
        ]
        for event, ack in zip(events, acks, strict=True):
            assert (await ack).seq == event.position

    async def put_bytes(self, payload: bytes, found: dict[str, str] | None = None) -> None:
        """Publish what is no event."""
        await self.client.jetstream().publish(f"{self.ledger}.v1.pledge.announced._.x", payload, headers=found)

    async def drop(self) -> None:
        """Lose the stream."""
        await self.client.jetstream().delete_stream(self.name)


@asynccontextmanager
async def a_stream(url: str, ledger: str, **settings: Any) -> AsyncIterator[Published]:
    """The stream of a ledger while the block runs."""
    client = await nats.connect(url)
    stream = Published(client, ledger)
    try:
        await stream.create(**settings)
        yield stream
    finally:
        await client.close()


async def next_batch(stream: Stream, after: Place, *, most: int = 1_000) -> Batch:
    """Wait until something comes after a place. It may be a part of what is there: more may be on its way."""
    async with asyncio.timeout(60):
        while True:
            batch = await stream.read(after, most)
            if batch.events or batch.unreadable:
                return batch


async def read_until(stream: Stream, head: int, *, after: Place = START, most: int = 1_000) -> list[Recorded]:
    """Read on, through whatever is away for a while, until an event at `head` came."""
    found: list[Recorded] = []
    async with asyncio.timeout(60):
        while after.position < head:
            try:
                batch = await next_batch(stream, after, most=most)
            except CannotRead:
                await asyncio.sleep(0.05)
                continue
            found += batch.events
            if batch.events:
                after = Place(batch.events[-1].position, batch.events[-1].event_id)
    return found
