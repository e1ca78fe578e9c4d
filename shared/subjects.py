"""NATS subjects and the settings of the ledger's stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shared.events import EVENT_TYPES

EPOCH: Final = "muster-epoch"
"""The key in the stream's metadata under which its relay says of which log it is a copy."""

NONE: Final = "_"
MULTI: Final = "_multi"

STREAM_SETTINGS: Final = {
    "storage": "file",
    "retention": "limits",
    "discard": "new",
    "deny_delete": True,
    "deny_purge": True,
    "allow_atomic": True,
    "allow_direct": True,
    "compression": "s2",
    "duplicate_window": 100_000_000,  # 0.1 s in ns, the least there is: the expected sequence makes repeats harmless
}
"""What the stream is made with; replicas and first sequence come from whoever makes it."""


def stream_name(ledger: str) -> str:
    """Give the JetStream stream of a ledger."""
    return ledger.upper()


def everything(ledger: str) -> str:
    """Give the wildcard that the ledger's stream listens to."""
    return f"{ledger}.v1.>"


def head_hint(ledger: str) -> str:
    """Give the core-NATS subject on which writers say that the log has grown; it may be lost."""
    return f"hint.{ledger}.head"


def applied_hint(ledger: str) -> str:
    """Give the core-NATS subject on which the worker says how far its read models are; it may be lost."""
    return f"hint.{ledger}.applied"


def subject(ledger: str, event_type: str, coalitions: Sequence[str], thing: str) -> str:
    """Give the subject of an event: `<ledger>.v1.<family>.<what>.<coalition>.<id>`.

    `thing` is the stream's name (`pledge-gbr-fpv`). A dot in an id (capability codes have them) becomes more tokens.
    """
    place = NONE if not coalitions else coalitions[0] if len(coalitions) == 1 else MULTI
    return f"{ledger}.v1.{EVENT_TYPES[event_type].TYPE}.{place}.{thing.partition('-')[2]}"
