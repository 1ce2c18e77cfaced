"""Redis goes, forgets, freezes or is full. It holds doorbells and hints: losing it costs a moment, never a job."""

import os
import random
import signal
import time

import pytest
import redis
from celery import current_app

from tests.chaos.fleet import Fleet, meanwhile
from tests.chaos.invariants import check
from tests.training.background import until
from training import states

pytestmark = pytest.mark.chaos
ALL = [states.SUCCEEDED] * 3


@pytest.mark.cut
def test_a_redis_that_is_killed_and_comes_back_empty_loses_no_job(fleet: Fleet) -> None:
    first = fleet.submit(0)
    fleet.running(first)
    fleet.engines.redis_kill(forget=True)
    others = [fleet.submit(number) for number in (1, 2)]
    assert fleet.ended(first, *others) == ALL, "workers look for themselves while nobody can ring"
    check(fleet)
    fleet.engines.redis_start()
    assert [fleet.row(job).attempt for job in (first, *others)] == [1, 1, 1]


def test_a_redis_that_is_emptied_loses_no_job(fleet: Fleet) -> None:
    jobs = [fleet.submit(number) for number in range(3)]
    with meanwhile(lambda: fleet.engines.broker().flushall(), every=0.7):
        time.sleep(4)
    assert fleet.ended(*jobs) == ALL


def test_a_redis_that_freezes_delays_one_answer_by_seconds_and_loses_no_job(fleet: Fleet) -> None:
    first = fleet.submit(0)
    fleet.running(first)
    pid = fleet.engines.redis_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        others = [fleet.submit(number) for number in (1, 2)]
        time.sleep(3)
    finally:
        os.kill(pid, signal.SIGCONT)
    check(fleet)
    first_asked, asked_again = [one.seconds for one in fleet.answers if one.what.startswith("POST")][-2:]
    assert 2 < first_asked < 8 and asked_again < 2, "one waits for all"
    assert fleet.ended(first, *others) == ALL


def test_a_redis_that_is_full_takes_no_doorbell_and_loses_no_job(fleet: Fleet) -> None:
    with fleet.engines.broker() as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(redis.ResponseError):
            client.set("more", "than fits")
        jobs = [fleet.submit(number) for number in range(3)]
        time.sleep(2)
        check(fleet)
        client.config_set("maxmemory", 0)
    assert fleet.ended(*jobs) == ALL


def test_clients_thrown_out_of_redis_every_second_come_back(fleet: Fleet) -> None:
    def storm() -> None:
        with fleet.engines.broker() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    with meanwhile(storm, every=1.0):
        jobs = [fleet.submit(number) for number in range(3)]
        time.sleep(6)
    assert fleet.ended(*jobs) == ALL


def test_a_hundred_doorbells_that_are_doubled_forged_or_stale_start_nothing_twice(fleet: Fleet) -> None:
    dice = random.Random(fleet.seed)
    jobs = [fleet.submit(number) for number in range(2)]
    fleet.running(jobs[0])
    for _ in range(100):
        job = fleet.row(dice.choice(jobs))
        task, words, queue = dice.choice(
            [
                ("training.work", [], "train"),
                ("training.work", [str(job.pk), 7, "give me this one"], "train"),
                ("training.validate", [str(job.tenant_id), str(job.pk)], "train"),
                ("training.no_such_task", [str(job.pk)], "train"),
            ]
        )
        current_app.send_task(task, args=words, queue=queue, retry=False)
    assert fleet.ended(*jobs) == [states.SUCCEEDED] * 2
    assert [fleet.row(job).attempt for job in jobs] == [1, 1]
    with fleet.engines.broker() as client:
        client.select(1)
        until(lambda: client.llen("train") < 5, 60)
    assert all(host.runs for host in fleet.hosts), "a doorbell for no task ends no worker"
