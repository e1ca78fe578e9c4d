"""Many commands in one request: NDJSON in, NDJSON out, a line a command; one bad line stops nothing else.

The lines are put to the ledger in their order while the body still arrives, and answered when it has arrived: whoever
sends everything before reading anything would wait for us for ever, as we for them, if we answered in between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.commitments.domain.refusals import Refused
from services.commitments.handling import Outcome, Proposal, proposed
from services.commitments.http.commands import Asked, Names, Route, asked, match, takes
from services.commitments.http.endpoint import Service, told
from services.commitments.http.problems import Told, problem, too_long, wrong_field
from services.commitments.http.recording import Streams, entry_of, explained, identified
from services.commitments.http.requests import MOST_BYTES, must_be, parsed

NDJSON: Final = "application/x-ndjson"
MOST_LINES: Final = 5_000
OTHERS_TURN: Final = 100  # after so many lines, whoever else this process serves is served
TOGETHER: Final = 500
"""How many lines are put to the ledger together: what one transaction takes. Smaller ones cost more a line."""
TOGETHER_BYTES: Final = 4_000_000
"""Large lines are put together in fewer: the queue has room for a few such groups."""

AT_ONCE: Final = 1_000
"""How many commands of one import may wait for the ledger: what two transactions take."""

CROWDED_S: Final = 0.02


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command as one line says it."""

    do: str
    body: msgspec.Raw


_LINE: Final = msgspec.json.Decoder(_Line)
ENCODER: Final = msgspec.json.Encoder()


class Asking(NamedTuple):
    """What one line asks for; or, for a line that nobody can put to the ledger, what is wrong with it."""

    number: int
    do: str
    what: Asked | None = None
    proposal: Proposal | None = None
    wrong: Told | None = None


async def take(request: Request, service: Service) -> Response:
    """Take commands in the order of their lines, and answer each as it would have been answered alone."""
    must_be(NDJSON, request.headers)
    streams = Streams(service.ledger)
    answers: list[bytes] = []
    waiting: deque[tuple[int, asyncio.Task[bytes]]] = deque()
    number = 0  # of lines read
    done = 0  # of lines answered
    group: list[Asking] = []
    size = 0  # of the group's lines, in bytes
    async for some in lines(request):
        for line in some:
            number += 1
            if number > MOST_LINES:
                why = too_long(f"a request has at most {MOST_LINES:,} lines; this one and what follows")
                group.append(Asking(number, "", wrong=why.told))
                break
            if line.strip():
                group.append(await asking(number, line, streams))
                size += len(line)
        if number > MOST_LINES:
            break
        if len(group) >= TOGETHER or size >= TOGETHER_BYTES:
            waiting.append((number, asyncio.create_task(answered(group, service))))
            group, size = [], 0
        await asyncio.sleep(0)
        while service.ledger.crowded:  # noqa: ASYNC110  # nobody says when the queue has emptied, it is for others
            await asyncio.sleep(CROWDED_S)
        while number - done > AT_ONCE and waiting:
            done, answering = waiting.popleft()
            answers.append(await answering)
    waiting.append((number, asyncio.create_task(answered(group, service))))
    answers += await asyncio.gather(*(answering for _, answering in waiting))
    return Response(b"".join(answers), media_type=NDJSON)


async def lines(request: Request) -> AsyncIterator[list[bytes]]:
    """Cut the body into lines as it comes, and give some at a time; a line that is too long is cut short."""
    rest = b""
    async for chunk in request.stream():
        *whole, rest = (rest + chunk).split(b"\n")
        for first in range(0, len(whole), OTHERS_TURN):
            yield whole[first : first + OTHERS_TURN]
        rest = rest[: MOST_BYTES + 1]
    if rest:
        yield [rest]


async def asking(number: int, line: bytes, streams: Streams) -> Asking:
    """Read what one line asks for. Only a command about an entry has to wait here, for the stream of that entry."""
    do = ""
    try:
        do, body = read(line)
        route, names, path = command(do)
        what = await asked(route, names, parsed(body), streams)
        proposal = proposed(what.command, identified(route.method, path, what), entry=entry_of(what))
        return Asking(number, do, what, proposal)
    except Exception as error:  # noqa: BLE001  # whatever one line meets is its own answer
        return Asking(number, do, wrong=told(error))


async def answered(group: list[Asking], service: Service) -> bytes:
    """Put what some lines ask for to the ledger, after all that was put there before; give their answers."""
    outcomes = iter(await service.ledger.settle([said.proposal for said in group if said.proposal is not None]))
    return ENCODER.encode_lines([answer(said, None if said.proposal is None else next(outcomes)) for said in group])


def answer(said: Asking, outcome: Outcome | Exception | None) -> dict[str, Any]:
    """Give the answer of one line."""
    members: dict[str, Any] = {"line": said.number, "do": said.do}
    match outcome:
        case Outcome():
            status = 201 if outcome.new and not outcome.replayed else 200
            return {**members, "status": status, "outcome": outcome.to_json()}
        case Refused() if said.what is not None:
            wrong = explained(outcome, said.what.pointer, None)
        case Exception():
            wrong = told(outcome)
        case _:
            assert said.wrong is not None  # noqa: S101  # a line without a proposal says what is wrong
            wrong = said.wrong
    return {**members, "status": wrong.status, "problem": wrong.json()}


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
