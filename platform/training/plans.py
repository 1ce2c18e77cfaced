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
    guaranteed_jobs: int
    runtime_seconds: int = LONGEST_RUN


def allowance() -> Allowance:
    """The limits of the scope's tenant."""
    found = entitlement_for(current_tenant_id())
    limits = found.limits
    return Allowance(
        plan=found.plan,
        parallel_jobs=limits.parallel_jobs,
        queued_jobs=limits.queued_jobs,
        train_rows=limits.train_rows,
        gpu_class=limits.gpu_class,
        weight=limits.engine_weight,
        guaranteed_jobs=min(limits.guaranteed_jobs, limits.parallel_jobs),
    )
