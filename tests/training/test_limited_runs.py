"""A run over a limit of time or money: what counts, how it leaves, and how it goes on."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from billing.services.limits import spend_limit_set
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person
from tests.training import fake_lab
from tests.training.background import Background, rehearse, until
from tests.training.making import queued, reload
from training.models import Attempt, Job, JobEvent
from training.services.claiming import claim, slots_keep, worker_name
from training.services.events import News, events_append, warn
from training.services.leases import Lease
from training.services.limiting import limits_obey
from training.services.money import cost_so_far
from training.worker import duty, running
from training.worker.spent import spent_seconds

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _a_quiet_room(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The fake lab, short times, two places, and no job of another test in the queue."""
    rehearse(settings, monkeypatch, slots=2)
    yield
    duty.draining.clear()


@pytest.mark.parametrize(
    ("outcome", "state"), [("drained", "failed"), ("preempted", "failed"), ("paused", "failed"), ("lost", "queued")]
)
def test_a_time_limit_counts_what_earlier_attempts_took_unless_a_fault_of_ours_ended_them(
    cast: Cast, outcome: str, state: str
) -> None:
    job = queued(cast.owner, seed=fake_lab.SLOW)
    duty.draining.set()
    take_and_leave(cast.owner, job)
    with tenant_scope(cast.owner.tenant.id):
        limit_ms = 1000 * job.max_runtime_seconds
        Attempt.objects.filter(job=job).update(outcome=outcome, machine_ms=limit_ms)
    worker = Background()
    until(lambda: (row := reload(cast.owner, job.public_id)).is_final or row.step > 20)
    duty.draining.set()
    worker.join()
    back = reload(cast.owner, job.public_id)
    assert (back.state, back.error_code) == (state, "timeout" if state == "failed" else "")


def test_time_in_a_process_with_others_counts_as_the_share_it_was(cast: Cast) -> None:
    job = queued(cast.owner, seed=fake_lab.SLOW)
    duty.draining.set()
    lease = take_and_leave(cast.owner, job)
    with tenant_scope(cast.owner.tenant.id):
        Attempt.objects.filter(job=job).update(machine_ms=9_000)
        told = [News("-", code="shared", data={"others": 2}), warn("-", code="shared")]
        events_append(job=reload(cast.owner, job.public_id), news=told)
    assert spent_seconds(replace(lease, attempt=2)) == 3.0


def take_and_leave(person: Person, job: Job) -> Lease:
    """An attempt that is over as soon as it has begun, by a worker that leaves."""
    slots_keep(host=duty.host_name(), count=2, kind="cpu-fp32", gpu_class="cpu")
    lease = claim(host=duty.host_name(), worker=worker_name(duty.host_name()))
    assert lease is not None and lease.job_id == job.pk
    running.run([lease], duty.draining)
    duty.draining.clear()
    assert reload(person, job.public_id).state == "queued"
    return lease


def stopped(person: Person, job: Job, worker: Background, *, by: str) -> Job:
    """The job once its worker has left it, blocked for this reason and with a checkpoint to go on from."""
    worker.join()
    row = reload(person, job.public_id)
    assert (row.state, row.blocked_by) == ("blocked", by) and row.checkpoint_step > 0
    return row


def goes_on(person: Person, row: Job) -> None:
    """A worker takes it up where it was."""
    worker = Background()
    until(lambda: reload(person, row.public_id).step > row.step)
    duty.draining.set()
    worker.join()
    with tenant_scope(person.tenant.id):
        resumed = JobEvent.objects.get(job=row, code="resumed")
    assert resumed.data["step"] == row.checkpoint_step


def test_a_run_that_reaches_its_price_ceiling_is_paused_with_a_checkpoint_and_goes_on_with_a_higher_one(
    cast: Cast,
) -> None:
    job = queued(cast.owner, seed=fake_lab.SLOW)
    with tenant_scope(cast.owner.tenant.id):
        Job.objects.filter(pk=job.pk).update(ceiling_nano=cost_so_far(job, 60))
    row = stopped(cast.owner, job, Background(), by="budget")
    assert row.price_nano == 0, "nothing is charged before it has made something"
    higher = {"x_max_price_usd": job.ceiling_nano / 1e9 * 3}
    answer = cast.owner.api.post(f"/v1/fine_tuning/jobs/{job.public_id}/resume", higher)
    assert answer.status_code == 200, answer.content
    goes_on(cast.owner, row)


def test_a_run_that_a_spend_limit_no_longer_carries_is_paused_with_a_checkpoint_and_goes_on_without_it(
    cast: Cast,
) -> None:
    job = queued(cast.owner, seed=fake_lab.SLOW)
    worker = Background()
    until(lambda: reload(cast.owner, job.public_id).step > 12)
    with tenant_scope(cast.owner.tenant.id):
        spend_limit_set(monthly_nano=1)
    limits_obey()
    row = stopped(cast.owner, job, worker, by="quota")
    with tenant_scope(cast.owner.tenant.id):
        spend_limit_set(monthly_nano=None)
    assert cast.owner.api.post(f"/v1/fine_tuning/jobs/{job.public_id}/resume", {}).status_code == 200
    goes_on(cast.owner, row)
