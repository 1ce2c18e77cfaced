"""queued -> leased, in one short transaction. A doorbell has no say in who goes next; this has.

Who goes next is `training.scheduling`'s to say. The plan's limit of parallel jobs is checked again under the lock of
the tenant's row: counting beside SKIP LOCKED alone over-admits. All places of a job are taken in that transaction, or
none.

Jobs that may train in one process (docs/decisions/0026) are claimed one after another, each in its turn: whoever goes
next on the places that are left either fits the group, or ends it. So nobody goes before their turn to fill a group.
"""

import datetime as dt
import logging
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models.functions import Now

from billing.plans import GPU_CLASSES
from kit.ids import new_id
from kit.statements import prepared
from tenants.scope import OPS, ops_scope, tenant_scope
from training import states
from training.forecast import ON_GPUS
from training.models import Job, Slot, TenantShare
from training.scheduling.dispatch import Preemption, Start, next_start, preemptions
from training.scheduling.fairness import HALF_LIFE_SECONDS
from training.scheduling.picture import Head, Picture, Share
from training.selectors.picture import (
    HELD,
    Candidates,
    heads_read,
    picture_for_room,
    places_read,
    runs_read,
    shares_read,
)
from training.services.endings import KEPT
from training.services.events import announce, events_append, warn
from training.services.leases import Lease
from training.services.shares import share_reread

logger = logging.getLogger(__name__)

CLAIM_LOCK = 0x7475_6E65_0001
"""One claim decides at a time; each takes milliseconds, jobs take minutes."""
VACATE = dt.timedelta(seconds=120)
"""The longest a run that was asked to make room may take over its last checkpoint."""
TRUSTED = dt.timedelta(seconds=60)
"""A tenant's limits that were read so recently are not read again; the tick reads those of waiting tenants in turn."""
HEADS_FOR_ROOM = 8
"""Waiting jobs of one line that get room at once."""


@contextmanager
def _deciding(why: str) -> Iterator[None]:
    with ops_scope(why), transaction.atomic(using=OPS):
        with prepared(OPS) as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CLAIM_LOCK])
        yield


@dataclass(frozen=True, slots=True)
class Taken:
    """A job that was claimed."""

    lease: Lease
    group: str
    """Empty where it trains alone."""
    place: int
    """The number of its first place."""
    told: int
    """The number of its newest event."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What a job must have to train in the process of another: its group, and a place on the same device.

    A host's places go through its devices in turn, as `worker.inventory` deals them.
    """

    group: str
    devices: int
    device: int

    def start(self, head: Head, picture: Picture, host: str, *, cuda: bool) -> Start | None:
        """The start of a job whose turn it is, on a place of the device; None where it may not join."""
        if _group(head, picture, cuda=cuda) != self.group:
            return None
        free = [place for place in picture.places if place.host == host and place.job is None]
        there = (place for place in picture.usable(head, free) if place.number % self.devices == self.device)
        place = next(there, None)
        return None if place is None else Start(head, (place,))


def _group(head: Head, picture: Picture, *, cuda: bool) -> str:
    """Which jobs it may train with on this kind of device; empty for none."""
    alone = head.width > 1 or not picture.shares[head.tenant].shares_base
    if alone or (head.group.endswith(ON_GPUS) and not cuda):
        return ""
    return head.group.removesuffix(ON_GPUS)


def claim(*, host: str, worker: str) -> Lease | None:
    """The next job for this host, leased to this worker; None when nothing may start here now."""
    taken = _claim(host, worker)
    return None if taken is None else taken.lease


def claim_group(*, host: str, worker: str, devices: int = 1, cuda: bool = False) -> list[Lease]:
    """The next job for this host, and those that may train in its process and whose turn is right after it; empty when
    nothing may start here now. `devices` is how many this host's places are spread over; `cuda` whether they are GPUs.
    """
    taken = _claim(host, worker, cuda=cuda)
    if taken is None:
        return []
    leases = [taken.lease]
    if taken.group:
        beside = Beside(taken.group, devices, taken.place % devices)
        try:
            while (more := _claim(host, worker, beside, cuda=cuda)) is not None:
                leases.append(more.lease)
        except (OperationalError, InterfaceError) as error:  # what there is is worth keeping
            logger.warning("the database is away; no further job joins: %s", error)
    return leases


def _claim(host: str, worker: str, beside: Beside | None = None, *, cuda: bool = False) -> Taken | None:
    """The next job; with `beside` only if it may join, and nobody else in its place."""
    with _deciding("claim the next job"):
        taken = _next(host, worker, beside, cuda=cuda)
    if taken is not None:
        announce(taken.lease.job_id, taken.told)  # only now: nobody else's claim waits for Redis
    return taken


def _next(host: str, worker: str, beside: Beside | None, *, cuda: bool) -> Taken | None:
    picture = Picture(places=places_read(host))
    if not any(place.job is None for place in picture.places):
        return None
    for shares, bound in Candidates():
        picture.shares |= {share.tenant: share for share in shares}
        heads = heads_read((share.tenant for share in shares), host=host)
        _note_empty(shares, heads)
        picture.heads += heads
        if any(head.width > 1 for head in picture.heads) and not picture.runs:
            _add_everything(picture, host)
        while (start := next_start(picture, host)) is not None:
            if bound is not None and picture.turn(start.head)[:2] >= bound:
                break  # somebody who was not read yet may be before it
            joining = start if beside is None else beside.start(start.head, picture, host, cuda=cuda)
            group = _group(start.head, picture, cuda=cuda)
            taken = None if joining is None else _take(joining, worker, group, joining=beside is not None)
            if taken is not None or beside is not None:
                return taken
            picture.heads.remove(start.head)  # something has changed since it was read
    return None


def _add_everything(picture: Picture, host: str) -> None:
    """A job on several places looks at when other hosts have them, too."""
    held = runs_read()
    missing = {run.tenant for run, _ in held} - picture.shares.keys()
    picture.shares |= {share.tenant: share for share in shares_read(missing)}
    picture.runs = {run.job: run for run, _ in held}
    picture.places += [place for place in places_read() if place.host != host]


def _note_empty(shares: list[Share], heads: list[Head]) -> None:
    """Tenants that were thought to wait and have nothing queued are not asked again until they queue something.

    The row is locked before the queue is looked at, and whoever queues a job locks it after (the trigger of
    training_job): so either the job is seen here, or the mark is set again after it was taken away.
    """
    silent = {share.tenant for share in shares} - {head.tenant for head in heads}
    if not silent:
        return
    later = set(
        Job.ops.filter(state=states.QUEUED, tenant_id__in=silent).values_list("tenant_id", flat=True).distinct()
    )
    for tenant in silent - later:
        with tenant_scope(tenant):
            row = TenantShare.objects.select_for_update(no_key=True).filter(waiting=True).first()
            if row is not None and not Job.objects.filter(state=states.QUEUED).exists():
                TenantShare.objects.filter(pk=row.pk).update(waiting=False)


def room_make() -> int:
    """Ask borrowers to make room for waiting jobs within their guarantee; how many were asked. Safe to repeat."""
    with _deciding("make room for guaranteed jobs"):
        picture = picture_for_room(each=HEADS_FOR_ROOM)
        return 0 if picture is None else sum(_ask(asked) for asked in preemptions(picture))


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


LOCK = "SELECT 1 FROM training_tenantshare WHERE tenant_id = %(tenant)s FOR NO KEY UPDATE"
TAKE = f"""
WITH share AS (
  SELECT max_running, (%(classes)s::text[])[:array_position(%(classes)s::text[], gpu_class::text)] AS classes
  FROM training_tenantshare
  WHERE tenant_id = %(tenant)s AND read_at > now() - %(trusted)s AND (shares_base OR NOT %(joining)s)
), slot AS (
  SELECT slot.id FROM training_slot slot, share
  WHERE slot.id = ANY(%(slots)s) AND job_id IS NULL AND NOT draining AND parked_at IS NULL
    AND gpu_class = ANY(share.classes) AND (kept_for IS NULL OR kept_for = %(tenant)s OR kept_until <= now())
  FOR UPDATE OF slot SKIP LOCKED
), chosen AS (
  SELECT id FROM training_job
  WHERE id = %(job)s AND tenant_id = %(tenant)s AND state = 'queued' AND width = %(width)s
    AND (not_before IS NULL OR not_before <= now()) AND (SELECT count(*) FROM slot) = width
    AND width + (SELECT coalesce(sum(width), 0) FROM training_job
                 WHERE tenant_id = %(tenant)s AND state IN ({HELD})) <= (SELECT max_running FROM share)
  FOR UPDATE SKIP LOCKED
), leased AS (
  UPDATE training_job job
  SET state = 'leased', attempt = attempt + 1, event_seq = event_seq + 1, lease_owner = %(worker)s,
      lease_token = %(token)s, lease_expires_at = now() + %(lease)s, heartbeat_at = now(),
      started_at = coalesce(started_at, now()), preempt_requested_at = NULL, phase = ''
  FROM chosen WHERE job.id = chosen.id
  RETURNING job.id, job.tenant_id, job.project_id, job.attempt, job.event_seq,
            greatest(job.checkpoint_step, 0) AS first,
            (1000 * job.likely_seconds * (1 - job.progress))::bigint AS likely_ms
), held AS (
  UPDATE training_slot SET job_id = leased.id, attempt = leased.attempt, heartbeat_at = now(), kept_for = NULL,
                           kept_until = NULL
  FROM leased WHERE training_slot.id IN (SELECT id FROM slot)
), begun AS (
  INSERT INTO training_attempt (id, tenant_id, job_id, number, worker, started_at, outcome, reason, first_step,
                                last_step, machine_ms, charged_ms)
  SELECT %(attempt)s, tenant_id, id, attempt, %(worker)s, now(), '', '', first, 0, 0, likely_ms FROM leased
), charged AS (
  UPDATE training_tenantshare
  SET recent_ms = recent_ms * power(0.5, date_part('epoch', now() - recent_at) / {HALF_LIFE_SECONDS})
                  + %(width)s * leased.likely_ms, recent_at = now(), last_started_at = now()
  FROM leased WHERE training_tenantshare.tenant_id = leased.tenant_id
), told AS (
  INSERT INTO training_jobevent (id, tenant_id, job_id, seq, attempt, created_at, level, type, code, message, data)
  SELECT %(event)s, tenant_id, id, event_seq, attempt, now(), 'info', 'message', 'started',
         CASE attempt WHEN 1 THEN 'A worker took the job.'
                      ELSE format('A worker took the job again (attempt %%s).', attempt) END,
         jsonb_build_object('attempt', attempt)
  FROM leased
)
SELECT project_id, attempt, event_seq FROM leased
"""
"""queued -> leased in one statement: the limit, the places, the job, its attempt, the charge for its start, and the
event that tells of it. What it counts is as it stands under the tenant's LOCK."""


def _take(start: Start, worker: str, group: str, *, joining: bool) -> Taken | None:
    """The job on all of its places; None when something has changed since the picture was read, as whether it may join
    others."""
    tenant, job, token = start.head.tenant, start.head.job, uuid.uuid4()
    values = {
        "tenant": tenant,
        "job": job,
        "joining": joining,
        "trusted": TRUSTED,
        "classes": list(GPU_CLASSES),
        "slots": [place.key for place in start.places],
        "width": start.head.width,
        "worker": worker,
        "token": token,
        "lease": dt.timedelta(seconds=settings.TRAINING_LEASE_SECONDS),
        "attempt": new_id(),
        "event": new_id(),
    }
    with tenant_scope(tenant):
        row = _leased(values)
        if row is None and share_reread(older_than=TRUSTED):
            row = _leased(values)
    if row is None:
        return None
    project_id, number, told = row
    return Taken(Lease(tenant, project_id, job, number, token, worker), group, start.places[0].number, told)


def _leased(values: dict[str, Any]) -> tuple[Any, ...] | None:
    with prepared("default") as cursor:
        cursor.execute(LOCK, values)
        cursor.execute(TAKE, values)
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row


def slots_keep(
    *, host: str, count: int, kind: str, gpu_class: str, inventory: Mapping[int, dict[str, Any]] | None = None
) -> None:
    """Say that this host has so many places to train, and of which class; safe to repeat. `inventory` is what they run
    on, by number, when that was looked at."""
    is_now = {"kind": kind, "gpu_class": gpu_class}
    for number in range(count):
        Slot.objects.get_or_create(host=host, number=number, defaults=is_now)
    Slot.objects.filter(host=host, number__lt=count).update(heartbeat_at=Now(), draining=False, **is_now)
    slots_report(host=host, inventory=inventory or {})
    Slot.objects.filter(host=host, number__gte=count, job_id=None).delete()


def slots_report(*, host: str, inventory: Mapping[int, dict[str, Any]]) -> None:
    """What this host's places run on, by number, as its worker has just seen it."""
    for number, found in inventory.items():
        Slot.objects.filter(host=host, number=number).update(inventory=found)


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
