"""What was recorded stays readable for ever: one golden file for each type of event, byte for byte.

Golden files may change until version 0.1 is tagged, never after. `MUSTER_WRITE_GOLDEN=1` writes the missing ones.
"""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from shared.codec import UnknownEvent, decode, encode
from shared.days import Said
from shared.events import EVENT_TYPES, Entry, stored_name
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
from shared.events.parties import CapabilityNamed, PartyRegistered
from shared.events.pledges import (
    Also,
    DeliveryConfirmed,
    DeliveryDisputed,
    DeliveryReported,
    DeliveryReversed,
    Period,
    PledgeAllocated,
    PledgeAnnounced,
    PledgeCommitted,
    PledgeContext,
    PledgeContracted,
    PledgeLapsed,
    PledgePaid,
    PledgeReallocated,
    PledgeRelated,
    PledgeRevised,
    PledgeWithdrawn,
    Relation,
    Share,
)
from shared.events.reports import About, ProductionReported, StatementRecorded
from shared.events.targets import TargetClosed, TargetRevised, TargetSet
from shared.sources import Reference, Source
from tests.examples import euros, pieces

GOLDEN: Final = Path(__file__).parent / "golden"
ON: Final = Said("2024-07")
ENTRY: Final = "0192a7c4-0000-7000-8000-000000000001"
CITED: Final[dict[str, Any]] = {
    "sources": (
        Source(
            url="https://example.org/a",
            publisher="The Example",
            title="Drones",
            kind="media",
            published_on=Said("2024-02-15"),
            speaker="A. Minister",
            quote="thousands more",
            archived_url="https://archive.example.org/a",
        ),
        Source(publisher="The Example", title="Seen in print"),
    ),
    "reported_on": Said("2024-02-16"),
    "labels": {"sector": ("defence", "air")},
    "refs": (Reference(scheme="fts", id="12345", version="2"),),
    "note": "as read",
}
CONTEXT: Final = PledgeContext(
    donors=("DNK", "NLD"), capability="drone.fpv", coalition="drone-coalition", beneficiaries=("UKR",), unit="EUR"
)
PLEDGE: Final[dict[str, Any]] = {"pledge": "dnk-nld-2024", "context": CONTEXT, "on": ON} | CITED
DELIVERY: Final[dict[str, Any]] = {"pledge": "dnk-nld-2024", "delivery": "first", "context": CONTEXT} | CITED
AMENDS: Final[dict[str, Any]] = {
    "thing": "pledge-dnk-nld-2024",
    "entry": ENTRY,
    "entry_position": 7,
    "entry_type": "muster.pledge.announced.v1",
    "entry_happened": Said("2024-04-24"),
    "about_coalitions": ("drone-coalition",),
    "about_parties": ("DNK", "NLD", "UKR"),
} | CITED
ALSO: Final = (
    Also(amount=pieces(30_000), capability="drone.fpv"),
    Also(amount=pieces(about=49, unit="USD"), basis="converted", rate="1.08", by="ECB"),
)
ANNOUNCED: Final = PledgeAnnounced(
    pledge="dnk-nld-2024",
    donors=(Share(party="DNK", share=euros(100)), Share(party="NLD")),
    capability="drone.fpv",
    announced_on=Said("2024-04-24"),
    coalition="drone-coalition",
    beneficiaries=(Share(party="UKR"),),
    recipient="DRONE-FUND",
    amount=euros(almost=400),
    also=ALSO,
    due_by=Said("2025"),
    for_period=Period(start=Said("2024"), end=Said("2025-06")),
    finance_type="grant",
    conditions="if parliament agrees",
    relation=Relation(kind="increase", of=("dnk-2023",)),
    new_money=False,
    **CITED,
)
EVENTS: Final[list[Entry]] = [
    PartyRegistered(
        party="NATO", name="North Atlantic Treaty Organization", kind="organisation", part_of="UNKNOWN", **CITED
    ),
    CapabilityNamed(capability="drone.fpv", name="First-person-view drones", **CITED),
    CoalitionFormed(
        coalition="drone-coalition",
        name="Drone Coalition",
        formed_on=Said("2024-02-14"),
        purpose="to deliver a million drones",
        capability="drone",
        beneficiary="UKR",
        members=(
            Member(party="LVA", role="lead", instrument="letter_of_intent"),
            Member(party="GBR", role="lead", on=Said("2024-02-15")),
        ),
        **CITED,
    ),
    MemberJoined(coalition="drone-coalition", party="CAN", role="member", instrument="accession", on=ON, **CITED),
    MemberChanged(coalition="drone-coalition", party="DNK", role="member", instrument="mou", on=ON, **CITED),
    MemberLeft(coalition="drone-coalition", party="CAN", on=ON, **CITED),
    CoalitionRenamed(coalition="drone-coalition", name="Unmanned Coalition", on=ON, **CITED),
    CoalitionDissolved(coalition="drone-coalition", on=ON, **CITED),
    CoalitionReviewed(coalition="drone-coalition", on=ON, **CITED),
    TargetSet(
        target="million-drones",
        coalition="drone-coalition",
        capability="drone",
        amount=pieces(1_000_000),
        counts="delivered",
        set_on=Said("2024-02-15"),
        starts_on=Said("2024-02-01"),
        due_by=Said("2024"),
        beneficiary="UKR",
        stated_by="NATO",
        **CITED,
    ),
    TargetRevised(
        target="million-drones",
        coalition="drone-coalition",
        on=ON,
        reason="said anew",
        amount=pieces(at_least=1_000_000),
        capability="drone.fpv",
        due_by=Said("2025-07"),
        without_deadline=True,
        **CITED,
    ),
    TargetClosed(target="million-drones", coalition="drone-coalition", on=ON, outcome="given up", **CITED),
    ANNOUNCED,
    PledgeRevised(
        **PLEDGE,
        reason="more",
        amount=euros(between=(400, 500)),
        also=ALSO,
        due_by=Said("2026"),
        donors=(Share(party="DNK"), Share(party="NLD")),
    ),
    PledgeCommitted(**PLEDGE, amount=euros(about=400), also=ALSO, reference="law 7"),
    PledgePaid(**PLEDGE, amount=euros(at_most=300)),
    PledgeAllocated(**PLEDGE, amount=euros(over=200)),
    PledgeContracted(**PLEDGE, amount=pieces("tens of thousands"), reference="contract 12"),
    PledgeRelated(**PLEDGE, relation=Relation(kind="replaces", of=("dnk-2023", "nld-2023"))),
    PledgeReallocated(**PLEDGE, coalition="air-defence"),
    PledgeWithdrawn(**PLEDGE, reason="taken back"),
    PledgeLapsed(**PLEDGE, reason="never signed"),
    DeliveryReported(
        **DELIVERY,
        amount=pieces(undisclosed=True),
        delivered_on=ON,
        reported_by="DNK",
        covers="so_far",
        capability="drone.fpv",
        also=ALSO,
        confirmed_by="UKR",
    ),
    DeliveryConfirmed(**DELIVERY, on=ON, by="UKR", amount=pieces(Decimal("12.5"))),
    DeliveryDisputed(**DELIVERY, on=ON, by="UKR", reason="not seen"),
    DeliveryReversed(**DELIVERY, on=ON, reason="sent back"),
    ProductionReported(
        production="ukr-2024",
        party="UKR",
        capability="drone.fpv",
        amount=pieces(over=1_500_000),
        period=Period(start=Said("2024-01"), end=Said("2024-12-28")),
        covers="so_far",
        **CITED,
    ),
    StatementRecorded(
        statement="lva-2024-04",
        stated_by="LVA",
        about=About(coalition="drone-coalition", donor="LVA", beneficiary="UKR"),
        measure="amount",
        amount=euros(483_000_000),
        stated_on=Said("2024-04-24"),
        capability="drone",
        stage="pledged",
        period=Period(start=Said("2024"), end=Said("2024")),
        **CITED,
    ),
    EntryCorrected(**AMENDS, now=ANNOUNCED, reason="misread"),
    EntryRetracted(**AMENDS, reason="never happened"),
    SourcesAdded(**AMENDS),
]


def test_every_type_of_event_has_a_golden_file() -> None:
    assert [stored_name(event) for event in EVENTS] == list(EVENT_TYPES)
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(EVENT_TYPES)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.TYPE)
def test_an_event_is_written_and_read_as_it_was_from_the_first_day(event: Entry) -> None:
    golden = GOLDEN / f"{stored_name(event)}.json"
    if os.environ.get("MUSTER_WRITE_GOLDEN") and not golden.exists():
        golden.write_bytes(encode(event) + b"\n")
    payload = golden.read_bytes().removesuffix(b"\n")
    assert encode(event) == payload
    assert decode(stored_name(event), payload) == event


def test_a_reader_takes_no_offence_at_fields_it_does_not_know() -> None:
    assert decode("muster.capability.named.v1", b'{"capability":"drone","name":"Drones","later":1}') == CapabilityNamed(
        capability="drone", name="Drones"
    )


def test_a_type_that_is_not_known_is_said_to_be_so() -> None:
    with pytest.raises(UnknownEvent):
        decode("muster.pledge.forgotten.v1", b"{}")
