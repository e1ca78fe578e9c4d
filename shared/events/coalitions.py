"""Coalitions and their members."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from shared.days import Said
from shared.events.entry import Entry, known, party

Role = Literal["lead", "member", "observer", "applicant"]
Instrument = Literal["letter_of_intent", "mou", "accession", "statement"]


class Member(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A party in a coalition from its beginning, or from `on`."""

    party: str
    role: Role
    instrument: Instrument | None = None
    on: Said | None = None


class CoalitionEntry(Entry, frozen=True, kw_only=True):
    """Something that happened to a coalition."""

    coalition: str

    @property
    def stream(self) -> str:
        return f"coalition-{self.coalition}"

    @property
    def coalitions(self) -> tuple[str, ...]:
        return (self.coalition,)


class CoalitionFormed(CoalitionEntry, frozen=True, kw_only=True):
    """Parties came together on a capability for a beneficiary."""

    TYPE: ClassVar[str] = "coalition.formed"
    DAY: ClassVar[str] = "formed_on"
    OPENS: ClassVar[bool] = True

    name: str
    formed_on: Said
    purpose: str | None = None
    capability: str | None = None
    beneficiary: str | None = None
    members: tuple[Member, ...] = ()

    @property
    def parties(self) -> tuple[str, ...]:
        return tuple(member.party for member in self.members)

    @property
    def mentions(self) -> dict[str, str]:
        members = {f"/members/{n}/party": f"party-{member.party}" for n, member in enumerate(self.members)}
        return known(beneficiary=party(self.beneficiary)) | members


class MemberEntry(CoalitionEntry, frozen=True, kw_only=True):
    """Something that happened to one member."""

    DAY: ClassVar[str] = "on"

    party: str
    on: Said

    @property
    def parties(self) -> tuple[str, ...]:
        return (self.party,)


class MemberJoined(MemberEntry, frozen=True, kw_only=True):
    """A party became a member, in a role and by an instrument."""

    TYPE: ClassVar[str] = "coalition.member_joined"

    role: Role
    instrument: Instrument | None = None

    @property
    def mentions(self) -> dict[str, str]:
        return known(party=party(self.party))


class MemberChanged(MemberEntry, frozen=True, kw_only=True):
    """A member took another role, or acts under another instrument."""

    TYPE: ClassVar[str] = "coalition.member_changed"

    role: Role
    instrument: Instrument | None = None


class MemberLeft(MemberEntry, frozen=True, kw_only=True):
    """A party is a member no longer."""

    TYPE: ClassVar[str] = "coalition.member_left"


class CoalitionRenamed(CoalitionEntry, frozen=True, kw_only=True):
    """The coalition goes by another name; its id stays."""

    TYPE: ClassVar[str] = "coalition.renamed"
    DAY: ClassVar[str] = "on"

    name: str
    on: Said


class CoalitionDissolved(CoalitionEntry, frozen=True, kw_only=True):
    """The coalition ended; what was pledged to it stays."""

    TYPE: ClassVar[str] = "coalition.dissolved"
    DAY: ClassVar[str] = "on"

    on: Said


class CoalitionReviewed(CoalitionEntry, frozen=True, kw_only=True):
    """The ledger is believed complete to that day."""

    TYPE: ClassVar[str] = "coalition.reviewed"
    DAY: ClassVar[str] = "on"

    on: Said
