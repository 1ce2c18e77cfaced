"""What staff see first: tenants, jobs, workers, queues, failures, revenue. Read on the ops role, inside its scope."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models import Count, Sum
from django.utils import timezone
from redis import Redis
from redis.exceptions import RedisError

from billing.models import LedgerEntry, StripeEvent, TenantEntitlement, UsageHour
from kit.clock import now
from kit.models import OutboxEntry
from ops.models import StaffAction
from tenants.models import Tenant
from training.models import Job, Slot

QUEUES = ("default", "ingest", "train")
REVENUE = ("usage_revenue", "subscription_revenue")
SILENT = dt.timedelta(seconds=60)
"""A slot whose host has said nothing for so long is unwell."""


@dataclass(frozen=True, slots=True)
class Queue:
    """One Celery queue: messages waiting, and whether a worker serves it. None when Redis is away."""

    name: str
    waiting: int | None
    served: bool


@dataclass(frozen=True, slots=True)
class SlotState:
    """One place to train."""

    name: str
    kind: str
    job: str
    job_pk: str
    heartbeat_at: dt.datetime
    state: str


def context() -> dict[str, Any]:
    """Everything the page shows."""
    week = now() - dt.timedelta(days=7)
    day = now() - dt.timedelta(days=1)
    return {
        "tenants": _counts(Tenant.ops.values_list("status").annotate(n=Count("pk"))),
        "tenants_new": Tenant.ops.filter(created_at__gte=week).count(),
        "plans": _counts(TenantEntitlement.ops.values_list("plan").annotate(n=Count("pk"))),
        "jobs": _counts(Job.ops.values_list("state").annotate(n=Count("pk"))),
        "jobs_failed": list(
            Job.ops.select_related("tenant").filter(state="failed", finished_at__gte=day).order_by("-finished_at")[:10]
        ),
        "slots": slots(),
        "queues": queues(),
        "events_failed": StripeEvent.objects.filter(state__in=("failed", "parked")).count(),
        "outbox_oldest": OutboxEntry.objects.order_by("created_at").values_list("created_at", flat=True).first(),
        "outbox": OutboxEntry.objects.count(),
        "revenue": revenue_this_month(),
        "usage_today": UsageHour.ops.filter(hour__gte=timezone.now().replace(hour=0, minute=0, second=0)).aggregate(
            requests=Sum("requests"), cost=Sum("cost_nano")
        ),
        "actions": list(StaffAction.objects.order_by("-at")[:8]),
    }


def _counts(rows: Any) -> dict[str, int]:
    return {str(name): int(n) for name, n in sorted(rows)}


def revenue_this_month() -> dict[str, int]:
    """Nano-USD by revenue account since the first of the month (UTC), from the ledger; credits count as positive."""
    first = now().astimezone(dt.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    rows = (
        LedgerEntry.ops.filter(account__in=REVENUE, transaction__at__gte=first)
        .values_list("account")
        .annotate(n=Sum("amount_nano"))
    )
    found = {account: -int(amount) for account, amount in rows}
    return {**dict.fromkeys(REVENUE, 0), **found, "total": sum(found.values())}


def slots() -> list[SlotState]:
    """Every place to train, unwell ones first."""
    rows = []
    for slot in Slot.objects.order_by("host", "number"):
        silent = slot.heartbeat_at < now() - SILENT
        state = "unwell" if silent else "draining" if slot.draining else "busy" if slot.job_id else "idle"
        job = Job.ops.filter(pk=slot.job_id).first() if slot.job_id else None
        rows.append(
            SlotState(
                str(slot),
                slot.kind,
                job.public_id if job else "",
                str(job.pk) if job else "",
                slot.heartbeat_at,
                state,
            )
        )
    return sorted(rows, key=lambda row: (row.state != "unwell", row.name))


def queues() -> list[Queue]:
    """Messages waiting in the broker. A short time-out: the page must open when Redis does not."""
    try:
        broker = Redis.from_url(settings.BROKER_URL, socket_timeout=1, socket_connect_timeout=1)
        state = Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1)
        return [Queue(name, int(broker.llen(name)), bool(state.exists(f"worker:{name}"))) for name in QUEUES]
    except RedisError:
        return [Queue(name, None, False) for name in QUEUES]
