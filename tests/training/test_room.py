"""Guarantees in the ledger: who may have a place back gets it, through the real claim and the real signals."""

import datetime as dt
import uuid
from typing import Any

import pytest

from billing.services.entitlements import override_set
from kit.clock import now
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Cast, Person
from tests.training.making import empty_queue, no_losses, queued, read, reload
from training.models import Attempt, Job, Slot
from training.scheduling.dispatch import MIN_RUN_SECONDS
from training.services.claiming import claim, room_make, slots_keep
from training.services.endings import job_give_back
from training.services.leases import Lease, lease_look
from training.services.sweeping import leases_sweep

pytestmark = pytest.mark.slow  # drives many jobs through the queue

HOST = "room-host"


@pytest.fixture(autouse=True)
def _two_places() -> None:
    """One host with two places, and no job of another test."""
    empty_queue()
    no_losses()
    with ops_scope("end what other tests left running"):
        Job.ops.filter(state__in=["leased", "starting", "running"]).update(
            state="failed", finished_at=now(), lease_token=None, lease_expires_at=None
        )
    slots_keep(host=HOST, count=2, kind="cpu-fp32", gpu_class="cpu")


def take() -> Lease | None:
    return claim(host=HOST, worker=f"{HOST}/1/{uuid.uuid4().hex[:4]}")


def allow(person: Person, *, jobs: int, guaranteed: int) -> None:
    with tenant_scope(person.tenant.id):
        limits = {"parallel_jobs": jobs, "guaranteed_jobs": guaranteed}
        override_set(reason="test", created_by="test", limits=limits)


def long_ago(lease: Lease) -> None:
    """As if the attempt had run for long enough to be asked."""
    with tenant_scope(lease.tenant_id):
        since = now() - dt.timedelta(seconds=MIN_RUN_SECONDS + 60)
        Attempt.objects.filter(job_id=lease.job_id, number=lease.attempt).update(started_at=since)


def test_a_guaranteed_job_gets_a_borrowed_place_and_the_borrower_goes_on_later(cast: Cast) -> None:
    ada, bob = cast.owner, cast.stranger
    allow(ada, jobs=4, guaranteed=0)
    allow(bob, jobs=4, guaranteed=1)
    borrowed = [queued(ada) for _ in range(3)]
    leases = [lease for lease in (take(), take()) if lease]
    assert [lease.job_id for lease in leases] == [borrowed[0].pk, borrowed[1].pk]
    wanted = queued(bob)
    assert room_make() == 0, "both have only just begun"
    for lease in leases:
        long_ago(lease)
    assert room_make() == 1
    assert room_make() == 0, "asking twice asks nobody"
    (asked,) = [lease for lease in leases if lease_look(lease=lease).stop == "preempted"]
    assert Slot.objects.filter(kept_for=bob.tenant.id).count() == 1
    job_give_back(lease=asked, outcome="preempted", reason="It made room.")
    back = reload(ada, Job(id=asked.job_id, tenant_id=ada.tenant.id).public_id)
    assert (back.state, back.preemptions, back.preempt_requested_at, back.not_before) == ("queued", 1, None, None)
    assert back.platform_retries == 0, "making room is nobody's fault"
    events = ada.api.get(f"/v1/fine_tuning/jobs/{back.public_id}/events").json()["data"]
    assert {"preempting", "preempted"} <= {event["x_code"] for event in events}
    lease = take()
    assert lease is not None and lease.job_id == wanted.pk, "the place was kept for it, though others wait longer"
    assert take() is None and not Slot.objects.exclude(kept_for=None).exists()


def test_a_place_that_nobody_came_for_is_everybodys_again(cast: Cast) -> None:
    job = queued(cast.owner)
    kept = {"kept_for": cast.stranger.tenant.id, "kept_until": now() + dt.timedelta(minutes=5)}
    Slot.objects.filter(host=HOST).update(**kept)
    assert take() is None
    Slot.objects.filter(host=HOST).update(kept_until=now() - dt.timedelta(seconds=1))
    lease = take()
    assert lease is not None and lease.job_id == job.pk


def test_nobody_within_the_own_guarantee_is_asked(cast: Cast) -> None:
    ada, bob = cast.owner, cast.stranger
    allow(ada, jobs=4, guaranteed=2)
    allow(bob, jobs=4, guaranteed=2)
    for _ in range(2):
        queued(ada)
    leases = [lease for lease in (take(), take()) if lease]
    queued(bob)
    for lease in leases:
        long_ago(lease)
    assert room_make() == 0


def test_a_run_that_dies_while_it_makes_room_leaves_its_place_to_who_asked(cast: Cast, settings: Any) -> None:
    settings.TRAINING_RESTART_BRAKE_SECONDS = 0
    ada, bob = cast.owner, cast.stranger
    allow(ada, jobs=4, guaranteed=0)
    allow(bob, jobs=4, guaranteed=1)
    for _ in range(2):
        queued(ada)
    leases = [lease for lease in (take(), take()) if lease]
    wanted = queued(bob)
    for lease in leases:
        long_ago(lease)
    assert room_make() == 1
    (asked,) = [lease for lease in leases if lease_look(lease=lease).stop]
    with tenant_scope(ada.tenant.id):
        Job.objects.filter(pk=asked.job_id).update(lease_expires_at=now() - dt.timedelta(hours=1))
    assert leases_sweep() == 1
    lease = take()
    assert lease is not None and lease.job_id == wanted.pk


def test_the_wait_is_a_band_that_widens_with_how_far_estimates_are_off(cast: Cast) -> None:
    allow(cast.owner, jobs=1, guaranteed=0)
    for _ in range(2):
        queued(cast.owner)
    assert take() is not None
    with tenant_scope(cast.owner.tenant.id):
        Job.objects.update(likely_seconds=1000.0)  # whatever the history is, no band is rounded away
    waiting = queued(cast.stranger)
    Slot.objects.filter(host=HOST, number=1).update(draining=True)
    seconds = read(cast.stranger, waiting)["x_queue"]["seconds"]
    assert 0 < seconds["p50"] < seconds["p90"]
