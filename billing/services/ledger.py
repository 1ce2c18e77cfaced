"""Writing the ledger: posting rated lines, closing a month."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections import Counter

from django.db.models import F
from django.db.models.functions import TruncMonth

from billing.errors import PeriodOpen
from billing.ledger.lines import BillLine, balanced, bill_lines
from billing.models import Account, CreditGrant, PeriodClose, RatedLine
from billing.periods import bounds, month_of, next_month
from billing.selectors import bills
from billing.selectors.month_paid import month_paid_nano
from billing.selectors.wallet import drawn_open
from billing.services.alerts import budgets_alert
from billing.services.credits import credit_grant, credits_apply
from billing.services.locks import ledger_lock
from billing.services.posting import ledger_post as ledger_post
from billing.services.sweeps import for_each
from kit.clock import now
from kit.ids import new_id
from tenants import audit
from tenants.scope import ops_scope, tenant_scope


def lines_post(*, tenant_id: uuid.UUID) -> int:
    """Post what rated lines have beyond what the ledger has, as one transaction; the nano-USD posted."""
    with tenant_scope(tenant_id):
        ledger_lock(tenant_id)
        lines = list(RatedLine.objects.exclude(amount_nano=F("posted_nano")).select_for_update().order_by("pk"))
        delta = {line: line.amount_nano - line.posted_nano for line in lines}
        total = sum(delta.values())
        if not lines:
            return 0
        if total:
            ledger_post(
                kind="usage",
                key=str(new_id()),
                entries={Account.UNBILLED: total, Account.USAGE_REVENUE: -total},
                memo="Usage",
                detail={"lines": {str(line.pk): amount for line, amount in delta.items()}},
            )
        for line in lines:
            line.posted_nano = line.amount_nano
        RatedLine.objects.bulk_update(lines, ["posted_nano"])
        fresh: Counter[dt.date] = Counter()
        for line, amount in delta.items():
            fresh[month_of(line.day)] += amount
        credits_apply(fresh=fresh)
        return total


def lines_post_all() -> int:
    """Post every tenant's lines, and tell those whose spend limits fill up; the nano-USD posted."""
    with ops_scope("find tenants with usage to post"):
        tenants = list(
            RatedLine.ops.exclude(amount_nano=F("posted_nano"))
            .order_by()
            .values_list("tenant_id", flat=True)
            .distinct()
        )

    def post(tenant_id: uuid.UUID) -> int:
        posted = lines_post(tenant_id=tenant_id)
        budgets_alert(tenant_id=tenant_id)
        return posted

    return for_each("lines_post", tenants, post)


@dataclasses.dataclass(frozen=True)
class ClosedPeriod:
    """A closed month and whether this call closed it."""

    close: PeriodClose
    lines: list[BillLine]
    fresh: bool


def period_close(*, tenant_id: uuid.UUID, period: dt.date, allowance_nano: int | None = None) -> ClosedPeriod:
    """Close a month that has ended and return its bill; closing again returns the same bill.

    Usage of earlier months that arrived after their close is billed here as well, in lines of its own. Amounts are
    exact nano-USD; what credit paid for is taken off, and as far as it is used the allowance (that of the plans in
    force in the month, unless told). A bill is never below nothing: what corrections of billed months leave of it is
    handed on as credit.
    """
    period = month_of(period)
    if next_month(period) > now().date():
        raise PeriodOpen(f"The billing month {period:%Y-%m} has not ended.")
    lines_post(tenant_id=tenant_id)
    with tenant_scope(tenant_id):
        ledger_lock(tenant_id)
        if allowance_nano is None:
            allowance_nano = bills.allowance_nano(period)
        done = PeriodClose.objects.filter(period=period).first()
        if done is not None:
            return ClosedPeriod(done, [BillLine(**line) for line in done.lines], fresh=False)
        credits_apply(until=period, allowance=allowance_nano)
        drawn = drawn_open(period)
        paid = sum(drawn.values())
        until = RatedLine.objects.filter(day__lt=bounds(period)[1].date())
        rated = list(until.exclude(posted_nano=F("invoiced_nano")).select_for_update())
        lines = bill_lines(rated, period=period, allowance_nano=allowance_nano, drawn_nano=paid)
        usage = sum(line.posted_nano - line.invoiced_nano for line in rated)
        net, back = sum(line.amount_nano for line in lines), dict[dt.date, int]()
        if net < 0:
            back = _due_back(rated, -net)
            lines, net = balanced(lines, sum(back.values())), 0
        given = sum(back.values())
        close = PeriodClose.objects.create(
            period=period,
            usage_nano=usage,
            allowance_nano=usage - paid - net + given,
            drawn_nano=paid,
            drawn={f"{month:%Y-%m}": nano for month, nano in sorted(drawn.items())},
            net_nano=net,
            lines=[dataclasses.asdict(line) for line in lines],
        )
        if usage - paid or net:
            ledger_post(
                kind="close",
                key=f"{period:%Y-%m}",
                entries={
                    Account.RECEIVABLE: net,
                    Account.ALLOWANCE: usage - paid - net + given,
                    Account.UNBILLED: paid - usage,
                    Account.CREDIT: -given,
                },
                memo=f"Usage of {period:%Y-%m}",
            )
        for line in rated:
            line.invoiced_nano = line.posted_nano
        RatedLine.objects.bulk_update(rated, ["invoiced_nano"])
        for month, nano in back.items():
            credit_grant(
                kind=CreditGrant.Kind.GOODWILL,
                amount_nano=nano,
                source=f"rerating:{month:%Y-%m}:close:{period:%Y-%m}",
                reason=f"Usage of {month:%Y-%m}, corrected after its bill",
                actor=audit.SYSTEM,
            )
        return ClosedPeriod(close, lines, fresh=True)


def _due_back(rated: list[RatedLine], most: int) -> dict[dt.date, int]:
    """By closed month, what of a bill below nothing is handed on as credit: what corrections took off the month after
    its bill, as far as that was paid for in money, as for a month that is priced anew once it is closed."""
    less: Counter[dt.date] = Counter()
    for line in rated:
        less[month_of(line.day)] += line.invoiced_nano - line.posted_nano
    back = {}
    closed = PeriodClose.objects.filter(period__in=[month for month, nano in less.items() if nano > 0])
    for month in sorted(closed.values_list("period", flat=True)):
        nano = min(less[month], most, month_paid_nano(month))
        if nano > 0:
            back[month], most = nano, most - nano
    return back


CLOSE_AFTER = dt.timedelta(hours=6)
"""How long after a month's end its last events may still be on their way."""


def periods_close_all() -> int:
    """Close every month that has ended and has unbilled usage, oldest first; how many.

    A month missed while nothing ran is closed by itself, with its own allowance. What came late to a closed month goes
    onto the bill of the last one.
    """
    moment = now()
    last = month_of(month_of(moment) - dt.timedelta(days=1))
    if moment < bounds(last)[1] + CLOSE_AFTER:
        return 0
    with ops_scope("find months to close"):
        unbilled = RatedLine.ops.filter(day__lt=bounds(last)[1].date()).exclude(amount_nano=F("invoiced_nano"))
        months = set(unbilled.order_by().values_list("tenant_id", TruncMonth("day")).distinct())
        done = set(PeriodClose.ops.filter(period__lte=last).values_list("tenant_id", "period"))
    due = {(tenant_id, last if (tenant_id, month) in done else month) for tenant_id, month in months} - done
    ordered = sorted(due, key=lambda one: (one[1], one[0]))
    return for_each("period_close", ordered, lambda one: int(period_close(tenant_id=one[0], period=one[1]).fresh))
