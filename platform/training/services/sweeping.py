"""Leases nobody renews: a worker that was killed, cut off or switched off. Any number of sweepers may run at once.

Two brakes keep a short fault of the database from looking like the death of every worker: nothing is reclaimed in the
first moments after the database has started, and never more than a tenth of the running jobs (at least one) at once.
"""

import datetime as dt
from uuid import UUID

from django.conf import settings
from django.db import connections
from django.db.models.functions import Now

from tenants.scope import OPS, ops_scope, tenant_scope
from training import states
from training.models import Job
from training.services.claiming import worker_is_dead
from training.services.endings import job_reclaim

DROPPED = "The worker lost hold of the job."


def leases_sweep() -> int:
    """Requeue what was lost; returns how many jobs."""
    with ops_scope("sweep expired leases"):
        if _database_is_young():
            return 0
        late = Now() - dt.timedelta(seconds=settings.TRAINING_LEASE_GRACE_SECONDS)
        held = Job.ops.filter(state__in=states.HELD)
        most = max(1, held.count() // 10)
        lost = list(
            held.filter(lease_expires_at__lt=late).order_by("lease_expires_at").values("tenant_id", "pk")[:most]
        )
    return sum(_reclaim(row["tenant_id"], row["pk"], reason="The worker stopped answering.") for row in lost)


def leases_of_the_dead(*, host: str, worker: str = "") -> int:
    """Requeue at once what dead processes of this very host held: their trainers died with them. And what `worker`
    holds, which says that it runs nothing: the answer to its claim was lost, or it failed with it.
    That counts as a try like any other, so that a fault that repeats comes to an end."""
    with ops_scope("reclaim the leases of dead workers of this host"):
        held = list(
            Job.ops.filter(state__in=states.HELD, lease_owner__startswith=f"{host}/").values(
                "tenant_id", "pk", "lease_owner"
            )
        )
    lost = [row for row in held if row["lease_owner"] == worker or worker_is_dead(row["lease_owner"], host=host)]
    return sum(
        _reclaim(
            row["tenant_id"],
            row["pk"],
            reason=DROPPED if row["lease_owner"] == worker else "The worker ended.",
            owner=row["lease_owner"],
        )
        for row in lost
    )


def _reclaim(tenant_id: UUID, job_id: UUID, *, reason: str, owner: str = "") -> bool:
    with tenant_scope(tenant_id):
        found = Job.objects.select_for_update().filter(pk=job_id, state__in=states.HELD)
        if owner:
            found = found.filter(lease_owner=owner)
        else:
            late = Now() - dt.timedelta(seconds=settings.TRAINING_LEASE_GRACE_SECONDS)
            found = found.filter(lease_expires_at__lt=late)
        job = found.first()
        if job is None:
            return False
        job_reclaim(job=job, reason=reason)
        return True


def _database_is_young() -> bool:
    with connections[OPS].cursor() as cursor:
        cursor.execute(
            "SELECT now() - pg_postmaster_start_time() < make_interval(secs => %s)",
            [settings.TRAINING_RESTART_BRAKE_SECONDS],
        )
        return bool(cursor.fetchone()[0])
