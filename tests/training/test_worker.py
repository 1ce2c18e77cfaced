"""One job on a worker, from the claim to each of its ends, with a real trainer process behind it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db.models import F

from billing.models import JobHold, UsageEvent
from billing.services.entitlements import override_set
from kit import processes, storage
from registry.models import Model
from registry.selectors import version_of_job
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person
from tests.training import fake_lab
from tests.training.background import Background, has_checkpoint, rehearse, trainer_pid, until
from tests.training.making import no_losses, queued, read, reload
from training import selectors
from training.models import Attempt, Job, JobEvent, Slot, TenantShare
from training.services.claiming import claim, slots_keep, worker_name
from training.services.endings import job_give_back
from training.services.sweeping import leases_sweep
from training.worker import duty, idle, trainer

JOBS = "/v1/fine_tuning/jobs"

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _a_quiet_room(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The fake lab, short times, two places, no job of another test in the queue, and no loss that counts."""
    rehearse(settings, monkeypatch, slots=2)
    settings.TRAINING_LEASE_GRACE_SECONDS = 0
    settings.TRAINING_RESTART_BRAKE_SECONDS = 0
    no_losses()
    yield
    duty.draining.clear()


def codes(person: Person, job: Job) -> list[str]:
    """The codes of a job's messages, in order."""
    with tenant_scope(person.tenant.id):
        return [event.code for event in selectors.events_after(job, 0, limit=5000) if event.type == "message"]


def test_a_job_that_goes_well_ends_with_a_model_a_report_and_a_bill(cast: Cast) -> None:
    job = queued(cast.owner, seed=fake_lab.WELL, suffix="good")
    assert duty.work_once()
    answer = read(cast.owner, job)
    assert (answer["status"], answer["x_progress"], answer["trained_tokens"]) == ("succeeded", 1.0, 60)
    assert cast.owner.api.get(f"/v1/models/{answer['fine_tuned_model']}").json()["x_job"] == job.public_id
    assert cast.owner.api.get(answer["x_report"]).json()["gate"]["passed"]
    assert answer["finished_at"] and answer["x_price_usd"] > 0
    checkpoints = cast.owner.api.get(f"{JOBS}/{job.public_id}/checkpoints").json()["data"]
    assert [point["step_number"] for point in checkpoints][:1] == [20]
    assert checkpoints[0]["fine_tuned_model_checkpoint"] == f"{answer['fine_tuned_model']}:ckpt-step-20"
    assert not any(point["x_kept"] for point in checkpoints), "nothing will be resumed any more"
    (results,) = answer["result_files"]
    assert cast.owner.api.get(f"/v1/files/{results}").json()["purpose"] == "fine-tune-results"
    lines = b"".join(cast.owner.api.get(f"/v1/files/{results}/content").streaming_content).decode().splitlines()
    assert lines[0].startswith("step,train_loss,") and len(lines) == 21
    assert cast.stranger.api.get(f"/v1/files/{results}/content").status_code == 404
    with tenant_scope(cast.owner.tenant.id):
        event = UsageEvent.objects.get(kind="training")
        assert (event.input_tokens, event.request_id) == (60, f"job:{job.pk}")
        assert JobHold.objects.get(job_id=job.pk).state == "settled"
        assert reload(cast.owner, job.public_id).price_nano == event.cost_nano
        series = selectors.metric_points(job)
        assert [step for step, _ in series["train_loss"]] == list(range(1, 21))
        assert series["valid_macro_f1"] == [[20.0, 0.8]]
        assert Attempt.objects.get(job=job).outcome == "succeeded"
        assert not Slot.objects.filter(job_id=job.pk).exists()
    assert codes(cast.owner, job)[-2:] == ["model_created", "succeeded"]
    page = cast.owner.api.get(f"{JOBS}/{job.public_id}/events?limit=100").json()
    numbers = [event["x_seq"] for event in page["data"]]
    assert numbers == sorted(numbers, reverse=True)
    assert cast.owner.api.post(f"{JOBS}/{job.public_id}/cancel").status_code == 409


def test_the_usage_of_a_job_counts_the_machine_time_of_all_its_attempts_on_all_its_places(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id):
        override_set(reason="test", created_by="test", limits={"parallel_jobs": 2})
    job = queued(cast.owner, seed=fake_lab.WELL)
    with tenant_scope(cast.owner.tenant.id):
        Job.objects.filter(pk=job.pk).update(width=2)
        TenantShare.objects.update(max_running=2)
    slots_keep(host=duty.host_name(), count=2, kind="cpu-fp32", gpu_class="cpu")
    for outcome in ("drained", "crashed"):
        lease = claim(host=duty.host_name(), worker=worker_name(duty.host_name()))
        assert lease is not None
        with tenant_scope(cast.owner.tenant.id):
            began = F("started_at") - timedelta(minutes=3)
            Attempt.objects.filter(job=job, ended_at=None).update(started_at=began)
        job_give_back(lease=lease, outcome=outcome, reason="A test.")
    assert duty.work_once()
    with tenant_scope(cast.owner.tenant.id):
        spent = list(Attempt.objects.filter(job=job).order_by("number").values_list("machine_ms", flat=True))
        event = UsageEvent.objects.get()
    assert len(spent) == 3 and min(spent[:2]) >= 180_000
    assert event.gpu_ms == 2 * sum(spent)
    assert event.cost_nano == reload(cast.owner, job.public_id).price_nano, "and the price goes by tokens"


def test_the_trainer_is_told_no_secret(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_test_canary")
    monkeypatch.setenv("DATABASE_URL", "postgresql://canary")
    names = set(trainer.environment(Path("/tmp")))
    assert names <= {*trainer.PASSED_ON, "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "HOME", "TMPDIR", processes.MARK} | {
        name for name in names if name.endswith("_OFFLINE")
    }


@pytest.mark.parametrize(
    ("seed", "code"),
    [(fake_lab.BAD_DATA, "bad_data"), (fake_lab.DIVERGED, "diverged"), (fake_lab.MEMORY, "out_of_memory")],
)
def test_a_fault_that_would_repeat_ends_the_job_with_advice_and_costs_nothing(cast: Cast, seed: int, code: str) -> None:
    job = queued(cast.owner, seed=seed)
    assert duty.work_once()
    answer = read(cast.owner, job)
    assert (answer["status"], answer["error"]["code"], answer["x_price_usd"]) == ("failed", code, 0.0)
    with tenant_scope(cast.owner.tenant.id):
        assert JobHold.objects.get(job_id=job.pk).state == "released"
        assert not UsageEvent.objects.exists() and not Model.objects.exists()


def test_a_fault_of_ours_is_tried_again_and_then_given_up_without_a_charge(cast: Cast) -> None:
    job = queued(cast.owner, seed=fake_lab.POISON)
    for _ in range(3):
        until(duty.work_once)
    answer = read(cast.owner, job)
    assert (answer["status"], answer["error"]["code"], answer["x_price_usd"]) == ("failed", "training_crashed", 0.0)
    with tenant_scope(cast.owner.tenant.id):
        assert list(Attempt.objects.order_by("number").values_list("number", "outcome")) == [
            (1, "crashed"),
            (2, "crashed"),
            (3, "crashed"),
        ]


def test_a_killed_trainer_resumes_from_its_last_checkpoint(cast: Cast) -> None:
    job = queued(cast.owner, seed=fake_lab.SLOW)
    worker = Background()
    until(lambda: has_checkpoint(cast.owner, job))
    os.kill(trainer_pid(job), signal.SIGKILL)
    worker.join()
    back = reload(cast.owner, job.public_id)
    assert (back.state, back.attempt) == ("queued", 1)
    worker = Background()
    until(lambda: "resumed" in codes(cast.owner, job))
    cast.owner.api.post(f"{JOBS}/{job.public_id}/cancel")
    worker.join()
    with tenant_scope(cast.owner.tenant.id):
        event = JobEvent.objects.get(job=job, code="resumed")
        assert event.data["step"] == back.checkpoint_step >= 10


def test_a_cancel_stops_a_running_job_within_seconds(cast: Cast) -> None:
    job = queued(cast.owner, seed=fake_lab.SLOW)
    worker = Background()
    until(lambda: reload(cast.owner, job.public_id).step > 2)
    pid = trainer_pid(job)
    started = time.monotonic()
    answers = [cast.owner.api.post(f"{JOBS}/{job.public_id}/cancel") for _ in range(2)]
    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(200, "cancelled")] * 2
    worker.join()
    assert time.monotonic() - started < 10
    assert not Path(f"/proc/{pid}").exists()
    answer = read(cast.owner, job)
    assert (answer["status"], answer["x_state"], answer["x_price_usd"]) == ("cancelled", "cancelled", 0.0)
    assert answer["fine_tuned_model"] is None


def test_a_worker_that_leaves_gives_its_job_back_with_a_checkpoint_and_no_retry_counted(cast: Cast) -> None:
    job = queued(cast.owner, seed=fake_lab.SLOW)
    worker = Background()
    until(lambda: reload(cast.owner, job.public_id).step > 12)
    duty.draining.set()
    worker.join()
    back = reload(cast.owner, job.public_id)
    assert (back.state, back.platform_retries) == ("queued", 0) and back.checkpoint_step > 12
    assert duty.work_once() is False, "a leaving worker takes no job"
    with tenant_scope(cast.owner.tenant.id):
        assert Attempt.objects.get(job=job).outcome == "drained"


def test_a_worker_that_nobody_rings_finds_its_job_and_leaves_only_after_giving_it_back(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle, "QUIET_SECONDS", 0.2)
    job = queued(cast.owner, seed=fake_lab.SLOW)
    lookout = idle.Lookout()
    lookout.start()
    until(lambda: reload(cast.owner, job.public_id).step > 12)
    assert idle.work_in_turn() is False, "one job at a time"
    duty.draining.set()
    lookout.stop()
    back = reload(cast.owner, job.public_id)
    assert (back.state, back.platform_retries) == ("queued", 0) and back.checkpoint_step > 12


WORKER = """
import config.celery
from training.worker import duty, trainer
trainer.MODULE, trainer.CODE = {module!r}, ("tests",)
duty.work_once()
"""


def test_a_killed_worker_loses_its_lease_and_the_job_goes_on(cast: Cast) -> None:
    job = queued(cast.owner, seed=fake_lab.SLOW)
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "TUNESMITH_HOME": str(settings.HOME),
        "PYTHONPATH": f"{settings.ROOT}:{settings.ROOT / 'platform'}",
        "TRAINING_LEASE_SECONDS": "3",
        "TRAINING_HEARTBEAT_SECONDS": "1",
    }
    command = [sys.executable, "-c", WORKER.format(module="tests.training.fake_lab")]
    process = subprocess.Popen(command, env=environment, cwd=settings.ROOT)
    try:
        until(lambda: has_checkpoint(cast.owner, job))
        pid = trainer_pid(job)
        process.kill()
        process.wait()
    finally:
        process.kill()
    until(lambda: not Path(f"/proc/{pid}").exists(), 10)
    until(lambda: leases_sweep() >= 0 and reload(cast.owner, job.public_id).state == "queued", 30)
    back = reload(cast.owner, job.public_id)
    assert (back.state, back.attempt, back.platform_retries) == ("queued", 1, 1)
    worker = Background()
    until(lambda: "resumed" in codes(cast.owner, job))
    cast.owner.api.post(f"{JOBS}/{job.public_id}/cancel")
    worker.join()
    with tenant_scope(cast.owner.tenant.id):
        assert Attempt.objects.get(job=job, number=1).outcome == "lost"


def test_a_damaged_checkpoint_falls_back_to_the_one_before(cast: Cast) -> None:
    job = queued(cast.owner, seed=fake_lab.SLOW)
    worker = Background()
    until(lambda: reload(cast.owner, job.public_id).checkpoint_step >= 20)
    duty.draining.set()
    worker.join()
    duty.draining.clear()
    with tenant_scope(cast.owner.tenant.id):
        newest, before = selectors.checkpoints(job).order_by("-step")[:2]
    key = f"{newest.storage_prefix}/state.json"
    storage.delete(key)
    storage.write_stream(key, [b'{"step": 9999}'])
    worker = Background()
    until(lambda: "resumed" in codes(cast.owner, job))
    cast.owner.api.post(f"{JOBS}/{job.public_id}/cancel")
    worker.join()
    assert "checkpoint_damaged" in codes(cast.owner, job)
    with tenant_scope(cast.owner.tenant.id):
        assert JobEvent.objects.get(job=job, code="resumed").data["step"] == before.step


def test_a_worker_that_never_heard_of_the_job_it_took_gives_it_back_at_once(cast: Cast) -> None:
    job = queued(cast.owner, seed=fake_lab.WELL)
    slots_keep(host=duty.host_name(), count=2, kind="cpu-fp32", gpu_class="cpu")
    assert claim(host=duty.host_name(), worker=worker_name(duty.host_name())) is not None
    assert duty.work_once()
    done = reload(cast.owner, job.public_id)
    assert (done.state, done.attempt, done.platform_retries) == ("succeeded", 2, 1)


def test_what_a_model_was_made_from_is_on_record(cast: Cast) -> None:
    job = queued(cast.owner, seed=fake_lab.WELL)
    assert duty.work_once()
    with tenant_scope(cast.owner.tenant.id):
        version = version_of_job(job.pk)
        assert version is not None and version.dataset_version_id == job.dataset_version_id
        assert len(version.dataset_sha256) == 64
