"""Party codes that everybody knows already: the states of ISO 3166-1, and whoever is not named."""

from __future__ import annotations

from functools import cache

import pycountry

UNKNOWN = "UNKNOWN"
"""The reserved party that gives what nobody is named for."""


@cache
def states() -> frozenset[str]:
    """Give the codes that need no registration: alpha-3 codes, and UNKNOWN."""
    return frozenset({country.alpha_3 for country in pycountry.countries} | {UNKNOWN})
