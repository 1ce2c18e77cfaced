"""Amounts of organisations in the house's currency: to be looked at and added up, never billed or booked."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from django.db.models import Exists, OuterRef, Q

from billing.models import LedgerEntry, SubscriptionChange, UsageHour
from billing.periods import bounds, next_month
from billing.prices.rates_file import quoted, rate
from kit.clock import now
from kit.money import HOUSE
from tenants.models import Tenant


def day_of_rate(month: dt.date) -> dt.date:
    """The day whose rate holds for a month: its last one; of the running month today."""
    return min(next_month(month) - dt.timedelta(days=1), now().astimezone(dt.UTC).date())


def in_house(nano: int, currency: str, month: dt.date) -> int:
    """One organisation's nano of a month in nano-USD; halves to even. It comes before anything is added up. PriceError
    for a currency without a rate."""
    return nano if currency == HOUSE else round(nano * rate(currency, day_of_rate(month)))


def rates_of(first: dt.date, last: dt.date) -> dict[str, dict[dt.date, Decimal]]:
    """By each other currency that organisations had amounts in up to the month `last`: the rates of the months `first`
    to `last`, each at the first of them that had it. Across tenants, inside `ops_scope`."""
    until = bounds(last)[1]
    mine = {"tenant_id": OuterRef("pk")}
    some = (
        Q(Exists(SubscriptionChange.ops.filter(at__lt=until, **mine)))
        | Q(Exists(LedgerEntry.ops.filter(transaction__at__lt=until, **mine)))
        | Q(Exists(UsageHour.ops.filter(hour__lt=until, **mine)))
    )
    others = Tenant.ops.exclude(currency=HOUSE).filter(some).order_by("currency")
    found: dict[str, dict[dt.date, Decimal]] = {}
    for currency in others.values_list("currency", flat=True).distinct():
        month, held = first, Decimal(0)
        rates: dict[dt.date, Decimal] = {}
        found[currency] = rates
        while month <= last:
            if (one := quoted(currency, day_of_rate(month))) != held:
                rates[month] = held = one
            month = next_month(month)
    return found
