"""What others publish as totals, beside what this ledger answers to the same question: `muster reconcile`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import httpx2
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from muster.importing import fts
from muster.importing.commands import CannotImport, Fault
from muster.importing.parties import state
from muster.importing.values import decimal_string

TIMEOUT_S: Final = 60.0
CATCHING_UP_S: Final = 60.0
LOOK_S: Final = 0.5
LAST_DAY: Final = "2999-12-31"
"""A published sum has all its rows in it, those dated ahead too."""

MEASURES: Final = {"funding": "committed", "pledges": "pledged"}
"""The stage of this ledger that each measure of FTS is; which flows count is said by the label `fts_counts`."""

Json = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """A total that a source gives: of a country in a year, or of whatever `about` says."""

    about: str
    measure: str
    amount: Decimal
    question: tuple[tuple[str, str], ...] = ()  # what to ask the ledger
    country: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A stated total beside the ledger's own; None where the ledger has no such number."""

    about: str
    measure: str
    stated: str
    ledger: str | None
    difference: str | None
    in_all: str | None = None  # the ledger's with other currencies converted, where it has some

    @property
    def agrees(self) -> bool:
        return self.difference is not None and Decimal(self.difference) == 0


def reconcile(paths: Sequence[Path], mapping: str | None, url: str, console: Console, *, key: str | None = None) -> int:
    """Compare what files state, or without files every statement of the ledger; give 1 if anything differs."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=url, headers=headers, timeout=TIMEOUT_S) as client:
        caught_up(client)
        if paths and mapping != fts.NAME:
            raise CannotImport("only files of FTS state totals that can be compared: say --mapping fts")
        found = [_of_ledger(one, client) for one in stated(paths)] if paths else list(statements(client))
    show(found, console)
    return 0 if all(one.agrees for one in found) else 1


def show(found: Sequence[Compared], console: Console) -> None:
    """Print a table, and a line that sums it up."""
    table = Table("about", "measure", box=None, pad_edge=False)
    converted = any(one.in_all is not None for one in found)
    for column in ("stated", "ledger", "difference", *(("ledger, with other money converted",) if converted else ())):
        table.add_column(column, justify="right")
    for one in found:
        cells = [one.stated, one.ledger or "no such number", one.difference or ""]
        cells += [one.in_all or ""] if converted else []
        style = "" if one.agrees else "red"
        table.add_row(escape(one.about), one.measure, *(_grouped(cell) for cell in cells), style=style)
    console.print(table)
    differ = sum(not one.agrees for one in found)
    console.print(f"{len(found)} compared, {differ} differ" if found else "nothing is stated that could be compared")


def _grouped(number: str) -> str:
    try:
        return f"{Decimal(number):,f}"
    except ArithmeticError:
        return number


# ------------------------------------------------------------------------------------------------ what is stated


def stated(paths: Iterable[Path]) -> Iterator[Stated]:
    """Give the totals that files of FTS state: pages of its API their own, tables the sums of their rows.

    The same flow on two lines counts once. Raises CannotImport for a file of which nobody can say what it is about.
    """
    totals: dict[tuple[str, str, str], set[Decimal]] = {}
    sums: dict[tuple[str, str, str], Decimal] = {}
    tables: list[tuple[str, str]] = []
    said: set[str] = set()
    for path in paths:
        flows = [flow for flow in fts.flows(path) if not isinstance(flow, Fault)]
        counted = [flow for flow in flows if fts.counts(flow) != fts.NOTHING]
        about = {
            (state(country) or country, year) for flow in counted for country in flow.countries for year in flow.years
        }
        if path.suffix.lower() == ".json":
            if len(about) != 1:
                raise CannotImport(f"{path.name} is about {len(about)} countries and years, so its totals are of none")
            ((country, year),) = about
            incoming = fts.page(path)["incoming"]
            for measure, name in (("funding", "fundingTotal"), ("pledges", "pledgeTotal")):
                totals.setdefault((country, year, measure), set()).add(Decimal(incoming[name]))
            continue
        tables += [place for place in sorted(about) if place not in tables]
        for flow in counted:
            if flow.id not in said:
                said.add(flow.id)
                place = (state(flow.countries[0]) or flow.countries[0], flow.years[0], fts.counts(flow))
                sums[place] = sums.get(place, Decimal(0)) + flow.usd
    for country, year in tables:
        for measure in MEASURES:
            totals.setdefault((country, year, measure), set()).add(sums.get((country, year, measure), Decimal(0)))
    for (country, year, measure), amounts in sorted(totals.items()):
        for amount in sorted(amounts):
            yield Stated(
                about=f"{country} {year}",
                measure=measure,
                amount=amount,
                country=country,
                question=(
                    ("label", f"{fts.COUNTS}={measure}"),
                    ("label", f"{fts.YEAR}={year}"),
                    ("stage", MEASURES[measure]),
                    ("unit", "USD"),
                    ("on", LAST_DAY),
                ),
            )


# ------------------------------------------------------------------------------------------------ what the ledger says


def caught_up(client: httpx2.Client) -> None:
    """Wait until the read side has applied all that is recorded. Raises CannotImport when it does not come to it."""
    until = time.monotonic() + CATCHING_UP_S
    while True:
        answer = _asked(client, "/v1/totals", (("unit", "USD"), ("stage", "pledged")))
        if float(answer.headers.get("Lag-Seconds", "0")) == 0:
            return
        if time.monotonic() > until:
            raise CannotImport(f"the projections at {client.base_url} do not catch up")
        time.sleep(LOOK_S)


def _of_ledger(one: Stated, client: httpx2.Client) -> Compared:
    path = f"/v1/beneficiaries/{one.country}/totals"
    answer = client.get(path, params=list(one.question))
    # a country that the ledger has never heard of has been given nothing
    rows = [] if answer.status_code == httpx2.codes.NOT_FOUND else _json(answer, client)["totals"]
    ledger = sum((Decimal(row["low"]) for row in rows), Decimal(0))
    return Compared(
        about=one.about,
        measure=one.measure,
        stated=decimal_string(one.amount),
        ledger=decimal_string(ledger),
        difference=decimal_string(one.amount - ledger),
    )


def statements(client: httpx2.Client) -> Iterator[Compared]:
    """Give every statement of the ledger beside the ledger's own answer, stage by stage where it names none.

    A statement that names no stage agrees where one of the stages does.
    """
    for one in _asked(client, "/v1/statements", ()).json()["statements"]:
        where = one["about"]["coalition"] or one["about"]["donor"] or one["about"]["beneficiary"]
        about = f"{one['id']} ({one['stated_by']} about {where}, {one['stated_on']})"
        answers = one["ledger"] or [None]
        agreeing = [row for row in answers if row is not None and Decimal(row["difference"]) == 0]
        for row in agreeing or answers:
            yield Compared(
                about=about,
                measure=(row and row["stage"]) or one["stage"] or one["measure"],
                stated=one["amount"]["low"] or one["stated"],
                ledger=None if row is None else row["low"],
                difference=None if row is None else row["difference"],
                in_all=None if row is None or row["in_all"] is None else row["in_all"]["low"],
            )


def _asked(client: httpx2.Client, path: str, params: Sequence[tuple[str, str]]) -> httpx2.Response:
    try:
        answer = client.get(path, params=list(params))
    except httpx2.HTTPError as error:
        raise CannotImport(f"the projections at {client.base_url} do not answer: {error}") from None
    _json(answer, client)
    return answer


def _json(answer: httpx2.Response, client: httpx2.Client) -> Json:
    if answer.status_code != httpx2.codes.OK:
        raise CannotImport(f"the projections at {client.base_url} answer {answer.status_code}: {answer.text[:300]}")
    return answer.json()
