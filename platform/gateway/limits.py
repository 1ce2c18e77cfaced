"""Which limits a key's calls must pass: the tenant's plan, the project's own, the key's own."""

from __future__ import annotations

from billing.quotas import CompiledLimits, LimitSet, limits_for
from billing.selectors.limits import plan_limit_set, project_limit_set
from tenants.access import KeyRecord
from tenants.scope import tenant_scope


def limits_of(record: KeyRecord) -> CompiledLimits:
    """The compiled limits of a key. Runs on a database thread."""
    with tenant_scope(record.tenant_id):
        plan, project = plan_limit_set(), project_limit_set(record.project_id)
    return limits_for(
        tenant_id=record.tenant_id,
        plan=plan,
        project_id=record.project_id,
        project=project,
        key_id=record.id,
        key=LimitSet.read(record.limits),
    )
