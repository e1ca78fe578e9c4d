"""Schemathesis against both services as they run: what their OpenAPI documents promise, they keep, whatever is sent."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.failure.ledgers import end, launch

# An operation; 1,000 is the promise, and takes hours. Whoever asks for more than the default gets other ones each time.
EXAMPLES = os.environ.get("MUSTER_SCHEMATHESIS_EXAMPLES") or "1"
SEED = os.environ.get("MUSTER_SEED") or ("1" if EXAMPLES == "1" else str(random.SystemRandom().randrange(100_000)))

# The write side has some sixty operations: every edge of every field takes it many minutes, so that is for the soak.
PHASES = {
    "commitments": os.environ.get("MUSTER_SCHEMATHESIS_PHASES") or "examples,fuzzing",
    "projections": "examples,coverage,fuzzing,stateful",
}

# `min_position` beyond the head waits, then answers 503 with Retry-After: documented, and no failure.
CONFIG = """
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]
"""

# Streams are endless by nature, and imports are NDJSON, which Schemathesis cannot write: both have tests of their own.
LEFT_OUT = {"commitments": ("/v1/stream", "/v1/imports"), "projections": ("/v1/changes",)}


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    home = launch(tmp_path_factory.mktemp("schemathesis"))
    try:
        yield home.where
    finally:
        end(home)


@pytest.mark.timeout(600 + 60 * int(EXAMPLES))
@pytest.mark.parametrize("service", ["commitments", "projections"])
def test_a_service_keeps_what_its_openapi_document_promises(
    services: dict[str, str], service: str, tmp_path: Path
) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG if service == "projections" else "")
    command = [
        *(str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(config)),
        *("run", f"{services[service]}/openapi.json", "--phases", PHASES[service]),
        *("--max-examples", EXAMPLES, "--seed", SEED, "--workers", "2", "--no-color", "--request-timeout", "15"),
        "--checks=not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        *(f"--exclude-path={path}" for path in LEFT_OUT[service]),
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        timeout=580 + 60 * int(EXAMPLES),
        check=False,
    )
    failed = re.sub(r"\n{2,}", "\n", done.stdout)[-6_000:]
    assert done.returncode == 0, failed + done.stderr[-1_000:]
