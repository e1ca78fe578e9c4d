"""The names that stand in paths and queries, as the ledger spells them."""

from datetime import date
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from shared.amounts import number
from shared.days import Said, first_day, last_day

Code = Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9_-]{1,63}$", examples=["GBR"], description="A party's code")]
Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", examples=["drone-coalition"])]
Capability = Annotated[
    str, Field(pattern=r"^[a-z0-9_-]+(\.[a-z0-9_-]+)*$", max_length=100, examples=["drone", "drone.fpv"])
]
Unit = Annotated[str, Field(pattern=r"^(piece|[A-Z]{3})$", examples=["piece", "EUR"])]
Limit = Annotated[int, Field(ge=1, le=1000, description="The most items of one answer")]
Cursor = Annotated[
    str, Field(max_length=400, pattern=r"^[A-Za-z0-9_-]*$", description="Where the answer before this one ended")
]

Account = Annotated[
    str,
    Field(
        pattern=r"^(pledge-[a-z0-9][a-z0-9_-]{0,63}|production-[A-Z0-9][A-Z0-9_-]{1,63})$",
        description="One pledge, or what one party produced",
        examples=["pledge-gbr-fpv", "production-UKR"],
    ),
]
LABEL = r"^[^\x00=]+=[^\x00]+$"
Labels = Annotated[
    list[Annotated[str, Field(pattern=LABEL, max_length=200)]],
    Field(
        max_length=10,
        description="What carries this label, `key=value`, as known at the position asked for. Said several times: all "
        "of them",
        examples=[["sector=air"]],
    ),
]


def a_period(said: str) -> tuple[date, date]:
    """Read `2026`, `2026-03` or `2025-07..2026-06`: its first and its last day. Raises ValueError."""
    start, dots, end = said.partition("..")
    first, last = first_day(Said(start)), last_day(Said(end if dots else start))
    if last < first:
        raise ValueError(f"the period {said} ends before it begins")
    return first, last


def _checked(said: str) -> str:
    a_period(said)
    return said


Period = Annotated[
    str,
    AfterValidator(_checked),
    Field(
        max_length=24,
        description="Pledges that say they are for days in this period (`2026`, `2026-03`, `2025-07..2026-06`); one "
        "that is for other days too counts [0, whole], one that does not say is left out",
        examples=["2026"],
    ),
]


def label(said: str) -> tuple[str, str]:
    """Read `key=value`."""
    key, _, value = said.partition("=")
    return key, value


def _a_number(said: object) -> Decimal:
    return number(str(said))


Number = Annotated[
    Decimal,
    BeforeValidator(_a_number),
    Field(description="A plain decimal number", examples=["500", "1250.5"]),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,18}(\.[0-9]{1,6})?$", "examples": ["500", "1250.5"]}),
]
