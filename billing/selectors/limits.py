"""What the caller's tenant may do, as the quota limits need it."""

from __future__ import annotations

from billing.models import TenantEntitlement
from billing.quotas import LimitSet
from kit.money import NANO

_FREE = LimitSet(requests_per_minute=60, tokens_per_minute=60_000, concurrency=4, spend_nano=2 * NANO)
"""The smallest plan, for a tenant whose entitlement was not derived yet."""


def plan_limit_set() -> LimitSet:
    """Limits of the tenant's entitlement (plan, overrides, standing), inside its scope."""
    entitlement = TenantEntitlement.objects.only("limits").first()
    return LimitSet.read(entitlement.limits) if entitlement is not None else _FREE
