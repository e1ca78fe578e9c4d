"""Hearing from the worker how far it is, at once: a hint over NATS, which may be lost, so nobody relies on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from shared.subjects import applied_hint

AGAIN_S: Final = 0.5
CONNECT_S: Final = 2

LOG: Final = structlog.get_logger(__name__)


@asynccontextmanager
async def hearing(url: str, ledger: str, heard: Callable[[int], None]) -> AsyncIterator[None]:
    """While the block runs, tell `heard` each position that the worker says it has applied; NATS need not be there."""
    listening = asyncio.create_task(_listen(url, applied_hint(ledger), heard), name="hearing")
    try:
        yield
    finally:
        while not listening.done():  # a client that is just connecting may swallow the first
            listening.cancel()
            await asyncio.wait([listening], timeout=AGAIN_S)


async def _listen(url: str, subject: str, heard: Callable[[int], None]) -> None:
    async def take(message: Msg) -> None:
        if message.data.isdigit():
            heard(int(message.data))

    async def failed(error: Exception) -> None:
        LOG.debug("hears_nothing", because=str(error) or type(error).__name__)

    client = Client()
    try:
        await client.connect(
            url,
            name="muster projections queries",
            error_cb=failed,
            connect_timeout=CONNECT_S,
            reconnect_time_wait=AGAIN_S,  # type: ignore[arg-type]  # it sleeps so long, whatever its annotation says
            max_reconnect_attempts=-1,
            ping_interval=10,
        )
        await client.subscribe(subject, cb=take)
        await asyncio.Event().wait()
    except (Error, OSError) as error:
        LOG.warning("hears_nothing", because=str(error) or type(error).__name__)
    finally:
        await client.close()
