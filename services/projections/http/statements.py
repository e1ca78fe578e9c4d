"""Statements: each total that somebody stated, beside the ledger's own answer to the same question."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from typing import Annotated, Any, Final, NamedTuple

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.coalitions import Coalition
from services.projections.http.asof import AsOf, AsOfQuery, reader
from services.projections.http.converted import RULES, Original, RateShown, View, money, original
from services.projections.http.counted import Asked, added, joint_rows, own_rows
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
from services.projections.rates import Rate, Rates, currencies, spell
from services.projections.read_model import ReadModel
from services.projections.read_models import entries
from services.projections.read_models.coalition_totals import COALITION_TOTALS, Filter
from services.projections.read_models.entries import ENTRIES, Standing, as_it_stands, as_learned
from services.projections.valued import RateOn, in_coins
from shared.amounts import ZERO, Vector
from shared.days import first_day, last_day
from shared.events import stored_name
from shared.events.reports import StatementRecorded
from shared.measures import STAGES, Stage, contains

READS: Final[tuple[ReadModel, ...]] = (COALITION_TOTALS, ENTRIES)

router = APIRouter(prefix="/v1", tags=["statements"])


class StatementsQuery(AsOfQuery):
    """Which statements. Money stated in one currency is compared with all money, in that currency."""

    rate_on: RateOn | None = Field(
        default=None, description="By the rate of each posting's day (the default), or of the day it was stated on"
    )

    coalition: Id | None = None
    party: Code | None = Field(default=None, description="About this donor or beneficiary, or stated by it")
    capability: Capability | None = Field(default=None, description="This code and its descendants")
    stage: Stage | None = None


class AboutShown(Answer):
    """Whose total was stated."""

    coalition: str | None
    donor: str | None
    beneficiary: str | None


class InOtherUnit(Original):
    """What the ledger has in another currency than the one stated, and what it comes to in that one."""

    explain: str


class WithoutRate(Interval):
    """What the ledger has in another currency, and nobody published a rate for: left out, and counted."""

    unit: str
    lacks: str
    explain: str


class InAll(Interval):
    """The ledger's answer with what it has in other currencies, converted into the unit stated."""

    difference: str = Field(description="Stated low minus this low")


class LedgerSays(Interval):
    """The ledger's own answer, by one stage, in the unit stated; and beside it with what is in other currencies."""

    stage: Stage | None
    difference: str = Field(description="Stated low minus the ledger's low, in the unit stated alone")
    explain: str | None = Field(description="The postings in the unit stated")
    in_all: InAll | None = Field(description="null: the ledger has nothing of it in another currency")
    converted: list[InOtherUnit]
    unconverted: list[WithoutRate]


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
    rates: list[RateShown] = Field(description="Every rate by which the ledger's answer was converted")
    sources: list[SourceShown]
    event_id: str
    link: str


class Statements(When):
    """Statements, the latest first."""

    statements: list[StatementShown]
    rule: str = Field(description="By the rate of which day the ledger's answers are converted")
    cite: Cite


@router.get("/statements", response_model=Statements, responses=responses())
async def list_statements(request: Request, query: Annotated[StatementsQuery, Query()]) -> Response:
    """List what was stated by the day asked for, each beside the ledger's own answer for the day it was stated on."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        filters = query.model_dump(include={"coalition", "party", "capability", "stage"})
        return {
            "statements": await stated(conn, asof, query, request.app.state.rates),
            "rule": RULES[query.rate_on or "posting"],
            "cite": cite(asof, request.url.path, **filters),
        }

    return await reader(request).answer(request, query, READS, make)


async def stated(
    conn: AsyncConnection, asof: AsOf, query: StatementsQuery, rates: Rates | None = None
) -> list[dict[str, Any]]:
    """Show the statements that are asked for, the latest first; without `rates` only money in the unit stated."""
    said = await entries.of_types(conn, [stored_name(StatementRecorded)], asof.position)
    found = [standing for about in said.values() for standing in as_it_stands(about) if fits(standing, asof, query)]
    latest = sorted(found, key=lambda one: (one.day, one.recorded.position), reverse=True)
    return [await shown(conn, asof, standing, query.rate_on or "posting", rates) for standing in latest]


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


async def shown(
    conn: AsyncConnection, asof: AsOf, standing: Standing, rate_on: RateOn = "posting", rates: Rates | None = None
) -> dict[str, Any]:
    """Show a statement beside the ledger's own answer."""
    said = standing.entry
    assert isinstance(said, StatementRecorded)  # noqa: S101  # fits() let nothing else through
    money = None if rates is None or said.amount.unit not in currencies() else View(said.amount.unit, rate_on, rates)
    ledger, used = await ledger_says(conn, asof, said, money)
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
        "ledger": ledger,
        "rates": list(spell(used)),
        "sources": [source(found) for found in standing.sources],
        "event_id": standing.recorded.event_id,
        "link": event_link(standing.recorded.event_id),
    }


async def ledger_says(
    conn: AsyncConnection, asof: AsOf, said: StatementRecorded, view: View | None = None
) -> tuple[list[dict[str, Any]], Iterable[Rate]]:
    """Give the ledger's answer to the same question, by stage, with the signed difference of the lows; rates used.

    The question is about the day it was stated on, or about what came in the period it names. What is in the unit
    stated stands alone, since nobody says which currencies a speaker had added up; with `view`, the same with money in
    other currencies, converted, stands beside it.
    """
    if said.measure == "members":
        return await _members(conn, asof, said), ()
    if said.measure != "amount":
        return [], ()
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
    others, used = ({}, frozenset()) if view is None else await _in_other_units(conn, when, asked, view)
    answers = []
    for stage in STAGES:
        if stage in by_stage or stage in others:
            found = others.get(stage, _Others(ZERO, (), ()))
            value = by_stage.get(stage, ZERO)
            whole = value + found.value
            answer: dict[str, Any] = {
                "stage": stage,
                **interval(value, by_part=asked.by_part),
                "difference": figure(said.amount.low - value.low),
                "explain": asked.of_stage(stage).link(when),
                "in_all": {
                    **interval(whole, by_part=asked.by_part),
                    "difference": figure(said.amount.low - whole.low),
                }
                if found.converted
                else None,
                "converted": found.converted,
                "unconverted": found.unconverted,
            }
            answers.append(answer)
    return answers, used


class _Others(NamedTuple):
    """What the ledger has of a stage in other currencies: its value in the one stated, and what it is made of."""

    value: Vector
    converted: Sequence[dict[str, Any]]
    unconverted: Sequence[dict[str, Any]]


async def _in_other_units(
    conn: AsyncConnection, asof: AsOf, asked: Asked, view: View
) -> tuple[dict[Stage, _Others], Iterable[Rate]]:
    """Convert what the ledger has in other currencies than the one stated, by stage."""
    everything = replace(asked, where=replace(asked.where, unit=None))
    found = await money(conn, asof, everything, view)
    valued = found.valued

    def link(stage: Stage, unit: str) -> str:
        return replace(everything, where=replace(everything.where, unit=unit, stage=stage)).link(asof)

    of_unit = added(
        ((row.stage, row.unit), value) for (_, row), value in valued.values.items() if row.unit != view.currency
    )
    was = added(((row.stage, row.unit), found.said.get((name, row), ZERO)) for name, row in valued.values)
    lacking = added(((row.stage, row.unit), value) for (_, row), (_, value, _) in valued.unconverted.items())
    lacks: dict[tuple[Stage, str], tuple[date, str]] = {}
    for (_, row), (_, _, (currency, day)) in valued.unconverted.items():
        key = row.stage, row.unit
        lacks[key] = min(lacks.get(key, (day, currency)), (day, currency))
    answers = {}
    for stage in {stage for stage, _ in of_unit.keys() | lacking.keys()}:
        parts = {unit: in_coins(value, view.currency) for (of, unit), value in of_unit.items() if of == stage and value}
        answers[stage] = _Others(
            sum(parts.values(), ZERO),
            [
                {**original(unit, was[stage, unit], value), "explain": link(stage, unit)}
                for unit, value in sorted(parts.items())
            ],
            [
                {
                    "unit": unit,
                    **interval(value, by_part=asked.by_part),
                    "lacks": "{1} on {0}".format(*lacks[stage, unit]),
                    "explain": link(stage, unit),
                }
                for (of, unit), value in sorted(lacking.items())
                if of == stage and value
            ],
        )
    return {stage: found for stage, found in answers.items() if found.converted or found.unconverted}, valued.used


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
            "in_all": None,
            "converted": [],
            "unconverted": [],
            "explain": f"/v1/coalitions/{coalition.id}?{asof.between(None, last_day(said.stated_on)).pinned()}",
        }
    ]
