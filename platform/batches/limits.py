"""How much may wait in batches."""

from dataclasses import dataclass

from billing.selectors.subscriptions import entitlement_for
from tenants.scope import current_tenant_id

MINUTES = 60
"""For each model as many tokens may wait as the plan's tokens per minute carry in so many minutes."""
OPEN_BATCHES = 100
"""Of one organisation."""
WINDOW = "24h"
WINDOW_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a plan allows to wait for one model, in tokens."""

    plan: str
    tokens: int


def waiting_limit() -> Waiting:
    """Of the scope's tenant."""
    entitlement = entitlement_for(current_tenant_id())
    return Waiting(entitlement.plan, entitlement.limits.tokens_per_minute * MINUTES)
