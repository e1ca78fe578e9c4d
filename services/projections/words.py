"""What happened, in words: one plain line for each kind of entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from services.projections.names import party
from shared.amounts import Amount, spoken
from shared.events import Amendment, Entry
from shared.events.amendments import EntryCorrected, EntryRetracted, SourcesAdded
from shared.events.coalitions import (
    CoalitionDissolved,
    CoalitionEntry,
    CoalitionFormed,
    CoalitionRenamed,
    CoalitionReviewed,
    MemberChanged,
    MemberJoined,
    MemberLeft,
)
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
    PledgeEntry,
    PledgeLapsed,
    PledgePaid,
    PledgeReallocated,
    PledgeRelated,
    PledgeRevised,
    PledgeWithdrawn,
    Relation,
    Share,
    StageReached,
)
from shared.events.reports import ProductionReported, StatementRecorded
from shared.events.targets import TargetClosed, TargetEntry, TargetRevised, TargetSet
from shared.measures import PIECE

Name = Callable[[str], str]
"""Gives the name of a party's code."""

RELATIONS = {
    "new": "is new money",
    "increase": "adds to",
    "replaces": "replaces",
    "part_of": "is part of",
    "restates": "says again",
    "decrease": "takes from",
    "unknown": "may or may not be new beside",
}

STAGE_VERBS = {
    PledgeCommitted: "committed",
    PledgePaid: "paid",
    PledgeAllocated: "allocated",
    PledgeContracted: "contracted",
}


def in_words(entry: Entry, name: Name = party) -> str:
    """Say an entry in one line. Raises TypeError for a kind of entry that has no words here."""
    match entry:
        case PledgeAnnounced():
            return _announced(entry, name)
        case PledgeEntry():
            return _about_pledge(entry, name)
        case CoalitionEntry():
            return _about_coalition(entry, name)
        case TargetEntry():
            return _about_target(entry, name)
        case Amendment():
            return _about_entry(entry, name)
        case PartyRegistered():
            return f"{entry.name} can be named as {entry.party}"
        case CapabilityNamed():
            return f"{entry.capability} is called {entry.name}"
        case ProductionReported():
            made = counted(entry.amount, entry.capability)
            so_far = " so far" if entry.covers == "so_far" else ""
            return f"{name(entry.party)} made {made}{so_far}, {entry.period.start} to {entry.period.end}"
        case StatementRecorded():
            about = entry.about.coalition or name(entry.about.donor or entry.about.beneficiary or "")
            said = f"{counted(entry.amount, entry.capability)} {entry.stage or ''}".rstrip()
            return f"{name(entry.stated_by)} stated for {about}: {said}"
        case _:
            raise TypeError(entry)


def _about_coalition(entry: CoalitionEntry, name: Name) -> str:
    match entry:
        case CoalitionFormed():
            with_whom = f" with {listed(name(member.party) for member in entry.members)}" if entry.members else ""
            return f"{entry.name} formed{with_whom}"
        case MemberJoined() | MemberChanged():
            verb = "joined" if isinstance(entry, MemberJoined) else "stays in"
            by = f" by {entry.instrument.replace('_', ' ')}" if entry.instrument else ""
            return f"{name(entry.party)} {verb} {entry.coalition} as {entry.role}{by}"
        case MemberLeft():
            return f"{name(entry.party)} left {entry.coalition}"
        case CoalitionRenamed():
            return f"{entry.coalition} is called {entry.name}"
        case CoalitionDissolved():
            return f"{entry.coalition} was dissolved"
        case CoalitionReviewed():
            return f"the ledger is believed complete for {entry.coalition} up to {entry.on}"
        case _:
            raise TypeError(entry)


def _about_target(entry: TargetEntry, name: Name) -> str:
    match entry:
        case TargetSet():
            due = f" by {entry.due_by}" if entry.due_by else ", without a deadline"
            scope = entry.coalition or name(entry.party or "")
            return f"{scope} aims at {counted(entry.amount, entry.capability)} {entry.counts}{due}"
        case TargetRevised():
            return f"target {entry.target} revised: {listed(_target_changes(entry))} ({entry.reason})"
        case TargetClosed():
            return f"target {entry.target} closed: {entry.outcome}"
        case _:
            raise TypeError(entry)


def _about_entry(entry: Amendment, name: Name) -> str:
    match entry:
        case EntryCorrected():
            return f"corrected: {in_words(entry.now, name)} ({entry.reason})"
        case EntryRetracted():
            return f"retracted: an entry of {entry.thing} ({entry.reason})"
        case SourcesAdded():
            return f"another source for an entry of {entry.thing}"
        case _:
            raise TypeError(entry)


def _announced(entry: PledgeAnnounced, name: Name) -> str:
    what = things(entry.capability) if entry.amount is None else counted(entry.amount, entry.capability)
    towards = f" towards {entry.coalition}" if entry.coalition else ""
    relation = "" if entry.relation is None or entry.relation.kind == "new" else f"; it {_related(entry.relation)}"
    return f"{donors(entry.donors, name)} pledged {what}{towards}{relation}"


def _about_pledge(entry: PledgeEntry, name: Name) -> str:  # one line for each kind
    match entry:
        case StageReached():
            return f"{STAGE_VERBS[type(entry)]} so far on {entry.pledge}: {counted(entry.amount)}"
        case PledgeRevised():
            return f"{entry.pledge} revised: {listed(_pledge_changes(entry, name))} ({entry.reason})"
        case PledgeRelated():
            return f"{entry.pledge} {_related(entry.relation)}"
        case PledgeReallocated():
            return f"{entry.pledge} counts towards {entry.coalition or 'no coalition'}"
        case PledgeWithdrawn():
            return f"{entry.pledge} was withdrawn ({entry.reason})"
        case PledgeLapsed():
            return f"{entry.pledge} lapsed ({entry.reason})"
        case DeliveryReported():
            so_far = " so far" if entry.covers == "so_far" else ""
            what = counted(entry.amount, entry.capability)
            return f"{name(entry.reported_by)} reports {what} delivered{so_far} on {entry.pledge}"
        case DeliveryConfirmed():
            what = "" if entry.amount is None else f": {counted(entry.amount)}"
            return f"{name(entry.by)} confirms delivery {entry.delivery} of {entry.pledge}{what}"
        case DeliveryDisputed():
            return f"{name(entry.by)} disputes delivery {entry.delivery} of {entry.pledge} ({entry.reason})"
        case DeliveryReversed():
            return f"delivery {entry.delivery} of {entry.pledge} was reversed ({entry.reason})"
        case _:
            raise TypeError(entry)


def counted(amount: Amount, capability: str | None = None) -> str:
    """Say an amount of something: `at least 2,000 drones (fpv)`, `483,000,000 EUR for drones`, `1 drone`."""
    said = spoken(amount)
    if amount.unit == PIECE:
        what = things(capability or "piece", one=amount.qualifier == "exactly" and amount.low == 1)
        if amount.unknown:
            return f"an undisclosed number of {what}"
        return f"{said} of {what}" if amount.qualifier == "words" else f"{said} {what}"
    money = f"an undisclosed amount of {amount.unit}" if amount.unknown else f"{said} {amount.unit}"
    return money + (f" for {things(capability)}" if capability else "")


WITHOUT_PLURAL = {
    *("aid", "air-defence", "ammunition", "artillery", "clothing", "defence", "energy", "equipment", "food"),
    *("fuel", "funding", "infrastructure", "intelligence", "logistics", "maintenance", "medicine", "support"),
    *("training", "transport"),
}
"""What is not counted in things."""


def things(capability: str, *, one: bool = False) -> str:
    """Say a capability's code as a noun: `drones`, one `drone`, `drones (fpv)`; nouns without a plural stay."""
    noun, *kinds = capability.split(".")
    if not one and noun not in WITHOUT_PLURAL:
        noun = _plural(noun)
    return f"{noun} ({', '.join(kinds)})" if kinds else noun


def _plural(noun: str) -> str:
    if noun.endswith(("ss", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("s") or not noun[-1].isalpha():
        return noun
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def donors(shares: Sequence[Share], name: Name) -> str:
    """Name donors, and that they give jointly."""
    joint = " jointly" if len(shares) > 1 else ""
    return f"{listed(name(share.party) for share in shares)}{joint}"


def listed(words: Iterable[str]) -> str:
    """Join words as a person would: `a`, `a and b`, `a, b and c`."""
    found = list(words)
    return " and ".join([", ".join(found[:-1]), found[-1]]) if len(found) > 1 else "".join(found)


def _related(relation: Relation) -> str:
    return f"{RELATIONS[relation.kind]} {listed(relation.of)}".strip()


def _target_changes(entry: TargetRevised) -> list[str]:
    said = (
        entry.amount and counted(entry.amount),
        entry.capability and f"of {things(entry.capability)}",
        entry.due_by and f"due by {entry.due_by}",
        "no deadline" if entry.without_deadline else None,
    )
    return [change for change in said if change]


def _pledge_changes(entry: PledgeRevised, name: Name) -> list[str]:
    said = (
        entry.amount and counted(entry.amount),
        entry.also and listed(counted(other.amount, other.capability) for other in entry.also),
        entry.due_by and f"due by {entry.due_by}",
        entry.donors and f"from {donors(entry.donors, name)}",
    )
    return [change for change in said if change]
