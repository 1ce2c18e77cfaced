"""What must always be true of money, checked from the facts up. One nano off is a finding.

Each check reads one tenant inside its scope and yields sentences. They hold at any moment: what is still on its way
(dirty hours, lines not yet posted) is accounted for, not excused.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator

from django.db.models import Case, F, Q, Sum, When
from django.db.models.functions import TruncHour, TruncMonth

from billing.ledger.adjustments import kinds_by_quantity, month_changes
from billing.ledger.lines import GIVEN, PACKAGES, RERATED
from billing.models import (
    Account,
    BudgetLease,
    CreditDraw,
    DirtyHour,
    InvoiceLinePush,
    JobHold,
    LedgerEntry,
    LedgerTransaction,
    PeriodClose,
    RatedChange,
    RatedLine,
    UsageEvent,
    UsageHour,
)
from billing.periods import bounds, from_ms
from billing.prices import price_books
from billing.selectors import invariants_currency, invariants_meter, invariants_stripe, invariants_wallet
from billing.selectors.adjustments import BY_QUANTITY, NO_EVENTS, month_counted
from billing.selectors.budgets import spent_nano
from billing.selectors.meters import METERED
from billing.selectors.suspects import SUMS, alike, priced_wrong, suspects
from kit.money import CENT
from tenants.scope import tenant_scope


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be."""

    tenant_id: uuid.UUID
    check: str
    message: str


def events_are_priced_right() -> Iterator[str]:
    """No event costs more than its own price version says, nor less than nothing."""
    for usage, version, ceiling in priced_wrong(alike(UsageEvent.objects.all()).iterator(chunk_size=5000)):
        of_them = UsageEvent.objects.filter(price_version=version, **usage)
        for event in of_them.exclude(cost_nano__range=(0, ceiling)):
            yield f"event {event.pk} costs {event.cost_nano} nano; its price is {ceiling}"


def hours_are_sums_of_events() -> Iterator[str]:
    """Each clean hour is the sum of its events, to the token and the nano."""
    fields = SUMS
    sums = {f"s_{name}": Sum(name) for name in fields}
    dirty = set(DirtyHour.objects.values_list("hour", flat=True))
    by_hour = UsageEvent.objects.order_by().annotate(of=TruncHour("occurred_at", tzinfo=dt.UTC)).values("of")
    truth = {row["of"]: [int(row[f"s_{name}"]) for name in fields] for row in by_hour.annotate(**sums)}
    found = {
        row["hour"]: [int(row[f"s_{name}"]) for name in fields]
        for row in UsageHour.objects.order_by().values("hour").annotate(**sums)
    }
    nothing = [0] * len(fields)
    for hour in sorted({*truth, *found} - dirty):
        if truth.get(hour, nothing) != found.get(hour, nothing):
            names = ", ".join(fields)
            yield f"hour {hour:%Y-%m-%d %H:00} sums to {found.get(hour)}, its events to {truth.get(hour)} ({names})"


def lines_are_sums_of_hours() -> Iterator[str]:
    """Each day's rated lines are the sum of its hours."""
    dirty = {hour.date() for hour in DirtyHour.objects.values_list("hour", flat=True)}
    hours: dict[dt.date, int] = defaultdict(int)
    for hour, cost in UsageHour.objects.values_list("hour", "cost_nano"):
        hours[hour.date()] += cost
    lines: dict[dt.date, int] = defaultdict(int)
    of_hours = RatedLine.objects.exclude(NO_EVENTS)
    for day, amount in of_hours.values_list("day", "amount_nano"):
        lines[day] += amount
    for day in sorted({*hours, *lines} - dirty):
        if hours[day] != lines[day]:
            yield f"{day} is rated at {lines[day]} nano; its hours cost {hours[day]}"


def corrections_are_what_was_decided() -> Iterator[str]:
    """Lines that correct a price hold what re-ratings changed of open months, to the nano."""
    names = ("day", "project_id", "model", "kind", "price_version")
    decided = RatedChange.objects.filter(billed=False).order_by().values_list(*names)
    wanted = {
        (*row[:4], RERATED + row[4]): int(row[5]) for row in decided.annotate(n=Sum(F("after_nano") - F("before_nano")))
    }
    held = RatedLine.objects.filter(price_version__startswith=RERATED).values_list(*names, "amount_nano")
    found = {tuple(row[:5]): int(row[5]) for row in held}
    for line in sorted({*wanted, *found}, key=str):
        held_nano, decided_nano = found.get(line, 0), wanted.get(line, 0)
        if held_nano != decided_nano:
            yield f"{line[0]} {line[3]} {line[2]} is corrected by {held_nano} nano; decided was {decided_nano}"


def months_are_what_their_quantities_cost() -> Iterator[str]:
    """What is posted of tiers and packages is what the prices make of each month's quantities, to the nano. A package
    may be less, as far as a limit did not carry it. Months with usage on its way to the ledger are left out."""
    rows = RatedLine.objects.filter(kind__in=kinds_by_quantity(price_books())).order_by()
    waiting: set[dt.date] = set()
    months: set[dt.date] = set()
    for month, posted in (
        rows.annotate(
            month=TruncMonth("day"), posted=Case(When(amount_nano=F("posted_nano"), then=True), default=False)
        )
        .values_list("month", "posted")
        .distinct()
    ):
        (months if posted else waiting).add(month)
    held = {
        (line.day, line.kind, line.model, line.price_version): line.amount_nano
        for line in RatedLine.objects.filter(BY_QUANTITY)
    }
    for day, kind, model, version in sorted(line for line in held if line[0].day != 1):
        yield f"{day} {kind} {model} ({version}) is not on the first day of its month"
    for month in sorted(months - waiting):
        counted = month_counted(month)
        # Usage that costs nothing by itself is posted by nobody: it waits for other usage, or for the close.
        wanted = {
            (month, group[0], group[1], what + group[2]): nano
            for (what, group), nano in month_changes(counted, price_books()).items()
            if counted[group].charged_nano or (month, group[0], group[1], what + group[2]) in held
        }
        for line in sorted({*wanted, *(one for one in held if one[0] == month)}):
            has, due = held.get(line, 0), wanted.get(line, 0)
            if has != due and not (line[3].startswith(PACKAGES) and 0 <= has < due):
                yield f"{month:%Y-%m} {line[1]} {line[2]} ({line[3]}) is {has} nano; its quantities make {due}"


def transactions_balance() -> Iterator[str]:
    """Every transaction has entries, and they sum to zero."""
    for row in LedgerTransaction.objects.annotate(total=Sum("entries__amount_nano")).exclude(total=0):
        yield f"ledger transaction {row.public_id} sums to {row.total}"


def ledger_agrees_with_lines() -> Iterator[str]:
    """Accounts hold what the rated lines say was posted and billed."""
    accounts: dict[str, int] = {
        row["account"]: int(row["total"])
        for row in LedgerEntry.objects.filter(transaction__kind__in=("usage", "close", "credit_draw"))
        .values("account")
        .annotate(total=Sum("amount_nano"))
    }
    sums = RatedLine.objects.aggregate(posted=Sum("posted_nano"), invoiced=Sum("invoiced_nano"))
    posted, invoiced = int(sums["posted"] or 0), int(sums["invoiced"] or 0)
    paid = int(CreditDraw.objects.filter(kind=CreditDraw.Kind.USED).aggregate(n=Sum("amount_nano"))["n"] or 0)
    billed_paid = int(PeriodClose.objects.aggregate(n=Sum("drawn_nano"))["n"] or 0)
    expected = {Account.USAGE_REVENUE: -posted, Account.UNBILLED: posted - invoiced - (paid - billed_paid)}
    for account, amount in expected.items():
        if accounts.get(account, 0) != amount:
            yield f"account {account} holds {accounts.get(account, 0)} nano; the rated lines say {amount}"
    billed = sum(accounts.get(account, 0) for account in (Account.RECEIVABLE, Account.ALLOWANCE, Account.CREDIT))
    if billed != invoiced - billed_paid:
        yield f"closed months booked {billed} nano; the rated lines say {invoiced}, {billed_paid} of it from credit"


def bills_add_up() -> Iterator[str]:
    """A closed month's lines sum to what it asks for, and to the ledger."""
    for close in PeriodClose.objects.all():
        lines = sum(line["amount_nano"] for line in close.lines)
        given = sum(line["amount_nano"] for line in close.lines if line["key"] == GIVEN)
        due = close.usage_nano - close.allowance_nano - close.drawn_nano + given
        if lines != close.net_nano or due != close.net_nano:
            yield f"the bill of {close} says {close.net_nano} nano; its lines sum to {lines}"
        moved = close.usage_nano - close.drawn_nano
        if moved:
            entry = LedgerEntry.objects.filter(
                transaction__kind="close", transaction__key=f"{close.period:%Y-%m}", account=Account.UNBILLED
            ).first()
            if entry is None or entry.amount_nano != -moved:
                yield f"the bill of {close} is not what the ledger moved"


def invoices_say_the_bill() -> Iterator[str]:
    """Lines sent to Stripe are the bill's lines in cents; what rounding left is carried, never lost or gained."""
    bills = {
        close.period: {line["key"]: line["amount_nano"] for line in close.lines} for close in PeriodClose.objects.all()
    }
    carried: dict[str, int] = {}
    for push in InvoiceLinePush.objects.exclude(line_key__startswith=METERED).order_by("period", "pk"):
        exact = bills.get(push.period, {}).get(push.line_key)
        if exact is None:
            yield f"invoice line {push} is on no bill"
        elif push.amount_cents * CENT + push.remainder_nano != exact + carried.get(push.line_key, 0):
            yield f"invoice line {push} says {push.amount_cents} cents; the bill says {exact} nano"
        carried[push.line_key] = push.remainder_nano


def leases_cover_calls() -> Iterator[str]:
    """Calls never cost more than what was promised for them, in the epoch that runs as well, and holds never more than
    their ceiling."""
    for lease in BudgetLease.objects.filter(spent_nano__gt=F("granted_nano")):
        yield f"lease {lease.pk} carried {lease.spent_nano} nano of a grant of {lease.granted_nano}"
    unknown = BudgetLease.objects.exclude(state=BudgetLease.State.RECONCILED).filter(blocks__gt=0)
    for lease in unknown.select_related("budget"):
        end = bounds(lease.period)[1] if lease.closed_ms is None else from_ms(lease.closed_ms + 1)
        budget = lease.budget
        spent = spent_nano(budget.scope, budget.scope_id, from_ms(lease.opened_ms), end, calls_only=True)
        if spent > lease.granted_nano:
            yield f"lease {lease.pk} carries {spent} nano of a grant of {lease.granted_nano} so far"
    wrong = Q(spent_nano__gt=F("reserved_nano")) | Q(spent_nano__lt=0)
    for hold in JobHold.objects.filter(wrong):
        yield f"job {hold.job_id} was charged {hold.spent_nano} nano of a ceiling of {hold.reserved_nano}"


CHECKS: tuple[Callable[[], Iterator[str]], ...] = (
    events_are_priced_right,
    hours_are_sums_of_events,
    lines_are_sums_of_hours,
    corrections_are_what_was_decided,
    months_are_what_their_quantities_cost,
    transactions_balance,
    ledger_agrees_with_lines,
    bills_add_up,
    invoices_say_the_bill,
    leases_cover_calls,
    *invariants_wallet.CHECKS,
    *invariants_stripe.CHECKS,
    *invariants_meter.CHECKS,
    *invariants_currency.CHECKS,
)


def findings(tenant_ids: list[uuid.UUID] | None = None) -> Iterator[Finding]:
    """What is wrong, over all tenants or those named. Those named are looked at whole; of all others each is as far as
    statements over everybody find that something may be wrong. Each is read in one transaction of its own."""
    if tenant_ids is None:
        looks = sorted(suspects(CHECKS).items())
    else:
        looks = [(tenant_id, list(CHECKS)) for tenant_id in tenant_ids]
    for tenant_id, checks in looks:
        with tenant_scope(tenant_id):
            for check in checks:
                for message in check():
                    yield Finding(tenant_id, check.__name__, message)
