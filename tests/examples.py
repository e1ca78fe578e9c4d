"""Builders of entries, with what a test does not care about filled in."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, cast

from shared.amounts import Amount, Qualifier, amount
from shared.days import Said
from shared.events.coalitions import CoalitionFormed, Instrument, Member, MemberJoined, Role
from shared.events.pledges import (
    Covers,
    DeliveryConfirmed,
    DeliveryDisputed,
    DeliveryReported,
    DeliveryReversed,
    Period,
    PledgeAnnounced,
    PledgeRevised,
    PledgeWithdrawn,
    Share,
)
from shared.events.reports import About, ProductionReported, StatementRecorded
from shared.events.targets import TargetRevised, TargetSet
from shared.sources import Source

A_SOURCE = (Source(url="https://example.org/news", published_on=Said("2024-02-15")),)


def pieces(count: int | Decimal | str | None = None, *, unit: str = "piece", **said: Any) -> Amount:
    """An amount: `pieces(500)`, `pieces(at_least=2000)`, `pieces("thousands")`, `pieces(between=(4, 6))`."""
    if isinstance(count, str):
        return amount(unit, "words", None, count)
    if count is not None:
        return amount(unit, "exactly", Decimal(count))
    ((name, number),) = said.items()
    qualifier = cast("Qualifier", name)
    if qualifier == "undisclosed":
        return amount(unit, "undisclosed", None)
    if qualifier == "between":
        return amount(unit, "between", (Decimal(number[0]), Decimal(number[1])))
    return amount(unit, qualifier, Decimal(number))


def euros(count: int | None = None, **said: Any) -> Amount:
    """An amount in euros."""
    return pieces(count, unit="EUR", **said)


def a_coalition(name: str = "drones", *, members: tuple[Member, ...] = (), **other: Any) -> CoalitionFormed:
    defaults: dict[str, Any] = {"name": name.title(), "formed_on": "2024-02-14", "sources": A_SOURCE}
    return CoalitionFormed(coalition=name, members=members, **(defaults | other))


def joins(
    party: str, *, on: str = "2024-02-15", role: Role = "member", instrument: Instrument | None = None
) -> MemberJoined:
    return MemberJoined(
        coalition="drones", party=party, on=Said(on), role=role, instrument=instrument, sources=A_SOURCE
    )


def a_pledge(
    name: str = "x", said: Amount | None = None, *, by: str | tuple[Share, ...] = "GBR", **other: Any
) -> PledgeAnnounced:
    donors = (Share(party=by),) if isinstance(by, str) else by
    defaults: dict[str, Any] = {"capability": "drone", "announced_on": "2024-02-15", "sources": A_SOURCE}
    return PledgeAnnounced(pledge=name, donors=donors, amount=said, **(defaults | other))


def revised(name: str = "x", said: Amount | None = None, *, on: str, **other: Any) -> PledgeRevised:
    return PledgeRevised(pledge=name, amount=said, on=Said(on), reason="announced anew", sources=A_SOURCE, **other)


def withdrawn(name: str = "x", *, on: str) -> PledgeWithdrawn:
    return PledgeWithdrawn(pledge=name, on=Said(on), reason="taken back", sources=A_SOURCE)


def a_delivery(
    name: str = "d1",
    said: Amount | None = None,
    *,
    of: str = "x",
    on: str = "2024-06-01",
    covers: Covers = "this",
    **other: Any,
) -> DeliveryReported:
    return DeliveryReported(
        pledge=of,
        delivery=name,
        amount=said or pieces(100),
        delivered_on=Said(on),
        covers=covers,
        reported_by=other.pop("reported_by", "GBR"),
        sources=A_SOURCE,
        **other,
    )


def confirmed(
    name: str = "d1", *, of: str = "x", on: str, said: Amount | None = None, by: str = "UKR"
) -> DeliveryConfirmed:
    return DeliveryConfirmed(pledge=of, delivery=name, on=Said(on), by=by, amount=said, sources=A_SOURCE)


def disputed(name: str = "d1", *, of: str = "x", on: str) -> DeliveryDisputed:
    return DeliveryDisputed(pledge=of, delivery=name, on=Said(on), by="UKR", reason="not seen", sources=A_SOURCE)


def reversed_(name: str = "d1", *, of: str = "x", on: str) -> DeliveryReversed:
    return DeliveryReversed(pledge=of, delivery=name, on=Said(on), reason="sent back", sources=A_SOURCE)


def a_target(name: str = "million", said: Amount | None = None, **other: Any) -> TargetSet:
    defaults: dict[str, Any] = {
        "coalition": "drones",
        "capability": "drone",
        "counts": "delivered",
        "set_on": "2024-02-15",
        "due_by": "2024-12-31",
        "sources": A_SOURCE,
    }
    return TargetSet(target=name, amount=said or pieces(1_000_000), **(defaults | other))


def target_revised(name: str = "million", *, on: str, **other: Any) -> TargetRevised:
    return TargetRevised(target=name, on=Said(on), reason="said anew", sources=A_SOURCE, **other)


def produced(
    name: str, said: Amount, *, start: str, end: str, covers: Covers = "this", by: str = "UKR"
) -> ProductionReported:
    return ProductionReported(
        production=name,
        party=by,
        capability="drone",
        amount=said,
        covers=covers,
        period=Period(start=Said(start), end=Said(end)),
        sources=A_SOURCE,
    )


def stated(name: str, said: Amount, *, on: str, coalition: str = "drones") -> StatementRecorded:
    return StatementRecorded(
        statement=name,
        stated_by="LVA",
        about=About(coalition=coalition),
        measure="amount",
        amount=said,
        stated_on=Said(on),
        sources=A_SOURCE,
    )
