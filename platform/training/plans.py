"""What the scope's tenant's plan allows, as far as training cares."""

import dataclasses

from billing.selectors.subscriptions import entitlement_for
from tenants.scope import current_tenant_id

LONGEST_RUN = 86_400


@dataclasses.dataclass(frozen=True, slots=True)
class Allowance:
    """Limits of one plan."""

    plan: str
    parallel_jobs: int
    queued_jobs: int
    train_rows: int
    gpu_class: str
    weight: int
    runtime_seconds: int = LONGEST_RUN


def allowance() -> Allowance:
    """The limits of the scope's tenant."""
    found = entitlement_for(current_tenant_id())
    limits = found.limits
    return Allowance(
        found.plan, limits.parallel_jobs, limits.queued_jobs, limits.train_rows, limits.gpu_class, limits.engine_weight
    )
