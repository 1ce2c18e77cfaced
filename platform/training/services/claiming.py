"""queued -> leased, in one short transaction. A doorbell has no say in who goes next; this has.

Tenants are asked in the order of `training.fairness`. The plan's limit of parallel jobs is checked under the lock of
the tenant's row: counting beside SKIP LOCKED alone over-admits. A job takes a place of its plan's class or a lower one.
"""

import os
import uuid
from pathlib import Path

from django.db import connections, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from billing.plans import classes_within
from tenants.scope import OPS, ops_scope, tenant_scope
from training import states
from training.fairness import Claimant, faded
from training.forecast import likely_seconds
from training.models import Attempt, Job, Slot
from training.services.events import News, events_append
from training.services.leases import Lease, lease_expiry
from training.services.shares import share_charge, share_locked

CLAIM_LOCK = 0x7475_6E65_0001
"""One claim decides at a time; each takes milliseconds, jobs take minutes."""

CLAIMANTS = """
SELECT job.tenant_id, coalesce(share.recent_ms, 0), coalesce(extract(epoch FROM now() - share.recent_at), 0)::float,
       coalesce(share.weight, 1), min(coalesce(job.queued_at, job.created_at))
FROM training_job job LEFT JOIN training_tenantshare share ON share.tenant_id = job.tenant_id
WHERE job.state = 'queued' AND (job.not_before IS NULL OR job.not_before <= now())
GROUP BY job.tenant_id, share.recent_ms, share.recent_at, share.weight
"""


def claim(*, host: str, worker: str) -> Lease | None:
    """The next job for this host, leased to this worker; None when nothing may start here now."""
    with ops_scope("claim the next job"), transaction.atomic(using=OPS):
        with connections[OPS].cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CLAIM_LOCK])
            cursor.execute(CLAIMANTS)
            claimants = [
                Claimant(tenant, faded(used, age), weight, since)
                for tenant, used, age, weight, since in cursor.fetchall()
            ]
        for claimant in sorted(claimants, key=lambda one: one.turn):
            with tenant_scope(claimant.tenant):
                if not _free_places(host).exists():
                    return None
                lease = _claim_for_tenant(host, worker)
            if lease is not None:
                return lease
    return None


def _free_places(host: str) -> "QuerySet[Slot]":
    found: QuerySet[Slot] = Slot.objects.filter(host=host, job_id=None, draining=False, parked_at=None)
    return found


def _claim_for_tenant(host: str, worker: str) -> Lease | None:
    share = share_locked()
    if Job.objects.filter(state__in=states.HELD).count() >= share.max_running:
        return None
    slot = (
        _free_places(host)
        .select_for_update(skip_locked=True)
        .filter(gpu_class__in=classes_within(share.gpu_class))
        .order_by("number")
        .first()
    )
    job = (
        Job.objects.select_for_update(skip_locked=True, of=("self",))
        .filter(state=states.QUEUED)
        .filter(Q(not_before=None) | Q(not_before__lte=Now()))
        .order_by("queued_at", "id")
        .first()
    )
    if slot is None or job is None:
        return None
    return _lease(job, slot, worker)


def _lease(job: Job, slot: Slot, worker: str) -> Lease:
    token = uuid.uuid4()
    number = job.attempt + 1
    Job.objects.filter(pk=job.pk, state=states.QUEUED).update(
        state=states.LEASED,
        attempt=number,
        lease_owner=worker,
        lease_token=token,
        lease_expires_at=lease_expiry(),
        heartbeat_at=Now(),
        started_at=job.started_at or Now(),
        phase="",
    )
    Slot.objects.filter(pk=slot.pk).update(job_id=job.pk, attempt=number, heartbeat_at=Now())
    likely = int(1000 * likely_seconds(job.estimate) * (1 - job.progress))
    share_charge(ms=likely)
    first = max(job.checkpoint_step, 0)
    Attempt.objects.create(job=job, number=number, worker=worker, first_step=first, started_at=Now(), charged_ms=likely)
    job.attempt = number
    words = "A worker took the job." if number == 1 else f"A worker took the job again (attempt {number})."
    events_append(job=job, news=[News(words, code="started", data={"attempt": number})])
    return Lease(job.tenant_id, job.project_id, job.pk, number, token, worker)


def slots_keep(*, host: str, count: int, kind: str, gpu_class: str) -> None:
    """Say that this host has so many places to train, and of which class; safe to repeat."""
    is_now = {"kind": kind, "gpu_class": gpu_class}
    for number in range(count):
        Slot.objects.get_or_create(host=host, number=number, defaults=is_now)
    Slot.objects.filter(host=host, number__lt=count).update(heartbeat_at=Now(), draining=False, **is_now)
    Slot.objects.filter(host=host, number__gte=count, job_id=None).delete()


def slots_drain(*, host: str) -> None:
    """This host takes no new job."""
    Slot.objects.filter(host=host).update(draining=True)


def _read_start(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty when there is none. Tells a reused pid apart."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""


def worker_name(host: str) -> str:
    """Who this process is, so that its death can be recognised on the same host: host/pid/start."""
    return f"{host}/{os.getpid()}/{_read_start(os.getpid())}"


def worker_is_dead(worker: str, *, host: str) -> bool:
    """Whether a worker of this very host has ended; unknown hosts are never called dead."""
    name, _, rest = worker.rpartition("/")
    owner, _, pid = name.rpartition("/")
    if owner != host or not pid.isdigit() or not rest:
        return False
    return _read_start(int(pid)) != rest
