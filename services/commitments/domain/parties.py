"""Rules for parties and the names of capabilities."""

from __future__ import annotations

from services.commitments.domain.refusals import RelatesToItself
from shared.events.parties import PartyRegistered


def register(entry: PartyRegistered) -> PartyRegistered:
    """A party is no part of itself."""
    if entry.part_of == entry.party:
        raise RelatesToItself(f"party {entry.party}", pointer="/part_of")
    return entry
