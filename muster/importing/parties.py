"""Who is meant: the code of a state by any of its usual names, and codes for organisations by theirs."""

from __future__ import annotations

import re
import unicodedata
from difflib import get_close_matches
from functools import cache, lru_cache
from hashlib import blake2b
from typing import Final

import pycountry
from babel import Locale

CODE: Final = re.compile(r"[A-Z0-9][A-Z0-9_-]{1,63}")
GOVERNMENT: Final = re.compile(r"(?:(.+), Government of|(?:the )?Government of (?:the )?(.+))", re.IGNORECASE)
LONGEST_CODE: Final = 48
LONGEST_ID: Final = 64

ALSO_KNOWN_AS: Final = {
    "occupied palestinian territory": "PSE",
    "palestinian territory occupied": "PSE",
    "palestine": "PSE",
    "turkey": "TUR",
    "great britain": "GBR",
    "uk": "GBR",
    "usa": "USA",
    "us": "USA",
    "south korea": "KOR",
    "north korea": "PRK",
    "democratic republic of congo": "COD",
    "dr congo": "COD",
    "drc": "COD",
    "republic of congo": "COG",
    "ivory coast": "CIV",
    "cape verde": "CPV",
    "swaziland": "SWZ",
    "macedonia": "MKD",
    "burma": "MMR",
    "holland": "NLD",
    "uae": "ARE",
    "the gambia": "GMB",
    "holy see": "VAT",
}
"""Names that neither ISO 3166 nor CLDR lists, but reports use."""


@cache
def states() -> dict[str, str]:
    """Give the alpha-3 code of every state, by each of its names in normal form."""
    territories = Locale("en").territories
    found: dict[str, str] = {}
    for country in pycountry.countries:
        names = [country.name, getattr(country, "official_name", None), getattr(country, "common_name", None)]
        names += [territories.get(country.alpha_2), territories.get(f"{country.alpha_2}-alt-variant")]
        for name in names:
            if name:
                found.setdefault(normal(name), country.alpha_3)
                found.setdefault(normal(" ".join(reversed(name.split(", ")))), country.alpha_3)
    return found | ALSO_KNOWN_AS


@cache
def codes() -> dict[str, str]:
    """Give the alpha-3 code of every state by its codes of two and of three letters."""
    return {code: country.alpha_3 for country in pycountry.countries for code in (country.alpha_2, country.alpha_3)}


def normal(name: str) -> str:
    """Write a name without case, accents, punctuation, articles and what stands in brackets."""
    bare = re.sub(r"\([^)]*\)", " ", name)
    letters = unicodedata.normalize("NFKD", bare.replace("&", " and "))
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter)).casefold()
    words = re.sub(r"[^\w]+", " ", plain).split()
    return " ".join(word for word in words if word != "the")


@lru_cache(4096)
def state(name: str) -> str | None:
    """Give the code of the state that is meant: by `Korea, Republic of`, `Türkiye`, `Germany, Government of`, `GBR`."""
    government = GOVERNMENT.fullmatch(name.strip())
    bare = next(part for part in government.groups() if part) if government else name.strip()
    return codes().get(bare) or states().get(normal(bare))


def near(name: str) -> list[str]:
    """Give the names of states that are spelt almost so."""
    return get_close_matches(normal(name), states(), n=3, cutoff=0.8)


@lru_cache(65536)
def organisation(name: str) -> str:
    """Give a code for an organisation, always the same for the same name: `Save the Children` is SAVE-THE-CHILDREN.

    Where the name says more than fits or than A-Z can spell, a few letters of its hash keep it apart from others.
    """
    bare = " ".join(name.split())
    letters = unicodedata.normalize("NFKD", bare)
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter)).upper()
    code = re.sub(r"[^A-Z0-9]+", "-", plain).strip("-")
    lost = any(letter.isalpha() and not letter.isascii() for letter in plain)
    if len(code) <= LONGEST_CODE and len(code) > 1 and not lost and code not in codes():
        return code
    return f"{code[:LONGEST_CODE].strip('-') or 'ORG'}-{short(bare)}".upper()


def name_in_path(text: str) -> str:
    """Write a text as part of a name of the ledger: small letters, digits, - and _. Raises ValueError for none."""
    letters = unicodedata.normalize("NFKD", text.strip())
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter)).casefold()
    if any(letter.isalnum() and not letter.isascii() for letter in plain):
        return f"{re.sub(r'[^a-z0-9_]+', '-', plain).strip('-_') or 'x'}-{short(text.strip())}"
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-_")


def short(text: str) -> str:
    """Give six letters that tell a text from another."""
    return blake2b(text.encode(), digest_size=3).hexdigest()
