"""queued -> leased, in one short transaction. A doorbell has no say in who goes next; this has.

Who goes next is `training.scheduling`'s to say. The plan's limit of parallel jobs is checked again under the lock of
the tenant's row: counting beside SKIP LOCKED alone over-admits. All places of a job are taken in that transaction, or
none.
"""

import datetime as dt
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connections, transaction
from django.db.models import Q, Sum
from django.db.models.functions import Now

from billing.plans import classes_within
from tenants.scope import OPS, current_tenant_id, ops_scope, tenant_scope
from training import states
from training.models import Attempt, Job, Slot
from training.scheduling.dispatch import Preemption, Start, next_start, preemptions
from training.selectors.picture import picture_read
from training.services.endings import KEPT
from training.services.events import News, events_append, warn
from training.services.leases import Lease, lease_expiry
from training.services.shares import share_charge, share_locked

CLAIM_LOCK = 0x7475_6E65_0001
"""One claim decides at a time; each takes milliseconds, jobs take minutes."""
VACATE = dt.timedelta(seconds=120)
"""The longest a run that was asked to make room may take over its last checkpoint."""
HEADS_FOR_ROOM = 8
"""Waiting jobs of one line that get room at once."""


@contextmanager
def _deciding(why: str) -> Iterator[None]:
    with ops_scope(why), transaction.atomic(using=OPS):
        with connections[OPS].cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CLAIM_LOCK])
        yield


def claim(*, host: str, worker: str) -> Lease | None:
    """The next job for this host, leased to this worker; None when nothing may start here now."""
    free = Q(host=host, job_id=None, draining=False, parked_at=None)
    if not Slot.objects.filter(free).exists():
        return None
    with _deciding("claim the next job"):
        picture = picture_read(host=host)
        while (start := next_start(picture, host)) is not None:
            with tenant_scope(start.head.tenant):
                lease = _take(start, worker)
            if lease is not None:
                return lease
            picture.heads.remove(start.head)
    return None


def room_make() -> int:
    """Ask borrowers to make room for waiting jobs within their guarantee; how many were asked. Safe to repeat."""
    with _deciding("make room for guaranteed jobs"):
        return sum(_ask(asked) for asked in preemptions(picture_read(heads=HEADS_FOR_ROOM)))


def _ask(asked: Preemption) -> bool:
    with tenant_scope(asked.run.tenant):
        job = Job.objects.select_for_update().filter(pk=asked.run.job, state__in=states.WORKING).first()
        if job is None or job.preempt_requested_at is not None:
            return False
        Job.objects.filter(pk=job.pk).update(preempt_requested_at=Now())
        words = "Making room for a job within its guarantee: this one writes a checkpoint and goes on later."
        events_append(job=job, news=[warn(words, code="preempting")])
        Slot.objects.filter(job_id=job.pk).update(kept_for=asked.tenant, kept_until=Now() + VACATE + KEPT)
        return True


def _take(start: Start, worker: str) -> Lease | None:
    """The job on all of its places; None when something has changed since the picture was read."""
    share, width = share_locked(), start.head.width
    running = Job.objects.filter(state__in=states.HELD).aggregate(places=Sum("width"))["places"] or 0
    if running + width > share.max_running:
        return None
    slots = list(
        Slot.objects.select_for_update(skip_locked=True)
        .filter(pk__in=[place.key for place in start.places], job_id=None, draining=False, parked_at=None)
        .filter(Q(kept_for=None) | Q(kept_for=current_tenant_id()) | Q(kept_until__lte=Now()))
        .filter(gpu_class__in=classes_within(share.gpu_class))
    )
    job = (
        Job.objects.select_for_update(skip_locked=True, of=("self",))
        .filter(Q(not_before=None) | Q(not_before__lte=Now()), pk=start.head.job, state=states.QUEUED, width=width)
        .first()
    )
    if len(slots) != width or job is None:
        return None
    return _lease(job, slots, worker)


def _lease(job: Job, slots: list[Slot], worker: str) -> Lease:
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
        preempt_requested_at=None,
        phase="",
    )
    Slot.objects.filter(pk__in=[slot.pk for slot in slots]).update(
        job_id=job.pk, attempt=number, heartbeat_at=Now(), kept_for=None, kept_until=None
    )
    likely = int(1000 * job.likely_seconds * (1 - job.progress))
    share_charge(ms=likely * job.width)
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
