"""Leases nobody renews: a worker that was killed, cut off or switched off. Any number of sweepers may run at once.

Brakes keep a short fault of the database from looking like the death of every worker. Nothing is reclaimed in the first
moments after the database has started. Of leases that several hosts have let go of, no more than a tenth of all running
jobs (at least LEAST) are reclaimed in a minute, by all sweepers together. One host's are reclaimed at once, if others
are up: that is what a dead host looks like, and a fault of ours does not.
"""

import datetime as dt
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connections, transaction
from django.db.models.functions import Now

from tenants.scope import OPS, ops_scope, tenant_scope
from training import states
from training.models import Attempt, Job, Slot
from training.services.claiming import worker_is_dead
from training.services.endings import job_reclaim

DROPPED = "The worker lost hold of the job."
SWEEP_LOCK = 0x7475_6E65_0002
"""One sweep decides at a time; another one finds nothing left to do."""
LEAST = 3
MINUTE = dt.timedelta(seconds=60)


def leases_sweep() -> int:
    """Requeue what was lost; returns how many jobs."""
    with ops_scope("sweep expired leases"), transaction.atomic(using=OPS):
        if not _my_turn() or _database_is_young():
            return 0
        late = Now() - dt.timedelta(seconds=settings.TRAINING_LEASE_GRACE_SECONDS)
        held = Job.ops.filter(state__in=states.HELD)
        lost = list(
            held.filter(lease_expires_at__lt=late).order_by("lease_expires_at").values("tenant_id", "pk", "lease_owner")
        )
        if not lost:
            return 0
        alone = _alone(lost)
        lost = lost[: _most(held.count(), [row["lease_owner"] for row in lost])]
        words = "The worker stopped answering."
        return sum(_reclaim(row["tenant_id"], row["pk"], reason=words, alone=alone) for row in lost)


def _most(running: int, owners: list[str]) -> int:
    """How many of these workers' leases may be reclaimed now."""
    before = list(Attempt.ops.filter(outcome="lost", ended_at__gt=Now() - MINUTE).values_list("worker", flat=True))
    silent = {worker.rsplit("/", 2)[0] for worker in (*owners, *before)}
    heard = Slot.objects.filter(heartbeat_at__gt=Now() - dt.timedelta(seconds=settings.TRAINING_LEASE_SECONDS) / 2)
    if len(silent) == 1 and heard.exclude(host__in=silent).exists():
        return len(owners)
    return max(0, max(LEAST, running // 10) - len(before))


def _my_turn() -> bool:
    with connections[OPS].cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [SWEEP_LOCK])
        return bool(cursor.fetchone()[0])


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
        alone = _alone(lost)
    return sum(
        _reclaim(
            row["tenant_id"],
            row["pk"],
            reason=DROPPED if row["lease_owner"] == worker else "The worker ended.",
            alone=alone and row["lease_owner"] != worker,
            owner=row["lease_owner"],
        )
        for row in lost
    )


def _reclaim(tenant_id: UUID, job_id: UUID, *, reason: str, alone: bool, owner: str = "") -> bool:
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
        job_reclaim(job=job, reason=reason, alone=alone)
        return True


def _alone(rows: list[dict[str, Any]]) -> bool:
    """Whether these leases are one only, no other was lost lately, and none is silent by now: what takes several jobs
    with it is no fault of a job. Inside an ops scope, and before any of them is reclaimed: those that died with it were
    heard of as lately as it was."""
    if len(rows) != 1:
        return False
    job_id = rows[0]["pk"]
    lost = Attempt.ops.filter(outcome="lost", ended_at__gt=Now() - MINUTE).exclude(job_id=job_id)
    quiet = Now() - dt.timedelta(seconds=settings.TRAINING_LEASE_SECONDS) / 2
    silent = Job.ops.filter(state__in=states.HELD, heartbeat_at__lt=quiet).exclude(pk=job_id)
    return not (lost.exists() or silent.exists())


def _database_is_young() -> bool:
    with connections[OPS].cursor() as cursor:
        cursor.execute(
            "SELECT now() - pg_postmaster_start_time() < make_interval(secs => %s)",
            [settings.TRAINING_RESTART_BRAKE_SECONDS],
        )
        return bool(cursor.fetchone()[0])
