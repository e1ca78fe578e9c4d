"""Lists and totals as files, and what stands in them."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from python_calamine import CalamineWorkbook

from services.projections.http.export import ColumnsAnswer, flat, guarded
from services.projections.http.facts import Facts
from shared.events.pledges import Share
from tests.acceptance.readside import ReadSide, a_read_side
from tests.examples import a_delivery, a_pledge, euros, pieces, revised
from tests.integration.streams import correction, retraction

STATE = ["known_at", "as_of"]


@pytest_asyncio.fixture
async def side(projections_url: str, projections_reader_url: str) -> AsyncIterator[ReadSide]:
    async with a_read_side(projections_url, projections_reader_url) as found:
        yield found


async def file(side: ReadSide, address: str, **parameters: Any) -> Any:
    answer = await side.client.get(address, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


async def test_a_list_is_had_as_csv_by_its_suffix_or_by_a_parameter(side: ReadSide) -> None:
    await side.record(
        a_pledge("a", pieces(5), by=(Share(party="DNK", share=pieces(3)), Share(party="NLD"))), a_pledge("b", euros(7))
    )
    by_suffix = await file(side, "/v1/pledges.csv", on="2024-12-31")
    assert by_suffix.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert by_suffix.headers["content-disposition"] == 'attachment; filename="pledges-ledger-2-2024-12-31.csv"'
    found = rows(by_suffix.text)
    assert [(row["id"], row["donors"], row["known_at"], row["as_of"]) for row in found] == [
        ("a", "DNK 3 piece; NLD", "2", "2024-12-31"),
        ("b", "GBR", "2", "2024-12-31"),
    ]
    by_parameter = await file(side, "/v1/pledges", on="2024-12-31", format="csv")
    assert by_parameter.text == by_suffix.text


async def test_a_file_has_every_page_of_its_list_and_no_row_twice(side: ReadSide) -> None:
    await side.record(*(a_pledge(f"p{n:04}", pieces(n)) for n in range(1203)))
    for form in ("csv", "jsonl"):
        text = (await file(side, f"/v1/facts.{form}")).text
        assert len(text.splitlines()) == 1204
    found = rows((await file(side, "/v1/facts.csv")).text)
    assert [int(row["position"]) for row in found] == list(range(1, 1204))
    assert [row["low"] for row in found] == [str(n) for n in range(1203)]
    assert len(rows((await file(side, "/v1/timeline.csv")).text)) == 1203
    one_page = await file(side, "/v1/facts.csv", limit=10)
    assert len(rows(one_page.text)) == 10
    assert 'rel="next"' in one_page.headers["link"]


async def test_a_file_stays_of_one_state_while_facts_arrive(side: ReadSide) -> None:
    await side.record(*(a_pledge(f"p{n:04}", pieces(1)) for n in range(150)))
    transport = side.client
    async with transport.stream("GET", "/v1/facts.csv") as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        await side.record(a_pledge("late", pieces(1)), revised("p0003", pieces(9), on="2024-06-01"))
        found = [line async for line in lines]
    assert len(found) == 150
    assert {line.split(",")[-2] for line in found} == {"150"}


async def test_totals_are_had_as_files_by_row_and_by_group(side: ReadSide) -> None:
    await side.record(a_pledge("a", pieces(5), by="GBR"), a_pledge("b", pieces(7), by="LVA"))
    whole = rows((await file(side, "/v1/totals.csv")).text)
    assert [(row["stage"], row["low"]) for row in whole] == [("pledged", "12")]
    groups = rows((await file(side, "/v1/totals.csv", group_by="donor")).text)
    assert [(row["donors"], row["low"]) for row in groups] == [("GBR", "5"), ("LVA", "7")]


async def test_what_a_spreadsheet_would_take_for_a_formula_is_text(side: ReadSide) -> None:
    note = '=HYPERLINK("https://example.org";"click")'
    await side.record(a_pledge("a", pieces(5), note=note))
    (row,) = rows((await file(side, "/v1/facts.csv")).text)
    assert row["note"] == f"'{note}"
    book = CalamineWorkbook.from_filelike(io.BytesIO((await file(side, "/v1/facts.xlsx")).content))
    names, *sheet = book.get_sheet_by_name("data").to_python()
    assert dict(zip(names, sheet[0], strict=True))["note"] == f"'{note}"


@pytest.mark.parametrize("cell", ["=1+1", "+44 20", "-x", "@cmd", "\tx", "\rx", "-1-1"])
def test_a_cell_that_may_be_a_formula_is_guarded(cell: str) -> None:
    assert guarded(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["-450", "-0.5", "500", "", "a=b", "2024-05-01"])
def test_numbers_and_plain_text_stay_as_they_are(cell: str) -> None:
    assert guarded(cell) == cell


def test_a_cell_is_text_whatever_the_answer_has() -> None:
    row = {"a": None, "b": True, "c": ["x", "y"], "d": {"e": "f"}, "g": [{"h": 1}], "i": 3}
    assert flat(row, ["a", "b", "c", "d.e", "g", "i", "missing.there"]) == [
        "",
        "true",
        "x; y",
        "f",
        '[{"h":1}]',
        "3",
        "",
    ]


async def test_an_xlsx_has_numbers_as_numbers_and_says_what_it_is_on_its_second_sheet(side: ReadSide) -> None:
    await side.record(a_pledge("a", pieces(5)))
    book = CalamineWorkbook.from_filelike(io.BytesIO((await file(side, "/v1/totals.xlsx", on="2024-12-31")).content))
    assert book.sheet_names == ["data", "about"]
    names, row = book.get_sheet_by_name("data").to_python()
    found = dict(zip(names, row, strict=True))
    assert (found["low"], found["known_at"], found["as_of"]) == (5.0, 1.0, "2024-12-31")
    about = {line[0]: line[1] for line in book.get_sheet_by_name("about").to_python()}
    assert (about["position"], about["licence"]) == (1.0, "https://creativecommons.org/licenses/by/4.0/")
    assert about["cite.url"] == "/v1/totals?on=2024-12-31&known=1"
    assert about["low"] == "The least it can be"


async def test_a_jsonl_says_what_it_is_in_its_first_line(side: ReadSide) -> None:
    await side.record(a_pledge("a", pieces(5)))
    first, *others = (await file(side, "/v1/pledges.jsonl")).text.splitlines()
    about = json.loads(first)["muster"]
    assert (about["position"], about["rows"], about["ledger"]) == (1, "pledges", "ledger")
    assert {"name": "status", "holds": ""} in about["columns"]
    listed = await side.get("/v1/pledges")
    assert [json.loads(line) for line in others] == listed["pledges"]


async def test_a_file_is_named_by_a_tag_of_its_own(side: ReadSide) -> None:
    await side.record(a_pledge("a", pieces(5)))
    as_csv, as_jsonl = [await file(side, f"/v1/totals.{form}") for form in ("csv", "jsonl")]
    plain = await file(side, "/v1/totals")
    assert len({answer.headers["etag"] for answer in (plain, as_csv, as_jsonl)}) == 3
    for form, answer, status in (("csv", as_csv, 304), ("jsonl", as_csv, 200)):
        headers = {"If-None-Match": answer.headers["etag"]}
        again = await side.client.get(f"/v1/totals.{form}", headers=headers)
        assert again.status_code == status
    await side.record(a_pledge("b", pieces(5)))
    headers = {"If-None-Match": as_csv.headers["etag"]}
    assert (await side.client.get("/v1/totals.csv", headers=headers)).status_code == 200


async def test_the_columns_of_a_file_are_described_where_its_header_says(side: ReadSide) -> None:
    await side.record(a_pledge("a", pieces(5)))
    answer = await file(side, "/v1/facts.csv")
    described = answer.headers["link"].partition(">")[0].removeprefix("<")
    columns = await side.get(described)
    ColumnsAnswer.model_validate(columns)
    (only,) = columns["files"]
    assert [column["name"] for column in only["columns"]] == next(csv.reader(io.StringIO(answer.text)))
    everything = await side.get("/v1/columns")
    assert {"/v1/totals", "/v1/pledges", "/v1/diff"} <= {one["path"] for one in everything["files"]}


@pytest.mark.parametrize(
    ("address", "parameters", "pointer"),
    [
        ("/v1/totals", {"format": "pdf"}, "/query/format"),
        ("/v1/totals.csv", {"format": "xlsx"}, "/query/format"),
        ("/v1/columns.xlsx", {"format": "csv"}, "/query/format"),
        ("/v1/pledges.csv", {"limit": "0"}, "/query/limit"),
        ("/v1/pledges.csv", {"on": "never"}, "/query/on"),
    ],
)
async def test_a_file_that_cannot_be_had_is_a_problem(
    side: ReadSide, address: str, parameters: dict[str, str], pointer: str
) -> None:
    answer = await side.client.get(address, params=parameters)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_a_file_of_what_is_not_there_is_not_found(side: ReadSide) -> None:
    await side.record(a_pledge("a", pieces(5)))
    assert (await side.client.get("/v1/coalitions/nobody/totals.csv")).status_code == 404
    assert (await side.client.get("/v1/nothing.csv")).status_code == 404


async def test_facts_stand_as_they_were_corrected_and_without_what_was_retracted(side: ReadSide) -> None:
    first, second, _ = await side.record(
        a_pledge("a", pieces(5), labels={"sector": ("air",)}),
        a_pledge("b", pieces(7)),
        a_delivery("d", pieces(2), of="a", on="2024-06-01"),
    )
    await side.record(correction(first, a_pledge("a", pieces("thousands"))), retraction(second))
    answer = await side.get("/v1/facts")
    Facts.model_validate(answer)
    assert [(f["position"], f["stage"], f["low"], f["high"], f["corrected"]) for f in answer["facts"]] == [
        (1, "pledged", "2000", None, True),
        (3, "delivered", "2", "2", False),
    ]
    before = await side.get("/v1/facts", known=3, on="2024-12-31")
    assert [(f["low"], f["labels"]) for f in before["facts"]] == [("5", ["sector=air"]), ("7", []), ("2", [])]
    everything = await side.get("/v1/facts", retracted=True)
    assert [f["live"] for f in everything["facts"]] == [True, False, True]
    later = await side.get("/v1/facts?from=2024-05-01")
    assert [f["position"] for f in later["facts"]] == [3]


async def test_the_whole_ledger_is_had_as_one_zip_of_one_state(side: ReadSide) -> None:
    first, _ = await side.record(a_pledge("a", pieces(5), announced_on="2024-02-01"), a_pledge("b", euros(7)))
    await side.record(retraction(first))
    answer = await file(side, "/v1/ledger.zip", on="2024-12-31", known=2)
    assert answer.headers["content-disposition"] == 'attachment; filename="ledger-ledger-2-2024-12-31.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as found:
        assert found.testzip() is None
        assert found.namelist() == ["events.ndjson", "facts.csv", "pledges.csv", "totals.csv", "README.md"]
        text = {name: found.read(name).decode() for name in found.namelist()}
    events = [json.loads(line) for line in text["events.ndjson"].splitlines()]
    assert [(event["position"], event["subject"]) for event in events] == [("1", "pledge-a"), ("2", "pledge-b")]
    assert events[0]["data"] == json.loads(first.payload)
    assert [row["stream"] for row in rows(text["facts.csv"])] == ["pledge-a", "pledge-b"]
    assert [row["id"] for row in rows(text["pledges.csv"])] == ["a", "b"]
    assert {(row["unit"], row["low"], row["known_at"]) for row in rows(text["totals.csv"])} == {
        ("piece", "5", "2"),
        ("EUR", "7", "2"),
    }
    assert "https://creativecommons.org/licenses/by/4.0/" in text["README.md"]
    for name in ("facts", "pledges", "totals"):
        head = text[f"{name}.csv"].splitlines()[0].split(",")
        section = text["README.md"].partition(f"## Columns of {name}.csv")[2].partition("\n## ")[0]
        assert [line.partition("`")[2].partition("`")[0] for line in section.split("\n") if line] == head
    headers = {"If-None-Match": answer.headers["etag"]}
    again = await side.client.get("/v1/ledger.zip", params={"on": "2024-12-31", "known": "2"}, headers=headers)
    assert again.status_code == 304
    now = await file(side, "/v1/ledger.zip")
    with zipfile.ZipFile(io.BytesIO(now.content)) as found:
        assert len(found.read("events.ndjson").splitlines()) == 3
        assert len(rows(found.read("facts.csv").decode())) == 1


async def test_long_answers_are_compressed_for_whoever_can_read_them(side: ReadSide) -> None:
    await side.record(*(a_pledge(f"p{n}", pieces(n)) for n in range(9)))
    for address in ("/v1/facts", "/v1/facts.csv", "/v1/pledges.jsonl", "/openapi.json"):
        answer = await side.client.get(address, headers={"Accept-Encoding": "gzip"})
        assert answer.headers["content-encoding"] == "gzip", address
        assert "Accept-Encoding" in answer.headers["vary"], address
        plain = await side.client.get(address, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.content == answer.content
