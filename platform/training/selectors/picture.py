"""The queue as the rules of `training.scheduling` look at it, read from the ledger through the ops role.

Times are the database's. `picture_read` reads every line. A claim needs only those whose turn may be next: `Candidates`
gives tenants in the order of a bound that no turn of theirs can be below, so that a claim stops reading as soon as its
choice is below the bound of whoever comes next. Nothing that has ended is read.
"""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connections

from billing.plans import GPU_CLASSES
from kit.statements import prepared
from tenants.scope import OPS
from training import states
from training.models.jobs import SPEC_VERSION, URGENT
from training.scheduling.fairness import (
    AGEING_SECONDS,
    HALF_LIFE_SECONDS,
    LANE_WEIGHT,
    PREEMPTIBLE,
    PRIORITY,
    STANDARD,
    faded,
)
from training.scheduling.picture import Head, Picture, Place, Run, Share

STALE = dt.timedelta(seconds=90)
"""A place whose host has not been heard of for so long is not counted."""
LEAST_SECONDS = 1.0
RANKS = {name: rank for rank, name in enumerate(GPU_CLASSES)}
HELD = ", ".join(f"'{state}'" for state in states.HELD)

LINES = """
WITH RECURSIVE line AS (
  (SELECT tenant_id, lane, width FROM training_job WHERE state = 'queued' ORDER BY tenant_id, lane, width LIMIT 1)
  UNION ALL
  SELECT next.* FROM line, LATERAL (
    SELECT tenant_id, lane, width FROM training_job
    WHERE state = 'queued' AND (tenant_id, lane, width) > (line.tenant_id, line.lane, line.width)
    ORDER BY tenant_id, lane, width LIMIT 1) next
)
"""
"""Every line: the index `training_job_lines` is skipped through, not read."""

LINES_OF = """
WITH RECURSIVE line AS (
  SELECT one AS tenant_id, ''::varchar AS lane, 0::smallint AS width FROM unnest(%(tenants)s::uuid[]) one
  UNION ALL
  SELECT next.* FROM line, LATERAL (
    SELECT tenant_id, lane, width FROM training_job
    WHERE state = 'queued' AND tenant_id = line.tenant_id AND (lane, width) > (line.lane, line.width)
    ORDER BY tenant_id, lane, width LIMIT 1) next
)
"""
"""The lines of a few tenants. Each walk begins before the first, at a line that no job has."""

CLASSES = "ARRAY[{}]".format(", ".join(f"'{name}'" for name in GPU_CLASSES))
AVOIDS = f"""
CASE WHEN crash_count > 0 AND crash_step = checkpoint_step THEN (
  SELECT one.host FROM (
    SELECT min(host) AS host FROM (
      SELECT regexp_replace(worker, '/[^/]*/[^/]*$', '') AS host FROM training_attempt attempt
      WHERE attempt.tenant_id = job.tenant_id AND attempt.job_id = job.id AND suspect
      ORDER BY number DESC LIMIT job.crash_count) bad
    HAVING min(host) = max(host)) one
  WHERE EXISTS (
    SELECT FROM training_slot slot
    WHERE slot.host <> one.host AND heartbeat_at > now() - %(stale)s AND NOT draining AND parked_at IS NULL
      AND array_position({CLASSES}, slot.gpu_class::text) <= coalesce((
        SELECT array_position({CLASSES}, share.gpu_class::text) FROM training_tenantshare share
        WHERE share.tenant_id = job.tenant_id), 1)
    GROUP BY slot.host HAVING count(*) >= job.width)) END
"""
"""The host that a job is kept from. A job that keeps crashing at one point, so far only on this host, goes to another
one where there is one for it: the fault may be the host's. Worked out only of jobs that have crashed."""

HEADS = f"""
SELECT head.id, line.tenant_id, line.lane, line.width, head.left_seconds, date_part('epoch', head.since),
       date_part('epoch', now() - head.since), head.priority >= {URGENT}, head.group_key, head.avoids
FROM line CROSS JOIN LATERAL (
  SELECT * FROM (
    SELECT id, priority, coalesce(queued_at, created_at) AS since, likely_seconds * (1 - progress) AS left_seconds,
           CASE WHEN platform_retries = 0 THEN group_key ELSE '' END AS group_key,
           {AVOIDS} AS avoids
    FROM training_job job
    WHERE state = 'queued' AND job.tenant_id = line.tenant_id AND job.lane = line.lane AND job.width = line.width
      AND (not_before IS NULL OR not_before <= now()) AND coalesce((spec->>'version')::int, 0) <= {SPEC_VERSION}
    ORDER BY priority DESC, queued_at, id OFFSET 0) job
  {{here}} LIMIT {{each}}) head
"""
"""The first jobs of each line. Those of a later spec version are left to workers that know it: an old one would misread
them while a release is rolled out. A job that has met a fault of ours has no group: if it was its own, it takes no
others with it a second time. `each` stands in the text: a plan for any number would expect many."""

RUNS = f"""
SELECT job.id, job.tenant_id, job.lane, job.width, job.preemptions,
       job.preempt_requested_at IS NOT NULL OR job.state IN ('finishing', 'cancelling'),
       coalesce(date_part('epoch', now() - attempt.started_at), 0),
       coalesce(job.eta_seconds, job.likely_seconds * (1 - job.progress))::float
FROM training_job job LEFT JOIN training_attempt attempt
  ON attempt.tenant_id = job.tenant_id AND attempt.job_id = job.id AND attempt.number = job.attempt
WHERE job.state IN ({HELD})
"""

SHARES = """
SELECT tenant_id, guaranteed, max_running, weight, gpu_class, shares_base, recent_ms,
       date_part('epoch', now() - recent_at), date_part('epoch', now() - last_started_at)
FROM training_tenantshare WHERE tenant_id = ANY(%s)
"""


CANDIDATES = f"""
WITH held AS (
  SELECT tenant_id, sum(width) AS running, coalesce(sum(width) FILTER (WHERE lane <> '{PREEMPTIBLE}'), 0) AS firm
  FROM training_job WHERE state IN ({HELD}) GROUP BY tenant_id
), preferred AS (
  SELECT tenant_id, bool_or(priority >= {URGENT}) AS urgent, bool_or(lane = '{PRIORITY}') AS paid
  FROM training_job WHERE state = 'queued' AND (priority >= {URGENT} OR lane = '{PRIORITY}') GROUP BY tenant_id
), standing AS (
  SELECT share.*, coalesce(held.firm, 0) AS firm, coalesce(held.running, 0) AS running,
    coalesce(preferred.urgent, false) AS urgent,
    CASE WHEN preferred.paid THEN {LANE_WEIGHT[PRIORITY]} ELSE 1 END AS lane_weight,
    date_part('epoch', now() - share.recent_at) AS age,
    date_part('epoch', now() - share.last_started_at) AS started
  FROM training_tenantshare share LEFT JOIN held USING (tenant_id) LEFT JOIN preferred USING (tenant_id)
  WHERE share.waiting AND coalesce(held.running, 0) < share.max_running AND share.tenant_id <> ALL(%s)
)
SELECT tenant_id, guaranteed, max_running, weight, gpu_class, shares_base, recent_ms, age, started, running, firm,
  CASE WHEN urgent THEN 0 WHEN firm < guaranteed THEN 1 ELSE 2 END AS kind,
  CASE WHEN urgent THEN 0.0
       WHEN firm < guaranteed THEN firm::float / guaranteed
       ELSE recent_ms * power(0.5, greatest(age, 0) / {HALF_LIFE_SECONDS}) / (greatest(weight, 1) * lane_weight)
            - 1000 * least(coalesce(started, {AGEING_SECONDS}), {AGEING_SECONDS}) - 1 END AS bound
FROM standing ORDER BY kind, bound, tenant_id LIMIT %s
"""
"""Tenants whose jobs may wait and who were not read yet, and the least that `Picture.turn` can say of them: as if they
had waited since their last start."""


@dataclass(slots=True)
class Candidates:
    """Tenants in the order of their bounds, a few at a time; inside an ops scope."""

    chunk: int = 10
    """As many as PostgreSQL expects in an array it cannot see, so that it keeps its plan for `LINES_OF`."""

    def __iter__(self) -> Iterator[tuple[list[Share], tuple[int, float] | None]]:
        """Shares, and the (kind, score) that no turn of anybody after them is below; None after the last."""
        seen: list[UUID] = []  # by name, not by place in the order: a claim takes marks away as it goes
        while True:
            with prepared(OPS) as cursor:
                cursor.execute(CANDIDATES, [seen, self.chunk + 1])
                rows = cursor.fetchall()
            shares = [share_of(row) for row in rows[: self.chunk]]
            yield shares, rows[-1][-2:] if len(rows) > self.chunk else None
            if len(rows) <= self.chunk:
                return
            seen += [share.tenant for share in shares]
            self.chunk *= 4


def heads_read(tenants: Iterable[UUID] | None = None, *, each: int = 1, host: str = "") -> list[Head]:
    """The first `each` jobs of every line, or of the lines of these tenants; of those that may start on `host`, if one
    is named."""
    statement = (LINES if tenants is None else LINES_OF) + HEADS.format(
        each=each, here="WHERE avoids IS DISTINCT FROM %(host)s" if host else ""
    )
    with prepared(OPS) as cursor:
        cursor.execute(statement, {"tenants": list(tenants or ()), "host": host, "stale": STALE})
        return [
            Head(job, tenant, max(left, LEAST_SECONDS), since, waited, lane, width, urgent, group, only(avoids))
            for job, tenant, lane, width, left, since, waited, urgent, group, avoids in cursor.fetchall()
        ]


def avoided() -> dict[UUID, frozenset[str]]:
    """Of all waiting jobs that are kept from a host, which one."""
    values: dict[str, Any] = {"stale": STALE}
    with connections[OPS].cursor() as cursor:
        where = "state = 'queued' AND crash_count > 0"
        cursor.execute(f"SELECT id, {AVOIDS} FROM training_job job WHERE {where}", values)
        return {job: only(host) for job, host in cursor.fetchall()}


def only(host: str | None) -> frozenset[str]:
    """The one host, or none."""
    return frozenset() if host is None else frozenset((host,))


def runs_read() -> list[tuple[Run, int]]:
    """Every job that holds places, and how many."""
    with connections[OPS].cursor() as cursor:
        cursor.execute(RUNS)
        return [
            (Run(job, tenant, lane, ran, max(left, LEAST_SECONDS), preemptions, leaving), width)
            for job, tenant, lane, width, preemptions, leaving, ran, left in cursor.fetchall()
        ]


def shares_read(tenants: Iterable[UUID]) -> list[Share]:
    """The standings of these tenants; of one that never queued, as the free plan's. What they run is not counted."""
    wanted = list(tenants)
    with connections[OPS].cursor() as cursor:
        cursor.execute(SHARES, [wanted])
        found = {row[0]: share_of(row) for row in cursor.fetchall()}
    return [found.get(tenant) or Share(tenant) for tenant in wanted]


def picture_read(*, heads: int = 1) -> Picture:
    """The whole queue now, inside an ops scope; `heads` jobs of each line."""
    picture = Picture(heads=heads_read(each=heads), places=places_read())
    held = runs_read()
    tenants = {head.tenant for head in picture.heads} | {run.tenant for run, _ in held}
    picture.shares = {share.tenant: share for share in shares_read(tenants)}
    count(picture, held)
    return picture


BELOW = f"""
SELECT share.tenant_id FROM training_tenantshare share
WHERE share.waiting AND share.guaranteed > 0 AND share.guaranteed > (
  SELECT coalesce(sum(width) FILTER (WHERE lane <> '{PREEMPTIBLE}'), 0) FROM training_job job
  WHERE job.tenant_id = share.tenant_id AND state IN ({HELD}))
"""
"""Tenants that may wait below their guarantee."""


def picture_for_room(*, each: int) -> Picture | None:
    """What making room looks at: `each` jobs of every line of tenants below their guarantee and, where somebody runs in
    the preemptible lane, one of every other line. None when nobody could be asked, which is nearly always."""
    with connections[OPS].cursor() as cursor:
        cursor.execute(BELOW)
        below = {row[0] for row in cursor.fetchall()}
    held = runs_read()
    heads = heads_read(below, each=each) if below else []
    if any(run.lane == PREEMPTIBLE and not run.leaving for run, _ in held):
        heads += [head for head in heads_read() if head.tenant not in below]
    if not heads or not held:
        return None
    picture = Picture(heads=heads, places=places_read())
    tenants = {head.tenant for head in heads} | {run.tenant for run, _ in held}
    picture.shares = {share.tenant: share for share in shares_read(tenants)}
    count(picture, held)
    return picture


def count(picture: Picture, held: Iterable[tuple[Run, int]]) -> None:
    """Put the runs in, and count them for their tenants."""
    for run, width in held:
        picture.runs[run.job] = run
        share = picture.shares[run.tenant]
        share.running += width
        share.firm += width * (run.lane != PREEMPTIBLE)


def share_of(row: tuple[Any, ...]) -> Share:
    """A row of SHARES as the rules see it."""
    tenant, guaranteed, most, weight, gpu_class, shares_base, recent, age, started, *counted = row
    running, firm = (int(one) for one in counted[:2]) if counted else (0, 0)
    rank = RANKS[gpu_class]
    return Share(tenant, guaranteed, most, weight, rank, faded(recent, age), running, firm, started, shares_base)


PLACES = """
SELECT id, host, gpu_class, number, job_id, CASE WHEN kept_until > now() THEN kept_for END
FROM training_slot WHERE NOT draining AND parked_at IS NULL AND {which} ORDER BY host, number
"""
"""Places that take jobs, and for whom they are kept."""


def places_read(host: str = "") -> list[Place]:
    """Every place that is alive and neither leaving nor parked; of one host alone, whatever its heartbeat says."""
    with prepared(OPS) as cursor:
        if host:
            cursor.execute(PLACES.format(which="host = %s"), [host])
        else:
            cursor.execute(PLACES.format(which="heartbeat_at > now() - %s"), [STALE])
        return [
            Place(key, where, RANKS[gpu_class], number, job, kept_for)
            for key, where, gpu_class, number, job, kept_for in cursor.fetchall()
        ]


def lines(rows: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Waiting jobs by tenant, lane and width, each line in its order. Those that are kept from a host have a line of
    their own: who waits behind them may go there."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda one: (-one["priority"], one["since"], one["pk"])):
        key = (row["tenant_id"], row["lane"] or STANDARD, row["width"], row["avoids"])
        found.setdefault(key, []).append(row)
    return list(found.values())
