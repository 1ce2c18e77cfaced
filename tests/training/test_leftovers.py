"""What a dead worker left in storage beside the checkpoints on record."""

import datetime as dt
from uuid import UUID

from kit import storage
from kit.clock import now
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person
from tests.training.making import empty_queue, queued
from training.models import Attempt, Job
from training.services.checkpoints import leftovers_sweep
from training.services.claiming import claim, slots_keep
from training.services.endings import job_fail
from training.services.leases import Lease

HOST = "leaving-host"


def left(person: Person, *, hours: float) -> str:
    """The key of a file that came into storage after its job's end, so many hours ago."""
    job = running(person)
    before = upload(job)
    job_fail(lease=claimed[job.pk], code="bad_data", message="No.")
    assert not storage.exists(before), "what nobody was told of goes with its job"
    with tenant_scope(person.tenant.id):
        Attempt.objects.filter(job=job).update(ended_at=now() - dt.timedelta(hours=hours))
    return upload(job)


def running(person: Person) -> Job:
    empty_queue()
    slots_keep(host=HOST, count=1, kind="cpu-fp32", gpu_class="cpu")
    job = queued(person)
    lease = claim(host=HOST, worker=f"{HOST}/1/1")
    assert lease is not None
    claimed[job.pk] = lease
    return job


claimed: dict[UUID, Lease] = {}


def upload(job: Job) -> str:
    """A file of a checkpoint that is on no record."""
    key = storage.tenant_key(job.tenant_id, "jobs", job.pk) + "/a000001/step-00000010-x/state.json"
    storage.write_stream(key, [b"{}"])
    return key


def test_leftovers_go_a_day_after_the_job_has_ended_and_not_before(cast: Cast) -> None:
    keys = [left(cast.owner, hours=hours) for hours in (30, 23)]
    keys.append(upload(running(cast.owner)))
    assert leftovers_sweep() >= 1
    assert [storage.exists(key) for key in keys] == [False, True, True]
    assert leftovers_sweep() == 0
