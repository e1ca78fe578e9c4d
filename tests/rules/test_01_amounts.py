"""Rule 1: amounts add as vectors."""

from __future__ import annotations

import pytest

from shared.amounts import Amount
from shared.days import Said
from shared.events.pledges import Also, PledgeAllocated
from tests.examples import A_SOURCE, a_delivery, a_pledge, euros, pieces, revised
from tests.given import given, totals


@pytest.mark.parametrize(
    ("said", "vector"),  # low, high, open, unknown, about
    [
        (pieces(500), (500, 500, 0, 0, 0)),
        (pieces(about=5000), (5000, 5000, 0, 0, 1)),
        (pieces(at_least=85_000), (85_000, 0, 1, 0, 0)),
        (pieces(over=85_000), (85_000, 0, 1, 0, 0)),
        (pieces(at_most=1000), (0, 1000, 0, 0, 0)),
        (pieces(almost=500), (450, 500, 0, 0, 1)),
        (pieces(between=(4, 6)), (4, 6, 0, 0, 0)),
        (pieces("thousands"), (2000, 0, 1, 0, 0)),
        (pieces("tens of thousands"), (20_000, 0, 1, 0, 0)),
        (pieces("hundreds of thousands"), (200_000, 0, 1, 0, 0)),
        (pieces(undisclosed=True), (0, 0, 0, 1, 0)),
    ],
)
def test_rule_1_what_is_said_posts_its_vector(said: Amount, vector: tuple[object, ...]) -> None:
    found = totals(given(a_pledge("x", said))).total("pledged")
    assert (found.low, found.high, found.open, found.unknown, found.about) == vector
    assert found.pledges == 1


def test_rule_1_thousands_revised_to_ten_thousand_post_the_difference_of_vectors() -> None:
    ledger = given(a_pledge("x", pieces("thousands")), revised("x", pieces(10_000), on="2024-03-01"))
    second = [vector for position, _, _, vector in totals(ledger).postings if position == 2]
    assert [(vector.low, vector.high, vector.open) for vector in second] == [(8000, 10_000, -1)]
    assert totals(ledger).interval("pledged") == (10_000, 10_000)


def test_rule_1_a_total_is_open_while_anything_in_it_is() -> None:
    ledger = given(a_pledge("x", pieces(at_least=5)), a_pledge("y", pieces(7)))
    assert totals(ledger).interval("pledged") == (12, None)


def test_rule_1_the_same_in_another_measure_posts_in_its_own_unit_in_every_stage() -> None:
    also = (Also(amount=euros(450)),)
    ledger = given(
        a_pledge("x", pieces(500), also=also),
        PledgeAllocated(pledge="x", on=Said("2024-03-01"), amount=pieces(500), also=also, sources=A_SOURCE),
        a_delivery("d1", pieces(500), also=also),
    )
    for stage in ("pledged", "allocated", "delivered"):
        assert totals(ledger).interval(stage) == (500, 500)
        assert totals(ledger).interval(stage, "EUR") == (450, 450)
