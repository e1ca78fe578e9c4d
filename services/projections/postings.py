"""What an entry makes of the totals: the difference between its pledge's timelines with and without it, as postings.

An *account* is what is posted together: one pledge (`pledge-x`), or what one party produced (`production-UKR`). Its
*standing* is every change of its value: dated vectors on rows. The postings of the event at position P are the
difference between the standing as known at P and at P - 1. So the sum of the postings with position <= P and day <= D
is the value on D as known at P, for every P and D; corrections and late news need no rule of their own.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple, Self

from shared.amounts import ZERO, Amount, Vector
from shared.days import Said, first_day, last_day
from shared.events import Entry
from shared.events.amendments import EntryCorrected, EntryRetracted, SourcesAdded
from shared.events.pledges import (
    Also,
    DeliveryConfirmed,
    DeliveryDisputed,
    DeliveryEntry,
    DeliveryReported,
    DeliveryReversed,
    PledgeAnnounced,
    PledgeEntry,
    PledgeLapsed,
    PledgeReallocated,
    PledgeRelated,
    PledgeRevised,
    PledgeWithdrawn,
    Relation,
    Share,
    StageReached,
)
from shared.events.reports import ProductionReported
from shared.measures import ARRIVALS, FULFILMENTS, PROMISES, Stage
from shared.recorded import Recorded
from shared.timeline import Fact, Learned, Steps, choices, difference, live, steps


class Row(NamedTuple):
    """What numbers may be added: everything by which totals are kept apart."""

    stage: Stage
    coalition: str  # "" for none
    donors: tuple[str, ...]  # one party, or a group whose shares are not known
    beneficiaries: tuple[str, ...]
    capability: str
    unit: str
    finance_type: str  # "" where it was not said


class Place(NamedTuple):
    """Where the value of a pledge counts on a day."""

    coalition: str
    donors: tuple[Share, ...]


Measure = tuple[Stage, str, str]  # stage, capability, unit
Standing = dict[tuple[date, Row], Vector]
NOWHERE: Final = Place("", ())
PROMISED_AND_UNDER_WAY: Final[tuple[Stage, ...]] = ("pledged", "committed", "paid", "allocated", "contracted")


def learned(recorded: Recorded) -> tuple[Entry | None, int | None] | None:
    """Give (what it says, the position of the entry it amends); None for what changes no fact."""
    match recorded.event:
        case EntryCorrected() as corrected:
            return corrected.now, corrected.entry_position
        case EntryRetracted() as retracted:
            return None, retracted.entry_position
        case SourcesAdded():
            return None
        case entry:
            return entry, None


def accounts(event: Entry) -> tuple[str, ...]:
    """Name the accounts that an entry touches: its own pledge, and those it replaces; its party's production."""
    match event:
        case PledgeAnnounced() | PledgeRelated():
            relation = event.relation
            replaced = relation.of if relation is not None and relation.kind == "replaces" else ()
            return tuple(dict.fromkeys((f"pledge-{event.pledge}", *(f"pledge-{of}" for of in replaced))))
        case PledgeEntry():
            return (f"pledge-{event.pledge}",)
        case ProductionReported():
            return (f"production-{event.party}",)
        case _:
            return ()


class Account:
    """One pledge, or one party's production: what was learned of it, and how it stands.

    `told` counts the entries that were read for learning: what a batch costs.
    """

    __slots__ = ("_live", "_parts", "entries", "name", "standing", "told")

    def __init__(self, name: str) -> None:
        self.name = name
        self.entries: list[Learned[Entry]] = []
        self.standing: Standing = {}
        self.told = 0
        self._live: dict[int, Entry] = {}
        self._parts: Parts | None = None

    @classmethod
    def of(cls, name: str, entries: Iterable[Learned[Entry]]) -> Account:
        """Give an account as it stands once it has learned these entries, which are in the order of the log."""
        account = cls(name)
        account.entries = list(entries)
        account._live = live(account.entries)
        account._tell()
        return account

    def learn(self, position: int, event: Entry | None, amends: int | None = None) -> Standing:
        """Take the next entry, in the order of the log, and give the postings that it makes."""
        self.entries.append(Learned(position, event, amends))
        place = position if amends is None else amends
        before = self._live.pop(place, None)
        if event is not None:
            self._live[place] = event
        if self._parts is not None:
            postings = self._parts.learn(place, before, event)
            if postings is not None:
                self.told += 1
                for key, vector in postings.items():
                    self.standing[key] = self.standing.get(key, ZERO) + vector
                return postings
        standing = self.standing
        self._tell()
        return difference(standing, self.standing)

    def _tell(self) -> None:
        """Tell the whole account anew; what was corrected keeps its place in the order."""
        self._live = dict(sorted(self._live.items()))
        self.told += len(self._live)
        self.standing = standing_of(self.name, self._live)
        self._parts = Parts.of(self.name, self._live)


def standing_of(account: str, entries: Mapping[int, Entry]) -> Standing:
    """Give every change of an account's value, from its live entries by their places in the order."""
    if account.startswith("production-"):
        return _changes(_production(account.removeprefix("production-"), entries))
    pledge = Pledge.of(account.removeprefix("pledge-"), entries)
    return {} if pledge is None else _changes(pledge.rows())


def _changes(days: Iterable[tuple[date, Mapping[Row, Vector]]]) -> Standing:
    """Turn the rows from each day on into what each day adds."""
    standing: Standing = {}
    before: Mapping[Row, Vector] = {}
    for day, rows in days:
        for row, change in difference(before, rows).items():
            standing[day, row] = change
        before = rows
    return standing


# --------------------------------------------------------------------------------------------- production


def _production(party: str, entries: Mapping[int, Entry]) -> Iterator[tuple[date, dict[Row, Vector]]]:
    facts: dict[Row, list[Fact[Vector]]] = defaultdict(list)
    for position, entry in entries.items():
        if isinstance(entry, ProductionReported) and entry.party == party:
            row = Row("produced", "", (party,), (), entry.capability, entry.amount.unit, "")
            so_far = entry.covers == "so_far"
            since = first_day(entry.period.start) if so_far else None
            facts[row].append(Fact(last_day(entry.period.end), position, entry.amount.vector, so_far, since))
    values = {row: steps(found, ZERO) for row, found in facts.items()}
    for day in sorted({day for value in values.values() for day in value.days}):
        yield day, {row: value.on(day) for row, value in values.items()}


# ----------------------------------------------------------------------------------------------- pledges


@dataclass(frozen=True, slots=True)
class Pledge:
    """A pledge over time: where it counts, what it is to others, and its value in every stage and measure.

    Promises and work under way move with the pledge; what arrived stays where the pledge was on that day, so its steps
    hold a vector a place.
    """

    opening: PledgeAnnounced
    places: Steps[Place]
    relations: Steps[Relation | None]
    values: Mapping[Measure, Steps[Vector]]
    arrivals: Mapping[Measure, Steps[Places]]

    @classmethod
    def of(cls, name: str, entries: Mapping[int, Entry]) -> Pledge | None:
        """Read a pledge from its live entries; None if nothing opened it."""
        opened = next(((p, e) for p, e in entries.items() if isinstance(e, PledgeAnnounced) and e.pledge == name), None)
        if opened is None:
            return None
        position, opening = opened
        places = _places(opening, entries)
        relations = choices(
            [
                (last_day(e.on), p, e.relation)
                for p, e in entries.items()
                if isinstance(e, PledgeRelated) and e.pledge == name
            ],
            opening.relation,
        )
        facts = _stage_facts(name, position, opening, entries)
        arrivals = _arrival_facts(opening, places, entries)
        return cls(
            opening,
            places,
            relations,
            {measure: steps(found, ZERO) for measure, found in facts.items()},
            {measure: steps(found, NO_PLACES) for measure, found in arrivals.items()},
        )

    def rows(self) -> Iterator[tuple[date, dict[Row, Vector]]]:
        """Give the rows of the pledge from each day on which something changes."""
        timelines: list[Steps[Vector] | Steps[Places]] = [*self.values.values(), *self.arrivals.values()]
        days = {day for timeline in timelines for day in timeline.days} | {*self.places.days} | {*self.relations.days}
        for day in sorted(days):
            yield day, self.on(day)

    def on(self, day: date) -> dict[Row, Vector]:
        """Give what the pledge adds to the totals on a day."""
        rows: dict[Row, Vector] = {}
        place, weigh = self.places.on(day), _weight(self.relations.on(day), new_money=self.opening.new_money)
        for (stage, capability, unit), timeline in self.values.items():
            self.put(rows, (stage, capability, unit), place, weigh(stage, timeline.on(day)))
        for (stage, capability, unit), arrivals in self.arrivals.items():
            for arrived_at, vector in arrivals.on(day).items():
                self.put(rows, (stage, capability, unit), arrived_at, weigh(stage, vector))
        self._add_surplus(rows, day)
        return rows

    def put(self, rows: dict[Row, Vector], measure: Measure, place: Place, vector: Vector | None) -> None:
        """Add a value of the pledge to the rows it belongs to; None and what is not there add nothing."""
        if vector is None or not vector.pledges:
            return
        stage, capability, unit = measure
        hangs = self.opening.conditions is not None and stage in PROMISED_AND_UNDER_WAY
        value = replace(vector, pledges=1, conditional=vector.low if hangs else Decimal(0))
        for donors, beneficiaries, part in self._split(stage, unit, place, value):
            finance_type = self.opening.finance_type or ""
            row = Row(stage, place.coalition, donors, beneficiaries, capability, unit, finance_type)
            rows[row] = rows.get(row, ZERO) + part

    def _split(
        self, stage: Stage, unit: str, place: Place, whole: Vector
    ) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], Vector]]:
        """Give every known share as a row of its own, the rest as one row of the group; they add up to the whole."""
        donors = tuple(donor.party for donor in place.donors)
        beneficiaries = tuple(beneficiary.party for beneficiary in self.opening.beneficiaries)
        if stage == "pledged":
            by_donor = list(_shares(place.donors, unit, whole))
            by_beneficiary = list(_shares(self.opening.beneficiaries, unit, whole))
            if len(by_donor) > 1:
                known = by_beneficiary if len(by_beneficiary) > 1 else []
                for parties, part in by_donor:
                    yield from ((parties, to, piece) for to, piece in _among(part, known, whole, beneficiaries))
                return
            if len(by_beneficiary) > 1:
                yield from ((donors, parties, part) for parties, part in by_beneficiary)
                return
        yield donors, beneficiaries, replace(whole, parts=1)

    def _add_surplus(self, rows: dict[Row, Vector], day: date) -> None:
        """Say what was delivered above the pledged high, on the largest row of what was delivered."""
        promised = None if self.opening.amount is None else self._pledged(self.opening.amount.unit, day)
        if promised is None:
            return
        unit, high = promised
        delivered = [(row, vector) for row, vector in rows.items() if row.stage == "delivered" and row.unit == unit]
        surplus = sum((vector.low for _, vector in delivered), Decimal(0)) - high
        if surplus > 0:
            row, vector = max(delivered, key=lambda item: (item[1].low, item[0]))
            rows[row] = replace(vector, surplus=surplus)

    def _pledged(self, unit: str, day: date) -> tuple[str, Decimal] | None:
        timeline = self.values.get(("pledged", self.opening.capability, unit))
        value = ZERO if timeline is None else timeline.on(day)
        if not value.pledges or value.open or value.unknown:
            return None
        return unit, value.high


class Places(dict[Place, Vector]):
    """What arrived, by the place the pledge was in on that day."""

    def __add__(self, other: Self) -> Self:
        return type(self)({place: self.get(place, ZERO) + other.get(place, ZERO) for place in {**self, **other}})

    def __sub__(self, other: Self) -> Self:
        return type(self)({place: self.get(place, ZERO) - other.get(place, ZERO) for place in {**self, **other}})

    def __bool__(self) -> bool:
        return any(self.values())


NO_PLACES: Final = Places()


def _places(opening: PledgeAnnounced, entries: Mapping[int, Entry]) -> Steps[Place]:
    """Follow the coalition and the donors of a pledge, which change apart from one another."""
    changes: list[tuple[date, int, str | tuple[Share, ...]]] = []
    for position, entry in entries.items():
        match entry:
            case PledgeReallocated(pledge=opening.pledge):
                changes.append((last_day(entry.on), position, entry.coalition or ""))
            case PledgeRevised(pledge=opening.pledge, donors=tuple() as donors):
                changes.append((last_day(entry.on), position, donors))
            case _:
                pass
    place = Place(opening.coalition or "", opening.donors)
    places = Steps(place)
    for day, _, change in sorted(changes, key=lambda change: change[:2]):
        place = place._replace(coalition=change) if isinstance(change, str) else place._replace(donors=change)
        places.step(day, place)
    return places


def _measures(
    stage: Stage, capability: str, amount: Amount | None, also: Sequence[Also]
) -> Iterator[tuple[Measure, Vector]]:
    if amount is not None:
        yield (stage, capability, amount.unit), replace(amount.vector, pledges=1)
    for other in also:
        yield (stage, other.capability or capability, other.amount.unit), replace(other.amount.vector, pledges=1)


def _stage_facts(
    name: str, position: int, opening: PledgeAnnounced, entries: Mapping[int, Entry]
) -> dict[Measure, list[Fact[Vector]]]:
    """Give the set-points of every stage that moves with the pledge, and where it ended."""
    facts: dict[Measure, list[Fact[Vector]]] = defaultdict(list)
    ends: list[tuple[date, int, tuple[Stage, ...]]] = []

    def set_point(said: Said, at: int, found: Iterable[tuple[Measure, Vector]]) -> None:
        for measure, vector in found:
            facts[measure].append(Fact(last_day(said), at, vector, sets=True))

    set_point(opening.announced_on, position, _measures("pledged", opening.capability, opening.amount, opening.also))
    for at, entry in entries.items():
        match entry:
            case PledgeRevised(pledge=pledge) if pledge == name:
                found = _measures("pledged", opening.capability, entry.amount, entry.also or ())
                set_point(entry.on, at, found)
            case StageReached(pledge=pledge) if pledge == name:
                set_point(entry.on, at, _measures(entry.STAGE, opening.capability, entry.amount, entry.also))
            case PledgeWithdrawn(pledge=pledge) | PledgeLapsed(pledge=pledge) if pledge == name:
                ends.append((last_day(entry.on), at, PROMISED_AND_UNDER_WAY))
            case PledgeAnnounced() | PledgeRelated() if _replaces(entry, name):
                said = entry.announced_on if isinstance(entry, PledgeAnnounced) else entry.on
                ends.append((last_day(said), at, PROMISES))
            case _:
                pass
    for measure, found_facts in facts.items():
        found_facts += [Fact(day, at, ZERO, sets=True) for day, at, stages in ends if measure[0] in stages]
    return facts


def _replaces(entry: PledgeAnnounced | PledgeRelated, name: str) -> bool:
    relation = entry.relation
    return entry.pledge != name and relation is not None and relation.kind == "replaces" and name in relation.of


def _arrival_facts(
    opening: PledgeAnnounced, places: Steps[Place], entries: Mapping[int, Entry]
) -> dict[Measure, list[Fact[Places]]]:
    """Give what was delivered and confirmed: increments or set-points, each at its place, changed by what followed."""
    by_delivery: dict[str, list[tuple[int, DeliveryEntry]]] = defaultdict(list)
    for position, entry in entries.items():
        if isinstance(entry, DeliveryEntry) and entry.pledge == opening.pledge:
            by_delivery[entry.delivery].append((position, entry))
    marks: dict[Measure, list[Mark]] = defaultdict(list)
    for about in by_delivery.values():
        for measure, mark in _story(opening, about):
            marks[measure].append(mark)
    return {
        measure: [
            Fact(mark.day, mark.position, Places({places.on(mark.arrived): mark.change}), mark.sets)
            for mark in found
            if not mark.alters or not _subsumed(mark, found)
        ]
        for measure, found in marks.items()
    }


@dataclass(frozen=True, slots=True)
class Mark:
    """One change of what a delivery counts for, in one measure."""

    day: date
    position: int
    change: Vector
    sets: bool
    arrived: date  # the day of the delivery: where it counts
    alters: tuple[date, int] | None = None  # the fact that it changes, for what is not a fact of its own


def _story(opening: PledgeAnnounced, about: list[tuple[int, DeliveryEntry]]) -> Iterator[tuple[Measure, Mark]]:
    """Tell one delivery: reported, perhaps confirmed, disputed, reversed; each step as the difference it makes."""
    reported = next(((at, entry) for at, entry in about if isinstance(entry, DeliveryReported)), None)
    if reported is None:
        return
    at, report = reported
    capability = report.capability or opening.capability
    day, so_far = last_day(report.delivered_on), report.covers == "so_far"
    claim = dict(_measures("delivered", capability, report.amount, report.also))
    now: dict[Measure, Vector] = {}
    first: dict[Measure, tuple[date, int]] = {}

    def becomes(on: date, position: int, wanted: Mapping[Measure, Vector]) -> Iterator[tuple[Measure, Mark]]:
        for measure, vector in wanted.items():
            change = vector - now.get(measure, ZERO)
            if measure not in first:
                first[measure] = (on, position)
                yield measure, Mark(on, position, vector, so_far, day)
            elif change:
                yield measure, Mark(on, position, change, sets=False, arrived=day, alters=first[measure])
            now[measure] = vector

    confirmed = _as_confirmed(claim)
    yield from becomes(day, at, claim | confirmed if report.confirmed_by is not None else claim)
    later = sorted(
        (max(day, last_day(e.happened)), p, e) for p, e in about if e is not report and e.happened is not None
    )
    for on, position, entry in later:
        match entry:
            case DeliveryConfirmed():
                counted = claim if entry.amount is None else dict(_measures("delivered", capability, entry.amount, ()))
                yield from becomes(on, position, claim | _as_confirmed(counted))
            case DeliveryDisputed():
                doubted = {measure: replace(vector, low=Decimal(0)) for measure, vector in claim.items()}
                yield from becomes(on, position, doubted | _nothing(now, "confirmed"))
            case DeliveryReversed():
                yield from becomes(on, position, _nothing(now, *ARRIVALS))
            case _:
                pass


def _as_confirmed(claim: Mapping[Measure, Vector]) -> dict[Measure, Vector]:
    return {("confirmed", capability, unit): vector for (_, capability, unit), vector in claim.items()}


def _nothing(now: Mapping[Measure, Vector], *stages: Stage) -> dict[Measure, Vector]:
    return {measure: ZERO for measure in now if measure[0] in stages}


def _subsumed(mark: Mark, marks: Iterable[Mark]) -> bool:
    """Whether a "so far" came between a delivery and what changes it: then the delivery is in that number no more."""
    assert mark.alters is not None  # noqa: S101  # only asked of marks that alter another
    return any(other.sets and mark.alters < (other.day, other.position) < (mark.day, mark.position) for other in marks)


class _Weight(NamedTuple):
    """How much of a pledge counts: 1, 0 or -1 in each kind of stage; `maybe` when the relation is not known."""

    promises: int
    fulfilments: int
    maybe: bool

    def __call__(self, stage: Stage, vector: Vector) -> Vector | None:
        factor = self.promises if stage in PROMISES else self.fulfilments if stage in FULFILMENTS else 1
        if factor == 0:
            return None
        if self.maybe and stage in PROMISES:
            return replace(vector, low=Decimal(0))
        return vector if factor > 0 else replace(-vector, pledges=vector.pledges)


def _weight(relation: Relation | None, *, new_money: bool) -> _Weight:
    match "new" if relation is None else relation.kind:
        case "restates":
            return _Weight(0, 0, maybe=False)
        case "part_of":
            return _Weight(0, 1, maybe=False)
        case "decrease":
            return _Weight(-1 if new_money else 0, -1, maybe=False)
        case "unknown":
            return _Weight(1 if new_money else 0, 1, maybe=True)
        case "new" | "increase" | "replaces":
            return _Weight(1 if new_money else 0, 1, maybe=False)


def _shares(shares: Sequence[Share], unit: str, whole: Vector) -> Iterator[tuple[tuple[str, ...], Vector]]:
    """Split a whole by known shares; if those do not fit into it (any more), it stays whole."""
    known = [
        (share.party, share.share.vector) for share in shares if share.share is not None and share.share.unit == unit
    ]
    group = tuple(share.party for share in shares if share.share is None) or tuple(share.party for share in shares)
    rest = whole
    for _, part in known:
        rest = rest - part
    if not known or rest.low < 0 or (not whole.open and (rest.high < 0 or rest.open)):
        yield tuple(share.party for share in shares), replace(whole, parts=1)
        return
    amount_left = bool(rest.low or rest.high or rest.open or rest.unknown)
    conditional = whole.conditional > 0
    for n, (party, part) in enumerate(known):
        carries = n == 0 and not amount_left
        yield (
            (party,),
            replace(part, pledges=int(carries), parts=1, conditional=part.low if conditional else Decimal(0)),
        )
    if amount_left:
        yield group, replace(rest, parts=1, conditional=rest.low if conditional else Decimal(0))


def _among(
    given: Vector, known: Sequence[tuple[tuple[str, ...], Vector]], whole: Vector, everybody: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Vector]]:
    """Split what one donor gives among beneficiaries, as far as the known shares of both leave no choice.

    Of 400, one donor's 300 and one beneficiary's 300 have at least 200 in common: that is their own row. Who gives the
    rest to whom nobody said: it stays with the donor, for all beneficiaries together. Only exact shares say so much.
    """
    rest = given
    if _is_exact(whole) and _is_exact(given) and all(_is_exact(part) for _, part in known):
        for parties, part in known:
            both = given.low + part.low - whole.low
            if both > 0:
                conditional = both if given.conditional else Decimal(0)
                piece = replace(rest, low=both, high=both, parts=1, conditional=conditional)
                yield parties, piece
                rest = replace(rest - piece, parts=1)
    if rest.low or not _is_exact(rest) or rest == given:
        yield everybody, rest


def _is_exact(vector: Vector) -> bool:
    return vector.low == vector.high and not vector.open and not vector.unknown


# ------------------------------------------------------------------------------------- many deliveries


Kept = tuple[Measure, Place]
"""Where what arrived is counted: a measure, and the place that the pledge was in."""


@dataclass(slots=True)
class Parts:
    """A pledge taken apart: each delivery with what was said of it, and all the rest.

    While no delivery says "so far" and nothing exceeds what was pledged, what arrived is a plain sum over deliveries;
    then an entry about one of them posts the difference of its own story, and one about the rest that of the promises.
    So an entry costs as much as there was said of its delivery (or of the promises), however many deliveries there are.
    """

    name: str
    rest: dict[int, Entry]
    deliveries: dict[str, dict[int, DeliveryEntry]]
    pledge: Pledge  # of the rest: its places, relations and promises
    promises: Standing
    ceiling: Decimal | None  # the least that was ever the pledged high; None: none is closed
    most: dict[str, Decimal]  # by unit: what may have been delivered at once
    lasting: dict[Kept, list[tuple[date, str]]]  # since when each delivery is there for good, in order
    passing: dict[Kept, list[tuple[date, str]]]  # likewise those that went back

    @classmethod
    def of(cls, account: str, entries: Mapping[int, Entry]) -> Parts | None:
        """Take a pledge apart; None where it only can be told as a whole."""
        if account.startswith("production-"):
            return None
        name = account.removeprefix("pledge-")
        rest: dict[int, Entry] = {}
        deliveries: dict[str, dict[int, DeliveryEntry]] = defaultdict(dict)
        for position, entry in entries.items():
            if not isinstance(entry, DeliveryEntry) or entry.pledge != name:
                rest[position] = entry
            elif isinstance(entry, DeliveryReported) and entry.covers == "so_far":
                return None
            else:
                deliveries[entry.delivery][position] = entry
        pledge = Pledge.of(name, rest)
        if pledge is None or pledge.relations.days:
            return None
        promises = _changes(pledge.rows())
        lasting: dict[Kept, list[tuple[date, str]]] = defaultdict(list)
        passing: dict[Kept, list[tuple[date, str]]] = defaultdict(list)
        most: dict[str, Decimal] = defaultdict(Decimal)
        found = cls(name, rest, deliveries, pledge, promises, _ceiling(pledge), most, lasting, passing)
        for delivery in deliveries:
            found._keep(delivery, found._story_of(delivery))
        return found if found._fits() else None

    def learn(self, place: int, before: Entry | None, now: Entry | None) -> Standing | None:
        """Let an entry say something else (None: nothing), and give its postings; None: tell the pledge as a whole.

        After None these parts are not to be used any more.
        """
        about = {_delivery_of(entry, self.name) for entry in (before, now) if entry is not None}
        if len(about) != 1:
            return {} if not about else None
        (delivery,) = about
        if delivery is None:
            return self._learn_of_the_rest(place, now)
        if isinstance(now, DeliveryReported) and now.covers == "so_far":
            return None
        old = self._story_of(delivery)
        self._drop(delivery, old)
        about_it = self.deliveries[delivery]
        if now is None:
            about_it.pop(place, None)
        elif isinstance(now, DeliveryEntry):
            about_it[place] = now
        new = self._story_of(delivery)
        postings = self._difference(old, new)
        self._keep(delivery, new)
        return postings if self._fits() else None

    def _learn_of_the_rest(self, place: int, now: Entry | None) -> Standing | None:
        rest = {position: entry for position, entry in self.rest.items() if position != place}
        if now is not None:
            rest[place] = now
        pledge = Pledge.of(self.name, dict(sorted(rest.items())))
        if pledge is None or pledge.opening != self.pledge.opening or pledge.relations.days:
            return None
        if [*pledge.places] != [*self.pledge.places]:
            return None
        promises = _changes(pledge.rows())
        postings = difference(self.promises, promises)
        self.rest, self.pledge, self.promises, self.ceiling = rest, pledge, promises, _ceiling(pledge)
        return postings if self._fits() else None

    def _fits(self) -> bool:
        """Whether nothing can exceed what was pledged, on any day."""
        amount = self.pledge.opening.amount
        return amount is None or self.ceiling is None or self.most[amount.unit] <= self.ceiling

    def _story_of(self, delivery: str) -> list[tuple[Kept, Mark]]:
        about = sorted(self.deliveries[delivery].items())
        return [
            ((measure, self.pledge.places.on(mark.arrived)), mark)
            for measure, mark in _story(self.pledge.opening, about)
        ]

    def _keep(self, delivery: str, story: list[tuple[Kept, Mark]]) -> None:
        for unit, low in _most(story).items():
            self.most[unit] += low
        for kept, there in _presence(story).items():
            insort((self.lasting if _lasts(there) else self.passing)[kept], (there[0][0], delivery))

    def _drop(self, delivery: str, story: list[tuple[Kept, Mark]]) -> None:
        for unit, low in _most(story).items():
            self.most[unit] -= low
        for kept, there in _presence(story).items():
            among = (self.lasting if _lasts(there) else self.passing)[kept]
            del among[bisect_left(among, (there[0][0], delivery))]

    def _difference(self, old: list[tuple[Kept, Mark]], new: list[tuple[Kept, Mark]]) -> Standing:
        """Give what one delivery's stories differ by; all others are kept, it is dropped."""
        weigh = _weight(self.pledge.opening.relation, new_money=self.pledge.opening.new_money)
        result: Standing = {}

        def add(kept: Kept, day: date, vector: Vector | None) -> None:
            (stage, capability, unit), place = kept
            if vector is not None:
                donors = tuple(donor.party for donor in place.donors)
                beneficiaries = tuple(one.party for one in self.pledge.opening.beneficiaries)
                finance_type = self.pledge.opening.finance_type or ""
                key = day, Row(stage, place.coalition, donors, beneficiaries, capability, unit, finance_type)
                result[key] = result.get(key, ZERO) + vector

        for story, sign in ((old, -1), (new, 1)):
            for kept, mark in story:
                change = replace(mark.change, pledges=0, parts=0)
                add(kept, mark.day, weigh(kept[0][0], change if sign > 0 else -change))
            for kept, there in _presence(story).items():
                for day, step in self._counted(kept, there):
                    if weigh(kept[0][0], ZERO) is not None:
                        add(kept, day, Vector(pledges=sign * step, parts=sign * step))
        return {key: vector for key, vector in result.items() if vector}

    def _counted(self, kept: Kept, there: list[tuple[date, bool]]) -> Iterator[tuple[date, int]]:
        """Give the days on which a delivery makes the pledge count among those that brought something, or not any more.

        It does while no other one is there: a pledge counts once.
        """
        others = sorted({*_spans(self.lasting[kept]), *self._spans_of_passing(kept)})
        counted = False
        days = sorted({day for day, _ in there} | {day for span in others for day in span if day is not None})
        for day in days:
            if day < there[0][0]:
                continue
            alone = not any(since <= day and (until is None or day < until) for since, until in others)
            here = [is_there for on, is_there in there if on <= day][-1]
            if (alone and here) != counted:
                counted = alone and here
                yield day, 1 if counted else -1

    def _spans_of_passing(self, kept: Kept) -> Iterator[tuple[date, date | None]]:
        """Give when deliveries that went back were there, until one that is there for good."""
        lasting = self.lasting[kept]
        for since, delivery in self.passing[kept]:
            if lasting and since >= lasting[0][0]:
                return
            there = _presence(self._story_of(delivery))[kept]
            days = [day for day, _ in there]
            for (day, is_there), until in zip(there, [*days[1:], None], strict=True):
                if is_there:
                    yield day, until


def _spans(lasting: Sequence[tuple[date, str]]) -> Iterator[tuple[date, date | None]]:
    if lasting:
        yield lasting[0][0], None


def _delivery_of(entry: Entry, pledge: str) -> str | None:
    return entry.delivery if isinstance(entry, DeliveryEntry) and entry.pledge == pledge else None


def _ceiling(pledge: Pledge) -> Decimal | None:
    """Give the least that was ever the pledged high, in the pledge's own unit; None: it never is closed."""
    amount = pledge.opening.amount
    timeline = None if amount is None else pledge.values.get(("pledged", pledge.opening.capability, amount.unit))
    if timeline is None:
        return None
    closed = (value.high for _, value in timeline if value.pledges and not value.open and not value.unknown)
    return min(closed, default=None)


def _most(story: Iterable[tuple[Kept, Mark]]) -> dict[str, Decimal]:
    """Give, by unit, the most that a delivery ever added to what was delivered."""
    now: dict[Measure, Decimal] = defaultdict(Decimal)
    most: dict[Measure, Decimal] = defaultdict(Decimal)
    for (measure, _), mark in sorted(story, key=lambda item: (item[1].day, item[1].position)):
        if measure[0] == "delivered":
            now[measure] += mark.change.low
            most[measure] = max(most[measure], now[measure])
    by_unit: dict[str, Decimal] = defaultdict(Decimal)
    for (_, _, unit), low in most.items():
        by_unit[unit] += low
    return by_unit


def _presence(story: Iterable[tuple[Kept, Mark]]) -> dict[Kept, list[tuple[date, bool]]]:
    """Give, for each place where a delivery is counted, the days on which it is there or not, from its first on."""
    days: dict[Kept, dict[date, int]] = defaultdict(lambda: defaultdict(int))
    for kept, mark in story:
        days[kept][mark.day] += mark.change.pledges
    found: dict[Kept, list[tuple[date, bool]]] = {}
    for kept, changes in days.items():
        count = 0
        there: list[tuple[date, bool]] = []
        for day in sorted(changes):
            count += changes[day]
            there.append((day, count > 0))
        if any(is_there for _, is_there in there):
            found[kept] = there
    return found


def _lasts(there: Sequence[tuple[date, bool]]) -> bool:
    return all(is_there for _, is_there in there)
