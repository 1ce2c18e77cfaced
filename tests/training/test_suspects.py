"""Who is to blame when tries end badly: the job, its host, or the installation."""

import datetime as dt
import threading
import uuid
from typing import Any

import pytest
from django.db import connections
from django.db.models import F

from billing.services.entitlements import override_set
from kit.clock import now
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Cast, Person
from tests.training.making import empty_queue, no_losses, queued, read, reload
from training import states
from training.models import Attempt, Job, Slot
from training.selectors import queue
from training.services.claiming import claim, room_make, slots_keep
from training.services.endings import job_give_back
from training.services.leases import Lease
from training.services.sweeping import leases_of_the_dead, leases_sweep

HERE, THERE = "one-host", "other-host"


@pytest.fixture(autouse=True)
def _two_hosts(settings: Any) -> None:
    """Two hosts with two places each, nothing waits, and a job that failed is tried again at once."""
    settings.TRAINING_RETRY_SECONDS = 0
    settings.TRAINING_RESTART_BRAKE_SECONDS = 0
    empty_queue()
    no_losses()
    for host in (HERE, THERE):
        slots_keep(host=host, count=2, kind="cpu-fp32", gpu_class="cpu")


def take(host: str) -> Lease | None:
    """A claim by a fresh worker of a host."""
    return claim(host=host, worker=f"{host}/1/{uuid.uuid4().hex[:4]}")


def crash(host: str) -> None:
    """A job is claimed on the host and crashes."""
    lease = take(host)
    assert lease is not None
    job_give_back(lease=lease, outcome="crashed", reason="It crashed.")


def lose(person: Person, job: Job, host: str) -> None:
    """The job is claimed on the host, its worker dies, and nobody renews the lease."""
    lease = take(host)
    assert lease is not None
    expire([(person, job)])
    assert leases_sweep() == 1


def expire(jobs: list[tuple[Person, Job]]) -> None:
    """Their workers have not been heard of for an hour."""
    for person, job in jobs:
        with tenant_scope(person.tenant.id):
            ago = now() - dt.timedelta(hours=1)
            Job.objects.filter(pk=job.pk, state__in=states.HELD).update(lease_expires_at=ago, heartbeat_at=ago)


def minutes_go_by() -> None:
    with ops_scope("time goes by"):
        Attempt.ops.filter(outcome="lost").update(ended_at=F("ended_at") - dt.timedelta(minutes=2))


def test_a_job_that_crashes_on_one_host_goes_to_another_and_is_judged_by_both(cast: Cast) -> None:
    job = queued(cast.owner)
    crash(HERE)
    assert take(HERE) is None, "another host is up"
    crash(THERE)
    crash(HERE)
    error = read(cast.owner, job)["error"]
    assert error["code"] == "training_crashed" and "3 times" in error["message"]


def test_a_bad_host_ends_nobodys_job(cast: Cast) -> None:
    first, behind = queued(cast.owner), queued(cast.owner)
    crash(HERE)
    lease = take(HERE)
    assert lease is not None and lease.job_id == behind.pk, "who waits behind it in line is not kept from the host"
    job_give_back(lease=lease, outcome="drained", reason="The worker leaves.")
    Slot.objects.filter(host=THERE).update(draining=True)
    crash(HERE)
    Slot.objects.filter(host=THERE).update(draining=False)
    with tenant_scope(cast.owner.tenant.id):
        Job.objects.filter(pk=behind.pk).update(state=states.CANCELLED, finished_at=now())
    assert take(HERE) is None
    lease = take(THERE)
    assert lease is not None and lease.job_id == first.pk


def test_room_is_made_and_the_wait_foretold_on_the_host_that_a_crashed_job_may_go_to(cast: Cast) -> None:
    for person, limits in ((cast.owner, {"guaranteed_jobs": 1}), (cast.stranger, {"guaranteed_jobs": 0})):
        with tenant_scope(person.tenant.id):
            override_set(reason="test", created_by="test", limits=limits | {"parallel_jobs": 4})
    for _ in range(2):
        queued(cast.stranger)
        assert take(THERE) is not None
    with tenant_scope(cast.stranger.tenant.id):
        Attempt.objects.filter(ended_at=None).update(started_at=now() - dt.timedelta(hours=1))
        Job.objects.filter(state="leased").update(likely_seconds=3600)
    job = queued(cast.owner)
    crash(HERE)
    queue._cache = None
    place = read(cast.owner, job)["x_queue"]
    assert place["seconds"]["p50"] > 0, "the free places are on the host it is kept from"
    found = queue.explain(job)
    assert found is not None and (found.usable, found.free) == (2, 0)
    assert room_make() == 1
    assert Slot.objects.get(kept_for=cast.owner.tenant.id).host == THERE


def test_a_lone_host_still_gives_its_verdict(cast: Cast) -> None:
    Slot.objects.filter(host=THERE).delete()
    job = queued(cast.owner)
    for _ in range(3):
        crash(HERE)
    assert read(cast.owner, job)["error"]["code"] == "training_crashed"


def test_a_host_that_the_plan_cannot_use_is_no_other_host(cast: Cast) -> None:
    Slot.objects.filter(host=THERE).update(gpu_class="dedicated")
    job = queued(cast.owner)
    for _ in range(3):
        crash(HERE)
    assert read(cast.owner, job)["error"]["code"] == "training_crashed"


def test_a_job_that_takes_its_worker_with_it_is_judged_after_three_of_them(cast: Cast) -> None:
    job = queued(cast.owner)
    for host in (HERE, THERE, HERE):
        lose(cast.owner, job, host)
    answer = read(cast.owner, job)
    assert (answer["error"]["code"], answer["x_price_usd"]) == ("training_crashed", 0)
    assert reload(cast.owner, job.public_id).attempt == 3


def test_a_newer_checkpoint_begins_the_count_again(cast: Cast) -> None:
    job = queued(cast.owner)
    for step, host in enumerate((HERE, THERE, HERE, THERE)):
        crash(host)
        with tenant_scope(cast.owner.tenant.id):
            Job.objects.filter(pk=job.pk).update(checkpoint_step=step * 10)
    row = reload(cast.owner, job.public_id)
    assert (row.state, row.crash_count) == ("queued", 1)


def test_what_was_lost_together_with_others_speaks_against_no_job(cast: Cast) -> None:
    jobs = [(person, queued(person)) for person in (cast.owner, cast.stranger)]
    for _ in range(4):
        assert take(HERE) is not None and take(THERE) is not None
        expire(jobs)
        assert leases_sweep() == 2
        minutes_go_by()
    rows = [reload(person, job.public_id) for person, job in jobs]
    assert [(row.state, row.crash_count, row.platform_retries) for row in rows] == [("queued", 0, 4)] * 2


def test_jobs_that_died_with_their_host_are_no_suspects(cast: Cast) -> None:
    jobs = [(person, queued(person)) for person in (cast.owner, cast.stranger)]
    for _ in jobs:
        assert take(HERE) is not None
    assert leases_of_the_dead(host=HERE) == 2, "both were heard of a moment ago"
    rows = [reload(person, job.public_id) for person, job in jobs]
    assert [(row.state, row.crash_count, row.platform_retries) for row in rows] == [("queued", 0, 1)] * 2


def test_a_job_whose_worker_alone_died_is_a_suspect(cast: Cast) -> None:
    job = queued(cast.owner)
    assert take(HERE) is not None
    assert leases_of_the_dead(host=HERE) == 1
    assert reload(cast.owner, job.public_id).crash_count == 1
    assert take(HERE) is None, "its host may be to blame as well"


def only(host: str) -> None:
    """No other host takes jobs."""
    Slot.objects.filter(host=host).update(draining=False)
    Slot.objects.exclude(host=host).update(draining=True)


def test_what_another_host_lost_in_a_storm_does_not_clear_the_host_that_a_job_crashes_on(cast: Cast) -> None:
    other = (cast.stranger, queued(cast.stranger))
    assert take(THERE) is not None
    job = queued(cast.owner)
    for _ in range(2):
        only(HERE)
        crash(HERE)
        only(THERE)
        with tenant_scope(cast.stranger.tenant.id):
            Job.objects.filter(pk=other[1].pk).update(heartbeat_at=now() - dt.timedelta(hours=1))
        lose(cast.owner, job, THERE)
    only(HERE)
    lease = take(HERE)
    assert lease is not None
    Slot.objects.update(draining=False)
    job_give_back(lease=lease, outcome="crashed", reason="It crashed.")
    row = reload(cast.owner, job.public_id)
    assert (row.state, row.crash_count) == ("queued", 3), "it has never crashed on the other host"
    assert take(HERE) is None and take(THERE) is not None


def held(person: Person, hosts: list[str]) -> list[tuple[Person, Job]]:
    """Jobs that run, one on each of these hosts, copied from one of them."""
    queued(person)
    lease = take(HERE)
    assert lease is not None
    jobs = []
    with tenant_scope(person.tenant.id):
        job, attempt = Job.objects.get(pk=lease.job_id), Attempt.objects.get(job_id=lease.job_id)
        job_give_back(lease=lease, outcome="drained", reason="It was only the model of the others.")
        Job.objects.filter(pk=job.pk).update(state=states.CANCELLED, finished_at=now())
        for host in hosts:
            job.pk, job.lease_token, job.lease_owner = uuid.uuid4(), uuid.uuid4(), f"{host}/1/1"
            job.save(force_insert=True)
            attempt.pk, attempt.job_id, attempt.worker = uuid.uuid4(), job.pk, job.lease_owner
            attempt.save(force_insert=True)
            jobs.append((person, Job.objects.get(pk=job.pk)))
    return jobs


def test_all_sweepers_together_reclaim_a_tenth_a_minute_when_every_host_falls_silent(cast: Cast) -> None:
    jobs = held(cast.owner, [f"host-{number % 10}" for number in range(40)])
    expire(jobs[:35])
    counts: list[int] = []

    def sweep() -> None:
        counts.append(leases_sweep())
        connections.close_all()

    for _ in range(3):
        sweepers = [threading.Thread(target=sweep) for _ in range(2)]
        for one in sweepers:
            one.start()
        for one in sweepers:
            one.join()
    assert sum(counts) == 4, "a tenth of forty, by however many sweeps"
    minutes_go_by()
    assert (leases_sweep(), leases_sweep()) == (3, 0), "a tenth of thirty-six"
    total = 7
    for _ in range(12):
        minutes_go_by()
        total += leases_sweep()
    assert total == 35, "the rest follows"


def test_one_dead_host_among_others_is_reclaimed_at_once(cast: Cast) -> None:
    jobs = held(cast.owner, ["dead-host"] * 8)
    expire(jobs)
    assert leases_sweep() == 8


def test_a_small_fleet_that_fell_silent_recovers_a_few_at_once(cast: Cast) -> None:
    jobs = held(cast.owner, [HERE] * 5)
    Slot.objects.all().delete()
    expire(jobs)
    assert (leases_sweep(), leases_sweep()) == (3, 0)
    minutes_go_by()
    assert leases_sweep() == 2
