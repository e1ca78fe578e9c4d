"""What people read: entries in words, numbers, days, sources."""

from __future__ import annotations

import pytest

from services.projections.dashboard.rendering import day, external, number, page_of, said
from services.projections.names import party, unit
from services.projections.words import counted, in_words
from shared.amounts import Amount
from shared.events import EVENT_TYPES, stored_name
from shared.events.pledges import Relation, Share
from tests.contract.test_golden_events import EVENTS
from tests.examples import a_delivery, a_pledge, a_target, euros, joins, pieces, stated


def test_every_kind_of_entry_has_words() -> None:
    told = {stored_name(event): in_words(event) for event in EVENTS}
    assert told.keys() == EVENT_TYPES.keys()
    assert all(told.values())


def test_entries_are_told_with_the_names_that_people_know() -> None:
    both = (Share(party="DNK"), Share(party="NLD"))
    assert in_words(a_pledge("x", euros(400), by=both)) == "Denmark and Netherlands jointly pledged 400 EUR for drones"
    assert in_words(a_pledge("x", pieces(at_least=2000))) == "United Kingdom pledged at least 2,000 drones"
    more = a_pledge("x", pieces(5), relation=Relation(kind="increase", of=("a", "b", "c")))
    assert in_words(more) == "United Kingdom pledged 5 drones; it adds to a, b and c"
    assert in_words(joins("LVA", instrument="letter_of_intent")) == "Latvia joined drones as member by letter of intent"
    assert in_words(a_target()) == "drones aims at 1,000,000 drones delivered by 2024-12-31"
    assert in_words(a_target(due_by=None)) == "drones aims at 1,000,000 drones delivered, without a deadline"
    assert in_words(a_delivery(covers="so_far")) == "United Kingdom reports 100 pieces delivered so far on x"
    assert in_words(stated("s", euros(almost=500), on="2024-04-24")) == "Latvia stated for drones: almost 500 EUR"


@pytest.mark.parametrize(
    ("said", "capability", "words"),
    [
        (pieces(1), "drone", "1 drone"),
        (pieces(2), "drone.fpv", "2 drones (fpv)"),
        (pieces("thousands"), "drone", "thousands of drones"),
        (pieces(undisclosed=True), "drone", "an undisclosed number of drones"),
        (pieces(about=3), "battery", "about 3 batteries"),
        (pieces(3), "howitzer.155mm", "3 howitzers (155mm)"),
        (pieces(3), "patrol-boat", "3 patrol-boats"),
        (pieces(3), "ammunition.155mm", "3 ammunition (155mm)"),
        (pieces(3), None, "3 pieces"),
        (pieces(1), None, "1 piece"),
        (euros(5), "drone", "5 EUR for drones"),
        (euros(undisclosed=True), None, "an undisclosed amount of EUR"),
    ],
)
def test_a_number_of_things_is_said_as_a_person_would(said: Amount, capability: str | None, words: str) -> None:
    assert counted(said, capability) == words


def test_a_registered_name_goes_before_that_of_the_code() -> None:
    assert party("GBR") == "United Kingdom"
    assert party("GBR", {"GBR": "Britain"}) == "Britain"
    assert (party("XKX"), party("UNKNOWN"), party("NATO")) == ("Kosovo", "not named", "NATO")
    assert (unit("piece"), unit("EUR")) == ("pieces", "euros")


def interval(amount: Amount) -> str:
    return said(
        {
            "low": str(amount.low),
            "high": None if amount.high is None else str(amount.high),
            "about": amount.about,
        }
    )


def test_an_interval_says_no_more_than_is_known() -> None:
    assert interval(pieces(5000)) == "5,000"
    assert interval(pieces(about=5000)) == "about 5,000"
    assert interval(pieces(at_least=2000)) == "at least 2,000"
    assert interval(pieces(at_most=300)) == "up to 300"
    assert interval(pieces(between=(400, 600))) == "400 to 600"
    assert said({"low": "0", "high": None, "about": False}) == "open"


def test_numbers_and_days_are_written_for_people() -> None:
    assert [number(value) for value in ("1234567.5", "-1200", 7, None)] == ["1,234,567.5", "−1,200", "7", "open"]
    assert [day(value) for value in ("2024-02-15", "2024-02", "2024", None)] == ["15 Feb 2024", "Feb 2024", "2024", ""]


def test_only_http_and_https_become_links() -> None:
    link = external({"url": "https://www.example.org/a?b=<c>", "publisher": None, "title": None})
    assert link == (
        '<a href="https://www.example.org/a?b=&lt;c&gt;" rel="noopener noreferrer external">example.org</a>'
    )
    for url in ("javascript:alert(1)", "data:text/html,x", "//example.org", "https://", "http://[broken"):
        assert "href" not in external({"url": url, "publisher": "P", "title": "<T>"})
    assert external({"url": None, "publisher": "P", "title": "<T>"}) == "<span>P, &lt;T&gt;</span>"


def test_a_number_leads_to_the_page_of_its_explanation() -> None:
    assert page_of("/v1/postings?coalition=x") == "/explain?coalition=x"
    assert page_of("/v1/targets/million/progress") == "/targets/million"
    assert page_of("/v1/coalitions/x?on=2024") == "/coalitions/x?on=2024"
