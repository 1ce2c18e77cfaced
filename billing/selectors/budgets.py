"""How much of a month's spend limit, or of the wallet, is promised, spent and left. Everything is exact nano."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from typing import cast

from django.db.models import Q, QuerySet, Sum

from billing.ledger.lines import PACKAGES
from billing.models import Budget, BudgetLease, DirtyHour, JobHold, RatedLine, UsageEvent
from billing.periods import bounds, from_ms, month_of, start_of
from billing.prices import ENGINES, NOT_CALLS, STORAGE
from billing.quotas import Limit, LimitSet
from billing.quotas.limits import Scope
from billing.selectors.adjustments import NO_EVENTS
from billing.selectors.bills import allowance_nano
from billing.selectors.limits import member_limits, model_limits_row, project_limit_set, tenant_limit_set
from billing.selectors.wallet import credit_facts, postpaid_nano
from kit.clock import now
from tenants.models import ApiKey
from tenants.scope import current_tenant_id

WALLET = "wallet"
"""The scope of what credit and the limit on account carry."""
THRESHOLDS = (50, 80, 100)
"""Percent of a limit at which its organisation is told; the pages warn from the second on."""
FULL = 99
"""Percent from which a limit counts as reached: what is left carries nothing useful."""


@dataclasses.dataclass(frozen=True, slots=True)
class BudgetState:
    """A month of one budget. `promised_nano` counts whole lease blocks and job ceilings; `spent_nano` counts facts."""

    cap_nano: int
    promised_nano: int
    spent_nano: int

    @property
    def percent(self) -> int:
        """Whole percent of the limit that is spent; 100 where nothing useful fits any more."""
        share = self.spent_nano * 100 // self.cap_nano if self.cap_nano else 100
        return 100 if share >= FULL else share

    @property
    def level(self) -> str:
        """`over` once nothing useful fits any more, `near` from the warning on, else nothing."""
        _, near, over = THRESHOLDS
        return "over" if self.percent >= over else "near" if self.percent >= near else ""


def cap_nano(scope: str, scope_id: str, period: dt.date | None = None) -> int | None:
    """The monthly spend limit of a scope now, in the caller's tenant scope; None when it has none (or is gone).

    Of the wallet: what may be used in a month (the running one, unless told) with the credit that is there now.
    """
    if scope == WALLET:
        return _funds_nano(month_of(period or now()))
    if scope == "tenant":
        return tenant_limit_set().spend_nano
    if scope == "project":
        project = project_limit_set(uuid.UUID(hex=scope_id))
        return project.spend_nano if project is not None else None
    if scope == "key":
        limits = ApiKey.objects.filter(pk=uuid.UUID(hex=scope_id)).values_list("limits", flat=True).first()
        return LimitSet.read(limits).spend_nano
    if scope == "member":
        return LimitSet.read(member_limits(uuid.UUID(hex=scope_id))).spend_nano
    row = model_limits_row(uuid.UUID(hex=scope_id)) if scope == "model" else None
    return LimitSet.read(row.limits).spend_nano if row is not None else None


def _funds_nano(period: dt.date) -> int | None:
    """What credit, the month's allowance and the limit on account carry of a month's usage; None without such a limit.

    What paid for usage of the month is counted with it, so that paying changes nothing. What other months were promised
    and have not paid for is left out of the credit that is there.
    """
    on_account = postpaid_nano()
    if on_account is None:
        return None
    budget = Budget.objects.filter(name=budget_name(WALLET, current_tenant_id().hex)).first()
    others = _other_months(budget, period)
    left, facts = credit_facts(others | {period})
    needed = 0
    for month in others:
        known = facts[month]
        promised = promised_nano(budget, month) if budget is not None else 0
        needed += max(0, max(promised, known.rated_nano) - known.covered_nano(allowance_nano(month)))
    mine = facts[period].covered_nano(allowance_nano(period))
    return mine + on_account + max(0, left - needed)


def _other_months(budget: Budget | None, period: dt.date) -> set[dt.date]:
    """Months beside one whose usage may still have to be paid for."""
    running = month_of(now())
    found = {running, month_of(running - dt.timedelta(days=1)), month_of(period - dt.timedelta(days=1))}
    if budget is not None:
        leases = BudgetLease.objects.filter(budget=budget).exclude(state=BudgetLease.State.RECONCILED)
        held = JobHold.objects.filter(state=JobHold.State.HELD)
        found |= {*leases.values_list("period", flat=True), *held.values_list("period", flat=True)}
    return found - {period}


def promised_nano(budget: Budget, period: dt.date) -> int:
    """What of a budget's month is promised: leases in full until reconciled, holds in full until they end, and what
    storage and engines of deployments' own have cost, which take what is free. Spend limits count usage as it was
    priced when it was made, and packages that were begun; the wallet pays what it costs now, so what was priced anew
    and what tiers took off count there."""
    leases = BudgetLease.objects.filter(budget=budget, period=period)
    before = leases.filter(state=BudgetLease.State.CLOSED, blocks=0)
    open_or_lost = leases.exclude(state=BudgetLease.State.RECONCILED).exclude(pk__in=before)
    unknown = open_or_lost.aggregate(total=Sum("granted_nano"))["total"] or 0
    # Calls from before the limit was set: their last events may just be arriving, so they are counted anew.
    for epoch in before:
        unknown += spent_nano(
            budget.scope,
            budget.scope_id,
            from_ms(epoch.opened_ms),
            from_ms((epoch.closed_ms or 0) + 1),
            calls_only=True,
        )
    known = leases.filter(state=BudgetLease.State.RECONCILED).aggregate(total=Sum("spent_nano"))["total"] or 0
    holds = _holds(budget.scope, budget.scope_id).filter(period=period)
    held = holds.filter(state=JobHold.State.HELD).aggregate(total=Sum("reserved_nano"))["total"] or 0
    spent = holds.filter(state=JobHold.State.SETTLED).aggregate(total=Sum("spent_nano"))["total"] or 0
    taken = 0
    if budget.scope in ("tenant", WALLET, "project"):  # storage and engines are no key's, no member's and no model's
        taken = sum(_taken_nano(budget, period, kind) for kind in (STORAGE, ENGINES))
    beside = 0
    if budget.scope in ("tenant", WALLET):  # packages are counted over all projects
        beside = beside_nano(period, packages_only=budget.scope != WALLET)
    return max(0, int(unknown + known + held + spent) + taken + beside)


def beside_nano(period: dt.date, *, packages_only: bool = False) -> int:
    """By how much a month became dearer, or cheaper (negative), than its events: priced anew, by tiers and packages."""
    start, end = bounds(period)
    lines = RatedLine.objects.filter(NO_EVENTS, day__gte=start.date(), day__lt=end.date())
    if packages_only:
        lines = lines.filter(price_version__startswith=PACKAGES)
    return int(lines.aggregate(total=Sum("amount_nano"))["total"] or 0)


def _taken_nano(budget: Budget, period: dt.date, kind: str) -> int:
    """What a month's events of one kind cost under a tenant's or a project's budget: days whose sums are up to date by
    their rated lines, the others event by event, so that it does not grow with the month.

    Marks are read before lines. An event and its mark are one transaction, and so are new sums and the end of the mark;
    so a day without one had all its events in its lines, and what comes meanwhile is a later event.
    """
    start, end = bounds(period)
    marks = DirtyHour.objects.filter(hour__gte=start, hour__lt=end).values_list("hour", flat=True)
    anew = sorted({hour.astimezone(dt.UTC).date() for hour in marks})
    lines = RatedLine.objects.filter(
        _of(budget.scope, budget.scope_id), kind=kind, day__gte=start.date(), day__lt=end.date()
    ).exclude(Q(day__in=anew) | NO_EVENTS)
    summed = int(lines.aggregate(total=Sum("amount_nano"))["total"] or 0)
    day = dt.timedelta(days=1)
    return summed + sum(
        spent_nano(budget.scope, budget.scope_id, first, first + day, kind=kind) for first in map(start_of, anew)
    )


def spent_nano(
    scope: str, scope_id: str, start: dt.datetime, end: dt.datetime, *, calls_only: bool = False, kind: str = ""
) -> int:
    """Cost of the events of a scope admitted in [start, end): all, those that leases carry, or those of one kind."""
    events = UsageEvent.objects.filter(_of(scope, scope_id), occurred_at__gte=start, occurred_at__lt=end)
    if calls_only:
        events = events.exclude(kind__in=NOT_CALLS)
    if kind:
        events = events.filter(kind=kind)
    return int(events.aggregate(total=Sum("cost_nano"))["total"] or 0)


def budget_month(
    *,
    project_id: uuid.UUID | None = None,
    key_id: uuid.UUID | None = None,
    period: dt.date | None = None,
    scope: str = "",
    scope_id: str = "",
) -> BudgetState | None:
    """The month of the tenant, or of one of its projects or keys, or of any scope; None without a spend limit."""
    month = month_of(period or now().date())
    if not scope:
        scope, scope_id = _scope(project_id, key_id)
    cap = cap_nano(scope, scope_id, month)
    if cap is None:
        return None
    budget = Budget.objects.filter(name=budget_name(scope, scope_id)).first()
    spent = spent_nano(scope, scope_id, *bounds(month))
    if scope == WALLET:
        spent = max(0, spent + beside_nano(month))
    promised = promised_nano(budget, month) if budget is not None else 0
    return BudgetState(cap, max(promised, spent), spent)


def month_spent(
    *, project_id: uuid.UUID | None = None, key_id: uuid.UUID | None = None, period: dt.date | None = None
) -> int:
    """What the tenant, or one of its projects or keys, has used in a month, limit or none."""
    start, end = bounds(month_of(period or now().date()))
    return spent_nano(*_scope(project_id, key_id), start, end)


def _scope(project_id: uuid.UUID | None, key_id: uuid.UUID | None) -> tuple[str, str]:
    if key_id is not None:
        return "key", key_id.hex
    return ("project", project_id.hex) if project_id is not None else ("tenant", current_tenant_id().hex)


def budget_name(scope: str, scope_id: str) -> str:
    """The name of a spend limit at the quota server, which is also its budget's."""
    return Limit(cast(Scope, scope), scope_id, "spend", 0).name


def _of(scope: str, scope_id: str) -> Q:
    if scope == "project":
        return Q(project_id=uuid.UUID(hex=scope_id))
    if scope == "key":
        return Q(key_id=uuid.UUID(hex=scope_id))
    if scope == "member":
        return Q(key_id__in=ApiKey.objects.filter(created_by_id=uuid.UUID(hex=scope_id)).values("pk"))
    if scope == "model":
        row = model_limits_row(uuid.UUID(hex=scope_id))
        if row is None:
            return Q(pk__in=[])
        return Q(project_id=row.project_id, model=row.model) & ~Q(kind__in=NOT_CALLS)
    return Q()


def _holds(scope: str, scope_id: str) -> QuerySet[JobHold]:
    """Jobs whose money counts under a scope; a model's limits are for its calls."""
    if scope == "model":
        return JobHold.objects.none()
    return cast("QuerySet[JobHold]", JobHold.objects.filter(_of(scope, scope_id)))
