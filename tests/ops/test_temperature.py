"""How hot the queue is, on the fleet and queue pages."""

import pytest

from ops.temperature import HOT_SECONDS, WARM_SECONDS, Temperature, temperature
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Cast, Person
from tests.training.making import empty_queue, queued
from training.models import Job, Slot
from training.services.claiming import claim, slots_keep
from training.services.endings import job_fail

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
