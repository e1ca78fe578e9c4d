"""How far a target is: what counts towards it, where that stands against its deadline, and at what pace (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final, Literal, NamedTuple, TypeAlias

from shared.amounts import ZERO, Amount, Vector
from shared.days import Said, first_day, last_day
from shared.events.targets import TargetClosed, TargetEntry, TargetRevised, TargetSet
from shared.measures import ARRIVALS, Stage
from shared.timeline import Learned, Steps, live

Status = Literal["closed", "met", "missed", "unproven", "on_track", "behind", "open"]

RECENT: Final = timedelta(days=90)
"""The days over which the recent pace is taken."""

TENTH: Final = Decimal("0.1")


class Measure(NamedTuple):
    """What is counted: a capability with its descendants, in a unit."""

    capability: str
    unit: str


Values: TypeAlias = Mapping[Measure, Mapping[Stage, Steps[Vector]]]
"""The totals in a target's scope, by what is counted, by stage, by day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a target asks for from a day on; the scope is a coalition or a party.

    `starts_on` is the first day that counts, `due_by` the last one (None: no deadline). `closed` says how it ended.
    """

    capability: str
    amount: Amount
    counts: Stage
    starts_on: date
    due_by: date | None
    coalition: str | None = None
    party: str | None = None
    beneficiary: str | None = None
    stated_by: str | None = None
    due_said: Said | None = None
    reason: str | None = None  # of the revision that made them
    closed: str | None = None

    @property
    def measure(self) -> Measure:
        """What counts towards it."""
        return Measure(self.capability, self.amount.unit)

    @property
    def asked(self) -> Decimal | None:
        """The least that meets the target; None where nobody said a number."""
        return None if self.amount.unknown else self.amount.low


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """A deadline that was replaced, with its own outcome as it stands on the day asked for."""

    due_by: date
    said: Said
    replaced_on: date
    reason: str | None
    amount: Amount
    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What a day has to bring, what a day has brought lately, and when the target would be met at that pace.

    In the target's unit a day. Each is None where it says nothing: no deadline ahead, met or closed, no gain.
    """

    needed_per_day: Decimal | None
    recent_per_day: Decimal
    projected_on: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a target stands on a day.

    `reached` is what counts of each stage (the target's own stage and, to compare, all others), `series` what counts of
    its own stage on each day on which that changed, up to `complete_to` where the ledger is believed complete.
    """

    on: date
    status: Status
    terms: Terms
    reached: Mapping[Stage, Vector]
    pace: Pace
    series: tuple[tuple[date, Vector], ...]
    past_deadlines: tuple[Deadline, ...]


def terms_of(learned: Iterable[Learned[TargetEntry]], known: int | None = None) -> Steps[Terms | None]:
    """Fold what was said of one target, as known at a position, into its terms from each day on (None: not set)."""
    standing = [(_day(entry), position, entry) for position, entry in live(learned, known).items()]
    result: Steps[Terms | None] = Steps(None)
    openings = [(day, entry) for day, _, entry in standing if isinstance(entry, TargetSet)]
    if not openings:
        return result
    since, opening = openings[0]
    terms = _as_set(opening)
    result.step(since, terms)
    for day, _, entry in sorted(standing, key=lambda said: said[:2]):
        match entry:
            case TargetRevised():
                terms = _revised(terms, entry)
            case TargetClosed():
                terms = replace(terms, closed=entry.outcome)
            case _:
                continue
        result.step(max(day, since), terms)  # nothing can be revised before it was set
    return result


def progress(terms: Steps[Terms | None], values: Values, on: date, complete_to: date | None = None) -> Progress | None:
    """Say where a target stands on a day; None if it was not set by then.

    `values` holds every measure that any of its terms counted in; what is not there is nothing.
    """
    now = terms.on(on)
    if now is None:
        return None
    counted = _counted(now, values)
    to = on if complete_to is None else min(on, complete_to)
    return Progress(
        on=on,
        status=status(now, reached(now, now.counts, counted, on), on),
        terms=now,
        reached={stage: reached(now, stage, steps, on) for stage, steps in values.get(now.measure, {}).items()},
        pace=pace(now, counted, to),
        series=series(now, counted, to),
        past_deadlines=past_deadlines(terms, values, on),
    )


def reached(terms: Terms, stage: Stage, values: Steps[Vector], on: date) -> Vector:
    """Give what counts towards a target on a day.

    Of a promise the value on the day; of what arrives, what came from its start to the day and no later than due: what
    went back in these days is taken off, whenever it had come.
    """
    since, to = counted_days(terms, stage, on)
    if since is None:
        return values.on(to)
    if to < since:
        return ZERO
    return values.on(to) - values.until(since)


def counted_days(terms: Terms, stage: Stage, on: date) -> tuple[date | None, date]:
    """Give the days of which facts of a stage count on a day: the first (None: all before count too) and the last."""
    if stage not in ARRIVALS:
        return None, on
    return terms.starts_on, on if terms.due_by is None else min(on, terms.due_by)


def status(terms: Terms, x: Vector, on: date) -> Status:
    """Judge a target on a day.

    Nothing is called missed or behind while it may have been met, so an undisclosed part leaves the most open too.
    """
    lo, hi = x.low, None if x.unknown > 0 else x.bound
    if terms.closed is not None:
        return "closed"
    asked = terms.asked
    if asked is None:
        return "open"
    if lo >= asked:
        return "met"
    if terms.due_by is None:
        return "open"
    if on > terms.due_by:
        return "missed" if hi is not None and hi < asked else "unproven"
    should = _by_now(terms, asked, on, terms.due_by)
    if lo >= should:
        return "on_track"
    return "behind" if hi is not None and hi < should else "open"


def percent(bound: Decimal | None, asked: Decimal | None) -> Decimal | None:
    """Give 100 x bound / asked, floored to 0.1; None if the bound is open or nothing was asked for."""
    if bound is None or not asked:
        return None
    return (100 * bound / asked).quantize(TENTH, ROUND_FLOOR) if bound < 0 else ((bound * 1000) // asked * TENTH)


def pace(terms: Terms, values: Steps[Vector], to: date) -> Pace:
    """Give the pace as of a day: needed rounded up, recent rounded down, to 0.1 a day."""
    lo = reached(terms, terms.counts, values, to).low
    gain = lo - reached(terms, terms.counts, values, to - RECENT).low
    missing = None if terms.closed is not None or terms.asked is None else max(Decimal(0), terms.asked - lo)
    ahead = terms.due_by is not None and terms.due_by >= to
    return Pace(
        needed_per_day=_per_day(missing, terms.due_by - to) if missing and ahead and terms.due_by else None,
        recent_per_day=(gain / RECENT.days).quantize(TENTH, ROUND_FLOOR),
        projected_on=_projected(missing, gain, to) if missing and (ahead or terms.due_by is None) else None,
    )


def series(terms: Terms, values: Steps[Vector], to: date) -> tuple[tuple[date, Vector], ...]:
    """Give what counts on the target's first day, on each day that changed it, and on the last one."""
    end = min(to, terms.due_by) if terms.due_by is not None and terms.counts in ARRIVALS else to
    if end < terms.starts_on:
        return ()
    days = {terms.starts_on, end, *(day for day in values.days if terms.starts_on < day < end)}
    return tuple((day, reached(terms, terms.counts, values, day)) for day in sorted(days))


def past_deadlines(terms: Steps[Terms | None], values: Values, on: date) -> tuple[Deadline, ...]:
    """Give each deadline that was replaced by a day, with its own outcome by the terms it belonged to."""
    result = []
    before: Terms | None = None
    for day, now in terms:
        if day > on:
            break
        if before is not None and before.due_by is not None and now is not None and now.due_by != before.due_by:
            x = reached(before, before.counts, _counted(before, values), min(on, before.due_by))
            result.append(
                Deadline(
                    due_by=before.due_by,
                    said=before.due_said or Said(before.due_by.isoformat()),
                    replaced_on=day,
                    reason=now.reason,
                    amount=before.amount,
                    status=status(before, x, on),
                )
            )
        before = now
    return tuple(result)


def _as_set(entry: TargetSet) -> Terms:
    return Terms(
        capability=entry.capability,
        amount=entry.amount,
        counts=entry.counts,
        starts_on=first_day(entry.starts_on or entry.set_on),
        due_by=None if entry.due_by is None else last_day(entry.due_by),
        coalition=entry.coalition,
        party=entry.party,
        beneficiary=entry.beneficiary,
        stated_by=entry.stated_by,
        due_said=entry.due_by,
    )


def _revised(terms: Terms, entry: TargetRevised) -> Terms:
    due_said = None if entry.without_deadline else entry.due_by or terms.due_said
    return replace(
        terms,
        capability=entry.capability or terms.capability,
        amount=entry.amount or terms.amount,
        due_said=due_said,
        due_by=None if due_said is None else last_day(due_said),
        reason=entry.reason,
    )


def _counted(terms: Terms, values: Values) -> Steps[Vector]:
    return values.get(terms.measure, {}).get(terms.counts, Steps(ZERO))


def _day(entry: TargetEntry) -> date:
    said = entry.happened
    assert said is not None  # noqa: S101  # every entry about a target says its day
    return last_day(said)


def _by_now(terms: Terms, asked: Decimal, on: date, due_by: date) -> Decimal:
    """What an even pace would have reached by a day before the deadline."""
    whole = (due_by - terms.starts_on).days
    elapsed = max(0, (on - terms.starts_on).days)
    return asked if whole <= 0 else asked * elapsed / whole


def _per_day(missing: Decimal, left: timedelta) -> Decimal:
    return (missing / max(1, left.days)).quantize(TENTH, ROUND_CEILING)


def _projected(missing: Decimal, gain: Decimal, to: date) -> date | None:
    if gain <= 0:
        return None
    days = int((missing * RECENT.days / gain).to_integral_value(ROUND_CEILING))
    return to + timedelta(days=days) if days <= (date.max - to).days else None
