"""`make mutants`: take out one safeguard at a time, and see the test that guards it go red.

Each mutant is one replacement in a copy of the tree. It is caught if its test passes on the tree as it is, and fails
on the copy. The script ends with 1 if any mutant survives, or if the text that it replaces is not there any more.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
COPIED: Final = ("shared", "services", "muster", "migrations", "tests", "pyproject.toml")
TEST_S: Final = 240


@dataclass(frozen=True)
class Mutant:
    """One safeguard taken out: `old` becomes `new` in `file`, and `test` is to notice."""

    name: str
    file: str
    old: str
    new: str
    test: str


MUTANTS: Final = (
    Mutant(
        "If-Match is not compared",
        "services/commitments/domain/decider.py",
        "if if_match is not None and if_match != history.version:",
        "if if_match is not None and if_match > history.version + 99:",
        "tests/unit/test_decisions.py::test_a_command_made_for_an_older_version_is_refused",
    ),
    Mutant(
        "the log is not locked",
        "services/commitments/log/store.py",
        'f"SELECT pg_advisory_xact_lock({LOCK})"',
        'f"SELECT {LOCK}"',
        "tests/integration/test_log.py::test_whoever_takes_the_lock_sees_all_that_was_written_under_it",
    ),
    Mutant(
        "what was foreseen is not compared with the log",
        "migrations/commitments/versions/0002_append.py",
        "IF head IS NOT NULL AND (",
        "IF false AND (",
        "tests/integration/test_log.py::test_a_log_that_is_not_as_it_was_seen_stays_as_it_is",
    ),
    Mutant(
        "what others wrote meanwhile is not read before deciding",
        "services/commitments/log/histories.py",
        "        if history.version < version:\n",
        "        if history.version == 0 < version:\n",
        "tests/integration/test_handling.py::test_a_replica_decides_with_what_another_one_wrote_meanwhile",
    ),
    Mutant(
        "the receipt is not looked up",
        "services/commitments/log/settling.py",
        "    if found is None:\n        return None\n    if found.fingerprint",
        "    if found is None or not found.outcome.startswith('['):\n        return None\n    if found.fingerprint",
        "tests/integration/test_handling.py::test_the_same_command_gets_the_same_answer_also_after_others",
    ),
    Mutant(
        "messages are stored whatever the stream's last sequence is",
        "services/commitments/batch_publish.py",
        'lines = f"Nats-Expected-Last-Sequence: {sequence - 1}\\r\\n"',
        'lines = f"Nats-Expected-Last-Seq: {sequence - 1}\\r\\n"',
        "tests/integration/test_relay.py::test_messages_are_stored_right_after_the_last_or_not_at_all",
    ),
    Mutant(
        "a checkpoint moves from wherever it is",
        "services/projections/checkpoints.py",
        "WHERE k.position = $5 AND k.status = 'running'",
        "WHERE k.position >= $5 - 1000000000 AND k.status = 'running'",
        "tests/integration/test_projector.py::test_workers_at_the_same_time_apply_every_event_once",
    ),
    Mutant(
        "what is written in one statement does not look at its claim",
        "services/projections/transaction.py",
        "ELSE '{NOT_OURS}' END",
        "ELSE '1' END",
        "tests/integration/test_transaction.py::test_what_is_claimed_is_written_with_it_or_not_at_all",
    ),
    Mutant(
        "what is written in several statements does not look at its claim",
        "services/projections/transaction.py",
        "if len(found) != self._claim.rows:",
        "if len(found) > self._claim.rows:",
        "tests/integration/test_transaction.py::test_what_is_claimed_is_written_with_it_or_not_at_all",
    ),
    Mutant(
        "a gap does not stop the reader",
        "services/projections/consumer.py",
        "            if message.sequence > expected:\n",
        "            if message.sequence > expected + 1_000_000_000:\n",
        "tests/integration/test_consumer.py::test_a_hole_in_the_stream_stops_the_reader_until_it_is_whole",
    ),
    Mutant(
        "a correction takes a new place in the order",
        "shared/timeline.py",
        "place = entry.position if entry.amends is None else entry.amends",
        "place = entry.position",
        "tests/unit/test_timeline.py",
    ),
    Mutant(
        "a posting is a plain delta",
        "shared/timeline.py",
        "if change := value if old is None else value - old:",
        "if change := value:",
        "tests/unit/test_postings.py",
    ),
    Mutant(
        "a restatement adds",
        "services/projections/postings.py",
        "return _Weight(0, 0, maybe=False)",
        "return _Weight(1, 1, maybe=False)",
        "tests/unit/test_postings.py::test_a_restatement_adds_nothing_to_the_total",
    ),
)


def passes(tree: Path, test: str) -> bool:
    """Whether a test passes in a tree."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *test.split()],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TEST_S,
        check=False,
    )
    if b"error" in done.stdout.lower() and b"no tests ran" in done.stdout.lower():
        sys.exit(f"{test} cannot be run:\n{done.stdout.decode()[-2000:]}")
    return done.returncode == 0


def main() -> int:
    """Try every mutant, or those whose name contains one of the arguments."""
    wanted = [mutant for mutant in MUTANTS if not sys.argv[1:] or any(word in mutant.name for word in sys.argv[1:])]
    survived = []
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        tree = Path(folder)
        for name in COPIED:
            source = ROOT / name
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
            if source.is_dir():
                shutil.copytree(source, tree / name, ignore=ignored)
            else:
                shutil.copy(source, tree / name)
        for mutant in wanted:
            began = time.monotonic()
            file = tree / mutant.file
            whole = file.read_text()
            if whole.count(mutant.old) != 1:
                sys.exit(f"{mutant.name}: {mutant.file} has the text {whole.count(mutant.old)} times, not once")
            if not passes(tree, mutant.test):
                sys.exit(f"{mutant.name}: {mutant.test} fails without any mutant")
            file.write_text(whole.replace(mutant.old, mutant.new))
            try:
                caught = not passes(tree, mutant.test)
            except subprocess.TimeoutExpired:
                caught = True  # it waits for what never comes
            finally:
                file.write_text(whole)
            survived += [] if caught else [mutant.name]
            verdict = "caught by" if caught else "SURVIVED"
            print(f"{time.monotonic() - began:6.1f} s  {mutant.name}: {verdict} {mutant.test}", flush=True)  # noqa: T201  # a script's output
    print(f"{len(wanted) - len(survived)} of {len(wanted)} mutants caught")  # noqa: T201  # likewise
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
