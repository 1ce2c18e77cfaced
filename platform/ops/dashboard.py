"""What staff see first: tenants, jobs, workers, queues, failures, revenue. Read on the ops role, inside its scope."""

import datetime as dt
from typing import Any

from django.db.models import Count, Sum

from billing.models import LedgerEntry, StripeEvent, TenantEntitlement, UsageHour
from customers.selectors.threads import desk
from kit.clock import now
from kit.models import OutboxEntry
from kit.money import HOUSE
from ops import alerts, fleet
from ops.models import StaffAction
from tenants.models import Tenant
from training import states
from training.models import Job

MOST = 10
"""Rows of a table on this page; the page says how many more there are and leads to them."""
REVENUE = ("usage_revenue", "subscription_revenue", "contract_revenue")
TAKEN_OFF = ("allowance", "discount", "credit", "refund")
"""Accounts of what is taken off revenue: included in plans, coupons, credit notes, refunds."""


def context() -> dict[str, Any]:
    """Everything the page shows."""
    week = now() - dt.timedelta(days=7)
    day = now() - dt.timedelta(days=1)
    midnight = now().astimezone(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    failed = Job.ops.filter(state=states.FAILED, finished_at__gte=day)
    return {
        "alerts": alerts.open_alerts(),
        "tenants": _counts(Tenant.ops.values_list("status").annotate(n=Count("pk"))),
        "tenants_new": Tenant.ops.filter(created_at__gte=week).count(),
        "threads_waiting": desk(state="staff").count(),
        "plans": _counts(TenantEntitlement.ops.values_list("plan").annotate(n=Count("pk"))),
        "jobs": _counts(Job.ops.values_list("state").annotate(n=Count("pk"))),
        "jobs_failed": list(failed.select_related("tenant").order_by("-finished_at")[:MOST]),
        "jobs_failed_n": failed.count(),
        "places": fleet.places(),
        "queues": fleet.queues(fleet.workers()),
        "events_failed": StripeEvent.objects.filter(state__in=("failed", "parked")).count(),
        "outbox_oldest": OutboxEntry.objects.order_by("created_at").values_list("created_at", flat=True).first(),
        "outbox": OutboxEntry.objects.count(),
        "revenue": revenue_this_month(),
        "usage_today": UsageHour.ops.filter(hour__gte=midnight).aggregate(requests=Sum("requests")),
        "actions": list(StaffAction.objects.order_by("-at")[:MOST]),
        "actions_n": StaffAction.objects.count(),
    }


def _counts(rows: Any) -> dict[str, int]:
    return {str(name): int(n) for name, n in sorted(rows)}


def revenue_this_month() -> dict[str, dict[str, int]]:
    """By currency, the house's first: nano by revenue account since the first of the month (UTC), from the ledger;
    credits count as positive. What is taken off them is one negative figure, `taken_off`; `total` is what remains."""
    first = now().astimezone(dt.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    rows = (
        LedgerEntry.ops.filter(account__in=(*REVENUE, *TAKEN_OFF), transaction__at__gte=first)
        .values_list("tenant__currency", "account")
        .annotate(n=Sum("amount_nano"))
    )
    found: dict[str, dict[str, int]] = {HOUSE: {}}
    for code, account, amount in rows.order_by("tenant__currency"):
        found.setdefault(code, {})[account] = -int(amount)
    return {code: _summed(accounts) for code, accounts in found.items()}


def _summed(found: dict[str, int]) -> dict[str, int]:
    taken_off = sum(found.pop(account, 0) for account in TAKEN_OFF)
    total = sum(found.values()) + taken_off
    return {**dict.fromkeys(REVENUE, 0), **found, "taken_off": taken_off, "total": total}
