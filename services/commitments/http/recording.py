"""Answering commands: from a request to the entry in the ledger, and back to who asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final, Literal

from starlette.requests import Request
from starlette.responses import Response

from services.commitments.domain.commands import Record
from services.commitments.domain.history import History
from services.commitments.domain.refusals import Refused, StaleVersion
from services.commitments.handling import Identity, Ledger, Outcome, Row
from services.commitments.http.commands import Asked, Names, Route, asked
from services.commitments.http.endpoint import Handler, Service
from services.commitments.http.problems import Problem, Told, parameter, problem, refused
from services.commitments.http.requests import heads, json_body
from shared.codec import decode

ANONYMOUS: Final = "anonymous"
"""Who asks, as long as callers have no keys."""

KEY: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")
TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
TAG: Final = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*')
VERSION: Final = re.compile(r"0|[1-9][0-9]{0,8}")
Tags = Literal["*"] | frozenset[int]
NEVER: Final = -1
"""A version that nothing ever has."""

PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Streams:
    """What commands about entries have to know of the log before they can be asked for."""

    ledger: Ledger

    async def place_of(self, event_id: str) -> tuple[str, str] | None:
        """Give the stream that an event is in, and its id as it is written there."""
        row = await self.ledger.event(event_id)
        return None if row is None else (row.stream, row.event_id)

    async def history(self, stream: str) -> History:
        """Give a stream as it stands."""
        return history_of(stream, await self.rows(stream))

    async def rows(self, stream: str) -> list[Row]:
        """Give every row of a stream."""
        found: list[Row] = []
        while page := await self.ledger.read_stream(stream, found[-1].version if found else 0, PAGE):
            found += page
        return found

    async def version(self, stream: str) -> int:
        """Give the version a stream is at; 0 for one that was never used."""
        rows = await self.rows(stream)
        return rows[-1].version if rows else 0


def history_of(stream: str, rows: list[Row]) -> History:
    """Fold the rows of a stream into its history."""
    return History(stream=stream).extended(
        (row.event_id, row.position, row.version, decode(row.type, row.payload)) for row in rows
    )


def taking(route: Route) -> Handler:
    """Give the handler of a command."""

    async def take(request: Request, service: Service) -> Response:
        headers = heads(request)
        key = idempotency_key(headers)
        wanted = expected(headers)
        body = await json_body(request, headers)
        streams = Streams(service.ledger)
        names: Names = request.path_params
        path: str = request.scope["path"]
        what = await asked(route, names, body, streams)
        identity = identified(route.method, path, what, key=key, traceparent=headers.get("traceparent"))
        if_match = await version_of(wanted, what.command.stream, streams)
        try:
            outcome = await service.ledger.handle(what.command, identity, if_match, entry=entry_of(what))
        except Refused as refusal:
            raise Problem(explained(refusal, what.pointer, headers.get("if-match"))) from None
        return answered(outcome, route.method, path, keyed=key is not None)

    return take


def identified(
    method: str, path: str, what: Asked, *, key: str | None = None, traceparent: str | None = None
) -> Identity:
    """Name a command: by its caller's key, else by the hash of what it says."""
    fingerprint = sha256(f"{method} {path}\n".encode() + what.normal).hexdigest()
    command_id = f"sha256:{fingerprint}" if key is None else f"key:{ANONYMOUS}:{key}"
    traced = traceparent if traceparent is not None and TRACEPARENT.fullmatch(traceparent) else None
    return Identity(command_id, fingerprint, ANONYMOUS, traced)


def entry_of(what: Asked) -> bytes | None:
    """Give the entry as it is encoded already, where the body's normal form is just that."""
    return what.normal if isinstance(what.command, Record) else None


def idempotency_key(headers: Mapping[str, str]) -> str | None:
    """Give the caller's key for this request. Raises Problem for one that cannot be kept."""
    key = headers.get("idempotency-key")
    if key is not None and not KEY.fullmatch(key):
        raise parameter("Idempotency-Key", "is 1 to 255 printable ASCII characters, without spaces around them")
    return key


def expected(headers: Mapping[str, str]) -> Tags | None:
    """Give what If-Match accepts: `*`, or versions; None where it does not stand. Raises Problem if it cannot be read.

    A weak tag, or one that is no version, matches nothing.
    """
    header = headers.get("if-match")
    if header is None:
        return None
    if header.strip() == "*":
        return "*"
    versions: set[int] = set()
    at = 0
    while found := TAG.match(header, at):
        weak, tag = found.groups()
        if weak is None and VERSION.fullmatch(tag):
            versions.add(int(tag))
        at = found.end() + 1
        if at > len(header):
            return frozenset(versions)
        if header[at - 1] != ",":
            break
    form = 'is *, or versions in quotes such as "3"'
    errors = [{"parameter": "If-Match", "detail": form}]
    raise problem("malformed", f"If-Match {form}; not {header[:80]}", errors=errors)


async def version_of(wanted: Tags | None, stream: str, streams: Streams) -> int | None:
    """Give the one version that the ledger shall hold a command to; None for any.

    `*` and lists are resolved against the log as it is now; who writes in between is noticed under the lock.
    """
    match wanted:
        case None:
            return None
        case "*":
            return None if await streams.ledger.read_stream(stream, 0, 1) else NEVER
        case _ if len(wanted) == 1:
            return next(iter(wanted))
        case _:
            now = await streams.version(stream)
            return now if now in wanted else NEVER


def explained(refusal: Refused, pointer: Callable[[str], str], if_match: str | None) -> Told:
    """Tell a refusal in the words of the request: its fields, its If-Match."""
    told = refused(refusal)
    if isinstance(refusal, StaleVersion) and refusal.facts.get("expected") == NEVER:
        actual = refusal.facts["actual"]
        return replace(
            told,
            detail=f"it is at version {actual}; If-Match asks for {if_match}",
            facts={"expected": if_match, "actual": actual},
        )
    return replace(told, errors=[{**error, "pointer": pointer(error["pointer"])} for error in told.errors])


def answered(outcome: Outcome, method: str, path: str, *, keyed: bool) -> Response:
    """Answer with what came of a command: 201 recorded, 200 already so; by its key, as it was answered first."""
    new = outcome.new and (keyed or not outcome.replayed)
    headers = {
        "ETag": f'"{outcome.version}"',
        "Ledger-Position": str(outcome.position),
        "Location": path if method == "PUT" or not outcome.events else f"/v1/events/{outcome.events[-1].event_id}",
    }
    if keyed and outcome.replayed:
        headers["Idempotent-Replayed"] = "true"
    return Response(outcome.body(), 201 if new else 200, headers, "application/json")
