"""Each end of a job, and of a deployment's way to live, is announced exactly once, by the transaction of that end."""

from collections.abc import Iterator
from typing import Any

import pytest

from hooks.models import Event
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person
from tests.console.things import made_deployment
from tests.data.making import checked_file
from tests.training import fake_lab, making
from tests.training.background import Background, until
from training.services.queueing import job_validate
from training.worker import duty, trainer


def told(person: Person) -> list[tuple[str, str]]:
    """Every event of a person's organisation, oldest first."""
    with tenant_scope(person.tenant.id):
        return [(event.type, event.data["id"]) for event in Event.objects.order_by("pk")]


def test_a_job_cancelled_while_it_waits_is_announced_once(cast: Cast) -> None:
    job = making.create(cast.owner)
    assert told(cast.owner) == []
    for _ in range(2):
        cast.owner.api.post(f"/v1/fine_tuning/jobs/{job.public_id}/cancel")
    assert job_validate(tenant_id=job.tenant_id, job_id=job.pk) == ""
    assert told(cast.owner) == [("fine_tuning.job.cancelled", job.public_id)]


def test_a_job_that_fails_its_check_is_announced_once(cast: Cast) -> None:
    file = checked_file(cast.owner, making.intents())
    job = making.create(cast.owner, training_file=file.public_id, x_max_price_usd=0.000000001)
    for _ in range(2):
        job_validate(tenant_id=job.tenant_id, job_id=job.pk)
    assert making.reload(cast.owner, job.public_id).state == "failed"
    assert told(cast.owner) == [("fine_tuning.job.failed", job.public_id)]


@pytest.mark.parametrize(("state", "kind"), [("live", "live"), ("failed", "failed")])
def test_a_deployment_is_announced_when_it_goes_live_or_fails(cast: Cast, state: str, kind: str) -> None:
    from serving import services

    made = made_deployment(cast.owner, state="loading")
    for _ in range(2):
        if state == "live":
            services._live(made.tenant_id, made.pk, 64, {"passed": True, "worst": 0.0})
        else:
            services._failed(made.tenant_id, made.pk, "The engine refused it.")
    assert told(cast.owner) == [(f"tunesmith.deployment.{kind}", made.public_id)]


@pytest.fixture
def fake_trainer(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A trainer of forty lines, short times, and no job of another test in the queue."""
    monkeypatch.setattr(trainer, "MODULE", "tests.training.fake_lab")
    monkeypatch.setattr(trainer, "CODE", ("tests",))
    settings.TRAINING_HEARTBEAT_SECONDS = 1
    settings.TRAINING_RETRY_SECONDS = 0
    settings.TRAINING_SLOTS = 2
    making.empty_queue()
    duty.draining.clear()
    yield
    duty.draining.clear()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "kind", "rounds"),
    [(fake_lab.WELL, "succeeded", 1), (fake_lab.BAD_DATA, "failed", 1), (fake_lab.POISON, "failed", 3)],
)
def test_a_run_that_ends_is_announced_once(cast: Cast, fake_trainer: None, seed: int, kind: str, rounds: int) -> None:
    job = making.queued(cast.owner, seed=seed)
    for _ in range(rounds):
        assert told(cast.owner) == []
        assert duty.work_once()
    assert making.reload(cast.owner, job.public_id).state == kind
    assert told(cast.owner) == [(f"fine_tuning.job.{kind}", job.public_id)]


@pytest.mark.slow
def test_a_cancelled_run_is_announced_when_it_has_stopped(cast: Cast, fake_trainer: None) -> None:
    job = making.queued(cast.owner, seed=fake_lab.SLOW)
    worker = Background()
    until(lambda: making.reload(cast.owner, job.public_id).step > 2)
    cast.owner.api.post(f"/v1/fine_tuning/jobs/{job.public_id}/cancel")
    worker.join()
    assert told(cast.owner) == [("fine_tuning.job.cancelled", job.public_id)]
