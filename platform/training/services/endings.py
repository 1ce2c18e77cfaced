"""How an attempt ends, and with it perhaps the job. Each function is one transaction in the tenant's scope, fenced by
the lease where there is one, and settles the money in the same transaction: what is not committed never happened.

Who pays: a run that succeeds pays for the tokens it trained on, never more than its ceiling. A run that fails or is
cancelled costs nothing.
"""

import datetime as dt
import random
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Sum
from django.db.models.functions import Coalesce, Now

from data.services import Stored as StoredFile
from data.services import file_keep_result
from kit import outbox
from registry.bases import Base
from registry.models import ModelVersion
from registry.services import Stored, model_publish
from tenants.models import Project
from tenants.scope import tenant_scope
from training import states
from training.models import Attempt, Job, Slot
from training.selectors.capacity import host_avoided
from training.services import money
from training.services.announcing import job_announce
from training.services.checkpoints import checkpoints_drop
from training.services.events import News, events_append, fail, warn
from training.services.leases import Lease, fenced_update
from training.services.mailing import mail_ring
from training.services.shares import share_settle

WORK = "training.work"
DEPLOY = "serving.deploy_when_gate_passes"
"""The task that serving listens with; called by name, because serving stands above this room."""
MAX_PLATFORM_RETRIES = 10
POISON_CRASHES = 3
"""Tries that ended badly without a newer checkpoint between them, on more than one host, that make the job the suspect
and not a machine."""
LONGEST_BACKOFF = 600.0
ASKED = ("drained", "preempted", "paused", "unfit", "moved")
"""Outcomes of attempts that were asked to stop, or that their place could not carry: no try is counted."""
KEPT = dt.timedelta(seconds=60)
"""How long a place that was vacated for somebody waits for them."""
BLOCKED = {
    states.PAUSED: "The job is paused. Its price stays reserved.",
    states.HOLD: "Our staff hold this job for a moment. Nothing of it is lost.",
    states.QUOTA: "Your spend limit no longer carries the job. Raise the limit under Billing, then resume it.",
    states.SUSPENDED: "Your organisation is suspended. The job goes on by itself once it is reopened.",
    states.BUDGET: "The job reached its price ceiling and stopped there. Resume it with a higher one.",
}
NO_LEASE: dict[str, Any] = {"lease_token": None, "lease_expires_at": None, "lease_owner": ""}


@dataclass(frozen=True, slots=True)
class Made:
    """What a finished trainer left, already in storage."""

    stored: Stored
    base: Base
    report: dict[str, Any]
    trained_tokens: int
    steps: int
    results: StoredFile | None = None
    """The CSV of metrics, for `result_files`."""


def attempt_close(
    job: Job, *, number: int, outcome: str, reason: str = "", exit_code: int | None = None, suspect: bool = False
) -> None:
    """End an attempt's row, free its slot, count its machine time. `suspect`: it speaks against the job or its host."""
    attempts = Attempt.objects.filter(job=job, number=number, ended_at=None)
    attempts.update(ended_at=Now(), outcome=outcome, reason=reason[:500], exit_code=exit_code, suspect=suspect)
    held = Slot.objects.filter(job_id=job.pk, attempt=number)
    held.exclude(kept_for=None).update(kept_until=Now() + KEPT)
    held.update(job_id=None)
    attempt = Attempt.objects.filter(job=job, number=number).first()
    if attempt is None or attempt.ended_at is None:
        return
    spent = max(0, int((attempt.ended_at - attempt.started_at) / dt.timedelta(milliseconds=1)))
    Attempt.objects.filter(pk=attempt.pk).update(machine_ms=spent)
    share_settle(attempt=attempt, spent_ms=spent, width=job.width)


def machine_ms(job: Job) -> int:
    """What all of a job's attempts took of all of its places, by the database's clock: what it cost us, however it
    ended. What its tenant pays does not go by it."""
    spent: int = job.attempts.aggregate(spent=Coalesce(Sum("machine_ms"), 0))["spent"]
    return spent * job.width


def job_succeed(*, lease: Lease, made: Made) -> bool:
    """finishing -> succeeded: the model's version, the bill, the end, all or nothing. False when somebody cancelled
    first; Fenced when the lease is gone. In both cases the stored artefact is the caller's to discard."""
    with tenant_scope(lease.tenant_id):
        job = _locked(lease)
        if job.state == states.CANCELLING:
            _cancelled(job, lease.attempt)
            return False
        attempt_close(job, number=lease.attempt, outcome="succeeded", exit_code=0)
        nano = money.settle(job, trained_tokens=made.trained_tokens, machine_ms=machine_ms(job))
        fenced_update(
            lease,
            within=(states.FINISHING,),
            state=states.SUCCEEDED,
            finished_at=Now(),
            progress=1.0,
            eta_seconds=0,
            step=made.steps,
            trained_tokens=made.trained_tokens,
            model_version_id=made.stored.version_id,
            result_file_id=_results(job, made.results),
            price_nano=nano,
            **NO_LEASE,
        )
        version = _publish(job, made)
        checkpoints_drop(job=job)
        events_append(job=job, news=_good_news(job, version))
        job_announce(job, states.SUCCEEDED)
        if job.deploy:
            outbox.ring(DEPLOY, str(job.tenant_id), str(version.pk))
        _ring_next()
        return True


def _publish(job: Job, made: Made) -> ModelVersion:
    return model_publish(
        project=Project.objects.get(pk=job.project_id),
        base=made.base,
        task=job.task,
        suffix=job.suffix,
        name=job.model_name,
        stored=made.stored,
        report=made.report,
        job_id=job.pk,
        dataset_version_id=job.dataset_version_id,
        dataset_sha256=job.spec.get("dataset_sha256", ""),
    )


def _good_news(job: Job, version: ModelVersion) -> list[News]:
    data = {"model": job.model_name, "version": version.number, "metrics": version.metrics}
    return [
        News(f"New fine-tuned model created: {job.model_name}", code="model_created", data=data),
        News("The job has successfully completed", code="succeeded"),
    ]


def _results(job: Job, stored: StoredFile | None) -> UUID | None:
    if stored is None:
        return None
    file = file_keep_result(project_id=job.project_id, filename=f"{job.public_id}-metrics.csv", stored=stored)
    file_id: UUID = file.pk
    return file_id


def job_fail(*, lease: Lease, code: str, message: str, param: str = "", exit_code: int | None = None) -> None:
    """The run ended badly and another try would end the same: failed, and free of charge."""
    with tenant_scope(lease.tenant_id):
        job = _locked(lease)
        if job.state == states.CANCELLING:
            _cancelled(job, lease.attempt)
            return
        fenced_update(
            lease,
            within=states.WORKING,
            state=states.FAILED,
            finished_at=Now(),
            eta_seconds=None,
            error_code=code,
            error_message=message,
            error_param=param,
            **NO_LEASE,
        )
        attempt_close(job, number=lease.attempt, outcome="failed", reason=f"{code}: {message}", exit_code=exit_code)
        checkpoints_drop(job=job)
        money.release(job)
        events_append(job=job, news=[fail(message, code=code)])
        job_announce(job, states.FAILED)
        _ring_next()


def job_cancelled(*, lease: Lease) -> None:
    """The worker has stopped a cancelled run."""
    with tenant_scope(lease.tenant_id):
        _cancelled(_locked(lease), lease.attempt)


def _cancelled(job: Job, number: int) -> None:
    ended = Job.objects.filter(pk=job.pk, state=states.CANCELLING).update(
        state=states.CANCELLED, finished_at=Now(), eta_seconds=None, **NO_LEASE
    )
    attempt_close(job, number=number, outcome="cancelled")
    checkpoints_drop(job=job)
    money.release(job)
    events_append(job=job, news=[News("The job was cancelled. Nothing is charged.", code="cancelled")])
    if ended:
        job_announce(job, states.CANCELLED)
    _ring_next()


def job_give_back(*, lease: Lease, outcome: str, reason: str, step: int = 0, exit_code: int | None = None) -> None:
    """The run stopped through no fault of the tenant's: back to the queue, or failed once that has become hopeless.

    `outcome` is `drained` or `preempted` (it was asked to stop) or `unfit` (its place could not carry it), for which no
    retry is counted, or `unready` (what it needed was not there) or `crashed`. `step` is how far the attempt came,
    where that is known better than its last heartbeat said.
    """
    with tenant_scope(lease.tenant_id):
        job = _locked(lease)
        Attempt.objects.filter(job=job, number=lease.attempt, last_step__lt=step).update(last_step=step)
        suspect = outcome == "crashed"
        _requeue(job, lease.attempt, outcome=outcome, reason=reason, exit_code=exit_code, suspect=suspect)


def job_block(*, lease: Lease, by: str = states.PAUSED, exit_code: int | None = None) -> None:
    """The run wrote its checkpoint and left because of one of `states.BLOCKS`: it keeps what it has learnt and its
    reservation (of which, where a spend limit stops it, only what it has used), and goes on when it is resumed. If
    there is no reason to stop any more it queues."""
    with tenant_scope(lease.tenant_id):
        job = _locked(lease)
        lifted = by in states.LIMITS and job.stop_for != by
        called_off = lifted or (by == states.PAUSED and job.pause_requested_at is None)
        if called_off or job.state == states.CANCELLING:
            reason = "The reason to stop was lifted." if lifted else "The job was paused and resumed."
            _requeue(job, lease.attempt, outcome="paused", reason=reason, exit_code=exit_code)
            return
        attempt_close(job, number=lease.attempt, outcome="paused", reason=by, exit_code=exit_code)
        if by == states.QUOTA:
            money.shrink(job)
        fenced_update(
            lease,
            within=states.WORKING,
            state=states.BLOCKED,
            blocked_by=by,
            pause_requested_at=None,
            preempt_requested_at=None,
            stop_for="",
            phase="",
            eta_seconds=None,
            **NO_LEASE,
        )
        events_append(job=job, news=[warn(f"{BLOCKED[by]} {_since(job)}", code=by)])
        mail_ring(job, by)
        _ring_next()


def job_stop(*, job: Job, code: str, message: str) -> None:
    """End a job from outside, in the tenant's scope with its row locked, whatever it is doing: failed, and free. A
    worker that holds it hears of it at its next write, which is refused."""
    held = job.state in states.HELD
    Job.objects.filter(pk=job.pk).update(
        state=states.CANCELLED if job.state == states.CANCELLING else states.FAILED,
        finished_at=Now(),
        eta_seconds=None,
        error_code=code,
        error_message=message,
        blocked_by="",
        **NO_LEASE,
    )
    if held:
        attempt_close(job, number=job.attempt, outcome="failed", reason=f"{code}: {message}")
    checkpoints_drop(job=job)
    money.release(job)
    events_append(job=job, news=[fail(message, code=code)])
    job_announce(job, states.CANCELLED if job.state == states.CANCELLING else states.FAILED)
    _ring_next()


def job_reclaim(*, job: Job, reason: str, outcome: str = "lost", alone: bool = False) -> None:
    """In the tenant's scope, with the job's row locked: nobody renewed the lease (`lost`), or staff take it away
    (`moved`). `alone`: no other job was lost with it, so that it may itself be what ended its worker."""
    _requeue(job, job.attempt, outcome=outcome, reason=reason, exit_code=None, suspect=alone and outcome == "lost")


def _requeue(job: Job, number: int, *, outcome: str, reason: str, exit_code: int | None, suspect: bool = False) -> None:
    if job.state == states.CANCELLING:
        _cancelled(job, number)
        return
    counted = outcome not in ASKED
    retries = job.platform_retries + counted
    crashes = 0
    if suspect:
        crashes = job.crash_count + 1 if job.crash_step == job.checkpoint_step else 1
        Job.objects.filter(pk=job.pk).update(crash_count=crashes, crash_step=job.checkpoint_step)
    attempt_close(job, number=number, outcome=outcome, reason=reason, exit_code=exit_code, suspect=suspect)
    verdict = _hopeless(job, retries, crashes)
    if verdict is not None:
        Job.objects.filter(pk=job.pk).update(
            state=states.FAILED,
            finished_at=Now(),
            eta_seconds=None,
            error_code=verdict[0],
            error_message=verdict[1],
            platform_retries=retries,
            **NO_LEASE,
        )
        checkpoints_drop(job=job)
        money.release(job)
        events_append(job=job, news=[warn(reason, code=outcome), fail(verdict[1], code=verdict[0])])
        job_announce(job, states.FAILED)
        return
    paused = job.pause_requested_at is not None  # a pause that was asked for holds, whatever the attempt ended of
    Job.objects.filter(pk=job.pk).update(
        state=states.BLOCKED if paused else states.QUEUED,
        blocked_by=states.PAUSED if paused else "",
        pause_requested_at=None,
        not_before=Now() + dt.timedelta(seconds=_backoff(retries)) if counted else None,
        platform_retries=retries,
        preempt_requested_at=None,
        stop_for="",  # a tick says it again where it still holds
        preemptions=job.preemptions + (outcome == "preempted"),
        phase="",
        eta_seconds=None,
        **NO_LEASE,
    )
    words = f"{reason} {_since(job)} The interruption costs you nothing."
    also = [warn(BLOCKED[states.PAUSED], code=states.PAUSED)] if paused else []
    events_append(job=job, news=[warn(words, code=outcome), *also])
    _ring_next()


def _since(job: Job) -> str:
    where = f"step {job.checkpoint_step}" if job.checkpoint_step >= 0 else "the start"
    return f"It continues from {where}."


def _hopeless(job: Job, retries: int, crashes: int) -> tuple[str, str] | None:
    if crashes >= POISON_CRASHES and host_avoided(job_id=job.pk) is None:
        where = f"beyond step {job.checkpoint_step}" if job.checkpoint_step > 0 else "to its first checkpoint"
        message = f"The training stopped {crashes} times on different tries and did not get {where}. We did not charge "
        return "training_crashed", f"{message}for it. Try another method or a smaller batch size, or write to support."
    if retries > MAX_PLATFORM_RETRIES:
        message = f"Our machines failed this job {retries} times, so we stopped trying. We did not charge for it."
        return "platform_fault", message + " Start it again, or write to support."
    return None


def _backoff(retries: int) -> float:
    """Seconds until the next try: none after the first loss, then doubling, with jitter."""
    if retries <= 1:
        return 0.0
    base = min(LONGEST_BACKOFF, float(settings.TRAINING_RETRY_SECONDS) * 2.0 ** (retries - 2))
    return base * random.uniform(0.8, 1.2)


def _locked(lease: Lease) -> Job:
    """The lease's job, locked; Fenced when the lease is gone."""
    fenced_update(lease, heartbeat_at=Now())
    job: Job = Job.objects.select_for_update().get(pk=lease.job_id)
    return job


def _ring_next() -> None:
    """A place is free: whoever waits may start."""
    outbox.ring(WORK, queue="train")
