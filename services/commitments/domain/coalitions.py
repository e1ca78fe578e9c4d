"""Rules for coalitions: who is a member when, what an ended one still takes."""

from __future__ import annotations

from datetime import date

from services.commitments.domain.history import History, Placed
from services.commitments.domain.refusals import Ended, NotAMemberYet
from shared.days import last_day
from shared.events.coalitions import (
    CoalitionDissolved,
    CoalitionFormed,
    Instrument,
    MemberChanged,
    MemberJoined,
    MemberLeft,
    Role,
)
from shared.timeline import Steps, choices

Membership = tuple[Role, Instrument | None] | None


def membership(coalition: History, party: str) -> Steps[Membership]:
    """Give a party's role and instrument over time; None while it is no member."""
    facts: list[tuple[date, int, Membership]] = []
    for placed in (*coalition.entries(), *coalition.entries(("member", party))):
        match placed.entry:
            case CoalitionFormed(members=members, formed_on=formed_on):
                facts += [
                    (last_day(member.on or formed_on), placed.position, (member.role, member.instrument))
                    for member in members
                    if member.party == party
                ]
            case MemberJoined() | MemberChanged() as entry:
                facts.append((last_day(entry.on), placed.position, (entry.role, entry.instrument)))
            case MemberLeft(on=on):
                facts.append((last_day(on), placed.position, None))
            case _:
                pass
    return choices(facts, None)


def join(coalition: History, entry: MemberJoined) -> MemberJoined | MemberChanged:
    """A party joins; one that is a member on that day changes its role or instrument."""
    if membership(coalition, entry.party).on(last_day(entry.on)) is None:
        return entry
    return MemberChanged(
        coalition=entry.coalition,
        party=entry.party,
        on=entry.on,
        role=entry.role,
        instrument=entry.instrument,
        sources=entry.sources,
        reported_on=entry.reported_on,
        labels=entry.labels,
        refs=entry.refs,
        note=entry.note,
    )


def already_member(coalition: History, entry: MemberJoined) -> Placed | None:
    """Give the entry that says the same of this member, from the same sources."""
    for placed in coalition.entries(("member", entry.party)):
        match placed.entry:
            case MemberJoined() | MemberChanged() as said if _member(said) == _member(entry):
                return placed
            case _:
                pass
    opening = coalition.opening()
    if opening is None or not isinstance(opening.entry, CoalitionFormed):
        return None
    formed = opening.entry
    for member in formed.members:
        said_then = (member.party, member.role, member.instrument, member.on or formed.formed_on)
        if said_then == (entry.party, entry.role, entry.instrument, entry.on) and {*entry.sources} <= {*formed.sources}:
            return opening
    return None


def leave(coalition: History, entry: MemberLeft) -> MemberLeft:
    """Only a member can leave."""
    if membership(coalition, entry.party).on(last_day(entry.on)) is None:
        raise NotAMemberYet(entry.coalition, entry.party)
    return entry


def dissolve(coalition: History, entry: CoalitionDissolved) -> CoalitionDissolved:
    """A coalition ends once."""
    if any(isinstance(placed.entry, CoalitionDissolved) for placed in coalition.entries()):
        raise Ended(f"coalition {entry.coalition}", "was dissolved")
    return entry


def _member(entry: MemberJoined | MemberChanged) -> tuple[object, ...]:
    return (
        entry.on,
        entry.role,
        entry.instrument,
        entry.sources,
        entry.reported_on,
        entry.labels,
        entry.refs,
        entry.note,
    )
