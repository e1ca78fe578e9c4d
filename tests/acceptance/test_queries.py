"""The queries of the read side, asked over HTTP, on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from msgspec.structs import replace
from sqlalchemy import text

from services.projections.http.app import create_app
from services.projections.http.coalitions import CoalitionDetail, Coalitions
from services.projections.http.parties import Parties
from services.projections.http.pledges import PledgeDetail, Pledges
from services.projections.http.postings import Postings
from services.projections.http.problems import KINDS, ProblemDocument
from services.projections.http.shown import Answer
from services.projections.http.statements import Statements
from services.projections.http.targets import TargetProgress, Targets
from services.projections.http.timeline import OneEntry, Timeline
from services.projections.http.totals import Totals
from services.projections.settings import Settings
from shared.codec import encode
from shared.days import Said
from shared.events import Amendment, Entry
from shared.events.amendments import SourcesAdded
from shared.events.coalitions import CoalitionRenamed, CoalitionReviewed, Member, MemberLeft
from shared.events.parties import PartyRegistered
from shared.events.pledges import PledgeAllocated, PledgeCommitted, PledgeReallocated, Relation, Share
from shared.events.reports import About, StatementRecorded
from shared.events.targets import TargetClosed
from shared.recorded import Recorded
from shared.sources import Source
from tests.acceptance.readside import ReadSide, a_read_side
from tests.examples import (
    A_SOURCE,
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
    revised,
    stated,
    target_revised,
    withdrawn,
)
from tests.integration.random_ledgers import Dice
from tests.integration.streams import BEGINNING, correction, retraction

JOINT = (Share(party="DNK"), Share(party="NLD"))


@pytest_asyncio.fixture
async def side(projections_url: str, projections_reader_url: str) -> AsyncIterator[ReadSide]:
    async with a_read_side(projections_url, projections_reader_url) as found:
        yield found


async def the_coalition(side: ReadSide) -> None:
    """Latvia leads; the million by the end of 2024; thousands from Britain; 400 million jointly; 135 drones came."""
    await side.record(
        a_coalition(members=(Member(party="LVA", role="lead"),), beneficiary="UKR"),
        joins("GBR", role="lead"),
        a_target(),
        a_pledge("gbr-fpv", pieces("thousands"), coalition="drones", capability="drone.fpv"),
        a_pledge("joint", euros(400), by=JOINT, coalition="drones"),
        a_pledge("lva", pieces(500), by="LVA", coalition="drones"),
        a_delivery("d1", pieces(135), of="lva", on="2024-05-01", reported_by="LVA"),
        a_pledge("secret", pieces(undisclosed=True), by="LVA", coalition="drones"),
    )


def only(rows: list[dict[str, Any]], **wanted: object) -> dict[str, Any]:
    found = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    assert len(found) == 1, f"{wanted} fits {len(found)} of {rows}"
    return found[0]


def amounts(row: dict[str, Any]) -> tuple[str, str | None]:
    return row["low"], row["high"]


# ----------------------------------------------------------------------------------------------------- totals


async def test_totals_are_disjoint_rows_that_name_stage_unit_and_unknowns(side: ReadSide) -> None:
    await the_coalition(side)
    answer = await side.get("/v1/coalitions/drones/totals")
    assert amounts(only(answer["totals"], capability="drone.fpv", stage="pledged")) == ("2000", None)
    pledged = only(answer["totals"], capability="drone", unit="piece", stage="pledged")
    assert (*amounts(pledged), pledged["unknown"], pledged["pledges"]) == ("500", "500", 1, 2)
    assert amounts(only(answer["totals"], stage="delivered")) == ("135", "135")
    assert amounts(only(answer["totals"], unit="EUR")) == ("400", "400")
    assert len(answer["totals"]) == 4


async def test_a_code_is_asked_for_with_its_descendants_and_rolled_up_on_demand(side: ReadSide) -> None:
    await side.record(
        a_pledge("a", pieces(1), capability="drone"),
        a_pledge("b", pieces(2), capability="drone.fpv"),
        a_pledge("c", pieces(4), capability="drones"),
    )
    apart = await side.get("/v1/totals", capability="drone")
    assert [(row["capability"], row["low"]) for row in apart["totals"]] == [("drone", "1"), ("drone.fpv", "2")]
    merged = await side.get("/v1/totals", capability="drone", rollup=True)
    assert [(row["capability"], row["low"]) for row in merged["totals"]] == [("drone", "3")]
    assert (await side.get(merged["totals"][0]["explain"]))["sum"]["low"] == "3"


async def test_a_joint_pledge_counts_once_and_nobodys_share_is_made_up(side: ReadSide) -> None:
    await the_coalition(side)
    coalition = await side.get("/v1/coalitions/drones/totals", unit="EUR")
    assert [(row["parties"], row["low"]) for row in coalition["by_donor"]] == [(["DNK", "NLD"], "400")]
    denmark = await side.get("/v1/parties/DNK/totals")
    assert denmark["totals"] == []
    assert [(row["parties"], *amounts(row)) for row in denmark["joint"]] == [(["DNK", "NLD"], "0", "400")]
    explained = await side.get(denmark["joint"][0]["explain"])
    assert amounts(explained["sum"]) == ("0", "400")
    assert [posting["change"]["low"] for posting in explained["postings"]] == ["0"]


async def test_a_known_share_is_that_partys_own_row(side: ReadSide) -> None:
    shares = (Share(party="DNK", share=euros(150)), Share(party="NLD"))
    await side.record(a_pledge("joint", euros(400), by=shares))
    denmark = await side.get("/v1/parties/DNK/totals")
    assert [(row["low"], row["pledges"]) for row in denmark["totals"]] == [("150", 1)]
    assert denmark["joint"] == []
    everything = await side.get("/v1/totals")
    assert [(row["parties"], row["low"]) for row in everything["by_donor"]] == [(["DNK"], "150"), (["NLD"], "250")]
    assert [(row["low"], row["pledges"]) for row in everything["totals"]] == [("400", 1)]


async def test_beneficiaries_without_shares_each_count_up_to_the_whole(side: ReadSide) -> None:
    both = (Share(party="UKR"), Share(party="MDA"))
    await side.record(
        a_pledge("a", pieces(100), beneficiaries=both), a_pledge("b", pieces(7), beneficiaries=(Share(party="UKR"),))
    )
    answer = await side.get("/v1/beneficiaries/UKR/totals")
    assert [amounts(row) for row in answer["totals"]] == [("7", "7")]
    assert [(row["beneficiaries"], *amounts(row)) for row in answer["joint"]] == [(["UKR", "MDA"], "0", "100")]


async def test_a_donor_and_a_beneficiary_may_be_asked_for_together(side: ReadSide) -> None:
    ukraine, both = (Share(party="UKR"),), (Share(party="UKR"), Share(party="MDA"))
    await side.record(
        a_pledge("a", pieces(1), by="DNK", beneficiaries=ukraine),
        a_pledge("b", pieces(10), by=JOINT, beneficiaries=ukraine),
        a_pledge("c", pieces(100), by="DNK", beneficiaries=both),
        a_pledge("d", pieces(1000), by=JOINT, beneficiaries=both),
        a_pledge("e", pieces(10000), by="NLD", beneficiaries=ukraine),
    )
    answer = await side.get("/v1/totals", donor="DNK", beneficiary="UKR")
    assert [amounts(row) for row in answer["totals"]] == [("1", "1")]
    assert sorted(row["high"] for row in answer["joint"]) == ["100", "1010"]
    for row in answer["joint"]:
        assert amounts((await side.get(row["explain"]))["sum"]) == amounts(row)


async def test_from_gives_what_came_since_that_day(side: ReadSide) -> None:
    await side.record(
        a_pledge("x", pieces(1000), announced_on="2024-01-10"),
        a_delivery("d1", pieces(10), on="2024-02-01"),
        a_delivery("d2", pieces(20), on="2024-03-01"),
    )
    answer = await side.get("/v1/totals?from=2024-03&on=2024&stage=delivered")
    assert (answer["on"], answer["from"]) == ("2024-12-31", "2024-03-01")
    assert [row["low"] for row in answer["totals"]] == ["20"]
    assert (await side.get(answer["totals"][0]["explain"]))["sum"]["low"] == "20"


async def test_a_series_has_the_rows_at_the_end_of_each_period_that_changed_them(side: ReadSide) -> None:
    await side.record(
        a_pledge("x", pieces(1000), announced_on="2024-01-10"),
        revised(said=pieces(1500), on="2024-03-05"),
        a_delivery("d1", pieces(10), on="2025-02-01"),
    )
    series = (await side.get("/v1/totals", by="year", stage="pledged"))["series"]
    assert [(row["period"], row["low"]) for row in series] == [("2024", "1500")]
    months = (await side.get("/v1/totals", by="month"))["series"]
    assert [(row["period"], row["stage"], row["low"]) for row in months] == [
        ("2024-01", "pledged", "1000"),
        ("2024-03", "pledged", "1500"),
        ("2025-02", "pledged", "1500"),
        ("2025-02", "delivered", "10"),
    ]
    for row in months:
        assert (await side.get(row["explain"]))["sum"]["low"] == row["low"]


async def test_a_row_that_came_to_nothing_is_in_a_series_once_more_as_0(side: ReadSide) -> None:
    await side.record(
        a_pledge("x", pieces(1000), announced_on="2024-01-10"),
        withdrawn(on="2024-03-05"),
        a_pledge("y", pieces(7), announced_on="2024-06-01", capability="shell"),
    )
    months = (await side.get("/v1/totals", by="month"))["series"]
    assert [(row["period"], row["capability"], row["low"]) for row in months] == [
        ("2024-01", "drone", "1000"),
        ("2024-03", "drone", "0"),
        ("2024-06", "shell", "7"),
    ]


async def test_the_headline_never_adds_stages(side: ReadSide) -> None:
    await the_coalition(side)
    headline = (await side.get("/v1/coalitions/drones/totals"))["headline"]
    assert headline == (
        "drone in pieces: at least 2,500 (plus 1 without a number) pledged, 135 delivered; drone in euros: 400 pledged"
    )


# ------------------------------------------------------------------------------------------ both axes of time


async def test_any_past_answer_can_be_asked_for_again(side: ReadSide) -> None:
    """500 from 1 March; 800 from 10 March; 600 from 5 March, learned late; the second is retracted (rules.md 2)."""
    await side.record(a_pledge("x", pieces(500), announced_on="2024-03-01"))
    (second,) = await side.record(revised(said=pieces(800), on="2024-03-10"))
    await side.record(revised(said=pieces(600), on="2024-03-05"))
    await side.record(retraction(second))
    shown = {
        known: (await side.get("/v1/totals", on="2024-03-12", known=known))["totals"][0]["low"]
        for known in (1, 2, 3, 4)
    }
    assert shown == {1: "500", 2: "800", 3: "800", 4: "600"}
    assert (await side.get("/v1/totals", on="2024-03-06", known=2))["totals"][0]["low"] == "500"
    assert (await side.get("/v1/totals", on="2024-03-06"))["totals"][0]["low"] == "600"
    assert (await side.get("/v1/totals", known=0))["totals"] == []


async def test_known_may_be_an_instant(side: ReadSide) -> None:
    await side.record(a_pledge("x", pieces(1)), a_pledge("y", pieces(2)))
    between = (BEGINNING + timedelta(seconds=1.5)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    answer = await side.get("/v1/totals", known=between)
    assert (answer["known"], answer["on"], answer["totals"][0]["low"]) == (1, "2024-02-15", "1")
    elsewhere = (BEGINNING + timedelta(hours=2, seconds=1.5)).strftime("%Y-%m-%dT%H:%M:%S+02:00")
    assert (await side.get("/v1/totals", known=elsewhere))["known"] == 1


async def test_known_may_be_what_the_world_could_know_by_a_day(side: ReadSide) -> None:
    await side.record(
        a_pledge("x", pieces(1), announced_on="2024-02-15"),
        a_pledge("y", pieces(2), announced_on="2024-03-15"),
        a_pledge("z", pieces(4), announced_on="2024-03-01"),
    )
    assert (await side.get("/v1/totals", known="reported:2024-03-14", on="2024-12-31"))["known"] == 1
    answer = await side.get("/v1/totals", known="reported:2024-03")
    assert (answer["known"], answer["on"], answer["totals"][0]["low"]) == (3, "2024-03-31", "7")


async def test_with_known_the_day_is_that_of_the_moment(side: ReadSide) -> None:
    await side.record(a_pledge("x", pieces(1)), a_delivery("late", pieces(1), on="2024-06-01"))
    assert (await side.get("/v1/totals", known=2))["on"] == "2024-02-15"
    assert (await side.get("/v1/totals"))["on"] == datetime.now(UTC).date().isoformat()


async def test_what_is_beyond_the_head_is_not_yet(side: ReadSide) -> None:
    await side.record(a_pledge("x", pieces(1)))
    for known in ("9", "999999999999999999", "2099-01-01T00:00:00Z", "reported:2099"):
        problem = await side.get("/v1/totals", expect=422, known=known)
        assert (problem["code"], problem["errors"][0]["pointer"], problem["position"]) == ("not-yet", "/query/known", 1)


async def test_a_position_that_is_recorded_but_not_applied_is_answered_later(side: ReadSide) -> None:
    await side.take(Dice(1, pledges=2).ledger(3), head=5)
    answer = await side.client.get("/v1/totals", params={"known": "4"})
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "behind", "1")


async def test_read_models_at_different_positions_answer_from_the_one_that_all_have(side: ReadSide) -> None:
    await side.record(a_pledge("x", pieces(1)), a_pledge("y", pieces(2)))
    async with side.worker.begin() as conn:
        await conn.execute(text("UPDATE checkpoints SET position = 1 WHERE name = 'entries'"))
    answer = await side.get("/v1/totals")
    assert (answer["position"], answer["totals"][0]["low"]) == (1, "1")


# ------------------------------------------------------------------------------- headers, waiting, revalidation


async def test_every_answer_says_where_it_is_and_how_far_behind(side: ReadSide) -> None:
    await side.record(a_pledge("x", pieces(1)))
    caught_up = await side.client.get("/v1/totals")
    assert (caught_up.headers["Ledger-Position"], caught_up.headers["Lag-Seconds"]) == ("1", "0")
    async with side.worker.begin() as conn:
        await conn.execute(
            text("UPDATE checkpoints SET head = 3, behind_since = :since"),
            {"since": datetime.now(UTC) - timedelta(seconds=30)},
        )
    behind = await side.client.get("/v1/totals")
    assert behind.headers["Ledger-Position"] == "1"
    assert 30 <= float(behind.headers["Lag-Seconds"]) < 40


async def test_a_question_waits_for_the_position_it_wants_to_see(side: ReadSide) -> None:
    await side.record(a_pledge("x", pieces(1)))

    async def later() -> None:
        await asyncio.sleep(0.3)
        await side.record(a_pledge("y", pieces(2)))

    recording = asyncio.create_task(later())
    answer = await side.get("/v1/totals", min_position=2)
    await recording
    assert (answer["position"], answer["totals"][0]["low"]) == (2, "3")


async def test_a_position_that_does_not_come_in_time_is_answered_503(side: ReadSide) -> None:
    await side.record(a_pledge("x", pieces(1)))
    began = asyncio.get_running_loop().time()
    answer = await side.client.get("/v1/totals", params={"min_position": "2"})
    assert 1.9 <= asyncio.get_running_loop().time() - began < 4
    assert (answer.status_code, answer.headers["Retry-After"], answer.json()["code"]) == (503, "1", "behind")


async def test_an_unchanged_answer_is_not_sent_again(side: ReadSide) -> None:
    await side.record(a_pledge("x", pieces(1)))
    first = await side.client.get("/v1/totals")
    same = await side.client.get("/v1/totals", headers={"If-None-Match": first.headers["ETag"]})
    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", first.headers["ETag"])
    weak = await side.client.get("/v1/totals", headers={"If-None-Match": f'"other", W/{first.headers["ETag"]}'})
    assert weak.status_code == 304
    other = await side.client.get("/v1/totals?unit=EUR", headers={"If-None-Match": first.headers["ETag"]})
    assert other.status_code == 200
    await side.record(a_pledge("y", pieces(2)))
    changed = await side.client.get("/v1/totals", headers={"If-None-Match": first.headers["ETag"]})
    assert (changed.status_code, changed.json()["totals"][0]["low"]) == (200, "3")


async def test_a_cited_answer_stays_the_same_for_ever(side: ReadSide) -> None:
    await the_coalition(side)
    now = await side.client.get("/v1/coalitions/drones/totals?unit=piece")
    cited = await side.client.get(now.json()["cite"]["url"])
    assert cited.json()["totals"] == now.json()["totals"]
    await side.record(a_pledge("more", pieces(9), coalition="drones"), retraction(side.events[5]))
    again = await side.client.get(now.json()["cite"]["url"])
    assert again.content == cited.content
    assert again.headers["ETag"] == cited.headers["ETag"]


async def test_head_answers_like_get_without_a_body(side: ReadSide) -> None:
    await side.record(a_pledge("x", pieces(1)))
    answer = await side.client.head("/v1/totals")
    assert (answer.status_code, answer.content, answer.headers["Ledger-Position"]) == (200, b"", "1")


async def test_scripts_of_other_sites_may_read(side: ReadSide) -> None:
    answer = await side.client.get("/v1/totals", headers={"Origin": "https://news.example"})
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Ledger-Position" in answer.headers["Access-Control-Expose-Headers"]


# ----------------------------------------------------------------------------------------------------- explain


def summed(postings: list[dict[str, Any]]) -> tuple[Decimal, Decimal | None, int]:
    changes = [posting["change"] for posting in postings]
    low = sum((Decimal(change["low"]) for change in changes), Decimal(0))
    high = sum((Decimal(change["high"]) for change in changes), Decimal(0))
    return low, None if sum(c["open"] for c in changes) > 0 else high, sum(c["unknown"] for c in changes)


def shown(row: dict[str, Any]) -> tuple[Decimal, Decimal | None, int]:
    return Decimal(row["low"]), None if row["high"] is None else Decimal(row["high"]), row["unknown"]


async def explains(side: ReadSide, row: dict[str, Any]) -> None:
    """Every page of the explanation together adds up to the number, and so does what it says itself."""
    address: str | None = row["explain"] + "&limit=7"
    postings: list[dict[str, Any]] = []
    answer: dict[str, Any] = {}
    while address is not None:
        answer = await side.get(address)
        postings += answer["postings"]
        address = answer["next"]
    assert summed(postings) == shown(row), row
    assert answer["sum"] is not None
    assert shown(answer["sum"]) == shown(row), row


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_every_number_is_the_sum_of_the_postings_it_leads_to(side: ReadSide, seed: int) -> None:
    await side.record(
        a_coalition("drones"),
        a_coalition("shells"),
        a_target("t1"),
        a_target("t2", coalition=None, party="GBR", counts="pledged"),
        a_target("t3", coalition=None, party="UKR", counts="produced", due_by=None),
    )
    await side.take(moved(Dice(seed, pledges=6).ledger(60), by=5))
    chance = Random(seed)
    for known in (65, chance.randint(6, 64)):
        for address in (
            "/v1/totals",
            "/v1/coalitions/drones/totals",
            "/v1/parties/GBR/totals",
            "/v1/beneficiaries/UKR/totals",
        ):
            answer = await side.get(address, known=known, on="2024-09-30")
            rows = answer["totals"] + answer["by_donor"] + answer["joint"]
            for row in chance.sample(rows, min(len(rows), 8)):
                await explains(side, row)
        for target in ("t1", "t2", "t3"):
            progress = await side.get(f"/v1/targets/{target}/progress", known=known, on="2024-11-30")
            for row in progress["progress"]:
                await explains(side, row)


def moved(events: list[Recorded], *, by: int) -> list[Recorded]:
    """A ledger that begins after another one: its positions, and those that its amendments name, are moved on."""
    found = []
    for event in events:
        entry = event.event
        if isinstance(entry, Amendment):
            entry = replace(entry, entry_position=entry.entry_position + by)
        found.append(replace(event, position=event.position + by, event=entry, payload=encode(entry)))
    return found


async def test_a_posting_names_its_event_its_amount_as_said_and_its_sources(side: ReadSide) -> None:
    await side.record(a_pledge("x", pieces("thousands")))
    (more,) = await side.record(revised(said=pieces(10_000), on="2024-03-01"))
    await side.record(
        SourcesAdded(
            thing="pledge-x",
            entry=more.event_id,
            entry_position=2,
            entry_type=more.type,
            sources=(Source(publisher="LSM", title="Later"),),
        )
    )
    first, second = (await side.get("/v1/postings", account="pledge-x"))["postings"]
    assert (first["said"]["said"], first["said"]["words"], first["change"]["open"]) == ("thousands", "thousands", 1)
    assert (second["change"]["low"], second["change"]["high"], second["change"]["open"]) == ("8000", "10000", -1)
    assert (second["day"], second["position"], second["event_id"]) == ("2024-03-01", 2, more.event_id)
    assert [source["url"] or source["publisher"] for source in second["sources"]] == [A_SOURCE[0].url, "LSM"]
    assert (await side.get(second["link"]))["entry"]["event_id"] == more.event_id


async def test_a_correction_is_seen_in_the_explanation_with_its_reason(side: ReadSide) -> None:
    (first,) = await side.record(a_pledge("x", pieces(500)))
    await side.record(correction(first, a_pledge("x", pieces(50))))
    postings = (await side.get("/v1/postings", account="pledge-x"))["postings"]
    assert [(one["change"]["low"], one["said"]["said"]) for one in postings] == [("500", "500"), ("-450", "50")]
    assert postings[1]["reason"] == "misread"
    assert postings[1]["amends"] == f"/v1/events/{first.event_id}"
    assert [note["reason"] for note in postings[0]["amendments"]] == ["misread"]


# ----------------------------------------------------------------------------------------------------- targets


async def test_progress_lists_every_stage_and_says_which_counts(side: ReadSide) -> None:
    await the_coalition(side)
    answer = await side.get("/v1/targets/million/progress", on="2024-06-01")
    stages = ["pledged", "committed", "paid", "allocated", "contracted", "delivered", "confirmed", "produced"]
    assert [row["stage"] for row in answer["progress"]] == stages
    delivered = only(answer["progress"], stage="delivered")
    assert (*amounts(delivered), delivered["percent_low"], delivered["counts"]) == ("135", "135", "0.0", True)
    pledged = only(answer["progress"], stage="pledged")
    assert (*amounts(pledged), pledged["unknown"]) == ("2500", None, 1)
    assert (pledged["percent_low"], pledged["percent_high"]) == ("0.2", None)
    assert answer["status"] == "behind"


async def test_a_target_past_due_is_unproven_while_a_delivery_is_undisclosed(side: ReadSide) -> None:
    await the_coalition(side)
    assert (await side.get("/v1/targets/million/progress", on="2025-06-01"))["status"] == "missed"
    await side.record(a_delivery("some", pieces(undisclosed=True), of="gbr-fpv", on="2024-07-23"))
    answer = await side.get("/v1/targets/million/progress", on="2025-06-01")
    assert (answer["status"], only(answer["progress"], stage="delivered")["unknown"]) == ("unproven", 1)


async def test_a_revised_deadline_keeps_the_old_one_with_its_outcome(side: ReadSide) -> None:
    await the_coalition(side)
    await side.record(target_revised(on="2024-07-11", due_by=Said("2025-07")))
    answer = await side.get("/v1/targets/million/progress", on="2025-01-10")
    assert (answer["target"]["due_by"], answer["target"]["due_said"]) == ("2025-07-31", "2025-07")
    assert [(past["due_by"], past["status"]) for past in answer["target"]["past_deadlines"]] == [
        ("2024-12-31", "missed")
    ]
    assert answer["status"] == "behind"
    before = await side.get("/v1/targets/million/progress", on="2025-01-10", known=8)
    assert (before["status"], before["target"]["past_deadlines"]) == ("missed", [])


async def test_series_and_pace_stop_where_the_ledger_is_complete_to(side: ReadSide) -> None:
    await the_coalition(side)
    await side.record(CoalitionReviewed(coalition="drones", on=Said("2024-05"), sources=A_SOURCE))
    answer = await side.get("/v1/targets/million/progress", on="2024-11-30")
    assert (answer["complete_to"], answer["series"][-1]) == (
        "2024-05-31",
        {"on": "2024-05-31", "low": "135", "high": "135", "unknown": 0},
    )
    assert answer["pace"]["recent_per_day"] == "1.5"
    assert (await side.get("/v1/coalitions/drones/totals", on="2024-11-30"))["complete_to"] == "2024-05-31"
    assert (await side.get("/v1/coalitions/drones/totals", on="2024-05-30"))["complete_to"] is None


async def test_a_party_meets_its_target_by_its_own_production(side: ReadSide) -> None:
    await side.record(
        a_target("own", pieces(1_000_000), coalition=None, party="UKR", counts="produced"),
        produced("m1", pieces(over=1_500_000), start="2024", end="2024"),
        a_pledge("x", pieces(10), beneficiaries=(Share(party="UKR"),)),
        a_delivery("d1", pieces(10)),
    )
    answer = await side.get("/v1/targets/own/progress", on="2025-01-01")
    row = only(answer["progress"], stage="produced")
    assert (answer["status"], *amounts(row), row["percent_low"]) == ("met", "1500000", None, "150.0")
    assert only(answer["progress"], stage="delivered")["low"] == "0"


async def test_a_partys_target_counts_its_part_of_a_joint_pledge_as_possible_only(side: ReadSide) -> None:
    await side.record(
        a_target("dnk", euros(300), coalition=None, party="DNK", counts="pledged"),
        a_pledge("own", euros(100), by="DNK"),
        a_pledge("joint", euros(400), by=JOINT),
        a_pledge("other", euros(9000), by="NLD"),
    )
    row = only((await side.get("/v1/targets/dnk/progress", on="2024-03-01"))["progress"], stage="pledged")
    assert (*amounts(row), row["percent_low"], row["percent_high"]) == ("100", "500", "33.3", "166.6")


async def test_targets_are_listed_by_scope_capability_and_status(side: ReadSide) -> None:
    await the_coalition(side)
    await side.record(
        a_target("few", pieces(100), due_by="2024-12-31"),
        a_target("own", coalition=None, party="UKR", capability="drone.fpv"),
        a_target("shells", capability="shell"),
        TargetClosed(target="shells", on=Said("2024-04-01"), outcome="dropped"),
    )

    async def ids(**filters: Any) -> list[str]:
        answer = await side.get("/v1/targets", on="2024-06-01", **filters)
        return [one["target"]["id"] for one in answer["targets"]]

    assert await ids() == ["few", "million", "own", "shells"]
    assert await ids(party="UKR") == ["own"]
    assert await ids(coalition="drones", capability="drone") == ["few", "million"]
    assert await ids(status="met") == ["few"]
    assert await ids(status="closed") == ["shells"]


async def test_a_target_is_not_there_before_it_was_set(side: ReadSide) -> None:
    await the_coalition(side)
    problem = await side.get("/v1/targets/million/progress", expect=404, on="2024-02-14")
    assert problem["code"] == "not-yet-set"
    assert (await side.get("/v1/targets/million/progress", expect=404, known=2))["code"] == "unknown"


# -------------------------------------------------------------------------------------------------- coalitions


async def test_a_coalition_shows_its_members_over_time(side: ReadSide) -> None:
    await side.record(
        a_coalition(members=(Member(party="LVA", role="lead"), Member(party="SWE", role="applicant"))),
        joins("GBR", role="lead", instrument="letter_of_intent"),
        joins("CZE", on="2024-07-11"),
        MemberLeft(coalition="drones", party="GBR", on=Said("2024-09-01")),
        CoalitionRenamed(coalition="drones", name="Drone Coalition", on=Said("2024-08-01")),
    )
    june = await side.get("/v1/coalitions/drones", on="2024-06-30")
    assert [(member["party"], member["role"]) for member in june["members"]] == [
        ("GBR", "lead"),
        ("LVA", "lead"),
        ("SWE", "applicant"),
    ]
    assert (june["coalition"]["name"], june["counts"]["members"]) == ("Drones", 2)
    october = await side.get("/v1/coalitions/drones", on="2024-10-01")
    assert [member["party"] for member in october["members"]] == ["CZE", "LVA", "SWE"]
    assert (october["coalition"]["name"], october["coalition"]["leads"]) == ("Drone Coalition", ["LVA"])
    assert {"party": "GBR", "on": "2024-09-01", "role": None, "instrument": None} in october["membership"]


async def test_coalitions_are_listed_by_who_is_in_them(side: ReadSide) -> None:
    await side.record(
        a_coalition("drones", members=(Member(party="LVA", role="lead"),)),
        a_coalition("artillery", members=(Member(party="FRA", role="lead"),), beneficiary="UKR"),
    )
    listed = (await side.get("/v1/coalitions"))["coalitions"]
    assert [coalition["id"] for coalition in listed] == ["artillery", "drones"]
    assert [one["id"] for one in (await side.get("/v1/coalitions", party="LVA"))["coalitions"]] == ["drones"]
    assert [one["id"] for one in (await side.get("/v1/coalitions", beneficiary="UKR"))["coalitions"]] == ["artillery"]


async def test_a_retracted_coalition_is_not_known_any_more(side: ReadSide) -> None:
    (formed,) = await side.record(a_coalition("drones"))
    await side.record(retraction(formed))
    await side.get("/v1/coalitions/drones", expect=404)
    assert (await side.get("/v1/coalitions/drones", known=1))["coalition"]["id"] == "drones"


# ------------------------------------------------------------------------------------ statements, timeline, names


async def test_a_statement_stands_beside_the_ledgers_own_answer(side: ReadSide) -> None:
    await the_coalition(side)
    await side.record(
        stated("s483", euros(483), on="2024-04-24"),
        a_pledge("late", euros(50), coalition="drones", announced_on="2024-05-01"),
    )
    (statement,) = (await side.get("/v1/statements", coalition="drones"))["statements"]
    assert (statement["stated_by"], statement["amount"]["low"], statement["stage"]) == ("LVA", "483", None)
    assert [(row["stage"], row["low"], row["difference"]) for row in statement["ledger"]] == [("pledged", "400", "83")]
    assert (await side.get(statement["ledger"][0]["explain"]))["sum"]["low"] == "400"
    assert (await side.get("/v1/statements", on="2024-04-23"))["statements"] == []
    assert len((await side.get("/v1/totals", unit="EUR"))["totals"]) == 1


async def test_a_stated_number_of_members_is_compared_with_those_in_the_ledger(side: ReadSide) -> None:
    await the_coalition(side)
    await side.record(
        StatementRecorded(
            statement="members",
            stated_by="LVA",
            about=About(coalition="drones"),
            measure="members",
            amount=pieces(14, unit="member"),
            stated_on=Said("2024-06-14"),
            sources=A_SOURCE,
        )
    )
    (statement,) = (await side.get("/v1/statements"))["statements"]
    assert [(row["low"], row["difference"]) for row in statement["ledger"]] == [("2", "12")]


async def test_the_timeline_tells_in_words_and_keeps_what_was_taken_out(side: ReadSide) -> None:
    await the_coalition(side)
    await side.record(retraction(side.events[5]))
    everything = (await side.get("/v1/timeline", on="2024-12-31"))["timeline"]
    assert everything[0]["happened_on"] == "2024-05-01"
    assert only(everything, event_id=side.events[6].event_id)["words"] == "Latvia reports 135 pieces delivered on lva"
    gone = only(everything, event_id=side.events[5].event_id)
    assert (gone["live"], gone["amendments"][0]["reason"]) == (False, "made up")
    pledges = (await side.get("/v1/timeline", type="pledge.announced", party="NLD"))["timeline"]
    assert [one["words"] for one in pledges] == [
        "Denmark and Netherlands jointly pledged 400 EUR for drones towards drones"
    ]


async def test_the_timeline_is_read_page_by_page_without_loss(side: ReadSide) -> None:
    await side.take(Dice(5, pledges=4).ledger(40))
    whole = [one["event_id"] for one in (await side.get("/v1/timeline", on="2025"))["timeline"]]
    address: str | None = "/v1/timeline?on=2025&limit=7"
    paged: list[str] = []
    while address is not None:
        answer = await side.get(address)
        paged += [one["event_id"] for one in answer["timeline"]]
        address = answer["next"]
    assert paged == whole
    assert len(whole) == 40


async def test_parties_have_names(side: ReadSide) -> None:
    fund = PartyRegistered(party="DCF", name="Drone Fund", kind="fund", part_of="GBR", sources=A_SOURCE)
    await side.record(fund, a_pledge("x", pieces(1), by="DCF", beneficiaries=(Share(party="UKR"),)))
    listed = {party["code"]: party for party in (await side.get("/v1/parties"))["parties"]}
    assert (listed["DCF"]["name"], listed["DCF"]["kind"], listed["DCF"]["part_of"]) == ("Drone Fund", "fund", "GBR")
    assert (listed["UKR"]["name"], listed["UKR"]["registered"]) == ("Ukraine", False)


# ----------------------------------------------------------------------------------------------------- pledges


async def test_a_pledge_shows_its_timelines_deliveries_and_all_that_was_said(side: ReadSide) -> None:
    await side.record(
        a_pledge("x", pieces(500), due_by="2024-12", labels={"sector": ("air",)}),
        revised(said=pieces(800), on="2024-03-10"),
        PledgeCommitted(pledge="x", on=Said("2024-04-01"), amount=pieces(300)),
        a_delivery("d1", pieces(135), on="2024-05-01"),
        confirmed(on="2024-05-20"),
    )
    (wrong,) = await side.record(a_delivery("d2", pieces(9), on="2024-05-02"))
    await side.record(retraction(wrong))
    answer = await side.get("/v1/pledges/x", on="2024-06-01")
    points = {
        (one["stage"], one["unit"]): [(point["on"], point["low"]) for point in one["points"]]
        for one in answer["timelines"]
    }
    assert points == {
        ("pledged", "piece"): [("2024-02-15", "500"), ("2024-03-10", "800")],
        ("committed", "piece"): [("2024-04-01", "300")],
        ("delivered", "piece"): [("2024-05-01", "135")],
        ("confirmed", "piece"): [("2024-05-20", "135")],
    }
    assert [(one["id"], one["state"], one["by"]) for one in answer["deliveries"]] == [("d1", "confirmed", "UKR")]
    assert answer["pledge"]["due_by"] == "2024-12-31"
    gone = only(answer["entries"], event_id=wrong.event_id)
    assert (gone["live"], gone["amendments"][0]["reason"]) == (False, "made up")
    assert len(answer["entries"]) == 6
    assert (answer["labels"], answer["entries"][0]["sources"][0]["url"]) == ({"sector": ["air"]}, A_SOURCE[0].url)


async def test_pledges_are_found_by_what_they_are_on_the_day_asked_for(side: ReadSide) -> None:
    await the_coalition(side)
    await side.record(
        PledgeReallocated(pledge="lva", on=Said("2024-06-01"), coalition=None),
        withdrawn("joint", on="2024-06-01"),
        a_pledge("own", pieces(5), by="GBR", beneficiaries=(Share(party="UKR"),), labels={"sector": ("sea",)}),
    )

    async def ids(on: str = "2024-07-01", **filters: Any) -> list[str]:
        return [one["id"] for one in (await side.get("/v1/pledges", on=on, **filters))["pledges"]]

    assert await ids() == ["gbr-fpv", "joint", "lva", "own", "secret"]
    assert await ids(coalition="drones") == ["gbr-fpv", "joint", "secret"]
    assert await ids(coalition="drones", on="2024-05-31") == ["gbr-fpv", "joint", "lva", "secret"]
    assert await ids(donor="NLD") == ["joint"]
    assert await ids(beneficiary="UKR") == ["own"]
    assert await ids(capability="drone.fpv") == ["gbr-fpv"]
    assert await ids(unit="EUR") == ["joint"]
    assert await ids(stage="delivered") == ["lva"]
    assert await ids(status="withdrawn") == ["joint"]
    assert await ids(flag="unknown-share") == ["joint"]
    assert await ids(label="sector=sea") == ["own"]


async def test_pledges_are_read_page_by_page_without_loss(side: ReadSide) -> None:
    await side.record(*(a_pledge(f"p{n:02}", pieces(n), by="GBR" if n % 3 else "LVA") for n in range(23)))
    for filters in ("", "&donor=GBR", "&flag=overdue", "&status=standing"):
        whole = [one["id"] for one in (await side.get(f"/v1/pledges?limit=500{filters}"))["pledges"]]
        address: str | None = f"/v1/pledges?limit=4{filters}"
        paged: list[str] = []
        while address is not None:
            answer = await side.get(address)
            paged += [one["id"] for one in answer["pledges"]]
            address = answer["next"]
        assert paged == whole


UNUSUAL: dict[str, list[Entry]] = {
    "delivered-above-pledged": [a_delivery("d", pieces(101), of="a")],
    "committed-above-pledged": [PledgeCommitted(pledge="b", on=Said("2024-03-01"), amount=pieces(101))],
    "allocated-above-committed": [
        PledgeCommitted(pledge="c", on=Said("2024-03-01"), amount=pieces(50)),
        PledgeAllocated(pledge="c", on=Said("2024-03-02"), amount=pieces(51)),
    ],
    "other-unit": [a_delivery("d", euros(5), of="d")],
    "disputed": [a_delivery("d", pieces(5), of="e"), disputed("d", of="e", on="2024-06-02")],
    "withdrawn": [withdrawn("f", on="2024-06-01")],
    "future-dated": [a_delivery("d", pieces(5), of="g", on="2999-01-01")],
}


async def test_what_is_unusual_about_a_pledge_is_flagged(side: ReadSide) -> None:
    names = "abcdefg"
    await side.record(*(a_pledge(name, pieces(100)) for name in names))
    assert [one["flags"] for one in (await side.get("/v1/pledges"))["pledges"]] == [[]] * len(names)
    await side.record(*(entry for entries in UNUSUAL.values() for entry in entries))
    found = (await side.get("/v1/pledges", on="2024-12-31"))["pledges"]
    assert [one["flags"] for one in found] == [[flag] for flag in UNUSUAL]


async def test_a_pledge_is_overdue_from_the_day_after_its_deadline_until_it_came(side: ReadSide) -> None:
    await side.record(a_pledge("x", pieces(100), due_by="2024-06"), a_delivery("d", pieces(100), on="2024-08-01"))

    async def flags(on: str) -> list[str]:
        found: list[str] = (await side.get("/v1/pledges/x", on=on))["pledge"]["flags"]
        return found

    assert await flags("2024-06-30") == []
    assert await flags("2024-07-01") == ["overdue"]
    assert await flags("2024-08-01") == []


async def test_who_pledges_before_joining_is_flagged_by_the_day_of_the_announcement(side: ReadSide) -> None:
    await side.record(a_coalition("drones"), a_pledge("x", pieces(1), coalition="drones", announced_on="2024-02-15"))
    assert (await side.get("/v1/pledges/x"))["pledge"]["flags"] == ["not-a-member"]
    await side.record(joins("GBR", on="2024-02-16"))
    assert (await side.get("/v1/pledges/x"))["pledge"]["flags"] == ["not-a-member"]
    await side.record(joins("GBR", on="2024-02-15"))
    assert (await side.get("/v1/pledges/x"))["pledge"]["flags"] == []
    assert (await side.get("/v1/pledges/x", known=3))["pledge"]["flags"] == ["not-a-member"]


async def test_a_replaced_pledge_says_so_from_that_day(side: ReadSide) -> None:
    replaces = Relation(kind="replaces", of=("old",))
    await side.record(
        a_pledge("old", euros(at_least=10)),
        a_pledge("new", euros(20), announced_on="2024-07-05", relation=replaces),
    )
    assert (await side.get("/v1/pledges/old", on="2024-07-04"))["pledge"]["status"] == "standing"
    assert (await side.get("/v1/pledges/old", on="2024-07-05"))["pledge"]["status"] == "replaced"
    assert (await side.get("/v1/pledges/new"))["pledge"]["relation"] == {"kind": "replaces", "of": ["old"]}


# ---------------------------------------------------------------------------------------------------- problems


REFUSED = [
    ("/v1/nowhere", 404, "not-found", None),
    ("/v1/coalitions/nobody", 404, "unknown", None),
    ("/v1/coalitions/nobody/totals", 404, "unknown", None),
    ("/v1/parties/ZZZ/totals", 404, "unknown", None),
    ("/v1/targets/nothing/progress", 404, "unknown", None),
    ("/v1/pledges/nothing", 404, "unknown", None),
    ("/v1/events/01890000-0000-7000-8000-000000000000", 404, "unknown", None),
    ("/v1/events/seven", 422, "invalid", "/path/event_id"),
    ("/v1/coalitions/NOT.a.name", 422, "invalid", "/path/coalition"),
    ("/v1/totals?colour=red", 422, "invalid", "/query/colour"),
    ("/v1/totals?on=2024-02-30", 422, "invalid", "/query/on"),
    ("/v1/totals?on=yesterday", 422, "invalid", "/query/on"),
    ("/v1/totals?from=0000", 422, "invalid", "/query/from"),
    ("/v1/totals?known=lately", 422, "invalid", "/query/known"),
    ("/v1/totals?known=2024-02-15T12:00:00", 422, "invalid", "/query/known"),
    ("/v1/totals?known=reported:soon", 422, "invalid", "/query/known"),
    ("/v1/totals?known=-1", 422, "invalid", "/query/known"),
    ("/v1/totals?min_position=-1", 422, "invalid", "/query/min_position"),
    ("/v1/totals?stage=promised", 422, "invalid", "/query/stage"),
    ("/v1/totals?capability=a%00b", 422, "invalid", "/query/capability"),
    ("/v1/postings?cursor=AAAA", 422, "invalid", "/query/cursor"),
    ("/v1/postings?limit=0", 422, "invalid", "/query/limit"),
    ("/v1/timeline?type=pledge.forgotten", 422, "invalid", "/query/type"),
    ("/v1/timeline?cursor=AAAA", 422, "invalid", "/query/cursor"),
    ("/v1/pledges?cursor=%2F", 422, "invalid", "/query/cursor"),
    ("/v1/pledges?label=%00=x", 422, "invalid", "/query/label/0"),
]


async def test_every_refusal_is_a_problem_document(side: ReadSide) -> None:
    for address, status, code, pointer in REFUSED:
        answer = await side.client.get(address)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), address
        problem = ProblemDocument.model_validate(answer.json())
        assert (problem.status, problem.code, problem.type) == (status, code, f"/problems/{code}")
        assert pointer is None or pointer in [error.pointer for error in problem.errors], address


async def test_a_method_that_is_not_there_says_which_are(side: ReadSide) -> None:
    answer = await side.client.post("/v1/totals", json={})
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")
    assert ProblemDocument.model_validate(answer.json()).code == "method-not-allowed"


async def test_the_type_of_a_problem_leads_to_a_page_about_it(side: ReadSide) -> None:
    for code, kind in KINDS.items():
        assert kind.title in await side.page(f"/problems/{code}")


async def test_without_a_database_questions_are_answered_503_and_readiness_says_why() -> None:
    nowhere = Settings.model_validate({"database_url": "postgresql://nobody:x@127.0.0.1:1/nothing"})
    transport = httpx2.ASGITransport(app=create_app(nowhere), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://queries") as client:
        answer = await client.get("/v1/totals")
        assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "unavailable", "1")
        ready = await client.get("/readyz")
        assert (ready.status_code, "cannot be read" in ready.text) == (503, True)
        assert (await client.get("/healthz")).status_code == 200


async def test_before_the_worker_made_its_tables_the_answer_is_503(projections_reader_url: str) -> None:
    app = create_app(Settings.model_validate({"database_url": projections_reader_url}))
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://queries") as client,
    ):
        answer = await client.get("/v1/totals")
        assert (answer.status_code, answer.json()["code"]) == (503, "filling")
        assert "is not made yet" in (await client.get("/readyz")).json()["problems"][0]


async def test_readiness_says_which_read_model_stopped_and_where(side: ReadSide) -> None:
    await side.record(a_pledge("x", pieces(1)))
    assert (await side.get("/readyz"))["status"] == "ready"
    async with side.worker.begin() as conn:
        await conn.execute(
            text("UPDATE checkpoints SET status = 'stopped', reason = 'poison' WHERE name = 'pledges'"),
        )
    answer = await side.get("/readyz", expect=503)
    assert answer["problems"] == ["pledges stopped at position 1: poison"]


# --------------------------------------------------------------------------------------------------- documents


async def test_answers_are_shaped_as_the_openapi_document_says(side: ReadSide) -> None:
    await the_coalition(side)
    await side.record(
        stated("s", euros(483), on="2024-04-24"),
        correction(side.events[5], a_pledge("lva", pieces(5), by="LVA", coalition="drones")),
        target_revised(on="2024-07-11", due_by=Said("2025-07-11")),
    )
    shapes: dict[str, type[Answer]] = {
        "/v1/totals?by=month&rollup=true&capability=drone": Totals,
        "/v1/parties/DNK/totals?from=2024": Totals,
        "/v1/coalitions": Coalitions,
        "/v1/coalitions/drones": CoalitionDetail,
        "/v1/targets": Targets,
        "/v1/targets/million/progress": TargetProgress,
        "/v1/pledges": Pledges,
        "/v1/pledges/lva": PledgeDetail,
        "/v1/postings?coalition=drones&limit=2": Postings,
        "/v1/statements": Statements,
        "/v1/timeline?limit=2": Timeline,
        "/v1/parties": Parties,
        f"/v1/events/{side.events[-2].event_id}": OneEntry,
    }
    for address, shape in shapes.items():
        answer = await side.client.get(address)
        shape.model_validate_json(answer.content, strict=True)


async def test_the_openapi_document_names_every_answer_and_problem(side: ReadSide) -> None:
    document = await side.get("/openapi.json")
    assert document["openapi"].startswith("3.1")
    for path, methods in document["paths"].items():
        if not path.startswith("/v1/") or path == "/v1/changes":
            continue  # charts and the stream of changes are no queries
        for operation in methods.values():
            answers = operation["responses"]
            assert {"200", "304", "422", "500", "503"} <= set(answers), path
            assert ("404" in answers) == ("{" in path), path
            assert list(answers["422"]["content"]) == ["application/problem+json"]
            assert "Ledger-Position" in answers["200"]["headers"]
    page = await side.page("/docs")
    assert all(path in page for path in document["paths"])
    assert "http://" not in page.replace("http://www.w3.org", "")


async def test_requests_are_counted_by_route_and_status(side: ReadSide) -> None:
    await side.record(a_coalition("drones"))
    await side.get("/v1/coalitions/drones")
    await side.get("/v1/coalitions/nobody", expect=404)
    metrics = (await side.client.get("/metrics")).text
    assert 'muster_http_requests_total{route="/v1/coalitions/{coalition}",status="200"} 1.0' in metrics
    assert 'muster_http_requests_total{route="/v1/coalitions/{coalition}",status="404"} 1.0' in metrics


async def test_today_is_the_day_in_utc(side: ReadSide) -> None:
    assert (await side.get("/v1/totals"))["on"] in {
        datetime.now(UTC).date().isoformat(),
        (datetime.now(UTC).date() - timedelta(days=1)).isoformat(),
    }
    assert date.fromisoformat((await side.get("/v1/totals", on="2024-02"))["on"]) == date(2024, 2, 29)
