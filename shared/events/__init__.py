"""Every kind of entry, by its stored name. What was recorded as v1 stays v1 for ever."""

from typing import Final

from shared.events.amendments import Amendment, EntryCorrected, EntryRetracted, SourcesAdded
from shared.events.coalitions import (
    CoalitionDissolved,
    CoalitionFormed,
    CoalitionRenamed,
    CoalitionReviewed,
    MemberChanged,
    MemberJoined,
    MemberLeft,
)
from shared.events.entry import Entry
from shared.events.parties import CapabilityNamed, PartyRegistered
from shared.events.pledges import (
    DeliveryConfirmed,
    DeliveryDisputed,
    DeliveryReported,
    DeliveryReversed,
    PledgeAllocated,
    PledgeAnnounced,
    PledgeCommitted,
    PledgeContracted,
    PledgeLapsed,
    PledgePaid,
    PledgeReallocated,
    PledgeRelated,
    PledgeRevised,
    PledgeWithdrawn,
)
from shared.events.reports import ProductionReported, StatementRecorded
from shared.events.targets import TargetClosed, TargetRevised, TargetSet

__all__ = ["EVENT_TYPES", "Amendment", "Entry", "stored_name"]

EVENTS: Final[tuple[type[Entry], ...]] = (
    PartyRegistered,
    CapabilityNamed,
    CoalitionFormed,
    MemberJoined,
    MemberChanged,
    MemberLeft,
    CoalitionRenamed,
    CoalitionDissolved,
    CoalitionReviewed,
    TargetSet,
    TargetRevised,
    TargetClosed,
    PledgeAnnounced,
    PledgeRevised,
    PledgeCommitted,
    PledgePaid,
    PledgeAllocated,
    PledgeContracted,
    PledgeRelated,
    PledgeReallocated,
    PledgeWithdrawn,
    PledgeLapsed,
    DeliveryReported,
    DeliveryConfirmed,
    DeliveryDisputed,
    DeliveryReversed,
    ProductionReported,
    StatementRecorded,
    EntryCorrected,
    EntryRetracted,
    SourcesAdded,
)


def stored_name(event: Entry | type[Entry]) -> str:
    """Give the type as it is stored and published: `muster.pledge.announced.v1`."""
    return f"muster.{event.TYPE}.v1"


EVENT_TYPES: Final[dict[str, type[Entry]]] = {stored_name(event): event for event in EVENTS}
