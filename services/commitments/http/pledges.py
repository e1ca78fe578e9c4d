"""Bodies about pledges."""

from __future__ import annotations

from typing import Any, Self

from pydantic import ConfigDict, model_validator

from services.commitments.http.forms import (
    Alsos,
    AnAmount,
    APeriod,
    ARelation,
    Capability,
    Day,
    Fact,
    Id,
    PartyCode,
    Shares,
    SomeAlsos,
    Text,
    Word,
    refuse,
)
from services.commitments.http.samples import SOURCES
from shared.amounts import Amount
from shared.events.pledges import Also, Share
from shared.measures import FinanceType


def another_measure(amount: Amount | None, also: tuple[Also, ...] | None, capability: str | None = None) -> None:
    """Refuse an `also` that says the amount's own measure again."""
    for other in also or ():
        if amount is not None and other.amount.unit == amount.unit and other.capability in (None, capability):
            raise refuse("also", f"`also` says the same in other measures; {amount.unit} is the amount's own")


class PledgeBody(Fact):
    """What somebody announced they mean to give. Without an amount, a later stage was the first news."""

    model_config = ConfigDict(
        title="Pledge",
        json_schema_extra={
            "not": {
                "required": ["beneficiary", "beneficiaries"],
                "properties": {"beneficiary": {"type": "string"}, "beneficiaries": {"type": "array"}},
            },
            "examples": [
                {
                    "donors": [{"party": "GBR"}],
                    "coalition": "drone-coalition",
                    "beneficiary": "UKR",
                    "capability": "drone.fpv",
                    "amount": {"unit": "piece", "words": "thousands"},
                    "announced_on": "2024-02-15",
                    "sources": SOURCES,
                }
            ],
        },
    )

    donors: Shares
    capability: Capability
    announced_on: Day
    coalition: Id | None = None
    beneficiary: PartyCode | None = None
    beneficiaries: Shares | None = None
    recipient: PartyCode | None = None
    amount: AnAmount | None = None
    also: Alsos = ()
    due_by: Day | None = None
    for_period: APeriod | None = None
    finance_type: FinanceType | None = None
    conditions: Text | None = None
    relation: ARelation | None = None
    new_money: bool = True

    @model_validator(mode="after")
    def said_once(self) -> Self:
        """Refuse beneficiaries in two places, and the same measure twice."""
        if self.beneficiary is not None and self.beneficiaries is not None:
            raise refuse("beneficiaries", "say `beneficiary` or `beneficiaries`, not both")
        another_measure(self.amount, self.also, self.capability)
        return self

    def fields(self) -> dict[str, Any]:
        """Give the entry's fields; a lone beneficiary is a list of one."""
        fields = super().fields()
        lone = fields.pop("beneficiary")
        fields["beneficiaries"] = (self.beneficiaries or ()) if lone is None else (Share(party=lone),)
        return fields

    def pointer(self, pointer: str) -> str:
        """Give the pointer into this body: a lone beneficiary was named in a field of its own."""
        return "/beneficiary" if self.beneficiary and pointer.startswith("/beneficiaries") else pointer


class StageBody(Fact):
    """So far, this much of the pledge has come to the stage."""

    model_config = ConfigDict(
        title="Stage",
        json_schema_extra={
            "examples": [
                {
                    "amount": {"unit": "GBP", "exactly": "45000000"},
                    "also": [{"unit": "piece", "exactly": "30000", "capability": "drone.fpv"}],
                    "on": "2024-10-17",
                    "reference": "Contract 2024/118",
                    "sources": SOURCES,
                }
            ]
        },
    )

    on: Day
    amount: AnAmount
    also: Alsos = ()
    reference: Word | None = None

    @model_validator(mode="after")
    def said_once(self) -> Self:
        """Refuse the same measure twice."""
        another_measure(self.amount, self.also)
        return self


class RevisionBody(Fact):
    """The promise changed from that day on; what is not said stays as it was."""

    model_config = ConfigDict(
        title="Revision",
        json_schema_extra={
            "anyOf": [
                {"required": [changed], "properties": {changed: {"type": kind}}}
                for changed, kind in (
                    ("amount", "object"),
                    ("also", "array"),
                    ("due_by", "string"),
                    ("donors", "array"),
                )
            ],
            "examples": [
                {
                    "amount": {"unit": "piece", "exactly": "10000"},
                    "reason": "the defence secretary named the number",
                    "on": "2024-07-08",
                    "sources": SOURCES,
                }
            ],
        },
    )

    on: Day
    reason: Text
    amount: AnAmount | None = None
    also: SomeAlsos | None = None
    due_by: Day | None = None
    donors: Shares | None = None

    @model_validator(mode="after")
    def something_changes(self) -> Self:
        """Refuse a revision that revises nothing."""
        if self.amount is None and self.also is None and self.due_by is None and self.donors is None:
            raise refuse("nothing", "say what changed: the amount, other measures, the day it is due, or the donors")
        another_measure(self.amount, self.also)
        return self


class RelateBody(Fact):
    """It became known what the pledge is to others."""

    model_config = ConfigDict(
        title="PledgeRelation",
        json_schema_extra={
            "examples": [{"relation": {"kind": "part_of", "of": ["gbr-200m"]}, "on": "2024-04-02", "sources": SOURCES}]
        },
    )

    on: Day
    relation: ARelation


class ReallocateBody(Fact):
    """The whole pledge counts towards another coalition from that day; null: towards none."""

    model_config = ConfigDict(
        title="Reallocation",
        json_schema_extra={"examples": [{"coalition": "drone-coalition", "on": "2024-05-01", "sources": SOURCES}]},
    )

    on: Day
    coalition: Id | None


class EndBody(Fact):
    """The promise ended that day; what was delivered stays delivered."""

    model_config = ConfigDict(
        title="End",
        json_schema_extra={
            "examples": [{"reason": "the budget was not passed", "on": "2024-12-20", "sources": SOURCES}]
        },
    )

    on: Day
    reason: Text
