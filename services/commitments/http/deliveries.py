"""Bodies about deliveries."""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict, model_validator

from services.commitments.http.forms import Alsos, AnAmount, Capability, Day, Fact, PartyCode, Text
from services.commitments.http.pledges import another_measure
from services.commitments.http.samples import SOURCES
from shared.events.pledges import Covers


class DeliveryBody(Fact):
    """Its reporter says that goods or money arrived; `so_far` replaces what was reported before."""

    model_config = ConfigDict(
        title="Delivery",
        json_schema_extra={
            "examples": [
                {
                    "amount": {"unit": "piece", "about": "5000"},
                    "covers": "so_far",
                    "delivered_on": "2024",
                    "reported_by": "LVA",
                    "sources": SOURCES,
                }
            ]
        },
    )

    amount: AnAmount
    delivered_on: Day
    reported_by: PartyCode
    covers: Covers = "this"
    capability: Capability | None = None
    also: Alsos = ()
    confirmed_by: PartyCode | None = None

    @model_validator(mode="after")
    def said_once(self) -> Self:
        """Refuse the same measure twice."""
        another_measure(self.amount, self.also, self.capability)
        return self


class ConfirmationBody(Fact):
    """The beneficiary or a third party counted what arrived; without an amount: all that was reported."""

    model_config = ConfigDict(
        title="Confirmation", json_schema_extra={"examples": [{"by": "UKR", "on": "2024-11-02", "sources": SOURCES}]}
    )

    on: Day
    by: PartyCode
    amount: AnAmount | None = None


class DisputeBody(Fact):
    """Somebody says it did not arrive as reported."""

    model_config = ConfigDict(
        title="Dispute",
        json_schema_extra={
            "examples": [{"by": "UKR", "reason": "half of them came", "on": "2024-11-02", "sources": SOURCES}]
        },
    )

    on: Day
    by: PartyCode
    reason: Text


class ReversalBody(Fact):
    """It went back, or was taken back."""

    model_config = ConfigDict(
        title="Reversal",
        json_schema_extra={"examples": [{"reason": "sent back as faulty", "on": "2024-12-01", "sources": SOURCES}]},
    )

    on: Day
    reason: Text
