"""A number as a timeline: set-points and increments on days, learned at positions, later corrected or retracted.

Known at position P, the value on day D is, of the live facts with position <= P and day <= D in order of (day,
position), the last set-point plus the increments after it. The postings of the event at P are the difference between
the timeline as known at P and at P - 1; so the sum of all postings with position <= P and day <= D *is* the value, for
every P and D.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Generic, Protocol, Self, TypeVar

S = TypeVar("S", bound="Summable")
F = TypeVar("F")
K = TypeVar("K")


class Summable(Protocol):
    """What facts hold and postings sum: a vector, or rows of vectors."""

    def __add__(self, other: Self, /) -> Self: ...

    def __sub__(self, other: Self, /) -> Self: ...

    def __bool__(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Fact(Generic[S]):
    """`value` from `day` on (`sets`), or `value` more on `day`.

    A set-point counts from the beginning, or, with `since`, from the start of that day: what stood before it stays.
    """

    day: date
    position: int
    value: S
    sets: bool = False
    since: date | None = None


@dataclass(frozen=True, slots=True)
class Learned(Generic[F]):
    """What the ledger learned at `position`: `fact`, in its own place or in that of the entry it `amends`.

    An amendment to None takes the fact out (a retraction); an amendment to a fact changes what it says and keeps its
    place in the order (a correction).
    """

    position: int
    fact: F | None
    amends: int | None = None


def live(learned: Iterable[Learned[F]], known: int | None = None) -> dict[int, F]:
    """Give the facts that stand as known at a position (None: now), each under its place in the order."""
    standing: dict[int, F] = {}
    for entry in learned:
        if known is not None and entry.position > known:
            continue
        place = entry.position if entry.amends is None else entry.amends
        if entry.fact is None:
            standing.pop(place, None)
        else:
            standing[place] = entry.fact
    return dict(sorted(standing.items()))


class Steps(Generic[F]):
    """A step function: from `days[i]` on it is `values[i]`; before the first day it is `before`."""

    __slots__ = ("before", "days", "values")

    def __init__(self, before: F) -> None:
        self.before = before
        self.days: list[date] = []
        self.values: list[F] = []

    def __iter__(self) -> Iterator[tuple[date, F]]:
        return iter(zip(self.days, self.values, strict=True))

    def step(self, day: date, value: F) -> None:
        """Let the function be `value` from `day` on; days never go backwards."""
        if self.days and self.days[-1] == day:
            self.values[-1] = value
        else:
            self.days.append(day)
            self.values.append(value)

    def on(self, day: date) -> F:
        """Give the value on a day, what took effect that day included."""
        index = bisect_right(self.days, day)
        return self.values[index - 1] if index else self.before

    def until(self, day: date) -> F:
        """Give the value just before a day began."""
        index = bisect_left(self.days, day)
        return self.values[index - 1] if index else self.before


def steps(facts: Iterable[Fact[S]], zero: S) -> Steps[S]:
    """Fold facts into the value from each of their days on."""
    result = Steps(zero)
    value = zero
    for day, on_the_day in groupby(
        sorted(facts, key=lambda fact: (fact.day, fact.position)), key=lambda fact: fact.day
    ):
        for fact in on_the_day:
            if not fact.sets:
                value = value + fact.value
            else:
                value = fact.value if fact.since is None else result.until(fact.since) + fact.value
        result.step(day, value)
    return result


def choices(facts: Iterable[tuple[date, int, F]], before: F) -> Steps[F]:
    """Fold set-points (day, position, value) of anything that is not summed: a role, a coalition, terms."""
    result = Steps(before)
    for day, _, value in sorted(facts, key=lambda fact: fact[:2]):
        result.step(day, value)
    return result


def changes(function: Steps[S]) -> dict[date, S]:
    """Give what a step function adds on each of its days; days that add nothing are left out."""
    result: dict[date, S] = {}
    last = function.before
    for day, value in function:
        if change := value - last:
            result[day] = change
        last = value
    return result


def difference(before: Mapping[K, S], after: Mapping[K, S]) -> dict[K, S]:
    """Give what has to be added to `before`, key by key, to make it `after`; keys that change nothing are left out."""
    result: dict[K, S] = {}
    for key, value in after.items():
        old = before.get(key)
        if change := value if old is None else value - old:
            result[key] = change
    for key, value in before.items():
        if key not in after and (change := value - value - value):
            result[key] = change
    return result
