"""Ledgers that nobody would write: everything that can happen to pledges, in any order, on any day."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Final

from msgspec.structs import replace

from shared.amounts import Amount, amount
from shared.days import Said
from shared.events import Entry
from shared.events.amendments import Amendment, SourcesAdded
from shared.events.pledges import (
    Also,
    DeliveryConfirmed,
    DeliveryDisputed,
    DeliveryReported,
    DeliveryReversed,
    Period,
    PledgeAllocated,
    PledgeAnnounced,
    PledgeCommitted,
    PledgeContracted,
    PledgeLapsed,
    PledgePaid,
    PledgeReallocated,
    PledgeRelated,
    PledgeRevised,
    PledgeWithdrawn,
    Relation,
    Share,
)
from shared.events.reports import ProductionReported
from shared.recorded import Recorded
from tests.examples import a_coalition, joins
from tests.integration.streams import correction, recorded, retraction

PARTIES: Final = ("GBR", "LVA", "DNK", "NLD", "UKR")
UNITS: Final = ("piece", "EUR")
COALITIONS: Final = ("drones", "shells", None)
VALUES: Final = ("air", "sea", "land")
MONTHS: Final = tuple(Said(f"{year}-{month:02}") for year in (2024, 2025, 2026) for month in range(1, 13))
CAPABILITIES: Final = ("drone", "drone.fpv", "drone.fpv.fibre", "drones", "shell")


class Dice:
    """Throws entries."""

    def __init__(self, seed: int, *, pledges: int, labelled: bool = False) -> None:
        self.random = Random(seed)
        self.labelled = labelled  # whether entries carry labels, and pledges say which days they are for
        self.pledges = [f"p{n}" for n in range(pledges)]

    def ledger(self, size: int) -> list[Recorded]:
        """Events of which many amend earlier ones; some are about things that are not there (yet)."""
        events: list[Recorded] = []
        for position in range(1, size + 1):
            entry = self.amendment(events) if events and self.random.random() < 0.2 else self.entry()
            events += recorded([entry], after=position - 1, before=events)
        return events

    def amendment(self, events: list[Recorded]) -> Entry:
        target = self.random.choice(events)
        if isinstance(target.event, Amendment):
            return self.entry()
        if self.random.random() < 0.1:
            return SourcesAdded(
                thing=target.stream,
                entry=target.event_id,
                entry_position=target.position,
                entry_type=target.type,
            )
        if self.random.random() < 0.35:
            return retraction(target)
        return correction(target, self.anew(target.event))

    def anew(self, entry: Entry) -> Entry:
        """An entry of the same kind about the same thing that says something else."""
        while True:
            other = self.entry()
            if isinstance(other, type(entry)):
                same = {
                    name: getattr(entry, name)
                    for name in ("pledge", "delivery", "production", "coalition", "party")
                    if hasattr(entry, name) and not (name == "coalition" and isinstance(entry, PledgeAnnounced))
                }
                if isinstance(entry, PledgeReallocated):
                    same.pop("coalition")
                if isinstance(entry, ProductionReported) and self.random.random() < 0.3:
                    same.pop("party")  # it was another party's production
                return replace(other, **same)

    def entry(self) -> Entry:
        kinds = (
            (self.announced, 5),
            (self.revised, 2),
            (self.stage, 3),
            (self.delivery, 6),
            (self.about_a_delivery, 3),
            (self.related, 1),
            (self.other, 2),
            (self.produced, 2),
        )
        (kind,) = self.random.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])
        return self.told_more(kind()) if self.labelled else kind()

    def told_more(self, entry: Entry) -> Entry:
        labels = {
            key: tuple(self.random.sample(VALUES, self.random.randint(1, 2)))
            for key in ("sector", "plan")
            if self.random.random() < 0.3
        }
        if isinstance(entry, PledgeAnnounced) and self.random.random() < 0.7:
            start, end = sorted(self.random.choices(MONTHS, k=2))
            return replace(entry, labels=labels, for_period=Period(start=start, end=end))
        return replace(entry, labels=labels)

    def day(self) -> Said:
        month = self.random.randint(1, 12)
        said = (f"2024-{month:02}-{self.random.randint(1, 28):02}", f"2024-{month:02}", "2024")
        return Said(self.random.choices(said, [8, 2, 1])[0])

    def amount(self, unit: str | None = None) -> Amount:
        unit = unit or self.random.choices(UNITS, [3, 1])[0]
        low = Decimal(self.random.randint(0, 2000)) / self.random.choice((1, 1, 4))
        match self.random.randint(0, 6):
            case 0:
                return amount(unit, "undisclosed", None)
            case 1:
                return amount(unit, "at_least", low)
            case 2:
                return amount(unit, "between", (low, low + self.random.randint(0, 500)))
            case 3:
                return amount(unit, "about", low)
            case 4:
                return amount(unit, "words", None, "thousands")
            case _:
                return amount(unit, "exactly", low)

    def shares(self, most: int = 3) -> tuple[Share, ...]:
        parties = self.random.sample(PARTIES, self.random.randint(1, most))
        return tuple(
            Share(party=party, share=self.amount("piece") if self.random.random() < 0.4 else None) for party in parties
        )

    def relation(self) -> Relation | None:
        kind = self.random.choice(
            (None, None, "new", "increase", "replaces", "replaces", "part_of", "restates", "decrease", "unknown")
        )
        if kind is None:
            return None
        return Relation(kind=kind, of=tuple(self.random.sample(self.pledges, self.random.randint(1, 2))))  # type: ignore[arg-type]  # one of the kinds

    def also(self) -> tuple[Also, ...]:
        return (Also(amount=self.amount("EUR")),) if self.random.random() < 0.2 else ()

    def pledge(self) -> str:
        return self.random.choice(self.pledges)

    def announced(self) -> PledgeAnnounced:
        return PledgeAnnounced(
            pledge=self.pledge(),
            donors=self.shares(),
            capability=self.random.choice(CAPABILITIES),
            announced_on=self.day(),
            coalition=self.random.choice(COALITIONS),
            beneficiaries=self.random.choice(((), (Share(party="UKR"),), self.shares(2))),
            amount=self.amount() if self.random.random() < 0.9 else None,
            also=self.also(),
            finance_type=self.random.choice((None, None, "grant", "loan")),
            conditions=self.random.choice((None, None, "if parliament agrees")),
            relation=self.relation(),
            new_money=self.random.random() < 0.9,
        )

    def revised(self) -> PledgeRevised:
        return PledgeRevised(
            pledge=self.pledge(),
            on=self.day(),
            reason="said anew",
            amount=self.amount() if self.random.random() < 0.8 else None,
            donors=self.shares() if self.random.random() < 0.3 else None,
        )

    def stage(self) -> Entry:
        kind = self.random.choice((PledgeCommitted, PledgePaid, PledgeAllocated, PledgeContracted))
        return kind(pledge=self.pledge(), on=self.day(), amount=self.amount(), also=self.also())

    def delivery(self) -> DeliveryReported:
        return DeliveryReported(
            pledge=self.pledge(),
            delivery=f"d{self.random.randint(0, 6)}",
            amount=self.amount(),
            delivered_on=self.day(),
            reported_by="GBR",
            covers=self.random.choices(("this", "so_far"), [4, 1])[0],
            capability=self.random.choice((None, None, "drone.fpv")),
            also=self.also(),
            confirmed_by=self.random.choice((None, None, None, "UKR")),
        )

    def about_a_delivery(self) -> Entry:
        pledge, delivery, day = self.pledge(), f"d{self.random.randint(0, 6)}", self.day()
        match self.random.randint(0, 2):
            case 0:
                counted = self.amount() if self.random.random() < 0.5 else None
                return DeliveryConfirmed(pledge=pledge, delivery=delivery, on=day, by="UKR", amount=counted)
            case 1:
                return DeliveryDisputed(pledge=pledge, delivery=delivery, on=day, by="UKR", reason="not seen")
            case _:
                return DeliveryReversed(pledge=pledge, delivery=delivery, on=day, reason="sent back")

    def related(self) -> PledgeRelated:
        relation = self.relation() or Relation(kind="new")
        return PledgeRelated(pledge=self.pledge(), on=self.day(), relation=relation)

    def other(self) -> Entry:
        match self.random.randint(0, 4):
            case 0:
                return PledgeWithdrawn(pledge=self.pledge(), on=self.day(), reason="taken back")
            case 1:
                return PledgeLapsed(pledge=self.pledge(), on=self.day(), reason="too late")
            case 2:
                return PledgeReallocated(pledge=self.pledge(), on=self.day(), coalition=self.random.choice(COALITIONS))
            case 3:
                return a_coalition(f"c{self.random.randint(0, 99)}")
            case _:
                return joins(self.random.choice(PARTIES))

    def produced(self) -> ProductionReported:
        start, end = sorted((self.day()[:7], self.day()[:7]), key=lambda said: said if len(said) > 4 else f"{said}-12")
        return ProductionReported(
            production=f"m{self.random.randint(0, 9)}",
            party=self.random.choice(("UKR", "LVA")),
            capability=self.random.choice(CAPABILITIES),
            amount=self.amount("piece"),
            period=Period(start=Said(start), end=Said(end)),
            covers=self.random.choice(("this", "so_far")),
        )
