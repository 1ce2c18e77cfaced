"""What staff do to a job by hand: back into the queue, before everybody else, on hold, or to its end."""

from typing import Any
from uuid import UUID

from kit import outbox
from kit.errors import Conflict, NotFound
from tenants import audit
from training import states
from training.models import Job
from training.models.jobs import URGENT
from training.services.endings import WORK, job_reclaim, job_stop
from training.services.events import events_append, warn

WORDS = {
    "job.urgent": "Our staff moved this job to the front of the queue.",
    "job.ordinary": "The job takes its usual turn in the queue again.",
    "job.held": "Our staff hold this job for a moment. Nothing of it is lost.",
    "job.released": "The job is in the queue again.",
}
"""What the customer reads in the job's log."""


def job_requeue(*, job_id: UUID, reason: str) -> Job:
    """Take the job's lease away, or end its back-off; Conflict once it has ended. Inside the tenant's scope."""
    found = _locked(job_id)
    before = found.state
    if before in states.FINAL or before == states.CANCELLING:
        raise Conflict("The job has ended. Start a new one from it.")
    if before in states.WORKING:
        job_reclaim(job=found, reason="Our staff moved the job to another machine.", outcome="moved")
    elif before == states.QUEUED:
        Job.objects.filter(pk=found.pk).update(not_before=None)
    elif before == states.BLOCKED:
        raise Conflict("The job is stopped. Release it, or let its organisation resume it.")
    else:
        raise Conflict("The job's files are still being checked.")
    found.refresh_from_db()
    audit.record(
        action="job.requeued", target=found, before={"state": before}, after={"state": found.state}, reason=reason
    )
    return found


def job_urgent(*, job_id: UUID, reason: str) -> Job:
    """Let a waiting job go before everybody's; Conflict for any other."""
    found = _locked(job_id)
    if found.state != states.QUEUED:
        raise Conflict("Only a job that waits in the queue can be called urgent.")
    if found.is_urgent:
        raise Conflict("The job is urgent already.")
    return _changed(found, "job.urgent", reason, priority=URGENT + 2 + found.priority)


def job_ordinary(*, job_id: UUID, reason: str) -> Job:
    """Take `job_urgent` back: the job has the priority that its tenant asked for. Conflict for one that is not urgent,
    or has ended."""
    found = _locked(job_id)
    if found.is_final or not found.is_urgent:
        raise Conflict("The job is not urgent.")
    return _changed(found, "job.ordinary", reason, priority=found.own_priority)


def job_hold(*, job_id: UUID, reason: str) -> Job:
    """Keep a job from running until it is released; a worker that holds it is fenced off, its checkpoint stays."""
    found = _locked(job_id)
    if found.pause_requested_at is not None:
        raise Conflict("The job is about to be paused. It can be held once it has been resumed.")
    if found.state in states.WORKING:
        job_reclaim(job=found, reason="Our staff put the job on hold.", outcome="moved")
        found.refresh_from_db()
    if found.state != states.QUEUED:
        raise Conflict("Only a job that waits or runs can be held.")
    return _changed(found, "job.held", reason, state=states.BLOCKED, blocked_by=states.HOLD, not_before=None)


def job_release(*, job_id: UUID, reason: str) -> Job:
    """Let a held job queue again, where it stood; Conflict for any other."""
    found = _locked(job_id)
    if (found.state, found.blocked_by) != (states.BLOCKED, states.HOLD):
        raise Conflict("The job is not held.")
    outbox.ring(WORK, queue="train")
    return _changed(found, "job.released", reason, state=states.QUEUED, blocked_by="")


def job_kill(*, job_id: UUID, reason: str) -> Job:
    """End a job, whatever it is doing; its tenant reads the reason and pays nothing. Conflict once it has ended."""
    found = _locked(job_id)
    if found.is_final:
        raise Conflict("The job has ended already.")
    before = found.state
    job_stop(job=found, code="stopped_by_staff", message=f"Our staff stopped this job: {reason} You were not charged.")
    found.refresh_from_db()
    audit.record(
        action="job.killed", target=found, before={"state": before}, after={"state": found.state}, reason=reason
    )
    return found


def _changed(found: Job, action: str, reason: str, **values: Any) -> Job:
    before = {name: getattr(found, name) for name in values if name != "not_before"}
    Job.objects.filter(pk=found.pk).update(**values)
    found.refresh_from_db()
    after = {name: getattr(found, name) for name in before}
    audit.record(action=action, target=found, before=before, after=after, reason=reason)
    events_append(job=found, news=[warn(WORDS[action], code=action.removeprefix("job."))])
    return found


def _locked(job_id: UUID) -> Job:
    job: Job | None = Job.objects.select_for_update().filter(pk=job_id).first()
    if job is None:
        raise NotFound.of(job_id)
    return job
