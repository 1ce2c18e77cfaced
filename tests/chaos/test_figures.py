"""How long it takes: from a dead worker to a run elsewhere, and from a cancel to a trainer that is gone.

`CHAOS_KILLS` says how often each is measured; `benchmarks/recovery.py` asks for more than the suite does.
"""

import math
import os
import time

import pytest

from tests.chaos.fleet import GRACE, HEARTBEAT, LEASE, TICK, Fleet, gone
from tests.training import fake_lab
from tests.training.background import trainer_pid, until
from training import states

pytestmark = pytest.mark.chaos
KILLS = int(os.environ.get("CHAOS_KILLS", "3"))


def report(capsys: pytest.CaptureFixture[str], what: str, seconds: list[float], *shares: float) -> None:
    """One line, past pytest's capture."""
    order = sorted(seconds)
    words = [f"p{100 * share:.0f} {order[math.ceil(share * len(order)) - 1]:.2f} s" for share in shares]
    with capsys.disabled():
        print(f"\n{what}: {', '.join(words)} ({len(order)} times)")  # noqa: T201 - a figure is the product here


def test_a_dead_workers_job_runs_elsewhere_soon_after_its_lease(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    took = []
    for number in range(KILLS):
        fleet.heal()
        job = fleet.submit(number, seed=fake_lab.LONG)
        fleet.running(job)
        host = fleet.host_of(job)
        began = time.monotonic()
        host.kill()

        def elsewhere(job: object = job) -> bool:
            row = fleet.row(job)  # type: ignore[arg-type]
            return row.attempt > 1 and row.state == states.RUNNING

        until(elsewhere)
        took.append(time.monotonic() - began)
        assert fleet.cancel(job) == 200
        fleet.ended(job)
    report(capsys, f"dead worker to a run elsewhere, lease {LEASE} s + {GRACE} s", took, 0.5, 0.99)
    assert max(took) < LEASE + GRACE + 2 * TICK + 8


def test_a_cancel_stops_the_trainer_within_seconds(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    took = []
    for number in range(KILLS):
        job = fleet.submit(number, seed=fake_lab.LONG)
        trainer = trainer_pid(fleet.running(job))
        began = time.monotonic()
        assert fleet.cancel(job) == 200
        until(lambda pid=trainer: gone(pid))
        took.append(time.monotonic() - began)
    report(capsys, f"cancel to a trainer that is gone, heartbeat {HEARTBEAT} s", took, 0.5, 0.95)
    assert max(took) < 6
