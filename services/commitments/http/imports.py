"""Many commands in one request: NDJSON in, NDJSON out, a line a command; one bad line stops nothing else.

The lines are put to the ledger in their order while the body still arrives, and answered when it has arrived: whoever
sends everything before reading anything would wait for us for ever, as we for them, if we answered in between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.commitments.domain.refusals import Refused
from services.commitments.handling import Identity
from services.commitments.http.commands import Asked, Names, Route, asked, match, takes
from services.commitments.http.endpoint import Service, told
from services.commitments.http.problems import Told, problem, too_long, wrong_field
from services.commitments.http.recording import Streams, entry_of, explained, identified
from services.commitments.http.requests import MOST_BYTES, must_be, parsed

NDJSON: Final = "application/x-ndjson"
MOST_LINES: Final = 5_000
AT_ONCE: Final = 1_000
"""How many commands of one import may wait for the ledger: what two transactions take."""

OTHERS_TURN: Final = 100  # after so many lines, whoever else this process serves is served
CROWDED_S: Final = 0.02


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command as one line says it."""

    do: str
    body: msgspec.Raw


_LINE: Final = msgspec.json.Decoder(_Line)
ENCODER: Final = msgspec.json.Encoder()


async def take(request: Request, service: Service) -> Response:
    """Take commands in the order of their lines, and answer each as it would have been answered alone."""
    must_be(NDJSON, request)
    answers: list[bytes] = []
    waiting: deque[asyncio.Task[bytes]] = deque()
    number = 0
    async for line in lines(request):
        number += 1
        if not line.strip():
            continue
        if number > MOST_LINES:
            why = too_long(f"a request has at most {MOST_LINES:,} lines; this one and what follows")
            waiting.append(asyncio.create_task(_said(_answer(number, "", why.told))))
            break
        waiting.append(await put(number, line, service))
        if number % OTHERS_TURN == 0:
            await asyncio.sleep(0)
            while service.ledger.crowded:  # noqa: ASYNC110  # nobody says when the queue has emptied, it is for others
                await asyncio.sleep(CROWDED_S)
        while len(waiting) > AT_ONCE:
            answers.append(await waiting.popleft())
    answers += await asyncio.gather(*waiting)
    return Response(b"".join(answers), media_type=NDJSON)


async def lines(request: Request) -> AsyncIterator[bytes]:
    """Cut the body into lines as it comes; a line that is too long is cut short."""
    rest = b""
    async for chunk in request.stream():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line
        rest = rest[: MOST_BYTES + 1]
    if rest:
        yield rest


async def put(number: int, line: bytes, service: Service) -> asyncio.Task[bytes]:
    """Put what one line says to the ledger, after all that was put there before; the task gives its answer.

    Only a command about an entry has to wait here, for the stream of that entry.
    """
    do = ""
    try:
        do, body = read(line)
        route, names, path = command(do)
        what = await asked(route, names, parsed(body), Streams(service.ledger))
    except Exception as error:  # noqa: BLE001  # whatever one line meets is its own answer
        return asyncio.create_task(_said(_answer(number, do, told(error))))
    return asyncio.create_task(settled(number, do, what, identified(route.method, path, what), service))


async def _said(answer: bytes) -> bytes:
    return answer


async def settled(number: int, do: str, what: Asked, identity: Identity, service: Service) -> bytes:
    """Give the answer of one command, whatever comes of it."""
    try:
        outcome = await service.ledger.handle(what.command, identity, entry=entry_of(what))
    except Refused as refusal:
        return _answer(number, do, explained(refusal, what.pointer, None))
    except Exception as error:  # noqa: BLE001  # likewise
        return _answer(number, do, told(error))
    status = 201 if outcome.new and not outcome.replayed else 200
    return ENCODER.encode({"line": number, "do": do, "status": status, "outcome": outcome.to_json()}) + b"\n"


def command(do: str) -> tuple[Route, Names, str]:
    """Find the command that a line asks for, the names in its path, and the path. Raises Problem."""
    method, _, path = do.partition(" ")
    found = match(method, path)
    if found is not None:
        return *found, path
    there = ", ".join(takes(path))
    if there:
        raise problem("method-not-allowed", f"{path[:100]} takes {there}")
    raise problem("not-found", f"{do[:100]!r} is no command")


def read(line: bytes) -> tuple[str, bytes]:
    """Read what a line asks for: (method and path, body as it stands). Raises Problem."""
    if len(line) > MOST_BYTES:
        raise too_long(f"a line has at most {MOST_BYTES // 1024} KiB; it")
    try:
        said = _LINE.decode(line)
    except msgspec.ValidationError as wrong:
        raise wrong_field((), f"{FORM}: {wrong}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise problem("not-json", f"{FORM}: {wrong}") from None
    return said.do, bytes(said.body)


FORM: Final = 'a line is {"do": "PUT /v1/pledges/x", "body": {...}}'


def _answer(number: int, do: str, said: Told) -> bytes:
    answer: dict[str, Any] = {"line": number, "do": do, "status": said.status, "problem": said.json()}
    return ENCODER.encode(answer) + b"\n"
