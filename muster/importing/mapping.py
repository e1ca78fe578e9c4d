"""Mappings: YAML that says which commands a row of a table becomes. docs/reference/mapping.md describes every key.

A mapping is read once and checked against the API and against the columns of each file before anything is sent; what
is wrong with it is told with its line. A fault of a row is that row's own, and stops no other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import yaml

from muster.importing import parties
from muster.importing.commands import CannotImport, Command, Fault, Row
from muster.importing.seen import Seen, hashed
from muster.importing.tables import Cell, Layout, Record, Table, text_of
from muster.importing.values import Spelling, amount, day, decimal_string, number
from services.commitments.http.commands import match
from services.commitments.http.forms import UNITS, Body

Json = Any

KINDS: Final = ("text", "party", "amount", "number", "day", "unit", "name", "capability")
QUALIFIERS: Final = ("exactly", "about", "at_least", "over", "at_most", "almost")
HOLE: Final = re.compile(r"\{([^{}]+)\}")
PARTY_KINDS: Final = ("organisation", "fund", "state")

NOTHING: Final = object()
"""What an empty cell gives: the field is left out."""


class MappingError(CannotImport):
    """What is wrong with a mapping, and on which of its lines."""

    def __init__(self, name: str, line: int, reason: str) -> None:
        super().__init__(f"{name}, line {line}: {reason}")


class RowFault(ValueError):
    """What is wrong with a row."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Which rows: those whose cell says one of some texts, or says anything at all."""

    column: str
    among: frozenset[str] | None  # in small letters; None: anything
    line: int

    def holds(self, cells: Mapping[str, Cell]) -> bool:
        """Whether it holds for a row."""
        said = text_of(cells[self.column]).casefold()
        return bool(said) if self.among is None else said in self.among


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A value that each row gives: from the first of some columns that is filled, or from a template."""

    line: int
    columns: tuple[str, ...] = ()
    template: str | None = None
    kind: str = "text"
    map: Mapping[str, str] = field(default_factory=dict)  # by text in small letters
    only_mapped: bool = False
    default: Json = NOTHING
    required: bool = False
    split: str | None = None
    unit: Json = None  # of an amount: a unit, or the leaf that gives it
    qualifier: str = "exactly"
    empty: str = "left out"  # or "undisclosed": what an empty amount means
    negative: str = "refuse"  # or "decrease"
    register: str | None = None  # the kind of a party that nobody knows yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One command a row: its method and path with holes, its body, and for which rows."""

    line: int
    do: str
    body: Json
    when: tuple[Condition, ...] = ()
    repeats: str | None = None  # "order" or "content": how rows of one name are told apart


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingFile:
    """A whole mapping."""

    name: str
    layout: Layout
    spelling: Spelling
    leave_out: tuple[Condition, ...]
    keep: tuple[Condition, ...]
    record: tuple[Template, ...]
    columns: tuple[tuple[str, int], ...]  # each column that it names, with the line

    def check(self, table: Table, file: str) -> None:
        """Hold the columns it names against a file's. Raises MappingError for the first that is not there."""
        for column, line in self.columns:
            if column not in table.columns:
                has = ", ".join(repr(name) for name in table.columns if name)
                said = f"unknown column {column!r}; {file} has {has}"
                raise MappingError(self.name, line, said + meant(column, table.columns))


def meant(said: str, known: Sequence[str] | Iterator[str] | Mapping[str, Any]) -> str:
    """Ask whether something known was meant that is spelt almost so."""
    among = {name.casefold(): name for name in known if name}
    found = get_close_matches(said.casefold(), among, n=1, cutoff=0.6)
    return f"; did you mean {among[found[0]]!r}?" if found else ""


# ------------------------------------------------------------------------------------------------ reading it


@dataclass
class Reader:
    """Reads one mapping file; notes the columns it names, in order."""

    name: str
    columns: list[tuple[str, int]] = field(default_factory=list)
    maps: dict[str, dict[str, str]] = field(default_factory=dict)
    register: str | None = None

    def wrong(self, node: yaml.Node, reason: str) -> MappingError:
        return MappingError(self.name, node.start_mark.line + 1, reason)

    def fields(self, node: yaml.Node, known: Sequence[str], what: str) -> dict[str, yaml.Node]:
        """Give the fields of an object, all of them known ones, each there once."""
        if not isinstance(node, yaml.MappingNode):
            raise self.wrong(node, f"{what} is an object with {', '.join(known)}")
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = str(key.value)
            if name not in known:
                raise self.wrong(
                    key, f"unknown key {name!r} in {what}, which takes {', '.join(known)}" + meant(name, known)
                )
            if name in found:
                raise self.wrong(key, f"{name!r} stands here twice")
            found[name] = value
        return found

    def text(self, node: yaml.Node, among: Sequence[str] = ()) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self.wrong(node, "is a text")
        if among and node.value not in among:
            raise self.wrong(node, f"{node.value!r} is not one of {', '.join(among)}" + meant(node.value, among))
        return str(node.value)

    def texts(self, node: yaml.Node) -> tuple[str, ...]:
        """Give one text, or a list of them."""
        return (
            tuple(self.text(one) for one in node.value) if isinstance(node, yaml.SequenceNode) else (self.text(node),)
        )

    def flag(self, node: yaml.Node) -> bool:
        return self.text(node, ("true", "false")) == "true"

    def numbers(self, node: yaml.Node) -> tuple[int, ...]:
        said = self.texts(node)
        if not all(one.isdecimal() and int(one) > 0 for one in said):
            raise self.wrong(node, "is the number of a line, from 1, or a list of them")
        return tuple(sorted({int(one) for one in said}))

    def column(self, node: yaml.Node) -> tuple[str, ...]:
        names = self.texts(node)
        self.columns += [(name, node.start_mark.line + 1) for name in names]
        return names

    def condition(self, node: yaml.Node) -> Condition:
        found = self.fields(node, ("column", "is"), "a condition")
        if "column" not in found:
            raise self.wrong(node, "a condition names a column")
        (column,) = self.column(found["column"])[:1]
        among = frozenset(one.strip().casefold() for one in self.texts(found["is"])) if "is" in found else None
        return Condition(column, among, node.start_mark.line + 1)

    def conditions(self, node: yaml.Node | None) -> tuple[Condition, ...]:
        if node is None:
            return ()
        return tuple(self.condition(one) for one in (node.value if isinstance(node, yaml.SequenceNode) else [node]))

    def map(self, node: yaml.Node) -> dict[str, str]:
        """Give a map of values, by its name or as it stands there."""
        if isinstance(node, yaml.ScalarNode):
            if node.value not in self.maps:
                raise self.wrong(node, f"there is no map {node.value!r} under `maps`" + meant(node.value, self.maps))
            return self.maps[node.value]
        if not isinstance(node, yaml.MappingNode):
            raise self.wrong(node, "a map says for each text what it means")
        return {str(key.value).strip().casefold(): self.text(value) for key, value in node.value}

    def leaf(self, node: yaml.Node) -> Leaf:  # noqa: PLR0912  # one key after the other
        known = ("column", "template", "as", "map", "only_mapped", "default", "required", "split", "unit", "qualifier",
                 "empty", "negative", "register")  # fmt: skip
        found = self.fields(node, known, "a value")
        if ("column" in found) == ("template" in found):
            raise self.wrong(node, "a value has either a `column` or a `template`")
        said: dict[str, Any] = {"line": node.start_mark.line + 1, "register": self.register}
        if "template" in found:
            said["template"] = self.text(found["template"])
            self.columns += [(name, found["template"].start_mark.line + 1) for name in HOLE.findall(said["template"])]
        else:
            said["columns"] = self.column(found["column"])
        if "as" in found:
            said["kind"] = self.text(found["as"], KINDS)
        if "map" in found:
            said["map"] = self.map(found["map"])
        for name in ("only_mapped", "required"):
            if name in found:
                said[name] = self.flag(found[name])
        if "default" in found:
            said["default"] = self.constant(found["default"])
        if "split" in found:
            said["split"] = self.text(found["split"])
        if "register" in found:
            kind = self.text(found["register"], (*PARTY_KINDS, "false"))
            said["register"] = None if kind == "false" else kind
        for name, among in (
            ("qualifier", QUALIFIERS),
            ("empty", ("left out", "undisclosed")),
            ("negative", ("refuse", "decrease")),
        ):
            if name in found:
                said[name] = self.text(found[name], among)
        if "unit" in found:
            said["unit"] = self.value(found["unit"])
            if isinstance(said["unit"], str) and said["unit"] not in UNITS:
                raise self.wrong(found["unit"], f"{said['unit']!r} is no unit: `piece` or an ISO 4217 currency code")
        if (said.get("kind") == "amount") != ("unit" in said):
            raise self.wrong(node, "an amount needs a `unit`, and nothing else has one")
        return Leaf(**said)

    def constant(self, node: yaml.Node) -> Json:
        """Give what stands in the mapping itself; true and false without quotation marks are no texts."""
        match node:
            case yaml.ScalarNode():
                return node.value == "true" if node.style is None and node.value in ("true", "false") else node.value
            case yaml.SequenceNode():
                return [self.constant(one) for one in node.value]
            case yaml.MappingNode():
                return {str(key.value): self.constant(value) for key, value in node.value}
            case _:
                raise self.wrong(node, "is no value")

    def value(self, node: yaml.Node) -> Json:
        """Give a value of a body: a leaf where it is from the row, else what stands there."""
        match node:
            case yaml.MappingNode() if any(key.value in ("column", "template") for key, _ in node.value):
                return self.leaf(node)
            case yaml.MappingNode():
                return {str(key.value): self.value(value) for key, value in node.value}
            case yaml.SequenceNode():
                return [self.value(one) for one in node.value]
            case _:
                return self.constant(node)

    def template(self, node: yaml.Node, common: dict[str, Json]) -> Template:
        found = self.fields(node, ("do", "body", "when", "repeats"), "a command")
        for name in ("do", "body"):
            if name not in found:
                raise self.wrong(node, f"a command has `{name}`")
        do = self.text(found["do"])
        self.columns += [(name, found["do"].start_mark.line + 1) for name in HOLE.findall(do)]
        method, _, path = HOLE.sub("x", do).partition(" ")
        # a party's code is written in capitals; any name that fits the path will do to find the command
        route = match(method, path)
        if route is None or route[0].entry is None:
            raise self.wrong(found["do"], f"{do!r} is no command; one is written like PUT /v1/pledges/{{ID}}")
        body = self.body(found["body"], route[0].body)
        fitting = {name: value for name, value in common.items() if name in known_fields(route[0].body)}
        if "labels" in body and "labels" in fitting:
            body["labels"] = {**fitting["labels"], **body["labels"]}
        repeats = self.text(found["repeats"], ("true", "order", "content", "false")) if "repeats" in found else "false"
        return Template(
            line=node.start_mark.line + 1,
            do=do,
            body={**fitting, **body},
            when=self.conditions(found.get("when")),
            repeats={"true": "order", "false": None}.get(repeats, repeats),
        )

    def body(self, node: yaml.Node, form: type[Body]) -> dict[str, Json]:
        found = self.fields(node, known_fields(form), "the body")
        return {name: self.field(name, value) for name, value in found.items()}

    def field(self, name: str, node: yaml.Node) -> Json:
        """Give a field of a body; a label's only value may stand without the list it is in."""
        if name != "labels":
            return self.value(node)
        if not isinstance(node, yaml.MappingNode):
            raise self.wrong(node, "`labels` gives each label its value")
        said = {str(key.value): self.value(value) for key, value in node.value}
        return {key: value if isinstance(value, list) else [value] for key, value in said.items()}


def known_fields(form: type[Body]) -> list[str]:
    """Give the fields of a body as they are sent."""
    return [info.alias or name for name, info in form.model_fields.items()]


TOP: Final = ("file", "maps", "register", "undisclosed", "leave_out", "keep", "sources", "labels", "record")
FILE: Final = ("header", "sheet", "delimiter", "encoding", "decimal", "thousands", "dates")


def load(path: Path) -> MappingFile:
    """Read a mapping. Raises MappingError with the line of what is wrong, CannotImport where there is none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CannotImport(f"the mapping {path} cannot be read: {error}") from None
    return parse(text, path.name)


def parse(text: str, name: str) -> MappingFile:
    """Read a mapping from its text."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise MappingError(name, mark.line + 1 if mark else 1, f"is no YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise MappingError(name, 1, f"is no YAML: {error}") from None
    reader = Reader(name)
    if root is None:
        raise MappingError(name, 1, "is empty")
    top = reader.fields(root, TOP, "a mapping")
    if "record" not in top or not isinstance(top["record"], yaml.SequenceNode) or not top["record"].value:
        raise reader.wrong(top.get("record", root), "`record` lists the commands that a row becomes")
    if "maps" in top:
        if not isinstance(top["maps"], yaml.MappingNode):
            raise reader.wrong(top["maps"], "`maps` gives each map a name")
        reader.maps = {str(key.value): reader.map(value) for key, value in top["maps"].value}
    if "register" in top:
        kind = reader.text(top["register"], (*PARTY_KINDS, "false"))
        reader.register = None if kind == "false" else kind
    layout, spelling = _file(reader, top)
    common: dict[str, Json] = {key: reader.field(key, top[key]) for key in ("sources", "labels") if key in top}
    record = tuple(reader.template(one, common) for one in top["record"].value)
    return MappingFile(
        name=name,
        layout=layout,
        spelling=spelling,
        leave_out=reader.conditions(top.get("leave_out")),
        keep=reader.conditions(top.get("keep")),
        record=record,
        columns=tuple(reader.columns),
    )


def _file(reader: Reader, top: Mapping[str, yaml.Node]) -> tuple[Layout, Spelling]:
    said = reader.fields(top["file"], FILE, "`file`") if "file" in top else {}
    texts = {key: reader.text(said[key]) for key in FILE if key in said and key not in ("header", "dates")}
    layout = Layout(
        header=reader.numbers(said["header"]) if "header" in said else (1,),
        sheet=texts.get("sheet"),
        delimiter={"tab": "\t", "\\t": "\t"}.get(texts.get("delimiter", ""), texts.get("delimiter")),
        encoding=texts.get("encoding"),
    )
    if layout.delimiter is not None and len(layout.delimiter) != 1:
        raise reader.wrong(said["delimiter"], "a delimiter is one character, or `tab`")
    decimal = texts.get("decimal", ".")
    thousands = texts.get("thousands", "," if decimal == "." else ".")
    if decimal not in (".", ",") or thousands == decimal:
        where = said.get("decimal") or said["thousands"]
        raise reader.wrong(where, "`decimal` is . or , and `thousands` is another mark")
    spelling = Spelling(decimal=decimal, thousands=thousands.strip())
    if "dates" in said:
        spelling = replace(spelling, dates=reader.texts(said["dates"]))
    if "undisclosed" in top:
        spelling = replace(spelling, undisclosed=reader.texts(top["undisclosed"]))
    return layout, spelling


# ------------------------------------------------------------------------------------------------ using it


def rows(mapping: MappingFile, table: Table, file: str, said: Seen | None = None) -> Iterator[Row | Fault]:
    """Give what each row of a table becomes. Raises MappingError for a column that is not there.

    `said` counts the rows of each name that may repeat, over all files of an import.
    """
    mapping.check(table, file)
    said = Seen() if said is None else said
    for record in table.rows:
        if isinstance(record, Fault):
            yield record
            continue
        if any(one.holds(record.cells) for one in mapping.leave_out):
            continue
        if not all(one.holds(record.cells) for one in mapping.keep):
            continue
        made = row(mapping, record, said)
        if made is not None:
            yield made


def row(mapping: MappingFile, record: Record, said: Seen) -> Row | Fault | None:
    """Give what one row becomes; None where no command is for it."""
    making = Making(mapping.spelling, record)
    about = None
    for template in mapping.record:
        if not all(one.holds(record.cells) for one in template.when):
            continue
        try:
            do = making.path(template.do)
            if template.repeats is not None:
                do = making.told_apart(do, template.repeats, said)
            about = about or do
            making.command(do, template)
        except ValueError as wrong:
            return Fault(record.place, str(wrong), about)
    return Row((*making.on_the_way.values(), *making.commands)) if making.commands else None


@dataclass
class Making:
    """Makes the commands of one row."""

    spelling: Spelling
    record: Record
    on_the_way: dict[str, Command] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)
    decreases: bool = False
    sources: Json = None
    names: dict[str, str] = field(default_factory=dict)  # /v1/pledges/x as this row tells it apart: /v1/pledges/x-2

    def told_apart(self, do: str, how: str, said: Seen) -> str:
        """Name a row of a name that may repeat: x, x-2, x-3 by their order, or x-<hash> by all that the row says."""
        method, _, path = do.partition(" ")
        if path in self.names:
            return f"{method} {self.names[path]}"
        if how == "content":
            content = "\n".join(f"{name}={text_of(cell)}" for name, cell in self.record.cells.items())
            self.names[path] = f"{path}-{parties.short(content)}"
        else:
            key = hashed(do.encode())
            before = said.find(key)
            count = 1 if before is None else before[1] + 1
            said.put(key, 0, count)
            self.names[path] = path if count == 1 else f"{path}-{count}"
        return f"{method} {self.names[path]}"

    def path(self, do: str) -> str:
        """Fill the holes of a path. Raises RowFault for a name that cannot be one."""

        def fill(hole: re.Match[str]) -> str:
            said = text_of(self.record.cells[hole[1]])
            party = do[: hole.start()].endswith(("/parties/", "/members/"))
            name = self.code(said) if party and said else parties.name_in_path(said)
            if not name:
                raise RowFault(f"column {hole[1]!r} is {said!r}, which gives no name for {do}")
            return name

        filled = HOLE.sub(fill, do)
        method, _, path = filled.partition(" ")
        for name, told in self.names.items():
            if path.startswith(f"{name}/"):
                return f"{method} {told}{path[len(name) :]}"
        return filled

    def command(self, do: str, template: Template) -> None:
        """Make one command. Raises ValueError for what a cell cannot mean."""
        self.decreases = False
        self.sources = self.given(template.body.get("sources", NOTHING))
        body = self.given(template.body)
        if body is NOTHING:
            body = {}
        if self.decreases:
            body.setdefault("relation", {"kind": "decrease"})
        self.commands.append(Command(self.record.place, do, body))

    def given(self, value: Json) -> Json:
        """Give a value of the body for this row; NOTHING where the row has none. Objects without fields are nothing."""
        match value:
            case Leaf():
                return self.leaf(value)
            case dict():
                found = {key: given for key, one in value.items() if (given := self.given(one)) is not NOTHING}
                # an object all of whose values were to come from empty cells says nothing
                named = any(isinstance(one, Leaf) for one in value.values())
                lacks = named and not any(key in found for key, one in value.items() if isinstance(one, Leaf))
                return NOTHING if lacks else found
            case list():
                return self.listed(value)
            case _:
                return value

    def listed(self, value: list[Json]) -> Json:
        """Give a list; a leaf that is split gives several of its items, also where it is a field of the item."""
        found: list[Json] = []
        for one in value:
            split = (
                next((k for k, v in one.items() if isinstance(v, Leaf) and v.split), None)
                if isinstance(one, dict)
                else None
            )
            if split is not None:
                several = self.leaf(one[split])
                rest = self.given({key: v for key, v in one.items() if key != split})
                rest = {} if rest is NOTHING else rest
                found += [] if several is NOTHING else [{**rest, split: each} for each in several]
                continue
            given = self.given(one)
            if given is NOTHING:
                continue
            if isinstance(one, Leaf) and one.split:
                found += given
            else:
                found.append(given)
        return found or NOTHING

    def leaf(self, leaf: Leaf) -> Json:
        """Give what a leaf means in this row."""
        where, cell = self.cell(leaf)
        said = text_of(cell)
        if not said:
            if leaf.kind == "amount" and leaf.empty == "undisclosed":
                return {"unit": self.unit(leaf), "undisclosed": True}
            if leaf.required:
                raise RowFault(f"{where} is empty")
            return leaf.default
        if leaf.split is None:
            return self.meaning(leaf, cell, where)
        parts = [part.strip() for part in said.split(leaf.split)]
        return [self.meaning(leaf, part, where) for part in dict.fromkeys(parts) if part]

    def cell(self, leaf: Leaf) -> tuple[str, Cell]:
        """Give (where it is from, the cell)."""
        cells = self.record.cells
        if leaf.template is not None:
            holes = HOLE.findall(leaf.template)
            if holes and not any(text_of(cells[hole]) for hole in holes):
                return f"the template {leaf.template!r}", ""
            return f"the template {leaf.template!r}", HOLE.sub(lambda hole: text_of(cells[hole[1]]), leaf.template)
        filled = next((name for name in leaf.columns if text_of(cells[name])), leaf.columns[0])
        return f"column {filled!r}", cells[filled]

    def meaning(self, leaf: Leaf, cell: Cell, where: str) -> Json:
        said = text_of(cell)
        mapped = leaf.map.get(said.casefold())
        if mapped is None and leaf.only_mapped:
            raise RowFault(f"{where}: {said!r} is not in the map" + meant(said, leaf.map))
        cell = said if mapped is None and isinstance(cell, str) else cell if mapped is None else mapped
        try:
            return MEANING[leaf.kind](self, leaf, cell)
        except ValueError as wrong:
            raise RowFault(f"{where}: {wrong}") from None

    def unit(self, leaf: Leaf) -> str:
        unit = self.given(leaf.unit)
        if not isinstance(unit, str) or unit not in UNITS:
            said = "is empty" if unit is NOTHING else f"{unit!r} is no unit"
            raise RowFault(f"the unit of the amount {said}: `piece` or an ISO 4217 currency code; see `map`")
        return unit

    def amount(self, leaf: Leaf, cell: Cell) -> Json:
        unit = self.unit(leaf)
        if isinstance(cell, Decimal):
            found, negative = {"unit": unit, leaf.qualifier: decimal_string(abs(cell))}, cell < 0
        else:
            found, negative = amount(cell, unit, self.spelling, leaf.qualifier)
        if negative and leaf.negative == "refuse":
            raise RowFault(f"{text_of(cell)!r}: an amount is never negative; see `negative: decrease`")
        self.decreases = self.decreases or negative
        return found

    def party(self, leaf: Leaf, cell: Cell) -> str:
        """Give the code of a party: a state by any of its names, else one that is registered on the way."""
        said = text_of(cell)
        state = parties.state(said)
        if state is not None:
            return state
        if said == "UNKNOWN":
            return said
        if leaf.register is None:
            if parties.CODE.fullmatch(said):
                return said
            near = parties.near(said)
            hint = f"; did you mean {near[0]!r}?" if near else "; see `map`, or `register: organisation`"
            raise RowFault(f"{said!r} is no state that is known by this name{hint}")
        code = said if parties.CODE.fullmatch(said) else parties.organisation(said)
        body = {"name": said[:200], "kind": leaf.register, "sources": self.sources}
        if self.sources is not NOTHING and self.sources:
            do = f"PUT /v1/parties/{code}"
            self.on_the_way.setdefault(do, Command(self.record.place, do, body, on_the_way=True))
        return code

    def code(self, said: str) -> str:
        """Give the code of a party that stands in a path."""
        return parties.state(said) or (said if parties.CODE.fullmatch(said) else parties.organisation(said))

    def number(self, _leaf: Leaf, cell: Cell) -> str:
        return decimal_string(cell if isinstance(cell, Decimal) else number(cell, self.spelling))

    def day(self, _leaf: Leaf, cell: Cell) -> str:
        return day(text_of(cell), self.spelling, serial=isinstance(cell, Decimal))

    def text(self, _leaf: Leaf, cell: Cell) -> str:
        return text_of(cell)

    def name(self, _leaf: Leaf, cell: Cell) -> str:
        name = parties.name_in_path(text_of(cell))
        if not name:
            raise ValueError(f"{text_of(cell)!r} gives no name")
        return name

    def capability(self, _leaf: Leaf, cell: Cell) -> str:
        parts = [parties.name_in_path(part) for part in text_of(cell).split(".")]
        if not all(parts):
            raise ValueError(f"{text_of(cell)!r} gives no capability code")
        return ".".join(parts)


MEANING: Final[Mapping[str, Callable[[Making, Leaf, Cell], Json]]] = {
    "text": Making.text,
    "party": Making.party,
    "amount": Making.amount,
    "number": Making.number,
    "day": Making.day,
    "unit": Making.text,
    "name": Making.name,
    "capability": Making.capability,
}
