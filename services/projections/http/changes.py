"""Which read models moved, as server-sent events: one watcher for all who listen."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog
from fastapi import APIRouter, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from services.projections import checkpoints
from services.projections.database import is_away
from services.projections.http.asof import Reader
from services.projections.http.problems import Problem, responses
from services.projections.read_models import READ_MODELS

LOG: Final = structlog.get_logger(__name__)

EVERY_S: Final = 0.1
"""How often the checkpoints are looked at while somebody listens."""

AWAY_S: Final = 1.0
"""How long to leave a database alone that does not answer."""

PING_S: Final = 15
SEND_WITHIN_S: Final = 5.0
"""A reader who takes longer to take a line is dropped; it comes back by itself."""

MOST: Final = 1_000
"""How many may listen to one process."""

router = APIRouter(prefix="/v1", tags=["changes"])


@dataclass(frozen=True, slots=True)
class Moved:
    """Where the read models are: all of them at `position` or further; `lag_s` behind the stream, in whole seconds."""

    positions: tuple[tuple[str, int], ...]
    lag_s: int

    @property
    def position(self) -> int:
        """The position that all of them have applied."""
        return min((position for _, position in self.positions), default=0)

    def since(self, before: Moved | None) -> list[str]:
        """Name the read models that are elsewhere than before."""
        old = {} if before is None else dict(before.positions)
        return [name for name, position in self.positions if old.get(name) != position]


class Changes:
    """Looks at the checkpoints while anybody listens, and wakes the listeners when something moved.

    Nobody has a queue: a listener that is slow sees the newest state when it looks again, and misses those between.
    """

    def __init__(self, reader: Reader, *, every_s: float = EVERY_S) -> None:
        self._reader = reader
        self._every_s = every_s
        self._now: Moved | None = None
        self._changed = asyncio.Condition()
        self._watching: asyncio.Task[None] | None = None
        self.listeners = 0

    async def listen(self) -> AsyncGenerator[tuple[Moved, list[str]]]:
        """Give where the read models are, at once and whenever that changed, with the names of those that moved."""
        self.listeners += 1
        if self._watching is None or self._watching.done():
            self._now = None
            self._watching = asyncio.create_task(self._watch(), name="changes")
        seen: Moved | None = None
        try:
            while True:
                async with self._changed:
                    await self._changed.wait_for(lambda before=seen: self._now is not None and self._now != before)  # type: ignore[misc]  # bound now
                    now = self._now
                assert now is not None  # noqa: S101  # that is what was waited for
                yield now, now.since(seen)
                seen = now
        finally:
            self.listeners -= 1
            if self.listeners == 0 and self._watching is not None:
                self._watching.cancel()
                self._watching = None

    async def close(self) -> None:
        """Stop looking."""
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching

    async def _watch(self) -> None:
        while True:
            pause = self._every_s
            try:
                now = await self._look()
            except Exception as error:  # listeners stay, and hear of it when it is back
                if not is_away(error):
                    LOG.exception("changes_failed")
                pause = AWAY_S
            else:
                if now != self._now:
                    async with self._changed:
                        self._now = now
                        self._changed.notify_all()
            await asyncio.sleep(pause)

    async def _look(self) -> Moved:
        async with self._reader.transaction() as conn:
            found = await checkpoints.load(conn, [(model.name, model.version) for model in READ_MODELS])
        now = datetime.now(UTC)
        return Moved(
            positions=tuple(sorted((checkpoint.name, checkpoint.position) for checkpoint in found.values())),
            lag_s=int(max((checkpoint.lag_s(now) for checkpoint in found.values()), default=0)),
        )


@router.get(
    "/changes",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "`moved` events"}, **responses()},
)
async def changed(request: Request) -> Response:
    """Follow the read models: `event: moved`, data `{"position", "names", "lag_s"}`, id the position.

    The first event says where they are. Whoever is slow misses states between, never the last one.
    """
    changes: Changes = request.app.state.changes
    if changes.listeners >= MOST:
        raise Problem("busy", f"{changes.listeners} are listening to this process; poll, or try another")

    async def events() -> AsyncIterator[ServerSentEvent]:
        async with contextlib.aclosing(changes.listen()) as moves:
            async for moved, names in moves:
                data = {"position": moved.position, "names": names, "lag_s": moved.lag_s}
                yield ServerSentEvent(json.dumps(data), event="moved", id=str(moved.position), retry=1000)

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return EventSourceResponse(events(), ping=PING_S, send_timeout=SEND_WITHIN_S, headers=headers)
