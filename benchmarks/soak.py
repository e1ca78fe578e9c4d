"""`make soak`: the tests of tests/failure and random requests, longer, again and again, each round with its own seed.

`--rounds N` (default 3); MUSTER_KILLS, MUSTER_APPENDED and MUSTER_SCHEMATHESIS_EXAMPLES make a round longer or shorter.
A round that fails ends the soak; its seed repeats it: `MUSTER_SEED=... make failure`.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
LONGER: Final = {
    "MUSTER_KILLS": "200",
    "MUSTER_APPENDED": "50000",
    "MUSTER_SCHEMATHESIS_EXAMPLES": "1000",
    "MUSTER_SCHEMATHESIS_PHASES": "examples,coverage,fuzzing,stateful",
}
NEVER: Final = "86400"


def main() -> int:
    """Run the rounds; 1 as soon as one fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    for number in range(1, rounds + 1):
        seed = random.SystemRandom().randrange(100_000)
        print(f"round {number} of {rounds}, seed {seed}", flush=True)
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "tests/failure", "tests/contract/test_schemathesis.py"],
            cwd=ROOT,
            env=LONGER | os.environ | {"MUSTER_SEED": str(seed), "MUSTER_SOAK_TIMEOUT": NEVER},
            check=False,
        )
        print(f"round {number}: {'held' if done.returncode == 0 else 'FAILED'} in {time.monotonic() - began:.0f} s")
        if done.returncode:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
