"""How every chart looks: colours, type, words for numbers and days, and the frame of title, subtitle and source.

Colours are Okabe and Ito's, darkened or lightened until text in them has a contrast of 4.5 to 1 on its ground, so that
a label may have the colour of its line. Promises are one hue, what arrived another, what was confirmed a third.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

from services.projections import names
from shared.amounts import plain
from shared.measures import PIECE

Spec: TypeAlias = dict[str, Any]
"""A Vega-Lite specification, or a part of one."""

Answer: TypeAlias = Mapping[str, Any]
"""The body of an answer, as JSON says it."""

ThemeName = Literal["light", "dark"]

SCHEMA: Final = "https://vega.github.io/schema/vega-lite/v6.json"
"""A name, nothing is fetched from it."""

FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
EM: Final = 0.525
"""The width of an average letter, as a part of the size of the type; a little more than most fonts need."""

NARROW: Final = 560
"""Below this many pixels labels move out of the plot."""

SMALLEST, WIDEST, USUAL = 280, 1600, 760
"""The widths that may be asked for, in pixels, and the one that is drawn when nobody asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """The colours of a ground."""

    ground: str
    ink: str
    soft: str  # secondary text: 4.5 to 1 as well
    line: str  # grid, nothing that has to be read
    beyond: str  # what lies after the last review
    promise: str
    arrived: str
    confirmed: str


THEMES: Final[Mapping[ThemeName, Theme]] = {
    "light": Theme(
        ground="#ffffff",
        ink="#1a1d21",
        soft="#5b6570",
        line="#e3e6e9",
        beyond="#eceef0",
        promise="#a84b00",
        arrived="#0067a5",
        confirmed="#007556",
    ),
    "dark": Theme(
        ground="#1d2024",
        ink="#eceff2",
        soft="#a3adb8",
        line="#363b42",
        beyond="#2a2e33",
        promise="#f0a35e",
        arrived="#62b8ec",
        confirmed="#3fc79e",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """In which colours and how wide, in pixels, a chart is drawn."""

    theme: ThemeName = "light"
    width: int = USUAL

    @property
    def colours(self) -> Theme:
        """The colours of its ground."""
        return THEMES[self.theme]

    @property
    def narrow(self) -> bool:
        """Whether there is no room for labels beside what they name."""
        return self.width < NARROW

    def of_stage(self, stage: str) -> str:
        """Give the colour of a stage."""
        colours = self.colours
        return {"delivered": colours.arrived, "produced": colours.arrived, "confirmed": colours.confirmed}.get(
            stage, colours.promise
        )


# ----------------------------------------------------------------------------------------------------- words

SCALES: Final = ((Decimal(10) ** 9, "billion"), (Decimal(10) ** 6, "million"))
DECIMALS: Final = 2


def number(value: Decimal) -> str:
    """Say a number as a reader wants it, never rounded: `1.5 billion`, `17,345`."""
    for scale, word in SCALES:
        exponent = plain(value / scale).as_tuple().exponent
        if value >= scale and isinstance(exponent, int) and exponent >= -DECIMALS:
            return f"{plain(value / scale):,f} {word}"
    return f"{plain(value):,f}"


def interval(row: Answer) -> str:
    """Say a row of an answer: `at least 17,000`, `450 to 500`, `about 30,000`; what is undisclosed is not in it."""
    low, high = Decimal(row["low"]), None if row["high"] is None else Decimal(row["high"])
    if high is None:
        return f"at least {number(low)}" if low else "some, nobody said how much"
    if high != low:
        return f"{number(low)} to {number(high)}" if low else f"at most {number(high)}"
    return f"about {number(low)}" if row.get("about") else number(low)


def undisclosed(count: int) -> str:
    """Say how many amounts are not in a number; nothing when there are none."""
    if count <= 0:
        return ""
    return "1 amount that nobody disclosed" if count == 1 else f"{count} amounts that nobody disclosed"


def things(unit: str, capability: str) -> str:
    """Name what is counted: the capability for pieces, the currency for money."""
    return capability.lower() if unit == PIECE else names.unit(unit)


def day(iso: str) -> str:
    """Write a day out: `15 Feb 2024`."""
    return f"{date.fromisoformat(iso):%-d %b %Y}"


def moment(iso: str) -> int:
    """Give the start of a day in milliseconds, as a scale of times wants it."""
    return int(datetime.combine(date.fromisoformat(iso), datetime.min.time(), UTC).timestamp() * 1000)


def cited(answer: Answer) -> str:
    """Say where a chart is from, and how to ask for it again."""
    return f"Source: Muster ledger, position {answer['position']}, {answer['cite']['url'].partition('?')[0]}"


def sentence(text: str) -> str:
    """Begin with a capital."""
    return text[:1].upper() + text[1:]


def width_of(text: str, size: float) -> float:
    """Guess how wide a text is, in pixels."""
    return len(text) * size * EM


def wrapped(text: str, width: float, size: float) -> list[str]:
    """Break a text into lines that fit."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and width_of(longer, size) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


# ----------------------------------------------------------------------------------------------------- marks


def text(  # noqa: PLR0917  # as read: what, where, how
    said: str | Sequence[str],
    x: float,
    y: float,
    colour: str,
    size: float = 12,
    weight: Literal["normal", "bold"] = "normal",
    align: Literal["left", "right", "center"] = "left",
    **mark: object,
) -> Spec:
    """Write a text at a place in pixels from the plot's upper left corner."""
    return {
        "data": {"values": [{}]},
        "mark": {
            "type": "text",
            "align": align,
            "baseline": "alphabetic",
            "fontSize": size,
            "fontWeight": weight,
            "lineHeight": round(size * 1.3),
            "clip": False,
            "aria": False,  # the description of the whole says it
            "tooltip": None,
            **mark,
        },
        "encoding": {
            "text": {"value": said if isinstance(said, str) else list(said)},
            "x": {"value": x},
            "y": {"value": y},
            "color": {"value": colour},
        },
    }


def haloed(layer: Spec, ground: str) -> list[Spec]:
    """Let a text stand out from what it is written over."""
    behind = layer | {
        "mark": layer["mark"] | {"stroke": ground, "strokeWidth": 4, "strokeJoin": "round"},
        "encoding": layer["encoding"] | {"color": {"value": ground}},
    }
    return [behind, layer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What stands around a plot: margins in pixels, and the plot's own size."""

    left: float
    top: float
    width: float
    height: float
    right: float
    bottom: float


MARGIN: Final = 12.0
"""Pixels between the edge and everything."""

TITLE: Final = 19.0
TITLE_NARROW: Final = 16.0
SUBTITLE: Final = 13.0
SOURCE: Final = 11.0


def title_size(look: Look) -> float:
    """Give the size of the title's type."""
    return TITLE_NARROW if look.narrow else TITLE


def header(look: Look, title: str, subtitle: str) -> tuple[list[tuple[str, float, bool]], float]:
    """Lay out title and subtitle: lines with their baselines from the top, and whether of the title; their height."""
    lines: list[tuple[str, float, bool]] = []
    size, y = title_size(look), MARGIN - 4
    for line in wrapped(title, look.width - 2 * MARGIN, size * 1.04):
        y += size * 1.25
        lines.append((line, y, True))
    y += 4
    for line in wrapped(subtitle, look.width - 2 * MARGIN, SUBTITLE):
        y += SUBTITLE * 1.35
        lines.append((line, y, False))
    return lines, y


def framed(
    look: Look,
    frame: Frame,
    layers: Iterable[Spec],
    *,
    title: str,
    subtitle: str,
    notes: Iterable[str],
    source: str,
    described: str,
) -> Spec:
    """Put title, subtitle, notes and source around layers; the caller left room for `header` and `footer`."""
    colours = look.colours
    around = [
        text(line, MARGIN - frame.left, y - frame.top, colours.ink, title_size(look), "bold")
        if of_title
        else text(line, MARGIN - frame.left, y - frame.top, colours.soft, SUBTITLE)
        for line, y, of_title in header(look, title, subtitle)[0]
    ]
    below, bottom = footer(look, notes, source), frame.height + frame.bottom - MARGIN
    around += [
        text(line, MARGIN - frame.left, bottom - (len(below) - 1 - place) * SOURCE * 1.4, colours.soft, SOURCE)
        for place, line in enumerate(below)
    ]
    return {
        "$schema": SCHEMA,
        "description": described,
        "background": colours.ground,
        "width": round(frame.width),
        "height": round(frame.height),
        "autosize": {"type": "none"},
        "padding": {
            "left": round(frame.left),
            "top": round(frame.top),
            "right": round(frame.right),
            "bottom": round(frame.bottom),
        },
        "layer": [*layers, *around],
        "config": {
            "font": FONT,
            "view": {"stroke": None},
            "text": {"font": FONT, "color": colours.ink},
            "axis": {
                "labelFont": FONT,
                "labelFontSize": 12,
                "labelColor": colours.soft,
                "gridColor": colours.line,
                "tickColor": colours.line,
                "domainColor": colours.soft,
                "title": None,
            },
            "legend": {"disable": True},
        },
    }


def footer(look: Look, notes: Iterable[str], source: str) -> list[str]:
    """Lay out what stands below a plot: notes, then the source."""
    return [line for said in (*notes, source) for line in wrapped(said, look.width - 2 * MARGIN, SOURCE)]


def footer_height(look: Look, notes: Iterable[str], source: str) -> float:
    """Give how many pixels that takes."""
    return len(footer(look, notes, source)) * SOURCE * 1.4 + MARGIN
