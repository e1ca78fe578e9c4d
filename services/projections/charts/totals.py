"""What was promised and what came, stage by stage: bars solid to what is certain, lighter to what it may be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.projections import names
from services.projections.charts.look import (
    MARGIN,
    Answer,
    Frame,
    Look,
    Spec,
    cited,
    day,
    footer_height,
    framed,
    header,
    interval,
    sentence,
    text,
    things,
    undisclosed,
    width_of,
    wrapped,
)
from shared.measures import PIECE, STAGES

BAR: Final = 16.0
ROW: Final = 27.0
ROW_NARROW: Final = 46.0
UNIT: Final = 34.0
LABEL: Final = 13.0
OPEN_TAIL: Final = 70.0
"""Pixels over which a bar without an end fades out: at least that many, so that it is seen to go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A stage in a unit, over all capabilities: `row` as an answer says it."""

    unit: str
    stage: str
    finance_type: str | None
    row: Answer


def totals_chart(answer: Answer, look: Look, *, of: Mapping[str, str]) -> Spec:
    """Define the chart of a totals route: a block of bars for each unit, never two units on one scale.

    Rows of the route are disjoint, so those that differ only in capability are added. `of` names the `scope`, and what
    `pieces` are, where all are the same.
    """
    bars, colours = bars_of(answer["totals"]), look.colours
    title, subtitle = headline(bars, of), _subtitle(answer, bars)
    source = cited(answer)
    notes = (
        ["Stages are seen side by side and never add up: the same drone is pledged, then delivered."] if bars else []
    )
    _, above = header(look, title, subtitle)
    names_width = 0.0 if look.narrow else _names_width(bars)
    width = look.width - 2 * MARGIN
    units = list(dict.fromkeys(bar.unit for bar in bars))
    row_height = ROW_NARROW if look.narrow else ROW
    height = len(units) * UNIT + len(bars) * row_height if bars else 70.0
    frame = Frame(
        left=MARGIN,
        top=above + 6,
        width=width,
        height=height,
        right=MARGIN,
        bottom=8 + footer_height(look, notes, source),
    )
    layers: list[Spec] = [{"data": {"values": [{}]}, "mark": {"type": "point", "opacity": 0, "aria": False}}]
    y = 0.0
    for unit in units:
        of_unit = [bar for bar in bars if bar.unit == unit]
        y += UNIT
        layers.append(text(sentence(_unit(unit, of)), 0, y - 10, colours.ink, LABEL, "bold"))
        for bar in of_unit:
            layers += _drawn(bar, of_unit, look, y=y, left=names_width, width=width)
            y += row_height
    if not bars:
        layers.append(
            text("The ledger holds no promise and no delivery yet", width / 2, 40, colours.soft, 14, align="center")
        )
    return framed(
        look,
        frame,
        layers,
        title=title,
        subtitle=subtitle,
        notes=notes,
        source=source,
        described=described(title, bars),
    )


def bars_of(rows: Iterable[Answer]) -> list[Bar]:
    """Add up rows over capabilities, in the order of units (pieces first) and stages; never units or finance types."""
    sums: dict[tuple[str, str, str | None], Answer] = {}
    for row in rows:
        key = row["unit"], row["stage"], row["finance_type"]
        sums[key] = _added(sums[key], row) if key in sums else row
    return [
        Bar(unit=unit, stage=stage, finance_type=finance_type, row=row)
        for (unit, stage, finance_type), row in sorted(sums.items(), key=_place)
    ]


def _place(item: tuple[tuple[str, str, str | None], Answer]) -> tuple[bool, str, int, str]:
    (unit, stage, finance_type), _ = item
    return unit != PIECE, unit, STAGES.index(stage), finance_type or ""


def _added(one: Answer, other: Answer) -> Answer:
    open_ = one["high"] is None or other["high"] is None
    return {
        "low": str(Decimal(one["low"]) + Decimal(other["low"])),
        "high": None if open_ else str(Decimal(one["high"]) + Decimal(other["high"])),
        "about": one["about"] or other["about"],
        "unknown": one["unknown"] + other["unknown"],
    }


def headline(bars: Sequence[Bar], of: Mapping[str, str]) -> str:
    """Say what is seen: the first promise and the last arrival of the first unit."""
    if not bars:
        return f"{of['scope']}: nothing is recorded yet"
    of_unit = [bar for bar in bars if bar.unit == bars[0].unit]
    first = of_unit[0]
    said = f"{of['scope']}: {interval(first.row)} {_unit(first.unit, of)} {first.stage}"
    return said if len(of_unit) == 1 else f"{said}, {interval(of_unit[-1].row)} {of_unit[-1].stage}"


def _unit(unit: str, of: Mapping[str, str]) -> str:
    """Name what is counted; pieces by what they are, where all are the same."""
    return things(unit, of.get("pieces") or names.unit(PIECE))


def described(title: str, bars: Sequence[Bar]) -> str:
    """Say all of it, for who cannot see it."""
    return f"{title}. " + "; ".join(f"{_name(bar)}: {_value(bar)} {names.unit(bar.unit)}" for bar in bars)


def _subtitle(answer: Answer, bars: Sequence[Bar]) -> str:
    said = []
    if bars:
        said.append("Solid: certain. Light: what it may be.")
    if any(bar.row["high"] is None for bar in bars):
        said.append("Fading out: nobody said the most it can be.")
    if answer["complete_to"]:
        said.append(f"Reviewed to {day(answer['complete_to'])}.")
    said.append(f"As of {day(answer['on'])}, position {answer['position']}.")
    return " ".join(said)


def _names_width(bars: Sequence[Bar]) -> float:
    return max((width_of(_name(bar), LABEL) for bar in bars), default=0.0) + 12


def _name(bar: Bar) -> str:
    kind = f", {bar.finance_type.replace('_', ' ')}" if bar.finance_type else ""
    return f"{sentence(bar.stage)}{kind}"


def _value(bar: Bar) -> str:
    row = bar.row
    if row["unknown"] and row["low"] == "0" and row["high"] == "0":
        return undisclosed(row["unknown"])
    more = f" + {undisclosed(row['unknown'])}" if row["unknown"] else ""
    return f"{interval(row)}{more}"


def _drawn(bar: Bar, of_unit: Sequence[Bar], look: Look, *, y: float, left: float, width: float) -> list[Spec]:
    """Draw one bar with its name and its value in words."""
    colours, colour = look.colours, look.of_stage(bar.stage)
    beside = 0.0 if look.narrow else max(width_of(_value(other), LABEL) for other in of_unit) + 14
    room = max(120.0, width - left - beside)
    longest = max(float(other.row["high"] or other.row["low"]) for other in of_unit)
    has_open = any(other.row["high"] is None for other in of_unit)
    scale = max(1.0, room - (OPEN_TAIL if has_open else 0)) / (longest or 1.0)
    low = float(bar.row["low"]) * scale
    high = None if bar.row["high"] is None else float(bar.row["high"]) * scale
    top = y + (18 if look.narrow else 0)
    end = low + OPEN_TAIL if high is None else high
    layers = []
    if high is None:
        fade: Spec = {
            "gradient": "linear",
            "x1": 0,
            "x2": 1,
            "y1": 0,
            "y2": 0,
            "stops": [{"offset": 0, "color": f"{colour}80"}, {"offset": 1, "color": f"{colour}00"}],
        }
        layers.append(_box(left + low, left + end, top, fade))
    elif high > low:
        layers.append(_box(left + low, left + high, top, f"{colour}4d"))
    if low > 0:
        layers.append(_box(left, left + max(1.5, low), top, colour))
    layers.append(_box(left - 1, left, top - 3, colours.soft, height=BAR + 6))
    said = f"{_name(bar)}: {_value(bar)}" if look.narrow else _value(bar)
    if look.narrow:
        said = wrapped(said, width, LABEL)[0] if width_of(said, LABEL) <= width else f"{_name(bar)}: {_short(bar)}"
        layers.append(text(said, 0, y + 11, colours.ink, LABEL))
    else:
        layers.append(text(_name(bar), 0, y + 12.5, colours.ink, LABEL))
        layers.append(text(said, left + end + 8, y + 12.5, colour if low or end else colours.soft, LABEL))
    return layers


def _short(bar: Bar) -> str:
    more = f" + {bar.row['unknown']} undisclosed" if bar.row["unknown"] else ""
    return f"{interval(bar.row)}{more}"


def _box(x: float, x2: float, y: float, colour: str | Spec, *, height: float = BAR) -> Spec:
    return {
        "data": {"values": [{}]},
        "mark": {"type": "rect", "color": colour, "aria": False, "tooltip": None},
        "encoding": {"x": {"value": x}, "x2": {"value": x2}, "y": {"value": y}, "y2": {"value": y + height}},
    }
