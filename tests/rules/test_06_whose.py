"""Rule 6: whose, and for whom."""

from __future__ import annotations

from hypothesis import given as for_any
from hypothesis import strategies as st

from services.commitments.domain.refusals import SharesExceed
from shared.events.pledges import Share
from tests.examples import a_pledge, euros
from tests.given import given, totals

JOINT = (Share(party="DNK"), Share(party="NLD"))


def test_rule_6_a_joint_pledge_counts_once_as_one_row_of_the_group() -> None:
    rows = totals(given(a_pledge("x", euros(400), by=JOINT))).rows()
    assert [(row.donors, vector.low) for row, vector in rows.items()] == [(("DNK", "NLD"), 400)]


def test_rule_6_rows_by_donor_add_up_to_the_total_exactly() -> None:
    donors = (Share(party="DNK", share=euros(150)), Share(party="NLD"), Share(party="LVA"))
    rows = totals(given(a_pledge("x", euros(400), by=donors))).rows()
    assert {row.donors: vector.low for row, vector in rows.items()} == {("DNK",): 150, ("NLD", "LVA"): 250}


def test_rule_6_shares_beyond_the_whole_are_refused() -> None:
    donors = (Share(party="DNK", share=euros(300)), Share(party="NLD", share=euros(200)))
    given().when(a_pledge("x", euros(400), by=donors)).refused(SharesExceed)


def test_rule_6_beneficiaries_without_shares_are_one_row_of_the_group() -> None:
    rows = totals(given(a_pledge("x", euros(400), beneficiaries=(Share(party="UKR"), Share(party="LTU"))))).rows()
    assert [(row.beneficiaries, vector.low) for row, vector in rows.items()] == [(("UKR", "LTU"), 400)]


def test_rule_6_beneficiaries_with_shares_are_rows_of_their_own() -> None:
    shared = (Share(party="UKR", share=euros(300)), Share(party="LTU", share=euros(100)))
    rows = totals(given(a_pledge("x", euros(400), beneficiaries=shared))).rows()
    assert {row.beneficiaries: vector.low for row, vector in rows.items()} == {("UKR",): 300, ("LTU",): 100}


def test_rule_6_where_both_sides_have_shares_only_what_must_be_between_two_is_theirs() -> None:
    donors = (Share(party="DNK", share=euros(100)), Share(party="NLD", share=euros(300)))
    beneficiaries = (Share(party="UKR", share=euros(300)), Share(party="LTU", share=euros(100)))
    found = totals(given(a_pledge("x", euros(400), by=donors, beneficiaries=beneficiaries)))
    assert {(row.donors, row.beneficiaries): vector.low for row, vector in found.rows().items()} == {
        (("NLD",), ("UKR",)): 200,
        (("NLD",), ("UKR", "LTU")): 100,
        (("DNK",), ("UKR", "LTU")): 100,
    }
    assert (found.total("pledged", "EUR").low, found.total("pledged", "EUR").pledges) == (400, 1)


@for_any(
    st.lists(st.integers(1, 9), min_size=2, max_size=4),
    st.lists(st.integers(1, 9), min_size=2, max_size=4),
    st.booleans(),
)
def test_rule_6_split_both_ways_rows_add_up_to_the_whole_and_to_every_donor(
    gives: list[int], gets: list[int], hangs: bool
) -> None:
    whole = max(sum(gives), sum(gets))
    donors = tuple(
        Share(party=party, share=euros(n)) for party, n in zip(("DNK", "NLD", "GBR", "CAN"), gives, strict=False)
    )
    to = tuple(Share(party=party, share=euros(n)) for party, n in zip(("UKR", "LTU", "LVA", "GBR"), gets, strict=False))
    conditions = "if agreed" if hangs else None
    found = totals(given(a_pledge("x", euros(whole), by=donors, beneficiaries=to, conditions=conditions)))
    total = found.total("pledged", "EUR")
    assert (total.low, total.high, total.pledges) == (whole, whole, 1)
    assert total.conditional == (whole if hangs else 0)
    for party, n in zip(("DNK", "NLD", "GBR", "CAN"), gives, strict=False):
        assert found.total("pledged", "EUR", donors=(party,)).low == n
    for party, n in zip(("UKR", "LTU", "LVA", "GBR"), gets, strict=False):
        assert found.total("pledged", "EUR", beneficiaries=(party,)).low <= n
    assert all(vector.low > 0 for vector in found.rows().values())
