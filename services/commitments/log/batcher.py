"""Group commit: commands that come at the same time are settled together, in one transaction, in their order.

Alone, a command does not wait; under load, batches grow while the last one commits.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
import uuid_utils
from prometheus_client import Counter, Gauge, Histogram

from services.commitments.domain.commands import Retract
from services.commitments.domain.history import History, subject_of
from services.commitments.log.contract import Away, Log, Look, Transaction
from services.commitments.log.histories import Histories, histories_of, up_to_date
from services.commitments.log.outcome import Outcome, Overloaded, Unavailable
from services.commitments.log.settling import Decide, Proposal, Settled, Settling, clock, settle, streams_of

BATCH_COMMANDS: Final = 500
BATCH_BYTES: Final = 4_000_000
QUEUE_COMMANDS: Final = 10_000
QUEUE_BYTES: Final = 32_000_000
HELD_ENTRIES: Final = 20_000
REFERRERS_AT_ONCE: Final = 500
REFERRERS_SHOWN: Final = 100
FAILING_S: Final = 5.0  # how long a failed batch counts against readiness
PAUSES_S: Final = (0.05, 0.1, 0.2, 0.4)
"""How long to wait before a batch is tried again; the last one for good."""

BATCHES: Final = Histogram(
    "muster_batch_commands",
    "Commands that were settled in one transaction",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 500),
)
COMMIT: Final = Histogram(
    "muster_batch_seconds", "From settling a batch to the end of its commit",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5),
)  # fmt: skip
QUEUE: Final = Gauge("muster_queue_commands", "Commands that wait for a batch")
LOST: Final = Counter("muster_batches_lost_total", "Transactions of which nothing was known at their end")

log = structlog.get_logger()


class Answers:
    """What becomes of proposals that were put together: each is answered once, whoever waits is woken once."""

    def __init__(self, many: int) -> None:
        self.given: list[Outcome | Exception | None] = [None] * many
        self._missing = many
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def over(self) -> bool:
        """Whether all is answered, or nobody waits for it any more."""
        return self._over.done()

    def give(self, number: int, answer: Outcome | Exception) -> None:
        """Answer a proposal, if it is not answered yet."""
        if self.given[number] is not None:
            return
        self.given[number] = answer
        self._missing -= 1
        if not self._missing:
            self._end()

    async def wait(self, within_s: float) -> list[Outcome | Exception | None]:
        """Give the answers in the order of the proposals, when all are there; None for those that did not come in time.

        Who does not want them any more cancels this: what still waits is dropped, what is being settled is settled.
        """
        if self._missing:
            late = self._over.get_loop().call_later(within_s, self._end)  # asyncio.timeout takes five times as long
            try:
                await self._over
            finally:
                late.cancel()
        return list(self.given)

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)


@dataclass(slots=True, eq=False)
class Waiting:
    """A proposal, and where its answer belongs."""

    proposal: Proposal
    answers: Answers
    number: int

    @property
    def over(self) -> bool:
        """Whether nobody waits for an answer: it was given, or they have gone."""
        return self.answers.over or self.answers.given[self.number] is not None

    def tell(self, answer: Outcome | Exception) -> None:
        """Answer, unless that was done."""
        self.answers.give(self.number, answer)


class Batcher:
    """The one writer of this process. `grown` is told the last position after every batch that added some."""

    def __init__(
        self,
        store: Log,
        *,
        decide: Decide,
        states: frozenset[str],
        grown: Callable[[int], None] = lambda _: None,
        now: Callable[[], datetime] = clock,
    ) -> None:
        self.away: str | None = None  # why the last try did not reach the log
        self._away_at = 0.0
        self._log = store
        self._decide = decide
        self._states = states
        self._grown = grown
        self._now = now
        self._held = Histories(HELD_ENTRIES)
        self._position = 0  # of the log's head, as this process last knew it
        self._left: Look | None = None  # the log as the last batch left it, if it is likely to be found so
        self._queue: deque[Waiting] = deque()
        self._bytes = 0
        self._some = asyncio.Event()
        self._closing = False
        self._working = asyncio.create_task(self._work(), name="batcher")

    @property
    def queued(self) -> int:
        """How many commands wait for a batch."""
        return len(self._queue)

    @property
    def crowded(self) -> bool:
        """Whether half of the queue is taken: who has many commands lets others go first."""
        return len(self._queue) > QUEUE_COMMANDS // 2 or self._bytes > QUEUE_BYTES // 2

    @property
    def failing(self) -> str | None:
        """Why batches fail now (a disk that is full can still be read); None once one succeeded, or nobody tries."""
        return self.away if time.monotonic() - self._away_at < FAILING_S else None

    def put(self, proposals: Sequence[Proposal]) -> Answers:
        """Queue proposals in their order. What there is no room for is answered with Overloaded at once."""
        answers = Answers(len(proposals))
        for number, proposal in enumerate(proposals):
            if self._closing:
                answers.give(number, Overloaded("this process is about to end"))
            elif len(self._queue) >= QUEUE_COMMANDS or self._bytes + proposal.size > QUEUE_BYTES:
                answers.give(number, Overloaded(f"{len(self._queue)} commands are waiting already"))
            else:
                self._queue.append(Waiting(proposal, answers, number))
                self._bytes += proposal.size
        self._some.set()
        return answers

    async def close(self, within_s: float) -> None:
        """Take no more, settle what is queued, and end; what is left after `within_s` is told that it is not known."""
        self._closing = True
        self._some.set()
        await asyncio.wait([self._working], timeout=within_s)
        self._working.cancel()
        await asyncio.gather(self._working, return_exceptions=True)
        while self._queue:
            self._queue.popleft().tell(Unavailable("this process ended before the command was settled"))

    async def _work(self) -> None:
        while not (self._closing and not self._queue):
            await self._some.wait()
            self._some.clear()
            while batch := self._next():
                try:
                    await self._commit(batch)
                except Exception:
                    log.exception("a batch failed")
                finally:  # nobody is left waiting, whatever happens
                    for waiting in batch:
                        waiting.tell(Unavailable("it is not known whether the command was recorded"))

    def _next(self) -> list[Waiting]:
        """Take the next batch off the queue. A retraction is the first of its batch: what names it is read before."""
        batch: list[Waiting] = []
        size = 0
        while self._queue and len(batch) < BATCH_COMMANDS:
            first = self._queue[0]
            if batch and (size + first.proposal.size > BATCH_BYTES or isinstance(first.proposal.command, Retract)):
                break
            self._queue.popleft()
            self._bytes -= first.proposal.size
            if first.over:  # its caller has gone
                continue
            size += first.proposal.size
            batch.append(first)
        QUEUE.set(len(self._queue))
        return batch

    async def _commit(self, batch: list[Waiting]) -> None:
        """Settle a batch and answer its callers; try again as long as one of them waits."""
        tries = 0
        while True:
            try:
                settled = await self._settled([waiting.proposal for waiting in batch])
            except Away as why:
                LOST.inc()
                self._lost(batch, why)
            except (
                Exception
            ) as why:  # the log rejects a row, a history cannot be read: whose it is, is found one by one
                self._held.clear()
                if len(batch) == 1:
                    log.exception("a command could not be settled", command=batch[0].proposal.identity.command_id)
                    batch[0].tell(why)
                else:
                    log.warning("a batch could not be settled, its commands are settled one by one", why=str(why))
                    for waiting in batch:
                        await self._commit([waiting])
                return
            else:
                self.away = None
                for waiting, answer in zip(batch, settled.answers, strict=True):
                    waiting.tell(answer)
                if settled.rows:
                    self._grown(settled.rows[-1].position)
                return
            await asyncio.sleep(PAUSES_S[min(tries, len(PAUSES_S) - 1)])
            tries += 1
            batch = [waiting for waiting in batch if not waiting.over]
            if not batch:
                return

    def _lost(self, batch: list[Waiting], why: Away) -> None:
        """Nothing is known of the transaction: it may have been committed.

        It is tried again as it is: whoever holds the lock sees what became of the last holder's work, so the receipts
        that are looked up first tell which commands were recorded. The log may even be another one (a failover).
        """
        if self.away is None:
            log.warning("the log is away", why=str(why))
        self.away, self._away_at = str(why), time.monotonic()
        self._held.clear()
        for waiting in batch:
            waiting.proposal.unsure = True

    async def _settled(self, proposals: list[Proposal]) -> Settled:
        """Settle proposals in a transaction of the log. Raises Away and Rejected as that does."""
        with COMMIT.time():
            settled = await self._foreseen(proposals) or await self._locked(proposals)
        BATCHES.observe(len(proposals))
        return settled

    async def _foreseen(self, proposals: list[Proposal]) -> Settled | None:
        """Settle proposals on the log as the last batch left it, and have that added if the log is still so.

        None where it is not, or is not likely to be; then nothing has happened, and looking first is the way.
        """
        left, self._left = self._left, None
        if left is None or self._need_a_look(proposals):
            return None
        streams = streams_of(proposals)
        histories = {stream: self._held.get(stream) or History(stream=stream) for stream in streams}
        seen = left._replace(versions={stream: history.version for stream, history in histories.items()})
        settled = self._settle(proposals, seen, histories)
        receipts = list(settled.receipts.values())
        if len(receipts) < len(proposals):  # some were refused, or said twice: only receipts tell if they count already
            return None
        if not await self._log.append(seen, settled.rows, receipts, settled.at):
            return None
        self._keep(seen, settled)
        return settled

    def _need_a_look(self, proposals: list[Proposal]) -> bool:
        """Whether some are about a thing that is not held, nor opened here; or about whatever names it (a retraction).

        What they name beside it is held, needs no registration, or is looked at once and held then.
        """
        said = [proposal.entry for proposal in proposals]
        opened = {entry.stream for entry in said if entry is not None and entry.OPENS and subject_of(entry) is None}
        return any(
            isinstance(command, Retract) or not (command.stream in opened or self._held.get(command.stream))
            for command in (proposal.command for proposal in proposals)
        )

    async def _locked(self, proposals: list[Proposal]) -> Settled:
        """Settle proposals under the log's lock, with all they need read under it."""
        streams = streams_of(proposals)
        first = proposals[0].command
        async with self._log.transaction() as transaction:
            look = await transaction.look(streams, {proposal.identity.command_id for proposal in proposals})
            heads = {stream: look.versions.get(stream, 0) for stream in streams}
            histories = await up_to_date(self._held, transaction, heads)
            referrers = await referring(transaction, first, histories) if isinstance(first, Retract) else ()
            settled = self._settle(proposals, look, histories, referrers)
            if settled.receipts:
                await transaction.append(settled.rows, list(settled.receipts.values()), settled.at)
        self._keep(look, settled)
        return settled

    def _settle(
        self,
        proposals: list[Proposal],
        look: Look,
        histories: Mapping[str, History],
        referrers: tuple[str, ...] = (),
    ) -> Settled:
        settling = Settling(
            decide=self._decide,
            look=look,
            histories=histories,
            referrers=referrers,
            states=self._states,
            now=self._now(),
            new_id=new_id,
        )
        return settle(settling, proposals)

    def _keep(self, look: Look, settled: Settled) -> None:
        """Hold what is known after a batch; how the log was left only if nobody else adds to it or says things again.

        Foreseeing pays where it comes true: other replicas, and a file that is imported anew, would be in its way.
        """
        self._held.keep(settled.histories.values())
        alone, self._position = look.position == self._position, look.position + len(settled.rows)
        if alone and not look.receipts:
            self._left = Look(self._position, settled.at if settled.rows else look.recorded_at, {}, {})


async def referring(transaction: Transaction, command: Retract, histories: Mapping[str, History]) -> tuple[str, ...]:
    """Give the ids of live entries in other streams that name the thing whose opening is to be retracted.

    One of them is reason enough to refuse, so the search ends with the first REFERRERS_SHOWN.
    """
    opening = histories[command.stream].opening()
    if opening is None or opening.event_id != command.entry_id:
        return ()
    found: list[str] = []
    seen: set[str] = set()
    after = 0
    while len(found) < REFERRERS_SHOWN:
        concerned = await transaction.concerned(command.stream, after=after, limit=REFERRERS_AT_ONCE)
        if not concerned:
            break
        after = concerned[-1][0]
        others = {stream: 0 for _, stream in concerned if stream != command.stream and stream not in seen}
        seen.update(others)
        for history in histories_of(await transaction.history(others) if others else ()).values():
            found += (placed.event_id for placed in history.all() if command.stream in placed.entry.mentions.values())
    return tuple(found)


def new_id() -> str:
    """Give a UUIDv7."""
    return str(uuid_utils.uuid7())
