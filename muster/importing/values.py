"""What the cells of a spreadsheet say: numbers, days, amounts. Each raises ValueError with the words for the report."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final

Json = Any

SPACES: Final = dict.fromkeys(map(ord, " \u00a0\u2009\u202f'\u2019"))
"""What stands between groups of digits in some countries, whatever the file's separators are."""

SYMBOLS: Final = {"€": "EUR", "£": "GBP", "$": "USD", "¥": "JPY", "₴": "UAH"}
TIMES: Final = {
    "thousand": 3, "k": 3, "tsd": 3,
    "million": 6, "millions": 6, "mn": 6, "mio": 6, "m": 6,
    "billion": 9, "billions": 9, "bn": 9, "mrd": 9,
}  # fmt: skip
DECIMALS: Final = 6
"""What the ledger keeps after the point."""

NUMERAL: Final = re.compile(r"([+-]?)(\d[\d.,]*|[.,]\d+)(e[+-]?\d{1,2})?\s*([a-z]*)\.?", re.IGNORECASE)
MEANS: Final = (
    ("about", re.compile(r"(?:about|approx(?:imately|\.)?|around|roughly|circa|ca\.?|~|≈)\s*", re.IGNORECASE)),
    ("at_least", re.compile(r"(?:at least|minimum|min\.?|>=|≥)\s*", re.IGNORECASE)),
    ("over", re.compile(r"(?:over|more than|above|>)\s*", re.IGNORECASE)),
    ("at_most", re.compile(r"(?:up to|at most|maximum|max\.?|<=|≤)\s*", re.IGNORECASE)),
    ("almost", re.compile(r"(?:almost|nearly|just under)\s*", re.IGNORECASE)),
)
BETWEEN: Final = re.compile(
    r"(?:between\s+)?(.+?)\s*(?:\band\b|\bto\b|\u2013|\u2014|(?<=[\da-z])-)\s*(.+)", re.IGNORECASE
)
VAGUE: Final = ("thousands", "tens of thousands", "hundreds of thousands")

SERIAL_FROM: Final = date(1899, 12, 30)
"""Day 0 of a spreadsheet, such that all days since March 1900 come out right."""
SERIALS: Final = range(10_000, 80_000)  # 1927 to 2119; a number outside is no day
ISO_DAY: Final = re.compile(r"(\d{4}(?:-\d{2}(?:-\d{2})?)?)(?:[T ]\d{2}:\d{2}.*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelling:
    """How a file writes its numbers and days."""

    decimal: str = "."
    thousands: str = ","
    dates: tuple[str, ...] = ()  # as strptime takes them; ISO days are always understood; "serial" for day numbers
    undisclosed: tuple[str, ...] = ("undisclosed", "not disclosed", "unknown", "n/a", "tbd")


def number(text: str, spelling: Spelling) -> Decimal:
    """Read a number: 1,000,000.50 or 1.000.000,50 by the file's spelling, 1e6, 1.5 million."""
    bare = text.translate(SPACES)
    found = NUMERAL.fullmatch(bare)
    if found is None or (found[4] and found[4].lower() not in TIMES):
        raise ValueError(f"{text!r} is no number")
    sign, digits, power, word = found.groups()
    whole, point, fraction = digits.partition(spelling.decimal)
    if spelling.decimal in fraction or (point and spelling.thousands and spelling.thousands in fraction):
        raise ValueError(_written(text, spelling))
    groups = whole.split(spelling.thousands) if spelling.thousands else [whole]
    if len(groups) > 1 and (any(len(group) != 3 for group in groups[1:]) or not 1 <= len(groups[0]) <= 3):  # noqa: PLR2004  # a group has three digits
        raise ValueError(_written(text, spelling))
    plain = "".join(groups)
    if not (plain or fraction) or not f"{plain}{fraction}".isdecimal():
        raise ValueError(_written(text, spelling))
    try:
        value = Decimal(f"{sign}{plain or 0}.{fraction or 0}{power or ''}")
    except InvalidOperation:
        raise ValueError(f"{text!r} is no number") from None
    return value.scaleb(TIMES[word.lower()]) if word else value


def of_float(value: float) -> Decimal:
    """Give what a sheet's number means: 0.1 + 0.2 is stored as 0.30000000000000004 there, and is 0.3."""
    return round(Decimal(repr(value)), DECIMALS)


def _written(text: str, spelling: Spelling) -> str:
    marks = f"decimal {spelling.decimal!r}" + (f" and thousands {spelling.thousands!r}" if spelling.thousands else "")
    return f"{text!r} is no number where the mapping says {marks}"


def decimal_string(value: Decimal) -> str:
    """Write a number as the ledger takes it; the same number is always written the same."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def amount(text: str, unit: str, spelling: Spelling, qualifier: str = "exactly") -> tuple[dict[str, Json], bool]:
    """Read an amount as it was said: (amount as the ledger takes it, whether it was negative).

    A number alone has the qualifier that the mapping gives. Anything said beside the number is kept as words.
    """
    said = " ".join(text.split())
    if said.casefold() in {word.casefold() for word in spelling.undisclosed}:
        return {"unit": unit, "undisclosed": True} | ({"words": said} if said else {}), False
    if said.casefold() in VAGUE:
        return {"unit": unit, "words": said.casefold()}, False
    bare = _without_unit(said, unit)
    for name, pattern in MEANS:
        found = pattern.match(bare)
        if found:
            value = number(bare[found.end() :], spelling)
            _not_negative(value, text)
            return {"unit": unit, name: decimal_string(value), "words": said}, False
    try:
        value = number(bare, spelling)
    except ValueError:
        found = BETWEEN.fullmatch(bare)
        if found is None or bare.startswith("-"):
            raise
        high = number(found[2], spelling)
        word = re.search(r"[a-z]+\.?$", found[2], re.IGNORECASE)  # in "4 to 6 million" it goes with both
        low_said = f"{found[1]} {word[0]}" if word and found[1][-1].isdigit() else found[1]
        low = number(low_said, spelling)
        _not_negative(low, text)
        return {"unit": unit, "between": [decimal_string(low), decimal_string(high)], "words": said}, False
    return {"unit": unit, qualifier: decimal_string(abs(value))}, value < 0


def _not_negative(value: Decimal, text: str) -> None:
    if value < 0:
        raise ValueError(f"{text!r}: an amount is never negative")


def _without_unit(text: str, unit: str) -> str:
    """Take the unit away where it stands beside the number; another unit stays, and is no number."""
    for mark in (unit, *(symbol for symbol, code in SYMBOLS.items() if code == unit)):
        if text.upper().startswith(mark):
            return text[len(mark) :].strip()
        if text.upper().endswith(mark):
            return text[: -len(mark)].strip()
    return text


@lru_cache(4096)
def day(text: str, spelling: Spelling, *, serial: bool = False) -> str:
    """Read a day, a month or a year, and write it as the ledger takes it. `serial`: a bare number is a sheet's day."""
    bare = text.strip()
    for form in spelling.dates:
        if form == "serial":
            continue
        try:
            found = datetime.strptime(bare, form)  # noqa: DTZ007  # a day has no zone
        except ValueError:
            continue
        if found.year < 1000:  # noqa: PLR2004  # strptime takes "24" for %Y
            continue
        return found.strftime("%Y-%m-%d" if _has(form, "dejx") else "%Y-%m" if _has(form, "mbB") else "%Y")
    iso = ISO_DAY.fullmatch(bare)
    if iso is not None:
        return _real(iso[1], text)
    if (serial or "serial" in spelling.dates) and re.fullmatch(r"\d{5}(\.\d+)?", bare) and int(bare[:5]) in SERIALS:
        return (SERIAL_FROM + timedelta(days=int(bare[:5]))).isoformat()
    known = ", ".join((*spelling.dates, "2024-02-15, 2024-02, 2024"))
    raise ValueError(f"{text!r} is no day as the mapping knows them ({known})")


def _has(form: str, letters: str) -> bool:
    return any(f"%{letter}" in form for letter in letters)


def _real(said: str, text: str) -> str:
    try:
        date.fromisoformat((said + "-01-01")[:10])
    except ValueError:
        raise ValueError(f"{text!r} is no day of the calendar") from None
    return said
