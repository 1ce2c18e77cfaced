"""What an organisation pays in. It is said when the organisation is made and never changes: the database refuses it,
and Stripe would, once a customer has bought (docs/decisions/0074)."""

from functools import lru_cache
from uuid import UUID

from kit.money import HOUSE
from tenants.models import Tenant
from tenants.scope import current_tenant_id, scoped_tenant_id


def currency_in_scope() -> str:
    """Of the running scope's organisation; the house's outside one."""
    tenant_id = scoped_tenant_id()
    if tenant_id is None:
        return HOUSE
    try:
        return _of(tenant_id)
    except Tenant.DoesNotExist:  # it is being made
        return HOUSE


def paid_in() -> str:
    """The same where a price is chosen by it: ScopeError outside a scope, where a guess would charge another price."""
    return _of(current_tenant_id())


@lru_cache(maxsize=10_000)
def _of(tenant_id: UUID) -> str:
    """Kept: it cannot change."""
    found: str = Tenant.objects.values_list("currency", flat=True).get(pk=tenant_id)
    return found
