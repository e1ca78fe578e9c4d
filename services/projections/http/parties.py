"""Parties: who is named in the ledger, and as what."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections import names
from services.projections.http.asof import AsOf, AsOfQuery, reader
from services.projections.http.problems import responses
from services.projections.http.shown import Answer, Cite, When
from services.projections.http.standing import registered_parties
from services.projections.http.totals import cite
from services.projections.read_model import ReadModel
from services.projections.read_models import entries
from services.projections.read_models.entries import ENTRIES

READS: Final[tuple[ReadModel, ...]] = (ENTRIES,)

router = APIRouter(prefix="/v1", tags=["parties"])


class PartyShown(Answer):
    """A party that an entry names."""

    code: str
    name: str = Field(description="As registered; of states, as CLDR has it in English")
    kind: str = Field(description="state, organisation or fund")
    part_of: str | None
    registered: bool = Field(description="States and UNKNOWN are known without")
    totals: str


class Parties(When):
    """Parties, by code."""

    parties: list[PartyShown]
    cite: Cite


@router.get("/parties", response_model=Parties, responses=responses())
async def list_parties(request: Request, query: Annotated[AsOfQuery, Query()]) -> Response:
    """List every party that an entry names."""

    async def make(conn: AsyncConnection, asof: AsOf) -> dict[str, Any]:
        registered = await registered_parties(conn, asof)
        codes = sorted({*await entries.named(conn, "party", asof.position), *registered})
        found = []
        for code in codes:
            party = registered.get(code)
            found.append(
                {
                    "code": code,
                    "name": names.party(code) if party is None else party.name,
                    "kind": "state" if party is None else party.kind,
                    "part_of": None if party is None else party.part_of,
                    "registered": party is not None,
                    "totals": f"/v1/parties/{code}/totals",
                }
            )
        return {"parties": found, "cite": cite(asof, request.url.path)}

    return await reader(request).answer(request, query, READS, make)
