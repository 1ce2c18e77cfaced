"""Old and new workers side by side."""

import signal

import pytest

from tenants.scope import tenant_scope
from tests.chaos.fleet import Fleet, chaos
from tests.training import fake_lab
from tests.training.background import until
from training import states
from training.models import Job
from training.models.jobs import SPEC_VERSION

pytestmark = pytest.mark.chaos


def test_an_old_worker_leaves_jobs_of_a_later_version_to_new_ones(fleet: Fleet) -> None:
    old, new, idle = fleet.hosts
    for host in fleet.hosts:
        host.kill()
    job, plain = fleet.submit(0), fleet.submit(1)
    until(lambda: all(fleet.row(one).state == states.QUEUED for one in (job, plain)))
    row = fleet.row(job)
    with tenant_scope(row.tenant_id):
        Job.objects.filter(pk=row.pk).update(spec=row.spec | {"version": SPEC_VERSION + 1})
    old.start()
    assert fleet.ended(plain) == [states.SUCCEEDED]
    assert (fleet.row(job).state, fleet.row(job).attempt) == (states.QUEUED, 0)
    new.start(CHAOS=chaos(version=SPEC_VERSION + 1))
    assert fleet.ended(job) == [states.SUCCEEDED]
    assert idle.name not in fleet.row(job).lease_owner


def test_workers_replaced_one_by_one_lose_no_job_and_count_no_retry(fleet: Fleet) -> None:
    jobs = [fleet.submit(number, seed=fake_lab.LONG) for number in range(5)]
    for host in fleet.hosts:
        host.signal(signal.SIGTERM)
        assert host.wait(30) == 0
        host.start()
        fleet.ready(host)
    assert set(fleet.ended(*jobs, seconds=170)) == {states.SUCCEEDED}
    assert {fleet.row(job).platform_retries for job in jobs} == {0}
