"""Job quota: money held for a job from before it starts until it ends.

    job_reserve(job_id=…, project_id=…, key_id=…, ceiling_nano=…)   # in the transaction that creates the job
    job_extend(job_id=…, ceiling_nano=…)                            # raise the ceiling of a running job
    job_shrink(job_id=…, ceiling_nano=…)                            # it stops before its end: hold what it has used
    job_settle(job_id=…, usage=Usage(kind="training", …))           # in the transaction that ends it: records usage
    job_release(job_id=…)                                           # failed through our fault, or cancelled unused

All run inside the caller's `tenant_scope`, and all but reserve are safe to repeat. Nothing here touches the quota
server except to take unspent lease money back when a job needs it. The hold counts against the month it was made in,
and so does the usage: a job that ends in the next month belongs, like a call, to the month that admitted it.
A job is charged for what it trained, never more than its ceiling; `x_max_price_usd` is that ceiling.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping

from billing.errors import BudgetExceeded
from billing.models import Budget, JobHold, UsageEvent
from billing.periods import bounds, month_of
from billing.prices import Usage
from billing.quotas import QuotaStore, QuotaUnavailable
from billing.quotas.jobs import Reached, naming
from billing.quotas.limits import Limit
from billing.selectors.budgets import WALLET, cap_nano, promised_nano
from billing.selectors.wallet import postpaid_nano
from billing.services.leases import lease_return, wallet_begin
from billing.services.metering import usage_record
from billing.services.stores import quota_store
from kit.clock import now
from kit.errors import NotFound
from kit.money import in_name, written
from tenants.models import ApiKey
from tenants.scope import current_tenant_id

LAST_MOMENT = dt.timedelta(milliseconds=1)


def job_reserve(
    *,
    job_id: uuid.UUID,
    project_id: uuid.UUID,
    key_id: uuid.UUID | None,
    ceiling_nano: int,
    store: QuotaStore | None = None,
) -> JobHold:
    """Hold a job's price ceiling under every budget that covers it; BudgetExceeded (402) when one cannot carry it."""
    existing: JobHold | None = JobHold.objects.filter(job_id=job_id).first()
    if existing is not None:
        return existing
    moment = now()
    for budget in budgets_lock(project_id, key_id):
        _require(budget, ceiling_nano, month_of(moment), store or quota_store())
    hold: JobHold = JobHold.objects.create(
        job_id=job_id,
        project_id=project_id,
        key_id=key_id,
        period=month_of(moment),
        reserved_nano=ceiling_nano,
    )
    return hold


def job_extend(*, job_id: uuid.UUID, ceiling_nano: int, store: QuotaStore | None = None) -> JobHold:
    """Raise a job's ceiling; BudgetExceeded leaves it as it was. What is raised in another month than it was held in
    belongs to that month as a whole: it was admitted anew."""
    hold = _hold(job_id)
    if hold.state != JobHold.State.HELD or ceiling_nano <= hold.reserved_nano:
        return hold
    month = month_of(now())
    more = ceiling_nano - (hold.reserved_nano if hold.period == month else 0)
    for budget in budgets_lock(hold.project_id, hold.key_id):
        _require(budget, more, month, store or quota_store())
    hold.reserved_nano, hold.period = ceiling_nano, month
    hold.save(update_fields=["reserved_nano", "period"])
    return hold


def job_shrink(*, job_id: uuid.UUID, ceiling_nano: int) -> JobHold:
    """Lower what is held for a job that stops before its end; the rest is free at once."""
    hold = _hold(job_id)
    if hold.state == JobHold.State.HELD and ceiling_nano < hold.reserved_nano:
        hold.reserved_nano = ceiling_nano
        hold.save(update_fields=["reserved_nano"])
    return hold


def jobs_over(*, used: Mapping[uuid.UUID, int], store: QuotaStore | None = None) -> list[uuid.UUID]:
    """Which of these jobs (each with what it has used, in nano-USD) the spend limits no longer carry.

    A limit was lowered, or a plan ended, after they were admitted. Newest first, and no more than have to stop so that
    the rest fits. In the tenant's scope; changes nothing but takes unspent lease money back.
    """
    chosen: list[uuid.UUID] = []
    holds = list(JobHold.objects.filter(job_id__in=used, state=JobHold.State.HELD).order_by("-created_at", "-pk"))
    for budget in Budget.objects.order_by("name"):
        for period in sorted({hold.period for hold in holds}):
            cap = cap_nano(budget.scope, budget.scope_id, period)
            if cap is None:
                break
            mine = [hold for hold in holds if hold.period == period and covers(budget, hold)]
            free = {hold.job_id: hold.reserved_nano - used[hold.job_id] for hold in mine}
            over = promised_nano(budget, period) - cap - sum(free[job] for job in chosen if job in free)
            over -= taken_back(budget, over, period, store or quota_store())
            for hold in mine:
                if over > 0 and hold.job_id not in chosen and free[hold.job_id] > 0:
                    chosen.append(hold.job_id)
                    over -= free[hold.job_id]
    return chosen


def covers(budget: Budget, hold: JobHold) -> bool:
    """Whether a hold counts under a budget."""
    ids = {"tenant": hold.tenant_id, WALLET: hold.tenant_id, "project": hold.project_id, "key": hold.key_id}
    if budget.scope == "member":
        ids["member"] = key_maker(hold.key_id)
    scope_id = ids.get(budget.scope)
    return scope_id is not None and scope_id.hex == budget.scope_id


def job_settle(*, job_id: uuid.UUID, usage: Usage) -> UsageEvent | None:
    """Charge a job for what it did, at most its ceiling, and free the rest; None when it was released before."""
    hold = _hold(job_id)
    if hold.state == JobHold.State.RELEASED:
        return None
    event = usage_record(
        request_id=f"job:{job_id}",
        usage=usage,
        project_id=hold.project_id,
        key_id=hold.key_id,
        cost_nano=hold.reserved_nano,
        occurred_at=min(now(), bounds(hold.period)[1] - LAST_MOMENT),
    )
    if hold.state == JobHold.State.HELD:
        hold.state, hold.spent_nano, hold.ended_at = JobHold.State.SETTLED, event.cost_nano, now()
        hold.save(update_fields=["state", "spent_nano", "ended_at"])
    return event


def job_release(*, job_id: uuid.UUID) -> None:
    """Free a job's hold without a charge; a settled job stays settled."""
    hold = _hold(job_id)
    if hold.state == JobHold.State.HELD:
        hold.state, hold.ended_at = JobHold.State.RELEASED, now()
        hold.save(update_fields=["state", "ended_at"])


def _hold(job_id: uuid.UUID) -> JobHold:
    hold: JobHold | None = JobHold.objects.select_for_update().filter(job_id=job_id).first()
    if hold is None:
        raise NotFound.of(job_id)
    return hold


def budgets_lock(project_id: uuid.UUID, key_id: uuid.UUID | None) -> list[Budget]:
    """The locked budgets that cover a job, in one order for everybody."""
    scopes = [("tenant", current_tenant_id().hex), ("project", project_id.hex)]
    if key_id is not None:
        scopes.append(("key", key_id.hex))
        maker = key_maker(key_id)
        if maker is not None:
            scopes.append(("member", maker.hex))
    if postpaid_nano() is not None:
        scopes.append((WALLET, current_tenant_id().hex))
    names = {Limit(scope, scope_id, "spend", 0).name: (scope, scope_id) for scope, scope_id in scopes}  # type: ignore[arg-type]
    for name, (scope, scope_id) in names.items():
        Budget.objects.get_or_create(
            tenant_id=current_tenant_id(), name=name, defaults={"scope": scope, "scope_id": scope_id}
        )
    budgets = list(Budget.objects.select_for_update().filter(name__in=names).order_by("name"))
    for budget in budgets:
        wallet_begin(budget, month_of(now()))
    return budgets


def key_maker(key_id: uuid.UUID | None) -> uuid.UUID | None:
    """The user who made a key, whose limits hold for it; None for a key nobody made, or no key."""
    if key_id is None:
        return None
    found: uuid.UUID | None = ApiKey.objects.filter(pk=key_id).values_list("created_by_id", flat=True).first()
    return found


_WHOSE = {"tenant": "your organization", "project": "your project", "member": "the member who made this API key"}


def _require(budget: Budget, nano: int, period: dt.date, store: QuotaStore) -> None:
    cap = cap_nano(budget.scope, budget.scope_id, period)
    if cap is None:
        return
    free = cap - promised_nano(budget, period)
    free += taken_back(budget, nano - free, period, store)
    if free < nano:
        raise naming(
            BudgetExceeded(_too_dear(budget, nano, max(free, 0), cap)),
            Reached("spend", cap, nano, max(free, 0), "spend", budget.scope, budget.scope_id),
        )


def _too_dear(budget: Budget, nano: int, free: int, cap: int) -> str:
    if budget.scope == WALLET:
        return (
            f"This job may cost up to {written(nano)}, but your organization has only {written(free)} left: its "
            f"credit, what its plan includes this month and what it may owe. Lower {in_name('x_max_price_usd')}, or "
            "buy credit under Billing, Wallet."
        )
    whose = _WHOSE.get(budget.scope, "your API key")
    return (
        f"This job may cost up to {written(nano)}, but only {written(free)} of the monthly spend limit of {whose} "
        f"({written(cap)}) is left. Lower {in_name('x_max_price_usd')}, raise the limit under Billing, or wait for the "
        "next month."
    )


def taken_back(budget: Budget, nano: int, period: dt.date, store: QuotaStore) -> int:
    """Unspent lease money of this month, up to so much, back from the quota server; 0 where it cannot be asked."""
    if nano <= 0 or period != month_of(now()):
        return 0
    try:
        return lease_return(store=store, tenant_id=budget.tenant_id, name=budget.name, at_most=nano)
    except QuotaUnavailable:
        return 0  # what the server holds stays promised
