"""What `customers.health` asks of many customers at once, read in the ops scope with one query to a fact."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from fractions import Fraction
from typing import Any
from uuid import UUID

from django.db.models import Count, Max, Min, QuerySet, Sum

from billing.models import TenantEntitlement, UsageHour
from billing.prices import NOT_CALLS
from customers.health import Facts
from customers.models import Answer, Thread
from customers.states import FOR_STAFF
from kit.clock import now
from serving.models import Deployment
from tenants.models import Tenant
from training import states
from training.models import Job

SPAN = dt.timedelta(days=28)
REMEMBERED = dt.timedelta(days=182)
"""How long an answer about satisfaction counts."""


def facts_of(tenants: Iterable[Tenant]) -> dict[UUID, Facts]:
    """The facts of each. Calls are looked for in the last 56 days: who made none since then fares no worse for it."""
    rows = list(tenants)
    ids = [row.pk for row in rows]
    moment = now()
    since, before = moment - SPAN, moment - 2 * SPAN
    hours = calls_of(ids).filter(hour__gte=before)
    called: dict[UUID, Any] = dict(_by(hours, at=Max("hour")))
    recent = _by(hours.filter(hour__gte=since), n=Sum("requests"))
    earlier = _by(hours.filter(hour__lt=since), n=Sum("requests"))
    live = _by(Deployment.ops.filter(tenant__in=ids, state=Deployment.State.LIVE), n=Count("pk"))
    ended = Job.ops.filter(tenant__in=ids, finished_at__gte=since).exclude(state=states.CANCELLED)
    jobs, failed = _by(ended, n=Count("pk")), _by(ended.filter(state=states.FAILED), n=Count("pk"))
    standing = dict(TenantEntitlement.ops.filter(tenant__in=ids).values_list("tenant_id", "standing"))
    waiting = _by(Thread.ops.filter(tenant__in=ids, state__in=FOR_STAFF), at=Min("moved_at"))
    satisfied = satisfaction(ids)

    def known(row: Tenant) -> Facts:
        at, asked = called.get(row.pk), waiting.get(row.pk)
        return Facts(
            age_days=(moment - row.created_at).days,
            days_since_call=None if at is None else max(0, (moment - at).days),
            calls=int(recent.get(row.pk) or 0),
            calls_before=int(earlier.get(row.pk) or 0),
            live_deployments=live.get(row.pk, 0),
            jobs_ended=jobs.get(row.pk, 0),
            jobs_failed=failed.get(row.pk, 0),
            standing=standing.get(row.pk, "good"),
            waiting_days=None if asked is None else (moment - asked).days,
            satisfaction=satisfied.get(row.pk),
        )

    return {row.pk: known(row) for row in rows}


def calls_of(ids: Iterable[UUID]) -> "QuerySet[UsageHour]":
    """Hours with calls."""
    rows = UsageHour.ops.filter(tenant__in=ids, requests__gt=0)
    found: QuerySet[UsageHour] = rows.exclude(kind__in=NOT_CALLS)
    return found


def _by(rows: Any, **value: Any) -> dict[UUID, Any]:
    """One aggregate by tenant."""
    return dict(rows.order_by().values_list("tenant_id").annotate(**value))


def satisfaction(ids: Iterable[UUID]) -> dict[UUID, Fraction]:
    """The mean of what members answered last, in the last half year, by tenant."""
    given: dict[UUID, list[int]] = defaultdict(list)
    answers = Answer.ops.filter(tenant__in=ids, created_at__gte=now() - REMEMBERED)
    latest = answers.order_by("tenant_id", "user_id", "-created_at").distinct("tenant_id", "user_id")
    for tenant_id, score in latest.values_list("tenant_id", "score"):
        given[tenant_id].append(score)
    return {tenant: Fraction(sum(scores), len(scores)) for tenant, scores in given.items()}
