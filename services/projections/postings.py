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
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple, Self

from shared.amounts import NOTHING, ZERO, Amount, Vector
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
    """One pledge, or one party's production: what was learned of it, and what the next entry makes of that.

    `told` counts the entries that were read for learning: what a batch costs.
    """

    __slots__ = ("_live", "_parts", "_standing", "learned", "name", "told")

    def __init__(self, name: str) -> None:
        self.name = name
        self.learned = 0  # entries, the amended ones too: what it holds in memory is no more than this
        self.told = 0
        self._live: dict[int, Entry] = {}  # in the order of their places
        self._parts: Parts | None = None
        self._standing: Standing | None = None  # where it was told as a whole, and not in parts since

    @classmethod
    def of(cls, name: str, entries: Sequence[Learned[Entry]]) -> Account:
        """Give an account as it stands once it has learned these entries, which are in the order of the log."""
        account = cls(name)
        account.learned = len(entries)
        account._live = live(entries)
        account.told = len(account._live)
        return account

    def learn(self, position: int, event: Entry | None, amends: int | None = None) -> Standing:
        """Take the next entry, in the order of the log, and give the postings that it makes."""
        self.learned += 1
        place = position if amends is None else amends
        before = self._live.get(place)
        if not self._live and event is not None:
            postings = plainly_opened(self.name, event)
            if postings is not None:
                self._live[place] = event
                self._parts = self._standing = None
                self.told += 1
                return postings
        parts = self._parts or Parts.of(self.name, self._live)  # what nothing follows need not be taken apart
        self._put(place, event)
        if parts is not None:
            postings = parts.learn(place, before, event)
            if postings is not None:
                self._parts, self._standing = parts, None
                self.told += 1
                return postings
        return self._tell_whole(place, before)

    def _put(self, place: int, event: Entry | None) -> None:
        if event is None:
            self._live.pop(place, None)
            return
        comes_last = not self._live or place > next(reversed(self._live))
        is_known = place in self._live
        self._live[place] = event
        if not is_known and not comes_last:
            self._live = dict(sorted(self._live.items()))

    def _tell_whole(self, place: int, before: Entry | None) -> Standing:
        """Tell the whole account anew, and give what that differs by from how it stood with `before` in that place."""
        standing = self._standing
        if standing is None:
            was = {at: entry for at, entry in self._live.items() if at != place}
            standing = standing_of(self.name, was if before is None else dict(sorted({**was, place: before}.items())))
        self._parts, self._standing = None, standing_of(self.name, self._live)
        self.told += len(self._live)
        return difference(standing, self._standing)


def plainly_opened(account: str, entry: Entry) -> Standing | None:
    """Give what a plain announcement posts that opens its account: most of all entries are.

    Plain is new money, of which no share is known, and which is nothing to other pledges. None: it is not plain.
    """
    if not isinstance(entry, PledgeAnnounced) or account != entry.stream:
        return None
    if entry.relation is not None or not entry.new_money or _knows_shares(entry.donors, entry.beneficiaries):
        return None
    day, hangs = last_day(entry.announced_on), entry.conditions is not None
    donors, beneficiaries = _parties(entry.donors), _parties(entry.beneficiaries)
    coalition, finance_type = entry.coalition or "", entry.finance_type or ""
    said = [] if entry.amount is None else [(entry.capability, entry.amount)]
    said += [(other.capability or entry.capability, other.amount) for other in entry.also]
    return {
        (day, Row("pledged", coalition, donors, beneficiaries, capability, amount.unit, finance_type)): amount.of(
            pledges=1, parts=1, hangs=hangs
        )
        for capability, amount in said
    }


def _in_one_part(value: Vector, *, hangs: bool) -> Vector:
    """Let a value be that of one pledge in one row; `hangs`: on conditions."""
    low, high, open_, unknown, about, _, _, surplus, _ = value
    return Vector(low, high, open_, unknown, about, 1, 1, surplus, low if hangs else NOTHING)


def _of_no_pledge(value: Vector) -> Vector:
    """Let a value be that of what is counted as a pledge elsewhere."""
    low, high, open_, unknown, about, _, _, surplus, conditional = value
    return Vector(low, high, open_, unknown, about, 0, 0, surplus, conditional)


def _parties(shares: Sequence[Share]) -> tuple[str, ...]:
    return (shares[0].party,) if len(shares) == 1 else tuple([share.party for share in shares])


def _knows_shares(*shares: Sequence[Share]) -> bool:
    for among in shares:
        for one in among:
            if one.share is not None:
                return True
    return False


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
        value = _in_one_part(vector, hangs=hangs)
        finance_type = self.opening.finance_type or ""
        for donors, beneficiaries, part in self._split(stage, unit, place, value):
            row = Row(stage, place.coalition, donors, beneficiaries, capability, unit, finance_type)
            rows[row] = rows[row] + part if row in rows else part

    def _split(
        self, stage: Stage, unit: str, place: Place, whole: Vector
    ) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], Vector]]:
        """Give every known share as a row of its own, the rest as one row of the group; they add up to the whole.

        `whole` is in one part.
        """
        donors, beneficiaries = _parties(place.donors), _parties(self.opening.beneficiaries)
        if stage == "pledged" and _knows_shares(place.donors, self.opening.beneficiaries):
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
        yield donors, beneficiaries, whole

    def _add_surplus(self, rows: dict[Row, Vector], day: date) -> None:
        """Say what was delivered above the pledged high, on the largest row of what was delivered."""
        amount = self.opening.amount
        promised = None if amount is None else self.values.get(("pledged", self.opening.capability, amount.unit))
        high = None if promised is None else _closed_high(promised.on(day))
        if amount is None or high is None:
            return
        delivered = {
            row: vector for row, vector in rows.items() if row.stage == "delivered" and row.unit == amount.unit
        }
        for row, vector in _surplus(delivered, high).items():
            rows[row] = rows[row] + vector


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
        yield (stage, capability, amount.unit), amount.of(pledges=1)
    for other in also:
        yield (stage, other.capability or capability, other.amount.unit), other.amount.of(pledges=1)


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


class Mark(NamedTuple):
    """One change of what a delivery counts for, in one measure."""

    day: date
    position: int
    change: Vector
    sets: bool
    arrived: date  # the day of the delivery: where it counts
    alters: tuple[date, int] | None = None  # the fact that it changes, for what is not a fact of its own


def _story(opening: PledgeAnnounced, about: Sequence[tuple[int, DeliveryEntry]]) -> list[tuple[Measure, Mark]]:
    """Tell one delivery: reported, perhaps confirmed, disputed, reversed; each step as the difference it makes."""
    reported = next(((at, entry) for at, entry in about if isinstance(entry, DeliveryReported)), None)
    if reported is None:
        return []
    at, report = reported
    capability = report.capability or opening.capability
    day, so_far = last_day(report.delivered_on), report.covers == "so_far"
    claim = dict(_measures("delivered", capability, report.amount, report.also))
    reached = claim if report.confirmed_by is None else claim | _as_confirmed(claim)
    if len(about) == 1:
        return [(measure, Mark(day, at, vector, so_far, day)) for measure, vector in reached.items()]
    if len(about) == 2 and reached is claim:  # noqa: PLR2004  # reported, and one thing more: most often this
        position, entry = about[0] if about[0][1] is not report else about[1]
        if isinstance(entry, DeliveryConfirmed) and entry.amount is None:
            on = max(day, last_day(entry.on))
            told: list[tuple[Measure, Mark]] = [
                (measure, Mark(day, at, vector, so_far, day)) for measure, vector in claim.items()
            ]
            return told + [
                (measure, Mark(on, position, vector, so_far, day)) for measure, vector in _as_confirmed(claim).items()
            ]
    now: dict[Measure, Vector] = {}
    first: dict[Measure, tuple[date, int]] = {}
    told = []

    def becomes(on: date, position: int, wanted: Mapping[Measure, Vector]) -> None:
        for measure, vector in wanted.items():
            if measure not in first:
                first[measure] = (on, position)
                told.append((measure, Mark(on, position, vector, so_far, day)))
            elif vector is not now[measure] and (change := vector - now[measure]):
                told.append((measure, Mark(on, position, change, False, day, first[measure])))
            now[measure] = vector

    becomes(day, at, reached)
    later = sorted(
        (max(day, last_day(e.happened)), p, e) for p, e in about if e is not report and e.happened is not None
    )
    for on, position, entry in later:
        match entry:
            case DeliveryConfirmed():
                counted = claim if entry.amount is None else dict(_measures("delivered", capability, entry.amount, ()))
                becomes(on, position, claim | _as_confirmed(counted))
            case DeliveryDisputed():
                doubted = {measure: vector._replace(low=NOTHING) for measure, vector in claim.items()}
                becomes(on, position, doubted | _nothing(now, "confirmed"))
            case DeliveryReversed():
                becomes(on, position, _nothing(now, *ARRIVALS))
            case _:
                pass
    return told


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
            return vector._replace(low=NOTHING)
        return vector if factor > 0 else (-vector)._replace(pledges=vector.pledges)


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
        yield tuple(share.party for share in shares), whole._replace(parts=1)
        return
    amount_left = bool(rest.low or rest.high or rest.open or rest.unknown)
    conditional = whole.conditional > 0
    for n, (party, part) in enumerate(known):
        carries = n == 0 and not amount_left
        yield (
            (party,),
            part._replace(pledges=int(carries), parts=1, conditional=part.low if conditional else NOTHING),
        )
    if amount_left:
        yield group, rest._replace(parts=1, conditional=rest.low if conditional else NOTHING)


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
                conditional = both if given.conditional else NOTHING
                piece = rest._replace(low=both, high=both, parts=1, conditional=conditional)
                yield parties, piece
                rest = (rest - piece)._replace(parts=1)
    if rest.low or not _is_exact(rest) or rest == given:
        yield everybody, rest


def _is_exact(vector: Vector) -> bool:
    return vector.low == vector.high and not vector.open and not vector.unknown


# ------------------------------------------------------------------------------------- many deliveries


class Kept(NamedTuple):
    """Where what arrived is counted: in a row, at the n-th place that the pledge was in."""

    row: Row
    place: int


Presence = list[tuple[date, bool]]
"""The days on which a delivery comes (True) and goes, in turns."""


class Story(NamedTuple):
    """One delivery: its marks, and where and when it is there, by where it is counted.

    `most` is no less than what it ever added to what was delivered, in the unit of the pledge.
    """

    marks: Sequence[tuple[Kept, Mark]] = ()
    there: Mapping[Kept, Presence] = {}
    most: Decimal = NOTHING


@dataclass(slots=True)
class Parts:
    """A pledge taken apart: each delivery with what was said of it, and all the rest.

    While no delivery says "so far", what arrived is a plain sum over deliveries; then an entry about one of them posts
    the difference of its own story, and one about the rest that of the promises. So an entry costs as much as there was
    said of its delivery (or of the promises), however many deliveries there are. Only where more was delivered than
    pledged are all of them looked at, for what is above.
    """

    name: str
    rest: dict[int, Entry]
    pledge: Pledge  # of the rest: its places, relations and promises
    weigh: _Weight
    promises: Standing | None  # None: not told yet
    ceiling: Decimal | None  # the least that was ever the pledged high; None: none is closed
    deliveries: dict[str, dict[int, DeliveryEntry]]
    stories: dict[str, Story]
    most: Decimal  # no less than what was ever delivered at once, in the unit of the pledge
    surplus: Standing
    lasting: dict[Kept, list[tuple[date, str]]]  # since when each delivery is there for good, in order
    passing: dict[Kept, list[tuple[date, str]]]  # likewise those that went back
    known_rows: dict[tuple[Measure, int], Kept]

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
        found = cls(
            name=name,
            rest=rest,
            pledge=pledge,
            weigh=_weight(pledge.opening.relation, new_money=pledge.opening.new_money),
            promises=None,
            ceiling=_ceiling(pledge),
            deliveries=deliveries,
            stories={},
            most=NOTHING,
            surplus={},
            lasting=defaultdict(list),
            passing=defaultdict(list),
            known_rows={},
        )
        for delivery in deliveries:
            found._keep(delivery, found._story_of(delivery))
        found.surplus = found._above()
        return found

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
        old = self._drop(delivery)
        about_it = self.deliveries[delivery]
        if now is None:
            about_it.pop(place, None)
        elif isinstance(now, DeliveryEntry):
            about_it[place] = now
        new = self._story_of(delivery)
        postings = self._difference(old, new)
        self._keep(delivery, new)
        return self._with_surplus(postings)

    def _learn_of_the_rest(self, place: int, now: Entry | None) -> Standing | None:
        rest = {position: entry for position, entry in self.rest.items() if position != place}
        if now is not None:
            rest[place] = now
        pledge = Pledge.of(self.name, dict(sorted(rest.items())))
        if pledge is None or pledge.opening != self.pledge.opening or pledge.relations.days:
            return None
        if [*pledge.places] != [*self.pledge.places]:
            return None
        before = _changes(self.pledge.rows()) if self.promises is None else self.promises
        promises = _changes(pledge.rows())
        postings = difference(before, promises)
        self.rest, self.pledge, self.promises, self.ceiling = rest, pledge, promises, _ceiling(pledge)
        return self._with_surplus(postings)

    def _with_surplus(self, postings: Standing) -> Standing:
        """Add to postings what they change of what is above the pledge."""
        surplus = self._above()
        if surplus or self.surplus:
            for key, vector in difference(self.surplus, surplus).items():
                postings[key] = postings.get(key, ZERO) + vector
            self.surplus = surplus
        return postings

    def _above(self) -> Standing:
        """Say from which days on more was delivered than pledged, on the largest row of what was delivered."""
        amount = self.pledge.opening.amount
        if amount is None or self.ceiling is None or self.most <= self.ceiling:
            return {}
        came: dict[date, list[tuple[Row, Vector]]] = defaultdict(list)
        for story in self.stories.values():
            for (row, _), mark in story.marks:
                weighed = self.weigh("delivered", mark.change)
                if row.stage == "delivered" and row.unit == amount.unit and weighed is not None:
                    came[mark.day].append((row, weighed))
        promised = self.pledge.values["pledged", self.pledge.opening.capability, amount.unit]

        def days() -> Iterator[tuple[date, Mapping[Row, Vector]]]:
            delivered: dict[Row, Vector] = {}
            for day in sorted({*came, *promised.days}):
                for row, change in came.get(day, ()):
                    delivered[row] = delivered.get(row, ZERO) + change
                high = _closed_high(promised.on(day))
                yield day, {} if high is None else _surplus(delivered, high)

        return _changes(days())

    def _story_of(self, delivery: str) -> Story:
        about = sorted(self.deliveries[delivery].items())
        marks = [(self._kept(measure, mark.arrived), mark) for measure, mark in _story(self.pledge.opening, about)]
        return Story(marks, _presence(marks), self._most(marks))

    def _kept(self, measure: Measure, day: date) -> Kept:
        places = self.pledge.places
        # where it came back to a place it was in before, it is there again
        nth = [places.before, *places.values].index(places.on(day)) if places.days else 0
        kept = self.known_rows.get((measure, nth))
        if kept is None:
            place = places.on(day)
            stage, capability, unit = measure
            opening = self.pledge.opening
            finance_type = opening.finance_type or ""
            donors, beneficiaries = _parties(place.donors), _parties(opening.beneficiaries)
            kept = Kept(Row(stage, place.coalition, donors, beneficiaries, capability, unit, finance_type), nth)
            self.known_rows[measure, nth] = kept
        return kept

    def _keep(self, delivery: str, story: Story) -> None:
        self.stories[delivery] = story
        self.most += story.most
        for kept, there in story.there.items():
            insort((self.lasting if _lasts(there) else self.passing)[kept], (there[0][0], delivery))

    def _drop(self, delivery: str) -> Story:
        story = self.stories.pop(delivery, Story())
        self.most -= story.most
        for kept, there in story.there.items():
            among = (self.lasting if _lasts(there) else self.passing)[kept]
            del among[bisect_left(among, (there[0][0], delivery))]
        return story

    def _most(self, marks: Iterable[tuple[Kept, Mark]]) -> Decimal:
        amount, most = self.pledge.opening.amount, NOTHING
        for (row, _), mark in marks:
            if amount is not None and row.stage == "delivered" and row.unit == amount.unit and mark.change.low > 0:
                most += mark.change.low
        return most

    def _difference(self, old: Story, new: Story) -> Standing:
        """Give what one delivery's stories differ by; all others are kept, it is dropped."""
        weigh = self.weigh
        result: Standing = {}

        def add(kept: Kept, day: date, vector: Vector | None) -> None:
            if vector is not None:
                key = day, kept.row
                result[key] = result[key] + vector if key in result else vector

        same = 0
        for was, now in zip(old.marks, new.marks, strict=False):
            if was != now:
                break
            same += 1
        for kept, mark in old.marks[same:]:
            add(kept, mark.day, weigh(kept.row.stage, -_of_no_pledge(mark.change)))
        for kept, mark in new.marks[same:]:
            add(kept, mark.day, weigh(kept.row.stage, _of_no_pledge(mark.change)))
        for presence, others, sign in ((old.there, new.there, -1), (new.there, old.there, 1)):
            for kept, there in presence.items():
                if there != others.get(kept) and weigh(kept.row.stage, ZERO) is not None:
                    for day, step in self._counted(kept, there):
                        add(kept, day, Vector(pledges=sign * step, parts=sign * step))
        return {key: vector for key, vector in result.items() if vector}

    def _counted(self, kept: Kept, there: Presence) -> Iterator[tuple[date, int]]:
        """Give the days on which a delivery makes the pledge count among those that brought something, or not any more.

        It does while no other one is there: a pledge counts once.
        """
        lasting = self.lasting[kept]
        if not self.passing[kept] and _lasts(there):
            since, others = there[0][0], lasting[0][0] if lasting else None
            if others is None or since < others:
                yield since, 1
                if others is not None:
                    yield others, -1
            return
        spans = sorted({*_spans(lasting), *self._spans_of_passing(kept)})
        counted = False
        days = sorted({day for day, _ in there} | {day for span in spans for day in span if day is not None})
        for day in days:
            if day < there[0][0]:
                continue
            alone = not any(since <= day and (until is None or day < until) for since, until in spans)
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
            there = self.stories[delivery].there[kept]
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
    return min((high for _, value in timeline if (high := _closed_high(value)) is not None), default=None)


def _closed_high(promised: Vector) -> Decimal | None:
    """Give the high of what is pledged; None where nothing is, or it is open."""
    return None if not promised.pledges or promised.open or promised.unknown else promised.high


def _surplus(delivered: Mapping[Row, Vector], high: Decimal) -> dict[Row, Vector]:
    """Give what was delivered above a high, on the largest row."""
    surplus = sum((vector.low for vector in delivered.values()), NOTHING) - high
    if surplus <= 0:
        return {}
    return {max(delivered, key=lambda row: (delivered[row].low, row)): Vector(surplus=surplus)}


def _presence(marks: Iterable[tuple[Kept, Mark]]) -> dict[Kept, Presence]:
    """Give the days on which a delivery comes and goes, for each place where it is counted."""
    marks = list(marks)
    plain: dict[Kept, Presence] = {kept: [(mark.day, True)] for kept, mark in marks if mark.change.pledges == 1}
    if len(plain) == len(marks):  # it came, and was not touched since
        return plain
    counts: dict[Kept, dict[date, int]] = {}
    for kept, mark in marks:
        if pledges := mark.change.pledges:
            changes = counts.setdefault(kept, {})
            changes[mark.day] = changes.get(mark.day, 0) + pledges
    found: dict[Kept, Presence] = {}
    for kept, changes in counts.items():
        count, there = 0, []
        for day in sorted(changes):
            was, count = count, count + changes[day]
            if (was > 0) != (count > 0):
                there.append((day, count > 0))
        if there:
            found[kept] = there
    return found


def _lasts(there: Presence) -> bool:
    return len(there) == 1
