"""What a month's plan included and nobody used, carried into the next month as credit. In the tenant's scope."""

from __future__ import annotations

import datetime as dt
import uuid

from billing.models import AllowanceChange, CreditGrant
from billing.periods import bounds, next_month
from billing.plans import Rollover, plan_book
from billing.selectors.invariants_wallet import ROLLOVER
from billing.services.credits import credit_grant
from kit.clock import now
from tenants.scope import ops_scope


def rollover_grant(*, period: dt.date, allowance_nano: int, used_nano: int) -> CreditGrant | None:
    """Give what is left of a month's allowance, as far as the plan at its end carries it; None where that is nothing.

    It ends with the next month. Once for each month: the same again changes nothing.
    """
    terms = rollover_terms(period)
    ends = bounds(next_month(period))[1]
    nano = terms.carried(allowance_nano, used_nano) if terms is not None else 0
    if not nano or ends <= now():  # a month that is closed so late has no next one left
        return None
    return credit_grant(
        kind=CreditGrant.Kind.ROLLOVER,
        amount_nano=nano,
        source=f"{ROLLOVER}{period:%Y-%m}",
        reason=f"Included in {period:%Y-%m} and not used",
        expires_at=ends,
        created_by="period_close",
        actor=("system", "", "period_close"),
    )


def rollover_terms(period: dt.date) -> Rollover | None:
    """What the plan that was in force as a month ended carries on."""
    last = AllowanceChange.objects.filter(since__lt=bounds(period)[1]).order_by("since", "pk").last()
    plan = plan_book().plans.get((last.plan, last.plan_version)) if last is not None else None
    return plan.rollover if plan is not None else None


def rollover_tenants(period: dt.date) -> set[uuid.UUID]:
    """Tenants whose plan at a month's end carries on what was not used: they have something to close without usage."""
    carrying = [key for key, plan in plan_book().plans.items() if plan.rollover is not None]
    with ops_scope("find plans that carry usage on"):
        before = AllowanceChange.ops.filter(since__lt=bounds(period)[1]).order_by("tenant_id", "-since", "-pk")
        rows = before.distinct("tenant_id").values_list("tenant_id", "plan", "plan_version")
        return {tenant_id for tenant_id, plan, version in rows if (plan, version) in carrying}
