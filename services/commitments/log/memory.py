"""A log in memory: for tests that need a log and no server. It passes the suite of the real one."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID, uuid4

from services.commitments.log.contract import (
    EVERYTHING,
    READ_BYTES,
    Filter,
    Look,
    Page,
    Receipt,
    Rejected,
    Row,
    Said,
)


class MemoryLog:
    """A log that ends with its process. Several writers may share it, as replicas share a database."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.receipts: dict[str, Receipt] = {}
        self.streams: dict[str, list[Row]] = {}
        self._ids: dict[str, Row] = {}
        self._lock = asyncio.Lock()
        self._epoch = str(uuid4())

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryTransaction]:
        """See contract.Log."""
        async with self._lock:
            transaction = MemoryTransaction(self)
            yield transaction
            self._commit(transaction)

    async def append(self, seen: Look, rows: Sequence[Row], receipts: Sequence[Receipt], at: datetime) -> bool:
        """See contract.Log."""
        async with self.transaction() as transaction:
            now = await transaction.look(seen.versions, [receipt.command_id for receipt in receipts])
            used = {stream: version for stream, version in seen.versions.items() if version}
            if (now.position, now.versions, now.receipts) != (seen.position, used, {}):
                return False
            await transaction.append(rows, receipts, at)
        return True

    def _commit(self, transaction: MemoryTransaction) -> None:
        """Add what was staged. Raises Rejected where PostgreSQL has a constraint."""
        versions: dict[str, int] = {}
        for position, row in enumerate(transaction.rows, len(self.rows) + 1):
            before = versions.get(row.stream) or len(self.streams.get(row.stream, ()))
            follows = row.version == before + 1
            if row.position != position or not follows or row.event_id in self._ids:
                raise Rejected(f"row {row.position}, version {row.version} of {row.stream}, id {row.event_id}")
            versions[row.stream] = row.version
        for receipt in transaction.receipts:
            if receipt.command_id in self.receipts:
                raise Rejected(f"receipt {receipt.command_id}")
        for row in transaction.rows:
            self.rows.append(row)
            self.streams.setdefault(row.stream, []).append(row)
            self._ids[row.event_id] = row
        self.receipts.update((receipt.command_id, receipt) for receipt in transaction.receipts)

    async def read(self, after: int, limit: int, where: Filter = EVERYTHING) -> Page:
        """See contract.Log."""
        head = len(self.rows)
        if head <= after:
            return Page([], after, head)
        rows, more = _page([row for row in self.rows[after:] if _wanted(row, where)], limit)
        return Page(rows, rows[-1].position if more else head, head)

    async def read_stream(self, stream: str, after: int = 0, limit: int = 1_000) -> list[Row]:
        """See contract.Log."""
        rows = self.streams.get(stream, [])
        return _page(rows[bisect_right(rows, after, key=lambda row: row.version) :], limit)[0]

    async def event(self, event_id: str) -> Row | None:
        """See contract.Log."""
        try:
            return self._ids.get(str(UUID(event_id)))
        except ValueError:
            return None

    async def names(self, prefix: str, limit: int) -> list[str]:
        """See contract.Log."""
        return sorted(stream for stream in self.streams if stream.startswith(prefix))[:limit]

    async def head(self) -> int:
        """See contract.Log."""
        return len(self.rows)

    async def epoch(self) -> str:
        """See contract.Log."""
        return self._epoch

    async def revision(self) -> str | None:
        """See contract.Log."""
        return "memory"

    async def close(self) -> None:
        """See contract.Log."""


@dataclass(slots=True)
class MemoryTransaction:
    """The log, locked; what is appended waits for the end of the block."""

    log: MemoryLog
    rows: list[Row] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)

    async def look(self, streams: Collection[str], commands: Collection[str]) -> Look:
        """See contract.Transaction."""
        log = self.log
        last = log.rows[-1] if log.rows else None
        return Look(
            last.position if last else 0,
            last.recorded_at if last else None,
            {stream: log.streams[stream][-1].version for stream in streams if stream in log.streams},
            {command: log.receipts[command] for command in commands if command in log.receipts},
        )

    async def history(self, after: Mapping[str, int]) -> list[Said]:
        """See contract.Transaction."""
        found = [row for stream, version in after.items() for row in self.log.streams.get(stream, [])[version:]]
        return [
            Said(row.stream, row.event_id, row.position, row.version, row.type, row.payload)
            for row in sorted(found, key=lambda row: row.position)
        ]

    async def concerned(self, stream: str, *, after: int, limit: int) -> list[tuple[int, str]]:
        """See contract.Transaction."""
        return [(row.position, row.stream) for row in self.log.rows[after:] if stream in row.about][:limit]

    async def append(self, rows: Sequence[Row], receipts: Sequence[Receipt], at: datetime) -> None:  # noqa: ARG002  # rows say when, too
        """See contract.Transaction."""
        self.rows.extend(rows)
        self.receipts.extend(receipts)


def _wanted(row: Row, where: Filter) -> bool:
    return (
        where.stream in (None, row.stream)
        and (not where.types or row.type in where.types)
        and set(where.about) <= set(row.about)
    )


def _page(rows: Sequence[Row], limit: int) -> tuple[list[Row], bool]:
    """Give the first rows, of at most READ_BYTES, and whether there may be more of them."""
    found: list[Row] = []
    size = 0
    for row in rows[:limit]:
        size += len(row.payload)
        if found and size > READ_BYTES:
            break
        found.append(row)
    return found, len(found) == limit or len(found) < len(rows)
