"""What the caller's tenant may do, as the quota limits need it. Inside the tenant's scope."""

from __future__ import annotations

import dataclasses
import uuid

from billing.models import ProjectLimits, SpendLimit
from billing.plans import PlanLimits
from billing.quotas import LimitSet
from billing.selectors.subscriptions import entitlement_for
from tenants.scope import current_tenant_id


def plan_limit_set() -> LimitSet:
    """Limits of the tenant's entitlement: plan, overrides, standing."""
    return LimitSet.read(dataclasses.asdict(_plan_limits()))


def spend_limit() -> int | None:
    """What the organisation set for itself, nano-USD a month; None when the plan's limit is the only one."""
    found: int | None = SpendLimit.objects.values_list("monthly_nano", flat=True).first()
    return found


def tenant_limit_set() -> LimitSet:
    """The limits in force for the whole tenant: its plan's, with its own spend limit where that is lower."""
    return tenant_allowance()[0]


def tenant_allowance() -> tuple[LimitSet, int]:
    """The limits in force for the whole tenant, and its weight at a busy engine."""
    limits = _plan_limits()
    plan, own = LimitSet.read(dataclasses.asdict(limits)), spend_limit()
    if own is not None and (plan.spend_nano is None or own < plan.spend_nano):
        plan = dataclasses.replace(plan, spend_nano=own)
    return plan, limits.engine_weight


def project_limits(project_id: uuid.UUID) -> dict[str, int]:
    """A project's own limits by name, as they were set; empty when it has none."""
    row = ProjectLimits.objects.filter(project_id=project_id).only("limits").first()
    return dict(row.limits) if row is not None else {}


def project_limit_set(project_id: uuid.UUID) -> LimitSet | None:
    """A project's own limits; None when it has none."""
    limits = project_limits(project_id)
    return LimitSet.read(limits) if limits else None


def _plan_limits() -> PlanLimits:
    return entitlement_for(current_tenant_id()).limits
