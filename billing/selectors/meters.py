"""Usage on its way to a meter at Stripe: who is metered, what is owed and what was taken. In the tenant's scope."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.db.models import Q, Sum

from billing.ledger.hours import MeterAccount, owed_nano
from billing.models import (
    BillSink,
    CatalogueEntry,
    Invoice,
    InvoiceLinePush,
    MeterReading,
    PeriodClose,
    RatedLine,
    Subscription,
    UsageHour,
)
from billing.periods import bounds, month_of
from billing.selectors.adjustments import NO_EVENTS
from billing.selectors.bills import allowance_nano
from billing.selectors.items import is_metered
from billing.selectors.subscriptions import subscription_current, usage_subscription
from billing.selectors.wallet import drawn_open
from kit.clock import now

METER = "tunesmith_usage_cents"
"""The meter's event name at Stripe, and the lookup key of its price in the house's currency; those of others end in
theirs."""
USAGE = "usage"
"""How the catalogue names the meter's price."""
METERED = "metered"
"""What keys of lines begin with that put a metered bill right."""
HOUR = dt.timedelta(hours=1)
SETTLE = dt.timedelta(minutes=10)
"""How long after its end an hour counts as closed. What comes later goes with a later hour."""
STAMPED = dt.timedelta(minutes=45)
"""So long after its end a reading is still counted in its hour: an invoice becomes final an hour after its period."""
REST = dt.timedelta(days=1)
"""How long nothing goes to the meter after Stripe found a reading wrong."""
State = MeterReading.State


def metering_subscription() -> Subscription | None:
    """The subscription that is to carry the meter: the one whose invoices take usage along, where this installation
    uses meters."""
    return usage_subscription() if settings.USAGE_SINK == BillSink.Sink.METER_EVENTS else None


def metered_item(subscription: Subscription) -> dict[str, Any] | None:
    """The meter's item of a subscription, if it has one."""
    items = (subscription.raw.get("items") or {}).get("data") or []
    return next((item for item in items if is_metered(item["price"])), None)


def dropped_item(interval: str) -> str:
    """The id of the meter's item where a plan that is to be paid by an interval cannot have it: all prices of one
    subscription share theirs, and the meter's is the month. Empty where nothing is in the way."""
    current = subscription_current()
    item = metered_item(current) if current is not None and interval != "month" else None
    return str(item["id"]) if item is not None else ""


def metered_subscription() -> Subscription | None:
    """The subscription that bills what the meter counts now. None in a trial, whose usage Stripe bills to nobody."""
    found = metering_subscription()
    return found if found is not None and found.status != "trialing" and metered_item(found) else None


def metered_now() -> bool:
    """Whether readings go out: there is somebody to bill them, and Stripe found none wrong within a day."""
    rests = MeterReading.objects.filter(refused=True, settled_at__gt=now() - REST)
    return metered_subscription() is not None and not rests.exists()


def hour_closed(moment: dt.datetime) -> dt.datetime:
    """The end of the last hour that is closed."""
    return (moment - SETTLE).astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)


def reading_moment(reading: MeterReading, subscription: Subscription, moment: dt.datetime) -> dt.datetime:
    """The moment that Stripe is to count a reading at: the last second of its hour while no invoice can be final that
    has it, or now. Late usage is thus billed with the period that runs; in its own nobody would bill it any more."""
    item = metered_item(subscription) or {}
    floor = max(item.get("current_period_start") or 0, item.get("created") or 0)
    second = reading.hour - dt.timedelta(seconds=1)
    fresh = reading.revision == 0 and moment < reading.hour + STAMPED and second.timestamp() >= floor
    return second if fresh else moment.replace(microsecond=0)


def months_metered() -> set[dt.date]:
    """Months whose bills a meter takes part of."""
    return set(BillSink.objects.filter(sink=BillSink.Sink.METER_EVENTS).values_list("period", flat=True))


def months_open(until: dt.datetime) -> set[dt.date]:
    """The month of an hour and the one before it, as far as they are not closed and nobody took them as items."""
    last = month_of(until - dt.timedelta(seconds=1))
    both = {last, month_of(last - dt.timedelta(days=1))}
    items = BillSink.objects.filter(period__in=both, sink=BillSink.Sink.INVOICE_ITEMS)
    closed = PeriodClose.objects.filter(period__in=both)
    return both - set(items.values_list("period", flat=True)) - set(closed.values_list("period", flat=True))


def meter_account(until: dt.datetime, *, also: set[dt.date] | None = None) -> MeterAccount:
    """What is owed by the hours until then, and what was taken, over every month that a meter takes part of and those
    that it is about to."""
    months = months_metered() | (also or set())
    closes = PeriodClose.objects.filter(period__in=months)
    closed = dict(closes.values_list("period", "net_nano"))
    read = MeterReading.objects.exclude(state=State.LOST).aggregate(n=Sum("units"))["n"] or 0
    lines = InvoiceLinePush.objects.filter(line_key__startswith=METERED).aggregate(n=Sum("amount_cents"))["n"] or 0
    return MeterAccount(
        # A bill below nothing asks for nothing, whichever way it goes.
        closed_nano=sum(max(0, net) for net in closed.values()),
        open_nano=sum(_owed_until(month, until) for month in months - closed.keys()),
        taken_cents=int(read) + int(lines),
    )


def _owed_until(month: dt.date, until: dt.datetime) -> int:
    start, end = bounds(month)
    hours = UsageHour.objects.filter(hour__gte=start, hour__lt=min(until, end))
    used = int(hours.aggregate(n=Sum("cost_nano"))["n"] or 0)
    anew = RatedLine.objects.filter(NO_EVENTS, day__gte=start.date(), day__lt=end.date())
    used += int(anew.aggregate(n=Sum("posted_nano"))["n"] or 0)
    return owed_nano(used=used, drawn=drawn_open(month).get(month, 0), allowance=allowance_nano(month))


def invoices_metered(month: dt.date) -> list[Invoice]:
    """The invoices that a month's readings are on."""
    billed = MeterReading.objects.filter(period=month, state=State.BILLED).values_list("invoice_id", flat=True)
    return list(Invoice.objects.filter(stripe_id__in=set(billed)).order_by("issued_at", "pk"))


@dataclasses.dataclass(frozen=True, slots=True)
class MonthMetered:
    """What went of a month by the meter, and what was put right by lines, in cents."""

    told: int
    lines: int
    invoices: list[Invoice]


def month_metered(month: dt.date) -> MonthMetered | None:
    """How a month went by the meter; None where its bill goes by lines."""
    if month not in months_metered():
        return None
    told = MeterReading.objects.filter(period=month).exclude(state=State.LOST).aggregate(n=Sum("units"))["n"] or 0
    pushes = InvoiceLinePush.objects.filter(period=month, line_key__startswith=METERED)
    lines = pushes.aggregate(n=Sum("amount_cents"))["n"] or 0
    return MonthMetered(int(told), int(lines), invoices_metered(month))


def metered_lines(raw: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of an invoice (as Stripe has it) that a meter of ours counted."""
    lines = (raw.get("lines") or {}).get("data") or []
    priced = {line_price(line): line for line in lines}
    ours = CatalogueEntry.objects.filter(part=USAGE, price_id__in=[price for price in priced if price])
    prices = set(ours.values_list("price_id", flat=True))
    return [line for line in lines if line_price(line) in prices]


def line_price(line: dict[str, Any]) -> str:
    """The id of a line's price; empty where it has none."""
    price = ((line.get("pricing") or {}).get("price_details") or {}).get("price") or ""
    return str(price["id"] if isinstance(price, dict) else price)


def readings_differ() -> Iterator[tuple[Invoice, int, int]]:
    """Invoices whose metered lines are not the readings that they cover: invoice, cents of ours, cents of theirs."""
    billed = MeterReading.objects.filter(state=State.BILLED).exclude(invoice_id="")
    ours = dict(billed.order_by().values_list("invoice_id").annotate(n=Sum("units")))
    rows = Invoice.objects.filter(Q(stripe_id__in=ours) | Q(issued_at__gte=now() - dt.timedelta(days=62)))
    for invoice in rows.exclude(status__in=("draft", "void")):
        lines = metered_lines(invoice.raw)
        theirs = sum(line["amount"] for line in lines)
        if theirs != ours.get(invoice.stripe_id, 0):
            yield invoice, int(ours.get(invoice.stripe_id, 0)), theirs
