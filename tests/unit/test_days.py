"""rules.md 8: a day, a month or a year, as it was said."""

from __future__ import annotations

from datetime import date

import pytest

from shared.days import NotADay, Said, first_day, last_day, said


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2024-02-15", date(2024, 2, 15), date(2024, 2, 15)),
        ("2024-02", date(2024, 2, 1), date(2024, 2, 29)),
        ("2024", date(2024, 1, 1), date(2024, 12, 31)),
    ],
)
def test_a_period_takes_effect_on_its_last_day(text: str, first: date, last: date) -> None:
    assert (first_day(Said(text)), last_day(Said(text))) == (first, last)


@pytest.mark.parametrize(
    "text", ["2023-02-29", "2024-13", "0000", "2024-2-1", "15.02.2024", "", "2024-02-15T00:00:00Z", "٢٠٢٤"]
)
def test_what_the_calendar_does_not_have_is_no_day(text: str) -> None:
    with pytest.raises(NotADay):
        said(text)
