"""Jobs that may not go on for now: a spend limit no longer carries them, or their organisation is not open.

A job's ceiling is held under every limit before it queues. So a limit is short only when it was lowered, or a plan has
ended, while the job waits or runs. It stops with a checkpoint, within seconds.
"""

from uuid import UUID

from django.db.models import Q
from django.db.models.functions import Now

from billing.services.jobs import jobs_over
from billing.services.sweeps import for_each
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
ASKED = Q(state__in=GOING) | Q(state=states.BLOCKED, blocked_by=states.PAUSED)
"""What a spend limit may have to stop: a paused job holds its whole price as well."""
STOPPING = {
    states.QUOTA: "Your spend limit no longer carries the job: it writes a checkpoint and stops.",
    states.SUSPENDED: "Your organisation is suspended: the job writes a checkpoint and stops.",
}


def limits_obey() -> int:
    """Stop what may not go on, and let go on what may again; how many jobs were told. Safe to repeat."""
    is_open = Q(tenant__status=Tenant.Status.ACTIVE)
    with ops_scope("find jobs that limits stop, and those they stopped"):
        # What only waits is looked at once some job of its tenant runs: until then it costs nothing.
        running = set(Job.ops.filter(state__in=states.WORKING).values_list("tenant_id", flat=True))
        stopped = set(Job.ops.filter(~is_open, state__in=GOING, stop_for="").values_list("tenant_id", flat=True))
        back = set(
            Job.ops.filter(is_open, state=states.BLOCKED, blocked_by=states.SUSPENDED).values_list(
                "tenant_id", flat=True
            )
        )
    told = for_each("training.suspended", stopped, _stop_all)
    told += for_each("training.reopened", back, _go_on)
    return told + for_each("training.spend_limits", running - stopped, _stop_over)


def _stop_all(tenant_id: UUID) -> int:
    with tenant_scope(tenant_id):
        jobs = Job.objects.select_for_update().filter(state__in=GOING, stop_for="").order_by("-pk")
        return sum(_stop(job, states.SUSPENDED) for job in jobs)


def _stop_over(tenant_id: UUID) -> int:
    with tenant_scope(tenant_id):
        over = jobs_over(used={job.pk: money.used(job) for job in Job.objects.filter(ASKED)})
        told = Job.objects.filter(state__in=states.WORKING, stop_for=states.QUOTA)
        told.exclude(pk__in=over).update(stop_for="")  # the limit was raised again in time
        locked = Job.objects.select_for_update().filter(ASKED, pk__in=over, stop_for="").order_by("-pk")
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
        stopped = Job.objects.filter(state=states.BLOCKED, blocked_by=states.SUSPENDED)
        jobs = list(stopped.select_for_update().order_by("-pk"))
        for job in jobs:
            Job.objects.filter(pk=job.pk).update(state=states.QUEUED, blocked_by="", queued_at=Now())
            events_append(
                job=job, news=[News("The organisation is open again: the job is in the queue.", code="requeued")]
            )
        outbox.ring(WORK, queue="train")
        return len(jobs)
