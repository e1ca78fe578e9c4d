"""What stands, as known at a position: coalitions, parties' names; and 404 for what is not known."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections import names
from services.projections.coalitions import Coalition
from services.projections.http.asof import AsOf
from services.projections.http.problems import unknown
from services.projections.read_models import entries
from shared.events import stored_name
from shared.events.coalitions import CoalitionFormed
from shared.events.parties import CapabilityNamed, PartyRegistered


async def coalition_known(conn: AsyncConnection, name: str, asof: AsOf) -> Coalition:
    """Give a coalition. Raises Problem `unknown`."""
    found = Coalition.of(entries.as_learned(await entries.stream(conn, f"coalition-{name}", asof.position)))
    if found is None:
        raise unknown("coalition", name)
    return found


async def coalitions_known(conn: AsyncConnection, asof: AsOf) -> list[Coalition]:
    """Give every coalition, by id."""
    said = await entries.of_types(conn, [stored_name(CoalitionFormed)], asof.position)
    found = (Coalition.of(entries.as_learned(about)) for about in said.values())
    return sorted((coalition for coalition in found if coalition is not None), key=lambda coalition: coalition.id)


async def registered_parties(conn: AsyncConnection, asof: AsOf) -> dict[str, PartyRegistered]:
    """Give the parties that were registered, by their codes."""
    said = await entries.of_types(conn, [stored_name(PartyRegistered)], asof.position)
    standing = (found for about in said.values() for found in entries.as_it_stands(about))
    return {
        found.entry.party: found.entry for found in standing if found.live and isinstance(found.entry, PartyRegistered)
    }


async def party_names(conn: AsyncConnection, asof: AsOf) -> dict[str, str]:
    """Give the names under which parties were registered, by their codes."""
    return {code: party.name for code, party in (await registered_parties(conn, asof)).items()}


async def all_names(conn: AsyncConnection, asof: AsOf) -> dict[str, str]:
    """Give the names of parties (codes in capitals) and of capabilities (codes in small letters), by their codes."""
    said = await entries.of_types(conn, [stored_name(CapabilityNamed)], asof.position)
    standing = (found for about in said.values() for found in entries.as_it_stands(about))
    named = (found.entry for found in standing if found.live and isinstance(found.entry, CapabilityNamed))
    return await party_names(conn, asof) | {entry.capability: entry.name for entry in named}


async def party_known(conn: AsyncConnection, code: str, asof: AsOf) -> None:
    """See that a party may be named: a state, or one that an entry names. Raises Problem `unknown`."""
    if code not in names.countries() and not await entries.is_named(conn, "party", code, asof.position):
        raise unknown("party", code)
