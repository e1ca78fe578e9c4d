"""rules.md 1, 2, 4, 5, 6: what an entry makes of the totals."""

from __future__ import annotations

import random
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given as for_any
from hypothesis import settings
from hypothesis import strategies as st

from services.commitments.domain.commands import Correct, Retract
from services.projections.postings import Account, Standing, standing_of
from shared.amounts import ZERO, Amount, Vector
from shared.days import Said
from shared.events import Entry
from shared.events.pledges import (
    Also,
    DeliveryReported,
    PledgeAnnounced,
    PledgeContracted,
    PledgeReallocated,
    PledgeRevised,
    PledgeWithdrawn,
    Relation,
    RelationKind,
    Share,
)
from shared.timeline import Learned, difference, live
from tests.examples import (
    a_coalition,
    a_delivery,
    a_pledge,
    confirmed,
    disputed,
    euros,
    pieces,
    produced,
    reversed_,
    revised,
    withdrawn,
)
from tests.given import event_id, given, totals


def retract(position: int) -> Retract:
    return Retract(stream="pledge-x", entry_id=event_id(position), reason="never happened")


def related(kind: RelationKind, *of: str) -> Relation:
    return Relation(kind=kind, of=of)


# ------------------------------------------------------------------------------------------ 1 and 2


def test_thousands_revised_to_ten_thousand_close_the_interval() -> None:
    ledger = given(a_pledge("x", pieces("thousands")), revised("x", pieces(10_000), on="2024-03-01"))
    found = totals(ledger)
    assert found.interval("pledged", on="2024-02-20") == (2000, None)
    assert found.interval("pledged") == (10_000, 10_000)
    assert found.interval("pledged", known=1) == (2000, None)


def test_unknown_is_counted_and_never_zero() -> None:
    total = totals(given(a_pledge("x", pieces(undisclosed=True)), a_pledge("y", pieces(5)))).total("pledged")
    assert (total.low, total.bound, total.unknown, total.pledges) == (5, 5, 1, 2)


def test_a_retracted_revision_never_was() -> None:
    ledger = given(
        a_pledge("x", pieces(500), announced_on="2024-03-01"),
        revised("x", pieces(800), on="2024-03-10"),
        revised("x", pieces(600), on="2024-03-05"),
    ).after(retract(2))
    found = totals(ledger)
    assert [found.interval("pledged", on="2024-03-12", known=k)[0] for k in (2, 3, 4)] == [800, 800, 600]


# ------------------------------------------------------------------------------------------ 4 stages


def test_so_far_replaces_what_was_delivered_before_it() -> None:
    ledger = given(
        a_pledge("x", pieces(at_least=1), by="LVA"),
        a_delivery("april", pieces(135), on="2024-05-31"),
        a_delivery("july-1", pieces(over=2500), on="2024-07-05"),
        a_delivery("july-2", pieces(over=500), on="2024-07-22"),
        a_delivery("year", pieces(about=5000), on="2024-12-31", covers="so_far"),
    )
    found = totals(ledger)
    assert found.interval("delivered", on="2024-12-30") == (3135, None)
    assert found.interval("delivered") == (5000, 5000)
    assert found.total("delivered").about == 1
    assert found.total("delivered").pledges == 1


def test_confirming_posts_to_confirmed_and_delivered_keeps_the_claim() -> None:
    found = totals(
        given(
            a_pledge("x", pieces(500)), a_delivery("d1", pieces(100)), confirmed("d1", on="2024-07-01", said=pieces(90))
        )
    )
    assert found.interval("delivered") == (100, 100)
    assert found.interval("confirmed") == (90, 90)
    assert found.interval("confirmed", on="2024-06-30") == (0, 0)


def test_confirmed_without_a_number_is_what_was_reported_also_after_a_correction() -> None:
    ledger = given(a_pledge("x", pieces(500)), a_delivery("d1", pieces(100)), confirmed("d1", on="2024-07-01"))
    assert totals(ledger).interval("confirmed") == (100, 100)
    now = a_delivery("d1", pieces(120))
    corrected = ledger.after(Correct(stream="pledge-x", entry_id=event_id(2), now=now, reason="misread"))
    assert totals(corrected).interval("confirmed") == (120, 120)
    assert totals(corrected).interval("confirmed", known=3) == (100, 100)


def test_a_disputed_delivery_may_be_nothing() -> None:
    found = totals(
        given(
            a_pledge("x", pieces(500)),
            a_delivery("d1"),
            confirmed("d1", on="2024-06-02"),
            disputed("d1", on="2024-07-01"),
        )
    )
    assert found.interval("delivered") == (0, 100)
    assert found.interval("confirmed") == (0, 0)
    assert found.interval("confirmed", on="2024-06-30") == (100, 100)


def test_a_reversed_delivery_ends_on_that_day() -> None:
    found = totals(given(a_pledge("x", pieces(500)), a_delivery("d1"), reversed_("d1", on="2024-07-01")))
    assert found.interval("delivered", on="2024-06-30") == (100, 100)
    assert found.interval("delivered") == (0, 0)
    assert found.total("delivered").pledges == 0


def test_a_dispute_changes_nothing_that_a_later_so_far_has_counted() -> None:
    found = totals(
        given(
            a_pledge("x", pieces(500)),
            a_delivery("d1", pieces(100), on="2024-06-01"),
            a_delivery("all", pieces(300), on="2024-07-01", covers="so_far"),
            disputed("d1", on="2024-08-01"),
        )
    )
    assert found.interval("delivered") == (300, 300)


def test_withdrawn_promises_nothing_from_that_day_and_what_was_delivered_stays() -> None:
    contracted = PledgeContracted(pledge="x", on=Said("2024-03-01"), amount=pieces(200))
    ledger = given(
        a_pledge("x", pieces(500)), contracted, a_delivery("d1", on="2024-04-01"), withdrawn("x", on="2024-05-01")
    )
    found = totals(ledger)
    assert found.interval("pledged", on="2024-04-30") == (500, 500)
    assert found.interval("contracted", on="2024-04-30") == (200, 200)
    assert found.total("pledged") == found.total("contracted") == ZERO
    assert found.interval("delivered") == (100, 100)


def test_money_and_pieces_of_one_contract_never_add() -> None:
    also = (Also(amount=pieces(30_000), capability="drone.fpv"),)
    found = totals(given(a_pledge("x", pieces(45_000_000, unit="GBP"), also=also)))
    assert found.interval("pledged", "GBP", capability="drone") == (45_000_000, 45_000_000)
    assert found.interval("pledged", "piece", capability="drone.fpv") == (30_000, 30_000)


def test_what_is_delivered_above_the_pledge_is_its_surplus_pledge_by_pledge() -> None:
    ledger = given(
        a_pledge("x", pieces(100)),
        a_pledge("y", pieces(100)),
        a_delivery("d1", pieces(130)),
        a_delivery("d1", pieces(10), of="y"),
    )
    total = totals(ledger).total("delivered")
    assert (total.low, total.surplus) == (140, 30)
    assert totals(ledger).total("delivered", on="2024-05-31").surplus == 0


def test_the_part_that_hangs_on_conditions_is_named() -> None:
    total = totals(given(a_pledge("x", euros(100), conditions="if approved"), a_pledge("y", euros(50)))).total(
        "pledged", "EUR"
    )
    assert (total.low, total.conditional) == (150, 100)


# ---------------------------------------------------------------------------------------- 5 relations


def test_a_pledge_that_replaces_another_ends_its_promise_that_day() -> None:
    ledger = given(
        a_pledge("x", euros(at_least=10), by="LVA"),
        a_delivery("d1", euros(4), on="2024-03-01"),
        a_pledge("y", euros(20), by="LVA", announced_on="2024-07-05", relation=related("replaces", "x")),
    )
    found = totals(ledger)
    assert found.interval("pledged", "EUR", on="2024-07-04") == (10, None)
    assert found.interval("pledged", "EUR") == (20, 20)
    assert found.interval("delivered", "EUR") == (4, 4)
    taken_back = ledger.after(Retract(stream="pledge-y", entry_id=event_id(3), reason="never was"))
    assert totals(taken_back).interval("pledged", "EUR") == (10, None)
    assert totals(taken_back).interval("pledged", "EUR", known=3) == (20, 20)


@pytest.mark.parametrize(
    ("kind", "pledged", "delivered"),
    [
        ("new", (600, 600), 100),
        ("increase", (600, 600), 100),
        ("replaces", (100, 100), 100),
        ("part_of", (500, 500), 100),
        ("decrease", (400, 400), -100),
        ("unknown", (500, 600), 100),
    ],
)
def test_what_a_pledge_is_to_others_decides_what_counts(
    kind: RelationKind, pledged: tuple[int, int], delivered: int
) -> None:
    ledger = given(
        a_pledge("x", pieces(500)),
        a_pledge("y", pieces(100), announced_on="2024-03-01", relation=related(kind, "x")),
        a_delivery("d1", pieces(100), of="y"),
    )
    assert list(totals(ledger).interval("pledged")) == list(pledged)
    assert totals(ledger).total("delivered").low == delivered


def test_a_restatement_adds_nothing_to_the_total() -> None:
    ledger = given(
        a_pledge("x", pieces(10_000)), a_pledge("y", pieces(at_least=10_000), relation=related("restates", "x"))
    )
    assert totals(ledger).interval("pledged") == (10_000, 10_000)


def test_what_a_fund_buys_is_not_new_money() -> None:
    ledger = given(
        a_pledge("in", euros(45)), a_pledge("out", euros(45), new_money=False), a_delivery("d1", euros(45), of="out")
    )
    assert totals(ledger).interval("pledged", "EUR") == (45, 45)
    assert totals(ledger).interval("delivered", "EUR") == (45, 45)


# ----------------------------------------------------------------------------------- 6 whose, for whom

JOINT = (Share(party="DNK"), Share(party="NLD"))


def test_a_joint_pledge_counts_once() -> None:
    found = totals(given(a_pledge("x", euros(400), by=JOINT)))
    assert found.interval("pledged", "EUR") == (400, 400)
    assert found.total("pledged", "EUR", donors=("DNK", "NLD")).low == 400
    assert found.total("pledged", "EUR", donors=("DNK",)) == ZERO


def test_known_shares_are_rows_of_their_own_and_add_up_to_the_whole() -> None:
    donors = (Share(party="DNK", share=euros(100)), Share(party="NLD"), Share(party="LVA"))
    found = totals(given(a_pledge("x", euros(400), by=donors)))
    by_donor = {row.donors: vector.low for row, vector in found.rows().items()}
    assert by_donor == {("DNK",): 100, ("NLD", "LVA"): 300}
    assert found.total("pledged", "EUR").pledges == 1
    assert found.total("pledged", "EUR").parts == 2


def test_an_open_joint_pledge_stays_open_in_the_rest() -> None:
    donors = (Share(party="DNK", share=euros(100)), Share(party="NLD"))
    found = totals(given(a_pledge("x", euros(at_least=400), by=donors)))
    assert found.interval("pledged", "EUR", donors=("DNK",)) == (100, 100)
    assert found.interval("pledged", "EUR", donors=("NLD",)) == (300, None)


def test_reallocating_moves_the_promise_and_leaves_what_arrived_where_it_arrived() -> None:
    found = totals(
        given(
            a_coalition("drones"),
            a_coalition("shells"),
            a_pledge("x", pieces(500), coalition="drones"),
            a_delivery("d1", on="2024-03-01"),
            PledgeReallocated(pledge="x", on=Said("2024-04-01"), coalition="shells"),
            a_delivery("d2", pieces(7), on="2024-05-01"),
        )
    )
    assert found.interval("pledged", coalition="drones", on="2024-03-31") == (500, 500)
    assert found.total("pledged", coalition="drones") == ZERO
    assert found.interval("pledged", coalition="shells") == (500, 500)
    assert found.interval("delivered", coalition="drones") == (100, 100)
    assert found.interval("delivered", coalition="shells") == (7, 7)


# ------------------------------------------------------------------------------------------ production


def test_production_so_far_replaces_what_came_since_its_period_began() -> None:
    found = totals(
        given(
            produced("in-2023", pieces(300_000), start="2023", end="2023"),
            produced("in-january", pieces(50_000), start="2024-01", end="2024-01"),
            produced("in-2024", pieces(over=1_500_000), start="2024", end="2024", covers="so_far"),
        )
    )
    assert found.interval("produced", on="2024-02-01") == (350_000, 350_000)
    assert found.interval("produced") == (1_800_000, None)


# ------------------------------------------------------------------------------ random ledgers, brute force


def plain(value: int) -> Amount:
    return pieces(value) if value % 3 else pieces(at_least=value)


def random_pledge(seed: int, length: int) -> list[Learned[Entry]]:
    """A pledge with revisions, so-fars, deliveries, a withdrawal, corrections and retractions in any order of days."""
    chance = random.Random(seed)

    def day() -> Said:
        return Said((date(2024, 3, 1) + timedelta(chance.randrange(8))).isoformat())

    def entry(n: int) -> Entry:
        kind = chance.choice(["revise", "deliver", "deliver", "so_far", "withdraw"])
        if kind == "revise":
            return revised("x", plain(chance.randrange(9)), on=day())
        if kind == "withdraw":
            return withdrawn("x", on=day())
        covers = "so_far" if kind == "so_far" else "this"
        return a_delivery(f"d{n}", plain(chance.randrange(1, 9)), on=day(), covers=covers)  # type: ignore[arg-type]

    learned: list[Learned[Entry]] = [Learned(1, a_pledge("x", plain(5), announced_on=day()))]
    for position in range(2, length + 1):
        there = live(learned)
        places = [place for place in there if place != 1]
        kind = chance.choice(["new", "new", "new", "correct", "retract"]) if places else "new"
        if kind == "new":
            learned.append(Learned(position, entry(position)))
        elif kind == "retract":
            learned.append(Learned(position, None, chance.choice(places)))
        else:
            place = chance.choice(places)
            again = entry(place)
            while type(again) is not type(there[place]):
                again = entry(place)
            learned.append(Learned(position, again, place))
    return learned


def brute_force(learned: list[Learned[Entry]], *, known: int, on: date, stage: str) -> tuple[Decimal, Decimal, int]:
    """The rules word for word for one pledge: (low, high summed, open)."""
    facts: dict[int, Entry] = {}
    for item in learned:
        if item.position <= known:
            place = item.amends or item.position
            if item.fact is None:
                facts.pop(place)
            else:
                facts[place] = item.fact
    dated = sorted(
        ((date.fromisoformat(entry.happened or ""), place, entry) for place, entry in facts.items()),
        key=lambda f: f[:2],
    )
    value: tuple[Decimal, Decimal, int] = (Decimal(0), Decimal(0), 0)

    def vector(amount: Amount) -> tuple[Decimal, Decimal, int]:
        return amount.low, amount.high or Decimal(0), int(amount.high is None)

    for day, _, entry in dated:
        if day > on:
            break
        match entry:
            case PledgeAnnounced(amount=Amount() as said) | PledgeRevised(amount=Amount() as said) if (
                stage == "pledged"
            ):
                value = vector(said)
            case PledgeWithdrawn() if stage == "pledged":
                value = (Decimal(0), Decimal(0), 0)
            case DeliveryReported(amount=said, covers=covers) if stage == "delivered":
                base = value if covers == "this" else (Decimal(0), Decimal(0), 0)
                value = (base[0] + vector(said)[0], base[1] + vector(said)[1], base[2] + vector(said)[2])
            case _:
                pass
    return value


def posted(learned: list[Learned[Entry]]) -> list[tuple[int, Standing]]:
    account = Account("pledge-x")
    return [(item.position, account.learn(item.position, item.fact, item.amends)) for item in learned]


def test_a_thousand_random_questions_to_random_ledgers_have_the_brute_force_answer() -> None:
    wrong = 0
    for seed in range(100):
        learned = random_pledge(seed, 14)
        postings = posted(learned)
        chance = random.Random(-seed)
        for _ in range(10):
            known, on = chance.randrange(1, 15), date(2024, 3, 1) + timedelta(chance.randrange(-1, 9))
            for stage in ("pledged", "delivered"):
                sums: Vector = sum(
                    (
                        v
                        for p, found in postings
                        if p <= known
                        for (d, row), v in found.items()
                        if d <= on and row.stage == stage
                    ),
                    ZERO,
                )
                wrong += (sums.low, sums.high, sums.open) != brute_force(learned, known=known, on=on, stage=stage)
    assert wrong == 0


@settings(max_examples=60, deadline=None)
@for_any(st.integers(0, 10**9), st.integers(1, 14))
def test_learning_one_by_one_stands_where_learning_all_stands(seed: int, length: int) -> None:
    learned = random_pledge(seed, length)
    account = Account("pledge-x")
    total: Standing = {}
    for item in learned:
        for key, vector in account.learn(item.position, item.fact, item.amends).items():
            total[key] = total.get(key, ZERO) + vector
    assert {key: vector for key, vector in total.items() if vector} == standing_of("pledge-x", live(learned))


@settings(max_examples=100, deadline=None)
@for_any(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), max_size=12),
    st.sampled_from([pieces(30), pieces(at_least=5), pieces(undisclosed=True), None, euros(5)]),
    st.sampled_from(["new", "unknown", "decrease", "part_of"]),
)
def test_the_short_cut_for_many_deliveries_posts_what_the_long_way_posts(
    deliveries: list[tuple[int, int]], pledged: Amount | None, kind: RelationKind
) -> None:
    opening = a_pledge("x", pledged, by=JOINT, relation=related(kind))
    learned: list[Learned[Entry]] = [Learned(1, opening)]
    account = Account("pledge-x")
    account.learn(1, opening)
    before = standing_of("pledge-x", live(learned))
    for position, (offset, count) in enumerate(deliveries, start=2):
        on = (date(2024, 3, 1) + timedelta(offset)).isoformat()
        delivery = a_delivery(f"d{position}", plain(count), on=on)
        learned.append(Learned(position, delivery))
        after = standing_of("pledge-x", live(learned))
        assert account.learn(position, delivery) == difference(before, after)
        before = after
