"""The whole queue as the rules of `training.scheduling` look at it, read from the ledger through the ops role.

Times are the database's. Only what has a waiting or a held job is read, through partial indexes, so the cost does not
grow with what has ended.
"""

import datetime as dt
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.models import Q
from django.db.models.functions import Now

from billing.plans import GPU_CLASSES
from tenants.scope import OPS
from training import states
from training.models import Slot
from training.models.jobs import URGENT
from training.scheduling.fairness import PREEMPTIBLE, STANDARD, faded
from training.scheduling.picture import Head, Picture, Place, Run, Share

STALE = dt.timedelta(seconds=90)
"""A place whose host has not been heard of for so long is not counted."""
LEAST_SECONDS = 1.0
RANKS = {name: rank for rank, name in enumerate(GPU_CLASSES)}

HEADS = f"""
WITH RECURSIVE line AS (
  (SELECT tenant_id, lane, width FROM training_job WHERE state = 'queued' ORDER BY tenant_id, lane, width LIMIT 1)
  UNION ALL
  SELECT next.* FROM line, LATERAL (
    SELECT tenant_id, lane, width FROM training_job
    WHERE state = 'queued' AND (tenant_id, lane, width) > (line.tenant_id, line.lane, line.width)
    ORDER BY tenant_id, lane, width LIMIT 1) next
)
SELECT head.id, line.tenant_id, line.lane, line.width, head.left_seconds, head.since,
       extract(epoch FROM now() - head.since)::float, head.priority >= {URGENT}
FROM line CROSS JOIN LATERAL (
  SELECT id, priority, coalesce(queued_at, created_at) AS since, likely_seconds * (1 - progress) AS left_seconds
  FROM training_job job
  WHERE state = 'queued' AND job.tenant_id = line.tenant_id AND job.lane = line.lane AND job.width = line.width
    AND (not_before IS NULL OR not_before <= now())
  ORDER BY priority DESC, queued_at, id LIMIT %s) head
"""
"""The first jobs of every tenant, lane and width: the index `training_job_lines` is skipped through, not read."""

RUNS = f"""
SELECT job.id, job.tenant_id, job.lane, job.width, job.preemptions, job.preempt_requested_at IS NOT NULL,
       coalesce(extract(epoch FROM now() - attempt.started_at), 0)::float,
       coalesce(job.eta_seconds, job.likely_seconds * (1 - job.progress))::float
FROM training_job job LEFT JOIN training_attempt attempt
  ON attempt.tenant_id = job.tenant_id AND attempt.job_id = job.id AND attempt.number = job.attempt
WHERE job.state IN ({", ".join(f"'{state}'" for state in states.HELD)})
"""

SHARES = """
SELECT tenant_id, guaranteed, max_running, weight, gpu_class, recent_ms,
       extract(epoch FROM now() - recent_at)::float, extract(epoch FROM now() - last_started_at)::float
FROM training_tenantshare WHERE tenant_id = ANY(%s)
"""


def picture_read(*, host: str = "", heads: int = 1) -> Picture:
    """The queue now, inside an ops scope; `heads` jobs of each line. `host` is alive whatever its heartbeat says."""
    picture = Picture()
    with connections[OPS].cursor() as cursor:
        cursor.execute(HEADS, [heads])
        for job, tenant, lane, width, left, since, waited, urgent in cursor.fetchall():
            picture.heads.append(Head(job, tenant, max(left, LEAST_SECONDS), since, waited, lane, width, urgent=urgent))
        cursor.execute(RUNS)
        held = cursor.fetchall()
        tenants = {head.tenant for head in picture.heads} | {row[1] for row in held}
        cursor.execute(SHARES, [list(tenants)])
        picture.shares = {row[0]: share_of(row) for row in cursor.fetchall()}
    for tenant in tenants - picture.shares.keys():
        picture.shares[tenant] = Share(tenant)
    for job, tenant, lane, width, preemptions, leaving, ran, left in held:
        picture.runs[job] = Run(job, tenant, lane, ran, max(left, LEAST_SECONDS), preemptions, leaving)
        share = picture.shares[tenant]
        share.running += width
        share.firm += width * (lane != PREEMPTIBLE)
    picture.places = places_read(host)
    return picture


def share_of(row: tuple[Any, ...]) -> Share:
    """A row of SHARES as the rules see it."""
    tenant, guaranteed, most, weight, gpu_class, recent, age, started = row
    return Share(tenant, guaranteed, most, weight, RANKS[gpu_class], faded(recent, age), started_ago=started)


def places_read(host: str = "") -> list[Place]:
    """Every place that is alive and neither leaving nor parked; one that is, but still busy, is not counted."""
    alive = Slot.objects.filter(Q(heartbeat_at__gt=Now() - STALE) | Q(host=host), draining=False, parked_at=None)
    kept = alive.annotate(is_kept=Q(kept_until__gt=Now())).order_by("host", "number")
    rows: Iterable[tuple[Any, ...]] = kept.values_list("pk", "host", "gpu_class", "job_id", "kept_for", "is_kept")
    return [
        Place(key, where, RANKS[gpu_class], job, tenant if is_kept else None)
        for key, where, gpu_class, job, tenant, is_kept in rows
    ]


def lines(rows: Iterable[dict[str, Any]]) -> dict[tuple[UUID, str, int], list[dict[str, Any]]]:
    """Waiting jobs by tenant, lane and width, each line in its order."""
    found: dict[tuple[UUID, str, int], list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda one: (-one["priority"], one["since"], one["pk"])):
        found.setdefault((row["tenant_id"], row["lane"] or STANDARD, row["width"]), []).append(row)
    return found
