"""Bodies about parties and capabilities."""

from __future__ import annotations

from pydantic import ConfigDict

from services.commitments.http.forms import Fact, PartyCode, Word
from services.commitments.http.samples import SOURCES
from shared.events.parties import PartyKind


class PartyBody(Fact):
    """A state, an organisation or a fund; ISO 3166 states are known already."""

    model_config = ConfigDict(
        title="Party",
        json_schema_extra={"examples": [{"name": "International Fund for Drones", "kind": "fund", "sources": SOURCES}]},
    )

    name: Word
    kind: PartyKind
    part_of: PartyCode | None = None


class CapabilityBody(Fact):
    """A name for a capability code. Codes need no registration."""

    model_config = ConfigDict(
        title="Capability", json_schema_extra={"examples": [{"name": "First-person-view drones", "sources": SOURCES}]}
    )

    name: Word
