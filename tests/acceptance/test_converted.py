"""Money in one currency, beside what was said: `in=EUR`; statements beside the ledger's own answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from services.projections.http.parties import PartyDetail
from services.projections.http.pledges import PledgeDetail, Pledges
from services.projections.http.statements import Statements
from services.projections.http.totals import Totals
from services.projections.rates import load, rounded
from shared.amounts import Amount
from shared.days import Said
from shared.events.pledges import Period, Share
from shared.events.reports import About, StatementRecorded
from tests.acceptance.readside import ReadSide, a_read_side
from tests.examples import A_SOURCE, a_coalition, a_delivery, a_pledge, euros, pieces, revised, withdrawn
from tests.integration.streams import retraction

JOINT = (Share(party="DNK"), Share(party="NLD"))


@pytest_asyncio.fixture
async def side(projections_url: str, projections_reader_url: str) -> AsyncIterator[ReadSide]:
    async with a_read_side(projections_url, projections_reader_url) as found:
        yield found


async def ask(side: ReadSide, path: str, asked: Mapping[str, Any], expect: int = 200) -> Any:
    """Ask with parameters that are no names in Python."""
    return await side.get(f"{path}?{urlencode(asked)}", expect)


def pounds(count: int) -> Amount:
    return pieces(count, unit="GBP")


def in_euros(count: int, currency: str, *days: str) -> str:
    """So much in euros, by the ECB's rate of each of these days for an equal part."""
    rates = load()
    value = Decimal(0)
    for day in days:
        rate = rates.of(currency, date.fromisoformat(day))
        assert rate is not None
        value += Decimal(count) / len(days) / rate.per_euro
    return f"{rounded(value, 'EUR').normalize():f}"


def converted_row(answer: dict[str, Any], stage: str = "pledged") -> dict[str, Any]:
    (found,) = (row for row in answer["converted"]["rows"] if row["stage"] == stage)
    return dict(found)


async def test_totals_stand_beside_what_they_come_to_in_one_currency(side: ReadSide) -> None:
    await side.record(
        a_coalition(),
        a_pledge("pounds", pounds(1000), coalition="drones", announced_on="2024-02-17"),  # a Saturday
        a_pledge("euros", euros(at_least=500), coalition="drones"),
        a_pledge("pieces", pieces(7), coalition="drones"),
    )
    plain = await side.get("/v1/coalitions/drones/totals")
    answer = await ask(side, "/v1/coalitions/drones/totals", {"in": "EUR"})
    assert answer["totals"] == plain["totals"]
    assert plain["converted"] is None if "converted" in plain else True
    row = converted_row(answer)
    assert (row["unit"], row["high"], row["pledges"]) == ("EUR", None, 2)
    of_pounds = in_euros(1000, "GBP", "2024-02-16")
    assert Decimal(row["low"]) == 500 + Decimal(of_pounds)
    assert {(one["unit"], one["low"], one["converted_low"]) for one in row["originals"]} == {
        ("EUR", "500", "500"),
        ("GBP", "1000", of_pounds),
    }
    (rate,) = answer["converted"]["rates"]
    assert (rate["currency"], rate["per"], rate["published_on"]) == ("GBP", "EUR", "2024-02-16")
    assert rate["source"].startswith("ECB")
    assert answer["converted"]["unconverted"] == []
    assert await side.get(answer["cite"]["url"]) == answer


async def test_a_pledge_counts_by_the_rate_of_its_day_however_the_rates_move_on(side: ReadSide) -> None:
    await side.record(a_pledge("x", pounds(1000), announced_on="2024-02-15"))
    for on in ("2024-02-15", "2024-09-01", "2026-01-15"):
        answer = await ask(side, "/v1/totals", {"in": "EUR", "on": on})
        assert converted_row(answer)["low"] == in_euros(1000, "GBP", "2024-02-15")
    today = await ask(side, "/v1/totals", {"in": "EUR", "on": "2026-01-15", "rate_on": "on"})
    assert converted_row(today)["low"] == in_euros(1000, "GBP", "2026-01-15")


async def test_a_revision_adds_at_its_own_day_and_a_withdrawal_or_a_retraction_leaves_nothing(side: ReadSide) -> None:
    told = await side.record(
        a_pledge("x", pounds(1000), announced_on="2024-02-15"),
        revised("x", pounds(2000), on="2024-11-15"),
        withdrawn("x", on="2025-03-14"),
    )
    both = in_euros(2000, "GBP", "2024-02-15", "2024-11-15")
    answer = await ask(side, "/v1/totals", {"in": "EUR", "on": "2025-03-13"})
    assert converted_row(answer)["low"] == both
    assert (await ask(side, "/v1/totals", {"in": "EUR", "on": "2025-03-14"}))["converted"]["rows"] == []
    await side.record(retraction(told[2]), retraction(told[1]))
    assert converted_row(await ask(side, "/v1/totals", {"in": "EUR", "on": "2025-03-14"}))["low"] == in_euros(
        1000, "GBP", "2024-02-15"
    )
    past = await ask(side, "/v1/totals", {"in": "EUR", "on": "2025-03-13", "known": 3})
    assert converted_row(past)["low"] == both


async def test_from_gives_what_came_since_in_one_currency(side: ReadSide) -> None:
    await side.record(
        a_pledge("x", pounds(5000)),
        a_delivery("d1", pounds(1000), on="2024-03-01"),
        a_delivery("d2", pounds(1000), on="2024-11-15"),
    )
    answer = await ask(side, "/v1/totals", {"in": "EUR", "from": "2024-06-01", "on": "2024-12-31"})
    assert converted_row(answer, "delivered")["low"] == in_euros(1000, "GBP", "2024-11-15")


async def test_what_has_no_rate_is_counted_and_never_guessed(side: ReadSide) -> None:
    await side.record(a_pledge("x", pieces(40_000, unit="UAH")), a_pledge("y", euros(5)))
    answer = await ask(side, "/v1/totals", {"in": "EUR"})
    assert converted_row(answer)["low"] == "5"
    (lacking,) = answer["converted"]["unconverted"]
    assert (lacking["unit"], lacking["low"], lacking["pledges"]) == ("UAH", "40000", 1)
    assert lacking["lacks"] == "UAH on 2024-02-15"


async def test_undisclosed_money_stays_unknown_in_every_currency(side: ReadSide) -> None:
    await side.record(a_pledge("x", pieces(undisclosed=True, unit="GBP")), a_pledge("y", pounds(10)))
    row = converted_row(await ask(side, "/v1/totals", {"in": "USD"}))
    assert (row["unknown"], row["pledges"]) == (1, 2)


async def test_a_party_shows_its_own_money_in_one_currency(side: ReadSide) -> None:
    await side.record(a_pledge("own", pounds(100), by="DNK"), a_pledge("joint", euros(400), by=JOINT))
    answer = await ask(side, "/v1/parties/DNK", {"in": "EUR"})
    assert converted_row(answer)["low"] == in_euros(100, "GBP", "2024-02-15")
    PartyDetail.model_validate(answer)
    totals = await ask(side, "/v1/parties/DNK/totals", {"in": "EUR"})
    assert converted_row(totals)["low"] == converted_row(answer)["low"]
    Totals.model_validate(totals)


async def test_a_pledge_shows_each_stage_of_money_in_one_currency(side: ReadSide) -> None:
    await side.record(
        a_pledge("x", pounds(1000), announced_on="2024-02-15"),
        revised("x", pounds(2000), on="2024-11-15"),
        a_pledge("y", pieces(7)),
        a_pledge("z", pieces(40_000, unit="UAH")),
    )
    when = {"in": "EUR", "on": "2024-12-31"}
    answer = await ask(side, "/v1/pledges", when)
    Pledges.model_validate(answer)
    x, y, z = (found["stages"][0]["converted"] for found in answer["pledges"])
    assert (x["low"], x["lacks"]) == (in_euros(2000, "GBP", "2024-02-15", "2024-11-15"), None)
    assert [rate["published_on"] for rate in x["rates"]] == ["2024-02-15", "2024-11-15"]
    assert y is None
    assert (z["low"], z["high"], z["lacks"]) == (None, None, "UAH on 2024-02-15")
    one = await ask(side, "/v1/pledges/x", when)
    PledgeDetail.model_validate(one)
    assert one["pledge"]["stages"][0]["converted"] == x
    assert (await side.get(one["cite"]["url"]))["pledge"]["stages"] == one["pledge"]["stages"]
    cited = await side.get(answer["cite"]["url"])
    assert [found["stages"] for found in cited["pledges"]] == [found["stages"] for found in answer["pledges"]]
    by_day = await ask(side, "/v1/pledges/x", when | {"rate_on": "on"})
    assert by_day["pledge"]["stages"][0]["converted"]["low"] == in_euros(2000, "GBP", "2024-12-31")


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [({"in": "XXZ"}, "/query/in"), ({"in": "eur"}, "/query/in"), ({"in": "EUR", "rate_on": "x"}, "/query/rate_on")],
)
async def test_a_currency_that_is_none_is_pointed_at(side: ReadSide, asked: dict[str, str], pointer: str) -> None:
    await side.record(a_coalition())
    answer = await ask(side, "/v1/totals", asked, 422)
    assert [error["pointer"] for error in answer["errors"]] == [pointer]


# -------------------------------------------------------------------------------------------------- statements


def stated(said: Amount, **other: Any) -> StatementRecorded:
    facts: dict[str, Any] = {
        "statement": "s",
        "stated_by": "LVA",
        "about": About(coalition="drones"),
        "measure": "amount",
        "amount": said,
        "stated_on": Said("2024-12-31"),
        "stage": "pledged",
        "sources": A_SOURCE,
    }
    return StatementRecorded(**(facts | other))


async def test_rule_10_a_stated_total_is_compared_in_its_unit_and_with_all_money_converted(
    side: ReadSide,
) -> None:
    await side.record(
        a_coalition(),
        a_pledge("pounds", pounds(1000), coalition="drones"),
        a_pledge("euros", euros(500), coalition="drones"),
        a_pledge("hryvnias", pieces(40_000, unit="UAH"), coalition="drones"),
        a_pledge("elsewhere", pounds(9999)),
        stated(euros(2000)),
    )
    answer = await side.get("/v1/statements", on="2024-12-31")
    Statements.model_validate(answer)
    (statement,) = answer["statements"]
    (ledger,) = statement["ledger"]
    of_pounds = Decimal(in_euros(1000, "GBP", "2024-02-15"))
    assert (ledger["low"], ledger["difference"]) == ("500", "1500")
    assert Decimal(ledger["in_all"]["low"]) == 500 + of_pounds
    assert Decimal(ledger["in_all"]["difference"]) == 1500 - of_pounds
    (converted,) = ledger["converted"]
    assert (converted["unit"], converted["low"], Decimal(converted["converted_low"])) == ("GBP", "1000", of_pounds)
    assert (await side.get(converted["explain"]))["sum"]["low"] == "1000"
    assert [(one["unit"], one["low"], one["lacks"]) for one in ledger["unconverted"]] == [
        ("UAH", "40000", "UAH on 2024-02-15")
    ]
    assert [(rate["currency"], rate["published_on"]) for rate in statement["rates"]] == [("GBP", "2024-02-15")]
    assert (await side.get(ledger["explain"]))["sum"]["low"] == "500"


async def test_rule_10_the_rate_may_be_that_of_the_day_it_was_stated_on(side: ReadSide) -> None:
    await side.record(a_coalition(), a_pledge("pounds", pounds(1000), coalition="drones"), stated(euros(2000)))
    answer = await side.get("/v1/statements", on="2025-06-30", rate_on="on")
    (ledger,) = answer["statements"][0]["ledger"]
    assert ledger["in_all"]["low"] == in_euros(1000, "GBP", "2024-12-31")


@pytest.mark.parametrize(
    ("about", "low"),
    [
        (About(donor="GBR"), "1000"),
        (About(donor="DNK"), "0"),
        (About(beneficiary="UKR"), "1000"),
        (About(coalition="drones"), "1400"),
    ],
    ids=["a donor", "a donor in a group: at least nothing", "a beneficiary", "a coalition"],
)
async def test_rule_10_a_statement_is_about_a_coalition_a_donor_or_a_beneficiary(
    side: ReadSide, about: About, low: str
) -> None:
    await side.record(
        a_coalition(),
        a_pledge("own", euros(1000), coalition="drones", beneficiaries=(Share(party="UKR"),)),
        a_pledge("joint", euros(400), by=JOINT, coalition="drones"),
        stated(euros(900), about=about),
    )
    (statement,) = (await side.get("/v1/statements", on="2024-12-31"))["statements"]
    (ledger,) = statement["ledger"]
    assert (ledger["low"], Decimal(ledger["difference"])) == (low, 900 - Decimal(low))


async def test_rule_10_of_a_period_what_came_in_it_is_compared(side: ReadSide) -> None:
    await side.record(
        a_coalition(),
        a_pledge("x", pieces(500), coalition="drones"),
        a_delivery("before", pieces(100), on="2024-06-30"),
        a_delivery("within", pieces(30), on="2024-07-01"),
        stated(pieces(50), stage="delivered", period=Period(start=Said("2024-07"), end=Said("2024-12"))),
    )
    (statement,) = (await side.get("/v1/statements", on="2024-12-31"))["statements"]
    (ledger,) = statement["ledger"]
    assert (ledger["low"], ledger["difference"]) == ("30", "20")
