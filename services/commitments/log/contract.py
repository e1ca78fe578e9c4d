"""What a log is: the rows it holds, how it is read, and the one kind of transaction by which it grows.

Two logs keep this contract and pass one suite: `store.PostgresLog`, the only truth, and `memory.MemoryLog`, for tests.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, NamedTuple, Protocol

READ_BYTES: Final = 4_000_000
"""A page of rows ends before its payloads exceed this; the first row is always in it."""


class Away(Exception):
    """The log cannot be reached or does not answer in time: nothing is known of what was asked of it last."""


class Rejected(Exception):
    """The log is there, and does not take these rows: a constraint or a type forbids it."""


class Row(NamedTuple):
    """An entry as the log holds it; `payload` are the exact bytes that are published."""

    position: int
    recorded_at: datetime  # UTC
    event_id: str
    version: int
    happened_on: date
    reported_on: date
    stream: str
    type: str
    recorded_by: str
    command_id: str
    traceparent: str | None
    coalitions: Sequence[str]
    about: Sequence[str]  # the streams that the entry concerns, its own among them
    payload: bytes


class Said(NamedTuple):
    """What a stream's history is made of."""

    stream: str
    event_id: str
    position: int
    version: int
    type: str
    payload: bytes


class Receipt(NamedTuple):
    """What a command was answered when it was settled; `outcome` is JSON."""

    command_id: str
    fingerprint: str
    outcome: str


class Look(NamedTuple):
    """What a batch has to know before it is settled. A stream that was never used has no version here."""

    position: int  # of the log's last row, 0 for none
    recorded_at: datetime | None  # of the log's last row
    versions: Mapping[str, int]
    receipts: Mapping[str, Receipt]  # by command id


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which rows a reader wants: all that is given has to hold."""

    stream: str | None = None
    types: Collection[str] = ()  # any of them, as stored
    about: Collection[str] = ()  # concern all of these streams: `coalition-x`, `party-GBR`

    def __bool__(self) -> bool:
        """Whether it leaves anything out."""
        return bool(self.stream or self.types or self.about)


EVERYTHING: Final = Filter()


class Page(NamedTuple):
    """Rows in the order of the log, and how far they go."""

    rows: list[Row]
    next_after: int  # the last position that was looked at
    head: int  # the log's last position at that time


class Transaction(Protocol):
    """The log, locked: between `lock` and the end of the transaction nobody else adds to it."""

    async def look(self, streams: Collection[str], commands: Collection[str]) -> Look:
        """Give the log's head, the versions of `streams` and the receipts of `commands`."""
        ...

    async def history(self, after: Mapping[str, int]) -> list[Said]:
        """Give the events of each stream past a version, in the order of the log."""
        ...

    async def concerned(self, stream: str, *, after: int, limit: int) -> list[tuple[int, str]]:
        """Give position and stream of up to `limit` entries past a position that concern `stream`."""
        ...

    async def append(self, rows: Sequence[Row], receipts: Sequence[Receipt], at: datetime) -> None:
        """Add rows at the end of the log, move the heads of their streams, write receipts."""
        ...


class Log(Protocol):
    """A log that can be read, and grown under its lock. Everything raises Away when it cannot be reached."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Take the log's lock; commit at the end of the block, or leave no trace if it raises.

        Raises Away, after which nothing is known of the transaction; or Rejected, after which nothing has happened.
        Whoever holds the lock next sees what became of it.
        """
        ...

    async def append(self, seen: Look, rows: Sequence[Row], receipts: Sequence[Receipt], at: datetime) -> bool:
        """Add rows and receipts in a transaction of their own, if the log is as `seen` says; whether that was so.

        Compared, under the lock, are the head and every version of `seen` (0: never used), and that none of the
        commands has a receipt. False: nothing has happened. Raises Away and Rejected as a transaction does.
        """
        ...

    async def read(self, after: int, limit: int, where: Filter = EVERYTHING) -> Page:
        """Give up to `limit` rows past position `after`, of at most READ_BYTES."""
        ...

    async def read_stream(self, stream: str, after: int = 0, limit: int = 1_000) -> list[Row]:
        """Give up to `limit` rows of a stream past a version, of at most READ_BYTES."""
        ...

    async def event(self, event_id: str) -> Row | None:
        """Give one row by its id; None for an id that is not there, or none at all."""
        ...

    async def names(self, prefix: str, limit: int) -> list[str]:
        """Give up to `limit` streams whose names begin like this, by name."""
        ...

    async def head(self) -> int:
        """Give the last position; 0 for an empty log."""
        ...

    async def epoch(self) -> str:
        """Give the id of this log; a restore from a backup gives it another."""
        ...

    async def revision(self) -> str | None:
        """Give the revision of the migrations that the log stands at; None before the first."""
        ...

    async def close(self) -> None:
        """Let go of what it holds."""
        ...
