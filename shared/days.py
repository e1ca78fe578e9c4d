"""Days as they are said: a day, a month or a year; each takes effect on the last day of its period."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date
from functools import lru_cache
from typing import Final, NewType

Said = NewType("Said", str)
"""`2024-02-15`, `2024-02` or `2024`, kept as it was said."""

SAID: Final = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?")


class NotADay(ValueError):
    """What was given is no day, month or year of the calendar."""


def said(text: str) -> Said:
    """Check that a text is a day, month or year that exists. Raises NotADay."""
    last_day(Said(text))
    return Said(text)


@lru_cache(maxsize=4_096)  # every command asks for the same few days several times
def last_day(text: Said) -> date:
    """Give the day on which something said to happen then takes effect: the last of its period."""
    year, month, day = _parts(text)
    if month is None:
        return date(year, 12, 31)
    return date(year, month, day or monthrange(year, month)[1])


def first_day(text: Said) -> date:
    """Give the first day of the period that was said."""
    year, month, day = _parts(text)
    return date(year, month or 1, day or 1)


def _parts(text: str) -> tuple[int, int | None, int | None]:
    match = SAID.fullmatch(text)
    if match is None:
        msg = f"{text[:40]!r} is not a day (2024-02-15), a month (2024-02) or a year (2024)"
        raise NotADay(msg)
    year, month, day = (None if part is None else int(part) for part in match.groups())
    assert year is not None  # noqa: S101  # the pattern always has a year
    try:
        date(year, month or 1, day or 1)
    except ValueError as unreal:
        msg = f"{text} does not exist in the calendar"
        raise NotADay(msg) from unreal
    return year, month, day
