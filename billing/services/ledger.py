"""Writing the ledger: posting rated lines, closing a month."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections import Counter
from collections.abc import Collection
from functools import partial

from django.db import transaction
from django.db.models import F
from django.db.models.functions import TruncMonth

from billing.errors import PeriodOpen
from billing.ledger.closing import closing
from billing.ledger.lines import PACKAGES, TIERS, BillLine
from billing.models import Account, CreditGrant, PeriodClose, RatedLine
from billing.periods import bounds, month_of, next_month
from billing.selectors import bills
from billing.selectors.many import limits_to_look_at
from billing.selectors.month_paid import month_paid_nano
from billing.selectors.wallet import drawn_open
from billing.services.adjusting import budgets_hold, months_adjust
from billing.services.alerts import budgets_alert
from billing.services.closing import lines_post_many, periods_close_many
from billing.services.credits import credit_grant, credits_apply
from billing.services.effects import funds_changed
from billing.services.locks import days_lock, ledger_lock
from billing.services.posting import ledger_post as ledger_post
from billing.services.rollover import rollover_grant, rollover_tenants
from billing.services.sweeps import FAILED, for_batches, for_each
from kit.clock import now
from kit.ids import new_id
from tenants import audit
from tenants.scope import current_tenant_id, ops_scope, tenant_scope


def lines_post(*, tenant_id: uuid.UUID) -> int:
    """Post what rated lines have beyond what the ledger has, as one transaction; the nano posted.

    What a month's tiers and packages change is brought up with them.
    """
    with tenant_scope(tenant_id):
        books_lock(tenant_id)
        return lines_post_here()


def books_lock(tenant_id: uuid.UUID) -> None:
    """Wait for, and take, what posting needs: the budgets that packages must fit in, then the ledger."""
    budgets_hold()
    ledger_lock(tenant_id)


def lines_post_here(months: Collection[dt.date] = ()) -> int:
    """`lines_post` in the caller's tenant scope and transaction, which holds `books_lock`.

    Tiers and packages are brought up also in `months` that have nothing else to post. The roll-up waits from here to
    the transaction's end: what tiers and packages are made of stays what is posted.
    """
    days_lock(current_tenant_id())
    lines = list(RatedLine.objects.exclude(amount_nano=F("posted_nano")).select_for_update().order_by("pk"))
    of_events = [line for line in lines if not line.price_version.startswith((TIERS, PACKAGES))]
    touched = {*months, *(month_of(line.day) for line in of_events)}
    if not touched and not lines:
        return 0
    by_quantity = months_adjust(touched, fresh=[line.pk for line in of_events])
    lines = [*of_events, *by_quantity]
    delta = {line: line.amount_nano - line.posted_nano for line in lines}
    total = sum(delta.values())
    if not any(delta.values()):
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
    if by_quantity:  # calls hear that there is more, or less, than their own prices say
        transaction.on_commit(partial(funds_changed, current_tenant_id()))
    return total


def lines_post_all() -> int:
    """Post every tenant's lines, and tell those whose spend limits fill up; the nano posted."""
    with ops_scope("find tenants with usage to post"):
        tenants = list(
            RatedLine.ops.exclude(amount_nano=F("posted_nano"))
            .order_by("tenant_id")
            .values_list("tenant_id", flat=True)
            .distinct()
        )
    failed = None
    try:
        posted = for_batches("lines_post", tenants, lines_post_many, lambda one: lines_post(tenant_id=one))
    except FAILED as error:
        posted, failed = 0, error
    for_each("budgets_alert", limits_to_look_at(tenants), lambda one: budgets_alert(tenant_id=one))
    if failed is not None:
        raise failed
    return posted


@dataclasses.dataclass(frozen=True)
class ClosedPeriod:
    """A closed month and whether this call closed it."""

    close: PeriodClose
    lines: list[BillLine]
    fresh: bool


def period_close(*, tenant_id: uuid.UUID, period: dt.date, allowance_nano: int | None = None) -> ClosedPeriod:
    """Close a month that has ended and return its bill; closing again returns the same bill.

    Usage of earlier months that arrived after their close is billed here as well, in lines of its own. Amounts are
    exact nano; what credit paid for is taken off, and as far as it is used the allowance (that of the plans in
    force in the month, unless told). A bill is never below nothing: what corrections of billed months leave of it is
    handed on as credit.
    """
    period = month_of(period)
    if next_month(period) > now().date():
        raise PeriodOpen(f"The billing month {period:%Y-%m} has not ended.")
    with tenant_scope(tenant_id):
        books_lock(tenant_id)
        lines_post_here([period])
        if allowance_nano is None:
            allowance_nano = bills.allowance_nano(period)
        done = PeriodClose.objects.filter(period=period).first()
        if done is not None:
            return ClosedPeriod(done, [BillLine(**line) for line in done.lines], fresh=False)
        credits_apply(until=period, allowance=allowance_nano)
        until = RatedLine.objects.filter(day__lt=bounds(period)[1].date())
        rated = list(until.exclude(posted_nano=F("invoiced_nano")).select_for_update())
        bill = closing(rated, period=period, allowance_nano=allowance_nano, drawn=drawn_open(period))
        back = _due_back(rated, -bill.net_nano) if bill.net_nano < 0 else {}
        bill = bill.handed_on(sum(back.values()))
        close = PeriodClose.objects.create(**bill.row)
        if bill.posting is not None:
            ledger_post(**bill.posting)
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
        used = max(0, close.allowance_nano)  # below nothing where a correction took more off
        rollover_grant(period=period, allowance_nano=allowance_nano, used_nano=used)
        return ClosedPeriod(close, bill.lines, fresh=True)


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
    """Close every month that ended `CLOSE_AFTER` ago and has unbilled usage, or included usage to carry on, oldest
    first; how many.

    A month missed while nothing ran is closed by itself, with its own allowance. What came late to a closed month goes
    onto the bill of the last one.
    """
    last = month_of(month_of(now() - CLOSE_AFTER) - dt.timedelta(days=1))
    with ops_scope("find months to close"):
        unbilled = RatedLine.ops.filter(day__lt=bounds(last)[1].date()).exclude(amount_nano=F("invoiced_nano"))
        months = set(unbilled.order_by().values_list("tenant_id", TruncMonth("day")).distinct())
        done = set(PeriodClose.ops.filter(period__lte=last).values_list("tenant_id", "period"))
    carrying = rollover_tenants(last)
    months |= {(tenant_id, last) for tenant_id in carrying}
    due = {(tenant_id, last if (tenant_id, month) in done else month) for tenant_id, month in months} - done
    ordered = sorted(due, key=lambda one: (one[1], one[0]))
    months_of = Counter(tenant_id for tenant_id, _ in ordered)

    def close(one: tuple[uuid.UUID, dt.date]) -> int:
        return int(period_close(tenant_id=one[0], period=one[1]).fresh)

    # Who missed a month has them closed in their order, whatever happens to one of them; what a plan carries on is
    # credit, which is given by the way of one.
    together = {one for one in due if one[1] == last and months_of[one[0]] == 1 and one[0] not in carrying}
    closed, failed = 0, None
    try:
        closed = for_batches("period_close", [one for one in ordered if one in together], periods_close_many, close)
    except FAILED as error:  # of one of them: the others wait for nobody
        failed = error
    closed += for_each("period_close", [one for one in ordered if one not in together], close)
    if failed is not None:
        raise failed
    return closed
