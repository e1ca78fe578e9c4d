"""Parties and the names of capabilities."""

from __future__ import annotations

from typing import ClassVar, Literal

from shared.events.entry import Entry, known, party

PartyKind = Literal["state", "organisation", "fund"]


class PartyRegistered(Entry, frozen=True, kw_only=True):
    """A state, an organisation or a fund can be named from now on."""

    TYPE: ClassVar[str] = "party.registered"
    DAY: ClassVar[str] = "reported_on"
    OPENS: ClassVar[bool] = True

    party: str
    name: str
    kind: PartyKind
    part_of: str | None = None

    @property
    def stream(self) -> str:
        return f"party-{self.party}"

    @property
    def parties(self) -> tuple[str, ...]:
        return (self.party,)

    @property
    def mentions(self) -> dict[str, str]:
        return known(part_of=party(self.part_of))


class CapabilityNamed(Entry, frozen=True, kw_only=True):
    """A capability code has a name for display."""

    TYPE: ClassVar[str] = "capability.named"
    DAY: ClassVar[str] = "reported_on"
    OPENS: ClassVar[bool] = True

    capability: str
    name: str

    @property
    def stream(self) -> str:
        return f"capability-{self.capability}"
