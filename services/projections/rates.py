"""Exchange rates as they were published: the European Central Bank's since 1999, and those an operator adds.

A conversion is a view of amounts that stay as they were said. It names its source, its day and its rate; where nobody
published a rate for the day, there is none, and what it would have converted is counted as unconverted.
"""

from __future__ import annotations

import csv
import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import cache
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import pycountry
from babel.numbers import get_currency_precision

from shared.amounts import NotAnAmount, number
from shared.days import NotADay, Said, first_day

EURO: Final = "EUR"
ECB: Final = "ECB euro foreign exchange reference rates"

HOLDS: Final = timedelta(days=10)
"""How long a rate stands in for the days after it that have none: weekends and holidays, never a series that ended."""

EXACT: Final = Context(prec=34, rounding=ROUND_HALF_EVEN)
"""Amounts have 24 digits at most and rates 12: what is computed is exact to far below the smallest coin."""

COLUMNS: Final = ("currency", "rate", "per", "day", "until", "source")


class NotRates(ValueError):
    """A file of rates cannot be read as one."""


@dataclass(frozen=True, slots=True, order=True)
class Rate:
    """So many units of `currency` for one euro, as published for a day by a source."""

    currency: str
    published_on: date
    per_euro: Decimal
    source: str


@dataclass(frozen=True, slots=True)
class Record:
    """A rate of one's own: so many units of a currency for one unit of `per`, from a day until another."""

    day: date
    until: date
    rate: Decimal
    per: str
    source: str


@dataclass(frozen=True, slots=True)
class Published:
    """The ECB's file: its days in order, and the line of each, in which a currency has the column that it has.

    It is read where it is asked: two hundred thousand rates would take 25 MB as numbers.
    """

    columns: Mapping[str, int]
    days: Sequence[date]
    lines: Sequence[str]

    def last(self, currency: str, day: date) -> tuple[date, Decimal] | None:
        """Give the last rate of a currency that was published by a day, and when, if it still holds."""
        column = self.columns.get(currency)
        if column is None:
            return None
        for place in range(bisect_right(self.days, day) - 1, -1, -1):
            if day - self.days[place] > HOLDS:
                break
            rate = self.lines[place].split(",")[column]
            if rate not in ("", "N/A"):
                return self.days[place], Decimal(rate)
        return None


@dataclass(frozen=True)
class Rates:
    """All rates that this process knows. `name` changes when any of them does."""

    name: str
    ecb: Published
    own: Mapping[str, tuple[Record, ...]] = field(default_factory=dict)  # latest last

    def of(self, currency: str, day: date) -> Rate | None:
        """Give the rate of a currency on a day: the last published by then, if that still holds.

        A record of one's own goes before what the ECB says, in the days for which it is.
        """
        if currency == EURO:
            return Rate(EURO, day, Decimal(1), "by definition")
        for record in reversed(self.own.get(currency, ())):
            if record.day <= day <= record.until:
                base = (record.day, Decimal(1)) if record.per == EURO else self.ecb.last(record.per, record.day)
                if base is not None:
                    return Rate(currency, record.day, EXACT.multiply(record.rate, base[1]), record.source)
        found = self.ecb.last(currency, day)
        return None if found is None else Rate(currency, *found, ECB)


def convert(value: Decimal, given: Rate, wanted: Rate) -> Decimal:
    """Give a value in another currency, unrounded: by way of the euro, as the ECB's rates are."""
    if given.currency == wanted.currency:
        return value
    return EXACT.divide(EXACT.multiply(value, wanted.per_euro), given.per_euro)


def rounded(value: Decimal, currency: str) -> Decimal:
    """Round a converted sum to the currency's smallest unit, half to even: once, after everything is added."""
    return value.quantize(Decimal(1).scaleb(-get_currency_precision(currency)), ROUND_HALF_EVEN, EXACT)


@cache
def currencies() -> frozenset[str]:
    """Give the codes of ISO 4217."""
    return frozenset(currency.alpha_3 for currency in pycountry.currencies)


def load(own: Path | None = None) -> Rates:
    """Read the ECB's rates out of the wheel that carries them, and one's own from a file. Raises NotRates."""
    packed = files("currency_converter").joinpath("eurofxref-hist.zip").read_bytes()
    added = b"" if own is None else own.read_bytes()
    name = hashlib.sha256(packed + added).hexdigest()[:12]
    return Rates(name, _ecb(packed), {} if own is None else records(added.decode("utf-8-sig").splitlines()))


@cache
def _ecb(packed: bytes) -> Published:
    """Read the ECB's file: a column for each currency, a line for each day on which rates were published."""
    with ZipFile(BytesIO(packed)) as archive:
        head, *lines = archive.read(archive.namelist()[0]).decode().splitlines()
    lines.sort()  # each begins with its day
    columns = {code: n for n, code in enumerate(head.split(",")) if n and code}
    return Published(columns, [date.fromisoformat(line[:10]) for line in lines], lines)


def records(lines: Iterable[str]) -> dict[str, tuple[Record, ...]]:
    """Read rates of one's own from the lines of a CSV file with the columns of COLUMNS. Raises NotRates."""
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise NotRates(f"the first line of a file of rates is {','.join(COLUMNS)}")
    found: dict[str, list[Record]] = {}
    for n, row in enumerate(rows, start=1):
        try:
            currency, record = _record(row)
        except (ValueError, NotAnAmount, NotADay) as wrong:
            raise NotRates(f"rate {n}: {wrong}") from wrong
        found.setdefault(currency, []).append(record)
    return {currency: tuple(sorted(said, key=lambda one: one.day)) for currency, said in found.items()}


def _record(row: Mapping[str, str | None]) -> tuple[str, Record]:
    currency, rate, per, day, until, source = (((row[name] or "").strip()) for name in COLUMNS)
    for code in (currency, per):
        if code not in currencies():
            raise ValueError(f"{code!r} is no currency of ISO 4217")
    if not source:
        raise ValueError("a rate names its source")
    value, since = number(rate), first_day(Said(day))
    if not value:
        raise ValueError("a rate is not zero")
    return currency, Record(since, first_day(Said(until)) if until else since + HOLDS, value, per, source)


def spell(rates: Iterable[Rate]) -> Iterator[dict[str, object]]:
    """Show rates: what was published, when, by whom."""
    for rate in sorted(rates):
        yield {
            "currency": rate.currency,
            "per": EURO,
            "rate": f"{rate.per_euro:f}",
            "published_on": rate.published_on,
            "source": rate.source,
        }
