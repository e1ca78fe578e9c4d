"""What becomes of a flow of FTS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from muster.importing import fts
from muster.importing.commands import CannotImport, Fault, Row
from muster.importing.files import looked_at

Json = Any


def an_object(kind: str, name: str, **other: Json) -> Json:
    return {"type": kind, "id": "1", "name": name, "behavior": "single", **other}


GERMANY = an_object("Organization", "Germany, Government of", organizationTypes=["Government"])
WFP = an_object("Organization", "World Food Programme", organizationTypes=["UN agency"])
FUND = an_object("Organization", "Afghanistan Humanitarian Fund", organizationTypes=["Pooled fund"])
JORDAN, LEBANON = an_object("Location", "Jordan"), an_object("Location", "Lebanon")
YEAR = an_object("UsageYear", "2020")


def a_flow(**other: Json) -> Json:
    flow = {
        "id": "7", "versionId": 2, "amountUSD": 1000, "status": "paid", "boundary": "incoming", "onBoundary": "single",
        "date": "2020-05-13T00:00:00Z", "decisionDate": "2020-05-01T00:00:00Z",
        "firstReportedDate": "2020-05-20T00:00:00Z",
        "description": "Food\nand water ", "contributionType": "financial", "flowType": "Standard", "exchangeRate": 0.9,
        "originalAmount": 900, "originalCurrency": "EUR", "sourceObjects": [GERMANY], "keywords": None,
        "destinationObjects": [WFP, JORDAN, YEAR, an_object("Plan", "Jordan 2020")],
    }  # fmt: skip
    return flow | other


def row(tmp_path: Path, **other: Json) -> Row:
    found = rows(tmp_path, a_flow(**other))[0]
    assert isinstance(found, Row), found
    assert [one.reason for one in looked_at([found]) if one.reason] == []
    return found


def rows(tmp_path: Path, *flows: Json) -> list[Row | Fault]:
    path = tmp_path / "page.json"
    path.write_text(json.dumps({"data": {"flows": flows, "incoming": {}}}))
    return list(fts.rows([path]))


def pledge(found: Row) -> dict[str, Json]:
    return next(command.said() for command in found.commands if command.do == "PUT /v1/pledges/fts-7")


def test_a_paid_flow_is_a_pledge_that_was_committed_and_paid(tmp_path: Path) -> None:
    found = row(tmp_path)
    assert [command.do for command in found.commands] == [
        "PUT /v1/parties/WORLD-FOOD-PROGRAMME",
        "PUT /v1/pledges/fts-7",
        "POST /v1/pledges/fts-7/commit",
        "POST /v1/pledges/fts-7/pay",
    ]
    said = pledge(found)
    assert "amount" not in said
    assert (said["donors"], said["beneficiary"], said["recipient"]) == (
        [{"party": "DEU"}],
        "JOR",
        "WORLD-FOOD-PROGRAMME",
    )
    assert (said["announced_on"], said["reported_on"], said["note"]) == ("2020-05-01", "2020-05-20", "Food\nand water")
    assert said["refs"] == [{"scheme": "fts", "id": "7", "version": "2"}]
    assert said["labels"]["plan"] == ["Jordan 2020"]
    assert said["labels"]["fts_counts"] == ["funding"]
    assert "new_money" not in said
    paid = found.commands[-1].said()
    assert (paid["on"], paid["amount"]) == ("2020-05-13", {"unit": "USD", "exactly": "1000"})
    assert paid["also"] == [{"unit": "EUR", "exactly": "900", "basis": "stated", "rate": "0.9"}]


@pytest.mark.parametrize(
    ("status", "stages", "pledged"),
    [("pledge", [], True), ("commitment", ["commit"], False), ("paid", ["commit", "pay"], False)],
)
def test_a_status_says_which_stages_were_reached(tmp_path: Path, status: str, stages: list[str], pledged: bool) -> None:
    found = row(tmp_path, status=status)
    assert [c.do.rpartition("/")[2] for c in found.commands if c.do.startswith("POST")] == stages
    assert ("amount" in pledge(found)) == pledged
    assert pledge(found)["labels"]["status"] == [status]


@pytest.mark.parametrize(
    ("boundary", "on_boundary", "counts", "new_money", "relation"),
    [
        ("incoming", "single", "funding", True, None),
        ("incoming", "shared", "nothing", True, {"kind": "unknown"}),
        ("internal", "single", "nothing", False, None),
        ("outgoing", "shared", "nothing", False, None),
    ],
)
def test_money_is_new_where_it_enters_and_only_then(
    tmp_path: Path, *, boundary: str, on_boundary: str, counts: str, new_money: bool, relation: Json
) -> None:
    said = pledge(row(tmp_path, boundary=boundary, onBoundary=on_boundary, flowType="Pass through"))
    assert said["labels"]["fts_counts"] == [counts]
    assert said.get("new_money", True) == new_money
    assert said.get("relation") == relation


def test_a_flow_for_several_countries_is_for_all_of_them(tmp_path: Path) -> None:
    said = pledge(row(tmp_path, onBoundary="shared", destinationObjects=[JORDAN, LEBANON, WFP, GERMANY]))
    assert said["beneficiaries"] == [{"party": "JOR"}, {"party": "LBN"}]
    assert "relation" not in said
    assert "recipient" not in said
    assert said["labels"]["recipient"] == ["World Food Programme", "Germany, Government of"]


def test_who_is_not_named_is_unknown_and_a_pooled_fund_is_a_fund(tmp_path: Path) -> None:
    assert pledge(row(tmp_path, sourceObjects=[]))["donors"] == [{"party": "UNKNOWN"}]
    found = row(tmp_path, sourceObjects=[FUND])
    assert found.commands[0].said()["kind"] == "fund"
    assert pledge(found)["donors"] == [{"party": "AFGHANISTAN-HUMANITARIAN-FUND"}]


def test_a_negative_flow_is_a_decrease_a_zero_is_a_number_and_goods_are_in_kind(tmp_path: Path) -> None:
    found = row(tmp_path, amountUSD=-1000)
    assert pledge(found)["relation"] == {"kind": "decrease"}
    assert found.commands[-1].said()["amount"] == {"unit": "USD", "exactly": "1000"}
    assert row(tmp_path, amountUSD=0).commands[-1].said()["amount"] == {"unit": "USD", "exactly": "0"}
    assert pledge(row(tmp_path, contributionType="in kind"))["finance_type"] == "in_kind"


def test_a_flow_that_cannot_be_read_stops_no_other(tmp_path: Path) -> None:
    found = rows(
        tmp_path,
        a_flow(id="1", status="dreamt"),
        {"id": "2"},
        3,
        a_flow(id="4", destinationObjects=[an_object("Location", "Atlantis")]),
        a_flow(id="5", amountUSD="much"),
        a_flow(id="6"),
    )
    assert [one.about if isinstance(one, Fault) else "read" for one in found] == [
        "PUT /v1/pledges/fts-1",
        "PUT /v1/pledges/fts-2",
        None,
        "PUT /v1/pledges/fts-4",
        "PUT /v1/pledges/fts-5",
        "read",
    ]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"data": 3}', '{"data": {"flows": 3}}', "\ufeff"])
def test_what_is_no_page_is_told_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(CannotImport, match="no page of the FTS API"):
        list(fts.rows([tmp_path / "a.json"]))


def test_a_table_that_is_none_of_fts_is_told_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,amount\n1,2\n")
    with pytest.raises(CannotImport, match="has no column amountUSD, status"):
        list(fts.rows([tmp_path / "a.csv"]))
