"""A tenant's standing in the queue: what its plan allows, and the machine time it has had lately. All in the tenant's
scope; time is the database's."""

from django.db.models import F, FloatField, Value
from django.db.models.functions import Cast, Extract, Greatest, Now, Power

from tenants.scope import current_tenant_id
from training import plans
from training.fairness import HALF_LIFE_SECONDS, settled
from training.models import Attempt, TenantShare

FADED = F("recent_ms") * Power(
    Value(0.5), Cast(Extract(Now() - F("recent_at"), "epoch"), FloatField()) / HALF_LIFE_SECONDS
)
"""`fairness.faded` up to now, as the database computes it."""


def share_locked() -> TenantShare:
    """The tenant's row in the queue, locked, with the plan's limits as they are now."""
    share, _ = TenantShare.objects.get_or_create(tenant_id=current_tenant_id())
    locked: TenantShare = TenantShare.objects.select_for_update(no_key=True).get(pk=share.pk)
    plan = plans.allowance()
    if (locked.max_running, locked.gpu_class, locked.weight) != (plan.parallel_jobs, plan.gpu_class, plan.weight):
        locked.max_running, locked.gpu_class, locked.weight = plan.parallel_jobs, plan.gpu_class, plan.weight
        locked.save(update_fields=["max_running", "gpu_class", "weight"])
    return locked


def share_charge(*, ms: int) -> None:
    """A job starts: count what it is likely to take."""
    TenantShare.objects.update(recent_ms=FADED + ms, recent_at=Now(), last_started_at=Now())


def share_settle(*, attempt: Attempt, spent_ms: int) -> None:
    """An attempt has ended: count what it took, in place of what was charged when it started."""
    more = settled(attempt.charged_ms, spent_ms)
    TenantShare.objects.update(
        recent_ms=Greatest(FADED + more, Value(0.0)), recent_at=Now(), usage_ms=F("usage_ms") + spent_ms
    )
