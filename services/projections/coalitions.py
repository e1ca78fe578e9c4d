"""A coalition over time: its name, who was in it in which role, up to where the ledger is believed complete (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from shared.days import last_day
from shared.events import Entry
from shared.events.coalitions import (
    CoalitionDissolved,
    CoalitionFormed,
    CoalitionRenamed,
    CoalitionReviewed,
    Instrument,
    MemberChanged,
    MemberJoined,
    MemberLeft,
    Role,
)
from shared.timeline import Learned, Steps, choices, live

IN_IT: frozenset[Role] = frozenset({"lead", "member"})
"""Who is counted as a member; observers and applicants are shown, not counted."""


@dataclass(frozen=True, slots=True)
class Membership:
    """How a party is in a coalition."""

    role: Role
    instrument: Instrument | None


class Span(NamedTuple):
    """How a party was in a coalition from a day to another."""

    start: date
    end: date
    membership: Membership


@dataclass(frozen=True, slots=True, kw_only=True)
class Coalition:
    """A coalition as known at a position: what changes is a timeline by day; a party without a membership is absent."""

    id: str
    opening: CoalitionFormed
    names: Steps[str]
    members: Mapping[str, Steps[Membership | None]]
    dissolved_on: date | None
    reviews: tuple[date, ...]

    @classmethod
    def of(cls, learned: Iterable[Learned[Entry]]) -> Coalition | None:
        """Fold a coalition; None if nothing that stands formed it."""
        said = live(learned)
        opened = [(position, entry) for position, entry in said.items() if isinstance(entry, CoalitionFormed)]
        if not opened:
            return None
        position, opening = opened[0]
        members: dict[str, list[tuple[date, int, Membership | None]]] = {}
        for member in opening.members:
            joined = last_day(member.on or opening.formed_on)
            members.setdefault(member.party, []).append((joined, position, Membership(member.role, member.instrument)))
        names, dissolved, reviews = [], [], []
        for at, entry in said.items():
            match entry:
                case MemberJoined() | MemberChanged():
                    as_what = Membership(entry.role, entry.instrument)
                    members.setdefault(entry.party, []).append((last_day(entry.on), at, as_what))
                case MemberLeft():
                    members.setdefault(entry.party, []).append((last_day(entry.on), at, None))
                case CoalitionRenamed():
                    names.append((last_day(entry.on), at, entry.name))
                case CoalitionDissolved():
                    dissolved.append(last_day(entry.on))
                case CoalitionReviewed():
                    reviews.append(last_day(entry.on))
                case _:
                    pass
        return cls(
            id=opening.coalition,
            opening=opening,
            names=choices(names, opening.name),
            members={party: choices(found, None) for party, found in sorted(members.items())},
            dissolved_on=min(dissolved, default=None),
            reviews=tuple(sorted(reviews)),
        )

    def name(self, on: date) -> str:
        """Give its name on a day."""
        return self.names.on(on)

    def present(self, on: date) -> dict[str, Membership]:
        """Give who is in it on a day, in any role."""
        found = ((party, timeline.on(on)) for party, timeline in self.members.items())
        return {party: membership for party, membership in found if membership is not None}

    def spans(self, until: date) -> dict[str, list[Span]]:
        """Give, by party, from when to when it was in it in one role, up to a day; those who left are among them."""
        found: dict[str, list[Span]] = {}
        for party, timeline in self.members.items():
            days = [(day, membership) for day, membership in timeline if day <= until]
            ends = [*(day for day, _ in days[1:]), *([until] if days else [])]
            spans = [Span(day, end, how) for (day, how), end in zip(days, ends, strict=True) if how is not None]
            if spans:
                found[party] = spans
        return found

    def member_count(self, on: date) -> int:
        """Count leads and members on a day."""
        return sum(membership.role in IN_IT for membership in self.present(on).values())

    def complete_to(self, on: date) -> date | None:
        """Give the day up to which the ledger is believed complete, as said by a day; None: nobody reviewed it."""
        return max((review for review in self.reviews if review <= on), default=None)
