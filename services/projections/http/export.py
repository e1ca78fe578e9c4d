"""Lists and totals as files: `/v1/pledges.csv`, or `?format=csv`; also xlsx and jsonl.

A file is the pages of its list, one after another, each asked for where the one before says that it goes on; all are
pinned to the position of the first, so the file is of one state however long it takes. It is sent while it is made
(an XLSX, which is a ZIP of parts that refer to each other, as soon as it is whole).

A CSV has one line of names and then rows; the last two columns say of which position and day the row is. Its columns,
its licence and how to cite it are in `/v1/columns`, to which a Link header leads; an XLSX has them on its second sheet,
a JSONL in its first line.
"""

from __future__ import annotations

import asyncio
import csv
import io
import re
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.projections.http.asof import matches
from services.projections.http.problems import Problem, of_problem, responses
from services.projections.http.shown import Answer, ShareShown

Format = Literal["csv", "xlsx", "jsonl"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
MEDIA_TYPES: Final[Mapping[Format, str]] = {
    "csv": "text/csv; charset=utf-8; header=present",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "jsonl": "application/jsonl; charset=utf-8",
}
PAGE: Final = 500
"""How many items a page of a file has after the first, which has the list's own number so that it comes at once."""

PREFERRED: Final = ("groups", "series")
"""What a file is of, if it was asked for, instead of the first list of an answer."""

STATE: Final = {
    "known_at": "The position of the ledger that the row is as known at; `known` takes it",
    "as_of": "The day that the row is of; `on` takes it",
}
"""The last columns of every CSV and XLSX row: a row that was copied out of its file can still be cited."""

SHEET_ROWS: Final = 1_048_576
"""The most rows that a sheet has, its head included."""

router = APIRouter(prefix="/v1", tags=["files"])

# ---------------------------------------------------------------------------------------------------- columns


@dataclass(frozen=True, slots=True)
class Columns:
    """What a file of an answer has: from which lists of it, and of each the columns by name, with what they hold."""

    lists: Mapping[str, Mapping[str, str]]

    def chosen(self, body: Mapping[str, Any]) -> str | None:
        """Give the list of an answer that a file of it is of; None if it has none."""
        asked = [name for name in PREFERRED if name in self.lists and body.get(name) is not None]
        return next(iter([*asked, *(name for name in self.lists if name not in PREFERRED)]), None)


def columns_of(model: object) -> Columns:
    """Give what files of an answer of a model may have."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return Columns({})
    found = {
        name: dict(_columns(item))
        for name, field in model.model_fields.items()
        if (item := _item(field.annotation)) is not None
    }
    return Columns(found)


def _item(annotation: object) -> type[Answer] | None:
    """Give the model of a list's items, if an annotation is a list of them."""
    for kind in _kinds(annotation):
        if get_origin(kind) is list:
            (item,) = get_args(kind)
            if isinstance(item, type) and issubclass(item, Answer):
                return item
    return None


def _kinds(annotation: object) -> tuple[object, ...]:
    if get_origin(annotation) in (Union, UnionType):
        return tuple(kind for kind in get_args(annotation) if kind is not NoneType)
    return (annotation,)


def _columns(model: type[Answer], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        nested = next((k for k in _kinds(field.annotation) if isinstance(k, type) and issubclass(k, Answer)), None)
        if nested is None:
            yield f"{prefix}{name}", _meaning(field)
        else:
            yield from _columns(nested, f"{prefix}{name}.")


def _meaning(field: FieldInfo) -> str:
    item = _item(field.annotation)
    how = ""
    if item is ShareShown:
        how = "Codes, each with its part where that is known"
    elif item is not None:
        how = "As JSON"
    elif any(get_origin(kind) is list for kind in _kinds(field.annotation)):
        how = "Several are set apart by `; `"
    return ". ".join(filter(None, (field.description, how)))


def flat(row: Mapping[str, Any], columns: Iterable[str]) -> list[str]:
    """Give the cells of a row, as text; what is null or not there is empty."""
    return [_cell(_at(row, name)) for name in columns]


def _at(row: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401  # whatever stands there
    found: Any = row
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _cell(value: Any) -> str:  # noqa: ANN401  # whatever an answer has
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case list() if all(isinstance(one, str) for one in value):
            return "; ".join(value)
        case list() if all(isinstance(one, Mapping) and one.keys() == {"party", "share"} for one in value):
            return "; ".join(_share(one) for one in value)
        case list() | dict():
            return msgspec.json.encode(value).decode()
        case _:
            return str(value)


def _share(one: Mapping[str, Any]) -> str:
    share = one["share"]
    return one["party"] if share is None else f"{one['party']} {share['said']} {share['unit']}"


NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")
MAY_BE_A_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
MOST_DIGITS: Final = 15
"""How many digits a number of a sheet keeps; one with more is written as text."""


def guarded(cell: str) -> str:
    """Keep a spreadsheet from taking a text for a formula; numbers stay as they are."""
    return f"'{cell}" if cell.startswith(MAY_BE_A_FORMULA) and not NUMBER.fullmatch(cell) else cell


# ------------------------------------------------------------------------------------------------------ files


@dataclass(frozen=True, slots=True)
class About:
    """What a file is of: the list, its columns, and its state."""

    path: str
    rows: str
    columns: Mapping[str, str]
    position: int
    on: str
    since: str | None
    ledger: str
    licence: str
    cite: Mapping[str, str] | None

    @property
    def name(self) -> str:
        """The name of the file, without its suffix: the list, the ledger, the position, the day."""
        parts = [part for part in self.path.removeprefix("/v1/").split("/") if part]
        return "-".join([*parts, self.ledger, str(self.position), self.on])

    @property
    def dictionary(self) -> dict[str, str]:
        """The columns of a table, with what they hold."""
        return {**self.columns, **STATE}

    @property
    def described(self) -> dict[str, Any]:
        """What every file says of itself."""
        return {
            "ledger": self.ledger,
            "position": self.position,
            "on": self.on,
            **({} if self.since is None else {"from": self.since}),
            "licence": self.licence,
            "cite": self.cite,
            "rows": self.rows,
            "columns": [{"name": name, "holds": holds} for name, holds in self.columns.items()],
        }


Pages = AsyncIterator[Sequence[Mapping[str, Any]]]


async def as_csv(about: About, pages: Pages) -> AsyncIterator[bytes]:
    """Write rows as RFC 4180 has it, in UTF-8."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow([*about.columns, *STATE])
    state = [str(about.position), about.on]
    async for page in pages:
        writer.writerows([*map(guarded, flat(row, about.columns)), *state] for row in page)
        yield written.getvalue().encode()
        written.seek(0)
        written.truncate()


async def as_jsonl(about: About, pages: Pages) -> AsyncIterator[bytes]:
    """Write what the file is of as the first line, then a row a line, as the API answers them."""
    first = msgspec.json.encode({"muster": about.described}) + b"\n"
    async for page in pages:
        yield first + b"".join(msgspec.json.encode(row) + b"\n" for row in page)
        first = b""


async def as_xlsx(about: About, pages: Pages) -> AsyncIterator[bytes]:
    """Write two sheets: the rows, and what they are of. Rows are written away as they come: memory stays small.

    Raises:
        Problem: there are more rows than a sheet can have.
    """
    import xlsxwriter  # 12 MB and a quarter of a second, which only who asks for a sheet needs

    with tempfile.TemporaryFile() as file:
        book = xlsxwriter.Workbook(
            file, {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        )
        sheet = book.add_worksheet("data")
        _write(sheet, 0, [*about.columns, *STATE])
        at = 0
        async for page in pages:
            for row in page:
                at += 1
                if at >= SHEET_ROWS:
                    raise Problem("invalid", f"a sheet has {SHEET_ROWS:,} rows at most; ask for csv")
                _write(sheet, at, [*map(guarded, flat(row, about.columns)), str(about.position), about.on])
        notes = book.add_worksheet("about")
        said = about.described
        lines = [(name, value) for name, value in said.items() if name not in ("columns", "cite")]
        lines += [(f"cite.{name}", value) for name, value in (said["cite"] or {}).items()]
        lines += [("", ""), ("column", "holds"), *about.columns.items(), *STATE.items()]
        for n, line in enumerate(lines):
            _write(notes, n, [str(cell) for cell in line])
        await asyncio.to_thread(book.close)
        file.seek(0)
        while chunk := file.read(65_536):
            yield chunk


def _write(sheet: Any, at: int, cells: Sequence[str]) -> None:  # noqa: ANN401  # xlsxwriter has no types
    for n, cell in enumerate(cells):
        if NUMBER.fullmatch(cell) and sum(map(str.isdigit, cell)) <= MOST_DIGITS:
            sheet.write_number(at, n, float(cell))
        elif cell:
            sheet.write_string(at, n, cell)


WRITERS: Final = {"csv": as_csv, "jsonl": as_jsonl, "xlsx": as_xlsx}


# ------------------------------------------------------------------------------------------------- middleware


@dataclass(frozen=True, slots=True)
class Asked:
    """A file that was asked for: of which address, in which form."""

    path: str
    query: list[tuple[str, str]]
    form: Format | None
    limited: bool


def asked(path: str, query: str) -> Asked | None:
    """Read whether an address asks for a file; None if not. Raises Problem."""
    parameters = parse_qsl(query, keep_blank_values=True)
    said = [value for name, value in parameters if name == "format"]
    stem, dot, suffix = path.rpartition(".")
    by_suffix = suffix if dot and suffix in FORMATS else None
    if not said and by_suffix is None:
        return None
    forms = {*said, *((by_suffix,) if by_suffix else ())}
    if len(forms) > 1 or not forms <= {*FORMATS, "json"}:
        detail = f"format is one of json, {', '.join(FORMATS)}, and the same as the suffix"
        raise Problem("invalid", detail, errors=[("/query/format", "is no format, or another than the suffix")])
    (form,) = forms
    rest = [(name, value) for name, value in parameters if name != "format"]
    return Asked(
        path=stem if by_suffix else path,
        query=rest,
        form=next((one for one in FORMATS if one == form), None),
        limited=any(name == "limit" for name, _ in rest),
    )


@dataclass(slots=True)
class Got:
    """What the application answered."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Give a header's value."""
        wanted = name.lower().encode()
        return next((value.decode() for key, value in self.headers if key.lower() == wanted), None)


class Files:
    """Answers for lists and totals as files; lets everything else pass."""

    def __init__(self, app: ASGIApp, *, routes: Sequence[BaseRoute], ledger: str, licence: str) -> None:
        self.app = app
        self.routes = routes
        self.ledger = ledger
        self.licence = licence

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/") or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        try:
            wanted = asked(scope["path"], scope["query_string"].decode("latin-1"))
            if wanted is None:
                await self.app(scope, receive, send)
            elif wanted.form is None:
                await self.app(_at_address(scope, wanted.path, urlencode(wanted.query)), receive, send)
            else:
                await self._file(wanted, wanted.form, scope, receive, send)
        except Problem as problem:
            await of_problem(problem)(scope, receive, send)

    async def _file(self, wanted: Asked, form: Format, scope: Scope, receive: Receive, send: Send) -> None:
        first = await self._get(scope, wanted.path, urlencode(wanted.query))
        if first.status != 200:  # noqa: PLR2004  # OK: else a problem, which passes as it is
            await send({"type": "http.response.start", "status": first.status, "headers": first.headers})
            await send({"type": "http.response.body", "body": first.body})
            return
        about, body = self._about(scope, wanted.path, first, form)
        tag = f'{(first.header("etag") or chr(34) + chr(34))[:-1]}-{form}"'
        headers = [
            *((key, value) for key, value in first.headers if key.lower() not in REPLACED),
            (b"etag", tag.encode()),
            (b"content-type", MEDIA_TYPES[form].encode()),
            (b"content-disposition", f'attachment; filename="{about.name}.{form}"'.encode()),
            (b"link", ", ".join(_links(about, body if wanted.limited else {})).encode()),
        ]
        if matches(_header(scope, b"if-none-match"), tag):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        gone = asyncio.ensure_future(_gone(receive))
        try:
            file = WRITERS[form](about, self._pages(scope, body, about.rows, limited=wanted.limited))
            await _send_all(file, headers, send, gone)
        finally:
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone

    def _about(self, scope: Scope, path: str, first: Got, form: Format) -> tuple[About, dict[str, Any]]:
        """Say what a file of an answer is of, and give the answer. Raises Problem if it is no list."""
        columns = columns_of(_model(self.routes, scope, path))
        is_json = (first.header("content-type") or "").startswith("application/json")
        body: dict[str, Any] = msgspec.json.decode(first.body) if is_json else {}
        name = columns.chosen(body)
        if name is None or "position" not in body:
            detail = f"{path} is no list: it has no {form}"
            raise Problem("invalid", detail, errors=[("/query/format", "there is no file of this answer")])
        about = About(
            path=path,
            rows=name,
            columns=columns.lists[name],
            position=body["position"],
            on=body["on"],
            since=body.get("from"),
            ledger=self.ledger,
            licence=self.licence,
            cite=body.get("cite"),
        )
        return about, body

    async def opened(self, scope: Scope, path: str, query: str, form: Format) -> tuple[About, AsyncIterator[bytes]]:
        """Give what a file is of, and the file as it is made, for a larger one. Raises Problem."""
        first = await self._get(scope, path, query)
        about, body = self._about(scope, path, first, form)
        return about, WRITERS[form](about, self._pages(scope, body, about.rows, limited=False))

    async def _pages(self, scope: Scope, body: Mapping[str, Any], name: str, *, limited: bool) -> Pages:
        """Give the rows, page by page. Raises if a page cannot be had: a file that ends early must not look whole."""
        while True:
            yield body[name]
            following = None if limited else body.get("next")
            if following is None:
                return
            there = urlsplit(following)
            query = [(key, str(PAGE) if key == "limit" else value) for key, value in parse_qsl(there.query)]
            page = await self._get(scope, there.path, urlencode(query))
            if page.status != 200:  # noqa: PLR2004  # OK
                raise ConnectionAbortedError(f"{following} answered {page.status}")
            body = msgspec.json.decode(page.body)

    async def _get(self, scope: Scope, path: str, query: str) -> Got:
        """Ask the application for one page."""
        got = Got(500, [], b"")
        chunks: list[bytes] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                got.status, got.headers = message["status"], list(message["headers"])
            else:
                chunks.append(message.get("body", b""))

        await self.app(_at_address(scope, path, query), receive, send)
        got.body = b"".join(chunks)
        return got


async def _send_all(
    file: AsyncIterator[bytes], headers: list[tuple[bytes, bytes]], send: Send, gone: asyncio.Future[None]
) -> None:
    """Send a file while it is made; nothing more once the caller has gone."""
    started = False
    async for chunk in file:
        if gone.done():
            return
        if not started:  # what fails before this may still be answered with a problem
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            started = True
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


REPLACED: Final = (b"etag", b"content-type", b"content-length", b"link")
CONDITIONS: Final = (b"if-none-match", b"if-modified-since", b"range")


def _at_address(scope: Scope, path: str, query: str) -> Scope:
    headers = [(key, value) for key, value in scope["headers"] if key.lower() not in CONDITIONS]
    there = {"path": path, "raw_path": quote(path).encode(), "query_string": query.encode(), "headers": headers}
    return {**scope, **there, "state": dict(scope.get("state", {}))}


def _header(scope: Scope, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name), None)


async def _gone(receive: Receive) -> None:
    """Wait until the caller has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _links(about: About, body: Mapping[str, Any]) -> Iterator[str]:
    yield f'</v1/columns?of={quote(about.path)}>; rel="describedby"; type="application/json"'
    yield f'<{about.licence}>; rel="license"'
    if body.get("next") is not None:
        yield f'<{body["next"]}>; rel="next"'


def _model(routes: Iterable[BaseRoute], scope: Scope, path: str) -> object:
    """Give the model of what an address answers; None if nobody knows it."""
    for route in flattened(routes):
        found, _ = route.matches({**scope, "path": path})
        if found is Match.FULL:
            return route.response_model
    return None


def flattened(routes: Iterable[BaseRoute]) -> Iterator[APIRoute]:
    """Give the routes of an application, those of its routers too."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        else:
            yield from flattened(getattr(getattr(route, "original_router", None), "routes", ()))


def document(paths: Mapping[str, Any], routes: Iterable[BaseRoute]) -> None:
    """Say of every list and total, in an OpenAPI document's paths, that it is had as a file too."""
    for route in flattened(routes):
        operation = paths.get(route.path, {}).get("get")
        if operation is None or not columns_of(route.response_model).lists:
            continue
        description = "As a file of all its rows; the same as the suffix `.csv`, `.xlsx` or `.jsonl` of the path"
        said = {"type": "string", "enum": ["json", *FORMATS], "default": "json"}
        operation.setdefault("parameters", []).append(
            {"name": "format", "in": "query", "required": False, "description": description, "schema": said}
        )
        content = operation["responses"]["200"]["content"]
        content |= {kind.partition(";")[0]: {"schema": {"type": "string"}} for kind in MEDIA_TYPES.values()}


# ------------------------------------------------------------------------------------------------- dictionary


class ColumnShown(Answer):
    """A column of a file."""

    name: str
    holds: str


class FileShown(Answer):
    """A file that may be had."""

    path: str
    rows: str = Field(description="Which part of the answer its rows are")
    columns: list[ColumnShown]


class ColumnsAnswer(Answer):
    """What files there are, and what is in their columns."""

    licence: str
    formats: list[str]
    files: list[FileShown]


@router.get("/columns", response_model=ColumnsAnswer, responses=responses())
async def columns(
    request: Request,
    of: Annotated[str | None, Query(max_length=300, description="Only the files of this address")] = None,
) -> Response:
    """Say what the columns of files hold, and under which licence the data is given."""
    found: list[dict[str, Any]] = []
    for route in flattened(request.app.routes):
        if of is not None and route.path != of and route.matches({**request.scope, "path": of})[0] is not Match.FULL:
            continue
        if not route.path.startswith("/v1/"):
            continue
        for name, said in columns_of(route.response_model).lists.items():
            held = [{"name": key, "holds": holds} for key, holds in {**said, **STATE}.items()]
            found.append({"path": route.path, "rows": name, "columns": held})
    answer = {"licence": request.app.state.files.licence, "formats": list(FORMATS), "files": found}
    return Response(msgspec.json.encode(answer), media_type="application/json")
