"""Thousands of submits through the API while Redis is flushed and workers and PostgreSQL are killed at random.

    python benchmarks/submits.py [submits]

Three real workers, each a host by itself, and a trainer process for every job (the fleet of tests/chaos). At the end
every accepted job has one end, one result and one charge, or this fails.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Run it, and say how it ended."""
    submits = sys.argv[1] if len(sys.argv) > 1 else "10000"
    command = [sys.executable, "-m", "pytest", "-q", "tests/chaos/test_figures.py", "-k", "no_submit_is_lost"]
    changes = {"CHAOS_SUBMITS": submits, "TEST_HOME": "chaos"}
    return subprocess.run(command, cwd=ROOT, env=os.environ | changes, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
