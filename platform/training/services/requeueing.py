"""Putting a job back into the queue by hand: staff do this when a worker is stuck or a waiting time is pointless."""

from uuid import UUID

from kit.errors import Conflict, NotFound
from tenants import audit
from training import states
from training.models import Job
from training.services.endings import job_reclaim


def job_requeue(*, job_id: UUID, reason: str) -> Job:
    """Take the job's lease away, or end its back-off; Conflict once it has ended. Inside the tenant's scope."""
    job = Job.objects.select_for_update().filter(pk=job_id).first()
    if job is None:
        raise NotFound.of(job_id)
    found: Job = job
    before = found.state
    if before in states.FINAL or before == states.CANCELLING:
        raise Conflict("The job has ended. Start a new one from it.")
    if before in states.WORKING:
        job_reclaim(job=found, reason="Our staff moved the job to another machine.")
    elif before == states.QUEUED:
        Job.objects.filter(pk=found.pk).update(not_before=None)
    else:
        raise Conflict("The job's files are still being checked.")
    audit.record(
        action="job.requeued", target=found, before={"state": before}, after={"state": "queued"}, reason=reason
    )
    return found
