"""rules.md 2: every number is a timeline; postings are differences."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from shared.amounts import ZERO, Vector
from shared.timeline import Fact, Learned, changes, choices, difference, live, steps

START = date(2024, 3, 1)
LEARNED = list[Learned[Fact[Vector]]]


def on(day: int, count: int, *, sets: bool = False, position: int = 0) -> Fact[Vector]:
    return Fact(START + timedelta(day), position, Vector(low=Decimal(count)), sets=sets)


@st.composite
def ledgers(draw: st.DrawFn) -> LEARNED:
    """Random set-points, increments, corrections and retractions, in any order of days."""
    learned: LEARNED = []
    standing: list[int] = []
    for position in range(1, draw(st.integers(1, 12)) + 1):
        fact = on(draw(st.integers(0, 6)), draw(st.integers(0, 5)), sets=draw(st.booleans()))
        kind = draw(st.sampled_from(["new", "new", "correct", "retract"])) if standing else "new"
        if kind == "new":
            learned.append(Learned(position, Fact(fact.day, position, fact.value, fact.sets)))
            standing.append(position)
            continue
        place = draw(st.sampled_from(standing))
        if kind == "retract":
            standing.remove(place)
            learned.append(Learned(position, None, amends=place))
        else:
            learned.append(Learned(position, Fact(fact.day, place, fact.value, fact.sets), amends=place))
    return learned


def by_the_rule(learned: LEARNED, *, known: int, day: date) -> Vector:
    """The rule word for word: the last set-point plus the increments after it, in order of (day, position)."""
    facts: dict[int, Fact[Vector]] = {}
    for entry in learned[:known]:
        place = entry.amends or entry.position
        if entry.fact is None:
            del facts[place]
        else:
            facts[place] = entry.fact
    ordered = sorted((fact.day, place, fact) for place, fact in facts.items() if fact.day <= day)
    last = max((n for n, (_, _, fact) in enumerate(ordered) if fact.sets), default=-1)
    total = ordered[last][2].value if last >= 0 else ZERO
    return sum((fact.value for _, _, fact in ordered[last + 1 :]), total)


def postings(learned: LEARNED) -> list[tuple[int, date, Vector]]:
    found = []
    before: dict[date, Vector] = {}
    for n in range(1, len(learned) + 1):
        after = changes(steps(live(learned[:n]).values(), ZERO))
        found += [(n, day, vector) for day, vector in difference(before, after).items()]
        before = after
    return found


@given(ledgers())
def test_the_sum_of_postings_is_the_value_for_every_on_and_known(learned: LEARNED) -> None:
    posted = postings(learned)
    for known in range(len(learned) + 1):
        for offset in range(-1, 8):
            day = START + timedelta(offset)
            total = sum((v for position, d, v in posted if position <= known and d <= day), ZERO)
            assert total == by_the_rule(learned, known=known, day=day)


@given(ledgers())
def test_what_changed_nothing_posts_nothing(learned: LEARNED) -> None:
    assert all(vector for _, _, vector in postings(learned))


def test_late_news_and_a_retraction_change_every_day_they_touch() -> None:
    learned = [
        Learned(1, on(0, 500, sets=True, position=1)),
        Learned(2, on(9, 800, sets=True, position=2)),
        Learned(3, on(4, 600, sets=True, position=3)),
        Learned(4, None, amends=2),
    ]
    posted = {(position, day.day, int(vector.low)) for position, day, vector in postings(learned)}
    assert posted == {(1, 1, 500), (2, 10, 300), (3, 5, 100), (3, 10, -100), (4, 10, -200)}
    twelfth = date(2024, 3, 12)
    assert [by_the_rule(learned, known=k, day=twelfth).low for k in (2, 3, 4)] == [800, 800, 600]


def test_a_set_point_since_a_day_leaves_what_stood_before_that_day() -> None:
    facts = [
        on(0, 7),
        on(5, 2, position=2),
        Fact(START + timedelta(6), 3, Vector(low=Decimal(10)), True, START + timedelta(3)),
    ]
    timeline = steps(facts, ZERO)
    assert [timeline.on(START + timedelta(n)).low for n in (0, 5, 6)] == [7, 9, 17]


def test_a_correction_keeps_its_place_among_the_facts_of_one_day() -> None:
    learned = [
        Learned(1, on(0, 10, sets=True, position=1)),
        Learned(2, on(0, 20, sets=True, position=2)),
        Learned(3, on(0, 99, sets=True, position=1), amends=1),
    ]
    assert steps(live(learned).values(), ZERO).on(START).low == 20


def test_choices_hold_from_their_day_on() -> None:
    roles = choices([(date(2024, 7, 11), 2, "member"), (date(2024, 2, 14), 1, "applicant")], None)
    assert [roles.on(date(2024, m, 20)) for m in (1, 2, 7)] == [None, "applicant", "member"]
    assert roles.until(date(2024, 7, 11)) == "applicant"
