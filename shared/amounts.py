"""What was promised or delivered, as honest intervals: an amount as it was said, and the vector that totals add."""

from __future__ import annotations

import re
from decimal import Decimal
from operator import add, sub
from typing import Final, Literal, NamedTuple

import msgspec

Qualifier = Literal["exactly", "about", "at_least", "over", "at_most", "almost", "between", "undisclosed", "words"]

ALMOST: Final = Decimal("0.9")
"""`almost x` is [0.9 x, x] about, by our stated convention."""

VAGUE_WORDS: Final = {
    "thousands": Decimal(2_000),
    "tens of thousands": Decimal(20_000),
    "hundreds of thousands": Decimal(200_000),
}
"""The fewest that a plural of thousands can mean; the high stays open."""

NUMBER: Final = re.compile(r"[0-9]{1,18}(\.[0-9]{1,6})?")
"""A number as it may be written: digits, at most six decimals, no sign, no exponent."""


class NotAnAmount(ValueError):
    """What was given cannot be read as an amount."""


class Amount(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An interval in one unit, with the qualifier and the words as said.

    `low` and `high` are in `unit` (`piece`, or an ISO 4217 currency); `high` None is open. An undisclosed amount is
    [0, open) and adds only to a total's count of unknowns.
    """

    unit: str
    qualifier: Qualifier
    low: Decimal
    high: Decimal | None
    words: str | None = None

    @property
    def about(self) -> bool:
        """Whether the numbers are approximate by their own words."""
        return self.qualifier in ("about", "almost")

    @property
    def unknown(self) -> bool:
        """Whether no number was given at all."""
        return self.qualifier == "undisclosed"

    @property
    def vector(self) -> Vector:
        """What this amount adds to a total."""
        return self.of(pledges=0)

    def of(self, *, pledges: int, parts: int = 0, hangs: bool = False) -> Vector:
        """What this amount adds to a total, as that of so many pledges and parts; `hangs`: on conditions."""
        if self.qualifier == "undisclosed":
            return Vector(unknown=1, pledges=pledges, parts=parts)
        low, high = self.low, self.high
        conditional = low if hangs else NOTHING
        if high is None:
            return Vector(low, NOTHING, 1, 0, int(self.about), pledges, parts, NOTHING, conditional)
        return Vector(low, high, 0, 0, int(self.about), pledges, parts, NOTHING, conditional)

    def __str__(self) -> str:
        """Show the amount in words, with its unit."""
        return f"{spoken(self)} {self.unit}"


def number(text: str) -> Decimal:
    """Read a decimal string, without trailing zeros: `500.0` is `500`. Raises NotAnAmount."""
    if not NUMBER.fullmatch(text):
        msg = f"{text[:40]!r} is not a plain decimal number such as 1250 or 0.5 (18 digits and 6 decimals at most)"
        raise NotAnAmount(msg)
    return plain(Decimal(text))


def plain(value: Decimal) -> Decimal:
    """Give the same number without trailing zeros and without an exponent."""
    value = value.normalize()
    return value.quantize(Decimal(1)) if value.as_tuple().exponent > 0 else value  # type: ignore[operator]  # an int here: NaN and Infinity never pass `number`


def amount(
    unit: str, qualifier: Qualifier, said: Decimal | tuple[Decimal, Decimal] | None, words: str | None = None
) -> Amount:
    """Turn what was said into its interval. Raises NotAnAmount where the words say no number we know."""

    def interval(low: Decimal, high: Decimal | None) -> Amount:
        return Amount(
            unit=unit, qualifier=qualifier, low=plain(low), high=None if high is None else plain(high), words=words
        )

    match qualifier, said:
        case "undisclosed", None:
            return interval(Decimal(0), None)
        case "words", None:
            low = VAGUE_WORDS.get(" ".join((words or "").lower().split()))
            if low is None:
                msg = f"the words {words!r} say no number we know; say one of {', '.join(VAGUE_WORDS)}, or a qualifier"
                raise NotAnAmount(msg)
            return interval(low, None)
        case "between", (Decimal() as low, Decimal() as high):
            if low > high:
                msg = f"between {low} and {high} is upside down"
                raise NotAnAmount(msg)
            return interval(low, high)
        case (("exactly" | "about"), Decimal() as x):
            return interval(x, x)
        case (("at_least" | "over"), Decimal() as x):
            return interval(x, None)
        case "at_most", Decimal() as x:
            return interval(Decimal(0), x)
        case "almost", Decimal() as x:
            return interval(ALMOST * x, x)
        case _:
            msg = f"{qualifier} does not go with {said!r}"
            raise NotAnAmount(msg)


def as_said(value: Amount) -> dict[str, object]:
    """Give the amount back in the form it is sent in: the unit, one qualifier, the words."""
    said: dict[str, object] = {"unit": value.unit}
    match value.qualifier:
        case "undisclosed":
            said["undisclosed"] = True
        case "words":
            pass
        case "between":
            said["between"] = [str(value.low), str(value.high)]
        case "at_least" | "over":
            said[value.qualifier] = str(value.low)
        case "exactly" | "about" | "at_most" | "almost":
            said[value.qualifier] = str(value.high)
    if value.words is not None:
        said["words"] = value.words
    return said


def spoken(value: Amount) -> str:
    """Say the amount as a person would, without the unit: `at least 2,000`, `almost 500`, `undisclosed`."""
    match value.qualifier:
        case "undisclosed":
            return "undisclosed"
        case "words":
            return value.words or ""
        case "between":
            return f"between {value.low:,f} and {value.high:,f}"
        case "at_least" | "over":
            return f"{value.qualifier.replace('_', ' ')} {value.low:,f}"
        case "exactly":
            return f"{value.low:,f}"
        case "about" | "at_most" | "almost":
            return f"{value.qualifier.replace('_', ' ')} {value.high:,f}"


NOTHING: Final = Decimal(0)


class Vector(NamedTuple):
    """What totals add, component by component; a posting may be negative.

    `low` and `high` in the unit, `high` summed over what has one; `open`, `unknown`, `about` and `pledges` are counts:
    of open highs, of undisclosed amounts, of approximate ones, of pledges that contribute; `parts` counts a pledge once
    for each row that its known shares split it into. `surplus` is what was delivered above the pledged high, pledge by
    pledge; `conditional` the part of `low` that hangs on conditions.

    It is a tuple because a rebuild makes millions: adding and comparing them is done in C.
    """

    low: Decimal = NOTHING
    high: Decimal = NOTHING
    open: int = 0
    unknown: int = 0
    about: int = 0
    pledges: int = 0
    parts: int = 0
    surplus: Decimal = NOTHING
    conditional: Decimal = NOTHING

    def __add__(self, other: Vector) -> Vector:  # type: ignore[override]  # a sum, not a longer tuple
        """Add componentwise."""
        return Vector._make(map(add, self, other))

    def __neg__(self) -> Vector:
        """Negate componentwise."""
        return ZERO - self

    def __sub__(self, other: Vector) -> Vector:
        """Subtract componentwise: the difference between two states of one total, never of two intervals."""
        return Vector._make(map(sub, self, other))

    def __bool__(self) -> bool:
        """Whether any component differs from zero."""
        return any(self)

    @property
    def bound(self) -> Decimal | None:
        """The answer's high: None while anything in the sum is open."""
        return None if self.open > 0 else self.high


ZERO: Final = Vector()
