"""Facts: one flat row for everything that was recorded, as it stands; what people download."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, field_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.http.asof import AsOf, reader
from services.projections.http.cursors import Pinned, read_cursor, write_cursor
from services.projections.http.parameters import Capability, Code, Id, Limit
from services.projections.http.problems import responses
from services.projections.http.shown import Answer, Cite, When, bound, event_link, figure, instant
from services.projections.http.standing import party_names
from services.projections.http.timeline import types
from services.projections.http.totals import cite
from services.projections.names import party
from services.projections.read_model import ReadModel
from services.projections.read_models import entries
from services.projections.read_models.entries import ENTRIES, Standing, standing
from services.projections.words import in_words
from shared.amounts import Amount, spoken
from shared.events import Entry
from shared.events.pledges import DeliveryConfirmed, DeliveryReported, PledgeAnnounced, PledgeRevised, StageReached
from shared.events.reports import ProductionReported, StatementRecorded
from shared.events.targets import TargetSet
from shared.measures import contains

READS: Final[tuple[ReadModel, ...]] = (ENTRIES,)

router = APIRouter(prefix="/v1", tags=["timeline"])


class FactsQuery(Pinned):
    """Which facts."""

    coalition: Id | None = None
    party: Code | None = Field(default=None, description="Whom it is about: as donor, beneficiary, member, reporter")
    capability: Capability | None = Field(default=None, description="This code and its descendants")
    type: str | None = Field(
        default=None,
        description="A type (`muster.pledge.announced.v1`, `pledge.announced`) or a family (`pledge`)",
        max_length=80,
    )
    retracted: bool = Field(default=False, description="Also give what was retracted; `live` tells them apart")
    limit: Limit = 100

    @field_validator("type")
    @classmethod
    def _a_type(cls, value: str | None) -> str | None:
        if value is not None and not types(value):
            raise ValueError("is no type or family of entries")
        return value

    @classmethod
    def place(cls, cursor: str) -> tuple[Any, ...]:
        return read_cursor(cursor, int, str, str | None, int)


class Fact(Answer):
    """A fact, flat: one row of a table."""

    position: int = Field(description="Its place in the ledger")
    event_id: str = Field(description="Its id, for good")
    type: str = Field(description="What it says: family, and what happened")
    stream: str = Field(description="The thing it is about: a pledge, a target, a coalition ...")
    happened_on: date = Field(description="The day it takes effect")
    happened: str | None = Field(description="When it happened, as said: a day, a month or a year")
    reported_on: date = Field(description="When the world could know it")
    recorded_at: str = Field(description="When the ledger learned it, UTC")
    coalition: str | None = Field(description="The coalition it is towards")
    donors: list[str] = Field(description="Who gives, by code")
    beneficiaries: list[str] = Field(description="For whom, by code")
    capability: str | None = Field(description="What, as a dotted code")
    stage: str | None = Field(description="Which stage the amount is of; null: of none")
    unit: str | None = Field(description="`piece`, or an ISO 4217 currency")
    low: str | None = Field(description="The least that the amount can be")
    high: str | None = Field(description="The most it can be; empty: open, or no amount")
    qualifier: str | None = Field(description="How it was said: exactly, about, at_least ...")
    said: str | None = Field(description="The amount as it was said")
    also: str | None = Field(description="The same thing in other measures; never to be added to the first")
    due_by: str | None = Field(description="The day it is due, as said")
    period_from: str | None = Field(description="The days that it is for, as said")
    period_to: str | None
    finance_type: str | None = Field(description="grant, loan, guarantee, in_kind")
    relation: str | None = Field(description="What the pledge is to others")
    labels: list[str] = Field(description="`key=value`")
    words: str = Field(description="The fact in a sentence")
    note: str | None
    live: bool = Field(description="false: it was retracted")
    corrected: bool = Field(description="Whether it stands as a later entry corrected it")
    publishers: list[str] = Field(description="Who published it")
    sources: list[str] = Field(description="Where it is from")
    link: str = Field(description="The entry, with its sources and amendments")


class Facts(When):
    """A page of facts, in the order of the ledger."""

    facts: list[Fact]
    next: str | None
    cite: Cite


@router.get("/facts", response_model=Facts, responses=responses())
async def list_facts(request: Request, query: Annotated[FactsQuery, Query()]) -> Response:
    """List what was recorded, one flat row a fact, as it stands. `/v1/facts.csv` is the whole as a table."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        return await page(conn, asof, query, request.url.path)

    return await reader(request).answer(request, query, READS, make)


async def page(conn: AsyncConnection, asof: AsOf, query: FactsQuery, path: str) -> dict[str, Any]:
    """Give a page. It may hold fewer than `limit` and still be followed by another."""
    after = 0 if query.cursor is None else query.place(query.cursor)[-1]
    found = await entries.facts(
        conn,
        asof.position,
        coalition=query.coalition,
        party=query.party,
        types=() if query.type is None else types(query.type),
        after=after,
        limit=query.limit + 1,
    )
    more = len(found) > query.limit
    found = found[: query.limit]
    about = await entries.amendments_of(conn, [one.position for one in found], asof.position)
    registered = await party_names(conn, asof)
    standings = [standing(one, about.get(one.position, [])) for one in found]
    filters = query.model_dump(include={"coalition", "party", "capability", "type", "retracted"}, exclude_defaults=True)
    here = f"{path}?{asof.pinned(**filters, limit=query.limit)}"
    return {
        "facts": [fact(one, registered) for one in standings if fits(one, asof, query)],
        "next": f"{here}&cursor={write_cursor(*asof.place, found[-1].position)}" if more else None,
        "cite": cite(asof, path, **filters),
    }


def fits(one: Standing, asof: AsOf, query: FactsQuery) -> bool:
    """Whether a fact fits as it stands."""
    if not one.live and not query.retracted:
        return False
    if one.day > asof.on or (asof.since is not None and one.day < asof.since):
        return False
    if query.coalition is not None and query.coalition not in one.entry.coalitions:
        return False
    if query.party is not None and query.party not in one.entry.parties:
        return False
    capability = capability_of(one.entry)
    return query.capability is None or (capability is not None and contains(query.capability, capability))


def capability_of(entry: Entry) -> str | None:
    """Give the capability that an entry is about; None if it names none."""
    named: str | None = getattr(entry, "capability", None)
    context = getattr(entry, "context", None)
    return named if named is not None or context is None else context.capability


def fact(one: Standing, registered: dict[str, str]) -> dict[str, Any]:
    """Show a fact as a flat row."""
    recorded, entry = one.recorded, one.entry
    amount: Amount | None = getattr(entry, "amount", None)
    donors, beneficiaries = who(entry)
    period = getattr(entry, "for_period", None) or getattr(entry, "period", None)
    relation = getattr(entry, "relation", None)
    also = [f"{spoken(other.amount)} {other.amount.unit}" for other in getattr(entry, "also", None) or ()]
    return {
        "position": recorded.position,
        "event_id": recorded.event_id,
        "type": entry.TYPE,
        "stream": recorded.stream,
        "happened_on": one.day,
        "happened": entry.happened,
        "reported_on": recorded.reported_on,
        "recorded_at": instant(recorded.recorded_at),
        "coalition": next(iter(entry.coalitions), None),
        "donors": donors,
        "beneficiaries": beneficiaries,
        "capability": capability_of(entry),
        "stage": stage_of(entry),
        "unit": None if amount is None else amount.unit,
        "low": None if amount is None or amount.unknown else figure(amount.low),
        "high": None if amount is None else bound(amount.high),
        "qualifier": None if amount is None else amount.qualifier,
        "said": None if amount is None else spoken(amount),
        "also": "; ".join(also) or None,
        "due_by": getattr(entry, "due_by", None),
        "period_from": None if period is None else period.start,
        "period_to": None if period is None else period.end,
        "finance_type": getattr(entry, "finance_type", None),
        "relation": None if relation is None else " ".join((relation.kind, *relation.of)),
        "labels": [f"{key}={value}" for key, values in entry.labels.items() for value in values],
        "words": in_words(entry, lambda code: party(code, registered)),
        "note": entry.note,
        "live": one.live,
        "corrected": entry is not recorded.event,
        "publishers": [source.publisher for source in one.sources if source.publisher is not None],
        "sources": [source.url or source.title or "" for source in one.sources],
        "link": event_link(recorded.event_id),
    }


def who(entry: Entry) -> tuple[Sequence[str], Sequence[str]]:
    """Give who gives and for whom: of what happens to a pledge, those it was recorded with."""
    match entry:
        case PledgeAnnounced():
            return [one.party for one in entry.donors], [one.party for one in entry.beneficiaries]
        case ProductionReported():
            return [entry.party], []
        case StatementRecorded(about=about):
            return [about.donor] if about.donor else [], [about.beneficiary] if about.beneficiary else []
        case TargetSet():
            return [], [entry.beneficiary] if entry.beneficiary else []
    context = getattr(entry, "context", None)
    return ([], []) if context is None else (list(context.donors), list(context.beneficiaries))


def stage_of(entry: Entry) -> str | None:
    """Give the stage that an entry's amount is of."""
    match entry:
        case PledgeAnnounced() | PledgeRevised():
            return None if entry.amount is None else "pledged"
        case StageReached():
            return entry.STAGE
        case DeliveryReported():
            return "delivered"
        case DeliveryConfirmed():
            return "confirmed"
        case ProductionReported():
            return "produced"
        case StatementRecorded():
            return entry.stage
        case TargetSet():
            return entry.counts
        case _:
            return None
