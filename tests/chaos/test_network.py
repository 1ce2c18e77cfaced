"""Lines between a worker and the engines that break, hang, trickle or come back in another order."""

import time

import pytest

from tests.chaos.fleet import Fleet
from tests.chaos.host import gone
from tests.chaos.invariants import check
from tests.chaos.proxy import NONE, Fault
from tests.training import fake_lab
from tests.training.background import trainer_pid, until
from training import states

pytestmark = pytest.mark.chaos


def test_a_worker_cut_off_from_the_database_loses_its_job_and_publishes_nothing(fleet: Fleet) -> None:
    job = fleet.submit()
    fleet.running(job)
    host = fleet.host_of(job)
    host.postgres.fault = Fault(refuse=True)
    host.postgres.cut()
    again = fleet.running(job, attempt=1)
    assert again.lease_owner.split("/")[0] != host.name
    host.postgres.fault = NONE
    assert fleet.ended(job) == [states.SUCCEEDED]
    assert fleet.row(job).attempt == 2


def test_a_worker_that_stays_cut_off_ends_its_trainer_itself(fleet: Fleet) -> None:
    job = fleet.submit(seed=fake_lab.LONG)
    first = trainer_pid(fleet.running(job))
    host = fleet.host_of(job)
    host.postgres.fault = Fault(refuse=True)
    host.postgres.cut()
    until(lambda: gone(first), 25)
    fleet.running(job, attempt=1)
    assert fleet.cancel(job) == 200


def test_a_worker_whose_line_to_the_database_hangs_ends_its_trainer_too(fleet: Fleet) -> None:
    job = fleet.submit(seed=fake_lab.LONG)
    first = trainer_pid(fleet.running(job))
    host = fleet.host_of(job)
    host.postgres.fault = Fault(hang=True)
    again = fleet.running(job, attempt=1)
    assert again.lease_owner.split("/")[0] != host.name
    until(lambda: gone(first), 25)
    check(fleet)
    assert fleet.cancel(job) == 200


def test_a_worker_cut_off_from_redis_goes_on_with_what_it_has(fleet: Fleet) -> None:
    job = fleet.submit()
    fleet.running(job)
    host = fleet.host_of(job)
    host.redis.fault = Fault(refuse=True)
    host.redis.cut()
    assert fleet.ended(job) == [states.SUCCEEDED]
    assert fleet.row(job).attempt == 1


def test_a_trickle_and_a_cut_in_mid_answer_lose_no_job(fleet: Fleet) -> None:
    for host, fault in zip(fleet.hosts, (Fault(trickle=400), Fault(cut_after=60_000), NONE), strict=True):
        host.postgres.fault = fault
        host.redis.fault = fault
    jobs = [fleet.submit(number) for number in range(4)]
    assert set(fleet.ended(*jobs, seconds=120)) == {states.SUCCEEDED}


def test_lines_that_break_one_by_one_and_come_back_in_another_order_lose_no_job(fleet: Fleet) -> None:
    jobs = [fleet.submit(number) for number in range(6)]
    lines = [line for host in fleet.hosts for line in (host.postgres, host.redis)]
    broken = fleet.dice.sample(lines, 4)
    for line in broken:
        line.fault = Fault(refuse=True)
        line.cut()
        time.sleep(fleet.dice.uniform(0.2, 1.0))
    fleet.dice.shuffle(broken)
    for line in broken:
        line.fault = NONE
        time.sleep(fleet.dice.uniform(0.2, 1.0))
    check(fleet)
    assert set(fleet.ended(*jobs, seconds=120)) == {states.SUCCEEDED}


def test_a_line_that_hangs_for_less_than_the_lease_costs_nothing(fleet: Fleet) -> None:
    job = fleet.submit(seed=fake_lab.LONG)
    fleet.running(job)
    host = fleet.host_of(job)
    host.postgres.fault = Fault(hang=True)
    time.sleep(1.5)
    host.postgres.fault = NONE
    time.sleep(3)
    row = fleet.row(job)
    assert (row.state, row.attempt) == (states.RUNNING, 1)
    assert fleet.cancel(job) == 200
