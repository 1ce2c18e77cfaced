"""How long a job is without a machine after its worker died, and how long a trainer lives after a cancel.

    python benchmarks/recovery.py [kills]

Real workers, each a host by itself, are killed with SIGKILL while they train (the fleet of tests/chaos, whose leases
are three seconds long). What the default lease makes of it is arithmetic: the lease was renewed at most one heartbeat
ago, the sweeper comes every few seconds and waits out the grace, and the doorbell of the tick wakes the next worker.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEASE, GRACE, HEARTBEAT, SWEEP, TICK = 60, 15, 10, 5, 2


def main() -> int:
    """Measure, then say what it is with the defaults."""
    kills = sys.argv[1] if len(sys.argv) > 1 else "20"
    command = [sys.executable, "-m", "pytest", "-q", "tests/chaos/test_figures.py"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"CHAOS_KILLS": kills}, check=False)
    least, most = LEASE - HEARTBEAT + GRACE, LEASE + GRACE + SWEEP + TICK
    print(f"with the default lease of {LEASE} s + {GRACE} s: {least} to {most} s until another worker claims the job")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
