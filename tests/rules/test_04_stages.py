"""Rule 4: stages."""

from __future__ import annotations

import pytest

from shared.days import Said
from shared.events.pledges import (
    PledgeAllocated,
    PledgeCommitted,
    PledgeContracted,
    PledgeLapsed,
    PledgePaid,
    PledgeWithdrawn,
    StageReached,
)
from shared.measures import STAGES, Stage
from tests.examples import A_SOURCE, a_delivery, a_pledge, confirmed, disputed, pieces, reversed_
from tests.given import given, totals

SO_FAR: tuple[type[StageReached], ...] = (PledgeCommitted, PledgePaid, PledgeAllocated, PledgeContracted)


def reached(kind: type[StageReached], count: int, on: str) -> StageReached:
    return kind(pledge="x", on=Said(on), amount=pieces(count), sources=A_SOURCE)


@pytest.mark.parametrize("kind", SO_FAR, ids=[kind.STAGE for kind in SO_FAR])
def test_rule_4_a_stage_so_far_replaces_what_it_was(kind: type[StageReached]) -> None:
    found = totals(
        given(a_pledge("x", pieces(500)), reached(kind, 100, "2024-03-01"), reached(kind, 250, "2024-04-01"))
    )
    assert found.interval(kind.STAGE, on="2024-03-31") == (100, 100)
    assert found.interval(kind.STAGE) == (250, 250)


@pytest.mark.parametrize("kind", SO_FAR, ids=[kind.STAGE for kind in SO_FAR])
def test_rule_4_a_stage_holds_only_what_was_reported_for_it(kind: type[StageReached]) -> None:
    found = totals(given(a_pledge("x", pieces(500)), reached(kind, 100, "2024-03-01")))
    there = {row.stage for row in found.rows()}
    assert there == {"pledged", kind.STAGE}


def test_rule_4_pledged_is_absent_when_the_first_news_was_a_later_stage() -> None:
    found = totals(given(a_pledge("x", None), reached(PledgeContracted, 100, "2024-03-01")))
    assert {row.stage for row in found.rows()} == {"contracted"}


def test_rule_4_deliveries_are_increments() -> None:
    found = totals(given(a_pledge("x", pieces(500)), a_delivery("d1", pieces(100)), a_delivery("d2", pieces(35))))
    assert found.interval("delivered") == (135, 135)


def test_rule_4_so_far_is_a_set_point_5_000_and_not_5_635() -> None:
    batches = {"2024-05-31": 135, "2024-07-05": 4_000, "2024-09-01": 1_500}
    found = totals(
        given(
            a_pledge("x", pieces(at_least=1), by="LVA"),
            *(a_delivery(f"on-{on}", pieces(count), on=on, reported_by="LVA") for on, count in batches.items()),
            a_delivery("year", pieces(about=5000), on="2024-12-31", covers="so_far", reported_by="LVA"),
        )
    )
    assert found.interval("delivered", on="2024-12-30") == (5635, 5635)
    assert found.interval("delivered") == (5000, 5000)


def test_rule_4_confirming_posts_on_the_day_of_confirmation_and_delivered_keeps_the_claim() -> None:
    found = totals(
        given(a_pledge("x", pieces(500)), a_delivery("d1"), confirmed("d1", on="2024-07-01", said=pieces(90)))
    )
    assert found.interval("confirmed", on="2024-06-30") == (0, 0)
    assert (found.interval("delivered"), found.interval("confirmed")) == ((100, 100), (90, 90))


def test_rule_4_disputed_may_be_nothing_until_it_is_confirmed_again() -> None:
    ledger = given(
        a_pledge("x", pieces(500)), a_delivery("d1"), confirmed("d1", on="2024-06-02"), disputed("d1", on="2024-07-01")
    )
    assert totals(ledger).interval("delivered") == (0, 100)
    assert totals(ledger).interval("confirmed") == (0, 0)
    settled = ledger.and_given(confirmed("d1", on="2024-08-01", said=pieces(80)))
    assert totals(settled).interval("delivered") == (100, 100)
    assert totals(settled).interval("confirmed") == (80, 80)
    assert totals(settled).interval("delivered", on="2024-07-31") == (0, 100)


def test_rule_4_reversed_ends_both_on_that_day() -> None:
    found = totals(
        given(
            a_pledge("x", pieces(500)),
            a_delivery("d1"),
            confirmed("d1", on="2024-06-02"),
            reversed_("d1", on="2024-07-01"),
        )
    )
    for stage in ("delivered", "confirmed"):
        assert found.interval(stage, on="2024-06-30") == (100, 100)
        assert found.interval(stage) == (0, 0)


@pytest.mark.parametrize("kind", [PledgeWithdrawn, PledgeLapsed])
def test_rule_4_what_ended_promises_nothing_from_that_day_and_what_was_delivered_stays(
    kind: type[PledgeWithdrawn | PledgeLapsed],
) -> None:
    ledger = given(
        a_pledge("x", pieces(500)),
        *(reached(stage, 200, "2024-03-01") for stage in SO_FAR),
        a_delivery("d1", on="2024-04-01"),
        confirmed("d1", on="2024-04-02"),
        kind(pledge="x", on=Said("2024-05-01"), reason="the budget", sources=A_SOURCE),
    )
    found = totals(ledger)
    before: dict[Stage, int] = dict.fromkeys(STAGES, 200) | {"pledged": 500, "delivered": 100, "confirmed": 100}
    del before["produced"]
    assert {row.stage: vector.low for row, vector in found.rows(on="2024-04-30").items()} == before
    assert {row.stage: vector.low for row, vector in found.rows().items()} == {"delivered": 100, "confirmed": 100}
    assert totals(ledger.and_given(a_delivery("late", pieces(7), on="2024-06-01"))).interval("delivered") == (107, 107)
