"""Parties: who is named in the ledger, and of each what it promised and what of it came."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections import names
from services.projections.http.asof import AsOf, AsOfQuery, reader
from services.projections.http.converted import Converted, InCurrency, View, converted, own, view
from services.projections.http.counted import Asked, joint_rows, whole_rows
from services.projections.http.parameters import Code
from services.projections.http.problems import responses
from services.projections.http.scorecard import Overdue, Score, overdue, scores
from services.projections.http.shown import Answer, Cite, When
from services.projections.http.standing import coalitions_known, party_known, registered_parties
from services.projections.http.totals import JointRow, cite, headline, ordered, spelled, total_row
from services.projections.read_model import ReadModel
from services.projections.read_models import entries, outstanding
from services.projections.read_models.coalition_totals import COALITION_TOTALS, Filter
from services.projections.read_models.entries import ENTRIES
from services.projections.read_models.outstanding import Side
from services.projections.read_models.pledges import PLEDGES
from shared.events.coalitions import Instrument, Role
from shared.events.parties import PartyRegistered

READS: Final[tuple[ReadModel, ...]] = (ENTRIES,)
READS_SCORES: Final[tuple[ReadModel, ...]] = (COALITION_TOTALS, ENTRIES, PLEDGES)

router = APIRouter(prefix="/v1", tags=["parties"])


class PartyShown(Answer):
    """A party that an entry names."""

    code: str
    name: str = Field(description="As registered; of states, as CLDR has it in English")
    kind: str = Field(description="state, organisation or fund")
    part_of: str | None
    registered: bool = Field(description="States and UNKNOWN are known without")
    totals: str
    link: str


class Parties(When):
    """Parties, by code."""

    parties: list[PartyShown]
    cite: Cite


class MembershipShown(Answer):
    """A coalition that the party is in on the day."""

    coalition: str
    name: str
    role: Role
    instrument: Instrument | None
    since: date = Field(description="The day from which it is in it in this role, by this instrument")
    link: str


class Scored(When):
    """What a party promised, or was promised, and what of it came."""

    headline: str
    scorecard: list[Score] = Field(description="Its own rows: what is of it, or for it, alone, and its known shares")
    joint: list[JointRow] = Field(description="[0, whole] of what it shares with others: nobody said how much is its")
    undisclosed: int = Field(description="Pledges and deliveries of its own without a number, left out of every low")
    overdue: Overdue
    converted: Converted | None = Field(description="With `in`: its own money in one currency, beside")
    cite: Cite


class PartyDetail(Scored):
    """What a party promised, and what of it came."""

    party: PartyShown
    children: list[PartyShown] = Field(description="Parties that are registered as part of this one, by code")
    memberships: list[MembershipShown]


@router.get("/parties", response_model=Parties, responses=responses())
async def list_parties(request: Request, query: Annotated[AsOfQuery, Query()]) -> Response:
    """List every party that an entry names."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        registered = await registered_parties(conn, asof)
        codes = sorted({*await entries.named(conn, "party", asof.position), *registered})
        return {"parties": [party_shown(code, registered) for code in codes], "cite": cite(asof, request.url.path)}

    return await reader(request).answer(request, query, READS, make)


@router.get("/parties/{party}", response_model=PartyDetail, responses=responses(404))
async def one_party(
    request: Request, party: Annotated[Code, Path()], query: Annotated[InCurrency, Query()]
) -> Response:
    """Show what a party promised, firmly or not, what of it came, what is outstanding and what is overdue.

    It reads each posting of the party's own rows once, and one deadline for each of its pledges.
    """

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        await party_known(conn, party, asof)
        registered = await registered_parties(conn, asof)
        coalitions = [found for found in await coalitions_known(conn, asof) if party in found.present(asof.on)]
        return {
            "party": party_shown(party, registered),
            "children": [
                party_shown(code, registered) for code in sorted(registered) if registered[code].part_of == party
            ],
            "memberships": [
                {
                    "coalition": found.id,
                    "name": found.name(asof.on),
                    "role": found.present(asof.on)[party].role,
                    "instrument": found.present(asof.on)[party].instrument,
                    "since": max(day for day in found.members[party].days if day <= asof.on),
                    "link": f"/v1/coalitions/{found.id}",
                }
                for found in coalitions
            ],
            **await scored(conn, asof, party, "donors", view(request, query)),
            "cite": cite(asof, request.url.path, **spelled(query)),
        }

    return await reader(request).answer(request, query, READS_SCORES, make)


async def scored(
    conn: AsyncConnection, asof: AsOf, party: str, side: Side, money: View | None = None
) -> dict[str, Any]:
    """Give a party's scorecard as donor or beneficiary: its own rows, those of groups beside, what is overdue."""
    which = Asked(where=Filter(donor=party) if side == "donors" else Filter(beneficiary=party))
    alone = await whole_rows(conn, asof, which)
    joint = await joint_rows(conn, asof, which)
    came = await outstanding.outstanding(conn, on=asof.on, known=asof.position, party=party, side=side)
    return {
        "headline": headline(alone),
        "scorecard": scores(alone, came, asof),
        "joint": [
            {"parties": list(row.donors), "beneficiaries": list(row.beneficiaries), **total_row(asof, row)}
            for row in ordered(joint)
        ],
        "undisclosed": sum(row.value.unknown for row in alone),
        "overdue": await overdue(conn, asof, party, side),
        "converted": None if money is None else await converted(conn, asof, own(which), money),
    }


def party_shown(code: str, registered: Mapping[str, PartyRegistered]) -> dict[str, Any]:
    """Show a party by its code."""
    party = registered.get(code)
    return {
        "code": code,
        "name": names.party(code) if party is None else party.name,
        "kind": "state" if party is None else party.kind,
        "part_of": None if party is None else party.part_of,
        "registered": party is not None,
        "totals": f"/v1/parties/{code}/totals",
        "link": f"/v1/parties/{code}",
    }
