"""Storage as usage: what a project stores is measured once an hour and counts for that hour.

An event's identity is the tenant, the project and the hour, so measuring twice charges once. An hour nobody measured
costs nothing. Storage cannot be refused like a call, so it is charged only as far as the spend limits carry it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from uuid import UUID

from billing.metering.events import event_id
from billing.models import UsageEvent
from billing.periods import month_of
from billing.prices import Usage
from billing.selectors.budgets import cap_nano, promised_nano
from billing.services.jobs import budgets_lock
from billing.services.metering import usage_record
from tenants.scope import current_tenant_id, ops_scope

KIND = "storage"
MODEL = "files"


def storage_record(*, hour: dt.datetime, stored: Mapping[UUID, int]) -> int:
    """Record the bytes each project stores as its storage of `hour`, in the tenant's scope; nano charged now."""
    charged = 0
    for project_id, size in sorted(stored.items()):
        request_id = f"storage:{hour:%Y-%m-%dT%H}:{project_id.hex}"
        known = UsageEvent.objects.filter(pk=event_id(current_tenant_id(), request_id, KIND))
        if size <= 0 or known.exists():
            continue
        event = usage_record(
            request_id=request_id,
            usage=Usage(KIND, MODEL, requests=0, byte_hours=size),
            project_id=project_id,
            key_id=None,
            cost_nano=_room(project_id, month_of(hour)),
            occurred_at=hour,
        )
        charged += event.cost_nano
    return charged


def _room(project_id: UUID, period: dt.date) -> int | None:
    """What the spend limits still carry, their budgets locked; None without a limit."""
    free = []
    for budget in budgets_lock(project_id, None):
        cap = cap_nano(budget.scope, budget.scope_id, period)
        if cap is not None:
            free.append(max(0, cap - promised_nano(budget, period)))
    return min(free, default=None)


def storage_recorded(*, hour: dt.datetime) -> set[UUID]:
    """Tenants whose storage of an hour is recorded already."""
    with ops_scope("find whose storage is measured"):
        found = UsageEvent.ops.filter(kind=KIND, occurred_at=hour).order_by().values_list("tenant_id", flat=True)
        return set(found.distinct())
