"""Build a read model anew where `muster up` runs: as its service does, told what that is told."""

import os
import subprocess
import sys

from muster.running import Running


def build(running: Running, read_model: str, *, switch: bool, anew: bool) -> int:
    """Run the service's own command on this terminal, and give its exit status."""
    flags = [*([] if switch else ["--check"]), *(["--anew"] if anew else [])]
    command = [sys.executable, "-P", "-m", "services.projections", "rebuild", read_model, *flags]
    settings = {
        "MUSTER_PROJECTIONS_DATABASE_URL": running.read_models_url,
        "MUSTER_NATS_URL": running.nats_url,
        "MUSTER_LEDGER": running.ledger,
    }
    return subprocess.run(command, env=os.environ | settings, check=False).returncode
