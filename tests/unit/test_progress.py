"""Rules.md 7, case by case: what a target's status, percent, pace, series and past deadlines are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given as any_of
from hypothesis import strategies as some

from services.projections.progress import Measure, Progress, Terms, Values, percent, progress, terms_of
from shared.amounts import ZERO, Amount, Qualifier, Vector, amount
from shared.days import Said
from shared.events.targets import TargetClosed, TargetEntry, TargetRevised, TargetSet
from shared.measures import Stage
from shared.timeline import Learned, Steps

DRONES = Measure("drone", "piece")


def pieces(number: int, qualifier: Qualifier = "exactly") -> Amount:
    return amount("piece", qualifier, Decimal(number))


def day(text: str) -> date:
    return date.fromisoformat(text)


def a_target(
    asked: int = 1000,
    *,
    counts: Stage = "delivered",
    set_on: str = "2024-01-01",
    starts_on: str | None = None,
    due_by: str | None = "2024-12-31",
    qualifier: Qualifier = "exactly",
) -> TargetSet:
    return TargetSet(
        target="million",
        coalition="drone-coalition",
        capability="drone",
        amount=pieces(asked, qualifier),
        counts=counts,
        set_on=Said(set_on),
        starts_on=None if starts_on is None else Said(starts_on),
        due_by=None if due_by is None else Said(due_by),
    )


def revised(
    on: str, *, amount: Amount | None = None, due_by: str | None = None, without_deadline: bool = False
) -> TargetRevised:
    return TargetRevised(
        target="million",
        on=Said(on),
        reason="because",
        amount=amount,
        due_by=None if due_by is None else Said(due_by),
        without_deadline=without_deadline,
    )


def closed(on: str) -> TargetClosed:
    return TargetClosed(target="million", on=Said(on), outcome="given up")


def arrived(on: str, low: int, high: int | str | None = "same", unknown: int = 0) -> tuple[date, Vector]:
    top = low if high == "same" else high
    assert not isinstance(top, str)
    return day(on), Vector(low=Decimal(low), high=Decimal(top or 0), open=int(top is None), unknown=unknown, pledges=1)


def learned(position: int, entry: TargetEntry | None, amends: int | None = None) -> Learned[TargetEntry]:
    return Learned(position, entry, amends)


@dataclass
class Given:
    said: Sequence[Learned[TargetEntry]]
    came: tuple[tuple[date, Vector], ...] = ()
    stage: Stage = "delivered"
    complete_to: date | None = None
    known: int | None = None
    more: dict[Stage, Steps[Vector]] = field(default_factory=dict)

    def when_asked(self, on: str) -> Progress:
        found = self.maybe(on)
        assert found is not None
        return found

    def maybe(self, on: str) -> Progress | None:
        values: Values = {DRONES: {self.stage: total(self.came), **self.more}}
        return progress(terms_of(self.said, self.known), values, day(on), self.complete_to)


def total(came: Sequence[tuple[date, Vector]]) -> Steps[Vector]:
    steps: Steps[Vector] = Steps(ZERO)
    value = ZERO
    for on, more in sorted(came, key=lambda posting: posting[0]):
        value = value + more
        steps.step(on, value)
    return steps


def given(
    *said: TargetEntry,
    came: Sequence[tuple[date, Vector]] = (),
    stage: Stage = "delivered",
    complete_to: date | None = None,
    more: dict[Stage, Steps[Vector]] | None = None,
) -> Given:
    return Given(
        [learned(n, entry) for n, entry in enumerate(said, 1)], tuple(came), stage, complete_to, more=more or {}
    )


# ------------------------------------------------------------------------------------------------------ status


def test_a_target_is_met_once_the_least_that_arrived_is_the_amount() -> None:
    assert given(a_target(1000), came=[arrived("2024-03-01", 1000)]).when_asked("2024-03-01").status == "met"


def test_a_target_with_a_vague_amount_is_met_by_its_least() -> None:
    assert given(a_target(900, qualifier="at_least"), came=[arrived("2024-03-01", 900)]).when_asked(
        "2024-03-01"
    ).status == ("met")


def test_a_target_past_due_is_missed_when_even_the_most_falls_short() -> None:
    assert given(a_target(1000), came=[arrived("2024-03-01", 500, 999)]).when_asked("2025-01-01").status == "missed"


def test_a_target_past_due_is_unproven_while_the_most_is_open() -> None:
    assert given(a_target(1000), came=[arrived("2024-03-01", 500, None)]).when_asked("2025-01-01").status == "unproven"


def test_a_target_past_due_is_unproven_while_the_most_would_meet_it() -> None:
    assert given(a_target(1000), came=[arrived("2024-03-01", 0, 1000)]).when_asked("2025-01-01").status == "unproven"


def test_a_target_is_not_called_missed_while_a_delivery_is_undisclosed() -> None:
    came = [(day("2024-03-01"), Vector(unknown=1))]
    assert given(a_target(1000), came=came).when_asked("2025-01-01").status == "unproven"


def test_the_day_that_is_due_is_not_past_due() -> None:
    ledger = given(a_target(1000), came=[arrived("2024-03-01", 999)])
    assert ledger.when_asked("2024-12-31").status == "behind"
    assert ledger.when_asked("2025-01-01").status == "missed"


def test_what_arrives_after_the_deadline_does_not_count() -> None:
    ledger = given(a_target(1000), came=[arrived("2024-12-31", 400), arrived("2025-01-01", 600)])
    late = ledger.when_asked("2025-02-01")
    assert late.status == "missed"
    assert late.reached["delivered"].low == 400


def test_what_arrived_before_the_start_does_not_count() -> None:
    ledger = given(
        a_target(1000, starts_on="2024-02-01"), came=[arrived("2024-01-31", 700), arrived("2024-02-01", 300)]
    )
    assert ledger.when_asked("2024-02-02").reached["delivered"].low == 300


def test_what_goes_back_within_the_days_that_count_is_taken_off() -> None:
    came = [arrived("2024-02-01", 700), (day("2024-03-01"), Vector(low=Decimal(-200), high=Decimal(-200), pledges=-1))]
    assert given(a_target(1000), came=came).when_asked("2024-03-01").reached["delivered"].low == 500


def test_a_promise_counts_by_its_value_on_the_day() -> None:
    came = [arrived("2023-06-01", 600), arrived("2024-02-01", 400)]
    ledger = given(a_target(1000, counts="pledged"), came=came, stage="pledged")
    assert ledger.when_asked("2024-01-31").reached["pledged"].low == 600
    assert ledger.when_asked("2024-02-01").status == "met"


def test_before_due_a_target_at_the_even_pace_is_on_track() -> None:
    # 2024 has 366 days: day 73 of 365 to the deadline is a fifth of the way
    ledger = given(a_target(1000), came=[arrived("2024-02-01", 200)])
    assert ledger.when_asked("2024-03-14").status == "on_track"
    assert ledger.when_asked("2024-03-15").status == "behind"


def test_before_due_a_target_whose_most_may_keep_pace_is_open() -> None:
    assert given(a_target(1000), came=[arrived("2024-02-01", 0, None)]).when_asked("2024-06-30").status == "open"


def test_before_due_an_undisclosed_delivery_keeps_a_target_from_being_behind() -> None:
    came = [(day("2024-02-01"), Vector(unknown=1))]
    assert given(a_target(1000), came=came).when_asked("2024-06-30").status == "open"


def test_before_its_start_a_target_is_on_track() -> None:
    assert given(a_target(1000, starts_on="2024-06-01")).when_asked("2024-02-01").status == "on_track"


def test_a_target_due_on_the_day_it_starts_needs_all_of_it_that_day() -> None:
    ledger = given(a_target(1000, due_by="2024-01-01"), came=[arrived("2024-01-01", 10)])
    assert ledger.when_asked("2024-01-01").status == "behind"


def test_a_target_without_a_deadline_is_open_until_met() -> None:
    ledger = given(a_target(1000, due_by=None), came=[arrived("2024-03-01", 999), arrived("2030-01-01", 1)])
    assert ledger.when_asked("2029-12-31").status == "open"
    assert ledger.when_asked("2030-01-01").status == "met"


def test_a_closed_target_is_closed_even_when_met_or_missed() -> None:
    ledger = given(a_target(1000), closed("2024-06-01"), came=[arrived("2024-03-01", 1000)])
    assert ledger.when_asked("2024-05-31").status == "met"
    assert (ledger.when_asked("2024-06-01").status, ledger.when_asked("2024-06-01").terms.closed) == (
        "closed",
        "given up",
    )


def test_a_target_whose_amount_nobody_said_is_open() -> None:
    target = TargetSet(
        target="million",
        capability="drone",
        amount=amount("piece", "undisclosed", None),
        counts="delivered",
        set_on=Said("2024-01-01"),
        due_by=Said("2024-12-31"),
    )
    assert given(target, came=[arrived("2024-03-01", 5)]).when_asked("2025-06-01").status == "open"


def test_a_target_does_not_exist_before_it_was_set() -> None:
    assert given(a_target()).maybe("2023-12-31") is None


def test_a_retracted_target_does_not_exist_from_the_position_of_the_retraction() -> None:
    said = [learned(1, a_target()), learned(2, None, amends=1)]
    assert Given(said).maybe("2024-02-01") is None
    assert Given(said, known=1).when_asked("2024-02-01").status == "behind"


def test_a_corrected_target_says_its_new_terms_from_the_position_of_the_correction() -> None:
    said = [learned(1, a_target(1000)), learned(2, a_target(500), amends=1)]
    assert Given(said).when_asked("2024-02-01").terms.asked == 500
    assert Given(said, known=1).when_asked("2024-02-01").terms.asked == 1000


def test_a_period_as_a_deadline_ends_on_its_last_day_and_as_a_start_begins_on_its_first() -> None:
    terms = given(a_target(due_by="2024", starts_on="2024-02")).when_asked("2024-03-01").terms
    assert (terms.starts_on, terms.due_by) == (day("2024-02-01"), day("2024-12-31"))


# ----------------------------------------------------------------------------------------------------- percent


@pytest.mark.parametrize(
    ("bound", "asked", "shown"),
    [
        (0, 1000, "0.0"),
        (4, 1000, "0.4"),
        (999_999, 1_000_000, "99.9"),
        (1000, 1000, "100.0"),
        (1, 3, "33.3"),
        (2500, 1000, "250.0"),
        (-1, 3000, "-0.1"),
    ],
)
def test_percent_is_floored_to_a_tenth(bound: int, asked: int, shown: str) -> None:
    assert str(percent(Decimal(bound), Decimal(asked))) == shown


def test_percent_of_an_open_bound_is_none() -> None:
    assert percent(None, Decimal(1000)) is None


def test_percent_of_nothing_asked_is_none() -> None:
    assert percent(Decimal(5), None) is None
    assert percent(Decimal(5), Decimal(0)) is None


@any_of(some.integers(0, 10**18), some.integers(1, 10**18))
def test_percent_never_says_a_hundred_before_the_target_is_met(bound: int, asked: int) -> None:
    shown = percent(Decimal(bound), Decimal(asked))
    assert shown is not None
    assert (shown >= 100) == (bound >= asked)


# -------------------------------------------------------------------------------------------------------- pace


def test_the_pace_says_what_a_day_has_to_bring_rounded_up() -> None:
    pace = given(a_target(1000), came=[arrived("2024-12-01", 100)]).when_asked("2024-12-24").pace
    assert pace.needed_per_day == Decimal("128.6")  # 900 in 7 days


def test_the_recent_pace_is_the_gain_of_the_last_ninety_days() -> None:
    came = [arrived("2024-01-10", 500), arrived("2024-06-01", 90)]
    pace = given(a_target(1000), came=came).when_asked("2024-06-30").pace
    assert pace.recent_per_day == 1
    assert pace.projected_on == day("2024-06-30") + timedelta(days=410)


def test_without_a_gain_nothing_is_projected() -> None:
    pace = given(a_target(1000), came=[arrived("2024-01-10", 500)]).when_asked("2024-12-01").pace
    assert pace.recent_per_day == 0
    assert pace.projected_on is None


def test_a_target_that_is_met_needs_nothing_more() -> None:
    pace = given(a_target(1000), came=[arrived("2024-01-10", 1000)]).when_asked("2024-02-01").pace
    assert (pace.needed_per_day, pace.projected_on) == (None, None)


def test_without_a_deadline_nothing_is_needed_a_day_but_an_end_is_projected() -> None:
    pace = given(a_target(1000, due_by=None), came=[arrived("2024-06-01", 900)]).when_asked("2024-06-30").pace
    assert (pace.needed_per_day, pace.projected_on) == (None, day("2024-07-10"))


def test_past_due_nothing_is_needed_or_projected() -> None:
    pace = given(a_target(1000), came=[arrived("2024-12-01", 900)]).when_asked("2025-01-15").pace
    assert (pace.needed_per_day, pace.projected_on) == (None, None)


def test_the_pace_stops_where_the_ledger_is_complete_to() -> None:
    ledger = given(a_target(1000), came=[arrived("2024-06-01", 90)], complete_to=day("2024-06-30"))
    assert ledger.when_asked("2024-12-01").pace.recent_per_day == 1


# ------------------------------------------------------------------------------------------------------ series


def test_the_series_has_its_first_day_each_change_and_the_day_asked_for() -> None:
    ledger = given(a_target(1000), came=[arrived("2024-02-01", 200), arrived("2024-03-01", 100)])
    points = [(str(on), int(x.low)) for on, x in ledger.when_asked("2024-04-01").series]
    assert points == [("2024-01-01", 0), ("2024-02-01", 200), ("2024-03-01", 300), ("2024-04-01", 300)]


def test_the_series_stops_where_the_ledger_is_complete_to() -> None:
    ledger = given(a_target(1000), came=[arrived("2024-02-01", 200)], complete_to=day("2024-02-15"))
    assert [str(on) for on, _ in ledger.when_asked("2024-04-01").series] == ["2024-01-01", "2024-02-01", "2024-02-15"]


def test_the_series_of_arrivals_stops_at_the_deadline() -> None:
    ledger = given(a_target(1000), came=[arrived("2024-02-01", 200), arrived("2025-02-01", 200)])
    assert str(ledger.when_asked("2026-01-01").series[-1][0]) == "2024-12-31"


# ---------------------------------------------------------------------------------------------- past deadlines


def test_a_revised_deadline_keeps_the_old_one_with_its_own_outcome() -> None:
    ledger = given(a_target(1000), revised("2024-07-11", due_by="2025-07-11"), came=[arrived("2024-03-01", 500, 600)])
    later = ledger.when_asked("2025-01-15")
    assert later.status == "behind"
    assert [(str(past.due_by), past.status, str(past.replaced_on)) for past in later.past_deadlines] == [
        ("2024-12-31", "missed", "2024-07-11")
    ]


def test_a_past_deadline_is_not_judged_by_what_came_after_it() -> None:
    came = [arrived("2024-03-01", 500), arrived("2025-02-01", 500)]
    later = given(a_target(1000), revised("2024-07-11", due_by="2025-07-11"), came=came).when_asked("2025-03-01")
    assert (later.status, later.past_deadlines[0].status) == ("met", "missed")


def test_a_past_deadline_may_have_been_met() -> None:
    came = [arrived("2024-03-01", 500)]
    said = (a_target(500), revised("2025-02-01", due_by="2025-12-31", amount=pieces(9000)))
    later = given(*said, came=came).when_asked("2025-03-01")
    assert (later.status, later.past_deadlines[0].status) == ("behind", "met")


def test_a_past_deadline_of_which_the_most_is_open_is_unproven() -> None:
    ledger = given(a_target(1000), revised("2024-07-11", due_by="2025-07-11"), came=[arrived("2024-03-01", 0, None)])
    assert ledger.when_asked("2025-01-15").past_deadlines[0].status == "unproven"


def test_a_past_deadline_of_a_promise_is_judged_by_its_value_on_that_day() -> None:
    came = [arrived("2024-03-01", 500), arrived("2025-02-01", 500)]
    said = (a_target(1000, counts="pledged"), revised("2024-07-11", due_by="2025-07-11"))
    later = given(*said, came=came, stage="pledged").when_asked("2025-03-01")
    assert (later.status, later.past_deadlines[0].status) == ("met", "missed")


def test_a_deadline_that_was_dropped_is_a_past_deadline() -> None:
    later = given(a_target(1000), revised("2025-01-15", without_deadline=True)).when_asked("2025-02-01")
    assert (later.terms.due_by, later.status) == (None, "open")
    assert [past.status for past in later.past_deadlines] == ["missed"]


def test_a_new_amount_alone_is_no_past_deadline() -> None:
    later = given(a_target(1000), revised("2024-07-11", amount=pieces(2000))).when_asked("2024-08-01")
    assert later.terms.asked == 2000
    assert later.past_deadlines == ()


def test_a_revision_is_not_seen_before_its_day() -> None:
    ledger = given(a_target(1000), revised("2024-07-11", due_by="2025-07-11"))
    assert ledger.when_asked("2024-07-10").past_deadlines == ()
    assert ledger.when_asked("2024-07-10").terms.due_by == day("2024-12-31")


def test_a_past_deadline_in_another_unit_is_judged_in_that_unit() -> None:
    said = (a_target(1000), revised("2025-02-01", amount=amount("EUR", "exactly", Decimal(50)), due_by="2026"))
    terms = terms_of([learned(n, entry) for n, entry in enumerate(said, 1)])
    values: Values = {
        DRONES: {"delivered": total([arrived("2024-03-01", 1000)])},
        Measure("drone", "EUR"): {"delivered": total([arrived("2024-03-01", 5)])},
    }
    found = progress(terms, values, day("2025-03-01"))
    assert found is not None
    assert found.reached["delivered"].low == 5
    assert found.past_deadlines[0].status == "met"


def test_other_stages_are_shown_beside_the_one_that_counts() -> None:
    ledger = given(a_target(1000), more={"pledged": total([arrived("2023-05-01", 3000)])})
    assert ledger.when_asked("2024-03-01").reached["pledged"].low == 3000


@any_of(
    some.integers(0, 2000), some.one_of(some.none(), some.integers(0, 2000)), some.integers(0, 1), some.integers(0, 800)
)
def test_nothing_is_called_missed_while_it_may_have_been_met(
    low: int, more: int | None, unknown: int, after: int
) -> None:
    x = arrived("2024-01-01", low, None if more is None else low + more, unknown)
    on = day("2024-01-01") + timedelta(days=after)
    found = given(a_target(1000), came=[x]).when_asked(on.isoformat())
    may_have_been_met = more is None or low + more >= 1000 or unknown > 0
    assert not (found.status in ("missed", "behind") and may_have_been_met)


def test_terms_name_what_is_counted() -> None:
    terms = terms_of([learned(1, a_target())]).on(day("2024-01-01"))
    assert isinstance(terms, Terms)
    assert terms.measure == DRONES
