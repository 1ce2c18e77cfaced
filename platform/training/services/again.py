"""A new job from an earlier one: as it was, or with changes."""

from typing import Any
from uuid import UUID

from kit.errors import Conflict
from kit.ids import public_id
from tenants.models import Project
from training import states
from training.methods import LORA, RANK
from training.models import Job
from training.serializers import PRIORITIES
from training.services.jobs import job_create
from training.wire import training_source


def job_retry(
    *, project: Project, job: Job, key_id: UUID | None = None, by: str = "", user_id: UUID | None = None
) -> Job:
    """The same once more, for a job that failed or was cancelled. Conflict for any other."""
    if job.state not in (states.FAILED, states.CANCELLED):
        raise Conflict(
            f"The job {job.public_id} is {states.wire(job.state)}; only a failed or cancelled one is retried."
        )
    return job_create(project=project, wanted=wanted_of(job), key_id=key_id, by=by, user_id=user_id)


def job_clone(
    *,
    project: Project,
    job: Job,
    changes: dict[str, Any],
    key_id: UUID | None = None,
    by: str = "",
    user_id: UUID | None = None,
) -> Job:
    """A new job as the old one was asked for, with some fields in place of its own."""
    wanted = wanted_of(job)
    if "training_file" in changes:  # columns and validation file belong to the data
        for name in ("x_columns", "validation_file"):
            wanted.pop(name, None)
    if changes.get("x_method", job.method) != LORA:  # the rank belongs to the method
        wanted["hyperparameters"].pop(RANK, None)
    if "method" in changes or "hyperparameters" in changes:
        knobs = wanted.pop("hyperparameters")
        given = dict(((changes.get("method") or {}).get("supervised") or {}).get("hyperparameters") or {})
        changes = changes | {"hyperparameters": knobs | (changes.get("hyperparameters") or {}) | given}
        changes.pop("method", None)
    return job_create(project=project, wanted=wanted | changes, key_id=key_id, by=by, user_id=user_id)


def wanted_of(job: Job) -> dict[str, Any]:
    """The body of a create that asks for the same, as `serializers.JobInput` reads it."""
    words = {number: word for word, number in PRIORITIES.items()}
    wanted: dict[str, Any] = {
        "model": job.base,
        "training_file": training_source(job),
        "suffix": job.suffix or None,
        "seed": job.seed,
        "metadata": job.metadata,
        "hyperparameters": dict(job.hyperparameters),
        "x_task": job.task,
        "x_method": job.method,
        "x_gpus": job.width,
        "x_lane": job.lane,
        "x_priority": words.get(job.own_priority, "normal"),
        "x_deploy": job.deploy,
    }
    if job.mail_to is not None:
        wanted["x_email_on_end"] = True
    if job.columns:
        wanted["x_columns"] = job.columns
    if job.validation_file_id is not None:
        wanted["validation_file"] = public_id("file-", job.validation_file_id)
    if job.max_price_nano is not None:
        wanted["x_max_price_usd"] = job.max_price_nano
    return wanted
