"""Usage into sums: recording an event in the caller's transaction, and rolling dirty hours up.

A roll-up locks the hour's mark, computes the hour afresh from its events, derives the day's rated lines, and removes
the mark, all in one transaction. Doubled, late and disordered events therefore change nothing but when a sum is right.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any

from django.db import connection, connections, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import Sum

from billing.metering.events import event_id
from billing.models import DirtyHour, UsageEvent, UsageHour
from billing.prices import Usage, price_books, rate
from billing.services.locks import locks
from billing.services.sweeps import for_batches
from kit.clock import now
from tenants.currency import paid_in
from tenants.scope import OPS, current_tenant_id, ops_scope, tenant_scope
from tenants.services.keys import keys_used

HOURS_AT_ONCE = 48
"""Of one tenant in one round."""
HOURS_TOGETHER = 1000
"""Of many tenants in one transaction; as long as it takes, the arrival of their events waits."""
BUSY_EVENTS = 50_000
"""An hour with more events than this is summed again …"""
BUSY_SECONDS = 6
"""… only so often: its sums stay within ten seconds of the calls without summing it on every tick."""

_FORGET_SQL = """
DELETE FROM billing_usagehour old USING unnest(%(tenants)s::uuid[], %(hours)s::timestamptz[]) AS mark (tenant_id, hour)
WHERE old.tenant_id = mark.tenant_id AND old.hour = mark.hour
"""
_HOURS_SQL = """
WITH sums AS MATERIALIZED (
    SELECT mark.tenant_id, mark.hour, summed.*
    FROM unnest(%(tenants)s::uuid[], %(hours)s::timestamptz[]) AS mark (tenant_id, hour)
    CROSS JOIN LATERAL (
        SELECT project_id, key_id, model, kind, price_version, sum(input_tokens) AS input_tokens,
            sum(output_tokens) AS output_tokens, sum(requests) AS requests, sum(gpu_ms) AS gpu_ms,
            sum(byte_hours) AS byte_hours, sum(cost_nano) AS cost_nano, sum(cached_tokens) AS cached_tokens,
            count(*) AS events, max(occurred_at) AS last
        FROM billing_usageevent
        WHERE tenant_id = mark.tenant_id AND occurred_at >= mark.hour AND occurred_at < mark.hour + interval '1 hour'
        GROUP BY project_id, key_id, model, kind, price_version
    ) summed
), kept AS (
    INSERT INTO billing_usagehour (id, tenant_id, project_id, key_id, model, kind, price_version, hour, input_tokens,
        output_tokens, requests, gpu_ms, byte_hours, cost_nano, cached_tokens, events, computed_at)
    SELECT gen_random_uuid(), tenant_id, project_id, key_id, model, kind, price_version, hour, input_tokens,
        output_tokens, requests, gpu_ms, byte_hours, cost_nano, cached_tokens, events, clock_timestamp()
    FROM sums
)
SELECT key_id, max(last) FROM sums WHERE key_id IS NOT NULL GROUP BY key_id
"""
"""Answers which keys the events name, and when each was last used."""
_DAYS_SQL = """
INSERT INTO billing_ratedline AS line (id, tenant_id, project_id, model, kind, price_version, day, input_tokens,
    output_tokens, requests, gpu_ms, byte_hours, amount_nano, posted_nano, invoiced_nano, rated_at)
SELECT gen_random_uuid(), mark.tenant_id, project_id, model, kind, price_version, mark.day, input_tokens,
    output_tokens, requests, gpu_ms, byte_hours, cost_nano, 0, 0, clock_timestamp()
FROM unnest(%(tenants)s::uuid[], %(days)s::date[]) AS mark (tenant_id, day)
CROSS JOIN LATERAL (
    SELECT project_id, model, kind, price_version, sum(input_tokens) AS input_tokens,
        sum(output_tokens) AS output_tokens, sum(requests) AS requests, sum(gpu_ms) AS gpu_ms,
        sum(byte_hours) AS byte_hours, sum(cost_nano) AS cost_nano
    FROM billing_usagehour
    WHERE tenant_id = mark.tenant_id AND hour >= mark.day::timestamp AT TIME ZONE 'UTC'
        AND hour < (mark.day + 1)::timestamp AT TIME ZONE 'UTC'
    GROUP BY project_id, model, kind, price_version
) sums
ON CONFLICT (tenant_id, day, project_id, model, kind, price_version) DO UPDATE SET
    input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens, requests = excluded.requests,
    gpu_ms = excluded.gpu_ms, byte_hours = excluded.byte_hours, amount_nano = excluded.amount_nano,
    rated_at = excluded.rated_at
"""
_DUE_SQL = """
SELECT id, tenant_id, hour
FROM (SELECT *, row_number() OVER (PARTITION BY tenant_id ORDER BY hour) AS place FROM billing_dirtyhour) AS mark
WHERE place <= %(most)s AND coalesce((
    SELECT sum(events) FROM billing_usagehour fresh
    WHERE fresh.tenant_id = mark.tenant_id AND fresh.hour = mark.hour AND fresh.computed_at >= %(since)s
), 0) < %(busy)s
ORDER BY tenant_id, hour
"""


def usage_record(
    *,
    request_id: str,
    usage: Usage,
    project_id: uuid.UUID,
    key_id: uuid.UUID | None,
    cost_nano: int | None = None,
    occurred_at: dt.datetime | None = None,
) -> UsageEvent:
    """Record one usage inside the caller's tenant scope and transaction; the gateway's calls come by file instead.

    The same request and kind again returns the first event. `cost_nano` may only lower the rated price (a ceiling).
    """
    moment = occurred_at or now()
    book = price_books().current(int(moment.timestamp() * 1000), paid_in())
    rated = rate(usage, book)
    cost = rated if cost_nano is None else min(cost_nano, rated)
    identity = event_id(current_tenant_id(), request_id, usage.kind)
    made = UsageEvent(
        id=identity,
        tenant_id=current_tenant_id(),
        request_id=request_id,
        project_id=project_id,
        key_id=key_id,
        model=usage.model,
        kind=usage.kind,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        requests=usage.requests,
        gpu_ms=usage.machine_ms,
        byte_hours=usage.byte_hours,
        price_version=book.version,
        cost_nano=cost,
        occurred_at=moment,
    )
    UsageEvent.objects.bulk_create([made], ignore_conflicts=True)
    event: UsageEvent = UsageEvent.objects.get(pk=identity)
    return event


Mark = tuple[uuid.UUID, uuid.UUID, dt.datetime]
"""A dirty hour: its id, its tenant and when it began."""


def usage_rollup(*, tenant_id: uuid.UUID) -> int:
    """Recompute a tenant's dirty hours and the rated lines of their days; how many hours. Safe to run twice at once:
    hours that another run holds are skipped."""
    with tenant_scope(tenant_id):
        locked = DirtyHour.objects.select_for_update(skip_locked=True).exclude(hour__in=_fresh_busy_hours())
        dirty = list(locked.order_by("hour").values_list("pk", "tenant_id", "hour")[:HOURS_AT_ONCE])
        if not dirty:
            return 0
        with connection.cursor() as cursor:
            # Two runs may hold different hours of one day: its lines are derived by one of them at a time.
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 7))", [f"rate:{tenant_id}"])
            used = _sum(cursor, dirty)
        DirtyHour.objects.filter(pk__in=[mark[0] for mark in dirty]).delete()
    keys_used(used)
    return len(dirty)


def _sum(cursor: CursorWrapper, marks: Sequence[Mark]) -> dict[uuid.UUID, dt.datetime]:
    """Sum hours and then their days afresh; which keys the events name, and when each was last used. The gateway writes
    nothing about keys on its way."""
    hours: dict[str, list[Any]] = {
        "tenants": [tenant_id for _, tenant_id, _ in marks],
        "hours": [hour for *_, hour in marks],
    }
    cursor.execute(_FORGET_SQL, hours)
    cursor.execute(_HOURS_SQL, hours)
    used = dict(cursor.fetchall())
    days = sorted({(tenant_id, hour.astimezone(dt.UTC).date()) for _, tenant_id, hour in marks})
    of_days: dict[str, list[Any]] = {"tenants": [one for one, _ in days], "days": [day for _, day in days]}
    cursor.execute(_DAYS_SQL, of_days)
    return used


def _fresh_busy_hours() -> list[dt.datetime]:
    fresh = UsageHour.objects.filter(computed_at__gte=now() - dt.timedelta(seconds=BUSY_SECONDS))
    busy = fresh.values("hour").annotate(total=Sum("events")).filter(total__gte=BUSY_EVENTS)
    return list(busy.values_list("hour", flat=True))


def usage_rollup_all() -> int:
    """Roll up every tenant that has dirty hours; how many hours. Hours of many tenants share a transaction."""
    since = now() - dt.timedelta(seconds=BUSY_SECONDS)
    with ops_scope("find hours to sum"), connections[OPS].cursor() as cursor:
        cursor.execute(_DUE_SQL, {"most": HOURS_AT_ONCE, "since": since, "busy": BUSY_EVENTS})
        due: list[Mark] = cursor.fetchall()
    alone: set[uuid.UUID] = set()

    def one(mark: Mark) -> int:
        if mark[1] in alone:
            return 0  # its other hours were summed with the first
        alone.add(mark[1])
        return usage_rollup(tenant_id=mark[1])

    return for_batches("usage_rollup", due, _rollup_many, one, at_once=HOURS_TOGETHER)


def _rollup_many(marks: Sequence[Mark]) -> tuple[int, list[Mark]]:
    """Sum these hours as far as nobody else holds them; how many, and which were left because their tenant's days are
    being derived elsewhere."""
    with ops_scope("sum usage"), transaction.atomic(using=OPS), connections[OPS].cursor() as cursor:
        free = locks(cursor, "rate", {tenant_id for _, tenant_id, _ in marks})
        wanted = [mark[0] for mark in marks if mark[1] in free]
        rows = DirtyHour.ops.filter(pk__in=wanted).select_for_update(skip_locked=True).order_by("tenant_id", "hour")
        mine: list[Mark] = list(rows.values_list("pk", "tenant_id", "hour"))
        if mine:
            used = _sum(cursor, mine)
            DirtyHour.ops.filter(pk__in=[mark[0] for mark in mine]).delete()
    if mine:
        keys_used(used)
    return len(mine), [mark for mark in marks if mark[1] not in free]
