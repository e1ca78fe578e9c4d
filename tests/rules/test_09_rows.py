"""Rule 9: rows."""

from __future__ import annotations

from itertools import product
from typing import get_args

from shared.measures import FinanceType
from tests.examples import a_delivery, a_pledge, euros, pieces
from tests.given import given, totals


def test_rule_9_capability_unit_stage_and_finance_type_are_never_mixed() -> None:
    kinds = list(product(("drone", "drone.fpv"), (pieces(1), euros(1)), (None, *get_args(FinanceType))))
    ledger = given(
        *(
            a_pledge(f"p{n}", said, capability=capability, finance_type=finance)
            for n, (capability, said, finance) in enumerate(kinds)
        )
    )
    rows = totals(ledger).rows()
    assert len(rows) == len(kinds) == 20
    assert {(row.capability, row.unit, row.finance_type or None) for row in rows} == {
        (capability, said.unit, finance) for capability, said, finance in kinds
    }
    assert all(vector.low == 1 for vector in rows.values())


def test_rule_9_surplus_is_what_came_above_the_pledged_high_pledge_by_pledge() -> None:
    ledger = given(
        a_pledge("x", pieces(between=(80, 100))),
        a_pledge("y", pieces(1000)),
        a_pledge("z", pieces(at_least=1)),
        a_delivery("d1", pieces(130), of="x"),
        a_delivery("d1", pieces(10), of="y"),
        a_delivery("d1", pieces(99), of="z"),
    )
    total = totals(ledger).total("delivered")
    assert (total.low, total.surplus) == (239, 30)


def test_rule_9_conditional_is_the_part_that_hangs_on_conditions() -> None:
    total = totals(given(a_pledge("x", euros(100), conditions="if approved"), a_pledge("y", euros(50)))).total(
        "pledged", "EUR"
    )
    assert (total.low, total.conditional) == (150, 100)
