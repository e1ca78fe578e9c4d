"""Where a page of a list ended, as text that only we read; and of which state of the ledger the list is."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec
from pydantic import Field, ValidationInfo, field_validator, model_validator

from services.projections.http.asof import AsOfQuery
from services.projections.http.parameters import Cursor


class CursorError(ValueError):
    """A text that is not a cursor of ours."""

    def __init__(self) -> None:
        super().__init__("is not a cursor that an answer gave")


def write_cursor(*place: object) -> str:
    """Write a place as text that may stand in an address."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def read_cursor(said: str, *kinds: Any) -> tuple[Any, ...]:  # noqa: ANN401  # the types of what was written
    """Read a place, whose parts are of these kinds. Raises CursorError."""
    try:
        written = base64.urlsafe_b64decode(said + "=" * (-len(said) % 4))
        found: tuple[Any, ...] = msgspec.json.decode(written, type=tuple.__class_getitem__(kinds))
    except (ValueError, binascii.Error, msgspec.DecodeError) as unreadable:
        raise CursorError from unreadable
    for part in found:
        if (isinstance(part, str) and "\0" in part) or (isinstance(part, int) and not 0 <= part < 2**63):
            raise CursorError
    return found


class Pinned(AsOfQuery):
    """The parameters of a list: its cursor says of which state it is, so that pages fit while the ledger grows."""

    cursor: Cursor | None = Field(
        default=None, description="Where the page before ended, out of its `next`; its `on`, `known` and `from` hold on"
    )

    @classmethod
    def place(cls, cursor: str) -> tuple[Any, ...]:
        """Read a cursor of this list: position, day, first day, then its own place. Raises CursorError."""
        raise NotImplementedError

    @model_validator(mode="before")
    @classmethod
    def _of_its_state(cls, said: Any) -> Any:  # noqa: ANN401  # what was sent, whatever it is
        if not isinstance(said, dict) or not isinstance(said.get("cursor"), str):
            return said
        try:
            known, on, since, *_ = cls.place(said["cursor"])
        except ValueError:
            return said  # the field says so
        pinned = {"known": str(known), "on": on} | ({} if since is None else {"from": since})
        return pinned | said

    @field_validator("cursor")
    @classmethod
    def _ours(cls, value: str | None, said: ValidationInfo) -> str | None:
        if value is not None:
            known, on, since, *_ = cls.place(value)
            if (said.data.get("known"), said.data.get("on"), said.data.get("since")) != (str(known), on, since):
                raise ValueError(f"is of position {known} on {on}: ask for that, or leave `known`, `on` and `from` out")
        return value
