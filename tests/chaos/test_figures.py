"""How long it takes: from a dead worker to a run elsewhere, and from a cancel to a trainer that is gone. And how many
submits survive machines that are taken away all the time.

`CHAOS_KILLS` says how often each is measured and `CHAOS_SUBMITS` how many jobs are asked for; `benchmarks/recovery.py`
and `benchmarks/submits.py` ask for more than the suite does.
"""

import math
import os
import time

import pytest

from tests.chaos.fleet import TICK, Fleet, meanwhile
from tests.chaos.host import GRACE, HEARTBEAT, LEASE, gone
from tests.chaos.invariants import check
from tests.training import fake_lab
from tests.training.background import trainer_pid, until
from training import states

pytestmark = pytest.mark.chaos
KILLS = int(os.environ.get("CHAOS_KILLS", "3"))
SUBMITS = int(os.environ.get("CHAOS_SUBMITS", "20"))
AT_ONCE, TOLD, FAULT_EVERY = 200, 250, float(os.environ.get("CHAOS_FAULT_EVERY", "8"))


def report(capsys: pytest.CaptureFixture[str], what: str, seconds: list[float], *shares: float) -> None:
    """Some shares of many times."""
    order = sorted(seconds)
    words = [f"p{100 * share:.0f} {order[math.ceil(share * len(order)) - 1]:.2f} s" for share in shares]
    say(capsys, f"{what}: {', '.join(words)} ({len(order)} times)")


def say(capsys: pytest.CaptureFixture[str], words: str) -> None:
    """One line, past pytest's capture."""
    with capsys.disabled():
        print(f"\n{words}", flush=True)  # noqa: T201 - a figure is the product here


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


def test_no_submit_is_lost_doubled_or_charged_twice_while_machines_are_taken_away(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    engines, done = fleet.engines, {"Redis flushed": 0, "worker killed": 0, "PostgreSQL restarted": 0}

    def harm() -> None:
        what = fleet.dice.choice(sorted(done))
        if what == "Redis flushed":
            engines.broker().flushall()
        elif what == "worker killed":
            host = fleet.dice.choice(fleet.hosts)
            host.kill()
            host.start()
        else:
            engines.postgres_stop()
            engines.postgres_start()
        done[what] += 1

    began = time.monotonic()
    with meanwhile(harm, every=FAULT_EVERY):
        for number in range(SUBMITS):
            fleet.submit(number, seed=fake_lab.WELL, patience=60.0)
            if number % 20 == 19:
                until(lambda: fleet.waiting() < AT_ONCE, 600)
            if number % TOLD == TOLD - 1:
                check(fleet)  # what is wrong by now need not wait for the last
                say(capsys, f"{number + 1} accepted in {time.monotonic() - began:.0f} s, {done}")
        until(lambda: fleet.waiting() == 0, 600)
    fleet.heal()
    ends = fleet.ended(seconds=180)
    check(fleet)  # one end, one result, one charge for each
    faults = ", ".join(f"{what} {times} times" for what, times in done.items())
    say(capsys, f"{len(ends)} submits in {time.monotonic() - began:.0f} s, {faults}: {set(ends)}")
    assert ends == [states.SUCCEEDED] * SUBMITS and len({job.id for job in fleet.jobs}) == SUBMITS
