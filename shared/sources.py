"""Where facts come from."""

from __future__ import annotations

from typing import Literal

import msgspec

from shared.days import Said

SourceKind = Literal["official", "beneficiary", "media", "dataset"]


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A url, or a publisher with a title; who said it, when it was published, a few words of it."""

    url: str | None = None
    publisher: str | None = None
    title: str | None = None
    kind: SourceKind | None = None
    published_on: Said | None = None
    speaker: str | None = None
    quote: str | None = None
    archived_url: str | None = None


class Reference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The name another system has for this fact."""

    scheme: str
    id: str
    version: str | None = None
