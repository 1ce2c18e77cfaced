"""Jobs that may not go on for now: a spend limit no longer carries them, or their organisation is suspended.

A job's ceiling is held under every limit before it queues. So a limit is short only when it was lowered, or a plan has
ended, while the job waits or runs. It stops with a checkpoint, within seconds.
"""

from uuid import UUID

from django.db.models.functions import Now

from billing.services.jobs import jobs_over
from kit import outbox
from tenants.models import Tenant
from tenants.scope import ops_scope, tenant_scope
from training import states
from training.models import Job
from training.services import money
from training.services.endings import BLOCKED, WORK
from training.services.events import News, events_append, warn
from training.services.mailing import mail_ring

GOING = (states.QUEUED, *states.WORKING)
STOPPING = {
    states.QUOTA: "Your spend limit no longer carries the job: it writes a checkpoint and stops.",
    states.SUSPENDED: "Your organisation is suspended: the job writes a checkpoint and stops.",
}


def limits_obey() -> int:
    """Stop what may not go on, and let go on what may again; how many jobs were told. Safe to repeat."""
    suspended = Tenant.Status.SUSPENDED
    with ops_scope("find jobs that limits stop, and those they stopped"):
        running = set(Job.ops.filter(state__in=states.WORKING).values_list("tenant_id", flat=True))
        stopped = set(
            Job.ops.filter(state__in=GOING, tenant__status=suspended, stop_for="").values_list("tenant_id", flat=True)
        )
        back = set(
            Job.ops.filter(state=states.BLOCKED, blocked_by=states.SUSPENDED)
            .exclude(tenant__status=suspended)
            .values_list("tenant_id", flat=True)
        )
    told = sum(_stop_all(tenant) for tenant in stopped)
    told += sum(_go_on(tenant) for tenant in back)
    return told + sum(_stop_over(tenant) for tenant in running - stopped)


def _stop_all(tenant_id: UUID) -> int:
    with tenant_scope(tenant_id):
        jobs = Job.objects.select_for_update().filter(state__in=GOING, stop_for="")
        return sum(_stop(job, states.SUSPENDED) for job in jobs)


def _stop_over(tenant_id: UUID) -> int:
    with tenant_scope(tenant_id):
        jobs = {job.pk: job for job in Job.objects.filter(state__in=GOING)}
        over = jobs_over(used={pk: money.used(job) for pk, job in jobs.items()})
        locked = Job.objects.select_for_update().filter(pk__in=over, state__in=GOING, stop_for="")
        return sum(_stop(job, states.QUOTA) for job in locked)


def _stop(job: Job, by: str) -> bool:
    if job.state in states.WORKING:
        Job.objects.filter(pk=job.pk).update(stop_for=by)
        events_append(job=job, news=[warn(STOPPING[by], code="stopping")])
        return True
    if by == states.QUOTA:
        money.shrink(job)
    Job.objects.filter(pk=job.pk).update(state=states.BLOCKED, blocked_by=by, stop_for="", not_before=None)
    events_append(job=job, news=[warn(BLOCKED[by], code=by)])
    mail_ring(job, by)
    return True


def _go_on(tenant_id: UUID) -> int:
    """A suspension was lifted: its jobs queue again, at the end, and none that was told to stop has to."""
    with tenant_scope(tenant_id):
        Job.objects.filter(stop_for=states.SUSPENDED).update(stop_for="")
        jobs = list(Job.objects.select_for_update().filter(state=states.BLOCKED, blocked_by=states.SUSPENDED))
        for job in jobs:
            Job.objects.filter(pk=job.pk).update(state=states.QUEUED, blocked_by="", queued_at=Now())
            events_append(
                job=job, news=[News("The organisation is open again: the job is in the queue.", code="requeued")]
            )
        outbox.ring(WORK, queue="train")
        return len(jobs)
