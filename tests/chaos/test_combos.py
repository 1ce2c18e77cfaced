"""Two faults at a time, drawn by seeded dice, under load from five tenants; then everything heals, and drains."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from tenants.scope import ops_scope
from tests.chaos.fleet import Fleet
from tests.chaos.host import processes_in
from tests.chaos.invariants import check
from tests.chaos.proxy import NONE, Fault
from training import states
from training.models import JobEvent

pytestmark = pytest.mark.chaos
JOBS, SECONDS, HOLD = 40, float(os.environ.get("CHAOS_SECONDS", "60")), 3.0


def faults(fleet: Fleet) -> dict[str, Callable[[], None]]:
    """Each begins; healing ends it."""
    dice, engines = fleet.dice, fleet.engines

    def trainer() -> None:
        for pid in list(processes_in(fleet.home / "work"))[:1]:
            os.kill(pid, signal.SIGKILL)

    def line(fault: Fault) -> None:
        host = dice.choice(fleet.hosts)
        for proxy in (host.postgres, host.redis):
            proxy.fault = fault
            proxy.cut()

    return {
        "a trainer dies": trainer,
        "a worker dies": lambda: dice.choice(fleet.hosts).signal(signal.SIGKILL, group=True),
        "a worker freezes": lambda: dice.choice(fleet.hosts).signal(signal.SIGSTOP),
        "a worker is asked to leave": lambda: dice.choice(fleet.hosts).signal(signal.SIGTERM),
        "Redis forgets": lambda: engines.redis_kill(forget=True) if engines.redis_pid else None,
        "Redis freezes": lambda: os.kill(engines.redis_pid, signal.SIGSTOP) if engines.redis_pid else None,
        "PostgreSQL restarts": lambda: (engines.postgres_stop(), engines.postgres_start())[1],
        "sessions end": lambda: [engines.sessions_end(most=5), None][1],
        "a line breaks": lambda: line(Fault(refuse=True)),
        "a line hangs": lambda: line(Fault(hang=True)),
        "a line is slow": lambda: line(Fault(latency=0.05)),
        "commits get no answer": lambda: line(Fault(lose_commits=0.2)),
    }


def test_two_faults_at_a_time_for_a_minute_and_then_everything_drains(fleet: Fleet) -> None:
    harm = faults(fleet)
    submitted, until = 0, time.monotonic() + SECONDS
    while time.monotonic() < until or submitted < JOBS:
        for name in fleet.dice.sample(sorted(harm), 2):
            print("fault:", name)  # noqa: T201 - pytest shows it where the test fails
            harm[name]()
        hold = time.monotonic() + HOLD
        while time.monotonic() < hold and submitted < JOBS:
            fleet.submit(submitted, method=fleet.dice.choice(["head", "lora"]))
            submitted += 1
            time.sleep(fleet.dice.uniform(0.1, 0.5))
        time.sleep(max(0.0, hold - time.monotonic()))
        fleet.engines.heal()
        for host in fleet.hosts:
            if fleet.dice.random() < 0.7:
                host.heal()
        check(fleet)
    for host in fleet.hosts:
        host.postgres.fault = host.redis.fault = NONE
    fleet.heal()
    assert set(fleet.ended(seconds=180)) == {states.SUCCEEDED}
    with ops_scope("whether jobs shared a process, for a test"):
        shared = JobEvent.ops.filter(code="shared", job_id__in=[fleet.row(job).pk for job in fleet.jobs]).count()
    print("jobs that shared a process:", shared)  # noqa: T201
    assert shared
