"""Many commands in one request: NDJSON in, NDJSON out, a line a command; one bad line stops nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.commitments.domain.refusals import Refused
from services.commitments.handling import Outcome, Unavailable
from services.commitments.http.commands import Asked, Names, Route, asked, match, takes
from services.commitments.http.endpoint import Service, told
from services.commitments.http.problems import Problem, Told, problem, too_long
from services.commitments.http.recording import Streams, entry_of, explained, identified
from services.commitments.http.requests import MOST_BYTES, must_be, parsed

NDJSON: Final = "application/x-ndjson"
MOST_LINES: Final = 5_000
AT_ONCE: Final = 500
"""How many commands are put to the ledger together; about what one transaction takes."""

BUSY_S: Final = 0.1
TRIES: Final = 50


class _Line(msgspec.Struct, frozen=True):
    """A command as one line says it."""

    do: str
    body: msgspec.Raw


_LINE: Final = msgspec.json.Decoder(_Line)


async def take(request: Request, service: Service) -> Response:
    """Take commands in the order of their lines, and answer each as it would have been answered alone."""
    must_be(NDJSON, request)
    return Streaming(answers(lines(request), service))


async def lines(request: Request) -> AsyncIterator[list[bytes]]:
    """Cut the body into lines as it comes, about AT_ONCE at a time; a line that is too long is cut short."""
    rest = b""
    found: list[bytes] = []
    async for chunk in request.stream():
        *whole, rest = (rest + chunk).split(b"\n")
        rest = rest[: MOST_BYTES + 1]
        found += whole
        while len(found) >= AT_ONCE:
            yield found[:AT_ONCE]
            found = found[AT_ONCE:]
    yield [*found, rest]


async def answers(body: AsyncIterator[list[bytes]], service: Service) -> AsyncIterator[bytes]:
    """Answer each line, in order."""
    number = 0
    async for part in body:
        numbered = []
        for line in part:
            number += 1
            if line.strip():
                numbered.append((number, line))
        over = [(n, line) for n, line in numbered if n > MOST_LINES]
        kept = [(n, line) for n, line in numbered if n <= MOST_LINES]
        done = await asyncio.gather(*(one(n, line, service) for n, line in kept))
        yield b"".join(done)
        if over:
            first = over[0][0]
            yield _answer(
                first, "", too_long(f"a request has at most {MOST_LINES:,} lines; this and what follows").told
            )
            return


async def one(number: int, line: bytes, service: Service) -> bytes:
    """Do what one line says, and answer it. All lines of a part are put to the ledger in their order."""
    do = ""
    try:
        do, body = read(line)
        route, names, path = command(do)
        what = await asked(route, names, parsed(body), Streams(service.ledger))
        outcome = await settled(what, route, path, service)
    except Exception as error:  # noqa: BLE001  # whatever one line meets is its own answer
        return _answer(number, do, told(error))
    status = 201 if outcome.new and not outcome.replayed else 200
    return ENCODER.encode({"line": number, "do": do, "status": status, "outcome": outcome.to_json()}) + b"\n"


def command(do: str) -> tuple[Route, Names, str]:
    """Find the command that a line asks for, the names in its path, and the path. Raises Problem."""
    method, _, path = do.partition(" ")
    found = match(method, path)
    if found is None:
        there = ", ".join(takes(path))
        raise problem("not-found", f"{do[:100]!r} is no command" + (f"; that path takes {there}" if there else ""))
    return *found, path


async def settled(what: Asked, route: Route, path: str, service: Service) -> Outcome:
    """Put a command to the ledger; one that finds the queue full waits, for the import is one caller."""
    identity = identified(route.method, path, what)
    for _ in range(TRIES):
        try:
            return await service.ledger.handle(what.command, identity, entry=entry_of(what))
        except Unavailable as away:
            if away.code != "overloaded":
                raise
            await asyncio.sleep(BUSY_S)
        except Refused as refusal:
            raise Problem(explained(refusal, what.pointer, None)) from None
    return await service.ledger.handle(what.command, identity, entry=entry_of(what))


def read(line: bytes) -> tuple[str, bytes]:
    """Read what a line asks for: (method and path, body as it stands). Raises Problem."""
    if len(line) > MOST_BYTES:
        raise too_long(f"a line has at most {MOST_BYTES // 1024} KiB; it")
    try:
        said = _LINE.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as wrong:
        raise problem("not-json", f'a line is {{"do": "PUT /v1/pledges/x", "body": {{...}}}}: {wrong}') from None
    return said.do, bytes(said.body)


ENCODER: Final = msgspec.json.Encoder()


def _answer(number: int, do: str, said: Told) -> bytes:
    answer: dict[str, Any] = {"line": number, "do": do, "status": said.status, "problem": said.json()}
    return ENCODER.encode(answer) + b"\n"


class Streaming(Response):
    """Only sends: a response that also listened for a disconnect would eat the body that is still being read."""

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        super().__init__(media_type=NDJSON)
        del self.headers["content-length"]
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # the shape of ASGI
        """Send the parts as they come."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for part in self._parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
