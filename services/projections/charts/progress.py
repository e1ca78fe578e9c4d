"""How far a target came, day by day: what is certain as a line, what is open as an area without an upper edge."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final, Literal

from services.projections.charts.look import (
    MARGIN,
    SOURCE,
    Answer,
    Frame,
    Look,
    Spec,
    cited,
    day,
    footer_height,
    framed,
    haloed,
    header,
    interval,
    moment,
    number,
    sentence,
    text,
    things,
    undisclosed,
    width_of,
)
from services.projections.names import STAGES
from shared.measures import PIECE

COMPARED: Final = ("pledged", "delivered", "confirmed")
"""The stages that are drawn beside the one that counts."""

STATUSES: Final[Mapping[str, str]] = {
    "closed": "closed",
    "met": "met",
    "missed": "missed",
    "unproven": "unproven: it may have been met, nobody has shown it",
    "on_track": "on track",
    "behind": "behind an even pace",
    "open": "open: too much is unknown to judge it",
}

LONG: Final = (
    "datum.value >= 1e9 ? format(datum.value / 1e9, '~r') + ' bn' : "
    "datum.value >= 1e6 ? format(datum.value / 1e6, '~r') + ' m' : format(datum.value, ',~r')"
)
SHORT: Final = LONG.replace(
    "format(datum.value, ',~r')",
    "datum.value >= 1e4 ? format(datum.value / 1e3, '~r') + 'k' : format(datum.value, ',~r')",
)
"""How the lines of the ground are named (Vega expressions)."""

LABEL: Final = 12.0
ROW: Final = 17.0
HEADROOM: Final = 1.08
LARGEST_GAP: Final = 6.0
DAY_MS: Final = 86_400_000
MONTHS: Final = (1, 2, 3, 6, 12, 24, 60, 120)
YEAR: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """A deadline as it is drawn: `said` beside its line, `noted` where there is no room for that."""

    x: float
    now: bool
    said: str
    noted: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """The scales: milliseconds and amounts to pixels."""

    start: int
    end: int
    top: float
    width: float
    height: float

    def x(self, at: int) -> float:
        """Give the place of a moment."""
        return (at - self.start) / (self.end - self.start) * self.width

    def y(self, value: float) -> float:
        """Give the place of an amount."""
        return self.height * (1 - value / self.top)


def progress_chart(answer: Answer, look: Look, *, of: Mapping[str, str]) -> Spec:
    """Define the chart of `GET /v1/targets/{id}/progress`.

    Beside what that route answers, `answer` may have `compare`, the series of other stages by name, and `said_by`, who
    said a deadline, by its day. `of` names the `capability`, the `scope` and who `stated` the target.
    """
    target, colours = answer["target"], look.colours
    asked = None if target["amount"]["unknown"] else Decimal(target["amount"]["low"])
    lines = _lines(answer)
    title, subtitle = headline(answer, of), _subtitle(answer, of)
    source = cited(answer)
    start, end = _days(answer)
    left, right = (MARGIN + 38.0, MARGIN + 8.0) if look.narrow else (MARGIN + 58.0, 28.0)
    width = look.width - left - right
    deadlines = _deadlines(answer, lambda at: (at - start) / (end - start) * width)
    direct = None if look.narrow else _rows(deadlines, width)
    notes = [] if direct is not None else [f"{place} {due.noted}" for place, due in enumerate(deadlines, start=1)]
    _, above = header(look, title, subtitle)
    keys = _key_rows(lines, look.width - 2 * MARGIN) if look.narrow else []
    above += len(keys) * ROW + (6 if keys else 0)
    rows = 1 + max((row if row >= 0 else -1 - row for row in direct or ()), default=0 if deadlines else -1)
    frame = Frame(
        left=left,
        top=above + 14 + rows * ROW,
        width=width,
        height=round(min(360.0, max(190.0, look.width * 0.44))),
        right=right,
        bottom=34 + footer_height(look, notes, source),
    )
    plot = Plot(start=start, end=end, top=_top(asked, lines), width=width, height=frame.height)
    layers = [
        *_beyond(answer, plot, look),
        _ground(plot, look),
        *_target(answer, asked, plot, look, of),
        *_marks(deadlines, direct, plot, look),
        *(layer for line in lines for layer in _drawn(line, plot, look, of=of, unit=target["amount"]["unit"])),
        *([] if look.narrow else _labels(answer, lines, plot, look)),
        *(
            text(
                said,
                MARGIN + x - left,
                above - frame.top - (len(keys) - row - 1) * ROW - 2,
                look.of_stage(stage),
                LABEL,
                "bold",
            )
            for stage, said, x, row in (entry for line in keys for entry in line)
        ),
    ]
    if not any(line.points for line in lines):
        layers.append(text("Nothing was counted yet", width / 2, frame.height / 2, colours.soft, 14, align="center"))
    return framed(
        look,
        frame,
        layers,
        title=title,
        subtitle=subtitle,
        notes=notes,
        source=source,
        described=f"{title}. {subtitle}",
    )


def headline(answer: Answer, of: Mapping[str, str]) -> str:
    """Say what is seen: `At least 17,000 of 1 million drones delivered`."""
    target = answer["target"]
    row = next((row for row in answer["progress"] if row["counts"]), None)
    counted = things(target["amount"]["unit"], of["capability"])
    asked = target["amount"]["said"] if target["amount"]["unknown"] else number(Decimal(target["amount"]["low"]))
    if row is None or (row["low"] == "0" and row["high"] == "0"):
        so_far = "Nothing recorded" if not row or not row["unknown"] else "An undisclosed number"
        return f"{so_far} of {asked} {counted} {target['counts']}"
    return f"{sentence(interval(row))} of {asked} {counted} {target['counts']}"


def _subtitle(answer: Answer, of: Mapping[str, str]) -> str:
    target = answer["target"]
    row = next((row for row in answer["progress"] if row["counts"]), None)
    status = STATUSES[answer["status"]]
    if answer["status"] == "open" and target["due_by"] is None:
        status = "open: no deadline was given"
    said = [f"{of['scope']}. The target is {status}."]
    if row is not None and row["unknown"]:
        counts, verb = undisclosed(row["unknown"]), "is" if row["unknown"] == 1 else "are"
        said.append(
            f"{sentence(counts)} {verb} left out: while a shade has no upper edge, it may have been any number."
        )
    elif row is not None and row["high"] is None:
        said.append("The shade has no upper edge: nobody said the most it can be.")
    if target["amount"]["unit"] != PIECE:
        said.append(f"{sentence(target['counts'])}: {STAGES[target['counts']]}.")
    said.append(f"As of {day(answer['on'])}, position {answer['position']}.")
    return " ".join(said)


# --------------------------------------------------------------------------------------------------- the lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What was counted of one stage, as steps: (milliseconds, low, high or None) each; `row` says the last."""

    stage: str
    counts: bool
    points: Sequence[tuple[int, float, float | None]]
    said: Sequence[str]
    row: Answer


def _lines(answer: Answer) -> list[Line]:
    counts = answer["target"]["counts"]
    series: dict[str, Sequence[Answer]] = {counts: answer["series"]}
    series |= {stage: points for stage, points in answer.get("compare", {}).items() if stage in COMPARED}
    rows = {row["stage"]: row for row in answer["progress"]}
    found = [
        Line(
            stage=stage,
            counts=stage == counts,
            points=[(moment(point["on"]), float(point["low"]), _most(point)) for point in points],
            said=[_said(point) for point in points],
            row=_last(points, rows.get(stage)),
        )
        for stage, points in series.items()
    ]
    drawn = [line for line in found if line.counts or any(low or high != 0 for _, low, high in line.points)]
    return sorted(drawn, key=lambda line: line.counts)  # the one that counts is drawn last: above the others


def _most(point: Answer) -> float | None:
    """Give the most it can be; None: nobody knows, since it was left open, or since a part was not disclosed."""
    return None if point["high"] is None or point["unknown"] else float(point["high"])


def _last(points: Sequence[Answer], row: Answer | None) -> Answer:
    """Say where a line ends: the row of the answer where they agree (it knows `about`), else the last point."""
    if not points:
        return row or {"low": "0", "high": "0", "unknown": 0}
    last = points[-1]
    return row if row is not None and (row["low"], row["high"]) == (last["low"], last["high"]) else last


def _days(answer: Answer) -> tuple[int, int]:
    """Give the first and the last moment that are drawn."""
    target = answer["target"]
    dues = [target["due_by"], *(past["due_by"] for past in target["past_deadlines"])]
    start = moment(target["starts_on"])
    end = max([moment(answer["on"]), *(moment(due) for due in dues if due is not None)])
    return start, max(end, start + 30 * DAY_MS)


def _top(asked: Decimal | None, lines: Sequence[Line]) -> float:
    """Give the amount at the upper edge."""
    seen = [bound for line in lines for _, low, high in line.points for bound in (low, high or 0.0)]
    highest = max([*seen, float(asked or 0)])
    return highest * HEADROOM if highest else 1.0


def _segments(line: Line, top: float) -> list[dict[str, Any]]:
    """Give the areas between low and high: a closed one to its high, an open one up to the edge of the plot."""
    rows: list[dict[str, Any]] = []
    part = 0
    for (at, low, high), (then, *_) in pairwise([*line.points, (line.points[-1][0], 0.0, 0.0)]):
        if rows and rows[-1]["open"] is not (high is None):
            part += 1
        upper = top if high is None else high
        rows += [{"x": x, "low": low, "high": upper, "open": high is None, "part": part} for x in (at, max(then, at))]
    return rows


def _drawn(line: Line, plot: Plot, look: Look, *, of: Mapping[str, str], unit: str) -> list[Spec]:
    if not line.points:
        return []
    colour = look.of_stage(line.stage)
    x, y = _x("x"), _y("low")
    layers: list[Spec] = []
    if line.counts:
        areas = _segments(line, plot.top)
        fade = {
            "gradient": "linear",
            "x1": 0,
            "x2": 0,
            "y1": 1,
            "y2": 0,
            "stops": [{"offset": 0, "color": f"{colour}52"}, {"offset": 1, "color": f"{colour}00"}],
        }
        for open_, fill in ((True, fade), (False, f"{colour}2e")):
            values = [row for row in areas if row["open"] is open_ and row["high"] > row["low"]]
            if values:
                layers.append(
                    {
                        "data": {"values": values},
                        "mark": {"type": "area", "color": fill, "line": False, "clip": True, "aria": False},
                        "encoding": {"x": x, "y": y, "y2": {"field": "high"}, "detail": {"field": "part"}},
                    }
                )
    thing = things(unit, of["capability"])
    values = [
        {
            "x": at,
            "low": low,
            "Day": _day(at),
            sentence(line.stage): said.replace(" +", f" {thing} +", 1) if "+" in said else f"{said} {thing}",
        }
        for (at, low, _), said in zip(line.points, line.said, strict=True)
    ]
    layers.append(
        {
            "data": {"values": values},
            "mark": {
                "type": "line",
                "interpolate": "step-after",
                "strokeWidth": 2.75 if line.counts else 1.75,
                "strokeJoin": "round",
                "strokeCap": "round",
                "clip": False,
                "aria": False,
            },
            "encoding": {"x": x, "y": y, "color": {"value": colour}},
        }
    )
    layers.append(
        {
            "data": {"values": values},
            "mark": {"type": "point", "filled": True, "size": 26 if line.counts else 16, "opacity": 1, "aria": False},
            "encoding": {
                "x": x,
                "y": y,
                "color": {"value": colour},
                "tooltip": [{"field": "Day", "type": "nominal"}, {"field": sentence(line.stage), "type": "nominal"}],
            },
        }
    )
    return layers


def _label_of(line: Line) -> str:
    return f"{sentence(line.stage)}: {_said(line.row)}"


def _said(row: Answer) -> str:
    return f"{interval(row)} + {row['unknown']} undisclosed" if row["unknown"] else interval(row)


def _labels(answer: Answer, lines: Sequence[Line], plot: Plot, look: Look) -> list[Spec]:
    """Write what each line is beside its end, pushed apart where they would meet."""
    ends = sorted(
        ((plot.y(line.points[-1][1]), plot.x(line.points[-1][0]), line) for line in lines if line.points),
        key=lambda end: -end[0],
    )
    layers: list[Spec] = []
    reviewed = None if answer["complete_to"] is None else plot.x(moment(answer["complete_to"]))
    limit = plot.height - 6  # above the axis
    for y, x, line in ends:
        place = min(y + 4, limit)
        limit = place - ROW
        said = _label_of(line)
        beside = x + 9 + width_of(said, LABEL) <= plot.width + 20
        align: Literal["left", "right"] = "left" if beside else "right"
        at = x + 9 if beside else min(x, plot.width) - 2
        drop = 0 if beside else 9
        weight: Literal["bold", "normal"] = "bold" if line.counts else "normal"
        label = text(said, at, place - drop, look.of_stage(line.stage), LABEL, weight, align)
        ground = look.colours.ground if reviewed is None or at < reviewed else look.colours.beyond
        layers += haloed(label, ground)
    return layers


def _key_rows(lines: Sequence[Line], width: float) -> list[list[tuple[str, str, float, int]]]:
    """Write what the lines are above a narrow plot: (stage, words, x, row) by row."""
    rows: list[list[tuple[str, str, float, int]]] = []
    x = width + 1
    for line in reversed(lines):
        said = f"● {_label_of(line)}"
        if x + width_of(said, LABEL) > width:
            rows.append([])
            x = 0.0
        rows[-1].append((line.stage, said, x, len(rows) - 1))
        x += width_of(said, LABEL) + 16
    return rows


# ------------------------------------------------------------------------------------ the ground and the target


def _x(field: str) -> Spec:
    return {"field": field, "type": "quantitative"}


def _y(field: str) -> Spec:
    return {"field": field, "type": "quantitative"}


def _ground(plot: Plot, look: Look) -> Spec:
    """Draw the axes: a few horizontal lines, days below."""
    ticks = _amounts(plot.top)
    return {
        "data": {"values": [{"x": plot.start, "y": 0}]},
        "mark": {"type": "point", "opacity": 0, "aria": False, "tooltip": None},
        "encoding": {
            "x": {
                "field": "x",
                # milliseconds on a plain scale: without eval, Vega cannot read how Vega-Lite writes temporal domains
                "type": "quantitative",
                "scale": {"domain": [plot.start, plot.end], "nice": False, "zero": False},
                "axis": {
                    "values": _months(plot, look),
                    "labelExpr": "utcFormat(datum.value, utcmonth(datum.value) == 0 ? '%Y' : '%b')",
                    "grid": False,
                    "labelPadding": 6,
                    "labelFlush": True,
                    "domain": True,
                    "aria": False,
                },
            },
            "y": {
                "field": "y",
                "type": "quantitative",
                "scale": {"domain": [0, plot.top], "nice": False, "zero": True},
                "axis": {
                    "values": ticks,
                    "labelExpr": SHORT if look.narrow else LONG,
                    "domain": False,
                    "ticks": False,
                    "grid": True,
                    "labelPadding": 8,
                    "aria": False,
                },
            },
        },
    }


def _amounts(top: float) -> list[float]:
    """Choose round amounts for the lines of the ground, about five of them."""
    rough = top / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.99)
    return [step * count for count in range(int(top / step) + 1)]


def _months(plot: Plot, look: Look) -> list[int]:
    """Choose the months that are named below: as many as there is room for."""
    first, last = (date.fromordinal(at // DAY_MS + date(1970, 1, 1).toordinal()) for at in (plot.start, plot.end))
    count = (last.year - first.year) * YEAR + last.month - first.month + 1
    room = max(2, plot.width // (46 if look.narrow else 64))
    step = next((months for months in MONTHS if count / months <= room), MONTHS[-1])
    months = (divmod(first.year * YEAR + first.month - 1 + ahead, YEAR) for ahead in range(count + 1))
    days = [date(year, month + 1, 1) for year, month in months if (year * YEAR + month) % step == 0]
    return [moment(on.isoformat()) for on in days if plot.start <= moment(on.isoformat()) <= plot.end]


def _day(at: int) -> str:
    return day(date.fromordinal(at // DAY_MS + date(1970, 1, 1).toordinal()).isoformat())


def _beyond(answer: Answer, plot: Plot, look: Look) -> list[Spec]:
    """Draw grey what lies after the last review: there silence says nothing."""
    complete_to = answer["complete_to"]
    if complete_to is None or moment(complete_to) >= plot.end:
        return []
    since = max(0.0, plot.x(moment(complete_to)))
    rectangle: Spec = {
        "data": {"values": [{}]},
        "mark": {"type": "rect", "color": look.colours.beyond, "aria": False, "tooltip": None},
        "encoding": {
            "x": {"value": since},
            "x2": {"value": plot.width},
            "y": {"value": 0},
            "y2": {"value": plot.height},
        },
    }
    size = SOURCE if look.narrow else LABEL
    for said in ([f"Not reviewed after {day(complete_to)}"], ["Not reviewed", f"after {day(complete_to)}"]):
        if max(width_of(line, size) for line in said) + 14 <= plot.width - since:
            return [rectangle, text(said, since + 8, plot.height * 0.30, look.colours.soft, size)]
    return [rectangle]


def _target(answer: Answer, asked: Decimal | None, plot: Plot, look: Look, of: Mapping[str, str]) -> list[Spec]:
    """Draw what was asked for, and the even pace that would have met it."""
    if asked is None:
        return []
    target, colours = answer["target"], look.colours
    y = plot.y(float(asked))
    by = f", {of['stated']}" if of.get("stated") and not look.narrow else ""
    layers = [
        _rule((0, y), (plot.width, y), colours.ink, width=1.5),
        text(f"Target {number(asked)}{by}", 2, y + LABEL + 4, colours.ink, LABEL, "bold"),
    ]
    if target["due_by"] is not None and target["counts"] in ("delivered", "confirmed", "produced"):
        due = plot.x(moment(target["due_by"]))
        origin = plot.x(moment(target["starts_on"]))
        layers.append(_rule((origin, plot.height), (due, y), colours.soft, width=1, dash=[3, 4]))
        middle = (origin + due) / 2, (plot.height + y) / 2
        angle = math.degrees(math.atan2(y - plot.height, due - origin))
        said = "even pace to the deadline"
        if math.hypot(due - origin, y - plot.height) > width_of(said, SOURCE) * 1.4:
            layers.append(text(said, *middle, colours.soft, SOURCE, align="center", angle=round(angle, 1), dy=-6))
    return layers


def _rule(
    start: tuple[float, float], end: tuple[float, float], colour: str, *, width: float, dash: Sequence[int] = ()
) -> Spec:
    return {
        "data": {"values": [{}]},
        "mark": {
            "type": "rule",
            "strokeWidth": width,
            "strokeDash": list(dash),
            "clip": False,
            "aria": False,
            "tooltip": None,
        },
        "encoding": {
            "x": {"value": start[0]},
            "y": {"value": start[1]},
            "x2": {"value": end[0]},
            "y2": {"value": end[1]},
            "color": {"value": colour},
        },
    }


# ------------------------------------------------------------------------------------------------- deadlines


def _deadlines(answer: Answer, x: Any) -> list[Deadline]:  # noqa: ANN401  # a function of milliseconds
    target, said_by = answer["target"], answer.get("said_by", {})
    found = [(past["due_by"], False, past["status"]) for past in target["past_deadlines"]]
    if target["due_by"] is not None:
        found.append((target["due_by"], True, answer["status"]))
    result = []
    for due, now, status in sorted(found):
        who = said_by.get(due)
        came = date.fromisoformat(due) < date.fromisoformat(answer["on"])
        outcome = f": {status.replace('_', ' ')}" if came else ""
        beside = f", {who}" if who else ""
        replaced = "" if now else ", replaced"
        result.append(
            Deadline(
                x=x(moment(due)),
                now=now,
                said=f"{day(due)}{beside}{outcome}",
                noted=f"Due {day(due)}{f' ({who})' if who else ''}{replaced}{outcome}",
            )
        )
    return result


def _rows(deadlines: Sequence[Deadline], width: float) -> list[int] | None:
    """Give each deadline a row above the plot, counted from it; negative ones (-1 is the first) have their label left.

    Labels stand right of their lines where there is room: an earlier line then goes up left of all later labels, and
    crosses none. Otherwise all stand left, and the other way round. None: there is no room at all.
    """
    wide = [width_of(due.said, LABEL) + 8 for due in deadlines]
    to_right = [(due.x, due.x + more) for due, more in zip(deadlines, wide, strict=True)]
    if all(end <= width + 20 for _, end in to_right):
        return _stairs(list(reversed(to_right)))[::-1]
    to_left = [(width - due.x, width - due.x + more) for due, more in zip(deadlines, wide, strict=True)]
    if all(end <= width for _, end in to_left):
        return [-1 - row for row in _stairs(to_left)]
    return None


def _stairs(spans: Sequence[tuple[float, float]]) -> list[int]:
    """Give rows to spans, the farthest beginning first: none reaches into what begins farther, in its row or above."""
    rows: list[int] = []
    begins: list[float] = []  # by row, where the earliest line begins that comes up to it
    for begin, end in spans:
        row = next((row for row, earliest in enumerate(begins) if end <= earliest), len(begins))
        begins[: row + 1] = [begin] * (row + 1)
        rows.append(row)
    return rows


def _marks(deadlines: Sequence[Deadline], rows: Sequence[int] | None, plot: Plot, look: Look) -> list[Spec]:
    colours = look.colours
    layers = []
    for place, due in enumerate(deadlines):
        row = rows[place] if rows is not None else 0
        left, row = row < 0, row if row >= 0 else -1 - row
        ink = colours.ink if due.now else colours.soft
        top = -6 - row * ROW
        layers.append(_rule((due.x, plot.height), (due.x, top - 8), ink, width=1.25, dash=() if due.now else (5, 3)))
        if rows is None:
            layers.append(text(str(place + 1), due.x, top - 11, ink, LABEL, "bold", "center"))
        else:
            weight: Literal["bold", "normal"] = "bold" if due.now else "normal"
            beside = due.x - 5 if left else due.x + 5
            layers.append(text(due.said, beside, top, ink, LABEL, weight, "right" if left else "left"))
    return layers
