"""How hot the queue is, on the fleet and queue pages."""

import datetime as dt

import pytest

from kit.clock import now
from ops.temperature import HOT_SECONDS, WARM_SECONDS, Temperature, temperature
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Cast, Person
from tests.training.making import empty_queue, queued
from training.models import Job, Slot
from training.services.claiming import claim, slots_keep
from training.services.endings import job_fail, job_give_back

HOST = "heated-host"


@pytest.fixture(autouse=True)
def _two_places() -> None:
    empty_queue()
    slots_keep(host=HOST, count=2, kind="cpu-fp32", gpu_class="cpu")


def look() -> Temperature:
    with ops_scope("look at the queue"):
        return temperature()


def work(person: Person, seconds: float) -> None:
    """Make the person's jobs so long."""
    with tenant_scope(person.tenant.id):
        Job.objects.filter(state="queued").update(likely_seconds=seconds)


def test_work_ahead_is_shared_by_all_places_and_makes_the_queue_warm_or_hot(cast: Cast, ada: Person) -> None:
    with ops_scope("forget the ends of other tests"):
        Job.ops.filter(finished_at__isnull=False).update(finished_at=now() - dt.timedelta(hours=2))
    assert look().value == "cold" and look().ahead == 0
    queued(cast.owner)
    for seconds, value in ((WARM_SECONDS, "cold"), (2 * WARM_SECONDS, "warm"), (2 * HOT_SECONDS, "hot")):
        work(cast.owner, seconds)
        heat = temperature_of(seconds / 2)
        assert heat == value, seconds
    for page in ("/staff/fleet/", "/staff/queue/"):
        said = ada.browser.get(page).content.decode()
        assert "Hot, and more comes than ends: add workers." in said and "1\u00a0h" in said


def temperature_of(ahead: float) -> str:
    found = look()
    assert found.ahead == pytest.approx(ahead)
    return str(found.value)


def test_waiting_work_without_any_place_is_hot(cast: Cast) -> None:
    queued(cast.owner)
    Slot.objects.update(draining=True)
    found = look()
    assert (found.value, found.ahead) == ("hot", None)


def test_what_came_started_and_ended_in_the_last_hour_is_counted(cast: Cast) -> None:
    before = look()
    queued(cast.owner)
    lease = claim(host=HOST, worker=f"{HOST}/1/1")
    assert lease is not None
    job_fail(lease=lease, code="bad_data", message="No.")
    after = look()
    assert (after.came - before.came, after.ended - before.ended) == (1, 1)
    assert after.median_wait is not None and after.waiting == 0


def test_a_job_that_was_cancelled_while_it_waited_has_come_and_ended(cast: Cast) -> None:
    before = look()
    job = queued(cast.owner)
    assert cast.owner.api.post(f"/v1/fine_tuning/jobs/{job.public_id}/cancel").status_code == 200
    after = look()
    assert (after.came - before.came, after.ended - before.ended) == (1, 1)


def test_a_job_that_ran_meanwhile_has_not_waited_since_it_was_queued(cast: Cast) -> None:
    job = queued(cast.owner)
    with tenant_scope(cast.owner.tenant.id):
        Job.objects.filter(pk=job.pk).update(queued_at=now() - dt.timedelta(hours=5))
    waited = look().oldest
    assert waited is not None and waited >= 5 * 3600
    lease = claim(host=HOST, worker=f"{HOST}/1/1")
    assert lease is not None
    job_give_back(lease=lease, outcome="drained", reason="The worker leaves.")
    waited = look().oldest
    assert waited is not None and waited < 3600
