"""Two who ask for opposite things of one job at the same moment, and many who want the one place that is left."""

import datetime as dt
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from billing.models import JobHold, UsageEvent
from billing.services.entitlements import override_set
from kit.clock import now
from kit.errors import ApiError
from registry.bases import catalogue
from registry.models import ModelVersion
from registry.services import artefact_store
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person
from tests.registry.folders import REPORT, artefact
from tests.training.making import BASE, body, create, empty_queue, no_losses, queued, read, reload
from training import states
from training.errors import Fenced
from training.models import Attempt, Job, Slot
from training.scheduling.dispatch import MIN_RUN_SECONDS
from training.services.claiming import claim, room_make, slots_keep
from training.services.endings import Made, job_cancelled, job_succeed
from training.services.leases import Lease, lease_advance, lease_look
from training.services.queueing import job_validate
from training.services.requeueing import job_requeue

pytestmark = pytest.mark.slow

HOST = "racing-host"
JOBS = "/v1/fine_tuning/jobs"
ROUNDS = 5


@pytest.fixture(autouse=True)
def _a_place() -> None:
    empty_queue()
    no_losses()
    slots_keep(host=HOST, count=1, kind="cpu-fp32", gpu_class="cpu")


def at_once(*wishes: Callable[[], Any]) -> list[Any]:
    """What each answers, all begun at one moment; a refusal is an answer."""
    ready = threading.Barrier(len(wishes))

    def run(wish: Callable[[], Any]) -> Any:
        ready.wait()
        try:
            return wish()
        except (ApiError, Fenced) as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(wishes)) as crowd:
        return list(crowd.map(run, wishes))


@pytest.fixture
def made() -> Iterator[Callable[[Lease], Made]]:
    """What a trainer left, stored for the holder of a lease."""
    with tempfile.TemporaryDirectory() as folder:
        left = artefact(Path(folder) / "artefact")

        def store(lease: Lease) -> Made:
            stored = artefact_store(tenant_id=lease.tenant_id, folder=left)
            return Made(stored, catalogue()[BASE], REPORT, trained_tokens=100, steps=10)

        yield store


def finishing(person: Person) -> tuple[Job, Lease]:
    """A job whose worker is about to publish its model."""
    job = queued(person)
    lease = claim(host=HOST, worker=f"{HOST}/1/{uuid.uuid4().hex[:4]}")
    assert lease is not None and lease.job_id == job.pk
    for state in (states.STARTING, states.RUNNING, states.FINISHING):
        assert lease_advance(lease=lease, state=state)
    return job, lease


def whole(person: Person, job: Job) -> str:
    """The job's state, once model, bill, hold, attempt and place have been found to say the same."""
    row = reload(person, job.public_id)
    well = row.state == states.SUCCEEDED
    with tenant_scope(person.tenant.id):
        assert ModelVersion.objects.filter(job_id=job.pk).count() == well
        assert UsageEvent.objects.filter(request_id=f"job:{job.pk}").count() == well
        hold = "settled" if well else "released" if row.is_final else "held"
        assert JobHold.objects.get(job_id=job.pk).state == hold
        assert not Attempt.objects.filter(job_id=job.pk, ended_at=None).exists()
        assert Attempt.objects.filter(job_id=job.pk, outcome="succeeded").count() == well
    assert not Slot.objects.filter(job_id=job.pk).exists()
    return str(row.state)


def test_a_cancel_at_the_very_end_wins_or_loses_as_a_whole(cast: Cast, made: Callable[[Lease], Made]) -> None:
    for _ in range(ROUNDS):
        job, lease = finishing(cast.owner)
        result = made(lease)
        done, answer = at_once(
            lambda lease=lease, result=result: job_succeed(lease=lease, made=result),
            lambda job=job: cast.owner.api.post(f"{JOBS}/{job.public_id}/cancel"),
        )
        if done:
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, "job_finished")
            assert whole(cast.owner, job) == "succeeded"
        else:
            assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
            assert whole(cast.owner, job) == "cancelled"


def test_a_pause_at_the_very_end_keeps_no_job_from_it(cast: Cast, made: Callable[[Lease], Made]) -> None:
    for _ in range(ROUNDS):
        job, lease = finishing(cast.owner)
        result = made(lease)
        done, answer = at_once(
            lambda lease=lease, result=result: job_succeed(lease=lease, made=result),
            lambda job=job: cast.owner.api.post(f"{JOBS}/{job.public_id}/pause"),
        )
        assert done is True and whole(cast.owner, job) == "succeeded"
        assert answer.status_code == 200 or answer.json()["error"]["code"] == "job_finished"
        assert read(cast.owner, job)["status"] == "succeeded"


def test_a_job_that_staff_move_at_the_very_end_is_published_or_runs_again(
    cast: Cast, made: Callable[[Lease], Made]
) -> None:
    for _ in range(ROUNDS):
        job, lease = finishing(cast.owner)
        result = made(lease)

        def move(job: Job = job) -> Job:
            with tenant_scope(cast.owner.tenant.id):
                return job_requeue(job_id=job.pk, reason="test")

        done, moved = at_once(lambda lease=lease, result=result: job_succeed(lease=lease, made=result), move)
        if done is True:
            assert isinstance(moved, ApiError) and whole(cast.owner, job) == "succeeded"
        else:
            assert isinstance(done, Fenced) and isinstance(moved, Job) and whole(cast.owner, job) == "queued"
            cast.owner.api.post(f"{JOBS}/{job.public_id}/cancel")


def test_a_run_that_is_asked_for_its_place_as_it_ends_gives_it_all_the_same(
    cast: Cast, made: Callable[[Lease], Made]
) -> None:
    with tenant_scope(cast.stranger.tenant.id):
        override_set(reason="test", created_by="test", limits={"parallel_jobs": 1, "guaranteed_jobs": 1})
    for _ in range(ROUNDS):
        job, lease = finishing(cast.owner)
        with tenant_scope(cast.owner.tenant.id):
            since = now() - dt.timedelta(seconds=MIN_RUN_SECONDS + 60)
            Attempt.objects.filter(job_id=job.pk).update(started_at=since)
        wanted, result = queued(cast.stranger), made(lease)
        done, _ = at_once(lambda lease=lease, result=result: job_succeed(lease=lease, made=result), room_make)
        assert done is True and whole(cast.owner, job) == "succeeded"
        next_one = claim(host=HOST, worker=f"{HOST}/1/{uuid.uuid4().hex[:4]}")
        assert next_one is not None and next_one.job_id == wanted.pk
        cast.stranger.api.post(f"{JOBS}/{wanted.public_id}/cancel")
        assert lease_look(lease=next_one).cancelled
        job_cancelled(lease=next_one)


def test_of_forty_creates_at_once_one_gets_the_one_place_in_the_queue(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id):
        override_set(reason="test", created_by="test", limits={"queued_jobs": 1})
    wanted = body(cast.owner)
    answers = at_once(*(lambda seed=seed: cast.owner.api.post(JOBS, wanted | {"seed": seed}) for seed in range(40)))
    accepted = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert (len(accepted), len(refused)) == (1, 39)
    assert {answer.json()["error"]["code"] for answer in refused} == {"queue_limit"}
    assert {answer["Retry-After"] for answer in refused} == {"60"}
    with tenant_scope(cast.owner.tenant.id):
        assert Job.objects.count() == 1


def test_of_many_jobs_at_once_exactly_as_many_queue_as_the_money_carries(cast: Cast) -> None:
    """Their price is held once their files have been looked at: all are taken in, and all but one are refused then."""
    first = queued(cast.owner)
    cast.owner.api.post(f"{JOBS}/{first.public_id}/cancel")
    with tenant_scope(cast.owner.tenant.id):
        limits = {"monthly_spend_nano": first.ceiling_nano * 3 // 2, "queued_jobs": 40}
        override_set(reason="test", created_by="test", limits=limits)
    jobs = [create(cast.owner) for _ in range(12)]
    states_now = at_once(*(lambda job=job: job_validate(tenant_id=job.tenant_id, job_id=job.pk) for job in jobs))
    assert sorted(states_now) == ["failed"] * 11 + ["queued"]
    errors = [read(cast.owner, job)["error"] for job in jobs]
    assert {error["code"] for error in errors if error} == {"budget_exceeded"}
    with tenant_scope(cast.owner.tenant.id):
        assert [hold.reserved_nano for hold in JobHold.objects.filter(state="held")] == [first.ceiling_nano]
