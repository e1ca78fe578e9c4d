"""Tables in files: CSV of any usual spelling, and XLSX; row by row, each with the line it begins on."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any, Final

from python_calamine import CalamineError, CalamineWorkbook

from muster.importing.commands import CannotImport, Fault, Place
from muster.importing.values import of_float

Cell = str | Decimal
"""A text as it stands (days of a sheet as ISO days), or a number that a sheet keeps as one."""

DELIMITERS: Final = ",;\t|"
LOOKED_AT: Final = 50  # lines by which the delimiter is found
LONGEST_CELL: Final = 256 * 1024
CHUNK: Final = 1 << 20
SHEETS: Final = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")

Notice = Callable[[str], None]
Moved = Callable[[int], None]
"""Told how many more bytes of a file have been read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a table stands in its file. `header` are the lines that name the columns, from 1."""

    header: tuple[int, ...] = (1,)
    sheet: str | None = None
    delimiter: str | None = None
    encoding: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One row: its cells by column. Empty ones are ''."""

    place: Place
    cells: dict[str, Cell]


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of a file, and its rows as they are read."""

    columns: tuple[str, ...]
    rows: Iterator[Record | Fault]
    header: Place = field(default=Place("", 1))


def silent(_: object) -> None:
    """Tell nobody."""


def table(path: Path, layout: Layout, notice: Notice = silent, moved: Moved = silent) -> Table:
    """Open a table. `notice` is told what had to be guessed. Raises CannotImport for what is none."""
    try:
        if path.suffix.lower() in SHEETS:
            return _sheet(path, layout, moved)
        return _csv(path, layout, notice, moved)
    except OSError as error:
        raise CannotImport(f"{path.name} cannot be read: {error.strerror}") from None


# ------------------------------------------------------------------------------------------------ CSV


def _csv(path: Path, layout: Layout, notice: Notice, moved: Moved) -> Table:
    encoding = layout.encoding or encoding_of(path, notice)
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise CannotImport(f"{encoding!r} is no encoding; for example utf-8, utf-16, cp1252") from None
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        first = list(islice(file, max(layout.header) + LOOKED_AT))
    delimiter = layout.delimiter or delimiter_of(first, max(layout.header))
    rows = _lines(path, encoding, delimiter, moved)
    top: list[Sequence[Cell]] = []
    for line, cells in rows:
        if isinstance(cells, str):
            raise CannotImport(f"{path.name}:{line}: {cells}")
        top += [()] * (line - 1 - len(top))  # a line of a cell with line breaks is a line of the file
        top.append(cells)
        if len(top) >= max(layout.header):
            break
    columns = _columns(path, top, layout)
    return Table(columns, _records(path, rows, columns, short="told"), Place(path.name, max(layout.header)))


def _lines(path: Path, encoding: str, delimiter: str, moved: Moved) -> Iterator[tuple[int, Sequence[Cell] | str]]:
    """Give (line it begins on, cells) or (line, what is wrong with it)."""
    csv.field_size_limit(LONGEST_CELL)
    with path.open("rb") as raw, TextIOWrapper(raw, encoding=encoding, errors="replace", newline="") as text:
        told = 0

        def lines() -> Iterator[str]:
            nonlocal told
            for line in text:
                if (now := raw.tell()) != told:
                    moved(now - told)
                    told = now
                yield line

        reader = csv.reader(lines(), delimiter=delimiter, strict=True)  # rather told than garbled
        while True:
            begins = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield begins, f"cannot be read as CSV ({error}); is a quotation mark left open here?"
                continue
            yield begins, cells


def encoding_of(path: Path, notice: Notice = silent) -> str:
    """Find how a text is encoded: by its byte order mark, else UTF-8 where all of it is, else Windows-1252."""
    with path.open("rb") as file:
        start = file.read(4096)
        if start.startswith(codecs.BOM_UTF8):
            return "utf-8-sig"
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        if b"\0" in start:
            return "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            decoder.decode(start)
            while chunk := file.read(CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            notice(f"{path.name} is not UTF-8: it is read as Windows-1252 (the mapping's `encoding` says otherwise)")
            return "cp1252"
    return "utf-8"


def delimiter_of(lines: Sequence[str], header: int) -> str:
    """Find what stands between cells: what cuts the header, and the lines after it into as many cells."""
    if not lines:
        return ","

    def fits(delimiter: str) -> tuple[int, int]:
        try:
            rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
        except csv.Error:
            return 0, 0
        if not rows:
            return 0, 0
        head = rows[min(header, len(rows)) - 1]
        cells = sum(1 for cell in head if cell.strip())
        return (0 if cells < 2 else sum(1 for row in rows if len(row) == len(head))), cells  # noqa: PLR2004  # one cell is not cut

    return max(DELIMITERS, key=fits)


# ------------------------------------------------------------------------------------------------ sheets


def _sheet(path: Path, layout: Layout, moved: Moved) -> Table:
    try:
        book = CalamineWorkbook.from_path(str(path))
        names = book.sheet_names
        name = layout.sheet or (names[0] if names else "")
        if name not in names:
            raise CannotImport(f"{path.name} has no sheet {name!r}; it has {', '.join(names)}")
        rows: list[list[Any]] = book.get_sheet_by_name(name).to_python(skip_empty_area=False)
    except CalamineError as error:
        raise CannotImport(f"{path.name} cannot be read as a spreadsheet: {error}") from None
    moved(path.stat().st_size)
    top = [[_cell(value) for value in row] for row in rows[: max(layout.header)]]
    columns = _columns(path, top, layout)
    rest = ((n, [_cell(v) for v in row]) for n, row in enumerate(rows, start=1) if n > max(layout.header))
    return Table(columns, _records(path, rest, columns, short="filled"), Place(path.name, max(layout.header)))


def _cell(value: Any) -> Cell:  # noqa: ANN401  # whatever a sheet holds
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return of_float(float(value))
        case datetime() if (value.hour, value.minute, value.second) == (0, 0, 0):
            return value.date().isoformat()
        case datetime() | date():
            return value.isoformat()
        case None:
            return ""
        case _:
            return str(value)


# ------------------------------------------------------------------------------------------------ both


def text_of(cell: Cell) -> str:
    """Write a cell as a text."""
    if isinstance(cell, str):
        return cell.strip()
    plain = format(cell, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _columns(path: Path, top: Sequence[Sequence[Cell]], layout: Layout) -> tuple[str, ...]:
    """Name the columns. Of several header lines, one that is empty goes on from its left: the cells were merged."""
    if len(top) < max(layout.header):
        raise CannotImport(f"{path.name} has no line {max(layout.header)} to name its columns")
    width = max(len(top[line - 1]) for line in layout.header)
    names = [""] * width
    for number, line in enumerate(layout.header):
        before = ""
        for at in range(width):
            said = " ".join(text_of(top[line - 1][at]).split()) if at < len(top[line - 1]) else ""
            if not said and number < len(layout.header) - 1:
                said = before
            before = said
            names[at] = f"{names[at]} {said}".strip()
    while names and not names[-1]:
        names.pop()
    if not any(names):
        raise CannotImport(f"{path.name}:{max(layout.header)} is empty, and should name the columns; see `header`")
    found: dict[str, int] = {}
    for at, name in enumerate(names):
        found[name] = found.get(name, 0) + 1
        if name and found[name] > 1:
            names[at] = f"{name} ({found[name]})"  # a second column of that name
    return tuple(names)


def _records(
    path: Path, rows: Iterator[tuple[int, Sequence[Cell] | str]], columns: tuple[str, ...], *, short: str
) -> Iterator[Record | Fault]:
    """Name the cells of rows. Empty rows are left out; `short`: whether a row may lack cells at its end."""
    for line, cells in rows:
        place = Place(path.name, line)
        if isinstance(cells, str):
            yield Fault(place, cells)
            continue
        if not any(isinstance(cell, Decimal) or cell.strip() for cell in cells):
            continue
        if any(isinstance(cell, Decimal) or cell.strip() for cell in cells[len(columns) :]):
            yield Fault(place, f"has {len(cells)} cells, but the header has {len(columns)} columns")
            continue
        if len(cells) < len(columns) and short == "told":
            yield Fault(place, f"has {len(cells)} cells, but the header has {len(columns)} columns")
            continue
        padded = (*cells[: len(columns)], *[""] * (len(columns) - len(cells)))
        yield Record(place, {name: cell for name, cell in zip(columns, padded, strict=True) if name})
