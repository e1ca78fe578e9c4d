"""Bodies of what parties report on their own: production, and totals that somebody stated."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, model_validator

from services.commitments.http.forms import (
    STATED_UNITS,
    AnAmount,
    APeriod,
    AStatedAmount,
    By,
    Capability,
    Day,
    Fact,
    Form,
    Id,
    PartyCode,
    refuse,
)
from services.commitments.http.samples import SOURCES
from shared.events.pledges import Covers
from shared.events.reports import About, StatedMeasure
from shared.measures import Stage


class ProductionBody(Fact):
    """A party reports what it made itself in a period; `so_far` replaces what was reported before."""

    model_config = ConfigDict(
        title="Production",
        json_schema_extra={
            "examples": [
                {
                    "party": "UKR",
                    "capability": "drone",
                    "amount": {"unit": "piece", "over": "1500000"},
                    "covers": "so_far",
                    "period": {"from": "2024", "to": "2024"},
                    "sources": SOURCES,
                }
            ]
        },
    )

    party: PartyCode
    capability: Capability
    amount: AnAmount
    period: APeriod
    covers: Covers = "this"


class AboutForm(Form):
    """Whose total was stated: a coalition's, a donor's, or what a beneficiary gets; one of the three."""

    model_config = ConfigDict(
        title="About",
        json_schema_extra={
            "oneOf": [
                {"required": [whose], "properties": {whose: {"type": "string"}}}
                for whose in ("coalition", "donor", "beneficiary")
            ]
        },
    )

    coalition: Id | None = None
    donor: PartyCode | None = None
    beneficiary: PartyCode | None = None

    def value(self) -> About:
        """Give whose total it is."""
        if sum(named is not None for named in (self.coalition, self.donor, self.beneficiary)) != 1:
            raise refuse("about", "a stated total is about a coalition, a donor or a beneficiary: say one of the three")
        return About(coalition=self.coalition, donor=self.donor, beneficiary=self.beneficiary)


class StatementBody(Fact):
    """A total that somebody stated. It is held beside the ledger's own answer, and never added to anything."""

    model_config = ConfigDict(
        title="Statement",
        json_schema_extra={
            "examples": [
                {
                    "stated_by": "LVA",
                    "about": {"coalition": "drone-coalition"},
                    "measure": "amount",
                    "amount": {"unit": "EUR", "exactly": "1800000000"},
                    "stated_on": "2025-01-15",
                    "period": {"from": "2024", "to": "2024"},
                    "sources": SOURCES,
                }
            ]
        },
    )

    stated_by: PartyCode
    about: Annotated[About, By(AboutForm)]
    measure: StatedMeasure
    amount: AStatedAmount
    stated_on: Day
    capability: Capability | None = None
    stage: Stage | Literal["unspecified"] | None = None
    period: APeriod | None = None

    @model_validator(mode="after")
    def counted_so(self) -> Self:
        """Refuse a unit that its measure is not counted in."""
        units = STATED_UNITS[self.measure]
        if self.amount.unit not in units:
            counted = f"`{units[0]}`" if len(units) == 1 else "`piece` or an ISO 4217 currency"
            raise refuse("unit", f"the measure {self.measure} is counted in {counted}, not in {self.amount.unit}")
        return self

    def fields(self) -> dict[str, Any]:
        """Give the entry's fields; a stage that was not specified is none."""
        return super().fields() | {"stage": None if self.stage == "unspecified" else self.stage}
