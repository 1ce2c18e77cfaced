"""Which limits a key's calls must pass (of tenant, project, the member who made it, key and model), and its engine
weight."""

from __future__ import annotations

from dataclasses import dataclass, field

from batches.credential import Caller
from billing.quotas import CompiledLimits
from billing.selectors.dunning import reads_only
from billing.selectors.limits import CallerLimits, caller_limits, tenant_allowance
from inference.background import BACKGROUND
from tenants.access import KeyRecord
from tenants.scope import tenant_scope


@dataclass(slots=True)
class Allowance:
    """What a key may do. Most models have no limits of their own and share `plain`; the others are compiled once."""

    caller: CallerLimits
    plain: CompiledLimits
    weight: int  # share of a busy engine, by the plan
    overdue: bool = False
    """Whether an invoice has been overdue for so long that models do not answer."""
    _models: dict[str, CompiledLimits] = field(default_factory=dict)

    def of(self, model: str) -> CompiledLimits:
        """The limits of a call of `model`, as it is metered. The gate asks, so that no route can forget to."""
        if model not in self.caller.models:
            return self.plain
        found = self._models.get(model)
        if found is None:
            found = self._models[model] = self.caller.compiled(model)
        return found


def limits_of(record: KeyRecord) -> Allowance:
    """What a key may do now. Runs on a database thread."""
    with tenant_scope(record.tenant_id):
        tenant, weight = tenant_allowance()
        overdue = reads_only()
        caller = caller_limits(
            project_id=record.project_id, key_id=record.id, member_id=record.member_id, tenant=tenant
        )
    return Allowance(caller, caller.compiled(), weight, overdue)


def limits_of_batch(caller: Caller) -> Allowance:
    """What the lines of a batch may do now: no more than its spend limits, and nothing that somebody else waits for.
    In the tenant's scope."""
    limits = caller_limits(project_id=caller.project_id, key_id=caller.key_id, member_id=caller.user_id).money()
    return Allowance(limits, limits.compiled(), BACKGROUND)
