"""Totals in one currency, beside the totals as they were said: `in=EUR`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final, Literal

from fastapi import Request
from pydantic import Field, field_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.http.asof import AsOf, AsOfQuery
from services.projections.http.counted import Asked, Counted, added, joint_rows, own_rows, whole_rows
from services.projections.http.shown import Answer, Interval, bound, figure, interval
from services.projections.postings import Row
from services.projections.rates import Rates, currencies, spell
from services.projections.read_models.coalition_totals import TotalRow, steps_of_accounts
from services.projections.valued import RateOn, Step, Valued, by_day, by_posting, in_coins
from shared.amounts import ZERO, Vector
from shared.measures import PIECE, STAGES, Stage
from shared.timeline import Steps, changes

RULES: Final[Mapping[RateOn, str]] = {
    "posting": "each posting by the rate of its day (of a day without one: the last published, at most 10 days before);"
    " what is taken back goes at the average of what its pledge was added at",
    "on": "everything by the rate of the day of the answer (of a day without one: the last published, at most 10 days"
    " before)",
}
ROUNDING: Final = "each sum once, after everything is added, to the currency's smallest unit, half to even"


class InCurrency(AsOfQuery):
    """A question that may be answered in one currency too."""

    in_: str | None = Field(
        default=None,
        alias="in",
        pattern=r"^[A-Z]{3}$",
        description="Also give money in this currency (ISO 4217), beside what was said; pieces stay pieces",
        examples=["EUR"],
    )
    rate_on: RateOn | None = Field(
        default=None, description="By the rate of each posting's day (the default), or of the day of the answer"
    )

    @field_validator("in_")
    @classmethod
    def _a_currency(cls, value: str | None) -> str | None:
        if value is not None and value not in currencies():
            raise ValueError(f"{value} is no currency of ISO 4217")
        return value


class RateShown(Answer):
    """A rate that was used."""

    currency: str
    per: str
    rate: str
    published_on: date
    source: str


class Original(Answer):
    """What was said in one currency, and what it comes to."""

    unit: str
    low: str
    high: str | None
    converted_low: str
    converted_high: str | None


class Unconverted(Interval):
    """What has no published rate: counted, never guessed."""

    unit: str
    stage: Stage
    capability: str
    finance_type: str | None
    lacks: str = Field(description="The first rate that nobody published", examples=["UAH on 2024-02-15"])


class ConvertedRow(Interval):
    """A row of money, converted; what could not be is in `unconverted`."""

    capability: str
    unit: str
    stage: Stage
    finance_type: str | None
    surplus: str
    conditional: str
    originals: list[Original]


class Converted(Answer):
    """Totals in one currency. A view: what was said stands beside it and never changes."""

    currency: str
    rate_on: Literal["posting", "on"]
    rule: str
    rounding: str
    rows: list[ConvertedRow]
    unconverted: list[Unconverted]
    rates: list[RateShown] = Field(description="Every published rate that was used, by currency and day")


class InOneCurrency(Answer):
    """What a pledge comes to in one stage, in the currency asked for."""

    unit: str
    low: str | None = Field(description="null: there is no rate; see lacks")
    high: str | None
    lacks: str | None = Field(description="The first rate that nobody published")
    rates: list[RateShown]


@dataclass(frozen=True, slots=True)
class View:
    """In which currency, by the rates of which day, out of which rates."""

    currency: str
    rate_on: RateOn
    rates: Rates


def view(request: Request, query: InCurrency) -> View | None:
    """Give how a question wants its money, if it does."""
    if query.in_ is None:
        return None
    return View(query.in_, query.rate_on or "posting", request.app.state.rates)


def said_in(view: View | None) -> dict[str, str]:
    """Write the currency of a question as it was asked."""
    return {} if view is None else {"in": view.currency, "rate_on": view.rate_on}


Stock = tuple[str, Row]
"""What has a value of its own: one account's part of one row."""


@dataclass(frozen=True, slots=True)
class Money:
    """What a question comes to in one currency, and what was said of each stock."""

    valued: Valued[Stock]
    said: Mapping[Stock, Vector]


def own(which: Asked) -> Asked:
    """Narrow a question about a party down to its own rows, as totals are."""
    where = which.where
    if where.donor is not None:
        where = replace(where, donor=None, donors=(where.donor,))
    if where.beneficiary is not None:
        where = replace(where, beneficiary=None, beneficiaries=(where.beneficiary,))
    return replace(which, where=where)


async def money(conn: AsyncConnection, asof: AsOf, which: Asked, view: View) -> Money:
    """Convert what a question has in other currencies than the one wanted; that one and pieces are left out.

    By the rate of each posting's day every posting of these currencies is read once, one pledge and row at a time; by
    the rate of one day the totals are.
    """
    totals = [*await own_rows(conn, asof, which), *await joint_rows(conn, asof, which)]
    units = sorted({found.row.unit for found in totals} & currencies() - {view.currency})
    if view.rate_on == "on":
        said = added((("", _row_of(found)), found.value) for found in totals if found.row.unit in units)
        stocks = {stock: (stock[1].unit, value) for stock, value in said.items()}
        return Money(by_day(stocks, view.currency, view.rates, asof.on), said)
    since = asof.since
    steps: list[Step[Stock]] = []
    for unit in units:
        where = replace(which.where, unit=unit)
        for found in await steps_of_accounts(conn, on=asof.on, known=asof.position, where=where):
            change = which.weighed_whole(which.weighed(found.row, found.change))
            steps.append(Step(found.day, (found.account, found.row), unit, change))
    said = added((step.stock, step.change) for step in steps if since is None or step.day >= since)
    valued = by_posting(steps, view.currency, view.rates)
    if since is not None:
        before = by_posting([step for step in steps if step.day < since], view.currency, view.rates)
        valued = _minus(valued, before, steps)
    return Money(valued, said)


def _row_of(found: Counted) -> Row:
    row = found.row
    return Row(row.stage, "", found.donors, found.beneficiaries, row.capability, row.unit, row.finance_type)


def _minus(to: Valued[Stock], before: Valued[Stock], steps: Iterable[Step[Stock]]) -> Valued[Stock]:
    lacking = {**before.unconverted, **to.unconverted}
    stocks = {step.stock for step in steps}
    values = {
        stock: to.values.get(stock, ZERO) - before.values.get(stock, ZERO) for stock in stocks if stock not in lacking
    }
    said = {
        stock: (unit, _said(to, stock) - _said(before, stock), lacks) for stock, (unit, _, lacks) in lacking.items()
    }
    return Valued(values, said, to.used | before.used)


def _said(valued: Valued[Stock], stock: Stock) -> Vector:
    return valued.unconverted[stock][1] if stock in valued.unconverted else ZERO


async def converted(conn: AsyncConnection, asof: AsOf, which: Asked, view: View) -> dict[str, Any]:
    """Give the totals of a question in one currency: rows, what could not be converted, the rates that were used."""
    found = await money(conn, asof, which, view)
    valued = found.valued
    same = [(row.row, row.value) for row in await whole_rows(conn, asof, which) if row.row.unit == view.currency]
    values: list[tuple[Row | TotalRow, Vector]] = [*((row, value) for (_, row), value in valued.values.items()), *same]
    rows = added((_place(row), value) for row, value in values)
    by_unit = added(((_place(row), row.unit), value) for row, value in values)
    stocks = ((row, value) for (name, row), value in found.said.items() if (name, row) in valued.values)
    was: list[tuple[Row | TotalRow, Vector]] = [*stocks, *same]
    said = added(((_place(row), row.unit), value) for row, value in was)
    lacking = added(((_place(row), row.unit), value) for (_, row), (_, value, _) in valued.unconverted.items())
    first: dict[tuple[tuple[str, Stage, str], str], tuple[date, str]] = {}
    for (_, row), (_, _, (currency, day)) in valued.unconverted.items():
        key = _place(row), row.unit
        first[key] = min(first.get(key, (day, currency)), (day, currency))
    by_part = which.by_part
    return {
        "currency": view.currency,
        "rate_on": view.rate_on,
        "rule": RULES[view.rate_on],
        "rounding": ROUNDING,
        "rows": [
            {
                "capability": place[0],
                "unit": view.currency,
                "stage": place[1],
                "finance_type": place[2] or None,
                **interval(total := in_coins(value, view.currency), by_part=by_part),
                "surplus": figure(total.surplus),
                "conditional": figure(total.conditional),
                "originals": [
                    original(unit, said[of, unit], in_coins(part, view.currency))
                    for (of, unit), part in sorted(by_unit.items(), key=lambda item: item[0][1])
                    if of == place and (part or said.get((of, unit)))
                ],
            }
            for place, value in sorted(rows.items(), key=lambda item: _order(item[0]))
            if value
        ],
        "unconverted": [
            {
                "unit": unit,
                "capability": place[0],
                "stage": place[1],
                "finance_type": place[2] or None,
                **interval(value, by_part=by_part),
                "lacks": "{1} on {0}".format(*first[place, unit]),
            }
            for (place, unit), value in sorted(lacking.items(), key=lambda item: (_order(item[0][0]), item[0][1]))
            if value
        ],
        "rates": list(spell(valued.used)),
    }


def original(unit: str, said: Vector, value: Vector) -> dict[str, Any]:
    """Show what was said in one currency, and what it comes to."""
    high = None if said.bound is None else figure(value.high)
    return {
        "unit": unit,
        "low": figure(said.low),
        "high": None if said.bound is None else figure(said.bound),
        "converted_low": figure(value.low),
        "converted_high": high,
    }


def stage_in(view: View, unit: str, timeline: Steps[Vector], day: date) -> dict[str, Any] | None:
    """Convert what a pledge comes to in one stage on a day, as totals would; None for pieces."""
    if unit == PIECE:
        return None
    if view.rate_on == "posting":
        steps = (Step(on, unit, unit, change) for on, change in changes(timeline).items() if on <= day)
        valued = by_posting(steps, view.currency, view.rates)
    else:
        valued = by_day({unit: (unit, timeline.on(day))}, view.currency, view.rates, day)
    value = valued.values.get(unit)
    lacks = "{} on {}".format(*valued.unconverted[unit][2]) if unit in valued.unconverted else None
    coins = None if value is None else in_coins(value, view.currency)
    return {
        "unit": view.currency,
        "low": None if coins is None else figure(coins.low),
        "high": None if coins is None else bound(coins.bound),
        "lacks": lacks,
        "rates": list(spell(valued.used)),
    }


def _place(row: Row | TotalRow) -> tuple[str, Stage, str]:
    return row.capability, row.stage, row.finance_type


def _order(place: tuple[str, Stage, str]) -> tuple[str, int, str]:
    return place[0], STAGES.index(place[1]), place[2]
