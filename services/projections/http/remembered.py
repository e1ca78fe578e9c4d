"""Answers that were given before: sent again as they were encoded, for as long as nothing moved.

An answer depends on what was asked, on where the read models are, and on the day. Where they are is looked at once for
all questions that come within a few milliseconds; while it is the same, the bytes of an answer are the same.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final, TypeAlias

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.projections import checkpoints
from services.projections.checkpoints import silent_s
from services.projections.database import is_away
from services.projections.http.asof import NO_BODY, Reader, matches
from services.projections.read_models import READ_MODELS

LOG: Final = structlog.get_logger(__name__)

LOOK_S: Final = 0.005
"""How long a look at the checkpoints is good for. Whoever must see their own command asks with `min_position`."""

LOOKING: Final = 10
"""How many times as long it is good for while the next look is on its way: nobody waits for it under load."""

MOST_BYTES: Final = 262_144
"""The largest answer that is remembered."""

ALL_BYTES: Final = 33_554_432
"""How much is remembered in all."""

State: TypeAlias = tuple[date, tuple[tuple[str, int, str], ...]]
"""The day, and of each read model its name, position and life."""

Look: TypeAlias = Callable[[], Awaitable[State | None]]
"""Gives the state; None where an answer must be worked out: something is behind, missing or away."""


class Latest:
    """The state of the read models, looked at once for all who ask at the same time."""

    def __init__(self, reader: Reader, *, good_for_s: float = LOOK_S) -> None:
        self.good_for_s = good_for_s
        self._reader = reader
        self._state: State | None = None
        self._until = 0.0
        self._looking: asyncio.Task[State | None] | None = None

    async def __call__(self) -> State | None:
        """Give the state, as it was at most `good_for_s` ago, or a few times that under load."""
        now = asyncio.get_running_loop().time()
        if now < self._until:
            return self._state
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="latest")
        if now < self._until + LOOKING * self.good_for_s:
            return self._state
        return await asyncio.shield(self._looking)

    async def _look(self) -> State | None:
        loop = asyncio.get_running_loop()
        try:
            async with self._reader.engine.connect() as conn:
                found = await checkpoints.load(conn, [(model.name, model.version) for model in READ_MODELS])
        except Exception as error:  # the question itself will say what is wrong
            if not is_away(error):
                LOG.exception("look_failed")
            found = {}
        whole = len(found) == len(READ_MODELS) and not silent_s(found.values())
        caught_up = {(one.position, one.position >= one.head) for one in found.values()}
        self._state = None
        if whole and len(caught_up) == 1 and all(there for _, there in caught_up):
            models = tuple(sorted((one.name, one.position, one.life) for one in found.values()))
            self._state = datetime.now(UTC).date(), models
        self._until = loop.time() + self.good_for_s
        return self._state


@dataclass(slots=True)
class Answer:
    """An answer as it was sent, and the route that gave it."""

    start: Message
    body: bytes
    etag: str
    route: Any


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
        """Keep an answer that was worked out in this state or a later one."""
        if state != self.state or key in self.answers:
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
    """Sends answers again while nothing moved; everything else is passed on."""

    def __init__(self, app: ASGIApp, look: Look) -> None:
        self.app = app
        self._look = look
        self._memory = Memory()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from memory, or pass on and listen."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        query, wanted = without_min_position(scope["query_string"].decode("latin-1"))
        state = await self._look()
        if state is None or wanted > min((position for _, position, _ in state[1]), default=0):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        key = (scope["path"], query, headers.get("accept", ""), headers.get("accept-encoding", ""))
        found = self._memory.of(state, key)
        if found is None:
            await self._listen(state, key, scope, receive, send)
            return
        scope["route"] = found.route
        if matches(headers.get("if-none-match"), found.etag):
            kept = [pair for pair in found.start["headers"] if not pair[0].startswith(b"content-")]
            await send({**found.start, "status": NO_BODY, "headers": kept})
            await send({"type": "http.response.body", "body": b""})
            return
        await send({**found.start, "headers": list(found.start["headers"])})
        await send({"type": "http.response.body", "body": found.body})

    async def _listen(self, state: State, key: tuple[str, ...], scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and keep a whole answer that names itself by an ETag."""
        start: Message | None = None

        async def heard(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = {**message, "headers": list(message["headers"])}
            elif message["type"] == "http.response.body" and start is not None:
                etag = Headers(raw=start["headers"]).get("etag")
                body = message.get("body", b"")
                whole = not message.get("more_body", False) and len(body) <= MOST_BYTES
                if start["status"] == OK and etag is not None and whole:
                    self._memory.keep(state, key, Answer(start, body, etag, scope.get("route")))
                start = None
            await send(message)

        await self.app(scope, receive, heard)


OK: Final = 200
