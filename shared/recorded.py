"""The envelope: an entry with its place in the log."""

from __future__ import annotations

from datetime import date, datetime

import msgspec

from shared.events import Entry


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as the log holds it.

    `position` is its place in the whole log (1, 2, 3 ... no holes), `version` its place in its stream; `happened_on`
    the day it took effect in the world, `reported_on` the day the world could know it, `recorded_at` (UTC)
    when this ledger learned it. `payload` is the exact JSON of `event` as it was stored and published.
    """

    position: int
    stream: str
    version: int
    event_id: str
    type: str
    happened_on: date
    reported_on: date
    recorded_at: datetime
    recorded_by: str
    event: Entry
    payload: bytes
    traceparent: str | None = None

    @property
    def family(self) -> str:
        """The first part of the stream's name: pledge, coalition, target ..."""
        return self.stream.partition("-")[0]

    @property
    def name(self) -> str:
        """The rest of the stream's name: the id that its caller chose."""
        return self.stream.partition("-")[2]
