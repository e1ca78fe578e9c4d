"""rules.md 1: amounts add as vectors."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.amounts import ZERO, Amount, NotAnAmount, Vector, amount, as_said, number, spoken
from tests.examples import pieces

D = Decimal


@pytest.mark.parametrize(
    ("said", "low", "high", "about"),
    [
        (pieces(500), "500", "500", False),
        (pieces(about=5000), "5000", "5000", True),
        (pieces(at_least=85_000), "85000", None, False),
        (pieces(over=85_000), "85000", None, False),
        (pieces(at_most=1000), "0", "1000", False),
        (pieces(almost=500), "450", "500", True),
        (pieces(between=(4, 6)), "4", "6", False),
        (pieces("thousands"), "2000", None, False),
        (pieces("tens of thousands"), "20000", None, False),
        (pieces("hundreds of thousands"), "200000", None, False),
        (pieces("Tens  of Thousands"), "20000", None, False),
        (pieces(0), "0", "0", False),
    ],
)
def test_what_is_said_becomes_an_interval(said: Amount, low: str, high: str | None, about: bool) -> None:
    assert (said.low, said.high, said.about) == (D(low), None if high is None else D(high), about)
    assert not said.unknown


def test_thousands_open_the_high_of_a_total_until_they_are_counted() -> None:
    thousands, ten_thousand = pieces("thousands").vector, pieces(10_000).vector
    assert (thousands.low, thousands.high, thousands.open, thousands.bound) == (2000, 0, 1, None)
    revision = ten_thousand - thousands
    assert (revision.low, revision.high, revision.open) == (8000, 10_000, -1)
    assert (thousands + revision).bound == 10_000


def test_undisclosed_adds_only_to_the_count_of_unknowns() -> None:
    assert pieces(undisclosed=True).vector == Vector(unknown=1)
    total = pieces(500).vector + pieces(undisclosed=True).vector
    assert (total.low, total.bound, total.unknown) == (500, 500, 1)


def test_words_are_kept_as_said() -> None:
    assert amount("piece", "words", None, "Thousands").words == "Thousands"


@pytest.mark.parametrize("words", ["many", "", None, "a lot"])
def test_words_that_say_no_number_are_no_amount(words: str | None) -> None:
    with pytest.raises(NotAnAmount):
        amount("piece", "words", None, words)


def test_between_does_not_stand_upside_down() -> None:
    with pytest.raises(NotAnAmount, match="upside down"):
        pieces(between=(6, 4))


@pytest.mark.parametrize(
    "text", ["-1", "1e6", "NaN", "Infinity", "1,000", "", " 5", "5.", ".5", "1" * 19, "0.1234567", "٣"]
)
def test_only_plain_decimal_numbers_are_numbers(text: str) -> None:
    with pytest.raises(NotAnAmount):
        number(text)


@pytest.mark.parametrize(
    ("text", "value"), [("500.0", "500"), ("1000", "1000"), ("0.50", "0.5"), ("0.0", "0"), ("007", "7")]
)
def test_numbers_have_one_spelling(text: str, value: str) -> None:
    assert str(number(text)) == value


@pytest.mark.parametrize(
    "said",
    [
        pieces(500),
        pieces(about=5),
        pieces(between=(4, 6)),
        pieces("thousands"),
        pieces(undisclosed=True),
        pieces(over=85),
    ],
)
def test_an_amount_says_how_it_was_said(said: Amount) -> None:
    form = as_said(said)
    assert form.pop("unit") == "piece"
    assert len(form) == 1
    assert spoken(said)


VECTORS = st.builds(
    Vector,
    low=st.decimals(-10, 10, places=2),
    high=st.decimals(-10, 10, places=2),
    open=st.integers(-3, 3),
    unknown=st.integers(-3, 3),
    about=st.integers(-3, 3),
    pledges=st.integers(-3, 3),
    parts=st.integers(-3, 3),
    surplus=st.decimals(-10, 10, places=2),
    conditional=st.decimals(-10, 10, places=2),
)


@given(VECTORS, VECTORS, VECTORS)
def test_vectors_are_a_group(a: Vector, b: Vector, c: Vector) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + ZERO == a
    assert a - a == ZERO
    assert not a - a
    assert a - b == -(b - a)
    assert bool(a) == (a != ZERO)
