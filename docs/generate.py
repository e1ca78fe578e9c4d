# ruff: noqa: INP001  # a script beside the pages it writes, no package
"""Write the pages of docs/reference that say what the code says: `python docs/generate.py`.

A test compares them with the code; `python docs/generate.py --check` does the same from a shell.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from pydantic_settings import BaseSettings

from services.commitments.http import commands, forms
from services.commitments.http import problems as commitments_problems
from services.commitments.settings import Settings as CommitmentsSettings
from services.projections.http import problems as projections_problems
from services.projections.http.app import create_app
from services.projections.http.asof import AsOfQuery
from services.projections.settings import Settings as ProjectionsSettings
from shared.amounts import Amount
from shared.days import Said
from shared.events import EVENT_TYPES, Entry
from shared.events.coalitions import Member
from shared.events.pledges import Also, Period, PledgeContext, Relation, Share
from shared.events.reports import About
from shared.sources import Reference, Source

REFERENCE: Final = Path(__file__).resolve().parent / "reference"
NOTICE: Final = "<!-- written by docs/generate.py from the code: change that, and run it again -->\n"
PARTS: Final[tuple[type, ...]] = (
    Amount,
    Source,
    Reference,
    Member,
    Share,
    Also,
    Relation,
    Period,
    PledgeContext,
    About,
)
FAMILIES: Final[Mapping[str, str]] = {
    "party": "Parties",
    "capability": "Capabilities",
    "coalition": "Coalitions",
    "target": "Targets",
    "pledge": "Pledges and their deliveries",
    "production": "Production",
    "statement": "Statements",
    "entry": "Entries of the ledger itself",
}
COMMON: Final = tuple(field.name for field in msgspec.structs.fields(Entry))


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a Markdown table; a cell may not break it."""
    lines = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in (head, *rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "".join(f"| {' | '.join(row)} |\n" for row in lines)


def sentence(thing: object) -> str:
    """Give the first paragraph of a docstring as one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def code(text: object) -> str:
    """Set a text as code."""
    return f"`{text}`"


def linked(name: str) -> str:
    """Link a part of this page by its heading."""
    return f"[{name}](#{name.lower()})"


# ------------------------------------------------------------------------------------------------------ events


EVENTS: Final = """\
An event is an entry of the ledger: a fact about the world with its sources. It is stored, published and answered as
the same JSON; a field that says nothing is left out, but an open `high`, which is `null`. What stands around it
(position, stream, times, by whom) is in the envelope: [follow the event stream](../how-to/follow-the-event-stream.md).
`/schemas/<type>.json` of the commitments service gives each type as a JSON Schema.

What was recorded as `v1` stays `v1` for ever. A reader takes no offence at fields it does not know.

Every entry may have these fields, beside its own:
"""


def events_page() -> str:
    """Every event, by family, with its fields; then the parts they are made of."""
    hints = typing.get_type_hints(Entry)
    text = ["# Events\n", NOTICE, EVENTS]
    text.append(table(("field", "what it holds"), ((code(name), shown(hints[name])) for name in COMMON)))
    for family, title in FAMILIES.items():
        text.append(f"## {title}\n")
        text += [_event(name, kind) for name, kind in EVENT_TYPES.items() if kind.TYPE.startswith(f"{family}.")]
    text.append("## Parts\n")
    text += [f"### {part.__name__}\n\n{sentence(part)}\n\n{_fields(part)}" for part in PARTS]
    return "\n".join(text)


def _event(name: str, kind: type[Entry]) -> str:
    opens = " It opens its stream: it makes the thing it is about." if kind.OPENS else ""
    happened = f" It happened on `{kind.DAY}`."
    return f"### {kind.__name__}\n\n`{name}`\n\n{sentence(kind)}{opens}{happened}\n\n{_fields(kind)}"


def _fields(kind: type) -> str:
    hints = typing.get_type_hints(kind)
    common = COMMON if issubclass(kind, Entry) else ()
    return table(
        ("field", "what it holds", ""),
        (
            (code(spelt), shown(hints[attribute]), "always" if needed else "")
            for spelt, attribute, needed in _spelt(kind)
            if attribute not in common
        ),
    )


def _spelt(kind: Any) -> Iterator[tuple[str, str, bool]]:  # noqa: ANN401  # a class of the contract
    """Give the fields of an event or a part: as spelt in JSON, as named in the class, and whether always there."""
    for found in msgspec.structs.fields(kind):
        yield found.encode_name, found.name, found.required


def shown(hint: Any) -> str:  # noqa: ANN401  # an annotation, whatever it is
    """Say in words what a field's annotation allows."""
    arguments = typing.get_args(hint)
    match typing.get_origin(hint):
        case types.UnionType | typing.Union:
            return " or ".join(shown(one) for one in arguments if one is not types.NoneType)
        case typing.Literal:
            return ", ".join(code(one) for one in arguments)
        case _ if typing.get_origin(hint) is tuple:
            return f"a list: {shown(arguments[0])}"
        case _ if typing.get_origin(hint) is dict:
            return "lists of texts by key"
        case _:
            return _plain(hint)


def _plain(hint: Any) -> str:  # noqa: ANN401  # likewise
    if hint is Said:
        return "a day, a month or a year"
    if hint in PARTS:
        return linked(hint.__name__)
    if hint is Entry:
        return "the entry as it stands now, of the type in `entry_type`"
    return {str: "text", bool: "true or false", int: "a whole number"}.get(hint, "a decimal string")


# ---------------------------------------------------------------------------------------------------- refusals


REFUSALS: Final = """\
Every 4xx and 5xx of both services is `application/problem+json`
([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)): `type` (an address of the service that explains it), `title`,
`status`, `detail`, `code`, and `errors`: the fields that are wrong, each with its JSON pointer (or the `parameter`) and
what is wrong with it. A program looks at `code`; `detail` is for people and may change.

A command that is refused has recorded nothing.
"""


def refusals_page() -> str:
    """Every code that a problem document may carry, of both services."""
    theirs = {name: (kind.status, kind.title) for name, kind in projections_problems.KINDS.items()}
    text = ["# Refusals and other problems\n", NOTICE, REFUSALS]
    text += ["## Commitments\n", _codes(commitments_problems.pages()), "## Projections\n", _codes(theirs)]
    return "\n".join(text)


def _codes(found: Mapping[str, tuple[int, str]]) -> str:
    ordered = sorted(found.items(), key=lambda item: (item[1][0], item[0]))
    return table(
        ("code", "status", "what it means"),
        ((code(name), str(int(status)), title) for name, (status, title) in ordered),
    )


# ---------------------------------------------------------------------------------------------------- commands

PATTERNS: Final = {
    forms.DAY: "a day, a month or a year",
    forms.ID: "an id",
    forms.PARTY: "a party code",
    forms.CAPABILITY: "a capability code",
    forms.URL: "a url",
    forms.NUMBER: "a decimal string",
}


COMMANDS: Final = """\
Commands are sent to the commitments service as JSON, or as lines of `POST /v1/imports`:
`{"do": "PUT /v1/pledges/x", "body": {...}}`. A thing is PUT under a name that the caller chooses; what happens to it is
POSTed. Fields in **bold** are needed. Numbers are decimal strings, never floats.

A new entry is answered 201, one that is recorded already 200; both say stream, version, position, the events and flags.
Every command may be repeated: it is recorded once. With an `Idempotency-Key` a repeat is answered as the first time,
for good. `If-Match` with the thing's `ETag` lets a command through only if nothing changed meanwhile.
"""
CORRECTION: Final = """\
The body is that of the entry anew, whole, with **`reason`**: why the entry was wrong. Sources that are left out stay as
they were. Where the fact has a reason of its own (a withdrawal), that one is `entry_reason` here, and stays as it was
when left out.
"""


def commands_page() -> str:
    """Every command, with the fields of its body and an example."""
    any_body = ", ".join(map(code, forms.Body.model_fields))
    names = ((code(f"{{{name}}}"), code(said.pattern), code(said.example)) for name, said in commands.NAMES.items())
    text = ["# Commands\n", NOTICE, COMMANDS]
    text.append(f"Any body may carry {any_body}. A fact about the world has at least one source.\n")
    text += ["## Names\n", table(("name", "spelt", "for example"), names)]
    defined: dict[str, Any] = {}
    for route in commands.COMMANDS:
        text.append(f"## {route.method} {route.path}\n\n{route.summary}\n")
        if route is commands.CORRECT:
            text.append(CORRECTION)
            continue
        schema = route.body.model_json_schema()
        defined |= schema.get("$defs", {})
        text.append(_body(schema, leave_out=tuple(forms.Body.model_fields)))
        said: Any = route.body.model_config["json_schema_extra"]
        text.append(f"```json\n{json.dumps(said['examples'][0], ensure_ascii=False)}\n```\n")
    text.append("## Parts\n")
    for part in sorted(defined.values(), key=lambda part: str(part["title"])):
        text += [f"### {part['title']}\n", f"{part['description'].splitlines()[0]}\n", _body(part)]
    return "\n".join(text)


def _body(schema: Mapping[str, Any], leave_out: tuple[str, ...] = ()) -> str:
    needed = schema.get("required", ())
    rows = []
    for name, field in schema.get("properties", {}).items():
        if name not in leave_out:
            rows.append((f"**{code(name)}**" if name in needed else code(name), _meaning(field)))
    return table(("field", "what it holds"), rows)


def _meaning(schema: Mapping[str, Any]) -> str:
    """Say in words what a JSON Schema allows."""
    match schema:
        case {"$ref": ref}:
            return linked(str(ref).rpartition("/")[2].removesuffix("Form"))
        case {"anyOf": choices}:
            return " or ".join(_meaning(one) for one in choices if one.get("type") != "null")
        case {"const": value}:
            return code(json.dumps(value))
        case {"enum": [*values]} if len(values) > MOST_SHOWN:
            return "`piece` or an ISO 4217 currency code" + (", `member` or `percent`" if "member" in values else "")
        case {"enum": values}:
            return ", ".join(map(code, values))
        case {"type": "array", "prefixItems": [first, *more]}:
            return f"a list of {1 + len(more)}: {_meaning(first)}"
        case {"type": "array", "items": items}:
            return f"a list: {_meaning(items)}"
        case {"type": "object"}:
            return "lists of texts by key"
        case {"type": "boolean"}:
            return "true or false"
        case {"pattern": pattern}:
            return PATTERNS.get(pattern, "text")
        case _:
            return "text"


MOST_SHOWN: Final = 12
"""A list of values longer than this is said in words."""


# ----------------------------------------------------------------------------------------------------- queries

DATABASE: Final = "MUSTER_PROJECTIONS_DATABASE_URL"
QUERIES: Final = """\
Questions are asked of the projections service with GET. An answer is JSON; every amount in it is a decimal string, and
an open high is `null`. A parameter that a question does not know is refused, not ignored.

Every answer says what it is an answer to: `position` (what was known) and `on` (which day), and the same question with
`known` set to that position gives the same answer for ever. Headers: `Ledger-Position` (where the read side is),
`Lag-Seconds` (the age of the oldest event it has not applied; 0: none), `ETag` (ask again with `If-None-Match` for a
304).

Rows of totals are disjoint: one for each capability, unit, stage and finance type. They may be summed by anyone without
counting twice. Each carries `explain`, the question whose answer lists the postings behind it.

## Of every question
"""
LOG: Final = """\
## From the log itself

The commitments service answers from the log, not from the read models, and so without any delay.
"""
ANSWERS: Final = "## Answers\n"
FROM_THE_LOG: Final = (
    (
        "GET /v1/pledges/x, or any other thing",
        "its stream, version and position, its opening entry as it stands, its events",
    ),
    ("GET /v1/events?after=0&limit=1000", "the log from a position on; filters `stream`, `type`, `coalition`, `party`"),
    ("GET /v1/events/{event_id}", "one event"),
    ("GET /v1/streams/{stream}/events", "the events of one thing: `pledge-x`, `coalition-y`, `party-GBR`"),
    ("GET /v1/stream?after=0", "the log, live: [follow the event stream](../how-to/follow-the-event-stream.md)"),
)


def queries_page() -> str:
    """Every question, with its parameters, and the shapes of the answers."""
    document = create_app(ProjectionsSettings.model_validate({DATABASE: "postgresql://localhost/none"})).openapi()
    asked = {path: one["get"] for path, one in document["paths"].items() if "get" in one and path.startswith("/v1/")}
    common = [name for name, field in AsOfQuery.model_fields.items() if field.alias is None]
    common += [str(field.alias) for field in AsOfQuery.model_fields.values() if field.alias is not None]
    text = ["# Queries\n", NOTICE, QUERIES, _parameters(asked["/v1/totals"], only=common)]
    for path, one in asked.items():
        answer = one["responses"]["200"].get("content", {}).get("application/json", {}).get("schema", {})
        shape = f" Answer: {linked(_name(answer))}." if "$ref" in answer else ""
        text.append(f"## GET {path}\n\n{_line(one['description'])}{shape}\n")
        text += filter(None, [_parameters(one, without=common)])
    text += [LOG, table(("question", "answer"), ((code(ask), answer) for ask, answer in FROM_THE_LOG)), ANSWERS]
    for name, part in document["components"]["schemas"].items():
        if "properties" in part:
            fields = ((code(field), _answered(said)) for field, said in part["properties"].items())
            text += [
                f"### {name}\n",
                f"{_line(part.get('description', ''))}\n",
                table(("field", "what it holds"), fields),
            ]
    return "\n".join(text)


def _parameters(operation: Mapping[str, Any], *, only: Iterable[str] = (), without: Iterable[str] = ()) -> str:
    named = {one["name"]: one for one in operation.get("parameters", ()) if one["in"] == "query"}
    wanted = [name for name in named if name in only] if only else [name for name in named if name not in without]
    if not wanted:
        return ""
    return table(("parameter", "what it says"), ((code(name), _asked(named[name])) for name in wanted))


def _asked(parameter: Mapping[str, Any]) -> str:
    """Say what a parameter of a query is."""
    schema, said = parameter["schema"], _line(parameter.get("description", ""))
    default = schema.get("default")
    kind = _kind({"anyOf": [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]})
    known = f" Default: {code(json.dumps(default))}." if default not in (None, False) else ""
    return f"{kind}{'. ' + said.rstrip('.') if said else ''}.{known}".removesuffix(".")


def _answered(schema: Mapping[str, Any]) -> str:
    """Say what a field of an answer is."""
    said = _line(schema.get("description", ""))
    return f"{_kind(schema)}{'. ' + said if said else ''}"


def _kind(schema: Mapping[str, Any]) -> str:
    match schema:
        case {"$ref": _}:
            return linked(_name(schema))
        case {"anyOf": choices}:
            return " or ".join("`null`" if one.get("type") == "null" else _kind(one) for one in choices)
        case {"enum": values}:
            return ", ".join(map(code, values))
        case {"const": value}:
            return code(value)
        case {"type": "array", "items": items}:
            return f"a list: {_kind(items)}"
        case {"format": "date"}:
            return "a day"
        case {"pattern": pattern} if pattern in PATTERNS:
            return PATTERNS[pattern]
        case {"type": kind}:
            return {"integer": "a whole number", "boolean": "true or false", "object": "an object"}.get(kind, "text")
        case _:
            return "any value"


def _name(schema: Mapping[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _line(text: str) -> str:
    """Give the first paragraph of a text as one line."""
    return " ".join(text.split("\n\n", maxsplit=1)[0].split())


# ---------------------------------------------------------------------------------------------------- settings

RUNNER: Final = (
    (
        "MUSTER_DATABASE_URL",
        "a PostgreSQL server of yours for `muster up`, as a role that may create roles and databases",
        "an embedded one",
    ),
    ("MUSTER_NATS_URL", "a NATS server of yours with JetStream", "an embedded one"),
    (
        "MUSTER_LEDGER",
        "names the ledger, its databases and roles, its subjects, and in capitals its stream",
        "`ledger`",
    ),
    ("MUSTER_API_KEY", "the key with which `muster import` and `python -m muster.example` call", "none"),
)
MIGRATIONS: Final = (
    ("MUSTER_COMMITMENTS_OWNER_URL", "the log's database, as the role that owns it"),
    ("MUSTER_COMMITMENTS_ROLE", "the role of the commitments service: it gets the rights it needs"),
    ("MUSTER_PROJECTIONS_OWNER_URL", "the read models' database, as the role that owns it"),
    ("MUSTER_PROJECTIONS_ROLE", "the role of the worker: it may create schemas"),
    ("MUSTER_PROJECTIONS_READER_ROLE", "the role of the queries: it reads, and nothing else"),
)


SETTINGS: Final = """\
Everything is told by environment variables. Database addresses are `postgresql://user:password@host/database`; secrets
stand nowhere else.
"""


def settings_page() -> str:
    """Every environment variable, by who reads it."""
    text = ["# Settings\n", NOTICE, SETTINGS, "## `muster up` and the shell\n"]
    text.append(table(("variable", "what it says", "default"), ((code(name), *said) for name, *said in RUNNER)))
    text += ["## The commitments service: API and relay\n", _settings(CommitmentsSettings)]
    text += ["## The projections service: API and worker\n", _settings(ProjectionsSettings), "## Migrations\n"]
    text.append(
        "`alembic -c migrations/alembic.ini -n commitments upgrade head`, and the same with `-n projections`.\n"
    )
    text.append(table(("variable", "what it says"), ((code(name), says) for name, says in MIGRATIONS)))
    return "\n".join(text)


def _settings(kind: type[BaseSettings]) -> str:
    said = _attribute_docstrings(kind)
    rows = []
    for name, field in kind.model_fields.items():
        default = "needed" if field.is_required() else code(json.dumps(field.default))
        rows.append(
            (code(variable(kind, name)), field.description or said.get(name, WITHOUT_WORDS.get(name, "")), default)
        )
    return table(("variable", "what it says", "default"), rows)


WITHOUT_WORDS: Final = {
    "ledger": "names the ledger: its subjects, and in capitals its stream",
    "nats_url": "where the stream is read",
    "host": "where the API listens",
    "port": "the API's port",
    "worker_host": "where the worker tells how it is",
    "worker_port": "the port of its /healthz, /readyz and /metrics",
}
"""What a setting says whose class leaves it to its name."""


def variable(kind: type[BaseSettings], name: str) -> str:
    """Give the environment variable of a setting."""
    alias = kind.model_fields[name].validation_alias
    if isinstance(alias, str):
        return alias
    if alias is not None:
        return str(alias.choices[0])  # type: ignore[union-attr]  # settings name theirs by AliasChoices
    return f"{kind.model_config['env_prefix']}{name}".upper()


def _attribute_docstrings(kind: type) -> dict[str, str]:
    """Give the texts that stand below attributes in a class's source."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101  # it is the source of a class
    found = {}
    for attribute, below in zip(body.body, body.body[1:], strict=False):
        match attribute, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
            case _:
                pass
    return found


# ------------------------------------------------------------------------------------------------------- all

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "commands.md": commands_page,
    "events.md": events_page,
    "queries.md": queries_page,
    "refusals.md": refusals_page,
    "settings.md": settings_page,
}


def stale() -> list[str]:
    """Give the pages that do not say what the code says."""
    return [name for name, page in PAGES.items() if _read(REFERENCE / name) != page()]


def _read(page: Path) -> str:
    return page.read_text(encoding="utf-8") if page.exists() else ""


def main() -> int:
    """Write the pages, or with --check only say which of them are out of date."""
    parser = argparse.ArgumentParser(description="Write the generated pages of docs/reference.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is out of date")
    found = stale()
    if not parser.parse_args().check:
        for name in found:
            (REFERENCE / name).write_text(PAGES[name](), encoding="utf-8")
        found = []
    sys.stderr.writelines(f"docs/reference/{name} is out of date: python docs/generate.py\n" for name in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
