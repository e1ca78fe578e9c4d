"""A badge: one line about a target as a small SVG, written by hand so that it costs nothing."""

from __future__ import annotations

from html import escape
from typing import Final

from services.projections.charts.look import Answer, interval

HEIGHT: Final = 20
LETTER: Final = 6.6  # at 11 px, with room for wide fonts
PADDING: Final = 7
GROUNDS: Final = {
    "met": "#00664b",
    "on_track": "#00664b",
    "missed": "#9c2f00",
    "behind": "#9c2f00",
    "unproven": "#5b4a00",
    "open": "#47515b",
    "closed": "#47515b",
}


def badge(answer: Answer) -> str:
    """Draw the badge of `GET /v1/targets/{id}/progress`: how far in percent, and what its status is."""
    row = next(row for row in answer["progress"] if row["counts"])
    low, high = row["percent_low"], row["percent_high"]
    if low is None:
        far = f"{interval(row)} {row['stage']}"
    elif high is None:
        far = f"at least {low} % {row['stage']}"
    else:
        far = f"{low} % {row['stage']}" if low == high else f"{low} to {high} % {row['stage']}"
    status = str(answer["status"])
    return _two(str(answer["target"]["id"]), f"{far}, {status.replace('_', ' ')}", GROUNDS[status])


def _two(name: str, said: str, ground: str) -> str:
    first, second = (round(len(part) * LETTER + 2 * PADDING) for part in (name, said))
    whole = first + second
    name, said = escape(name), escape(said)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="{HEIGHT}" viewBox="0 0 {whole} {HEIGHT}" '
        f'role="img" aria-label="{name}: {said}"><title>{name}: {said}</title>'
        f'<clipPath id="r"><rect width="{whole}" height="{HEIGHT}" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{first}" height="{HEIGHT}" fill="#2b3138"/>'
        f'<rect x="{first}" width="{second}" height="{HEIGHT}" fill="{ground}"/></g>'
        '<g fill="#fff" text-anchor="middle" font-size="11" '
        "font-family=\"Verdana, 'DejaVu Sans', Geneva, sans-serif\">"
        f'<text x="{first / 2}" y="14" textLength="{first - 2 * PADDING}" lengthAdjust="spacingAndGlyphs">{name}</text>'
        f'<text x="{first + second / 2}" y="14" textLength="{second - 2 * PADDING}" '
        f'lengthAdjust="spacingAndGlyphs">{said}</text></g></svg>\n'
    )
