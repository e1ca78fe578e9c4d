"""Bodies about coalitions and their members."""

from __future__ import annotations

from pydantic import ConfigDict

from services.commitments.http.forms import Body, Capability, Day, Fact, Members, MoreSources, PartyCode, Text, Word
from services.commitments.http.samples import SOURCES
from shared.events.coalitions import Instrument, Role


class CoalitionBody(Fact):
    """Parties came together on a capability for a beneficiary."""

    model_config = ConfigDict(
        title="Coalition",
        json_schema_extra={
            "examples": [
                {
                    "name": "Drone Coalition",
                    "formed_on": "2024-02-14",
                    "capability": "drone",
                    "beneficiary": "UKR",
                    "members": [{"party": "LVA", "role": "lead"}, {"party": "GBR", "role": "lead"}],
                    "sources": SOURCES,
                }
            ]
        },
    )

    name: Word
    formed_on: Day
    purpose: Text | None = None
    capability: Capability | None = None
    beneficiary: PartyCode | None = None
    members: Members = ()


class MemberBody(Fact):
    """A party joins, or takes another role or instrument, from that day on."""

    model_config = ConfigDict(
        title="Membership",
        json_schema_extra={
            "examples": [{"role": "member", "instrument": "letter_of_intent", "on": "2024-03-26", "sources": SOURCES}]
        },
    )

    role: Role
    on: Day
    instrument: Instrument | None = None


class OnBody(Fact):
    """It happened that day."""

    model_config = ConfigDict(
        title="OnADay", json_schema_extra={"examples": [{"on": "2025-01-31", "sources": SOURCES}]}
    )

    on: Day


class ReviewedBody(Body):
    """The ledger is believed complete to that day; said by who keeps it, so a source is not needed."""

    model_config = ConfigDict(title="Reviewed", json_schema_extra={"examples": [{"on": "2024-12-31"}]})

    on: Day
    sources: MoreSources = ()


class RenameBody(Fact):
    """Another name, from that day on; the id stays."""

    model_config = ConfigDict(
        title="Rename",
        json_schema_extra={
            "examples": [{"name": "Drone Capability Coalition", "on": "2024-07-10", "sources": SOURCES}]
        },
    )

    name: Word
    on: Day
