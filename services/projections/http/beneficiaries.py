"""Beneficiaries: who is promised something, and what of it came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.http.asof import AsOf, AsOfQuery, reader
from services.projections.http.converted import InCurrency, view
from services.projections.http.parameters import Code
from services.projections.http.parties import PartyShown, Scored, party_shown, scored
from services.projections.http.problems import responses
from services.projections.http.shown import Answer, Cite, When
from services.projections.http.standing import coalitions_known, party_known, registered_parties
from services.projections.http.totals import cite, spelled
from services.projections.read_model import ReadModel
from services.projections.read_models import pledges
from services.projections.read_models.coalition_totals import COALITION_TOTALS
from services.projections.read_models.entries import ENTRIES
from services.projections.read_models.pledges import PLEDGES
from shared.events.parties import PartyRegistered

READS: Final[tuple[ReadModel, ...]] = (COALITION_TOTALS, ENTRIES, PLEDGES)

router = APIRouter(prefix="/v1", tags=["beneficiaries"])


class BeneficiaryShown(PartyShown):
    """A party for which something is promised, or a coalition formed."""


class Beneficiaries(When):
    """Beneficiaries, by code."""

    beneficiaries: list[BeneficiaryShown]
    cite: Cite


class CoalitionFor(Answer):
    """A coalition that was formed for the beneficiary."""

    coalition: str
    name: str
    link: str


class BeneficiaryDetail(Scored):
    """What a party was promised, and what of it came."""

    beneficiary: BeneficiaryShown
    coalitions: list[CoalitionFor]


@router.get("/beneficiaries", response_model=Beneficiaries, responses=responses())
async def list_beneficiaries(request: Request, query: Annotated[AsOfQuery, Query()]) -> Response:
    """List every party for which a pledge was made, or a coalition formed."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        registered = await registered_parties(conn, asof)
        of_coalitions = {found.opening.beneficiary for found in await coalitions_known(conn, asof)} - {None}
        codes = {*await pledges.named(conn, asof.position, "beneficiary"), *(code for code in of_coalitions if code)}
        return {
            "beneficiaries": [shown(code, registered) for code in sorted(codes)],
            "cite": cite(asof, request.url.path),
        }

    return await reader(request).answer(request, query, READS, make)


@router.get("/beneficiaries/{party}", response_model=BeneficiaryDetail, responses=responses(404))
async def one_beneficiary(
    request: Request, party: Annotated[Code, Path()], query: Annotated[InCurrency, Query()]
) -> Response:
    """Show what a party was promised, firmly or not, what of it came, what is outstanding and what is overdue."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        await party_known(conn, party, asof)
        registered = await registered_parties(conn, asof)
        return {
            "beneficiary": shown(party, registered),
            "coalitions": [
                {"coalition": found.id, "name": found.name(asof.on), "link": f"/v1/coalitions/{found.id}"}
                for found in await coalitions_known(conn, asof)
                if found.opening.beneficiary == party
            ],
            **await scored(conn, asof, party, "beneficiaries", view(request, query)),
            "cite": cite(asof, request.url.path, **spelled(query)),
        }

    return await reader(request).answer(request, query, READS, make)


def shown(code: str, registered: Mapping[str, PartyRegistered]) -> dict[str, Any]:
    """Show a beneficiary by its code."""
    return party_shown(code, registered) | {
        "totals": f"/v1/beneficiaries/{code}/totals",
        "link": f"/v1/beneficiaries/{code}",
    }
