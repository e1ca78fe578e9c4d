"""Seeds and figures: every test of this folder says what it did on one line, at the end of the run."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

Say = Callable[[str], None]


@pytest.fixture
def seed() -> int:
    """The seed of this test; MUSTER_SEED repeats an earlier run."""
    return int(os.environ.get("MUSTER_SEED") or random.SystemRandom().randrange(100_000))


@pytest.fixture
def say(request: pytest.FixtureRequest, seed: int) -> Say:
    """Report what was seen; it is printed with the seed when all tests are through."""

    def figures(seen: str) -> None:
        request.node.user_properties.append(("figures", f"{request.node.name} [seed {seed}]: {seen}"))

    return figures


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A soak (benchmarks/soak.py) may take as long as it likes."""
    if seconds := os.environ.get("MUSTER_SOAK_TIMEOUT"):
        for item in items:
            item.add_marker(pytest.mark.timeout(int(seconds)), append=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [*terminalreporter.stats.get("passed", []), *terminalreporter.stats.get("failed", [])]
    lines = [text for report in reports for name, text in report.user_properties if name == "figures"]
    if lines:
        terminalreporter.section("reliability")
        for line in lines:
            terminalreporter.line(line)
