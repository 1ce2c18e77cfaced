"""Whether an organisation's jobs may train in one process with those of others that allow it (docs/decisions/0026)."""

from tenants import audit
from tenants.models import Tenant
from training.models import TenantShare
from training.services.shares import share_locked


def sharing_set(*, tenant: Tenant, allowed: bool) -> bool:
    """Allow it, or no longer; in the tenant's scope. It holds for jobs that start from now on; those that share a
    process already end in it. Returns whether that was a change."""
    share = share_locked()
    if share.shares_base == allowed:
        return False
    TenantShare.objects.filter(pk=share.pk).update(shares_base=allowed)
    before, after = {"shared_training": not allowed}, {"shared_training": allowed}
    audit.record(action="tenant.shared_training_set", target=tenant, before=before, after=after)
    return True
