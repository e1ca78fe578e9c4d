"""rules.md 3, 4, 5, 11, 12, 13: what is recorded, what was so already, what is refused, what is flagged."""

from __future__ import annotations

import pytest

from services.commitments.domain.commands import Cite, Command, Correct, Record, Retract
from services.commitments.domain.decider import decide
from services.commitments.domain.refusals import (
    AlreadyRecorded,
    Ended,
    HasDeliveries,
    NameRetracted,
    NotAMemberYet,
    NotCorrectable,
    OtherEntry,
    ProducedByAParty,
    RelatesToItself,
    Restates,
    SharesExceed,
    StaleVersion,
    StillStands,
    Unknown,
    UnknownName,
    UpsideDown,
    WrongUnit,
)
from shared.days import Said
from shared.events import Entry
from shared.events.amendments import EntryCorrected, EntryRetracted, SourcesAdded
from shared.events.coalitions import (
    CoalitionDissolved,
    CoalitionFormed,
    CoalitionRenamed,
    CoalitionReviewed,
    Member,
    MemberChanged,
    MemberJoined,
    MemberLeft,
)
from shared.events.parties import PartyRegistered
from shared.events.pledges import (
    Also,
    DeliveryConfirmed,
    DeliveryReported,
    PledgeAllocated,
    PledgeAnnounced,
    PledgeCommitted,
    PledgeReallocated,
    PledgeRelated,
    PledgeRevised,
    PledgeWithdrawn,
    Relation,
    Share,
)
from shared.events.targets import TargetClosed, TargetRevised, TargetSet
from shared.sources import Source
from tests.examples import (
    a_coalition,
    a_delivery,
    a_pledge,
    a_target,
    confirmed,
    disputed,
    euros,
    joins,
    pieces,
    produced,
    reversed_,
    revised,
    stated,
    target_revised,
    withdrawn,
)
from tests.given import Ledger, event_id, given

LEADS = (Member(party="LVA", role="lead"), Member(party="GBR", role="lead", on=Said("2024-02-15")))
ELSEWHERE = (Source(url="https://example.org/elsewhere"),)


def correct(position: int, now: Entry) -> Correct:
    return Correct(stream=now.stream, entry_id=event_id(position), now=now, reason="misread")


def retract(position: int, stream: str) -> Retract:
    return Retract(stream=stream, entry_id=event_id(position), reason="never happened")


# ------------------------------------------------------------------------------- saying it twice

WORLD = given(
    a_coalition(members=LEADS),
    a_pledge("x", pieces(500)),
    a_delivery("d1"),
    a_target(),
)
EVERYTHING: list[Command | Entry] = [
    PartyRegistered(party="NATO", name="NATO", kind="organisation"),
    a_coalition("shells"),
    joins("DNK"),
    joins("GBR", on="2024-07-11", role="member", instrument="mou"),
    MemberLeft(coalition="drones", party="GBR", on=Said("2024-12-01")),
    CoalitionRenamed(coalition="drones", name="Unmanned", on=Said("2024-12-01")),
    CoalitionDissolved(coalition="drones", on=Said("2024-12-01")),
    CoalitionReviewed(coalition="drones", on=Said("2024-12-01")),
    a_target("other"),
    target_revised(on="2024-07-11", due_by=Said("2025-02-24")),
    TargetClosed(target="million", on=Said("2025-01-01"), outcome="given up"),
    a_pledge("y", pieces(at_least=1)),
    revised("x", pieces(600), on="2024-03-01"),
    PledgeCommitted(pledge="x", on=Said("2024-03-01"), amount=pieces(100)),
    PledgeRelated(pledge="x", on=Said("2024-03-01"), relation=Relation(kind="increase")),
    PledgeReallocated(pledge="x", on=Said("2024-03-01"), coalition="drones"),
    withdrawn("x", on="2024-12-01"),
    a_delivery("d2"),
    confirmed("d1", on="2024-07-01"),
    disputed("d1", on="2024-07-01"),
    reversed_("d1", on="2024-07-01"),
    produced("in-2024", pieces(over=1_500_000), start="2024", end="2024"),
    stated("483", euros(483_000_000), on="2024-04-24"),
    correct(2, a_pledge("x", pieces(400))),
    retract(3, "pledge-x"),
    Cite(stream="pledge-x", entry_id=event_id(2), sources=ELSEWHERE),
]


@pytest.mark.parametrize("command", EVERYTHING, ids=lambda command: type(getattr(command, "entry", command)).__name__)
def test_every_command_decided_twice_adds_nothing_the_second_time(command: Command | Entry) -> None:
    asked = Record(entry=command) if isinstance(command, Entry) else command
    once = WORLD.after(asked)
    assert len(once.log) == len(WORLD.log) + 1
    assert decide(once.world, asked).entries == ()


def test_a_repeated_put_names_the_entry_that_says_so() -> None:
    assert WORLD.when(a_pledge("x", pieces(500))).decision().of == event_id(2)


def test_another_body_under_a_taken_name_is_refused_and_told_where_it_differs() -> None:
    refusal = WORLD.when(a_pledge("x", pieces(501), capability="drone.fpv")).refused(AlreadyRecorded)
    assert refusal.facts["fields"] == ["capability", "amount"]


def test_a_put_is_compared_with_the_opening_entry_and_never_with_what_became_of_it() -> None:
    ledger = WORLD.and_given(revised("x", pieces(900), on="2024-03-01"))
    ledger.when(a_pledge("x", pieces(500))).then()


def test_a_put_is_compared_with_the_opening_entry_as_corrected() -> None:
    ledger = WORLD.after(correct(2, a_pledge("x", pieces(400))))
    ledger.when(a_pledge("x", pieces(400))).then()
    ledger.when(a_pledge("x", pieces(500))).refused(AlreadyRecorded)


# ----------------------------------------------------------------------------------- names


def test_an_unknown_thing_in_the_path_is_not_found() -> None:
    given().when(a_delivery(of="nobody")).refused(Unknown)
    WORLD.when(confirmed("no-such", on="2024-07-01")).refused(Unknown)


@pytest.mark.parametrize(
    ("entry", "pointer"),
    [
        (a_pledge("y", by="ATLANTIS"), "/donors/0/party"),
        (a_pledge("y", coalition="nope"), "/coalition"),
        (a_pledge("y", relation=Relation(kind="restates", of=("x", "nope"))), "/relation/of/1"),
        (a_target("other", coalition="nope"), "/coalition"),
        (a_delivery("d9", reported_by="ATLANTIS"), "/reported_by"),
        (a_coalition("other", members=(Member(party="ATLANTIS", role="lead"),)), "/members/0/party"),
    ],
)
def test_an_unknown_name_in_a_body_is_pointed_at(entry: Entry, pointer: str) -> None:
    assert WORLD.when(entry).refused(UnknownName).pointer == pointer


def test_a_registered_party_can_be_named() -> None:
    nato = PartyRegistered(party="NATO", name="NATO", kind="organisation")
    WORLD.and_given(nato).when(a_pledge("y", by="NATO")).then(PledgeAnnounced)


def test_a_name_once_used_stays_used() -> None:
    ledger = given(a_pledge("x", pieces(5))).after(retract(1, "pledge-x"))
    ledger.when(a_pledge("x", pieces(5))).refused(NameRetracted)
    ledger.when(a_delivery("d1")).refused(NameRetracted)


# -------------------------------------------------------------------------------- versions


def test_a_command_made_for_an_older_version_is_refused() -> None:
    refusal = WORLD.when(revised("x", pieces(600), on="2024-03-01"), if_match=1).refused(StaleVersion)
    assert (refusal.facts["expected"], refusal.facts["actual"]) == (1, 2)
    WORLD.when(revised("x", pieces(600), on="2024-03-01"), if_match=2).then(PledgeRevised)


def test_names_are_checked_before_the_version_and_the_version_before_the_rules() -> None:
    ledger = WORLD.and_given(withdrawn("x", on="2024-03-01"))
    ledger.when(a_pledge("x", by="ATLANTIS"), if_match=9).refused(UnknownName)
    ledger.when(revised("x", pieces(600), on="2024-04-01"), if_match=9).refused(StaleVersion)
    ledger.when(revised("x", pieces(600), on="2024-04-01"), if_match=3).refused(Ended)


# -------------------------------------------------------------------------------- members


def test_a_member_that_joins_again_changes_its_role_or_instrument() -> None:
    ledger = given(a_coalition(members=LEADS))
    ledger.when(joins("DNK")).then(MemberJoined)
    (changed,) = (
        ledger.and_given(joins("DNK")).when(joins("DNK", on="2024-07-11", instrument="mou")).then(MemberChanged)
    )
    assert isinstance(changed, MemberChanged)
    assert changed.instrument == "mou"


def test_who_was_there_from_the_beginning_need_not_join() -> None:
    given(a_coalition(members=LEADS)).when(joins("GBR", role="lead")).then()


def test_only_a_member_can_leave_and_then_join_again() -> None:
    leave = MemberLeft(coalition="drones", party="DNK", on=Said("2024-05-01"))
    ledger = given(a_coalition(), joins("DNK", on="2024-03-01"))
    ledger.when(MemberLeft(coalition="drones", party="DNK", on=Said("2024-02-01"))).refused(NotAMemberYet)
    ledger.and_given(leave).when(joins("DNK", on="2024-06-01")).then(MemberJoined)


def test_a_coalition_ends_once() -> None:
    ended = WORLD.and_given(CoalitionDissolved(coalition="drones", on=Said("2024-12-01")))
    ended.when(CoalitionDissolved(coalition="drones", on=Said("2024-12-02"))).refused(Ended)


# -------------------------------------------------------------------------------- targets


def test_a_target_keeps_its_unit_and_is_not_revised_once_closed() -> None:
    WORLD.when(target_revised(on="2024-07-11", amount=euros(5))).refused(WrongUnit)
    (revision,) = WORLD.when(target_revised(on="2024-07-11", amount=pieces(5))).then(TargetRevised)
    assert revision.coalitions == ("drones",)
    closed = WORLD.and_given(TargetClosed(target="million", on=Said("2025-01-01"), outcome="given up"))
    closed.when(target_revised(on="2024-07-11", amount=pieces(5))).refused(Ended)


def test_a_target_does_not_end_before_it_begins() -> None:
    WORLD.when(a_target("other", due_by="2024-02-14")).refused(UpsideDown)
    WORLD.when(target_revised(on="2024-07-11", due_by=Said("2023"))).refused(UpsideDown)
    WORLD.when(a_target("other", due_by=None)).then(TargetSet)


def test_what_is_produced_counts_towards_a_partys_own_target() -> None:
    WORLD.when(a_target("own", counts="produced")).refused(ProducedByAParty)
    WORLD.when(a_target("own", counts="produced", coalition=None, party="UKR")).then(TargetSet)


# -------------------------------------------------------------------------------- pledges


def test_shares_fit_into_the_whole_and_count_in_its_unit() -> None:
    def shared_by(*shares: Share) -> PledgeAnnounced:
        return a_pledge("y", euros(400), by=shares)

    given().when(shared_by(Share(party="DNK", share=euros(100)), Share(party="NLD", share=euros(300)))).then(
        PledgeAnnounced
    )
    given().when(shared_by(Share(party="DNK", share=euros(401)), Share(party="NLD"))).refused(SharesExceed)
    refusal = given().when(shared_by(Share(party="DNK"), Share(party="NLD", share=pieces(1)))).refused(WrongUnit)
    assert refusal.pointer == "/donors/1/share/unit"
    given().when(a_pledge("y", None, by=(Share(party="DNK", share=euros(1)),))).refused(SharesExceed)


def test_a_restatement_carries_no_stages_and_no_deliveries() -> None:
    again = Relation(kind="restates", of=("x",))
    ledger = WORLD.and_given(a_pledge("y", pieces(at_least=400), relation=again))
    ledger.when(a_delivery("d1", of="y")).refused(Restates)
    ledger.when(PledgeCommitted(pledge="y", on=Said("2024-03-01"), amount=pieces(1))).refused(Restates)
    ledger.when(
        PledgeRelated(pledge="x", on=Said("2024-03-01"), relation=Relation(kind="restates", of=("y",)))
    ).refused(HasDeliveries)


def test_nothing_relates_to_itself() -> None:
    WORLD.when(PledgeRelated(pledge="x", on=Said("2024-03-01"), relation=Relation(kind="part_of", of=("x",)))).refused(
        RelatesToItself
    )


def test_what_was_withdrawn_does_not_change_after_that_day() -> None:
    ledger = WORLD.and_given(withdrawn("x", on="2024-05-01"))
    ledger.when(revised("x", pieces(600), on="2024-06-01")).refused(Ended)
    ledger.when(PledgeCommitted(pledge="x", on=Said("2024-06-01"), amount=pieces(1))).refused(Ended)
    ledger.when(withdrawn("x", on="2024-06-01")).refused(Ended)
    ledger.when(revised("x", pieces(600), on="2024-04-01")).then(PledgeRevised)
    ledger.when(a_delivery("late", on="2024-06-01")).flagged("withdrawn")


def test_a_reversed_delivery_is_over() -> None:
    ledger = WORLD.and_given(reversed_("d1", on="2024-07-01"))
    ledger.when(confirmed("d1", on="2024-08-01")).refused(Ended)


def test_an_entry_stands_in_the_context_of_its_day() -> None:
    ledger = WORLD.and_given(PledgeReallocated(pledge="x", on=Said("2024-04-01"), coalition="drones"))
    (before,) = ledger.when(a_delivery("d2", on="2024-03-31")).then(DeliveryReported)
    (after,) = ledger.when(a_delivery("d3", on="2024-04-01")).then(DeliveryReported)
    assert (before.coalitions, after.coalitions) == ((), ("drones",))
    assert after.parties == ("GBR",)


# -------------------------------------------------------------------------------- flags


def test_real_life_is_accepted_and_flagged() -> None:
    coalition = given(a_coalition(members=LEADS))
    coalition.when(a_pledge("y", pieces(5), coalition="drones", by="DNK")).flagged("not-a-member")
    coalition.when(a_pledge("y", pieces(5), coalition="drones", announced_on="2024-02-14")).flagged("not-a-member")
    coalition.when(a_pledge("y", pieces(5), coalition="drones")).flagged()
    given().when(a_pledge("y", pieces(5), conditions="if approved")).flagged("conditional")
    given().when(a_pledge("y", euros(5), by=(Share(party="DNK"), Share(party="NLD")))).flagged("unknown-share")
    given().when(a_pledge("y", pieces(5), announced_on="2025-01-01")).flagged("future-dated")


def test_a_delivery_above_the_pledge_or_in_another_unit_is_flagged() -> None:
    WORLD.when(a_delivery("d2", pieces(401))).flagged("delivered-above-pledged")
    WORLD.when(a_delivery("d2", pieces(400))).flagged()
    WORLD.when(a_delivery("d2", euros(5))).flagged("other-unit")
    also = given(a_pledge("y", pieces(5), also=(Also(amount=euros(45)),)))
    also.when(a_delivery("d1", euros(5), of="y")).flagged()


def test_stages_above_the_stage_before_are_flagged() -> None:
    committed = PledgeCommitted(pledge="x", on=Said("2024-03-01"), amount=pieces(501))
    WORLD.when(committed).flagged("committed-above-pledged")
    allocated = PledgeAllocated(pledge="x", on=Said("2024-04-01"), amount=pieces(502))
    WORLD.and_given(committed).when(allocated).flagged("allocated-above-committed")


# ------------------------------------------------------------------- corrected, retracted, cited


def test_a_correction_says_the_same_kind_of_thing_about_the_same_name() -> None:
    (corrected,) = WORLD.when(correct(2, a_pledge("x", pieces(400)))).then(EntryCorrected)
    assert isinstance(corrected, EntryCorrected)
    assert (corrected.entry_position, corrected.entry_type) == (2, "muster.pledge.announced.v1")
    WORLD.when(correct(3, a_pledge("x", pieces(400)))).refused(OtherEntry)
    WORLD.when(correct(3, a_delivery("d2"))).refused(OtherEntry)


def test_a_correction_that_moves_an_entry_is_heard_by_both_coalitions() -> None:
    ledger = given(a_coalition("drones"), a_coalition("shells"), a_pledge("x", pieces(5), coalition="drones"))
    now = a_pledge("x", pieces(5), coalition="shells", by="LVA")
    (corrected,) = ledger.when(correct(3, now)).then(EntryCorrected)
    assert (corrected.coalitions, corrected.parties) == (("drones", "shells"), ("GBR", "LVA"))


def test_a_correction_is_refused_if_what_follows_could_not_stand_on_it() -> None:
    ledger = WORLD.and_given(revised("x", pieces(600), on="2024-03-01"))
    ledger.when(correct(2, a_pledge("x", euros(400)))).refused(StillStands)
    ledger.when(correct(2, a_pledge("x", pieces(400)))).then(EntryCorrected)
    restates = a_pledge("x", pieces(500), relation=Relation(kind="restates"))
    ledger.when(correct(2, restates)).refused(HasDeliveries)


def test_an_opening_entry_is_retracted_only_when_nothing_live_stands_on_it() -> None:
    refusal = WORLD.when(retract(2, "pledge-x")).refused(StillStands)
    assert refusal.facts["entries"] == ["muster.pledge.delivery_reported.v1 entry-3"]
    without_delivery = WORLD.after(retract(3, "pledge-x"))
    without_delivery.when(retract(2, "pledge-x")).then(EntryRetracted)


def test_an_opening_entry_that_others_name_is_not_retracted() -> None:
    world = WORLD.world
    ledger_with_referrer = type(world)(
        histories=world.histories, states=world.states, today=world.today, referrers=("entry-2",)
    )
    with pytest.raises(StillStands):
        decide(ledger_with_referrer, retract(1, "coalition-drones"))


def test_who_left_must_have_joined() -> None:
    ledger = given(a_coalition(), joins("DNK"), MemberLeft(coalition="drones", party="DNK", on=Said("2024-05-01")))
    ledger.when(retract(2, "coalition-drones")).refused(StillStands)
    ledger.after(retract(3, "coalition-drones")).when(retract(2, "coalition-drones")).then(EntryRetracted)


def test_what_was_withdrawn_by_mistake_can_change_again() -> None:
    ledger = WORLD.and_given(withdrawn("x", on="2024-05-01")).after(retract(5, "pledge-x"))
    ledger.when(revised("x", pieces(600), on="2024-06-01")).then(PledgeRevised)


def test_retractions_and_corrections_are_not_retracted() -> None:
    ledger = WORLD.after(correct(2, a_pledge("x", pieces(400))))
    ledger.when(retract(5, "pledge-x")).refused(NotCorrectable)
    gone = WORLD.after(retract(3, "pledge-x"))
    gone.when(correct(3, a_delivery("d1", pieces(5)))).refused(NotCorrectable)
    gone.when(retract(3, "pledge-x")).then()
    gone.when(retract(99, "pledge-x")).refused(Unknown)


def test_said_again_elsewhere_adds_the_source_once() -> None:
    cite = Cite(stream="pledge-x", entry_id=event_id(2), sources=(*a_pledge().sources, *ELSEWHERE))
    (added,) = WORLD.when(cite).then(SourcesAdded)
    assert added.sources == ELSEWHERE
    WORLD.after(cite).when(cite).then()


def test_a_withdrawal_is_of_its_pledge() -> None:
    (entry,) = WORLD.when(withdrawn("x", on="2024-12-01")).then(PledgeWithdrawn)
    assert entry.stream == "pledge-x"


def test_formation_and_confirmation_say_whom_they_are_about() -> None:
    assert given().when(a_coalition(members=LEADS)).then(CoalitionFormed)[0].parties == ("LVA", "GBR")
    (entry,) = WORLD.when(confirmed("d1", on="2024-07-01")).then(DeliveryConfirmed)
    assert entry.parties == ("GBR",)


def test_an_empty_ledger_knows_no_stream() -> None:
    assert Ledger().world.stream("pledge-x").version == 0
