"""What codes are called when people read them: countries as CLDR names them, units, stages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

import pycountry
from babel import Locale, UnknownLocaleError
from babel.numbers import get_currency_name

from shared.measures import PIECE

LANGUAGE: Final = "en"
NOBODY: Final = "UNKNOWN"
"""The reserved party that gives what nobody is named for."""

STAGES: Final[Mapping[str, str]] = {
    "pledged": "announced",
    "committed": "firm, in writing, funded",
    "paid": "money released, to whoever is the recipient",
    "allocated": "a specific package for delivery",
    "contracted": "ordered",
    "delivered": "with the beneficiary, as its reporter says",
    "confirmed": "with the beneficiary, as the beneficiary or a third party says",
    "produced": "made by the party itself",
}
"""What each stage means, in the order in which they may come."""


@cache
def countries(language: str = LANGUAGE) -> Mapping[str, str]:
    """Give the name of every state by its ISO 3166-1 alpha-3 code, in a language that CLDR knows."""
    try:
        territories = Locale.parse(language).territories
    except (UnknownLocaleError, ValueError):
        territories = Locale(LANGUAGE).territories
    found = {country.alpha_3: territories.get(country.alpha_2, country.name) for country in pycountry.countries}
    return found | {"XKX": territories.get("XK", "Kosovo"), NOBODY: "not named"}


def party(code: str, registered: Mapping[str, str] | None = None) -> str:
    """Give a party's name: as it was registered, as CLDR names the state, else its code."""
    return (registered or {}).get(code) or countries().get(code) or code


def capability(code: str, registered: Mapping[str, str] | None = None) -> str:
    """Give a capability's name as it stands in a sentence: `interceptor drones`; its code where nobody named it."""
    name = (registered or {}).get(code)
    if name is None:
        return code
    return name if name[:2].isupper() else name[:1].lower() + name[1:]


def unit(code: str) -> str:
    """Give a unit's name: `pieces`, or the currency's."""
    return "pieces" if code == PIECE else currency(code)


@cache
def currency(code: str) -> str:
    """Give the plural name of a currency, or its code where CLDR has none."""
    return get_currency_name(code, count=2, locale=LANGUAGE) or code
