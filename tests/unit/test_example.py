"""The worked example: that every line is a command, in the order of the news, and what the numbers come to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from muster.example import STORY, Line, Loaded, lines, load
from services.commitments.domain.commands import Record
from services.commitments.domain.decider import decide
from services.commitments.http.commands import checked, match, recorded
from services.commitments.states import states
from services.projections.progress import Measure, progress, terms_of
from shared.amounts import ZERO, Vector
from shared.days import Said, last_day
from shared.events import Entry
from shared.events.coalitions import MemberChanged, MemberJoined
from shared.events.reports import StatementRecorded
from shared.events.targets import TargetEntry
from shared.measures import contains
from shared.timeline import Fact as Step
from shared.timeline import Learned, changes, steps
from tests import given as words
from tests.given import Ledger, Totals, totals

FEW_WORDS = 6
NUMBER_OF_MEMBERS = 20


def news_of(entry: Entry) -> date:
    """The day on which the world could know it."""
    said = [entry.reported_on] if entry.reported_on else [source.published_on for source in entry.sources]
    return min(last_day(Said(day)) for day in said if day)


def entry_of(line: Line) -> Entry:
    found = match(line.method, line.path)
    assert found is not None, f"line {line.number}: {line.do} is no command"
    route, names = found
    assert route.entry is not None
    command = recorded(route.entry, names, checked(route.body, line.body)).command
    assert isinstance(command, Record)
    return command.entry


@pytest.fixture(scope="module")
def story() -> Iterator[Ledger]:
    """The ledger to which the whole story was told; a refusal of any line is an error here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "STATES", states())
        ledger = Ledger()
        for line in lines():
            ledger = Ledger((*ledger.log, *decide(ledger.world, Record(entry=entry_of(line))).entries))
        yield ledger


@pytest.fixture(scope="module")
def sums(story: Ledger) -> Totals:
    return totals(story)


# ------------------------------------------------------------------------------------------------------- its form


def test_every_line_is_a_command_that_the_ledger_takes_once() -> None:
    commands = [entry_of(line) for line in lines()]
    assert len(commands) == len(set(map(repr, commands)))


def test_the_lines_stand_in_the_order_of_their_news() -> None:
    days = [news_of(entry_of(line)) for line in lines()]
    assert days == sorted(days)


def test_nothing_is_news_before_it_happened_but_what_was_said_of_a_whole_period() -> None:
    early = [
        line.do for line in lines() if (entry := entry_of(line)).happened and last_day(entry.happened) > news_of(entry)
    ]
    assert early == ["PUT /v1/production/ukraine-fpv-2024"]


def test_every_source_says_when_it_was_published_and_quotes_a_few_words_at_most() -> None:
    for line in lines():
        for source in entry_of(line).sources:
            assert source.published_on is not None, line.do
            assert source.url is not None or (source.publisher and source.title), line.do
            assert len((source.quote or "").split()) <= FEW_WORDS, (line.do, source.quote)


def test_every_source_of_a_page_is_a_public_one() -> None:
    hosts = {urlsplit(source.url).hostname for line in lines() for source in entry_of(line).sources if source.url}
    assert all(host and "." in host for host in hosts)


# ---------------------------------------------------------------------------------------------- what it comes to


def test_the_minister_s_483_million_are_the_ledger_s_own_on_that_day(sums: Totals) -> None:
    assert sums.interval("pledged", "EUR", on="2024-04-24") == (Decimal(483_000_000), None)


def test_thousands_are_at_least_two_thousand_and_the_package_said_again_adds_nothing(sums: Totals) -> None:
    assert sums.interval("pledged", "piece", on="2024-04-24", capability="drone.fpv") == (Decimal(2_000), None)
    assert sums.interval("pledged", "GBP", on="2024-04-24") == (Decimal(325_000_000), Decimal(325_000_000))


def test_latvias_twenty_million_replace_its_ten(sums: Totals) -> None:
    latvia = ("LVA",)
    assert sums.interval("pledged", "EUR", on="2024-05-30", donors=latvia) == (Decimal(10_000_000), None)
    twenty = Decimal(20_000_000)
    assert sums.interval("pledged", "EUR", on="2024-05-31", donors=latvia) == (twenty, twenty)
    assert sums.interval("pledged", "EUR", on="2024-12-31", donors=latvia) == (twenty + 20_000_000,) * 2


def test_latvias_batches_are_replaced_by_its_word_on_the_whole_year(sums: Totals) -> None:
    latvia = ("LVA",)
    assert sums.interval("delivered", on="2024-12-30", donors=latvia) == (Decimal(635), None)
    assert sums.interval("delivered", on="2024-12-31", donors=latvia) == (Decimal(5_000), Decimal(5_000))


def test_the_fund_s_contract_is_one_thing_in_two_measures_and_no_new_money(sums: Totals) -> None:
    assert sums.interval("contracted", on="2025-01-09") == (Decimal(30_000), Decimal(30_000))
    assert sums.interval("contracted", "GBP", on="2025-01-09") == (Decimal(45_000_000), Decimal(45_000_000))
    assert sums.total("pledged", "GBP", on="2025-01-08") == sums.total("pledged", "GBP", on="2025-01-31")
    assert sums.total("pledged", on="2025-01-08") == sums.total("pledged", on="2025-01-31")


def test_what_the_united_kingdom_delivered_alone_does_not_count_for_the_coalition(sums: Totals) -> None:
    assert sums.interval("delivered", coalition="") == (Decimal(0), Decimal(0))
    assert sums.interval("delivered", on="2025-10-15", coalition="") == (Decimal(85_000), None)
    assert sums.interval("delivered", on="2025-10-15", coalition="drone-coalition") == (
        Decimal(10_000),
        Decimal(10_000),
    )
    assert sums.total("delivered", on="2025-10-15", coalition="drone-coalition").unknown == 1


def test_members_that_joined_twice_are_counted_once(story: Ledger) -> None:
    joined = [entry.party for entry in story.log if isinstance(entry, MemberJoined)]
    changed = [entry.party for entry in story.log if isinstance(entry, MemberChanged)]
    assert changed == ["DNK", "SWE", "CZE", "LUX", "NOR", "BEL", "TUR"]
    assert len(joined) == len(set(joined))


@pytest.mark.parametrize(
    ("on", "members"),
    [("2024-06-14", 14), ("2024-07-22", 16), ("2024-11-05", 17), ("2025-02-19", 18), ("2025-06-02", NUMBER_OF_MEMBERS)],
)
def test_the_members_are_as_many_as_was_stated(story: Ledger, on: str, members: int) -> None:
    stated = [e for e in story.log if isinstance(e, StatementRecorded) and e.measure == "members" and e.stated_on == on]
    assert [entry.amount.low for entry in stated] == [members]
    assert len(members_on(story, date.fromisoformat(on))) == members


def members_on(story: Ledger, on: date) -> set[str]:
    """Whoever is in the coalition on a day; an applicant is not yet."""
    coalition = story.world.stream("coalition-drone-coalition")
    opening = coalition.opening()
    assert opening is not None
    roles = {member.party: member.role for member in opening.entry.members}  # type: ignore[attr-defined]  # it is CoalitionFormed
    said = [entry for entry in story.log if isinstance(entry, MemberJoined | MemberChanged)]
    for entry in sorted((e for e in said if last_day(e.on) <= on), key=lambda e: last_day(e.on)):
        roles[entry.party] = entry.role
    return {party for party, role in roles.items() if role in ("lead", "member")}


@pytest.mark.parametrize(
    ("target", "on", "status", "past"),
    [
        ("ukraine-production-2024", "2024-12-31", "met", []),
        ("million-drones", "2024-12-30", "open", ["open", "open"]),
        ("million-drones", "2025-10-15", "unproven", ["unproven", "unproven"]),
    ],
)
def test_a_target_is_never_called_missed_while_a_delivery_has_no_number(
    story: Ledger, target: str, on: str, status: str, past: list[str]
) -> None:
    learned = [
        Learned(position, entry)
        for position, entry in enumerate(story.log, start=1)
        if isinstance(entry, TargetEntry) and entry.target == target
    ]
    terms = terms_of(learned)
    day = date.fromisoformat(on)
    now = terms.on(day)
    assert now is not None
    values = steps(list(counted(totals(story), now.counts, now.capability, now.amount.unit, now.coalition)), ZERO)
    assert changes(values)
    found = progress(terms, {Measure(now.capability, now.amount.unit): {now.counts: values}}, day)
    assert found is not None
    assert found.status == status
    assert [deadline.status for deadline in found.past_deadlines] == past


def counted(sums: Totals, stage: str, capability: str, unit: str, coalition: str | None) -> Iterator[Step[Vector]]:
    """The postings that count towards a target, as increments."""
    for position, day, row, vector in sums.postings:
        scope = row.coalition == (coalition or "")
        if scope and row.stage == stage and row.unit == unit and contains(capability, row.capability):
            yield Step(day, position, vector)


# ------------------------------------------------------------------------------------------------------ telling it


@contextmanager
def a_service(*answers: tuple[int, dict[str, str]]) -> Iterator[tuple[str, list[tuple[str, str, dict[str, str]]]]]:
    """A service that answers what it is given, in turn, and keeps what it was asked."""
    asked: list[tuple[str, str, dict[str, str]]] = []
    ready = iter(answers)

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.command, self.path, dict(self.headers)))
            status, body = next(ready)
            said = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(said)

        do_PUT = do_POST = answer  # noqa: N815  # http.server looks for these names

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


@pytest.fixture
def two_lines(tmp_path: Path) -> Path:
    story = tmp_path / "story.ndjson"
    story.write_text('{"do": "PUT /v1/pledges/a", "body": {}}\n{"do": "POST /v1/pledges/a/lapse", "body": {}}\n')
    return story


def test_a_refusal_is_reported_and_stops_nothing(two_lines: Path) -> None:
    problem = {"code": "unknown-name", "detail": "there is no party NATO"}
    steps_seen: list[tuple[int, int]] = []
    with a_service((422, problem), (201, {})) as (url, asked):
        loaded = load(url, story=two_lines, progress=lambda done, total: steps_seen.append((done, total)))
    assert (loaded.recorded, loaded.already, len(loaded.refused)) == (1, 0, 1)
    refusal = loaded.refused[0]
    assert (refusal.line.number, refusal.line.do, refusal.status) == (1, "PUT /v1/pledges/a", 422)
    assert (refusal.code, refusal.detail) == ("unknown-name", "there is no party NATO")
    assert [(method, path) for method, path, _ in asked] == [("PUT", "/v1/pledges/a"), ("POST", "/v1/pledges/a/lapse")]
    assert steps_seen == [(1, 2), (2, 2)]


def test_a_busy_service_is_asked_again_and_the_key_goes_with_every_command(two_lines: Path) -> None:
    with a_service((503, {}), (201, {}), (200, {})) as (url, asked):
        assert load(url, key="mus_1_x", story=two_lines) == Loaded(recorded=1, already=1, refused=())
    assert [headers["Authorization"] for _, _, headers in asked] == ["Bearer mus_1_x"] * 3


def test_the_story_is_where_a_clone_has_it() -> None:
    assert STORY.is_file()
