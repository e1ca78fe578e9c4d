"""What a process does about memory: how seldom it looks for cycles, and what it gives back to the system."""

from __future__ import annotations

import ctypes
import gc
from typing import Final

GARBAGE: Final = (20_000, 10, 10)
"""Collect seldom: what is decoded, posted and answered holds no cycles."""


def collect_seldom() -> None:
    """Let this process look for cycles as seldom as is good for it, and never among what is there by now."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)


KEPT: Final = {-1: 131_072, -3: 65_536, -8: 1}
"""glibc's M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX: large blocks are pages of their own, and go when freed."""


def give_back() -> None:
    """Let glibc give back what large answers took, not keep it for the next ones; another C library has its way."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for setting, value in KEPT.items():
            mallopt(setting, value)
