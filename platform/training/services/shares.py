"""A tenant's standing in the queue: what its plan allows, and the machine time it has had lately. All in the tenant's
scope; time is the database's."""

import datetime as dt

from django.db.models import F, FloatField, Value
from django.db.models.functions import Cast, Extract, Greatest, Now, Power

from tenants.scope import current_tenant_id, ops_scope, tenant_scope
from training import plans, states
from training.models import Attempt, Job, TenantShare
from training.scheduling.fairness import HALF_LIFE_SECONDS, settled

FADED = F("recent_ms") * Power(
    Value(0.5), Cast(Extract(Now() - F("recent_at"), "epoch"), FloatField()) / HALF_LIFE_SECONDS
)
"""`fairness.faded` up to now, as the database computes it."""
REREAD = dt.timedelta(seconds=10)
"""A plan that changes while jobs wait shows in the queue after so long at most."""
LIMITS = ("max_running", "guaranteed", "gpu_class", "weight")


def share_locked() -> TenantShare:
    """The tenant's row in the queue, locked, with the plan's limits as they are now."""
    locked: TenantShare | None = TenantShare.objects.select_for_update(no_key=True).first()
    if locked is None:
        TenantShare.objects.get_or_create(tenant_id=current_tenant_id())
        locked = TenantShare.objects.select_for_update(no_key=True).get()
    plan = plans.allowance()
    allowed = (plan.parallel_jobs, plan.guaranteed_jobs, plan.gpu_class, plan.weight)
    TenantShare.objects.filter(pk=locked.pk).update(**dict(zip(LIMITS, allowed, strict=True)), read_at=Now())
    for name, value in zip(LIMITS, allowed, strict=True):
        setattr(locked, name, value)
    return locked


def share_reread(*, older_than: dt.timedelta) -> bool:
    """Read the plan again if that was so long ago; whether it was."""
    due = TenantShare.objects.filter(read_at__lte=Now() - older_than).exists()
    if due:
        share_locked()
    return due


def shares_reread() -> int:
    """Read the plans of tenants with waiting jobs again, the longest unread first; how many."""
    with ops_scope("find tenants whose plan may have changed while their jobs wait"):
        waiting = Job.ops.filter(state=states.QUEUED).values("tenant_id")
        TenantShare.ops.filter(waiting=False, tenant_id__in=waiting).update(waiting=True)  # queued by an older version
        due = TenantShare.ops.filter(read_at__lt=Now() - REREAD, tenant_id__in=waiting).order_by("read_at")
        tenants = list(due.values_list("tenant_id", flat=True)[:50])
    for tenant_id in tenants:
        with tenant_scope(tenant_id):
            share_locked()
    return len(tenants)


def share_settle(*, attempt: Attempt, spent_ms: int, width: int) -> None:
    """An attempt on `width` places has ended: count what it took of each, in place of what was charged at its start."""
    more = width * settled(attempt.charged_ms, spent_ms)
    used = F("usage_ms") + width * spent_ms
    TenantShare.objects.update(recent_ms=Greatest(FADED + more, Value(0.0)), recent_at=Now(), usage_ms=used)
