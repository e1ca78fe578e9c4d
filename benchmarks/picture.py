"""Small multiples of what was measured, as the dashboard's charts look: plots from nought, each with its promise.

One picture for light grounds and one for dark, four hundred pixels wide, so that it can be read on a phone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.projections.charts.look import (
    MARGIN,
    THEMES,
    Frame,
    Look,
    Spec,
    Theme,
    footer_height,
    framed,
    header,
    text,
    width_of,
    wrapped,
)
from services.projections.charts.worker import drawn

IMAGES: Final = Path(__file__).resolve().parents[1] / "docs" / "images"
WIDTH: Final = 400
GUTTER: Final = 18.0
BETWEEN: Final = 20.0
"""Pixels between two rows of plots."""

TITLE: Final = 12.0
WORDS: Final = 11.0
APART: Final = 9.0
WIDEST: Final = 1.12
"""How much wider than the average the widest of the usual fonts is."""

LINE: Final = 15.0
LABELS: Final = 34.0
"""Pixels for the numbers at the left of a plot."""

PLOT: Final = 72.0
STEPS: Final = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
DASHES: Final[tuple[tuple[float, ...], ...]] = ((), (5.0, 2.0), (2.0, 2.0))
"""Who cannot tell four colours apart sees full, dashed and dotted."""


@dataclass(frozen=True)
class Series:
    """One line: its name, and its points in the order of x."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Plot:
    """Lines over one scale that begins at nought; `promise` is in the unit of the plot, and said in words."""

    title: str
    series: Sequence[Series]
    promise: float | None = None
    said: str = ""

    @property
    def top(self) -> float:
        """Where the scale ends: a round number above all that is shown. A promise far above the lines is only said."""
        most = max((y for line in self.series for _, y in line.points), default=1.0)
        if self.promise is not None and self.promise <= 4 * most:
            most = max(most, self.promise)
        ten = 10.0 ** math.floor(math.log10(most or 1.0))
        return next(step * ten for step in STEPS if step * ten >= most)


@dataclass(frozen=True)
class Axis:
    """What is below every plot: marks with their words, and where a value stands between 0 and 1."""

    marks: Sequence[tuple[float, str]]
    place: Callable[[float], float]


def of_events(sizes: Sequence[int]) -> Axis:
    """Give the axis of ledgers that grow tenfold from mark to mark."""
    low, high = math.log10(min(sizes)), math.log10(max(sizes))
    whole = high - low or 1.0
    marks = [(10.0**power, short(10.0**power)) for power in range(math.ceil(low - 0.1), math.floor(high + 0.01) + 1)]
    return Axis(marks or [(float(min(sizes)), short(min(sizes)))], lambda x: (math.log10(x) - low) / whole)


def of_minutes(last: float) -> Axis:
    """Give the axis of a run of so many minutes."""
    step = next((step for step in (1, 2, 5, 10, 20, 30, 60) if last / step <= 6), 120)
    marks = [(float(minute), f"{minute} min" if minute else "0") for minute in range(0, int(last) + 1, step)]
    return Axis(marks, lambda x: x / (last or 1.0))


def short(value: float) -> str:
    """Write a number in the room there is: `4.8`, `120`, `12k`, `1M`."""
    for scale, letter in ((1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:.3g}{letter}"
    return f"{value:.3g}"


def chart(
    plots: Sequence[Plot], axis: Axis, look: Look, *, columns: int, title: str, subtitle: str, source: str
) -> Spec:
    """Define the picture: plots in rows of so many, under a title."""
    _, above = header(look, title, subtitle)
    whole = look.width - 2 * MARGIN
    width = (whole - (columns - 1) * GUTTER) / columns
    layers: list[Spec] = [{"data": {"values": [{}]}, "mark": {"type": "point", "opacity": 0, "aria": False}}]
    y = 10.0
    for first in range(0, len(plots), columns):
        row = plots[first : first + columns]
        words = [words_of(plot, width, look.colours) for plot in row]
        head = TITLE + LINE * max(len(lines) for lines in words) + 8
        for number, (plot, lines) in enumerate(zip(row, words, strict=True)):
            layers += plotted(plot, lines, axis, look.colours, x=number * (width + GUTTER), y=y, head=head, width=width)
        y += head + PLOT + LINE + BETWEEN
    frame = Frame(
        left=MARGIN, top=above + 6, width=whole, height=y, right=MARGIN, bottom=footer_height(look, (), source)
    )
    described = f"{title}. {subtitle} " + " ".join(spoken(plot) for plot in plots)
    return framed(look, frame, layers, title=title, subtitle=subtitle, notes=(), source=source, described=described)


def colours_of(colours: Theme) -> tuple[str, ...]:
    """Give the colours of lines, in their order; the promise's own is not among them."""
    return colours.arrived, colours.confirmed, colours.ink, colours.soft


def words_of(plot: Plot, width: float, colours: Theme) -> list[list[tuple[str, str]]]:
    """Lay out what stands between title and plot, in lines of words with their colours: names, last values, promise."""
    said = [
        (f"{line.name} {short(line.points[-1][1])}", colours_of(colours)[number % 4])
        for number, line in enumerate(plot.series)
        if line.points
    ]
    lines: list[list[tuple[str, str]]] = [[]]
    for words, colour in said:
        if lines[-1] and sum(wide(other) + APART for other, _ in lines[-1]) + wide(words) > width:
            lines.append([])
        lines[-1].append((words, colour))
    if plot.said:
        lines += [[(line, colours.promise)] for line in wrapped(f"Promise: {plot.said}", width, WORDS * WIDEST)]
    return lines


def wide(words: str) -> float:
    """Guess how wide a name is, in pixels; no font makes it wider."""
    return width_of(words, WORDS * WIDEST)


def plotted(  # a place and a size, in pixels
    plot: Plot,
    lines: list[list[tuple[str, str]]],
    axis: Axis,
    colours: Theme,
    *,
    x: float,
    y: float,
    head: float,
    width: float,
) -> Iterator[Spec]:
    """Draw one plot with its words, in pixels from the upper left corner."""
    yield text(plot.title, x, y + TITLE - 2, colours.ink, TITLE, "bold")
    for number, line in enumerate(lines):
        right = x
        for words, colour in line:
            yield text(words, right, y + TITLE + LINE * (number + 1) - 2, colour, WORDS)
            right += wide(words) + APART
    left, across, floor, top = x + LABELS, width - LABELS - 6, y + head + PLOT, plot.top

    def at(point: tuple[float, float]) -> dict[str, float]:
        return {"x": left + across * axis.place(point[0]), "y": floor - PLOT * point[1] / top}

    for value in (0.0, top / 2, top):
        height = floor - PLOT * value / top
        yield path([{"x": left, "y": height}, {"x": left + across, "y": height}], colours.line, 1)
        yield text(short(value), left - 5, height + 4, colours.soft, WORDS, align="right")
    for value, words in axis.marks:
        place = left + across * min(1.0, max(0.0, axis.place(value)))
        yield text(
            words, place, floor + LINE, colours.soft, WORDS, align="right" if place > left + across - 8 else "center"
        )
    if plot.promise is not None and plot.promise <= top:
        height = floor - PLOT * plot.promise / top
        yield path([{"x": left, "y": height}, {"x": left + across, "y": height}], colours.promise, 1.5, [6, 4])
    for number, line_ in enumerate(plot.series):
        colour = colours_of(colours)[number % 4]
        points = [at(point) for point in line_.points]
        yield path(points, colour, 2, DASHES[number // 4])
        if len(points) < 20:
            yield dots(points, colour)


def path(points: Sequence[dict[str, float]], colour: str, width: float, dash: Sequence[float] = ()) -> Spec:
    """Draw a line through points in pixels."""
    return {
        "data": {"values": [{**point, "n": number} for number, point in enumerate(points)]},
        "mark": {"type": "line", "strokeWidth": width, "strokeDash": list(dash), "clip": False, "aria": False},
        "encoding": {**places(), "order": {"field": "n", "type": "quantitative"}, "color": {"value": colour}},
    }


def dots(points: Sequence[dict[str, float]], colour: str) -> Spec:
    """Draw a dot at each point, in pixels."""
    return {
        "data": {"values": list(points)},
        "mark": {"type": "point", "filled": True, "size": 28, "opacity": 1, "clip": False, "aria": False},
        "encoding": {**places(), "color": {"value": colour}},
    }


def places() -> Spec:
    """Say that x and y are pixels."""
    return {axis: {"field": axis, "type": "quantitative", "scale": None, "axis": None} for axis in ("x", "y")}


def spoken(plot: Plot) -> str:
    """Say a plot in words, for who cannot see it."""
    lines = "; ".join(
        f"{line.name} {short(line.points[0][1])} to {short(line.points[-1][1])}" for line in plot.series if line.points
    )
    return f"{plot.title}: {lines}." + (f" Promise: {plot.said}." if plot.said else "")


def draw(name: str, specification: Callable[[Look], Spec], width: int = WIDTH) -> list[Path]:
    """Write docs/images/<name>-light.svg and -dark.svg."""
    written = []
    for theme in THEMES:
        file = IMAGES / f"{name}-{theme}.svg"
        file.write_bytes(drawn("svg", json.dumps(specification(Look(theme=theme, width=width))).encode()) + b"\n")
        written.append(file)
    return written
