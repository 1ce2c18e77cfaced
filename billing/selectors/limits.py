"""What the caller's tenant may do, as the quota limits need it."""

from __future__ import annotations

import dataclasses
import uuid

from billing.models import ProjectLimits
from billing.plans import PlanLimits
from billing.quotas import LimitSet
from billing.selectors.subscriptions import entitlement_for
from tenants.scope import current_tenant_id


def plan_limit_set() -> LimitSet:
    """Limits of the tenant's entitlement (plan, overrides, standing), inside its scope."""
    return _of_plan(entitlement_for(current_tenant_id()).limits)


def tenant_allowance() -> tuple[LimitSet, int]:
    """The tenant's limits, and its weight at a busy engine, inside its scope."""
    limits = entitlement_for(current_tenant_id()).limits
    return _of_plan(limits), limits.engine_weight


def project_limit_set(project_id: uuid.UUID) -> LimitSet | None:
    """A project's own limits, inside its tenant's scope; None when it has none."""
    row = ProjectLimits.objects.filter(project_id=project_id).only("limits").first()
    return LimitSet.read(row.limits) if row is not None and row.limits else None


def _of_plan(limits: PlanLimits) -> LimitSet:
    return LimitSet.read(dataclasses.asdict(limits))
