"""Deliveries: every report that something arrived, as it stands, page by page."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.http.asof import AsOf, reader
from services.projections.http.counted import Asked
from services.projections.http.cursors import Pinned, read_cursor, write_cursor
from services.projections.http.parameters import Capability, Code, Id
from services.projections.http.pledges import pledges_known
from services.projections.http.problems import responses
from services.projections.http.shown import AmountShown, Answer, Cite, SourceShown, When, amount, source
from services.projections.http.totals import cite
from services.projections.pledges import Delivery, DeliveryState, KnownPledge
from services.projections.read_model import ReadModel
from services.projections.read_models import pledges
from services.projections.read_models.coalition_totals import COALITION_TOTALS, Filter
from services.projections.read_models.entries import ENTRIES
from services.projections.read_models.pledges import PLEDGES, folded, searched
from shared.days import last_day
from shared.measures import contains

READS: Final[tuple[ReadModel, ...]] = (COALITION_TOTALS, ENTRIES, PLEDGES)
LOOKED_AT: Final = 2_000
"""The most pledges that one answer looks at; filters that are judged one by one may need the next page."""
AT_ONCE: Final = 50

router = APIRouter(prefix="/v1", tags=["deliveries"])


class DeliveriesQuery(Pinned):
    """Which deliveries."""

    coalition: Id | None = Field(default=None, description="That its pledge was in on the day of the delivery")
    donor: Code | None = Field(default=None, description="Of its pledge on the day of the delivery")
    beneficiary: Code | None = None
    capability: Capability | None = Field(default=None, description="This code and its descendants")
    state: DeliveryState | None = None
    pledge: Id | None = None
    q: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00]+$",
        description="Words in its ids, labels, references, note or sources, without regard to case and accents",
    )
    limit: Annotated[int, Field(ge=1, le=500, description="The most items of one answer")] = 100

    @classmethod
    def place(cls, cursor: str) -> tuple[Any, ...]:
        return read_cursor(cursor, int, str, str | None, str, str)

    @property
    def after(self) -> tuple[str, str] | None:
        """The (pledge, delivery) after which this page begins."""
        if self.cursor is None:
            return None
        pledge, delivery = self.place(self.cursor)[3:]
        return pledge, delivery


class DeliveryInList(Answer):
    """A delivery as it stands on the day asked for."""

    pledge: str
    id: str
    state: DeliveryState
    since: date = Field(description="The day from which it is in this state")
    by: str | None = Field(description="Who confirmed or disputed it")
    delivered_on: date
    delivered: str = Field(description="As said: a day, a month or a year")
    amount: AmountShown
    confirmed: AmountShown | None = Field(description="What was counted, where it is not all that was reported")
    covers: str = Field(description="so_far: it replaces what was reported before")
    capability: str
    coalition: str | None
    donors: list[str]
    beneficiaries: list[str]
    reported_by: str
    sources: list[SourceShown]
    explain: str = Field(
        description="What its pledge posts to the totals in this stage and unit, of all its deliveries"
    )
    link: str


class Deliveries(When):
    """A page of deliveries, by pledge, then by day."""

    deliveries: list[DeliveryInList]
    next: str | None
    cite: Cite


@router.get("/deliveries", response_model=Deliveries, responses=responses())
async def list_deliveries(request: Request, query: Annotated[DeliveriesQuery, Query()]) -> Response:
    """List deliveries. A page may hold fewer than `limit` and still be followed by `next`."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        found, last = await listed(conn, asof, query)
        names = {"coalition", "donor", "beneficiary", "capability", "state", "pledge", "q"}
        filters = query.model_dump(include=names)
        here = f"{request.url.path}?{asof.pinned(**filters, limit=query.limit)}"
        return {
            "deliveries": [in_list(asof, pledge, delivery) for pledge, delivery in found],
            "next": None if last is None else f"{here}&cursor={write_cursor(*asof.place, *last)}",
            "cite": cite(asof, request.url.path, **filters),
        }

    return await reader(request).answer(request, query, READS, make)


async def listed(
    conn: AsyncConnection, asof: AsOf, query: DeliveriesQuery
) -> tuple[list[tuple[KnownPledge, Delivery]], tuple[str, str] | None]:
    """Give the deliveries that fit as they stand, and the (pledge, delivery) after which the next page begins."""
    q = None if query.q is None else folded(query.q)
    found: list[tuple[KnownPledge, Delivery]] = []
    after = query.after
    behind: str | None = None
    looked_at = 0
    while looked_at < LOOKED_AT:
        names = await pledges.with_deliveries(
            conn,
            asof.position,
            coalition=query.coalition,
            donor=query.donor,
            beneficiary=query.beneficiary,
            capability=query.capability,
            pledge=query.pledge,
            q=q,
            since=None if after is None else after[0],
            after=behind,
            limit=AT_ONCE,
        )
        for pledge in await pledges_known(conn, asof, names):
            deliveries = pledge.deliveries(asof.on)
            if after is not None and pledge.id == after[0]:
                deliveries = _behind(deliveries, after[1])
            for delivery in deliveries:
                if fits(pledge, delivery, asof, query, q):
                    if len(found) == query.limit:
                        last_pledge, last = found[-1]
                        return found, (last_pledge.id, last.id)
                    found.append((pledge, delivery))
        if len(names) < AT_ONCE:
            return found, None
        behind, looked_at = names[-1], looked_at + len(names)
    return found, None if behind is None else (behind, PAST_ALL)


PAST_ALL: Final = "~"
"""No delivery has this id: a page that ended here begins with the next pledge."""


def _behind(deliveries: list[Delivery], last: str) -> list[Delivery]:
    places = [n for n, delivery in enumerate(deliveries) if delivery.id == last]
    return deliveries[places[0] + 1 :] if places else []


def fits(pledge: KnownPledge, delivery: Delivery, asof: AsOf, query: DeliveriesQuery, q: str | None) -> bool:
    """Whether a delivery fits as it stands on the day asked for; the index only knew that its pledge might."""
    day = last_day(delivery.report.delivered_on)
    capability = delivery.report.capability or pledge.opening.capability
    return (
        (asof.since is None or day >= asof.since)
        and (query.coalition is None or pledge.coalition(day) == query.coalition)
        and (query.donor is None or query.donor in {one.party for one in pledge.donors(day)})
        and (query.beneficiary is None or query.beneficiary in {one.party for one in pledge.opening.beneficiaries})
        and (query.capability is None or contains(query.capability, capability))
        and (query.state is None or delivery.state == query.state)
        and (q is None or q in searched(delivery.report))
    )


def in_list(asof: AsOf, pledge: KnownPledge, delivery: Delivery) -> dict[str, Any]:
    """Show a delivery with the place of its pledge on its day."""
    report, day = delivery.report, last_day(delivery.report.delivered_on)
    where = Filter(
        account=f"pledge-{pledge.id}",
        stage="confirmed" if delivery.state == "confirmed" else "delivered",
        capability=report.capability or pledge.opening.capability,
        exactly=True,
        unit=report.amount.unit,
    )
    return {
        "pledge": pledge.id,
        "id": delivery.id,
        "state": delivery.state,
        "since": delivery.on,
        "by": delivery.by,
        "delivered_on": day,
        "delivered": report.delivered_on,
        "amount": amount(report.amount),
        "confirmed": amount(delivery.counted),
        "covers": report.covers,
        "capability": report.capability or pledge.opening.capability,
        "coalition": pledge.coalition(day),
        "donors": [one.party for one in pledge.donors(day)],
        "beneficiaries": [one.party for one in pledge.opening.beneficiaries],
        "reported_by": report.reported_by,
        "sources": [source(one) for one in report.sources],
        "explain": Asked(where=where).link(asof.between(None, asof.on)),
        "link": f"/v1/pledges/{pledge.id}",
    }
