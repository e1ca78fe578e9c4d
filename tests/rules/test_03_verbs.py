"""Rule 3: which verb."""

from __future__ import annotations

import pytest

from services.commitments.domain.commands import Cite, Command, Correct, Record, Retract
from services.commitments.domain.refusals import NameRetracted, NotCorrectable, OtherEntry, StillStands
from shared.events import Entry
from shared.events.amendments import EntryCorrected, EntryRetracted, SourcesAdded
from shared.sources import Source
from tests.examples import a_coalition, a_delivery, a_pledge, pieces, revised
from tests.given import event_id, given, totals


def test_rule_3_what_changed_is_revised_from_its_day_and_what_never_was_is_corrected_from_the_beginning() -> None:
    opened = given(a_pledge("x", pieces(500)))
    changed = opened.and_given(revised("x", pieces(800), on="2024-06-01"))
    never_so = opened.after(
        Correct(stream="pledge-x", entry_id=event_id(1), now=a_pledge("x", pieces(800)), reason="misread")
    )
    assert totals(changed).interval("pledged", on="2024-03-01") == (500, 500)
    assert totals(never_so).interval("pledged", on="2024-03-01") == (800, 800)
    assert totals(never_so).interval("pledged", on="2024-03-01", known=1) == (500, 500)


def test_rule_3_what_never_happened_is_retracted() -> None:
    ledger = given(a_pledge("x", pieces(500)), revised("x", pieces(800), on="2024-06-01"))
    retract = Retract(stream="pledge-x", entry_id=event_id(2), reason="never happened")
    ledger.when(retract).then(EntryRetracted)
    assert totals(ledger.after(retract)).interval("pledged") == (500, 500)


def test_rule_3_an_opening_entry_on_which_something_stands_is_not_retracted_and_the_refusal_lists_what() -> None:
    ledger = given(a_coalition(), a_pledge("x", pieces(500), coalition="drones"), a_delivery())
    refused = ledger.when(Retract(stream="pledge-x", entry_id=event_id(2), reason="no")).refused(StillStands)
    assert event_id(3) in str(refused)
    ledger.when(Retract(stream="pledge-x", entry_id=event_id(3), reason="no")).then(EntryRetracted)


def test_rule_3_said_again_elsewhere_is_a_source_and_changes_no_total() -> None:
    ledger = given(a_pledge("x", pieces(500)))
    again = Cite(stream="pledge-x", entry_id=event_id(1), sources=(Source(url="https://example.org/again"),))
    ledger.when(again).then(SourcesAdded)
    assert totals(ledger.after(again)).postings == totals(ledger).postings


def test_rule_3_a_name_once_used_stays_used() -> None:
    ledger = given(a_pledge("x", pieces(5))).after(Retract(stream="pledge-x", entry_id=event_id(1), reason="no"))
    assert ledger.when(a_pledge("x", pieces(5))).refused(NameRetracted).code == "retracted"


def test_rule_3_a_correction_may_be_corrected_again_and_neither_it_nor_a_retraction_is_retracted() -> None:
    once = Correct(stream="pledge-x", entry_id=event_id(1), now=a_pledge("x", pieces(6)), reason="misread")
    ledger = given(a_pledge("x", pieces(5))).after(once)
    ledger.when(Retract(stream="pledge-x", entry_id=event_id(2), reason="no")).refused(NotCorrectable)
    again = Correct(stream="pledge-x", entry_id=event_id(1), now=a_pledge("x", pieces(7)), reason="misread again")
    ledger.when(again).then(EntryCorrected)
    assert totals(ledger.after(again)).interval("pledged") == (7, 7)


@pytest.mark.parametrize(
    ("now", "stands"),
    [(a_delivery("d1", pieces(9)), True), (a_delivery("d2", pieces(9)), False)],
    ids=["the same delivery", "another one"],
)
def test_rule_3_a_correction_says_the_whole_new_fact_about_the_same_thing(now: Entry, stands: bool) -> None:
    ledger = given(a_pledge("x", pieces(500)), a_delivery("d1", pieces(5)))
    command: Command = Correct(stream="pledge-x", entry_id=event_id(2), now=now, reason="misread")
    if stands:
        ledger.when(command).then(EntryCorrected)
    else:
        ledger.when(command).refused(OtherEntry)


def test_rule_3_every_verb_said_twice_changes_nothing() -> None:
    ledger = given(a_pledge("x", pieces(5)))
    for command in (
        Record(entry=revised("x", pieces(6), on="2024-06-01")),
        Correct(stream="pledge-x", entry_id=event_id(1), now=a_pledge("x", pieces(4)), reason="misread"),
    ):
        ledger.after(command).when(command).then()
