"""What is counted: capabilities as dotted codes, units, and the stages of a pledge."""

from __future__ import annotations

from typing import Final, Literal, get_args

PIECE: Final = "piece"
MEMBER: Final = "member"
PERCENT: Final = "percent"

Promise = Literal["pledged", "committed", "paid"]
Fulfilment = Literal["allocated", "contracted", "delivered", "confirmed"]
Stage = Literal["pledged", "committed", "paid", "allocated", "contracted", "delivered", "confirmed", "produced"]

PROMISES: Final[tuple[Stage, ...]] = get_args(Promise)
FULFILMENTS: Final[tuple[Stage, ...]] = get_args(Fulfilment)
STAGES: Final[tuple[Stage, ...]] = get_args(Stage)
ARRIVALS: Final[tuple[Stage, ...]] = ("delivered", "confirmed", "produced")
"""Stages whose facts are increments; all others are set-points, "so far"."""

FinanceType = Literal["grant", "loan", "guarantee", "in_kind"]


def contains(capability: str, other: str) -> bool:
    """Whether a capability is the other or one of its ancestors, by dots: `drones` is not in `drone`."""
    return other == capability or other.startswith(f"{capability}.")
