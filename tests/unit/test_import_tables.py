"""Spreadsheets and tables, cell by cell."""

from __future__ import annotations

import zipfile
from decimal import Decimal
from pathlib import Path

import pytest

from muster.importing.commands import CannotImport, Fault, Row
from muster.importing.mapping import parse, rows
from muster.importing.tables import Layout, Record, table

CONTENT = """<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Default Extension="xml" ContentType="application/xml"/>
<Override PartName="/xl/workbook.xml"
 ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>
<Override PartName="/xl/worksheets/sheet1.xml"
 ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>
<Override PartName="/xl/styles.xml"
 ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"/></Types>"""
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELS = f"""<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">
<Relationship Id="rId1" Type="{OFFICE}/TYPE" Target="TARGET"/>MORE</Relationships>"""
STYLES = f"""<?xml version="1.0"?><styleSheet xmlns="{MAIN}"><fonts count="1"><font/></fonts>
<fills count="1"><fill/></fills><borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs>
<cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14" applyNumberFormat="1"/></cellXfs></styleSheet>"""


def xlsx(path: Path, *lines: str, more: str = "") -> Path:
    """A workbook of one sheet, from the XML of its rows' cells."""
    sheet = "".join(f'<row r="{n}">{line}</row>' for n, line in enumerate(lines, start=1) if line)
    parts = {
        "[Content_Types].xml": CONTENT,
        "_rels/.rels": RELS.replace("TYPE", "officeDocument").replace("TARGET", "xl/workbook.xml").replace("MORE", ""),
        "xl/workbook.xml": f'<?xml version="1.0"?><workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>'
        '<sheet name="Pledges" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": RELS.replace("TYPE", "worksheet")
        .replace("TARGET", "worksheets/sheet1.xml")
        .replace("MORE", f'<Relationship Id="rId2" Type="{OFFICE}/styles" Target="styles.xml"/>'),
        "xl/styles.xml": STYLES,
        "xl/worksheets/sheet1.xml": f'<?xml version="1.0"?><worksheet xmlns="{MAIN}">'
        f"<sheetData>{sheet}</sheetData>{more}</worksheet>",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return path


def text(at: str, said: str) -> str:
    return f'<c r="{at}" t="inlineStr"><is><t>{said}</t></is></c>'


def number(at: str, said: str, style: int = 0, formula: str = "") -> str:
    return f'<c r="{at}" s="{style}">{f"<f>{formula}</f>" if formula else ""}<v>{said}</v></c>'


def test_a_sheet_gives_the_values_of_formulas_days_as_days_and_numbers_exactly(tmp_path: Path) -> None:
    book = xlsx(
        tmp_path / "a.xlsx",
        text("A1", "A title over all of it"),
        "",
        text("A3", "ID") + text("B3", "Money") + text("D3", "Day"),
        text("B4", "promised") + text("C4", "paid"),
        text("A5", "x")
        + number("B5", "0.30000000000000004", formula="0.1+0.2")
        + number("C5", "1500000")
        + number("D5", "45337", style=1),
        more='<mergeCells count="1"><mergeCell ref="B3:C3"/></mergeCells>',
    )
    found = table(book, Layout(header=(3, 4), sheet="Pledges"))
    assert found.columns == ("ID", "Money promised", "Money paid", "Day")
    (record,) = found.rows
    assert isinstance(record, Record)
    assert record.cells == {
        "ID": "x",
        "Money promised": Decimal("0.3"),
        "Money paid": Decimal(1500000),
        "Day": "2024-02-15",
    }
    assert record.place.line == 5


def test_a_sheet_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    book = xlsx(tmp_path / "a.xlsx", text("A1", "ID"))
    with pytest.raises(CannotImport, match="has no sheet 'Pledged'; it has Pledges"):
        table(book, Layout(sheet="Pledged"))


def test_a_file_that_only_calls_itself_a_spreadsheet_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_text("ID,Donor\n")
    with pytest.raises(CannotImport, match="cannot be read as a spreadsheet"):
        table(tmp_path / "a.xlsx", Layout())


SHEET = """
file: {header: 1}
record:
  - do: PUT /v1/statements/s-{ID}
    body:
      stated_by: {column: Who, as: party}
      about: {coalition: drones}
      measure: amount
      amount: {column: Amount, as: amount, unit: EUR}
      stated_on: {column: Day, as: day}
      sources: [{publisher: A, title: B}]
"""


def test_a_number_in_a_day_s_place_of_a_sheet_is_the_sheet_s_day(tmp_path: Path) -> None:
    cells = number("A2", "1") + text("B2", "LVA") + number("C2", "1E6") + number("D2", "45337")
    head = text("A1", "ID") + text("B1", "Who") + text("C1", "Amount") + text("D1", "Day")
    book = xlsx(tmp_path / "a.xlsx", head, cells)
    mapping = parse(SHEET, "m.yaml")
    (row,) = rows(mapping, table(book, mapping.layout), "a.xlsx")
    assert isinstance(row, Row)
    body = row.commands[0].said()
    assert row.commands[0].do == "PUT /v1/statements/s-1"
    assert (body["stated_on"], body["amount"]) == ("2024-02-15", {"unit": "EUR", "exactly": "1000000"})


# ------------------------------------------------------------------------------------------------ mappings

REPEATS = """
sources: [{publisher: A, title: B}]
record:
  - do: PUT /v1/pledges/r-{ID}
    repeats: HOW
    body:
      donors: [{party: {column: Donor, as: party, split: ";", register: fund}}]
      capability: drone
      announced_on: "2024"
      labels: {list: {column: List}}
      amount: {column: Amount, as: amount, unit: EUR, negative: decrease}
  - do: POST /v1/pledges/r-{ID}/pay
    body: {on: "2024", amount: {column: Amount, as: amount, unit: EUR, negative: decrease}}
"""


def made(tmp_path: Path, text: str, mapping: str) -> list[Row | Fault]:
    file = tmp_path / "a.csv"
    file.write_text(text, encoding="utf-8")
    found = parse(mapping, "m.yaml")
    return list(rows(found, table(file, found.layout), file.name))


def names(found: list[Row | Fault]) -> list[list[str]]:
    return [[command.do for command in row.commands] for row in found if isinstance(row, Row)]


def test_rows_that_repeat_a_name_are_told_apart_by_their_order(tmp_path: Path) -> None:
    found = made(tmp_path, "ID,Donor,List,Amount\nx,GBR,a,1\nx,GBR,a,1\ny,GBR,a,1\n", REPEATS.replace("HOW", "true"))
    assert names(found) == [
        ["PUT /v1/pledges/r-x", "POST /v1/pledges/r-x/pay"],
        ["PUT /v1/pledges/r-x-2", "POST /v1/pledges/r-x-2/pay"],
        ["PUT /v1/pledges/r-y", "POST /v1/pledges/r-y/pay"],
    ]


def test_rows_that_repeat_a_name_are_told_apart_by_what_they_say_in_any_order(tmp_path: Path) -> None:
    mapping = REPEATS.replace("HOW", "content")
    one = names(made(tmp_path, "ID,Donor,List,Amount\nx,GBR,a,1\nx,GBR,a,2\n", mapping))
    other = names(made(tmp_path, "ID,Donor,List,Amount\nx,GBR,a,2\nx,GBR,a,1\n", mapping))
    assert one == other[::-1]
    assert one[0] != one[1]


def test_a_negative_amount_is_a_decrease_where_the_mapping_says_so(tmp_path: Path) -> None:
    (row,) = made(tmp_path, "ID,Donor,List,Amount\nx,GBR,a,-5\n", REPEATS.replace("HOW", "false"))
    assert isinstance(row, Row)
    body = row.commands[0].said()
    assert (body["amount"], body["relation"]) == ({"unit": "EUR", "exactly": "5"}, {"kind": "decrease"})


def test_parties_that_nobody_knows_are_registered_on_the_way(tmp_path: Path) -> None:
    (row,) = made(tmp_path, "ID,Donor,List,Amount\nx,Drone Fund; Latvia,a,5\n", REPEATS.replace("HOW", "false"))
    assert isinstance(row, Row)
    fund, pledge, _ = row.commands
    assert (fund.do, fund.on_the_way, fund.said()["kind"]) == ("PUT /v1/parties/DRONE-FUND", True, "fund")
    assert pledge.said()["donors"] == [{"party": "DRONE-FUND"}, {"party": "LVA"}]
    assert pledge.said()["labels"] == {"list": ["a"]}
