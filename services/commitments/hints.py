"""That the log has grown: heard from the own process at once, from others by a hint over NATS that may be lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from shared.subjects import head_hint

RECONNECT_S: Final = 0.5
CONNECT_S: Final = 2
CANCEL_S: Final = 0.5
PAUSE_S: Final = 0.02
BUSY: Final = 8
"""After so many events at once writers tell nothing for PAUSE_S, and the relay pauses: the next batch is worth more."""


log = structlog.get_logger()


class Growth:
    """The last position that this process knows of, and those who wait for more."""

    def __init__(self) -> None:
        self.head = 0
        self.waiting = 0
        self._grown = asyncio.Event()

    def to(self, position: int) -> None:
        """Learn that the log reaches to a position."""
        if position > self.head:
            self.head = position
            grown, self._grown = self._grown, asyncio.Event()
            grown.set()

    async def beyond(self, position: int, within_s: float) -> int:
        """Wait until the log is known to reach beyond a position, at most so long; gives how far it is known to."""
        self.waiting += 1
        try:
            async with asyncio.timeout(within_s):
                while self.head <= position:
                    await self._grown.wait()
        except TimeoutError:
            pass
        finally:
            self.waiting -= 1
        return self.head


async def connected(
    url: str, name: str, lost: Callable[[], None] = lambda: None, *, hears_itself: bool = True
) -> Client:
    """Connect to NATS, however long it takes, and again whenever the connection is lost; `lost` is called each time."""
    away = False

    async def failed(error: Exception) -> None:
        nonlocal away
        if not away:
            log.warning("NATS is away", who=name, why=str(error) or type(error).__name__)
        away = True

    async def gone() -> None:
        lost()

    async def back() -> None:
        nonlocal away
        away = False
        log.info("NATS is back", who=name)

    client = Client()
    try:
        await client.connect(
            url,
            name=name,
            error_cb=failed,
            disconnected_cb=gone,
            reconnected_cb=back,
            connect_timeout=CONNECT_S,
            reconnect_time_wait=RECONNECT_S,  # type: ignore[arg-type]  # it sleeps so long, whatever its annotation says
            max_reconnect_attempts=-1,
            ping_interval=10,
            no_echo=not hears_itself,
        )
    except BaseException:  # who is told to end while it connects leaves no socket behind
        await client.close()
        raise
    return client


@asynccontextmanager
async def hints(url: str, ledger: str, heard: Growth, own: Growth) -> AsyncIterator[None]:
    """While the block runs, hear what other processes tell, and tell what is `own`; NATS need not be there.

    What cannot be told now is not told: everybody also looks.
    """
    working = asyncio.create_task(_exchange(url, head_hint(ledger), heard, own), name="hints")
    try:
        yield
    finally:
        while not working.done():  # a client that is just connecting may swallow the first
            working.cancel()
            await asyncio.wait([working], timeout=CANCEL_S)


async def _exchange(url: str, subject: str, growth: Growth, own: Growth) -> None:
    async def take(message: Msg) -> None:
        if message.data.isdigit():
            growth.to(int(message.data))

    client = await connected(url, "muster-commitments", hears_itself=False)
    try:
        await client.subscribe(subject, cb=take)
        told = 0
        while True:
            before, told = told, max(told, await own.beyond(told, within_s=60))
            if client.is_connected:
                try:
                    await client.publish(subject, str(told).encode())
                except Error as error:
                    log.debug("a hint was not told", why=str(error))
            if told - before >= BUSY:
                await asyncio.sleep(PAUSE_S)
    finally:
        await client.close()
