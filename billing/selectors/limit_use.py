"""Limits and how much of each is used now, inside the tenant's scope: rates as the quota server has them this moment,
money as it is in the books."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from uuid import UUID

from billing.quotas import CompiledLimits, Limit, QuotaStore, QuotaUnavailable
from billing.quotas.compile import LimitSet, limits_for
from billing.selectors.budgets import budget_month
from billing.selectors.limits import CallerLimits
from tenants.scope import current_tenant_id


@dataclasses.dataclass(frozen=True, slots=True)
class LimitUse:
    """One limit. `used` is in its unit: requests or tokens of the current minute, calls running now, nano of this
    month; None where the quota server did not answer. `model` names the model of a model's limit."""

    limit: Limit
    used: int | None
    model: str = ""

    @property
    def percent(self) -> int:
        """Whole percent that is used, at most 100."""
        return min(100, (self.used or 0) * 100 // self.limit.cap) if self.limit.cap else 100


def caller_use(caller: CallerLimits, store: QuotaStore) -> list[LimitUse]:
    """Every limit of a caller: of all its calls, then of each model that has some."""
    found = _uses(caller.compiled(), store)
    for model, (model_id, limits) in caller.models.items():
        own = limits_for(tenant_id=caller.tenant_id, plan=LimitSet(), model_id=model_id, model=limits)
        found += _uses(own, store, model)
    return found


def scope_use(scope: str, scope_id: UUID, limits: dict[str, int], store: QuotaStore) -> dict[str, LimitUse]:
    """The own limits of one project, member, key or model, by kind."""
    named = {f"{scope}_id": scope_id, scope: LimitSet.read(limits)}
    own = limits_for(tenant_id=current_tenant_id(), plan=LimitSet(), **named)  # type: ignore[arg-type]
    return {use.limit.kind: use for use in _uses(own, store)}


def _uses(limits: CompiledLimits, store: QuotaStore, model: str = "") -> list[LimitUse]:
    left: Sequence[int | None]
    try:
        left = store.peek(limits)
    except QuotaUnavailable:
        left = [None] * len(limits.limits)
    return [_use(limit, one, model) for limit, one in zip(limits.limits, left, strict=True)]


def _use(limit: Limit, left: int | None, model: str) -> LimitUse:
    if limit.kind != "spend":
        return LimitUse(limit, None if left is None else max(0, limit.cap - left), model)
    month = budget_month(scope=limit.scope, scope_id=limit.scope_id)
    if month is None:
        return LimitUse(limit, None, model)
    # A wallet's limit was read as what is left; with what the month has used it is what the month may use.
    return LimitUse(dataclasses.replace(limit, cap=month.cap_nano), month.spent_nano, model)
