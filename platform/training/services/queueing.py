"""validating_files -> queued: the files become a dataset version, the run a frozen spec, the price a reservation.

Slow work (reading files, counting tokens) happens between two short transactions; whoever finishes second finds that
the job has moved on and throws its part away.
"""

import hashlib
import json
from typing import Any
from uuid import UUID

from django.db.models.functions import Now

from billing.quotas.jobs import Reached, naming
from billing.services.decisions import job_refusals
from kit import outbox
from kit.errors import ApiError, BadRequest
from kit.fields import AUTO
from kit.money import in_name, number, written, written_at_most
from registry.selectors import base_by_name
from tenants.scope import tenant_scope
from tenants.services.organisations import tenant_turn
from training import forecast, plans, states
from training.errors import CeilingTooLow, FileNotReady, QueueFull
from training.lab.estimate import Workload
from training.methods import LORA, RANK
from training.models import Job
from training.models.jobs import SPEC_VERSION
from training.selectors.queue import wait_seconds
from training.services import intake, money, sizing
from training.services.announcing import job_announce
from training.services.endings import WORK
from training.services.events import News, events_append, fail, warn
from training.services.shares import share_locked


def job_validate(*, tenant_id: UUID, job_id: UUID) -> str:
    """Bring a job out of validating_files; returns its state. Does nothing while its files are still being read."""
    with tenant_scope(tenant_id):
        job = Job.objects.select_related("project").filter(pk=job_id, state=states.VALIDATING).first()
        price = money.price_per_million(job) if job is not None else 0
    if job is None:
        return ""
    try:
        ready = intake.prepare(job)
        if ready is None:
            return states.VALIDATING
        planned = forecast.forecast(job, ready.parquet_key, price=price)
        with tenant_scope(tenant_id), job_refusals(money.asking(job)):
            return _queue(job_id, ready, planned)
    except ApiError as error:
        with tenant_scope(tenant_id):
            return _refuse(job_id, error)


def check_room(*, stopped: bool = True) -> None:
    """QueueFull once as many jobs wait as the plan allows; with `stopped` likewise for those that stand still and that
    their tenant may resume, so that pausing makes no second queue. Until the transaction ends, others of the tenant who
    ask wait here."""
    tenant_turn()
    limit = plans.allowance().queued_jobs
    waiting = Job.objects.filter(state__in=states.WAITING).count()
    if waiting >= limit:
        refused = QueueFull(
            f"{waiting} jobs are waiting already, and your plan allows {limit}. "
            "Cancel one, wait until one starts, or take a larger plan.",
            headers={"Retry-After": "60"},
        )
        raise naming(refused, Reached("queued_jobs", limit, 1, 0, "concurrency"))
    own = Job.objects.filter(state=states.BLOCKED, blocked_by__in=states.OWN)
    still = own.count() if stopped else 0
    if still >= limit:
        refused = QueueFull(
            f"{still} jobs are paused or stopped at their price ceiling, and your plan allows {limit}. "
            "Resume or cancel one, or take a larger plan.",
            headers={"Retry-After": "60"},
        )
        raise naming(refused, Reached("queued_jobs", limit, 1, 0, "concurrency"))


def _queue(job_id: UUID, ready: intake.Ready, planned: forecast.Forecast) -> str:
    job = Job.objects.select_for_update(of=("self",)).select_related("project").get(pk=job_id)
    if job.state != states.VALIDATING:
        return str(job.state)
    ceiling = ceiling_of(job, planned)
    job.spec = spec_of(job, ready, planned, ceiling)
    job.spec_sha256 = spec_sha256(job.spec)
    job.dataset_version_id = ready.version_id
    job.estimate = planned.as_dict()
    job.likely_seconds = forecast.likely_seconds(job.estimate)
    job.group_key = forecast.group_key(job, planned)
    job.ceiling_nano = ceiling
    job.max_runtime_seconds = plans.allowance().runtime_seconds
    job.price_version = money.price_version()
    check_rows(ready)
    job.state = states.QUEUED
    job.queued_at = Now()
    job.save()
    job.refresh_from_db()
    money.reserve(job, nano=ceiling)
    share_locked()
    news = [warn(f"{finding['message']}", code=finding["code"], data=finding) for finding in ready.warnings[:20]]
    if planned.cut_rows:
        words = f"{planned.cut_rows:,} rows are longer than {planned.max_length:,} tokens and are cut at their end."
        news.append(warn(words, code="rows_cut", data={"rows": planned.cut_rows, "max_length": planned.max_length}))
    steps, every = job.spec["config"]["max_steps"], planned.epochs * planned.steps_per_epoch
    if steps is not None and steps < every:
        most = written_at_most(ceiling)
        words = f"The ceiling of {most} pays for about {steps:,} of {every:,} steps; training ends there."
        news.append(warn(words, code="ceiling_short", data={"steps": steps, "all_steps": every}))
    held = f"{ready.rows:,} rows, {ready.labels} labels" if ready.labels else f"{ready.rows:,} rows"
    words = f"Files validated: {held}. The job is in the queue; it costs at most {written_at_most(ceiling)}."
    news.append(News(words, code="queued", data=planned.as_dict()))
    events_append(job=job, news=news)
    outbox.ring(WORK, queue="train")
    return states.QUEUED


def _refuse(job_id: UUID, error: ApiError) -> str:
    job = Job.objects.select_for_update().get(pk=job_id)
    if job.state != states.VALIDATING:
        return str(job.state)
    Job.objects.filter(pk=job_id).update(
        state=states.FAILED,
        finished_at=Now(),
        error_code=(error.code or "invalid_request")[:60],
        error_message=error.message,
        error_param=(error.param or "")[:60],
    )
    events_append(job=job, news=[fail(error.message, code=error.code or "invalid_request")])
    job_announce(job, states.FAILED)
    return states.FAILED


def estimate(draft: Job) -> dict[str, Any]:
    """The answer of the estimate route for a job that is not saved."""
    seen = looked_at(draft)
    answer: dict[str, Any] = {
        "object": "fine_tuning.estimate",
        "findings": seen.counts,
        "queue_seconds": wait_seconds(draft.tenant_id, plans.allowance().gpu_class),
    }
    if seen.counts["blocking"]:
        return answer | {"tokens": 0, "price_usd": None, "seconds": None, "x_blocking": seen.blocking}
    planned = forecast.forecast_work(draft, work_of(draft, seen), price=money.price_per_million(draft))
    ceiling = ceiling_of(draft, planned)
    return answer | {
        "tokens": planned.tokens_high,
        "price_usd": {
            "low": number(min(planned.nano_low, ceiling)),
            "high": number(min(planned.nano_high, ceiling)),
            "ceiling": number(ceiling),
        },
        "seconds": {"low": planned.seconds_low, "high": planned.seconds_high},
        "x_epochs": planned.epochs,
        "x_rows": planned.rows,
        "x_labels": planned.labels,
        "x_max_length": planned.max_length,
        "x_cut_rows": planned.cut_rows,
    }


def looked_at(draft: Job) -> intake.Seen:
    """The findings of a draft's files; FileNotReady while one is being read."""
    seen = intake.look(draft)
    if seen is None:
        raise FileNotReady(
            "The file is still being read. Ask again soon, or poll GET /v1/files/{id} until it is processed.",
            param="training_file",
            headers={"Retry-After": "2"},
        )
    return seen


def work_of(draft: Job, seen: intake.Seen) -> Workload:
    """What a run of a draft would read: counted where its version is written, from its files else."""
    if draft.dataset_version_id is None:
        return sizing.workload_of(draft, seen)
    return forecast.workload(draft, intake.written_key(draft.dataset_version_id))


def check_rows(ready: intake.Ready) -> None:
    """BadRequest for more rows than the plan trains on."""
    limit = plans.allowance().train_rows
    if ready.rows > limit:
        refused = BadRequest(
            f"The data has {ready.rows:,} rows; your plan trains on {limit:,} at most. Use a larger plan.",
            code="too_many_rows",
            param="training_file",
        )
        raise naming(refused, Reached("train_rows", limit, ready.rows, limit, "too_large"))


def ceiling_of(job: Job, planned: forecast.Forecast) -> int:
    """The most the job may cost: as asked for, or the estimate's upper end. CeilingTooLow if that buys nothing."""
    if job.max_price_nano is None:
        return planned.nano_high
    if job.max_price_nano < planned.nano_least:
        raise CeilingTooLow(
            f"One pass over this data costs {written_at_most(planned.nano_least)}, more than "
            f"{in_name('x_max_price_usd')} ({written(job.max_price_nano)}). Raise the ceiling to at least that, or "
            "train on fewer rows.",
            param="x_max_price_usd",
        )
    return min(job.max_price_nano, planned.nano_high)


def spec_of(job: Job, ready: intake.Ready, planned: forecast.Forecast, ceiling: int) -> dict[str, Any]:
    """Everything a worker needs that must not change between attempts. Paths are added where it runs."""
    base = base_by_name(job.base)
    return {
        "version": SPEC_VERSION,
        "base_sha256": base.fingerprint,
        "dataset_key": ready.parquet_key,
        "dataset_sha256": ready.sha256,
        "config": {
            "task": job.task,
            "base_name": job.base,
            "method": job.method,
            "seed": job.seed,
            "epochs": job.hyperparameters["n_epochs"],
            "batch_size": job.hyperparameters["batch_size"],
            "learning_rate": planned.learning_rate,
            "max_length": planned.max_length,
            "max_steps": planned.steps_within(ceiling),
            **_rank_of(job),
            **({"gpus": job.width} if job.width > 1 else {}),  # a worker of the version before does not know the field
        },
    }


def spec_sha256(spec: dict[str, Any]) -> str:
    """A spec's hash."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()


def spec_raised(job: Job, ceiling: int) -> dict[str, Any]:
    """The job's spec once it has a higher ceiling: as many more steps as that pays for, all of them from the estimate's
    upper end on. `max_steps` itself stays, because checkpoints know their run by it."""
    config = dict(job.spec["config"])
    steps = config.get("raised_steps") or config.get("max_steps")
    if steps is None:
        return job.spec
    every = int(job.estimate["epochs"]) * int(job.estimate["steps_per_epoch"])
    enough = ceiling >= int(job.estimate["nano"]["high"])
    config["raised_steps"] = every if enough else min(every, steps * ceiling // max(1, job.ceiling_nano))
    return job.spec | {"config": config}


def _rank_of(job: Job) -> dict[str, int]:
    """The rank asked for; without one the lab has its own. Alpha stays what it is: a step then changes the output about
    as much at any rank, so that one learning rate suits all of them (Hu et al. 2021, section 4.1)."""
    rank = job.hyperparameters.get(RANK, AUTO)
    return {} if rank == AUTO or job.method != LORA else {"lora_rank": rank}
