"""Answers that were given before: sent again as they were encoded, for as long as nothing moved.

An answer depends on what was asked, on where the read models are, and on the day. Where they are is looked at once for
all questions that come within a few milliseconds; while it is the same, the bytes of an answer are the same. Who asks
while the same is being worked out gets that answer too, if it is of the position that they wait for.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, NamedTuple, TypeAlias

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.projections.checkpoints import silent_s
from services.projections.database import is_away
from services.projections.http import asof
from services.projections.http.asof import (
    FIRST_PAUSE_S,
    FOUND,
    LONGEST_PAUSE_S,
    MODELS,
    NO_BODY,
    WAITED,
    Found,
    Reader,
    find,
    matches,
)

LOG: Final = structlog.get_logger(__name__)

LOOK_S: Final = 0.005
"""How long a look at the checkpoints is good for. Whoever must see their own command asks with `min_position`."""

LOOKING: Final = 10
"""How many times as long it is good for while the next look is on its way: nobody waits for it under load."""

MOST_BYTES: Final = 262_144
"""The largest answer that is remembered."""

ALL_BYTES: Final = 16_777_216
"""How much is remembered in all."""

State: TypeAlias = tuple[date, tuple[tuple[str, int, str], ...]]
"""The day, and of each read model its name, position and life."""


class Seen(NamedTuple):
    """What a look at the checkpoints found.

    `furthest` is the position of the read model that is ahead, None where nobody knows; `state` is None where an answer
    must be worked out: something is behind, missing or away.
    """

    furthest: int | None = None
    state: State | None = None


def state_of(found: Found) -> State | None:
    """Give the state that was found; None where something is behind, missing or away."""
    there = found.checkpoints.values()
    if len(there) < len(MODELS) or silent_s(there):
        return None
    if len({one.position for one in there}) > 1 or any(one.position < one.head for one in there):
        return None
    return found.today, tuple(sorted((one.name, one.position, one.life) for one in there))


class Latest:
    """Where the read models are: as the last answer saw it, as the worker told, or looked at once for all who ask."""

    def __init__(self, reader: Reader, *, good_for_s: float = LOOK_S) -> None:
        self.good_for_s = good_for_s
        self._reader = reader
        self._seen = Seen()
        self._at = 0.0  # when that was begun
        self._until = 0.0
        self._heard = 0  # the position that the worker spoke of last
        self._pause_s = FIRST_PAUSE_S
        self._told = asyncio.Event()  # that something moved since the last look
        self._hears = False  # whether it is told, as far as is known: else it has to look more often
        self._looking: asyncio.Task[None] | None = None
        self._waiting: asyncio.Task[None] | None = None

    async def __call__(self) -> Seen:
        """Give what was seen at most `good_for_s` ago, or a few times that under load."""
        now = asyncio.get_running_loop().time()
        if now < self._until:
            return self._seen
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="latest")
        if now >= self._until + LOOKING * self.good_for_s:
            await asyncio.shield(self._looking)
        return self._seen

    def told(self, position: int) -> Seen | None:
        """Give what the worker told, where it has come to a position since it was looked at: its answer will see."""
        return Seen(self._heard) if (self._seen.furthest or 0) < position <= self._heard else None

    async def reached(self, position: int) -> bool:
        """Wait until a read model is at a position, as long as a question may; at once where nobody knows."""
        if position <= self._heard:
            return True
        loop = asyncio.get_running_loop()
        until = loop.time() + asof.WAIT_S
        self._pause_s = FIRST_PAUSE_S
        furthest = self._furthest if self._hears else (await self()).furthest
        while furthest is not None and furthest < position:
            if loop.time() >= until:
                return False
            if self._waiting is None or self._waiting.done():
                self._waiting = asyncio.create_task(self._look_again(), name="waiting")
            await asyncio.shield(self._waiting)
            furthest = self._furthest
        return True

    @property
    def _furthest(self) -> int | None:
        """How far a read model is, as seen or told; None where nobody knows."""
        return None if self._seen.furthest is None else max(self._seen.furthest, self._heard)

    def hear(self, position: int) -> None:
        """Hear from the worker that a position is applied. It is a hint: whoever goes on it sees for themselves."""
        self._hears, self._heard = True, position
        if position > (self._seen.furthest or 0):
            self._told.set()

    def learn(self, found: Found) -> State | None:
        """Learn what a look or an answer found; gives its state, if nothing moved since."""
        state = state_of(found)
        if found.at >= self._at:
            there = found.checkpoints.values()
            furthest = max(one.position for one in there) if len(there) == len(MODELS) else None
            self._seen, self._at = Seen(furthest, state), found.at
            self._until = max(self._until, found.at + self.good_for_s)
        return state if state == self._seen.state else None

    async def _look_again(self) -> None:
        """Wait to be told of something new, or for a while; then nobody told, and it is looked at."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_PAUSE_S if self._hears else self._pause_s):
                await self._told.wait()
        if self._told.is_set():
            self._told.clear()
            return
        before = self._seen.furthest
        await self._look()
        moved = self._seen.furthest != before
        self._hears = self._hears and not moved
        self._pause_s = FIRST_PAUSE_S if moved else min(2 * self._pause_s, LONGEST_PAUSE_S)

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        nothing = Found({}, loop.time(), date.min)
        try:
            async with self._reader.engine.connect() as conn:
                found = await find(conn)
        except Exception as error:  # the question itself will say what is wrong
            if not is_away(error):
                LOG.exception("look_failed")
            found = nothing
        self.learn(found)
        self._until = loop.time() + self.good_for_s


@dataclass(slots=True)
class Answer:
    """An answer as it was sent, and the route that gave it."""

    start: Message
    body: bytes
    etag: str
    route: Any

    @property
    def position(self) -> int:
        """The position that it is of, as its header says."""
        return int(Headers(raw=self.start["headers"]).get("ledger-position", "0"))


@dataclass(slots=True)
class UnderWay:
    """An answer that is being worked out; `furthest` is as far as a read model was when that began.

    `answer` comes to None where it is no answer for others: a problem, a stream.
    """

    furthest: int
    answer: asyncio.Future[Answer | None]

    def came(self, answer: Answer | None) -> None:
        """Tell those who wait for it."""
        if not self.answer.done():
            self.answer.set_result(answer)


@dataclass(slots=True)
class Memory:
    """The answers of one state, the one used last at the end."""

    most: int = ALL_BYTES
    state: State | None = None
    size: int = 0
    answers: OrderedDict[tuple[str, ...], Answer] = field(default_factory=OrderedDict)

    def of(self, state: State, key: tuple[str, ...]) -> Answer | None:
        """Give an answer of this state; what is of another one is forgotten."""
        if state != self.state:
            self.state, self.size = state, 0
            self.answers.clear()
        found = self.answers.get(key)
        if found is not None:
            self.answers.move_to_end(key)
        return found

    def keep(self, state: State, key: tuple[str, ...], answer: Answer) -> None:
        """Keep an answer that was worked out in this state, the latest, or a later one."""
        if self.of(state, key) is not None:
            return
        self.answers[key] = answer
        self.size += len(answer.body)
        while self.size > self.most:
            _, old = self.answers.popitem(last=False)
            self.size -= len(old.body)


MIN_POSITION: Final = re.compile(r"(?:^|&)min_position=(\d{1,18})(?=&|$)")


def without_min_position(query: str) -> tuple[str, int]:
    """Take `min_position` out of a query, and give both: once it is reached, the answer is that without it."""
    found = MIN_POSITION.findall(query)
    return (MIN_POSITION.sub("", query).lstrip("&"), int(found[0])) if len(found) == 1 else (query, 0)


class Remembered:
    """Sends answers again while nothing moved; everything else is passed on, once for all who ask it at one time."""

    def __init__(self, app: ASGIApp, look: Latest) -> None:
        self.app = app
        self._look = look
        self._memory = Memory()
        self._under_way: dict[tuple[str, ...], UnderWay] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from memory, or pass on and listen."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        query, wanted = without_min_position(scope["query_string"].decode("latin-1"))
        if wanted and scope["path"].startswith("/v1/"):
            scope[WAITED] = not await self._look.reached(wanted)
        seen = self._look.told(wanted) or await self._look()
        if seen.furthest is None or wanted > seen.furthest:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        key = (scope["path"], query, headers.get("accept", ""), headers.get("accept-encoding", ""))
        found = None if seen.state is None else self._memory.of(seen.state, key)
        if found is None:
            found = await self._awaited(key, wanted, seen.furthest)
        if found is None:
            await self._listen(seen, key, scope, receive, send)
            return
        scope["route"] = found.route
        if matches(headers.get("if-none-match"), found.etag):
            kept = [pair for pair in found.start["headers"] if not pair[0].startswith(b"content-")]
            await send({**found.start, "status": NO_BODY, "headers": kept})
            await send({"type": "http.response.body", "body": b""})
            return
        await send({**found.start, "headers": list(found.start["headers"])})
        await send({"type": "http.response.body", "body": found.body})

    async def _awaited(self, key: tuple[str, ...], wanted: int, furthest: int) -> Answer | None:
        """Wait for an answer that is under way, if it began late enough: at the position wanted, or else now."""
        there = self._under_way.get(key)
        if there is None or there.furthest < (wanted or furthest):
            return None
        found = await asyncio.shield(there.answer)
        return None if found is None or found.position < wanted else found

    async def _listen(self, seen: Seen, key: tuple[str, ...], scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and keep a whole answer that names itself by an ETag."""
        mine = self._under_way[key] = UnderWay(seen.furthest or 0, asyncio.get_running_loop().create_future())
        start: Message | None = None

        async def heard(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                named = message["status"] == OK and Headers(raw=message["headers"]).get("etag") is not None
                start = {**message, "headers": list(message["headers"])} if named else None
            elif message["type"] == "http.response.body" and start is not None and not message.get("more_body", False):
                etag = Headers(raw=start["headers"])["etag"]
                answer = Answer(start, message.get("body", b""), etag, scope.get("route"))
                state = self._look.learn(scope[FOUND]) if FOUND in scope else None
                if state is not None and len(answer.body) <= MOST_BYTES:
                    self._memory.keep(state, key, answer)
                mine.came(answer)
                start = None
            else:
                start = None
            if start is None:
                mine.came(None)
            await send(message)

        try:
            await self.app(scope, receive, heard)
        finally:
            mine.came(None)
            if self._under_way.get(key) is mine:
                del self._under_way[key]


OK: Final = 200
