"""What is summed beforehand and what is added or taken off makes exactly the days and positions that were asked for."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.projections.read_models.coalition_totals import FAN, Strip, blocks_of, days_of, years_of

BEGINNING = date(2023, 12, 1)
HALF_A_YEAR = 184  # days
DAYS = [BEGINNING + timedelta(days=n) for n in range(480)]


def covered(start: date, end: date, strips: list[Strip]) -> Counter[date]:
    """How often each day is counted."""
    counted = Counter({day: 1 for day in DAYS if start <= day.replace(day=1) < end})
    for strip in strips:
        assert strip.first <= strip.last
        counted.update({day: strip.sign for day in DAYS if strip.first <= day <= strip.last})
    return +counted if min(counted.values(), default=0) >= 0 else counted


@given(on=st.sampled_from(DAYS), since=st.none() | st.sampled_from(DAYS))
def test_days_asked_for_are_counted_once_and_no_others(on: date, since: date | None) -> None:
    if since is not None and since > on:
        since, on = on, since
    wanted = {day for day in DAYS if day <= on and (since is None or day >= since)}
    assert covered(*days_of(since, on)) == Counter(wanted)


@given(on=st.sampled_from(DAYS), since=st.none() | st.sampled_from(DAYS))
def test_no_strip_is_longer_than_half_a_month(on: date, since: date | None) -> None:
    if since is not None and (since > on or since.replace(day=1) == on.replace(day=1)):
        since = None
    assert all((strip.last - strip.first).days < 16 for strip in days_of(since, on)[2])


@given(on=st.sampled_from(DAYS), since=st.none() | st.sampled_from(DAYS))
def test_months_asked_for_are_counted_once_and_no_others(on: date, since: date | None) -> None:
    start, end = (since or BEGINNING).replace(day=1), on.replace(day=1)
    if start > end:
        start, end = end, start
    first, last, strips = years_of(start, end)
    counted = Counter({day: 1 for day in DAYS if first <= day.replace(month=1, day=1) < last})
    for strip in strips:
        assert strip.first <= strip.last
        counted.update({day: strip.sign for day in DAYS if strip.first <= day.replace(day=1) <= strip.last})
    assert counted == Counter({day: 1 for day in DAYS if start <= day < end})
    assert all((strip.last - strip.first).days <= HALF_A_YEAR for strip in strips) or start.year == end.year


@given(full=st.integers(min_value=0, max_value=5_000))
def test_full_blocks_are_taken_in_as_large_ones_as_there_are(full: int) -> None:
    found = blocks_of(full)
    covered = Counter(n for level, block in found for n in range(block * FAN**level, (block + 1) * FAN**level))
    assert covered == Counter(range(full))
    levels = Counter(level for level, _ in found)
    assert all(count < FAN for count in levels.values())


def test_the_last_months_there_are_can_be_asked_for() -> None:
    assert years_of(date.min, date(9999, 12, 1)) == (
        date.min,
        date(9999, 1, 1),
        [Strip(date(9999, 1, 1), date(9999, 11, 30))],
    )
    assert years_of(date.min, date.min) == (date.min, date.min, [])


def test_the_last_day_there_is_can_be_asked_for() -> None:
    assert days_of(None, date.max) == (date.min, date(9999, 12, 1), [Strip(date(9999, 12, 1), date.max)])
    assert days_of(date(9999, 11, 30), date.max)[1:] == (
        date(9999, 12, 1),
        [Strip(date(9999, 12, 1), date.max), Strip(date(9999, 11, 30), date(9999, 11, 30))],
    )
