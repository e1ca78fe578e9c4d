"""From command to outcome: who is first, who is told what, and what happens when the log is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
import pytest_asyncio

from services.commitments import handling
from services.commitments.domain.commands import Cite, Command, Correct, Record, Retract
from services.commitments.domain.decider import Decision
from services.commitments.domain.history import World
from services.commitments.domain.refusals import (
    AlreadyRecorded,
    KeyReused,
    Refused,
    StaleVersion,
    StillStands,
    Unknown,
    UnknownName,
)
from services.commitments.handling import (
    Identity,
    Ledger,
    Outcome,
    Overloaded,
    Proposal,
    Unavailable,
    Unpublishable,
    proposed,
)
from services.commitments.log import batcher
from services.commitments.log.contract import Log, Receipt, Rejected, Row
from services.commitments.log.memory import MemoryLog, MemoryTransaction
from services.commitments.log.outcome import receipt
from services.commitments.log.store import PostgresLog
from shared.codec import UnknownEvent, decode
from shared.events import Entry
from shared.events.amendments import EntryRetracted
from shared.events.pledges import PledgeAnnounced, Relation, Share
from tests.examples import A_SOURCE, a_coalition, a_delivery, a_pledge, pieces
from tests.integration.wire import Wire, wire

Replica = Callable[[], Ledger]


@pytest.fixture(params=["memory", "postgres"])
def log_url(request: pytest.FixtureRequest) -> str | None:
    if request.param == "memory":
        return None
    url: str = request.getfixturevalue("commitments_url")
    return url


@asynccontextmanager
async def replicas(url: str | None) -> AsyncIterator[Replica]:
    """Gives one more replica of the service over one and the same log, each time it is called."""
    memory = MemoryLog()
    logs: list[Log] = []
    ledgers: list[Ledger] = []

    def open_another() -> Ledger:
        logs.append(memory if url is None else PostgresLog(url))
        ledgers.append(Ledger(logs[-1]))
        return ledgers[-1]

    yield open_another
    for ledger in ledgers:
        await ledger.close(0.5)
    for log in logs:
        await log.close()


@pytest_asyncio.fixture
async def replica(log_url: str | None) -> AsyncIterator[Replica]:
    async with replicas(log_url) as replica:
        yield replica


@pytest_asyncio.fixture
async def ledger(replica: Replica) -> Ledger:
    return replica()


KEYS = count()


async def told(
    ledger: Ledger, said: Command | Entry, key: str | None = None, *, if_match: int | None = None
) -> Outcome:
    """Tell a ledger something, under a key of its own unless one is given."""
    command = Record(entry=said) if isinstance(said, Entry) else said
    return await ledger.handle(command, Identity(key or f"key-{next(KEYS)}", repr(command), "somebody"), if_match)


async def told_at_once(ledger: Ledger, *said: Command | Entry) -> list[Outcome | BaseException]:
    return await asyncio.gather(*(told(ledger, one) for one in said), return_exceptions=True)


async def the_log(ledger: Ledger) -> list[Row]:
    return (await ledger.read(0, 1_000)).rows


def entry_of(row: Row) -> Entry:
    return decode(row.type, row.payload)


def recorded(outcomes: Sequence[Outcome | BaseException]) -> list[Outcome]:
    return [outcome for outcome in outcomes if isinstance(outcome, Outcome)]


# --------------------------------------------------------------------------------------------------- one command


async def test_what_is_recorded_has_a_place_and_is_there(ledger: Ledger) -> None:
    await told(ledger, a_coalition())
    outcome = await told(ledger, a_pledge(said=pieces(500), coalition="drones"))
    row = (await the_log(ledger))[-1]
    assert (outcome.stream, outcome.version, outcome.position) == ("pledge-x", 1, 2)
    assert [(event.event_id, event.type, event.position) for event in outcome.events] == [
        (row.event_id, "muster.pledge.announced.v1", 2)
    ]
    assert (outcome.new, outcome.replayed, outcome.flags) == (True, False, ("not-a-member",))
    assert entry_of(row) == a_pledge(said=pieces(500), coalition="drones")
    assert row.about == ("coalition-drones", "party-GBR", "pledge-x")
    assert (row.coalitions, row.recorded_by) == (("drones",), "somebody")


async def test_a_row_says_when_it_happened_and_when_the_world_could_know(ledger: Ledger) -> None:
    await told(ledger, a_pledge(announced_on="2024-02"))
    await told(ledger, a_pledge("y", reported_on="2024"))
    undated, dated = await the_log(ledger)
    assert undated.happened_on.isoformat() == "2024-02-29"
    assert undated.reported_on.isoformat() == "2024-02-15"  # the day of its source
    assert dated.reported_on.isoformat() == "2024-12-31"


async def test_the_same_command_gets_the_same_answer_also_after_others(ledger: Ledger) -> None:
    first = await told(ledger, a_pledge(), "key")
    await told(ledger, a_delivery())
    again = await told(ledger, a_pledge(), "key")
    assert again.replayed
    assert again.body() == first.body()
    assert len(await the_log(ledger)) == 2


async def test_a_key_stands_for_one_request(ledger: Ledger) -> None:
    await told(ledger, a_pledge(), "key")
    with pytest.raises(KeyReused):
        await told(ledger, a_pledge("y"), "key")


async def test_what_is_so_already_is_answered_with_the_entry_that_says_it(ledger: Ledger) -> None:
    first = await told(ledger, a_pledge())
    delivery = await told(ledger, a_delivery())
    again = await told(ledger, a_pledge())
    assert (again.new, again.replayed, again.events) == (False, False, first.events)
    assert (again.version, again.position) == (delivery.version, delivery.position)
    assert len(await the_log(ledger)) == 2


async def test_that_nothing_was_new_is_remembered_too(ledger: Ledger) -> None:
    await told(ledger, a_pledge())
    nothing = await told(ledger, a_pledge(), "key")
    await told(ledger, a_delivery())
    again = await told(ledger, a_pledge(), "key")
    assert (again.replayed, again.body()) == (True, nothing.body())


async def test_a_refused_command_leaves_nothing_and_may_come_again(ledger: Ledger) -> None:
    with pytest.raises(Unknown):
        await told(ledger, a_delivery(), "key")
    assert await ledger.head() == 0
    await told(ledger, a_pledge())
    assert (await told(ledger, a_delivery(), "key")).new


async def test_only_if_match_is_refused_for_a_version(ledger: Ledger) -> None:
    await told(ledger, a_pledge(), if_match=0)
    with pytest.raises(StaleVersion):
        await told(ledger, a_delivery("d1"), if_match=0)
    assert (await told(ledger, a_delivery("d1"), if_match=1)).version == 2


async def test_a_receipt_comes_before_if_match(ledger: Ledger) -> None:
    first = await told(ledger, a_pledge(), "key", if_match=0)
    assert (await told(ledger, a_pledge(), "key", if_match=0)).body() == first.body()


async def test_a_receipt_comes_before_a_refusal_beside_other_commands_too(ledger: Ledger) -> None:
    first = await told(ledger, a_pledge(), "key", if_match=0)
    identity = Identity("key", repr(Record(entry=a_pledge())), "somebody")
    [again, new] = await ledger.settle(
        [
            proposed(Record(entry=a_pledge()), identity, 0),
            proposed(Record(entry=a_pledge("y")), Identity("another", "y", "somebody")),
        ]
    )
    assert isinstance(again, Outcome)
    assert isinstance(new, Outcome)
    assert (again.replayed, again.body(), new.new) == (True, first.body(), True)


async def test_an_unknown_name_is_answered_with_those_that_may_be_meant(ledger: Ledger) -> None:
    await told(ledger, a_coalition("drone-coalition"))
    with pytest.raises(UnknownName) as refused:
        await told(ledger, a_pledge(coalition="drone-coalitoin"))
    assert refused.value.pointer == "/coalition"
    assert refused.value.facts["near"] == ["drone-coalition"]
    with pytest.raises(UnknownName) as refused:
        await told(ledger, a_pledge(by="GBX"))
    assert "GBR" in str(refused.value)


@pytest.mark.parametrize(
    "entry",
    [
        a_pledge(note="a\0b"),
        a_pledge(note="x" * 1_000_000),
        a_pledge("x" * 300),
        a_pledge("two words"),
        a_pledge("every.>"),
    ],
    ids=["NUL", "too big", "long name", "space", "wildcard"],
)
async def test_what_could_not_be_published_is_not_recorded(ledger: Ledger, entry: PledgeAnnounced) -> None:
    with pytest.raises(Unpublishable):
        await told(ledger, entry)
    assert await ledger.head() == 0


async def test_a_backslash_before_u0000_is_no_nul(ledger: Ledger) -> None:
    assert (await told(ledger, a_pledge(note="\\u0000"))).new


# ----------------------------------------------------------------------------------------------------- amendments


async def test_an_opening_is_retracted_only_when_nothing_live_names_it(ledger: Ledger) -> None:
    coalition = await told(ledger, a_coalition())
    pledge = await told(ledger, a_pledge(coalition="drones"))
    retract_coalition = Retract(stream="coalition-drones", entry_id=coalition.events[0].event_id, reason="never met")
    with pytest.raises(StillStands) as refused:
        await told(ledger, retract_coalition)
    assert refused.value.facts["entries"] == [pledge.events[0].event_id]
    await told(ledger, Retract(stream="pledge-x", entry_id=pledge.events[0].event_id, reason="never made"))
    await told(ledger, retract_coalition)
    assert isinstance(entry_of((await the_log(ledger))[-1]), EntryRetracted)


async def test_a_name_that_a_correction_brought_in_holds_too(ledger: Ledger) -> None:
    envelope = await told(ledger, a_pledge("envelope"))
    pledge = await told(ledger, a_pledge())
    now = a_pledge(relation=Relation(kind="part_of", of=("envelope",)))
    correct = Correct(stream="pledge-x", entry_id=pledge.events[0].event_id, now=now, reason="it was in it")
    assert (await told(ledger, correct)).version == 2
    assert (await the_log(ledger))[-1].about == ("party-GBR", "pledge-envelope", "pledge-x")
    with pytest.raises(StillStands) as refused:
        await told(ledger, Retract(stream="pledge-envelope", entry_id=envelope.events[0].event_id, reason="never made"))
    assert refused.value.facts["entries"] == [pledge.events[0].event_id]


@pytest.mark.parametrize("retraction_comes", ["first", "second"])
async def test_a_thing_is_not_retracted_and_named_at_once(ledger: Ledger, retraction_comes: str) -> None:
    coalition = await told(ledger, a_coalition())
    retract = Retract(stream="coalition-drones", entry_id=coalition.events[0].event_id, reason="never met")
    pledge = Record(entry=a_pledge(coalition="drones"))
    first, second = (retract, pledge) if retraction_comes == "first" else (pledge, retract)
    outcomes = await told_at_once(ledger, first, second)
    assert isinstance(outcomes[0], Outcome)
    assert isinstance(outcomes[1], UnknownName if second is pledge else StillStands)


async def test_many_who_name_a_thing_are_looked_through(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher, "REFERRERS_AT_ONCE", 2)
    coalition = await told(ledger, a_coalition())
    pledges = [await told(ledger, a_pledge(f"p{number}", coalition="drones")) for number in range(5)]
    retract = Retract(stream="coalition-drones", entry_id=coalition.events[0].event_id, reason="never met")
    for pledge in pledges:
        with pytest.raises(StillStands):
            await told(ledger, retract)
        await told(ledger, Retract(stream=pledge.stream, entry_id=pledge.events[0].event_id, reason="never made"))
    assert (await told(ledger, retract)).new


async def test_sources_are_added_to_an_entry(ledger: Ledger) -> None:
    pledge = await told(ledger, a_pledge())
    cite = Cite(stream="pledge-x", entry_id=pledge.events[0].event_id, sources=A_SOURCE)
    assert not (await told(ledger, cite)).new


# ------------------------------------------------------------------------------------------------ many at once


async def test_the_second_command_of_a_batch_sees_the_first(ledger: Ledger) -> None:
    outcomes = await told_at_once(ledger, a_pledge(), a_delivery("d1"), a_delivery("d2"), a_delivery("d1", pieces(7)))
    assert [outcome.version for outcome in recorded(outcomes)] == [1, 2, 3]
    assert isinstance(outcomes[3], AlreadyRecorded)


async def test_a_hundred_deliveries_at_once_on_one_pledge_are_all_recorded(replica: Replica) -> None:
    one, other = replica(), replica()
    await told(one, a_pledge())
    outcomes = await asyncio.gather(
        *(told((one, other)[number % 2], a_delivery(f"d{number}")) for number in range(100))
    )
    assert all(outcome.new for outcome in outcomes)
    assert sorted(outcome.version for outcome in outcomes) == list(range(2, 102))
    rows = await one.read_stream("pledge-x")
    assert [row.version for row in rows] == [row.position for row in rows] == list(range(1, 102))


async def test_fifty_equal_commands_at_once_are_one_event(replica: Replica) -> None:
    one, other = replica(), replica()
    outcomes = await asyncio.gather(*(told((one, other)[number % 2], a_pledge(), "key") for number in range(50)))
    assert len({outcome.body() for outcome in outcomes}) == 1
    assert sum(not outcome.replayed for outcome in outcomes) == 1
    assert len(await the_log(one)) == 1


async def test_of_two_replicas_that_race_for_a_name_one_wins_and_the_other_is_told(replica: Replica) -> None:
    one, other = replica(), replica()
    for number in range(20):
        name = f"p{number}"
        outcomes = await asyncio.gather(
            told(one, a_pledge(name, pieces(1))), told(other, a_pledge(name, pieces(2))), return_exceptions=True
        )
        won, lost = sorted(outcomes, key=lambda outcome: isinstance(outcome, BaseException))
        assert isinstance(won, Outcome)
        assert isinstance(lost, AlreadyRecorded)
        assert len(await one.read_stream(f"pledge-{name}")) == 1


async def test_of_two_replicas_that_say_the_same_one_is_told_that_it_is_so_already(replica: Replica) -> None:
    one, other = replica(), replica()
    outcomes = await asyncio.gather(told(one, a_pledge()), told(other, a_pledge()))
    assert sorted(outcome.new for outcome in outcomes) == [False, True]


async def test_a_replica_decides_with_what_another_one_wrote_meanwhile(replica: Replica) -> None:
    one, other = replica(), replica()
    await told(one, a_pledge())
    retracted = (await the_log(one))[0].event_id
    await told(other, Retract(stream="pledge-x", entry_id=retracted, reason="never made"))
    with pytest.raises(Refused):
        await told(one, a_delivery())


async def test_what_the_cache_let_go_of_is_read_again(ledger: Ledger) -> None:
    ledger._batcher._held._most = 3
    for number in range(10):
        await told(ledger, a_pledge(f"p{number}"))
        await told(ledger, a_delivery(of=f"p{number}"))
    assert len(ledger._batcher._held) <= 6
    assert (await told(ledger, a_delivery("d2", of="p0"))).version == 3


async def test_a_caller_who_hangs_up_cancels_nobody_elses_command(ledger: Ledger) -> None:
    await told(ledger, a_pledge())
    tasks = [asyncio.create_task(told(ledger, a_delivery(f"d{number}"))) for number in range(20)]
    await asyncio.sleep(0)  # queued
    await asyncio.sleep(0)  # and being settled
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, Outcome) for outcome in outcomes[1::2])
    assert (await told(ledger, a_delivery("last"))).new


async def test_a_command_that_breaks_the_decider_breaks_no_other(replica: Replica) -> None:
    ledger = replica()
    decide = ledger._batcher._decide

    def fragile(world: World, command: Command, if_match: int | None = None) -> Decision:
        if "broken" in repr(command):
            raise ZeroDivisionError
        return decide(world, command, if_match)

    ledger._batcher._decide = fragile
    outcomes = await told_at_once(ledger, a_pledge("a"), a_pledge("broken"), a_pledge("b"))
    assert isinstance(outcomes[1], ZeroDivisionError)
    assert [outcome.position for outcome in recorded(outcomes)] == [1, 2]


async def test_time_never_runs_backwards(ledger: Ledger) -> None:
    now = datetime.now(UTC) + timedelta(hours=1)
    ledger._batcher._now = lambda: now
    await told(ledger, a_pledge("a"))
    ledger._batcher._now = lambda: now - timedelta(minutes=1)
    await told(ledger, a_pledge("b"))
    assert [row.recorded_at for row in await the_log(ledger)] == [now, now]


async def test_what_is_too_much_is_refused_before_it_is_tried(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher, "QUEUE_COMMANDS", 5)
    outcomes = await told_at_once(ledger, *(a_pledge(f"p{number}") for number in range(8)))
    assert [type(outcome) for outcome in outcomes] == [Outcome] * 5 + [Overloaded] * 3


# ------------------------------------------------------------------------------------------- commands put together


def put_together(*entries: Entry) -> list[Proposal]:
    return [proposed(Record(entry=entry), Identity(f"key-{next(KEYS)}", repr(entry), "somebody")) for entry in entries]


async def test_commands_put_together_are_answered_each_by_itself_in_their_order(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher, "BATCH_COMMANDS", 2)
    twice = a_pledge("a")
    together = put_together(twice, a_pledge("b", coalition="nowhere"), a_pledge("c"), twice, a_delivery(of="c"))
    first, unknown, third, again, delivery = await ledger.settle(together)
    assert isinstance(unknown, UnknownName)
    assert [outcome.position for outcome in recorded([first, third, again, delivery])] == [1, 2, 1, 3]
    assert isinstance(again, Outcome)
    assert not again.new


async def test_nothing_put_together_is_answered_with_nothing(ledger: Ledger) -> None:
    assert await ledger.settle([]) == []


async def test_of_commands_put_together_only_those_without_room_are_refused(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher, "QUEUE_COMMANDS", 2)
    answers = await ledger.settle(put_together(a_pledge("a"), a_pledge("b"), a_pledge("c")))
    assert [type(answer) for answer in answers] == [Outcome, Outcome, Overloaded]


async def test_a_command_whose_caller_has_gone_before_its_turn_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher, "BATCH_COMMANDS", 1)
    ledger = Ledger(log := MemoryLog())
    async with log._lock:
        first, second = (asyncio.create_task(told(ledger, a_pledge(name))) for name in "ab")
        while ledger._batcher.queued != 1:  # the first is being settled, the second waits
            await asyncio.sleep(0)
        second.cancel()
    await first
    await told(ledger, a_pledge("c"))
    await ledger.close()
    assert [row.stream for row in log.rows] == ["pledge-a", "pledge-c"]


class StopsAfterOne(MemoryLog):
    """Hangs once a row is in it."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryTransaction]:
        if self.rows:
            await asyncio.Event().wait()
        async with super().transaction() as transaction:
            yield transaction


async def test_of_commands_put_together_each_is_told_what_is_known_of_it_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batcher, "BATCH_COMMANDS", 1)
    monkeypatch.setattr(handling, "ANSWER_S", 1.5)
    ledger = Ledger(StopsAfterOne())
    answers = await ledger.settle(put_together(a_pledge("a"), a_pledge("b"), a_pledge("c")))
    await ledger.close(0.1)
    assert [type(answer) for answer in answers] == [Outcome, Unavailable, Unavailable]


async def test_a_reader_hears_of_growth_at_once_and_otherwise_in_time(replica: Replica) -> None:
    one, other = replica(), replica()
    waiting, elsewhere = asyncio.create_task(one.beyond(0, 5)), asyncio.create_task(other.beyond(0, 5))
    await asyncio.sleep(0.01)
    started = time.monotonic()
    await told(one, a_pledge())
    assert await waiting == 1
    assert time.monotonic() - started < 0.5
    assert await elsewhere == 1  # nobody told it: it looked
    assert await one.beyond(1, 0.01) == 1


# ------------------------------------------------------------------------------------------- when things break


class RejectsBatches(MemoryLog):
    """A log in which some constraint forbids the rows of one command, and so every batch with it."""

    def _commit(self, transaction: MemoryTransaction) -> None:
        if any(row.stream == "pledge-bad" for row in transaction.rows):
            raise Rejected("a constraint nobody thought of")
        super()._commit(transaction)


async def test_a_batch_that_the_log_rejects_is_settled_one_by_one() -> None:
    ledger = Ledger(RejectsBatches())
    outcomes = await told_at_once(ledger, a_pledge("a"), a_pledge("bad"), a_pledge("b"))
    await ledger.close()
    assert isinstance(outcomes[1], Rejected)
    assert [outcome.position for outcome in recorded(outcomes)] == [1, 2]


async def test_a_history_that_cannot_be_read_stands_in_nobody_elses_way() -> None:
    ledger = Ledger(log := MemoryLog())
    await told(ledger, a_pledge("bad"))
    log.rows[0] = log.rows[0]._replace(type="muster.pledge.forgotten.v9")
    log.streams["pledge-bad"] = [log.rows[0]]
    ledger._batcher._held.clear()
    outcomes = await told_at_once(ledger, a_pledge("a"), a_delivery(of="bad"), a_pledge("b"))
    await ledger.close()
    assert isinstance(outcomes[1], UnknownEvent)
    assert [outcome.position for outcome in recorded(outcomes)] == [2, 3]


async def test_a_key_that_the_database_cannot_hold_is_one_callers_trouble(
    replica: Replica, log_url: str | None
) -> None:
    ledger = replica()
    keys = ["good", "nul \0", "lone surrogate \ud800", "good too"]
    outcomes = await asyncio.gather(
        *(told(ledger, a_pledge(f"p{number}"), key) for number, key in enumerate(keys)), return_exceptions=True
    )
    if log_url is not None:
        assert [type(outcome) for outcome in outcomes] == [Outcome, Rejected, Rejected, Outcome]


class BrokenLine:
    """A ledger whose log is at the other end of a line that can be cut."""

    def __init__(self, line: Wire, ledger: Ledger) -> None:
        self.line = line
        self.ledger = ledger


@pytest_asyncio.fixture
async def broken_line(commitments_url: str) -> AsyncIterator[BrokenLine]:
    async with wire(commitments_url) as line:
        log = PostgresLog(line.url)
        ledger = Ledger(log)
        yield BrokenLine(line, ledger)
        await ledger.close(0.5)
        await log.close()


async def test_a_batch_that_finds_the_log_as_the_last_one_left_it_takes_one_round_trip(broken_line: BrokenLine) -> None:
    ledger, line = broken_line.ledger, broken_line.line
    for name in "ab":  # the statement is prepared
        await told(ledger, a_pledge(name))
    trips = 0

    def counted(_: bytes) -> bool:
        nonlocal trips
        trips += 1
        return False

    line.watch = counted
    await told_at_once(ledger, a_pledge("c"), a_delivery(of="c"), a_delivery(of="a"))
    assert trips == 1


async def test_who_foresaw_another_log_than_there_is_looks_at_it(replica: Replica) -> None:
    one, other = replica(), replica()
    await told(one, a_pledge())
    await told(other, a_delivery("d1"))
    [again, new, elsewhere] = await told_at_once(one, a_delivery("d1"), a_delivery("d2"), a_pledge("y"))
    assert isinstance(again, Outcome)
    assert isinstance(new, Outcome)
    assert isinstance(elsewhere, Outcome)
    assert [(again.new, again.position), (new.version, new.position), elsewhere.position] == [(False, 2), (3, 3), 4]


@pytest.mark.parametrize("foreseen", [True, False])
async def test_a_connection_lost_in_commit_records_once_and_tells_every_caller(
    broken_line: BrokenLine, foreseen: bool
) -> None:
    ledger, line = broken_line.ledger, broken_line.line
    await told(ledger, a_pledge())
    if not foreseen:
        ledger._batcher._held.clear()
    committing = b'"d2"' if foreseen else b"COMMIT"
    to_cut = 1

    def in_commit(data: bytes) -> bool:
        nonlocal to_cut
        if committing in data and to_cut:
            to_cut -= 1
            return True
        return False

    line.watch = in_commit
    outcomes = await told_at_once(ledger, a_delivery("d1"), a_delivery("d2"), a_delivery("d1", pieces(9)))
    assert line.cuts == 1
    assert [(outcome.version, outcome.new, outcome.replayed) for outcome in recorded(outcomes)] == [
        (2, True, False),
        (3, True, False),
    ]
    assert isinstance(outcomes[2], AlreadyRecorded)
    assert len(await the_log(ledger)) == 3


async def test_a_connection_lost_before_commit_records_once(broken_line: BrokenLine) -> None:
    ledger, line = broken_line.ledger, broken_line.line
    await told(ledger, a_pledge())
    ledger._batcher._held.clear()  # so that the batch has to look first, and commits in a step of its own
    to_cut = 1

    def in_insert(data: bytes) -> bool:
        nonlocal to_cut
        if b"d1" in data and to_cut:
            to_cut -= 1
            return True
        return False

    line.watch = in_insert
    outcome = await told(ledger, a_delivery("d1"))
    assert line.cuts == 1
    assert (outcome.version, outcome.new, outcome.replayed) == (2, True, False)
    assert len(await the_log(ledger)) == 2


async def test_while_the_log_is_away_nobody_waits_five_seconds_and_then_it_works_again(
    broken_line: BrokenLine,
) -> None:
    ledger, line = broken_line.ledger, broken_line.line
    await told(ledger, a_pledge())
    await line.down()
    started = time.monotonic()
    outcomes = await told_at_once(ledger, a_delivery("d1"), a_delivery("d2"))
    assert time.monotonic() - started < 5
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    assert await ledger.not_ready() is not None
    with pytest.raises(Unavailable):
        await ledger.head()
    await line.up()
    assert (await told(ledger, a_delivery("d1"))).new
    assert await ledger.not_ready() is None


async def test_a_short_absence_of_the_log_is_only_a_wait(broken_line: BrokenLine) -> None:
    ledger, line = broken_line.ledger, broken_line.line
    await told(ledger, a_pledge())
    await line.down()
    waiting = asyncio.create_task(told(ledger, a_delivery()))
    await asyncio.sleep(0.5)
    await line.up()
    assert (await waiting).version == 2


async def test_what_is_queued_is_settled_before_the_end(log_url: str | None) -> None:
    async with replicas(log_url) as replica:
        ledger = replica()
        telling = [asyncio.create_task(told(ledger, a_pledge(f"p{number}"))) for number in range(700)]
        await asyncio.sleep(0)
        await ledger.close()
        assert all(outcome.new for outcome in await asyncio.gather(*telling))
        with pytest.raises(Overloaded):
            await told(ledger, a_pledge("late"))


async def test_receipts_are_written_beside_the_rows_they_stand_for() -> None:
    log = MemoryLog()
    ledger = Ledger(log)
    outcome = await told(ledger, a_pledge(by=(Share(party="GBR"), Share(party="LVA"))), "key")
    await ledger.close()
    assert log.receipts["key"].outcome == receipt(outcome)
    assert isinstance(log.receipts["key"], Receipt)
