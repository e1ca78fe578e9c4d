"""Exchange rates as they were published, and amounts valued by them."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given as for_any
from hypothesis import strategies as st

from services.projections.rates import ECB, NotRates, Published, Rates, convert, load, records, rounded
from services.projections.valued import Step, Valued, by_day, by_posting, in_coins
from shared.amounts import Vector

MONDAY, FRIDAY = date(2024, 3, 4), date(2024, 3, 1)


def of_days(**rates: dict[date, str]) -> Rates:
    days = sorted({day for said in rates.values() for day in said})
    lines = [",".join([day.isoformat(), *(said.get(day, "N/A") for said in rates.values())]) for day in days]
    return Rates("of this test", Published({code: n for n, code in enumerate(rates, 1)}, days, lines))


TWO_DAYS = of_days(USD={FRIDAY: "2", MONDAY: "4"}, GBP={FRIDAY: "0.5"})


def valued(*steps: tuple[date, str, int], to: str = "EUR", rates: Rates = TWO_DAYS) -> Valued[str]:
    return by_posting(
        [Step(day, unit, unit, Vector(low=Decimal(low), high=Decimal(low), pledges=1)) for day, unit, low in steps],
        to,
        rates,
    )


def test_the_rates_of_the_european_central_bank_are_in_the_wheel() -> None:
    rates = load()
    found = rates.of("USD", date(1999, 1, 4))
    assert found is not None
    assert (found.per_euro, found.published_on, found.source) == (Decimal("1.1789"), date(1999, 1, 4), ECB)


def test_of_a_weekend_the_last_rate_before_it_counts() -> None:
    found = load().of("USD", date(2024, 3, 3))
    assert found is not None
    assert found.published_on == date(2024, 3, 1)


@pytest.mark.parametrize(
    ("currency", "day"),
    [("HRK", date(2023, 6, 1)), ("RUB", date(2022, 4, 1)), ("UAH", date(2024, 3, 1)), ("USD", date(1998, 12, 31))],
    ids=["a series that ended", "another", "a currency without a series", "before the first day"],
)
def test_what_nobody_published_has_no_rate(currency: str, day: date) -> None:
    assert load().of(currency, day) is None


def test_a_rate_of_ones_own_holds_for_its_days_and_names_its_source(tmp_path: Path) -> None:
    own = tmp_path / "rates.csv"
    own.write_text(
        "currency,rate,per,day,until,source\n"
        "# one line a rate\n"
        "UAH,40.5,EUR,2024-03-01,2024-03-31,National Bank\n"
        "UAH,37.5,USD,2024-04-02,,National Bank\n"
    )
    rates = load(own)
    found = rates.of("UAH", date(2024, 3, 31))
    assert found is not None
    assert (found.per_euro, found.published_on, found.source) == (Decimal("40.5"), date(2024, 3, 1), "National Bank")
    assert rates.of("UAH", date(2024, 4, 1)) is None
    by_dollar, dollar = rates.of("UAH", date(2024, 4, 12)), rates.of("USD", date(2024, 4, 2))
    assert by_dollar is not None
    assert dollar is not None
    assert by_dollar.per_euro == Decimal("37.5") * dollar.per_euro
    assert rates.of("UAH", date(2024, 4, 13)) is None
    assert rates.name != load().name


@pytest.mark.parametrize(
    "line",
    [
        "UAH,0,EUR,2024-03-01,,x",
        "UAH,-1,EUR,2024-03-01,,x",
        "XYZ,1,EUR,2024-03-01,,x",
        "UAH,1,EUR,1 March,,x",
        "UAH,1,EUR,2024-03-01,,",
        "UAH",
    ],
)
def test_a_file_of_rates_that_cannot_be_read_says_where(line: str) -> None:
    with pytest.raises(NotRates, match="rate 1"):
        records(["currency,rate,per,day,until,source", line])


def test_a_file_of_rates_says_its_columns() -> None:
    with pytest.raises(NotRates, match="currency,rate,per,day,until,source"):
        records(["day,rate"])


def test_a_cross_rate_goes_by_way_of_the_euro() -> None:
    pound, dollar = TWO_DAYS.of("GBP", FRIDAY), TWO_DAYS.of("USD", FRIDAY)
    assert pound is not None
    assert dollar is not None
    assert convert(Decimal(10), pound, dollar) == 40


@pytest.mark.parametrize(
    ("value", "currency", "coins"),
    [("1.005", "EUR", "1.00"), ("1.015", "EUR", "1.02"), ("2.5", "JPY", "2"), ("1.0005", "KWD", "1.000")],
)
def test_a_sum_is_rounded_once_to_the_smallest_unit_half_to_even(value: str, currency: str, coins: str) -> None:
    assert rounded(Decimal(value), currency) == Decimal(coins)


def test_each_posting_counts_by_the_rate_of_its_day() -> None:
    found = valued((FRIDAY, "USD", 100), (MONDAY, "USD", 100))
    assert found.values["USD"].low == 75
    assert {(rate.currency, rate.published_on) for rate in found.used} == {("USD", FRIDAY), ("USD", MONDAY)}


def test_what_is_taken_back_goes_at_the_average_of_what_it_was_added_at() -> None:
    assert valued((FRIDAY, "USD", 100), (MONDAY, "USD", -50)).values["USD"].low == 25
    both = valued((FRIDAY, "USD", 100), (MONDAY, "USD", 100), (MONDAY, "USD", -100)).values["USD"]
    assert both.low == Decimal("37.5")


def test_what_ended_leaves_nothing_behind_whatever_the_rates_did() -> None:
    assert valued((FRIDAY, "USD", 100), (MONDAY, "USD", -100)).values["USD"].low == 0


def test_what_falls_below_nothing_begins_anew_at_the_rate_of_that_day() -> None:
    assert valued((FRIDAY, "USD", 100), (MONDAY, "USD", -140)).values["USD"].low == -10


def test_one_missing_rate_leaves_the_whole_stock_unconverted_and_says_which() -> None:
    found = valued((FRIDAY, "USD", 100), (date(2024, 4, 1), "USD", 5), (FRIDAY, "GBP", 7))
    assert found.values == {"GBP": Vector(low=Decimal(14), high=Decimal(14), pledges=1)}
    unit, said, lacks = found.unconverted["USD"]
    assert (unit, said.low, lacks) == ("USD", 105, ("USD", date(2024, 4, 1)))


def test_what_is_not_there_any_more_needs_no_rate() -> None:
    gone = valued((date(2020, 1, 1), "USD", 100), (date(2020, 1, 2), "USD", -100))
    assert gone.unconverted["USD"][1].pledges == 2  # still counted as two postings of this test
    steps = [Step(date(2020, 1, day), "x", "USD", Vector(low=Decimal(low))) for day, low in ((1, 100), (2, -100))]
    assert by_posting(steps, "EUR", TWO_DAYS).unconverted == {}


def test_everything_may_count_by_the_rate_of_one_day() -> None:
    stocks = {"a": ("USD", Vector(low=Decimal(100))), "b": ("EUR", Vector(low=Decimal(1)))}
    found = by_day(stocks, "EUR", TWO_DAYS, MONDAY)
    assert {key: value.low for key, value in found.values.items()} == {"a": 25, "b": 1}


@for_any(st.lists(st.tuples(st.sampled_from([FRIDAY, MONDAY]), st.integers(-500, 500)), max_size=12))
def test_by_a_rate_that_stands_still_a_sum_converts_as_its_parts(changes: list[tuple[date, int]]) -> None:
    still = of_days(USD={FRIDAY: "3", MONDAY: "3"})
    steps = [Step(day, "x", "USD", Vector(low=Decimal(low))) for day, low in sorted(changes)]
    found = by_posting(steps, "EUR", still).values
    whole = Decimal(sum(low for _, low in changes))
    value = found.get("x", Vector())
    assert in_coins(value, "EUR").low == rounded(whole / 3, "EUR")
    assert (not value.low) == (not whole)
