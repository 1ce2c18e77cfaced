"""What two gateways admit beyond small limits while they are hammered and their quota server forgets everything.

    python benchmarks/hammer.py [seconds]

Three customers ask as fast as answers come, each against one limit: requests a minute, tokens a minute, spend a month.
Redis is flushed twice on the way and killed once. The table says by how much each limit was passed at its worst moment
(`over`), from the usage events; the run fails where that is not 0, where an answered call has not exactly one event, or
where counters, sums and ledger are not all the sum of the events (`tests/chaos/test_hammer.py`).
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Run the suite's test for longer."""
    seconds = sys.argv[1] if len(sys.argv) > 1 else "60"
    command = [sys.executable, "-m", "pytest", "-q", "tests/chaos/test_hammer.py"]
    more = {"HAMMER_SECONDS": seconds, "TEST_HOME": os.environ.get("TEST_HOME", "hammer")}
    return subprocess.run(command, cwd=ROOT, env=os.environ | more, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
