"""Usage into sums: recording an event in the caller's transaction, and rolling dirty hours up.

A roll-up locks the hour's mark, computes the hour afresh from its events, derives the day's rated lines, and removes
the mark, all in one transaction. Doubled, late and disordered events therefore change nothing but when a sum is right.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable

from django.db import connection
from django.db.models import Max, Sum

from billing.metering.events import event_id
from billing.models import DirtyHour, UsageEvent, UsageHour
from billing.periods import start_of
from billing.prices import Usage, price_books, rate
from billing.services.sweeps import for_each
from kit.clock import now
from tenants.scope import current_tenant_id, ops_scope, tenant_scope
from tenants.services.keys import keys_touch

HOURS_AT_ONCE = 48
BUSY_EVENTS = 50_000
"""An hour with more events than this is summed again …"""
BUSY_SECONDS = 6
"""… only so often: its sums stay within ten seconds of the calls without summing it on every tick."""

_HOUR_SQL = """
INSERT INTO billing_usagehour (id, tenant_id, project_id, key_id, model, kind, price_version, hour, input_tokens,
    output_tokens, requests, gpu_ms, byte_hours, cost_nano, cached_tokens, events, computed_at)
SELECT gen_random_uuid(), tenant_id, project_id, key_id, model, kind, price_version, %(hour)s, sum(input_tokens),
    sum(output_tokens), sum(requests), sum(gpu_ms), sum(byte_hours), sum(cost_nano), sum(cached_tokens), count(*),
    clock_timestamp()
FROM billing_usageevent
WHERE tenant_id = %(tenant)s AND occurred_at >= %(hour)s AND occurred_at < %(end)s
GROUP BY tenant_id, project_id, key_id, model, kind, price_version
"""
_DAY_SQL = """
INSERT INTO billing_ratedline AS line (id, tenant_id, project_id, model, kind, price_version, day, input_tokens,
    output_tokens, requests, gpu_ms, byte_hours, amount_nano, posted_nano, invoiced_nano, rated_at)
SELECT gen_random_uuid(), tenant_id, project_id, model, kind, price_version, %(day)s, sum(input_tokens),
    sum(output_tokens), sum(requests), sum(gpu_ms), sum(byte_hours), sum(cost_nano), 0, 0, clock_timestamp()
FROM billing_usagehour
WHERE tenant_id = %(tenant)s AND hour >= %(start)s AND hour < %(end)s
GROUP BY tenant_id, project_id, model, kind, price_version
ON CONFLICT (tenant_id, day, project_id, model, kind, price_version) DO UPDATE SET
    input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens, requests = excluded.requests,
    gpu_ms = excluded.gpu_ms, byte_hours = excluded.byte_hours, amount_nano = excluded.amount_nano,
    rated_at = excluded.rated_at
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
    book = price_books().current(int(moment.timestamp() * 1000))
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


def usage_rollup(*, tenant_id: uuid.UUID) -> int:
    """Recompute a tenant's dirty hours and the rated lines of their days; how many hours. Safe to run twice at once:
    hours that another run holds are skipped."""
    with tenant_scope(tenant_id):
        locked = DirtyHour.objects.select_for_update(skip_locked=True).exclude(hour__in=_fresh_busy_hours())
        dirty = list(locked.order_by("hour")[:HOURS_AT_ONCE])
        if not dirty:
            return 0
        with connection.cursor() as cursor:
            # Two runs may hold different hours of one day: its lines are derived by one of them at a time.
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 7))", [f"rate:{tenant_id}"])
            for mark in dirty:
                values = {"tenant": tenant_id, "hour": mark.hour, "end": mark.hour + dt.timedelta(hours=1)}
                cursor.execute("DELETE FROM billing_usagehour WHERE tenant_id = %(tenant)s AND hour = %(hour)s", values)
                cursor.execute(_HOUR_SQL, values)
            for day in sorted({mark.hour.astimezone(dt.UTC).date() for mark in dirty}):
                start = start_of(day)
                cursor.execute(
                    _DAY_SQL, {"tenant": tenant_id, "day": day, "start": start, "end": start + dt.timedelta(days=1)}
                )
        DirtyHour.objects.filter(pk__in=[mark.pk for mark in dirty]).delete()
        _note_key_use([mark.hour for mark in dirty])
        return len(dirty)


def _note_key_use(hours: list[dt.datetime]) -> None:
    """The gateway writes nothing about keys on its way; their last use is in the events it has shipped."""
    within = UsageEvent.objects.filter(occurred_at__gte=min(hours), occurred_at__lt=max(hours) + dt.timedelta(hours=1))
    used = within.exclude(key_id=None).order_by().values_list("key_id").annotate(Max("occurred_at"))
    for key_id, at in used:
        keys_touch(ids=[key_id], at=at)


def _fresh_busy_hours() -> list[dt.datetime]:
    fresh = UsageHour.objects.filter(computed_at__gte=now() - dt.timedelta(seconds=BUSY_SECONDS))
    busy = fresh.values("hour").annotate(total=Sum("events")).filter(total__gte=BUSY_EVENTS)
    return list(busy.values_list("hour", flat=True))


def usage_rollup_all() -> int:
    """Roll up every tenant that has dirty hours; how many hours."""
    return for_each("usage_rollup", _dirty_tenants(), lambda tenant_id: usage_rollup(tenant_id=tenant_id))


def _dirty_tenants() -> Iterable[uuid.UUID]:
    with ops_scope("find tenants with usage to sum"):
        return list(DirtyHour.ops.order_by().values_list("tenant_id", flat=True).distinct())
