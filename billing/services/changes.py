"""Keeping how subscriptions change, and what they were worth month by month."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db import connections, transaction

from billing.models import Subscription, SubscriptionChange, SubscriptionMonth
from billing.periods import next_month, start_of
from billing.selectors.items import interval_of, items_of, plan_item, seats_bought
from billing.selectors.recurring import first_month, month_taken, standing_at
from kit.clock import now
from tenants.scope import OPS, ops_scope

SETTLED = dt.timedelta(days=3)
"""How long after its end Stripe may still tell us of a month: it tries to deliver for three days."""
PAUSED = "paused"


def change_note(row: Subscription) -> SubscriptionChange | None:
    """Note what a mirrored subscription has become, in its tenant's scope and under its lock; None where it is what it
    was."""
    item = plan_item(items_of(row.raw)) or {}
    facts: dict[str, Any] = {
        "status": PAUSED if row.raw.get("pause_collection") and row.status in ("active", "past_due") else row.status,
        "plan": row.plan,
        "plan_version": row.plan_version,
        "interval": interval_of(row),
        "seats": item.get("quantity") or 1,
        "extra_seats": seats_bought(row),
    }
    last = SubscriptionChange.objects.filter(subscription=row.stripe_id).order_by("-at").first()
    if last is not None and all(getattr(last, name) == value for name, value in facts.items()):
        return None
    at = _moment(row, last)
    if last is not None:
        at = max(at, last.at + dt.timedelta(microseconds=1))
    made: SubscriptionChange = SubscriptionChange.objects.create(subscription=row.stripe_id, at=at, **facts)
    return made


def _moment(row: Subscription, last: SubscriptionChange | None) -> dt.datetime:
    """When it became so, as Stripe dates it; where it does not, now."""
    if row.status in ("canceled", "incomplete_expired"):
        return row.ended_at or row.canceled_at or now()
    if last is None:
        begun = row.started_at or now()
        return max(begun, row.trial_end) if row.trial_end and row.status != "trialing" else begun
    if last.status == "trialing" and row.trial_end is not None and row.trial_end <= now():
        return row.trial_end
    return now()


def months_due(first: dt.date, taken: dt.date | None, at: dt.datetime) -> list[dt.date]:
    """The months to keep at a moment: those that ended `SETTLED` ago, after the last one kept, from the first on."""
    month, due = next_month(taken) if taken else first, []
    while start_of(next_month(month)) + SETTLED <= at:
        due.append(month)
        month = next_month(month)
    return due


def months_take() -> int:
    """Keep every month that is due; rows written. Nothing before the first subscription."""
    with ops_scope("keep what plans were worth"):
        first = first_month()
        taken = SubscriptionMonth.ops.order_by("-month").values_list("month", flat=True).first()
    if first is None:
        return 0
    return sum(month_take(month) for month in months_due(first, taken, now()))


def month_take(month: dt.date) -> int:
    """Keep one month as it stands now; 0 where it is kept already, or nobody had a subscription."""
    with ops_scope("keep what plans were worth"), transaction.atomic(using=OPS):
        with connections[OPS].cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('subscription months'))")
        if month_taken(month):
            return 0
        rows = standing_at(month)
        SubscriptionMonth.ops.bulk_create(rows, batch_size=1000)
        return len(rows)
