"""What the bodies of commands are made of: each form is checked as it is sent and becomes a value of the ledger.

Strict throughout: unknown fields, floats and foreign types are refused, and an error names the field it is about.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Final, Protocol, TypeVar

import pycountry
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PlainValidator,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from shared.amounts import Amount, Qualifier, amount, number
from shared.days import Said, first_day, last_day, said
from shared.events.coalitions import Instrument, Member, Role
from shared.events.pledges import Also, Basis, Period, Relation, RelationKind, Share
from shared.measures import MEMBER, PERCENT, PIECE
from shared.sources import Reference, Source, SourceKind

V = TypeVar("V")

REMEMBERED: Final = 500
"""How many parts of each form are remembered; the longest source takes some 10 KiB."""

TEXTS: Final = {str}

ID: Final = r"^[a-z0-9][a-z0-9_-]{0,63}$"
PARTY: Final = r"^[A-Z0-9][A-Z0-9_-]{1,63}$"
CAPABILITY: Final = r"^[a-z0-9_-]+(\.[a-z0-9_-]+)*$"
URL: Final = r"^[Hh][Tt][Tt][Pp][Ss]?://[A-Za-z0-9\u00a1-\uffdc._~%-]+(:[0-9]{1,5})?([/?#][^\s]*)?$"
NUMBER: Final = r"^[0-9]{1,18}(\.[0-9]{1,6})?$"
DAY: Final = (
    r"^(?!0000)[0-9]{4}(-(0[1-9]|1[0-2])|-(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])"
    r"|-(0[469]|11)-(0[1-9]|[12][0-9]|30)|-02-(0[1-9]|[12][0-9]))?$"
)
SAYS_SOMETHING: Final = r"^[^\u0000]*[^\s\u0000][^\u0000]*$"
LABEL: Final = r"^[^\s:=\u0000]([^:=\u0000]*[^\s:=\u0000])?$"

SPELLINGS: Final = {
    ID: "a small letter or a digit, then up to 63 of small letters, digits, _ and - (no dots)",
    PARTY: "a code of capital letters, digits, _ and -, such as GBR or NATO",
    CAPABILITY: "a code of small letters, digits, _ and -, in parts with dots between, such as drone.fpv",
    LABEL: "a key without : and = in it",
    r"\S": "a text that says something",
}
"""What each pattern asks for, as a person would say it."""

UNITS: Final = (PIECE, *sorted({currency.alpha_3 for currency in pycountry.currencies} - {"XXX", "XTS"}))
"""What is pledged and delivered is counted in pieces or in a currency; XXX (none) and XTS (tests) are no money."""

STATED_UNITS: Final = {"amount": UNITS, "members": (MEMBER,), "percent": (PERCENT,)}
"""What a stated total is counted in, by its measure."""


class Form(BaseModel):
    """A part of a body: strict, and nothing beside its fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Means(Protocol):
    """A form that says what it means."""

    def value(self) -> Any:  # noqa: ANN401  # each form its own value
        """Give the value of the ledger that was said."""


@dataclass(frozen=True, slots=True)
class By:
    """Annotates a field of the ledger's type with the form it is sent in."""

    form: type[BaseModel]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the form, then take its value."""
        checked = core_schema.no_info_after_validator_function(_value, handler.generate_schema(self.form))
        return core_schema.no_info_wrap_validator_function(remembering(self.form), checked)


@dataclass(frozen=True, slots=True)
class Remembering:
    """Checks a part of a body once, as long as it is remembered: commands repeat their sources, donors and amounts.

    Only parts that hold nothing but texts: `1` would be taken for `true`. What they become is a value of the ledger,
    which never changes; what is wrong is found anew each time.
    """

    known: dict[tuple[tuple[str, str], ...], object] = field(default_factory=dict)

    def __call__(self, said: object, check: ValidatorFunctionWrapHandler) -> object:
        """Give the value of a part. Raises as `check` does."""
        if not isinstance(said, dict):
            return check(said)
        key = tuple(said.items())
        try:
            found = self.known.get(key)
        except TypeError:  # it holds a list, or a part of its own
            return check(said)
        if found is None:
            found = check(said)
            if set(map(type, said.values())) == TEXTS:  # nothing but a text is equal to a text
                if len(self.known) >= REMEMBERED:
                    self.known.clear()
                self.known[key] = found
        return found


@cache
def remembering(_: type[BaseModel]) -> Remembering:
    """Give the one memory of a form, wherever the form stands."""
    return Remembering()


def _value(form: Means) -> object:
    return form.value()


def many(least: int = 0, most: int = 200) -> Any:  # noqa: ANN401  # pydantic's Field is typed so
    """Bound a list: JSON has no tuples, so a list is taken for one."""
    return Field(min_length=least, max_length=most, strict=False)


def refuse(kind: str, detail: str) -> PydanticCustomError:
    """Make the error for a field that is wrong; the detail is shown as it stands."""
    return PydanticCustomError(kind, "{detail}", {"detail": detail})


def twice(kind: str, keys: Iterable[object]) -> None:
    """Refuse a list that names the same thing twice."""
    seen: set[object] = set()
    for key in keys:
        if key in seen:
            raise refuse("twice", f"{key} is {kind} more than once")
        seen.add(key)


# ------------------------------------------------------------------------------------------------ names, texts, days


def _text(most: int) -> Any:  # noqa: ANN401  # likewise
    return Field(min_length=1, max_length=most, pattern=r"\S", json_schema_extra={"pattern": SAYS_SOMETHING})


Word = Annotated[str, _text(200)]
"""A name, a title, a publisher."""
Text = Annotated[str, _text(4000)]
"""A few sentences: a reason, a purpose, a note."""
Quote = Annotated[str, _text(1000)]
Id = Annotated[str, Field(pattern=ID)]
PartyCode = Annotated[str, Field(pattern=PARTY)]
Capability = Annotated[str, Field(pattern=CAPABILITY, max_length=100)]
LabelKey = Annotated[str, Field(max_length=64, pattern=LABEL)]


def _url(text: str) -> str:
    if not re.fullmatch(URL, text):
        raise refuse("url", "a url begins with http:// or https:// and a host")
    return text


Url = Annotated[str, Field(max_length=2000, json_schema_extra={"pattern": URL}), AfterValidator(_url)]


def _day(value: object) -> Said:
    if not isinstance(value, str):
        raise refuse("day", 'a day is written "2024-02-15", a month "2024-02", a year "2024"')
    return said(value)


Day = Annotated[
    Said,
    PlainValidator(_day),
    WithJsonSchema({"type": "string", "pattern": DAY, "description": "A day, a month or a year, as it was said."}),
]


# ------------------------------------------------------------------------------------------------ amounts


def _number(value: object) -> Decimal:
    if not isinstance(value, str):
        raise refuse(
            "decimal_string", 'a number is written as a decimal string such as "1250" or "0.5", never as a float'
        )
    if value.startswith("-"):
        raise refuse("negative", "an amount is never negative; zero is a number")
    return number(value)


def _unit(among: tuple[str, ...], kinds: str) -> Callable[[object], str]:
    known = frozenset(among)

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            raise refuse("unit", f"{str(value)[:40]!r} is no unit; a unit is {kinds}")
        return value

    return check


NUMBER_SCHEMA: Final = {"type": "string", "pattern": NUMBER, "description": "A decimal string, never a float."}
Unsaid = Annotated[Decimal | None, PlainValidator(_number), WithJsonSchema(NUMBER_SCHEMA)]
Number = Annotated[Decimal, PlainValidator(_number), WithJsonSchema(NUMBER_SCHEMA)]
Unit = Annotated[
    str,
    PlainValidator(_unit(UNITS, "`piece` or an ISO 4217 currency code")),
    WithJsonSchema({"type": "string", "enum": list(UNITS)}),
]
StatedUnit = Annotated[
    str,
    PlainValidator(_unit((*UNITS, MEMBER, PERCENT), "`piece`, an ISO 4217 currency code, `member` or `percent`")),
    WithJsonSchema({"type": "string", "enum": [*UNITS, MEMBER, PERCENT]}),
]

QUALIFIERS: Final[tuple[Qualifier, ...]] = (
    "exactly",
    "about",
    "at_least",
    "over",
    "at_most",
    "almost",
    "between",
    "undisclosed",
)
ONE_QUALIFIER: Final[dict[str, Any]] = {
    "oneOf": [
        *({"required": [name]} for name in QUALIFIERS),
        {
            "required": ["words"],
            "properties": {"words": {"enum": ["thousands", "tens of thousands", "hundreds of thousands"]}},
            "not": {"anyOf": [{"required": [name]} for name in QUALIFIERS]},
        },
    ]
}


def _true(value: bool) -> bool:  # noqa: FBT001  # a validator's signature
    if not value:
        raise refuse("undisclosed", "undisclosed is true or not there")
    return value


class Quantity(Form):
    """An amount as somebody said it, without its unit: exactly one qualifier, or words alone; words go with any."""

    exactly: Unsaid = None
    about: Unsaid = None
    at_least: Unsaid = None
    over: Unsaid = None
    at_most: Unsaid = None
    almost: Unsaid = None
    between: Annotated[tuple[Number, Number], Field(strict=False)] = None  # type: ignore[assignment]  # absent, but not null
    undisclosed: Annotated[bool, AfterValidator(_true), WithJsonSchema({"const": True})] = None  # type: ignore[assignment]  # likewise
    words: Word = None  # type: ignore[assignment]  # likewise

    def said_of(self, unit: str) -> Amount:
        """Give the interval in a unit. Raises an error that pydantic places at the amount."""
        said = self.model_fields_set
        chosen = [name for name in QUALIFIERS if name in said]  # none of them can be said to be null
        if len(chosen) > 1:
            raise refuse("qualifier", f"one qualifier, not {len(chosen)}: {', '.join(chosen)}")
        if not chosen and self.words is None:
            raise refuse("qualifier", f"say how much: one of {', '.join(QUALIFIERS)}, or words alone")
        qualifier: Qualifier = chosen[0] if chosen else "words"
        number_said = None if qualifier in ("undisclosed", "words") else getattr(self, qualifier)
        return amount(unit, qualifier, number_said, self.words)


class AmountForm(Quantity):
    """An amount as somebody said it."""

    model_config = ConfigDict(
        title="Amount",
        json_schema_extra=ONE_QUALIFIER
        | {"examples": [{"unit": "piece", "at_least": "2000", "words": "thousands more"}]},
    )

    unit: Unit

    def value(self) -> Amount:
        """Give the amount as an interval."""
        return self.said_of(self.unit)


class StatedAmountForm(Quantity):
    """An amount of a stated total: of pieces or money, of members, or in percent."""

    model_config = ConfigDict(title="StatedAmount", json_schema_extra=ONE_QUALIFIER)

    unit: StatedUnit

    def value(self) -> Amount:
        """Give the amount as an interval."""
        return self.said_of(self.unit)


AnAmount = Annotated[Amount, By(AmountForm)]
AStatedAmount = Annotated[Amount, By(StatedAmountForm)]


class AlsoForm(Quantity):
    """The same thing in another measure: an amount with what it counts and where the number is from."""

    model_config = ConfigDict(
        title="Also",
        json_schema_extra=ONE_QUALIFIER | {"examples": [{"unit": "GBP", "exactly": "45000000", "basis": "stated"}]},
    )

    unit: Unit
    capability: Capability | None = None
    basis: Basis = "stated"
    rate: Word | None = None
    by: Word | None = None

    def value(self) -> Also:
        """Give the other measure."""
        return Also(
            amount=self.said_of(self.unit), capability=self.capability, basis=self.basis, rate=self.rate, by=self.by
        )


def _measures(also: tuple[Also, ...]) -> tuple[Also, ...]:
    twice("said", (f"{one.capability or 'the capability'} in {one.amount.unit}" for one in also))
    return also


Alsos = Annotated[tuple[Annotated[Also, By(AlsoForm)], ...], many(most=20), AfterValidator(_measures)]
SomeAlsos = Annotated[tuple[Annotated[Also, By(AlsoForm)], ...], many(1, 20), AfterValidator(_measures)]


# ------------------------------------------------------------------------------------------------ parties and relations


class ShareForm(Form):
    """A party, and its part of the whole where that is known, in the unit of the whole."""

    model_config = ConfigDict(title="Share", json_schema_extra={"examples": [{"party": "GBR"}]})

    party: PartyCode
    share: AnAmount | None = None

    def value(self) -> Share:
        """Give the share."""
        return Share(party=self.party, share=self.share)


def _once(shares: tuple[Share, ...]) -> tuple[Share, ...]:
    twice("named", (share.party for share in shares))
    return shares


Shares = Annotated[tuple[Annotated[Share, By(ShareForm)], ...], many(1), AfterValidator(_once)]


class MemberForm(Form):
    """A founding member; `on` is the day of formation where it is not said."""

    model_config = ConfigDict(title="Member", json_schema_extra={"examples": [{"party": "LVA", "role": "lead"}]})

    party: PartyCode
    role: Role
    instrument: Instrument | None = None
    on: Day | None = None

    def value(self) -> Member:
        """Give the member."""
        return Member(party=self.party, role=self.role, instrument=self.instrument, on=self.on)


def _members(members: tuple[Member, ...]) -> tuple[Member, ...]:
    twice("named", (member.party for member in members))
    return members


Members = Annotated[tuple[Annotated[Member, By(MemberForm)], ...], many(most=300), AfterValidator(_members)]


class RelationForm(Form):
    """What a pledge is to others."""

    model_config = ConfigDict(
        title="Relation", json_schema_extra={"examples": [{"kind": "restates", "of": ["gbr-fpv"]}]}
    )

    kind: RelationKind
    of: Annotated[tuple[Id, ...], many(most=100)] = ()

    def value(self) -> Relation:
        """Give the relation."""
        twice("named", self.of)
        if self.kind == "new" and self.of:
            raise refuse("relation", "what is new is of no other pledge; say what it is to them, or leave `of` away")
        return Relation(kind=self.kind, of=self.of)


class PeriodForm(Form):
    """Days, months or years, both included."""

    model_config = ConfigDict(title="Period", json_schema_extra={"examples": [{"from": "2024-01", "to": "2024-12"}]})

    start: Annotated[Day, Field(alias="from")]
    end: Annotated[Day, Field(alias="to")]

    def value(self) -> Period:
        """Give the period. Raises an error that pydantic places at the period."""
        if last_day(self.end) < first_day(self.start):
            raise refuse("period", f"a period from {self.start} to {self.end} is upside down")
        return Period(start=self.start, end=self.end)


ARelation = Annotated[Relation, By(RelationForm)]
APeriod = Annotated[Period, By(PeriodForm)]


# ------------------------------------------------------------------------------------------------ sources, every body


class SourceForm(Form):
    """Where a fact comes from: a url, or a publisher with a title."""

    model_config = ConfigDict(
        title="Source",
        json_schema_extra={
            "anyOf": [
                {"required": ["url"], "properties": {"url": {"type": "string"}}},
                {
                    "required": ["publisher", "title"],
                    "properties": {"publisher": {"type": "string"}, "title": {"type": "string"}},
                },
            ],
            "examples": [{"url": "https://example.org/drones", "publisher": "Example", "published_on": "2024-02-15"}],
        },
    )

    url: Url | None = None
    publisher: Word | None = None
    title: Annotated[str, _text(500)] | None = None
    kind: SourceKind | None = None
    published_on: Day | None = None
    speaker: Word | None = None
    quote: Quote | None = None
    archived_url: Url | None = None

    def value(self) -> Source:
        """Give the source."""
        if self.url is None and (self.publisher is None or self.title is None):
            raise refuse("source", "a source is a url, or a publisher with a title")
        return Source(**vars(self))


class ReferenceForm(Form):
    """The name another system has for this fact."""

    model_config = ConfigDict(title="Reference", json_schema_extra={"examples": [{"scheme": "fts", "id": "214567"}]})

    scheme: Word
    id: Word
    version: Word | None = None

    def value(self) -> Reference:
        """Give the reference."""
        return Reference(scheme=self.scheme, id=self.id, version=self.version)


ASource = Annotated[Source, By(SourceForm)]
Sources = Annotated[tuple[ASource, ...], many(1, 50)]
MoreSources = Annotated[tuple[ASource, ...], many(most=50)]
Labels = Annotated[
    dict[LabelKey, Annotated[tuple[Word, ...], many(1, 50)]],
    Field(max_length=50, json_schema_extra={"additionalProperties": False}),
]


class Body(Form):
    """What every body may carry; its other fields are those of the entry it becomes."""

    reported_on: Day | None = None
    labels: Labels = Field(default_factory=dict)
    refs: Annotated[tuple[Annotated[Reference, By(ReferenceForm)], ...], many(most=50)] = ()
    note: Text | None = None

    def fields(self) -> dict[str, Any]:
        """Give the entry's fields as they were said; label keys have no order."""
        return vars(self) | {"labels": dict(sorted(self.labels.items()))}

    def pointer(self, pointer: str) -> str:
        """Give the pointer into this body for one into the entry it becomes."""
        return pointer


class Fact(Body):
    """A fact about the world: it has at least one source."""

    sources: Sources
