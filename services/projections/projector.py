"""The one loop that moves the read models: a batch of events, one transaction, the checkpoint first.

Read models at the lowest position go together as a group; those ahead wait until the group has come up to them. Rows
and checkpoints move in one transaction whose first statement moves the checkpoints from where they were believed to be.
If one of them is elsewhere, somebody else works: nothing is written, and what is believed is read again. Nothing more
is needed for any number of workers.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.schema import CreateIndex, CreateTable

from services.projections import checkpoints
from services.projections.checkpoints import Advance, Checkpoint, Key
from services.projections.consumer import Batch, CannotRead, Place, Stream, Unreadable
from services.projections.database import ERRORS, is_away
from services.projections.read_model import Apply, ReadModel
from services.projections.transaction import Moved, Renamed, Transaction, as_it_is, transaction
from shared.recorded import Recorded

RELOAD_S: Final = 1.0
"""So often the checkpoints are read again, to find what was resumed."""

PAUSES_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
"""How long to wait after the first, second ... failure in a row."""

STAND_BY_S: Final = 1.0
"""How long to wait after somebody else was faster: one worker works, the others look on."""

HEARD_S: Final = 2.0
"""So often a worker to which nothing comes says that it looked: otherwise silence could mean that nobody does."""

REASON_LENGTH: Final = 1_000
LOCK: Final = 0x6D6F64656C73  # "models": held by whoever makes schemas

logger: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class _Refused(Exception):
    """Some read model could not take a batch; `__cause__` says why."""


@dataclass(frozen=True, slots=True)
class Group:
    """The read models that go on together from one position, and up to where: None is to the end."""

    members: tuple[Checkpoint, ...]
    until: int | None

    @property
    def place(self) -> Place:
        """Where they stand."""
        return Place(self.members[0].position, self.members[0].event_id)


def lowest(found: Iterable[Checkpoint]) -> Group | None:
    """Give the running read models that are furthest behind; they go no further than the next one, to be joined.

    They stay in their order.
    """
    running = sorted((c for c in found if c.status == "running"), key=lambda c: c.position)
    if not running:
        return None
    first = running[0]
    members = tuple(c for c in running if (c.position, c.event_id) == (first.position, first.event_id))
    return Group(members, min((c.position for c in running if c.position > first.position), default=None))


def told(reason: BaseException) -> str:
    """Say what went wrong in one line, without the statement and values that SQLAlchemy adds."""
    error = reason.orig if isinstance(reason, DBAPIError) and reason.orig is not None else reason
    said = " ".join(str(error).replace("\x00", "").split())
    return f"{type(error).__name__}: {said}"[:REASON_LENGTH]


def is_cancelled() -> bool:
    """Whether somebody asked this task to end: some of what we wait for (nats-py) may have swallowed that."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def whole(work: Coroutine[Any, Any, None]) -> None:
    """Let work with the database come to its end, even for one who is cancelled meanwhile, and is so only then.

    Cut off in the middle of a statement, a connection is of no more use, and its error would hide the cancellation.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise


class Projector:
    """Moves the registered read models along the stream."""

    def __init__(
        self,
        engine: AsyncEngine,
        models: Collection[ReadModel],
        stream: Stream,
        *,
        most: int = 1_000,
        renamed: Renamed = as_it_is,
        tells: bool = False,
    ) -> None:
        """`engine` is of a role that may create schemas; `most` is how many events a transaction takes.

        `renamed` changes the names in what read models say to the database. `tells`: whoever listens hears how far all
        read models are.
        """
        self._engine = engine
        self._renamed = renamed
        self._tells = tells
        self._models: Mapping[Key, ReadModel] = {(model.name, model.version): model for model in models}
        self._stream = stream
        self._most = most
        self._applies: dict[Key, tuple[int, Apply]] = {}  # with the position that its memory stands at
        self._skips: Mapping[Key, frozenset[int]] = {}
        self._loaded: float | None = None  # when the checkpoints were read; None: they are in doubt
        self._prepared = False
        self._heard = 0.0  # when it last said that it looked
        self.checkpoints: dict[Key, Checkpoint] = {}
        self.left_out: dict[Key, str] = {}  # and why
        self.trouble: str | None = "it has only just begun"
        self.applied = 0  # events, each counted once however many read models took it

    @property
    def problems(self) -> list[str]:
        """What keeps it from moving every read model, in words; nothing when all is well."""
        stopped = [f"{c.name} is stopped: {c.reason}" for c in self.checkpoints.values() if c.status == "stopped"]
        return [*filter(None, [self.trouble]), *stopped, *self.left_out.values()]

    async def run(self) -> None:
        """Work until cancelled. What is away is waited for; `trouble` says what."""
        failures = 0
        while True:
            try:
                await self.step()
                self.trouble, failures = None, 0
            except CannotRead as error:
                await self._note(str(error), failures)
                failures += 1
            except ERRORS as error:
                self._doubt()
                await self._note(f"the database: {told(error)}", failures)
                failures += 1
            if is_cancelled():
                raise asyncio.CancelledError

    async def step(self) -> None:
        """Apply the next batch, or wait about a second for one.

        Raises:
            CannotRead: The next event cannot be had now.
            database.ERRORS: The database is away, or refuses.
        """
        if not self._prepared:
            await whole(self.prepare())
            self._prepared = True
        if self._loaded is None or _now_s() - self._loaded > RELOAD_S:
            await whole(self._load())
        group = self._next()
        if group is None:
            await asyncio.sleep(RELOAD_S)
            return
        place = group.place
        most = self._most if group.until is None else min(self._most, group.until - place.position)
        batch = await self._stream.read(place, most)
        if batch.events:
            await self._apply(group, batch)
        elif batch.unreadable is not None:
            await whole(self._pass_or_stop(group, batch.unreadable, batch))
        else:
            await whole(self._look(group, batch))

    def _next(self) -> Group | None:
        return lowest(self.checkpoints[key] for key in self._models if key in self.checkpoints)

    # -------------------------------------------------------------------------------------------------- prepare

    async def prepare(self) -> None:
        """Make the schemas, tables and checkpoints that are missing; whoever may read the checkpoints may read them."""
        async with self._engine.begin() as conn:
            await conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
            readers = list(await conn.scalars(READERS))
            for key, model in self._models.items():
                try:
                    await make(conn, model, readers)
                except ChangedInPlace as changed:
                    self.left_out[key] = str(changed)
                    logger.error("read model left out", read_model=model.name, because=str(changed))  # noqa: TRY400  # no bug of ours

    async def _load(self) -> None:
        async with self._engine.begin() as conn:
            self.checkpoints = await checkpoints.load(conn, self._models.keys() - self.left_out.keys())
            self._skips = await checkpoints.skips(conn)
        if any(found.position == 0 for found in self.checkpoints.values()):
            await self.prepare()  # it may have been dropped, to be built anew
        self._loaded = _now_s()

    def _doubt(self) -> None:
        """Believe nothing any more: neither the checkpoints nor what read models remember."""
        self._loaded = None
        self._applies.clear()

    async def _note(self, trouble: str, failures: int) -> None:
        if trouble != self.trouble:
            logger.warning("cannot go on", because=trouble)
        self.trouble = trouble
        await asyncio.sleep(PAUSES_S[min(failures, len(PAUSES_S) - 1)])

    # ---------------------------------------------------------------------------------------------------- apply

    async def _apply(self, group: Group, batch: Batch) -> None:
        try:
            await whole(self._move(group.members, batch.events, batch))
        except Moved:
            await self._stand_by()
        except _Refused:
            for member in group.members:  # who it is, is found one by one
                await self._apart(member, batch)

    async def _apart(self, member: Checkpoint, batch: Batch) -> None:
        try:
            await whole(self._move((member,), batch.events, batch))
        except Moved:
            self._doubt()
        except _Refused:
            logger.warning("a batch was refused; event by event now", read_model=member.name)
            # what follows one event of a batch is not what follows the batch
            await self._alone(member, replace(batch, next_at=None))

    async def _move(self, members: Sequence[Checkpoint], events: Sequence[Recorded], batch: Batch) -> None:
        """Apply events to some read models in one transaction. Raises Moved, _Refused, or what the database says."""
        last = events[-1]
        behind = batch.head > last.position
        to = Advance(
            position=last.position,
            epoch=batch.epoch,
            event_id=last.event_id,
            recorded_at=last.recorded_at,
            head=max(batch.head, last.position),
            # what follows is at least as young as the last one, so this never makes the lag too small
            behind_since=(batch.next_at or last.recorded_at) if behind else None,
        )
        try:
            async with transaction(self._engine, self._renamed, checkpoints.advancing(members, to)) as writing:
                with refusing():
                    for member in members:
                        await self._tell(writing, member, events)
                    await writing.commit()
        except BaseException:
            self._doubt()
            raise
        self._moved(members, to)
        self.applied += len(events)
        if self._tells:
            await self._stream.tell_applied(to.position)

    async def _tell(self, writing: Transaction, member: Checkpoint, events: Sequence[Recorded]) -> None:
        skips = self._skips.get(member.key, frozenset())
        taken = [event for event in events if event.position not in skips] if skips else events
        if not taken:
            return
        position, apply = self._applies.get(member.key, (-1, None))
        if apply is None or position != member.position:
            model = self._models[member.key]
            apply = model.apply if model.remembering is None else model.remembering()
        self._applies[member.key] = (member.position, apply)
        writing.apart()
        await apply(writing, taken)

    def _moved(self, members: Sequence[Checkpoint], to: Advance) -> None:
        for member in members:
            self.checkpoints[member.key] = replace(
                member,
                position=to.position,
                epoch=to.epoch,
                event_id=to.event_id,
                recorded_at=to.recorded_at,
                head=to.head,
                behind_since=to.behind_since,
                updated_at=datetime.now(UTC),
            )
            if member.key in self._applies:
                self._applies[member.key] = (to.position, self._applies[member.key][1])

    async def _stand_by(self) -> None:
        """Somebody else works: look on, and take over when the checkpoints move no more."""
        self._doubt()
        await asyncio.sleep(STAND_BY_S)

    async def _alone(self, member: Checkpoint, batch: Batch) -> None:
        """Tell one read model the events of a batch one by one, and stop it before the first that it cannot take."""
        for event in batch.events:
            try:
                await whole(self._move((member,), (event,), batch))
            except Moved:
                return
            except _Refused as refused:
                reason = f"position {event.position} ({event.type}): {told(refused.__cause__ or refused)}"
                await whole(self._stop((member,), reason, batch.head, event.recorded_at))
                return
            member = self.checkpoints[member.key]
        self._doubt()

    async def _pass_or_stop(self, group: Group, unreadable: Unreadable, batch: Batch) -> None:
        """A message that is no event stops every read model that was not told to pass over it."""
        passing = [c for c in group.members if unreadable.position in self._skips.get(c.key, frozenset())]
        stopping = [c for c in group.members if c not in passing]
        last = group.members[0].recorded_at
        if passing:
            to = Advance(
                position=unreadable.position,
                epoch=batch.epoch,
                event_id=None,
                recorded_at=last,
                head=max(batch.head, unreadable.position),
                behind_since=batch.next_at or last if batch.head > unreadable.position else None,
            )
            with suppress(Moved):
                async with transaction(self._engine, claim=checkpoints.advancing(passing, to)):
                    pass
                self._moved(passing, to)
            self._loaded = None
        if stopping:
            reason = f"position {unreadable.position} cannot be read: {unreadable.reason}"[:REASON_LENGTH]
            await self._stop(stopping, reason, batch.head, last)

    async def _stop(self, members: Sequence[Checkpoint], reason: str, head: int, since: datetime | None) -> None:
        async with self._engine.begin() as conn:
            for member in members:
                if await checkpoints.stop(conn, member, reason=reason, head=head, behind_since=since):
                    logger.error("read model stopped", read_model=member.name, version=member.version, because=reason)
        self._doubt()

    async def _look(self, group: Group, batch: Batch) -> None:
        """Note how far the stream is, where nothing came; and from time to time only that somebody looked."""
        first = group.members[0]
        since = None if batch.head <= first.position else first.behind_since or first.recorded_at
        if (first.head, first.behind_since) == (batch.head, since) and _now_s() - self._heard < HEARD_S:
            return
        async with self._engine.begin() as conn:
            await checkpoints.seen(conn, group.members, head=batch.head, behind_since=since)
        self._heard = _now_s()
        self._loaded = None


@contextmanager
def refusing() -> Iterator[None]:
    """Tell what read models make of events from a database that is away. Raises _Refused, or what says that it is."""
    try:
        yield
    except Exception as error:
        if isinstance(error, Moved) or is_away(error):
            raise
        raise _Refused from error


# ------------------------------------------------------------------------------------------------ the schemas

READERS: Final = text(
    """
    SELECT DISTINCT quote_ident(r.rolname)
    FROM pg_class c, aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
    WHERE c.oid = 'checkpoints'::regclass AND a.privilege_type = 'SELECT' AND r.rolname <> current_user
    """
)
SHAPE: Final = text(
    "SELECT coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace WHERE nspname = :schema"
)
BEGIN_ANEW: Final = text(
    """
    INSERT INTO checkpoints (name, version) VALUES (:name, :version)
    ON CONFLICT (name, version) DO UPDATE SET epoch = '', position = 0, event_id = NULL, recorded_at = NULL, head = 0,
        behind_since = NULL, status = 'running', reason = NULL, updated_at = now(), build = checkpoints.build + 1
    """
)


class ChangedInPlace(Exception):
    """The tables of a read model changed, and its version did not: what it holds was made by other rules."""

    def __init__(self, model: ReadModel) -> None:
        super().__init__(
            f"the tables of {model.name} changed: raise its version {model.version}, or drop {model.schema}"
        )


async def make(conn: AsyncConnection, model: ReadModel, readers: Sequence[str]) -> None:
    """Make the schema of a read model, if it is not there, with its checkpoint at 0. Raises ChangedInPlace."""
    wanted = shape(model)
    there = (await conn.execute(SHAPE, {"schema": model.schema})).scalar_one_or_none()
    if there is not None:
        if there != wanted:
            raise ChangedInPlace(model)
        return
    # utility statements take no parameters; names are our own
    await conn.execute(text(f"CREATE SCHEMA {model.schema}"))
    await conn.execute(text(f"COMMENT ON SCHEMA {model.schema} IS '{wanted}'"))
    await conn.run_sync(model.metadata.create_all, checkfirst=False)
    for reader in readers:
        await conn.execute(text(f"GRANT USAGE ON SCHEMA {model.schema} TO {reader}"))
        await conn.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA {model.schema} TO {reader}"))
    await conn.execute(BEGIN_ANEW, {"name": model.name, "version": model.version})


def shape(model: ReadModel) -> str:
    """Give a fingerprint of a read model's tables and indexes."""
    made = [str(CreateTable(table)) for table in model.metadata.sorted_tables]
    made += sorted(str(CreateIndex(index)) for table in model.metadata.sorted_tables for index in table.indexes)
    return hashlib.sha256("\n".join(made).encode()).hexdigest()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
