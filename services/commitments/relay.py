"""The relay: from the log to the stream, in the order of positions; the stream's last sequence says how far it is.

The only process that publishes facts. Several may run: each message says which sequence it expects to follow, so one of
them goes on and the others stand by. Whatever is in doubt is settled by asking the stream where it is.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from prometheus_client import Counter, Gauge

from services.commitments.batch_publish import MOST_IN_A_BATCH, Message, NotStored, Publisher
from services.commitments.hints import BUSY, PAUSE_S, Growth, connected
from services.commitments.jetstream import LedgerStream, RefusedByStream, StreamState
from services.commitments.log.contract import Away, Log, Page, Row
from shared.cloudevent import header_lines
from shared.subjects import head_hint, subject

POLL_S: Final = 0.5
LOOK_S: Final = 5.0  # how often an idle relay sees whether the stream is still there, and whole
STAND_BY_S: Final = 1.0  # how long another relay may be silent before this one goes on
STOPPED_S: Final = 5.0  # how often a relay that had to stop looks again
PAUSES_S: Final = (0.1, 0.2, 0.5, 1.0)

PUBLISHED: Final = Gauge("muster_relay_position", "The last position that is known to be in the stream")
HEAD: Final = Gauge("muster_relay_log_position", "The last position that the relay knows of in the log")
EVENTS: Final = Counter("muster_relay_events_total", "Events that this relay published")
REFUSALS: Final = Counter("muster_relay_refusals_total", "Batches that are not known to be stored where they belong")
REBUILDS: Final = Counter("muster_relay_rebuilds_total", "Streams that were made anew from the log")

log = structlog.get_logger()


class Stopped(Exception):
    """Going on would give two events one position, or leave one out: somebody has to look."""


class Relay:
    """Copies one log to one stream until it is cancelled.

    `why_not` says why it does not work now, None when it does (or stands by while another one does). `position` is the
    last one that is known to be in the stream, `head` the log's last as known here.
    """

    def __init__(self, store: Log, *, ledger: str, nats_url: str, replicas: int = 1) -> None:
        self.why_not: str | None = "it is not connected to NATS yet"
        self.position = 0
        self.head = 0
        self._log = store
        self._ledger = ledger
        self._nats_url = nats_url
        self._replicas = replicas
        self._growth = Growth()
        self._publisher: Publisher | None = None

    async def run(self) -> None:
        """Work until cancelled, whatever goes away meanwhile."""
        while True:
            client = await connected(self._nats_url, "muster-relay", self._lost)
            try:
                await client.subscribe(head_hint(self._ledger), cb=self._hinted)
                await self._work(client)
            except (NatsError, OSError) as why:
                self._not_now(why)
                await asyncio.sleep(PAUSES_S[-1])
            finally:
                await client.close()

    async def _work(self, client: Client) -> None:
        """Work over one connection until it is closed for good."""
        stream = LedgerStream(client, self._ledger, self._replicas)
        tries = 0
        while not client.is_closed:
            why: Exception
            try:
                state = await self._attached(stream)
                async with self._publishing(client, state) as publisher:
                    tries = 0
                    await self._follow(publisher, stream, state.last)
                continue
            except NotStored as refused:
                REFUSALS.inc()
                why = refused
            except (Stopped, Away, RefusedByStream, NatsError, OSError) as failed:
                why = failed
            try:
                if isinstance(why, NotStored) and why.elsewhere:
                    await self._stand_by(stream)
                    continue
            except (Away, RefusedByStream, NatsError, OSError) as failed:
                why = failed
            self._not_now(why)
            await asyncio.sleep(STOPPED_S if isinstance(why, Stopped) else PAUSES_S[min(tries, len(PAUSES_S) - 1)])
            tries += 1

    async def _attached(self, stream: LedgerStream) -> StreamState:
        """Find the stream, or make it; see that it is a copy of this log, and whole. Raises Stopped."""
        epoch = await self._log.epoch()
        state = await stream.state()
        if state is None:
            return await stream.create(epoch)
        if state.messages or state.epoch != epoch:
            await self._must_be_a_copy(stream, state, epoch)
        if not state.whole:
            log.warning("the stream has holes, it is made anew", first=state.first, last=state.last, has=state.messages)
            REBUILDS.inc()
            await stream.delete()
            return await stream.create(epoch)
        return await stream.adjust(epoch)

    async def _must_be_a_copy(self, stream: LedgerStream, state: StreamState, epoch: str) -> None:
        """See that the stream's last event is the log's at that position, if it is still there. Raises Stopped."""
        if state.last == 0:
            return
        rows = (await self._log.read(state.last - 1, 1)).rows
        ours = rows[0].event_id if rows else None
        theirs = await stream.event_id(state.last)
        if theirs is None and state.epoch == epoch:
            return
        if ours is None or theirs != ours:
            raise Stopped(
                f"stream {stream.name} is no copy of this log: at position {state.last} it has event {theirs}, "
                f"the log has {ours or 'none'}; see `muster doctor`"
            )

    async def _follow(self, publisher: Publisher, stream: LedgerStream, last: int) -> None:
        """Publish what the log has after `last`; return when the stream is no longer where we left it."""
        looked_at = time.monotonic()
        self._growth = Growth()  # what was heard of a log that was restored since is worth nothing
        async with ahead(self._log, self._ledger) as read:
            while True:
                heard = self._growth.head  # whoever told that had committed: this read sees it
                page, messages = await read(last)
                self._at(last, page.head)
                if page.rows:
                    must_follow(last, page.rows)
                    await publisher.publish(messages, last)
                    last = page.rows[-1].position
                    EVENTS.inc(len(page.rows))
                    self._at(last, page.head)
                    if BUSY <= len(page.rows) < MOST_IN_A_BATCH:
                        await asyncio.sleep(PAUSE_S)
                    if page.head > last:
                        continue
                await self._growth.beyond(max(last, heard), POLL_S)
                if time.monotonic() - looked_at > LOOK_S:
                    looked_at = time.monotonic()
                    state = await stream.state()
                    if state is None or state.last != last or not state.whole:
                        return

    async def _stand_by(self, stream: LedgerStream) -> None:
        """Somebody else published: leave it to them until they have been silent for STAND_BY_S with work to do."""
        log.info("another relay works, this one stands by")
        since, last = time.monotonic(), -1
        while True:
            state, head = await stream.state(), await self._log.head()
            if state is None:
                return
            self._at(state.last, head)
            if state.last != last or state.last >= head:
                since, last = time.monotonic(), state.last
            elif time.monotonic() - since > STAND_BY_S:
                return
            await asyncio.sleep(POLL_S * (0.5 + random.random()))  # noqa: S311  # that two who stand by do not agree

    @asynccontextmanager
    async def _publishing(self, client: Client, state: StreamState) -> AsyncIterator[Publisher]:
        publisher = Publisher(client, atomic=state.atomic)
        await publisher.open()
        self._publisher = publisher
        try:
            yield publisher
        finally:
            self._publisher = None
            await publisher.close()

    def _lost(self) -> None:
        if self._publisher is not None:
            self._publisher.lost()

    async def _hinted(self, message: Msg) -> None:
        if message.data.isdigit():
            self._growth.to(int(message.data))

    def _at(self, position: int, head: int) -> None:
        if self.why_not is not None:
            log.info("the relay works", position=position, head=head)
        self.why_not, self.position, self.head = None, position, head
        PUBLISHED.set(position)
        HEAD.set(head)

    def _not_now(self, why: Exception) -> None:
        said = str(why) or type(why).__name__
        if self.why_not is None or isinstance(why, Stopped):
            log.warning("the relay does not work now", why=said)
        self.why_not = said


@asynccontextmanager
async def ahead(store: Log, ledger: str) -> AsyncIterator[Callable[[int], Awaitable[tuple[Page, list[Message]]]]]:
    """Read pages of the log, and write their messages; where one is full, the next is got while it is being stored."""
    reading: asyncio.Task[tuple[Page, list[Message]]] | None = None
    expected = 0

    async def messages(after: int) -> tuple[Page, list[Message]]:
        page = await store.read(after, MOST_IN_A_BATCH)
        return page, [message(row, ledger) for row in page.rows]

    async def read(after: int) -> tuple[Page, list[Message]]:
        nonlocal reading, expected
        if reading is not None and expected == after:
            found, reading = await reading, None
        else:
            found = await messages(after)
        page, _ = found
        if page.next_after < page.head:
            expected = page.next_after
            reading = asyncio.create_task(messages(expected))
        return found

    try:
        yield read
    finally:
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


def must_follow(last: int, rows: Sequence[Row]) -> None:
    """See that rows have the positions right after `last`. Raises Stopped: a log has no holes."""
    if rows[0].position != last + 1 or rows[-1].position != last + len(rows):
        raise Stopped(f"the log has a hole after position {last}: see `muster doctor`")


def message(row: Row, ledger: str) -> Message:
    """Give a row as it is published; its payload is not looked at. Raises Stopped for a kind of event of the future."""
    try:
        where = subject(ledger, row.type, row.coalitions, row.stream)
    except KeyError:
        raise Stopped(f"position {row.position} is {row.type}, which this version does not know") from None
    return Message(where, header_lines(row, ledger), row.payload)
