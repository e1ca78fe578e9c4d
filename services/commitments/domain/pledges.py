"""Rules for pledges and their deliveries, and what is worth telling whoever reports them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import TypeVar

from services.commitments.domain.coalitions import membership
from services.commitments.domain.history import History, World
from services.commitments.domain.refusals import (
    Ended,
    HasDeliveries,
    RelatesToItself,
    Restates,
    SharesExceed,
    Unknown,
    WrongUnit,
)
from shared.amounts import ZERO, Amount, Vector
from shared.days import last_day
from shared.events.pledges import (
    DeliveryConfirmed,
    DeliveryDisputed,
    DeliveryEntry,
    DeliveryReported,
    DeliveryReversed,
    PledgeAnnounced,
    PledgeContext,
    PledgeEntry,
    PledgeLapsed,
    PledgeReallocated,
    PledgeRelated,
    PledgeRevised,
    PledgeWithdrawn,
    Relation,
    Share,
    StageReached,
)
from shared.measures import Stage
from shared.timeline import Fact, Steps, choices, steps

E = TypeVar("E", bound=PledgeEntry)
UNKNOWN_DONOR = "UNKNOWN"


def announce(pledge: History, entry: PledgeAnnounced) -> PledgeAnnounced:
    """Shares fit into the whole, in its unit; nothing relates to itself; a restatement carries nothing."""
    _relates(pledge, entry.pledge, entry.relation)
    for field, shares in (("donors", entry.donors), ("beneficiaries", entry.beneficiaries)):
        _shares_fit(entry.pledge, field, shares, entry.amount)
    return entry


def revise(pledge: History, entry: PledgeRevised) -> PledgeRevised:
    """A revision keeps the unit; a pledge that ended is not revised after its end."""
    opening = opening_of(pledge)
    _not_ended(pledge, entry.pledge, last_day(entry.on))
    if entry.amount is not None and opening.amount is not None and entry.amount.unit != opening.amount.unit:
        raise WrongUnit(f"pledge {entry.pledge}", expected=[opening.amount.unit], got=entry.amount.unit)
    if entry.donors is not None:
        _shares_fit(entry.pledge, "donors", entry.donors, entry.amount or amount_on(pledge, last_day(entry.on)))
    return placed(pledge, entry)


def reach(pledge: History, entry: StageReached) -> StageReached:
    """A restatement has no stages of its own; what ended reaches no further one."""
    _not_restating(pledge, entry.pledge)
    _not_ended(pledge, entry.pledge, last_day(entry.on))
    return placed(pledge, entry)


def relate(pledge: History, entry: PledgeRelated) -> PledgeRelated:
    """A pledge that has stages or deliveries of its own does not become a restatement."""
    _relates(pledge, entry.pledge, entry.relation)
    return placed(pledge, entry)


def end(pledge: History, entry: PledgeWithdrawn | PledgeLapsed) -> PledgeWithdrawn | PledgeLapsed:
    """A pledge ends once."""
    _not_ended(pledge, entry.pledge, date.max)
    return placed(pledge, entry)


def report_delivery(pledge: History, entry: DeliveryReported) -> DeliveryReported:
    """A restatement has no deliveries; all else that arrives is recorded, also above what was pledged."""
    _not_restating(pledge, entry.pledge)
    return placed(pledge, entry)


def settle_delivery(
    pledge: History, entry: DeliveryConfirmed | DeliveryDisputed | DeliveryReversed
) -> DeliveryConfirmed | DeliveryDisputed | DeliveryReversed:
    """Only what was reported is confirmed, disputed or reversed; what was reversed is over."""
    about = pledge.entries(("delivery", entry.delivery))
    if not any(isinstance(said.entry, DeliveryReported) for said in about):
        raise Unknown(f"delivery-{entry.delivery}")
    if any(isinstance(said.entry, DeliveryReversed) for said in about):
        raise Ended(f"delivery {entry.delivery}", "was reversed")
    return placed(pledge, entry)


def placed(pledge: History, entry: E) -> E:
    """Put an entry into the pledge's context on its day."""
    opening = opening_of(pledge)
    day = date.max if entry.happened is None else last_day(entry.happened)
    context = PledgeContext(
        coalition=coalition(pledge).on(day),
        donors=tuple(donor.party for donor in donors(pledge).on(day)),
        beneficiaries=tuple(beneficiary.party for beneficiary in opening.beneficiaries),
        capability=(entry.capability if isinstance(entry, DeliveryReported) else None) or opening.capability,
        unit=None if opening.amount is None else opening.amount.unit,
    )
    return entry.having(context=context)


def opening_of(pledge: History) -> PledgeAnnounced:
    """Give the opening entry of a pledge that stands, as corrected."""
    opening = pledge.opening()
    if opening is None or not isinstance(opening.entry, PledgeAnnounced):
        raise TypeError(pledge.stream)
    return opening.entry


def coalition(pledge: History) -> Steps[str | None]:
    """Give the coalition a pledge counts towards, over time."""
    opening = opening_of(pledge)
    moves = [
        (last_day(said.entry.on), said.position, said.entry.coalition)
        for said in pledge.entries()
        if isinstance(said.entry, PledgeReallocated)
    ]
    return choices(moves, opening.coalition)


def donors(pledge: History) -> Steps[tuple[Share, ...]]:
    """Give the donors of a pledge, over time."""
    changes = [
        (last_day(said.entry.on), said.position, said.entry.donors)
        for said in pledge.entries()
        if isinstance(said.entry, PledgeRevised) and said.entry.donors is not None
    ]
    return choices(changes, opening_of(pledge).donors)


def amount_on(pledge: History, day: date) -> Amount | None:
    """Give the pledged amount in force on a day."""
    opening = opening_of(pledge)
    facts = [
        (last_day(said.entry.on), said.position, said.entry.amount)
        for said in pledge.entries()
        if isinstance(said.entry, PledgeRevised) and said.entry.amount is not None
    ]
    return choices(facts, opening.amount).on(day)


def relation_of(pledge: History) -> Relation | None:
    """Give what the pledge is to others, by the last word on it."""
    relation = opening_of(pledge).relation
    for said in pledge.entries():
        if isinstance(said.entry, PledgeRelated):
            relation = said.entry.relation
    return relation


def flags(world: World, entry: PledgeAnnounced | PledgeEntry) -> Iterator[str]:
    """Tell what is unusual about an entry that is recorded all the same (advice: the read models judge anew)."""
    if entry.happened is not None and last_day(entry.happened) > world.today:
        yield "future-dated"
    match entry:
        case PledgeAnnounced():
            yield from _announcement_flags(world, entry)
        case StageReached():
            yield from _stage_flags(world.stream(entry.stream), entry)
        case DeliveryReported():
            yield from _delivery_flags(world.stream(entry.stream), entry)
        case DeliveryDisputed():
            yield "disputed"
        case _:
            pass


def _announcement_flags(world: World, entry: PledgeAnnounced) -> Iterator[str]:
    if entry.coalition is not None:
        coalition = world.stream(f"coalition-{entry.coalition}")
        named = [donor.party for donor in entry.donors if donor.party != UNKNOWN_DONOR]
        if any(membership(coalition, party).on(last_day(entry.announced_on)) is None for party in named):
            yield "not-a-member"
    if entry.conditions is not None:
        yield "conditional"
    if len(entry.donors) > 1 and any(donor.share is None for donor in entry.donors):
        yield "unknown-share"


def _stage_flags(pledge: History, entry: StageReached) -> Iterator[str]:
    day = last_day(entry.on)
    pledged = amount_on(pledge, day)
    if entry.STAGE == "committed" and _above(entry.amount.low, pledged, entry.amount.unit):
        yield "committed-above-pledged"
    if entry.STAGE == "allocated":
        committed = _reached(pledge, "committed", day)
        if _above(entry.amount.low, committed, entry.amount.unit):
            yield "allocated-above-committed"


def _delivery_flags(pledge: History, entry: DeliveryReported) -> Iterator[str]:
    pledged = amount_on(pledge, last_day(entry.delivered_on))
    units = {also.amount.unit for also in opening_of(pledge).also} | ({pledged.unit} if pledged else set())
    if units and entry.amount.unit not in units:
        yield "other-unit"
    if pledged is not None and pledged.high is not None:
        earlier = (said for said in delivered(pledge) if said[1].amount.unit == entry.amount.unit)
        if _above(_arrived([*earlier, (pledge.position + 1, entry)]).low, pledged, entry.amount.unit):
            yield "delivered-above-pledged"
    if _ended(pledge, last_day(entry.delivered_on)):
        yield "withdrawn"


def delivered(pledge: History) -> Iterator[tuple[int, DeliveryReported]]:
    """Give the deliveries that stand, each with its position."""
    for said in pledge.all():
        if isinstance(said.entry, DeliveryReported):
            yield said.position, said.entry


def _arrived(reports: Sequence[tuple[int, DeliveryReported]]) -> Vector:
    if all(entry.covers == "this" for _, entry in reports):  # in any order; there may be thousands
        return Vector(low=sum((entry.amount.low for _, entry in reports), Decimal(0)))
    facts = [
        Fact(last_day(entry.delivered_on), position, entry.amount.vector, sets=entry.covers == "so_far")
        for position, entry in reports
    ]
    return steps(facts, ZERO).on(date.max)


def _reached(pledge: History, stage: Stage, day: date) -> Amount | None:
    facts = [
        (last_day(said.entry.on), said.position, said.entry.amount)
        for said in pledge.entries()
        if isinstance(said.entry, StageReached) and stage == said.entry.STAGE
    ]
    return choices([(on, position, amount) for on, position, amount in facts], None).on(day)


def _above(low: Decimal, whole: Amount | None, unit: str) -> bool:
    return whole is not None and whole.unit == unit and whole.high is not None and low > whole.high


def _relates(pledge: History, name: str, relation: Relation | None) -> None:
    if relation is None:
        return
    if name in relation.of:
        raise RelatesToItself(name)
    if relation.kind == "restates":
        own = [said for said in pledge.all() if isinstance(said.entry, (StageReached, DeliveryEntry))]
        if own:
            raise HasDeliveries(name, [said.event_id for said in own])


def _not_restating(pledge: History, name: str) -> None:
    relation = relation_of(pledge)
    if relation is not None and relation.kind == "restates":
        raise Restates(name, relation.of)


def _ended(pledge: History, day: date) -> PledgeWithdrawn | PledgeLapsed | None:
    for said in pledge.entries():
        if isinstance(said.entry, (PledgeWithdrawn, PledgeLapsed)) and last_day(said.entry.on) <= day:
            return said.entry
    return None


def _not_ended(pledge: History, name: str, day: date) -> None:
    ended = _ended(pledge, day)
    if ended is not None:
        how = "was withdrawn" if isinstance(ended, PledgeWithdrawn) else "lapsed"
        raise Ended(f"pledge {name}", f"{how} on {ended.on}")


def _shares_fit(pledge: str, field: str, shares: Sequence[Share], whole: Amount | None) -> None:
    known = [(n, share.share) for n, share in enumerate(shares) if share.share is not None]
    if not known:
        return
    if whole is None or whole.unknown:
        raise SharesExceed(pledge, f"{len(known)} known parts", "not known", pointer=f"/{field}")
    for n, part in known:
        if part.unit != whole.unit:
            pointer = f"/{field}/{n}/share/unit"
            raise WrongUnit(f"pledge {pledge}", expected=[whole.unit], got=part.unit, pointer=pointer)
    total = sum((part.low for _, part in known), Decimal(0))
    if whole.high is not None and total > whole.high:
        raise SharesExceed(pledge, f"{total:,f}", f"{whole.high:,f}", pointer=f"/{field}")
