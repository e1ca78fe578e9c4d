"""What parties report on their own: production, and totals that somebody stated."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from shared.amounts import Amount
from shared.days import Said
from shared.events.entry import Entry, coalition, known, party
from shared.events.pledges import Covers, Period
from shared.measures import Stage

StatedMeasure = Literal["amount", "members", "percent"]


class ProductionReported(Entry, frozen=True, kw_only=True):
    """A party reports what it made itself; it counts towards its own production target.

    `so_far` replaces what was reported since the period began.
    """

    TYPE: ClassVar[str] = "production.reported"
    DAY: ClassVar[str] = "period"
    OPENS: ClassVar[bool] = True

    production: str
    party: str
    capability: str
    amount: Amount
    period: Period
    covers: Covers = "this"

    @property
    def stream(self) -> str:
        return f"production-{self.production}"

    @property
    def happened(self) -> Said:
        return self.period.end

    @property
    def parties(self) -> tuple[str, ...]:
        return (self.party,)

    @property
    def mentions(self) -> dict[str, str]:
        return known(party=party(self.party))


class About(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whose total was stated: a coalition's, a donor's, or what a beneficiary gets."""

    coalition: str | None = None
    donor: str | None = None
    beneficiary: str | None = None


class StatementRecorded(Entry, frozen=True, kw_only=True):
    """Somebody stated a total. It is never added to anything, only held beside the ledger's own answer."""

    TYPE: ClassVar[str] = "statement.recorded"
    DAY: ClassVar[str] = "stated_on"
    OPENS: ClassVar[bool] = True

    statement: str
    stated_by: str
    about: About
    measure: StatedMeasure
    amount: Amount
    stated_on: Said
    capability: str | None = None
    stage: Stage | None = None  # None: unspecified
    period: Period | None = None

    @property
    def stream(self) -> str:
        return f"statement-{self.statement}"

    @property
    def coalitions(self) -> tuple[str, ...]:
        return () if self.about.coalition is None else (self.about.coalition,)

    @property
    def parties(self) -> tuple[str, ...]:
        named = (self.stated_by, self.about.donor, self.about.beneficiary)
        return tuple(dict.fromkeys(code for code in named if code is not None))

    @property
    def mentions(self) -> dict[str, str]:
        about = self.about
        return known(stated_by=party(self.stated_by)) | {
            f"/about/{field}": stream
            for field, stream in (
                ("coalition", coalition(about.coalition)),
                ("donor", party(about.donor)),
                ("beneficiary", party(about.beneficiary)),
            )
            if stream is not None
        }
