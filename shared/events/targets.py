"""Targets: how much of a capability, in whose scope, by when."""

from __future__ import annotations

from typing import ClassVar

from shared.amounts import Amount
from shared.days import Said
from shared.events.entry import Entry, coalition, known, party
from shared.measures import Stage


class TargetEntry(Entry, frozen=True, kw_only=True):
    """Something that happened to a target; its scope is a coalition or a party."""

    target: str
    coalition: str | None = None
    party: str | None = None

    @property
    def stream(self) -> str:
        return f"target-{self.target}"

    @property
    def coalitions(self) -> tuple[str, ...]:
        return () if self.coalition is None else (self.coalition,)

    @property
    def parties(self) -> tuple[str, ...]:
        return () if self.party is None else (self.party,)


class TargetSet(TargetEntry, frozen=True, kw_only=True):
    """Somebody set a desired amount, and the one stage that counts towards it."""

    TYPE: ClassVar[str] = "target.set"
    DAY: ClassVar[str] = "set_on"
    OPENS: ClassVar[bool] = True

    capability: str
    amount: Amount
    counts: Stage
    set_on: Said
    starts_on: Said | None = None  # default: set_on
    due_by: Said | None = None  # None: no deadline was given
    beneficiary: str | None = None
    stated_by: str | None = None

    @property
    def mentions(self) -> dict[str, str]:
        return known(
            coalition=coalition(self.coalition), party=party(self.party), beneficiary=party(self.beneficiary)
        ) | known(stated_by=party(self.stated_by))


class TargetRevised(TargetEntry, frozen=True, kw_only=True):
    """The target changed, from its day on; what is None stays as it was."""

    TYPE: ClassVar[str] = "target.revised"
    DAY: ClassVar[str] = "on"

    on: Said
    reason: str
    amount: Amount | None = None
    capability: str | None = None
    due_by: Said | None = None
    without_deadline: bool = False  # the deadline was dropped


class TargetClosed(TargetEntry, frozen=True, kw_only=True):
    """Nobody pursues the target any more; `outcome` says how it ended."""

    TYPE: ClassVar[str] = "target.closed"
    DAY: ClassVar[str] = "on"

    on: Said
    outcome: str
