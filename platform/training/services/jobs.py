"""What a person or a key asks of jobs."""

import contextlib
import secrets
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models.functions import Now

from billing.quotas.jobs import Reached, naming
from billing.quotas.trace import Caller
from billing.selectors.dunning import work_check
from billing.selectors.features import PREEMPTIBLE_LANE, PRIORITY_LANE, feature_needed
from billing.services.decisions import job_refusals
from data.models import DatasetVersion, File
from data.roles import task_required
from inference.tasks import TEXT_GENERATION
from kit import outbox
from kit.clock import now
from kit.errors import BadRequest
from kit.ids import new_id, public_id
from kit.logs import request_id
from registry.bases import METHODS, Base
from registry.names import model_name
from registry.selectors import base_by_name
from tenants import audit
from tenants.models import ApiKey, Project
from tenants.selectors import tenant_current
from tenants.services.organisations import project_open
from training import plans, states
from training.errors import JobFinished
from training.methods import DEFAULT_METHOD, HEAD
from training.models import Job
from training.scheduling.fairness import PREEMPTIBLE, PRIORITY, STANDARD
from training.selectors.capacity import places_together
from training.serializers import PRIORITIES, SEEDS, TASK, knobs_of
from training.services import intake, money, queueing
from training.services.announcing import job_announce
from training.services.checkpoints import checkpoints_drop
from training.services.events import News, events_append

VALIDATE = "training.validate"
LANE_FEATURES = {PREEMPTIBLE: PREEMPTIBLE_LANE, PRIORITY: PRIORITY_LANE}


def job_create(
    *,
    project: Project,
    wanted: dict[str, Any],
    key_id: UUID | None = None,
    by: str = "",
    user_id: UUID | None = None,
    trial: dict[str, Any] | None = None,
) -> Job:
    """A job from the validated body of `serializers.JobInput`. Its files are looked at after the commit.

    `user_id` is the person who asked and wants to hear of its end by e-mail; for a key, whoever made the key does where
    the body says so. `trial` are the job's `sweep…` columns, where a sweep starts it.
    """
    work_check()
    base = base_by_name(wanted["model"], plan=plans.allowance().plan)
    task = task_of(wanted, base)
    wanted = wanted | {"x_task": task}
    knobs = knobs_of(wanted)
    with contextlib.nullcontext() if trial else job_refusals(asking(project, wanted, key_id)):  # trials are tried again
        lane = lane_of(wanted)
        width = width_of(wanted)
        sources = sources_of(project, wanted)
        intake.check_usable(sources, wanted.get("x_columns") or {}, task)
        queueing.check_room()
        project_open(project.pk)
    job_id = new_id()
    suffix = wanted.get("suffix") or ""
    seed = wanted.get("seed")
    job: Job = Job.objects.create(
        id=job_id,
        project=project,
        task=task,
        base=base.name,
        method=wanted.get("x_method", DEFAULT_METHOD),
        suffix=suffix,
        seed=secrets.randbelow(SEEDS) if seed is None else seed,
        hyperparameters=knobs,
        columns=wanted.get("x_columns") or {},
        metadata=wanted.get("metadata"),
        deploy=wanted.get("x_deploy", False),
        lane=lane,
        width=width,
        priority=PRIORITIES[wanted.get("x_priority", "normal")],
        **sources,
        max_price_nano=wanted.get("x_max_price_usd"),
        model_name=model_name(base=base.name, tenant_slug=tenant_current().slug, suffix=suffix, job_id=job_id),
        key_id=key_id,
        created_by=by[:254],
        mail_to=user_id or maker_of(key_id, wanted),
        **(trial or {}),
    )
    audit.record(action="job.created", target=job, after={"model": base.name, "method": job.method})
    news = [
        News(f"Created fine-tuning job: {job.public_id}", code="created"),
        News(f"Validating training file: {wanted['training_file']}", code="validating"),
    ]
    events_append(job=job, news=news)
    outbox.ring(VALIDATE, str(job.tenant_id), str(job.pk), queue="ingest")
    return job


def asking(project: Project, wanted: dict[str, Any], key_id: UUID | None) -> Caller:
    """Who asks for a job or a sweep, for the trace of what was refused: by the request's id, before the job has one."""
    kind = money.KINDS[wanted.get("x_lane", STANDARD)]
    return Caller(request_id.get() or public_id("req_", new_id()), kind, wanted["model"], project.pk, key_id)


def task_of(wanted: dict[str, Any], base: Base) -> str:
    """The task asked for, or the base's own. BadRequest where the base is not tuned for it, or not by the method or on
    as many places as asked for."""
    task: str = wanted.get("x_task") or base.task
    if task not in base.tasks:
        raise BadRequest(f"The base '{base.name}' cannot be tuned for '{task}'.", param="x_task")
    method = wanted.get("x_method", DEFAULT_METHOD)
    if method not in METHODS[task]:
        raise BadRequest(
            f"{task} is trained with {', '.join(METHODS[task])}; the method here is '{method}'.", param="x_method"
        )
    if task == TEXT_GENERATION and wanted.get("x_gpus", 1) > 1:
        raise BadRequest(f"{task} trains on one place. Leave x_gpus out.", param="x_gpus")
    return task


def maker_of(key_id: UUID | None, wanted: dict[str, Any]) -> UUID | None:
    """Who made the key, if a mail is wanted."""
    if key_id is None or not wanted.get("x_email_on_end"):
        return None
    maker: UUID | None = ApiKey.objects.filter(pk=key_id).values_list("created_by_id", flat=True).first()
    return maker


def sources_of(project: Project, wanted: dict[str, Any]) -> dict[str, UUID | None]:
    """The job's columns that say what it trains on. WrongTask when its rows are not what the task needs."""
    columns, task = wanted.get("x_columns") or {}, wanted.get("x_task", TASK)
    training = intake.source_of(project, wanted["training_file"], param="training_file")
    if isinstance(training, DatasetVersion):
        for name in ("validation_file", "x_columns"):
            if wanted.get(name):
                raise BadRequest(
                    "A dataset version brings its own split and columns. Leave this field out.", param=name
                )
        task_required(training, task)
        return {"training_file_id": None, "validation_file_id": None, "dataset_version_id": training.pk}
    task_required(training, task, columns)
    intake.check_columns(training, columns)
    if not wanted.get("validation_file"):
        return {"training_file_id": training.pk, "validation_file_id": None}
    validation = intake.source_of(project, wanted["validation_file"], param="validation_file")
    if not isinstance(validation, File) or validation.pk == training.pk:
        raise BadRequest("validation_file must be another uploaded file.", param="validation_file")
    task_required(validation, task, columns, param="validation_file")
    return {"training_file_id": training.pk, "validation_file_id": validation.pk}


def lane_of(wanted: dict[str, Any]) -> str:
    """The lane asked for; PermissionDenied, naming the plan to take, for one that the plan does not have."""
    lane: str = wanted.get("x_lane", STANDARD)
    if lane in LANE_FEATURES:
        feature_needed(LANE_FEATURES[lane])
    return lane


def width_of(wanted: dict[str, Any], *, methods: Sequence[str] = ()) -> int:
    """Places of one machine. BadRequest for more than the plan runs at once or than any machine of its class has, and
    where one of the methods (the body's own, if none are named) has no use for them."""
    width: int = wanted.get("x_gpus", 1)
    if width == 1:
        return width
    allowed = plans.allowance()
    if HEAD in (methods or [wanted.get("x_method", DEFAULT_METHOD)]):
        raise BadRequest("The method 'head' trains in moments on one place. Leave x_gpus out.", param="x_gpus")
    if width > allowed.parallel_jobs:
        refused = BadRequest(
            f"Each GPU counts as a parallel job, and your plan runs {allowed.parallel_jobs} at once. "
            "Ask for at most as many, or take a larger plan.",
            param="x_gpus",
        )
        most = allowed.parallel_jobs
        raise naming(refused, Reached("parallel_jobs", most, width, most, "too_large"))
    largest = places_together(allowed.gpu_class)
    if width > largest:
        raise BadRequest(
            f"No machine for your plan's jobs has {width} places to train; the largest has {largest}. "
            "Ask for at most as many.",
            param="x_gpus",
        )
    return width


def job_estimate(*, project: Project, wanted: dict[str, Any]) -> dict[str, Any]:
    """Price, time and findings of a job that is not made. FileNotReady while a file is being read."""
    base = base_by_name(wanted["model"], plan=plans.allowance().plan)
    wanted = wanted | {"x_task": task_of(wanted, base)}
    draft = Job(
        id=new_id(),
        tenant_id=project.tenant_id,
        project=project,
        task=wanted["x_task"],
        base=base.name,
        method=wanted.get("x_method", DEFAULT_METHOD),
        seed=wanted.get("seed") or 0,
        hyperparameters=knobs_of(wanted),
        columns=wanted.get("x_columns") or {},
        max_price_nano=wanted.get("x_max_price_usd"),
        lane=lane_of(wanted),
        width=width_of(wanted),
        **sources_of(project, wanted),
    )
    return queueing.estimate(draft)


def job_cancel(*, job: Job) -> Job:
    """Cancel: at once while it waits, in seconds while it runs. Twice is the same; after another end, JobFinished."""
    row: Job = Job.objects.select_for_update().get(pk=job.pk)
    if row.state in (states.CANCELLED, states.CANCELLING):
        return row
    if row.is_final:
        raise JobFinished(f"The job {row.public_id} has already {row.state}; it cannot be cancelled any more.")
    before = row.state
    if row.state in states.IDLE:
        row.state, row.finished_at, row.cancel_requested_at, row.blocked_by = states.CANCELLED, now(), now(), ""
        row.save(update_fields=["state", "finished_at", "cancel_requested_at", "blocked_by"])
        checkpoints_drop(job=row)
        money.release(row)
        job_announce(row, states.CANCELLED)
        news = News("The job was cancelled. Nothing is charged.", code="cancelled")
    else:
        Job.objects.filter(pk=row.pk).update(state=states.CANCELLING, cancel_requested_at=Now())
        row.refresh_from_db()
        news = News("Cancelling: the worker stops the training.", code="cancelling")
    audit.record(action="job.cancelled", target=row, before={"state": before})
    events_append(job=row, news=[news])
    row.refresh_from_db()
    return row
