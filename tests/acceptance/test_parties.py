"""Parties, beneficiaries and deliveries, asked over HTTP: what was promised, what of it came, what is overdue."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from random import Random
from typing import Any

import pytest
import pytest_asyncio

from services.projections.http.beneficiaries import Beneficiaries, BeneficiaryDetail
from services.projections.http.deliveries import Deliveries
from services.projections.http.parties import PartyDetail
from services.projections.http.shown import Answer
from shared.days import Said
from shared.events.coalitions import Member
from shared.events.parties import PartyRegistered
from shared.events.pledges import PledgeCommitted, Relation, Share
from tests.acceptance.readside import ReadSide, a_read_side
from tests.examples import (
    A_SOURCE,
    a_coalition,
    a_delivery,
    a_pledge,
    confirmed,
    disputed,
    euros,
    pieces,
    reversed_,
    revised,
    withdrawn,
)
from tests.integration.random_ledgers import PARTIES, Dice
from tests.integration.streams import correction, retraction

JOINT = (Share(party="DNK"), Share(party="NLD"))


@pytest_asyncio.fixture
async def side(projections_url: str, projections_reader_url: str) -> AsyncIterator[ReadSide]:
    async with a_read_side(projections_url, projections_reader_url) as found:
        yield found


def row(answer: Mapping[str, Any], capability: str = "drone", unit: str = "piece") -> dict[str, Any]:
    (found,) = (one for one in answer["scorecard"] if (one["capability"], one["unit"]) == (capability, unit))
    return dict(found)


# --------------------------------------------------------------------------------------------------- scorecard


async def test_rule_4_outstanding_is_summed_pledge_by_pledge_and_never_a_difference_of_totals(side: ReadSide) -> None:
    await side.record(
        a_pledge("much", pieces(100)),
        a_pledge("none", pieces(100)),
        a_delivery("d1", pieces(190), of="much"),
    )
    found = row(await side.get("/v1/parties/GBR"))
    assert (found["pledged"]["low"], found["delivered"]["low"]) == ("200", "190")
    assert (found["outstanding"], found["kept"], found["fulfilled"], found["of"]) == ("100", "100", 1, 2)
    assert (found["percent_low"], found["percent_high"]) == ("50", "50")
    before = row(await side.get("/v1/parties/GBR", known=2, on="2024-12-31"))
    assert (before["outstanding"], before["delivered"], before["percent_low"]) == ("200", None, "0")
    assert row(await side.get("/v1/parties/GBR", on="2024-05-31"))["outstanding"] == "200"


async def test_the_share_that_came_is_an_interval_and_open_where_nobody_can_know(side: ReadSide) -> None:
    await side.record(
        a_pledge("vague", pieces("thousands"), capability="drone"),
        a_pledge("ship", pieces(between=(4, 6)), capability="ship"),
        a_pledge("shell", pieces(300), capability="shell"),
        a_delivery("d1", pieces(1000), of="vague"),
        a_delivery("d1", pieces(between=(1, 2)), of="ship"),
        a_delivery("d1", pieces(undisclosed=True), of="shell"),
        a_pledge("secret", pieces(undisclosed=True), capability="ship"),
    )
    answer = await side.get("/v1/parties/GBR")
    drones, ships, shells = (row(answer, capability) for capability in ("drone", "ship", "shell"))
    assert (drones["percent_low"], drones["percent_high"]) == (None, "50")
    assert (ships["percent_low"], ships["percent_high"]) == (None, "50")  # one of them is undisclosed
    assert (shells["percent_low"], shells["percent_high"]) == ("0", "100")  # what came has no number
    assert answer["undisclosed"] == 2
    before = row(await side.get("/v1/parties/GBR", known=6, on="2024-12-31"), "ship")
    assert (before["percent_low"], before["percent_high"]) == ("16.6", "50")
    nothing = row(await side.get("/v1/parties/GBR", known=3, on="2024-12-31"))
    assert (nothing["percent_low"], nothing["percent_high"]) == ("0", "0"), (
        "of thousands none came: that is no open share"
    )


async def test_a_party_shows_its_own_rows_its_groups_beside_its_parts_and_where_it_is(side: ReadSide) -> None:
    await side.record(
        a_coalition(members=(Member(party="DNK", role="lead", instrument="mou"),)),
        PartyRegistered(party="DALO", name="Acquisition", kind="organisation", part_of="DNK", sources=A_SOURCE),
        a_pledge("joint", euros(400), by=JOINT),
        a_pledge("own", euros(100), by="DNK", finance_type="grant"),
        PledgeCommitted(pledge="own", on=Said("2024-03-01"), amount=euros(60), sources=A_SOURCE),
    )
    answer = await side.get("/v1/parties/DNK")
    assert [(child["code"], child["name"]) for child in answer["children"]] == [("DALO", "Acquisition")]
    assert [(one["coalition"], one["role"], one["since"]) for one in answer["memberships"]] == [
        ("drones", "lead", "2024-02-14")
    ]
    own = row(answer, unit="EUR")
    assert (own["finance_type"], own["pledged"]["low"], own["committed"]["low"]) == ("grant", "100", "60")
    assert [(one["parties"], one["low"], one["high"]) for one in answer["joint"]] == [(["DNK", "NLD"], "0", "400")]
    assert (await side.get(own["committed"]["explain"]))["sum"]["low"] == "60"
    assert (await side.get("/v1/parties/DALO"))["party"]["part_of"] == "DNK"
    assert (await side.get("/v1/parties/ZZZ", 404))["code"] == "unknown"


async def test_what_is_overdue_is_on_the_scorecard_as_the_flag_finds_it(side: ReadSide) -> None:
    told = await side.record(
        a_pledge("late", pieces(10), due_by="2024-06-30"),
        a_pledge("came", pieces(10), due_by="2024-06-30"),
        a_pledge("moved", pieces(10), due_by="2024-06-30"),
        a_pledge("gone", pieces(10), due_by="2024-06-30"),
        a_pledge("again", pieces(10), due_by="2024-06-30", relation=Relation(kind="part_of", of=("late",))),
        a_pledge("joint", pieces(10), by=(Share(party="GBR"), Share(party="LVA")), due_by="2024-05"),
        a_delivery("d1", pieces(10), of="came", on="2024-07-15"),
        a_delivery("d1", pieces(4), of="late", on="2024-06-15"),
        revised("moved", on="2024-06-15", due_by="2025"),
        withdrawn("gone", on="2024-06-15"),
    )

    async def late(**when: Any) -> list[str]:
        answer = (await side.get("/v1/parties/GBR", **when))["overdue"]
        listed = await side.get(answer["link"])
        assert {one["id"] for one in listed["pledges"]} == {one["id"] for one in answer["pledges"]}
        assert (answer["count"], answer["complete"]) == (len(answer["pledges"]), True)
        return [one["id"] for one in answer["pledges"]]

    assert await late(on="2024-06-30") == ["joint"]
    assert await late(on="2024-07-01") == ["joint", "again", "came", "late"]
    assert await late(on="2024-07-15") == ["joint", "again", "late"]
    assert await late(on="2024-07-15", known=8) == ["joint", "again", "gone", "late", "moved"]
    first = (await side.get("/v1/parties/GBR", on="2024-07-15"))["overdue"]["pledges"][-1]
    assert (first["due_by"], first["pledged"], first["delivered"], first["missing"]) == ("2024-06-30", "10", "4", "6")
    await side.record(correction(told[0], a_pledge("late", pieces(10))), retraction(told[8]))
    assert await late(on="2024-07-15") == ["joint", "again", "moved"]


async def test_a_beneficiary_sees_what_is_for_it_and_what_it_shares(side: ReadSide) -> None:
    await side.record(
        a_coalition(beneficiary="UKR"),
        a_pledge("alone", pieces(10), beneficiaries=(Share(party="UKR"),), due_by="2024-06"),
        a_pledge("both", pieces(30), by="LVA", beneficiaries=(Share(party="UKR"), Share(party="LTU"))),
        a_delivery("d1", pieces(4), of="alone", on="2024-03-01"),
    )
    listed = await side.get("/v1/beneficiaries")
    assert [one["code"] for one in listed["beneficiaries"]] == ["LTU", "UKR"]
    answer = await side.get("/v1/beneficiaries/UKR", on="2024-12-31")
    found = row(answer)
    assert (found["pledged"]["low"], found["delivered"]["low"], found["outstanding"]) == ("10", "4", "6")
    assert [(one["beneficiaries"], one["low"], one["high"]) for one in answer["joint"]] == [(["UKR", "LTU"], "0", "30")]
    assert [one["id"] for one in answer["overdue"]["pledges"]] == ["alone"]
    assert [one["coalition"] for one in answer["coalitions"]] == ["drones"]
    assert (await side.get(found["delivered"]["explain"]))["sum"]["low"] == "4"
    await side.get("/v1/beneficiaries/ZZZ", 404)


@pytest.mark.parametrize("seed", range(4))
async def test_outstanding_of_a_random_ledger_is_what_its_pledges_lack_one_by_one(side: ReadSide, seed: int) -> None:
    ledger = Dice(seed, pledges=8).ledger(90)
    await side.take(ledger)
    random = Random(seed)
    for party in PARTIES:
        known, on = random.randint(40, 90), f"2024-{random.randint(3, 12):02}-28"
        answer = await side.get(f"/v1/parties/{party}", known=known, on=on)
        lacking: dict[tuple[str, str, str | None], Decimal] = {}
        for pledge in (f"p{n}" for n in range(8)):
            base = f"/v1/postings?account=pledge-{pledge}&donors={party}&known={known}&on={on}&limit=1000"
            promised: dict[tuple[str, str, str | None], Decimal] = {}
            came: dict[str, list[tuple[str, Decimal]]] = {}
            for posting in (await side.get(base))["postings"]:
                low = Decimal(posting["change"]["low"])
                if posting["stage"] == "pledged":
                    key = (posting["capability"], posting["unit"], posting["finance_type"])
                    promised[key] = promised.get(key, Decimal(0)) + low
                elif posting["stage"] == "delivered":
                    came.setdefault(posting["unit"], []).append((posting["capability"], low))
            for key, low in promised.items():
                alone = len([one for one in promised if one[1] == key[1] and promised[one] > 0]) == 1
                inside = (n for c, n in came.get(key[1], ()) if alone or c == key[0] or c.startswith(f"{key[0]}."))
                lacking[key] = lacking.get(key, Decimal(0)) + max(Decimal(0), low - sum(inside, Decimal(0)))
        for found in answer["scorecard"]:
            key = (found["capability"], found["unit"], found["finance_type"])
            assert Decimal(found["outstanding"]) == lacking.pop(key, Decimal(0)), (party, key)
            if found["percent_low"] is not None and found["percent_high"] is not None:
                assert Decimal(found["percent_low"]) <= Decimal(found["percent_high"])
        assert not any(lacking.values())


# -------------------------------------------------------------------------------------------------- deliveries


async def some_deliveries(side: ReadSide) -> None:
    await side.record(
        a_coalition("drones"),
        a_pledge("x", pieces(500), coalition="drones", beneficiaries=(Share(party="UKR"),)),
        a_pledge("y", pieces(500), by="LVA", capability="drone.fpv"),
        a_delivery("d1", pieces(1), of="x", on="2024-03-01", note="Über Rzeszów"),
        a_delivery("d2", pieces(2), of="x", on="2024-04-01"),
        a_delivery("d3", pieces(3), of="x", on="2024-05-01", labels={"plant": ("Odesa",)}),
        a_delivery("d1", pieces(4), of="y", on="2024-06-01"),
        confirmed("d2", on="2024-04-02", said=pieces(1)),
        disputed("d3", on="2024-05-02"),
        reversed_("d1", of="y", on="2024-06-02"),
    )


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ["x/d1", "x/d2", "x/d3", "y/d1"]),
        ({"coalition": "drones"}, ["x/d1", "x/d2", "x/d3"]),
        ({"donor": "LVA"}, ["y/d1"]),
        ({"beneficiary": "UKR"}, ["x/d1", "x/d2", "x/d3"]),
        ({"capability": "drone.fpv"}, ["y/d1"]),
        ({"pledge": "y"}, ["y/d1"]),
        ({"state": "reported"}, ["x/d1"]),
        ({"state": "confirmed"}, ["x/d2"]),
        ({"state": "disputed"}, ["x/d3"]),
        ({"state": "reversed"}, ["y/d1"]),
        ({"q": "uber rzeszow"}, ["x/d1"]),
        ({"q": "ODESA"}, ["x/d3"]),
        ({"on": "2024-04-30"}, ["x/d1", "x/d2"]),
        ({"from": "2024-05-01"}, ["x/d3", "y/d1"]),
        ({"known": 4, "on": "2024-12-31"}, ["x/d1"]),
    ],
)
async def test_deliveries_are_found_by_what_they_are(side: ReadSide, asked: dict[str, Any], found: list[str]) -> None:
    await some_deliveries(side)
    answer = await side.get("/v1/deliveries", **asked)
    assert [f"{one['pledge']}/{one['id']}" for one in answer["deliveries"]] == found


async def test_a_delivery_says_what_was_claimed_and_what_was_counted(side: ReadSide) -> None:
    await some_deliveries(side)
    (found,) = (await side.get("/v1/deliveries", state="confirmed"))["deliveries"]
    assert (found["amount"]["low"], found["confirmed"]["low"], found["by"]) == ("2", "1", "UKR")
    assert found["coalition"] == "drones"
    assert (await side.get(found["explain"]))["sum"]["low"] == "1"


async def test_deliveries_are_read_page_by_page_without_loss_while_more_arrive(side: ReadSide) -> None:
    await some_deliveries(side)
    seen: list[str] = []
    address: str | None = "/v1/deliveries?limit=1"
    pages = 0
    while address is not None:
        answer = await side.client.get(address)
        body = answer.json()
        seen += [f"{one['pledge']}/{one['id']}" for one in body["deliveries"]]
        address = body["next"]
        assert answer.headers.get("Link") == (None if address is None else f'<{address}>; rel="next"')
        pages += 1
        await side.record(a_delivery(f"new-{pages}", pieces(1), of="x", on="2024-03-01"))
    assert seen == ["x/d1", "x/d2", "x/d3", "y/d1"]


async def test_a_cursor_alone_goes_on_at_the_position_and_day_of_its_page(side: ReadSide) -> None:
    await some_deliveries(side)
    first = await side.get("/v1/deliveries", limit=3, on="2024-05-01")
    assert first["next"] is None
    first = await side.get("/v1/deliveries", limit=1, on="2024-05-01")
    await side.record(a_delivery("late", pieces(1), of="x", on="2024-04-15"))
    cursor = first["next"].rpartition("cursor=")[2]
    rest = await side.get("/v1/deliveries", cursor=cursor)
    assert [one["id"] for one in rest["deliveries"]] == ["d2", "d3"]
    assert (rest["known"], rest["on"]) == (first["known"], first["on"])


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({"cursor": "bm90IG91cnM"}, "/query/cursor"),
        ({"cursor": "WyJhIiwiYiJd"}, "/query/cursor"),
        ({"state": "lost"}, "/query/state"),
        ({"q": ""}, "/query/q"),
        ({"limit": 0}, "/query/limit"),
        ({"donor": "gbr"}, "/query/donor"),
    ],
)
async def test_a_wrong_question_about_deliveries_is_pointed_at(
    side: ReadSide, asked: dict[str, Any], pointer: str
) -> None:
    answer = await side.get("/v1/deliveries", 422, **asked)
    assert [error["pointer"] for error in answer["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/parties/GBR", PartyDetail),
        ("/v1/parties/DNK", PartyDetail),
        ("/v1/beneficiaries", Beneficiaries),
        ("/v1/beneficiaries/UKR", BeneficiaryDetail),
        ("/v1/deliveries?limit=2", Deliveries),
    ],
)
async def test_answers_about_parties_are_shaped_as_the_openapi_document_says(
    side: ReadSide, path: str, shape: type[Answer]
) -> None:
    await some_deliveries(side)
    await side.record(a_pledge("j", euros(5), by=JOINT, due_by="2024-06"), a_pledge("o", euros(7), due_by="2024-06"))
    answer = await side.get(path)
    shape.model_validate(answer)
    assert (await side.get(answer["cite"]["url"])) == answer or "limit" in path
    assert not any(isinstance(value, float) and not math.isfinite(value) for value in answer.values())
