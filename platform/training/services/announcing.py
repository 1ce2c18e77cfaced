"""Telling who waits for the end of a job, in the transaction of that end: its project's webhooks, whoever asked for it,
and the sweep that it is a trial of. And of the end of a sweep, its project's webhooks and whoever asked for it."""

from uuid import UUID

from hooks.catalogue import (
    JOB_CANCELLED,
    JOB_FAILED,
    JOB_SUCCEEDED,
    SWEEP_CANCELLED,
    SWEEP_FAILED,
    SWEEP_SUCCEEDED,
)
from hooks.services import event_publish
from kit import outbox
from training import states
from training.models import Job, Sweep
from training.services.mailing import mail_ring, sweep_mail_ring

SWEEP = "training.sweep_step"
ENDS = {states.SUCCEEDED: JOB_SUCCEEDED, states.FAILED: JOB_FAILED, states.CANCELLED: JOB_CANCELLED}
SWEEP_ENDS: dict[str, str] = {
    Sweep.State.SUCCEEDED: SWEEP_SUCCEEDED,
    Sweep.State.FAILED: SWEEP_FAILED,
    Sweep.State.CANCELLED: SWEEP_CANCELLED,
}


def job_announce(job: Job, state: str) -> None:
    """The job has come to this final state."""
    event_publish(project_id=job.project_id, type=ENDS[state], data={"id": job.public_id})
    mail_ring(job, state)
    if job.sweep_id is not None:
        sweep_ring(job.tenant_id, job.sweep_id)


def sweep_ring(tenant_id: UUID, sweep_id: UUID) -> None:
    """After the commit, let the sweep look what to do next."""
    outbox.ring(SWEEP, str(tenant_id), str(sweep_id), queue="ingest")


def sweep_announce(sweep: Sweep) -> None:
    """The sweep has come to its final state."""
    event_publish(project_id=sweep.project_id, type=SWEEP_ENDS[sweep.state], data={"id": sweep.public_id})
    sweep_mail_ring(sweep)
