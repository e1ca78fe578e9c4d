"""Rule 2: every number is a timeline, and so are membership, coalition, donors and terms."""

from __future__ import annotations

from datetime import date

from services.commitments.domain.commands import Correct, Retract
from shared.days import Said
from shared.events.coalitions import MemberLeft
from shared.events.pledges import PledgeReallocated, Share
from tests.examples import A_SOURCE, a_coalition, a_pledge, a_target, joins, pieces, revised, target_revised
from tests.given import event_id, given, totals
from tests.rules.folded import coalition, pledge, terms

MARCH = date(2024, 3, 1)


def test_rule_2_late_news_post_a_step_up_and_a_step_down() -> None:
    ledger = given(
        a_pledge("x", pieces(500), announced_on="2024-03-01"),
        revised("x", pieces(800), on="2024-03-10"),
        revised("x", pieces(600), on="2024-03-05"),
    ).after(Retract(stream="pledge-x", entry_id=event_id(2), reason="never happened"))
    found = totals(ledger)
    posted = {
        n: [(day.day, vector.low) for position, day, _, vector in found.postings if position == n] for n in (3, 4)
    }
    assert posted == {3: [(5, 100), (10, -100)], 4: [(10, -200)]}
    assert [found.interval("pledged", on="2024-03-12", known=n)[0] for n in (2, 3, 4)] == [800, 800, 600]


def test_rule_2_a_correction_keeps_its_place_in_the_order() -> None:
    ledger = given(
        a_pledge("x", pieces(500)),
        revised("x", pieces(700), on="2024-03-01"),
        revised("x", pieces(800), on="2024-03-01"),
    )
    now = revised("x", pieces(900), on="2024-03-01")
    corrected = ledger.after(Correct(stream="pledge-x", entry_id=event_id(2), now=now, reason="misread"))
    assert totals(corrected).interval("pledged") == (800, 800)


def test_rule_2_membership_is_a_timeline_that_can_be_retracted() -> None:
    left = MemberLeft(coalition="drones", party="GBR", on=Said("2024-02-20"), sources=A_SOURCE)
    ledger = given(a_coalition(), joins("GBR", on="2024-02-16", role="lead"), left)
    assert [coalition(ledger).member_count(date(2024, 2, day)) for day in (15, 16, 20)] == [0, 1, 0]
    taken_out = ledger.after(Retract(stream="coalition-drones", entry_id=event_id(3), reason="it stayed"))
    assert coalition(taken_out).present(MARCH)["GBR"].role == "lead"
    assert coalition(taken_out, known=3).present(MARCH) == {}


def test_rule_2_the_coalition_of_a_pledge_is_a_timeline_that_can_be_corrected() -> None:
    moved = PledgeReallocated(pledge="x", on=Said("2024-03-01"), coalition="shells", sources=A_SOURCE)
    ledger = given(a_coalition("drones"), a_coalition("shells"), a_pledge("x", pieces(5), coalition="drones"), moved)
    assert pledge(ledger).coalition(date(2024, 2, 29)) == "drones"
    assert pledge(ledger).coalition(MARCH) == "shells"
    now = PledgeReallocated(pledge="x", on=Said("2024-04-01"), coalition="shells", sources=A_SOURCE)
    later = ledger.after(Correct(stream="pledge-x", entry_id=event_id(4), now=now, reason="a month later"))
    assert totals(later).interval("pledged", coalition="drones", on="2024-03-31") == (5, 5)
    assert totals(later).interval("pledged", coalition="drones", on="2024-03-31", known=4) == (0, 0)


def test_rule_2_the_donors_of_a_pledge_are_a_timeline() -> None:
    ledger = given(
        a_pledge("x", pieces(5)),
        revised("x", on="2024-03-01", donors=(Share(party="GBR"), Share(party="NLD"))),
    )
    found = totals(ledger)
    assert found.interval("pledged", donors=("GBR",), on="2024-02-29") == (5, 5)
    assert found.interval("pledged", donors=("GBR", "NLD")) == (5, 5)
    assert found.interval("pledged") == (5, 5)


def test_rule_2_the_terms_of_a_target_are_a_timeline_that_can_be_corrected() -> None:
    ledger = given(a_coalition(), a_target(), target_revised(on="2024-06-01", due_by="2025-06-30"))
    due = terms(ledger).on(date(2024, 6, 1))
    assert due is not None
    assert due.due_by == date(2025, 6, 30)
    now = target_revised(on="2024-06-01", due_by="2025-12-31")
    corrected = ledger.after(Correct(stream="target-million", entry_id=event_id(3), now=now, reason="misread"))
    assert [
        found.due_by for known in (2, 3, 4) if (found := terms(corrected, known=known).on(date(2024, 6, 1))) is not None
    ] == [date(2024, 12, 31), date(2025, 6, 30), date(2025, 12, 31)]
