"""Jobs on several places of one machine: what may be asked for, and one that really trains on two."""

from typing import Any

import pytest

from billing.services.entitlements import override_set
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person
from tests.training.making import body, empty_queue, queued, read, reload
from training.models import Attempt, Slot
from training.services.claiming import claim, slots_keep
from training.worker import duty

JOBS = "/v1/fine_tuning/jobs"
HOST = "gpus-host"


@pytest.fixture(autouse=True)
def _two_places(cast: Cast, settings: Any) -> None:
    """One machine with two places, and a plan that runs three jobs at once."""
    settings.TRAINING_HOST, settings.TRAINING_SLOTS, settings.TRAINING_THREADS = HOST, 2, 1
    empty_queue()
    slots_keep(host=HOST, count=2, kind="cpu-fp32", gpu_class="cpu")
    with tenant_scope(cast.owner.tenant.id):
        override_set(reason="a test", created_by="test", limits={"parallel_jobs": 3})


def refused(person: Person, **changes: Any) -> str:
    answer = person.api.post(JOBS, body(person, **({"x_method": "lora"} | changes)))
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "x_gpus", answer.content
    return str(answer.json()["error"]["message"])


def test_a_job_takes_all_its_places_at_once_or_none(cast: Cast) -> None:
    job = queued(cast.owner, x_method="lora", x_gpus=2)
    assert read(cast.owner, job)["x_gpus"] == 2 and job.spec["config"]["gpus"] == 2
    Slot.objects.filter(host=HOST, number=1).update(draining=True)
    assert claim(host=HOST, worker=f"{HOST}/1/1") is None
    Slot.objects.filter(host=HOST).update(draining=False)
    assert claim(host=HOST, worker=f"{HOST}/1/1") is not None
    assert list(Slot.objects.filter(host=HOST).values_list("job_id", flat=True)) == [job.pk] * 2
    assert "gpus" not in queued(cast.owner).spec["config"], "a worker of the version before can read it"


def test_what_no_plan_or_machine_can_give_is_refused(cast: Cast) -> None:
    assert "your plan runs 3 at once" in refused(cast.owner, x_gpus=4)
    assert "the largest has 2" in refused(cast.owner, x_gpus=3)
    assert "Leave x_gpus out" in refused(cast.owner, x_gpus=2, x_method="head")
    for nonsense in (0, 17, 1.5, "2", True, None):
        assert refused(cast.owner, x_gpus=nonsense)


def test_a_clone_keeps_its_places(cast: Cast) -> None:
    job = queued(cast.owner, x_method="lora", x_gpus=2)
    assert cast.owner.api.post(f"{JOBS}/{job.public_id}/clone", {}).json()["x_gpus"] == 2


@pytest.mark.slow
def test_a_job_on_two_places_trains_on_two_and_is_billed_once(cast: Cast) -> None:
    ada = cast.owner
    job = queued(ada, x_method="lora", x_gpus=2, hyperparameters={"n_epochs": 1}, seed=5)
    assert duty.work_once()
    answer = read(ada, job)
    assert answer["status"] == "succeeded", answer["error"]
    assert answer["x_price_usd"] > 0 and answer["trained_tokens"] > 0
    assert ada.api.get(answer["x_report"]).json()["training"]["processes"] == 2
    row = reload(ada, job.public_id)
    with tenant_scope(ada.tenant.id):
        assert Attempt.objects.get(job=row).outcome == "succeeded"
