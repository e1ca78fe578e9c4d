"""Build a read model anew beside the one that serves, compare the two at one position, put the new one in its place.

The new build is a read model of its own, `<name>_beside`, with a schema and a checkpoint; the loop that fills it is the
worker's, so an interrupted rebuild goes on where it was. The read model's own statements name the serving schema: they
are sent with the name of the other one. The switch renames both schemas and moves one checkpoint in one transaction.

A question that began before the switch may meet the new tables after it, with eyes of before: PostgreSQL finds names as
they are now, rows as they were. So the switch first brings the new build to where the serving one is, commits that, and
waits, holding the checkpoint, until every transaction that began earlier has ended. Whoever asks from then on finds
equal facts under either name.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, TextIO

from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.projections import checkpoints
from services.projections.checkpoints import Checkpoint
from services.projections.consumer import AnotherLog, CannotRead, Place, Stream
from services.projections.database import WRITER_SETTINGS, engine
from services.projections.projector import LOCK, SHAPE, Group, Projector, shape
from services.projections.read_model import ReadModel, schema

BATCH: Final = 2_500
"""How many events a transaction of a rebuild takes: nobody waits to see them."""

NEAR: Final = 2 * BATCH
"""So close behind, the rest is applied while the serving one is held."""

HOLD_S: Final = 2.0
"""How long the serving checkpoint is held at most, in one go, to wait for questions that began earlier."""

REST_S: Final = 1.0
TELL_S: Final = 0.2
SAMPLE: Final = 3
CUT: Final = 200

Stage = Literal["filling", "comparing", "switching", "waiting"]


class CannotRebuild(Exception):
    """A rebuild cannot begin, or not go on; says why and what to do. The serving read model is as it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a rebuild is: `position` of `goal`, `per_second` events applied since it began or went on."""

    stage: Stage
    position: int
    goal: int
    per_second: float
    said: str = ""

    @property
    def seconds_left(self) -> float | None:
        """At this speed; None where there is none yet."""
        return (self.goal - self.position) / self.per_second if self.per_second else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A table that holds other rows in the new build: how many each has, and a few that only one of them has."""

    table: str
    serving_rows: int
    new_rows: int
    only_serving: tuple[str, ...]
    only_new: tuple[str, ...]

    def __str__(self) -> str:
        """Say it in lines."""
        lines = [f"{self.table}: {self.serving_rows:,} rows served, {self.new_rows:,} in the new build"]
        lines += [f"  only served:  {row}" for row in self.only_serving]
        lines += [f"  only in new:  {row}" for row in self.only_new]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What a rebuild came to. `compared_at` is None where nothing served at the new build's position."""

    position: int
    applied: int
    seconds: float
    filling_s: float
    compared_at: int | None
    tables: int
    differences: tuple[Difference, ...]
    switched: bool


Tell = Callable[[Progress], None]


async def rebuild(  # each is one thing that the caller knows
    model: ReadModel,
    *,
    database_url: str,
    nats_url: str,
    ledger: str,
    pgbouncer: bool = False,
    switch: bool = True,
    anew: bool = False,
    batch: int = BATCH,
    tell: Tell = lambda _: None,
) -> Rebuilt:
    """Fill a new build of a read model from the stream, compare, and (unless not `switch`) put it in its place.

    `database_url` is of the worker's role. An interrupted rebuild goes on where it was, if the code is the same and not
    `anew`.

    Raises:
        CannotRebuild: Another rebuild of it runs, or an event cannot be taken.
        database.ERRORS: The database is away; asking again goes on where it was.
    """
    plain = engine(database_url, process="rebuild", connections=6, pgbouncer=pgbouncer)
    filling_engine = engine(
        database_url, process="rebuild", connections=2, pgbouncer=pgbouncer, settings=WRITER_SETTINGS
    )
    new = beside(model)
    stream = Stream(nats_url, ledger, most=batch)
    try:
        async with _alone(plain, model) as lock:
            filling = Filling(filling_engine, new, model, stream, most=batch)
            work = _Rebuild(plain=plain, lock=lock, model=model, beside=new, filling=filling, stream=stream, tell=tell)
            return await work.run(switch=switch, anew=anew)
    finally:
        await stream.close()
        await filling_engine.dispose()
        await plain.dispose()


def beside(model: ReadModel) -> ReadModel:
    """Give a read model under another name, with tables of its own in another schema."""
    name = f"{model.name}_beside"
    there = schema(name, model.version)
    metadata = MetaData(schema=there)
    for table in model.metadata.sorted_tables:
        table.to_metadata(metadata, schema=there)
    return replace(model, name=name, metadata=metadata)


def elsewhere(here: str, there: str) -> Callable[[str], str]:
    """Give what lets a statement that names the schema `here` name `there` instead."""
    named = re.compile(rf'(?<![\w."]){re.escape(here)}(?=\.)|"{re.escape(here)}"(?=\.)')
    return lru_cache(lambda statement: named.sub(there, statement))  # read models say the same few


def code() -> str:
    """Give a fingerprint of all code that says what read models hold."""
    here = Path(__file__).resolve().parent
    files = [*here.glob("*.py"), *(here / "read_models").glob("*.py"), *(here.parents[1] / "shared").rglob("*.py")]
    found = hashlib.sha256()
    for file in sorted(files):
        found.update(file.read_bytes())
    return found.hexdigest()


class Filling(Projector):
    """The worker's loop for a new build alone, no further than `goal` (None: to the end)."""

    def __init__(self, database: AsyncEngine, model: ReadModel, of: ReadModel, stream: Stream, *, most: int) -> None:
        super().__init__(database, [model], stream, most=most, renamed=elsewhere(of.schema, model.schema))
        self.of = of
        self.key = (model.name, model.version)
        self.goal: int | None = None

    @property
    def checkpoint(self) -> Checkpoint:
        """Where the new build is."""
        return self.checkpoints[self.key]

    async def stand(self) -> None:
        """Make the tables, if they are not there, and find where they are."""
        await self.prepare()
        await self._load()

    async def prepare(self) -> None:
        """Once is enough: whoever holds the serving one holds the lock on making schemas too."""
        if not self._prepared:
            await super().prepare()
            self._prepared = True

    def _next(self) -> Group | None:
        group = super()._next()
        return group if group is None or self.goal is None else replace(group, until=self.goal)

    async def _load(self) -> None:
        await super()._load()
        async with self._engine.connect() as conn:  # what the serving one was told to pass over, this one is too
            found = await conn.scalars(SKIPPED, {"name": self.of.name, "version": self.of.version})
            self._skips = {self.key: frozenset(found)}


SKIPPED: Final = text("SELECT position FROM skips WHERE name = :name AND version = :version")


@asynccontextmanager
async def _alone(database: AsyncEngine, model: ReadModel) -> AsyncIterator[AsyncConnection]:
    """Be the only rebuild of a read model while the block runs. Raises CannotRebuild."""
    async with database.connect() as conn:
        # a transaction's lock holds through pgbouncer too; without a statement this transaction holds nothing else back
        await conn.execute(text("SELECT set_config('idle_in_transaction_session_timeout', '0', true)"))
        found = await conn.execute(ALONE, {"model": f"rebuild {model.schema}"})
        if not found.scalar_one():
            raise CannotRebuild(f"another rebuild of {model.name} is running: wait for it, or end it")
        yield conn


ALONE: Final = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:model, 0))")
BEGIN: Final = text(
    """
    INSERT INTO rebuilds (name, version, stage, code, resumed_from)
    VALUES (:name, :version, 'filling', :code, :position)
    ON CONFLICT (name, version) DO UPDATE SET stage = 'filling', code = :code, resumed_from = :position,
        began_at = CASE WHEN :position = 0 THEN now() ELSE rebuilds.began_at END, resumed_at = now(), ended_at = NULL,
        said = NULL
    """
)
STAGE: Final = text(
    """
    UPDATE rebuilds SET stage = :stage, said = coalesce(:said, said),
        ended_at = CASE WHEN :stage IN ('switched', 'failed') THEN now() END
    WHERE name = :name AND version = :version
    """
)
LAST_CODE: Final = text("SELECT code FROM rebuilds WHERE name = :name AND version = :version")
TRY_AGAIN: Final = text(
    """
    UPDATE checkpoints SET status = 'running', reason = NULL
    WHERE name = :name AND version = :version AND status = 'stopped'
    """
)
THERE: Final = text("SELECT count(*) FROM pg_namespace WHERE nspname = :schema")
HELD: Final = text("SELECT position, status FROM checkpoints WHERE name = :name AND version = :version FOR UPDATE")
# Who waits for us has not looked at anything yet. Autovacuum has no user.
OPEN: Final = text(
    """
    SELECT l.virtualtransaction, l.pid, a.usename, a.application_name
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'virtualxid' AND l.granted AND a.datname = current_database() AND a.usesysid IS NOT NULL
      AND l.pid <> ALL(CAST(:ours AS int[])) AND NOT pg_blocking_pids(l.pid) && CAST(:ours AS int[])
    """
)
TAKE_OVER: Final = text(
    """
    INSERT INTO checkpoints AS c
        (name, version, epoch, position, event_id, recorded_at, head, behind_since, status, reason, updated_at)
    SELECT :name, :version, epoch, position, event_id, recorded_at, head, behind_since, status, reason, updated_at
    FROM checkpoints WHERE name = :beside AND version = :version
    ON CONFLICT (name, version) DO UPDATE SET epoch = excluded.epoch, position = excluded.position,
        event_id = excluded.event_id, recorded_at = excluded.recorded_at, head = greatest(c.head, excluded.head),
        behind_since = excluded.behind_since, status = excluded.status, reason = excluded.reason, build = c.build + 1
    """
)
GONE: Final = text("DELETE FROM checkpoints WHERE name = :beside AND version = :version")
NO_LIMIT: Final = text("SELECT set_config('statement_timeout', '0', true)")
PIDS: Final = text("SELECT pg_backend_pid()")


@dataclass(kw_only=True)
class _Rebuild:
    """One rebuild, from its beginning to the switch.

    `plain` sends what it is told; what `filling` sends never reaches the serving schema. `lock` keeps others out.
    """

    plain: AsyncEngine
    lock: AsyncConnection
    model: ReadModel
    beside: ReadModel
    filling: Filling
    stream: Stream
    tell: Tell
    began: float = field(default_factory=time.monotonic)
    began_at: int = 0
    filling_s: float = 0.0
    leads: bool = False  # nothing serves that it would have to come up to

    @property
    def named(self) -> dict[str, Any]:
        return {"name": self.model.name, "version": self.model.version}

    @property
    def replaced(self) -> str:
        return f"{self.model.schema}_replaced"

    async def run(self, *, switch: bool, anew: bool) -> Rebuilt:
        try:
            await self._begin(anew=anew)
            compared_at, differences = await self._fill_and_compare()
            if switch:
                await self._switch()
            return Rebuilt(
                position=self.filling.checkpoint.position,
                applied=self.filling.checkpoint.position - self.began_at,
                seconds=time.monotonic() - self.began,
                filling_s=self.filling_s,
                compared_at=compared_at,
                tables=len(self.model.metadata.sorted_tables),
                differences=differences,
                switched=switch,
            )
        except CannotRebuild as error:
            await self._stage("failed", str(error))
            raise

    # -------------------------------------------------------------------------------------------------- begin

    async def _begin(self, *, anew: bool) -> None:
        """Take up what an interrupted rebuild left, or begin with empty tables."""
        fingerprint = code()
        async with self.plain.begin() as conn:
            await conn.execute(NO_LIMIT)
            await conn.execute(text(f"DROP SCHEMA IF EXISTS {self.replaced} CASCADE"))
            if anew or await conn.scalar(LAST_CODE, self.named) != fingerprint:
                await self._drop(conn)
            await conn.execute(TRY_AGAIN, self.named | {"name": self.beside.name})
        await self.filling.stand()
        self.began_at = self.filling.checkpoint.position
        async with self.plain.begin() as conn:
            await conn.execute(BEGIN, self.named | {"code": fingerprint, "position": self.began_at})

    async def _drop(self, conn: AsyncConnection) -> None:
        await conn.execute(text(f"DROP SCHEMA IF EXISTS {self.beside.schema} CASCADE"))
        await conn.execute(GONE, {"beside": self.beside.name, "version": self.model.version})

    async def _stage(self, stage: str, said: str | None = None) -> None:
        async with self.plain.begin() as conn:
            await conn.execute(STAGE, self.named | {"stage": stage, "said": said})

    # --------------------------------------------------------------------------------------------------- fill

    async def _fill_and_compare(self) -> tuple[int | None, tuple[Difference, ...]]:
        serving = await self._serving()
        self.leads = serving is None or not await self._of_this_log(serving)
        if serving is None or self.leads:
            await self._fill(None)
            return None, ()
        while self.filling.checkpoint.position < serving.position - NEAR:
            await self._fill(serving.position)
            serving = await self._serving() or serving
        found = await self._compare()
        serving = await self._serving() or serving
        if serving.status == "stopped":  # it goes no further, this one may
            await self._fill(None)
        return found

    async def _of_this_log(self, serving: Checkpoint) -> bool:
        """Whether what serves was made of what the stream holds: a restored log may hold less, or other events."""
        while True:
            try:
                holds = await self.stream.goes_on_from(Place(serving.position, serving.event_id))
            except CannotRead as error:
                self._tell("waiting", self.stream.head, str(error))
                await asyncio.sleep(REST_S)
            else:
                # a stream of the same life that is shorter is being published again: it will come
                return holds or (serving.position > self.stream.head and serving.epoch == self.stream.epoch)

    async def _serving(self) -> Checkpoint | None:
        async with self.plain.connect() as conn:
            found = await checkpoints.load(conn, [(self.model.name, self.model.version)])
        return next(iter(found.values()), None)

    async def _fill(self, goal: int | None) -> None:
        """Apply events up to a position, or to the end of the stream."""
        self.filling.goal = goal
        read = goal is not None  # where the end is, only the stream can say
        while not read or self.filling.checkpoint.position < (self.stream.head if goal is None else goal):
            began = time.monotonic()
            read = await self._step() or read
            self.filling_s += time.monotonic() - began
            checkpoint = self.filling.checkpoint
            if checkpoint.status == "stopped":
                raise CannotRebuild(
                    f"{checkpoint.reason}. Mend what takes it; the rebuild then goes on from {checkpoint.position}"
                )
            if read:
                short = goal is not None and self.filling.checkpoint.position == self.stream.head < goal
                said = f"the stream ends at {self.stream.head}" if short else ""
                self._tell("filling", self.stream.head if goal is None else goal, said)

    async def _step(self) -> bool:
        """Apply a batch; False where the stream cannot be read now."""
        try:
            await self.filling.step()
        except AnotherLog:
            async with self.plain.begin() as conn:
                await self._drop(conn)
            raise CannotRebuild("the log was restored since this rebuild began: ask again, it begins anew") from None
        except CannotRead as error:
            self._tell("waiting", self.stream.head, str(error))
            await asyncio.sleep(REST_S)
            return False
        return True

    def _tell(self, stage: Stage, goal: int, said: str = "") -> None:
        position = self.filling.checkpoint.position
        speed = (position - self.began_at) / max(self.filling_s, 0.001)
        self.tell(Progress(stage=stage, position=position, goal=max(goal, position), per_second=speed, said=said))

    # ------------------------------------------------------------------------------------------------ compare

    async def _compare(self) -> tuple[int | None, tuple[Difference, ...]]:
        """Hold the two side by side at one position; the serving one is held back only until that is seen."""
        async with self.plain.connect() as conn:
            there = await conn.scalar(SHAPE, {"schema": self.model.schema})
        if there != shape(self.model):  # its tables are others: rows cannot be held against rows
            return None, ()
        await self._stage("comparing")
        async with self.plain.connect() as seen:
            async with self.plain.begin() as hold:
                held = (await hold.execute(HELD, self.named)).one()
                await self._fill(held.position)
                position = self.filling.checkpoint.position
                await seen.execution_options(isolation_level="REPEATABLE READ")
                await seen.execute(NO_LIMIT)
            if position != held.position:  # it was further than the serving one: there is nothing to hold it against
                return None, ()
            self._tell("comparing", position)
            differences = []
            for table in sorted(table.name for table in self.model.metadata.sorted_tables):
                found = await compare(seen, table, self.model.schema, self.beside.schema)
                differences += [] if found is None else [found]
        said = {"compared_at": position, "differences": [str(difference) for difference in differences]}
        await self._stage("filling", json.dumps(said))
        return position, tuple(differences)

    # ------------------------------------------------------------------------------------------------- switch

    async def _switch(self) -> None:
        """Put the new build in the place of the serving one."""
        await self._stage("switching")
        while not await self._try_to_switch():  # noqa: ASYNC110  # who reads tells nobody that he has ended
            await asyncio.sleep(REST_S)
        async with self.plain.begin() as conn:
            await conn.execute(NO_LIMIT)
            await conn.execute(text(f"DROP SCHEMA IF EXISTS {self.replaced} CASCADE"))

    async def _try_to_switch(self) -> bool:
        """Switch, unless somebody reads for long; then the serving one is let go for a while."""
        serving = await self._serving()
        if serving is not None and not self.leads:
            while self.filling.checkpoint.position < serving.position - NEAR:
                await self._fill(serving.position)
                serving = await self._serving() or serving
        async with self.plain.connect() as hold:
            await hold.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
            held = (await hold.execute(HELD, self.named)).one_or_none()
            await self._fill(None if self.leads or held is None else held.position)
            ours = [(await conn.execute(PIDS)).scalar_one() for conn in (hold, self.lock)]
            reading = await self._earlier_ones(ours)
            if reading:
                self._tell("waiting", self.stream.head, f"somebody has been reading for long: {reading}")
                return False
            if await hold.scalar(THERE, {"schema": self.model.schema}):
                await hold.execute(text(f"ALTER SCHEMA {self.model.schema} RENAME TO {self.replaced}"))
            await hold.execute(text(f"ALTER SCHEMA {self.beside.schema} RENAME TO {self.model.schema}"))
            await hold.execute(text(f"COMMENT ON SCHEMA {self.model.schema} IS '{shape(self.model)}'"))
            await hold.execute(TAKE_OVER, self.named | {"beside": self.beside.name})
            await hold.execute(GONE, {"beside": self.beside.name, "version": self.model.version})
            await hold.execute(STAGE, self.named | {"stage": "switched", "said": None})
            await hold.commit()
        return True

    async def _earlier_ones(self, ours: list[int]) -> str:
        """Wait until every transaction that is open now has ended; says who has not, nothing when all have."""
        until = time.monotonic() + HOLD_S
        async with self.plain.connect() as conn:
            await conn.execution_options(isolation_level="AUTOCOMMIT")
            values = {"ours": [*ours, (await conn.execute(PIDS)).scalar_one()]}
            earlier: set[str] | None = None
            while True:
                found = {row.virtualtransaction: row for row in await conn.execute(OPEN, values)}
                earlier = set(found) if earlier is None else earlier & set(found)
                if not earlier:
                    return ""
                if time.monotonic() > until:
                    rows = (found[name] for name in sorted(earlier))
                    return ", ".join(f"{row.usename} ({row.application_name or 'no name'}, {row.pid})" for row in rows)
                await asyncio.sleep(0.005)


async def compare(conn: AsyncConnection, table: str, serving: str, new: str) -> Difference | None:
    """Hold a table of two schemas side by side, by the number and a hash of their rows; None where they are equal."""
    (rows, found), (new_rows, new_found) = [
        (
            await conn.execute(
                text(
                    "SELECT count(*), coalesce(sum(CAST(hashtextextended(CAST(t AS text), 0) AS numeric)), 0) "  # noqa: S608  # names of ours
                    f"FROM {place}.{table} t"
                )
            )
        ).one()
        for place in (serving, new)
    ]
    if (rows, found) == (new_rows, new_found):
        return None
    only = [
        await _only(conn, f"{here}.{table}", f"{there}.{table}") for here, there in ((serving, new), (new, serving))
    ]
    return Difference(table=table, serving_rows=rows, new_rows=new_rows, only_serving=only[0], only_new=only[1])


async def _only(conn: AsyncConnection, here: str, there: str) -> tuple[str, ...]:
    found = await conn.scalars(
        text(
            f"SELECT CAST(t AS text) FROM {here} t EXCEPT ALL SELECT CAST(t AS text) FROM {there} t "  # noqa: S608  # names of ours
            f"ORDER BY 1 LIMIT {SAMPLE}"
        )
    )
    return tuple(row if len(row) <= CUT else f"{row[:CUT]}..." for row in found)


# ------------------------------------------------------------------------------------------------------- shown


class Bar:
    """Shows progress on a terminal as a bar, elsewhere as a line every few seconds."""

    WIDTH: Final = 30
    LINES_S: Final = 5.0

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.live = out.isatty()
        self.last = float("-inf")
        self.stage = ""

    def __call__(self, now: Progress) -> None:
        """Show it, not too often."""
        clock = time.monotonic()
        if clock - self.last < (TELL_S if self.live else self.LINES_S) and now.stage == self.stage:
            return
        self.last, self.stage = clock, now.stage
        if self.live:
            full = round(self.WIDTH * now.position / now.goal) if now.goal else 0
            self.out.write(f"\r\x1b[K[{'#' * full}{'.' * (self.WIDTH - full)}] {line(now)}")
        else:
            self.out.write(f"{line(now)}\n")
        self.out.flush()

    def end(self) -> None:
        """Leave the terminal a clean line."""
        if self.live:
            self.out.write("\r\x1b[K")
            self.out.flush()


def line(now: Progress) -> str:
    """Say how far it is."""
    share = f"{100 * now.position / now.goal:.1f} %, " if now.goal else ""
    left = "" if now.seconds_left is None else f", {now.per_second:,.0f}/s, {_duration(now.seconds_left)} left"
    return f"{now.stage}: {share}{now.position:,} of {now.goal:,}{left}{now.said and f' ({now.said})'}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def report(model: ReadModel, found: Rebuilt) -> str:
    """Say what a rebuild came to."""
    took = f"{found.filling_s:.1f} s filling, {_duration(found.seconds)} in all"
    said = [f"{model.name} v{model.version}: {found.applied:,} events in {took}"]
    if found.compared_at is None:
        said.append("nothing served at its position that it could be compared with")
    elif not found.differences:
        said.append(f"compared at position {found.compared_at:,}: all {found.tables} tables are equal")
    else:
        said.append(f"compared at position {found.compared_at:,}: {len(found.differences)} of {found.tables} differ")
        said += [str(difference) for difference in found.differences]
    said.append(f"switched at position {found.position:,}" if found.switched else "not switched: the old one serves on")
    return "\n".join(said)
