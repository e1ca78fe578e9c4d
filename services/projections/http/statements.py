"""Statements: each total that somebody stated, beside the ledger's own answer to the same question."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.coalitions import Coalition
from services.projections.http.asof import AsOf, AsOfQuery, reader
from services.projections.http.counted import Asked, joint_rows, own_rows
from services.projections.http.parameters import Capability, Code, Id
from services.projections.http.problems import responses
from services.projections.http.shown import (
    AmountShown,
    Answer,
    Cite,
    Interval,
    SourceShown,
    When,
    amount,
    event_link,
    figure,
    interval,
    source,
)
from services.projections.http.totals import cite
from services.projections.read_model import ReadModel
from services.projections.read_models import entries
from services.projections.read_models.coalition_totals import COALITION_TOTALS, Filter
from services.projections.read_models.entries import ENTRIES, Standing, as_it_stands, as_learned
from shared.amounts import Vector
from shared.days import first_day, last_day
from shared.events import stored_name
from shared.events.reports import StatementRecorded
from shared.measures import STAGES, Stage, contains

READS: Final[tuple[ReadModel, ...]] = (COALITION_TOTALS, ENTRIES)

router = APIRouter(prefix="/v1", tags=["statements"])


class StatementsQuery(AsOfQuery):
    """Which statements."""

    coalition: Id | None = None
    party: Code | None = Field(default=None, description="About this donor or beneficiary, or stated by it")
    capability: Capability | None = Field(default=None, description="This code and its descendants")
    stage: Stage | None = None


class AboutShown(Answer):
    """Whose total was stated."""

    coalition: str | None
    donor: str | None
    beneficiary: str | None


class LedgerSays(Interval):
    """The ledger's own answer, by one stage."""

    stage: Stage | None
    difference: str = Field(description="Stated low minus the ledger's low, in the unit stated")
    explain: str | None


class StatementShown(Answer):
    """A stated total. It is never added to anything."""

    id: str
    stated_by: str
    about: AboutShown
    measure: str
    capability: str | None
    stage: Stage | None = Field(description="null: not said, so every stage of which the ledger knows is shown")
    amount: AmountShown
    stated_on: date
    stated: str
    period: dict[str, str] | None
    ledger: list[LedgerSays] = Field(description="Empty where the ledger has no such number")
    sources: list[SourceShown]
    event_id: str
    link: str


class Statements(When):
    """Statements, the latest first."""

    statements: list[StatementShown]
    cite: Cite


@router.get("/statements", response_model=Statements, responses=responses())
async def list_statements(request: Request, query: Annotated[StatementsQuery, Query()]) -> Response:
    """List what was stated by the day asked for, each beside the ledger's own answer for the day it was stated on."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        filters = query.model_dump(include={"coalition", "party", "capability", "stage"})
        return {
            "statements": await stated(conn, asof, query),
            "cite": cite(asof, request.url.path, **filters),
        }

    return await reader(request).answer(request, query, READS, make)


async def stated(conn: AsyncConnection, asof: AsOf, query: StatementsQuery) -> list[dict[str, Any]]:
    """Show the statements that are asked for, the latest first."""
    said = await entries.of_types(conn, [stored_name(StatementRecorded)], asof.position)
    found = [standing for about in said.values() for standing in as_it_stands(about) if fits(standing, asof, query)]
    latest = sorted(found, key=lambda one: (one.day, one.recorded.position), reverse=True)
    return [await shown(conn, asof, standing) for standing in latest]


def fits(standing: Standing, asof: AsOf, query: StatementsQuery) -> bool:
    """Whether a statement is asked for."""
    said = standing.entry
    if not isinstance(said, StatementRecorded) or not standing.live or standing.day > asof.on:
        return False
    if asof.since is not None and standing.day < asof.since:
        return False
    capability = query.capability
    return (
        (query.coalition is None or said.about.coalition == query.coalition)
        and (query.party is None or query.party in said.parties)
        and (capability is None or (said.capability is not None and contains(capability, said.capability)))
        and (query.stage is None or said.stage == query.stage)
    )


async def shown(conn: AsyncConnection, asof: AsOf, standing: Standing) -> dict[str, Any]:
    """Show a statement beside the ledger's own answer."""
    said = standing.entry
    assert isinstance(said, StatementRecorded)  # noqa: S101  # fits() let nothing else through
    return {
        "id": said.statement,
        "stated_by": said.stated_by,
        "about": {
            "coalition": said.about.coalition,
            "donor": said.about.donor,
            "beneficiary": said.about.beneficiary,
        },
        "measure": said.measure,
        "capability": said.capability,
        "stage": said.stage,
        "amount": amount(said.amount),
        "stated_on": standing.day,
        "stated": said.stated_on,
        "period": None if said.period is None else {"from": said.period.start, "to": said.period.end},
        "ledger": await ledger_says(conn, asof, said),
        "sources": [source(found) for found in standing.sources],
        "event_id": standing.recorded.event_id,
        "link": event_link(standing.recorded.event_id),
    }


async def ledger_says(conn: AsyncConnection, asof: AsOf, said: StatementRecorded) -> list[dict[str, Any]]:
    """Give the ledger's answer to the same question, by stage, with the signed difference of the lows.

    The question is about the day it was stated on, or about what came in the period it names.
    """
    if said.measure == "members":
        return await _members(conn, asof, said)
    if said.measure != "amount":
        return []
    when = asof.between(None, last_day(said.stated_on))
    if said.period is not None:
        when = asof.between(first_day(said.period.start), last_day(said.period.end))
    where = Filter(
        coalition=said.about.coalition,
        donor=said.about.donor,
        beneficiary=said.about.beneficiary,
        capability=said.capability,
        unit=said.amount.unit,
        stage=said.stage,
    )
    asked = Asked(where=where)
    by_stage: dict[Stage, Vector] = {} if said.stage is None else {said.stage: Vector()}
    for row in [*await own_rows(conn, when, asked), *await joint_rows(conn, when, asked)]:
        by_stage[row.row.stage] = by_stage.get(row.row.stage, Vector()) + row.value
    return [
        {
            "stage": stage,
            **interval(by_stage[stage], by_part=asked.by_part),
            "difference": figure(said.amount.low - by_stage[stage].low),
            "explain": asked.of_stage(stage).link(when),
        }
        for stage in STAGES
        if stage in by_stage
    ]


async def _members(conn: AsyncConnection, asof: AsOf, said: StatementRecorded) -> list[dict[str, Any]]:
    if said.about.coalition is None:
        return []
    about = await entries.stream(conn, f"coalition-{said.about.coalition}", asof.position)
    coalition = Coalition.of(as_learned(about))
    if coalition is None:
        return []
    count = coalition.member_count(last_day(said.stated_on))
    return [
        {
            "stage": None,
            "low": str(count),
            "high": str(count),
            "about": False,
            "unknown": 0,
            "pledges": 0,
            "difference": figure(said.amount.low - count),
            "explain": f"/v1/coalitions/{coalition.id}?{asof.between(None, last_day(said.stated_on)).pinned()}",
        }
    ]
