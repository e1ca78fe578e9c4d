"""A pledge with thousands of deliveries is told in parts: the same postings, at the cost of what was touched."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given as for_any
from hypothesis import settings
from hypothesis import strategies as st
from msgspec.structs import replace

from services.projections.postings import Account, learned, standing_of
from shared.amounts import ZERO
from shared.events import Entry
from shared.events.pledges import DeliveryReported, PledgeRelated
from shared.timeline import Learned, difference, live
from tests.examples import a_delivery, a_pledge, confirmed, disputed, pieces, reversed_, revised, withdrawn
from tests.integration.random_ledgers import Dice

MANY = 2_000


def learn_and_compare(said: list[Learned[Entry]]) -> Account:
    """Learn one by one; each entry posts the difference between the whole told before and after it."""
    account = Account("pledge-p0")
    before = standing_of("pledge-p0", {})
    for n, one in enumerate(said, start=1):
        after = standing_of("pledge-p0", live(said[:n]))
        assert account.learn(one.position, one.fact, one.amends) == difference(before, after), said[:n]
        before = after
    return account


def a_story(seed: int, *, plain: bool) -> list[Learned[Entry]]:
    """What happens to one pledge, in any order; `plain`: nothing is "so far", and it is one pledge all along."""
    dice = Dice(seed, pledges=2)
    said: list[Learned[Entry]] = []
    opening = replace(dice.announced(), pledge="p0")
    if plain:
        opening = replace(opening, relation=None)
    said.append(Learned(1, opening))
    for event in dice.ledger(120):
        fact = learned(event)
        if event.stream != "pledge-p0" or fact is None:
            continue
        entry, amends = fact
        if plain and (
            isinstance(entry, PledgeRelated)
            or (amends is None and entry is not None and entry.OPENS and not isinstance(entry, DeliveryReported))
        ):
            continue
        if plain and isinstance(entry, DeliveryReported):
            entry = replace(entry, covers="this")
        said.append(Learned(event.position + 1, entry, None if amends is None else amends + 1))
    places = {one.position for one in said}
    return [one for one in said if one.amends is None or one.amends in places]


@settings(max_examples=60, deadline=None)
@for_any(st.integers(0, 10**9), st.booleans())
def test_in_parts_a_pledge_posts_what_it_posts_as_a_whole(seed: int, plain: bool) -> None:
    learn_and_compare(a_story(seed, plain=plain))


def big(*, ceiling: int | None = None) -> tuple[Account, list[Learned[Entry]]]:
    opening = a_pledge("p0", pieces(ceiling) if ceiling else pieces("thousands"))
    deliveries = [
        a_delivery(f"d{n}", pieces(1), of="p0", on=f"2024-{n % 12 + 1:02}-{n % 28 + 1:02}") for n in range(MANY)
    ]
    said: list[Learned[Entry]] = [Learned(n, entry) for n, entry in enumerate([opening, *deliveries], start=1)]
    return Account.of("pledge-p0", said), said


LATER: dict[str, list[tuple[Entry | None, int | None]]] = {
    "reported": [(a_delivery(f"new{n}", pieces(1), of="p0"), None) for n in range(200)],
    "confirmed": [(confirmed(f"d{n}", of="p0", on="2024-12-30", said=pieces(1)), None) for n in range(200)],
    "disputed": [(disputed(f"d{n}", of="p0", on="2024-12-30"), None) for n in range(200)],
    "reversed": [(reversed_(f"d{n}", of="p0", on="2024-12-30"), None) for n in range(200)],
    "corrected": [(a_delivery(f"d{n}", pieces(2), of="p0", on="2024-05-05"), n + 2) for n in range(200)],
    "retracted": [(None, n + 2) for n in range(200)],
    "revised": [(revised("p0", pieces(10_000 + n), on="2024-06-01"), None) for n in range(20)],
    "withdrawn": [(withdrawn("p0", on="2024-12-30"), None)],
}


@pytest.mark.parametrize("ceiling", [None, 100_000], ids=["an open pledge", "a closed one"])
@pytest.mark.parametrize("what", LATER)
def test_what_happens_to_one_of_thousands_of_deliveries_costs_one(what: str, ceiling: int | None) -> None:
    account, said = big(ceiling=ceiling)
    before = account.told
    assert before == len(said)
    standing = standing_of("pledge-p0", live(said))
    for n, (entry, amends) in enumerate(LATER[what], start=len(said) + 1):
        for key, vector in account.learn(n, entry, amends).items():
            standing[key] = standing.get(key, ZERO) + vector
        said.append(Learned(n, entry, amends))
    assert account.told - before == len(LATER[what])
    assert {key: vector for key, vector in standing.items() if vector} == standing_of("pledge-p0", live(said))


def test_what_exceeds_the_pledge_is_its_surplus() -> None:
    account, said = big(ceiling=MANY)
    one_more = a_delivery("more", pieces(5), of="p0", on="2024-12-31")
    postings = account.learn(len(said) + 1, one_more)
    assert sum(vector.surplus for vector in postings.values()) == 5


def test_a_batch_over_many_pledges_costs_its_entries_and_the_facts_they_touch() -> None:
    random = Random(1)
    accounts = [big()[0] for _ in range(3)]
    told = sum(account.told for account in accounts)
    for n in range(300):
        account = random.choice(accounts)
        delivery = random.randrange(MANY)
        now = a_delivery(f"d{delivery}", pieces(3), of="p0", on="2024-07-07")
        account.learn(MANY + 2 + n, now, delivery + 2)
    assert sum(account.told for account in accounts) - told == 300
