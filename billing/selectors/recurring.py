"""Reading what plans are worth, across tenants, for staff: inside `ops_scope`."""

from __future__ import annotations

import datetime as dt
import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Sum
from django.db.models.functions import TruncMonth

from billing.economics import COUNTED, Change, Month, month_ends, monthly_nano, months_told
from billing.models import Account, LedgerEntry, SubscriptionChange, SubscriptionMonth
from billing.periods import bounds, month_of
from billing.plans import plan_book
from billing.selectors.house import in_house
from tenants.models import Tenant

FACTS = ("status", "plan", "plan_version", "interval", "seats", "extra_seats")
"""What the worth of a subscription depends on, with its organisation's currency."""
WHOSE = ("tenant_id", "tenant__currency")


@functools.lru_cache(maxsize=4096)
def worth_nano(
    currency: str, status: str, plan: str, plan_version: int, interval: str, seats: int, extra_seats: int = 0
) -> int | None:
    """Nano a month of a subscription in its organisation's currency, its plan and the seats beyond it: 0 while it does
    not count, None where it counts and its plan, or a seat, has no published price for its interval in that."""
    if status not in COUNTED:
        return 0
    found = plan_book().plans.get((plan, plan_version))
    if found is not None and found.price_cents == 0:
        return 0
    cents = found.price(interval, currency) if found is not None else None
    if found is None or cents is None:
        return None
    worth = monthly_nano(cents, interval, seats)
    if extra_seats:
        each = found.seat_price(interval, currency)
        return None if each is None else worth + monthly_nano(each, interval, extra_seats)
    return worth


def month_taken(month: dt.date) -> bool:
    """Whether a month is kept."""
    return bool(SubscriptionMonth.ops.filter(month=month).exists())


def standing_at(month: dt.date) -> list[SubscriptionMonth]:
    """One unsaved row for every tenant that ever had a subscription, as things stood at the month's end; what it brings
    is in the tenant's currency."""
    names = (*FACTS, "at")
    last = SubscriptionChange.ops.filter(at__lt=bounds(month)[1]).order_by("subscription", "-at")
    own: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    for tenant_id, currency, *facts in last.distinct("subscription").values_list(*WHOSE, *names):
        change = dict(zip(names, facts, strict=True))
        own[tenant_id].append({**change, "worth": worth_nano(currency, *facts[: len(FACTS)])})
    rows = []
    for tenant_id, changes in sorted(own.items()):
        top = max(changes, key=lambda change: (change["worth"] or 0, change["status"] in COUNTED, change["at"]))
        rows.append(
            SubscriptionMonth(
                tenant_id=tenant_id,
                month=month,
                mrr_nano=sum(change["worth"] or 0 for change in changes),
                unpriced=any(change["worth"] is None for change in changes),
                **{name: top[name] for name in FACTS},
            )
        )
    return rows


def paid_by_month(last: dt.date) -> dict[dt.date, dict[UUID, int]]:
    """What each tenant paid a month at each month's end, in its currency (`currencies_of`), from the first
    subscription's to `last`: as kept, and by the changes so far where a month is not kept yet."""
    changes = SubscriptionChange.ops.filter(at__lt=bounds(last)[1]).order_by("at", "pk")
    rows = changes.values_list(*WHOSE, "subscription", "at", *FACTS)
    told = (
        Change(tenant, name, at, worth_nano(currency, *facts) or 0)
        for tenant, currency, name, at, *facts in rows.iterator(5000)
    )
    found: dict[dt.date, dict[UUID, int]] = month_ends(told, last)
    kept = SubscriptionMonth.ops.filter(month__lte=last)
    found |= {month: {} for month in kept.order_by().values_list("month", flat=True).distinct()}
    for month, tenant_id, nano in kept.filter(mrr_nano__gt=0).values_list("month", "tenant_id", "mrr_nano"):
        found[month][tenant_id] = nano
    return dict(sorted(found.items()))


def currencies_of(tenant_ids: Iterable[UUID]) -> dict[UUID, str]:
    """What each pays in: its amounts are in that, and not to be added to another's."""
    return dict(Tenant.ops.filter(pk__in=tenant_ids).values_list("pk", "currency"))


def first_month() -> dt.date | None:
    """The month of the first subscription; None before there was one."""
    at = SubscriptionChange.ops.order_by("at").values_list("at", flat=True).first()
    return None if at is None else month_of(at.astimezone(dt.UTC))


def worth_by_month(last: dt.date) -> dict[dt.date, dict[UUID, int]]:
    """`paid_by_month` in nano-USD, each month's at its rate: what can be added up over tenants."""
    paid = paid_by_month(last)
    whose = currencies_of({tenant_id for ends in paid.values() for tenant_id in ends})
    return {
        month: {tenant_id: in_house(nano, whose[tenant_id], month) for tenant_id, nano in ends.items()}
        for month, ends in paid.items()
    }


def months(last: dt.date) -> list[Month]:
    """Every month's movements up to `last`, nano-USD."""
    return months_told(worth_by_month(last))


def month_rows(month: dt.date) -> list[SubscriptionMonth]:
    """A month's rows as kept, or as things stand."""
    return list(SubscriptionMonth.ops.filter(month=month)) or standing_at(month)


@dataclass(frozen=True, slots=True)
class PlanLine:
    """A plan's share of a month's MRR, nano-USD."""

    plan: str
    tenants: int
    nano: int


def by_plan(rows: list[SubscriptionMonth]) -> tuple[list[PlanLine], int]:
    """What each plan brought, the most first, and how many tenants count without a published price."""
    sums: dict[str, list[int]] = defaultdict(list)
    whose = currencies_of({row.tenant_id for row in rows})
    for row in rows:
        if row.mrr_nano:
            sums[row.plan].append(in_house(row.mrr_nano, whose[row.tenant_id], row.month))
    lines = [PlanLine(plan, len(found), sum(found)) for plan, found in sums.items()]
    return sorted(lines, key=lambda line: (-line.nano, line.plan)), sum(row.unpriced for row in rows)


USAGE = (Account.USAGE_REVENUE, Account.ALLOWANCE)
PLANS = (Account.SUBSCRIPTION_REVENUE,)
CONTRACTS = (Account.CONTRACT_REVENUE,)
TAKEN_OFF = (Account.DISCOUNT, Account.CREDIT, Account.REFUND)


@dataclass(frozen=True, slots=True)
class Revenue:
    """What the ledger booked in a month, nano-USD: usage less what plans include, plans, custom models made to order,
    and what is taken off all of them (negative)."""

    usage: int = 0
    plans: int = 0
    contracts: int = 0
    taken_off: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.usage + self.plans + self.contracts + self.taken_off


def revenue_by_month(first: dt.date, last: dt.date) -> dict[dt.date, Revenue]:
    """From the ledger, by the month of booking; months without bookings are absent."""
    sums: dict[dt.date, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for month, _tenant_id, account, nano in _booked(first, last):
        sums[month][account] += nano
    return {month: _revenue(found) for month, found in sorted(sums.items())}


def revenue_by_tenant(first: dt.date, last: dt.date) -> dict[UUID, Revenue]:
    """From the ledger, of each tenant, over the months `first` to `last`: together what `revenue_by_month` has."""
    sums: dict[UUID, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for _month, tenant_id, account, nano in _booked(first, last):
        sums[tenant_id][account] += nano
    return {tenant_id: _revenue(found) for tenant_id, found in sums.items()}


def _booked(first: dt.date, last: dt.date) -> Iterator[tuple[dt.date, UUID, str, int]]:
    """Month, tenant, account and nano-USD brought: each tenant's amounts are turned before any two are added."""
    since, until = bounds(first)[0], bounds(last)[1]
    accounts = (*USAGE, *PLANS, *CONTRACTS, *TAKEN_OFF)
    rows = (
        LedgerEntry.ops.filter(account__in=accounts, transaction__at__gte=since, transaction__at__lt=until)
        .annotate(month=TruncMonth("transaction__at", tzinfo=dt.UTC))
        .values_list("month", *WHOSE, "account")
        .annotate(nano=Sum("amount_nano"))
        .order_by()
    )
    for at, tenant_id, currency, account, nano in rows.iterator(5000):
        month = at.date()
        yield month, tenant_id, account, in_house(-int(nano), currency, month)


def _revenue(found: dict[str, int]) -> Revenue:
    groups = (USAGE, PLANS, CONTRACTS, TAKEN_OFF)
    return Revenue(*(sum(found.get(account, 0) for account in group) for group in groups))
