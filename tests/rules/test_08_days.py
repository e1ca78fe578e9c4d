"""Rule 8: days and times."""

from __future__ import annotations

from datetime import date

import pytest

from tests.examples import a_delivery, a_pledge, pieces
from tests.given import given, totals
from tests.rules.folded import flags, pledge


@pytest.mark.parametrize(("said", "last_day_before"), [("2024-06-15", 14), ("2024-06", 29)])
def test_rule_8_a_day_or_a_month_takes_effect_on_its_last_day(said: str, last_day_before: int) -> None:
    found = totals(given(a_pledge("x", pieces(500)), a_delivery("d1", pieces(7), on=said)))
    assert found.interval("delivered", on=date(2024, 6, last_day_before)) == (0, 0)
    assert found.interval("delivered", on=date(2024, 6, last_day_before + 1)) == (7, 7)


def test_rule_8_a_year_takes_effect_on_its_last_day_and_is_kept_as_it_was_said() -> None:
    ledger = given(a_pledge("x", pieces(500)), a_delivery("d1", pieces(7), on="2024"))
    assert totals(ledger).interval("delivered", on="2024-12-30") == (0, 0)
    assert totals(ledger).interval("delivered", on="2024-12-31") == (7, 7)
    assert [one.report.delivered_on for one in pledge(ledger).deliveries(date(2024, 12, 31))] == ["2024"]


def test_rule_8_days_ahead_are_accepted_and_flagged_and_count_only_from_then_on() -> None:
    ledger = given(a_pledge("x", pieces(500)))
    ahead = a_delivery("d1", pieces(7), on="2025-03-01")
    ledger.when(ahead).flagged("future-dated")
    assert flags(ledger.and_given(ahead)) == ["future-dated"]
    assert totals(ledger.and_given(ahead)).interval("delivered") == (0, 0)
    assert totals(ledger.and_given(ahead)).interval("delivered", on="2025-03-01") == (7, 7)
