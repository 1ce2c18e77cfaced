"""PostgreSQL restarts, is away, throws sessions out, or commits and cannot say so."""

import time

import pytest
from django.db import connections

from tests.chaos.fleet import Fleet, meanwhile
from tests.chaos.host import BRAKE, HEARTBEAT, LEASE
from tests.chaos.invariants import check
from tests.chaos.proxy import Fault
from tests.training import fake_lab
from training import states

pytestmark = pytest.mark.chaos
ALL = [states.SUCCEEDED] * 3


@pytest.mark.cut
def test_a_database_that_restarts_at_once_interrupts_no_run(fleet: Fleet) -> None:
    jobs = [fleet.submit(number, seed=fake_lab.LONG) for number in range(2)]
    for job in jobs:
        fleet.running(job)
    fleet.engines.postgres_stop()
    answer = fleet.call(fleet.people[0], "GET", "/v1/fine_tuning/jobs")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    fleet.engines.postgres_start()
    assert fleet.ended(*jobs) == [states.SUCCEEDED] * 2
    assert [fleet.row(job).attempt for job in jobs] == [1, 1]


def test_an_outage_longer_than_the_lease_takes_no_job_from_a_worker_that_lives(fleet: Fleet) -> None:
    assert LEASE + 3 < 8 and HEARTBEAT + 1 < BRAKE
    job = fleet.submit(seed=fake_lab.LONG)
    fleet.running(job)
    fleet.engines.postgres_stop()
    time.sleep(7)
    fleet.engines.postgres_start()
    time.sleep(BRAKE + 2)
    row = fleet.row(job)
    assert (row.state, row.attempt) == (states.RUNNING, 1), "the sweeper holds while leases revive"
    check(fleet)
    assert fleet.cancel(job) == 200


def test_a_job_is_accepted_during_an_outage_once_it_is_over_and_only_once(fleet: Fleet) -> None:
    fleet.engines.postgres_stop()
    with meanwhile(fleet.engines.postgres_start, every=3):
        job = fleet.submit()
    assert {one.status for one in fleet.answers} == {200, 503}
    assert fleet.ended(job) == [states.SUCCEEDED]
    listed = fleet.call(job.person, "GET", "/v1/fine_tuning/jobs?limit=100").json()["data"]
    assert sum(one["id"] == job.id for one in listed) == 1


def test_sessions_thrown_out_at_random_lose_no_job(fleet: Fleet) -> None:
    with meanwhile(lambda: fleet.engines.sessions_end(most=2), every=0.5):
        jobs = [fleet.submit(number) for number in range(3)]
        time.sleep(6)
    assert fleet.ended(*jobs) == ALL


def test_a_commit_whose_answer_is_lost_is_done_once(fleet: Fleet) -> None:
    for host in fleet.hosts:
        host.postgres.fault = Fault(lose_commits=0.15)
    jobs = [fleet.submit(number) for number in range(4)]
    assert set(fleet.ended(*jobs, seconds=120)) == {states.SUCCEEDED}
    assert sum(host.postgres.commits_lost for host in fleet.hosts) > 3


def test_rows_that_somebody_keeps_locked_for_longer_than_a_lease_lose_no_job(fleet: Fleet) -> None:
    job = fleet.submit(seed=fake_lab.LONG)
    fleet.running(job)
    with fleet.engines.locked("SELECT FROM training_job FOR UPDATE"):
        with fleet.engines.locked("SELECT FROM training_slot FOR UPDATE"):
            time.sleep(LEASE + 3)
    fleet.running(job)
    check(fleet)
    assert fleet.cancel(job) == 200 and fleet.ended(job) == [states.CANCELLED]


def test_a_database_without_a_free_session_is_away_and_then_there_again(fleet: Fleet) -> None:
    job = fleet.submit(seed=fake_lab.LONG)
    fleet.running(job)
    fleet.engines.sessions_end()
    with fleet.engines.crowded() as taken:
        assert taken > 20
        connections.close_all()
        answer = fleet.call(fleet.people[0], "GET", "/v1/fine_tuning/jobs")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        time.sleep(2)
    assert fleet.call(fleet.people[0], "GET", "/v1/fine_tuning/jobs").status_code == 200
    fleet.running(job)
    check(fleet)
    assert fleet.cancel(job) == 200 and fleet.ended(job) == [states.CANCELLED]


def test_a_slow_line_to_the_database_loses_no_lease(fleet: Fleet) -> None:
    for host in fleet.hosts:
        host.postgres.fault = Fault(latency=0.05)  # with leases a twentieth of the usual, that is as a second
    jobs = [fleet.submit(number) for number in range(3)]
    assert fleet.ended(*jobs, seconds=120) == ALL
    assert [fleet.row(job).attempt for job in jobs] == [1, 1, 1]
