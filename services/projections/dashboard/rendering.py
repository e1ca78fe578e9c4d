"""The pages' templates, and the few words they need for numbers, days and links. Everything is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from services.projections import names

FOLDER: Final = Path(__file__).parent
STYLE: Final = FOLDER / "muster.css"
SCRIPT: Final = FOLDER / "live.js"

STATUSES: Final = {
    "met": "met",
    "missed": "missed",
    "unproven": "past due, unproven",
    "on_track": "on track",
    "behind": "behind",
    "open": "open",
    "closed": "closed",
}


def number(value: str | int | None) -> str:
    """Group the digits of a decimal string: `12,000.5`; None is `open`."""
    if value is None:
        return "open"
    whole, point, rest = str(value).partition(".")
    return f"{int(whole):,}".replace("-", "\N{MINUS SIGN}") + point + rest


def said(found: Mapping[str, Any]) -> str:
    """Say an interval in as few words as are true: `5,000`, `about 5,000`, `400 to 600`, `at least 2,000`, `open`."""
    low, high = found["low"], found["high"]
    if high is None:
        return "open" if low == "0" else f"at least {number(low)}"
    if low == high:
        return f"about {number(low)}" if found["about"] else number(low)
    return f"up to {number(high)}" if low == "0" else f"{number(low)} to {number(high)}"


def day(value: date | str | None) -> str:
    """Write a day, a month or a year as people read it: `15 Feb 2024`, `Feb 2024`, `2024`."""
    if value is None:
        return ""
    if isinstance(value, str):
        parts = value.split("-")
        if len(parts) == 1:
            return value
        if len(parts) == 2:  # noqa: PLR2004  # a year and a month
            return date.fromisoformat(f"{value}-01").strftime("%b %Y")
        value = date.fromisoformat(value)
    return f"{value.day} {value.strftime('%b %Y')}"


def page_of(link: str) -> str:
    """Give the page that shows what an address of the API answers."""
    for api, page in (("/v1/postings", "/explain"), ("/v1/", "/")):
        if link.startswith(api):
            return (page + link.removeprefix(api)).removesuffix("/progress")
    return link


def external(source: Mapping[str, Any]) -> Markup:
    """Show a source: a link to it if its address is http or https, else its publisher and title."""
    parts = [source.get("publisher"), source.get("title")]
    url = source.get("url")
    words = ", ".join(part for part in parts if part) or _host(url)
    if not is_link(url):
        return Markup("<span>{}</span>").format(words)
    return Markup('<a href="{}" rel="noopener noreferrer external">{}</a>').format(url, words)


def is_link(url: str | None) -> bool:
    """Whether an address may be shown as a link: http or https, with a host, and nothing that scripts."""
    if url is None:
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _host(url: object) -> str:
    return (urlsplit(str(url)).hostname or str(url)).removeprefix("www.")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "said": said,
        "day": day,
        "page": page_of,
        "external": external,
        "party": names.party,
        "capability": names.capability,
        "unit": names.unit,
    }
    environment.globals |= {"STAGES": names.STAGES, "STATUSES": STATUSES}
    return environment


ENVIRONMENT: Final = _environment()


def render(template: str, **values: Any) -> str:  # noqa: ANN401  # whatever the template shows
    """Render a page. Raises jinja2.UndefinedError for a value that is not there."""
    return ENVIRONMENT.get_template(template).render(**values)
