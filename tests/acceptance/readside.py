"""The read side without its worker: events are put straight into the read models, and the API is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections.database import engine
from services.projections.http.app import create_app
from services.projections.http.remembered import Latest
from services.projections.projector import READERS, make
from services.projections.read_models import READ_MODELS
from services.projections.settings import Settings
from services.projections.transaction import transaction
from shared.events import Entry
from shared.recorded import Recorded
from tests.integration.streams import recorded

HEARD = text("UPDATE checkpoints SET updated_at = '9999-01-01'")  # there is no worker here to be heard of
ADVANCE = "UPDATE checkpoints SET position = $1, head = $2, recorded_at = $3, behind_since = $4"


@dataclass
class ReadSide:
    """The read models of one test, and the API over them."""

    worker: AsyncEngine
    client: httpx2.AsyncClient
    reader: AsyncEngine
    latest: Latest
    events: list[Recorded] = field(default_factory=list)

    async def record(self, *entries: Entry) -> list[Recorded]:
        """Record entries, a second apart, and apply them."""
        new = recorded(entries, after=len(self.events), before=self.events)
        await self.take(new)
        return new

    async def take(self, new: Sequence[Recorded], *, head: int | None = None) -> None:
        """Apply events; `head` says that the log goes on beyond them."""
        last = new[-1]
        behind = head is not None and head > last.position
        async with transaction(self.worker) as writing:
            since = last.recorded_at if behind else None
            await writing.carry_out(ADVANCE, last.position, head or last.position, last.recorded_at, since)
            for model in READ_MODELS:
                await model.apply(writing, new)
        self.events += new

    async def get(self, address: str, expect: int = 200, **parameters: Any) -> Any:
        """Ask, see the status, and give the JSON of the answer."""
        answer = await self.client.get(address, params=parameters or None)
        assert answer.status_code == expect, answer.text
        return answer.json()

    async def page(self, address: str, *, expect: int = 200) -> str:
        """Ask as a browser does, see the status, and give the page."""
        answer = await self.client.get(address, headers={"Accept": "text/html"})
        assert answer.status_code == expect, answer.text
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        return answer.text


@asynccontextmanager
async def a_read_side(worker_url: str, reader_url: str) -> AsyncIterator[ReadSide]:
    worker = engine(worker_url, process="test", connections=2)
    app = create_app(Settings.model_validate({"database_url": reader_url}))
    app.state.latest.good_for_s = 0.0  # what is recorded is to be seen at once
    try:
        async with worker.begin() as conn:
            for model in READ_MODELS:
                await make(conn, model, list(await conn.scalars(READERS)))
            await conn.execute(HEARD)
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://queries") as client,
        ):
            yield ReadSide(worker, client, app.state.reader.engine, app.state.latest)
    finally:
        await worker.dispose()
