"""Pledges: what was announced, how firm it became, what arrived."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from shared.amounts import Amount
from shared.days import Said
from shared.events.entry import Entry, coalition, known, party
from shared.measures import FinanceType, Stage

RelationKind = Literal["new", "increase", "replaces", "part_of", "restates", "decrease", "unknown"]
Covers = Literal["this", "so_far"]
Basis = Literal["stated", "converted", "valued"]


class Share(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A party, and its part of the whole where that is known (in the pledge's unit)."""

    party: str
    share: Amount | None = None


class Also(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The same thing in another measure; it never adds to the first."""

    amount: Amount
    capability: str | None = None  # default: the pledge's
    basis: Basis = msgspec.field(default_factory=lambda: "stated")  # written also where nobody said it
    rate: str | None = None
    by: str | None = None


class Relation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a pledge is to others: new money, more of it, or the same said again."""

    kind: RelationKind
    of: tuple[str, ...] = ()


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """The days, months or years that something is for, both included."""

    start: Said = msgspec.field(name="from")
    end: Said = msgspec.field(name="to")


class PledgeContext(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What places an event about a pledge for a reader who has not seen the pledge."""

    donors: tuple[str, ...]
    capability: str
    coalition: str | None = None
    beneficiaries: tuple[str, ...] = ()
    unit: str | None = None


class PledgeAnnounced(Entry, frozen=True, kw_only=True):
    """Somebody announced what they mean to give. Without an amount, a later stage was the first news."""

    TYPE: ClassVar[str] = "pledge.announced"
    DAY: ClassVar[str] = "announced_on"
    OPENS: ClassVar[bool] = True

    pledge: str
    donors: tuple[Share, ...]
    capability: str
    announced_on: Said
    coalition: str | None = None
    beneficiaries: tuple[Share, ...] = ()
    recipient: str | None = None  # who receives first: a fund, an agency
    amount: Amount | None = None
    also: tuple[Also, ...] = ()
    due_by: Said | None = None
    for_period: Period | None = None
    finance_type: FinanceType | None = None
    conditions: str | None = None
    relation: Relation | None = None
    new_money: bool = True

    @property
    def stream(self) -> str:
        return f"pledge-{self.pledge}"

    @property
    def context(self) -> PledgeContext:
        """What later events about this pledge repeat."""
        return PledgeContext(
            coalition=self.coalition,
            donors=tuple(donor.party for donor in self.donors),
            beneficiaries=tuple(beneficiary.party for beneficiary in self.beneficiaries),
            capability=self.capability,
            unit=None if self.amount is None else self.amount.unit,
        )

    @property
    def coalitions(self) -> tuple[str, ...]:
        return () if self.coalition is None else (self.coalition,)

    @property
    def parties(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([share.party for share in (*self.donors, *self.beneficiaries)]))

    @property
    def mentions(self) -> dict[str, str]:
        found: dict[str, str] = {}
        if self.coalition is not None:
            found["/coalition"] = f"coalition-{self.coalition}"
        if self.recipient is not None:
            found["/recipient"] = f"party-{self.recipient}"
        for n, donor in enumerate(self.donors):
            found[f"/donors/{n}/party"] = f"party-{donor.party}"
        for n, beneficiary in enumerate(self.beneficiaries):
            found[f"/beneficiaries/{n}/party"] = f"party-{beneficiary.party}"
        return found if self.relation is None else found | related(self.relation)


class PledgeEntry(Entry, frozen=True, kw_only=True):
    """Something that happened to a pledge."""

    DAY: ClassVar[str] = "on"

    pledge: str
    context: PledgeContext | None = None  # filled in when it is recorded

    @property
    def stream(self) -> str:
        return f"pledge-{self.pledge}"

    @property
    def coalitions(self) -> tuple[str, ...]:
        return () if self.context is None or self.context.coalition is None else (self.context.coalition,)

    @property
    def parties(self) -> tuple[str, ...]:
        return () if self.context is None else parties_of(self.context)


class PledgeRevised(PledgeEntry, frozen=True, kw_only=True):
    """The pledge itself changed, from its day on; what is None stays as it was."""

    TYPE: ClassVar[str] = "pledge.revised"

    on: Said
    reason: str
    amount: Amount | None = None
    also: tuple[Also, ...] | None = None
    due_by: Said | None = None
    donors: tuple[Share, ...] | None = None

    @property
    def mentions(self) -> dict[str, str]:
        return _each("donors", self.donors or ())


class StageReached(PledgeEntry, frozen=True, kw_only=True):
    """So far, this much of the pledge has come to a stage."""

    STAGE: ClassVar[Stage]

    on: Said
    amount: Amount
    also: tuple[Also, ...] = ()
    reference: str | None = None  # a contract number, a decision


class PledgeCommitted(StageReached, frozen=True, kw_only=True):
    """Firm, in writing, funded."""

    TYPE: ClassVar[str] = "pledge.committed"
    STAGE: ClassVar[Stage] = "committed"


class PledgePaid(StageReached, frozen=True, kw_only=True):
    """Money was released, to whoever is the recipient."""

    TYPE: ClassVar[str] = "pledge.paid"
    STAGE: ClassVar[Stage] = "paid"


class PledgeAllocated(StageReached, frozen=True, kw_only=True):
    """A specific package for delivery was put together."""

    TYPE: ClassVar[str] = "pledge.allocated"
    STAGE: ClassVar[Stage] = "allocated"


class PledgeContracted(StageReached, frozen=True, kw_only=True):
    """It was ordered."""

    TYPE: ClassVar[str] = "pledge.contracted"
    STAGE: ClassVar[Stage] = "contracted"


class PledgeRelated(PledgeEntry, frozen=True, kw_only=True):
    """It became known what the pledge is to others."""

    TYPE: ClassVar[str] = "pledge.related"

    on: Said
    relation: Relation

    @property
    def mentions(self) -> dict[str, str]:
        return related(self.relation)


class PledgeReallocated(PledgeEntry, frozen=True, kw_only=True):
    """The whole pledge counts towards another coalition, or none, from that day."""

    TYPE: ClassVar[str] = "pledge.reallocated"

    on: Said
    coalition: str | None = None

    @property
    def coalitions(self) -> tuple[str, ...]:
        left = () if self.context is None or self.context.coalition is None else (self.context.coalition,)
        return left if self.coalition is None or self.coalition in left else (*left, self.coalition)

    @property
    def mentions(self) -> dict[str, str]:
        return known(coalition=coalition(self.coalition))


class PledgeWithdrawn(PledgeEntry, frozen=True, kw_only=True):
    """The donor takes the promise back; what was delivered stays delivered."""

    TYPE: ClassVar[str] = "pledge.withdrawn"

    on: Said
    reason: str


class PledgeLapsed(PledgeEntry, frozen=True, kw_only=True):
    """The promise ended unfulfilled."""

    TYPE: ClassVar[str] = "pledge.lapsed"

    on: Said
    reason: str


class DeliveryEntry(PledgeEntry, frozen=True, kw_only=True):
    """Something that happened to one delivery against a pledge."""

    delivery: str


class DeliveryReported(DeliveryEntry, frozen=True, kw_only=True):
    """Its reporter says that goods or money arrived; `so_far` replaces what was reported before."""

    TYPE: ClassVar[str] = "pledge.delivery_reported"
    DAY: ClassVar[str] = "delivered_on"
    OPENS: ClassVar[bool] = True

    amount: Amount
    delivered_on: Said
    reported_by: str
    covers: Covers = "this"
    capability: str | None = None  # default: the pledge's
    also: tuple[Also, ...] = ()
    confirmed_by: str | None = None

    @property
    def mentions(self) -> dict[str, str]:
        return known(reported_by=party(self.reported_by), confirmed_by=party(self.confirmed_by))


class DeliveryConfirmed(DeliveryEntry, frozen=True, kw_only=True):
    """The beneficiary or a third party counted what arrived; no amount means: all that was reported."""

    TYPE: ClassVar[str] = "pledge.delivery_confirmed"

    on: Said
    by: str
    amount: Amount | None = None

    @property
    def mentions(self) -> dict[str, str]:
        return known(by=party(self.by))


class DeliveryDisputed(DeliveryEntry, frozen=True, kw_only=True):
    """Somebody says it did not arrive as reported: [0, claimed] until it is settled."""

    TYPE: ClassVar[str] = "pledge.delivery_disputed"

    on: Said
    by: str
    reason: str

    @property
    def mentions(self) -> dict[str, str]:
        return known(by=party(self.by))


class DeliveryReversed(DeliveryEntry, frozen=True, kw_only=True):
    """It went back, or was taken back: delivered and confirmed end on that day."""

    TYPE: ClassVar[str] = "pledge.delivery_reversed"

    on: Said
    reason: str


def parties_of(context: PledgeContext) -> tuple[str, ...]:
    """Give donors and beneficiaries, each once."""
    return tuple(dict.fromkeys((*context.donors, *context.beneficiaries)))


def related(relation: Relation | None) -> dict[str, str]:
    """Give the pledges that a relation names, by their pointers."""
    return {} if relation is None else {f"/relation/of/{n}": f"pledge-{of}" for n, of in enumerate(relation.of)}


def _each(name: str, shares: tuple[Share, ...]) -> dict[str, str]:
    return {f"/{name}/{n}/party": f"party-{share.party}" for n, share in enumerate(shares)}
