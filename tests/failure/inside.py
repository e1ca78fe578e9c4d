"""Ledgers inside the test's own process, where time and transactions can be played with."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from services.commitments.domain.commands import Record
from services.commitments.handling import Identity, Ledger, Outcome
from services.commitments.log.contract import Log
from services.commitments.log.store import PostgresLog
from services.commitments.relay import Relay
from shared.codec import encode
from shared.events import Entry


def identity(entry: Entry) -> Identity:
    """What makes the same entry the same command, as the HTTP side does it."""
    said = hashlib.sha256(entry.stream.encode() + encode(entry)).hexdigest()
    return Identity(f"sha256:{said}", said, "anonymous")


async def record(ledger: Ledger, entry: Entry) -> Outcome:
    """Record an entry."""
    return await ledger.handle(Record(entry=entry), identity(entry))


@asynccontextmanager
async def a_replica(url: str, log: Log | None = None) -> AsyncIterator[Ledger]:
    """One process of the write side while the block runs."""
    log = log or PostgresLog(url)
    ledger = Ledger(log)
    try:
        yield ledger
    finally:
        await ledger.close(5)
        await log.close()


@asynccontextmanager
async def a_relay(url: str, ledger: str, nats_url: str) -> AsyncIterator[Relay]:
    """A relay while the block runs."""
    log = PostgresLog(url)
    relay = Relay(log, ledger=ledger, nats_url=nats_url)
    working = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        await log.close()
