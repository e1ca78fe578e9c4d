"""What every answer must be, whatever was asked of whatever ledger: judged from scratch, and against its own parts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final, NamedTuple

import pytest
import pytest_asyncio

from services.projections.postings import Row, accounts, learned, standing_of
from services.projections.read_models.traits import account_of
from shared.amounts import ZERO, Vector
from shared.days import first_day, last_day
from shared.events import Entry
from shared.events.pledges import PledgeAnnounced
from shared.measures import contains
from shared.recorded import Recorded
from shared.timeline import Learned, live
from tests.acceptance.readside import ReadSide, a_read_side
from tests.integration.random_ledgers import PARTIES, VALUES, Dice

SIZE: Final = 90
QUESTIONS: Final = 25


@pytest_asyncio.fixture
async def side(projections_url: str, projections_reader_url: str) -> AsyncIterator[ReadSide]:
    async with a_read_side(projections_url, projections_reader_url) as found:
        yield found


class Step(NamedTuple):
    """What a day adds to a row of an account."""

    account: str
    day: date
    row: Row
    change: Vector


class Judge:
    """The rules, from scratch: every account is told everything, and folded anew for each position."""

    def __init__(self, events: Iterable[Recorded]) -> None:
        told = [(event.position, said) for event in events if (said := learned(event)) is not None]
        self.entries: list[Learned[Entry]] = [Learned(position, fact, amends) for position, (fact, amends) in told]

    def standing(self, known: int) -> dict[int, Entry]:
        return live(self.entries, known)

    def steps(self, known: int, asked: Mapping[str, Any]) -> list[Step]:
        """Every step of the rows that are asked for; what is for other days too, as [0, whole]."""
        standing = self.standing(known)
        names = {name for entry in self.entries if entry.fact is not None for name in accounts(entry.fact)}
        found: list[Step] = []
        for name in sorted(names):
            weight = self.weight(name, standing, asked)
            if weight is None:
                continue
            for (day, row), change in standing_of(name, standing).items():
                if fits(row, asked):
                    part = change._replace(low=Decimal(0), surplus=Decimal(0), conditional=Decimal(0))
                    found.append(Step(name, day, row, change if weight else part))
        return found

    def weight(self, account: str, standing: Mapping[int, Entry], asked: Mapping[str, Any]) -> bool | None:
        """Whether an account counts whole, in part (False), or not at all."""
        own = [entry for entry in standing.values() if account_of(entry) == account]
        for said in asked.get("label", ()):
            key, value = said.split("=")
            if value not in carried(account, own, key):
                return None
        if "period" not in asked:
            return True
        opening = next((entry for entry in own if isinstance(entry, PledgeAnnounced)), None)
        if opening is None or opening.for_period is None:
            return None
        first, last = first_day(opening.for_period.start), last_day(opening.for_period.end)
        start, end = (date.fromisoformat(day) for day in asked["period"].split(".."))
        if last < start or first > end:
            return None
        return start <= first and last <= end

    def labels(self, account: str, known: int, key: str) -> tuple[str, ...]:
        own = [entry for entry in self.standing(known).values() if account_of(entry) == account]
        return tuple(sorted(carried(account, own, key)))


def carried(account: str, own: Iterable[Entry], key: str) -> set[str]:
    """Any label of a pledge's entries; of production, those that all its reports carry."""
    values = [set(entry.labels.get(key, ())) for entry in own]
    if account.startswith("pledge-"):
        return set().union(*values)
    return set.intersection(*values) if values else set()


def fits(row: Row, asked: Mapping[str, Any]) -> bool:
    return (
        asked.get("coalition", row.coalition) == row.coalition
        and asked.get("stage", row.stage) == row.stage
        and asked.get("unit", row.unit) == row.unit
        and ("donor" not in asked or row.donors == (asked["donor"],))
        and ("beneficiary" not in asked or row.beneficiaries == (asked["beneficiary"],))
        and ("capability" not in asked or contains(asked["capability"], row.capability))
    )


def a_question(dice: Random) -> dict[str, Any]:
    choices: dict[str, Any] = {
        "coalition": "drones",
        "donor": dice.choice(PARTIES),
        "beneficiary": "UKR",
        "capability": dice.choice(("drone", "drone.fpv", "shell")),
        "unit": "piece",
        "stage": dice.choice(("pledged", "delivered", "produced")),
        "label": [f"sector={dice.choice(VALUES)}", f"plan={dice.choice(VALUES)}"][: dice.randint(1, 2)],
        "period": dice.choice(("2024-01-01..2024-12-31", "2025-03-01..2025-08-31", "2024-07-01..2026-06-30")),
    }
    return {name: value for name, value in choices.items() if dice.random() < 0.22}


def a_moment(dice: Random) -> dict[str, Any]:
    on = date(2024, 1, 1) + timedelta(days=dice.randint(60, 370))
    asked: dict[str, Any] = {"on": str(on), "known": dice.randint(SIZE // 3, SIZE)}
    if dice.random() < 0.3:
        asked["from"] = str(on - timedelta(days=dice.randint(0, 200)))
    return asked


Key = tuple[Any, ...]


def key(row: Mapping[str, Any]) -> Key:
    return row["capability"], row["unit"], row["stage"], row["finance_type"]


def numbers(vector: Vector) -> tuple[Any, ...]:
    return vector.low, vector.bound, vector.unknown, vector.about > 0, vector.surplus, vector.conditional


def shown(row: Mapping[str, Any]) -> tuple[Any, ...]:
    high = None if row["high"] is None else Decimal(row["high"])
    return Decimal(row["low"]), high, row["unknown"], row["about"], Decimal(row["surplus"]), Decimal(row["conditional"])


def summed(found: Iterable[tuple[Key, Vector]]) -> dict[Key, Vector]:
    sums: dict[Key, Vector] = {}
    for place, vector in found:
        sums[place] = sums.get(place, ZERO) + vector
    return {place: vector for place, vector in sums.items() if vector}


def change(said: Mapping[str, Any]) -> Vector:
    """Read a change as an answer shows it."""
    names = ("low", "high", "surplus", "conditional")
    values: dict[str, Any] = {name: Decimal(value) if name in names else value for name, value in said.items()}
    return Vector(**values)


async def explained(side: ReadSide, row: Mapping[str, Any]) -> Vector:
    """Add up all that the explanation lists, page by page."""
    link: str | None = f"{row['explain']}&limit=9"
    total = ZERO
    while link is not None:
        page = await side.get(link)
        for posting in page["postings"]:
            total = total + change(posting["change"])
        link = page["next"]
    return total


@pytest.mark.parametrize("seed", range(4))
async def test_every_total_is_what_the_rules_say_and_what_its_explanation_lists(side: ReadSide, seed: int) -> None:
    dice = Random(seed)
    events = Dice(seed, pledges=7, labelled=True).ledger(SIZE)
    await side.take(events)
    judge = Judge(events)
    seen = 0
    for _ in range(QUESTIONS):
        asked, when = a_question(dice), a_moment(dice)
        answer = await side.get("/v1/totals", **asked, **when, group_by="donor,label:sector")
        on, since = date.fromisoformat(when["on"]), date.fromisoformat(when.get("from", "0001-01-01"))
        steps = [step for step in judge.steps(when["known"], asked) if since <= step.day <= on]
        rows = [((s.row.capability, s.row.unit, s.row.stage, s.row.finance_type or None), s) for s in steps]
        expected = {place: numbers(vector) for place, vector in summed((at, s.change) for at, s in rows).items()}
        assert {key(row): shown(row) for row in answer["totals"]} == expected, (asked, when)
        groups = summed(
            ((*place, s.row.donors, judge.labels(s.account, when["known"], "sector")), s.change) for place, s in rows
        )
        found = {
            (*key(row), tuple(row["donors"]), tuple(row["labels"]["sector"])): shown(row) for row in answer["groups"]
        }
        assert found == {place: numbers(vector) for place, vector in groups.items()}, (asked, when)
        for row in [*answer["totals"], *answer["groups"]]:
            assert numbers(await explained(side, row)) == shown(row), row["explain"]
            seen += 1
    assert seen > QUESTIONS


@pytest.mark.parametrize("seed", [11, 12])
async def test_what_is_known_now_is_what_its_position_says(side: ReadSide, seed: int) -> None:
    dice = Random(seed)
    await side.take(Dice(seed, pledges=7, labelled=True).ledger(SIZE))
    for _ in range(QUESTIONS):
        asked, on = a_question(dice), a_moment(dice)["on"]
        now = await side.get("/v1/totals", **asked, on=on, group_by="coalition,beneficiary")
        pinned = await side.get(now["cite"]["url"])
        assert pinned == now


def at_ends_of_years(series: Iterable[Mapping[str, Any]]) -> dict[str, dict[Key, tuple[Any, ...]]]:
    """The rows at the end of each year: what its last period says, and what earlier ones said and nobody changed."""
    rows: dict[Key, tuple[Any, ...]] = {}
    found: dict[str, dict[Key, tuple[Any, ...]]] = {}
    for row in series:
        rows = {**rows, key(row): shown(row)}
        found[row["period"][:4]] = {at: value for at, value in rows.items() if value != numbers(ZERO)}
    return found


@pytest.mark.parametrize("seed", [21, 22])
async def test_months_add_up_to_years_and_donors_to_totals(side: ReadSide, seed: int) -> None:
    """A series shows the value at the end of each period: its last one is the total, and a year ends as December."""
    dice = Random(seed)
    await side.take(Dice(seed, pledges=7, labelled=True).ledger(SIZE))
    for _ in range(QUESTIONS):
        asked, when = a_question(dice), a_moment(dice)
        months = await side.get("/v1/totals", **asked, **when, by="month")
        years = await side.get("/v1/totals", **asked, **when, by="year")
        by_month, by_year = at_ends_of_years(months["series"]), at_ends_of_years(years["series"])
        # a year of which nothing is left has no row, where a month of it had one
        assert {y: rows for y, rows in by_month.items() if rows} == {y: rows for y, rows in by_year.items() if rows}
        joint = {key(row) for row in months["joint"]}  # which the series has too, as [0, whole]
        totals = {key(row): shown(row) for row in months["totals"]}
        final = by_month[max(by_month)] if by_month else {}
        assert {at: value for at, value in final.items() if at not in joint} == {
            at: value for at, value in totals.items() if at not in joint
        }
