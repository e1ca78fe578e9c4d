"""Amounts of several currencies in one, as a view (pure).

What a pledge adds on a day counts by the rate of that day; what is taken from it later goes at the average of what it
was added at. So an old amount does not drift, and what ended or went back leaves nothing behind. Or everything counts
by the rate of one day.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Generic, Literal, NamedTuple, TypeVar

from services.projections.rates import EXACT, Rate, Rates, convert, rounded
from shared.amounts import ZERO, Vector

K = TypeVar("K")
RateOn = Literal["posting", "on"]
"""The day whose rate counts: that of each posting, or that of the answer."""


class Step(NamedTuple, Generic[K]):
    """What a day adds to a stock: one pledge's part of one row, in one currency."""

    day: date
    stock: K
    unit: str
    change: Vector


@dataclass(slots=True)
class Stock:
    """What stands of one pledge in one row: as said, and converted; None once a rate was missing."""

    unit: str
    said: Vector = ZERO
    value: Vector | None = ZERO
    lacks: tuple[str, date] | None = None  # the first currency and day for which there was no rate

    def take(self, change: Vector, given: Rate | None, wanted: Rate | None, lacks: tuple[str, date]) -> None:
        """Add a change by the rates of its day."""
        if given is None or wanted is None:
            self.value, self.lacks = None, self.lacks or lacks
        if self.value is not None and given is not None and wanted is not None:
            before, said = self.value, self.said
            both = before + change if said is not ZERO else change  # of most stocks it is all there is
            self.value = both._replace(
                low=_moved(said.low, change.low, before.low, given, wanted),
                high=_moved(said.high, change.high, before.high, given, wanted),
                surplus=_moved(said.surplus, change.surplus, before.surplus, given, wanted),
                conditional=_moved(said.conditional, change.conditional, before.conditional, given, wanted),
            )
        self.said = self.said + change if self.said is not ZERO else change
        if not self.said:  # what is not there any more needs no rate
            self.value, self.lacks = ZERO, None


@dataclass(frozen=True, slots=True)
class Valued(Generic[K]):
    """Stocks in one currency: their values, and what of them could not be converted, as said and why."""

    values: Mapping[K, Vector]
    unconverted: Mapping[K, tuple[str, Vector, tuple[str, date]]]
    used: frozenset[Rate] = field(default=frozenset())


def by_posting(steps: Iterable[Step[K]], to: str, rates: Rates) -> Valued[K]:
    """Convert each change by the rate of its day; `steps` are in the order of their days."""
    stocks: dict[K, Stock] = {}
    found: dict[tuple[str, date], tuple[Rate | None, Rate | None]] = {}  # the steps of a day have the same rates
    for day, name, unit, change in steps:
        stock = stocks.get(name)
        if stock is None:
            stock = stocks[name] = Stock(unit)
        rate = found.get((unit, day))
        if rate is None:
            rate = found[unit, day] = rates.of(unit, day), rates.of(to, day)
        given, wanted = rate
        stock.take(change, given, wanted, (unit if given is None else to, day))
    used = {rate for both in found.values() for rate in both if rate is not None and rate.currency != "EUR"}
    return _valued(stocks, used)


def by_day(values: Mapping[K, tuple[str, Vector]], to: str, rates: Rates, day: date) -> Valued[K]:
    """Convert what stands by the rate of one day."""
    stocks: dict[K, Stock] = {}
    used: set[Rate] = set()
    wanted = rates.of(to, day)
    for key, (unit, value) in values.items():
        given = rates.of(unit, day)
        stocks[key] = Stock(unit)
        used.update(rate for rate in (given, wanted) if rate is not None and rate.currency != "EUR")
        stocks[key].take(value, given, wanted, (unit if given is None else to, day))
    return _valued(stocks, used)


def _valued(stocks: Mapping[K, Stock], used: set[Rate]) -> Valued[K]:
    return Valued(
        {key: stock.value for key, stock in stocks.items() if stock.value is not None},
        {key: (stock.unit, stock.said, stock.lacks) for key, stock in stocks.items() if stock.lacks is not None},
        frozenset(used),
    )


def in_coins(value: Vector, currency: str) -> Vector:
    """Round a converted sum to the currency's smallest unit."""
    return value._replace(
        low=rounded(value.low, currency),
        high=rounded(value.high, currency),
        surplus=rounded(value.surplus, currency),
        conditional=rounded(value.conditional, currency),
    )


def _moved(said: Decimal, change: Decimal, value: Decimal, given: Rate, wanted: Rate) -> Decimal:
    """Give what a converted number becomes when what was said changes.

    Away from zero it moves by the rate of the day; towards zero it shrinks as what was said does, beyond it it begins
    anew.
    """
    if not change:
        return value
    after = said + change
    if not said or (said > 0) == (change > 0):
        return value + convert(change, given, wanted)
    if (after > 0) == (said > 0) and after:
        return EXACT.divide(EXACT.multiply(value, after), said)
    return convert(after, given, wanted) if after else Decimal(0)
