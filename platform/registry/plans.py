"""Which plan the scope's tenant has, as far as bases care."""

from billing.selectors.subscriptions import entitlement_for
from tenants.scope import current_tenant_id


def current_plan() -> str:
    """The plan's name."""
    return entitlement_for(current_tenant_id()).plan
