"""Rule 5: what a pledge is to others."""

from __future__ import annotations

import pytest

from services.commitments.domain.refusals import Restates
from shared.days import Said
from shared.events.pledges import (
    PledgeAllocated,
    PledgeCommitted,
    PledgeContracted,
    PledgePaid,
    PledgeRelated,
    Relation,
    RelationKind,
    StageReached,
)
from shared.measures import Stage
from tests.examples import A_SOURCE, a_delivery, a_pledge, confirmed, euros, pieces
from tests.given import given, totals

STAGES: tuple[type[StageReached], ...] = (PledgeCommitted, PledgePaid, PledgeAllocated, PledgeContracted)
PROMISES: tuple[Stage, ...] = ("pledged", "committed", "paid")
FULFILMENTS: tuple[Stage, ...] = ("allocated", "contracted", "delivered", "confirmed")

RULES: tuple[tuple[RelationKind, bool, tuple[int, int] | None, tuple[int, int] | None], ...] = (
    ("new", True, (100, 100), (100, 100)),
    ("increase", True, (100, 100), (100, 100)),
    ("replaces", True, (100, 100), (100, 100)),
    ("part_of", True, None, (100, 100)),
    ("decrease", True, (-100, -100), (-100, -100)),
    ("unknown", True, (0, 100), (100, 100)),
    ("new", False, None, (100, 100)),
)


@pytest.mark.parametrize(("kind", "new_money", "promise", "fulfilment"), RULES)
@pytest.mark.parametrize("later", [False, True], ids=["from the start", "as it became known later"])
def test_rule_5_the_relation_decides_what_each_stage_posts(
    kind: RelationKind,
    new_money: bool,
    promise: tuple[int, int] | None,
    fulfilment: tuple[int, int] | None,
    later: bool,
) -> None:
    relation = Relation(kind=kind, of=("old",))
    related = [PledgeRelated(pledge="x", on=Said("2024-02-15"), relation=relation, sources=A_SOURCE)]
    ledger = given(
        a_pledge("old", pieces(100), by="NLD", announced_on="2024-02-01"),
        a_pledge("x", pieces(100), relation=None if later else relation, new_money=new_money),
        *(stage(pledge="x", on=Said("2024-03-01"), amount=pieces(100), sources=A_SOURCE) for stage in STAGES),
        a_delivery("d1", pieces(100)),
        confirmed("d1", on="2024-06-02"),
        *(related if later else ()),
    )
    found = totals(ledger)
    posted = {row.stage for row in found.rows() if row.donors == ("GBR",)}
    for stages, wanted in ((PROMISES, promise), (FULFILMENTS, fulfilment)):
        assert posted.isdisjoint(stages) if wanted is None else posted.issuperset(stages)
        for stage in stages:
            assert found.interval(stage, donors=("GBR",)) == (wanted or (0, 0))


def test_rule_5_a_restatement_never_adds_and_carries_nothing() -> None:
    again = a_pledge("again", pieces(500), relation=Relation(kind="restates", of=("x",)))
    ledger = given(a_pledge("x", pieces(500)), again)
    assert totals(ledger).interval("pledged") == (500, 500)
    assert ledger.when(a_delivery(of="again")).refused(Restates).code == "restates"


def test_rule_5_what_replaces_another_ends_its_promises_and_leaves_what_came() -> None:
    ledger = given(
        a_pledge("old", euros(10), by="LVA"),
        PledgePaid(pledge="old", on=Said("2024-03-01"), amount=euros(4), sources=A_SOURCE),
        PledgeContracted(pledge="old", on=Said("2024-03-01"), amount=euros(3), sources=A_SOURCE),
        a_delivery("d1", euros(2), of="old", on="2024-04-01"),
        a_pledge("x", euros(20), by="LVA", announced_on="2024-07-05", relation=Relation(kind="replaces", of=("old",))),
    )
    found = totals(ledger)
    assert found.interval("pledged", "EUR", on="2024-07-04") == (10, 10)
    assert found.interval("pledged", "EUR") == (20, 20)
    assert found.interval("paid", "EUR") == (0, 0)
    assert found.interval("contracted", "EUR") == (3, 3)
    assert found.interval("delivered", "EUR") == (2, 2)


def test_rule_5_an_unknown_relation_shows_the_interval_without_and_with_it() -> None:
    ledger = given(a_pledge("x", euros(483)), a_pledge("y", euros(549), relation=Relation(kind="unknown", of=("x",))))
    assert totals(ledger).interval("pledged", "EUR") == (483, 1032)


def test_rule_5_what_nobody_is_named_for_is_given_by_unknown() -> None:
    found = totals(given(a_pledge("x", pieces(7), by="UNKNOWN")))
    assert found.interval("pledged", donors=("UNKNOWN",)) == (7, 7)
