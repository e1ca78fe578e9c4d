"""`muster import` of 100,000 NDJSON lines beside raw rows inserted a hundred at a time, in one run; and its memory.

    .venv/bin/python benchmarks/imports.py [--lines 100000] [--many 1000000]

The raw rows go into a temporary table, which writes no log ahead: the comparison favours them. Memory is the most that
the importing process ever held (ru_maxrss), of dry runs over a few and over many lines: both read, check and remember
every line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import asyncpg
import httpx2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.bench import PLEDGE, ledger

A_TRANSACTION: Final = 100
A_REQUEST: Final = 5_000
FEW: Final = 10_000
KIBIBYTES_A_MEBIBYTE: Final = 1024

# the child tells the most it ever held, as its last line
MUSTER: Final = """
import resource, sys
from muster.cli import app
try:
    app(prog_name="muster")
finally:
    print("maxrss", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def written(path: Path, lines: int, name: str = "i") -> Path:
    """Write a file of commands about pledges of a name."""
    said = json.dumps(PLEDGE)
    with path.open("w") as file:
        file.writelines(f'{{"do": "PUT /v1/pledges/{name}-{n}", "body": {said}}}\n' for n in range(lines))
    return path


def muster(*arguments: str) -> tuple[float, float]:
    """Run `muster`; give its seconds and the most it held, in MiB."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", MUSTER, *arguments], capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    found = re.search(r"maxrss (\d+)", done.stderr)
    if done.returncode or found is None:
        sys.exit(done.stdout + done.stderr)
    print("   ", done.stdout.strip().splitlines()[0])
    return took, int(found[1]) / KIBIBYTES_A_MEBIBYTE


def plain(lines: Path, url: str) -> float:
    """Send lines as a program does that neither checks nor remembers them; give the seconds."""
    said = lines.read_bytes().splitlines(keepends=True)
    began = time.perf_counter()
    with httpx2.Client(timeout=300) as client:
        for first in range(0, len(said), A_REQUEST):
            body = b"".join(said[first : first + A_REQUEST])
            answer = client.post(f"{url}/v1/imports", content=body, headers={"Content-Type": "application/x-ndjson"})
            assert answer.status_code == httpx2.codes.OK
    return time.perf_counter() - began


async def raw(url: str, rows: int) -> float:
    """Insert raw rows, a hundred a transaction; give the seconds."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE TEMPORARY TABLE raw (position bigint PRIMARY KEY, id uuid, payload text)")
        began = time.perf_counter()
        for first in range(0, rows, A_TRANSACTION):
            await connection.execute(
                "INSERT INTO raw SELECT p, gen_random_uuid(), repeat('x', 400) FROM unnest($1::bigint[]) p",
                list(range(first, first + A_TRANSACTION)),
            )
        return time.perf_counter() - began
    finally:
        await connection.close()


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=100_000, help="how many are imported")
    parser.add_argument("--many", type=int, default=1_000_000, help="how many are read for their memory")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        few, many = written(home / "few.ndjson", FEW), written(home / "many.ndjson", said.many)
        _, little = muster("import", str(few), "--dry-run")
        took, much = muster("import", str(many), "--dry-run")
        print(f"memory at {FEW:,} lines {little:.0f} MiB, at {said.many:,} {much:.0f} MiB ({took:.0f} s)")
        lines = written(home / "lines.ndjson", said.lines)
        os.sync()
        with ledger(home / "home") as where:
            beside = asyncio.run(raw(where["database"], said.lines))
            once, _ = muster("import", str(lines), "--commitments", where["commitments"])
            bare = plain(written(home / "bare.ndjson", said.lines, "bare"), where["commitments"])
            twice, _ = muster("import", str(lines), "--commitments", where["commitments"])
            beside = min(beside, asyncio.run(raw(where["database"], said.lines)))
    print(f"a bare client with the same lines to the same service {said.lines / bare:,.0f}/s")
    ours, again, theirs = said.lines / once, said.lines / twice, said.lines / beside
    print(
        f"import {ours:,.0f} lines/s, again {again:,.0f}/s; raw inserts {theirs:,.0f}/s, so {ours / theirs:.2f} of them"
    )


if __name__ == "__main__":
    main()
