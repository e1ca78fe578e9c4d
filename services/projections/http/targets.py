"""Targets: what was asked for, how far it is, by which pace; past deadlines keep their own outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections import progress as rules
from services.projections.http.asof import AsOf, AsOfQuery, reader
from services.projections.http.counted import Asked, Step, steps
from services.projections.http.parameters import Capability, Code, Id
from services.projections.http.problems import Problem, responses, unknown
from services.projections.http.shown import AmountShown, Answer, Cite, Interval, When, amount, bound, figure, interval
from services.projections.http.standing import coalition_known
from services.projections.http.totals import cite
from services.projections.progress import Deadline, Measure, Pace, Progress, Status, Terms, percent, terms_of
from services.projections.read_model import ReadModel
from services.projections.read_models import target_progress
from services.projections.read_models.coalition_totals import COALITION_TOTALS, Filter, daily
from services.projections.read_models.entries import ENTRIES
from services.projections.read_models.target_progress import TARGET_PROGRESS
from shared.amounts import ZERO, Vector
from shared.events import Entry
from shared.events.targets import TargetEntry
from shared.measures import STAGES, Stage, contains
from shared.timeline import Learned, Steps

READS: Final[tuple[ReadModel, ...]] = (TARGET_PROGRESS, COALITION_TOTALS, ENTRIES)

router = APIRouter(prefix="/v1", tags=["targets"])


class TargetsQuery(AsOfQuery):
    """Which targets."""

    coalition: Id | None = None
    party: Code | None = None
    capability: Capability | None = Field(default=None, description="This code and its descendants")
    status: Status | None = None


class PastDeadline(Answer):
    """A deadline that was replaced, with its own outcome."""

    due_by: date
    said: str
    replaced_on: date
    reason: str | None
    amount: AmountShown
    status: Status


class TargetShown(Answer):
    """A target as it stands on the day asked for."""

    id: str
    coalition: str | None
    party: str | None
    capability: str
    amount: AmountShown
    counts: Stage
    set_on: date
    starts_on: date
    due_by: date | None
    due_said: str | None
    beneficiary: str | None
    stated_by: str | None
    outcome: str | None = Field(description="How it ended, once it is closed")
    past_deadlines: list[PastDeadline]


class StageProgress(Interval):
    """How far the target is, by one stage."""

    stage: Stage
    counts: bool = Field(description="Whether this is the stage that counts")
    percent_low: str | None
    percent_high: str | None = Field(description="null: open, or with unknown amounts beside")
    explain: str


class PaceShown(Answer):
    """What a day has to bring, what it brought in the last 90 days, and when the target would be met so."""

    needed_per_day: str | None
    recent_per_day: str
    projected_on: date | None


class Point(Answer):
    """What counted on a day."""

    on: date
    low: str
    high: str | None
    unknown: int


class TargetProgress(When):
    """How far a target is."""

    target: TargetShown
    status: Status
    progress: list[StageProgress]
    pace: PaceShown
    series: list[Point] = Field(description="Steps: each day on which it changed, up to complete_to")
    complete_to: date | None
    cite: Cite


class TargetInList(Answer):
    """A target at a glance: the stage that counts."""

    target: TargetShown
    status: Status
    low: str
    high: str | None
    about: bool
    unknown: int
    pledges: int
    percent_low: str | None
    percent_high: str | None
    complete_to: date | None
    explain: str
    link: str


class Targets(When):
    """Targets, by id."""

    targets: list[TargetInList]
    cite: Cite


@router.get("/targets", response_model=Targets, responses=responses())
async def list_targets(request: Request, query: Annotated[TargetsQuery, Query()]) -> Response:
    """List targets, each with the stage that counts towards it."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        found = await targets(conn, asof, coalition=query.coalition, party=query.party)
        kept = [
            one
            for one in found
            if (query.status is None or one.progress.status == query.status)
            and (query.capability is None or contains(query.capability, one.progress.terms.capability))
        ]
        filters = query.model_dump(include={"coalition", "party", "capability", "status"})
        return {"targets": [in_list(asof, one) for one in kept], "cite": cite(asof, request.url.path, **filters)}

    return await reader(request).answer(request, query, READS, make)


@router.get("/targets/{target}/progress", response_model=TargetProgress, responses=responses(404))
async def target_progress_of(
    request: Request, target: Annotated[Id, Path()], query: Annotated[AsOfQuery, Query()]
) -> Response:
    """Say how far a target is."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        return shown(asof, await target_known(conn, target, asof), request.url.path)

    return await reader(request).answer(request, query, READS, make)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A target with how far it is on the day asked for."""

    id: str
    set_on: date
    progress: Progress
    complete_to: date | None


async def target_known(conn: AsyncConnection, name: str, asof: AsOf) -> Target:
    """Give one target. Raises Problem `unknown`, or `not-yet-set` before its day."""
    learned = await target_progress.target(conn, name, asof.position)
    terms = terms_of(about_targets(learned))
    if not terms.days:
        raise unknown("target", name)
    found = await _progress(conn, asof, name, terms)
    if found is None:
        raise Problem("not-yet-set", f"target {name!r} was set on {terms.days[0]}, after {asof.on}")
    return found


async def targets(
    conn: AsyncConnection, asof: AsOf, *, coalition: str | None = None, party: str | None = None
) -> list[Target]:
    """Give the targets that are set on the day asked for, by id: all, or those of a scope."""
    learned = await target_progress.targets(conn, asof.position, coalition=coalition, party=party)
    found = [await _progress(conn, asof, name, terms_of(about_targets(said))) for name, said in sorted(learned.items())]
    return [
        one
        for one in found
        if one is not None
        and (coalition is None or one.progress.terms.coalition == coalition)
        and (party is None or one.progress.terms.party == party)
    ]


def about_targets(learned: Sequence[Learned[Entry]]) -> list[Learned[TargetEntry]]:
    """Keep what is about targets: all of it, by the streams it is from."""
    return [
        Learned(said.position, said.fact, said.amends)
        for said in learned
        if said.fact is None or isinstance(said.fact, TargetEntry)
    ]


async def _progress(conn: AsyncConnection, asof: AsOf, name: str, terms: Steps[Terms | None]) -> Target | None:
    now = terms.on(asof.on)
    if now is None:
        return None
    complete_to = None
    if now.coalition is not None:
        complete_to = (await coalition_known(conn, now.coalition, asof)).complete_to(asof.on)
    in_force = [found for day, found in terms if found is not None and day <= asof.on]
    measures = dict.fromkeys(found.measure for found in in_force)
    values = {measure: await values_of(conn, asof, now, measure) for measure in measures}
    found = rules.progress(terms, values, asof.on, complete_to)
    return None if found is None else Target(id=name, set_on=terms.days[0], progress=found, complete_to=complete_to)


def scope(terms: Terms, measure: Measure, stage: Stage | None = None) -> Asked:
    """Give what counts in a target's scope; of a party its own, and [0, whole] of the groups it is in."""
    where = Filter(
        coalition=terms.coalition, donor=terms.party, capability=measure.capability, unit=measure.unit, stage=stage
    )
    return Asked(where=where)


async def values_of(conn: AsyncConnection, asof: AsOf, terms: Terms, measure: Measure) -> Mapping[Stage, Steps[Vector]]:
    """Give what counts in a target's scope and measure, by stage and day; stages of which nothing was said are zero."""

    async def added_by(where: Filter) -> list[Step[Stage]]:
        return await daily(conn, on=asof.on, known=asof.known, where=where)  # a target has a first day of its own

    values: dict[Stage, Steps[Vector]] = {stage: Steps(ZERO) for stage in STAGES}
    for day, stage, change in await steps(scope(terms, measure), added_by):
        values[stage].step(day, values[stage].on(day) + change)
    return values


def explained(asof: AsOf, terms: Terms, stage: Stage) -> str:
    """Give the link to the postings that count towards a target, by one stage."""
    counted = rules.counted_days(terms, stage, asof.on)
    asked = scope(terms, terms.measure, stage)
    return asked.link(asof.between(*counted))


def shown(asof: AsOf, target: Target, path: str) -> dict[str, Any]:
    """Show how far a target is."""
    progress, terms = target.progress, target.progress.terms
    return {
        "target": target_shown(target),
        "status": progress.status,
        "progress": [
            {
                "stage": stage,
                "counts": stage == terms.counts,
                **interval(vector, by_part=terms.party is not None),
                **percents(vector, terms),
                "explain": explained(asof, terms, stage),
            }
            for stage, vector in progress.reached.items()
        ],
        "pace": pace_shown(progress.pace),
        "series": [
            {"on": day, "low": figure(x.low), "high": bound(x.bound), "unknown": x.unknown}
            for day, x in progress.series
        ],
        "complete_to": target.complete_to,
        "cite": cite(asof, path),
    }


def in_list(asof: AsOf, target: Target) -> dict[str, Any]:
    """Show a target at a glance."""
    terms = target.progress.terms
    vector = target.progress.reached[terms.counts]
    return {
        "target": target_shown(target),
        "status": target.progress.status,
        **interval(vector, by_part=terms.party is not None),
        **percents(vector, terms),
        "complete_to": target.complete_to,
        "explain": explained(asof, terms, terms.counts),
        "link": f"/v1/targets/{target.id}/progress",
    }


def percents(x: Vector, terms: Terms) -> dict[str, str | None]:
    """Show both bounds as percents of what was asked for; the high is null where it is open, or something unknown."""
    low, high = percent(x.low, terms.asked), percent(None if x.unknown > 0 else x.bound, terms.asked)
    return {"percent_low": None if low is None else str(low), "percent_high": None if high is None else str(high)}


def target_shown(target: Target) -> dict[str, Any]:
    """Show what a target asks for."""
    terms = target.progress.terms
    return {
        "id": target.id,
        "coalition": terms.coalition,
        "party": terms.party,
        "capability": terms.capability,
        "amount": amount(terms.amount),
        "counts": terms.counts,
        "set_on": target.set_on,
        "starts_on": terms.starts_on,
        "due_by": terms.due_by,
        "due_said": terms.due_said,
        "beneficiary": terms.beneficiary,
        "stated_by": terms.stated_by,
        "outcome": terms.closed,
        "past_deadlines": [past_shown(past) for past in target.progress.past_deadlines],
    }


def past_shown(past: Deadline) -> dict[str, Any]:
    """Show a deadline that was replaced."""
    return {
        "due_by": past.due_by,
        "said": past.said,
        "replaced_on": past.replaced_on,
        "reason": past.reason,
        "amount": amount(past.amount),
        "status": past.status,
    }


def pace_shown(pace: Pace) -> dict[str, Any]:
    """Show a pace."""
    return {
        "needed_per_day": bound(pace.needed_per_day),
        "recent_per_day": figure(pace.recent_per_day),
        "projected_on": pace.projected_on,
    }
