"""From files to rows of commands, whatever kind of file; and a look at commands without sending them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from muster.importing import fts
from muster.importing.commands import IMPORT, CannotImport, Command, Fault, Place, Row
from muster.importing.mapping import MappingFile, load, rows
from muster.importing.parties import name_in_path
from muster.importing.seen import Seen, once
from muster.importing.sending import Became, explained
from muster.importing.tables import SHEETS, Moved, Notice, silent, table
from services.commitments.http.commands import RETRACT, Route, checked, match, spelt
from services.commitments.http.problems import Problem

TABLES: Final = (".csv", ".tsv", ".txt", *SHEETS)
Mapping = MappingFile | str | None
"""How files are read: by a mapping of one's own, by the one named `fts`, or (None) as commands."""


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    do: str
    body: msgspec.Raw


_LINE: Final = msgspec.json.Decoder(_Line)


def mapping(name: str | None) -> Mapping:
    """Find a mapping: the built-in one by its name, else a file. Raises CannotImport."""
    return name if name in (None, fts.NAME) else load(Path(name or ""))


def read(
    paths: Sequence[Path], how: Mapping, mark: str | None, notice: Notice = silent, moved: Moved = silent
) -> Iterator[Row | Fault]:
    """Give the rows of files, each thing once, marked with the import they are of.

    `mark`: the import's id; None names it after each file, and leaves commands (NDJSON) unmarked, as they are.
    Raises CannotImport for a file or a mapping that cannot be used.
    """
    for path in paths:
        if not path.is_file():
            raise CannotImport(f"there is no file {path}")
    return once(marked(_rows(paths, how, notice, moved), how, mark))


def _rows(paths: Sequence[Path], how: Mapping, notice: Notice, moved: Moved) -> Iterator[Row | Fault]:
    if how == fts.NAME:
        yield from fts.rows(paths, notice, moved)
        return
    said = Seen()
    for path in paths:
        if isinstance(how, MappingFile):
            yield from rows(how, table(path, how.layout, notice, moved), path.name, said)
        elif path.suffix.lower() in TABLES:
            raise CannotImport(f"{path.name} is a table: say by --mapping FILE.yaml what its columns mean")
        else:
            yield from commands(path, moved)


def commands(path: Path, moved: Moved = silent) -> Iterator[Row | Fault]:
    """Read NDJSON of commands, a row each."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                moved(len(line))
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")  # noqa: PLW2901  # a byte order mark is no part of it
                if line.strip():
                    yield _command(Place(path.name, number), line)
    except OSError as error:
        raise CannotImport(f"{path.name} cannot be read: {error.strerror}") from None


def _command(place: Place, line: bytes) -> Row | Fault:
    try:
        said = _LINE.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as wrong:
        return Fault(place, f'is no command {{"do": "PUT /v1/pledges/x", "body": {{...}}}}: {wrong}')
    return Row((Command(place, said.do, msgspec.Raw(bytes(said.body))),))


def import_id(file: str) -> str:
    """Name an import after its file."""
    return name_in_path(Path(file).stem) or "import"


def marked(rows: Iterable[Row | Fault], how: Mapping, mark: str | None) -> Iterator[Row | Fault]:
    """Mark every command with the import it is of, by a label; what is registered on the way is nobody's."""
    names: dict[str, str] = {}
    for row in rows:
        if isinstance(row, Fault) or (how is None and mark is None):
            yield row
            continue
        file = row.place.file
        of = mark or names.setdefault(file, import_id(file))
        try:
            yield Row(
                tuple(command if command.on_the_way else labelled(command, {IMPORT: of}) for command in row.commands)
            )
        except ValueError as wrong:
            yield Fault(row.place, str(wrong), row.commands[0].do)


def labelled(command: Command, labels: dict[str, str]) -> Command:
    """Add labels to a command."""
    body = command.said()
    there = body.get("labels") or {}
    if not isinstance(there, dict):
        raise ValueError("labels are an object of lists")  # noqa: TRY004  # a fault of the line
    return replace(command, body={**body, "labels": {**there, **{key: [value] for key, value in labels.items()}}})


# ------------------------------------------------------------------------------------------------ a look


def looked_at(found: Iterable[Row | Fault]) -> Iterator[Became]:
    """Check the form of commands without a ledger: what would be sent is told as recorded."""
    for row in found:
        if isinstance(row, Fault):
            yield Became(row.place, row.about or "", "refused", row.reason, "row")
            continue
        for command in row.commands:
            wrong = form_of(command)
            what = Became(command.place, command.do, "recorded", on_the_way=command.on_the_way)
            yield what if wrong is None else replace(what, what="refused", reason=wrong, code="form")


def form_of(command: Command) -> str | None:
    """Say what is wrong with the form of a command, as the API would; None where nothing is."""
    method, _, path = command.do.partition(" ")
    found = match(method, path)
    if found is None:
        return f"{command.do[:100]!r} is no command"
    route, names, *_ = found
    try:
        if "event_id" not in names:
            spelt(names)
        if _checkable(route):
            checked(route.body, command.said())
    except Problem as problem:
        return explained(problem.told.json())
    except ValueError as wrong:
        return str(wrong)
    return None


def _checkable(route: Route) -> bool:
    """Whether the body's form is known without the ledger: that of a correction depends on what it corrects."""
    return route.entry is not None or route is RETRACT
