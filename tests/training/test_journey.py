"""A job from upload to model with the official client, a real Celery worker and the real lab."""

import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from django.core.wsgi import get_wsgi_application

from kit import storage
from registry.selectors import version_of_job
from tenants.scope import tenant_scope
from tests.conftest import Cast
from tests.training import searching
from tests.training.background import Background, has_checkpoint, trainer_pid, until, worker_of_all
from tests.training.making import BASE, empty_queue, intents, queued, read, reload
from training.models import JobEvent
from training.worker import duty

pytestmark = pytest.mark.slow


@pytest.fixture
def worker(request: pytest.FixtureRequest) -> Iterator[None]:
    """One worker for every queue, in a process of its own."""
    with worker_of_all():
        yield


def client_of(key: str) -> Any:
    """The official client, talking to the application in this process."""
    transport = httpx2.WSGITransport(app=get_wsgi_application())
    return openai.OpenAI(
        api_key=key, base_url="http://testserver/v1", http_client=httpx2.Client(transport=transport), max_retries=0
    )


def test_upload_train_and_find_the_model_with_the_official_client(cast: Cast, worker: None, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]
    client = client_of(cast.owner.key)
    file = client.files.create(file=("intents.csv", intents(150)), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model=BASE,
        training_file=file.id,
        suffix="journey",
        seed=3,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 30}}},
        extra_body={"x_method": "head"},
    )
    deadline = time.monotonic() + 240
    seen = set()
    while job.status not in ("succeeded", "failed", "cancelled") and time.monotonic() < deadline:
        time.sleep(0.5)
        job = client.fine_tuning.jobs.retrieve(job.id)
        seen.add(job.status)
    assert job.status == "succeeded", job.error
    assert seen <= {"validating_files", "queued", "running", "succeeded"}
    assert job.fine_tuned_model and ":journey:" in job.fine_tuned_model
    assert job.trained_tokens and job.x_price_usd > 0
    messages = [event.message for event in client.fine_tuning.jobs.list_events(job.id, limit=10)]
    assert messages[0] == "The job has successfully completed" and len(messages) > 10, "paging goes on by itself"
    assert {model.id for model in client.models.list()} == {BASE, job.fine_tuned_model}
    assert client.models.retrieve(job.fine_tuned_model).x_job == job.id
    assert [one.id for one in client.fine_tuning.jobs.list(limit=1)] == [job.id]
    with pytest.raises(openai.ConflictError):
        client.fine_tuning.jobs.cancel(job.id)
    assert client.models.delete(job.fine_tuned_model).deleted
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(job.fine_tuned_model)


def test_a_killed_run_of_the_real_lab_goes_on_where_it_was(cast: Cast, settings: Any) -> None:
    settings.TRAINING_CHECKPOINT_SECONDS = 1
    settings.TRAINING_HEARTBEAT_SECONDS = 1
    empty_queue()
    knobs = {"n_epochs": 6, "batch_size": 2}  # a fast machine must not be done before it is killed
    job = queued(cast.owner, x_method="lora", seed=5, hyperparameters=knobs, content=intents(90))
    worker = Background()
    until(lambda: has_checkpoint(cast.owner, job), 120)
    os.kill(trainer_pid(job), signal.SIGKILL)
    worker.join()
    point = reload(cast.owner, job.public_id)
    assert point.state == "queued" and point.checkpoint_step > 0
    assert duty.work_once()
    answer = read(cast.owner, job)
    assert (answer["status"], answer["x_attempt"]) == ("succeeded", 2), answer["error"]
    with tenant_scope(cast.owner.tenant.id):
        resumed = JobEvent.objects.get(job=job, code="resumed")
        assert resumed.data["step"] == point.checkpoint_step
        first = JobEvent.objects.filter(job=job, attempt=2, type="metrics").order_by("seq").first()
        assert first is not None and first.data["step"] > point.checkpoint_step, "no step is taken twice"


def test_the_rank_that_was_asked_for_is_the_models(cast: Cast) -> None:
    empty_queue()
    knobs = {"n_epochs": 1, "x_lora_rank": 3}
    job = queued(cast.owner, x_method="lora", hyperparameters=knobs, content=intents(60))
    assert duty.work_once()
    answer = read(cast.owner, job)
    assert answer["status"] == "succeeded", answer["error"]
    with tenant_scope(cast.owner.tenant.id):
        version = version_of_job(job.pk)
        assert version is not None
        manifest = json.loads(b"".join(storage.read_chunks(f"{version.artefact_prefix}/artefact.json")))
    assert manifest["lora"]["rank"] == 3 and manifest["lora"]["alpha"] == 16


def test_a_sweep_tries_its_settings_with_a_real_worker_and_names_the_best(cast: Cast, worker: None) -> None:
    content = intents(150)
    space = {"x_method": ["head"], "learning_rate_multiplier": {"min": 0.05, "max": 3, "scale": "log"}}
    sweep = searching.create(
        cast.owner, content=content, strategy="halving", trials=3, max_epochs=9, parallel=3, space=space
    )
    deadline = time.monotonic() + 240
    found = searching.read(cast.owner, sweep)
    while found["status"] not in ("succeeded", "failed", "cancelled") and time.monotonic() < deadline:
        time.sleep(0.5)
        found = searching.read(cast.owner, sweep)
        held = found["price_usd"]
        assert held["budget"] is None or held["spent"] + held["reserved"] <= held["budget"] + 1e-9
    assert (found["status"], found["ended_because"]) == ("succeeded", "complete"), found
    assert found["rungs"] == [{"trials": 3, "n_epochs": 3}, {"trials": 1, "n_epochs": 9}]
    assert found["progress"]["succeeded"] == 4
    jobs = searching.trials(sweep)
    assert all(0 <= (job.sweep_score or -1) <= 1 for job in jobs)
    assert len({job.spec["dataset_sha256"] for job in jobs}) == 1, "all of them are measured on the same rows"
    best_of_first = max((job for job in jobs if job.sweep_rung == 0), key=lambda job: job.sweep_score or 0)
    assert [job.sweep_number for job in jobs if job.sweep_rung == 1] == [best_of_first.sweep_number]
    assert found["winner"]["score"] == max(job.sweep_score or 0 for job in jobs)
    model = cast.owner.api.get(f"/v1/models/{found['winner']['fine_tuned_model']}").json()
    assert model["x_job"] == found["winner"]["id"]
    report = cast.owner.api.get(f"/v1/fine_tuning/jobs/{found['winner']['id']}/report").json()
    assert report["test"]["macro_f1"]["n"] > 0
    assert found["price_usd"]["spent"] == pytest.approx(sum(job.price_nano for job in jobs) / 1e9)
