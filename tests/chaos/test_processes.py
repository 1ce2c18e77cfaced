"""Processes that are killed, stopped or asked to leave."""

import os
import signal

import pytest

from tenants.scope import tenant_scope
from tests.chaos.fleet import Fleet, chaos
from tests.chaos.host import gone, processes_in
from tests.training import fake_lab
from tests.training.background import trainer_pid, until
from training import states
from training.models import JobEvent

pytestmark = pytest.mark.chaos


@pytest.mark.cut
def test_a_killed_trainer_is_tried_again_from_its_checkpoint(fleet: Fleet) -> None:
    job = fleet.submit()
    row = fleet.running(job)
    os.kill(trainer_pid(row), signal.SIGKILL)
    assert fleet.ended(job) == [states.SUCCEEDED]
    assert fleet.row(job).attempt == 2
    with tenant_scope(row.tenant_id):
        resumed = JobEvent.objects.get(job_id=row.pk, code="resumed")
    assert resumed.attempt == 2 and resumed.data["step"] >= row.checkpoint_step > 0


@pytest.mark.parametrize("sandbox", ["auto", "off"])
def test_a_killed_trainer_whose_data_loader_lives_on_is_noticed_at_once(fleet: Fleet, sandbox: str) -> None:
    for host in fleet.hosts if sandbox == "off" else ():
        host.kill()
        host.start(SANDBOX=sandbox)
    fleet.ready()
    job = fleet.submit(seed=fake_lab.LOADER)
    row = fleet.running(job)
    os.kill(trainer_pid(row), signal.SIGKILL)
    fleet.running(job, attempt=1, seconds=15)
    assert fleet.cancel(job) == 200


@pytest.mark.cut
def test_a_killed_worker_loses_its_lease_and_another_host_goes_on(fleet: Fleet) -> None:
    job = fleet.submit()
    row = fleet.running(job)
    host = fleet.host_of(job)
    trainer = trainer_pid(row)
    host.kill()
    until(lambda: gone(trainer), 5)
    again = fleet.running(job, attempt=1)
    assert again.lease_owner.split("/")[0] != host.name
    assert fleet.ended(job) == [states.SUCCEEDED]


@pytest.mark.parametrize(
    "borders",
    [("claimed", "started", "result stored"), ("ready", "checkpoint stored", "published")],
    ids=["claimed-started-stored", "ready-checkpoint-published"],
)
def test_workers_that_die_between_two_steps_leave_nothing_half_done(fleet: Fleet, borders: tuple[str, ...]) -> None:
    for host, border in zip(fleet.hosts, borders, strict=True):
        host.kill()
        host.start(CHAOS=chaos(dies=border))
    fleet.ready()
    jobs = [fleet.submit(number) for number in range(3)]
    until(lambda: not any(host.runs for host in fleet.hosts), 60)
    fleet.heal()
    assert set(fleet.ended(*jobs)) == {states.SUCCEEDED}
    assert max(fleet.row(job).attempt for job in jobs) <= 4


def test_every_job_of_a_shared_process_goes_on_when_its_worker_is_killed(fleet: Fleet) -> None:
    for host in fleet.hosts:
        host.kill()
    # Nobody is there to take the first before the second waits.
    jobs = [fleet.submit(number, method="lora", seed=fake_lab.LONG) for number in range(2)]
    until(lambda: all(fleet.row(job).state == states.QUEUED for job in jobs))
    host = fleet.hosts[0]
    host.start()
    rows = [fleet.running(job, seconds=60) for job in jobs]
    assert trainer_pid(rows[0]) == trainer_pid(rows[1])
    host.kill()
    fleet.hosts[1].start()
    fleet.hosts[2].start()
    again = [fleet.running(job, attempt=1, seconds=60) for job in jobs]
    assert trainer_pid(again[0]) != trainer_pid(again[1]), "each in a process of its own from now on"
    assert [fleet.cancel(job) for job in jobs] == [200, 200]


def test_what_a_killed_workers_trainer_had_started_is_cleared_away_by_the_next_worker(fleet: Fleet) -> None:
    for host in fleet.hosts:
        host.kill()
        host.start(SANDBOX="off")
    job = fleet.submit(seed=fake_lab.LOADER)
    fleet.running(job, seconds=60)
    host = fleet.host_of(job)
    host.kill()
    assert processes_in(host.work), "the data loader outlives its trainer: the kernel ends only the trainer"
    host.start()
    until(lambda: not processes_in(host.work), 40)
    until(lambda: fleet.row(job).attempt > 1, 40)  # it may have ended elsewhere by now


def test_a_killed_child_of_a_pool_costs_one_attempt(fleet: Fleet) -> None:
    for host in fleet.hosts:
        host.kill()
    host = fleet.hosts[0]
    host.start(pool=("--pool", "prefork", "--concurrency", "1"), CHAOS=chaos())
    job = fleet.submit()
    row = fleet.running(job, seconds=60)
    child = int(row.lease_owner.split("/")[1])
    assert child != host.pid
    os.kill(child, signal.SIGKILL)
    assert fleet.ended(job) == [states.SUCCEEDED], "the pool makes a new child, and it goes on"
    assert host.runs and fleet.row(job).attempt == 2


def test_a_worker_that_was_stopped_past_its_lease_publishes_nothing(fleet: Fleet) -> None:
    job = fleet.submit()
    trainer = trainer_pid(fleet.running(job))
    host = fleet.host_of(job)
    host.signal(signal.SIGSTOP)
    again = fleet.running(job, attempt=1)
    assert again.lease_owner.split("/")[0] != host.name
    host.signal(signal.SIGCONT)
    until(lambda: gone(trainer) and "threw an attempt away" in host.log.read_text(), 10)
    assert fleet.ended(job) == [states.SUCCEEDED]
    assert fleet.row(job).attempt == 2


def test_a_trainer_that_was_stopped_counts_as_stalled_and_is_tried_again(fleet: Fleet) -> None:
    for host in fleet.hosts:
        host.kill()
        host.start(CHAOS=chaos(silent=3))
    job = fleet.submit()
    os.kill(trainer_pid(fleet.running(job, seconds=60)), signal.SIGSTOP)
    assert fleet.ended(job) == [states.SUCCEEDED]
    assert fleet.row(job).attempt == 2


def test_a_worker_asked_to_leave_writes_a_checkpoint_and_no_retry_is_counted(fleet: Fleet) -> None:
    job = fleet.submit(seed=fake_lab.LONG)
    before = fleet.running(job)
    host = fleet.host_of(job)
    host.signal(signal.SIGTERM)
    assert host.wait(20) == 0
    after = fleet.running(job, attempt=1)
    assert after.platform_retries == 0 and after.checkpoint_step >= before.step
    assert fleet.cancel(job) == 200


def test_a_worker_asked_twice_to_leave_loses_nothing(fleet: Fleet) -> None:
    job = fleet.submit()
    fleet.running(job)
    host = fleet.host_of(job)
    host.signal(signal.SIGTERM)
    host.signal(signal.SIGTERM)
    host.wait(20)
    assert fleet.ended(job) == [states.SUCCEEDED]
