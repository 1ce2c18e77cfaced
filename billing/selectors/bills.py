"""Reading bills: the running month as its invoice would be, closed months, account balances. Exact nano."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence

from django.db.models import F, Sum

from billing.ledger.lines import ALLOWANCE, CREDIT, BillLine, bill_lines, to_cents
from billing.models import AllowanceChange, InvoiceLinePush, LedgerEntry, RatedLine
from billing.periods import bounds, month_of
from billing.plans import AllowanceFrom, allowance_of, plan_book
from billing.selectors.seats import seats_monthly_cents
from billing.selectors.subscriptions import entitlement_for, paid_yearly, subscription_current
from billing.selectors.wallet import drawn_open
from kit.clock import now
from kit.money import currency
from tenants.scope import current_tenant_id


@dataclasses.dataclass(frozen=True)
class InvoicePreview:
    """What the month would be billed if it ended now. Lines are exact; `usage_cents` is what an invoice would say."""

    period: dt.date
    lines: list[BillLine]
    """Usage by kind and base; the allowance and credit, if any is used, come last."""
    usage_nano: int
    """Before the allowance."""
    included_nano: int
    """What the month's plans include."""
    allowance_nano: int
    """What of it is used, and so taken off."""
    credit_nano: int
    """What credit has paid of it."""
    net_nano: int
    usage_cents: int
    subscription_cents: int
    seats_cents: int
    """Of seats beyond those that the plan includes, where they are paid by the month."""
    plan: str
    granted: bool
    """The plan has a price, but nobody pays it: staff or a contract gave it."""
    trial: bool = False
    """The plan and its seats are free until its trial ends."""

    @property
    def usage_lines(self) -> list[BillLine]:
        """The lines without the allowance and credit."""
        return [line for line in self.lines if line.key not in (ALLOWANCE, CREDIT)]

    @property
    def total_cents(self) -> int:
        """Plan, seats and usage, as an invoice would round them."""
        return self.subscription_cents + self.seats_cents + self.usage_cents


def allowance_nano(period: dt.date | None = None) -> int:
    """Usage that is included in a month of the scope's tenant, by the plans that were in force in it; for the running
    month as if the plan of now goes on to its end."""
    changes = [allowance_from(row) for row in AllowanceChange.objects.all()]
    return included_nano(month_of(period or now()), entitlement_for(current_tenant_id()).allowance_nano, changes)


def included_nano(period: dt.date, current_nano: int, changes: Sequence[AllowanceFrom]) -> int:
    """The same of a plan that includes `current_nano` now and came by these changes."""
    before = plan_book().free.allowance_nano if changes else current_nano
    return allowance_of(period, before=before, changes=changes)


def allowance_from(row: AllowanceChange) -> AllowanceFrom:
    """A stored change as the rule takes it."""
    return AllowanceFrom(row.since, row.allowance_nano, whole=_without_overage(row))


def _without_overage(row: AllowanceChange) -> bool:
    plan = plan_book().plans.get((row.plan, row.plan_version))
    return plan is not None and not plan.overage


def carried_nano(period: dt.date) -> dict[str, int]:
    """By line of a bill, what rounding to cents has left over until a month."""
    rows = InvoiceLinePush.objects.filter(period__lt=period).order_by("period")
    return dict(rows.values_list("line_key", "remainder_nano"))


def invoice_preview() -> InvoicePreview:
    """The running month (and late usage of earlier ones) as lines of a bill, in the caller's tenant scope."""
    entitlement, current = entitlement_for(current_tenant_id()), subscription_current()
    trial = current is not None and current.stripe_id == entitlement.subscription and current.status == "trialing"
    charged = bool(entitlement.subscription) and not trial
    plan = plan_book().get(entitlement.plan, entitlement.plan_version)
    period = month_of(now())
    not_billed = RatedLine.objects.exclude(amount_nano=F("invoiced_nano"))
    open_lines = list(not_billed.filter(day__lt=bounds(period)[1].date()))
    for line in open_lines:
        line.posted_nano = line.amount_nano  # as it will be posted; not saved
    included = allowance_nano(period)
    paid = sum(drawn_open(period).values())
    lines = bill_lines(open_lines, period=period, allowance_nano=included, drawn_nano=paid)
    usage = sum(line.posted_nano - line.invoiced_nano for line in open_lines)
    net = sum(line.amount_nano for line in lines)
    carried = carried_nano(period)
    return InvoicePreview(
        period=period,
        lines=lines,
        usage_nano=usage,
        included_nano=included,
        allowance_nano=usage - paid - net,
        credit_nano=paid,
        net_nano=net,
        # A month whose lines come to nothing is not sent; what they carried stays for the next one.
        usage_cents=sum(to_cents(line.amount_nano, carried.get(line.key, 0))[0] for line in lines) if net > 0 else 0,
        # A yearly plan is on an invoice of its own, once a year.
        subscription_cents=(plan.price("month", currency()) or 0) if charged and not paid_yearly() else 0,
        seats_cents=seats_monthly_cents(current) if charged else 0,
        trial=trial,
        plan=entitlement.plan,
        granted=not entitlement.subscription and bool(plan.price_cents),
    )


def balances() -> dict[str, int]:
    """Balance of each account that was ever used: debits positive."""
    rows = LedgerEntry.objects.values("account").annotate(total=Sum("amount_nano")).order_by("account")
    return {row["account"]: int(row["total"]) for row in rows}
