"""How far each read model is: the one row that moves in the same transaction as its tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.database import rows
from services.projections.transaction import Claim

Key = tuple[str, int]
"""Name and version of a read model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A read model has applied everything up to `position`, the event `event_id`, recorded at `recorded_at`.

    `head` is the last position of the stream as the worker saw it last; `behind_since` the moment the oldest event was
    recorded that is not applied yet, as far as known. A stopped one says in `reason` at which position, and why.
    `updated_at` is when the worker was heard of last: it says so every second or two, also where nothing comes. `build`
    is raised when other tables take the place of those that were here. `unheard_s` is how long before it was loaded it
    was updated, by the database's clock: those of other machines may differ.
    """

    name: str
    version: int
    epoch: str
    position: int
    event_id: str | None
    recorded_at: datetime | None
    head: int
    behind_since: datetime | None
    status: Literal["running", "stopped"]
    reason: str | None
    updated_at: datetime
    build: int = 1
    unheard_s: float = 0.0

    @property
    def key(self) -> Key:
        """Which read model it is of."""
        return self.name, self.version

    @property
    def lag(self) -> int:
        """How many events are not applied yet, as far as known."""
        return max(0, self.head - self.position)

    def lag_s(self, now: datetime) -> float:
        """How old the oldest event is that is not applied yet, in seconds; 0 when caught up."""
        return lag_s(self.position, self.head, self.behind_since, now)

    @property
    def life(self) -> str:
        """Whose facts, and whose tables: answers at equal positions are equal only within one life."""
        return f"{self.epoch}.{self.build}"


SILENT_S: Final = 6.0
"""A worker that was not heard of for so long is away, or does not read: what it does not know is not nothing."""


def silent_s(found: Iterable[Checkpoint]) -> float:
    """Give how long no worker was heard of, in seconds; 0 while one is."""
    silence = min((checkpoint.unheard_s for checkpoint in found), default=0.0)
    return silence if silence > SILENT_S else 0.0


def lag_s(position: int, head: int, behind_since: datetime | None, now: datetime) -> float:
    """Give the age of the oldest event not applied, in seconds; 0 when `position` is the head."""
    if head <= position or behind_since is None:
        return 0.0
    return max(0.0, (now.astimezone(UTC) - behind_since).total_seconds())


LOAD: Final = """
    SELECT name, version, epoch, position, event_id::text, recorded_at, head, behind_since, status, reason,
           updated_at, build, CAST(extract(epoch FROM now() - updated_at) AS float8) AS unheard_s
    FROM checkpoints WHERE (name, version) IN (SELECT * FROM unnest($1::text[], $2::int[]))
"""


async def load(conn: AsyncConnection, keys: Iterable[Key]) -> dict[Key, Checkpoint]:
    """Give the checkpoints of these read models; those that the worker has not made yet are not in the answer."""
    checkpoints = [Checkpoint(**row) for row in await rows(conn, LOAD, *_columns(keys).values())]
    return {checkpoint.key: checkpoint for checkpoint in checkpoints}


# The rows are locked in one order before they change: two workers whose groups overlap then wait, and do not deadlock.
ADVANCE: Final = """
    UPDATE checkpoints c
    SET position = $6, epoch = $7, event_id = $8::text::uuid, recorded_at = $9, head = $10, behind_since = $11,
        updated_at = now()
    FROM (
        SELECT k.name, k.version
        FROM checkpoints k
        JOIN unnest($1::text[], $2::int[], $3::text[], $4::int[]) w (name, version, epoch, build)
          ON k.name = w.name AND k.version = w.version AND k.epoch = w.epoch AND k.build = w.build
        WHERE k.position = $5 AND k.status = 'running'
        ORDER BY k.name, k.version FOR UPDATE OF k
    ) mine
    WHERE c.name = mine.name AND c.version = mine.version
    RETURNING c.name
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """Where a transaction moves the checkpoints of its group to; `event_id` None: past a message that is no event."""

    position: int
    epoch: str
    event_id: str | None
    recorded_at: datetime | None
    head: int
    behind_since: datetime | None


def advancing(group: Sequence[Checkpoint], to: Advance) -> Claim:
    """Claim the checkpoints of a group, which move from where it believes them to be: none may have moved or stopped.

    Whoever comes second waits here, and then finds out.
    """
    values = (
        [checkpoint.name for checkpoint in group],
        [checkpoint.version for checkpoint in group],
        [checkpoint.epoch for checkpoint in group],
        [checkpoint.build for checkpoint in group],
        group[0].position,
        to.position,
        to.epoch,
        to.event_id,
        to.recorded_at,
        to.head,
        to.behind_since,
    )
    return Claim(ADVANCE, values, len(group))


STOP: Final = text(
    """
    UPDATE checkpoints SET status = 'stopped', reason = :reason, head = greatest(head, :head),
        behind_since = :behind_since, updated_at = now()
    WHERE name = :name AND version = :version AND position = :position AND status = 'running'
    """
)


async def stop(
    conn: AsyncConnection, checkpoint: Checkpoint, *, reason: str, head: int, behind_since: datetime | None
) -> bool:
    """Stop a read model before the event that it cannot take; False if somebody else moved or stopped it."""
    done = await conn.execute(
        STOP,
        {
            "name": checkpoint.name,
            "version": checkpoint.version,
            "position": checkpoint.position,
            "reason": reason,
            "head": head,
            "behind_since": behind_since,
        },
    )
    return done.rowcount == 1


SEEN: Final = text(
    """
    UPDATE checkpoints SET head = :head, behind_since = :behind_since, updated_at = now()
    WHERE (name, version) IN (SELECT * FROM unnest(CAST(:names AS text[]), CAST(:versions AS int[])))
      AND position = :position
    """
)


async def seen(conn: AsyncConnection, group: Sequence[Checkpoint], *, head: int, behind_since: datetime | None) -> None:
    """Note how far the stream is while nothing is applied, and that somebody looked."""
    keys = _columns(checkpoint.key for checkpoint in group)
    await conn.execute(SEEN, keys | {"position": group[0].position, "head": head, "behind_since": behind_since})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuild:
    """The rebuild of a read model that runs, was interrupted, or was the last.

    `position` and `head` are None once it has ended; `said` is what its comparison found, or why it failed; `running`
    whether somebody works at it now.
    """

    name: str
    version: int
    stage: Literal["filling", "comparing", "switching", "switched", "failed"]
    began_at: datetime
    ended_at: datetime | None
    said: str | None
    position: int | None
    head: int | None
    running: bool
    seconds_left: float | None


# The lock is a rebuild's own: see rebuild.py. Its key stands in pg_locks as two halves.
REBUILDS: Final = text(
    """
    SELECT r.name, r.version, r.stage, r.began_at, r.ended_at, r.said, c.position, greatest(c.head, s.head) AS head,
        EXISTS (
            SELECT FROM pg_locks l, hashtextextended('rebuild ' || r.name || '_v' || r.version, 0) key
            WHERE l.locktype = 'advisory' AND l.objsubid = 1
              AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND l.classid::bigint = (key >> 32) & 4294967295 AND l.objid::bigint = key & 4294967295
        ) AS running,
        CAST(extract(epoch FROM now() - r.resumed_at) AS float8) * (greatest(c.head, s.head) - c.position)
            / nullif(c.position - r.resumed_from, 0) AS seconds_left
    FROM rebuilds r
    LEFT JOIN checkpoints c ON c.name = r.name || '_beside' AND c.version = r.version
    LEFT JOIN checkpoints s ON s.name = r.name AND s.version = r.version
    """
)


async def rebuilds(conn: AsyncConnection) -> dict[Key, Rebuild]:
    """Give what is known of rebuilds, by the read model that they are of."""
    found = (Rebuild(**row._mapping) for row in await conn.execute(REBUILDS))  # noqa: SLF001  # the documented way to a row as a mapping
    return {(rebuild.name, rebuild.version): rebuild for rebuild in found}


class NotStopped(Exception):
    """A read model passes over or tries again only the event that it stopped before."""

    def __init__(self, name: str, position: int) -> None:
        super().__init__(f"{name} is not stopped before position {position}")


RESUME: Final = text(
    """
    UPDATE checkpoints SET status = 'running', reason = NULL, updated_at = now()
    WHERE name = :name AND version = :version AND position = :position - 1 AND status = 'stopped'
    """
)
SKIP: Final = text("INSERT INTO skips (name, version, position, reason) VALUES (:name, :version, :position, :reason)")
SKIPS: Final = text(
    """
    SELECT s.name, s.version, s.position FROM skips s JOIN checkpoints c USING (name, version)
    WHERE s.position > c.position
    """
)


async def resume(conn: AsyncConnection, key: Key, position: int) -> None:
    """Let a stopped read model try the event at `position` again. Raises NotStopped."""
    name, version = key
    done = await conn.execute(RESUME, {"name": name, "version": version, "position": position})
    if done.rowcount != 1:
        raise NotStopped(name, position)


async def skip(conn: AsyncConnection, key: Key, position: int, reason: str) -> None:
    """Let a stopped read model pass over the event at `position`; the skip is kept for good. Raises NotStopped."""
    await resume(conn, key, position)
    name, version = key
    await conn.execute(SKIP, {"name": name, "version": version, "position": position, "reason": reason})


async def skips(conn: AsyncConnection) -> dict[Key, frozenset[int]]:
    """Give the positions ahead that read models were told to pass over."""
    found: dict[Key, frozenset[int]] = {}
    for name, version, position in await conn.execute(SKIPS):
        found[name, version] = found.get((name, version), frozenset()) | {position}
    return found


def _columns(keys: Iterable[Key]) -> dict[str, object]:
    found = list(keys)
    return {"names": [name for name, _ in found], "versions": [version for _, version in found]}
