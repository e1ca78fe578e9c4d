"""Rule 13: flags; each is there from the entry that makes it so, and gone with what takes it back."""

from __future__ import annotations

from datetime import date

import pytest

from services.commitments.domain.commands import Retract
from services.projections.pledges import FLAGS, Flag
from shared.days import Said
from shared.events import Entry
from shared.events.pledges import Also, PledgeAllocated, PledgeCommitted, Share
from tests.examples import (
    A_SOURCE,
    a_coalition,
    a_delivery,
    a_pledge,
    disputed,
    euros,
    joins,
    pieces,
    revised,
    withdrawn,
)
from tests.given import event_id, given
from tests.rules.folded import flags

ON = Said("2024-03-01")
X = a_pledge("x", pieces(500))
DELIVERED = a_delivery("d1", pieces(100), on="2024-04-01")


def committed(count: int, on: Said = ON) -> PledgeCommitted:
    return PledgeCommitted(pledge="x", on=on, amount=pieces(count), sources=A_SOURCE)


def allocated(count: int, on: Said = ON) -> PledgeAllocated:
    return PledgeAllocated(pledge="x", on=on, amount=pieces(count), sources=A_SOURCE)


MADE_BY: dict[Flag, tuple[tuple[Entry, ...], Entry]] = {
    "not-a-member": ((a_coalition(),), a_pledge("x", pieces(500), coalition="drones")),
    "delivered-above-pledged": ((X,), a_delivery("d1", pieces(501))),
    "committed-above-pledged": ((X,), committed(501)),
    "allocated-above-committed": ((X, committed(300)), allocated(301)),
    "other-unit": ((X,), a_delivery("d1", euros(5))),
    "unknown-share": ((), a_pledge("x", pieces(500), by=(Share(party="DNK"), Share(party="NLD")))),
    "future-dated": ((X,), a_delivery("d1", pieces(1), on="2025-01-01")),
    "conditional": ((), a_pledge("x", pieces(500), conditions="if parliament agrees")),
    "disputed": ((X, DELIVERED), disputed("d1", on="2024-05-01")),
    "withdrawn": ((X,), withdrawn("x", on="2024-05-01")),
}
"""What is there before, and the entry that makes the flag."""


def test_rule_13_every_flag_has_its_example_here() -> None:
    assert {*MADE_BY, "overdue"} == {*FLAGS}


@pytest.mark.parametrize(("flag", "story"), MADE_BY.items(), ids=MADE_BY)
def test_rule_13_what_is_unusual_is_accepted_flagged_in_the_reply_and_by_the_read_side(
    flag: Flag, story: tuple[tuple[Entry, ...], Entry]
) -> None:
    before, entry = story
    ledger = given(*before)
    if flag == "withdrawn":  # nothing unusual for whoever withdraws: what is delivered afterwards is told so
        ledger.and_given(entry).when(a_delivery("late", pieces(1), on="2024-06-01")).flagged("withdrawn")
    else:
        ledger.when(entry).flagged(flag)
    assert flags(ledger.and_given(entry)) == [flag]


@pytest.mark.parametrize(
    "flag", [flag for flag, (before, _) in MADE_BY.items() if any(one.stream == "pledge-x" for one in before)]
)
def test_rule_13_a_flag_goes_with_the_entry_that_made_it_and_known_brings_it_back(flag: Flag) -> None:
    before, entry = MADE_BY[flag]
    there = len(before) + 1
    retract = Retract(stream="pledge-x", entry_id=event_id(there), reason="never happened")
    ledger = given(*before, entry).after(retract)
    assert flags(ledger) == []
    assert flags(ledger, known=there) == [flag]


@pytest.mark.parametrize("flag", ["delivered-above-pledged", "committed-above-pledged", "disputed", "withdrawn"])
def test_rule_13_a_flag_is_judged_on_the_day_asked_for(flag: Flag) -> None:
    before, entry = MADE_BY[flag]
    assert flags(given(*before, entry), on="2024-02-28") == []


@pytest.mark.parametrize(
    ("before", "entry"),
    [
        ((X,), a_delivery("d1", pieces(500))),
        ((X,), committed(500)),
        ((X, committed(300)), allocated(300)),
        ((a_pledge("x", pieces(at_least=500)),), a_delivery("d1", pieces(501))),
        ((a_pledge("x", pieces(500), also=(Also(amount=euros(5)),)),), a_delivery("d1", euros(5))),
        ((a_coalition(), joins("GBR", on="2024-02-15")), a_pledge("x", pieces(500), coalition="drones")),
        (
            (),
            a_pledge(
                "x", pieces(500), by=(Share(party="DNK", share=pieces(200)), Share(party="NLD", share=pieces(300)))
            ),
        ),
    ],
    ids=[
        "exactly what was pledged",
        "committed as pledged",
        "allocated as committed",
        "above an open pledge",
        "in a unit that the pledge knows beside",
        "a member on the day of its pledge",
        "every share is known",
    ],
)
def test_rule_13_what_is_as_it_should_be_is_not_flagged(before: tuple[Entry, ...], entry: Entry) -> None:
    given(*before).when(entry).flagged()
    assert flags(given(*before, entry)) == []


def test_rule_13_membership_is_judged_on_the_day_of_the_announcement() -> None:
    early = a_pledge("x", pieces(500), coalition="drones", announced_on="2024-02-14")
    assert flags(given(a_coalition(), joins("GBR", on="2024-02-15"), early)) == ["not-a-member"]


def test_rule_13_overdue_from_the_day_after_it_was_due_until_all_of_it_came() -> None:
    due = a_pledge("x", pieces(500), due_by="2024-06")
    ledger = given(due, a_delivery("d1", pieces(499), on="2024-05-01"), a_delivery("d2", pieces(1), on="2024-08-01"))
    seen = {day: flags(ledger, on=day) for day in ("2024-06-30", "2024-07-01", "2024-07-31", "2024-08-01")}
    assert seen == {"2024-06-30": [], "2024-07-01": ["overdue"], "2024-07-31": ["overdue"], "2024-08-01": []}


def test_rule_13_a_pledge_whose_deadline_was_moved_or_that_was_withdrawn_is_not_overdue() -> None:
    due = a_pledge("x", pieces(500), due_by="2024-06-30")
    moved = revised("x", on="2024-06-01", due_by="2025-06-30")
    assert flags(given(due), on=date(2024, 7, 1)) == ["overdue"]
    assert flags(given(due, moved), on=date(2024, 7, 1)) == []
    assert flags(given(due, withdrawn("x", on="2024-06-01")), on=date(2024, 7, 1)) == ["withdrawn"]
