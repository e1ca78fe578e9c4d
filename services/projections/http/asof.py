"""As of when an answer is: its position, its day, what it is an answer to; and how every answer is sent."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import quote_plus

import msgspec
from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.projections import checkpoints
from services.projections.checkpoints import Checkpoint, Key, lag_s, silent_s
from services.projections.database import driver
from services.projections.http.problems import Problem
from services.projections.read_model import ReadModel
from services.projections.read_models import READ_MODELS, entries
from shared.days import Said, first_day, last_day

WAIT_S: Final = 2.0
"""How long a question with `min_position` waits for the read side to come there."""

WAITED: Final = "muster.waited"
"""Says in a request's scope that it has waited so long already."""

FOUND: Final = "muster.found"
"""Holds in a request's scope where its answer found the read models first (Found)."""

FIRST_PAUSE_S: Final = 0.002
LONGEST_PAUSE_S: Final = 0.05

MODELS: Final = tuple((model.name, model.version) for model in READ_MODELS)
"""The read models whose checkpoints every question looks at."""

SHAPE: Final = "1"
"""Part of every ETag: raised when the same facts are shown in another way."""

POSITION: Final = re.compile(r"[0-9]{1,18}")
REPORTED: Final = "reported:"
NO_BODY: Final = 304


class AsOfQuery(BaseModel):
    """The parameters of every question: the day, the position, and what to wait for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    on: str | None = Field(
        default=None,
        description="Facts of days up to this one (a day, a month or a year). Default: today in UTC; with `known`, "
        "the day of that moment.",
        examples=["2024-02-15"],
    )
    since: str | None = Field(
        default=None,
        alias="from",
        description="Answer with what came from this day on: the value on `on` minus the value before.",
        examples=["2024-01-01"],
    )
    known: str | None = Field(
        default=None,
        description="As the ledger knew it: a position, an RFC 3339 instant, or `reported:` and a day (what the world "
        "could know by then).",
        examples=["120", "2024-06-01T00:00:00Z", "reported:2024-04-24"],
        max_length=64,
    )
    min_position: int | None = Field(
        default=None,
        ge=0,
        le=2**63 - 1,
        description="Wait (up to 2 s) until this position is applied: read your own writes.",
    )

    @field_validator("on", "since")
    @classmethod
    def _a_day(cls, value: str | None) -> str | None:
        if value is not None:
            last_day(Said(value))  # NotADay is a ValueError
        return value

    @field_validator("known")
    @classmethod
    def _a_moment(cls, value: str | None) -> str | None:
        if value is not None:
            moment(value)
        return value


@dataclass(frozen=True, slots=True)
class Reported:
    """What the world could know by the end of a day."""

    day: date


Moment: TypeAlias = int | datetime | Reported


def moment(value: str) -> Moment:
    """Read `known`. Raises ValueError."""
    if POSITION.fullmatch(value):
        return int(value)
    if value.startswith(REPORTED):
        return Reported(last_day(Said(value.removeprefix(REPORTED))))
    try:
        instant = datetime.fromisoformat(value.replace(" ", "+"))  # a plus sign in an address arrives as a space
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None or "T" not in value:
        raise ValueError("known is a position, an instant such as 2024-06-01T00:00:00Z, or reported:2024-06-01")
    return instant.astimezone(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class AsOf:
    """As of when an answer is.

    `position` is what it is an answer as known at; `past` says that this is not where its read models are, so that
    views of the present may not be used. `on` is its day, `since` the day from which it counts (None: from the
    beginning), `today` the day of the moment that is asked about. `applied` is where the read models are, `head` where
    the log is as they saw it last, `lag_s` the age in seconds of the oldest event not applied (0: none known).
    `epoch` names the log's life.
    """

    position: int
    on: date
    since: date | None
    past: bool
    today: date
    applied: int
    head: int
    lag_s: float
    epoch: str
    ledger: str

    @property
    def known(self) -> int | None:
        """The position for read models that have a view of the present: None for that view."""
        return self.position if self.past else None

    def pinned(self, **filters: str | int | bool | Sequence[str] | None) -> str:
        """Write a query that asks for exactly this state, with filters; one with several values is said as often."""
        said = in_query(**filters)
        return f"{said}&{_moment(self)}" if said else _moment(self)

    @property
    def place(self) -> tuple[int, str, str | None]:
        """What a cursor keeps, so that its pages are of one state while the ledger grows."""
        return self.position, self.on.isoformat(), None if self.since is None else self.since.isoformat()

    def between(self, since: date | None, on: date) -> AsOf:
        """Give the same state of knowledge, for other days."""
        return replace(self, since=since, on=on)


@lru_cache(maxsize=100)
def _moment(asof: AsOf) -> str:
    since = {} if asof.since is None else {"from": asof.since.isoformat()}
    return in_query(**since, on=asof.on.isoformat(), known=str(asof.position))


def in_query(**filters: str | int | bool | Sequence[str] | None) -> str:
    """Write the parameters of a query; those of None are left out."""
    said = ((name, value) for name, value in filters.items() if value is not None)
    return "&".join(f"{name}={_quoted(one)}" for name, value in said for one in _spelled(value))


@lru_cache(maxsize=5_000)
def _quoted(value: str) -> str:
    """Quote a value: every number of an answer has a link, and their values are few (half the time of a large one)."""
    return quote_plus(value, safe=",:")


def _spelled(value: str | int | bool | Sequence[str]) -> Sequence[str]:  # noqa: FBT001  # a value of a query
    if isinstance(value, str | int):
        return (str(value).lower() if isinstance(value, bool) else str(value),)
    return value


Make: TypeAlias = Callable[[AsyncConnection, AsOf], Awaitable[Mapping[str, Any]]]
Render: TypeAlias = Callable[[Mapping[str, Any], AsOf], tuple[bytes, str]]
"""Gives the bytes of an answer and their media type."""


class Found(NamedTuple):
    """Where the read models were found, when that began (by the loop's clock), and which day it was then, in UTC."""

    checkpoints: Mapping[Key, Checkpoint]
    at: float
    today: date


async def find(conn: AsyncConnection) -> Found:
    """Find where the read models are."""
    at, today = asyncio.get_running_loop().time(), datetime.now(UTC).date()
    return Found(await checkpoints.load(conn, MODELS), at, today)


class Reader:
    """How this process reads: every answer out of one transaction that sees one position."""

    def __init__(self, engine: AsyncEngine, ledger: str) -> None:
        """`engine` begins no transactions of its own."""
        self.engine = engine
        self.ledger = ledger

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that changes nothing and sees one moment."""
        async with self.engine.connect() as conn:
            connection = driver(conn)
            try:
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    yield conn
            finally:
                if connection.is_closed() or connection.is_in_transaction():
                    await conn.invalidate()

    async def answer(
        self, request: Request, query: AsOfQuery, reads: Sequence[ReadModel], make: Make, render: Render | None = None
    ) -> Response:
        """Answer a question from the read models it reads, or say that nothing changed since it was asked last.

        Raises:
            Problem: `behind`, `filling` or `not-yet`, or what `make` raises.
        """
        async with self._at(request, query, reads) as (conn, asof):
            tag = etag(request, asof)
            headers = {
                "ETag": tag,
                "Ledger-Position": str(asof.applied),
                "Lag-Seconds": f"{asof.lag_s:.3f}".rstrip("0").rstrip("."),
                "Cache-Control": "no-cache",
            }
            if render is not None and asof.lag_s > 0:  # a page says how far behind it is
                del headers["ETag"]
            elif matches(request.headers.get("If-None-Match"), tag):
                return Response(status_code=NO_BODY, headers=headers)
            body = await make(conn, asof)
        if render is None and isinstance(following := body.get("next"), str):
            headers["Link"] = f'<{following}>; rel="next"'
        content, media_type = (render or as_json)(body, asof)
        return Response(content, headers=headers, media_type=media_type)

    async def settled(self, request: Request, query: AsOfQuery, reads: Sequence[ReadModel]) -> AsOf:
        """Settle as of when an answer is that takes longer than one transaction. Raises Problem, as `answer` does."""
        async with self._at(request, query, reads) as (_, asof):
            return asof

    @asynccontextmanager
    async def _at(
        self, request: Request, query: AsOfQuery, reads: Sequence[ReadModel]
    ) -> AsyncIterator[tuple[AsyncConnection, AsOf]]:
        """Wait for the position that was asked for, holding no connection meanwhile, and settle as of when it is."""
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + (0 if request.scope.get(WAITED) else WAIT_S), FIRST_PAUSE_S
        while True:
            async with self.transaction() as conn:
                found = await find(conn)
                here = _where(found.checkpoints, reads)
                if query.min_position is None or here.applied >= query.min_position:
                    request.scope.setdefault(FOUND, found)
                    yield conn, await settle(conn, query, here, self.ledger)
                    return
            if loop.time() >= deadline:
                detail = f"position {query.min_position} was asked for, {here.applied} is applied; ask again"
                raise Problem("behind", detail, position=here.applied)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)


def reader(request: Request) -> Reader:
    """Give how this process reads."""
    found: Reader = request.app.state.reader
    return found


@dataclass(frozen=True, slots=True)
class Here:
    """Where the read models that a question reads are: `highest` may be ahead of what all of them have applied."""

    applied: int
    highest: int
    head: int
    lag_s: float
    epoch: str


def _where(found: Mapping[Key, Checkpoint], reads: Sequence[ReadModel]) -> Here:
    missing = [model.schema for model in reads if (model.name, model.version) not in found]
    if missing:
        raise Problem("filling", f"the worker has not made {', '.join(missing)} yet")
    there = [found[model.name, model.version] for model in reads]
    # one that stopped does not look ahead any more: the others know where the stream is
    head = max(max(checkpoint.head, checkpoint.position) for checkpoint in found.values())
    now = datetime.now(UTC)
    lags = (lag_s(at.position, head, at.behind_since or at.recorded_at, now) for at in there)
    return Here(
        applied=min(checkpoint.position for checkpoint in there),
        highest=max(checkpoint.position for checkpoint in there),
        head=head,
        lag_s=max(*lags, silent_s(found.values())),  # where nobody looks, there may be facts as old as that
        epoch=" ".join(checkpoint.life for checkpoint in there),
    )


async def settle(conn: AsyncConnection, query: AsOfQuery, here: Here, ledger: str) -> AsOf:
    """Settle position and day. Raises Problem `not-yet` beyond the head, `behind` beyond what is applied."""
    now = datetime.now(UTC)
    asked = None if query.known is None else moment(query.known)
    position, today = await _known(conn, asked, here, now)
    since = None if query.since is None else first_day(Said(query.since))
    return AsOf(
        position=position,
        on=today if query.on is None else last_day(Said(query.on)),
        since=since,
        today=today,
        past=position != here.applied or here.highest != here.applied,
        applied=here.applied,
        head=here.head,
        lag_s=here.lag_s,
        epoch=here.epoch,
        ledger=ledger,
    )


async def _known(conn: AsyncConnection, asked: Moment | None, here: Here, now: datetime) -> tuple[int, date]:
    """Give the position and the day of a moment."""
    match asked:
        case None:
            return here.applied, now.date()
        case int():
            _not_beyond(asked <= here.head, f"position {asked}", here)
            _applied(asked <= here.applied, f"position {asked}", here)
            recorded = await entries.recorded_at(conn, asked)
            return asked, now.date() if recorded is None else recorded.astimezone(UTC).date()
        case datetime():
            _not_beyond(asked <= now, asked.isoformat(), here)
            position = await entries.last_recorded_by(conn, asked)
            # what is applied now may be all that was recorded by then only if nothing waits
            _applied(position < here.applied or here.applied >= here.head, asked.isoformat(), here)
            return position, asked.date()
        case Reported(day=day):
            _not_beyond(day <= now.date(), f"{REPORTED}{day}", here)
            first = await entries.first_reported_after(conn, day)
            return (here.applied if first is None else first - 1), day


async def position_of(conn: AsyncConnection, asof: AsOf, said: str, *, pointer: str) -> tuple[int, date]:
    """Give the position and the day of another moment than the answer's. Raises Problem, as `settle` does."""
    here = Here(asof.applied, asof.applied, asof.head, asof.lag_s, asof.epoch)
    try:
        return await _known(conn, moment(said), here, datetime.now(UTC))
    except Problem as problem:
        raise Problem(
            problem.code,
            problem.detail,
            errors=[(pointer, why) for _, why in problem.errors],
            position=problem.position,
        ) from problem


def _not_beyond(holds: bool, what: str, here: Here) -> None:  # noqa: FBT001  # a condition, as in assert
    if not holds:
        detail = f"{what} is beyond the ledger's head {here.head}"
        raise Problem("not-yet", detail, errors=[("/query/known", "is not yet")], position=here.applied)


def _applied(holds: bool, what: str, here: Here) -> None:  # noqa: FBT001  # a condition, as in assert
    if not holds:
        raise Problem("behind", f"{what} is not applied yet, only {here.applied}; ask again", position=here.applied)


# --------------------------------------------------------------------------------------------------- sending


def etag(request: Request, asof: AsOf) -> str:
    """Name an answer: by what was asked, and as of when it is answered."""
    asked = sorted((name, value) for name, value in request.query_params.multi_items() if name != "min_position")
    rates = request.app.state.rates.name  # a conversion changes with them
    about = (SHAPE, asof.epoch, rates, request.url.path, asked, asof.position, asof.on, asof.since, asof.today)
    return f'"{asof.position}-{hashlib.sha256(repr(about).encode()).hexdigest()[:16]}"'


def matches(if_none_match: str | None, tag: str) -> bool:
    """Say whether the caller has this answer already (weak comparison, as RFC 9110 wants for GET)."""
    if if_none_match is None:
        return False
    tags = [found.strip().removeprefix("W/") for found in if_none_match.split(",")]
    return tag in tags or "*" in tags


def as_json(body: Mapping[str, Any], asof: AsOf) -> tuple[bytes, str]:
    """Write an answer as JSON, with as of when it is before all else."""
    when: dict[str, Any] = {"position": asof.position, "on": asof.on, "known": asof.position}
    if asof.since is not None:
        when["from"] = asof.since
    return msgspec.json.encode(when | dict(body)), "application/json"
