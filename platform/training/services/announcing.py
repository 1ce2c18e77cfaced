"""Telling a project's webhooks, and whoever asked for a job, how it ended: in the transaction of that end."""

from hooks.catalogue import JOB_CANCELLED, JOB_FAILED, JOB_SUCCEEDED
from hooks.services import event_publish
from training import states
from training.models import Job
from training.services.mailing import mail_ring

ENDS = {states.SUCCEEDED: JOB_SUCCEEDED, states.FAILED: JOB_FAILED, states.CANCELLED: JOB_CANCELLED}


def job_announce(job: Job, state: str) -> None:
    """The job has come to this final state."""
    event_publish(project_id=job.project_id, type=ENDS[state], data={"id": job.public_id})
    mail_ring(job, state)
