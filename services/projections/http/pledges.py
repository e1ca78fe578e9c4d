"""Pledges: lists that fit filters, and one pledge with its timelines, deliveries, entries and sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field, ValidationInfo, field_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.coalitions import Coalition
from services.projections.http.asof import AsOf, reader
from services.projections.http.converted import InCurrency, InOneCurrency, View, said_in, stage_in, view
from services.projections.http.counted import Asked
from services.projections.http.cursors import Pinned, read_cursor, write_cursor
from services.projections.http.parameters import Capability, Code, Id, Labels, Number, Unit, label
from services.projections.http.problems import responses, unknown
from services.projections.http.shown import (
    AmountShown,
    Answer,
    Cite,
    EntryShown,
    Interval,
    ShareShown,
    SourceShown,
    When,
    amount,
    entry,
    interval,
    source,
)
from services.projections.http.standing import party_names
from services.projections.http.totals import cite
from services.projections.names import countries
from services.projections.pledges import Delivery, Flag, IsMember, KnownPledge, PledgeStatus
from services.projections.postings import Measure
from services.projections.read_model import ReadModel
from services.projections.read_models import entries, pledges, traits
from services.projections.read_models.coalition_totals import COALITION_TOTALS, Filter
from services.projections.read_models.entries import ENTRIES, as_it_stands, as_learned
from services.projections.read_models.pledges import PLEDGES
from services.projections.read_models.traits import TRAITS, fold
from shared.amounts import ZERO, Vector
from shared.codec import to_json
from shared.days import last_day
from shared.events.pledges import Share
from shared.measures import Stage, contains

READS: Final[tuple[ReadModel, ...]] = (PLEDGES, ENTRIES, COALITION_TOTALS)
LOOKED_AT: Final = 2_000
"""The most pledges that one answer looks at; filters that are judged one by one may need the next page."""

router = APIRouter(prefix="/v1", tags=["pledges"])


class PledgesQuery(Pinned, InCurrency):
    """Which pledges."""

    q: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00]+$",
        description="All these words, or parts of them, are in its id, notes, words, reasons, labels, or in the names "
        "of its donors and beneficiaries; accents and case make no difference",
        examples=["fpv latvia"],
    )

    coalition: Id | None = None
    donor: Code | None = None
    beneficiary: Code | None = None
    capability: Capability | None = Field(default=None, description="This code and its descendants")
    unit: Unit | None = None
    stage: Stage | None = Field(default=None, description="Pledges that have come to this stage")
    status: PledgeStatus | None = None
    flag: Flag | None = None
    label: Labels = Field(default_factory=list)
    min_amount: Number | None = Field(
        default=None, description="What it comes to, at least; in `unit`, of `stage` (default: pledged), on the day"
    )
    max_amount: Number | None = Field(default=None, description="What it comes to, at most; an open high is above all")
    limit: Annotated[int, Field(ge=1, le=500, description="The most items of one answer")] = 100

    @field_validator("min_amount", "max_amount")
    @classmethod
    def _in_a_unit(cls, value: Decimal | None, said: ValidationInfo) -> Decimal | None:
        if value is not None and said.data.get("unit") is None:
            raise ValueError("is an amount of what? name its `unit` too")
        return value

    @classmethod
    def place(cls, cursor: str) -> tuple[Any, ...]:
        return read_cursor(cursor, int, str, str | None, str)


class StageShown(Interval):
    """What was said of one stage, in one measure."""

    stage: Stage
    capability: str
    unit: str
    converted: InOneCurrency | None = Field(default=None, description="With `in`: money in one currency, beside")


class RelationShown(Answer):
    """What the pledge is to others."""

    kind: str
    of: list[str]


class PledgeInList(Answer):
    """A pledge as it stands on the day asked for."""

    id: str
    coalition: str | None
    donors: list[ShareShown]
    beneficiaries: list[ShareShown]
    recipient: str | None
    capability: str
    finance_type: str | None
    announced_on: date
    announced: str = Field(description="As said: a day, a month or a year")
    due_by: date | None
    relation: RelationShown | None
    new_money: bool
    conditions: str | None
    status: PledgeStatus
    flags: list[Flag]
    stages: list[StageShown] = Field(description="As said of this pledge; totals count it by its relation")
    explain: str
    link: str


class Pledges(When):
    """A page of pledges, by id."""

    pledges: list[PledgeInList]
    next: str | None
    cite: Cite


class PointOfTimeline(Interval):
    """The value from a day on."""

    on: date


class StageTimeline(Answer):
    """One stage in one measure over time; absent after a day on which it ended."""

    stage: Stage
    capability: str
    unit: str
    points: list[PointOfTimeline]
    explain: str


class DeliveryShown(Answer):
    """A delivery as it stands on the day asked for."""

    id: str
    state: str
    since: date
    by: str | None
    delivered_on: date
    delivered: str
    amount: AmountShown
    covers: str
    capability: str | None
    reported_by: str
    sources: list[SourceShown]


class PledgeDetail(When):
    """One pledge."""

    pledge: PledgeInList
    timelines: list[StageTimeline]
    deliveries: list[DeliveryShown]
    labels: dict[str, list[str]]
    refs: list[dict[str, Any]]
    note: str | None
    entries: list[EntryShown] = Field(description="All that was said, what was corrected or retracted included")
    cite: Cite


@router.get("/pledges", response_model=Pledges, responses=responses())
async def list_pledges(request: Request, query: Annotated[PledgesQuery, Query()]) -> Response:
    """List pledges. A page may hold fewer than `limit` and still be followed by `next`."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        found, following = await listed(conn, asof, query)
        is_member = await membership(conn, asof, found)
        filters = query.model_dump(
            by_alias=True,
            include={
                "in_",
                "rate_on",
                "q",
                "min_amount",
                "max_amount",
                "coalition",
                "donor",
                "beneficiary",
                "capability",
                "unit",
                "stage",
                "status",
                "flag",
                "label",
            },
        )
        filters = {name: str(value) if isinstance(value, Decimal) else value for name, value in filters.items()}
        place = None if following is None else write_cursor(*asof.place, following)
        here = f"{request.url.path}?{asof.pinned(**filters, limit=query.limit)}"
        return {
            "pledges": [in_list(asof, pledge, is_member, view(request, query)) for pledge in found],
            "next": None if place is None else f"{here}&cursor={place}",
            "cite": cite(asof, request.url.path, **filters),
        }

    return await reader(request).answer(request, query, READS if query.q is None else (*READS, TRAITS), make)


@router.get("/pledges/{pledge}", response_model=PledgeDetail, responses=responses(404))
async def one_pledge(
    request: Request, pledge: Annotated[Id, Path()], query: Annotated[InCurrency, Query()]
) -> Response:
    """Show a pledge: its timelines, its deliveries, everything that was said about it, and where that is from."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        return await detail(conn, asof, pledge, request.url.path, view(request, query))

    return await reader(request).answer(request, query, READS, make)


async def listed(conn: AsyncConnection, asof: AsOf, query: PledgesQuery) -> tuple[list[KnownPledge], str | None]:
    """Give the pledges that fit as they stand, and the id after which the next page begins."""
    after = None if query.cursor is None else query.place(query.cursor)[-1]
    words = await searched(conn, asof, query.q or "")
    found: list[KnownPledge] = []
    looked_at = 0
    while True:
        names = await pledges.may_fit(
            conn,
            asof.position,
            coalition=query.coalition,
            donor=query.donor,
            beneficiary=query.beneficiary,
            capability=query.capability,
            unit=query.unit,
            label=query.label[0] if query.label else None,
            only=await candidates(conn, asof, words) if words else None,
            after=after,
            limit=query.limit,
        )
        known = await pledges_known(conn, asof, names)
        is_member = await membership(conn, asof, known) if query.flag is not None else _nobody
        for pledge in known:
            if fits(pledge, asof, query, is_member) and all(word.is_of(pledge, asof.on) for word in words):
                found.append(pledge)
                if len(found) == query.limit:
                    return found, pledge.id if pledge.id != names[-1] or len(names) == query.limit else None
        looked_at += len(names)
        if len(names) < query.limit:
            return found, None
        after = names[-1]
        if looked_at >= LOOKED_AT:
            return found, after


def fits(pledge: KnownPledge, asof: AsOf, query: PledgesQuery, is_member: IsMember) -> bool:
    """Whether a pledge fits as it stands on the day asked for; the index only knew that it ever might."""
    day = asof.on
    if query.coalition is not None and pledge.coalition(day) != query.coalition:
        return False
    if query.donor is not None and query.donor not in {donor.party for donor in pledge.donors(day)}:
        return False
    if query.beneficiary is not None and query.beneficiary not in {who.party for who in pledge.opening.beneficiaries}:
        return False
    measures = {(pledge.opening.capability, None), *((capability, unit) for _, capability, unit in pledge.timelines)}
    if query.capability is not None and not any(contains(query.capability, capability) for capability, _ in measures):
        return False
    if query.unit is not None and query.unit not in {unit for _, unit in measures}:
        return False
    if query.stage is not None and query.stage not in {stage for stage, _, _ in pledge.on(day)}:
        return False
    for key, value in map(label, query.label):
        if value not in {one for said in pledge.entries.values() for one in said.labels.get(key, ())}:
            return False
    if not comes_to(pledge, day, query):
        return False
    if query.status is not None and pledge.status(day) != query.status:
        return False
    return query.flag is None or query.flag in pledge.flags(day, asof.today, is_member)


def comes_to(pledge: KnownPledge, day: date, query: PledgesQuery) -> bool:
    """Whether what a pledge comes to is within the amounts that were asked for; of what nobody knows it is not."""
    if query.min_amount is None and query.max_amount is None:
        return True
    stage = query.stage or "pledged"
    values = [value for (at, _, unit), value in pledge.on(day).items() if at == stage and unit == query.unit]
    value = sum(values, ZERO)
    if not values or value.unknown:
        return False
    if query.min_amount is not None and value.low < query.min_amount:
        return False
    return query.max_amount is None or (value.bound is not None and value.bound <= query.max_amount)


@dataclass(frozen=True, slots=True)
class Word:
    """A word that is searched: the pledges whose entries say it, the parties whose names have it."""

    pledges: frozenset[str]
    parties: frozenset[str]

    def is_of(self, pledge: KnownPledge, day: date) -> bool:
        """Whether a pledge has this word."""
        about = (*pledge.donors(day), *pledge.opening.beneficiaries)
        return pledge.id in self.pledges or any(one.party in self.parties for one in about)


async def searched(conn: AsyncConnection, asof: AsOf, q: str) -> list[Word]:
    """Look up the words of a search."""
    words = fold(q).split()
    known_names = {**countries(), **await party_names(conn, asof)} if words else {}
    parties = {code: fold(f"{code} {name}") for code, name in known_names.items()}
    return [
        Word(
            frozenset(
                account.removeprefix("pledge-")
                for account in await traits.saying(conn, word, asof.position)
                if account.startswith("pledge-")
            ),
            frozenset(code for code, name in parties.items() if word in name),
        )
        for word in words
    ]


async def candidates(conn: AsyncConnection, asof: AsOf, words: Sequence[Word]) -> list[str]:
    """Give the pledges that may have all these words: that say them, or ever named such a party."""
    found: set[str] | None = None
    for word in words:
        having = word.pledges | await pledges.ever_naming(conn, asof.position, sorted(word.parties))
        found = set(having) if found is None else found & having
    return sorted(found or ())


async def pledges_known(conn: AsyncConnection, asof: AsOf, names: Sequence[str]) -> list[KnownPledge]:
    """Give pledges by their ids; those that do not stand are left out."""
    if not names:
        return []
    said = await entries.of_accounts(conn, [f"pledge-{name}" for name in names], asof.position)
    found = (KnownPledge.of(name, as_learned(said[f"pledge-{name}"])) for name in names)
    return [pledge for pledge in found if pledge is not None]


async def membership(conn: AsyncConnection, asof: AsOf, found: Sequence[KnownPledge]) -> IsMember:
    """Give who was in the coalitions of these pledges, and when."""
    named = sorted({pledge.opening.coalition for pledge in found if pledge.opening.coalition is not None})
    said = await entries.of_streams(conn, [f"coalition-{name}" for name in named], asof.position)
    coalitions: Mapping[str, Coalition | None] = {
        name: Coalition.of(as_learned(said.get(f"coalition-{name}", []))) for name in named
    }

    def is_member(coalition: str, party: str, day: date) -> bool:
        known = coalitions.get(coalition)
        timeline = None if known is None else known.members.get(party)
        return timeline is not None and timeline.on(day) is not None

    return is_member


def _nobody(_coalition: str, _party: str, _day: date) -> bool:
    """Answers for whoever does not ask."""
    return False


async def detail(conn: AsyncConnection, asof: AsOf, name: str, path: str, money: View | None = None) -> dict[str, Any]:
    """Show one pledge. Raises Problem `unknown`."""
    said = await entries.stream(conn, f"pledge-{name}", asof.position)
    known = await pledges_known(conn, asof, [name])
    if not known:
        raise unknown("pledge", name)
    pledge = known[0]
    standing = as_it_stands(said)
    registered = await party_names(conn, asof)
    by_delivery = {getattr(found.entry, "delivery", None): found.sources for found in reversed(standing)}
    opening = pledge.opening
    return {
        "pledge": in_list(asof, pledge, await membership(conn, asof, known), money),
        "timelines": [
            {
                "stage": stage,
                "capability": capability,
                "unit": unit,
                "points": [{"on": day, **interval(value)} for day, value in timeline if day <= asof.on],
                "explain": of_account(asof, pledge, stage, capability, unit),
            }
            for (stage, capability, unit), timeline in pledge.timelines.items()
            if timeline.days[0] <= asof.on
        ],
        "deliveries": [
            {**delivery_shown(found), "sources": [source(one) for one in by_delivery.get(found.id, ())]}
            for found in pledge.deliveries(asof.on)
        ],
        "labels": {key: list(values) for key, values in opening.labels.items()},
        "refs": [to_json(ref) for ref in opening.refs],
        "note": opening.note,
        "entries": [entry(found, registered) for found in standing],
        "cite": cite(asof, path, **said_in(money)),
    }


def of_account(
    asof: AsOf, pledge: KnownPledge, stage: Stage | None = None, capability: str | None = None, unit: str | None = None
) -> str:
    """Give the link to what a pledge posts to the totals."""
    where = Filter(
        account=f"pledge-{pledge.id}", stage=stage, capability=capability, exactly=capability is not None, unit=unit
    )
    return Asked(where=where).link(asof.between(None, asof.on))


def in_list(asof: AsOf, pledge: KnownPledge, is_member: IsMember, money: View | None = None) -> dict[str, Any]:
    """Show a pledge as it stands."""
    opening, day = pledge.opening, asof.on
    relation = pledge.relation(day)
    return {
        "id": pledge.id,
        "coalition": pledge.coalition(day),
        "donors": [share(one) for one in pledge.donors(day)],
        "beneficiaries": [share(one) for one in opening.beneficiaries],
        "recipient": opening.recipient,
        "capability": opening.capability,
        "finance_type": opening.finance_type,
        "announced_on": last_day(opening.announced_on),
        "announced": opening.announced_on,
        "due_by": pledge.due_by(day),
        "relation": None if relation is None else {"kind": relation.kind, "of": list(relation.of)},
        "new_money": opening.new_money,
        "conditions": opening.conditions,
        "status": pledge.status(day),
        "flags": pledge.flags(day, asof.today, is_member),
        "stages": [
            stage_shown(measure, value)
            | ({} if money is None else {"converted": stage_in(money, measure[2], pledge.timelines[measure], day)})
            for measure, value in pledge.on(day).items()
        ],
        "explain": of_account(asof, pledge),
        "link": f"/v1/pledges/{pledge.id}",
    }


def stage_shown(measure: Measure, value: Vector) -> dict[str, Any]:
    """Show what was said of one stage, in one measure."""
    stage, capability, unit = measure
    return {"stage": stage, "capability": capability, "unit": unit, **interval(value)}


def share(one: Share) -> dict[str, Any]:
    """Show a party with its share."""
    return {"party": one.party, "share": amount(one.share)}


def delivery_shown(found: Delivery) -> dict[str, Any]:
    """Show a delivery."""
    report = found.report
    return {
        "id": found.id,
        "state": found.state,
        "since": found.on,
        "by": found.by,
        "delivered_on": last_day(report.delivered_on),
        "delivered": report.delivered_on,
        "amount": amount(report.amount),
        "covers": report.covers,
        "capability": report.capability,
        "reported_by": report.reported_by,
    }
