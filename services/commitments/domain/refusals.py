"""Every reason to say no. A class's docstring is the problem's title, its code what a program looks at."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Final

SHOWN: Final = 10
"""How many entries a sentence names; `entries` lists them all."""


class Refused(Exception):
    """The ledger does not record this."""

    code: ClassVar[str]

    def __init__(self, detail: str, *, pointer: str | None = None, **facts: object) -> None:
        super().__init__(detail)
        self.pointer = pointer  # the field that is wrong, as a JSON pointer
        self.facts: Mapping[str, object] = facts  # members of the problem that a program can use


class Unknown(Refused):
    """There is nothing by this name."""

    code = "unknown"

    def __init__(self, thing: str) -> None:
        super().__init__(f"there is no {thing.replace('-', ' ', 1)}")


class UnknownName(Refused):
    """The body names something that the ledger does not know."""

    code = "unknown-name"

    def __init__(self, stream: str, pointer: str, near: Sequence[str]) -> None:
        family, _, name = stream.partition("-")
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        super().__init__(f"there is no {family} {name}{hint}", pointer=pointer, near=list(near))


class AlreadyRecorded(Refused):
    """Another entry stands under this name."""

    code = "already-recorded"

    def __init__(self, name: str, fields: Sequence[str]) -> None:
        super().__init__(
            f"{name} is recorded already and says something else in {', '.join(fields)}; "
            "revise it if it changed, correct it if it was never so",
            fields=list(fields),
        )


class NameRetracted(Refused):
    """A name once used stays used."""

    code = "retracted"

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} was recorded and retracted; its name stays used, choose another")


class Restates(Refused):
    """A pledge that only says another one again has no stages and deliveries of its own."""

    code = "restates"

    def __init__(self, pledge: str, of: Sequence[str]) -> None:
        super().__init__(
            f"pledge {pledge} restates {', '.join(of) or 'another'}; report this against that one", of=list(of)
        )


class HasDeliveries(Refused):
    """What has stages or deliveries of its own cannot become a restatement."""

    code = "has-deliveries"

    def __init__(self, pledge: str, entries: Sequence[str]) -> None:
        super().__init__(f"pledge {pledge} has stages or deliveries of its own", entries=list(entries))


class Ended(Refused):
    """What was withdrawn, lapsed, closed or dissolved does not change any more."""

    code = "ended"

    def __init__(self, name: str, how: str) -> None:
        super().__init__(f"{name} {how}; correct or retract that entry if it was never so")


class StillStands(Refused):
    """Other entries stand on this one."""

    code = "still-stands"

    def __init__(self, what: str, on_it: Sequence[str]) -> None:
        shown = ", ".join(on_it[:SHOWN]) + (" ..." if len(on_it) > SHOWN else "")
        super().__init__(
            f"{what} carries {len(on_it)} other entries: {shown}; retract those first", entries=list(on_it)
        )


class NotCorrectable(Refused):
    """Retractions and corrections are not themselves retracted or corrected."""

    code = "not-correctable"

    def __init__(self, entry: str, what: str) -> None:
        super().__init__(f"entry {entry} {what}; correct the entry it is about again instead")


class OtherEntry(Refused):
    """A correction says the same kind of thing about the same name."""

    code = "other-entry"

    def __init__(self, entry: str, expected: str, got: str) -> None:
        super().__init__(f"entry {entry} is {expected}; what you sent is {got}")


class NotAMemberYet(Refused):
    """Only a member can leave."""

    code = "no-member"

    def __init__(self, coalition: str, party: str) -> None:
        super().__init__(f"{party} is no member of {coalition}")


class SharesExceed(Refused):
    """The known shares of a whole are not more than the whole."""

    code = "shares-exceed"

    def __init__(self, pledge: str, shares: str, whole: str, *, pointer: str) -> None:
        super().__init__(f"the shares of pledge {pledge} come to {shares}, the whole is {whole}", pointer=pointer)


class WrongUnit(Refused):
    """Parts of one amount are counted in its unit."""

    code = "wrong-unit"

    def __init__(self, what: str, *, expected: Collection[str], got: str, pointer: str = "/amount/unit") -> None:
        super().__init__(f"{what} counts in {', '.join(expected)}, not {got}", pointer=pointer)


class UpsideDown(Refused):
    """An end does not come before its beginning."""

    code = "upside-down"

    def __init__(self, what: str, *, begins: str, ends: str, pointer: str) -> None:
        super().__init__(f"{what} would end on {ends}, before it begins on {begins}", pointer=pointer)


class RelatesToItself(Refused):
    """A pledge is not a part, a repetition or a successor of itself."""

    code = "relates-to-itself"

    def __init__(self, pledge: str, *, pointer: str = "/relation/of") -> None:
        super().__init__(f"pledge {pledge} cannot relate to itself", pointer=pointer)


class ProducedByAParty(Refused):
    """What is produced counts towards the producer's own target."""

    code = "produced-by-a-party"

    def __init__(self, target: str) -> None:
        super().__init__(
            f"target {target} counts what is produced; its scope is a party, no coalition", pointer="/party"
        )


class StaleVersion(Refused):
    """The thing changed since you looked."""

    code = "stale-version"

    def __init__(self, stream: str, expected: int, actual: int) -> None:
        super().__init__(f"{stream} is at version {actual}, not {expected}", expected=expected, actual=actual)


class KeyReused(Refused):
    """An Idempotency-Key stands for one request."""

    code = "key-reused"

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was used for another request; choose a new key")
