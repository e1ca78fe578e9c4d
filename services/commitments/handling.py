"""From a command to its outcome: the only path by which the log grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from difflib import SequenceMatcher, get_close_matches
from operator import eq
from typing import Final

from services.commitments.domain.commands import Command, Correct, Record
from services.commitments.domain.decider import decide
from services.commitments.domain.refusals import UnknownName
from services.commitments.hints import Growth, hints
from services.commitments.log.batcher import Batcher
from services.commitments.log.contract import EVERYTHING, Away, Filter, Log, Page, Row
from services.commitments.log.memory import MemoryLog
from services.commitments.log.outcome import Entered, Identity, Outcome, Overloaded, Unavailable, Unpublishable
from services.commitments.log.settling import Decide, Proposal, proposed
from services.commitments.log.store import REVISION, PostgresLog
from services.commitments.settings import Settings
from services.commitments.states import states

__all__ = [
    "Entered",
    "Filter",
    "Identity",
    "Ledger",
    "MemoryLog",
    "Outcome",
    "Overloaded",
    "Page",
    "PostgresLog",
    "Proposal",
    "Row",
    "Unavailable",
    "Unpublishable",
    "ledger",
    "proposed",
]

ANSWER_S: Final = 4.8
"""The longest that a caller waits."""

DRAIN_S: Final = 10.0
NAMES_LOOKED_AT: Final = 2_000
NAMES_COMPARED: Final = 20
NAMES_SHOWN: Final = 3
EVERY_S: Final = 1.0
NUMEROUS: Final = ("pledge", "statement", "production")  # too many for looking at all of their names


class Ledger:
    """The write side as its callers see it: commands in, rows out. Everything raises Unavailable when it must."""

    def __init__(self, log: Log, *, decide: Decide = decide) -> None:
        self.growth = Growth()  # of the log, as known here
        self.own_growth = Growth()  # by this process
        self._log = log
        self._states = states()
        self._batcher = Batcher(log, decide=decide, states=self._states, grown=self._grown)
        self._watching = asyncio.create_task(self._watch(), name="head watch")

    def _grown(self, position: int) -> None:
        self.growth.to(position)
        self.own_growth.to(position)

    async def _watch(self) -> None:
        """Look at the head as long as somebody waits for it: hints may be lost."""
        while True:
            await asyncio.sleep(EVERY_S)
            if self.growth.waiting:
                with suppress(Unavailable):
                    await self.head()

    async def close(self, within_s: float = DRAIN_S) -> None:
        """Settle what waits, and end."""
        await self._batcher.close(within_s)
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)

    @property
    def crowded(self) -> bool:
        """Whether half of the queue is taken: who has many commands lets others go first."""
        return self._batcher.crowded

    async def handle(
        self, command: Command, identity: Identity, if_match: int | None = None, *, entry: bytes | None = None
    ) -> Outcome:
        """Settle a command and give its outcome, which is durable then.

        `if_match` is the version that its stream must have; `entry` the command's entry by `shared.codec.encode`, if
        the caller has it at hand.

        Raises Refused where the ledger does not record it, Overloaded before it was tried, and Unavailable when it is
        not known whether it was recorded: the same command again tells, and counts once.
        """
        [answer] = await self.settle([proposed(command, identity, if_match, entry=entry)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def settle(self, proposals: Sequence[Proposal]) -> list[Outcome | Exception]:
        """Settle commands in their order, and give what came of each: its outcome, or what `handle` would raise."""
        if not proposals:
            return []
        given = await self._batcher.put(proposals).wait(ANSWER_S)
        answers: list[Outcome | Exception] = []
        for proposal, answer in zip(proposals, given, strict=True):
            if answer is None:
                why = f"the log did not answer ({self._batcher.away or 'it is busy'})"
                answers.append(Unavailable(f"{why}; say the same again: it counts once"))
            elif isinstance(answer, UnknownName):
                answers.append(await self._with_near_names(answer, proposal.command))
            else:
                answers.append(answer)
        return answers

    async def _with_near_names(self, refusal: UnknownName, command: Command) -> UnknownName:
        """Give the refusal with the names that the caller may have meant."""
        mentions = command.entry.mentions if isinstance(command, Record) else {}
        mentions = command.now.mentions if isinstance(command, Correct) else mentions
        stream = mentions.get(refusal.pointer or "")
        if stream is None:
            return refusal
        family, _, name = stream.partition("-")
        prefix = f"{family}-{name[:1]}" if family in NUMEROUS else f"{family}-"
        try:
            names = [other.partition("-")[2] for other in await self._log.names(prefix, NAMES_LOOKED_AT)]
        except Away:
            return refusal
        if family == "party":
            names += self._states
        return UnknownName(stream, refusal.pointer or "", await asyncio.to_thread(near, name, names))

    # ------------------------------------------------------------------------------------------------- reading

    async def read(self, after: int, limit: int, where: Filter = EVERYTHING) -> Page:
        """Give up to `limit` rows past position `after`, how far they go, and the head."""
        with unavailable():
            return await self._log.read(after, limit, where)

    async def read_stream(self, stream: str, after: int = 0, limit: int = 1_000) -> list[Row]:
        """Give up to `limit` rows of a stream past a version."""
        with unavailable():
            return await self._log.read_stream(stream, after, limit)

    async def event(self, event_id: str) -> Row | None:
        """Give one row by its id; None for an id that is not there, or none at all."""
        with unavailable():
            return await self._log.event(event_id)

    async def head(self) -> int:
        """Give the last position; 0 for an empty log."""
        with unavailable():
            head = await self._log.head()
        self.growth.to(head)
        return head

    async def epoch(self) -> str:
        """Give the id of this log."""
        with unavailable():
            return await self._log.epoch()

    async def beyond(self, position: int, within_s: float) -> int:
        """Wait until the log has grown past a position, at most so long, and give its head as known here."""
        return await self.growth.beyond(position, within_s)

    async def not_ready(self) -> str | None:
        """Say why commands cannot be recorded now; None when they can."""
        try:
            revision = await self._log.revision()
            head = await self._log.head()
        except Away as why:
            return f"the log is away: {why}"
        self.growth.to(head)
        if revision is None or revision < REVISION:
            return f"the log's migrations stand at {revision or 'nothing'}, this version needs {REVISION}"
        failing = self._batcher.failing
        return None if failing is None else f"nothing can be recorded: {failing}"


def near(name: str, names: Sequence[str]) -> list[str]:
    """Give the names most like one; of those that are about as like, the ones with the same letters in their places."""

    def unlike(other: str) -> tuple[float, int]:
        return -round(SequenceMatcher(None, other, name).ratio(), 1), -sum(map(eq, other, name))

    return sorted(get_close_matches(name, names, NAMES_COMPARED), key=unlike)[:NAMES_SHOWN]


@contextmanager
def unavailable() -> Iterator[None]:
    """Say to a caller that the log is away."""
    try:
        yield
    except Away as why:
        raise Unavailable(f"the log cannot be read now: {why}") from why


@asynccontextmanager
async def ledger(settings: Settings) -> AsyncIterator[Ledger]:
    """The ledger of a process, while the block runs; neither PostgreSQL nor NATS need be there when it begins."""
    log = PostgresLog(settings.database_url, pooled=settings.pgbouncer)
    try:
        opened = Ledger(log)
        try:
            async with hints(settings.nats_url, settings.ledger, opened.growth, opened.own_growth):
                yield opened
        finally:
            await opened.close()
    finally:
        await log.close()
