"""What the importer says of a spreadsheet in which everything is wrong that ever was, line by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from muster.importing import files
from muster.importing.commands import CannotImport
from muster.importing.files import looked_at, read
from muster.importing.mapping import MappingError, parse
from muster.importing.sending import Became

MAPPING = """
file: {dates: ["%d.%m.%Y"]}
undisclosed: [undisclosed, "?"]
maps:
  parties: {Great Britannia: GBR}
  units: {pcs: piece}
sources: [{publisher: Example, title: A list}]
record:
  - do: PUT /v1/pledges/row-{ID}
    body:
      donors: [{party: {column: Donor, as: party, map: parties}}]
      capability: drone
      amount: {column: Amount, as: amount, unit: {column: Unit, map: units}, empty: undisclosed}
      announced_on: {column: Day, as: day, required: true}
      note: {column: Note}
"""

HOSTILE = (
    "ID;Donor;Amount;Unit;Day;Note;;\r\n"  # columns without a name at the end
    "1;United Kingdom;1,000,000.50;EUR;15.02.2024;fine;;\r\n"
    ";;;;;;;\r\n"  # nothing
    '2;Latvia;500;pcs;2024-02;"two\r\nlines; and a ""quote""";;\r\n'
    "3;Lativa;500;pcs;2024;a typing error;;\r\n"
    "4;GBR;1,5;EUR;2024;1.5, or 15?;;\r\n"
    "5;GBR;-5;EUR;2024;a debt;;\r\n"
    "6;GBR;lots;EUR;2024;;;\r\n"
    "7;GBR;5;EUR;31.02.2024;no such day;;\r\n"
    "8;GBR;5;EUR;02/15/2024;another country's day;;\r\n"
    "9;GBR;5;EUR;;no day;;\r\n"
    "10;GBR;5;Euros;2024;no unit;;\r\n"
    ";GBR;5;EUR;2024;no name;;\r\n"
    "11;GBR;5\r\n"  # cut short
    "12;GBR;5;EUR;2024;one cell too many;;;surplus\r\n"
    "13;GBR;1e6;EUR;2024;=1+1;;\r\n"
    "1;United Kingdom;1,000,000.50;EUR;15.02.2024;fine;;\r\n"  # said twice
    "2;Latvia;600;pcs;2024-02;the same name, another row;;\r\n"
    "14;Great Britannia;?;EUR;2024;;;\r\n"
    "15;GBR;;EUR;2024;;;\r\n"
    "16;Côte d’Ivoire;more than 5;pcs;2024;“quotes” of Windows;;\r\n"
    '17;GBR;5;EUR;2024;"a quotation mark that nobody closes;;\r\n'
)


def what_is_said(tmp_path: Path, text: bytes, mapping: str = MAPPING) -> tuple[list[Became], list[str]]:
    file, notices = tmp_path / "hostile.csv", list[str]()
    file.write_bytes(text)
    return list(looked_at(read([file], parse(mapping, "m.yaml"), None, notices.append))), notices


def test_every_line_of_a_hostile_table_is_told_and_the_good_ones_stay_good(tmp_path: Path) -> None:
    told, notices = what_is_said(tmp_path, HOSTILE.encode("cp1252"))
    assert notices == ["hostile.csv is not UTF-8: it is read as Windows-1252 (the mapping's `encoding` says otherwise)"]
    assert [(one.place.line, one.do.rpartition("/")[2], one.reason) for one in told] == [
        (2, "row-1", None),
        (4, "row-2", None),
        (6, "row-3", "column 'Donor': 'Lativa' is no state that is known by this name; did you mean 'latvia'?"),
        (7, "row-4", "column 'Amount': '1,5' is no number where the mapping says decimal '.' and thousands ','"),
        (8, "row-5", "column 'Amount': '-5': an amount is never negative; see `negative: decrease`"),
        (9, "row-6", "column 'Amount': 'lots' is no number"),
        (
            10,
            "row-7",
            "column 'Day': '31.02.2024' is no day as the mapping knows them (%d.%m.%Y, 2024-02-15, 2024-02, 2024)",
        ),
        (
            11,
            "row-8",
            "column 'Day': '02/15/2024' is no day as the mapping knows them (%d.%m.%Y, 2024-02-15, 2024-02, 2024)",
        ),
        (12, "row-9", "column 'Day' is empty"),
        (
            13,
            "row-10",
            (
                "column 'Amount': the unit of the amount 'Euros' is no unit: `piece` or an ISO 4217 currency code; "
                "see `map`"
            ),
        ),
        (14, "", "column 'ID' is '', which gives no name for PUT /v1/pledges/row-{ID}"),
        (15, "", "has 3 cells, but the header has 6 columns"),
        (16, "", "has 9 cells, but the header has 6 columns"),
        (17, "row-13", None),
        (
            19,
            "row-2",
            (
                "PUT /v1/pledges/row-2 is said with another body by hostile.csv:4; give its rows names of their own, "
                "or `repeats`"
            ),
        ),
        (20, "row-14", None),
        (21, "row-15", None),
        (22, "row-16", None),
        (23, "", "cannot be read as CSV (unexpected end of data); is a quotation mark left open here?"),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_encoding_and_delimiter_are_found(tmp_path: Path, encoding: str, delimiter: str) -> None:
    head = ["ID", "Donor", "Amount", "Unit", "Day", "Note"]
    rows = [head, ["1", "Türkiye", "5", "EUR", "2024", "é"], ["2", "Latvia", "6", "EUR", "2024", '"a, b; c"']]
    text = "\n".join(delimiter.join(row) for row in rows).encode(encoding)
    told, notices = what_is_said(tmp_path, text)
    assert [(one.what, one.reason) for one in told] == [("recorded", None)] * 2
    assert bool(notices) == (encoding == "cp1252")


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        (
            "column: Amount",
            "column: Amuont",
            (
                "m.yaml, line 13: unknown column 'Amuont'; hostile.csv has 'ID', 'Donor', "
                "'Amount', 'Unit', 'Day', 'Note'; did you mean 'Amount'?"
            ),
        ),
        (
            "row-{ID}",
            "row-{Id}",
            (
                "m.yaml, line 9: unknown column 'Id'; hostile.csv has 'ID', 'Donor', 'Amount', 'Unit', "
                "'Day', 'Note'; did you mean 'ID'?"
            ),
        ),
        (
            "as: party",
            "as: partie",
            (
                "m.yaml, line 11: 'partie' is not one of text, party, amount, number, day, unit, "
                "name, capability; did you mean 'party'?"
            ),
        ),
        ("map: units", "map: unit", "m.yaml, line 13: there is no map 'unit' under `maps`; did you mean 'units'?"),
        (
            "undisclosed:",
            "undisclosd:",
            (
                "m.yaml, line 3: unknown key 'undisclosd' in a mapping, which takes file, maps, "
                "register, undisclosed, leave_out, keep, sources, labels, record; did you mean 'undisclosed'?"
            ),
        ),
        (
            "PUT /v1/pledges/",
            "PUT /v1/pledge/",
            ("m.yaml, line 9: 'PUT /v1/pledge/row-{ID}' is no command; one is written like PUT /v1/pledges/{ID}"),
        ),
    ],
)
def test_what_is_wrong_with_a_mapping_is_told_with_its_line_and_what_may_be_meant(
    tmp_path: Path, was: str, now: str, said: str
) -> None:
    with pytest.raises(MappingError) as wrong:
        what_is_said(tmp_path, HOSTILE.encode(), MAPPING.replace(was, now, 1))
    assert str(wrong.value) == said


@pytest.mark.parametrize("text", [b"", b"\n", b"\xff\xfe", b"\0\0\0\0", b'"'])
def test_a_file_that_is_no_table_is_told_so(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(CannotImport):
        what_is_said(tmp_path, text)


def test_a_table_without_a_mapping_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ID\n1\n")
    with pytest.raises(CannotImport, match="say by --mapping"):
        list(files.read([tmp_path / "a.csv"], None, None))


def test_lines_that_are_no_commands_are_told_and_stop_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a.ndjson"
    file.write_bytes(b'\xef\xbb\xbf{"do": "PUT /v1/parties/NATO", "body": 3}\nnonsense\n\n{"do": 1}\n'
                     b'{"do": "POST /v1/nothing", "body": {}}\n{"do": "PUT /v1/parties/\xff", "body": {}}\n'
                     b'{"do": "PUT /v1/parties/EU", "body": {"name": "EU", "kind": "organisation", '
                     b'"sources": [{"url": "https://e.org"}]}}\n')  # fmt: skip
    told = list(looked_at(read([file], None, None)))
    assert [(one.place.line, one.what) for one in told] == [
        (1, "refused"),
        (2, "refused"),
        (4, "refused"),
        (5, "refused"),
        (6, "refused"),
        (7, "recorded"),
    ]
    assert [one.reason for one in told[:1]] == ["PUT /v1/parties/NATO: a body is an object"]
