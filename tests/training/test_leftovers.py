"""What a dead worker left in storage beside the checkpoints on record."""

import datetime as dt

from kit import storage
from kit.clock import now
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person
from tests.training.making import empty_queue, queued
from training.models import Attempt, Job
from training.services.checkpoints import leftovers_sweep
from training.services.claiming import claim, slots_keep
from training.services.endings import job_fail

HOST = "leaving-host"


def left(person: Person, *, hours: float, over: bool = True) -> str:
    """The key of a file that an attempt uploaded so many hours ago and told nobody of."""
    empty_queue()
    slots_keep(host=HOST, count=1, kind="cpu-fp32", gpu_class="cpu")
    job: Job = queued(person)
    lease = claim(host=HOST, worker=f"{HOST}/1/1")
    assert lease is not None
    key = storage.tenant_key(person.tenant.id, "jobs", job.pk) + "/a000001/step-00000010-x/state.json"
    storage.write_stream(key, [b"{}"])
    if over:
        job_fail(lease=lease, code="bad_data", message="No.")
        with tenant_scope(person.tenant.id):
            Attempt.objects.filter(job=job).update(ended_at=now() - dt.timedelta(hours=hours))
    return key


def test_leftovers_go_a_day_after_the_job_has_ended_and_not_before(cast: Cast) -> None:
    keys = [left(cast.owner, hours=hours) for hours in (30, 23)]
    keys.append(left(cast.owner, hours=0, over=False))
    assert leftovers_sweep() >= 1
    assert [storage.exists(key) for key in keys] == [False, True, True]
    assert leftovers_sweep() == 0
