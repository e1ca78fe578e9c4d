"""Bodies about targets."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, model_validator

from services.commitments.http.forms import AnAmount, Capability, Day, Fact, Id, PartyCode, Text, Word, refuse
from services.commitments.http.samples import SOURCES
from shared.amounts import Amount
from shared.measures import Stage


def _reachable(amount: Amount) -> Amount:
    if amount.low <= 0:
        raise refuse("target", f"{amount} is no amount to reach: the least that a target asks for is above zero")
    return amount


Aim = Annotated[AnAmount, AfterValidator(_reachable)]


class TargetBody(Fact):
    """How much of a capability a coalition or a party wants, by when, and which stage counts."""

    model_config = ConfigDict(
        title="Target",
        json_schema_extra={
            "oneOf": [
                {"required": [scope], "properties": {scope: {"type": "string"}}} for scope in ("coalition", "party")
            ],
            "examples": [
                {
                    "coalition": "drone-coalition",
                    "capability": "drone",
                    "amount": {"unit": "piece", "exactly": "1000000"},
                    "counts": "delivered",
                    "set_on": "2024-02-15",
                    "beneficiary": "UKR",
                    "stated_by": "NATO",
                    "sources": SOURCES,
                }
            ],
        },
    )

    coalition: Id | None = None
    party: PartyCode | None = None
    capability: Capability
    amount: Aim
    counts: Stage
    set_on: Day
    starts_on: Day | None = None
    due_by: Day | None = None
    beneficiary: PartyCode | None = None
    stated_by: PartyCode | None = None

    @model_validator(mode="after")
    def one_scope(self) -> Self:
        """Refuse a target of nobody, or of two."""
        if (self.coalition is None) == (self.party is None):
            raise refuse("scope", "a target is a coalition's or a party's: say one of the two")
        return self


class TargetRevisionBody(Fact):
    """The target changed from that day on; what is not said stays, a `due_by` of null drops the deadline."""

    model_config = ConfigDict(
        title="TargetRevision",
        json_schema_extra={
            "anyOf": [
                {"required": ["amount"], "properties": {"amount": {"type": "object"}}},
                {"required": ["capability"], "properties": {"capability": {"type": "string"}}},
                {"required": ["due_by"]},
            ],
            "examples": [
                {"due_by": "2025-12-31", "reason": "moved to the end of 2025", "on": "2024-12-01", "sources": SOURCES}
            ],
        },
    )

    on: Day
    reason: Text
    amount: Aim | None = None
    capability: Capability | None = None
    due_by: Day | None = None

    @model_validator(mode="after")
    def something_changes(self) -> Self:
        """Refuse a revision that revises nothing."""
        if self.amount is None and self.capability is None and "due_by" not in self.model_fields_set:
            raise refuse("nothing", "say what changed: the amount, the capability or the deadline")
        return self

    def fields(self) -> dict[str, Any]:
        """Give the entry's fields; a deadline of null was dropped, one that is not there stays."""
        return super().fields() | {"without_deadline": "due_by" in self.model_fields_set and self.due_by is None}


class TargetClosureBody(Fact):
    """Nobody pursues the target any more."""

    model_config = ConfigDict(
        title="TargetClosure",
        json_schema_extra={
            "examples": [{"outcome": "replaced by the target for 2025", "on": "2024-12-31", "sources": SOURCES}]
        },
    )

    on: Day
    outcome: Word
