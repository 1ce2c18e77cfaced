"""What the caller's tenant may do, as the quota limits need it."""

from __future__ import annotations

import dataclasses

from billing.quotas import LimitSet
from billing.selectors.subscriptions import entitlement_for
from tenants.scope import current_tenant_id


def plan_limit_set() -> LimitSet:
    """Limits of the tenant's entitlement (plan, overrides, standing), inside its scope."""
    return LimitSet.read(dataclasses.asdict(entitlement_for(current_tenant_id()).limits))
