"""Sending commands to POST /v1/imports, piece by piece, and telling what became of each.

While the ledger takes one piece the next is read and made. There is never more than one on its way: a later line may
name what an earlier one opens, and one service that decides one command after the other gains nothing by two.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import httpx2
import msgspec

from muster.importing.commands import IMPORT, CannotImport, Command, Fault, Place, Row

MOST_LINES: Final = 5_000
MOST_BYTES: Final = 8 << 20
LONGEST_LINE: Final = 256 << 10
TRIES: Final = 8
LONGEST_PAUSE_S: Final = 10.0
TIMEOUT_S: Final = 120.0
BUSY: Final = (429, 503)

What = Literal["recorded", "already there", "refused"]


@dataclass(frozen=True, slots=True)
class Became:
    """What became of a line: its place, the command as it was said, and why it was refused."""

    place: Place
    do: str
    what: What
    reason: str | None = None
    code: str | None = None
    events: tuple[str, ...] = ()  # the ids of what was recorded
    on_the_way: bool = False
    fields: tuple[str, ...] = ()  # in which it differs from what is recorded


class _Event(msgspec.Struct):
    event_id: str


class _Outcome(msgspec.Struct):
    events: list[_Event] = []


class _Answer(msgspec.Struct):
    """One line of the answer of an import."""

    line: int
    status: int
    outcome: _Outcome | None = None
    problem: dict[str, Any] | None = None


_ANSWER: Final = msgspec.json.Decoder(_Answer)


def sent(rows: Iterable[Row | Fault], client: httpx2.Client) -> Iterator[Became]:
    """Send rows and give what became of each line, in order. Raises CannotImport when the ledger stays away.

    What a row's first command opens is sent before what follows it in the row, and what follows only if that was
    taken: no stage of a row counts towards a pledge that says something else.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="import") as sender:
        waiting: Future[list[Became]] | None = None
        for piece in pieces(rows):
            before, waiting = waiting, sender.submit(_piece, piece, client)
            if before is not None:
                yield from before.result()
        if waiting is not None:
            yield from waiting.result()


def pieces(rows: Iterable[Row | Fault]) -> Iterator[list[Row | Fault]]:
    """Cut rows into pieces that one import takes.

    Openings are sent before what follows them, so a piece ends where a row comes back to a thing that has something
    to follow yet: all that is about one thing is sent in its order.
    """
    piece: list[Row | Fault] = []
    lines = size = 0
    following: set[str] = set()
    for row in rows:
        if isinstance(row, Fault):
            piece.append(row)
            continue
        own = sum(command.size for command in row.commands)
        crowded = lines + len(row.commands) > MOST_LINES or size + own > MOST_BYTES
        if lines and (crowded or not following.isdisjoint(command.stream for command in row.commands)):
            yield piece
            piece, lines, size, following = [], 0, 0, set()
        piece.append(row)
        lines += len(row.commands)
        size += own
        following |= {command.stream for command in followers(row)}
        if len(piece) >= MOST_LINES:
            yield piece
            piece, lines, size, following = [], 0, 0, set()
    if piece:
        yield piece


def openings(row: Row) -> tuple[Command, ...]:
    """Give what a row registers on the way, and its first command of its own."""
    return row.commands[: _own(row) + 1]


def followers(row: Row) -> tuple[Command, ...]:
    """Give what follows a row's first command."""
    return row.commands[_own(row) + 1 :]


def _own(row: Row) -> int:
    return next((n for n, command in enumerate(row.commands) if not command.on_the_way), len(row.commands) - 1)


def _piece(piece: Sequence[Row | Fault], client: httpx2.Client) -> list[Became]:
    rows = [row for row in piece if isinstance(row, Row)]
    first = dict(zip(map(id, rows), _sent([openings(row) for row in rows], client), strict=True))
    following: dict[int, Sequence[Command]] = {}
    for row in rows:
        opened = first[id(row)][-1]
        if opened.what != "refused":
            following[id(row)] = followers(row)
        elif (as_recorded := _under_another_mark(row, opened, client)) is not None:
            first[id(row)][-1] = Became(opened.place, opened.do, "already there")
            following[id(row)] = followers(as_recorded)
    rest = dict(zip(following, _sent(list(following.values()), client), strict=True))
    told: list[Became] = []
    for one in piece:
        if isinstance(one, Fault):
            told.append(Became(one.place, one.about or "", "refused", one.reason, "row"))
            continue
        told += first[id(one)]
        told += rest.get(id(one), [])
        if first[id(one)][-1].what == "refused":
            why = f"not sent: what it follows was refused ({first[id(one)][-1].do})"
            told += [Became(command.place, command.do, "refused", why, "follows") for command in followers(one)]
    return told


def _under_another_mark(row: Row, became: Became, client: httpx2.Client) -> Row | None:
    """Give a row as it was recorded by another import, where it differs in nothing but that import's mark."""
    command = openings(row)[-1]
    if became.code != "already-recorded" or became.fields != ("labels",):
        return None
    said = command.said().get("labels", {})
    try:
        there = client.get(command.do.removeprefix("PUT ")).json()["entry"]["labels"]
    except (httpx2.HTTPError, ValueError, KeyError, TypeError):
        return None
    if {**said, IMPORT: None} != {**there, IMPORT: None} or IMPORT not in there:
        return None
    mark = {IMPORT: there[IMPORT]}
    marked = [
        replace(one, body=(b := one.said()) | {"labels": {**b.get("labels", {}), **mark}}) for one in row.commands
    ]
    return Row(tuple(marked))


def _sent(groups: Sequence[Sequence[Command]], client: httpx2.Client) -> list[list[Became]]:
    """Send groups of commands in one go, and give what became of each group."""
    commands = [command for group in groups for command in group]
    outcomes = iter(put(commands, client))
    return [[next(outcomes) for _ in group] for group in groups]


def put(commands: Sequence[Command], client: httpx2.Client) -> list[Became]:
    """Send commands in their order, again while the ledger is busy; repeats are harmless."""
    told: dict[int, Became] = {}
    left = list(range(len(commands)))
    lines = [command.line() for command in commands]
    for n, command in enumerate(commands):
        if len(lines[n]) > LONGEST_LINE + 1:
            left.remove(n)
            told[n] = Became(command.place, command.do, "refused", "is longer than 256 KiB", "too-long")
    for attempt in range(TRIES):
        if not left:
            break
        again: list[int] = []
        for at in range(0, len(left), MOST_LINES):
            some = left[at : at + MOST_LINES]
            for n, answer in zip(some, _answers([lines[n] for n in some], client), strict=True):
                if answer.status in BUSY and attempt < TRIES - 1:
                    again.append(n)
                else:
                    told[n] = _became(commands[n], answer)
        left = again
        if left:
            time.sleep(_pause(attempt))
    return [told[n] for n in range(len(commands))]


def _answers(lines: Sequence[bytes], client: httpx2.Client) -> list[_Answer]:
    """Send one request. Raises CannotImport when there is no good answer after some tries."""
    body = b"".join(lines)
    why = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(_pause(attempt))
        try:
            answer = client.post("/v1/imports", content=body, headers={"Content-Type": "application/x-ndjson"})
        except httpx2.HTTPError as error:
            why = str(error) or type(error).__name__
            continue
        if answer.status_code == httpx2.codes.OK:
            said = [_ANSWER.decode(line) for line in answer.content.splitlines()]
            if len(said) == len(lines):
                return said
            why = f"{len(lines)} lines were sent, {len(said)} answered"
        else:
            why = f"it answers {answer.status_code}: {answer.text[:300]}"
            if answer.status_code not in (*BUSY, 500, 502, 504):
                break
    raise CannotImport(f"the ledger at {client.base_url} does not take the import: {why}")


def _pause(attempt: int) -> float:
    return min(0.1 * 2.0**attempt, LONGEST_PAUSE_S)


def _became(command: Command, answer: _Answer) -> Became:
    place, do, way = command.place, command.do, command.on_the_way
    if answer.status < httpx2.codes.BAD_REQUEST:
        events = tuple(event.event_id for event in answer.outcome.events) if answer.outcome else ()
        created = answer.status == httpx2.codes.CREATED
        return Became(place, do, "recorded" if created else "already there", events=events, on_the_way=way)
    problem = answer.problem or {}
    code = str(problem.get("code", answer.status))
    if way and code == "already-recorded":
        return Became(place, do, "already there", on_the_way=True)
    fields = tuple(problem.get("fields") or ())
    why = explained(problem) + ("; a newer release is imported --as SERIES" if code == "already-recorded" else "")
    return Became(place, do, "refused", why, code, on_the_way=way, fields=fields)


def explained(problem: dict[str, Any]) -> str:
    """Say what is wrong, with the fields that are."""
    detail = str(problem.get("detail") or problem.get("title") or "refused")
    said = [f"{e.get('pointer') or e.get('parameter')}: {e.get('detail')}" for e in problem.get("errors") or ()]
    extra = [one for one in said if one not in detail]
    return "; ".join([detail, *extra])
