"""How seldom a process that makes many small things looks for cycles among them."""

from __future__ import annotations

import gc
from typing import Final

GARBAGE: Final = (20_000, 10, 10)
"""Collect seldom: what is decoded, posted and answered holds no cycles."""


def collect_seldom() -> None:
    """Let this process look for cycles as seldom as is good for it, and never among what is there by now."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)
