"""Which limits a key's calls must pass (the tenant's, the project's own, the key's own), and its engine weight."""

from __future__ import annotations

from billing.quotas import CompiledLimits, LimitSet, limits_for
from billing.selectors.limits import project_limit_set, tenant_allowance
from tenants.access import KeyRecord
from tenants.scope import tenant_scope


def limits_of(record: KeyRecord) -> tuple[CompiledLimits, int]:
    """The compiled limits of a key, and its weight at the engine. Runs on a database thread."""
    with tenant_scope(record.tenant_id):
        tenant, weight = tenant_allowance()
        project = project_limit_set(record.project_id)
    compiled = limits_for(
        tenant_id=record.tenant_id,
        plan=tenant,
        project_id=record.project_id,
        project=project,
        key_id=record.id,
        key=LimitSet.read(record.limits),
    )
    return compiled, weight
