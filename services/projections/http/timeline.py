"""What happened, in words; and every entry by its id."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Final, Literal, get_args
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field, field_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.http.asof import AsOf, AsOfQuery, reader
from services.projections.http.cursors import Pinned, read_cursor, write_cursor
from services.projections.http.parameters import Code, Id, Limit
from services.projections.http.problems import responses, unknown
from services.projections.http.shown import Cite, EntryShown, When, entry
from services.projections.http.standing import party_names
from services.projections.http.totals import cite
from services.projections.read_model import ReadModel
from services.projections.read_models import entries
from services.projections.read_models.entries import ENTRIES, Where, standing
from shared.events import EVENT_TYPES, Amendment
from shared.recorded import Recorded

READS: Final[tuple[ReadModel, ...]] = (ENTRIES,)
Family = Literal["party", "capability", "coalition", "target", "pledge", "production", "statement", "entry"]

router = APIRouter(prefix="/v1", tags=["timeline"])


class TimelineQuery(Pinned):
    """Which entries."""

    coalition: Id | None = None
    party: Code | None = None
    stream: str | None = Field(
        default=None, max_length=120, pattern=r"^[a-z]+-[A-Za-z0-9._-]+$", examples=["pledge-gbr-fpv"]
    )
    type: str | None = Field(
        default=None,
        description="A type (`muster.pledge.announced.v1`, `pledge.announced`) or a family (`pledge`)",
        max_length=80,
    )
    limit: Limit = 100

    @field_validator("type")
    @classmethod
    def _a_type(cls, value: str | None) -> str | None:
        if value is not None and not types(value):
            raise ValueError(f"is no type or family of entries; families are {', '.join(get_args(Family))}")
        return value

    @classmethod
    def place(cls, cursor: str) -> tuple[Any, ...]:
        return read_cursor(cursor, int, str, str | None, date, int)


class Timeline(When):
    """What happened, the latest first."""

    timeline: list[EntryShown]
    next: str | None
    cite: Cite


class OneEntry(When):
    """One entry as it stands."""

    entry: EntryShown
    amends: EntryShown | None = Field(description="The entry that it corrects, retracts or sources")


@router.get("/timeline", response_model=Timeline, responses=responses())
async def timeline(request: Request, query: Annotated[TimelineQuery, Query()]) -> Response:
    """Tell what happened, in words, the latest day first."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        where = Where(
            coalition=query.coalition,
            party=query.party,
            stream=query.stream,
            types=() if query.type is None else types(query.type),
        )
        before = None if query.cursor is None else query.place(query.cursor)[3:]
        found = await entries.happened(
            conn,
            on=asof.on,
            since=asof.since,
            known=asof.position,
            where=where,
            before=before,
            limit=query.limit + 1,
        )
        page, more = found[: query.limit], found[query.limit :]
        after = (page[-1].happened_on, page[-1].position) if page else ()
        filters = query.model_dump(include={"coalition", "party", "stream", "type"})
        here = f"{request.url.path}?{asof.pinned(**filters, limit=query.limit)}"
        return {
            "timeline": await shown(conn, asof, page),
            "next": f"{here}&cursor={write_cursor(*asof.place, *after)}" if more else None,
            "cite": cite(asof, request.url.path, **filters),
        }

    return await reader(request).answer(request, query, READS, make)


@router.get("/events/{event_id}", response_model=OneEntry, responses=responses(404))
async def one_event(
    request: Request, event_id: Annotated[UUID, Path()], query: Annotated[AsOfQuery, Query()]
) -> Response:
    """Show one entry as it stands, with its sources, and what was said about it."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        return await of_event(conn, asof, str(event_id))

    return await reader(request).answer(request, query, READS, make)


async def of_event(conn: AsyncConnection, asof: AsOf, event_id: str) -> dict[str, Any]:
    """Show one entry. Raises Problem `unknown`."""
    found = await entries.by_id(conn, event_id)
    if found is None or found.position > asof.position:
        raise unknown("event", event_id)
    event = found.event
    originals = await entries.at_positions(conn, [event.entry_position]) if isinstance(event, Amendment) else {}
    one, *others = await shown(conn, asof, [found, *originals.values()])
    return {"entry": one, "amends": others[0] if others else None}


async def shown(conn: AsyncConnection, asof: AsOf, found: Sequence[Recorded]) -> list[dict[str, Any]]:
    """Show entries as they stand, in their order."""
    about = await entries.amendments_of(conn, [recorded.position for recorded in found], asof.position)
    registered = await party_names(conn, asof)
    return [entry(standing(recorded, about.get(recorded.position, [])), registered) for recorded in found]


def types(said: str) -> tuple[str, ...]:
    """Give the stored types that a type or a family names."""
    return tuple(
        name for name, event in EVENT_TYPES.items() if said in (name, event.TYPE) or event.TYPE.startswith(f"{said}.")
    )
