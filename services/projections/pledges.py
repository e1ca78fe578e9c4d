"""One pledge as known at a position: its stages as timelines, how it stands on a day, what is unusual about it (pure).

These are the pledge's own numbers, as said. What of them counts in totals is for postings.py: a restatement has an
amount here, and posts none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final, Literal, get_args

from services.projections.names import NOBODY
from services.projections.postings import Measure, Pledge
from shared.amounts import ZERO, Amount, Vector
from shared.days import last_day
from shared.events import Entry
from shared.events.pledges import (
    DeliveryConfirmed,
    DeliveryDisputed,
    DeliveryEntry,
    DeliveryReported,
    DeliveryReversed,
    PledgeAnnounced,
    PledgeLapsed,
    PledgeRelated,
    PledgeRevised,
    PledgeWithdrawn,
    Relation,
    Share,
)
from shared.measures import STAGES, Stage
from shared.timeline import Learned, Steps, choices, live

PledgeStatus = Literal["ahead", "standing", "delivered", "replaced", "withdrawn", "lapsed"]
DeliveryState = Literal["reported", "confirmed", "disputed", "reversed"]
Flag = Literal[
    "not-a-member",
    "delivered-above-pledged",
    "committed-above-pledged",
    "allocated-above-committed",
    "other-unit",
    "overdue",
    "unknown-share",
    "future-dated",
    "conditional",
    "disputed",
    "withdrawn",
]
FLAGS: Final[tuple[Flag, ...]] = get_args(Flag)

IsMember = Callable[[str, str, date], bool]
"""Says whether in a coalition (its id) a party is in any role on a day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One delivery as it stands on a day."""

    id: str
    report: DeliveryReported
    state: DeliveryState
    by: str | None  # who confirmed or disputed it
    on: date  # since when
    counted: Amount | None = None  # what who confirmed it counted, if not all that was reported


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPledge:
    """A pledge with its live entries, by their places in the order, and its timelines by stage, capability and unit."""

    id: str
    opening: PledgeAnnounced
    entries: Mapping[int, Entry]
    folded: Pledge
    timelines: Mapping[Measure, Steps[Vector]]

    @classmethod
    def of(cls, name: str, learned: Iterable[Learned[Entry]]) -> KnownPledge | None:
        """Fold a pledge; None if nothing that stands announced it."""
        standing = live(learned)
        folded = Pledge.of(name, standing)
        if folded is None:
            return None
        timelines = dict(folded.values)
        for measure, places in folded.arrivals.items():
            steps: Steps[Vector] = Steps(ZERO)
            for day, by_place in places:
                steps.step(day, sum(by_place.values(), ZERO))
            timelines[measure] = steps
        order = sorted(timelines, key=lambda measure: (STAGES.index(measure[0]), measure))
        return cls(
            id=name,
            opening=folded.opening,
            entries=standing,
            folded=folded,
            timelines={measure: timelines[measure] for measure in order},
        )

    def on(self, day: date) -> dict[Measure, Vector]:
        """Give its value in each stage and measure on a day; what was not said by then, or has ended, is not there."""
        values = ((measure, timeline.on(day)) for measure, timeline in self.timelines.items())
        return {measure: value for measure, value in values if value.pledges}

    def coalition(self, day: date) -> str | None:
        """Give the coalition that it counts towards on a day."""
        return self.folded.places.on(day).coalition or None

    def donors(self, day: date) -> tuple[Share, ...]:
        """Give its donors on a day."""
        return self.folded.places.on(day).donors

    def relation(self, day: date) -> Relation | None:
        """Give what it is to others on a day."""
        return self.folded.relations.on(day)

    def due_by(self, day: date) -> date | None:
        """Give its deadline as said by a day."""
        said = [
            (last_day(entry.on), position, entry.due_by)
            for position, entry in self.entries.items()
            if isinstance(entry, PledgeRevised) and entry.pledge == self.id and entry.due_by is not None
        ]
        due = choices(said, self.opening.due_by).on(day)
        return None if due is None else last_day(due)

    def deliveries(self, day: date) -> list[Delivery]:
        """Give the deliveries reported by a day, in the order of their days."""
        about: dict[str, list[tuple[date, int, DeliveryEntry]]] = {}
        for position, entry in self.entries.items():
            if isinstance(entry, DeliveryEntry) and entry.pledge == self.id and entry.happened is not None:
                about.setdefault(entry.delivery, []).append((last_day(entry.happened), position, entry))
        found = (_delivery(name, said, day) for name, said in about.items())
        return sorted((one for one in found if one is not None), key=lambda one: (one.report.delivered_on, one.id))

    def status(self, day: date) -> PledgeStatus:
        """Say how it stands on a day."""
        ended = [
            (last_day(entry.on), entry)
            for entry in self.entries.values()
            if isinstance(entry, PledgeWithdrawn | PledgeLapsed) and entry.pledge == self.id
        ]
        for since, entry in ended:
            if since <= day:
                return "withdrawn" if isinstance(entry, PledgeWithdrawn) else "lapsed"
        if any(since <= day for since in self.replaced_on()):
            return "replaced"
        if last_day(self.opening.announced_on) > day:
            return "ahead"
        promised, came = self.promised(day), self.came(day)
        whole = promised is not None and promised.high == promised.low and promised.bound is not None
        return "delivered" if whole and promised and promised.low and came >= promised.low else "standing"

    def replaced_on(self) -> Iterator[date]:
        """Give the days from which other pledges replace it."""
        for entry in self.entries.values():
            if isinstance(entry, PledgeAnnounced | PledgeRelated) and entry.pledge != self.id:
                relation = entry.relation
                if relation is not None and relation.kind == "replaces" and self.id in relation.of:
                    yield last_day(entry.announced_on if isinstance(entry, PledgeAnnounced) else entry.on)

    def promised(self, day: date, stage: Stage = "pledged") -> Vector | None:
        """Give what was promised in the pledge's own unit, by a stage; None if nothing stands."""
        if self.opening.amount is None:
            return None
        value = self.on(day).get((stage, self.opening.capability, self.opening.amount.unit))
        return None if value is None or value.unknown else value

    def came(self, day: date) -> Decimal:
        """Give the least that was delivered in the pledge's own unit."""
        unit = None if self.opening.amount is None else self.opening.amount.unit
        values = self.on(day).items()
        return sum((value.low for (stage, _, of), value in values if stage == "delivered" and of == unit), Decimal(0))

    def flags(self, day: date, today: date, is_member: IsMember) -> list[Flag]:
        """Tell what is unusual about it, as seen on a day."""
        found = {*self._of_announcement(is_member), *self._of_amounts(day), *self._of_deliveries(day)}
        if any(_day(entry) > today for entry in self.entries.values()):
            found.add("future-dated")
        if self.status(day) in ("withdrawn", "lapsed"):
            found.add("withdrawn")
        return [flag for flag in FLAGS if flag in found]

    def _of_announcement(self, is_member: IsMember) -> Iterator[Flag]:
        opening = self.opening
        named = [donor.party for donor in opening.donors if donor.party != NOBODY]
        announced_on = last_day(opening.announced_on)
        if opening.coalition is not None and not all(
            is_member(opening.coalition, party, announced_on) for party in named
        ):
            yield "not-a-member"
        if opening.conditions is not None:
            yield "conditional"
        if len(opening.donors) > 1 and any(donor.share is None for donor in opening.donors):
            yield "unknown-share"

    def _of_amounts(self, day: date) -> Iterator[Flag]:
        pledged, committed = self.promised(day), self.promised(day, "committed")
        allocated = self.promised(day, "allocated")
        if pledged is not None and pledged.bound is not None:
            if self.came(day) > pledged.bound:
                yield "delivered-above-pledged"
            if committed is not None and committed.low > pledged.bound:
                yield "committed-above-pledged"
        if allocated is not None and committed is not None and committed.bound is not None:  # noqa: SIM102  # two thoughts
            if allocated.low > committed.bound:
                yield "allocated-above-committed"
        due = self.due_by(day)
        if due is not None and due < day and pledged is not None and self.came(day) < pledged.low:
            yield "overdue"

    def _of_deliveries(self, day: date) -> Iterator[Flag]:
        units = {unit for (stage, _, unit) in self.timelines if stage not in ("delivered", "confirmed")}
        deliveries = self.deliveries(day)
        if units and any(delivery.report.amount.unit not in units for delivery in deliveries):
            yield "other-unit"
        if any(delivery.state == "disputed" for delivery in deliveries):
            yield "disputed"


def _delivery(name: str, said: list[tuple[date, int, DeliveryEntry]], day: date) -> Delivery | None:
    report = next((entry for _, _, entry in said if isinstance(entry, DeliveryReported)), None)
    if report is None or last_day(report.delivered_on) > day:
        return None
    found = Delivery(
        id=name,
        report=report,
        state="reported" if report.confirmed_by is None else "confirmed",
        by=report.confirmed_by,
        on=last_day(report.delivered_on),
    )
    for since, _, entry in sorted(said, key=lambda one: one[:2]):
        if since > day:
            break
        match entry:
            case DeliveryConfirmed():
                found = Delivery(id=name, report=report, state="confirmed", by=entry.by, on=since, counted=entry.amount)
            case DeliveryDisputed():
                found = Delivery(id=name, report=report, state="disputed", by=entry.by, on=since)
            case DeliveryReversed():
                found = Delivery(id=name, report=report, state="reversed", by=None, on=since)
            case _:
                pass
    return found


def _day(entry: Entry) -> date:
    return date.min if entry.happened is None else last_day(entry.happened)
