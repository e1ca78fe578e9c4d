"""Rules 10, 12 and 14: statements are never posted, names are known, everything a source says has a home."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from services.commitments.domain.commands import Record
from services.commitments.domain.refusals import AlreadyRecorded, Unknown, UnknownName
from shared.codec import decode, encode
from shared.days import Said
from shared.events import Entry, stored_name
from shared.sources import Reference, Source
from tests.examples import a_coalition, a_delivery, a_pledge, a_target, euros, joins, pieces, stated
from tests.given import given, totals


def test_rule_10_a_statement_is_never_posted() -> None:
    ledger = given(a_coalition(), a_pledge("x", euros(5), coalition="drones"))
    said = stated("s", euros(1_800_000_000), on="2024-12-31")
    assert totals(ledger.and_given(said)).postings == totals(ledger).postings


@pytest.mark.parametrize("entry", [a_delivery(of="nobody"), joins("GBR")])
def test_rule_12_an_unknown_name_in_the_path_is_not_found(entry: Entry) -> None:
    given().when(entry).refused(Unknown)


@pytest.mark.parametrize(
    ("entry", "pointer"),
    [
        (a_pledge("x", pieces(1), by="XXX"), "/donors/0/party"),
        (a_pledge("x", pieces(1), coalition="nowhere"), "/coalition"),
        (a_target(coalition="nowhere"), "/coalition"),
    ],
)
def test_rule_12_an_unknown_name_in_a_body_is_pointed_at(entry: Entry, pointer: str) -> None:
    assert given().when(entry).refused(UnknownName).pointer == pointer


def test_rule_12_capability_codes_need_no_registration() -> None:
    given().when(a_pledge("x", pieces(1), capability="drone.never-heard-of")).flagged()


def test_rule_12_an_id_is_taken_for_good() -> None:
    given(a_pledge("x", pieces(1))).when(a_pledge("x", pieces(2))).refused(AlreadyRecorded)


def test_rule_11_a_put_is_compared_with_the_opening_entry_so_500_equals_500_0() -> None:
    from decimal import Decimal

    from shared.amounts import number

    same = a_pledge("x", pieces(number("500.0")))
    given(a_pledge("x", pieces(Decimal(500)))).when(Record(entry=same)).then()


def test_rule_14_labels_refs_note_and_kinds_of_sources_are_kept() -> None:
    said = replace(
        a_pledge("x", pieces(1)),
        labels={"sector": ("air", "land"), "emergency": ("ukr",)},
        refs=(Reference(scheme="fts", id="1", version="2"),),
        note="as read out",
        sources=(
            Source(publisher="Ministry", title="Letter", kind="official", published_on=Said("2024-02-15")),
            Source(url="https://example.org", kind="media", archived_url="https://archive.example.org"),
        ),
    )
    recorded = given(said).log[0]
    assert decode(stored_name(recorded), encode(recorded)) == said
