"""Jobs of the scope's tenant."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from kit.errors import NotFound
from kit.ids import parse_id
from registry.selectors import version_of_job
from training.errors import NoReport
from training.models import Attempt, Checkpoint, Job, Sweep
from training.states import FINAL


def jobs(project_id: UUID, *, metadata: dict[str, str] | None = None, no_metadata: bool = False) -> "QuerySet[Job]":
    """A project's jobs, newest first; with all of the given metadata pairs, or with none at all."""
    found: QuerySet[Job] = Job.objects.filter(project_id=project_id).order_by("-id")
    if no_metadata:
        found = found.filter(metadata__isnull=True)
    elif metadata:
        found = found.filter(metadata__contains=metadata)
    return found


def job_by_id(project_id: UUID, job_id: UUID) -> Job:
    """One job of a project; NotFound for anybody else's."""
    job = Job.objects.filter(project_id=project_id, pk=job_id).first()
    if job is None:
        raise NotFound.of(job_id)
    found: Job = job
    return found


def job_by_public_id(project_id: UUID, text: str) -> Job:
    """One job by its `ftjob-…`."""
    job_id = parse_id(Job.prefix, text)
    job = Job.objects.filter(project_id=project_id, pk=job_id).first()
    if job is None:
        raise NotFound.of(text)
    found: Job = job
    return found


def any_trains_on(version_ids: Sequence[UUID]) -> bool:
    """Whether a job or a sweep that has not ended needs any of these dataset versions, in the tenant's scope."""
    jobs = Job.objects.filter(dataset_version_id__in=version_ids).exclude(state__in=FINAL)
    searches = Sweep.objects.filter(dataset_version_id__in=version_ids).exclude(state__in=Sweep.FINAL)
    return jobs.exists() or searches.exists()


def checkpoints(job: Job) -> "QuerySet[Checkpoint]":
    """A job's recorded checkpoints, newest first."""
    found: QuerySet[Checkpoint] = Checkpoint.objects.filter(job=job).order_by("-id")
    return found


def attempts(job: Job) -> "QuerySet[Attempt]":
    """A job's attempts, first to last."""
    found: QuerySet[Attempt] = Attempt.objects.filter(job=job).order_by("number")
    return found


def report(job: Job) -> dict[str, Any]:
    """The report of what the job made. NoReport while, or because, there is none."""
    version = version_of_job(job.pk)
    if version is None:
        words = "ended without a model" if job.is_final else "is not finished"
        raise NoReport(f"The job {job.public_id} {words}, so it has no report.")
    made: dict[str, Any] = version.report
    return made
