"""Reading what was spent to win customers, and who pays since when; across tenants, inside `ops_scope`."""

from __future__ import annotations

import datetime as dt
from uuid import UUID

from django.db.models import Min, Sum

from billing.models import AcquisitionSpend, Invoice, SubscriptionChange, UsageHour
from billing.prices import NOT_CALLS
from billing.selectors.recurring import FACTS, WHOSE, worth_nano


def spend_by_channel(first: dt.date, last: dt.date) -> dict[str, dict[dt.date, int]]:
    """Nano-USD by channel and month, over the months `first` to `last`; the channel with the most first."""
    rows = (
        AcquisitionSpend.objects.filter(month__gte=first, month__lte=last)
        .values_list("channel", "month")
        .annotate(nano=Sum("amount_nano"))
        .order_by()
    )
    found: dict[str, dict[dt.date, int]] = {}
    for channel, month, nano in rows:
        if nano:
            found.setdefault(channel, {})[month] = int(nano)
    return dict(sorted(found.items(), key=lambda item: (-sum(item[1].values()), item[0])))


def first_spend() -> dt.date | None:
    """The earliest month with spending; None before any was entered."""
    return AcquisitionSpend.objects.order_by("month").values_list("month", flat=True).first()


def spend_entries(most: int) -> list[AcquisitionSpend]:
    """What was entered last, the newest first."""
    return list(AcquisitionSpend.objects.order_by("-entered_at", "-pk")[:most])


def first_calls() -> dict[UUID, dt.datetime]:
    """The hour of each tenant's first call."""
    hours = UsageHour.ops.exclude(kind__in=NOT_CALLS).order_by().values_list("tenant_id").annotate(at=Min("hour"))
    return dict(hours)


def first_payments() -> dict[UUID, dt.datetime]:
    """Since when each tenant pays: for a plan that counts and is not free, or an invoice, whichever was first."""
    found: dict[UUID, dt.datetime] = {}
    changes = SubscriptionChange.ops.order_by("-at").values_list(*WHOSE, "at", *FACTS)
    for tenant_id, currency, at, *facts in changes.iterator(5000):
        if worth_nano(currency, *facts) != 0:
            found[tenant_id] = at
    paid = Invoice.ops.filter(amount_paid__gt=0, paid_at__isnull=False).order_by()
    for tenant_id, at in paid.values_list("tenant_id").annotate(at=Min("paid_at")):
        found[tenant_id] = min(at, found.get(tenant_id, at))
    return found
